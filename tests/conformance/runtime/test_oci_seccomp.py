"""config-linux.md, "Seccomp": actions, errno, operators, flags, and the listener.

The system calls are those of busybox: ``truncate -s N`` is ftruncate(fd, N) with a 64 bit N,
``mkdir`` is mkdir, and ``linux32`` is personality(8).
"""

import fcntl
import json
import os
import platform
import select
import signal
import socket
import struct
import threading

import pytest
from ocibox import TIMEOUT_S

ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64"],
}[platform.machine()]
MKDIR = ["mkdir", "mkdirat"]
TRY = "mkdir /made 2>&1 && echo made"


def filtered(box, *rules, default="SCMP_ACT_ALLOW", **more):
    wanted = {"defaultAction": default, "architectures": ARCHITECTURES, "syscalls": list(rules)}
    box.linux["seccomp"] = wanted | more


def rule(names, action, **more):
    return {"names": names, "action": action} | more


# -- actions -------------------------------------------------------------------------


def test_errno(box):
    """config-linux.md, "Seccomp": SCMP_ACT_ERRNO: EPERM if errnoRet is not specified."""
    filtered(box, rule(MKDIR, "SCMP_ACT_ERRNO"))
    assert "Operation not permitted" in box.run(TRY + " || true")


@pytest.mark.parametrize(
    ("number", "words"), [(2, "No such file"), (38, "not implemented"), (28, "No space")]
)
def test_errno_of_ones_own(box, number, words):
    """config-linux.md, "Seccomp": errnoRet is the errno to return."""
    filtered(box, rule(MKDIR, "SCMP_ACT_ERRNO", errnoRet=number))
    assert words in box.run(TRY + " || true")


def test_default_errno(box):
    """config-linux.md, "Seccomp": defaultErrnoRet goes with defaultAction."""
    filtered(box, rule(ALLOWED, "SCMP_ACT_ALLOW"), default="SCMP_ACT_ERRNO", defaultErrnoRet=28)
    assert "No space left" in box.run(TRY + " || true")


@pytest.mark.parametrize(
    "action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS"]
)
def test_kill(box, action):
    """config-linux.md, "Seccomp": the kill actions end it by SIGSYS."""
    filtered(box, rule(MKDIR, action))
    assert box.run("mkdir /made; echo $?") == f"{128 + signal.SIGSYS}\n"


def test_trap(box):
    """config-linux.md, "Seccomp": SCMP_ACT_TRAP sends SIGSYS, which a program may catch."""
    filtered(box, rule(MKDIR, "SCMP_ACT_TRAP"))
    assert box.run("mkdir /made 2>/dev/null; echo $?") == f"{128 + signal.SIGSYS}\n"


@pytest.mark.parametrize("action", ["SCMP_ACT_LOG", "SCMP_ACT_ALLOW"])
def test_what_lets_pass(box, action):
    """config-linux.md, "Seccomp": LOG and ALLOW let the call happen."""
    filtered(box, rule(MKDIR, action))
    assert box.run(TRY) == "made\n"


def test_trace_without_a_tracer(box):
    """seccomp(2): SCMP_ACT_TRACE without a tracer is ENOSYS."""
    filtered(box, rule(MKDIR, "SCMP_ACT_TRACE", errnoRet=7))
    assert "not implemented" in box.run(TRY + " || true")


def test_a_default_that_kills(box):
    """config-linux.md, "Seccomp": SCMP_ACT_KILL and no rules: dead at its first system call."""
    filtered(box, default="SCMP_ACT_KILL")
    box.shell("echo alive")
    done = box.run_whole(check=False, timeout_s=3)
    assert done.returncode != 0
    assert "alive" not in done.stdout


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("uid", [0, 1000])
def test_with_and_without_new_privileges(box, new, uid):
    """config-linux.md, "Seccomp": the filter is there, whoever the process is."""
    box.process["noNewPrivileges"] = not new
    box.process["user"] = {"uid": uid, "gid": uid}
    filtered(box, rule(MKDIR, "SCMP_ACT_ERRNO", errnoRet=28))
    told = box.run("mkdir /tmp/made 2>&1; grep Seccomp: /proc/self/status")
    assert "No space left" in told
    assert told.endswith("Seccomp:\t2\n")


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("answer", [{}, {"errnoRet": 38}])
def test_a_profile_that_is_older_than_the_runtime(box, new, answer):
    """config-linux.md, "Seccomp": it is for the program; what the runtime needs comes before it."""
    box.process["noNewPrivileges"] = not new
    younger = ["close_range", "openat2", "clone3", "faccessat2", "mount_setattr", "pidfd_open"]
    filtered(box, rule(younger, "SCMP_ACT_ERRNO", **answer))
    assert box.run("echo alive") == "alive\n"
    box.shell("exec sleep 100")
    box.create()
    box.start()
    assert box.call("exec", box.name, "echo", "alive").stdout == "alive\n"


def test_no_filter(box):
    """config-linux.md, "Seccomp": it is optional."""
    assert box.run("grep Seccomp: /proc/self/status") == "Seccomp:\t0\n"


