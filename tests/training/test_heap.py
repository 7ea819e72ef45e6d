"""Giving freed memory back: worth a call for large weights only."""

import sys
from types import SimpleNamespace

import pytest
import torch

from gossamer.training import SET, Sparsifier, heap
from gossamer.training.compact import compact_
from gossamer.training.compact.stores import CompactStores
from tests.training.compact.helpers import loss_of, net
from tests.training.helpers import NOTHING


@pytest.mark.parametrize(("entries", "calls"), [((1 << 18) - 1, 0), (1 << 18, 1)])
@pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is glibc's")
def test_small_lists_are_not_worth_a_call(entries: int, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: SimpleNamespace(malloc_trim=made.append))
    heap.trim(entries)
    assert made == [0] * calls


def test_room_is_made_once_an_edit_step(monkeypatch: pytest.MonkeyPatch) -> None:
    method = SET(sparsity=0.6, every=3, stop=9)
    model = net("mlp")
    compact_(model, method, protect=NOTHING)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, method, optimizer)
    steps: list[int] = []
    monkeypatch.setattr(CompactStores, "make_room", lambda self: steps.append(sparsifier.step + 1))
    for step in range(7):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()
    assert steps == [3, 6]
