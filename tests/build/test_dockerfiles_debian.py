"""Real Dockerfiles on a real Debian: built from a mirror's packages, then run and asked.

``tests/dockerfiles-debian/README.md`` tells what is there.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Workplace, need_containers
from flatten import flatten

from ocimagic.build.debian.aptconf import AptConfig
from ocimagic.errors import RegistryUnreachable
from ocimagic.model.options import NetworkMode, RunOptions
from ocimagic.model.request import BootstrapOptions, ExecOptions

pytestmark = pytest.mark.slow

ROOM = Path(__file__).parent.parent / "dockerfiles-debian"
BASE = "debian:bookworm"
ALL = sorted(path.parent.name for path in ROOM.glob("*/verify"))
# The JDK is most of the time that all of them take; once in a CI run is enough.
CASES = [case for case in ALL if case != "petclinic" or os.geteuid() == 0]
# The notes build on ubuntu, which not every mirror has; their Dockerfile stays as it is.
NOTES = {"ubuntu:latest": f"docker-image://{BASE}"}
SAYS = re.compile("^# says: (.+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def debian(engine):
    """The session's store with ``debian:bookworm``, made as a user makes it."""
    need_containers(engine)
    try:
        made = engine.images.bootstrap(BootstrapOptions(name=BASE))
    except RegistryUnreachable as err:
        pytest.skip(f"no Debian mirror can be reached: {err.what}")
    assert made.signed_by
    return engine


def proxies():
    """Return what a user behind a proxy writes: ``--build-arg http_proxy=...``."""
    names = [f"{scheme}_proxy" for scheme in ("http", "https", "no")]
    found = {name: os.environ[name] for name in names if name in os.environ}
    proxy = AptConfig.read().proxy("http", "deb.debian.org")
    return {"http_proxy": proxy, **found} if proxy not in ("", "DIRECT") else found


def build(engine, case):
    place = Workplace(engine, ROOM / case)
    text = (ROOM / case / "Dockerfile").read_text()
    contexts = NOTES if case == "layerdemo" else {}
    result = place.build(
        text, case, network=NetworkMode.HOST, build_args=proxies(), contexts=contexts
    )
    assert place.leftovers() == []
    return result


def asked(engine, case):
    """Run the image and its ``verify`` inside; return what that wrote.

    What exposes a port runs by its own command, and is asked from inside its container.
    """
    script = (ROOM / case / "verify").read_bytes()
    if not engine.images.inspect(case).config.config.exposed_ports:
        options = RunOptions(image=case, command=("bash", "-e"), interactive=True, remove=True)
        return engine.containers.run_options(options, stdin=script)
    options = RunOptions(image=case, name=case, detach=True, network=NetworkMode.NONE)
    engine.containers.run_options(options)
    try:
        return engine.containers.exec(
            case, ExecOptions(command=("bash", "-e"), interactive=True), stdin=script
        )
    finally:
        engine.containers.remove(case, force=True)


@pytest.mark.parametrize("case", CASES)
def test_it_is_built_and_answers(debian, case):
    build(debian, case)
    done = asked(debian, case)
    lines = done.stdout.decode().splitlines()
    rest = iter(lines)
    wanted = SAYS.findall((ROOM / case / "verify").read_text())
    missing = [each for each in wanted if not any(each in line for line in rest)]
    assert (done.exit_code, missing) == (0, []), (lines, done.stderr.decode())


def test_one_run_makes_one_layer_as_the_notes_have_it(debian):
    build(debian, "layerdemo")
    base, made = (debian.images.inspect(each).layers for each in (BASE, "layerdemo"))
    assert [each.diff_id for each in made[:-1]] == [each.diff_id for each in base]
    assert [each.from_base for each in made] == [*[True] * len(base), False]


def test_the_command_of_an_image(debian):
    build(debian, "apt")
    done = debian.containers.run("apt", remove=True, network="none")
    assert (done.exit_code, done.stdout) == (0, b"hello from a package\n")


# The hour is in the logs, the numbers of the files are in ldconfig's cache; and buildah leaves
# what it mounted files over.
NOT_THE_SAME = re.compile(
    "/var/log/.+|/var/cache/ldconfig/aux-cache|/etc/(hostname|hosts|resolv.conf)"
)


@pytest.mark.peer
def test_buildah_builds_the_same(debian, tmp_path):
    """The files of ``apt``, with names, modes, owners, contents, links and attributes."""
    if not shutil.which("buildah"):
        pytest.skip("buildah is not installed")
    if os.geteuid() != 0:
        pytest.skip("buildah needs root to chroot")
    result = build(debian, "apt")
    store = debian._store
    ours = files_of([store.blobs.path(each.digest)
                     for each in store.images.load(result.digest).manifest.layers])  # fmt: skip
    theirs = files_of(built_by_buildah(debian, "apt", tmp_path))
    changed = {path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)}
    assert [path for path in sorted(changed) if not NOT_THE_SAME.fullmatch(path)] == []
    assert "/usr/bin/hello" in ours


def files_of(layers):
    with contextlib.ExitStack() as held:
        files, same = flatten([held.enter_context(path.open("rb")) for path in layers])
    return {path: (entry, same.get(path)) for path, entry in files.items()}


def built_by_buildah(engine, case, room):
    """Return the paths of the layers' tars, bottom first."""

    def buildah(*words):
        stores = ["--root", room / "root", "--runroot", room / "run", "--storage-driver", "overlay"]
        done = subprocess.run(
            ["buildah", *stores, *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        known = buildah("pull", f"oci:{engine.home.data}:docker.io/library/{BASE}")
        buildah("tag", known.strip(), f"docker.io/library/{BASE}")
        words = [f"--build-arg={name}={value}" for name, value in proxies().items()]
        buildah(
            "bud", "--isolation", "chroot", "--network", "host", *words, "-t", case, ROOM / case
        )
        buildah("push", case, f"docker-archive:{room}/saved.tar")
    finally:
        shutil.rmtree(room / "root")
    subprocess.run(["tar", "-xf", room / "saved.tar", "-C", room], check=True)
    (manifest,) = json.loads((room / "manifest.json").read_text())
    return [room / each for each in manifest["Layers"]]
