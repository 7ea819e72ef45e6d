"""Elementwise operations of several values: the second is laid out like the first, or both as the model sees them.

Torch broadcasts from the last dimension. The operators of the network broadcast too, with equal rank and the batch first; so operands
are factorized alike, laid out in one order, and what only one of them has becomes a size of 1 in the other.
"""

from collections.abc import Sequence
from dataclasses import replace

from gossamer.export.draft import Draft, Unsupported, describe_shape
from gossamer.export.layout import Ref, Shape, Size, groups_of, product, viewed


def elementwise(draft: Draft, op: str, *operands: Ref) -> Ref:
    """Emit `op` of values that broadcast as in torch."""
    same = all(
        operand.dims == operands[0].dims
        and operand.axes == operands[0].axes
        and draft.base(operand) == draft.base(operands[0])
        for operand in operands
    )
    if same and not operands[0].repeats:
        made = draft.emit(op, [operand.value for operand in operands], draft.base(operands[0]))
        return replace(operands[0], value=made)
    matched = _matched(draft, [_simple(draft, operand, operands) for operand in operands])
    order, groups = _common(draft, matched)
    names = [_lay_out(draft, ref, own, groups) for ref, own in matched]
    shape: Shape = tuple(product(_size(matched, axis) for axis in group) for group in groups)
    made = draft.emit(op, names, shape)
    dims = _result_dims(matched)
    number = {axis: place for place, axis in enumerate(order)}
    return Ref(
        value=made,
        axes=tuple(_size(matched, axis) for axis in order),
        dims=tuple(tuple(number[axis] for axis in dim if axis in number) for dim in dims),
        origin=operands[0].origin,
    )


Own = dict[tuple[int, int], int]  # (dimension, factor) -> the operand's axis
Axis = tuple[int, int]
BATCH_AXIS: Axis = (-1, 0)


def _simple(draft: Draft, ref: Ref, others: Sequence[Ref]) -> Ref:
    """Without repetition: a size that only repeats is a size of 1 where another operand has the size itself."""
    if not ref.repeats:
        return ref
    rank = max(len(other.dims) for other in others)
    for place, dim in enumerate(ref.dims, start=rank - len(ref.dims)):
        if any(axis < 0 for axis in dim) and not any(
            other is not ref and _own_size(other, place, rank) not in (1, None) for other in others
        ):
            return draft.real(ref)
    return replace(ref, dims=tuple(tuple(axis for axis in dim if axis >= 0) for dim in ref.dims))


def _own_size(ref: Ref, place: int, rank: int) -> Size | None:
    """The size that is there in earnest."""
    own = place - (rank - len(ref.dims))
    return None if own < 0 else product(ref.axes[axis] for axis in ref.dims[own] if axis >= 0)


def _matched(draft: Draft, operands: list[Ref]) -> list[tuple[Ref, Own]]:
    """Every dimension factorized in the same way in all operands."""
    rank = max(len(ref.dims) for ref in operands)
    refs = [replace(ref, dims=((),) * (rank - len(ref.dims)) + ref.dims) for ref in operands]
    for place in range(rank):
        sizes = _factors(refs, place)
        for index, ref in enumerate(refs):
            if ref.dims[place] and [ref.axes[axis] for axis in ref.dims[place]] != sizes:
                wanted: list[Size] = [size for dim in ref.shape[:place] for size in [dim]]
                split = viewed(ref, (*wanted, *sizes, *ref.shape[place + 1 :]))
                if split is None:
                    raise Unsupported(
                        f"arithmetic with the shapes {' and '.join(describe_shape(o.shape) for o in operands)}",
                        "values whose batch is the same dimension",
                        ref.origin,
                    )
                joined = tuple(axis for dim in split.dims[place : place + len(sizes)] for axis in dim)
                dims = (*split.dims[:place], joined, *split.dims[place + len(sizes) :])
                refs[index] = replace(split, dims=dims)
    found = []
    for ref in refs:
        own: Own = {BATCH_AXIS: 0}
        for place, dim in enumerate(ref.dims):
            for factor, axis in enumerate(dim):
                if axis != 0:
                    own[place, factor] = axis
        found.append((ref, own))
    batches = {ref.batch_dim for ref in refs} - {None}
    if len(batches) > 1:
        raise Unsupported(
            f"arithmetic of every example with every other ({' and '.join(describe_shape(o.shape) for o in operands)})",
            "values whose batch is the same dimension",
        )
    return found


