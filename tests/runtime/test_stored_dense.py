"""A pruned layer that is stored dense, because that is smaller: what was dropped contributes nothing, even against NaN."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gossamer
from gossamer import runtime
from gossamer.formats import pack, unpack
from gossamer.kernels.native import status

KEPT = 0.8
LAYERS = {
    "linear": (nn.Linear(70, 53), (70,)),
    "tokens": (nn.Linear(34, 18), (21, 34)),
    "1x1": (nn.Conv2d(7, 9, 1), (7, 5, 6)),
    "3x3": (nn.Conv2d(5, 12, 3, padding=1), (5, 9, 8)),
    "strided": (nn.Conv2d(5, 12, 3, padding=1, stride=2), (5, 9, 8)),
    "grouped": (nn.Conv2d(6, 8, 3, padding=1, groups=2), (6, 7, 7)),
    "depthwise": (nn.Conv2d(6, 6, 3, padding=1, groups=6), (6, 9, 15)),
}


def layer_and_mask(name: str) -> tuple[nn.Module, torch.Tensor, tuple[int, ...]]:
    """A layer of weights that float16 holds, and which of them are kept."""
    torch.manual_seed(1)
    layer, shape = LAYERS[name]
    weight = layer.weight
    with torch.no_grad():
        weight.copy_((torch.rand_like(weight) + 0.5).half())
        weight.view(-1)[::9] = 0.0  # kept zeros are weights: 0 times NaN is NaN
    return layer.eval(), torch.rand_like(weight) < KEPT, shape


def expected(layer: nn.Module, mask: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The result without what is not finite, and which results meet it with a kept weight."""
    weights = {"weight": layer.weight * mask, "bias": layer.bias}
    result = torch.func.functional_call(layer, weights, torch.nan_to_num(x, 0.0, 0.0, 0.0))
    counts = {"weight": mask.float(), "bias": torch.zeros_like(layer.bias)}
    return result, torch.func.functional_call(layer, counts, (~x.isfinite()).float()) > 0.5


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("batch", [1, 3, 40])
@pytest.mark.parametrize("name", LAYERS)
def test_dropped_weights_meet_nothing(name: str, batch: int, bad: float, tmp_path: Path) -> None:
    layer, mask, shape = layer_and_mask(name)
    report = gossamer.pack(layer, torch.zeros(2, *shape), tmp_path / "m.safetensors", masks={"weight": mask})
    row = report.weights[0]
    assert row.format == "dense"
    assert row.num_kept == int(mask.sum())
    x = torch.rand(batch, *shape)
    x.view(batch, -1)[:, 5] = bad
    want, spoilt = expected(layer, mask, x)
    assert spoilt.any()
    assert not spoilt.all()
    engines = [{"engine": "reference"}]
    if status().available:
        engines += [{"threads": 1}, {"threads": 2}]
    for options in engines:
        session = runtime.load(tmp_path / "m.safetensors", **options)
        found = torch.from_numpy(next(iter(session.run(x.numpy()).values())))
        assert not found[spoilt].isfinite().any(), options
        torch.testing.assert_close(found[~spoilt], want[~spoilt].detach(), rtol=2e-5, atol=2e-5)
    assert session.layers()[0]["num_kept"] == int(mask.sum())


def test_a_kept_weight_too_small_for_float16_stays_kept() -> None:
    values = np.array([[-1e-9, 1.0], [-0.0, -2.0]], np.float32)
    mask = np.array([[True, True], [True, False]])
    packed = pack(values, mask, format="dense", dtype="float16")
    found, kept = unpack(packed)
    np.testing.assert_array_equal(kept, mask)
    np.testing.assert_array_equal(found, np.array([[0.0, 1.0], [0.0, 0.0]], np.float32))
    assert packed.num_kept == 3
