"""What a crash in the middle leaves of a store, and what becomes of it."""

import os
import threading

import pytest
from rootfs import MadeImage, tar_of

from ocimagic import Engine
from ocimagic.home.locks import forget_lock, locked

ONE = tar_of(("one", b"1" * 4000))


@pytest.fixture
def named(engine, registry):
    MadeImage([ONE], {"Cmd": ["x"]}).serve(registry.source, "base", "latest")
    engine.images.pull(f"{registry.host}/base")
    engine.images.tag(f"{registry.host}/base", "kept")
    engine.images.tag(f"{registry.host}/base", "gone")
    return engine


def test_a_name_taken_away_stays_away_when_the_view_was_not_finished(named, monkeypatch):
    real = os.replace

    def crash(source, target):
        if str(target).endswith("index.json"):
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        named.images.remove("gone")
    monkeypatch.undo()
    assert "gone" not in [row.repository for row in named.images.list()]
    named.images.tag("kept", "more")
    assert "gone" not in [row.repository for row in named.images.list()]


def test_the_next_engine_takes_what_a_killed_one_left_and_nothing_else(named):
    home = named.home
    left = [home.snapshots / "new-1-abc", home.containers / ("a" * 64), home.run / ("a" * 12)]
    left += [home.run / "build-0123456789abcdef"]
    for path in left:
        path.mkdir()
    parts = [
        home.ingest / "build-1-abc.tar",
        home.ingest / "commit-1-abc.tar",
        home.ingest / "load-1-abc-0",
        home.locks / "container-aaaaaaaaaaaa",
        home.run / "secret-0123456789abcdef-0",
    ]
    for path in parts:
        path.touch()
    kept = [home.ingest / "sha256-ab.part", home.run / "root-0123456789ab"]
    kept[0].write_bytes(b"half")
    kept[1].mkdir()
    with named._store.in_use():
        Engine(home.data, environment={}).close()
        assert all(path.exists() for path in [*left, *parts]), "somebody is at work"
    Engine(home.data, environment={}).close()
    assert not [path for path in [*left, *parts] if path.exists()]
    assert all(path.exists() for path in kept)
    kept[1].rmdir()


def test_lock_files_go_with_their_holders_and_still_exclude(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(50):
            with locked(tmp_path, "x"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()
            forget_lock(tmp_path, "x")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert max(most) == 1
    assert list(tmp_path.iterdir()) == []
