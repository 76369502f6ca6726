"""COPY and ADD beside the real BuildKit (of dockerd) and buildah: the same trees."""

import io
import os
import shutil
import subprocess
import tarfile
import time

import pytest
from test_build_copy import CASES
from webserver import Page, WebServer

from ocimagic.errors import OcimagicError

pytestmark = pytest.mark.peer
NETNS = f"ocimagic-copy-{os.getpid()}"
TIMEOUT_S = 30

# dockerd's BuildKit of 2020 knows no such flags and heredocs, and stops at a file where a
# wildcard's directory should be.
UNKNOWN = ("--parents", "--exclude", "<<", "*/one", "**")
MORE = [
    "COPY --chmod=700 --chown=3:4 d /n/d",
    "COPY --chmod=4711 f /dir",
    "COPY d /todir",
    "COPY f /file",
    "COPY d /file",
    "COPY d/sock /s",
    "COPY d /dd",
    "ADD arc.tgz /to",
    "ADD arc.tgz /dir",
    "ADD --chmod=600 arc.bz2 /to",
    "ADD arc.xz f /to/",
    "COPY arc.tgz /",
]
TEXTS = [text for _, text, _ in CASES if not any(each in text for each in UNKNOWN)] + MORE
HEAD = "FROM scratch\nADD base.tar /\n"


def tar(path, mode, *entries):
    """Write a tar of (name, type, mode, uid, text)."""
    with tarfile.open(path, mode) as made:
        for name, kind, bits, uid, text in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid = kind, bits, uid, uid + 1
            info.mtime = 1_500_000_000
            if kind == tarfile.REGTYPE:
                info.size = len(text)
            else:
                info.linkname = text
            made.addfile(info, io.BytesIO(text.encode()) if kind == tarfile.REGTYPE else None)


@pytest.fixture
def both(tree):
    """The context of the other tests, with modes, archives and a socket."""
    folder, file, link = tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.SYMTYPE
    entries = [
        ("./", folder, 0o700, 11, ""),
        ("./sub", folder, 0o750, 11, ""),
        ("./sub/file", file, 0o751, 11, "text"),
        ("./soft", link, 0o777, 11, "sub/file"),
        ("implied/deep", file, 0o640, 1, "deep"),
    ]
    for name, mode in (("arc.tgz", "w:gz"), ("arc.bz2", "w:bz2"), ("arc.xz", "w:xz")):
        tar(tree.context / name, mode, *entries)
    tar(
        tree.context / "base.tar",
        "w",
        ("dir", folder, 0o700, 5, ""),
        ("dir/old", file, 0o600, 5, "old"),
        ("file", file, 0o644, 0, "file"),
        ("todir", link, 0o777, 0, "dir"),
        ("tofile", link, 0o777, 0, "/file"),
        ("dangling", link, 0o777, 0, "made"),
    )
    for name, mode in (("f", 0o4751), ("d", 0o711), ("d/sub", 0o700), ("d/one", 0o602)):
        (tree.context / name).chmod(mode)
    os.symlink("../../x", tree.context / "d" / "rel")
    subprocess.run(["unlink", "d/sock"], cwd=tree.context, capture_output=True, check=False)
    code = "import socket; socket.socket(socket.AF_UNIX).bind('sock')"
    subprocess.run(["python3", "-c", code], cwd=tree.context / "d", check=True)
    return tree


def trees(place, result):
    """Return path to kind, mode, owner, link and time of files."""
    lines = [found.entry for found in place.files(result).merged.walk() if found.path]
    return {
        each.path: (
            str(each.kind),
            None if str(each.kind) == "l" else oct(each.mode),
            (each.uid, each.gid),
            each.linkname,
            each.mtime_ns // 10**9 if str(each.kind) == "f" else None,
        )
        for each in lines
    }


def ours(place, text):
    try:
        return trees(place, place.build(text))
    except OcimagicError:
        return "refused"


def loaded(place, archive, name):
    """Return the tree of an image that another builder saved."""
    place.engine.images.load(archive)
    images = place.engine._store.images

    class Result:
        digest = next(each.manifest for each in images.names() if name in str(each.reference))

    return trees(place, Result)


