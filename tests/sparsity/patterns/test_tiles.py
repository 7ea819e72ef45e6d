"""The selection that drops and grows by score, on more scores than it looks at at a time."""

import pytest
import torch

from gossamer.sparsity.patterns import tiles
from gossamer.sparsity.patterns.tiles import top_entries

KINDS = {
    "distinct": lambda n: torch.randn(n, generator=torch.Generator().manual_seed(0)),
    "many ties": lambda n: torch.randn(n, generator=torch.Generator().manual_seed(0)).round(),
    "both zeros": lambda n: torch.tensor([0.0, -0.0, 1.0, -1.0]).repeat(n)[:n],
    "tiny and infinite": lambda n: torch.tensor([torch.inf, 1e-44, -1e-44, -torch.inf, 3e38]).repeat(n)[:n],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_the_best_and_the_first_among_equals(
    kind: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a stable sort; pieces of 7, and the digits where a partition would do."""
    monkeypatch.setattr(tiles, "_PIECE", 7)
    scores = KINDS[kind](101).to(dtype)
    order = scores.argsort(descending=True, stable=True)
    for count in (0, 1, 2, 25, 26, 50, 75, 100, 101):
        expected = torch.zeros(101, dtype=torch.bool)
        expected[order[:count]] = True
        assert torch.equal(top_entries(scores, count, None), expected), count


def test_no_copy_of_many_scores_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million scores: what is made for them is the choice, one byte each, and pieces."""
    scores, largest = torch.rand(1 << 20), []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            found = function(*args, **(kwargs or {}))
            if isinstance(found, torch.Tensor) and found.untyped_storage().data_ptr() != scores.data_ptr():
                largest.append(found.untyped_storage().nbytes())
            return found

    with Watch():
        chosen = top_entries(scores, 1 << 19, None)
    assert int(chosen.sum()) == 1 << 19
    assert max(largest) == 1 << 20
