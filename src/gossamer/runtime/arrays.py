"""Arrays in files, as NumPy saves them: `.npy` holds one array, `.npz` several by name. No pickles."""

import io
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import FileError, RuntimeFailure
from gossamer.files import write_atomic


def read_arrays(path: Path) -> NDArray[np.generic] | dict[str, NDArray[np.generic]]:
    """The array of a `.npy`, or all arrays of a `.npz` by name; FileError where there is none to read."""
    wanted = f"{path}: expected arrays of numbers as NumPy saves them (.npy, .npz)"
    try:
        with path.open("rb") as file:
            begin = file.read(6)
        if begin != b"\x93NUMPY" and begin[:2] != b"PK":  # what NumPy would take for a pickle
            raise FileError(
                f"{wanted}, got {f'a file that begins with {begin!r}' if begin else 'an empty file'}"
            )
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return dict(loaded.items())
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, KeyError, MemoryError, BadZipFile) as error:
        why = "Python objects, which are not read" if "allow_pickle" in str(error) else error
        raise FileError(f"{wanted}, got: {why}") from error


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """One array as `.npy`, or all as `.npz`, whole or not at all."""
    check_name(path, arrays)
    buffer = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(buffer, allow_pickle=False, **arrays)
    else:
        np.save(buffer, next(iter(arrays.values())), allow_pickle=False)
    write_atomic(path, buffer.getvalue())


def check_name(path: Path, names: Mapping[str, object]) -> None:
    """RuntimeFailure unless arrays of these names can go into a file of that name, in a folder that exists; to be asked before the work."""
    if path.suffix != ".npz" and not (path.suffix == ".npy" and len(names) == 1):
        several = (
            f", because there are several outputs ({', '.join(names)})" if len(names) != 1 else " or .npy"
        )
        raise RuntimeFailure(f"{path}: expected a name that ends with .npz{several}")
    if not path.parent.is_dir():
        raise RuntimeFailure(f"{path}: expected an existing folder, got {path.parent}; make it first")
