"""Criteria by hand, and what each declares to need."""

import pytest
import torch

from gossamer.errors import MethodError
from gossamer.sparsity.criteria import CRITERIA, View

WEIGHT = torch.tensor([[-3.0, 0.5], [0.0, 2.0]])
GRADIENT = torch.tensor([[0.1, -4.0], [5.0, 0.0]])
MASK = torch.tensor([[True, True], [False, True]])
EXPECTED = {
    "magnitude": [[3.0, 0.5], [0.0, 2.0]],
    "gradient": [[0.1, 4.0], [5.0, 0.0]],
    "magnitude_gradient": [[3.1, 4.5], [5.0, 2.0]],
    "taylor": [[0.3, 2.0], [0.0, 0.0]],
}


@pytest.mark.parametrize("name", CRITERIA)
def test_scores(name):
    scores = CRITERIA[name](View(weight=WEIGHT, mask=MASK, gradient=GRADIENT), 2)
    assert torch.allclose(scores, torch.tensor(EXPECTED[name]))


@pytest.mark.parametrize("name", CRITERIA)
def test_needs_is_what_is_read(name):
    criterion = CRITERIA[name]
    assert criterion.needs <= {"weight", "gradient", "activation"}
    without = View(weight=WEIGHT, mask=MASK)
    if "gradient" in criterion.needs:
        with pytest.raises(MethodError, match=f"criterion {name} needs dense gradients"):
            criterion(without, 2)
    else:
        criterion(without, 2)
