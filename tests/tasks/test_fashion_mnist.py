"""Fashion-MNIST: the embedded subset, and that it is what it says."""

import numpy as np
import pytest

from gossamer.errors import DataError
from gossamer.tasks import store
from gossamer.tasks.catalog import TASKS
from gossamer.tasks.fashion_mnist import FASHION_MNIST, load_embedded, load_full
from gossamer.tasks.images import Augment


def test_embedded_subset_is_balanced():
    data = load_embedded()
    for split, count in ((data.train, 10_000), (data.test, 5_000)):
        assert split.images.shape == (count, 28, 28)
        assert split.images.dtype == np.uint8
        assert np.bincount(split.labels).tolist() == [count // 10] * 10


def test_embedded_subset_is_the_first_images_of_each_class():
    try:
        full = load_full()
    except DataError as error:
        pytest.skip(f"needs the full data set: {error}")
    embedded = load_embedded()
    for part, whole, each in ((embedded.train, full.train, 1000), (embedded.test, full.test, 500)):
        chosen = np.sort(
            np.concatenate([np.flatnonzero(whole.labels == label)[:each] for label in range(10)])
        )
        assert np.array_equal(part.images, whole.images[chosen])
        assert np.array_equal(part.labels, whole.labels[chosen])


def test_missing_full_data_says_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("GOSSAMER_CACHE", str(tmp_path))
    known = store.DATA_SETS["fashion-mnist"]
    bare = store.DataSet(name=known.name, summary="", licence="", files=known.files, sources=())
    monkeypatch.setattr(store, "DATA_SETS", {"fashion-mnist": bare})
    with pytest.raises(DataError, match="gossamer data get fashion-mnist"):
        load_full()


def test_batches():
    data = load_embedded()
    images, labels = FASHION_MNIST.training_batch(
        data, np.array([5, 900]), Augment(flip=False, crop=0), seed=0, epoch=0
    )
    assert images.shape == (2, 1, 28, 28)
    expected = (data.train.images[900] / 255 - 0.2860) / 0.3530
    assert np.allclose(images[1, 0].numpy(), expected, atol=1e-5)
    assert labels.tolist() == data.train.labels[[5, 900]].tolist()
    test_images, test_labels = FASHION_MNIST.test_batch(data, 10, 13)
    assert test_images.shape == (3, 1, 28, 28)
    assert test_labels.tolist() == data.test.labels[10:13].tolist()


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_every_model_takes_the_input_and_gives_the_classes(task):
    data = task.data["embedded"].load()
    images, _ = task.test_batch(data, 0, 2)
    for build in task.models.values():
        assert build().eval()(images).shape == (2, len(task.labels))


def test_preprocessing_is_what_training_sees():
    from gossamer.runtime import image_input

    data = load_embedded()
    images, _ = FASHION_MNIST.test_batch(data, 3, 4)
    assert np.allclose(
        image_input(data.test.images[3], FASHION_MNIST.preprocessing()), images.numpy(), atol=1e-5
    )
