"""The door for paths of images, and removing what they left."""

import os

import pytest

paths = pytest.importorskip("ocimagic.linux.paths", reason="needs Linux", exc_type=ImportError)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "outside").write_text("secret")
    inside = tmp_path / "root"
    inside.mkdir()
    fd = os.open(inside, os.O_RDONLY | os.O_DIRECTORY)
    yield inside, fd
    os.close(fd)


@pytest.mark.parametrize("link", ["/", "..", "../..", "/../..", "a/../../.."])
def test_links_and_dots_stay_inside(root, link):
    inside, fd = root
    (inside / "a").mkdir()
    (inside / "out").symlink_to(link)
    found = paths.open_in_root(fd, "out/../..", os.O_PATH)
    try:
        assert os.path.samestat(os.fstat(found), os.fstat(fd))
    finally:
        os.close(found)


def test_beneath_refuses_links_and_leaving(root):
    inside, fd = root
    (inside / "link").symlink_to("/etc")
    for bad in ("link/passwd", "../outside", "/etc/passwd"):
        with pytest.raises(OSError, match=r"symbolic|cross-device"):
            paths.open_beneath(fd, bad, os.O_PATH)


def test_make_directories_follows_links_inside_only(root, tmp_path):
    inside, fd = root
    (inside / "real").mkdir()
    (inside / "link").symlink_to("/real")
    os.close(paths.make_directories(fd, "/link/x/y"))
    assert (inside / "real" / "x" / "y").is_dir()
    os.close(paths.make_directories(fd, "../../up"))
    assert (inside / "up").is_dir()
    assert not (tmp_path / "up").exists()


def test_remove_tree_does_not_follow_links(root, tmp_path):
    inside, fd = root
    (inside / "t").mkdir()
    (inside / "t" / "out").symlink_to(tmp_path)
    (inside / "t" / "closed").mkdir()
    (inside / "t" / "closed" / "f").write_text("x")
    (inside / "t" / "closed").chmod(0)
    paths.remove_tree("t", fd)
    assert (tmp_path / "outside").read_text() == "secret"
    assert os.listdir(inside) == []


def test_remove_tree_of_great_depth_with_few_descriptors(root):
    """1,500 levels broke a recursive removal: such a layer could never be deleted."""
    inside, fd = root
    here = os.open(inside, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    before = len(os.listdir("/proc/self/fd"))
    paths.remove_tree("d", fd)
    assert len(os.listdir("/proc/self/fd")) == before
    assert os.listdir(inside) == []


def test_directories_are_made_where_a_link_to_nothing_points(root, tmp_path):
    inside, fd = root
    (inside / "var").mkdir()
    for name, target in (
        ("var/run", "../run"),
        ("abs", "/made/here"),
        ("out", str(tmp_path / "x")),
    ):
        (inside / name).symlink_to(target)
    for path in ("var/run/a/b", "abs", "/out/../c", "abs/d/../e"):
        os.close(paths.make_directories(fd, path))
    assert (inside / "run/a/b").is_dir()
    assert (inside / "made/here/e").is_dir()
    assert (inside / str(tmp_path / "x").lstrip("/")).is_dir()
    assert not (tmp_path / "x").exists()


def test_links_that_go_round_end(root):
    inside, fd = root
    (inside / "a").symlink_to("b/c")
    (inside / "b").symlink_to("a/d")
    (inside / "self").symlink_to("self/x")
    (inside / "grows").symlink_to("new/../grows")
    for path in ("a", "b/x", "self/y", "grows/z"):
        with pytest.raises(OSError, match="symbolic links"):
            paths.make_directories(fd, path)
    assert len(os.listdir("/proc/self/fd")) < 100


def test_without_links_none_is_followed(root):
    inside, fd = root
    (inside / "real").mkdir()
    (inside / "link").symlink_to("real")
    (inside / "nothing").symlink_to("missing")
    os.close(paths.make_directories(fd, "real/a/b", links=False))
    for path in ("link", "link/x", "nothing", "nothing/x"):
        with pytest.raises(OSError, match=r"symbolic|Not a directory"):
            paths.make_directories(fd, path, links=False)
    assert not (inside / "missing").exists()


def test_a_file_in_the_way_is_said_and_no_descriptor_is_left(root):
    inside, fd = root
    (inside / "file").write_text("")
    before = len(os.listdir("/proc/self/fd"))
    for path in ("file", "file/x", "new/../file/y"):
        with pytest.raises(OSError, match="Not a directory"):
            paths.make_directories(fd, path)
    assert len(os.listdir("/proc/self/fd")) == before
