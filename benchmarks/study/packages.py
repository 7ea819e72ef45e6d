"""The second domain: to which section of the archive does a Debian package belong? A multilayer perceptron on words and dependencies.

An example is a package of `apt-cache dumpavail`: the words of its one-line description and the names of what it depends on, as a set; the
1,024 most frequent of each are the inputs. Classes are the sections with at least 100 packages. Packages of one source are near copies of
each other, so a hash of the source's name decides whether all of them are test, validation or training examples. The archive moves: the
first use freezes what it finds in build/study/packages.npz, and every result bears a checksum of it.

All layers but the last may be sparse, because the first one holds most of the weights.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.study.domain import Data, Domain
from benchmarks.study.runs import Run
from gossamer.errors import DataError
from gossamer.files import write_atomic
from gossamer.tasks.images import Integers
from gossamer.training import Protection

FROZEN = Path(__file__).parents[2] / "build" / "study" / "packages.npz"
KINDS = ("word", "needs")
MOST_FREQUENT = 1024  # of each kind
LEAST_PACKAGES = 100  # of a section
TEST, VALIDATION, TRAIN = range(3)
HIDDEN = 384
TEST_BATCH = 512


def packages(text: str) -> Iterator[tuple[str, str, frozenset[str]]]:
    """(source, section, features) of every package of `apt-cache dumpavail`.

    >>> list(packages('''Package: lib0
    ... Source: zero (1.2)
    ... Depends: libc6 (>= 2.3), b | c
    ... Description: Tiny tool
    ... Section: contrib/games
    ... '''))[0] == ("zero", "games", frozenset({"word tiny", "word tool", "needs libc6", "needs b", "needs c"}))
    True
    """
    for block in text.split("\n\n"):
        fields: dict[str, str] = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", block, re.MULTILINE))
        if "Section" not in fields:
            continue
        source = fields.get("Source", fields["Package"]).split()[0]
        words = (f"word {word}" for word in re.findall(r"[a-z]{2,}", fields.get("Description", "").lower()))
        needed = re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]*)", fields.get("Depends", ""))
        yield (
            source,
            fields["Section"].split("/")[-1],
            frozenset((*words, *(f"needs {name}" for name in needed))),
        )


def table(found: Iterable[tuple[str, str, frozenset[str]]]) -> dict[str, NDArray[Any]]:
    """features uint8 [N, inputs], labels int64 [N], split uint8 [N], and the names of the classes."""
    rows = sorted(found, key=lambda row: (row[0], row[1], sorted(row[2])))
    sections = Counter(section for _, section, _ in rows)
    classes = sorted(section for section, count in sections.items() if count >= LEAST_PACKAGES)
    rows = [row for row in rows if row[1] in classes]
    counts = Counter(feature for _, _, features in rows for feature in features)
    frequent = sorted(counts, key=lambda feature: (-counts[feature], feature))
    inputs = [
        feature
        for kind in KINDS
        for feature in [name for name in frequent if name.startswith(f"{kind} ")][:MOST_FREQUENT]
    ]
    places = {feature: place for place, feature in enumerate(inputs)}
    features = np.zeros((len(rows), len(inputs)), np.uint8)
    for row, (_, _, names) in enumerate(rows):
        features[row, [places[name] for name in names if name in places]] = 1
    return {
        "features": features,
        "labels": np.array([classes.index(section) for _, section, _ in rows], np.int64),
        "split": np.array([split_of(source) for source, _, _ in rows], np.uint8),
        "classes": np.array(classes),
    }


def split_of(source: str) -> int:
    """Test (20 %), validation (10 %) or training, by the name of the source.

    >>> {split_of(f"source{number}") for number in range(100)} == {TEST, VALIDATION, TRAIN}
    True
    """
    place = hashlib.sha256(source.encode()).digest()[0]
    return TEST if place < 51 else VALIDATION if place < 77 else TRAIN


@lru_cache(maxsize=1)
def frozen() -> dict[str, NDArray[Any]]:
    """The data, from the frozen file; made on first use."""
    if not FROZEN.is_file():
        try:
            done = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise DataError(
                f"the package graph comes from `apt-cache dumpavail`, which failed here ({error}); expected a Debian system, "
                "or leave out --with second-domain"
            ) from None
        made = table(packages(done.stdout))
        FROZEN.parent.mkdir(parents=True, exist_ok=True)
        temporary = FROZEN.with_suffix(".part.npz")
        np.savez_compressed(temporary, **made)
        write_atomic(FROZEN, temporary.read_bytes())
        temporary.unlink()
    with np.load(FROZEN, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def model() -> nn.Module:
    """Inputs, four times 384, classes: four layers that may be sparse, one for each partition of GaP."""
    data = frozen()
    layers: list[nn.Module] = []
    width = data["features"].shape[1]
    for _ in range(4):
        layers += [nn.Linear(width, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU()]
        width = HIDDEN
    return nn.Sequential(*layers, nn.Linear(width, len(data["classes"])))


def num_train(run: Run) -> int:
    """Training packages of the run."""
    return run.images or int((frozen()["split"] == TRAIN).sum())


def load(run: Run) -> Data:
    """The packages that the run trains on, and those that it is measured on."""
    data = frozen()
    train = np.flatnonzero(data["split"] == TRAIN)[: run.images]
    test = np.flatnonzero(data["split"] == (TEST if run.test == "test" else VALIDATION))[: run.test_images]

    def batch(rows: Integers) -> tuple[Tensor, Tensor]:
        inputs = torch.from_numpy(data["features"][rows].astype(np.float32))
        return inputs, torch.from_numpy(data["labels"][rows])

    def test_batches() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(test), TEST_BATCH):
            yield batch(test[start : start + TEST_BATCH])

    return Data(
        source=f"{len(data['labels']):,} packages, checksum {checksum()}",
        num_train=len(train),
        train_batch=lambda indices, seed, epoch: batch(train[indices]),
        test_batches=test_batches,
    )


def checksum() -> str:
    """Of the frozen data: results of different snapshots of the archive are not to be mixed."""
    digest = hashlib.sha256()
    for name, array in sorted(frozen().items()):
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


PACKAGES = Domain(
    model=model,
    input_shape=(2 * MOST_FREQUENT,),
    protect=Protection(first=False),
    num_train=num_train,
    load=load,
)
