"""Entries named by indices: constant ones are slices or a product with a matrix of ones and zeros; computed ones read a constant table."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from gossamer.export.draft import Const, Draft, Unsupported
from gossamer.export.layout import Ref
from gossamer.export.lower.call import Call, Lowering, int_size, to_array
from gossamer.export.lower.matrix import along, batched, selection
from gossamer.export.lower.pairwise import elementwise
from gossamer.export.lower.select import MAX_INPUTS, join, take
from gossamer.export.weight import Weight


def index_select(call: Call, draft: Draft) -> Ref:
    """Entries named by a constant."""
    return picked(draft, call.ref(), call.dim(), _indices(call.get("index")))


def index(call: Call, draft: Draft) -> Ref:
    """x[i, j, ...] with constant indices of neighbouring dimensions; one that counts the examples (arange over the batch) keeps them."""
    indices, x = call.get("indices"), call.ref("self")
    assert isinstance(indices, list | tuple)
    if any(isinstance(entry, Ref) for entry in indices):
        return _one_each(call, draft, x, indices)
    given = {place: _numbers(entry) for place, entry in enumerate(indices) if entry is not None}
    if x.batch_dim in given:
        given = _without_batch(x, given)
    places = sorted(given)
    if not places:
        return draft.view(x, call.out_shape, call.node)
    if places != list(range(places[0], places[-1] + 1)):
        raise Unsupported("an index of dimensions that are not neighbours", "one index at a time")
    sizes = [int_size(x.shape[place]) for place in places]
    entries = np.broadcast_arrays(*[given[place] % size for place, size in zip(places, sizes, strict=True)])
    flat = np.ravel_multi_index(tuple(entry.reshape(-1) for entry in entries), tuple(sizes))
    joined = (*x.shape[: places[0]], int(np.prod(sizes)), *x.shape[places[-1] + 1 :])
    made = picked(draft, draft.view(x, joined, call.node), places[0], [int(value) for value in flat])
    return draft.view(made, call.out_shape, call.node)


def _one_each(call: Call, draft: Draft, x: Ref, indices: Sequence[object]) -> Ref:
    """x[arange(n), i] with one computed place i for every example: a product with ones and zeros."""
    place = indices[1] if len(indices) == 2 else None
    if not isinstance(place, Ref) or len(place.dims) != 1 or indices[0] is None or x.batch_dim != 0:
        raise Unsupported(
            "an index that is computed from the input", "x[arange(n), i], or nn.Embedding for constant tables"
        )
    _without_batch(x, {0: _numbers(indices[0])})
    size = int_size(x.shape[1])
    line = draft.constant(np.arange(size, dtype=np.float32))
    chosen = elementwise(draft, "equal", replace(place, dims=(place.dims[0], ())), line)
    rest = x.shape[2:]
    flat = draft.view(x, (x.shape[0], size, int(np.prod([int_size(s) for s in rest]))), call.node)
    made = batched(draft, replace(chosen, dims=(chosen.dims[0], (), chosen.dims[1])), flat)
    return draft.view(made, call.out_shape, call.node)


def _numbers(entry: object) -> np.ndarray:
    """A constant index with a batch of two; of booleans, the places that hold."""
    if not isinstance(entry, Const):
        raise Unsupported(
            "an index that is computed from the input", "constant indices, or nn.Embedding for tables"
        )
    tensor = entry.tensor.nonzero().squeeze(-1) if entry.tensor.dtype == torch.bool else entry.tensor
    return tensor.cpu().numpy()


def _without_batch(x: Ref, given: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """The other indices, where that of the batch only counts the examples and all of them are named."""
    batch = x.batch_dim
    assert batch is not None
    counted = np.broadcast_arrays(*given.values())[list(given).index(batch)]
    first = counted.shape[0] if counted.ndim else 0
    line = np.arange(first).reshape(-1, *([1] * (counted.ndim - 1)))
    rest = {place: entry for place, entry in given.items() if place != batch}
    rank = counted.ndim
    wide = [entry for entry in rest.values() if entry.ndim == rank and entry.shape[0] != 1]
    if first != 2 or batch != 0 or wide or not np.array_equal(counted, np.broadcast_to(line, counted.shape)):
        raise Unsupported("an index of the batch", "operations on the whole batch")
    return rest


def _indices(entry: object) -> list[int]:
    if not isinstance(entry, Const):
        raise Unsupported(
            "an index that is computed from the input", "constant indices, or nn.Embedding for tables"
        )
    return [int(value) for value in entry.tensor.reshape(-1)]


def picked(draft: Draft, x: Ref, dim: int, indices: Sequence[int]) -> Ref:
    """The entries of `indices` along `dim`: slices joined, or a product with a matrix of ones and zeros."""
    size = int_size(x.shape[dim])
    wanted = [index % size for index in indices]
    runs = _runs(wanted)
    if len(runs) <= MAX_INPUTS:
        shape = (*x.shape[:dim], len(wanted), *x.shape[dim + 1 :])
        return join(draft, [take(draft, x, dim, run) for run in runs], dim, shape)
    weights = {"weight": selection(draft.fresh_name(f"{draft.current}.choice"), size, wanted)}
    return along(draft, x, dim, weights)


def _runs(wanted: Sequence[int]) -> list[range]:
    """Ascending runs with a constant step."""
    runs: list[range] = []
    for index in wanted:
        last = runs[-1] if runs else None
        if last is not None and len(last) == 1 and index > last.start:
            runs[-1] = range(last.start, index + 1, index - last.start)
        elif last is not None and len(last) > 1 and index == last[-1] + last.step:
            runs[-1] = range(last.start, index + 1, last.step)
        else:
            runs.append(range(index, index + 1))
    return runs


def gather(call: Call, draft: Draft) -> Ref:
    """Entries of a dimension named by a constant that is the same along every other one; or of a constant table, named by the input."""
    table, dim = call.get("self"), call.integer("dim") % max(len(call.out_shape), 1)
    if isinstance(table, Const) and isinstance(call.get("index"), Ref):
        return _looked_up(call, draft, table, dim)
    entry, x = call.const("index"), call.ref()
    assert entry is not None
    line = entry.tensor.movedim(dim, -1).reshape(-1, entry.tensor.shape[dim])
    if not bool((line == line[:1]).all()):
        raise Unsupported("gather with different indices along other dimensions", "index_select")
    return picked(draft, x, dim, [int(value) for value in line[0]])


def _looked_up(call: Call, draft: Draft, table: Const, dim: int) -> Ref:
    rows = table.tensor.movedim(dim, -1).reshape(-1, table.tensor.shape[dim])
    if not bool((rows == rows[:1]).all()):
        raise Unsupported("gather from a table that is not the same along other dimensions", "nn.Embedding")
    x = call.ref("index")
    weight = Weight(
        name=draft.fresh_name(f"{draft.current}.table"),
        values=to_array(rows[0]).reshape(-1, 1),
        of_model=False,
    )
    made = draft.emit("embedding", [x.value], (*draft.base(x), 1), weights={"weight": weight})
    return replace(x, value=made)


LOWERINGS: dict[str, Lowering] = {
    "aten.index_select": index_select,
    "aten.index": index,
    "aten._unsafe_index": index,
    "aten.gather": gather,
}
