"""Dockerfiles, contexts and images that want out, or never end: each row of the CVE table.

What is hostile in the text alone is in ``tests/dockerfile/test_bounds.py``.
"""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from ocimagic.errors import DockerfileError


def only(text):
    """Return an ARG that makes a step new to the session's cache."""
    return f"ARG ONLY={text}{time.time_ns()}\n"


@pytest.fixture
def canary(tmp_path):
    """A directory of the machine that no build may touch or show."""
    place = tmp_path / "canary"
    (place / "dir").mkdir(parents=True)
    (place / "secret").write_text("of the machine")
    before = told(place)
    yield place
    assert told(place) == before


def told(place):
    found = [place, *sorted(place.rglob("*"))]
    return [(str(each), (info := each.lstat()).st_mode, info.st_uid, info.st_mtime_ns)
            for each in found]  # fmt: skip


# -- RUN --mount: CVE-2024-1753, -9407, -9675, -11218, CVE-2022-4122, CVE-2024-23651 to -23653 ----


@pytest.mark.parametrize("kind", ["bind", "cache", "tmpfs", "secret", "ssh"])
def test_a_mount_point_behind_a_link_of_the_image_stays_inside(runs, canary, kind, tmp_path):
    given = {"bind": "source=f", "cache": f"id=i{time.time_ns()}", "tmpfs": "size=1m"}
    more = given.get(kind, "id=x")
    runs.write("f", "shown")
    with socket.socket(socket.AF_UNIX) as door:
        path = Path("/tmp") / f"door-{os.getpid()}-{time.time_ns()}"
        door.bind(str(path))
        try:
            text = f"FROM base\n{only(kind)}RUN ln -s {canary} /link && mkdir -p {canary}\n"
            text += f"RUN --mount=type={kind},{more},target=/link/dir/x true\n"
            text += f"RUN --mount=type={kind},{more},target=/link/new/deep true\n"
            runs.build(text, secrets={"x": b"hush"}, ssh={"x": str(path)})
        finally:
            path.unlink()


@pytest.mark.parametrize("kind", ["bind", "cache"])
@pytest.mark.parametrize("source", ["link", "link/dir", "../../../../../..", "a/../../..", "up"])
def test_a_source_cannot_leave_its_stage(runs, canary, kind, source):
    links = f"ln -s {canary} /link && ln -s ../../.. /up"
    text = f"FROM base AS evil\n{only('s')}RUN mkdir /a && {links}\nFROM base\n{only('t')}"
    more = f",id=i{time.time_ns()}" if kind == "cache" else ""
    text += f"RUN --mount=type={kind}{more},from=evil,source={source},target=/m ls -a /m > /got\n"
    if source.startswith("link"):
        with pytest.raises(DockerfileError, match="not found"):
            runs.build(text)
        return
    names = runs.text(runs.build(text), "got").split()
    assert {"bin", "etc", "link", "up"} <= set(names), "the root of the stage"


@pytest.mark.parametrize(
    "source", ["link", "link/dir", "../canary", "/../canary", "d/../../canary"]
)
def test_a_source_cannot_leave_the_context(runs, canary, source):
    (runs.context / "d").mkdir()
    os.symlink(canary, runs.context / "link")
    text = f"FROM base\n{only('c')}RUN --mount=source={source},target=/m ls /m\n"
    with pytest.raises(DockerfileError, match="not found"):
        runs.build(text)
    for word in ("COPY", "ADD"):
        with pytest.raises(DockerfileError, match="not found"):
            runs.build(f"FROM scratch\n{word} {source} /x\n")


def test_a_link_that_is_swapped_while_it_is_mounted_shows_nothing(runs, canary):
    """CVE-2024-11218, CVE-2024-23651: another RUN changes what a mount's source is."""
    name = f"race{time.time_ns()}"
    mount = f"--mount=type=cache,id={name},target=/c"
    swap = f"i=0; while [ $i -lt 60 ]; do rm -rf /c/sub; ln -s {canary} /c/sub; rm /c/sub; "
    swap += "mkdir /c/sub; i=$((i+1)); done"
    stages = "".join(
        f"FROM base AS s{n}\n{only(n)}RUN --mount=type=cache,id={name},source=sub,target=/m "
        f"ls -a /m > /got{n}; true\n"
        for n in range(3)
    )
    text = f"FROM base AS swapper\n{only('w')}RUN {mount} {swap}\n{stages}FROM base\n"
    text += "".join(f"COPY --from=s{n} /got{n} /\n" for n in range(3))
    text += "COPY --from=swapper /etc /e\n"
    result = runs.build(text)
    for number in range(3):
        assert "secret" not in runs.text(result, f"got{number}")


@pytest.mark.parametrize(
    "name", ["../../../canary", "/canary", ".", "..", "a/b", "\\0x", "x" * 5000]
)
def test_the_id_of_a_cache_is_no_path(runs, canary, name):
    mount = f"--mount=type=cache,id={name},target=/c"
    text = f"FROM base\n{only('i')}RUN {mount} echo x > /c/made\nRUN {mount} cat /c/made > /got\n"
    assert runs.text(runs.build(text), "got") == "x\n"
    caches = runs.engine.home.cache_mounts
    assert all(len(each.name) == 66 and each.parent == caches for each in caches.iterdir())


