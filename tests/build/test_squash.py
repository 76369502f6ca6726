"""--squash: the same files in one layer above the base."""

import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from contextlib import ExitStack

import pytest
from flatten import flatten

from ocimagic.model.options import NetworkMode, RunOptions
from ocimagic.spec.platform import Platform

BASE = """FROM base
RUN mkdir -p /dir/sub /keep/deep /old && echo x > /dir/sub/x && echo y > /dir/y \
 && echo k > /keep/deep/k && echo g > /gone && echo o > /old/o && ln /old/o /old/linked \
 && echo f > /tofile && mkdir /todir && echo in > /todir/in && ln -s dir /link
"""
SANDBOX = {"/", "/proc", "/sys", "/dev", "/run"}
SANDBOX |= {f"/etc/{name}" for name in ("hosts", "hostname", "resolv.conf")}
# What layers can do to each other: each line undoes something of the one before, or of the base.
STEPS = """ENV A=1
RUN echo one > /one && mkdir /new && echo a > /new/a && ln /new/a /new/b && rm /gone
RUN rm /one && echo more >> /new/a && rm -r /dir && mkdir /dir && echo z > /dir/z
RUN rm -r /old && rm /tofile && mkdir /tofile && echo t > /tofile/t
RUN rm -r /todir && echo d > /todir
RUN chmod 700 /keep && chmod 4711 /keep/deep/k && mkdir /d1 && echo 1 > /d1/f && rm -r /d1
RUN rm /link && ln -s new /link && touch -d "2001-01-01 00:00:00" /keep/deep && echo end > /end
RUN mkdir /twice && echo 1 > /twice/1 && ln /twice/1 /twice/2
RUN rm /twice/1 && rm -r /bin/wc
COPY --chown=7:8 f /dir/copied
COPY <<EOF /new/heredoc
text
EOF
CMD ["x"]
"""


def layers_of(place, result):
    store = place.engine._store
    return [
        store.blobs.path(each.digest) for each in store.images.load(result.digest).manifest.layers
    ]


def tree(place, result):
    files = [path.open("rb") for path in layers_of(place, result)]
    try:
        return flatten(files)
    finally:
        for file in files:
            file.close()


def exported(engine, image):
    """Return what a container of an image is, by the engine's own stack of its layers."""
    asked = RunOptions(image=image, command=("true",), network=NetworkMode.NONE)
    made = engine.containers.create(asked)
    out = io.BytesIO()
    try:
        engine.containers.export(made.container_id, out.write)
    finally:
        engine.containers.remove(made.container_id)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        return {
            info.name: (
                info.type, info.mode, info.uid, info.gid, info.linkname,
                tar.extractfile(info).read() if info.isreg() else b"",
                info.mtime if not info.isdir() else 0,
            )
            for info in tar
        }  # fmt: skip


@pytest.fixture
def based(runs):
    runs.write("f", "copied\n")
    runs.build(BASE, "to-squash")
    return runs


def text(steps=STEPS):
    return f"FROM to-squash\nARG ONLY={time.time_ns()}\n{steps}"


def test_the_files_are_the_same_and_the_layer_is_one(based):
    given = text()
    whole = based.build(given, "whole")
    flat = based.build(given, "flat", squash=True)
    assert len(layers_of(based, flat)) == len(layers_of(based, based.build("FROM to-squash"))) + 1
    (files, same), (others, linked) = tree(based, whole), tree(based, flat)
    assert others == files
    assert linked == same
    assert exported(based.engine, "flat") == exported(based.engine, "whole")
    with tarfile.open(layers_of(based, flat)[-1]) as tar:
        names = tar.getnames()
        hidden = {name for name in names if "/.wh." in f"/{name}"}
    # Only what the base has is hidden, and each directory once.
    assert hidden == {".wh.gone", ".wh.old", "dir/.wh.sub", "dir/.wh.y", "bin/.wh.wc"}
    assert not {"one", "d1", "twice/1"} & set(names)
    assert based.config(flat) == based.config(whole)


