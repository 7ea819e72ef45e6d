"""Every format by every pattern on odd shapes, in both dtypes: round trips of the masks that it stores, refusals of all others in words."""

import numpy as np
import pytest
import torch

from gossamer import formats
from gossamer.errors import FormatError, PatternError
from gossamer.sparsity.patterns import parse_pattern
from tests.contracts.table import FORMATS, PATTERNS, UNSTORED, Line, Shape

SHARES = (0.0, 0.12, 0.5, 1.0)  # kept of all, where the pattern does not fix it
EVERYTHING = ("dense", "unstructured")
every_format = pytest.mark.parametrize("line", FORMATS, ids=lambda line: f"{line.format}-{line.pattern}")


def draw(pattern: str, shape: Shape, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Values and a mask of about `share`."""
    generator = torch.Generator().manual_seed(shape[0] + shape[1])
    values, rule = torch.randn(shape, generator=generator), parse_pattern(pattern)
    counts, target = rule.counts(shape), rule.target(shape)
    count = target if target is not None else counts[round(share * (len(counts) - 1))]
    return values.numpy(), rule.mask(values.abs(), count).numpy()


def legal(pattern: str, mask: np.ndarray) -> bool:
    """Whether the mask is one of the pattern's, as the pattern says: an independent judge of what the format accepts."""
    rule = parse_pattern(pattern)
    try:
        rule.check(torch.from_numpy(mask))
    except PatternError:
        return False
    return rule.target(mask.shape) in (None, mask.sum())


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("pattern", "shape"), [(p, s) for p, shapes in PATTERNS.items() for s in shapes])
@every_format
def test_contract(line: Line, pattern: str, shape: Shape, dtype: str):
    for share in SHARES:
        values, mask = draw(pattern, shape, share)
        if legal(line.pattern, mask):
            round_trip(line, values, mask, dtype)
            continue
        with pytest.raises(FormatError, match=f"{line.refuses}|to divide"):
            formats.pack(values, mask, format=line.format, dtype=dtype, **line.parameters)


def round_trip(line: Line, values: np.ndarray, mask: np.ndarray, dtype: str) -> None:
    values[mask.nonzero()[0][:1], mask.nonzero()[1][:1]] = 0  # a kept zero stays stored
    packed = formats.pack(values, mask, format=line.format, dtype=dtype, **line.parameters)
    found, kept = formats.unpack(packed)
    exact = np.where(mask, values, 0).astype(dtype).astype(np.float32)
    assert np.array_equal(found, exact)
    assert np.array_equal(kept, mask)
    assert packed.num_kept == kept.sum()
    assert formats.nbytes(packed) == sum(part.nbytes for part in packed.parts.values())
    rows, columns, stored = formats.entries(packed)
    assert np.array_equal(np.stack([rows, columns]), np.argwhere(kept).T)
    assert np.array_equal(stored, exact[kept])


@every_format
def test_a_mask_of_no_pattern_is_refused(line: Line):
    values, mask = draw("unstructured", (48, 144), 0.3)
    if line.format in EVERYTHING:
        round_trip(line, values, mask, "float16")
        return
    with pytest.raises(FormatError, match=line.refuses):
        formats.pack(values, mask, format=line.format, **line.parameters)


@every_format
def test_a_shape_that_does_not_divide_is_refused(line: Line):
    values, mask = draw("unstructured", (47, 143), 0.3)
    if line.format not in EVERYTHING:
        with pytest.raises(FormatError, match=r"expected \d+ to divide (47|143), got the rest"):
            formats.pack(values, mask, format=line.format, **line.parameters)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_has_a_format(pattern: str):
    name, parameters = formats.for_pattern(pattern)
    shape = PATTERNS[pattern][-1]
    if pattern in UNSTORED:
        with pytest.raises(FormatError, match=UNSTORED[pattern]):
            formats.pack(*draw(pattern, shape, 0.5), format=name, **parameters)
        return
    assert (name, parameters) in [(line.format, line.parameters) for line in FORMATS]
    formats.pack(*draw(pattern, shape, 0.5), format=name, **parameters)