@pytest.fixture(scope="module")
def buildkit(tmp_path_factory):
    """A dockerd of our own, in a network namespace where it can delete nobody's bridge."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not shutil.which("dockerd"):
        pytest.skip("no dockerd on this machine")
    room = tmp_path_factory.mktemp("docker")
    subprocess.run(["ip", "netns", "add", NETNS], check=True)
    words = [
        "nsenter", f"--net=/run/netns/{NETNS}", "dockerd", "--data-root", room / "data",
        "--exec-root", room / "exec", "--host", f"unix://{room}/socket", "--bridge", "none",
        "--pidfile", room / "pid", "--iptables=false", "--log-level", "error",
    ]  # fmt: skip
    with (room / "log").open("wb") as log:
        daemon = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def docker(program, *words, text=None):
        return subprocess.run(
            [program, "--host", f"unix://{room}/socket", *words],
            input=text,
            capture_output=True,
            env={"PATH": os.environ["PATH"], "DOCKER_BUILDKIT": "1", "HOME": str(room)},
            check=False,
        )

    try:
        deadline = time.monotonic() + TIMEOUT_S
        while docker("docker", "version").returncode:
            assert daemon.poll() is None, (room / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "dockerd does not answer"
            time.sleep(0.1)
        # Newer clients need a plugin for BuildKit, which a machine may not have.
        places = [f"{each}/docker" for each in os.environ["PATH"].split(":")]
        for program in filter(os.path.exists, places):
            empty = b"FROM scratch\nLABEL a=b\n"
            if not docker(program, "build", "-q", "-", text=empty).returncode:
                yield lambda *words, text=None, program=program: docker(program, *words, text=text)
                return
        pytest.skip("no docker here speaks to BuildKit")
    finally:
        daemon.terminate()
        daemon.wait(TIMEOUT_S)
        subprocess.run(["ip", "netns", "del", NETNS], check=True)
        mount = room / "exec/netns/default"
        subprocess.run(["umount", "-l", mount], capture_output=True, check=False)


def test_as_buildkit(both, buildkit):
    different = {}
    for text in TEXTS:
        whole = f"{HEAD}{text}\n"
        done = buildkit("build", "-q", "-f", "-", "-t", "theirs", both.context, text=whole.encode())
        theirs = "refused"
        if not done.returncode:
            theirs = loaded(both, buildkit("save", "theirs").stdout, "library/theirs:")
        found = ours(both, whole)
        if found != theirs:
            different[text] = (found, theirs)
    assert different == {}


URLS = ["ADD WEB/dir/f /x", "ADD WEB/dir/f /x/", "ADD WEB/f?a=b /dir/", "ADD WEB/a.tgz /to/"]


def test_urls_as_buildah(both, tmp_path):
    if os.geteuid() != 0 or not shutil.which("buildah"):
        pytest.skip("needs root and buildah")
    room = tmp_path / "buildah"
    buildah = ["buildah", "--root", room / "root", "--runroot", room / "run"]
    buildah += ["--storage-driver", "vfs"]
    different = {}
    with WebServer() as web:
        when = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
        web.pages["/dir/f"] = web.pages["/f"] = Page(b"text", headers=when)
        archive = (both.context / "arc.tgz").read_bytes()
        web.pages["/a.tgz"] = Page(archive, headers=when)
        for number, words in enumerate(URLS):
            text = f"{HEAD}{words.replace('WEB', web.url)}\n"
            (tmp_path / "Dockerfile").write_text(text)
            bud = ["bud", "-q", "--isolation", "chroot", "-f", tmp_path / "Dockerfile"]
            subprocess.run(
                [*buildah, *bud, "-t", "theirs", both.context], capture_output=True, check=True
            )
            name = f"localhost/buildah{number}:1"
            file = tmp_path / f"{number}.tar"
            push = ["push", "-q", "theirs", f"docker-archive:{file}:{name}"]
            subprocess.run([*buildah, *push], capture_output=True, check=True)
            theirs, found = loaded(both, file.read_bytes(), name), ours(both, text)
            if found != theirs:
                different[words] = {
                    path: (found.get(path), theirs.get(path))
                    for path in found.keys() | theirs.keys()
                    if found.get(path) != theirs.get(path)
                }
    assert different == {}
