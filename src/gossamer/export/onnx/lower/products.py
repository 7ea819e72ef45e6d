"""Products: with a constant matrix a `linear` layer, of two values `matmul`; attention."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np

from gossamer.export.draft import Unsupported
from gossamer.export.onnx.lower.broadcast import align
from gossamer.export.onnx.scope import Call, Lowering, float_array, weight_name
from gossamer.export.onnx.values import Const, Entry, Ref, plain, transposed
from gossamer.export.weight import Weight, sibling


def linear(call: Call, x: Ref, matrix: np.ndarray, name: str, bias: Weight | None = None) -> Ref:
    """Over ONNX's last dimension; matrix: [O, K]."""
    if x.group[1] == len(x.dims):
        raise Unsupported(f"a product over the batch of {list(x.shape)}", "products over the last dimension")
    if x.order[-1] != len(x.order) - 1:
        x = call.scope.settled(x)
    shape = call.scope.shape(x.value)
    if shape[-1] != matrix.shape[1]:
        raise Unsupported(
            f"a product of {list(x.shape)} with a matrix [{matrix.shape[1]}, {matrix.shape[0]}]",
            "equal inner sizes",
        )
    weights = {"weight": Weight(name=name, values=np.ascontiguousarray(matrix))}
    if bias is not None:
        weights["bias"] = bias
    value = call.scope.emit("linear", [x.value], (*shape[:-1], matrix.shape[0]), weights=weights)
    return replace(x, value=value, dims=(*x.dims[:-1], int(matrix.shape[0])))


def gemm(call: Call) -> Ref:
    """alpha A B + beta C with a constant B."""
    const = call.needed(1, "B")
    weight = float_array(const.array)
    matrix = weight if call.get("transB", 0) else weight.T
    alpha, beta = float(call.get("alpha", 1.0)), float(call.get("beta", 1.0))
    if call.get("transA", 0):
        raise Unsupported("Gemm with transA", "Gemm of [N, K]")
    matrix = matrix if alpha == 1.0 else matrix * np.float32(alpha)
    x = call.ref()
    c = call.given(2)
    if isinstance(c, Const) and c.array.size in (1, matrix.shape[0]) and c.array.shape[:-1] in ((), (1,)):
        values = np.broadcast_to(float_array(c.array).reshape(-1), (matrix.shape[0],)) * np.float32(beta)
        name = weight_name(const, call)
        bias = Weight(name=c.name or sibling(name, "bias"), values=np.array(values))
        return linear(call, x, matrix, name, bias)
    product = linear(call, x, matrix, weight_name(const, call))
    if c is None:
        return product
    if beta != 1.0:
        raise Unsupported("Gemm with beta and a C that is no vector", "Gemm with a vector C")
    return _sum(call, product, c)


def _sum(call: Call, first: Ref, second: Entry) -> Ref:
    found = align(call.scope, [first, second])
    return found.result(call.scope.emit("add", found.names(call.scope), found.shape))


def matmul(call: Call) -> Ref:
    """MatMul."""
    a, b = call.given(0), call.given(1)
    if isinstance(a, Ref) and isinstance(b, Const) and b.array.ndim <= 2:
        matrix = float_array(b.array)
        if matrix.ndim == 1:
            made = linear(call, a, matrix[None], weight_name(b, call))
            return call.scope.reshape(made, made.shape[:-1])
        return linear(call, a, matrix.T, weight_name(b, call))
    if isinstance(a, Const) and isinstance(b, Ref) and a.array.ndim == 2 and b.rank > 2:
        axes = (*range(b.rank - 2), b.rank - 1, b.rank - 2)
        return transposed(linear(call, transposed(b, axes), float_array(a.array), weight_name(a, call)), axes)
    if a is None or b is None:
        raise Unsupported("MatMul without two inputs", "MatMul with two inputs")
    return product(call, a, b)


def product(call: Call, a: Entry, b: Entry) -> Ref:
    """Of two values, or of a value and a constant with more than two dimensions."""
    shapes = [entry.shape if isinstance(entry, Ref) else entry.array.shape for entry in (a, b)]
    if min(len(shape) for shape in shapes) < 2:
        raise Unsupported(
            f"MatMul of the shapes {list(shapes[0])} and {list(shapes[1])}", "at least [M, K] x [K, P]"
        )
    first, second, like = pair(call, a, b)
    shape_a, shape_b = call.scope.shape(first), call.scope.shape(second)
    if shape_a[-1] != shape_b[-2]:
        raise Unsupported(f"MatMul of {list(shapes[0])} and {list(shapes[1])}", "equal inner sizes")
    between = np.broadcast_shapes(shape_a[:-2], shape_b[:-2])
    shape = (*(int(n) for n in between), shape_a[-2], shape_b[-1])
    value = call.scope.emit("matmul", [first, second], shape, {"transpose_b": False})
    return _as_like(like, value, shape)


def _as_like(like: Ref, value: str, shape: tuple[int, ...]) -> Ref:
    return replace(like, value=value, dims=tuple(shape[place] for place in like.order))


