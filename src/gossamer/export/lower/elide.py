"""Operations that do nothing at inference, and those that only change the shape: no node, or at most one
`flatten` later."""

from dataclasses import replace

import torch

from gossamer.export.draft import Const, Draft, Ref, Unsupported
from gossamer.export.lower.call import Call, Lowering, describe, int_size
from gossamer.export.lower.linear import along_channels, selection


def alias(call: Call, draft: Draft) -> Ref:
    """identity, contiguous, detach, ...: the same value."""
    return call.ref()


def copy(call: Call, draft: Draft) -> Ref:
    """clone: the same value, but a later in-place operation on the one does not change the other."""
    return draft.copy(call.ref())


def dropout(call: Call, draft: Draft) -> Ref:
    """Identity in evaluation mode."""
    if call.get("train", "training"):
        raise Unsupported(
            "dropout that is active at inference (F.dropout without training=self.training)",
            "nn.Dropout, or F.dropout(x, training=self.training)",
        )
    return call.ref()


def to(call: Call, draft: Draft) -> Ref:
    """A conversion that keeps float32."""
    value = call.node.meta["val"]
    if value.dtype != torch.float32:
        raise Unsupported(f"conversion to {str(value.dtype).removeprefix('torch.')}", "float32 throughout")
    return call.ref()


def reshape(call: Call, draft: Draft) -> Ref:
    """view, reshape, flatten, squeeze, unsqueeze: another shape of the same elements."""
    return draft.view(call.ref(), call.out_shape, call.node)


def permute(call: Call, draft: Draft) -> Ref:
    """A permutation that only moves dimensions of size 1 is a reshape, one of groups of channels a product;
    another one is not supported."""
    ref = call.ref()
    order = _order(call, len(ref.shape))
    moved = [axis for axis in order if ref.shape[axis] != 1]
    if moved != sorted(moved):
        base = draft.base(ref)
        if order == [0, 2, 1, 3, 4] and len(base) == 4 and not any(ref.padding) and base[2:] == ref.shape[3:]:
            return _shuffled(call, draft, ref)
        raise Unsupported(
            f"permutation of {describe(ref.shape)} to {describe(call.out_shape)}",
            "keep images as [N, C, H, W] and tokens as [N, T, K]; dimensions of size 1 may be moved, channels shuffled in groups",
        )
    return draft.view(ref, call.out_shape, call.node)


def _shuffled(call: Call, draft: Draft, ref: Ref) -> Ref:
    """Channel shuffle: an image [N, a b, H, W] seen as [N, a, b, H, W], then as [N, b, a, H, W]. One kept
    weight a row."""
    outer, inner = int_size(ref.shape[1]), int_size(ref.shape[2])
    name = draft.fresh_name(draft.current or "shuffle")
    order = [row * inner + column for column in range(inner) for row in range(outer)]
    weights = {"weight": selection(name, outer * inner, order)}
    image = replace(ref, shape=draft.base(ref))
    return draft.view(along_channels(draft, image, weights, reserved=name), call.out_shape, call.node)


def expand(call: Call, draft: Draft) -> Ref:
    """An expansion to the shape that the value has already."""
    ref = call.ref()
    if ref.shape != call.out_shape:
        raise Unsupported(
            f"expansion of {describe(ref.shape)} to {describe(call.out_shape)}", "operands of equal shape"
        )
    return ref


def _order(call: Call, rank: int) -> list[int]:
    dims = call.get("dims")
    if isinstance(dims, list | tuple):
        return [int(dim) % rank for dim in dims]
    order = list(range(rank))
    first, second = (0, 1) if call.op == "aten.t" else (call.integer("dim0"), call.integer("dim1"))
    order[first], order[second] = order[second], order[first]
    return order


def carry(op: str, const: Const, arguments: dict[str, object]) -> Const | None:
    """A parameter after an operation that keeps which parameter it is; None for an operation that
    computes."""
    if op in ELIDED and op not in SHAPED:
        return const
    if op == "aten.t":
        return _turned(const, 0, 1)
    if op == "aten.transpose":
        first, second = arguments["dim0"], arguments["dim1"]
        assert isinstance(first, int)
        assert isinstance(second, int)
        return _turned(const, first, second)
    return None


def _turned(const: Const, first: int, second: int) -> Const:
    if const.tensor.dim() < 2:
        return const
    mask = None if const.mask is None else const.mask.transpose(first, second)
    return replace(const, tensor=const.tensor.transpose(first, second), mask=mask)


SHAPED: dict[str, Lowering] = {
    "aten.view": reshape,
    "aten.reshape": reshape,
    "aten._unsafe_view": reshape,
    "aten.flatten": reshape,
    "aten.unflatten": reshape,
    "aten.squeeze": reshape,
    "aten.unsqueeze": reshape,
    "aten.permute": permute,
    "aten.transpose": permute,
    "aten.t": permute,
    "aten.expand": expand,
    "aten.expand_as": expand,
}

ELIDED: dict[str, Lowering] = {
    "aten.alias": alias,
    "aten.detach": alias,
    "aten.contiguous": alias,
    "aten.lift_fresh": alias,
    "aten.positive": alias,
    "aten.clone": copy,
    "aten.lift_fresh_copy": copy,
    "aten.dropout": dropout,
    "aten.feature_dropout": dropout,
    "aten.alpha_dropout": dropout,
    "aten.feature_alpha_dropout": dropout,
    "aten.to": to,
    "aten._to_copy": to,
    "aten.type_as": to,
    **SHAPED,
}
