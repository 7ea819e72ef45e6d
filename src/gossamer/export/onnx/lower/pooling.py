"""Pooling over windows and over whole images, and resizing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gossamer.export.draft import Unsupported
from gossamer.export.onnx.lower.convolution import Image, Pads, Window, image, padding, spatial, window
from gossamer.export.onnx.scope import Call, Lowering
from gossamer.export.onnx.values import Ref, plain
from gossamer.graph.strict_json import Json


def max_pool(call: Call) -> Ref:
    """MaxPool without indices."""
    if len([name for name in call.node.outputs if name]) > 1:
        raise Unsupported("MaxPool with indices", "MaxPool with one output")
    source, w, pads, sizes = _window(call)
    attributes: dict[str, Json] = {**_attributes(w, pads), "dilation": [*w.dilation]}
    return source.result(call, _emit(call, "max_pool2d", source, sizes, attributes))


def average_pool(call: Call) -> Ref:
    """AveragePool; rows added by ceil_mode never count, so that needs symmetric counting."""
    source, w, pads, sizes = _window(call)
    include = bool(call.get("count_include_pad", 0))
    if w.dilation != (1, 1):
        raise Unsupported("AveragePool with dilations", "AveragePool without dilation")
    original = padding(call, source, w)
    if include and pads != original and any(original):
        raise Unsupported("AveragePool with ceil_mode and count_include_pad", "one of the two")
    attributes: dict[str, Json] = {**_attributes(w, pads), "count_include_pad": include and pads == original}
    return source.result(call, _emit(call, "avg_pool2d", source, sizes, attributes))


def global_average(call: Call) -> Ref:
    """The mean over all positions."""
    source = image(call)
    shape = (*source.shape[:2], 1, 1)
    value = call.scope.emit("adaptive_avg_pool2d", [source.value], shape, {"output": [1, 1]})
    return source.result(call, value)


def global_max(call: Call) -> Ref:
    """The maximum over all positions."""
    source = image(call)
    value = call.scope.emit("max", [source.value], (*source.shape[:2], 1, 1), {"axes": [2, 3], "keep": True})
    return source.result(call, value)


def _window(call: Call) -> tuple[Image, Window, Pads, tuple[int, ...]]:
    source = image(call)
    w = window(call, call.get("kernel_shape"), source.flat)
    pads = padding(call, source, w)
    ceil = bool(call.get("ceil_mode", 0))
    sizes = list(spatial(source.shape, w, pads, ceil=ceil))
    for place in (0, 1):  # a window that begins in the padding after the image is left out
        if ceil and (sizes[place] - 1) * w.stride[place] >= source.shape[2 + place] + pads[place]:
            sizes[place] -= 1
        missing = (sizes[place] - 1) * w.stride[place] + w.reach[place]
        missing -= source.shape[2 + place] + pads[place] + pads[place + 2]
        if missing > 0:
            pads = (*pads[: place + 2], pads[place + 2] + missing, *pads[place + 3 :])  # type: ignore[assignment]
    if any(pads[place] > w.reach[place % 2] // 2 for place in range(4)):
        raise Unsupported(f"{call.op} with the pads {list(pads)}", "pads of at most half a window")
    return source, w, pads, tuple(sizes)


def _attributes(w: Window, pads: Pads) -> dict[str, Json]:
    return {"kernel": [*w.kernel], "stride": [*w.stride], "padding": [*pads]}


def _emit(call: Call, op: str, source: Image, sizes: tuple[int, ...], attributes: dict[str, Json]) -> str:
    return call.scope.emit(op, [source.value], (*source.shape[:2], *sizes), attributes)


def resize(call: Call) -> Ref:
    """Resize and Upsample of the last two dimensions."""
    x = call.ref()
    if x.rank not in (3, 4):
        raise Unsupported(f"{call.op} of a value of shape {list(x.shape)}", f"{call.op} of [N, C, H, W]")
    source = image(call)
    scales, sizes = _scales(call, x)
    if any(scale != 1.0 for scale in scales[:2]):
        raise Unsupported(f"{call.op} of channels", f"{call.op} of height and width")
    out = [1, *sizes[2:]] if source.flat else sizes[2:]
    factors = [1.0, *scales[2:]] if source.flat else scales[2:]
    mode, corners, half = _mode(call)
    if mode == "nearest":
        attributes = _nearest(call, source.shape[2:], out, factors, half)
    else:
        attributes = {
            "scale": _steps(source.shape[2:], out, factors, corners),
            "mode": "bilinear",
            "align_corners": corners,
        }
    value = call.scope.emit(
        "upsample", [source.value], (*source.shape[:2], *out), {"output": [*out], **attributes}
    )
    return source.result(call, value)


def _steps(sizes: tuple[int, ...], out: list[int], factors: list[float], corners: bool) -> list[Json]:
    if corners:
        return [(n - 1) / (o - 1) if o > 1 and n > 1 else 1.0 for n, o in zip(sizes, out, strict=True)]
    return [1.0 / f for f in factors]


def _scales(call: Call, x: Ref) -> tuple[list[float], list[int]]:
    if call.op == "Upsample":
        scales, sizes = call.get("scales"), None
        scales = scales if scales is not None else call.needed(1, "scales").array.reshape(-1).tolist()
    else:
        place = 1 if call.opset == 10 else 2
        found = call.const(place, "scales")
        scales = None if found is None or found.size == 0 else found.reshape(-1).tolist()
        given = call.const(3, "sizes")
        sizes = None if given is None or given.size == 0 else [int(item) for item in given.reshape(-1)]
    axes = call.get("axes")
    if axes is not None:
        places = {int(axis) % x.rank: index for index, axis in enumerate(axes)}
        scales = (
            None if scales is None else [scales[places[a]] if a in places else 1.0 for a in range(x.rank)]
        )
        sizes = (
            None
            if sizes is None
            else [sizes[places[a]] if a in places else x.shape[a] for a in range(x.rank)]
        )
    if scales is not None:
        return [float(s) for s in scales], [
            int(np.floor(n * s)) for n, s in zip(x.shape, scales, strict=True)
        ]
    if sizes is None or call.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsupported("Resize without sizes, or with a policy", "Resize with constant scales or sizes")
    sizes = [x.shape[0], *sizes[1:]]  # the batch may be written down
    return [o / n for o, n in zip(sizes, x.shape, strict=True)], sizes


def _mode(call: Call) -> tuple[str, bool, bool]:
    """Mode, align_corners, half pixels."""
    mode = call.get("mode", "nearest")
    mode = "bilinear" if mode in ("linear", "bilinear") else mode
    kind = call.get("coordinate_transformation_mode", "half_pixel")
    if call.op == "Upsample" or call.opset == 10:
        kind = "asymmetric"
    fits = (
        kind in ("half_pixel", "pytorch_half_pixel", "align_corners")
        if mode == "bilinear"
        else kind != "align_corners"
    )
    if mode not in ("nearest", "bilinear") or not fits or call.get("antialias", 0) or "crop" in kind:
        raise Unsupported(
            f"{call.op} with the mode {mode} and {kind}",
            "nearest, or linear with half_pixel or align_corners",
        )
    return mode, kind == "align_corners", kind == "half_pixel"


def _nearest(
    call: Call, sizes: tuple[int, ...], out: list[int], factors: list[float], half: bool
) -> dict[str, Json]:
    """The network takes floor(i scale); other roundings are the same where the factor is whole."""
    kind = (
        call.get("nearest_mode", "round_prefer_floor") if call.op == "Resize" and call.opset > 10 else "floor"
    )
    for size, count, factor in zip(sizes, out, factors, strict=True):
        i = np.arange(count)
        place = (i + 0.5) / factor - 0.5 if half else i / factor
        rounded = {
            "floor": np.floor(place),
            "ceil": np.ceil(place),
            "round_prefer_floor": np.ceil(place - 0.5),
            "round_prefer_ceil": np.floor(place + 0.5),
        }[kind]
        if not np.array_equal(
            np.clip(rounded, 0, size - 1), np.minimum(np.floor(i * (1.0 / factor)), size - 1)
        ):
            raise Unsupported(
                f"Resize to the nearest pixel by {factor:g} with {kind}",
                "whole factors, or asymmetric with floor",
            )
    return {"scale": [1.0 / f for f in factors], "mode": "nearest", "align_corners": False}


def depth_to_space(call: Call) -> Ref:
    """DepthToSpace: blocks of channels become blocks of pixels."""
    value = call.scope.plain(call.ref(), 4)
    batch, channels, high, wide = call.scope.shape(value)
    block = int(call.get("blocksize"))
    order = "channel_major" if call.get("mode", "DCR") == "CRD" else "phase_major"
    shape = (batch, channels // block**2, high * block, wide * block)
    made = call.scope.emit("pixel_shuffle", [value], shape, {"factor": [block, block], "order": order})
    return plain(made, shape)


def space_to_depth(call: Call) -> Ref:
    """SpaceToDepth: [N, C, H, W] seen as [N, C, H/b, b, W/b, b], then [N, b, b, C, H/b, W/b]."""
    scope = call.scope
    value = scope.plain(call.ref(), 4)
    batch, channels, high, wide = scope.shape(value)
    block = int(call.get("blocksize"))
    split = scope.as_shape(value, (batch, channels, high // block, block, wide // block, block))
    turned = (batch, block, block, channels, high // block, wide // block)
    moved = scope.emit("permute", [split], turned, {"order": [3, 5, 1, 2, 4]})
    shape = (batch, channels * block**2, high // block, wide // block)
    return plain(scope.as_shape(moved, shape), shape)


LOWERINGS: dict[str, Lowering] = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average,
    "GlobalMaxPool": global_max,
    "Resize": resize,
    "Upsample": resize,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
__all__ = ["LOWERINGS", "replace"]
