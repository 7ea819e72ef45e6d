"""LSTM and GRU in all directions. ONNX orders the gates i, o, f, c and z, r, h; the network i, f, g, o and r, z, n."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gossamer.export.draft import Unsupported
from gossamer.export.onnx.lower.shapes import part
from gossamer.export.onnx.scope import Call, Lowering, float_array, weight_name
from gossamer.export.onnx.values import Const, Ref, plain
from gossamer.export.weight import Weight

_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}
_DEFAULT = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"]}


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """Weights of one direction, gates in the network's order."""

    weights: Mapping[str, Weight]
    reverse: bool


def recurrent(call: Call) -> tuple[Ref | None, ...]:
    """All directions, one node each; the outputs side by side."""
    _check(call)
    first = bool(call.get("layout", 0))
    x = call.ref()
    if x.rank != 3 or x.group[1] - x.group[0] != 1 or x.batch != (0 if first else 1):
        raise Unsupported(
            f"{call.op} of a value of shape {list(x.shape)} whose batch is dimension {x.batch}",
            "the batch as dimension 1 ([length, batch, features]); batch_dims= says where the inputs have it",
        )
    value = call.scope.settled(x).value
    batch, steps, _ = call.scope.shape(value)
    cells = _cells(call)
    sizes = call.needed(2, "R").array.shape[2]
    starts = [_start(call, index, direction) for index in (5, 6) for direction in range(len(cells))]
    results = []
    for direction, cell in enumerate(cells):
        given = [starts[direction], *([starts[len(cells) + direction]] if call.op == "LSTM" else [])]
        names = _states(call, given, sizes)
        state = (batch, sizes)
        shapes = [(batch, steps, sizes), state, *([state] if call.op == "LSTM" else [])]
        results.append(
            call.scope.emit_many(
                call.op.lower(), [value, *names], shapes, {"reverse": cell.reverse}, cell.weights
            )
        )
    sequence = _joined(call, [made[0] for made in results], 2)
    lasts = [_joined(call, [made[index] for made in results], 1) for index in range(1, len(results[0]))]
    if first:
        return (plain(sequence, call.scope.shape(sequence)), *(plain(s, call.scope.shape(s)) for s in lasts))
    shape = call.scope.shape(sequence)
    whole = Ref(
        value=sequence, dims=(shape[1], shape[2], shape[0], shape[3]), order=(1, 2, 0, 3), group=(2, 3)
    )
    ends = [Ref(value=s, dims=(len(cells), batch, sizes), order=(1, 0, 2), group=(1, 2)) for s in lasts]
    return (whole, *ends)


def _check(call: Call) -> None:
    found = [str(name).lower() for name in call.get("activations") or []]
    count = 2 if call.get("direction", "forward") == "bidirectional" else 1
    if found not in ([], _DEFAULT[call.op] * count) or call.get("clip") or call.get("input_forget", 0):
        raise Unsupported(
            f"{call.op} with other activations, clip or input_forget", f"{call.op} with its defaults"
        )
    if call.given(7) is not None:
        raise Unsupported("LSTM with peepholes", "LSTM without peepholes")
    if call.op == "GRU" and not call.get("linear_before_reset", 0):
        raise Unsupported(
            "GRU with linear_before_reset=0", "linear_before_reset=1 (torch; reset_after=True in Keras)"
        )
    lengths = call.const(4, "sequence_lens") if call.op in _ORDER else None
    steps = call.ref().shape[1 if call.get("layout", 0) else 0]
    if lengths is not None and lengths.size and not (lengths == steps).all():
        raise Unsupported(f"{call.op} with sequence_lens", f"{call.op} over the whole length")


def _cells(call: Call) -> list[_Cell]:
    kernel, hidden, bias = call.needed(1, "W"), call.needed(2, "R"), call.named(3, "B")
    direction = call.get("direction", "forward")
    count, gates = kernel.array.shape[0], len(_ORDER[call.op])
    cells = []
    for index in range(count):
        suffix = "" if count == 1 else f".{index}"
        weights = {
            "input": _matrix(call, kernel, index, f"{weight_name(kernel, call, 'W')}{suffix}"),
            "hidden": _matrix(call, hidden, index, f"{weight_name(hidden, call, 'R')}{suffix}"),
        }
        if bias is not None:
            parts = (
                float_array(bias.array[index])
                .reshape(2, gates, -1)[:, list(_ORDER[call.op])]
                .astype(np.float64)
            )
            total = parts.sum(0)
            name = f"{weight_name(bias, call, 'B')}{suffix}"
            if call.op == "GRU":
                total = np.concatenate([total[:2], parts[0, 2:]])
                weights["hidden_bias"] = Weight(name=f"{name}.hidden", values=parts[1, 2])
            weights["bias"] = Weight(name=name, values=total.reshape(-1))
        cells.append(_Cell(weights=weights, reverse=direction == "reverse" or index == 1))
    return cells


def _matrix(call: Call, const: Const, index: int, name: str) -> Weight:
    """[gates H, K], the gates in the network's order."""
    matrix = float_array(const.array[index])
    order = _ORDER[call.op]
    blocks = matrix.reshape(len(order), -1, matrix.shape[1])[list(order)]
    return Weight(name=name, values=np.ascontiguousarray(blocks.reshape(matrix.shape)))


def _start(call: Call, index: int, direction: int) -> Ref | np.ndarray | None:
    """The first state of one direction: a value [N, H] or an array [H]; None for zeros."""
    found = call.given(index) if not (index == 6 and call.op == "GRU") else None
    if found is None:
        return None
    axis = 1 if call.get("layout", 0) else 0
    if isinstance(found, Const):
        own = found.array.take(direction, axis=axis)
        if not (own == own[:1]).all():
            raise Unsupported(
                f"{call.op} with a constant state for each example", "a state that is the same for all"
            )
        return own[0] if own.any() else None
    one = part(call, found, axis, direction, direction + 1)
    return call.scope.reshape(one, tuple(n for place, n in enumerate(one.shape) if place != axis))


def _states(call: Call, given: Sequence[Ref | np.ndarray | None], size: int) -> list[str]:
    """Names of the first states, [] where all are zero."""
    if all(item is None for item in given):
        return []
    return [
        call.scope.plain(item, 2)
        if isinstance(item, Ref)
        else call.scope.constant(np.zeros(size) if item is None else item)
        for item in given
    ]


def _joined(call: Call, values: Sequence[str], axis: int) -> str:
    """Results of the directions along a new dimension."""
    shapes = [call.scope.shape(value) for value in values]
    wide = [
        call.scope.as_shape(value, (*shape[:axis], 1, *shape[axis:]))
        for value, shape in zip(values, shapes, strict=True)
    ]
    if len(wide) == 1:
        return wide[0]
    shape = (*shapes[0][:axis], len(wide), *shapes[0][axis:])
    return call.scope.emit("concat", wide, shape, {"axis": axis})


LOWERINGS: dict[str, Lowering] = {"LSTM": recurrent, "GRU": recurrent}
