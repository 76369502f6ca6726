"""Known holes of runtimes, tried on ours: what ``exec`` brings into a hostile container.

Each docstring ends with the guard that, removed, makes the test fail; each was really removed,
the failure seen, and the guard put back.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_cve_run import box, digest, leaked  # noqa: F401  box is a fixture

EXECS = 30  # 200 were run once; each takes its time
USERS = {
    "1000": ("1000", "0"), "1000:5": ("1000", "5"), "0": ("0", "0"), "0:0": ("0", "0"),
    "1000:": None, ":1000": None, ":": None, "+1": None, "-1": None, "1000:abc": None,
    "1000:-1": None, "1000:+1": None, " 0": None, "0x0": None, "1e3": None, "1_0": None,
    "\u0663": None, "4294967295": None, "4294967296": None, "0:4294967295": None,
    "18446744073709551616": None, "1000:5:6": None, "0\n0": None, "nobody-of-that-name": None,
}  # fmt: skip

WAITING = """
import os, sys
from dataclasses import replace
from ocimagic.runtime.execute import execute
from ocimagic.runtime.state import ContainerState
state = ContainerState.load(sys.argv[1], sys.argv[2])
process = replace(state.runtime_config.process, args=("/bin/echo", "ran"))
init = execute(state, process, (-1, 1, 2))
print(init.pid, flush=True)
sys.stdin.readline()
init.start()
os.waitid(os.P_PIDFD, init.pidfd, os.WEXITED)
"""

PEEK = """
for p in /proc/[0-9]*; do
    case $p in /proc/1|/proc/$$) continue;; esac
    test -d $p || continue
    echo seen $p
    for f in exe cwd root fd/0 fd/1 fd/3 fd/4 fd/5 ns/mnt; do readlink $p/$f; done
    head -c 20 $p/environ; head -n 1 $p/maps; true >>$p/exe && echo wrote
