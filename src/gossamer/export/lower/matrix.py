"""Products: `linear` with a constant matrix, y = x W^T + b, W [O, K]; `matmul` of two values; einsum as one of them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gossamer.export.draft import Const, Draft, Unsupported
from gossamer.export.layout import Many, Ref, Shape, groups_of, moved, parts, product, seen
from gossamer.export.lower.activation import affine
from gossamer.export.lower.arithmetic import plus, times
from gossamer.export.lower.call import Call, Lowering, bias_weight, describe, int_size, matrix_weight, operand
from gossamer.export.lower.pairwise import elementwise
from gossamer.export.lower.reduction import reduce
from gossamer.export.weight import Weight


def along_last(draft: Draft, x: Ref, weights: dict[str, Weight]) -> Ref:
    """`linear` over the last dimension of `x`, on the value as it lies where that is its last dimension too."""
    rows = weights["weight"].shape[0]
    groups = groups_of(draft.base(x), x.axes)
    if len(groups) < 2 or groups[-1] != list(x.dims[-1]) or not x.dims[-1]:
        x = draft.led(x)
        value, shape, places = draft.lead(x)
        last = places[-1]
        if last != len(shape) - 1:
            raise Unsupported(
                "a product over the batch", "products over dimensions that do not hold the batch"
            )
    else:
        value, shape = x.value, draft.base(x)
    made = draft.emit("linear", [value], (*shape[:-1], rows), weights=weights)
    axes, dims = list(x.axes), list(x.dims)
    if dims[-1]:
        gone = dims[-1]
        axes = axes[: gone[0]]
    dims[-1] = (len(axes),) if rows != 1 else ()
    if rows != 1:
        axes.append(rows)
    return replace(x, value=made, axes=tuple(axes), dims=tuple(dims))


def along(draft: Draft, x: Ref, dim: int, weights: dict[str, Weight]) -> Ref:
    """`linear` over any dimension."""
    order = [place for place in range(len(x.dims)) if place != dim]
    made = along_last(draft, moved(x, [*order, dim]), weights)
    back = [*range(dim), len(order), *range(dim, len(order))]
    return moved(made, back)


def selection(name: str, columns: int, chosen: Sequence[int]) -> Weight:
    """The matrix whose row i takes column chosen[i]."""
    matrix = np.zeros((len(chosen), columns), np.float32)
    matrix[np.arange(len(chosen)), np.asarray(chosen, dtype=np.int64)] = 1.0
    return Weight(name=f"{name}.weight", values=matrix, mask=matrix == 1.0, of_model=False)


def linear(call: Call, draft: Draft) -> Ref:
    """F.linear."""
    weight = call.get("weight")
    if not isinstance(weight, Const):
        turned = moved(operand(draft, weight), [1, 0])
        made = product_of(call, draft, call.get("input"), turned)
        return made if call.get("bias") is None else plus(draft, made, call.get("bias"))
    if weight.tensor.dim() == 1:
        column = Const(tensor=weight.tensor[None], shape=weight.shape, parameter=weight.parameter)
        made = with_matrix(call, draft, call.ref(), column, call.vector("bias"))
        return replace(made, dims=made.dims[:-1])
    bias = call.get("bias")
    if isinstance(bias, Ref):
        return plus(draft, with_matrix(call, draft, call.ref(), weight, None), bias)
    return with_matrix(call, draft, call.ref(), weight, call.vector("bias"))


def with_matrix(call: Call, draft: Draft, x: Ref, weight: Const, bias: np.ndarray | None) -> Ref:
    """Product with a matrix [O, K]."""
    if bias is not None and bias.size != weight.tensor.shape[0]:
        bias = np.broadcast_to(bias, (weight.tensor.shape[0],)).copy()
    return along_last(draft, x, bias_weight(matrix_weight(call, weight), bias))


def matmul(call: Call, draft: Draft) -> Ref:
    """x @ y: matmul, mm, bmm, mv, dot."""
    return product_of(call, draft, call.get("self", "input"), call.get("other", "mat2", "vec", "tensor"))


def product_of(call: Call, draft: Draft, first: object, second: object) -> Ref:
    """The product as torch.matmul defines it, with constants on either side."""
    ranks = [_rank(first), _rank(second)]
    a = first if ranks[0] > 1 else _with_one(first, 0)
    b = second if ranks[1] > 1 else _with_one(second, 1)
    made = _matrices(call, draft, a, b)
    dims = list(made.dims)
    if ranks[1] == 1:
        del dims[-1]
    if ranks[0] == 1:
        del dims[-1 if ranks[1] == 1 else -2]
    return replace(made, dims=tuple(dims))


def _matrices(call: Call, draft: Draft, a: object, b: object) -> Ref:
    if isinstance(a, Ref) and isinstance(b, Const) and (matrix := _as_matrix(b)) is not None:
        made = with_matrix(call, draft, a, _turned(matrix), None)
        lead = b.tensor.dim() - len(a.dims)
        return replace(made, dims=((),) * max(lead, 0) + made.dims)
    if isinstance(a, Const) and isinstance(b, Ref) and (matrix := _as_matrix(a)) is not None:
        order = [*range(len(b.dims) - 2), len(b.dims) - 1, len(b.dims) - 2]
        return moved(with_matrix(call, draft, moved(b, order), matrix, None), order)
    return batched(draft, operand(draft, a), operand(draft, b))


def batched(draft: Draft, a: Ref, b: Ref) -> Ref:
    """`matmul` of two values [..., M, K] and [..., K, P]; dimensions in front broadcast."""
    rank = max(len(a.dims), len(b.dims))
    first, second = (
        replace(side, dims=((),) * (rank - len(side.dims)) + side.dims)
        for side in (draft.real(a), draft.real(b))
    )
    if any(0 in side.dims[place] for side in (first, second) for place in (-1, -2)):
        return _by_hand(draft, first, second)
    lead = [_common_lead(place, first, second) for place in range(rank - 2)]
    names, shapes = [], []
    dims: list[list[int]] = [[] for _ in range(rank)]
    fronts: list[list[list[int]]] = [[], []]
    for place in range(rank - 2):
        for number, side in enumerate((first, second)):
            own = parts(side.dims[place])
            fronts[number] += own if own else [[] for _ in range(lead[place])]
    transposed = bool(second.dims[-1] and second.dims[-2]) and second.dims[-1][0] < second.dims[-2][0]
    for number, side in enumerate((first, second)):
        last = [list(side.dims[-2]), list(side.dims[-1])]
        if number == 1 and transposed:
            last.reverse()
        lay: list[list[int]] = [[0], *fronts[number], *last]
        names.append(draft.arrange(side, lay))
        shapes.append([product(side.axes[axis] for axis in group) for group in lay])
    count = len(shapes[0])
    front = [one if one != 1 else other for one, other in zip(shapes[0][1:-2], shapes[1][1:-2], strict=True)]
    outer = shapes[1][-2] if transposed else shapes[1][-1]
    batch = shapes[0][0]
    shape: Shape = (batch, *front, shapes[0][-2], outer)
    made = draft.emit("matmul", names, shape, attributes={"transpose_b": transposed})
    at = 1
    for place in range(rank - 2):
        holder = next((side.dims[place] for side in (first, second) if 0 in side.dims[place]), None)
        own_places = list(range(at, at + lead[place]))
        at += lead[place]
        if holder is not None:
            before = list(holder).index(0)
            own_places.insert(before, 0)
        dims[place] = own_places
    dims[-2], dims[-1] = [count - 2], [count - 1]
    return replace(seen(made, shape, dims), origin=a.origin)


def _common_lead(place: int, first: Ref, second: Ref) -> int:
    """How many sizes beside the batch dimension `place` has in the product."""
    mine, other = (
        [product(s.axes[axis] for axis in part) for part in parts(s.dims[place])] for s in (first, second)
    )
    if mine and other and mine != other:
        raise Unsupported(
            f"a product of {describe(first.shape)} and {describe(second.shape)} whose dimension {place} is put together differently",
            "the same views on both sides",
        )
    return max(len(mine), len(other))


def _by_hand(draft: Draft, a: Ref, b: Ref) -> Ref:
    """A product whose rows or columns are the batch, against a value that is the same in every example: sum of products."""
    if (a.batch_dim is not None and b.batch_dim is not None) or 0 in a.dims[-1] or 0 in b.dims[-2]:
        raise Unsupported(
            "a product of every example with every other", "products of what belongs to one example"
        )
    rows = replace(a, dims=(*a.dims[:-1], (), a.dims[-1]))
    order = [*range(len(b.dims) - 2), len(b.dims) - 1, len(b.dims) - 2]
    columns = moved(b, order)
    columns = replace(columns, dims=(*columns.dims[:-2], (), *columns.dims[-2:]))
    summed = elementwise(draft, "mul", rows, columns)
    return reduce(draft, "sum", summed, [len(summed.dims) - 1], False)


def _rank(side: object) -> int:
    assert isinstance(side, Ref | Const)
    return len(side.dims) if isinstance(side, Ref) else side.tensor.dim()


def _with_one(side: object, place: int) -> Ref | Const:
    """A vector as a row (place 0) or column (place 1)."""
    if isinstance(side, Ref):
        return replace(side, dims=((), *side.dims) if place == 0 else (*side.dims, ()))
    assert isinstance(side, Const)
    shape: Shape = (1, *side.shape) if place == 0 else (*side.shape, 1)
    mask = None if side.mask is None else side.mask.unsqueeze(place)
    return replace(side, tensor=side.tensor.unsqueeze(place), shape=shape, mask=mask)


def _as_matrix(const: Const) -> Const | None:
    """A constant whose dimensions in front are 1 as a matrix."""
    lead = const.tensor.dim() - 2
    if any(isinstance(size, Many) for size in const.shape) or any(
        size != 1 for size in const.tensor.shape[:lead]
    ):
        return None
    if lead == 0:
        return const
    mask = None if const.mask is None else const.mask.reshape(const.tensor.shape[lead:])
    tensor = const.tensor.reshape(const.tensor.shape[lead:])
    return Const(tensor=tensor, shape=const.shape[lead:], parameter=const.parameter, mask=mask)


def _turned(const: Const) -> Const:
    mask = None if const.mask is None else const.mask.t()
    shape = (const.shape[1], const.shape[0])
    return Const(tensor=const.tensor.t(), shape=shape, parameter=const.parameter, mask=mask)


def addmm(call: Call, draft: Draft) -> Ref:
    """beta * b + alpha * x @ y: addmm, baddbmm, addbmm's kin."""
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    first, second = call.get("mat1", "batch1"), call.get("mat2", "batch2")
    bias = call.get("self", "input")
    simple = alpha == 1.0 and beta == 1.0 and isinstance(first, Ref) and isinstance(second, Const)
    if simple and isinstance(bias, Const) and bias.tensor.dim() == 1 and _rank(second) == 2:
        assert isinstance(first, Ref)
        assert isinstance(second, Const)
        return with_matrix(call, draft, first, _turned(second), call.vector("self"))
    made = affine(draft, product_of(call, draft, first, second), alpha)
    if beta == 0.0:
        return made
    return plus(draft, made, bias if beta == 1.0 else times(draft, operand(draft, bias), beta))


