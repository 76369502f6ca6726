"""The real podman and the real dockerd run containers with our runtime.

Each engine has a store and a daemon of its own; dockerd lives in a network namespace of its own,
because one with ``--bridge=none`` in the machine's would delete another dockerd's bridge.
"""

import contextlib
import ctypes
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "runtime"))

from ocibox import TIMEOUT_S, make_rootfs, ours, until

IMAGE = "ours-busybox:latest"
NETNS = f"ocimagic-{os.getpid()}"
PARENT = f"ocimagic-peers-{os.getpid()}"
_PR_SET_CHILD_SUBREAPER = 36


class Peer:
    """An engine's command line; container names are its own."""

    def __init__(self, name, command, room, environment=None):
        self.name = name
        self.room = room  # conmon leaves a file named oom where it was started
        self.command = command
        self.environment = os.environ | (environment or {})
        self.is_docker = name == "docker"

    def call(self, *words, check=True, stdin=subprocess.DEVNULL):
        done = subprocess.run(
            [*self.command, *map(str, words)], stdin=stdin, capture_output=True, text=True,
            timeout=60, env=self.environment, check=False, cwd=self.room,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"{words[0]}: {done.stderr}"
        return done

    def run(self, *words, **options):
        """``run --rm`` with our runtime."""
        return self.call("run", "--rm", *self.ours, *words, **options)

    @property
    def ours(self):
        words = ["--network", "none", "--cgroup-parent", f"/{PARENT}"]
        return [*(["--runtime", "ours"] if self.is_docker else []), *words]

    def detached(self, *words):
        return self.call("run", "--detach", *self.ours, *words).stdout.strip()

    def inspect(self, container):
        return json.loads(self.call("inspect", container).stdout)[0]

    def state(self, container):
        return self.inspect(container)["State"]

    def remove(self, container):
        # podman's rm --force gives it ten seconds to stop first.
        self.call("rm", "--force", *([] if self.is_docker else ["--time", "0"]), container)

    def on_terminal(self, *words):
        """Run a command on a terminal; returns what it wrote and its exit code."""
        pid, master = pty.fork()
        if pid == 0:
            os.chdir(self.room)
            os.execvpe(self.command[0], [*self.command, *map(str, words)], self.environment)
        told = b""
        with contextlib.suppress(OSError):
            while select.select([master], [], [], TIMEOUT_S)[0]:
                told += os.read(master, 4096)
        os.close(master)
        _, status = os.waitpid(pid, 0)
        return told.decode().replace("\r\n", "\n"), os.waitstatus_to_exitcode(status)


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A directory with our runtime as one program, and the tar of a busybox root."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not shutil.which("busybox"):
        pytest.skip("busybox-static is not installed")
    before = children()
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # containers' monitors come to us in the end
    directory = tmp_path_factory.mktemp("peers")
    program = directory / "ours"
    words = " ".join(f"'{word}'" for word in ours())
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)
    if subprocess.run([program, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("our runtime is not installed")
    make_rootfs(directory / "rootfs")
    tar = ["tar", "-C", directory / "rootfs", "-cf", directory / "rootfs.tar", "."]
    subprocess.run(tar, check=True)
    yield directory
    until(lambda: not _collect(children() - before))
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    _remove_cgroups()
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        assert str(directory) not in mounts.read(), "a mount is left"
    shutil.rmtree(directory)


def children():
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="utf-8") as file:
        return {int(word) for word in file.read().split()}


def _collect(pids):
    """Collect the dead among them; return those that live."""
    alive = set()
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                alive.add(pid)
    return alive


def _remove_cgroups():
    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        for directory, _, _ in os.walk(hierarchy / PARENT, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)


@pytest.fixture(scope="module")
def podman(room):
    if not shutil.which("podman"):
        pytest.skip("podman is not installed")
    # What the machine may not raise, podman must not ask for.
    (room / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]\n'
        '[engine]\nevents_logger = "file"\ncgroup_manager = "cgroupfs"\n'
    )
    store = ["--root", room / "podman", "--runroot", room / "podman-run"]
    command = ["podman", *map(str, store), "--runtime", str(room / "ours"), "--log-level", "error"]
    peer = Peer("podman", command, room, {"CONTAINERS_CONF": str(room / "containers.conf")})
    peer.call("import", room / "rootfs.tar", IMAGE)
    yield peer
    peer.call("rm", "--all", "--force", "--time", "0", check=False)
    peer.call("rmi", "--all", "--force", check=False)
    subprocess.run(["umount", "-l", room / "podman/overlay"], capture_output=True, check=False)