def _factors(refs: Sequence[Ref], place: int) -> list[Size]:
    """A factorization of dimension `place` that every operand can take."""
    lists = [[ref.axes[axis] for axis in ref.dims[place]] for ref in refs if ref.dims[place]]
    if not lists:
        return []
    best = lists[0]
    for other in lists[1:]:
        best = _refined(best, other)
    return best


def _refined(a: list[Size], b: list[Size]) -> list[Size]:
    """The coarsest factorization that both divide into, slowest first."""
    a, b, found = list(a), list(b), []
    while a and b:
        first, second = a.pop(0), b.pop(0)
        if first == second:
            found.append(first)
        elif isinstance(first, int) and isinstance(second, int) and first % second == 0:
            found.append(second)
            a.insert(0, first // second)
        elif isinstance(first, int) and isinstance(second, int) and second % first == 0:
            found.append(first)
            b.insert(0, second // first)
        else:
            return [first, *a] if len(a) > len(b) else [second, *b]
    return found


def _common(draft: Draft, matched: list[tuple[Ref, Own]]) -> tuple[list[Axis], list[list[Axis]]]:
    """The order of the axes in which the result lies, and how they are joined to dimensions."""
    everything = {axis for _, own in matched for axis in own}
    full = [entry for entry in matched if set(entry[1]) == everything]
    natural = [entry for entry in full if list(range(len(entry[0].axes))) == _flat(entry[0])]
    if full:
        ref, own = (natural or full)[0]
        order = sorted(own, key=lambda axis: own[axis])
        named = {place: axis for axis, place in own.items()}
        groups = [
            [named[place] for place in group] for group in groups_of(draft.base(ref), ref.axes) if group
        ]
        if all(_whole(group, other) for group in groups for _, other in matched):
            return order, groups
    else:
        order = [BATCH_AXIS, *sorted(everything - {BATCH_AXIS})]
    joined: list[list[Axis]] = []
    for axis in order:
        alike = joined and joined[-1] != [BATCH_AXIS]
        if alike and all(
            (joined[-1][-1] in own and axis in own and own[axis] == own[joined[-1][-1]] + 1)
            or (joined[-1][-1] not in own and axis not in own)
            for _, own in matched
        ):
            joined[-1].append(axis)
        else:
            joined.append([axis])
    return order, joined


def _flat(ref: Ref) -> list[int]:
    return [axis for dim in ref.dims for axis in dim]


def _whole(group: list[Axis], own: Own) -> bool:
    return len({axis in own for axis in group}) == 1


def _lay_out(draft: Draft, ref: Ref, own: Own, groups: list[list[Axis]]) -> str:
    """The operand with its axes in the common groups; what it lacks has size 1."""
    return draft.arrange(ref, [[own[axis] for axis in group if axis in own] for group in groups])


def _size(matched: list[tuple[Ref, Own]], axis: Axis) -> Size:
    return next(ref.axes[own[axis]] for ref, own in matched if axis in own)


def _result_dims(matched: list[tuple[Ref, Own]]) -> list[list[Axis]]:
    """The axes of every dimension of the result."""
    rank = len(matched[0][0].dims)
    dims: list[list[Axis]] = []
    for place in range(rank):
        fullest = max(matched, key=lambda entry: len(entry[0].dims[place]))[0]
        dims.append(
            [BATCH_AXIS if axis == 0 else (place, factor) for factor, axis in enumerate(fullest.dims[place])]
        )
    return dims
