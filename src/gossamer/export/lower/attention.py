"""Attention: softmax(scale q k^T + mask) v becomes one operator."""

from dataclasses import replace

import numpy as np
import torch

from gossamer.export.draft import Draft, Unsupported
from gossamer.export.layout import Ref, Shape, parts, product, seen
from gossamer.export.lower.call import Call, Lowering, int_size, operand
from gossamer.graph.strict_json import Json


def scaled_dot_product(call: Call, draft: Draft) -> Ref:
    """F.scaled_dot_product_attention of [N, ..., T, D], [N, ..., S, D] and [N, ..., S, E]."""
    q, k, v = (draft.real(call.value(draft, name)) for name in ("query", "key", "value"))
    if call.number("dropout_p", 0.0):
        raise Unsupported("attention with dropout at inference", "dropout_p = 0.0")
    if call.get("enable_gqa") is True:
        k, v = (_repeated(draft, call, side, q) for side in (k, v))
    rank = max(len(side.dims) for side in (q, k, v))
    q, k, v = (replace(side, dims=((),) * (rank - len(side.dims)) + side.dims) for side in (q, k, v))
    if any(0 in side.dims[place] for side in (q, k, v) for place in (-1, -2)):
        raise Unsupported("attention over the batch", "attention within an example")
    front = _front(call, q, k, v)
    names, shapes = [], []
    for side in (q, k, v):
        own = [part for dim in side.dims[:-2] for part in parts(dim)]
        own = own if len(own) == len(front) else [[] for _ in front]
        groups: list[list[int]] = [[0], *own, list(side.dims[-2]), list(side.dims[-1])]
        names.append(draft.arrange(side, groups))
        shapes.append([product(side.axes[axis] for axis in group) for group in groups])
    width = int_size(shapes[0][-1])
    mode, mask = _mask(call, draft, q, len(shapes[0]))
    attributes: dict[str, Json] = {
        "scale": call.number("scale", 1.0 / float(np.sqrt(width))),
        "causal": call.get("is_causal") is True,
        "mask": mode,
    }
    shape: Shape = (*shapes[0][:-1], shapes[2][-1])
    made = draft.emit("attention", [*names, *mask], shape, attributes=attributes)
    dims: list[list[int]] = []
    place = 1
    for dim in q.dims[:-2]:
        here = list(range(place, place + len(parts(dim))))
        place += len(here)
        if 0 in dim:
            here.insert(1 if dim[0] != 0 else 0, 0)
        dims.append(here)
    dims += [[place], [place + 1]]
    return replace(seen(made, shape, dims), origin=call.node)


def _front(call: Call, *sides: Ref) -> list[object]:
    """Sizes of the axes between the batch and the last two dimensions, which all sides share."""
    lists = [
        [product(side.axes[axis] for axis in part) for dim in side.dims[:-2] for part in parts(dim)]
        for side in sides
    ]
    if any(sizes != lists[0] for sizes in lists):
        raise Unsupported(
            "attention of values with different heads (broadcasting)",
            "as many heads in key and value as in query",
        )
    return list(lists[0])


def _mask(call: Call, draft: Draft, q: Ref, rank: int) -> tuple[str, list[str]]:
    """How the mask is meant, and its value as [N or 1, ..., T or 1, S or 1]."""
    given = call.get("attn_mask")
    if given is None:
        return "none", []
    node = call.node.args[3] if len(call.node.args) > 3 else call.node.kwargs["attn_mask"]
    assert isinstance(node, torch.fx.Node)
    mode = "keep" if node.meta["val"].dtype == torch.bool else "add"
    mask = operand(draft, given)
    dims = tuple(tuple(axis for axis in dim if axis >= 0) for dim in mask.dims)
    mask = replace(mask, dims=((),) * (len(q.dims) - len(dims)) + dims)
    groups: list[list[int]] = [[0]]
    for own, dim in zip(mask.dims[:-2], q.dims[:-2], strict=True):
        mine, wanted = parts(own), parts(dim)
        if len(mine) not in (0, len(wanted)):
            raise Unsupported(
                "an attention mask whose heads are put together differently", "a mask [N, 1, T, S]"
            )
        groups += mine or [[] for _ in wanted]
    groups += [list(mask.dims[-2]), list(mask.dims[-1])]
    assert len(groups) == rank
    return mode, [draft.arrange(mask, groups)]


def _repeated(draft: Draft, call: Call, side: Ref, q: Ref) -> Ref:
    """Each head of keys and values for a group of heads of the queries."""
    heads, own = int_size(q.shape[-3]), int_size(side.shape[-3])
    if heads == own:
        return side
    dim = len(side.dims) - 3
    dims = (*side.dims[: dim + 1], (-(heads // own),), *side.dims[dim + 1 :])
    shape = (*side.shape[:dim], heads, *side.shape[dim + 1 :])
    return draft.view(draft.real(replace(side, dims=dims)), shape, call.node)


LOWERINGS: dict[str, Lowering] = {
    "aten.scaled_dot_product_attention": scaled_dot_product,
}
