"""Every method on every pattern, on compact layers: equal masks and losses to the masked engine, or a sentence why not."""

import copy

import pytest
import torch

from gossamer.errors import EngineError
from gossamer.training import Method, Sparsifier
from gossamer.training.compact import compact_
from tests.contracts.table import COMPACT_REFUSALS, METHODS
from tests.contracts.test_methods import PAIRS, STEPS, make
from tests.training.helpers import batch, bottleneck

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:compact_. larger than dense:RuntimeWarning"),
]


def begin(model: torch.nn.Module, method: Method) -> Sparsifier:
    compact_(model, method, seed=3)
    return Sparsifier(model, method, seed=3)


@pytest.mark.parametrize(("entry", "pattern"), PAIRS)
def test_compact_equals_masked_or_says_why_not(entry: str, pattern: str) -> None:
    method, dense = make(entry, pattern), bottleneck().double()
    model = copy.deepcopy(dense)
    if entry in COMPACT_REFUSALS:
        with pytest.raises(EngineError, match=COMPACT_REFUSALS[entry]):
            begin(model, method)
        return
    compact_(model, method, seed=3)
    pairs = []
    for network in (dense, model):
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        pairs.append((network, optimizer, Sparsifier(network, method, optimizer, seed=3)))
    for step in range(STEPS):
        losses = []
        for network, optimizer, _ in pairs:
            x, y = batch(step)
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(x.double()), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert abs(losses[0] - losses[1]) <= 1e-10
        assert pairs[0][2].history == pairs[1][2].history
    for name, mask in pairs[0][2].masks.items():
        assert torch.equal(mask, pairs[1][2].masks[name])


def test_refusals_name_methods_of_the_table() -> None:
    assert COMPACT_REFUSALS.keys() <= METHODS.keys()
