"""Images of another size: `upsample`, `pixel_shuffle`, and for every other kind of interpolation two products with constant matrices."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from gossamer.export.draft import Draft
from gossamer.export.layout import Ref, seen
from gossamer.export.lower.call import Call, Lowering, int_size
from gossamer.export.lower.convolution import image, of_image, out_image
from gossamer.export.lower.matrix import along
from gossamer.export.weight import Weight
from gossamer.graph.strict_json import Json


def upsample(mode: str) -> Lowering:
    """Nearest and bilinear."""

    def lower(call: Call, draft: Draft) -> Ref:
        x = call.ref()
        flat = len(x.shape) == 3
        value, shape = image(call, draft, x, 3 if flat else 4)
        out = out_image(call.out_shape)
        aligned = call.get("align_corners") is True
        scales: list[Json] = []
        for place in (0, 1):
            size, count = int_size(shape[2 + place]), int_size(out[2 + place])
            scales.append(_scale(size, count, _factor(call, place, flat), aligned))
        attributes: dict[str, Json] = {
            "output": [int_size(size) for size in out[2:]],
            "scale": scales,
            "mode": mode,
            "align_corners": aligned,
        }
        return of_image(draft.emit("upsample", [value], out, attributes=attributes), out, flat)

    return lower


def _scale(size: int, count: int, factor: float | None, aligned: bool) -> float:
    """Input pixels an output pixel, as torch takes them."""
    if aligned:
        return (size - 1) / (count - 1) if count > 1 and size > 1 else 1.0
    if factor is not None:
        return 1.0 / factor
    return size / count


def _factor(call: Call, place: int, flat: bool) -> float | None:
    """The scale that the caller named for height (0) or width (1)."""
    if flat and place == 0:
        return None
    found = call.get("scale_factors")
    if isinstance(found, list | tuple):
        return float(found[-1 if flat else place])
    found = call.get("scales") if flat else call.get("scales_h" if place == 0 else "scales_w")
    return float(found) if isinstance(found, int | float) else None


def by_matrices(mode: str, *, antialias: bool = False) -> Lowering:
    """Any separable interpolation: along the width, then along the height, each a product with the constant matrix that torch's own
    function gives for the unit vectors."""

    def lower(call: Call, draft: Draft) -> Ref:
        x = call.ref()
        call.rank(x, 4)
        aligned = call.get("align_corners") is True
        for dim in (3, 2):
            size, count = int_size(x.shape[dim]), int_size(call.out_shape[dim])
            if size != count:
                factor = _factor(call, dim - 2, False)
                matrix = _matrix(
                    size, count, _resize(mode, factor, count, aligned=aligned, antialias=antialias)
                )
                name = draft.fresh_name(f"{draft.current}.matrix")
                weight = Weight(name=name, values=matrix, mask=matrix != 0, of_model=False)
                x = along(draft, x, dim, {"weight": weight})
        return x

    return lower


def _resize(
    mode: str, factor: float | None, count: int, *, aligned: bool, antialias: bool
) -> Callable[[torch.Tensor], torch.Tensor]:
    corners = aligned if mode in ("bicubic", "bilinear") else None

    def run(units: torch.Tensor) -> torch.Tensor:
        if factor is not None and not antialias:
            return F.interpolate(units, scale_factor=(1.0, factor), mode=mode, align_corners=corners)
        return F.interpolate(units, size=(1, count), mode=mode, align_corners=corners, antialias=antialias)

    return run


def _matrix(size: int, count: int, run: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """[count, size]: what becomes of every unit vector."""
    units = torch.eye(size).reshape(size, 1, 1, size)
    found = run(units).reshape(size, count)
    return found.t().contiguous().numpy().astype(np.float32)


def pixel_shuffle(call: Call, draft: Draft) -> Ref:
    """Channels become pixels."""
    value, _ = image(call, draft, call.ref(), 4)
    factor = call.integer("upscale_factor")
    attributes: dict[str, Json] = {"factor": [factor, factor], "order": "channel_major"}
    return seen(draft.emit("pixel_shuffle", [value], call.out_shape, attributes=attributes), call.out_shape)


LOWERINGS: dict[str, Lowering] = {
    "aten.upsample_nearest1d": upsample("nearest"),
    "aten.upsample_nearest2d": upsample("nearest"),
    "aten.upsample_linear1d": upsample("bilinear"),
    "aten.upsample_bilinear2d": upsample("bilinear"),
    "aten.upsample_bicubic2d": by_matrices("bicubic"),
    "aten._upsample_bicubic2d_aa": by_matrices("bicubic", antialias=True),
    "aten._upsample_bilinear2d_aa": by_matrices("bilinear", antialias=True),
    "aten._upsample_nearest_exact2d": by_matrices("nearest-exact"),
    "aten.pixel_shuffle": pixel_shuffle,
}
