"""What every method promises, on every pattern, in fp32 and under autocast."""

import copy
import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from gossamer.errors import BudgetError, MethodError
from gossamer.sparsity.patterns import NOfM, parse_pattern
from gossamer.sparsity.view import as_matrix, matrix_shape
from gossamer.training import METHODS as CLASSES
from gossamer.training import Method, Sparsifier
from tests.contracts.table import METHOD_REFUSALS, METHODS, PATTERNS, SPARSITY
from tests.training.helpers import assert_dropped_is_zero, backward, bottleneck, is_plus_zero

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 12
PAIRS = [
    (method, pattern)
    for method in METHODS
    for pattern in PATTERNS
    if (method, pattern) not in METHOD_REFUSALS
]


def make(entry: str, pattern: str) -> Method:
    name, settings = METHODS[entry]
    values: dict[str, Any] = {
        "pattern": pattern,
        "sparsity": None if fixes(pattern) else SPARSITY,
        **settings,
    }
    return CLASSES[name](**values)


def fixes(pattern: str) -> bool:
    """Whether the pattern fixes its own sparsity (N:M)."""
    return isinstance(parse_pattern(pattern), NOfM)


def start(
    entry: str, pattern: str, average: Mapping[str, Tensor] | None = None
) -> tuple[torch.nn.Module, torch.optim.Optimizer, Sparsifier]:
    model = bottleneck()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)
    sparsifier = Sparsifier(model, make(entry, pattern), optimizer, seed=3, ema=average or ())
    return model, optimizer, sparsifier


@pytest.mark.parametrize(("entry", "pattern"), METHOD_REFUSALS)
def test_a_pair_without_meaning_is_refused_with_a_sentence(entry: str, pattern: str) -> None:
    with pytest.raises((MethodError, BudgetError), match=re.escape(METHOD_REFUSALS[entry, pattern])):
        make(entry, pattern)


@pytest.mark.parametrize("entry", METHODS)
def test_edits_are_pure(entry: str) -> None:
    first, second = make(entry, "block:4x1"), make(entry, "block:4x1")
    assert first == second
    for step in (0, 1, 3, 9, 3, 0):
        assert first.edits_at(step) == second.edits_at(step)
    assert all(not first.edits_at(step) for step in range(first.last_edit + 1, 100))
    assert first.last_edit == 0 or first.edits_at(first.last_edit)


@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "autocast"])
@pytest.mark.parametrize(("entry", "pattern"), PAIRS)
def test_contract(entry: str, pattern: str, autocast: bool) -> None:
    average = {name: parameter.detach().clone() for name, parameter in bottleneck().named_parameters()}
    model, optimizer, sparsifier = start(entry, pattern, average)
    keys, legal, parameters = list(model.state_dict()), parse_pattern(pattern), dict(model.named_parameters())
    other: tuple[Any, Any, Any] = (None, None, None)
    for step in range(1, STEPS + 1):
        backward(model, step, autocast=autocast)
        optimizer.step()
        assert sparsifier.step == step
        assert_dropped_is_zero(sparsifier, model, optimizer, [average])
        for name, mask in sparsifier.masks.items():
            assert is_plus_zero(parameters[name].grad[~mask]), name
            average[name] = 0.9 * average[name] + 0.1 * parameters[name].detach()
            counts = legal.for_weight(tuple(mask.shape)).counts(matrix_shape(tuple(mask.shape)))
            assert int(mask.sum()) in counts or bool(mask.all()), name  # dense before its first edit
        if (
            step == 3
        ):  # bit-equal resume right after an edit, into a model and an optimizer that know nothing yet
            saved = model.state_dict(), optimizer.state_dict(), sparsifier.state_dict()
            other = resume(entry, pattern, saved)
        if step > 3:
            twin, twin_optimizer, twin_sparsifier = other
            backward(twin, step, autocast=autocast)
            twin_optimizer.step()
            assert_equal(model, twin)
            assert all(
                bool((mask == twin_sparsifier.masks[name]).all()) for name, mask in sparsifier.masks.items()
            )
    assert sparsifier.history == other[2].history
    for mask in sparsifier.masks.values():
        legal.for_weight(tuple(mask.shape)).check(as_matrix(mask))
    if not fixes(pattern):
        shapes = [tuple(mask.shape) for mask in sparsifier.masks.values()]
        unit = max(legal.for_weight(shape).counts(matrix_shape(shape)).step for shape in shapes)
        summary = sparsifier.summary()
        assert abs(summary.num_kept - summary.size * (1 - SPARSITY)) <= unit / 2
    assert sparsifier.budget_met
    assert list(model.state_dict()) == keys
    report = sparsifier.finalize()
    assert report.zeroed == 0
    kept = sum(int(mask.sum()) for mask in sparsifier.masks.values())
    assert kept + sum(row.size for row in report.summary.left_dense) == report.summary.num_kept


def resume(entry: str, pattern: str, saved: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    weights, state, masks = copy.deepcopy(saved)
    torch.manual_seed(77)
    model, optimizer, sparsifier = start(entry, pattern)
    model.load_state_dict(weights)
    sparsifier.load_state_dict(masks)
    optimizer.load_state_dict(state)
    return model, optimizer, sparsifier


def assert_equal(first: torch.nn.Module, second: torch.nn.Module) -> None:
    for (name, a), (_, b) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
