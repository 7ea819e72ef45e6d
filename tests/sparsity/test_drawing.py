"""Random choice by index, piece by piece: pieces of any size, and thresholds that are found without an index a score."""

import pytest
import torch

from gossamer.sparsity.patterns import drawing
from gossamer.sparsity.patterns.tiles import top_entries


@pytest.mark.parametrize("piece", [1, 3, 1 << 16])
@pytest.mark.parametrize("num_taken", [0, 1, 40, 59])
def test_all_that_is_absent_is_drawn_whatever_the_pieces(
    monkeypatch: pytest.MonkeyPatch, piece: int, num_taken: int
) -> None:
    monkeypatch.setattr(drawing, "_PIECE", piece)
    monkeypatch.setattr(drawing.pieces, "__defaults__", (piece,))
    generator = torch.Generator().manual_seed(num_taken)
    taken = torch.randperm(60, generator=generator)[:num_taken].sort().values
    absent = [key for key in range(60) if key not in taken.tolist()]
    segments = torch.arange(3)
    wanted = torch.tensor([sum(key // 20 == segment for key in absent) for segment in range(3)])
    found = drawing.draw_keys(taken, segments, wanted, size=20, generator=generator)
    assert found.tolist() == absent
    half = wanted // 2
    some = drawing.draw_keys(taken, segments, half, size=20, generator=generator)
    assert set(some.tolist()) <= set(absent)
    assert torch.bincount(some // 20, minlength=3).tolist() == half.tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_top_entries_are_those_of_a_stable_sort_and_scores_stay(dtype: torch.dtype) -> None:
    scores = torch.randint(-5, 6, (101,), generator=torch.Generator().manual_seed(0)).to(dtype)
    scores[::17] = float("-inf")
    before = scores.clone()
    for count in (0, 1, 50, 100, 101):
        best = scores.argsort(descending=True, stable=True)[:count]
        expected = torch.zeros(101, dtype=torch.bool).index_fill_(0, best, True)
        assert torch.equal(top_entries(scores, count, None), expected)
    assert torch.equal(scores, before)
