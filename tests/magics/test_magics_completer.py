"""What Tab offers, and where it leaves Python alone."""

import threading
import time

import pytest

from ocimagic.magics.completer import Completer
from ocimagic.magics.known import PATIENCE_S
from ocimagic.model.distribution import RegistryListing


@pytest.fixture
def complete(shell, tmp_path):
    """Complete at the ``|`` in a cell; return the fragment and the texts."""
    (tmp_path / "app.py").write_text("")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "inner.py").write_text("")
    completer = Completer(shell.magics_manager.magics["line"]["docker"].session)

    def complete(cell):
        before, _, after = cell.partition("|")
        line = before.count("\n")
        column = len(before.rpartition("\n")[2])
        found = completer.candidates(before + after, line, column)
        return found and (found[0], [text for text, _ in found[1]])

    return complete


@pytest.mark.parametrize(
    ("cell", "fragment", "texts"),
    [
        ("%container_run deb|", "deb", ["debian:bookworm"]),
        ("%container_run debian:bo|", "debian:bo", ["debian:bookworm"]),
        ("x = %container_run --rm web|", "web", ["web:1"]),
        ("    docker run web|", "web", ["web:1"]),
        ("docker image ins|", "ins", ["inspect"]),
        ("%docker image hi|", "hi", ["history"]),
        ("%container_run --entry|", "--entry", ["--entrypoint"]),
        ("%container_logs |", "", ["job", "web"]),
        ("%container_run \\\n  --rm \\\n  bus|", "bus", ["busybox:latest"]),
        ("%%dockerfile -t x --no-c|", "--no-c", ["--no-cache", "--no-cache-filter"]),
        ("%%dockerfile -t x s|", "s", ["src/"]),
        ("%%dockerfile -t x\nFR|", "FR", ["FROM"]),
        ("%%dockerfile -t x\nwo|", "wo", ["workdir"]),
        ("%%dockerfile -t x\nFROM bus|", "bus", ["busybox:latest"]),
        ("%%dockerfile\nFROM web:1 AS built\nFROM bui|", "bui", ["built"]),
        ("%%dockerfile\nFROM x AS built\nCOPY --from=b|", "--from=b",
         ["--from=built", "--from=busybox:latest"]),
        ("%%dockerfile\nCOPY a|", "a", ["app.py"]),
        ("%network_inspect n|", "n", ["net", "none"]),
        ("%network_connect --ip 10.0.0.9 b|", "b", ["bridge"]),
        ("%network_connect net |", "", ["job", "web"]),
        ("%network_disconnect -f net w|", "w", ["web"]),
        ("docker network rm ne|", "ne", ["net"]),
        ("%container_run --network |", "", ["bridge", "host", "net", "none"]),
        ("%container_run -it --net no|", "no", ["none"]),
        ("%container_run -v |", "", ["data"]),
        ("%container_run --volumes-from j|", "j", ["job"]),
        ("%volume_rm -f |", "", ["data"]),
        ("%volume_export -o a.tar da|", "da", ["data"]),
        ("%volume_import data a|", "a", ["app.py"]),
        ("%container_run busybox ec|", "ec", []),
        ("%%dockerfile\nRUN apt|", "apt", []),
        # values of options, with a blank or an equals sign before them
        ("%container_run --network=n|", "--network=n", ["--network=net", "--network=none"]),
        ("%container_run --restart |", "", ["always", "no", "on-failure", "unless-stopped"]),
        ("%container_run --pull=m|", "--pull=m", ["--pull=missing"]),
        ("%container_run --env-file a|", "a", ["app.py"]),
        ("%container_run -v ./s|", "./s", ["./src/"]),
        ("%container_run -v data:/|", "data:/", []),
        # registries
        ("%image_pull 127.0.0.1:5000/|", "127.0.0.1:5000/",
         ["127.0.0.1:5000/team/app", "127.0.0.1:5000/team/tool"]),
        ("%image_pull 127.0.0.1:5000/team/app:|", "127.0.0.1:5000/team/app:",
         ["127.0.0.1:5000/team/app:1", "127.0.0.1:5000/team/app:2"]),
        ("%image_pull nowhere.example/x:|", "nowhere.example/x:", []),
        ("%image_pull slow.example/app:|", "slow.example/app:", []),
        ("%%dockerfile\nFROM 127.0.0.1:5000/team/app:2|", "127.0.0.1:5000/team/app:2",
         ["127.0.0.1:5000/team/app:2"]),
        # files in containers and here
        ("%container_cp we|", "we", ["web:"]),
        ("docker cp web:/|", "web:/", ["web:/bin/", "web:/etc/", "web:/hello"]),
        ("%container_cp web:/etc/p|", "web:/etc/p", ["web:/etc/passwd"]),
        ("%container_cp web:et|", "web:et", ["web:etc/"]),
        ("%container_cp app.py web:/h|", "web:/h", ["web:/hello"]),
        ("%container_cp a|", "a", ["app.py"]),
        # a Dockerfile: stages, arguments, flags, variables, the files of its context
        ("%%dockerfile --target b|\nFROM x AS base\nFROM base AS built", "b", ["base", "built"]),
        ("%%dockerfile --target=bu|\nFROM x AS base\nFROM base AS built", "--target=bu",
         ["--target=built"]),
        ("%%dockerfile --build-arg |\nARG VERSION=1 OTHER\nENV NOT=1", "",
         ["VERSION=", "OTHER="]),
        ("%%dockerfile\nCOPY --ch|", "--ch", ["--chmod=", "--chown="]),
        ("%%dockerfile\nCOPY --li|", "--li", ["--link"]),
        ("%%dockerfile\nADD --from|", "--from", []),
        ("%%dockerfile\nRUN --network=h|", "--network=h", ["--network=host"]),
        ("%%dockerfile\nFROM x AS one\nRUN --mount=type=bind,f|", "--mount=type=bind,f",
         ["--mount=type=bind,from=one", "--mount=type=bind,from="]),
        ("%%dockerfile\nARG VERSION=1\nENV A=1 B=2\nLABEL v=${|", "v=${",
         ["v=${VERSION}", "v=${A}", "v=${B}"]),
        ("%%dockerfile\nFROM web:1 |", "", ["AS"]),
        ("%%dockerfile\nONBUILD CO|", "CO", ["COPY"]),
        ("%%dockerfile src\nCOPY |", "", ["inner.py"]),
        ("%%dockerfile -t a --build-arg X=1 src\nCOPY i|", "i", ["inner.py"]),
        ("%%dockerfile\nCOPY \\\n  a|", "a", ["app.py"]),
        ("%%dockerfile\nSTOPSIGNAL SIGT|", "SIGT", ["SIGTERM"]),
        ("%%dockerfile\nRUN <<EOF\nFR|\nEOF", "FR", []),
        ("%%dockerfile\nRUN <<EOF\nx\nEOF\nEXP|", "EXP", ["EXPOSE"]),
        ("%%dockerfile\n# FR|", "FR", []),
        ("%%docker build -t x -\nWORK|", "WORK", ["WORKDIR"]),
        # a compose file
        ("%%compose\nserv|", "serv", ["services:"]),
        ("%%compose\nservices:\n  web:\n    ima|", "ima", ["image:"]),
        ("%%compose\nservices:\n  web:\n    image: bus|", "bus", ["busybox:latest"]),
        ("%%compose\nservices:\n  web:\n    ports:\n    - tar|", "tar", ["target:"]),
        ("%%compose\nservices:\n  web:\n    ports:\n      - target: 80\n        publ|", "publ",
         ["published:"]),
        ("%%compose\nservices:\n  web:\n    init: t|", "t", ["true"]),
        ("%%compose\nservices:\n  db:\n    image: x\n  web:\n    depends_on:\n      - d|", "d",
         ["db"]),
        ("%%compose\nservices:\n  web:\n    networks: \n    - i|\nnetworks:\n  inner: {}", "i",
         ["inner"]),
        ("%%compose\nservices:\n  web:\n    # ima|", "", []),
    ],
)  # fmt: skip
def test_candidates(complete, cell, fragment, texts):
    assert complete(cell) == (fragment, texts)


