"""Operations that do nothing at inference, and those that only change how the model sees a value: nothing is emitted for them here."""

from dataclasses import replace

from gossamer.export.draft import Const, Draft, Unsupported
from gossamer.export.layout import Many, Ref, moved
from gossamer.export.lower.call import Call, Lowering, int_size


def alias(call: Call, draft: Draft) -> Ref:
    """identity, contiguous, detach, clone: the same value."""
    return call.ref()


def dropout(call: Call, draft: Draft) -> Ref:
    """Identity in evaluation mode."""
    if call.get("train", "training"):
        raise Unsupported(
            "dropout that is active at inference (F.dropout without training=self.training)",
            "nn.Dropout, or F.dropout(x, training=self.training)",
        )
    return call.ref()


def native_dropout(call: Call, draft: Draft) -> tuple[Ref | None, ...]:
    """The same with its mask, which nobody reads."""
    return dropout(call, draft), None


def reshape(call: Call, draft: Draft) -> Ref:
    """view, reshape, flatten, squeeze, unsqueeze: another shape of the same elements."""
    return draft.view(call.ref(), call.out_shape, call.node)


def permute(call: Call, draft: Draft) -> Ref:
    """Dimensions in another order."""
    return moved(call.ref(), permutation(call, len(call.ref().dims)))


def permutation(call: Call, rank: int) -> list[int]:
    """Which dimension of the input each dimension of the result is."""
    dims = call.get("dims")
    if call.op in ("aten.movedim", "aten.moveaxis"):
        return _moved(call, rank)
    if isinstance(dims, list | tuple):
        return [int(dim) % rank for dim in dims]
    order = list(range(rank))
    if call.op in ("aten.t", "aten.numpy_T", "aten.mT", "aten.adjoint"):
        pair = (rank - 2, rank - 1) if rank > 1 else (0, 0)
    else:
        pair = (
            int(call.integer("dim0", call.integer("axis0"))) % rank,
            int(call.integer("dim1", call.integer("axis1"))) % rank,
        )
    order[pair[0]], order[pair[1]] = order[pair[1]], order[pair[0]]
    return order


def _moved(call: Call, rank: int) -> list[int]:
    source, target = (_several(call.get(name), rank) for name in ("source", "destination"))
    rest = iter(dim for dim in range(rank) if dim not in source)
    places = dict(zip(target, source, strict=True))
    return [places[place] if place in places else next(rest) for place in range(rank)]


def _several(found: object, rank: int) -> list[int]:
    listed = found if isinstance(found, list | tuple) else [found]
    return [int_size(dim) % rank for dim in listed]


def expand(call: Call, draft: Draft) -> Ref:
    """Sizes of 1 that repeat, new dimensions in front: kept as a view."""
    ref = call.ref()
    lead = len(call.out_shape) - len(ref.dims)
    dims = list(ref.dims)
    found: list[tuple[int, ...]] = []
    for place, size in enumerate(call.out_shape):
        own = dims[place - lead] if place >= lead else ()
        if place >= lead and ref.shape[place - lead] == size:
            found.append(own)
        elif isinstance(size, Many):
            raise Unsupported(
                "an expansion to the size of the batch", "values that have the batch as one dimension"
            )
        else:
            found.append((-size,))
    return replace(ref, dims=tuple(found), origin=call.node)


def repeat(call: Call, draft: Draft) -> Ref:
    """Whole copies, side by side along every dimension."""
    ref, repeats = call.ref(), call.get("repeats", "dims")
    assert isinstance(repeats, list | tuple)
    counts = [int_size(count) for count in repeats]
    shape = (1,) * (len(counts) - len(ref.shape)) + ref.shape
    counts = [1] * (len(shape) - len(counts)) + counts
    ref = draft.view(ref, shape, call.node)
    dims: list[tuple[int, ...]] = []
    for dim, count in zip(ref.dims, counts, strict=True):
        dims += [(-count,), dim] if count != 1 else [dim]
    repeated = draft.real(replace(ref, dims=tuple(dims), origin=call.node))
    return draft.view(repeated, call.out_shape, call.node)


