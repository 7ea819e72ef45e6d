"""Places of a compact weight: packing, order of the structure, refusals."""

import pytest
import torch

from gossamer.errors import EngineError
from gossamer.training.compact.storage import Places


def test_single_entries_stand_in_row_major_order() -> None:
    places = Places(shape=(3, 4), capacity=5)
    data = places.pack(torch.tensor([11, 0, 4]))
    assert places.row_start(data).tolist() == [0, 1, 2, 3]
    assert places.columns(data).tolist() == [0, 0, 3, 0, 0]
    assert places.positions(data).tolist() == [0, 4, 11]


def test_a_convolution_counts_columns_by_filter_position_then_channel() -> None:
    places = Places(
        shape=(1, 2, 1, 2), capacity=1
    )  # channels 2, taps 2: columns (tap 0: c0 c1, tap 1: c0 c1)
    assert places.columns(places.pack(torch.tensor([2]))).tolist() == [2]


def test_blocks_follow_one_another_and_are_row_major_inside() -> None:
    places = Places(shape=(4, 4), block=(2, 2), capacity=12)
    first, second = [2, 3, 6, 7], [8, 9, 12, 13]
    data = places.pack(torch.tensor(sorted(second + first)))
    assert places.row_start(data).tolist() == [0, 1, 2]
    assert places.columns(data).tolist() == [1, 0, 0]
    assert places.positions(data).tolist() == first + second
    assert places.keys(places.positions(data)).tolist() == [4, 5, 6, 7, 8, 9, 10, 11]


def test_columns_take_two_bytes_up_to_65536_of_them() -> None:
    assert Places(shape=(2, 65536), capacity=4).nbytes == 4 * 3 + 2 * 4
    assert Places(shape=(2, 65537), capacity=4).nbytes == 4 * 3 + 4 * 4
    wide = Places(shape=(2, 1 << 17), capacity=2)
    assert wide.positions(wide.pack(torch.tensor([(1 << 18) - 1, 70000]))).tolist() == [70000, (1 << 18) - 1]


@pytest.mark.parametrize(
    ("positions", "words"),
    [([0, 1, 2], "capacity"), ([0, 0], "distinct"), ([12], "below 12"), ([-1], "below 12")],
)
def test_what_cannot_be_packed_is_refused(positions: list[int], words: str) -> None:
    with pytest.raises(EngineError, match=words):
        Places(shape=(3, 4), capacity=2).pack(torch.tensor(positions))


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 2, 3, 3)])
def test_a_weight_without_entries_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match="at least one row and one column, got"):
        Places(shape=shape, capacity=0)


def test_half_a_block_is_refused() -> None:
    with pytest.raises(EngineError, match="whole 2x1 blocks"):
        Places(shape=(4, 4), block=(2, 1), capacity=4).pack(torch.tensor([0, 4, 1, 6]))


def test_more_blocks_than_row_starts_can_count_are_refused() -> None:
    side = 1 << 18
    assert Places(shape=(side, side), capacity=(1 << 32) - 1).capacity == (1 << 32) - 1
    with pytest.raises(EngineError, match=r"fewer than 2\^32 blocks.*got 4294967296"):
        Places(shape=(side, side), capacity=1 << 32)
    assert Places(shape=(side, side), block=(4, 1), capacity=1 << 32).unit == 4
