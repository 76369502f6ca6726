"""A root that is a copy of its layers, with the engine's files in it: where do those go?"""

import os

import pytest

from ocimagic.model.rootfs import Rootfs
from ocimagic.shim.files import populate


@pytest.fixture
def stage(tmp_path):
    """Return a lower directory, and what fills its copy."""
    lower = tmp_path / "snapshots/1/fs"
    lower.mkdir(parents=True)
    source = tmp_path / "hosts"
    source.write_text("the engine's")
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "hosts").write_text("the machine's")
    rootfs = Rootfs(
        base=str(tmp_path / "snapshots"),
        lowers=("1/fs",),
        upper=str(tmp_path / "rw/upper"),
        work="",
        copied=True,
    )

    def fill():
        populate({"rootfs": rootfs.to_json(), "files": [["/etc/hosts", str(source)]]}, [])
        return tmp_path / "rw/upper"

    return lower, canary, fill


def test_a_file_takes_the_place_of_the_images(stage):
    lower, _, fill = stage
    (lower / "etc").mkdir()
    (lower / "etc/hosts").write_text("the image's")
    root = fill()
    assert (root / "etc/hosts").read_text() == "the engine's"
    assert (lower / "etc/hosts").read_text() == "the image's"
    assert (root / "dev/shm").stat().st_mode & 0o7777 == 0o1777


@pytest.mark.parametrize("kind", ["a link out", "a way up", "a link at the end", "a directory"])
def test_no_link_of_an_image_leads_outside(stage, kind):
    lower, canary, fill = stage
    if kind == "a link out":
        (lower / "etc").symlink_to(canary)
    elif kind == "a way up":
        (lower / "etc").symlink_to("../../../../canary")
    else:
        (lower / "etc").mkdir()
        if kind == "a directory":
            (lower / "etc/hosts/below").mkdir(parents=True)
        else:
            (lower / "etc/hosts").symlink_to(canary / "hosts")
    root = fill()
    assert (canary / "hosts").read_text() == "the machine's"
    assert sorted(os.listdir(canary)) == ["hosts"]
    if kind.endswith(("end", "directory")):
        assert not (root / "etc/hosts").is_symlink()
        assert (root / "etc/hosts").read_text() == "the engine's"


@pytest.mark.parametrize("name", ["dev", "dev/shm"])
def test_dev_of_an_image_may_lead_nowhere(stage, name):
    lower, canary, fill = stage
    (lower / "dev").mkdir() if "/" in name else None
    (lower / name).symlink_to(canary)
    before = canary.stat().st_mode
    fill()
    assert canary.stat().st_mode == before
    assert sorted(os.listdir(canary)) == ["hosts"]
