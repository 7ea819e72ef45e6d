"""Pooling and other sizes of images against torch."""

import pytest
import torch
import torch.nn.functional as F

from tests.runtime.one_node import close, randn, run

POOLS = {  # image, kernel, stride, padding (h, w), dilation
    "2x2": ((4, 6), (2, 2), (2, 2), (0, 0), (1, 1)),
    "odd": ((7, 5), (3, 3), (2, 2), (1, 1), (1, 1)),
    "uneven": ((6, 9), (2, 3), (1, 2), (1, 0), (1, 1)),
    "dilated": ((7, 8), (2, 3), (1, 2), (1, 1), (2, 2)),
}


@pytest.mark.parametrize("case", POOLS)
def test_pools(case: str):
    image, kernel, stride, padding, dilation = POOLS[case]
    x = randn(2, 3, *image)
    window = {"kernel": list(kernel), "stride": list(stride), "padding": [*padding, *padding]}
    found = run("max_pool2d", [x], **window, dilation=list(dilation))
    close(found, F.max_pool2d(x, kernel, stride, padding, dilation))
    for count in (True, False):
        found = run("avg_pool2d", [x], **window, count_include_pad=count)
        close(found, F.avg_pool2d(x, kernel, stride, padding, count_include_pad=count))


@pytest.mark.parametrize("output", [(1, 1), (2, 3), (5, 7), (9, 2)])
def test_adaptive_avg_pool2d(output: tuple[int, int]):
    x = randn(2, 3, 7, 5)
    close(run("adaptive_avg_pool2d", [x], output=list(output)), F.adaptive_avg_pool2d(x, output))


@pytest.mark.parametrize("factor", [(2, 2), (1, 3), (3, 1)])
def test_pixel_shuffle(factor: tuple[int, int]):
    fh, fw = factor
    x = randn(2, 2 * fh * fw, 3, 5)
    # a transposed convolution whose stride is its kernel scatters every channel to its place
    spread = torch.zeros(2 * fh * fw, 2, fh, fw)
    for c in range(2):
        for i in range(fh):
            for j in range(fw):
                spread[c * fh * fw + i * fw + j, c, i, j] = 1
    expected = F.conv_transpose2d(x, spread, stride=factor)
    close(run("pixel_shuffle", [x], factor=list(factor), order="channel_major"), expected)
    phases = x.reshape(2, 2, fh * fw, 3, 5).transpose(1, 2).reshape(x.shape)
    close(run("pixel_shuffle", [phases], factor=list(factor), order="phase_major"), expected)
    if fh == fw:
        close(expected, F.pixel_shuffle(x, fh))


@pytest.mark.parametrize("output", [(1, 1), (7, 9), (14, 18), (5, 49), (20, 4)])
def test_upsample(output: tuple[int, int]):
    x = randn(2, 3, 7, 9)
    if output != (7, 9):  # torch copies an image that keeps its size; a share of 0 of NaN is NaN else
        x[1, 0, 2, 3] = torch.nan

    def ours(mode: str, *, align: bool) -> torch.Tensor:
        scale = [
            max(size - 1, 1) / max(out - 1, 1) if align else size / out
            for size, out in zip((7, 9), output, strict=True)
        ]
        return run("upsample", [x], output=list(output), scale=scale, mode=mode, align_corners=align)

    close(ours("nearest", align=False), F.interpolate(x, output))
    close(ours("bilinear", align=False), F.interpolate(x, output, mode="bilinear"))
    close(ours("bilinear", align=True), F.interpolate(x, output, mode="bilinear", align_corners=True))
