"""Where things are."""

import os
import stat

import pytest

from ocimagic.errors import StorageError
from ocimagic.home.location import Home, write_atomic
from ocimagic.home.locks import locked, try_locked


def test_the_usual_places(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert str(Home.find({}).data) == "/var/lib/ocimagic"
    assert Home.find({"OCIMAGIC_ROOT": "/var/lib/ocimagic"}) == Home.find({})
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    share, run = tmp_path / "share", tmp_path / "run"
    run.mkdir()
    home = Home.find({"XDG_DATA_HOME": str(share), "XDG_RUNTIME_DIR": str(run)})
    assert (home.data, home.run) == (share / "ocimagic", run / "ocimagic")
    assert Home.find({"XDG_DATA_HOME": str(share)}).run.name == "ocimagic-1000"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid(), reason="needs root to give files away"
)
@pytest.mark.parametrize("below", ["", "root-0123456789ab"])
def test_a_run_root_that_somebody_else_made_is_not_used(tmp_path, below):
    """Anybody may make a directory of that name in /tmp first; secrets of builds lie in it."""
    run = tmp_path / "ocimagic-0"
    run.mkdir()
    os.chown(run, 1234, 1234)
    with pytest.raises(StorageError, match="belongs to somebody else"):
        Home(tmp_path / "data", run / below).create()


def test_two_names_for_one_root_are_one_home(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert Home.find({}, root=tmp_path / "link") == Home.find({}, root=tmp_path / "real")
    assert Home.find({}, root=tmp_path / "a").run != Home.find({}, root=tmp_path / "b").run


def test_a_new_home_is_a_valid_empty_layout_for_its_owner_only(tmp_path):
    home = Home.find({}, root=tmp_path / "root")
    home.create()
    home.create()
    assert stat.S_IMODE(home.data.stat().st_mode) == 0o700
    assert (home.data / "oci-layout").exists()
    assert b'"manifests":[]' in (home.data / "index.json").read_bytes()
    home.run.rmdir()


def test_a_place_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot use") as caught:
        Home.find({}, root=tmp_path / "file" / "root").create()
    assert "OCIMAGIC_ROOT" in caught.value.hint


def test_a_write_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_locks_exclude_each_other(tmp_path):
    with locked(tmp_path, "a", shared=True), try_locked(tmp_path, "a") as held:
        assert not held
    with try_locked(tmp_path, "a") as held:
        assert held
