"""`channel_affine` (what is left of a batch norm that cannot be folded), and norms."""

from math import prod

from gossamer.graph.operators.attributes import AXIS, int_attribute, positive, whole
from gossamer.graph.operators.base import Operator, Role, Shape, Site, expect

_OPTIONAL = Role(kind="vector", required=False)


def _expect_vectors(site: Site[Shape], size: int) -> None:
    for role, found in site.weights.items():
        expect(found == (size,), site.node, f"{role} of shape [{size}]", list(found))


def _channels(site: Site[Shape]) -> int:
    shape = site.inputs[0]
    expect(len(shape) >= 2, site.node, "an input [N, C, ...]", list(shape))
    return shape[1]


def _channel_affine(site: Site[Shape]) -> Shape:
    _expect_vectors(site, _channels(site))
    return site.inputs[0]


def _last_axes(site: Site[Shape]) -> Shape:
    shape, axes = site.inputs[0], int_attribute(site.node, "axes")
    expect(axes < len(shape), site.node, f"axes less than the rank {len(shape)}", axes)
    _expect_vectors(site, prod(shape[len(shape) - axes :]))
    return shape


def _group_norm(site: Site[Shape]) -> Shape:
    channels, groups = _channels(site), int_attribute(site.node, "groups")
    expect(channels % groups == 0, site.node, f"groups that divide {channels} channels", groups)
    _expect_vectors(site, channels)
    return site.inputs[0]


CHANNEL_AFFINE = Operator(
    name="channel_affine",
    shape=_channel_affine,
    roles={"scale": Role(kind="vector"), "shift": Role(kind="vector")},
)
LAYER_NORM = Operator(
    name="layer_norm",
    shape=_last_axes,
    attributes={"axes": AXIS, "epsilon": positive},
    roles={"weight": _OPTIONAL, "bias": _OPTIONAL},
)
RMS_NORM = Operator(
    name="rms_norm",
    shape=_last_axes,
    attributes={"axes": AXIS, "epsilon": positive},
    roles={"weight": _OPTIONAL},
    since=2,
)
GROUP_NORM = Operator(
    name="group_norm",
    shape=_group_norm,
    attributes={"groups": whole(1, 2**31 - 1), "epsilon": positive},
    roles={"weight": _OPTIONAL, "bias": _OPTIONAL},
    since=2,
)