def test_what_a_cache_holds_is_never_followed(runs, canary):
    """A link in a cache that a later RUN begins with, or that pruning meets."""
    name = f"left{time.time_ns()}"
    mount = f"--mount=type=cache,id={name},target=/c"
    first = f"FROM base\n{only('l')}RUN {mount} rm -rf /c/x; ln -s {canary} /c/x; ln -s / /c/root\n"
    runs.build(first)
    runs.build(f"FROM base\n{only('m')}RUN {mount} ls /c/x/ || mkdir -p /c/y\n")
    runs.engine.system.disk.prune_cache()


@pytest.mark.parametrize("path", ["/link/new", "/link/dir", "/link2/a/b"])
def test_directories_and_files_behind_a_link_are_the_images(runs, canary, path):
    """CVE-2026-55686: WORKDIR, COPY and ADD through a link to somewhere outside."""
    runs.write("f", "copied")
    links = f"ln -s {canary} /link && ln -s ../../../..{canary} /link2"
    text = f"FROM base\n{only('p')}RUN {links}\nWORKDIR {path}\nRUN pwd > made\n"
    text += f"COPY f {path}/f\nADD f {path}/g/\nUSER 5\nWORKDIR {path}/deeper\n"
    inside = f"{canary}/{path.partition('/')[2].partition('/')[2]}"
    assert runs.text(runs.build(text), f"{inside}/f") == "copied"


def test_a_right_that_was_not_given(runs):
    for options in ({}, {"allow": ("network.host",)}):
        with pytest.raises(DockerfileError, match="is not allowed by this build"):
            runs.build("FROM base\nRUN --security=insecure true\n", **options)


# -- contexts ----------------------------------------------------------------------------------


def test_a_context_of_a_hundred_thousand_files(fresh):
    one = fresh.context / "0"
    one.mkdir()
    for number in range(1000):
        (one / str(number)).touch()
    copies = [str(fresh.context / str(number)) for number in range(1, 100)]
    # Names of the same files: what is asked for here is how many there are.
    script = 'for each; do cp -al "$0" "$each"; done'
    subprocess.run(["sh", "-c", script, str(one), *copies], check=True)
    os.mkfifo(fresh.context / "99" / "pipe")
    (fresh.context / ".dockerignore").write_text("**/*[1-8]\n!7/**\n")
    began = time.monotonic()
    listing = fresh.listing(fresh.build("FROM scratch\nCOPY . /all\n"))
    assert time.monotonic() - began < 30
    # Directories and names that end in 0 or 9, all of 7, and the rest.
    assert len(listing) == 1 + 20 * 201 + 1001 + 2
    assert listing["all/99/pipe"][0] == "p"
    assert "all/9/11" not in listing
    assert "all/7/11" in listing


def test_a_context_that_is_above_everything_is_read_no_further_than_it_is_named(place, tmp_path):
    """``COPY .. .`` and an absolute path are the context itself."""
    place.write("f", "f")
    for source in ("..", "../..", "/", "/.."):
        result = place.build(f"FROM scratch\nCOPY {source} /x/\n")
        assert set(place.listing(result)) == {"x", "x/f"}


# -- what needs itself, and what grows ---------------------------------------------------------


def test_contexts_that_name_each_other(runs):
    runs.engine.images.tag("base", "other")
    each_other = {"base": "docker-image://other", "other": "docker-image://base"}
    result = runs.build("FROM base\nCOPY --from=other /bin/sh /copied\n", contexts=each_other)
    assert "copied" in runs.listing(result)
    itself = {"base": "docker-image://base"}
    assert runs.build("FROM base\nCMD x\n", contexts=itself).steps[0].cached


def test_a_base_whose_triggers_need_their_own_stage(runs):
    name = f"loop{time.time_ns()}"
    runs.build("FROM base\nONBUILD COPY --from=last /x /x\nONBUILD RUN true\n", name)
    with pytest.raises(DockerfileError, match="circular dependency") as caught:
        runs.build(f"FROM base AS first\nFROM {name} AS last\nFROM last\n")
    assert caught.value.line == 2
    with pytest.raises(DockerfileError, match="circular dependency"):
        runs.build(f"FROM {name} AS middle\nFROM middle AS last\nCOPY --from=middle /x /y\n")


DOUBLE = "ENV A=xxxxxxxxxx\n" + "ENV A=$A$A\n" * 60
LABELS = f"ENV A={'a' * 60000}\nUSER 5\n" + "LABEL l=$A$A$A$A\n" * 200
PORTS = "EXPOSE 1-65535/tcp 1-65535/udp\n" * 7


@pytest.mark.parametrize(
    ("base", "text", "line"),
    [
        ("scratch", DOUBLE, 17),
        ("base", DOUBLE, 17),
        ("scratch", LABELS, 37),
        ("base", LABELS, 37),
        ("scratch", PORTS, 7),
    ],
)
def test_a_config_has_an_end(runs, base, text, line):
    before = {each.image_id for each in runs.engine.images.list()}
    with pytest.raises(DockerfileError, match=r"longer than|larger than") as caught:
        runs.build(f"FROM {base}\n{text}", "never")
    assert caught.value.line == line
    assert {each.image_id for each in runs.engine.images.list()} == before
