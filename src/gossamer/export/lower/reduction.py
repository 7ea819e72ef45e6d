"""Sums, means, extrema and what is made of them: variances, norms, log-softmax, cosine similarity."""

import math
from collections.abc import Sequence
from dataclasses import replace
from math import prod

from gossamer.export.draft import Draft, Unsupported
from gossamer.export.layout import Ref, Shape, groups_of
from gossamer.export.lower.activation import affine, clamped, number, unary
from gossamer.export.lower.arithmetic import raised
from gossamer.export.lower.call import Call, Lowering, int_size
from gossamer.export.lower.pairwise import elementwise
from gossamer.graph.strict_json import Json

IMAGE = 4


def reduce(draft: Draft, op: str, x: Ref, dims: Sequence[int], keep: bool) -> Ref:
    """`op` over dimensions of the model; they become 1 (keep) or disappear."""
    if any(0 in x.dims[dim] for dim in dims):
        raise Unsupported(f"{op} over the batch", f"{op} over dimensions that do not hold the batch")
    base = draft.base(x)
    groups = groups_of(base, x.axes)
    gone = {axis for dim in dims for axis in x.dims[dim]}
    places = [place for place, group in enumerate(groups) if group and set(group) <= gone]
    if {axis for place in places for axis in groups[place]} != gone or len(gone) == 0:
        x = draft.led(x)
        value, base, found = draft.lead(x)
        x = replace(x, value=value)
        groups = groups_of(base, x.axes)
        gone = {axis for dim in dims for axis in x.dims[dim]}
        places = sorted(place for dim in dims if (place := found[dim]) is not None)
    left = [place for place in range(len(base)) if place not in places]
    if op == "mean" and len(base) == IMAGE and places == [2, 3]:
        pooled: Shape = (*base[:2], 1, 1)
        made = draft.emit("adaptive_avg_pool2d", [x.value], pooled, attributes={"output": [1, 1]})
    elif places:
        shape: Shape = tuple(base[place] for place in left)
        attributes: dict[str, Json] = {"axes": [*places], "keep": False}
        made = draft.emit(op, [x.value], shape, attributes=attributes)
    else:
        made = x.value
    kept = [axis for axis in range(len(x.axes)) if axis not in gone]
    number_of = {axis: place for place, axis in enumerate(kept)}
    result = [
        () if place in dims else tuple(number_of[axis] for axis in dim)
        for place, dim in enumerate(x.dims)
        if keep or place not in dims
    ]
    return Ref(value=made, axes=tuple(x.axes[axis] for axis in kept), dims=tuple(result), origin=x.origin)


def reduction(op: str) -> Lowering:
    """A lowering for a reduction over `dim` (all dimensions where it is missing)."""

    def lower(call: Call, draft: Draft) -> Ref:
        return reduce(draft, op, call.ref(), call.dims(), call.get("keepdim") is True)

    return lower


def extreme(op: str) -> Lowering:
    """max and min: of two values, over everything, or over a dimension with the places."""
    from gossamer.export.lower.arithmetic import extremum

    pairwise = extremum("maximum" if op == "max" else "minimum")

    def lower(call: Call, draft: Draft) -> Ref | tuple[Ref | None, ...]:
        if "other" in call.arguments:
            return pairwise(call, draft)
        keep = call.get("keepdim") is True
        values = reduce(draft, op, call.ref(), call.dims(), keep)
        if "dim" not in call.arguments:
            return values
        return values, _place(draft, op, call.ref(), call.dim(), keep)

    return lower


def arg_extreme(op: str) -> Lowering:
    """argmax and argmin over one dimension."""

    def lower(call: Call, draft: Draft) -> Ref:
        x = call.ref()
        if call.get("dim") is None and len(x.shape) != 1:
            raise Unsupported("argmax over everything", "argmax over one dimension")
        return _place(draft, op, x, call.dim(), call.get("keepdim") is True)

    return lower


def _place(draft: Draft, op: str, x: Ref, dim: int, keep: bool) -> Ref:
    source, axis = draft.axis(x if op == "max" else unary(draft, "neg", x), dim)
    base = draft.base(source)
    shape: Shape = tuple(1 if place == axis else size for place, size in enumerate(base))
    made = draft.emit("argmax", [source.value], shape, attributes={"axis": axis, "keep": True})
    gone = set(source.dims[dim])
    kept = [place for place in range(len(source.axes)) if place not in gone]
    number_of = {old: new for new, old in enumerate(kept)}
    dims = [tuple(number_of[a] for a in d if a not in gone) for d in source.dims]
    if not keep:
        del dims[dim]
    return Ref(value=made, axes=tuple(source.axes[a] for a in kept), dims=tuple(dims))


def top(call: Call, draft: Draft) -> tuple[Ref | None, ...]:
    """topk and sort of a single entry: the largest and its place."""
    if call.op != "aten.topk" or call.integer("k") != 1:
        raise Unsupported(call.op.removeprefix("aten."), "max or argmax over a dimension (topk with k = 1)")
    op = "max" if call.get("largest") is not False else "min"
    dim = call.dim(default=-1)
    return reduce(draft, op, call.ref(), [dim], True), _place(draft, op, call.ref(), dim, True)