@pytest.fixture(scope="module")
def docker(room):
    for program in ("dockerd", "docker", "ip"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    subprocess.run(["ip", "netns", "add", NETNS], check=True)
    peer = Peer("docker", ["docker", "--host", f"unix://{room}/docker.sock"], room)
    words = [
        "nsenter", f"--net=/run/netns/{NETNS}", "dockerd", "--data-root", room / "docker",
        "--exec-root", room / "exec", "--host", f"unix://{room}/docker.sock",
        "--pidfile", room / "docker.pid", "--bridge", "none", "--iptables=false",
        "--add-runtime", f"ours={room}/ours", "--log-level", "error",
    ]  # fmt: skip
    with (room / "docker.log").open("wb") as log:
        daemon = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        _wait_for_daemon(peer, daemon, room / "docker.log")
        peer.call("import", room / "rootfs.tar", IMAGE)
        yield peer
        left = peer.call("ps", "--all", "--quiet").stdout.split()
        if left:
            peer.call("rm", "--force", *left)
    finally:
        daemon.terminate()
        daemon.wait(TIMEOUT_S)
        subprocess.run(["ip", "netns", "del", NETNS], check=True)
        subprocess.run(
            ["umount", "-l", room / "exec/netns/default"], check=False, stderr=subprocess.DEVNULL
        )


def _wait_for_daemon(peer, daemon, log):
    deadline = time.monotonic() + TIMEOUT_S
    while peer.call("version", check=False).returncode:
        assert daemon.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, "dockerd does not answer"
        time.sleep(0.1)


@pytest.fixture(params=["podman", "docker"])
def peer(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def container(peer):
    """A container that runs until it is told to stop."""
    script = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    made = peer.detached(IMAGE, "/bin/sh", "-c", script)
    until(lambda: "ready" in peer.call("logs", made).stdout)
    yield made
    peer.remove(made)


# -- run -----------------------------------------------------------------------


def test_our_runtime_is_the_one_used(peer, room, container):
    """Without this the others would prove nothing."""
    told = peer.inspect(container)
    name = told["HostConfig"]["Runtime"] if peer.is_docker else told["OCIRuntime"]
    assert name in ("ours", str(room / "ours"))


def test_run(peer):
    script = "echo out; echo err >&2; echo $A; id -u; hostname; exit 7"
    words = ("--env", "A=1", "--user", "1000", "--hostname", "box", IMAGE)
    done = peer.run(*words, "/bin/sh", "-c", script, check=False)
    assert done.returncode == 7, done.stderr
    assert done.stdout == "out\n1\n1000\nbox\n"
    assert done.stderr.endswith("err\n")


@pytest.mark.parametrize(("word", "code"), [("/nonexistent", 127), ("/etc/passwd", 126)])
def test_run_of_no_program(peer, word, code):
    """Both engines tell "not found" from "not executable" by the runtime's words."""
    done = peer.run(IMAGE, word, check=False)
    assert done.returncode == code, done.stderr


def test_run_on_a_terminal(peer):
    words = ("run", "--rm", "--interactive", "--tty", *peer.ours, IMAGE)
    told, code = peer.on_terminal(*words, "/bin/sh", "-c", "tty; exit 4")
    assert (told, code) == ("/dev/pts/0\n", 4)


def test_run_with_limits_and_rights(peer):
    words = (
        "--memory", "64m", "--cpus", "0.5", "--pids-limit", "40", "--cap-drop", "ALL",
        "--cap-add", "NET_RAW", "--security-opt", "no-new-privileges", "--read-only",
        "--tmpfs", "/scratch", "--ulimit", "nofile=77:88", "--init=false",
    )  # fmt: skip
    script = """
        grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status
        grep 'open files' /proc/self/limits; touch /x 2>/dev/null || echo read-only
        touch /scratch/x && echo scratch; grep -c . /proc/self/cgroup >/dev/null
    """
    told = peer.run(*words, IMAGE, "/bin/sh", "-c", script).stdout
    assert "CapEff:\t0000000000002000" in told
    assert "NoNewPrivs:\t1" in told
    assert "Seccomp:\t2" in told
    assert told.split()[-2:] == ["read-only", "scratch"]
    assert "77" in told
    assert "88" in told


def test_privileged(peer):
    """runc and crun fail here: the machine's own bounding set lacks a capability."""
    script = "grep CapEff /proc/self/status; grep Seccomp: /proc/self/status; mount -t tmpfs x /tmp"
    told = peer.run("--privileged", IMAGE, "/bin/sh", "-c", script).stdout
    effective = int(told.split()[1], 16)
    with open("/proc/self/status", encoding="utf-8") as file:
        own = next(int(line.split()[1], 16) for line in file if line.startswith("CapBnd"))
    known = (1 << 38) - 1  # to dockerd 20.10; the kernel has had more since
    assert effective & known == own & known
    assert told.endswith("Seccomp:\t0\n")


def test_killed_for_want_of_memory(peer):
    made = peer.detached(
        "--memory", "20m", "--memory-swap", "20m", IMAGE, "/bin/sh", "-c", "exec tail /dev/zero"
    )
    assert peer.call("wait", made).stdout.strip() == "137"
    state = peer.state(made)
    assert state["ExitCode"] == 137
    # conmon looks for the group in the unified hierarchy, which has no memory here.
    assert state["OOMKilled"] or not peer.is_docker
    peer.call("rm", made)


# -- a container that runs -------------------------------------------------------


def test_exec(peer, container):
    done = peer.call("exec", "-e", "B=2", "-w", "/tmp", "-u", "1000", container, "/bin/sh", "-c",
                     "echo $B; pwd; id -u; exit 3", check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (3, "2\n/tmp\n1000\n")


def test_exec_on_a_terminal(peer, container):
    told, code = peer.on_terminal(
        "exec", "-it", container, "/bin/sh", "-c", "tty; test -t 0 && exit 6"
    )
    assert (told, code) == ("/dev/pts/0\n", 6)


def test_exec_detached(peer, container):
    peer.call("exec", "--detach", container, "/bin/sh", "-c", "echo x >/made")
    until(lambda: peer.call("exec", container, "cat", "/made", check=False).stdout == "x\n")


def test_exec_of_no_program(peer, container):
    code = peer.call("exec", container, "/nonexistent", check=False).returncode
    assert code in ((126, 127) if peer.is_docker else (127,))  # dockerd 20.10 says 126


def test_logs(peer, container):
    assert peer.call("logs", container).stdout == "ready\n"


def test_top(peer, container):
    assert "sh" in peer.call("top", container).stdout


def test_stop(peer, container):
    began = time.monotonic()
    peer.call("stop", "--time", "10", container)
    assert time.monotonic() - began < 5
    assert peer.state(container)["ExitCode"] == 5
    assert peer.call("logs", container).stdout == "ready\nbye\n"


def test_stop_of_one_that_will_not(peer):
    made = peer.detached(IMAGE, "/bin/sh", "-c", "exec sleep 100")
    peer.call("stop", "--time", "1", made)
    assert peer.state(made)["ExitCode"] == 137
    peer.call("rm", made)


def test_kill(peer, container):
    peer.call("kill", "--signal", "TERM", container)
    assert peer.call("wait", container).stdout.strip() == "5"


def test_pause_and_unpause(peer, container):
    peer.call("pause", container)
    assert peer.state(container)["Status"] == "paused"
    peer.call("unpause", container)
    assert peer.state(container)["Status"] == "running"
    assert peer.call("exec", container, "echo", "alive").stdout == "alive\n"


def test_stats(peer, container):
    told = peer.call("stats", "--no-stream", "--format", "{{.MemUsage}}|{{.PIDs}}", container)
    usage, processes = told.stdout.strip().split("|")
    assert not usage.startswith(("0B", "--"))
    assert int(processes) >= 1


def test_restart(peer, container):
    before = peer.state(container)
    peer.call("restart", "--time", "5", container)
    after = peer.state(container)
    assert after["Status"] == "running"
    assert after["Pid"] != before["Pid"]
    assert peer.call("exec", container, "echo", "alive").stdout == "alive\n"


def test_update(peer, container):
    peer.call("update", "--memory", "64m", "--memory-swap", "64m", "--cpu-shares", "333", container)
    pid = peer.state(container)["Pid"]
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        places = {line.split(":")[1]: line.strip().split(":", 2)[2] for line in file}
    memory = Path("/sys/fs/cgroup/memory" + places["memory"])
    assert (memory / "memory.limit_in_bytes").read_text() == f"{64 << 20}\n"
    assert (Path("/sys/fs/cgroup/cpu" + places["cpu"]) / "cpu.shares").read_text() == "333\n"


def test_health_check(peer):
    words = ("--health-cmd", "test -e /healthy", "--health-interval", "1s", "--health-retries", "1")
    made = peer.detached(*words, IMAGE, "/bin/sh", "-c", "touch /healthy; exec sleep 100")

    def health():
        if not peer.is_docker:  # it has systemd's timers do this, and there may be none
            peer.call("healthcheck", "run", made, check=False)
        return peer.state(made)["Health"]["Status"]

    until(lambda: health() == "healthy")
    peer.call("exec", made, "rm", "/healthy")
    until(lambda: health() == "unhealthy")
    peer.remove(made)


def test_nothing_is_left_of_a_container(peer, container):
    pid = peer.state(container)["Pid"]
    peer.remove(container)
    assert _is_dead(pid)
    left = [
        str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{PARENT}/*") if container in path.name
    ]
    assert left == []


def _is_dead(pid):
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return text.rpartition(") ")[2].startswith("Z")
