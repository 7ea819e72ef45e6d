"""Numbers that are moved, repeated, left out or padded, against torch and NumPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.runtime.one_node import close, randn, run


@pytest.mark.parametrize("start", [1, 2, 3])
def test_flatten(start: int):
    x = randn(3, 4, 5, 2)
    close(run("flatten", [x], start=start), x.flatten(start))


@pytest.mark.parametrize("shape", [[60], [-1], [5, 12], [3, -1, 2], [1, 60, 1], [3, 4, 5]])
def test_reshape(shape: list[int]):
    x = randn(2, 3, 4, 5)
    close(run("reshape", [x], shape=shape), x.reshape(2, *shape))


def test_reshape_to_the_batch_alone():
    close(run("reshape", [randn(4, 1, 1)], shape=[]), randn(4, 1, 1).flatten())


@pytest.mark.parametrize("order", [[1, 2, 3], [3, 1, 2], [2, 3, 1], [3, 2, 1]])
def test_permute(order: list[int]):
    x = randn(2, 3, 4, 5)
    close(run("permute", [x], order=order), x.permute(0, *order))


@pytest.mark.parametrize(
    ("start", "stop", "step"),
    [(0, None, 1), (2, 5, 1), (-3, None, 1), (-100, 100, 1), (1, -1, 2), (-5, -1, 3), (6, 2**53 - 1, 7)],
)
def test_slice(start: int, stop: int | None, step: int):
    x = randn(2, 3, 7)
    expected = x[:, :, start:stop:step]
    close(run("slice", [x], axis=2, start=start, stop=stop, step=step), expected)


def test_expand():
    x = randn(2, 1, 3, 1)
    close(run("expand", [x], shape=[4, 3, 5]), x.expand(2, 4, 3, 5))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
def test_pad(mode: str):
    x = randn(2, 3, 4, 5)
    x[0, 0, 0, 0] = torch.nan
    value = -1.5 if mode == "constant" else 0
    found = run("pad", [x], before=[0, 3, 1], after=[0, 2, 4], mode=mode, value=value)
    close(found, F.pad(x, (1, 4, 3, 2), mode, value if mode == "constant" else None))


def test_flip():
    x = randn(2, 3, 4, 5)
    close(run("flip", [x], axes=[1, 3]), x.flip(1, 3))


def test_constant():
    value = randn(6)
    found = run("constant", [randn(3, 2)], {"value": value}, shape=[2, 3])
    np.testing.assert_array_equal(found, value.reshape(2, 3).expand(3, 2, 3))
