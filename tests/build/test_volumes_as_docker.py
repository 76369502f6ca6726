"""Containers with volumes, made by us and by the real dockerd: the same is there and is said."""

import json
import os
import re
import shlex
from datetime import UTC, datetime

import pytest
from conftest import Workplace, need_containers
from dockerbuild import start_docker

from ocimagic.cli.grammar import execute
from ocimagic.cli.session import Session
from ocimagic.engine.engine import Engine
from ocimagic.errors import OcimagicError
from ocimagic.render.display import as_text

pytestmark = pytest.mark.peer
IMAGE = 'FROM scratch\nCOPY root /\nVOLUME /data /new\nCMD ["/x"]\n'
MADE = (
    "--name plain declared",
    "--name named -v mine:/data -v readonly:/r:ro --mount src=other,dst=/o -v /nameless declared",
    "--name heir --volumes-from named:ro -v mine:/new declared",
    "--name again --mount type=volume,src=mine,dst=/data -v kept:/data/sub:nocopy declared",
    "--name covered --tmpfs /new -v mine:/data declared",
)
REFUSED = ("-v fresh:/data/file declared", "-v x/y:/d declared", "--volumes-from nobody declared")


class Ours:
    def __init__(self, engine, tmp_path):
        self.session = Session(lambda: engine, cwd=str(tmp_path))

    def __call__(self, *words):
        """Return whether it worked, and what was said."""
        try:
            return True, as_text(execute(list(words), self.session), datetime.now(UTC))
        except OcimagicError as err:
            return False, str(err)


class Theirs:
    def __init__(self, docker):
        self.docker = docker

    def __call__(self, *words):
        done = self.docker._run(words, text=True)
        return done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    room = tmp_path_factory.mktemp("volumes")
    (room / "dockerd").mkdir()
    data = room / "context/root/data"
    (data / "sub").mkdir(parents=True)
    for path, text in (("file", "one"), ("sub/file", "two")):
        (data / path).write_text(text)
        (data / path).chmod(0o4751)
    (data / "link").symlink_to("file")
    os.link(data / "file", data / "hard")
    data.chmod(0o2770)
    with Engine(root=room / "root") as engine, start_docker(room / "dockerd") as docker:
        need_containers(engine)
        Workplace(engine, room / "context").build(IMAGE, "declared")
        saved = bytearray()
        engine.images.save(["declared"], saved.extend)
        docker.ask("POST", "/images/load?quiet=1", bytes(saved))
        ours, theirs = Ours(engine, room), Theirs(docker)
        for line in MADE:
            for each in (ours, theirs):
                worked, said = each("create", *shlex.split(line))
                assert worked, said
        yield ours, theirs
        for each in engine.containers.list(all=True):
            engine.containers.remove(each.container_id, volumes=True)
        engine.volumes.prune(all=True)


def inspected(each, *words):
    worked, said = each(*words)
    assert worked, said
    return json.loads(re.sub(r"[0-9a-f]{64}", "NAMELESS", said))


def mounts(each, name):
    found = inspected(each, "inspect", name)[0]
    for mount in found["Mounts"]:
        mount["Source"] = re.sub(r".*/volumes/", "", mount["Source"])
        # What --mount says has another mode than what -v says, there.
        mount["Mode"] = mount["Mode"].replace("z", "")
    config = found["Config"]["Volumes"], found["HostConfig"]["VolumesFrom"]
    return sorted(found["Mounts"], key=lambda mount: mount["Destination"]), config


@pytest.mark.parametrize("name", ["plain", "named", "heir", "again", "covered"])
def test_mounts_are_said_as_docker_says_them(both, name):
    ours, theirs = both
    assert mounts(ours, name) == mounts(theirs, name)


def files(each, name):
    top = inspected(each, "volume", "inspect", name)[0]["Mountpoint"]
    found = {}
    for place, directories, names in os.walk(top):
        for path in [place, *(os.path.join(place, name) for name in (*directories, *names))]:
            told = os.lstat(path)
            size = told.st_size if os.path.isfile(path) else 0
            links = told.st_nlink if not os.path.isdir(path) else 0
            found[os.path.relpath(path, top)] = (
                told.st_mode, told.st_uid, told.st_gid, size, links, links and int(told.st_mtime),
            )  # fmt: skip
    return found


@pytest.mark.parametrize("name", ["mine", "kept", "readonly"])
def test_the_same_files_are_in_them(both, name):
    ours, theirs = both
    assert files(ours, name) == files(theirs, name)


@pytest.mark.parametrize("line", REFUSED)
def test_what_docker_refuses_is_refused(both, line):
    for each in both:
        worked, said = each("create", *shlex.split(line))
        assert not worked, said


def test_lists_and_removal_agree(both):
    for words in (
        ("volume", "ls", "-q", "-f", "name=e"),
        ("volume", "ls", "-q", "-f", "dangling=true"),
        ("volume", "ls", "-f", "driver=local", "-f", "name=mine"),
    ):
        said = [
            sorted(set(re.sub("[0-9a-f]{64}", "NAMELESS", each(*words)[1]).strip().split("\n")))
            for each in both
        ]  # fmt: skip
        assert said[0] == said[1], words
    for each in both:
        worked, said = each("volume", "rm", "mine")
        assert not worked
        assert re.search(r"remove mine: volume is in use - \[([0-9a-f]{64}(, )?){4}\]", said)
        counted = [
            each("ps", "-a", "--filter", "volume=/data", "--format", "{{.Names}} {{.LocalVolumes}}")
        ]
        assert sorted(counted[0][1].split("\n"))[-5:] == [
            "again 3", "covered 1", "heir 5", "named 5", "plain 2",
        ], counted  # fmt: skip
        assert each("rm", "-v", "covered", "heir", "again")[0]
        assert each("volume", "inspect", "kept")[0]