def einsum(call: Call, draft: Draft) -> Ref:
    """A product of two values, or a sum over one, by letters."""
    equation, tensors = call.get("equation"), call.get("tensors")
    assert isinstance(equation, str)
    assert isinstance(tensors, list | tuple)
    left, _, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if (
        "." in equation
        or not right
        or any(len(set(term)) < len(term) for term in (*terms, right))
        or len(terms) > 2
    ):
        raise Unsupported(
            f"einsum {equation!r}", "einsum of one or two values, each letter once in a term, with a result"
        )
    if len(terms) == 1:
        x, letters = operand(draft, tensors[0]), terms[0]
        gone = [place for place, letter in enumerate(letters) if letter not in right]
        if gone:
            x, letters = reduce(draft, "sum", x, gone, False), "".join(c for c in letters if c in right)
        return moved(x, [letters.index(letter) for letter in right])
    return _two_terms(call, draft, tensors, terms, right)


def _two_terms(call: Call, draft: Draft, tensors: Sequence[object], terms: Sequence[str], right: str) -> Ref:
    """Dimensions in the order [both and kept, own, summed] on each side; then a product."""
    sides: list[object] = list(tensors)
    letters = list(terms)
    for number in (0, 1):
        alone = [c for c in letters[number] if c not in letters[1 - number] and c not in right]
        if alone:
            places = [letters[number].index(c) for c in alone]
            sides[number] = reduce(draft, "sum", operand(draft, sides[number]), places, False)
            letters[number] = "".join(c for c in letters[number] if c not in alone)
    a, b = letters
    shared = [c for c in a if c in b and c in right]
    summed = [c for c in a if c in b and c not in right]
    own = [[c for c in term if c not in (*shared, *summed)] for term in letters]
    x = _grouped(draft, call, sides[0], a, [*[[c] for c in shared], own[0], summed])
    y = _grouped(draft, call, sides[1], b, [*[[c] for c in shared], summed, own[1]])
    made = product_of(call, draft, x, y)
    sizes = {
        c: size
        for term, tensor in zip(letters, sides, strict=True)
        for c, size in zip(term, tensor.shape, strict=True)  # type: ignore[attr-defined]
    }
    made = draft.view(made, tuple(sizes[c] for c in (*shared, *own[0], *own[1])), call.node)
    order = [*shared, *own[0], *own[1]]
    return moved(made, [order.index(c) for c in right])