def test_exec_is_filtered_too(box):
    """A process started by exec has the container's filter."""
    filtered(box, rule(MKDIR, "SCMP_ACT_ERRNO", errnoRet=28))
    box.started()
    assert "No space left" in box.execute(TRY + " || true")


# -- arguments -------------------------------------------------------------------------

BIG = 5 << 32  # its lower half is 0: a comparison of 32 bits would be seen


def blocked(box, size, **argument):
    """Tell whether ftruncate(fd, size) is refused under a rule."""
    names = ["ftruncate", "ftruncate64"]
    filtered(box, rule(names, "SCMP_ACT_ERRNO", errnoRet=28, args=[{"index": 1} | argument]))
    told = box.run(f"truncate -s {size} /tmp/file 2>&1 && echo passed || true")
    assert ("passed" in told) != ("No space" in told), told
    return "passed" not in told


@pytest.mark.parametrize(
    ("operator", "value", "low", "equal", "high"),
    [
        ("SCMP_CMP_EQ", 4096, False, True, False), ("SCMP_CMP_NE", 4096, True, False, True),
        ("SCMP_CMP_LT", 4096, True, False, False), ("SCMP_CMP_LE", 4096, True, True, False),
        ("SCMP_CMP_GT", 4096, False, False, True), ("SCMP_CMP_GE", 4096, False, True, True),
        ("SCMP_CMP_EQ", BIG, False, True, False), ("SCMP_CMP_LT", BIG, True, False, False),
        ("SCMP_CMP_GE", BIG, False, True, True),
    ],
)  # fmt: skip
def test_operators(box, operator, value, low, equal, high):
    """config-linux.md, "Seccomp": op compares all 64 bits of an argument with value."""
    found = [blocked(box, at, op=operator, value=value) for at in (value - 1, value, value + 1)]
    assert found == [low, equal, high]


@pytest.mark.parametrize(("value", "wanted"), [(0x1234, True), (0x5634, True), (0x1235, False)])
def test_masked_equal(box, value, wanted):
    """config-linux.md, "Seccomp": SCMP_CMP_MASKED_EQ: argument & value == valueTwo."""
    found = blocked(box, value, op="SCMP_CMP_MASKED_EQ", value=0xFF, valueTwo=0x34)
    assert found is wanted


def test_several_arguments_must_all_match(box):
    """libseccomp: the arguments of one rule are joined by "and"."""
    args = [
        {"index": 0, "op": "SCMP_CMP_GE", "value": 3},
        {"index": 1, "op": "SCMP_CMP_EQ", "value": 4096},
    ]
    filtered(box, rule(["ftruncate"], "SCMP_ACT_ERRNO", errnoRet=28, args=args))
    script = "truncate -s 4096 /tmp/a 2>&1; truncate -s 4097 /tmp/b 2>&1 && echo passed"
    told = box.run(script)
    assert told.count("No space") == 1
    assert told.endswith("passed\n")


def test_several_rules_for_one_call(box):
    """libseccomp: rules for one call are joined by "or"."""
    rules = [
        rule(["ftruncate"], "SCMP_ACT_ERRNO", errnoRet=28,
             args=[{"index": 1, "op": "SCMP_CMP_EQ", "value": value}])
        for value in (10, 20)
    ]  # fmt: skip
    filtered(box, *rules)
    script = "for n in 10 15 20; do truncate -s $n /tmp/f 2>/dev/null && echo $n; done; true"
    assert box.run(script) == "15\n"


# -- what else is in the document --------------------------------------------------------


def test_unknown_calls_are_passed_over(box):
    """A profile is written for many kernels: a call this one does not know is no error."""
    filtered(box, rule(["no_such_call", *MKDIR], "SCMP_ACT_ERRNO", errnoRet=28))
    assert "No space left" in box.run(TRY + " || true")


@pytest.mark.parametrize(
    "flag",
    ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
)
def test_flags(box, flag):
    """config-linux.md, "Seccomp": flags to use with seccomp(2)."""
    filtered(box, rule(MKDIR, "SCMP_ACT_ERRNO", errnoRet=28), flags=[flag])
    assert "No space left" in box.run(TRY + " || true")


def test_without_architectures(box):
    """config-linux.md, "Seccomp": architectures are optional: the machine's own."""
    filtered(box, rule(MKDIR, "SCMP_ACT_ERRNO", errnoRet=28))
    del box.linux["seccomp"]["architectures"]
    assert "No space left" in box.run(TRY + " || true")


