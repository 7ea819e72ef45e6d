"""Images become inputs: by hand."""

import numpy as np
import pytest

from gossamer.errors import GraphError, RuntimeFailure
from gossamer.graph import ImagePreprocessing
from gossamer.runtime import image_input

GREY = ImagePreprocessing(size=(1, 2), channels=1, mean=(0.5,), std=(0.25,))
COLOUR = ImagePreprocessing(size=(1, 1), channels=3, mean=(0, 0, 0.5), std=(1, 2, 1))


def test_scale_mean_std():
    assert image_input(np.array([[0, 51]], np.uint8), GREY).tolist() == [[[[-2.0, pytest.approx(-1.2)]]]]
    found = image_input(np.array([[[255, 255, 0]]], np.uint8), COLOUR)
    assert found.ravel().tolist() == [1, 0.5, -0.5]
    assert found.shape == (1, 3, 1, 1)


def test_grey_and_colour():
    assert image_input(np.array([[255]], np.uint8), COLOUR).ravel().tolist() == [1, 0.5, 0.5]
    white = np.full((1, 2, 3), 255, np.uint8)
    assert image_input(white, GREY).ravel().tolist() == [2, 2]


def test_resize():
    pytest.importorskip("PIL")
    assert image_input(np.full((9, 7), 255, np.uint8), GREY).tolist() == [[[[2, 2]]]]


@pytest.mark.parametrize(
    "image", [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 2), np.uint8)]
)
def test_refusals(image):
    with pytest.raises(RuntimeFailure, match="image: expected"):
        image_input(image, GREY)


@pytest.mark.parametrize(
    "change", [{"channels": 2}, {"mean": (1.0, 2.0)}, {"std": (0.0,)}, {"size": (0, 1)}, {"scale": 0.0}]
)
def test_malformed_block(change):
    with pytest.raises(GraphError, match="preprocessing"):
        ImagePreprocessing(**{"size": (1, 1), "channels": 1, "mean": (0.0,), "std": (1.0,)} | change)
    with pytest.raises(GraphError, match='expected "image"'):
        ImagePreprocessing.from_json(GREY.to_json() | {"kind": "sound"})


def test_no_block():
    with pytest.raises(RuntimeFailure, match="preprocessing: expected an ImagePreprocessing, got None"):
        image_input(np.zeros((2, 2), np.uint8), None)
