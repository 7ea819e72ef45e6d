"""Every pattern on positions: `select` is `mask`, `draw` is legal, exact, uniform; both without a tensor of the matrix."""

import itertools

import pytest
import torch
from torch import Tensor

from gossamer.errors import PatternError
from gossamer.sparsity.patterns import Pattern, Taps, check_positions, parse_pattern
from tests.contracts.table import PATTERNS, Shape
from tests.contracts.test_patterns import CASES, every_case, normal, some_counts

pytestmark = pytest.mark.usefixtures("one_thread")  # thousands of tiny operations

NOTHING = torch.empty(0, dtype=torch.int64)
SCORES = {
    "distinct": lambda shape: normal(shape, seed=2),
    "many ties": lambda shape: normal(shape, seed=2).round(),
    "all equal": torch.zeros,
    "negative and infinite": lambda shape: torch.where(
        normal(shape, seed=4) > 1.5, torch.inf, -normal(shape, seed=2)
    ),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def positions_of(mask: Tensor) -> Tensor:
    return mask.flatten().nonzero().flatten()


def mask_of(positions: Tensor, shape: Shape) -> Tensor:
    mask = torch.zeros(shape[0] * shape[1], dtype=torch.bool)
    mask[positions] = True
    return mask.reshape(shape)


@every_case
@pytest.mark.parametrize("kind", SCORES)
def test_select_is_mask(pattern, shape, kind):
    scores = SCORES[kind](shape)
    counts = some_counts(pattern, shape)
    for more, fewer in ((more, fewer) for more in counts for fewer in counts if fewer <= more):
        before = pattern.mask(normal(shape, seed=1), more)
        positions = positions_of(before)
        stays = pattern.select(positions, scores.flatten()[positions], shape, fewer)
        assert stays.dtype == torch.bool
        expected = pattern.mask(scores.where(before, torch.tensor(-torch.inf)), fewer)
        assert torch.equal(mask_of(positions[stays], shape), expected), (more, fewer)


@every_case
def test_select_and_draw_are_the_same_whatever_is_looked_at_at_a_time(pattern, shape, monkeypatch):
    counts = some_counts(pattern, shape)
    before = positions_of(pattern.mask(normal(shape, seed=1), counts[-1]))
    scores = normal(shape, seed=2).flatten()[before].round()

    def found() -> list[Tensor]:
        fewer = positions_of(pattern.mask(normal(shape, seed=1), counts[0]))
        selected = [pattern.select(before, scores, shape, count) for count in counts]
        return [*selected, *(pattern.draw(fewer, shape, count, generator(3)) for count in counts)]

    expected = found()
    monkeypatch.setattr("gossamer.sparsity.patterns.tiling._ENTRIES", 1)
    for one, other in zip(found(), expected, strict=True):
        assert torch.equal(one, other)


@every_case
def test_draw_is_legal_exact_and_repeatable(pattern, shape):
    counts = some_counts(pattern, shape)
    for fewer, more in ((fewer, more) for fewer in counts for more in counts if fewer <= more):
        before = pattern.mask(normal(shape, seed=1), fewer)
        positions = positions_of(before)
        drawn = pattern.draw(positions, shape, more, generator(3))
        assert drawn.numel() == more - fewer
        assert bool((drawn[1:] > drawn[:-1]).all())
        assert not before.flatten()[drawn].any()
        after = before | mask_of(drawn, shape)
        assert int(after.sum()) == more
        pattern.check(after)
        assert torch.equal(drawn, pattern.draw(positions, shape, more, generator(3)))


@every_case
def test_places_are_checked_strip_by_strip_as_the_mask_is(pattern, shape, monkeypatch):
    """A legal set, the same with one entry moved, with one left out: strips of one group of rows, and the whole."""
    for count in some_counts(pattern, shape):
        legal = positions_of(pattern.mask(normal(shape, seed=1), count))
        absent = positions_of(~mask_of(legal, shape))
        sets = [legal, legal[1:]]
        if len(legal) and len(absent):
            sets += [torch.cat([legal[:-1], absent[i : i + 1]]).sort().values for i in (0, len(absent) - 1)]
        for positions in sets:
            try:
                pattern.check(mask_of(positions, shape))
                refused = False
            except PatternError:
                refused = True
            for strip in (1, 1 << 20):
                monkeypatch.setattr("gossamer.sparsity.patterns.pattern._STRIP", strip)
                if refused:
                    with pytest.raises(PatternError, match="expected"):
                        check_positions(pattern, positions, shape)
                else:
                    check_positions(pattern, positions, shape)


def test_a_refused_place_is_told_with_its_row(monkeypatch):
    """Row 6 keeps two entries, row 7 none; in their strip, under the first two rows, it is row 2."""
    monkeypatch.setattr("gossamer.sparsity.patterns.pattern._STRIP", 1)
    positions, pattern = torch.tensor([0, 5, 8, 13, 16, 21, 24, 25]), parse_pattern("gs:2,1")
    with pytest.raises(PatternError, match=r"got 2 in row 2 \(rows counted from row 4, under the first 2\)"):
        check_positions(pattern, positions, (8, 4))


@every_case
def test_what_was_dropped_is_drawn_last(pattern, shape):
    """The dropped entries enter only where all others have entered already."""
    counts = pattern.counts(shape)
    most, n = counts[-1], len(counts) - 1
    for before_count, kept_count in ((counts[n // 2], counts[n // 4]), (most, counts[n // 2])):
        before = pattern.mask(normal(shape, seed=1), before_count)
        positions = positions_of(before)
        stays = pattern.select(positions, normal(shape, seed=5).flatten()[positions], shape, kept_count)
        kept, dropped = positions[stays], positions[~stays]
        others = most - before_count  # entries that are neither kept nor dropped
        for more in (count for count in some_counts(pattern, shape) if count >= kept_count):
            drawn = pattern.draw(kept, shape, more, generator(), exclude=dropped)
            after = mask_of(torch.cat([kept, drawn]), shape)
            assert int(after.sum()) == more
            pattern.check(after)
            again = int(torch.isin(*(places(pattern, shape, some) for some in (drawn, dropped))).sum())
            assert again == max(0, more - kept_count - others), (before_count, kept_count, more)


def places(pattern: Pattern, shape: Shape, positions: Tensor) -> Tensor:
    """What cannot be absent and kept at once: an entry, or its filter slice, which returns with any set of taps."""
    if not isinstance(pattern, Taps):
        return positions
    channels = shape[1] // 9
    return positions // shape[1] * channels + positions % shape[1] % channels


def legal_sets(pattern: Pattern, shape: Shape, kept: Tensor, num_kept: int) -> list[frozenset[int]]:
    """All legal masks of that many entries that contain `kept`, by trying every set."""
    others = (~kept).flatten().nonzero().flatten().tolist()
    found = []
    for added in itertools.combinations(others, num_kept - int(kept.sum())):
        try:
            pattern.check(kept | mask_of(torch.tensor(added, dtype=torch.int64), shape))
        except PatternError:
            continue
        found.append(frozenset(added))
    return found


@pytest.mark.parametrize(
    ("text", "shape", "kept", "num_kept", "tile"),
    [
        ("unstructured", (2, 4), [1, 6], 4, (2, 4)),
        ("unstructured", (1, 5), [], 4, (1, 5)),  # more than half of what is absent
        ("2:4", (2, 4), [1, 6], 4, (2, 4)),
        ("block:2x1", (4, 3), [1, 4], 6, (4, 3)),
        ("gs:4,4", (2, 8), [0, 1, 2, 3], 8, (1, 8)),
        ("gs:2,1", (4, 4), [0, 5], 4, (2, 4)),
        ("gs:4,2", (2, 8), [0, 1, 10, 11], 8, (2, 8)),
        ("window:2", (4, 4), [0, 5], 4, (2, 2)),
        ("taps:4", (1, 27), [12, 15, 21, 24], 8, (1, 27)),
    ],
)
def test_draws_are_uniform(text, shape, kept, num_kept, tile):
    """A tile is drawn as often as it has absent bundles, and then each of its bundles is equally likely: chi-square below its 99.99 %
    point, by the Wilson-Hilferty formula."""
    pattern, positions = parse_pattern(text), torch.tensor(kept, dtype=torch.int64)
    before = mask_of(positions, shape)
    pattern.check(before)
    sets = legal_sets(pattern, shape, before, num_kept)
    tiles = [(min(added) // shape[1] // tile[0], min(added) % shape[1] // tile[1]) for added in sets]
    absent = [
        int((~before)[r * tile[0] : (r + 1) * tile[0], c * tile[1] : (c + 1) * tile[1]].sum())
        for r, c in tiles
    ]
    share = [entries / tiles.count(where) for entries, where in zip(absent, tiles, strict=True)]
    draws = 200 * len(sets)
    expected = {added: draws * part / sum(share) for added, part in zip(sets, share, strict=True)}
    seen, chance = dict.fromkeys(sets, 0), generator(12)
    for _ in range(draws):
        seen[frozenset(pattern.draw(positions, shape, num_kept, chance).tolist())] += 1
    statistic = sum((seen[added] - number) ** 2 / number for added, number in expected.items())
    freedom = len(sets) - 1
    bound = freedom * (1 - 2 / (9 * freedom) + 3.719 * (2 / (9 * freedom)) ** 0.5) ** 3
    assert statistic < bound, (statistic, bound, seen)


def test_vertical_bundles_are_uniform_also_where_little_is_absent():
    """One entry of every cell is left: proposals seldom fit, so most draws complete the group by random scores. Every one of them is
    the same legal set, and half of it is drawn without preference for a row or residue."""
    pattern, shape = parse_pattern("gs:4,1"), (4, 32)
    scores = torch.ones(shape)
    scores[:, :4] = 0.0
    before = pattern.mask(scores, 7 * 16)
    counts, chance = torch.zeros(4, 4), generator(5)
    for _ in range(600):
        drawn = pattern.draw(positions_of(before), shape, 7 * 16 + 8, chance)
        counts[drawn // 32, drawn % 32] += 1
    assert int(counts.sum()) == 600 * 8
    assert bool(((counts - 300).abs() < 60).all())  # 5 standard deviations


VAST = {
    # pattern: (shape whose dense tensor no machine holds, entries that are kept, and after)
    "unstructured": ((2**20, 2**20), 1000, 3000),
    "block:4x1": ((2**20, 2**20), 4000, 12000),
    "gs:8,8": ((2**20, 2**20), 800, 2400),
    "gs:8,1": ((2**20, 2**20), 800, 2400),
    "gs:8,2,greedy": ((2**26, 2**12), 800, 2400),
    "window:8": ((2**20, 2**20), 800, 2400),
    "1:1048576": ((2**10, 2**30), 0, 2**20),
    "taps:4": ((2**10, 9 * 2**30), 2**12, 3 * 2**12),
}


@pytest.mark.parametrize("text", VAST)
def test_no_tensor_of_the_matrix_is_made(text):
    shape, few, more = VAST[text]
    pattern = parse_pattern(text)
    first = pattern.draw(NOTHING, shape, few, generator(1))
    grown = torch.cat([first, pattern.draw(first, shape, more, generator(2), exclude=None)]).sort().values
    assert grown.numel() == more
    assert bool((grown[1:] > grown[:-1]).all())
    assert int(grown[-1]) < shape[0] * shape[1]
    stays = pattern.select(grown, normal((1, more))[0], shape, few)
    assert int(stays.sum()) == few
    back = pattern.draw(grown[stays], shape, more, generator(3), exclude=grown[~stays])
    assert back.numel() == more - few
    assert text.startswith("1:") or not torch.isin(back, grown).any()


def test_every_family_is_drawn_in_a_vast_matrix():
    assert {type(parse_pattern(text)) for text in VAST} == {type(case.values[0]) for case in CASES}


@pytest.mark.parametrize("text", PATTERNS)
def test_what_cannot_be_answered_is_refused(text):
    pattern, shape = parse_pattern(text), PATTERNS[text][-1]
    counts = pattern.counts(shape)
    positions = pattern.draw(NOTHING, shape, counts[1], generator())
    with pytest.raises(PatternError, match=f"of at most {counts[0]} positions, got {counts[1]}"):
        pattern.draw(positions, shape, counts[0], generator())
    scores = torch.zeros(counts[1])
    with pytest.raises(PatternError, match=f"of at least {counts[2]} positions, got {counts[1]}"):
        pattern.select(positions, scores, shape, counts[2])
    with pytest.raises(PatternError, match="ascending"):
        pattern.draw(torch.full((counts[1],), 10**9), shape, counts[1], generator())
    with pytest.raises(PatternError, match="int64"):
        pattern.select(positions.int(), scores, shape, 0)
    with pytest.raises(PatternError, match="without NaN"):
        pattern.select(positions, scores / 0, shape, 0)
    with pytest.raises(PatternError, match="scores \\[" + str(counts[1])):
        pattern.select(positions, torch.zeros(counts[1] + 1), shape, 0)
    with pytest.raises(PatternError, match=r"explicit torch\.Generator"):
        pattern.draw(positions, shape, counts[1], None)