def pair(call: Call, a: Entry, b: Entry) -> tuple[str, str, Ref]:
    """Both operands with the same leading dimensions (batch among them), as values of equal rank >= 3."""
    rank = max(entry.rank if isinstance(entry, Ref) else entry.array.ndim for entry in (a, b))
    heads: list[Entry] = []
    for entry in (a, b):
        if isinstance(entry, Ref):
            if entry.group[1] > len(entry.dims) - 2:
                raise Unsupported(
                    f"a product of a value of shape {list(entry.shape)} along the batch",
                    "products of [N, ..., M, K]",
                )
            heads.append(call.scope.settled(entry))
        else:
            array = entry.array
            heads.append(Const(array=array.reshape((1,) * (rank - array.ndim) + array.shape)))
    refs = [entry for entry in heads if isinstance(entry, Ref)]
    like = max(refs, key=lambda ref: len(ref.dims))
    names = []
    for entry in heads:
        if isinstance(entry, Ref):
            if (entry.order, entry.group) != (like.order, like.group):
                raise Unsupported(
                    f"a product of values of the shapes {[list(r.shape) for r in refs]} with the batch in different places",
                    "the batch in the same place",
                )
            if entry.dims[slice(*entry.group)] != like.dims[slice(*like.group)]:
                raise Unsupported(
                    "a product of values that multiply the batch differently", "equal leading dimensions"
                )
            names.append(entry.value)
        else:
            first, last = like.group
            if entry.array.shape[first] != 1:
                raise Unsupported("a product with a constant for each example", "constants without the batch")
            wide = entry.array.reshape(
                *entry.array.shape[:first], *([1] * (last - first)), *entry.array.shape[first + 1 :]
            )
            places = [like.order.index(axis) for axis in range(1, len(like.order))]
            names.append(call.scope.constant(wide.transpose(like.batch, *places)[0]))
    return names[0], names[1], like


def attention(call: Call) -> Ref | tuple[Ref | None, ...]:
    """Attention of opset 23: [N, heads, T, D] or [N, T, heads D], without a cache of keys."""
    if any(call.given(index) is not None for index in (4, 5, 6)) or any(call.node.outputs[1:]):
        raise Unsupported(
            "Attention with past keys, or with more than one output", "Attention of q, k, v and a mask"
        )
    if call.get("softcap", 0.0) or call.get("qk_matmul_output_mode", 0):
        raise Unsupported("Attention with softcap", "Attention without softcap")
    flat = call.ref().rank == 3
    heads = [
        int(call.get("q_num_heads", 0)),
        int(call.get("kv_num_heads", 0)),
        int(call.get("kv_num_heads", 0)),
    ]
    q, k, v = (_heads(call, call.ref(i), heads[i]) if flat else call.ref(i) for i in range(3))
    if q.shape[1] != k.shape[1]:
        k, v = (_repeated(call, x, q.shape[1] // k.shape[1]) for x in (k, v))
    names = [call.scope.plain(x, 4) for x in (q, k, v)]
    scale = call.get("scale")
    mode = "none"
    mask = call.given(3)
    if mask is not None:
        is_bool = isinstance(mask, Const) and mask.array.dtype == np.bool_
        is_bool = is_bool or (isinstance(mask, Ref) and mask.value in call.scope.truths)
        mode = "keep" if is_bool else "add"
        names.append(_mask(call, mask))
    shape = (*q.shape[:3], v.shape[3])
    attributes: dict[str, Any] = {
        "scale": float(scale) if scale is not None else 1.0 / sqrt(q.shape[3]),
        "causal": bool(call.get("is_causal", 0)),
        "mask": mode,
    }
    out = plain(call.scope.emit("attention", names, shape, attributes), shape)
    if not flat:
        return out
    return call.scope.reshape(transposed(out, (0, 2, 1, 3)), (shape[0], shape[2], shape[1] * shape[3]))


def _mask(call: Call, mask: Entry) -> str:
    if isinstance(mask, Ref):
        value = call.scope.plain(mask)
        shape = call.scope.shape(value)
        return call.scope.as_shape(value, (shape[0], *([1] * (4 - len(shape))), *shape[1:]))
    array = mask.array.reshape((1,) * (4 - mask.array.ndim) + mask.array.shape)
    if not (array == array[:1]).all():
        raise Unsupported("a constant mask for each example", "a mask that is the same for all examples")
    return call.scope.constant(array[0])


def _heads(call: Call, x: Ref, count: int) -> Ref:
    batch, steps, size = x.shape
    return transposed(call.scope.reshape(x, (batch, steps, count, size // count)), (0, 2, 1, 3))


def _repeated(call: Call, x: Ref, times: int) -> Ref:
    """Grouped queries: every head of keys serves `times` heads of queries."""
    value = call.scope.plain(x, 4)
    n, heads, steps, size = call.scope.shape(value)
    split = call.scope.as_shape(value, (n, heads, 1, steps, size))
    wide = call.scope.emit(
        "expand", [split], (n, heads, times, steps, size), {"shape": [heads, times, steps, size]}
    )
    shape = (n, heads * times, steps, size)
    return plain(call.scope.as_shape(wide, shape), shape)


LOWERINGS: dict[str, Lowering] = {"Gemm": gemm, "MatMul": matmul, "Attention": attention}
