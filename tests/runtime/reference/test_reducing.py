"""Norms and what works along axes, against torch."""

import pytest
import torch
import torch.nn.functional as F

from tests.runtime.one_node import close, randn, run


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 3), (1, 5, 2, 3)])
def test_channel_affine(shape: tuple[int, ...]):
    x, scale, shift = randn(*shape), randn(5), randn(5)
    view = (-1, *(1,) * (len(shape) - 2))
    close(
        run("channel_affine", [x], {"scale": scale, "shift": shift}), x * scale.view(view) + shift.view(view)
    )


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm(axes: int, affine: bool):
    x = randn(2, 3, 5)
    tail = x.shape[3 - axes :]
    weights = {"weight": randn(*tail).flatten(), "bias": randn(*tail, 1).flatten()} if affine else {}
    expected = F.layer_norm(x, tail, *(value.view(tail) for value in weights.values()), eps=1e-3)
    close(run("layer_norm", [x], weights, axes=axes, epsilon=1e-3), expected)


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("affine", [True, False])
def test_rms_norm(axes: int, affine: bool):
    x = randn(2, 3, 5)
    tail = x.shape[3 - axes :]
    weight = randn(*tail)
    expected = F.rms_norm(x.double(), tail, weight.double() if affine else None, eps=1e-3)
    close(
        run("rms_norm", [x], {"weight": weight.flatten()} if affine else {}, axes=axes, epsilon=1e-3),
        expected,
    )


@pytest.mark.parametrize("shape", [(2, 6), (1, 6, 5), (3, 6, 2, 7)])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(groups: int, shape: tuple[int, ...]):
    x, weight, bias = randn(*shape), randn(6), randn(6) + 1
    expected = F.group_norm(x.double(), groups, weight.double(), bias.double(), eps=1e-3)
    close(run("group_norm", [x], {"weight": weight, "bias": bias}, groups=groups, epsilon=1e-3), expected)
    close(run("group_norm", [x], groups=groups, epsilon=1e-3), F.group_norm(x.double(), groups, eps=1e-3))


REDUCTIONS = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax, "min": torch.amin}


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("axes", [[1], [3], [1, 2], [2, 3], [1, 2, 3]])
@pytest.mark.parametrize("op", REDUCTIONS)
def test_reductions(op: str, axes: list[int], keep: bool):
    x = randn(2, 3, 1, 7)
    x[0, 0, 0, 0], x[1, 1, 0, 2] = torch.nan, torch.inf
    close(run(op, [x], axes=axes, keep=keep), REDUCTIONS[op](x.double(), axes, keep))


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("axis", [1, 2])
def test_argmax(axis: int, keep: bool):
    x = randn(3, 5, 4)
    x[0, 3], x[1, :, 2] = torch.nan, torch.nan
    expected = torch.from_numpy(x.numpy().argmax(axis))  # the first of equals; torch does not promise which
    expected[2] = x[2].argmax(axis - 1)
    close(run("argmax", [x], axis=axis, keep=keep), expected.unsqueeze(axis) if keep else expected)


@pytest.mark.parametrize("axis", [1, 2])
def test_cumsum(axis: int):
    x = randn(3, 5, 4)
    x[1, 2, 1] = torch.nan
    close(run("cumsum", [x], axis=axis), x.double().cumsum(axis))
