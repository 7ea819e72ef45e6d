"""The store of data sets: sources in order, checksums, all or nothing."""

import errno
import gzip
import hashlib
import http.server
import os
import threading
from pathlib import Path

import pytest

from gossamer.errors import DataError
from gossamer.tasks import store
from gossamer.tasks.sources import DebianPackage, Folder, SourceFailed, Web
from gossamer.tasks.store import DataFile, DataSet

CONTENT = {"a": b"alpha" * 100, "b": b"beta"}


def toy(*sources) -> DataSet:
    files = tuple(
        DataFile(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in CONTENT.items()
    )
    return DataSet(name="toy", summary="two files", licence="none", files=files, sources=sources)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GOSSAMER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def know(monkeypatch):
    def add(*sources):
        monkeypatch.setattr(store, "DATA_SETS", {"toy": toy(*sources)})

    return add


def packed_folder(path: Path, content=CONTENT) -> Path:
    path.mkdir()
    for name, data in content.items():
        (path / f"{name}.gz").write_bytes(gzip.compress(data))
    return path


def test_get_from_a_folder_then_read_from_the_cache(cache, know, tmp_path):
    source = packed_folder(tmp_path / "source")
    know(Folder(path=str(source)))
    folder = store.get("toy")
    assert folder == cache / "data" / "toy"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == CONTENT
    for file in source.iterdir():
        file.unlink()
    assert store.read("toy") == CONTENT
    assert store.get("toy") == folder


def test_the_next_source_is_tried_and_the_first_good_one_wins(cache, know, tmp_path):
    wrong = packed_folder(tmp_path / "wrong", {**CONTENT, "b": b"xeta"})
    good = packed_folder(tmp_path / "good")
    know(Folder(path=str(tmp_path / "absent")), Folder(path=str(wrong)), Folder(path=str(good)))
    said: list[str] = []
    store.get("toy", said.append)
    assert said == [f"trying folder {tmp_path / name}" for name in ("absent", "wrong", "good")]


def test_a_failure_lists_every_source_and_what_to_do(cache, know, tmp_path):
    wrong = packed_folder(tmp_path / "wrong", {**CONTENT, "b": b"xeta"})
    know(Folder(path=str(tmp_path / "absent")), Folder(path=str(wrong)))
    with pytest.raises(DataError) as caught:
        store.get("toy")
    text = str(caught.value)
    assert "1. folder" in text
    assert "no such folder" in text
    assert "2. folder" in text
    assert "SHA-256" in text
    assert "gossamer data get toy --from FOLDER" in text
    assert not store.is_present("toy")


def test_reading_what_is_not_there_says_how_to_get_it(cache, know):
    know()
    with pytest.raises(DataError, match="gossamer data get toy"):
        store.read("toy")
    with pytest.raises(DataError, match="name of a data set"):
        store.read("tyo")


def test_a_damaged_cache_is_noticed_and_fetched_again(cache, know, tmp_path):
    know(Folder(path=str(packed_folder(tmp_path / "source"))))
    folder = store.get("toy")
    (folder / "b").write_bytes(b"bet!")
    with pytest.raises(DataError, match="damaged"):
        store.read("toy")
    store.get("toy")
    assert store.read("toy") == CONTENT


def test_a_full_disk_leaves_nothing_half(cache, know, tmp_path, monkeypatch):
    know(Folder(path=str(packed_folder(tmp_path / "source"))))

    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"No space left on device; free some space .* GOSSAMER_CACHE"):
        store.get("toy")
    assert list((cache / "data").iterdir()) == []


def test_get_from_a_named_folder(cache, know, tmp_path):
    know()
    plain = tmp_path / "plain"
    plain.mkdir()
    for name, data in CONTENT.items():
        (plain / name).write_bytes(data)
    store.get_from("toy", plain)
    assert store.read("toy") == CONTENT
    with pytest.raises(DataError, match="no such folder"):
        store.get_from("toy", tmp_path / "absent")


def test_a_cut_off_gzip_file_is_named(tmp_path):
    folder = packed_folder(tmp_path / "source")
    (folder / "a.gz").write_bytes((folder / "a.gz").read_bytes()[:12])
    with pytest.raises(SourceFailed, match=r"a\.gz is no complete gzip file"):
        Folder(path=str(folder)).fetch({"a": 500})


def test_no_more_than_the_expected_size_is_decompressed(tmp_path):
    folder = packed_folder(tmp_path / "source", {"a": b"0" * 10_000_000})
    assert len(Folder(path=str(folder)).fetch({"a": 500})["a"]) == 501


def test_web(tmp_path):
    folder = packed_folder(tmp_path / "served")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            web = Web(address=f"http://127.0.0.1:{server.server_port}", timeout_seconds=10)
            assert web.fetch({name: len(data) for name, data in CONTENT.items()}) == CONTENT
            with pytest.raises(SourceFailed, match=r"c\.gz"):
                web.fetch({"c": 3})
        finally:
            server.shutdown()
    with pytest.raises(SourceFailed):
        Web(address="http://127.0.0.1:1", timeout_seconds=1).fetch({"a": 1})


def test_debian_package_needs_no_root(tmp_path, monkeypatch):
    """Stand-ins for apt-get and dpkg-deb show that nothing is installed and where the files are looked for."""
    tools, payload = tmp_path / "tools", packed_folder(tmp_path / "payload")
    tools.mkdir()
    script = {
        "apt-get": '[ "$1" = download ] || exit 9\n: > "$3_1_all.deb"\n',
        "dpkg-deb": f'[ "$1" = -x ] || exit 9\nmkdir -p "$3/usr/share/toy"\ncp {payload}/* "$3/usr/share/toy"\n',
    }
    for name, body in script.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    package = DebianPackage(package="dataset-toy", folder="usr/share/toy")
    assert package.fetch({name: len(data) for name, data in CONTENT.items()}) == CONTENT

    (tools / "apt-get").write_text(
        "#!/bin/sh\necho 'E: Unable to locate package dataset-toy' >&2\nexit 100\n"
    )
    with pytest.raises(SourceFailed, match="Unable to locate package"):
        package.fetch({"a": 1})


def test_debian_package_without_apt(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceFailed, match="apt-get is not on this machine"):
        DebianPackage(package="x", folder="y").fetch({"a": 1})
