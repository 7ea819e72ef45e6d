"""Growth rules: explicit randomness, grown next to kept, refusals."""

import pytest
import torch

from gossamer.errors import MethodError
from gossamer.sparsity.criteria import View
from gossamer.sparsity.growth import FILLS, GROWTH
from gossamer.sparsity.patterns import parse_pattern


def view(**more):
    return View(weight=torch.zeros(2, 4), mask=torch.zeros(2, 4, dtype=torch.bool), **more)


def test_random_is_a_function_of_the_generator():
    first, second = (GROWTH["random"](view(), 1, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, GROWTH["random"](view(), 1, torch.Generator().manual_seed(8)))
    with pytest.raises(MethodError, match=r"an explicit torch.Generator, got None"):
        GROWTH["random"](view(), 1)


def test_random_growth_is_uniform_over_blocks():
    pattern, counts = parse_pattern("block:2x1"), torch.zeros(4)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2000):
        counts += pattern.mask(GROWTH["random"](view(), 2, generator), 2)[0]
    assert bool(((counts - 500).abs() < 80).all())  # 4 standard deviations


def test_growth_by_gradient():
    gradient = torch.tensor([[0.0, -9.0, 1.0, 2.0], [0.0, 0.0, 0.0, 8.0]])
    scores = GROWTH["gradient"](view(gradient=gradient), 2)
    kept = torch.zeros(2, 4, dtype=torch.bool)
    kept[0, 0] = True
    assert parse_pattern("unstructured").mask(scores, 3, keep=kept).int().tolist() == [
        [1, 1, 0, 0],
        [0, 0, 0, 1],
    ]
    assert GROWTH["gradient"].needs == {"gradient"}
    with pytest.raises(MethodError, match="needs dense gradients"):
        GROWTH["gradient"](view(), 2)


def test_all_and_zero():
    assert parse_pattern("gs:2,1").mask(GROWTH["all"](view(), 8), 8).all()
    assert FILLS["zero"](view(), torch.ones(2, 4, dtype=torch.bool)).tolist() == [0.0] * 8
