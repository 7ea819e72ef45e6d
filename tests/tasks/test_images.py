"""Batches are functions of (seed, epoch, index)."""

import numpy as np
import pytest

from gossamer.tasks.images import AUGMENT, ORDER, Augment, augmented, epoch_order, normalized, random_bits


def test_order_is_a_permutation_that_depends_on_seed_and_epoch():
    orders = [epoch_order(1000, seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert np.array_equal(np.sort(order), np.arange(1000))
    assert len({order.tobytes() for order in orders}) == 4


def test_bits_of_an_index_do_not_depend_on_its_neighbours():
    whole = random_bits(3, AUGMENT, 5, np.arange(100))
    part = random_bits(3, AUGMENT, 5, np.array([42, 7]))
    assert part.tolist() == [whole[42], whole[7]]


def test_bits_follow_splitmix64():
    """The finalizer by itself, in Python's own integers."""
    mask = 2**64 - 1

    def mix(x: int) -> int:
        x = (x + 0x9E3779B97F4A7C15) & mask
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    expected = mix(mix(mix(mix(0 ^ 9) ^ ORDER) ^ 2) ^ 17)
    assert int(random_bits(9, ORDER, 2, np.array([17]))[0]) == expected


@pytest.mark.parametrize("crop", [0, 1, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_augmentation_equals_a_plain_loop(flip, crop):
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)
    indices = np.arange(100, 140)
    bits = random_bits(1, AUGMENT, 4, indices)
    expected = np.zeros_like(images)
    for n, image in enumerate(images):
        word = int(bits[n])
        source = image[:, ::-1] if flip and word & 1 else image
        down = (word >> 8) % (2 * crop + 1) - crop
        right = (word >> 32) % (2 * crop + 1) - crop
        for y in range(6):
            for x in range(5):
                if 0 <= y + down < 6 and 0 <= x + right < 5:
                    expected[n, y, x] = source[y + down, x + right]
    found = augmented(images, indices, Augment(flip=flip, crop=crop), seed=1, epoch=4)
    assert np.array_equal(found, expected)


def test_no_augmentation_changes_nothing():
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert augmented(images, np.arange(2), Augment(flip=False, crop=0), seed=0, epoch=0) is images


def test_flips_and_shifts_are_about_even():
    bits = random_bits(0, AUGMENT, 0, np.arange(20_000))
    assert abs(float((bits & np.uint64(1)).mean()) - 0.5) < 0.02
    shifts = np.bincount(((bits >> np.uint64(8)) % np.uint64(5)).astype(int), minlength=5) / 20_000
    assert np.allclose(shifts, 0.2, atol=0.02)


def test_normalized():
    found = normalized(np.array([[[0, 51], [102, 255]]], np.uint8), mean=0.2, std=0.4)
    assert found.dtype == np.float32
    assert found.shape == (1, 1, 2, 2)
    assert np.allclose(found[0, 0], [[-0.5, 0.0], [0.5, 2.0]], atol=1e-6)


def test_crop_beyond_its_range_is_refused():
    with pytest.raises(ValueError, match="0 to 16 pixels, got 17"):
        Augment(crop=17)
