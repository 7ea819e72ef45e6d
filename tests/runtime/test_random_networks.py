"""Random networks of version 2: chains of functions, broadcasting, moves, products and recurrent layers, native beside the NumPy reference.

Intermediate values are no outputs (or few), so that fusions, views and shared memory are met as in real networks.
"""

import json
from math import prod

import numpy as np
import pytest
from numpy.typing import NDArray

import gossamer
from gossamer.formats import pack, packed_file
from gossamer.graph import OPERATORS, FreeDim, Input, Manifest, Network, Node, Output
from gossamer.kernels import native
from gossamer.runtime.threads import usable_cpus

ISAS = json.loads(native.status().module.build_info())["isas_available"] if native.status().available else []
pytestmark = pytest.mark.skipif(not ISAS, reason="needs the native library")

LONGEST, MOST_BATCH, MOST_NUMBERS = 9, 3, 3000
Shape = tuple[int | str, ...]  # behind the batch; "s" is the length
FUNCTIONS = ("tanh", "abs", "neg", "erf", "sin", "cos", "hardswish", "mish", "relu", "silu", "sigmoid")


class Maker:
    """A network that grows by one random step after the other; no step makes numbers large or jumps."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.weights: dict[str, NDArray[np.float32]] = {}
        self.shapes: dict[str, Shape] = {}

    def pick(self, low: int, high: int) -> int:
        """low <= result <= high."""
        return int(self.draw.integers(low, high + 1))

    def add(self, op: str, inputs: str, shape: Shape, roles: dict[str, Shape] | None = None, /, **attributes: object) -> str:  # fmt: skip
        name = f"v{len(self.nodes)}"
        weights = {}
        for role, size in (roles or {}).items():
            values = self.draw.standard_normal(size) / np.sqrt(int(size[-1]))
            if len(size) == 2 and self.pick(0, 2):
                values *= self.draw.random(size) < 0.4
            weights[role] = f"{name}.{role}"
            self.weights[weights[role]] = values.astype(np.float32)
        more = tuple(f"{name}.{index}" for index in range(len(OPERATORS[op].more)))
        self.nodes.append(
            Node(op=op, name=name, inputs=tuple(inputs.split()), outputs=(name, *more), attributes=attributes, weights=weights)  # type: ignore[arg-type]
        )  # fmt: skip
        self.shapes[name] = shape
        return name

    def fixed(self, x: str) -> list[int]:
        """Positions in the shape whose size is a number."""
        return [index for index, size in enumerate(self.shapes[x]) if size != "s"]

    def function(self, x: str) -> str:
        if self.pick(0, 2) == 0:
            return self.add("clamp", x, self.shapes[x], low=-0.75, high=[None, 1.5][self.pick(0, 1)])
        return self.add(FUNCTIONS[self.pick(0, len(FUNCTIONS) - 1)], x, self.shapes[x])

    def combine(self, x: str) -> str:
        """With a value of the same shape, or one that is broadcast along an axis."""
        shape = self.shapes[x]
        same = [name for name, other in self.shapes.items() if other == shape]
        y = same[self.pick(0, len(same) - 1)]
        if self.pick(0, 1):
            axis = self.pick(0, len(shape) - 1)
            y = self.add(
                ("mean", "max", "min")[self.pick(0, 2)],
                y,
                (*shape[:axis], 1, *shape[axis + 1 :]),
                axes=[axis + 1],
                keep=True,
            )
        first, second = (x, y) if self.pick(0, 1) else (y, x)
        op = ("add", "sub", "mul", "maximum", "minimum", "div", "where")[self.pick(0, 6)]
        if op == "div":
            second = self.add(
                "affine", self.add("sigmoid", second, self.shapes[second]), self.shapes[second], scale=1.0, shift=0.5
            )  # fmt: skip
        if op == "where":  # the greater of both: it does not jump where they are almost equal
            condition = self.add("less", f"{first} {second}", shape)
            return self.add("where", f"{condition} {second} {first}", shape)
        return self.add(op, f"{first} {second}", shape)

    def along(self, x: str) -> str:
        shape = self.shapes[x]
        axis = self.pick(0, len(shape) - 1)
        kind = self.pick(0, 4)
        if kind == 0:
            return self.add("softmax", x, shape, axis=axis + 1)
        if kind == 1:
            return self.add("tanh", self.add("cumsum", x, shape, axis=axis + 1), shape)
        if kind == 2 and len(shape) > 1:
            return self.add("mean", x, (*shape[:axis], *shape[axis + 1 :]), axes=[axis + 1], keep=False)
        roles = {"weight": (shape[-1],)} if shape[-1] != "s" else {}
        return self.add(("layer_norm", "rms_norm")[self.pick(0, 1)], x, shape, roles, axes=1, epsilon=0.1)

    def move(self, x: str) -> str:
        shape, fixed = self.shapes[x], self.fixed(x)
        kind = self.pick(0, 6)
        if kind == 0 and len(shape) > 1:
            order = [int(index) for index in self.draw.permutation(len(shape))]
            return self.add("permute", x, tuple(shape[i] for i in order), order=[i + 1 for i in order])
        if kind == 1:
            return self.add("flip", x, shape, axes=[self.pick(1, len(shape))])
        if not fixed:
            return x
        axis = fixed[self.pick(0, len(fixed) - 1)]
        size = int(shape[axis])
        head, tail = shape[:axis], shape[axis + 1 :]
        if kind == 2 and len(shape) < 5:  # one axis becomes two
            part = next(part for part in (self.pick(1, size), 3, 2, 1) if size % part == 0)
            to: Shape = (*head, part, size // part, *tail)
            return self.add("reshape", x, to, shape=list(to))
        if kind == 3 and axis + 1 in fixed:  # two become one
            to = (*head, size * int(shape[axis + 1]), *shape[axis + 2 :])
            return self.add(
                "reshape", x, to, shape=[-1 if index == axis else s for index, s in enumerate(to)]
            )
        if kind == 4:
            start, step = self.pick(0, size - 1), self.pick(1, 2)
            to = (*head, len(range(start, size, step)), *tail)
            return self.add("slice", x, to, axis=axis + 1, start=start - size, stop=None, step=step)
        if kind == 5:
            before, after = self.pick(0, size - 1), self.pick(0, size - 1)
            amounts = [
                [amount if index == axis else 0 for index in range(len(shape))] for amount in (before, after)
            ]
            mode = ("constant", "reflect", "replicate")[self.pick(0, 2)]
            return self.add("pad", x, (*head, size + before + after, *tail), before=amounts[0], after=amounts[1],
                            mode=mode, value=0.5 if mode == "constant" else 0)  # fmt: skip
        if size == 1:
            to = (*head, self.pick(2, 5), *tail)
            return self.add("expand", x, to, shape=list(to))
        return self.add("concat", f"{x} {x}", (*head, 2 * size, *tail), axis=axis + 1)

    def product(self, x: str) -> str:
        shape = self.shapes[x]
        kind = self.pick(0, 3)
        if shape[-1] == "s" or kind == 0:
            if len(shape) < 2:
                return x
            other = self.function(x)
            if self.pick(0, 1):
                mode = bool(self.pick(0, 1))
                return self.add("attention", f"{x} {other} {x}", shape, scale=0.5, causal=mode, mask="none")
            square = self.add("matmul", f"{x} {other}", (*shape[:-1], shape[-2]), transpose_b=True)
            return self.add("softmax", square, self.shapes[square], axis=len(shape))
        columns, rows = int(shape[-1]), self.pick(1, 21)
        if kind == 1 and len(shape) == 2:
            gates, op = ((4, "lstm"), (3, "gru"))[self.pick(0, 1)]
            roles = {
                "input": (gates * rows, columns),
                "hidden": (gates * rows, rows),
                "bias": (gates * rows,),
            }
            y = self.add(op, x, (shape[0], rows), roles, reverse=bool(self.pick(0, 1)))
            self.shapes[f"{y}.0"] = (rows,)
            return y
        return self.add("linear", x, (*shape[:-1], rows), {"weight": (rows, columns), "bias": (rows,)})

    def network(self) -> tuple[bytes, dict[str, Shape]]:
        """The file and the shapes of its inputs."""
        rows: tuple[Shape, Shape] = (("s", self.pick(1, 20)), (self.pick(1, 7), self.pick(1, 20)))
        inputs: dict[str, Shape] = {"x": rows[0], "w": (self.pick(1, 6), *rows[1])}
        self.shapes = dict(inputs)
        x = "x"
        for _ in range(self.pick(4, 16)):
            if self.pick(0, 4) == 0:  # another branch
                x = list(self.shapes)[self.pick(0, len(self.shapes) - 1)]
            steps = (self.function, self.combine, self.along, self.move, self.move, self.product)
            made = steps[self.pick(0, len(steps) - 1)](x)
            if prod(LONGEST if size == "s" else int(size) for size in self.shapes[made]) <= MOST_NUMBERS:
                x = made
        results = [name for item in self.nodes for name in item.outputs if name in self.shapes]
        outputs = [name for name in results if name == results[-1] or self.pick(0, 5) == 0]
        network = Network(
            name="random",
            dims={"n": FreeDim(min=1, max=MOST_BATCH), "s": FreeDim(min=1, max=LONGEST)},
            inputs=tuple(Input(name=name, shape=("n", *shape)) for name, shape in inputs.items()),
            outputs=tuple(Output(name=name, value=name) for name in outputs),
            nodes=tuple(self.nodes),
        )
        stored = {}
        for name, value in self.weights.items():
            sparse = value.ndim == 2 and not value.all()
            stored[name] = pack(
                value,
                value != 0 if sparse else None,
                format="unstructured" if sparse else "dense",
                dtype="float32",
            )
        return packed_file.to_bytes(Manifest(network=network), stored), inputs


@pytest.mark.parametrize("seed", range(60))
def test_random_networks(seed: int) -> None:
    maker = Maker(seed)
    data, inputs = maker.network()
    reference = gossamer.load(data, engine="reference")
    threads = min(1 + seed % 2, usable_cpus())
    sessions = {isa: gossamer.load(data, engine="native", isa=isa, threads=threads) for isa in ISAS}
    for batch, length in ((2, LONGEST), (1, 1), (MOST_BATCH, 4), (1, LONGEST)):
        arrays = {
            name: maker.draw.standard_normal([batch, *(length if s == "s" else s for s in shape)]).astype(np.float32)
            for name, shape in inputs.items()
        }  # fmt: skip
        expected = reference.run(arrays)
        for isa, session in sessions.items():
            found = session.run(arrays)
            for name, want in expected.items():
                message = f"{isa}, {name}, batch {batch}, length {length}"
                np.testing.assert_allclose(found[name], want, rtol=1e-4, atol=5e-5, err_msg=message)
