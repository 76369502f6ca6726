"""What a name may stand on: blobs that were written out, snapshots that can be made again."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from ocimagic.errors import StorageError
from ocimagic.home.location import Home
from ocimagic.spec.digest import Digest
from ocimagic.store import syncing
from ocimagic.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = str(Digest.of(b"a layer"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(Home(tmp_path / "root", tmp_path / "run"))
    yield made
    made.close()


def unstamped(store: Store, table: str) -> int:
    rows = store.database.rows(f"SELECT count(*) FROM {table} WHERE boot_id IS NOT NULL")
    return int(str(rows[0][0]))


def snapshot(store: Store) -> str:
    return store.snapshots.commit(store.snapshots.new(), KEY)


def test_blobs_are_written_out_one_by_one_and_snapshots_later(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        written.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    digest = store.blobs.put(b"content")
    snapshot(store)
    monkeypatch.setattr(os, "fsync", watched)
    store.syncing.blobs()
    path = store.blobs.path(digest)
    assert written == [str(path), str(path.parent)]
    assert unstamped(store, "blobs") == 0
    assert unstamped(store, "snapshots") == 1
    store.sync()
    assert unstamped(store, "snapshots") == 0


def test_many_blobs_are_written_out_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(syncing._MOST_ONE_BY_ONE + 1):
        store.blobs.put(b"%d" % number)
    monkeypatch.setattr(os, "fsync", lambda fd: pytest.fail("one by one"))
    store.syncing.blobs()
    assert unstamped(store, "blobs") == 0


def test_a_blob_that_is_on_the_disk_is_not_replaced_by_one_that_is_not(store: Store) -> None:
    digest = store.blobs.put(b"content")
    store.syncing.blobs()
    path, again = store.blobs.path(digest), store.home.ingest / "again"
    before = path.stat().st_ino
    again.write_bytes(b"content")
    store.blobs.adopt_file(again, digest, 7)
    assert (path.stat().st_ino, unstamped(store, "blobs")) == (before, 0)
    assert not again.exists()
    # One that somebody cut short is mended.
    path.write_bytes(b"con")
    again.write_bytes(b"content")
    store.blobs.adopt_file(again, digest, 7)
    assert (path.read_bytes(), unstamped(store, "blobs")) == (b"content", 1)


def test_what_takes_a_files_place_meanwhile_is_not_stamped(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.blobs.put(b"content")
    whole = syncing._write_out

    def replaced(path: Path) -> None:
        whole(path)
        if path == store.blobs.path(digest):
            store.blobs.remove(digest)
            store.blobs.put(b"content")

    monkeypatch.setattr(syncing, "_write_out", replaced)
    store.syncing.blobs()
    assert unstamped(store, "blobs") == 1


def test_a_blob_that_is_gone_stands_in_nobodys_way(store: Store) -> None:
    store.blobs.path(store.blobs.put(b"content")).unlink()
    store.syncing.blobs()
    store.sync()
    assert unstamped(store, "blobs") == 1  # whoever needs it finds that it is gone


def test_soon_is_in_the_background_and_a_failure_leaves_it_to_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()
    whole = syncing._write_out_all

    def slow(directory: Path) -> None:
        begun.set()
        assert go.wait(10)
        raise StorageError("no", why="the disk is broken")

    snapshot(store)
    monkeypatch.setattr(syncing, "_write_out_all", slow)
    store.syncing.soon()
    assert begun.wait(10)
    store.syncing.soon()  # one is enough
    go.set()
    thread = store.syncing._beside
    assert thread is not None
    thread.join(10)
    assert unstamped(store, "snapshots") == 1
    monkeypatch.setattr(syncing, "_write_out_all", whole)
    store.syncing.soon()
    store.syncing._beside.join(10)
    assert unstamped(store, "snapshots") == 0


def test_a_store_that_was_closed_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "root", tmp_path / "run")
    store = Store(home)
    snapshot(store)
    go = threading.Event()
    monkeypatch.setattr(syncing, "_write_out_all", lambda directory: go.wait(10))
    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    store.syncing.soon()
    store.close()
    go.set()
    thread = store.syncing._beside
    assert thread is not None
    thread.join(10)
    assert not failures
    again = Store(home)
    assert unstamped(again, "snapshots") == 1
    again.close()
