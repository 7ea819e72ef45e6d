"""`write_atomic` under everything that can go wrong: full disk, no permission, SIGKILL, links, devices."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer.errors import FileError
from gossamer.files import check_place, write_atomic


def test_new_file_in_new_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "out.bin"
    assert write_atomic(path, b"whole") == path
    assert write_atomic(path, iter([b"in ", memoryview(b"pieces")])) == path
    assert path.read_bytes() == b"in pieces"
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_that_fills_up_half_way_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "net"
    path.write_bytes(b"old")

    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        FileError, match=r"net: No space left on device \([\d,]+ bytes free in .*nothing was changed"
    ):
        write_atomic(path, pieces())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_write_that_fails(tmp_path: Path) -> None:
    path, opened = tmp_path / "net", Path.open
    path.write_bytes(b"old")

    def full(self: Path, mode: str) -> object:
        opened(self, mode).close()
        return opened(Path("/dev/full"), "wb")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(FileError, match="No space left on device"):
            write_atomic(path, b"x" * 100_000)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_the_caller_leaves_nothing_behind(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "net", pieces())
    assert list(tmp_path.iterdir()) == []


def test_sigkill_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "net"
    path.write_bytes(b"old")
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom gossamer.files import write_atomic\n"
        "def pieces():\n    yield b'half'\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomic(Path(sys.argv[1]), pieces())"
    )
    assert (
        subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -signal.SIGKILL
    )
    assert path.read_bytes() == b"old"
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_permissions(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"")
    old.chmod(0o640)
    before = os.umask(0o027)
    try:
        write_atomic(old, b"x")
        write_atomic(new, b"x")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (old, new)] == [0o640, 0o640]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_the_longest_name(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 255)
    write_atomic(path, b"x")
    with pytest.raises(FileError, match="name too long"):
        write_atomic(tmp_path / ("a" * 256), b"x")


def test_no_folder_device_or_file_as_folder_is_replaced(tmp_path: Path) -> None:
    for path in (tmp_path, Path(os.devnull)):
        with pytest.raises(FileError, match="got a folder or a device"):
            write_atomic(path, b"x")
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileError, match="Not a directory"):
        write_atomic(tmp_path / "file" / "out", b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FileError, match="Permission denied"):
        write_atomic(tmp_path / "out", b"x")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "bytes free in .*free some space or choose another folder"),
        (errno.EDQUOT, "free some space or choose another folder"),
        (errno.EACCES, "ask for permission to write there or choose another folder"),
        (errno.EPERM, "ask for permission to write there or choose another folder"),
        (errno.EROFS, "ask for permission to write there or choose another folder"),
        (errno.EIO, ": choose another folder or name"),
    ],
)
def test_the_advice_fits_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    def failing(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(FileError, match=words) as failed:
        write_atomic(tmp_path / "out", b"x")
    assert ("space" in str(failed.value).partition("nothing was changed")[2]) == (
        code in (errno.ENOSPC, errno.EDQUOT)
    )
    assert list(tmp_path.iterdir()) == []


def test_a_place_is_checked_without_a_trace(tmp_path: Path) -> None:
    check_place(tmp_path / "new" / "folder" / "file")
    (tmp_path / "old").write_bytes(b"1")
    check_place(tmp_path / "old")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    for wrong in (tmp_path, tmp_path / "old" / "file", Path("/proc/x"), Path("/proc/x/y")):
        with pytest.raises(FileError, match=f"cannot write {wrong}: "):
            check_place(wrong)
