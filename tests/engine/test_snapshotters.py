"""Layers as EROFS images and as directories: one behaviour, and the way from one to the other."""

import shutil
import tarfile
import tempfile

import pytest
from rootfs import MadeImage, tar_of

from ocimagic import Engine
from ocimagic.errors import HostLacks, InvalidOption
from ocimagic.model.options import BuildOptions, RunOptions
from ocimagic.model.request import CommitOptions
from ocimagic.model.rootfs import IMAGE_SUFFIX

LINK = {"type": tarfile.LNKTYPE, "linkname": "opt/a"}
SECOND = tar_of(
    ("opt", None, {"mode": 0o751, "uid": 5, "mtime": 1_000_000}),
    ("opt/a", b"first", {"mode": 0o4755, "mtime": 1_000_000}),
    ("opt/b", b"first", LINK),
    ("opt/large", b"l" * 300_000),
    ("opt/gone", b"x"),
    ("srv", None),
    ("srv/old", b"x"),
    ("etc", None),
    ("etc/deep", None),
)
THIRD = tar_of(
    ("opt", None, {"mode": 0o751, "uid": 5, "mtime": 1_000_000}),
    ("opt/.wh.gone", b""),
    ("srv", None),
    ("srv/.wh..wh..opq", b""),
    ("srv/new", b"new"),
)
LEANS = tar_of(("etc/deep/added", b"leans on the layer that has its directories"))


@pytest.fixture(params=["erofs", "overlay"])
def way(request):
    return request.param


@pytest.fixture
def stacked(make_engine, registry, busybox_layer, way):
    """An engine of that snapshotter, with an image whose layers change each other."""
    engine = make_engine(OCIMAGIC_SNAPSHOTTER=way)
    try:
        _ = engine.containers.launcher.ids
        _ = engine.containers.unpacker.mounts_images
    except HostLacks:
        pytest.skip("this account cannot mount EROFS images, and is told so below")
    image = MadeImage([busybox_layer, SECOND, THIRD, LEANS], {"Cmd": ["sh"]})
    image.serve(registry.source, "stacked", "latest")
    engine.images.pull(f"{registry.host}/stacked")
    engine.images.tag(f"{registry.host}/stacked", "stacked")
    return engine


def sh(engine, text, image="stacked", **options):
    done = engine.containers.run(image, ["sh", "-c", text], remove=True, network="none", **options)
    assert done.exit_code == 0, done.stderr
    return done.stdout.decode()


def images_in(engine):
    return sorted(engine.home.snapshots.glob(f"*/fs{IMAGE_SUFFIX}"))


def test_a_layer_is_what_was_asked_for(stacked, way):
    # One leans on those below it: it is a directory either way.
    assert len(images_in(stacked)) == (3 if way == "erofs" else 0)
    assert len(list(stacked.home.snapshots.glob("*/fs"))) == 4


def test_a_container_sees_the_stack(stacked):
    told = sh(
        stacked,
        "cat /opt/b /srv/new /etc/deep/added; ls -A /opt /srv;"
        "stat -c '%n %a %u %h %Y' /opt /opt/a; wc -c </opt/large; grep -c . /etc/passwd",
    )
    assert told == (
        "firstnewleans on the layer that has its directories"
        "/opt:\na\nb\nlarge\n\n/srv:\nnew\n/opt 751 5 1 1000000\n/opt/a 4755 0 2 1000000\n"
        "300000\n2\n"
    )


def test_changes_commits_and_builds_stand_on_it(stacked, tmp_path):
    made = stacked.containers.run(
        "stacked", ["sh", "-c", "rm -r /opt; mkdir /opt; echo 2 >/opt/a; echo x >>/etc/passwd"],
        name="changed", network="none",
    )  # fmt: skip
    assert made.exit_code == 0, made.stderr
    changes = {(each.path, each.kind.value) for each in stacked.containers.diff("changed")}
    assert {("/opt", "C"), ("/opt/a", "C"), ("/opt/large", "D"), ("/etc/passwd", "C")} <= changes
    stacked.containers.commit("changed", CommitOptions(reference="committed"))
    assert sh(stacked, "ls -A /opt; cat /opt/a", "committed") == "a\n2\n"
    stacked.containers.copy_from("changed", "/srv/new", str(tmp_path / "copied"))
    assert (tmp_path / "copied").read_bytes() == b"new"
    text = "FROM stacked\nRUN rm /opt/large && echo built >/opt/c && chmod 700 /opt\n"
    text += "RUN ls /opt >/l\n"
    stacked.images.build(BuildOptions(dockerfile=text, tags=("built",)))
    assert sh(stacked, "cat /l; stat -c %a /opt /etc", "built") == "a\nb\nc\n700\n755\n"


def test_from_one_to_the_other_and_back(stacked, make_engine, way):
    """What is unpacked in a way that is not wanted any more is unpacked anew, not lost."""
    made = stacked.containers.create(RunOptions(image="stacked", command=("cat", "/srv/new")))
    other = make_engine(OCIMAGIC_SNAPSHOTTER="overlay" if way == "erofs" else "erofs")
    assert sh(other, "cat /opt/a /srv/new") == "firstnew"
    other.system.disk.prune_images(all=True)
    other.images.sweep(())
    # The one made before still stands on what it was made with.
    other.containers.start(made.container_id)
    assert other.containers.wait(made.container_id).code == 0
    assert sh(stacked, "cat /opt/a /srv/new") == "firstnew"


def test_a_name_that_is_none(make_engine):
    with pytest.raises(InvalidOption, match="OCIMAGIC_SNAPSHOTTER=btrfs"):
        make_engine(OCIMAGIC_SNAPSHOTTER="btrfs")


def test_who_cannot_mount_images_is_told(registry):
    # A tmpfs cannot be read by the kernel in the way that a mounted file is.
    root = tempfile.mkdtemp(dir="/dev/shm")
    try:
        with Engine(root, environment={"OCIMAGIC_SNAPSHOTTER": "erofs", "HOME": root}) as engine:
            with pytest.raises(HostLacks, match="EROFS") as caught:
                engine.images.pull(f"{registry.host}/busybox")
            assert caught.value.why
            assert "OCIMAGIC_SNAPSHOTTER=overlay" in caught.value.hint
            assert engine.images.list() == ()
    finally:
        shutil.rmtree(root)


def test_without_images_there_are_directories(registry):
    root = tempfile.mkdtemp(dir="/dev/shm")
    try:
        with Engine(root, environment={"HOME": root}) as engine:
            engine.images.pull(f"{registry.host}/busybox")
            assert images_in(engine) == []
            done = engine.containers.run(f"{registry.host}/busybox", ["true"], remove=True)
            assert done.exit_code == 0
    finally:
        shutil.rmtree(root, ignore_errors=True)
