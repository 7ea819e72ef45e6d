"""Elementwise functions and softmax."""

from collections.abc import Mapping

from gossamer.export.draft import Draft, Ref, Unsupported
from gossamer.export.lower.call import Call, Lowering
from gossamer.graph.strict_json import Json

KEEPS_ZERO = frozenset({"relu", "relu6", "silu", "gelu"})


def elementwise(draft: Draft, x: Ref, op: str, attributes: Mapping[str, Json] | None = None) -> Ref:
    """Emit `op` on the value as it lies in the network; reshapes and, where f(0) = 0, padding stay
    pending."""
    if any(x.padding) and op not in KEEPS_ZERO:
        x = draft.view(x, x.shape)
    out = draft.emit(op, [x.value], draft.base(x), attributes=attributes)
    return Ref(value=out.value, shape=x.shape, storage=out.storage, padding=x.padding, origin=x.origin)


def simple(op: str) -> Lowering:
    """A lowering for an operator without attributes."""

    def lower(call: Call, draft: Draft) -> Ref:
        return elementwise(draft, call.ref(), op)

    return lower


def gelu(call: Call, draft: Draft) -> Ref:
    """GELU, exact or by tanh."""
    kind = call.get("approximate", default="none")
    assert isinstance(kind, str)
    return elementwise(draft, call.ref(), "gelu", {"approximate": kind})


def clamp(call: Call, draft: Draft) -> Ref:
    """hardtanh and clamp: from 0 to 6 is relu6, from 0 upwards relu."""
    low, high = call.get("min_val", "min"), call.get("max_val", "max")
    if low == 0 and high == 6:
        return elementwise(draft, call.ref(), "relu6")
    if low == 0 and high is None:
        return elementwise(draft, call.ref(), "relu")
    raise Unsupported(f"clamping to {low}..{high}", "relu (0..) or relu6 (0..6)")


def softmax(call: Call, draft: Draft) -> Ref:
    """Softmax over one dimension after the batch."""
    x = call.ref()
    axis = call.integer("dim") % len(x.shape)
    if axis == 0:
        raise Unsupported("softmax over the batch", "softmax over a dimension after the first")
    return draft.emit("softmax", [draft.settle(x)], x.shape, attributes={"axis": axis})


def refuse(nearest: str) -> Lowering:
    """A lowering that refuses and names the nearest supported form."""

    def lower(call: Call, draft: Draft) -> Ref:
        raise Unsupported(call.op.removeprefix("aten."), nearest)

    return lower


_RECTIFIERS = "relu, relu6, silu, gelu or sigmoid"

LOWERINGS: dict[str, Lowering] = {
    "aten.relu": simple("relu"),
    "aten.relu6": simple("relu6"),
    "aten.silu": simple("silu"),
    "aten.sigmoid": simple("sigmoid"),
    "aten.gelu": gelu,
    "aten.hardtanh": clamp,
    "aten.clamp": clamp,
    "aten.clamp_min": clamp,
    "aten.softmax": softmax,
    "aten._softmax": softmax,
    "aten.log_softmax": refuse("softmax, or leave the logits as they are"),
    "aten.hardswish": refuse("silu"),
    "aten.hardsigmoid": refuse("relu6(x + 3) / 6"),
    "aten.leaky_relu": refuse("relu, or relu(x) - a * relu(-x)"),
    "aten.prelu": refuse("relu"),
    "aten.elu": refuse("silu or gelu"),
    "aten.selu": refuse("silu or gelu"),
    "aten.celu": refuse("silu or gelu"),
    "aten.mish": refuse("silu"),
    "aten.softplus": refuse("silu"),
    "aten.tanh": refuse("2 * sigmoid(2 * x) - 1, which is the same"),
    "aten.lstm": refuse("no recurrent operator exists yet; linear and convolution layers"),
    "aten.gru": refuse("no recurrent operator exists yet; linear and convolution layers"),
    "aten.rnn_tanh": refuse("no recurrent operator exists yet; linear and convolution layers"),
    "aten.rnn_relu": refuse("no recurrent operator exists yet; linear and convolution layers"),
    "aten.scaled_dot_product_attention": refuse(
        "no attention operator exists yet; linear layers and softmax"
    ),
    "aten.embedding": refuse("no embedding operator exists yet; inputs of float32 features"),
    "aten.upsample_nearest2d": refuse("pooling and convolution; resize images before the network"),
    "aten.upsample_bilinear2d": refuse("pooling and convolution; resize images before the network"),
    "aten.max": refuse("max_pool2d or adaptive_max_pool2d(1)"),
    "aten.pixel_shuffle": refuse(f"convolutions with stride; elementwise {_RECTIFIERS}"),
}
