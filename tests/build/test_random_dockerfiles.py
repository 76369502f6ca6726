"""Dockerfiles that nobody thought of: built by us and by the real dockerd, the same comes of them.

`randomdockerfile` makes them; ``OCIMAGIC_RANDOM_DOCKERFILES=100`` tries so many of each theme.
"""

import os

import pytest
from built import differences
from conftest import BUSYBOX, Workplace, need_containers
from dockerbuild import start_docker
from randomdockerfile import IMAGE, RandomCase, tar_of
from test_corpus import Ours, make_base

from ocimagic.engine.engine import Engine

pytestmark = pytest.mark.peer
COUNT = int(os.environ.get("OCIMAGIC_RANDOM_DOCKERFILES", "10"))
THEMES = ("copy", "add", "run", "mount", "stages", "ignore", "config")
AHEAD = 6  # how many docker builds before we ask for the first
BASE = 'FROM scratch\nCOPY root /\nENV BASE=1\nCMD ["sh"]\n'


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Two builders that have the same two images, ``base`` and ``before``."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if BUSYBOX is None:
        pytest.skip("no busybox on this machine (apt install busybox-static)")
    room = tmp_path_factory.mktemp("random")
    (room / "dockerd").mkdir()
    with Engine(root=room / "root") as engine, start_docker(room / "dockerd") as docker:
        need_containers(engine)
        make_base(room / "context/root")
        (room / "context/image.tar").write_bytes(tar_of(IMAGE))
        place = Workplace(engine, room / "context")
        place.build(BASE, "base")
        place.build("FROM base\nADD image.tar /\n", "before")
        saved = bytearray()
        engine.images.save(["base", "before"], saved.extend)
        docker.ask("POST", "/images/load?quiet=1", bytes(saved))
        yield Ours(engine, room), docker


@pytest.mark.parametrize("theme", THEMES)
def test_nothing_differs_from_docker(both, theme):
    ours, docker = both
    cases = [RandomCase(theme, seed) for seed in range(COUNT)]
    wrong, good = [], 0
    for number, case in enumerate(cases):
        for later in cases[number : number + AHEAD]:
            docker.start(later)
        built = ours.build(case)
        theirs = docker.start(case).result()
        good += not built.error
        found = differences(built, theirs)
        # For a pattern that finds nothing docker makes an empty layer; we make none, and say so.
        if any("matches no file" in text for text in built.notices):
            found = {name: text for name, text in found.items() if name.startswith("files")}
        if found:
            told = [f"{name}:{text}" for name, text in found.items()]
            wrong.append("\n".join([f"--- {case.name} {case.build}", case.text, *told]))
    assert not wrong, "\n".join(wrong)
    assert good, "none of these Dockerfiles can be built"
