"""What every format promises: round trips in any pattern it holds, on odd shapes, in both dtypes; refusals in words."""

import numpy as np
import pytest
import torch

from gossamer import formats
from gossamer.errors import FormatError, PatternError
from gossamer.formats.codec import FORMATS as MODULES
from gossamer.sparsity.patterns import parse_pattern
from tests.contracts.formats import FORMATS, FREE, HOLDS, PATTERNS, REFUSALS, SHAPES


def draw(pattern: str, shape: tuple[int, int], share: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Values and a mask of about `share`, or None where the pattern cannot live on the shape."""
    generator = torch.Generator().manual_seed(shape[0] + shape[1])
    values = torch.randn(shape, generator=generator)
    rule = parse_pattern(pattern)
    try:
        counts = rule.counts(shape)
    except PatternError:
        return None
    target = rule.target(shape)
    count = target if target is not None else counts[round(share * (len(counts) - 1))]
    return values.numpy(), rule.mask(values.abs(), count).numpy()


def test_every_format_is_in_the_table():
    assert {name for name, _ in FORMATS.values()} == set(MODULES)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("entry", "pattern"), [(e, p) for e in FORMATS for p in HOLDS[e]])
def test_round_trip(entry: str, pattern: str, shape: tuple[int, int], dtype: str):
    name, parameters = FORMATS[entry]
    for share in (0.0, 0.12, 0.5, 1.0):
        drawn = draw(pattern, shape, share)
        if drawn is None:
            with pytest.raises(PatternError, match=r"."):
                parse_pattern(pattern).counts(shape)
            return
        values, mask = drawn
        values[mask.nonzero()[0][:1], mask.nonzero()[1][:1]] = 0  # a kept zero stays stored
        packed = formats.pack(values, mask, format=name, dtype=dtype, **parameters)
        found, kept = formats.unpack(packed)
        exact = np.where(mask, values, 0).astype(dtype).astype(np.float32)
        assert np.array_equal(found, exact)
        assert np.array_equal(kept, np.ones(shape, bool) if name == "dense" else mask)
        assert packed.num_kept == kept.sum()
        assert formats.nbytes(packed) == sum(part.nbytes for part in packed.parts.values())
        rows, columns, stored = formats.entries(packed)
        assert np.array_equal(np.stack([rows, columns]), np.argwhere(kept).T)
        assert np.array_equal(stored, exact[kept])


@pytest.mark.parametrize(
    ("entry", "pattern"),
    [(e, p) for e in FORMATS for p in PATTERNS if p not in HOLDS[e] and (e, p) not in FREE],
)
def test_refusal(entry: str, pattern: str):
    name, parameters = FORMATS[entry]
    drawn = draw(pattern, (16, 64), 0.3)
    assert drawn is not None
    with pytest.raises(FormatError, match=REFUSALS[entry]):
        formats.pack(*drawn, format=name, **parameters)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_for_pattern_names_a_format_that_holds_it(pattern: str):
    assert pattern in next(
        HOLDS[entry] for entry, line in FORMATS.items() if line == formats.for_pattern(pattern)
    )
