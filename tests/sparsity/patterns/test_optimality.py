"""Masks are optimal and `check` is the definition: compared with all unions of disjoint units on tiny matrices."""

import itertools

import numpy as np
import pytest
import torch

from gossamer.errors import PatternError
from gossamer.sparsity.patterns import (
    Block,
    GatherScatter,
    NOfM,
    Pattern,
    Taps,
    Unstructured,
    Window,
    nearest_count,
    parse_pattern,
)

TINY = [
    ("unstructured", (2, 5)),
    ("2:3", (2, 6)),
    ("1:4", (3, 4)),
    ("block:2x1", (4, 3)),
    ("block:1x3", (4, 3)),
    ("block:2x2", (2, 6)),
    ("gs:2,1", (2, 6)),
    ("gs:2,1", (4, 2)),
    ("gs:4,2", (2, 4)),
    ("gs:2,2", (3, 4)),
    ("gs:4,4", (1, 12)),
    ("window:2", (2, 6)),
    ("window:2", (4, 2)),
    ("window:3", (3, 3)),
    ("taps:4", (1, 27)),
    ("taps:4", (2, 18)),
]


def units(pattern: Pattern, shape: tuple[int, int]) -> list[frozenset[tuple[int, int]]]:
    """All units of a pattern by its definition, as sets of (row, column)."""
    rows, columns = shape
    if isinstance(pattern, Unstructured):
        return [frozenset({entry}) for entry in itertools.product(range(rows), range(columns))]
    if isinstance(pattern, Block):
        return [
            frozenset(itertools.product(range(r, r + pattern.rows), range(c, c + pattern.cols)))
            for r in range(0, rows, pattern.rows)
            for c in range(0, columns, pattern.cols)
        ]
    if isinstance(pattern, NOfM):  # one entry of every group at once
        groups = [
            [(r, c + i) for i in range(pattern.m)] for r in range(rows) for c in range(0, columns, pattern.m)
        ]
        return [frozenset(choice) for choice in itertools.product(*groups)]
    if isinstance(pattern, Taps):  # one slice of every row at once
        corners = [(0, 1, 3, 4), (1, 2, 4, 5), (3, 4, 6, 7), (4, 5, 7, 8)]
        sets = [*corners, (3, 4, 5, 7), (1, 4, 5, 7), (1, 3, 4, 7)]
        channels = columns // 9
        slices = [
            [[(r, tap * channels + c) for tap in taps] for taps in sets for c in range(channels)]
            for r in range(rows)
        ]
        return [frozenset(itertools.chain(*choice)) for choice in itertools.product(*slices)]
    if isinstance(pattern, Window):
        width = pattern.width
        return [
            frozenset((top + i, left + c) for i, c in enumerate(choice))
            for top in range(0, rows, width)
            for left in range(0, columns, width)
            for choice in itertools.product(range(width), repeat=width)
        ]
    assert isinstance(pattern, GatherScatter)
    height = pattern.banks // pattern.per_row
    found = []
    for top in range(0, rows, height):
        inside = list(itertools.product(range(top, top + height), range(columns)))
        for chosen in itertools.combinations(inside, pattern.banks):
            residues = {c % pattern.banks for _, c in chosen}
            per_row = {r: sum(row == r for row, _ in chosen) for r in range(top, top + height)}
            if len(residues) == pattern.banks and set(per_row.values()) == {pattern.per_row}:
                found.append(frozenset(chosen))
    return found


def legal_masks(pattern: Pattern, shape: tuple[int, int]) -> np.ndarray:
    """bool [number of legal masks, R * C]: everything that disjoint units can make."""
    bits = [sum(1 << (r * shape[1] + c) for r, c in unit) for unit in units(pattern, shape)]
    seen, new = {0}, {0}
    while new:
        new = {mask | unit for mask in new for unit in bits if not mask & unit} - seen
        seen |= new
    return np.array(
        [[mask >> i & 1 for i in range(shape[0] * shape[1])] for mask in sorted(seen)], dtype=bool
    )


