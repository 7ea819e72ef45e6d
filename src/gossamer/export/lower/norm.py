"""Normalization. Batch norm at inference is an affine map of the channels: scale = g / sqrt(var + eps),
shift = b - mean scale."""

import numpy as np

from gossamer.export.draft import Draft, Ref, Unsupported, Weight
from gossamer.export.lower.arithmetic import channel_affine
from gossamer.export.lower.call import Call, Lowering, int_size


def batch_norm(call: Call, draft: Draft) -> Ref:
    """Batch norm with its running statistics, computed in float64; folded later where that is possible."""
    mean, variance = call.vector("running_mean"), call.vector("running_var")
    if mean is None or variance is None or call.get("training") or call.get("use_input_stats"):
        raise Unsupported(
            "batch norm with the statistics of the batch",
            "batch norm with running statistics (track_running_stats=True), in evaluation mode",
        )
    weight, bias = call.vector("weight"), call.vector("bias")
    epsilon = call.get("eps")
    assert isinstance(epsilon, float)
    scale = 1.0 / np.sqrt(variance.astype(np.float64) + epsilon)
    if weight is not None:
        scale = scale * weight
    shift = -mean.astype(np.float64) * scale
    if bias is not None:
        shift = shift + bias
    return channel_affine(draft, call.ref(), scale, shift)


def layer_norm(call: Call, draft: Draft) -> Ref:
    """Layer norm over the last dimensions."""
    x = call.ref()
    sizes = call.get("normalized_shape")
    assert isinstance(sizes, list | tuple)
    if len(sizes) >= len(x.shape):
        raise Unsupported("layer norm over the batch", "layer norm over dimensions after the first")
    roles = {}
    for role in ("weight", "bias"):
        const = call.const(role)
        vector = call.vector(role)
        if const is not None and vector is not None:
            name = const.parameter or f"{call.name}.{role}"
            roles[role] = Weight(name=name, values=vector.reshape(-1))
    epsilon = call.get("eps")
    assert isinstance(epsilon, float)
    attributes = {"axes": len(sizes), "epsilon": epsilon}
    assert all(int_size(size) for size in sizes)
    return draft.emit("layer_norm", [draft.settle(x)], x.shape, attributes=attributes, weights=roles)


def refuse(call: Call, draft: Draft) -> Ref:
    """Norms whose statistics come from the input in another way."""
    raise Unsupported(call.op.removeprefix("aten."), "batch_norm (folded away) or layer_norm")


LOWERINGS: dict[str, Lowering] = {
    "aten.batch_norm": batch_norm,
    "aten.layer_norm": layer_norm,
    "aten.group_norm": refuse,
    "aten.rms_norm": refuse,
    "aten.instance_norm": refuse,
    "aten.local_response_norm": refuse,
}
