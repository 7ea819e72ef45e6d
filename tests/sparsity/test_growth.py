"""Growth rules: grown next to kept, refusals. Random growth is `Pattern.draw`: tests/contracts/test_positions.py."""

import pytest
import torch

from gossamer.errors import MethodError
from gossamer.sparsity.criteria import View
from gossamer.sparsity.growth import FILLS, GROWTH
from gossamer.sparsity.patterns import parse_pattern


def view(**more):
    return View(weight=torch.zeros(2, 4), mask=torch.zeros(2, 4, dtype=torch.bool), **more)


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
