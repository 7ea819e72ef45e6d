"""Reductions along dimensions, positions of maxima, running sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gossamer.export.draft import Unsupported
from gossamer.export.onnx.scope import Call, Lowering
from gossamer.export.onnx.values import Ref
from gossamer.graph.strict_json import Json


def reduction(op: str, before: str | None = None, after: str | None = None) -> Lowering:
    """Reduce*; before, after: elementwise operators around it."""

    def lower(call: Call) -> Ref:
        x = call.ref()
        axes = call.integers(1, "axes")
        if not axes and call.get("noop_with_empty_axes", 0):
            return x
        if before == "square":
            x = replace(x, value=call.scope.emit("mul", [x.value, x.value], call.scope.shape(x.value)))
        elif before is not None:
            x = call.like(x, before)
        made = reduce(call, x, op, axes or range(x.rank), keep=bool(call.get("keepdims", 1)))
        return made if after is None else call.like(made, after)

    return lower


def reduce(call: Call, x: Ref, op: str, axes: Sequence[int], *, keep: bool) -> Ref:
    """Emit a reduction; the mean over an image's positions is adaptive pooling."""
    places = sorted({x.place(axis) for axis in axes})
    net = sorted(x.order[place] for place in places)
    shape = call.scope.shape(x.value)
    small = tuple(1 if place in net else size for place, size in enumerate(shape))
    if op == "mean" and len(shape) == 4 and net == [2, 3]:
        value = call.scope.emit("adaptive_avg_pool2d", [x.value], small, {"output": [1, 1]})
        if not keep:
            value = call.scope.as_shape(value, shape[:2])
    else:
        wanted = small if keep else tuple(size for place, size in enumerate(shape) if place not in net)
        attributes: dict[str, Json] = {"axes": [*net], "keep": keep}
        value = call.scope.emit(op, [x.value], wanted, attributes)
    return reduced(x, value, places, keep=keep)


def reduced(x: Ref, value: str, places: Sequence[int], *, keep: bool) -> Ref:
    """How ONNX sees `x` after dimensions became 1 or disappeared."""
    if keep:
        dims = tuple(1 if place in places else size for place, size in enumerate(x.dims))
        return replace(x, value=value, dims=dims)
    rest = [place for place in range(len(x.dims)) if place not in places]
    left = sorted(x.order[place] for place in rest)
    shift = sum(place < x.group[0] for place in places)
    return Ref(
        value=value,
        dims=tuple(x.dims[place] for place in rest),
        order=tuple(left.index(x.order[place]) for place in rest),
        group=(x.group[0] - shift, x.group[1] - shift),
    )


def argmax(call: Call) -> Ref:
    """ArgMax; ArgMin is that of -x."""
    if call.get("select_last_index", 0):
        raise Unsupported(f"{call.op} with select_last_index", f"{call.op} of the first index")
    x = call.ref() if call.op == "ArgMax" else call.like(call.ref(), "neg")
    axis, keep = int(call.get("axis", 0)), bool(call.get("keepdims", 1))
    place, net, shape = x.place(axis), x.net_axis(axis), call.scope.shape(x.value)
    small = (*shape[:net], *([1] if keep else []), *shape[net + 1 :])
    value = call.scope.emit("argmax", [x.value], small, {"axis": net, "keep": keep})
    call.scope.whole.add(value)
    return reduced(x, value, [place], keep=keep)


def cumsum(call: Call) -> Ref:
    """CumSum from the first element, itself counted."""
    if call.get("exclusive", 0) or call.get("reverse", 0):
        raise Unsupported("CumSum with exclusive or reverse", "CumSum from the first element")
    x = call.ref()
    axis = int(call.needed(1, "axis").array.reshape(-1)[0])
    made = call.like(x, "cumsum", {"axis": x.net_axis(axis)})
    if x.value in call.scope.whole:
        call.scope.whole.add(made.value)
    return made


LOWERINGS: dict[str, Lowering] = {
    "ReduceMean": reduction("mean"),
    "ReduceSum": reduction("sum"),
    "ReduceMax": reduction("max"),
    "ReduceMin": reduction("min"),
    "ReduceL1": reduction("sum", before="abs"),
    "ReduceL2": reduction("sum", before="square", after="sqrt"),
    "ReduceSumSquare": reduction("sum", before="square"),
    "ReduceLogSum": reduction("sum", after="log"),
    "ReduceLogSumExp": reduction("sum", before="exp", after="log"),
    "ArgMax": argmax,
    "ArgMin": argmax,
    "CumSum": cumsum,
}
