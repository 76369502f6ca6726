"""Let docker's clients do the scenarios of tests/conformance/cli_scenarios.py against dockerd.

What they say goes to tests/conformance/recorded/, a file for each client; tests hold us to it.

    unshare -m --propagation private python tools/record_cli.py [SCENARIO ...]

needs root, dockerd, docker-registry, iproute2 and a static busybox; it takes some minutes.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/conformance")]

from cli_runner import RECORDED, Runner, busybox_archive, clients, registries  # noqa: E402
from cli_scenarios import SCENARIOS  # noqa: E402
from dockernet import Daemon, namespace  # noqa: E402


def record(version: str, runner: Runner, names: list[str]) -> None:
    """Write what one client says; scenarios that are not named keep theirs."""
    path = RECORDED / f"docker-{version}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    for name in names:
        known[name] = runner.run(name)
        kept = {each: known[each] for each in SCENARIOS if each in known}
        path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
        print(version, name, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *SCENARIOS], metavar="SCENARIO")
    names = parser.parse_args().names or list(SCENARIOS)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was begun is ended, too
    RECORDED.mkdir(exist_ok=True)
    archive = busybox_archive()
    with tempfile.TemporaryDirectory(prefix="rec") as directory:
        room = Path(directory)
        with namespace(f"ocimagic-cli-{os.getpid()}") as inside, Daemon(room, inside):
            for version in clients():
                (room / version).mkdir()
                with registries(room / version, inside) as hosts:
                    runner = Runner(
                        version, f"unix://{room}/socket", room / version, inside, hosts, archive
                    )
                    record(version, runner, names)


if __name__ == "__main__":
    main()
