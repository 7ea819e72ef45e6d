"""Normalization. Batch norm at inference is an affine map of the channels: scale = g / sqrt(var + eps),
shift = b - mean scale."""

from dataclasses import replace

import numpy as np

from gossamer.export.draft import Draft, Unsupported
from gossamer.export.layout import Ref, groups_of
from gossamer.export.lower.arithmetic import mapped
from gossamer.export.lower.call import Call, Lowering, int_size
from gossamer.export.lower.pairwise import elementwise
from gossamer.export.weight import Weight
from gossamer.graph.strict_json import Json


def batch_norm(call: Call, draft: Draft) -> Ref:
    """Batch norm with its running statistics, computed in float64; folded later where that is possible."""
    mean, variance = call.vector("running_mean"), call.vector("running_var")
    if mean is None or variance is None or call.get("training"):
        raise Unsupported(
            "batch norm with the statistics of the batch",
            "batch norm with running statistics (track_running_stats=True), in evaluation mode",
        )
    weight, bias = call.vector("weight"), call.vector("bias")
    scale = 1.0 / np.sqrt(variance.astype(np.float64) + call.number("eps", 1e-5))
    if weight is not None:
        scale = scale * weight
    shift = -mean.astype(np.float64) * scale
    if bias is not None:
        shift = shift + bias
    return _channels(draft, call.ref(), scale, shift)


def batch_norm_first(call: Call, draft: Draft) -> tuple[Ref | None, ...]:
    """The same where torch gives statistics too, which nobody reads."""
    return batch_norm(call, draft), None, None


def _channels(draft: Draft, x: Ref, scale: np.ndarray, shift: np.ndarray) -> Ref:
    """y = scale[c] x + shift[c] over dimension 1 of the model."""
    groups = groups_of(draft.base(x), x.axes)
    dim = list(x.dims[1])
    if scale.size == 1 and groups and len(groups) > 1 and draft.base(x)[1] == 1:
        return mapped(draft, "channel_affine", x, scale, shift)
    for op, place in (("channel_affine", 1), ("feature_affine", len(groups) - 1)):
        if 0 < place < len(groups) and groups[place] == dim:
            return mapped(draft, op, x, scale, shift)
    shape = [1] * len(x.shape)
    shape[1] = scale.size
    factor, offset = (draft.constant(v.reshape(shape).astype(np.float32)) for v in (scale, shift))
    return elementwise(draft, "add", elementwise(draft, "mul", x, factor), offset)


def _trailing(call: Call, draft: Draft) -> tuple[str, Ref, int]:
    """The value with the normalized dimensions last, each of them a dimension of its own; and how many."""
    x, sizes = call.ref(), call.get("normalized_shape")
    assert isinstance(sizes, list | tuple)
    count = len(sizes)
    if any(0 in dim for dim in x.dims[len(x.dims) - count :]):
        raise Unsupported("normalization over the batch", "normalization over dimensions of one example")
    wanted = [list(dim) for dim in x.dims[len(x.dims) - count :]]
    groups = groups_of(draft.base(x), x.axes)
    if len(groups) > count and groups[-count:] == wanted and all(wanted):
        return x.value, x, count
    value, _, _ = draft.lead(x)
    return value, draft.led(x), count


def _roles(call: Call) -> dict[str, Weight]:
    roles = {}
    for role in ("weight", "bias"):
        const, vector = call.const(role) if role in call.arguments else None, None
        vector = None if const is None else call.vector(role)
        if const is not None and vector is not None:
            name = const.parameter or f"{call.name}.{role}"
            roles[role] = Weight(name=name, values=vector.reshape(-1))
    return roles


def layer_norm(call: Call, draft: Draft) -> Ref:
    """Layer norm over the last dimensions."""
    value, x, count = _trailing(call, draft)
    attributes: dict[str, Json] = {"axes": count, "epsilon": call.number("eps", 1e-5)}
    made = draft.emit("layer_norm", [value], draft.shapes[value], attributes=attributes, weights=_roles(call))
    return replace(x, value=made)


def layer_norm_first(call: Call, draft: Draft) -> tuple[Ref | None, ...]:
    """The same where torch gives statistics too."""
    return layer_norm(call, draft), None, None


def rms_norm(call: Call, draft: Draft) -> Ref:
    """x / sqrt(mean(x^2) + eps) * weight."""
    value, x, count = _trailing(call, draft)
    epsilon = call.number("eps", float(np.finfo(np.float32).eps))
    attributes: dict[str, Json] = {"axes": count, "epsilon": epsilon}
    made = draft.emit("rms_norm", [value], draft.shapes[value], attributes=attributes, weights=_roles(call))
    return replace(x, value=made)


def group_norm(call: Call, draft: Draft) -> Ref:
    """Each group of channels normalized over the whole example."""
    return _groups(call, draft, call.integer("num_groups", call.integer("group", 1)))


def group_norm_first(call: Call, draft: Draft) -> tuple[Ref | None, ...]:
    """The same where torch gives statistics too."""
    return group_norm(call, draft), None, None


def instance_norm(call: Call, draft: Draft) -> Ref:
    """Each channel normalized over the image, or with its running statistics."""
    if call.get("use_input_stats") is not True:
        return batch_norm(call, draft)
    return _groups(call, draft, int_size(call.ref().shape[1]))


def _groups(call: Call, draft: Draft, groups: int) -> Ref:
    value, shape, places = draft.lead(call.ref())
    if places[1:2] != [1] or places[0] is not None:
        raise Unsupported("group norm of a batch joined with other sizes", "[N, C, ...]")
    attributes: dict[str, Json] = {"groups": groups, "epsilon": call.number("eps", 1e-5)}
    made = draft.emit("group_norm", [value], shape, attributes=attributes, weights=_roles(call))
    return replace(draft.led(call.ref()), value=made)


LOWERINGS: dict[str, Lowering] = {
    "aten.batch_norm": batch_norm,
    "aten._native_batch_norm_legit_no_training": batch_norm_first,
    "aten._native_batch_norm_legit": batch_norm_first,
    "aten.native_batch_norm": batch_norm_first,
    "aten.layer_norm": layer_norm,
    "aten.native_layer_norm": layer_norm_first,
    "aten.rms_norm": rms_norm,
    "aten.group_norm": group_norm,
    "aten.native_group_norm": group_norm_first,
    "aten.instance_norm": instance_norm,
}
