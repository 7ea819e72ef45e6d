"""Wrong use is answered with a sentence."""

import pytest
import torch

from gossamer.errors import BudgetError, EngineError, MethodError, PatternError
from gossamer.training import OneShot, RigL, Sparsifier, Static
from tests.training.helpers import (
    NOTHING,
    mlp,
    rigl,
)


def test_wrong_use_is_answered_with_a_sentence() -> None:
    model = mlp()
    stranger = torch.optim.SGD(mlp().parameters(), lr=0.1)
    with pytest.raises(EngineError, match=r"the optimizer does not hold '0\.weight'"):
        Sparsifier(model, Static(sparsity=0.5), stranger, protect=NOTHING)
    with pytest.raises(EngineError, match=r"expected a torch.optim.Optimizer, got str"):
        Sparsifier(model, Static(sparsity=0.5), "sgd", protect=NOTHING)  # type: ignore[arg-type]
    with pytest.raises(BudgetError, match=r"got 1.2"):
        Static(sparsity=1.2)
    with pytest.raises(BudgetError, match=r"RigL: sparsity: expected a number, got the text '0.9'$"):
        RigL(sparsity="0.9")  # type: ignore[arg-type]
    with pytest.raises(MethodError, match=r"RigL: drop_fraction: expected a number, got the text '0.3'$"):
        RigL(sparsity=0.9, drop_fraction="0.3")  # type: ignore[arg-type]
    with pytest.raises(BudgetError, match=r"left dense here: 0.weight \(protected: first layer\), 4.weight"):
        Sparsifier(model, Static(sparsity=0.9))
    with pytest.raises(
        PatternError, match=r"'2\.weight' is named in layers but cannot be masked with block:3x1"
    ):
        Sparsifier(model, Static(sparsity=0.3, pattern="block:3x1"), layers=["2"])
    with pytest.raises(MethodError, match="reads gradients, of which there are none at step 0"):
        OneShot(sparsity=0.5, criterion="taylor")
    with pytest.raises(EngineError, match="adam_counts"):
        Sparsifier(model, Static(sparsity=0.5), protect=NOTHING, adam_counts="mine")
    for wrong, sentence in (
        ({"seed": "1"}, "expected a whole number as seed, got '1'"),
        ({"protect": {"first": False}}, "expected protect=Protection"),
        ({"method": "rigl"}, "expected a method such as RigL.*got 'rigl'"),
        ({"method": RigL}, "expected a method such as RigL"),
        ({"model": "mlp"}, "expected a torch.nn.Module as model, got str"),
    ):
        with pytest.raises(EngineError, match=sentence):
            Sparsifier(**{"model": model, "method": Static(sparsity=0.2), **wrong})  # type: ignore[arg-type]
    for wrong_step in ({"every": 2.5}, {"every": True}, {"stop": float("inf")}):
        with pytest.raises(MethodError, match=r"RigL: expected (every|stop) to be a whole number"):
            rigl(**wrong_step)
    with pytest.raises(EngineError, match="expected masks= together with"):
        Sparsifier(model, Static(initial="given"), protect=NOTHING)
