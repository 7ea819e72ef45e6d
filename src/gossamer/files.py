"""Writing results so that a reader never sees half a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from gossamer.errors import GossamerError


def write_atomic(path: Path, content: bytes) -> Path:
    """Write beside the target, flush to disk, rename over it. The old file stays whole if anything fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise GossamerError(f"cannot write {path}: {error}; expected a writable folder with room") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        raise GossamerError(f"cannot write {path}: {error}; the file that was there is unchanged") from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path
