"""Making and starting a container inside this process: what the shim relies on."""

import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from runtimebox import box

from ocimagic.errors import (
    CommandNotExecutable,
    CommandNotFound,
    HostLacks,
    InvalidDocument,
    InvalidOption,
    NameInUse,
    OcimagicError,
    StartFailed,
)
from ocimagic.linux import process as calls
from ocimagic.linux.identity import identify
from ocimagic.linux.notify import Listener
from ocimagic.runtime.beginning import destroy
from ocimagic.runtime.cgroup import place
from ocimagic.runtime.state import ContainerState

__all__ = ["box"]  # the fixture
ROOT = Path(__file__).parents[2]
MAPPING = [{"containerID": 0, "hostID": 200000, "size": 1000}]


def status(pid, key):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(line.split(":", 1)[1].strip() for line in file if line.startswith(f"{key}:"))


def add_namespace(box, kind, path=None):
    others = [each for each in box.linux["namespaces"] if each["type"] != kind]
    box.linux["namespaces"] = [*others, {"type": kind} | ({"path": str(path)} if path else {})]


# -- created, then started -------------------------------------------------------------


def test_nothing_runs_before_start(box):
    init = box.create("echo ran")
    assert init.console == -1
    assert identify(init.pid).is_alive()
    assert box.output.read_text() == ""
    assert "ocimagic" in Path(f"/proc/{init.pid}/comm").read_text()
    init.start()
    assert box.wait(init) == 0
    assert box.output.read_text() == "ran\n"


def test_exit_codes_and_signals(box):
    init = box.create("exit 7")
    init.start()
    assert box.wait(init) == 7
    init = box.create("exec sleep 50")
    init.start()
    signal.pidfd_send_signal(init.pidfd, signal.SIGKILL)
    assert box.wait(init) == 137


def test_a_process_whose_creator_lets_go_ends(box):
    init = box.create("echo ran")
    os.close(os.dup(init.channel_fd))  # a copy more or less does not matter
    kept = os.dup(init.pidfd)
    init.close()
    assert select.select([kept], [], [], 10)[0], "it waits for nobody"
    assert os.waitid(os.P_PIDFD, kept, os.WEXITED).si_status == 125
    os.close(kept)
    box.made.remove(init)
    destroy(init.state)
    assert box.output.read_text() == ""


def test_a_copy_of_the_channel_keeps_it_waiting(box):
    """The shim's holder relies on it: the shim may be killed between create and start."""
    init = box.create("echo ran")
    kept, pidfd = os.dup(init.channel_fd), os.dup(init.pidfd)
    init.close()
    assert not select.select([pidfd], [], [], 0.2)[0]
    with socket.socket(fileno=kept) as door:
        door.send(json.dumps({"type": "start"}).encode())
        assert door.recv(1000) == b"", "execve closes the other end"
    assert os.waitid(os.P_PIDFD, pidfd, os.WEXITED).si_status == 0
    os.close(pidfd)
    box.made.remove(init)
    destroy(init.state)
    assert box.output.read_text() == "ran\n"


def test_a_creator_that_is_killed_takes_the_process_with_it(box):
    """Killed at random moments of creating: no process, no mount is left."""
    box.shell("echo ran")
    box.bundle()
    script = f"""
import sys
import threading
sys.path.insert(0, {str(ROOT)!r})
from ocimagic.runtime.bundle import load_bundle
from ocimagic.runtime.create import Init
bundle = load_bundle({str(box.directory)!r}, {{}})
print("go", flush=True)
init = Init.create(bundle, {box.name!r}, (-1, 1, 2))
print(init.pid, flush=True)
sys.stdin.read()
"""
    for delay_ms in (0, 2, 4, 8, 16, 30, 200):
        creator = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert creator.stdout.readline() == "go\n"
        select.select([], [], [], delay_ms / 1000)
        creator.kill()
        creator.wait()
        creator.stdin.close()
        creator.stdout.close()
        cgroup = place(box.linux["cgroupsPath"], box.name)
        deadline = time.monotonic() + 10
        while cgroup.processes():
            assert time.monotonic() < deadline, "a process is left that waits for nobody"
            select.select([], [], [], 0.01)
        cgroup.remove()


