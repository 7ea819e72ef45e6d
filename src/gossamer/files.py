"""Writing results so that a reader never sees half a file: everything that Gossamer saves goes through `write_atomic`."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

from gossamer.errors import FileError

TEMPORARY = ".gossamer-*.tmp"
"""Names of files that are being written: short, because the file may have the longest name there is. A killed process leaves one."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_atomic(path: Path, content: bytes | Iterable[bytes | memoryview]) -> Path:
    """Write `content` (whole, or in pieces) beside `path`, sync it to the disk, rename it over `path`; `path`.

    Folders that are missing are made. A link stays a link: the file that it points to is replaced. A file that was there keeps its
    permissions. If anything fails, also half way through the pieces, the old file stays whole; FileError says why.
    """
    target = path.resolve()
    temporary = target.with_name(TEMPORARY.replace("*", secrets.token_hex(8)))
    try:
        mode = _mode(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            try:
                for piece in (content,) if isinstance(content, bytes) else content:
                    file.write(piece)
                file.flush()
                if mode is not None:
                    os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise FileError(
            f"cannot write {path}: {error.strerror or error}{_room(error, target.parent)}; nothing was changed there: {advice(error)}"
        ) from error
    return path


def check_place(path: Path) -> None:
    """FileError where `write_atomic` could not write `path`: to be asked before long work. No folder is made."""
    target = path.resolve()
    try:
        _mode(target)
        with TemporaryFile(dir=next(folder for folder in target.parents if folder.exists())):
            pass
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}; {advice(error)}") from error


def _mode(target: Path) -> int | None:
    """Permissions of the file that will be replaced, None where there is none; a folder or a device is no file to replace."""
    try:
        found = target.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found):
        raise FileError(f"cannot write {target}: expected a file or a new name, got a folder or a device")
    return stat.S_IMODE(found)


def advice(error: OSError) -> str:
    """What a user can do about a failed write.

    >>> advice(OSError(errno.ENOSPC, ""))
    'free some space or choose another folder'
    >>> advice(PermissionError(errno.EACCES, ""))
    'ask for permission to write there or choose another folder'
    """
    if error.errno in _FULL:
        return "free some space or choose another folder"
    if error.errno in _FORBIDDEN:
        return "ask for permission to write there or choose another folder"
    return "choose another folder or name"


def _room(error: OSError, folder: Path) -> str:
    if error.errno not in _FULL or not folder.is_dir():
        return ""
    return f" ({shutil.disk_usage(folder).free:,} bytes free in {folder})"