done 2>/dev/null
true
"""


def test_a_process_that_joins_cannot_be_looked_at(box):  # noqa: F811
    """CVE-2016-9962: while exec prepares its process, that is still the runtime's.

    Guard: ``birth`` clears the dumpable flag before it joins.
    """
    box.started()
    words = [sys.executable, "-c", WAITING, str(box.root), box.name]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        pid = int(other.stdout.readline())
        assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{box.pid}/ns/pid")
        told = box.exec_whole(PEEK, check=False).stdout.splitlines()
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.read() == "ran\n"
    assert [line for line in told if line.startswith("seen")], "the process was not even there"
    assert [line for line in told if not line.startswith("seen")] == []


def test_no_race_shows_the_runtimes_program(box, monkeypatch):  # noqa: F811
    """CVE-2019-5736: a container that looks at every process while many are executed in it.

    Guard: the dumpable flag again, and that execve comes last.
    """
    monkeypatch.setenv("OCIMAGIC_MARK", "only the machine has this")
    before = digest(sys.executable)
    # The shell itself looks, and says at once what it saw.
    look = "for p in /proc/[0-9]*; do test -r $p/environ && cat $p/environ; true >>$p/exe; done"
    box.started(f"while true; do {look}; done 2>/dev/null")
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: box.execute("echo ran"), range(EXECS)))
    assert done == ["ran\n"] * EXECS
    box.kill()
    assert "PATH=" in box.output(), "nothing was looked at"
    assert "OCIMAGIC_MARK" not in box.output()
    assert digest(sys.executable) == before


def test_working_directories_through_leaked_descriptors(box):  # noqa: F811
    """CVE-2024-21626: ``exec --cwd /proc/self/fd/N``.

    Guard: ``cli.session`` closes what nobody handed over, and ``program.check_working_dir``.
    """
    box.started()

    def attempt(number):
        words = ("--cwd", f"/proc/self/fd/{number}")
        done = box.exec_whole("pwd; ls; ls ..", *words, check=False, close_fds=False)
        return done.returncode, done.stdout

    with leaked(box.canary), ThreadPoolExecutor(4) as pool:
        told = list(pool.map(attempt, range(3, 20)))
    # The runtime's own descriptor of the container's root is a way to nowhere else.
    assert not [text for _, text in told if "core_pattern" in text or "canary" in text]
    assert sum(code == 0 for code, _ in told) <= 1, told


@pytest.fixture
def users(box):  # noqa: F811
    """One container for all users: each is one exec."""
    box.started()
    return box


def test_user_strings(users):
    """CVE-2026-30892: a user that is read wrongly becomes another one, root at worst.

    Guard: ``cli.making`` reads the whole word.
    """

    def attempt(word):
        done = users.exec_whole("id -u; id -g", f"--user={word}", check=False)
        return word, tuple(done.stdout.split()) if done.returncode == 0 else None

    with ThreadPoolExecutor(4) as pool:
        told = dict(pool.map(attempt, USERS))
    assert told == USERS


@pytest.mark.parametrize("field", ["uid", "gid", "additionalGids"])
def test_numbers_that_are_no_user(box, field):  # noqa: F811
    """CVE-2024-40635: the same numbers in the document of ``--process``.

    Guard: ``spec.process.User.parse`` checks the range.
    """
    box.started()
    for value in (2**32 - 1, 2**32, -1):
        number = [value] if field == "additionalGids" else value
        user = {"uid": 1000, "gid": 1000} | {field: number}
        done = box.exec_process({"user": user, "script": "id -u; id -g"}, check=False)
        assert done.returncode != 0, f"{value}: {done.stdout}"


def test_no_code_of_the_container_is_loaded(box, tmp_path):  # noqa: F811
    """CVE-2019-14271: after the join every import would be looked for in the container.

    Guard: everything is imported before, and ``program.forbid_imports`` sees to it.
    """
    evil = "open('/tmp/evil', 'w').write('ran')\n"
    places = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "/work", *sys.path}
    for place in places:
        for name in (
            "encodings/idna.py",
            "traceback.py",
            "linecache.py",
            "pwd.py",
            "sitecustomize.py",
        ):
            path = box.rootfs / place.strip("/") / name
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(evil)
    box.started()
    box.execute("true")
    for words in ((box.name, "/nonexistent"), ("--cwd", "/missing/x", box.name, "/bin/true")):
        box.call("exec", *words, check=False)
    assert not (box.rootfs / "tmp/evil").exists()
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    log = tmp_path / "strace"
    words = box.words("exec", box.name, "/nonexistent")
    subprocess.run(
        ["strace", "-f", "-o", log, "-e", "trace=setns,open,openat,openat2,execve", *words],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    joined = set()
    for line in log.read_text().splitlines():
        pid, call = line.split(None, 1)
        if call.startswith("setns("):
            joined.add(pid)
        elif pid in joined:
            assert not re.search(r"\.(py|pyc|so)[\".]|site-packages|/usr/lib", call), line
    assert joined


def test_nothing_can_be_imported_any_more():
    """CVE-2019-14271: not even by mistake.

    Guard: ``program.forbid_imports``.
    """
    code = "from ocimagic.runtime import program; program.forbid_imports(None); import colorsys"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "No module named 'colorsys'" in done.stderr


def test_no_terminal_is_opened_by_its_name(box, tmp_path):  # noqa: F811
    """CVE-2025-52565: also the terminal of an exec is not opened as /dev/pts/N.

    Guard: ``terminal.offer`` asks the master for its other end (TIOCGPTPEER).
    """
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    box.started()
    log = tmp_path / "strace"
    words = box.words("exec", "--tty", box.name, "/bin/tty")
    done = subprocess.run(
        ["script", "-qec", " ".join(["strace -f -o", str(log), "-e trace=open,openat,openat2,ioctl",
                                     *map(str, words)]), "/dev/null"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "/dev/pts/0" in done.stdout
    text = log.read_text()
    assert "TIOCGPTPEER" in text
    assert '"/dev/pts/0"' not in text


def test_the_error_of_an_unknown_user_is_ours(box):  # noqa: F811
    """CVE-2026-30892: refused before anything is made.

    Guard: ``cli.words`` takes only what is text.
    """
    box.started()
    assert "Traceback" not in box.refused("exec", "--user=\udcff", box.name, "/bin/true")
