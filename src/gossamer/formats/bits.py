"""The two byte streams of sparse formats: w-bit numbers, and gap bytes.

>>> pack_bits(np.array([1, 2, 3]), 3)
array([209,   0], dtype=uint8)
>>> unpack_bits(pack_bits(np.array([1, 2, 3]), 3), 3, 3, "positions")
array([1, 2, 3])
>>> encode_gaps(np.array([0, 5, 300]), total=900, step=1)
array([  0,   4, 255,  39, 255, 255], dtype=uint8)
>>> decode_gaps(encode_gaps(np.array([0, 5, 300]), total=900, step=1), total=900, step=1)
array([  0,   5, 300])
"""

import numpy as np

from gossamer.errors import FormatError
from gossamer.formats.matrix import Bytes, Ints

ESCAPE = 255


def width_of(count: int) -> int:
    """Bits that tell `count` things apart: ceil(log2 count).

    >>> [width_of(count) for count in (1, 2, 3, 4, 5)]
    [0, 1, 2, 2, 3]
    """
    return (count - 1).bit_length()


def pack_bits(numbers: Ints, width: int) -> Bytes:
    """Numbers below 2**width one after the other, least significant bit first; unused high bits are 0."""
    bits = np.empty((numbers.size, width), dtype=np.uint8)
    for place in range(width):
        bits[:, place] = (numbers.ravel() >> place) & 1
    return np.packbits(bits.ravel(), bitorder="little")


def unpack_bits(stream: Bytes, count: int, width: int, what: str) -> Ints:
    """The inverse; FormatError where the stream has another length or its unused bits are set."""
    expected = (count * width + 7) // 8
    if stream.size != expected:
        raise FormatError(
            f"{what}: expected {expected} bytes ({count} numbers of {width} bits), got {stream.size}"
        )
    bits = np.unpackbits(stream, bitorder="little")
    if bits[count * width :].any():
        raise FormatError(f"{what}: expected unused bits of the last byte to be 0, got {stream[-1]:#04x}")
    table = bits[: count * width].reshape(count, width)
    numbers = np.zeros(count, dtype=np.int64)
    for place in range(width):
        numbers |= table[:, place].astype(np.int64) << place
    return numbers


def encode_gaps(slots: Ints, *, total: int, step: int) -> Bytes:
    """Ascending `slots` below `total` as gap bytes; after a slot the cursor moves on by `step` (0 allows repeats)."""
    cursor = np.concatenate([[0], slots[:-1] + step]) if slots.size else slots
    gaps = slots - cursor
    lengths = gaps // ESCAPE + 1
    end = int(slots[-1]) + step if slots.size else 0
    stream = np.full(int(lengths.sum()) + (total - end) // ESCAPE, ESCAPE, dtype=np.uint8)
    stream[np.cumsum(lengths) - 1] = gaps % ESCAPE
    return stream


def expected_gap_bytes(count: int, *, total: int, step: int) -> float:
    """Length of the stream of `count` slots drawn at random from `total`: one byte each, and one more for every 255 slots of a gap.

    >>> round(expected_gap_bytes(100, total=1000, step=1)), round(expected_gap_bytes(100, total=100_000, step=1))
    (100, 444)
    """
    if not count:
        return float(total // ESCAPE)
    mean = (total - step * count) / count  # of a gap; gaps are geometric, P(gap >= g) = (mean / (1 + mean))^g
    return count / (1 - (mean / (1 + mean)) ** ESCAPE)


def decode_gaps(stream: Bytes, *, total: int, step: int) -> Ints:
    """The slots of a stream; FormatError where it leaves the matrix or stops short of its end."""
    emits = stream != ESCAPE
    count = int(np.count_nonzero(emits))
    end = int(stream.sum(dtype=np.int64)) + step * count
    if not 0 <= total - end < ESCAPE:
        raise FormatError(
            f"gaps: expected a stream that ends at most 254 slots before {total}, got its end at {end}"
        )
    slots: Ints = np.cumsum(stream, dtype=np.int64)[emits] + step * np.arange(count, dtype=np.int64)
    if count and slots[-1] >= total:
        raise FormatError(f"gaps: expected slots below {total}, got {slots[-1]}")
    return slots