def test_failures_leave_nothing(box):
    cases = [
        ({"args": ["nosuch"]}, CommandNotFound),
        ({"args": ["/etc/passwd"]}, CommandNotExecutable),
        ({"args": ["/bin/nosuch"]}, CommandNotFound),
        ({"apparmorProfile": "acme"}, HostLacks),
        ({"selinuxLabel": "a:b:c:d"}, HostLacks),
        ({"cwd": "/etc/passwd"}, StartFailed),
        ({"terminal": True}, StartFailed),
    ]
    whole = dict(box.process)
    box.config["mounts"] = [each for each in box.config["mounts"] if each["type"] != "devpts"]
    for change, expected in cases:
        box.config["process"] = whole | change
        with pytest.raises(expected):
            box.create()
        assert box.made == []


def test_a_program_without_its_loader_fails_at_start(box):
    (box.rootfs / "bin/script").write_text("#!/nosuch\n")
    (box.rootfs / "bin/script").chmod(0o755)
    box.process["args"] = ["script"]
    init = box.create()
    with pytest.raises(CommandNotFound, match="no such file"):
        init.start()
    assert box.wait(init) == 125


# -- state on disk ---------------------------------------------------------------------


def test_the_state_is_there_before_hooks_and_goes_with_the_container(box, tmp_path):
    root = str(tmp_path / "state")
    box.config["hooks"] = {
        "createRuntime": [
            {"path": "/bin/cp", "args": ["cp", f"{root}/{box.name}/state.json", f"{tmp_path}/seen"]}
        ]
    }
    init = box.create("exec sleep 50", state_root=root)
    seen = json.loads((tmp_path / "seen").read_text())
    assert seen["process"]["pid"] == init.pid
    assert not seen["is_created"]
    state = ContainerState.load(root, box.name)
    assert state.status() == "created"
    assert state.process == identify(init.pid)
    with pytest.raises(NameInUse):
        box.create(state_root=root)
    assert ContainerState.load(root, box.name).status() == "created"
    init.start()
    assert ContainerState.load(root, box.name).status() == "running"
    signal.pidfd_send_signal(init.pidfd, signal.SIGKILL)
    select.select([init.pidfd], [], [])
    assert ContainerState.load(root, box.name).status() == "stopped"
    box.wait(init)
    assert ContainerState.list(root) == []
    assert os.listdir(root) == []


def test_a_later_change_of_the_config_does_not_count(box, tmp_path):
    box.config["annotations"] = {"a": "1"}
    init = box.create(state_root=str(tmp_path / "state"))
    box.config["annotations"] = {"a": "2"}
    box.bundle()
    state = ContainerState.load(str(tmp_path / "state"), box.name)
    assert state.annotations == {"a": "1"}
    assert state.runtime_config.annotations == {"a": "1"}
    init.start()
    box.wait(init)


# -- hooks -----------------------------------------------------------------------------


def test_hooks_at_their_moments_and_places(box, tmp_path):
    diary = tmp_path / "diary"

    def hook(kind):
        script = f"echo {kind} $(readlink /proc/self/ns/mnt) >> {diary}; cat > {tmp_path}/{kind}"
        return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}

    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    box.config["hooks"] = {kind: [hook(kind)] for kind in kinds}
    # It runs inside, where only the container's own files are.
    script = "readlink /proc/self/ns/mnt > /started; cat > /start.json"
    box.config["hooks"]["startContainer"] = [{"path": "/bin/sh", "args": ["sh", "-c", script]}]
    init = box.create("cat /started")
    inside = os.readlink(f"/proc/{init.pid}/ns/mnt")
    assert diary.read_text().split()[::2] == list(kinds[:3])
    assert not (box.rootfs / "started").exists()
    init.start()
    box.wait(init)
    lines = dict(line.split() for line in diary.read_text().splitlines())
    assert list(lines) == list(kinds)
    outside = os.readlink("/proc/self/ns/mnt")
    expected = dict.fromkeys(kinds, outside) | {"createContainer": inside}
    assert lines == expected
    assert box.output.read_text().strip() == inside
    told = {kind: json.loads((tmp_path / kind).read_text()) for kind in kinds}
    told["startContainer"] = json.loads((box.rootfs / "start.json").read_text())
    assert {kind: each["status"] for kind, each in told.items()} == {
        "prestart": "created",
        "createRuntime": "creating",
        "createContainer": "creating",
        "startContainer": "created",
        "poststart": "running",
        "poststop": "stopped",
    }
    assert all(each["id"] == box.name for each in told.values())
    assert told["prestart"]["pid"] == init.pid
    assert told["poststop"]["pid"] == 0


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_failing_hook_undoes_the_container(box, tmp_path, kind):
    box.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo because >&2; exit 3"]}],
        "poststop": [{"path": "/bin/touch", "args": ["touch", str(tmp_path / "over")]}],
    }
    with pytest.raises(StartFailed, match="exit status 3: because"):
        box.create()
    assert (tmp_path / "over").exists(), "poststop hooks run all the same"


