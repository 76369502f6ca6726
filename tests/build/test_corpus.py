"""The golden corpus: every case of ``tests/dockerfiles``, built by us and by the real dockerd.

`corpus` tells what a case is.
"""

import json
import re
import shutil
from contextlib import ExitStack

import pytest
from built import Built, differences
from conftest import BUSYBOX, Workplace, need_containers
from corpus import cases
from dockerbuild import start_docker
from flatten import flatten

from ocimagic.engine.engine import Engine
from ocimagic.errors import OcimagicError

CASES = cases()
APPLETS = [
    "sh",
    "cat",
    "echo",
    "ls",
    "true",
    "false",
    "mkdir",
    "mkfifo",
    "touch",
    "rm",
    "rmdir",
    "sleep",
    "id",
    "env",
    "test",
    "stat",
    "chmod",
    "chown",
    "ln",
    "mv",
    "cp",
    "date",
    "head",
    "wc",
    "pwd",
    "printf",
    "grep",
    "sed",
    "sort",
    "tr",
    "find",
    "readlink",
    "basename",
    "expr",
    "ip",
]
LINE = re.compile(r"line (\d+)")


def make_base(room):
    """Lay out a small root: a static busybox, two accounts, and what builders mount over."""
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "home"):
        (room / name).mkdir(parents=True)
    (room / "tmp").chmod(0o1777)
    shutil.copy(BUSYBOX, room / "bin" / "busybox")
    for applet in APPLETS:
        (room / "bin" / applet).symlink_to("busybox")
    (room / "etc/passwd").write_text(
        "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"
    )
    (room / "etc/group").write_text("root:x:0:\nstaff:x:1001:\nwheel:x:10:app\n")
    for name in ("hosts", "hostname", "resolv.conf"):
        (room / "etc" / name).touch()


class Ours:
    """Builds by our engine; each case once."""

    def __init__(self, engine, room):
        self.engine, self.room, self.done = engine, room, {}

    def build(self, case):
        if case.name not in self.done:
            self.done[case.name] = self._build(case)
        return self.done[case.name]

    def _build(self, case):
        context = self.room / case.name
        case.lay_out(context)
        place = Workplace(self.engine, context)
        secrets = {name: text.encode() for name, text in case.build.get("secrets", {}).items()}
        try:
            result = place.build(
                case.text, case.name, dockerfile_name=case.file, secrets=secrets,
                build_args=case.build.get("args", {}), target=case.build.get("target"),
            )  # fmt: skip
        except OcimagicError as err:
            found = LINE.search(str(err.where))
            line = getattr(err, "line", None) or (int(found[1]) if found else None)
            return Built(error=f"{err.what}\n{err.why}\n{err.hint}", line=line)
        finally:
            shutil.rmtree(context)
            assert place.leftovers() == []
        found = self.read(result)
        found.output, found.notices = place.output(), place.notices()
        return found

    def below(self, built):
        """Return how many layers came with the base."""
        lines = self.base.history
        return self.base.layers if built.history[: len(lines)] == lines else 0

    def read(self, result):
        store = self.engine._store
        image = store.images.load(result.digest)
        document = json.loads(store.blobs.path(image.manifest.config.digest).read_bytes())
        paths = [store.blobs.path(each.digest) for each in image.manifest.layers]
        with ExitStack() as stack:
            layers = [stack.enter_context(path.open("rb")) for path in paths]
            return Built.of(document, *flatten(layers))


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    if BUSYBOX is None:
        pytest.skip("no busybox on this machine (apt install busybox-static)")
    room = tmp_path_factory.mktemp("corpus")
    with Engine(root=room / "root") as engine:
        make_base(room / "base" / "root")
        base = Workplace(engine, room / "base")
        text = 'FROM scratch\nCOPY root /\nENV BASE=1\nCMD ["sh"]\n'
        found = Ours(engine, room)
        found.base = found.read(base.build(text, "base"))
        yield found


@pytest.fixture(scope="module")
def docker(ours, tmp_path_factory, request):
    room = tmp_path_factory.mktemp("dockerd")
    with start_docker(room) as found:
        saved = bytearray()
        ours.engine.images.save(["base"], saved.extend)
        found.ask("POST", "/images/load?quiet=1", bytes(saved))
        for item in request.session.items:
            if item.name.startswith(test_docker_builds_the_same.__name__):
                case = item.callspec.params["case"]
                if "skip" not in case.verify.get("docker", {}):
                    found.start(case)
        yield found


def each_case(function):
    return pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])(function)


def test_there_are_enough_cases_and_each_says_something():
    assert len(CASES) >= 150
    assert len([case for case in CASES if case.fails]) >= 40
    assert [case.name for case in CASES if not case.verify.get("about")] == []
    claims = {"layers", "history", "output", "config", "files", "error"}
    assert [case.name for case in CASES if not claims & set(case.verify)] == []


@each_case
def test_we_build_what_the_case_says(ours, case):
    if "RUN" in case.text.upper():
        need_containers(ours.engine)
    built = ours.build(case)
    if case.fails:
        return check_error(built, case.verify["error"])
    assert not built.error
    for key, value in case.verify.get("config", {}).items():
        assert (key, built.config.get(key, False)) == (key, value)
    for path, said in case.verify.get("files", {}).items():
        check_file(built, path, said)
    if "layers" in case.verify:
        assert built.layers - ours.below(built) == case.verify["layers"]
    if "history" in case.verify:
        lines = [text for text, _ in built.history]
        assert lines[-len(case.verify["history"]) :] == case.verify["history"]
    for text in case.verify.get("output", []):
        assert text in built.output
    for text in case.verify.get("notices", []):
        assert any(text in each for each in built.notices), built.notices
    return None


def check_error(built, said):
    assert built.error, "it was built"
    for text in said["text"]:
        assert text in built.error
    assert said.get("line") == built.line


def check_file(built, path, said):
    found = built.files.get(path)
    if said is False:
        assert found is None
        return
    assert found, f"{path} is not there: {sorted(built.files)}"
    for key, value in ({"text": said} if isinstance(said, str) else said).items():
        if key == "same" and value:
            assert value in built.same.get(path, ())
        elif key == "same":
            assert path not in built.same
        elif key == "text":
            assert value == found.text.decode()
        elif key == "xattrs":
            assert value == dict(found.xattrs)
        else:
            assert (path, key, getattr(found, key)) == (path, key, value)


@pytest.mark.peer
@each_case
def test_docker_builds_the_same(ours, case, request):
    said = case.verify.get("docker", {})
    if "skip" in said:
        pytest.skip(said["skip"])
    if "RUN" in case.text.upper():
        need_containers(ours.engine)
    docker = request.getfixturevalue("docker")
    theirs = docker.start(case).result()
    found = differences(ours.build(case), theirs)
    known = said.get("differs", {})
    new = [f"{name}:{text}" for name, text in found.items() if name not in known]
    assert not new, "\n".join(["differs from docker", *new])
    assert set(known) <= set(found), "said to differ, but does not"
    if case.fails and theirs.error:
        for text in [said["says"]] if "says" in said else case.verify["error"]["text"]:
            assert text in theirs.error
