"""Small networks of version 2 for tests: states, a length, integers."""

import numpy as np

from gossamer.formats import packed_file
from gossamer.graph import FreeDim, Input, Manifest, Network, Node, Output, State

TOKENS, WIDTH, HIDDEN = 11, 4, 3


def language_model(states: bool = True) -> bytes:
    """Tokens [n, s] -> embedding -> lstm -> linear [n, s, TOKENS]; h and c are states or plain inputs."""
    draw = np.random.default_rng(4).standard_normal
    weights = {
        "table": draw((TOKENS, WIDTH), np.float32),
        "input": draw((4 * HIDDEN, WIDTH), np.float32),
        "hidden": draw((4 * HIDDEN, HIDDEN), np.float32),
        "head": draw((TOKENS, HIDDEN), np.float32),
    }
    nodes = (
        Node(op="embedding", name="table", inputs=("tokens",), outputs=("x",), weights={"weight": "table"}),
        Node(
            op="lstm",
            name="lstm",
            inputs=("x", "h", "c"),
            outputs=("y", "last_h", "last_c"),
            attributes={"reverse": False},
            weights={"input": "input", "hidden": "hidden"},
        ),
        Node(op="linear", name="head", inputs=("y",), outputs=("scores",), weights={"weight": "head"}),
    )
    network = Network(
        name="language model",
        dims={"s": FreeDim(min=1, max=6), "n": FreeDim(min=1, max=4)},
        inputs=(
            Input(name="tokens", shape=("n", "s"), dtype="int64"),
            Input(name="h", shape=("n", HIDDEN)),
            Input(name="c", shape=("n", HIDDEN)),
        ),
        outputs=(
            Output(name="scores", value="scores"),
            Output(name="h_next", value="last_h"),
            Output(name="c_next", value="last_c"),
        ),
        nodes=nodes,
        states=(State(input="h", output="h_next"), State(input="c", output="c_next")) if states else (),
    )
    return packed_file.to_bytes(Manifest(network=network), weights)
