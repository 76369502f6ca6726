"""Builds that repeat bit for bit: the same input, another machine, another day."""

import os
import subprocess
import sys
import time

import pytest
from conftest import make_base, need_containers

from ocimagic.errors import InvalidOption
from ocimagic.spec.platform import Platform

STAMP = 1_700_000_000
AMD64 = Platform.parse("linux/amd64")
TEXT = """FROM scratch
COPY . /app
COPY --chown=7:8 --chmod=600 a.txt /b/
COPY <<EOF /c
text
EOF
WORKDIR /app/new
ENV A=1
CMD ["x"]
"""
# Of the Dockerfile above and the files below, on any machine, by any account: if it changes,
# the images that teachers have handed out will not be made again.
IMAGE_ID = "sha256:327741ec2538aa368ccc6f8bd7cd54a8bfbe962e6139e466a8f264f7cf82a204"

ELSEWHERE = """
import os, sys
from ocimagic import Engine
from ocimagic.model.options import BuildOptions
from ocimagic.spec.platform import Platform
root, context, text = sys.argv[1:4]
os.umask(0o077)
with Engine(root=root) as engine:
    if len(sys.argv) > 4:
        engine.images.load(sys.argv[4])
    own = () if len(sys.argv) > 4 else (Platform.parse("linux/amd64"),)
    asked = BuildOptions(
        dockerfile=text, context=context, timestamp=1_700_000_000, platforms=own
    )
    result = engine.images.build(asked)
    print(result.image_id, *[step.layer for step in result.steps if step.layer])
"""


def write_context(where, names, umask):
    """Write the same files in another order, with other times and another umask."""
    old = os.umask(umask)
    try:
        where.mkdir()
        for name in names:
            path = where / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{name}\n")
            if name.endswith(".sh"):
                path.chmod(0o777 & ~umask)
            os.utime(path, (time.time(), time.time() - len(name) * 1000))
        (where / "link").symlink_to("a.txt")
    finally:
        os.umask(old)
    return where


NAMES = ["a.txt", "run.sh", "deep/er/z", "deep/er/b", "deep/é"]


def elsewhere(root, context, text, *more):
    """Build in a process of another time zone, locale, directory and umask."""
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "Pacific/Kiritimati", "HOME": str(root)}
    env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    words = [sys.executable, "-c", ELSEWHERE, str(root), str(context), text, *map(str, more)]
    done = subprocess.run(words, env=env, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_same_files_make_the_same_image_on_any_machine(fresh, tmp_path):
    here = write_context(tmp_path / "here", NAMES, 0o022)
    there = write_context(tmp_path / "there", NAMES[::-1], 0o077)
    result = fresh.build(TEXT, context=str(here), timestamp=STAMP, platforms=(AMD64,))
    assert result.image_id == IMAGE_ID
    layers = [str(step.layer) for step in result.steps if step.layer]
    assert elsewhere(tmp_path / "other", there, TEXT) == [IMAGE_ID, *layers]
    # The build argument that other builders know says the same.
    said = {"SOURCE_DATE_EPOCH": str(STAMP)}
    again = fresh.build(TEXT, context=str(there), build_args=said, platforms=(AMD64,))
    assert again.image_id == IMAGE_ID
    assert fresh.notices() == []
    assert fresh.build(TEXT, context=str(there), timestamp=STAMP + 1).image_id != IMAGE_ID


def test_run_repeats_too(fresh, base_root, tmp_path):
    make_base(fresh, base_root)
    need_containers(fresh.engine)
    text = "FROM base\nRUN echo $SOURCE_DATE_EPOCH > /e && mkdir -p /x/y && ln /e /x/hard && "
    text += "rm /etc/group && touch /x/y/b /x/y/a && date > /dev/null\n"
    text += "RUN echo more >> /e\n"
    archive = tmp_path / "base.tar"
    with archive.open("wb") as file:
        fresh.engine.images.save(["base"], file.write)
    result = fresh.build(text, timestamp=STAMP)
    assert fresh.text(result, "e") == f"{STAMP}\nmore\n"
    layers = [str(step.layer) for step in result.steps if step.layer]
    said = elsewhere(tmp_path / "other", fresh.context, text, archive)
    assert said == [str(result.image_id), *layers]


@pytest.mark.parametrize("value", ["soon", "-1", "9" * 12, "1.5"])
def test_a_time_that_is_none(fresh, value):
    with pytest.raises(InvalidOption, match="SOURCE_DATE_EPOCH"):
        fresh.build("FROM scratch\n", build_args={"SOURCE_DATE_EPOCH": value})


def test_a_mount_of_the_context_has_the_time_that_is_asked_for(runs):
    os.utime(runs.write("a", f"A{time.time_ns()}"), (1000, 1000))
    text = "FROM base\nRUN --mount=target=/c stat -c %Y /c/a > /time\n"
    assert runs.text(runs.build(text), "time") == "1000\n"
    result = runs.build(text, timestamp=STAMP)
    assert runs.text(result, "time") == f"{STAMP}\n"
