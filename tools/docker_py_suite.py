"""Run docker-py's own integration suite against ``ocimagic serve``, and say what passes.

The suite is in no repository of ours; docker-py 7.0.0's source archive on PyPI has it in tests/:

    pip download --no-deps --no-binary docker docker==7.0.0
    mkdir suite && tar xzf docker-7.0.0.tar.gz -C suite --strip-components 1 docker-7.0.0/tests
    python -m venv v
    v/bin/pip install docker==7.2.0 pytest pytest-timeout paramiko websocket-client
    python tools/docker_py_suite.py suite --python v/bin/python [--dockerd] [--tcp]

Swarms and plugins are left out.  The images that the suite asks Docker Hub for are a static
busybox by other names, in a registry on this machine; there is no other network.  ``--dockerd``
runs the same against a private dockerd: what passes there is the bar.  Needs root, iproute2 and a
static busybox; it takes about ten minutes.  docker-py attaches by a websocket over TCP only, which
``--tcp`` has it speak.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from dockernet import Daemon  # noqa: E402
from rootfs import PASSWD, MadeImage, busybox_tar, tar_of  # noqa: E402

from ocimagic.linux import syscalls  # noqa: E402
from ocimagic.registry.server import RegistryServer  # noqa: E402
from ocimagic.registry.source import MemorySource  # noqa: E402

IMAGES = {
    ("alpine", "3.10"): ["/bin/sh"],
    ("alpine", "latest"): ["/bin/sh"],
    ("busybox", "latest"): ["sh"],
    ("hello-world", "latest"): ["echo", "Hello from Docker!"],
}
LEFT_OUT = (
    "*swarm_test.py", "*services_test.py", "*service_test.py", "*nodes_test.py",
    "*plugin_test.py", "*secret_test.py", "*config_test.py", "*/credentials/*",
)  # fmt: skip
OF_SWARMS = (
    "test_create_inspect_network_with_scope", "test_create_network_attachable",
    "test_create_network_ingress",
)  # fmt: skip
SERVED_S = 30.0
TCP = "tcp://127.0.0.1:2375"  # of a network of its own


def _fill(source: MemorySource) -> None:
    """Put in the images that the suite pulls; each has an id of its own."""
    accounts = PASSWD + b"postgres:x:70:70::/var/lib/postgresql:/bin/sh\n"  # as alpine has it
    more = tar_of(("var", None), ("var/opt", None), ("etc/passwd", accounts))
    layers = [busybox_tar(), more]
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    for (name, tag), command in IMAGES.items():
        config = {
            "Cmd": command,
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Labels": {"stands.for": f"{name}:{tag}"},
        }
        image = MadeImage(layers, config, docker=True, architecture=architecture)
        image.serve(source, f"library/{name}", tag)


@contextmanager
def _ocimagic(room: Path, mirror: str, *, tcp: bool) -> Iterator[str]:
    """Serve the API over an engine of its own; yield DOCKER_HOST."""
    place = {"OCIMAGIC_ROOT": str(room / "root"), "OCIMAGIC_REGISTRY_MIRROR": mirror}
    environment = os.environ | place | {"PYTHONPATH": str(ROOT), "HOME": str(room)}
    program, socket = [sys.executable, "-m", "ocimagic"], f"unix://{room}/socket"
    with (room / "log").open("wb") as log:
        served = subprocess.Popen(
            [*program, "serve", "-q", *(["-H", TCP, "--no-tls"] if tcp else ["-H", socket])],
            stdout=subprocess.PIPE, stderr=log, env=environment, text=True,
        )  # fmt: skip
    try:
        assert served.stdout is not None
        host = served.stdout.readline().strip()  # it listens, or there is nothing to come
        if not host:
            raise SystemExit((room / "log").read_text())
        yield host
    finally:
        served.terminate()
        served.wait(SERVED_S)
        sys.stderr.write((room / "log").read_text())
        for words in ("ps -aq | xargs -r {} rm -f", "network prune -f"):
            line = f"{shlex.join(program)} {words.format(shlex.join(program))} >&2"
            subprocess.run(line, shell=True, check=False, env=environment)


@contextmanager
def _dockerd(room: Path, mirror: str, *, tcp: bool) -> Iterator[str]:
    with Daemon(room, [], "--registry-mirror", mirror, *(["-H", TCP] if tcp else [])):
        yield TCP if tcp else f"unix://{room}/socket"


def _run(asked: argparse.Namespace, host: str, home: Path) -> Path:
    """Run pytest, far from this account's contexts and logins; return its report."""
    report = Path(tempfile.gettempdir(), f"docker-py-{os.getpid()}.xml")
    left_out = [f"--ignore-glob={each}" for each in LEFT_OUT]
    wanted = [f"not {each}" for each in OF_SWARMS] + ([f"({asked.k})"] if asked.k else [])
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text("{}")  # without one docker-py writes to the suite
    subprocess.run(
        [os.path.abspath(asked.python), "-m", "pytest", "-v", "-p", "no:cacheprovider",
         "--timeout=60", *left_out, f"--junitxml={report}", "-k", " and ".join(wanted),
         "tests/integration"],
        cwd=asked.suite, check=False,
        env=os.environ
        | {"HOME": str(home), "DOCKER_HOST": host, "DOCKER_TEST_API_VERSION": asked.api},
    )  # fmt: skip
    return report


def _outcomes(report: Path) -> dict[str, str]:
    """Return each test's outcome, by class and name: passed, failed or skipped."""
    kinds = {"failure": "failed", "error": "failed", "skipped": "skipped"}
    found: dict[str, str] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname', '').removeprefix('tests.integration.')}.{case.get('name')}"
        worst = [kinds[each.tag] for each in case if each.tag in kinds]
        if found.get(name) != "failed":
            found[name] = worst[0] if worst else "passed"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("suite", type=Path, help="the directory that has tests/ of docker-py")
    parser.add_argument("--python", default=sys.executable, help="has docker-py and pytest")
    parser.add_argument("--dockerd", action="store_true", help="ask a private dockerd instead")
    parser.add_argument("--tcp", action="store_true", help="by TCP, without TLS")
    parser.add_argument("--api", default="1.41", help="the version that the suite speaks")
    parser.add_argument("--result", type=Path, help="write each test's outcome, as JSON")
    parser.add_argument("-k", default="", metavar="EXPRESSION", help="only tests that fit it")
    asked = parser.parse_args()
    syscalls.unshare(syscalls.CLONE_NEWNET)  # before there are threads: all of it is in there
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpy-")))
        source = MemorySource()
        _fill(source)
        mirror = stack.enter_context(RegistryServer(source)).url
        serve = _dockerd if asked.dockerd else _ocimagic
        host = stack.enter_context(serve(room, mirror, tcp=asked.tcp))
        report = _run(asked, host, room)
    outcomes = _outcomes(report)
    report.unlink()
    if asked.result:
        asked.result.write_text(json.dumps(outcomes, indent=1, sort_keys=True) + "\n")
    for kind in ("failed", "skipped", "passed"):
        of_it = sorted(name for name, outcome in outcomes.items() if outcome == kind)
        print(f"{kind}: {len(of_it)}")
        if kind != "passed":
            print("".join(f"  {name}\n" for name in of_it), end="")


if __name__ == "__main__":
    main()
