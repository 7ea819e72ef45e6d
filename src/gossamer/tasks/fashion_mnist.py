"""Fashion-MNIST: 28x28 grey images of clothing, 10 classes (Xiao, Rasul and Vollgraf, 2017, arXiv:1708.07747).

Two data sources: `embedded`, 10,000 training and 5,000 test images inside the package (the first 1,000 and 500 of each class),
and `full`, 60,000 and 10,000, which `gossamer data get fashion-mnist` fetches.
"""

from __future__ import annotations

import hashlib
import io
import lzma
from importlib.resources import files

import numpy as np

from gossamer.errors import DataError
from gossamer.tasks import store
from gossamer.tasks.images import Bytes, ImageData, Integers, Split
from gossamer.tasks.models import mlp, resnet20
from gossamer.tasks.task import DataChoice, ImageTask

EMBEDDED = "fashion-mnist-subset.npz.xz"
EMBEDDED_SHA256 = "0cb7dfd5b9fb38e73f12ef310a57f5e6f43ca5b14d1024ac2c58ee8ad7fe3647"

LABELS = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def load_embedded() -> ImageData:
    """The subset that comes with the package."""
    content = lzma.decompress((files(__package__) / "data" / EMBEDDED).read_bytes())
    if hashlib.sha256(content).hexdigest() != EMBEDDED_SHA256:
        raise DataError(f"the embedded data {EMBEDDED} are damaged; install gossamer again")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return ImageData(
            train=Split(images=arrays["train_images"], labels=arrays["train_labels"].astype(np.int64)),
            test=Split(images=arrays["test_images"], labels=arrays["test_labels"].astype(np.int64)),
            source="embedded subset",
        )


def load_full() -> ImageData:
    """All images, from the store."""
    contents = store.read("fashion-mnist")
    return ImageData(
        train=Split(
            images=_images(contents["train-images-idx3-ubyte"]),
            labels=_labels(contents["train-labels-idx1-ubyte"]),
        ),
        test=Split(
            images=_images(contents["t10k-images-idx3-ubyte"]),
            labels=_labels(contents["t10k-labels-idx1-ubyte"]),
        ),
        source="full data set",
    )


def _images(content: bytes) -> Bytes:
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)


def _labels(content: bytes) -> Integers:
    return np.frombuffer(content, np.uint8, offset=8).astype(np.int64)


FASHION_MNIST = ImageTask(
    name="fashion-mnist",
    summary="28x28 grey images of clothing, 10 classes",
    data={
        "embedded": DataChoice(load=load_embedded, train_images=10_000, test_images=5_000),
        "full": DataChoice(load=load_full, train_images=60_000, test_images=10_000),
    },
    models={"resnet20": resnet20, "mlp": mlp},
    labels=LABELS,
    input_shape=(1, 28, 28),
    mean=0.2860,
    std=0.3530,
    licence="MIT, copyright 2017 Zalando SE",
)