def variance(call: Call, draft: Draft) -> Ref | tuple[Ref | None, ...]:
    """var, std, and both with the mean."""
    x, dims, keep = call.ref(), call.dims(), call.get("keepdim") is True
    correction = call.number("correction", 1.0)
    if call.get("unbiased") is False:
        correction = 0.0
    middle = reduce(draft, "mean", x, dims, True)
    apart = elementwise(draft, "sub", x, middle)
    count = prod(int_size(x.shape[dim]) for dim in dims)
    squares = reduce(draft, "mean", elementwise(draft, "mul", apart, apart), dims, keep)
    found = affine(draft, squares, count / (count - correction))
    if "std" in call.op:
        found = unary(draft, "sqrt", found)
    return (found, reduce(draft, "mean", x, dims, keep)) if call.op.endswith("_mean") else found


def norm(call: Call, draft: Draft) -> Ref:
    """Vector norms: 2, 1, infinity, 0, and any other power."""
    order = call.get("p", "ord", default=2)
    if order is None or order == "fro":
        order = 2
    if not isinstance(order, int | float):
        raise Unsupported(f"the norm {order}", "vector norms: ord = 1, 2, inf")
    return vector_norm(draft, call.ref(), float(order), call.dims(), call.get("keepdim") is True)


def vector_norm(draft: Draft, x: Ref, order: float, dims: Sequence[int], keep: bool) -> Ref:
    """(sum of |x|^order)^(1/order)."""
    if order == 2:
        return unary(draft, "sqrt", reduce(draft, "sum", elementwise(draft, "mul", x, x), dims, keep))
    if order == 0:
        return reduce(draft, "sum", elementwise(draft, "not_equal", x, number(draft, 0.0)), dims, keep)
    size = unary(draft, "abs", x)
    if math.isinf(order):
        return reduce(draft, "max" if order > 0 else "min", size, dims, keep)
    total = reduce(draft, "sum", raised(draft, size, order), dims, keep)
    return raised(draft, total, 1.0 / order)


def log_sum_exp(call: Call, draft: Draft) -> Ref:
    """Largest + log(sum(exp(x - largest)))."""
    x, dims, keep = call.ref(), call.dims(), call.get("keepdim") is True
    largest = reduce(draft, "max", x, dims, True)
    powers = unary(draft, "exp", elementwise(draft, "sub", x, largest))
    total = unary(draft, "log", reduce(draft, "sum", powers, dims, keep))
    return elementwise(draft, "add", total, largest if keep else reduce(draft, "max", x, dims, False))


def log_softmax(call: Call, draft: Draft) -> Ref:
    """x - largest - log(sum(exp(x - largest)))."""
    x, dims = call.ref(), [call.dim()]
    apart = elementwise(draft, "sub", x, reduce(draft, "max", x, dims, True))
    total = reduce(draft, "sum", unary(draft, "exp", apart), dims, True)
    return elementwise(draft, "sub", apart, unary(draft, "log", total))


def truth(op: str) -> Lowering:
    """any and all."""

    def lower(call: Call, draft: Draft) -> Ref:
        holds = elementwise(draft, "not_equal", call.ref(), number(draft, 0.0))
        return reduce(draft, op, holds, call.dims(), call.get("keepdim") is True)

    return lower


def count_nonzero(call: Call, draft: Draft) -> Ref:
    """How many are not zero."""
    return reduce(
        draft, "sum", elementwise(draft, "not_equal", call.ref(), number(draft, 0.0)), call.dims(), False
    )


def cosine_similarity(call: Call, draft: Draft) -> Ref:
    """x . y / (max(|x|, eps) max(|y|, eps))."""
    first, second = call.value(draft, "x1"), call.value(draft, "x2")
    rank = max(len(first.shape), len(second.shape))
    dim = call.integer("dim", 1) % rank
    epsilon = call.number("eps", 1e-8)
    product = elementwise(draft, "mul", first, second)
    for side in (first, second):
        own = dim - (rank - len(side.shape))
        length = clamped(draft, vector_norm(draft, side, 2.0, [own], True), epsilon, None)
        product = elementwise(draft, "div", product, length)
    return reduce(draft, "sum", product, [dim], False)


def cumulated(call: Call, draft: Draft) -> Ref:
    """Running sums along one dimension."""
    x, axis = draft.axis(call.ref(), call.dim())
    return unary(draft, "cumsum", x, {"axis": axis})


LOWERINGS: dict[str, Lowering] = {
    "aten.mean": reduction("mean"),
    "aten.sum": reduction("sum"),
    "aten.amax": reduction("max"),
    "aten.amin": reduction("min"),
    "aten.max": extreme("max"),
    "aten.min": extreme("min"),
    "aten.argmax": arg_extreme("max"),
    "aten.argmin": arg_extreme("min"),
    "aten.topk": top,
    "aten.sort": top,
    "aten.var": variance,
    "aten.std": variance,
    "aten.var_mean": variance,
    "aten.std_mean": variance,
    "aten.norm": norm,
    "aten.linalg_norm": norm,
    "aten.linalg_vector_norm": norm,
    "aten.frobenius_norm": norm,
    "aten.logsumexp": log_sum_exp,
    "aten.log_softmax": log_softmax,
    "aten._log_softmax": log_softmax,
    "aten.any": truth("max"),
    "aten.all": truth("min"),
    "aten.count_nonzero": count_nonzero,
    "aten.cosine_similarity": cosine_similarity,
    "aten.cumsum": cumulated,
}