@pytest.mark.parametrize(
    "cell", ["x = doc|", "%time x|", "%%bash\ndocker ru|", "docker.x|", "%container_run {na|"]
)
def test_python_is_left_alone(complete, cell):
    assert complete(cell) is None


def test_ipython_shows_ours_only(shell):
    from IPython.core.completer import provisionalcompleter

    def offered(line):
        with provisionalcompleter():
            return [each.text for each in shell.Completer.completions(line, len(line))]

    assert offered("%container_run debian:bo") == ["debian:bookworm"]
    assert offered("%container_run busybox b") == ["b"]
    assert "%container_run" in offered("%container_r")


def test_an_engine_that_fails_completes_nothing(shell):
    session = shell.magics_manager.magics["line"]["docker"].session

    def fail(root, environment):
        from ocimagic.errors import StorageError

        raise StorageError("no store")

    session.make_engine = fail

    assert Completer(session).candidates("%container_run x", 0, 16) == ("x", [])


def test_a_registry_that_hangs_is_not_waited_for_and_asked_once(shell):
    """Tab comes back at once; what comes later is there the next time."""
    session = shell.magics_manager.magics["line"]["docker"].session
    engine = session.engine()
    gate, asked = threading.Event(), []

    def slow(name):
        asked.append(name)
        gate.wait(10)
        return RegistryListing(place=name, kind="tag", names=("7",))

    engine.images.list_registry = slow
    completer = Completer(session)
    line = "%image_pull far.example/app:"
    began = time.monotonic()
    assert completer.candidates(line, 0, len(line)) == (line.split()[1], [])
    assert time.monotonic() - began < 2 * PATIENCE_S
    gate.set()
    found = completer.candidates(line, 0, len(line))
    assert found == (line.split()[1], [("far.example/app:7", "tag")])
    assert asked == ["far.example/app"]