def test_a_failing_start_hook_is_told_by_start(box, tmp_path):
    box.config["hooks"] = {
        "startContainer": [{"path": "/bin/false"}],
        "poststop": [{"path": "/bin/touch", "args": ["touch", str(tmp_path / "over")]}],
    }
    init = box.create("echo ran")
    with pytest.raises(StartFailed, match="startContainer hook 1 failed"):
        init.start()
    assert (tmp_path / "over").exists()
    box.wait(init)
    assert box.output.read_text() == ""


def test_late_hooks_that_fail_are_warnings(box, tmp_path):
    last = {"path": "/bin/touch", "args": ["touch", str(tmp_path / "last")]}
    box.config["hooks"] = {
        "poststart": [{"path": "/nosuch"}, last],
        "poststop": [{"path": "/bin/false"}],
    }
    box.run("true")
    assert (tmp_path / "last").exists(), "those after it are run"
    assert [text.split(" ")[0] for text in box.warnings] == ["poststart", "poststop"]


def test_a_hook_that_hangs_is_ended(box):
    box.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}]
    }
    began = time.monotonic()
    with pytest.raises(StartFailed, match="longer than 1 s"):
        box.create()
    assert time.monotonic() - began < 10


def test_hooks_get_their_own_environment_only(box, tmp_path, monkeypatch):
    monkeypatch.setenv("LEAKED", "yes")
    args = ["sh", "-c", f"/usr/bin/env > {tmp_path}/env"]
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": args, "env": ["A=b"]}]}
    box.run("true")
    told = (tmp_path / "env").read_text()
    assert "A=b" in told
    assert "LEAKED" not in told


# -- namespaces ------------------------------------------------------------------------


def test_each_new_namespace_is_new_and_the_others_are_inherited(box):
    for kind in ("cgroup", "time"):
        add_namespace(box, kind)
    box.linux["namespaces"] = [
        each for each in box.linux["namespaces"] if each["type"] not in ("ipc", "network")
    ]
    init = box.create("exec sleep 50")
    init.start()
    for name, is_new in {
        "pid": True, "mnt": True, "uts": True, "cgroup": True, "time": True,
        "ipc": False, "net": False, "user": False,
    }.items():  # fmt: skip
        ours, theirs = (os.readlink(f"/proc/{pid}/ns/{name}") for pid in ("self", init.pid))
        assert (ours != theirs) is is_new, name


def test_joining_every_kind_by_path(box, tmp_path):
    """A second container in the first one's namespaces, its pid one among them."""
    add_namespace(box, "user")
    box.linux |= {"uidMappings": MAPPING, "gidMappings": MAPPING}
    os.chown(box.rootfs, 200000, 200000)
    add_namespace(box, "time")
    first = box.create("exec sleep 50")
    first.start()
    kinds = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "user": "user",
             "time": "time"}  # fmt: skip
    for kind, name in kinds.items():
        add_namespace(box, kind, f"/proc/{first.pid}/ns/{name}")
    box.linux["cgroupsPath"] += "-second"
    second = box.create("echo $$")
    for name in kinds.values():
        one, two = (os.readlink(f"/proc/{each.pid}/ns/{name}") for each in (first, second))
        assert one == two, name
    assert os.readlink(f"/proc/{second.pid}/ns/mnt") != os.readlink(f"/proc/{first.pid}/ns/mnt")
    assert status(second.pid, "PPid") == str(os.getpid()), "it is its creator's child"
    second.start()
    assert box.wait(second) == 0
    assert int(box.output.read_text()) > 1


def test_a_path_of_another_kind_is_refused(box, tmp_path):
    add_namespace(box, "network", "/proc/self/ns/uts")
    with pytest.raises(InvalidDocument, match="not a network namespace"):
        box.create()
    add_namespace(box, "network", tmp_path)
    with pytest.raises(InvalidDocument, match="not a network namespace"):
        box.create()
    add_namespace(box, "network", "/proc/self/ns/nosuch")
    with pytest.raises(InvalidDocument, match="cannot join"):
        box.create()