def _grouped(draft: Draft, call: Call, side: object, letters: str, groups: list[list[str]]) -> Ref | Const:
    """The dimensions joined in groups; a dimension of 1 for an empty group."""
    order = [letters.index(c) for group in groups for c in group]
    if isinstance(side, Const):
        if any(isinstance(size, Many) for size in side.shape):
            side = operand(draft, side)
        else:
            sizes = [[int_size(side.shape[letters.index(c)]) for c in group] for group in groups]
            shape = tuple(int(np.prod(group)) for group in sizes)
            mask = None if side.mask is None else side.mask.permute(order).reshape(shape)
            return Const(
                tensor=side.tensor.permute(order).reshape(shape),
                shape=shape,
                parameter=side.parameter,
                mask=mask,
            )
    assert isinstance(side, Ref)
    turned = moved(draft.real(side), order)
    dims = iter(turned.dims)
    joined = [tuple(axis for _ in group for axis in next(dims)) for group in groups]
    return replace(turned, dims=tuple(joined), origin=call.node)


LOWERINGS: dict[str, Lowering] = {
    "aten.linear": linear,
    "aten.matmul": matmul,
    "aten.mm": matmul,
    "aten.bmm": matmul,
    "aten.mv": matmul,
    "aten.dot": matmul,
    "aten.addmm": addmm,
    "aten.baddbmm": addmm,
    "aten.einsum": einsum,
}