@pytest.mark.parametrize(("text", "shape"), TINY)
def test_masks_are_the_best_of_all_legal_ones(text, shape):
    pattern = parse_pattern(text)
    legal = legal_masks(pattern, shape)
    assert sorted({int(mask.sum()) for mask in legal}) == list(pattern.counts(shape))
    random = np.random.default_rng(0)
    for _ in range(20):
        scores = random.standard_normal(shape)
        keep = random.random(shape) < 0.15
        for num_kept in pattern.counts(shape):
            candidates = legal[legal.sum(axis=1) == num_kept]
            found = pattern.mask(torch.from_numpy(scores), num_kept).numpy()
            assert scores[found].sum() == pytest.approx((candidates * scores.ravel()).sum(axis=1).max())
            holding = candidates[(candidates | ~keep.ravel()).all(axis=1)]
            if not len(holding):
                with pytest.raises(PatternError, match="keep"):
                    pattern.mask(torch.from_numpy(scores), num_kept, keep=torch.from_numpy(keep))
                continue
            found = pattern.mask(torch.from_numpy(scores), num_kept, keep=torch.from_numpy(keep)).numpy()
            assert not (keep & ~found).any()
            assert scores[found].sum() == pytest.approx((holding * scores.ravel()).sum(axis=1).max())


@pytest.mark.parametrize(("text", "shape"), TINY)
def test_check_accepts_exactly_the_legal_masks(text, shape):
    pattern = parse_pattern(text)
    legal = {tuple(mask) for mask in legal_masks(pattern, shape)}
    random = np.random.default_rng(1)
    samples = [*random.choice(sorted(legal), size=100), *(random.random((200, shape[0] * shape[1])) < 0.4)]
    for sample in samples:
        mask = torch.from_numpy(np.asarray(sample, dtype=bool).reshape(shape))
        if tuple(np.asarray(sample, dtype=bool)) in legal:
            pattern.check(mask)
        else:
            with pytest.raises(PatternError, match="expected"):
                pattern.check(mask)


@pytest.mark.parametrize(
    ("text", "floor"), [("gs:8,1", 0.99), ("gs:8,2", 0.98), ("gs:8,8", 0.96), ("gs:8,1,greedy", 0.985)]
)
def test_kept_score_on_normal_weights(text, floor):
    """32 x 256 normal weights at 90.6 %, 20 draws: what the pattern keeps of the unstructured optimum, on average."""
    pattern, shape, kept = parse_pattern(text), (32, 256), []
    num_kept = nearest_count(pattern.counts(shape), (1 - 0.906) * 32 * 256)
    for seed in range(20):
        scores = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).abs()
        kept.append(
            float(
                scores[pattern.mask(scores, num_kept)].sum()
                / scores[Unstructured().mask(scores, num_kept)].sum()
            )
        )
    assert sum(kept) / 20 >= floor


def test_greedy_is_at_least_half_of_the_optimum_and_exact_for_horizontal():
    for banks, per_row, shape in ((2, 1, (2, 6)), (4, 1, (8, 8)), (8, 4, (4, 16)), (8, 8, (4, 16))):
        exact, greedy = (
            GatherScatter(banks=banks, per_row=per_row, projection=p) for p in ("exact", "greedy")
        )
        for seed in range(20):
            scores = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
            for num_kept in exact.counts(shape):
                best, found = exact.mask(scores, num_kept), greedy.mask(scores, num_kept)
                assert scores[found].sum() >= 0.5 * scores[best].sum()
                assert scores[found].sum() <= scores[best].sum() + 1e-5
                assert banks != per_row or torch.equal(best, found)


def test_equal_scores_go_to_the_lower_index():
    ties = torch.zeros(2, 4)
    assert Unstructured().mask(ties, 3).int().tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]
    assert NOfM(n=2, m=4).mask(ties, 4).int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]
    assert Block(rows=1, cols=2).mask(ties, 4).int().tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]
    assert Window(width=2).mask(ties, 2).int().tolist() == [[1, 0, 0, 0], [1, 0, 0, 0]]
    assert GatherScatter(banks=2, per_row=2).mask(ties, 2).int().tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]


def test_check_says_where():
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[9, 3] = True
    said = {
        "2:4": "expected the same number in every group, 0 as in the first, got 1 in row 9, columns 0 to 3",
        "block:4x1": "expected all or none of the block at row 8, column 3 to be kept, got 1 of 4",
        "gs:8,8": "expected 0 kept in each row of row 9, got 1 in row 9",
        "gs:8,1": "expected 0 kept in each row of rows 8 to 15, got 1 in row 9",
        "window:8": "got 1 in row 9 and 0 in row 8, columns 0 to 7",
    }
    for text, words in said.items():
        with pytest.raises(PatternError, match=words):
            parse_pattern(text).check(mask)
