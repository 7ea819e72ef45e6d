"""Tables of vectors read by whole numbers."""

from gossamer.export.draft import Draft, Unsupported
from gossamer.export.layout import Ref
from gossamer.export.lower.call import Call, Lowering, matrix_weight
from gossamer.export.lower.pairwise import elementwise


def embedding(call: Call, draft: Draft) -> Ref:
    """weight[indices]; the indices as they lie in the network."""
    table = call.const("weight")
    assert table is not None
    return rows(call, draft, call.ref("indices", "input"))


def rows(call: Call, draft: Draft, x: Ref) -> Ref:
    """The row of the table for every whole number."""
    table = call.const("weight")
    assert table is not None
    if table.tensor.dim() != 2:
        raise Unsupported("a table that is no matrix", "nn.Embedding")
    weight = matrix_weight(call, table)
    width = int(weight.values.shape[1])
    base = draft.base(x)
    made = draft.emit("embedding", [x.value], (*base, width), weights={"weight": weight})
    if width == 1:
        return Ref(value=made, axes=x.axes, dims=(*x.dims, ()), origin=x.origin)
    return Ref(value=made, axes=(*x.axes, width), dims=(*x.dims, (len(x.axes),)), origin=x.origin)


def one_hot(call: Call, draft: Draft) -> Ref:
    """1 where the entry's number is the index, else 0."""
    from dataclasses import replace

    import numpy as np

    x, count = call.ref(), call.integer("num_classes", -1)
    if count < 1:
        raise Unsupported("one_hot without num_classes", "F.one_hot(x, num_classes)")
    numbers = draft.constant(np.arange(count, dtype=np.float32))
    return elementwise(draft, "equal", replace(x, dims=(*x.dims, ())), numbers)


LOWERINGS: dict[str, Lowering] = {
    "aten.embedding": embedding,
    "aten.one_hot": one_hot,
}