@pytest.mark.parametrize(
    "document",
    [
        {"defaultAction": "SCMP_ACT_FLY"},
        {"defaultAction": ""},
        {},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(MKDIR, "SCMP_ACT_FLY")]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule([], "SCMP_ACT_ERRNO")]},
        {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_FLY"]},
        {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_FLY"]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            rule(MKDIR, "SCMP_ACT_ERRNO", args=[{"index": 0, "value": 0, "op": "SCMP_CMP_FLY"}])]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            rule(MKDIR, "SCMP_ACT_ERRNO", args=[{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}])]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(MKDIR, "SCMP_ACT_KILL", errnoRet=3)]},
        {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 3},
        {"defaultAction": "SCMP_ACT_NOTIFY"},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(["mkdir"], "SCMP_ACT_NOTIFY")]},
        {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"},
    ],
    ids=[
        "default action", "empty action", "no action", "action", "no names", "architecture",
        "flag", "operator", "index", "errno of kill", "errno of allow", "notify all",
        "notify without listener", "metadata without listener",
    ],
)  # fmt: skip
def test_documents_that_are_errors(box, document):
    """config-linux.md, "Seccomp": actions, operators, flags are of lists; names has an entry;
    an action without errno with one MUST fail; listenerMetadata needs listenerPath."""
    box.linux["seccomp"] = document
    box.run_refused("true")


# -- the listener --------------------------------------------------------------------------

_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_ENOSPC = 28


class Agent(threading.Thread):
    """A seccomp agent: takes the state and the fd, answers the calls with an errno."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.listener.settimeout(TIMEOUT_S)
        self.state = None
        self.fds = []
        self.start()

    def run(self):
        connection, _ = self.listener.accept()
        connection.settimeout(TIMEOUT_S)
        with connection:
            text, self.fds, _, _ = socket.recv_fds(connection, 1 << 16, 4)
            while part := connection.recv(1 << 16):
                text += part
        self.state = json.loads(text)
        self.answer()

    def answer(self):
        while select.select([self.fds[0]], [], [], TIMEOUT_S)[0]:
            asked = bytearray(80)
            try:
                fcntl.ioctl(self.fds[0], _RECEIVE, asked)
            except OSError:
                return
            (number,) = struct.unpack_from("Q", asked)
            answer = struct.pack("QqiI", number, 0, -_ENOSPC, 0)
            try:
                fcntl.ioctl(self.fds[0], _SEND, answer)
            except OSError:
                return

    def close(self):
        self.listener.close()
        for fd in self.fds:
            os.close(fd)


def test_the_listener(box, tmp_path):
    """config-linux.md, "The Container Process State": sent once, with seccompFd, then closed."""
    agent = Agent(tmp_path / "agent.sock")
    filtered(
        box, rule(["mkdir"], "SCMP_ACT_NOTIFY"), listenerPath=str(tmp_path / "agent.sock"),
        listenerMetadata="about this",
    )  # fmt: skip
    box.config["annotations"] = {"a": "b"}
    box.started("mkdir /made 2>&1; exit 3")
    assert box.wait() == 3
    agent.join(TIMEOUT_S)
    agent.close()
    assert "No space left" in box.output()
    told = agent.state
    assert told["fds"] == ["seccompFd"]
    assert told["pid"] == box.pid
    assert told["metadata"] == "about this"
    assert told["ociVersion"].startswith("1.")
    assert told["state"]["id"] == box.name
    assert told["state"]["status"] == "creating"
    assert told["state"]["bundle"] == str(box.bundle)
    assert told["state"]["annotations"] == {"a": "b"}


def test_a_listener_that_is_not_there(box):
    """config-linux.md, "Seccomp": if sending to this socket fails, MUST generate an error."""
    filtered(box, rule(["mkdir"], "SCMP_ACT_NOTIFY"), listenerPath="/nonexistent.sock")
    box.run_refused("true")


def test_the_listener_without_notify(box):
    """config-linux.md, "Seccomp": if SCMP_ACT_NOTIFY is not used listenerPath is ignored."""
    filtered(box, rule(MKDIR, "SCMP_ACT_ERRNO"), listenerPath="/nonexistent.sock")
    assert box.run("echo fine") == "fine\n"


# What a shell and mkdir need; mkdir itself is not in it.
_ALLOWED = """
access alarm arch_prctl brk capget capset chdir chmod chown clone clone3 close close_range connect
dup dup2 dup3 epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve execveat exit
exit_group faccessat faccessat2 fchdir fchmod fchmodat fchown fchownat fcntl fstat fstatfs futex
getcwd getdents getdents64 getegid geteuid getgid getgroups getpgid getpgrp getpid getppid
getpriority getrandom getresgid getresuid getrlimit getsid gettid gettimeofday getuid ioctl kill
lseek lstat madvise mmap mprotect mremap munmap nanosleep newfstatat open openat openat2
pidfd_open pidfd_send_signal pipe pipe2 poll ppoll prctl pread64 prlimit64 pwrite64 read readlink
readlinkat readv recvfrom recvmsg restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn
rt_sigsuspend rt_sigtimedwait sched_getaffinity sched_setaffinity sched_yield seccomp select
sendmsg sendto set_robust_list set_tid_address setgid setgroups setpgid setpriority setresgid
setresuid setsid setuid sigaltstack socket socketpair stat statfs statx tgkill time tkill umask
uname unlink unlinkat vfork wait4 waitid write writev sysinfo mount umount2 clock_gettime
clock_nanosleep fadvise64 ftruncate fsync epoll_create keyctl memfd_create setxattr getxattr
pivot_root
"""
ALLOWED = _ALLOWED.split()