def test_a_setting_of_a_joined_namespace_that_is_the_machines(box):
    add_namespace(box, "network", "/proc/self/ns/net")
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    with pytest.raises(InvalidDocument, match="would be the machine's"):
        box.create()


def test_a_user_namespace_with_its_ids(box):
    add_namespace(box, "user")
    box.linux |= {"uidMappings": MAPPING, "gidMappings": MAPPING}
    for each in (box.rootfs, box.rootfs / "tmp"):
        os.chown(each, 200000, 200000)
    told = box.run("id -u; cat /proc/self/uid_map /proc/self/gid_map; touch /tmp/made; id -u")
    assert told.split() == ["0", *["0", "200000", "1000"] * 2, "0"]
    assert (box.rootfs / "tmp/made").stat().st_uid == 200000


def test_a_user_namespace_without_a_root_of_its_own(box):
    add_namespace(box, "user")
    mapping = [{"containerID": 1000, "hostID": 200000, "size": 10}]
    box.linux |= {"uidMappings": mapping, "gidMappings": mapping}
    os.chown(box.rootfs, 200000, 200000)
    box.process["user"] = {"uid": 1000, "gid": 1000}
    assert box.run("id -u") == "1000\n"


def test_ids_that_cannot_be_mapped_are_told(box):
    add_namespace(box, "user")
    both = [MAPPING[0], {"containerID": 500, "hostID": 300000, "size": 10}]
    box.linux |= {"uidMappings": both, "gidMappings": both}
    with pytest.raises(HostLacks, match="cannot be mapped"):
        box.create()


def test_clocks_with_an_offset(box):
    add_namespace(box, "time")
    box.linux["timeOffsets"] = {"boottime": {"secs": 1_000_000}, "monotonic": {"secs": 2_000_000}}
    uptime = float(box.run("cat /proc/uptime").split()[0])
    with open("/proc/uptime", encoding="utf-8") as file:
        ours = float(file.read().split()[0])
    assert 999_900 < uptime - ours < 1_000_100


def test_names_of_the_host(box):
    box.config |= {"hostname": "inside", "domainname": "example.org"}
    before = socket.gethostname()
    assert box.run("hostname; cat /proc/sys/kernel/domainname") == "inside\nexample.org\n"
    assert socket.gethostname() == before


# -- the process -----------------------------------------------------------------------


def test_limits_are_set_and_what_is_too_high_is_clamped(box):
    highest = calls.limit(0, calls.RLIMITS["NOFILE"])[1]
    box.process["rlimits"] = [
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 1 << 40},
    ]
    told = box.run("grep -E 'core|open files' /proc/self/limits")
    assert re.search(r"core file size +0 +4096", told)
    assert re.search(rf"open files +100 +{highest}", told)
    assert "RLIMIT_NOFILE cannot be raised" in box.warnings[0]


def test_an_oom_score_below_what_is_allowed_is_a_warning(box):
    box.process["oomScoreAdj"] = 500
    assert box.run("cat /proc/self/oom_score_adj") == "500\n"
    if calls_may_lower():
        pytest.skip("root can lower it here: CAP_SYS_RESOURCE")
    box.process["oomScoreAdj"] = -900
    box.run("cat /proc/self/oom_score_adj")
    assert "oomScoreAdj" in box.warnings[0]


def calls_may_lower():
    with open("/proc/self/status", encoding="utf-8") as file:
        effective = next(line for line in file if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> 24 & 1)


def test_capabilities_that_cannot_be_had_are_told(box):
    with open("/proc/self/status", encoding="utf-8") as file:
        bounding = next(line for line in file if line.startswith("CapBnd:"))
    if int(bounding.split()[1], 16) >> 24 & 1:
        pytest.skip("root can have all of them here")
    sets = ("bounding", "effective", "permitted")
    box.process["capabilities"] = {name: ["CAP_SYS_RESOURCE", "CAP_KILL"] for name in sets}
    assert "CapEff:\t0000000000000020" in box.run("cat /proc/self/status")
    assert "CAP_SYS_RESOURCE" in box.warnings[0]


def test_the_user_by_the_containers_own_names(box):
    box.config["annotations"] = {
        "dev.ocimagic.user": "alice",
        "dev.ocimagic.groups": "staff,77",
    }
    assert box.run("id -u; id -g; id -G; echo $HOME") == "1000\n1001\n1001 10 50 77\n/home/a\n"
    box.config["annotations"] = {"dev.ocimagic.user": "alice", "dev.ocimagic.groups": "nosuch"}
    with pytest.raises(StartFailed, match="unable to find group nosuch"):
        box.create()


