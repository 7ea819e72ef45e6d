"""Every pattern on every shape of the table keeps the contract of gossamer.sparsity.patterns.pattern."""

import contextlib
import dataclasses
import re

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
    parse_pattern,
)
from tests.contracts.table import MALFORMED, PATTERNS, SHAPE_REFUSALS, Shape

CASES = [
    pytest.param(parse_pattern(text), shape, id=f"{text}-{shape[0]}x{shape[1]}")
    for text, shapes in PATTERNS.items()
    for shape in shapes
]
every_case = pytest.mark.parametrize(("pattern", "shape"), CASES)


def some_counts(pattern: Pattern, shape: Shape) -> list[int]:
    """The ends, their neighbours and three between."""
    counts = pattern.counts(shape)
    n = len(counts) - 1
    return [counts[i] for i in sorted({0, min(1, n), n // 10, n // 3, n // 2, n - 1 if n else 0, n})]


def normal(shape: Shape, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).abs()


@pytest.mark.parametrize("text", PATTERNS)
def test_the_string_reads_back(text):
    pattern = parse_pattern(text)
    assert str(pattern) == text
    assert parse_pattern(str(pattern)) == pattern
    assert hash(pattern) == hash(parse_pattern(text))


@pytest.mark.parametrize(("text", "words"), MALFORMED)
def test_a_malformed_string_is_refused(text, words):
    with pytest.raises(PatternError, match=re.escape(words)):
        parse_pattern(text)


@pytest.mark.parametrize("family", [Block, GatherScatter, NOfM, Taps, Window])
@pytest.mark.parametrize("value", ["8", 8.0, None, True])
def test_parameters_are_integers(family, value):
    for field in dataclasses.fields(family):
        if field.name != "projection":
            with pytest.raises(PatternError, match=f"expected {field.name} to be an integer"):
                family(**{field.name: value})


@pytest.mark.parametrize(("text", "shape", "words"), SHAPE_REFUSALS)
def test_a_shape_without_meaning_is_refused(text, shape, words):
    with pytest.raises(PatternError, match=re.escape(words)):
        parse_pattern(text).counts(shape)


@every_case
def test_counts_reach_from_nothing_to_the_most_that_is_legal(pattern, shape):
    counts = pattern.counts(shape)
    assert counts[0] == 0
    size = shape[0] * shape[1]
    assert counts[-1] == (size * 4 // 9 if isinstance(pattern, Taps) else size)
    assert counts.step > 0
    target = pattern.target(shape)
    assert target is None or target in counts


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_masks_are_exact_legal_and_repeatable(pattern, shape, dtype):
    scores = normal(shape).to(dtype)
    for num_kept in some_counts(pattern, shape):
        mask = pattern.mask(scores, num_kept)
        assert mask.shape == scores.shape
        assert mask.dtype == torch.bool
        assert int(mask.sum()) == num_kept
        pattern.check(mask)
        assert torch.equal(mask, pattern.mask(scores, num_kept))
        assert torch.equal(mask, pattern.mask(4 * scores, num_kept))  # scale does not matter
        assert torch.equal(mask, pattern.mask(mask.float(), num_kept))  # the best mask of a mask is itself


@every_case
@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, float("-inf"), float("inf")])
def test_equal_scores_still_give_exact_legal_masks(pattern, shape, value):
    scores = torch.full(shape, value)
    for num_kept in some_counts(pattern, shape):
        mask = pattern.mask(scores, num_kept)
        assert int(mask.sum()) == num_kept
        pattern.check(mask)


@every_case
def test_dropping_takes_a_subset(pattern, shape):
    scores = normal(shape)
    counts = some_counts(pattern, shape)
    for more, fewer in ((more, fewer) for more in counts for fewer in counts if fewer <= more):
        before = pattern.mask(normal(shape, seed=1), more)
        after = pattern.mask(scores.where(before, torch.tensor(-torch.inf)), fewer)
        assert int(after.sum()) == fewer
        assert not (after & ~before).any()
        pattern.check(after)


@every_case
def test_growing_keeps_what_is_kept(pattern, shape):
    scores = normal(shape)
    counts = some_counts(pattern, shape)
    for fewer, more in ((fewer, more) for fewer in counts for more in counts if fewer <= more):
        before = pattern.mask(normal(shape, seed=1), fewer)
        after = pattern.mask(scores, more, keep=before)
        assert int(after.sum()) == more
        assert not (before & ~after).any()
        pattern.check(after)


@every_case
def test_any_keep_is_contained_or_refused(pattern, shape):
    keep = torch.rand(shape, generator=torch.Generator().manual_seed(2)) < 0.1
    scores = -normal(shape)
    refused = False
    for num_kept in reversed(some_counts(pattern, shape)):
        with contextlib.suppress(PatternError):
            mask = pattern.mask(scores, num_kept, keep=keep)
            assert not refused, "a smaller count cannot hold what a larger one could not"
            assert int(mask.sum()) == num_kept
            assert not (keep & ~mask).any()
            pattern.check(mask)
            continue
        refused = True
        with pytest.raises(PatternError, match="keep"):
            pattern.mask(scores, num_kept, keep=keep)


@every_case
def test_an_empty_keep_changes_nothing(pattern, shape):
    scores = normal(shape)
    for num_kept in some_counts(pattern, shape):
        none = torch.zeros(shape, dtype=torch.bool)
        assert torch.equal(pattern.mask(scores, num_kept, keep=none), pattern.mask(scores, num_kept))


@every_case
def test_gains_fall_and_add_up(pattern, shape):
    scores = normal(shape).double()
    counts, gains = pattern.counts(shape), pattern.gains(scores)
    assert gains.shape == (len(counts) - 1,)
    assert bool((gains[1:] <= gains[:-1]).all())
    if counts[-1] == scores.numel():
        assert torch.isclose(gains.sum(), scores.sum())
    for num_kept in some_counts(pattern, shape):
        kept = scores[pattern.mask(scores, num_kept)].sum()
        assert kept <= gains[: num_kept // counts.step].sum() + 1e-9
        if not (str(pattern).startswith("gs") and pattern.group_rows > 1):
            assert torch.isclose(kept, gains[: num_kept // counts.step].sum())


@every_case
def test_what_cannot_be_answered_is_refused(pattern, shape):
    scores, counts = normal(shape), pattern.counts(shape)
    for illegal in (-counts.step, counts[-1] + counts.step, *([1] if counts.step > 1 else [])):
        with pytest.raises(PatternError, match="nearest legal count is"):
            pattern.mask(scores, illegal)
    with pytest.raises(PatternError, match="without NaN, got 1 NaN"):
        pattern.mask(nan_once(shape), 0)
    with pytest.raises(PatternError, match="floating-point"):
        pattern.mask(scores.long(), 0)
    for count in (float(counts[-1]), None, True):
        with pytest.raises(PatternError, match="num_kept to be an integer"):
            pattern.mask(scores, count)
    for call in (lambda: pattern.mask(scores.numpy(), 0), lambda: pattern.check(scores.numpy() > 0)):
        with pytest.raises(PatternError, match="as a torch tensor, got ndarray"):
            call()
    with pytest.raises(PatternError, match=re.escape("matrix shape (rows, columns)")):
        pattern.counts((8,))
    with pytest.raises(PatternError, match="keep to be bool"):
        pattern.mask(scores, counts[-1], keep=scores)
    with pytest.raises(PatternError, match="a keep of"):
        pattern.mask(scores, 0, keep=torch.ones(shape, dtype=torch.bool))
    with pytest.raises(PatternError, match="bool mask"):
        pattern.check(scores)


def nan_once(shape: Shape) -> torch.Tensor:
    scores = torch.zeros(shape)
    scores[-1, -1] = torch.nan
    return scores


@every_case
def test_check_names_a_violation(pattern, shape):
    counts = pattern.counts(shape)
    mask = pattern.mask(normal(shape), counts[len(counts) // 2])
    broken = mask.clone()
    broken[-1, -1] = ~broken[-1, -1]
    if isinstance(pattern, Unstructured) or counts.step == 1:
        pattern.check(broken)
        return
    with pytest.raises(PatternError, match="expected"):
        pattern.check(broken)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every_case
def test_masks_stay_on_their_device(pattern, shape):
    scores = normal(shape)
    for num_kept in some_counts(pattern, shape):
        mask = pattern.mask(scores.cuda(), num_kept)
        assert mask.is_cuda
        assert torch.equal(mask.cpu(), pattern.mask(scores, num_kept))