def test_the_history_is_dockers(based):
    given = text("RUN echo 1 > /1\nENV A=2\nRUN echo 2 > /2\n")
    whole = based.build(given)
    flat = based.build(given, squash=True)
    load = based.engine._store.images.load
    before, after = (load(each.digest).config.history for each in (whole, flat))
    base = based.engine.images.inspect("to-squash")
    count = len(base.config.history)
    assert [each.created_by for each in after[:-1]] == [each.created_by for each in before]
    assert after[:count] == base.config.history
    assert all(each.empty_layer for each in after[count:-1])
    last = after[-1]
    assert (last.created_by, last.empty_layer) == ("", False)
    assert last.comment == f"merge {whole.image_id} to {base.image_id}"
    lines = based.engine.images.history(flat.image_id)
    assert [line.image_id for line in lines[:3]] == [flat.image_id, *reversed(
        [step.image_id for step in whole.steps[-2:]]
    )]  # fmt: skip
    assert lines[0].size_bytes > 0
    assert lines[1].size_bytes == 0


def test_it_repeats(based):
    given = "FROM to-squash\n" + STEPS
    once, again = (based.build(given, squash=True, timestamp=1_700_000_000) for _ in range(2))
    anew = based.build(given, squash=True, timestamp=1_700_000_000, no_cache=True)
    assert once.image_id == again.image_id == anew.image_id
    plain = based.build(given, squash=True)
    assert based.build(given, squash=True).image_id == plain.image_id
    assert all(step.cached for step in based.build(given, squash=True).steps)


def test_scratch_a_stage_and_nothing_to_squash(place):
    place.write("a", "a")
    place.write("b", "b")
    text = "FROM scratch\nCOPY a /x/a\nCOPY b /x/b\n"
    whole, flat = place.build(text), place.build(text, squash=True)
    assert tree(place, whole) == tree(place, flat)
    assert len(layers_of(place, flat)) == 1
    history = place.engine._store.images.load(flat.digest).config.history
    assert history[-1].comment == f"create new from {whole.image_id}"
    # Of a stage on another one its own layers are merged, as docker does.
    stages = "FROM scratch AS first\nCOPY a /a\nFROM first\nCOPY b /b\nCOPY a /c\n"
    assert len(layers_of(place, place.build(stages, squash=True))) == 2
    nothing = "FROM scratch\nENV a=b\n"
    assert place.build(nothing, squash=True).image_id == place.build(nothing).image_id


def test_several_platforms_each_squashed(place):
    place.write("a", "a")
    both = (Platform.parse("linux/amd64"), Platform.parse("linux/arm64"))
    text = "FROM scratch\nCOPY a /a\nARG TARGETARCH\nCOPY a /$TARGETARCH\n"
    result = place.build(text, "many", platforms=both, squash=True)
    for each in result.platforms:
        assert len(layers_of(place, each)) == 1
        assert set(place.listing(each)) == {"a", each.platform.architecture}


@pytest.mark.peer
def test_as_buildah_squashes(based, tmp_path):
    """The same files come of the same Dockerfile."""
    if os.geteuid() != 0 or not shutil.which("buildah"):
        pytest.skip("needs root and buildah")
    given = text(STEPS.partition("COPY <<EOF")[0])
    flat = based.build(given, squash=True)
    with (tmp_path / "base.tar").open("wb") as file:
        based.engine.images.save(["to-squash"], file.write)
    based.write(
        "Containerfile", given.replace("FROM to-squash", f"FROM oci-archive:{tmp_path}/base.tar")
    )
    buildah = ["buildah", "--root", tmp_path / "root", "--runroot", tmp_path / "run"]
    buildah += ["--storage-driver", "vfs"]
    bud = ["bud", "--squash", "--isolation", "chroot", "--network", "host", "-t", "theirs"]
    env = os.environ | {"TMPDIR": str(tmp_path)}
    for words in (
        [*bud, "-f", based.context / "Containerfile", based.context],
        ["push", "--disable-compression", "theirs", f"dir:{tmp_path}/theirs"],
    ):
        done = subprocess.run([*buildah, *words], capture_output=True, env=env, check=False)
        assert done.returncode == 0, done.stderr
    theirs = tmp_path / "theirs"
    manifest = json.loads((theirs / "manifest.json").read_bytes())
    with ExitStack() as stack:
        names = [each["digest"].partition(":")[2] for each in manifest["layers"]]
        files = [stack.enter_context((theirs / name).open("rb")) for name in names]
        their_tree, _ = flatten(files)  # this buildah merges the base, too
    # What their sandbox puts into a root; and overlayfs parts hard links of a lower layer.
    left_out = {*SANDBOX, "/new/b"}
    ours = tree(based, flat)[0]
    assert {name: each for name, each in their_tree.items() if name not in left_out} == {
        name: each for name, each in ours.items() if name not in left_out
    }