def test_a_cwd_is_made_and_one_outside_is_refused(box):
    box.process["cwd"] = "/a/new/place"
    assert box.run("ls -d $PWD") == "/a/new/place\n"
    held = os.open("/", os.O_RDONLY)
    try:
        os.set_inheritable(held, True)
        box.process["cwd"] = f"/proc/self/fd/{held}"
        with pytest.raises(StartFailed, match="working directory"):
            box.create()
    finally:
        os.close(held)


def test_no_descriptor_of_the_creator_is_open_inside(box):
    held = [os.open("/", os.O_RDONLY) for _ in range(30)]
    for fd in held:
        os.set_inheritable(fd, True)
    init = box.create("exec sleep 50")
    init.start()
    for fd in held:
        os.close(fd)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{init.pid}/comm").read_text() != "sleep\n":
        assert time.monotonic() < deadline
    assert sorted(os.listdir(f"/proc/{init.pid}/fd")) == ["0", "1", "2"]


def test_a_container_without_proc(box):
    """Nothing on the way to the command needs the container's own /proc."""
    box.config["mounts"] = [each for each in box.config["mounts"] if each["type"] != "proc"]
    assert box.run("echo ran") == "ran\n"


def test_streams_that_are_nowhere_are_the_null_device(box):
    bundle_output = box.run("readlink -f /proc/self/fd/0; stat -c %t:%T /proc/self/fd/0 -L")
    assert bundle_output == "/dev/null\n1:3\n"


def test_a_memory_limit_too_small_to_start_is_told(box):
    box.linux["resources"] = {"memory": {"limit": 200_000}}
    with pytest.raises(OcimagicError, match="memory"):
        box.create("echo ran")


def test_nothing_is_hidden_on_the_machine(box):
    box.linux["namespaces"] = [each for each in box.linux["namespaces"] if each["type"] != "mount"]
    box.linux["maskedPaths"] = ["/proc/kcore"]
    with pytest.raises(InvalidDocument, match="mount namespace"):
        box.create()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "é", "a\0b", "x" * 1025])
def test_what_is_no_id(box, name):
    box.name = name
    with pytest.raises(InvalidOption):
        box.create()


# -- terminal --------------------------------------------------------------------------


def read_all(fd):
    parts = []
    try:
        while part := os.read(fd, 65536):
            parts.append(part)
    except OSError:  # EIO: nobody has the other side any more
        pass
    return b"".join(parts).decode().replace("\r\n", "\n")


def test_a_terminal_of_the_containers_own(box):
    box.process["terminal"] = True
    init = box.create("tty; stty size; stat -c %t:%T:%u /dev/console; id -u", console_size=(33, 77))
    master = os.dup(init.console)
    assert stat.S_ISCHR(os.fstat(master).st_mode)
    init.start()
    said = read_all(master)
    os.close(master)
    box.wait(init)
    assert said.split("\n")[:2] == ["/dev/pts/0", "33 77"]
    assert said.split("\n")[2].startswith("88:0:")
    assert box.output.read_text() == "", "the other streams are not used"


def test_the_terminal_is_its_users(box):
    box.process |= {"terminal": True, "user": {"uid": 1000, "gid": 1000}}
    init = box.create("stat -c %u /dev/console; echo hello > /dev/tty")
    master = os.dup(init.console)
    init.start()
    assert read_all(master) == "1000\nhello\n"
    os.close(master)
    box.wait(init)


def test_a_master_goes_to_the_console_socket(box, tmp_path):
    box.process["terminal"] = True
    path = tmp_path / "console.sock"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen()
        init = box.create("echo hello", console_socket=str(path))
        assert init.console == -1
        with door.accept()[0] as connection:
            name, fds, _, _ = socket.recv_fds(connection, 100, 1)
        assert name == b"/dev/ptmx"
        init.start()
        assert read_all(fds[0]) == "hello\n"
        os.close(fds[0])
        box.wait(init)
    with pytest.raises(InvalidOption, match="console socket"):
        box.create(console_socket=str(tmp_path / "nobody"))


