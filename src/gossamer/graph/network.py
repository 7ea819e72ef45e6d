"""A network as plain data: named values, nodes in an order that can be executed, free dimensions. No torch, no behaviour.

`to_json` and `from_json` are exact inverses; `from_json` checks the structure alone (keys, types, names, ranges), the rules of operators
and shapes are in `graph.validate`.

>>> network = Network(
...     name="tiny", dims={"n": FreeDim(min=1, max=8)},
...     inputs=(Input(name="x", shape=("n", 4)),), outputs=(Output(name="y", value="v"),),
...     nodes=(Node(op="relu", name="act", inputs=("x",), outputs=("v",)),))
>>> Network.from_json(network.to_json()) == network
True
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gossamer.errors import GraphError
from gossamer.graph.fields import array, integer, mapping, member, name, show, string
from gossamer.graph.strict_json import Json

MAX_FREE = 65536
MAX_NODES = 65536
MAX_RANK = 8
DTYPES = ("float32", "int64")
_SYMBOL = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class FreeDim:
    """A dimension whose size is chosen at run time, from `min` to `max`."""

    min: int
    max: int


@dataclass(frozen=True, kw_only=True)
class Input:
    """An input value: a size is an integer or a symbol, in the first place that of the batch, elsewhere that of the length.

    `dtype`: "float32" or "int64"; integers become numbers of float32 when a run begins.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Output:
    """An output under its public name."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation. `attributes` are exactly those of docs/formats/operators.md; `weights` maps role to weight name."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Json] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class State:
    """What a session keeps: the output of that name becomes the input of that name of the next run."""

    input: str
    output: str


@dataclass(frozen=True, kw_only=True)
class Network:
    """The whole graph."""

    name: str
    dims: Mapping[str, FreeDim] = field(default_factory=dict)
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    nodes: tuple[Node, ...]
    states: tuple[State, ...] = ()

    @property
    def batch(self) -> str | None:
        """The symbol of first dimensions, where there is one."""
        return next((i.shape[0] for i in self.inputs if isinstance(i.shape[0], str)), None)

    @property
    def length(self) -> str | None:
        """The symbol of other dimensions, where there is one."""
        return next((size for i in self.inputs for size in i.shape[1:] if isinstance(size, str)), None)

    def sizes(self, *, batch: int, length: int) -> dict[str, int]:
        """The size of each symbol that the network has.

        >>> Network(name="", dims={"n": FreeDim(min=1, max=8)}, inputs=(Input(name="x", shape=("n", 4)),),
        ...         outputs=(), nodes=()).sizes(batch=2, length=7)
        {'n': 2}
        """
        found = {self.batch: batch, self.length: length}
        return {symbol: size for symbol, size in found.items() if symbol is not None}

    def to_json(self) -> dict[str, Json]:
        """The `network` of the manifest."""
        states: list[Json] = [{"input": s.input, "output": s.output} for s in self.states]
        return {
            "name": self.name,
            "dims": {symbol: {"min": dim.min, "max": dim.max} for symbol, dim in self.dims.items()},
            "inputs": [{"name": i.name, "shape": list(i.shape), "dtype": i.dtype} for i in self.inputs],
            "outputs": [{"name": o.name, "value": o.value} for o in self.outputs],
            "nodes": [
                {
                    "op": n.op,
                    "name": n.name,
                    "inputs": list(n.inputs),
                    "outputs": list(n.outputs),
                    "attributes": {
                        key: list(value)
                        if isinstance(value, Sequence) and not isinstance(value, str)
                        else value
                        for key, value in n.attributes.items()
                    },
                    "weights": dict(n.weights),
                }
                for n in self.nodes
            ],
            **({"states": states} if states else {}),
        }

    @classmethod
    def from_json(cls, value: Json) -> "Network":
        """The network that `value` describes; GraphError names the first broken rule of structure."""
        found = member(
            value, "network", keys=("name", "dims", "inputs", "outputs", "nodes"), optional=("states",)
        )
        network = cls(
            name=string(found["name"], "network name"),
            dims={symbol: _dim(symbol, dim) for symbol, dim in mapping(found["dims"], "dims").items()},
            inputs=tuple(_input(item, index) for index, item in enumerate(array(found["inputs"], "inputs"))),
            outputs=tuple(
                _output(item, index) for index, item in enumerate(array(found["outputs"], "outputs"))
            ),
            nodes=tuple(_node(item, index) for index, item in enumerate(array(found["nodes"], "nodes"))),
            states=_states(found["states"]) if "states" in found else (),
        )
        check_structure(network)
        return network


def check_structure(network: Network) -> None:
    """Rules that need no operator: counts, distinct names, symbols, values defined before they are used."""
    for what, items in (("input", network.inputs), ("output", network.outputs), ("node", network.nodes)):
        if not items:
            raise GraphError(f"network: expected at least one {what}, got none")
        _distinct([item.name for item in items], f"{what} names")
    if len(network.nodes) > MAX_NODES:
        raise GraphError(f"network: expected at most {MAX_NODES} nodes, got {len(network.nodes)}")
    _check_symbols(network)
    _check_states(network)
    defined = {item.name for item in network.inputs}
    for node in network.nodes:
        for value in node.inputs:
            if value not in defined:
                raise GraphError(
                    f"node {show(node.name)}: expected values defined before it, got {show(value)}"
                )
        for value in node.outputs:
            if value in defined:
                raise GraphError(
                    f"node {show(node.name)}: expected a new value name, got {show(value)} again"
                )
            defined.add(value)
    for output in network.outputs:
        if output.value not in defined:
            raise GraphError(
                f"output {show(output.name)}: expected a defined value, got {show(output.value)}"
            )


def _check_symbols(network: Network) -> None:
    batch, length = network.batch, network.length
    for item in network.inputs:
        if item.dtype not in DTYPES:
            raise GraphError(
                f"input {show(item.name)}: expected a dtype of {show(list(DTYPES))}, got {show(item.dtype)}"
            )
        for place, size in enumerate(item.shape):
            wanted, where = (length, "behind the first") if place else (batch, "as the first")
            if isinstance(size, str) and size != wanted:
                raise GraphError(
                    f"input {show(item.name)}: expected {show(wanted)} {where} dimension, got {show(size)}"
                )
    if batch is not None and batch == length:
        raise GraphError(
            f"inputs: expected one symbol for first dimensions and another elsewhere, got {show(batch)}"
        )
    used = {symbol for symbol in (batch, length) if symbol is not None}
    for symbol in used:
        if symbol not in network.dims:
            raise GraphError(f"inputs: expected symbols that dims define, got {show(symbol)}")
    for symbol in network.dims:
        if symbol not in used:
            raise GraphError(f"dims: expected every symbol to be used by an input, got {show(symbol)} unused")


def _check_states(network: Network) -> None:
    inputs = {item.name: item for item in network.inputs}
    outputs = {item.name for item in network.outputs}
    _distinct([state.input for state in network.states], "inputs of states")
    _distinct([state.output for state in network.states], "outputs of states")
    for state in network.states:
        item, where = inputs.get(state.input), f"state {show(state.input)}"
        if item is None:
            raise GraphError(f"{where}: expected the name of an input, got {show(state.input)}")
        if state.output not in outputs:
            raise GraphError(f"{where}: expected the name of an output, got {show(state.output)}")
        if item.dtype != "float32" or any(isinstance(size, str) for size in item.shape[1:]):
            raise GraphError(
                f"{where}: expected a float32 input without the length symbol, got {item.dtype}, {show(list(item.shape))}"
            )
    kept = {state.input for state in network.states}
    given = [item for item in network.inputs if item.name not in kept]
    if not given:
        raise GraphError("states: expected an input that is no state, got none")
    batch = network.batch
    if batch is not None and all(item.shape[0] != batch for item in given):
        raise GraphError(f"states: expected the symbol {show(batch)} in an input that is no state, got none")


def _distinct(names: list[str], what: str) -> None:
    seen: set[str] = set()
    for item in names:
        if item in seen:
            raise GraphError(f"network: expected distinct {what}, got {show(item)} twice")
        seen.add(item)


def _dim(symbol: str, value: Json) -> FreeDim:
    where = f"dims[{show(symbol)}]"
    if not _SYMBOL.fullmatch(symbol):
        raise GraphError(f"{where}: expected a symbol like n or batch_2 ([a-z][a-z0-9_]*)")
    found = member(value, where, keys=("min", "max"))
    low = integer(found["min"], f"{where} min", 1, MAX_FREE)
    return FreeDim(min=low, max=integer(found["max"], f"{where} max", low, MAX_FREE))


def _input(value: Json, index: int) -> Input:
    where = f"inputs[{index}]"
    found = member(value, where, keys=("name", "shape", "dtype"))
    sizes = array(found["shape"], f"{where} shape")
    if not 1 <= len(sizes) <= MAX_RANK:
        raise GraphError(f"{where} shape: expected 1 to {MAX_RANK} dimensions, got {len(sizes)}")
    shape = tuple(size if isinstance(size, str) else integer(size, f"{where} shape", 1) for size in sizes)
    dtype = string(found["dtype"], f"{where} dtype")
    return Input(name=name(found["name"], f"{where} name"), shape=shape, dtype=dtype)


def _states(value: Json) -> tuple[State, ...]:
    found = array(value, "states")
    if not found:
        raise GraphError("states: expected at least one, got none; leave the key out")
    states = []
    for index, item in enumerate(found):
        state = member(item, f"states[{index}]", keys=("input", "output"))
        states.append(
            State(
                input=name(state["input"], f"states[{index}] input"),
                output=name(state["output"], f"states[{index}] output"),
            )
        )
    return tuple(states)


def _output(value: Json, index: int) -> Output:
    where = f"outputs[{index}]"
    found = member(value, where, keys=("name", "value"))
    return Output(name=name(found["name"], f"{where} name"), value=name(found["value"], f"{where} value"))


def _node(value: Json, index: int) -> Node:
    where = f"nodes[{index}]"
    found = member(value, where, keys=("op", "name", "inputs", "outputs", "attributes", "weights"))
    outputs = array(found["outputs"], f"{where} outputs")
    return Node(
        op=string(found["op"], f"{where} op"),
        name=name(found["name"], f"{where} name"),
        inputs=tuple(name(item, f"{where} inputs") for item in array(found["inputs"], f"{where} inputs")),
        outputs=tuple(name(item, f"{where} outputs") for item in outputs),
        attributes=mapping(found["attributes"], f"{where} attributes"),
        weights={
            role: name(weight, f"{where} weights")
            for role, weight in mapping(found["weights"], f"{where} weights").items()
        },
    )