def repeat_interleave(call: Call, draft: Draft) -> Ref:
    """Every entry several times."""
    ref, count = call.ref(), call.get("repeats")
    if not isinstance(count, int) or call.get("dim") is None:
        raise Unsupported("repeat_interleave with counts of a tensor", "repeat_interleave(x, number, dim)")
    dim = call.dim()
    if count == 1:
        return ref
    dims = (*ref.dims[: dim + 1], (-count,), *ref.dims[dim + 1 :])
    repeated = draft.real(replace(ref, dims=dims, origin=call.node))
    return draft.view(repeated, call.out_shape, call.node)


def pixel_unshuffle(call: Call, draft: Draft) -> Ref:
    """[N, C, H f, W f] -> [N, C f f, H, W]."""
    x, factor = call.ref(), call.integer("downscale_factor")
    call.rank(x, 4)
    n, c, h, w = x.shape
    high, wide = int_size(h) // factor, int_size(w) // factor
    x = draft.view(x, (n, c, high, factor, wide, factor), call.node)
    return draft.view(moved(x, [0, 1, 3, 5, 2, 4]), call.out_shape, call.node)


def channel_shuffle(call: Call, draft: Draft) -> Ref:
    """Channels [a, b] in the order [b, a]."""
    x, groups = call.ref(), call.integer("groups")
    n, c, *rest = x.shape
    x = draft.view(x, (n, groups, int_size(c) // groups, *rest), call.node)
    order = [0, 2, 1, *range(3, len(x.dims))]
    return draft.view(moved(x, order), call.out_shape, call.node)


def carry(op: str, const: Const, call: Call) -> Const | None:
    """A parameter after an operation that keeps which parameter it is; None for an operation that
    computes."""
    if op in IDENTITIES and call.dtype == const.tensor.dtype:
        return const
    if op in PERMUTED and const.tensor.dim() > 1:
        order = permutation(call, const.tensor.dim())
        mask = None if const.mask is None else const.mask.permute(order)
        shape = tuple(const.shape[place] for place in order)
        return replace(const, tensor=const.tensor.permute(order), shape=shape, mask=mask)
    return None


IDENTITIES = frozenset(
    {
        "aten.alias", "aten.detach", "aten.contiguous", "aten.lift_fresh", "aten.lift_fresh_copy", "aten.positive", "aten.clone",
        "aten.dropout", "aten.feature_dropout", "aten.alpha_dropout", "aten.feature_alpha_dropout", "aten.to", "aten._to_copy",
        "aten.type_as",
    }
)  # fmt: skip
PERMUTED = frozenset(
    {
        "aten.permute", "aten.transpose", "aten.t", "aten.movedim", "aten.moveaxis", "aten.swapaxes", "aten.swapdims", "aten.numpy_T",
        "aten.mT", "aten.adjoint",
    }
)  # fmt: skip

LOWERINGS: dict[str, Lowering] = {
    **dict.fromkeys(
        ("aten.alias", "aten.detach", "aten.contiguous", "aten.lift_fresh", "aten.lift_fresh_copy", "aten.positive", "aten.clone",
         "aten.resolve_conj", "aten.resolve_neg"), alias
    ),
    **dict.fromkeys(("aten.dropout", "aten.feature_dropout", "aten.alpha_dropout", "aten.feature_alpha_dropout"), dropout),
    "aten.native_dropout": native_dropout,
    **dict.fromkeys(
        ("aten.view", "aten.reshape", "aten._unsafe_view", "aten.view_as", "aten.reshape_as", "aten.flatten", "aten.unflatten",
         "aten.squeeze", "aten.unsqueeze", "aten.ravel", "aten._reshape_alias", "aten._reshape_copy", "aten.view_copy"), reshape
    ),
    **dict.fromkeys(sorted(PERMUTED), permute),
    "aten.expand": expand,
    "aten.expand_as": expand,
    "aten.broadcast_to": expand,
    "aten.repeat": repeat,
    "aten.tile": repeat,
    "aten.repeat_interleave": repeat_interleave,
    "aten.pixel_unshuffle": pixel_unshuffle,
    "aten.channel_shuffle": channel_shuffle,
    "aten.native_channel_shuffle": channel_shuffle,
}  # fmt: skip