def test_devpts_that_is_none_is_refused(box, tmp_path):
    """CVE-2025-52565: what lies at /dev/pts is looked at, not trusted."""
    (tmp_path / "pts").mkdir()
    (tmp_path / "pts/ptmx").symlink_to("/dev/null")
    for each in box.config["mounts"]:
        if each["type"] == "devpts":
            each |= {"type": "bind", "source": str(tmp_path / "pts"), "options": ["bind"]}
    box.process["terminal"] = True
    with pytest.raises(StartFailed, match="no terminal"):
        box.create()
    (tmp_path / "pts/ptmx").unlink()
    (tmp_path / "pts/ptmx").write_text("")
    with pytest.raises(StartFailed, match="something else"):
        box.create()


# -- seccomp ---------------------------------------------------------------------------


def test_a_filter_without_no_new_privs_is_loaded_last(box):
    """The profile forbids all that lowering privileges takes; only the command feels it."""
    box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["setresuid", "setgroups", "fchown", "chroot", "mkdir", "mkdirat"],
             "action": "SCMP_ACT_ERRNO", "errnoRet": 7}
        ],
    }  # fmt: skip
    box.process["user"] = {"uid": 1000, "gid": 1000}
    told = box.run("id -u; mkdir /tmp/x; grep -E 'Seccomp:|NoNewPrivs|CapEff' /proc/self/status")
    assert "1000\n" in told
    assert "Argument list too long" in told  # errno 7
    assert "Seccomp:\t2" in told
    assert "NoNewPrivs:\t0" in told
    assert "CapEff:\t0000000000000000" in told


def test_a_listener_answers_for_the_container(box, tmp_path):
    path = tmp_path / "agent.sock"
    box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(path),
        "listenerMetadata": "to whom it may concern",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    }
    with pytest.raises(HostLacks, match="listener"):
        box.create("mkdir /tmp/x")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen()
        init = box.create("mkdir /tmp/x; echo $?")
        with door.accept()[0] as connection:
            packet, fds, _, _ = socket.recv_fds(connection, 1 << 16, 1)
            assert connection.recv(1) == b"", "one state a connection"
    told = json.loads(packet)
    assert told["fds"] == ["seccompFd"]
    assert told["pid"] == init.pid
    assert told["metadata"] == "to whom it may concern"
    assert told["state"]["id"] == box.name
    assert os.readlink(f"/proc/self/fd/{fds[0]}") == "anon_inode:seccomp notify"
    init.start()
    assert select.select([fds[0]], [], [], 10)[0], "nobody asks"
    os.close(fds[0])  # with the last listener gone the kernel answers ENOSYS
    box.wait(init)
    assert "Function not implemented" in box.output.read_text()


def test_a_filter_may_ask_about_what_the_runtime_itself_still_has_to_do(box, tmp_path):
    """And its socket may be where only a descriptor leads: a path of 107 bytes is the most."""
    place = tmp_path / ("a-long-name" * 12)
    place.mkdir()
    box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(place / "agent.sock"),
        "syscalls": [{"names": ["capset", "mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }
    asked = []

    def answer(door):
        with door, door.accept()[0] as connection:
            _, fds, _, _ = socket.recv_fds(connection, 1 << 16, 1)
        ready = select.poll()
        ready.register(fds[0], select.POLLIN)
        while not any(events & select.POLLHUP for _, events in ready.poll()):
            question = Listener(fds[0]).receive()
            if question is not None:
                asked.append(question.number)
                Listener(fds[0]).let_go_on(question)
        os.close(fds[0])

    door = socket.socket(socket.AF_UNIX)
    fd = os.open(place, os.O_PATH)
    door.bind(f"/proc/self/fd/{fd}/agent.sock")
    os.close(fd)
    door.listen()
    # Daemonic: a runtime that waits for itself would never let it end.
    answerer = threading.Thread(target=answer, args=(door,), daemon=True)
    answerer.start()
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for itself"))
    signal.alarm(20)
    try:
        assert box.run("mkdir /tmp/x; echo $?") == "0\n"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    answerer.join(10)
    assert len(set(asked)) == 2


def test_flags_of_the_filter(box):
    box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": [f"SECCOMP_FILTER_FLAG_{name}"
                  for name in ("LOG", "SPEC_ALLOW", "TSYNC", "WAIT_KILLABLE_RECV")],
    }  # fmt: skip
    assert "Seccomp:\t2" in box.run("cat /proc/self/status")


def test_waiting_is_not_busy(box):
    init = box.create("exec sleep 50")

    def ticks():
        with open(f"/proc/{init.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    select.select([], [], [], 0.2)
    before = ticks()
    select.select([], [], [], 0.3)
    assert ticks() == before
