"""The peers' tests run in a process of their own while ours run in this one.

Runtimes are waited for more than computed with, so a second processor takes the peers' half for
nothing.  Each report is the child's own; a test it did not report is run here.
"""

import json
import os
import subprocess
import sys
import tempfile

_FILE = "OCIMAGIC_PEER_REPORTS"  # set in the child only
_ENOUGH = 100  # below, a second process is not worth its start


class Elsewhere:
    """The child process, from the first of our tests on."""

    def __init__(self, config, items):
        self.config = config
        self.process = None
        self.reports = {}
        self.peers = {item.nodeid for item in items if runtime_of(item) not in (None, "ours")}
        self.ours = {item.nodeid for item in items if runtime_of(item) == "ours"}
        self.is_child = _FILE in os.environ
        self.is_wanted = (
            not self.is_child
            and min(len(self.peers), len(self.ours)) >= _ENOUGH
            and (os.cpu_count() or 1) > 1
            and os.geteuid() == 0  # others skip nearly all
        )

    def begin(self):
        """Start the child: the same suite, the peers only."""
        self.file = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by ``end``
        self.room = tempfile.TemporaryDirectory(prefix="peers-")
        words = ["-q", "-p", "no:cacheprovider", "--basetemp", self.room.name + "/tests"]
        if cut := self.config.getoption("confcutdir"):
            words += ["--confcutdir", cut]
        here = os.path.dirname(__file__)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *words, "-k", "runc or crun", here],
            cwd=self.config.rootpath, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, pass_fds=(self.file.fileno(),),
            env=os.environ | {_FILE: str(self.file.fileno())},
        )  # fmt: skip

    def result(self, item):
        """Return the child's reports of a test, or None if it is to be run here."""
        if item.nodeid in self.ours and not self.process:
            self.begin()
        if item.nodeid not in self.peers or not self.process:
            return None
        if not self.reports:
            self.process.wait()
            self.file.seek(0)
            for line in self.file:
                data = json.loads(line)
                self.reports.setdefault(data["nodeid"], []).append(data)
        return self.reports.get(item.nodeid)

    def end(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.file.close()
            self.room.cleanup()


def runtime_of(item):
    specification = getattr(item, "callspec", None)
    return specification.params.get("runtime") if specification else None


def write_report(config, report):
    """In the child: tell the parent."""
    if _FILE in os.environ:
        data = config.hook.pytest_report_to_serializable(config=config, report=report)
        os.write(int(os.environ[_FILE]), json.dumps(data).encode() + b"\n")
