"""config.md, "Process": what the program is given and what it may do."""

import os
import signal

import pytest
from ocibox import CAPABILITIES, PATH_ENV, until

CAPABILITY_BITS = {
    "CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7,
    "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21, "CAP_SYS_RESOURCE": 24,
}  # fmt: skip


def mask(*names):
    return sum(1 << CAPABILITY_BITS[name] for name in names)


def status(text):
    """Parse /proc/PID/status."""
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def capability_sets(text):
    told = status(text)
    return {name: int(told[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")}


# -- args, env, cwd --------------------------------------------------------------


def test_args_arrive_as_they_are(box):
    """config.md, "Process": args have the semantics of execvp's argv."""
    words = ["", "a b", "'", '"', "$HOME", "\\n", "line\nbreak", "é😀", "*", "--", "x" * 4000]
    script = 'for a; do echo "<$a>"; done'
    box.process["args"] = ["/bin/sh", "-c", script, "sh", *words]
    assert box.run() == "".join(f"<{word}>\n" for word in words)


def test_the_first_word_need_not_be_the_programs_name(box):
    """config.md, "Process": as execvp: args[0] is searched for, and is argv[0]."""
    box.process["args"] = ["cat", "/proc/self/cmdline"]
    assert box.run() == "cat\0/proc/self/cmdline\0"


@pytest.mark.parametrize(
    ("args", "cwd", "path"),
    [
        (["tool"], "/", "/first:/second"),
        (["./tool"], "/second", "/bin"),
        (["second/tool"], "/", "/bin"),
        (["tool"], "/", "/missing::/second"),
    ],
)
def test_how_the_program_is_found(box, args, cwd, path):
    """config.md, "Process": execvp: $PATH of env if there is no slash, else from cwd."""
    for name in ("first", "second"):
        (box.rootfs / name).mkdir()
    (box.rootfs / "first/tool").write_text("not executable")
    tool = box.rootfs / "second/tool"
    tool.write_text("#!/bin/sh\necho $0\n")
    tool.chmod(0o755)
    box.process |= {"args": args, "cwd": cwd, "env": [f"PATH={path}"]}
    assert box.run().strip().endswith("tool")


@pytest.mark.parametrize("args", [[], None, [""], ["/"], ["/etc/passwd"], ["/etc/passwd/x"]])
def test_args_that_run_nothing(box, args):
    """config.md, "Process": args MUST contain at least one entry; and it must be a program."""
    box.process["args"] = args
    if args is None:
        del box.process["args"]
    box.run_refused()
    assert box.left_behind() == []


def test_env_is_exactly_what_is_listed(box):
    """config.md, "Process": env has the semantics of environ; nothing of the machine's is in it."""
    wanted = [
        PATH_ENV,
        "A=1",
        "EMPTY=",
        "B=x=y",
        "C=a b 'c' \"d\" $e",
        "D=one\ntwo",
        "É=ü",
        "HOME=/h",
    ]
    box.process |= {"env": wanted, "args": ["/bin/cat", "/proc/self/environ"]}
    os.environ["OCIMAGIC_LEAK"] = "secret"
    try:
        told = box.run().split("\0")[:-1]
    finally:
        del os.environ["OCIMAGIC_LEAK"]
    assert sorted(told) == sorted(wanted)


def test_the_last_of_two_equal_variables_counts(box):
    """As in runc: a later entry of env replaces an earlier one."""
    box.process |= {"env": [PATH_ENV, "A=1", "A=2"]}
    assert box.run("echo $A") == "2\n"


@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (1000, "/home"), (4242, "/")])
def test_home_is_the_users(box, uid, home):
    """As in runc: HOME is set from the container's own passwd where env has none."""
    box.process["user"] = {"uid": uid, "gid": uid}
    assert box.run("echo $HOME") == f"{home}\n"


def test_cwd(box):
    """config.md, "Process": cwd is the working directory of the program."""
    (box.rootfs / "a/b").mkdir(parents=True)
    (box.rootfs / "link").symlink_to("/a/b")
    for cwd in ("/a/b", "/a/../a/b/.", "/link"):
        box.process["cwd"] = cwd
        assert box.run("readlink /proc/self/cwd") == "/a/b\n"


@pytest.mark.parametrize("cwd", ["a", "", ".", None])
def test_cwd_must_be_absolute(box, cwd):
    """config.md, "Process": cwd MUST be an absolute path, and is required."""
    box.process["cwd"] = cwd
    if cwd is None:
        del box.process["cwd"]
    box.create_refused()


def test_cwd_that_only_root_may_enter(box):
    """The directory is entered, be it the user's or root's only."""
    (box.rootfs / "private").mkdir(mode=0o700)
    (box.rootfs / "own").mkdir(mode=0o700)
    os.chown(box.rootfs / "own", 1000, 1000)
    box.process["user"] = {"uid": 1000, "gid": 1000}
    box.process["capabilities"] = {}
    for cwd in ("/private", "/own"):
        box.process["cwd"] = cwd
        assert box.run("readlink /proc/self/cwd") == f"{cwd}\n"


# -- user ------------------------------------------------------------------------


def test_user(box):
    """config.md, "User": uid, gid, umask and additionalGids."""
    box.process["user"] = {"uid": 1000, "gid": 1001, "umask": 0o027, "additionalGids": [5, 7, 4242]}
    told = status(box.run("cat /proc/self/status"))
    assert told["Uid"] == "1000\t1000\t1000\t1000"
    assert told["Gid"] == "1001\t1001\t1001\t1001"
    assert sorted(map(int, told["Groups"].split())) == [5, 7, 4242]
    assert told["Umask"] == "0027"


def test_no_group_of_the_machine_stays(box):
    """config.md, "User": additionalGids are all the groups there are."""
    told = status(box.run("cat /proc/self/status"))
    assert told["Groups"].split() in ([], ["0"])


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_umask(box, umask):
    """config.md, "User": umask is the mask of the process."""
    box.process["user"]["umask"] = umask
    assert status(box.run("cat /proc/self/status"))["Umask"] == f"{umask:04o}"


def test_umask_is_022_by_default(box):
    """config.md, "User": without umask the runtime's own choice; runc and we take 022."""
    old = os.umask(0o077)
    try:
        assert status(box.run("cat /proc/self/status"))["Umask"] == "0022"
    finally:
        os.umask(old)


def test_the_streams_are_the_users(box):
    """A program that is not root may open its own /dev/stdout again, as docker allows."""
    box.process["user"] = {"uid": 1000, "gid": 1000}
    assert box.run("echo again >/proc/self/fd/1") == "again\n"


# -- capabilities ------------------------------------------------------------------


def test_the_five_sets(box):
    """config.md, "Capabilities": bounding, effective, inheritable, permitted and ambient."""
    some = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"]
    box.process["capabilities"] = {
        "bounding": [*some, "CAP_SETUID"],
        "permitted": some,
        "effective": some[:2],
        "inheritable": some[:1],
        "ambient": some[:1],
    }
    box.process["user"] = {"uid": 1000, "gid": 1000}
    told = capability_sets(box.run("cat /proc/self/status"))
    assert told == {
        "Bnd": mask(*some, "CAP_SETUID"),
        # Across execve of a file without capabilities, only the ambient set is carried over.
        "Prm": mask("CAP_CHOWN"), "Eff": mask("CAP_CHOWN"),
        "Inh": mask("CAP_CHOWN"), "Amb": mask("CAP_CHOWN"),
    }  # fmt: skip


def test_the_sets_of_root(box):
    """config.md, "Capabilities": root regains what is bounded; nothing is inheritable."""
    some = ["CAP_CHOWN", "CAP_SETGID"]
    box.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), some)
    told = capability_sets(box.run("cat /proc/self/status"))
    wanted = mask(*some)
    assert told == {"Bnd": wanted, "Prm": wanted, "Eff": wanted, "Inh": 0, "Amb": 0}


@pytest.mark.parametrize("sets", [None, {}])
def test_no_capabilities(box, sets):
    """config.md, "Capabilities": a set that is absent is empty; runc does so for the object too."""
    box.process["capabilities"] = sets
    if sets is None:
        del box.process["capabilities"]
    told = capability_sets(box.run("cat /proc/self/status"))
    assert set(told.values()) == {0}


def test_an_unknown_capability_is_a_warning(box):
    """config.md, "Capabilities": what cannot be mapped MUST be logged as a warning."""
    box.process["capabilities"]["bounding"].append("CAP_FLY")
    log = box.directory / "log"
    done = box.call_globally("--log", log, script="echo ran")
    assert done.stdout == "ran\n"
    assert "CAP_FLY" in log.read_text() + done.stderr


def test_a_capability_that_cannot_be_granted_is_a_warning(box):
    """config.md, "Capabilities": runtimes SHOULD NOT fail for what cannot be granted.

    This machine's own bounding set may lack one (CAP_SYS_RESOURCE, often); where it has all,
    nothing is left to refuse and this shows that all are granted.
    """
    for each in ("bounding", "effective", "permitted"):
        box.process["capabilities"][each] = [*CAPABILITIES, "CAP_SYS_RESOURCE"]
    told = capability_sets(box.run("cat /proc/self/status"))
    with open("/proc/self/status", encoding="utf-8") as file:
        have = capability_sets(file.read())["Bnd"]
    assert told["Eff"] & mask("CAP_SYS_RESOURCE") == have & mask("CAP_SYS_RESOURCE")
    assert told["Eff"] & mask("CAP_CHOWN")


@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privileges(box, wanted):
    """config.md, "Process": noNewPrivileges sets the flag of prctl(2)."""
    box.process["noNewPrivileges"] = wanted
    assert status(box.run("cat /proc/self/status"))["NoNewPrivs"] == str(int(wanted))


# -- limits ------------------------------------------------------------------------

LIMITS = {
    "RLIMIT_CORE": ("Max core file size", 0, 1000),
    "RLIMIT_NOFILE": ("Max open files", 100, 200),
    "RLIMIT_CPU": ("Max cpu time", 100, 200),
    "RLIMIT_FSIZE": ("Max file size", 10000000, 20000000),
    "RLIMIT_DATA": ("Max data size", 300000000, 400000000),
    "RLIMIT_STACK": ("Max stack size", 1 << 20, 1 << 21),
    "RLIMIT_RSS": ("Max resident set", 1 << 29, 1 << 30),
    "RLIMIT_NPROC": ("Max processes", 50, 60),
    "RLIMIT_MEMLOCK": ("Max locked memory", 4096, 8192),
    "RLIMIT_AS": ("Max address space", 1 << 30, 1 << 31),
    "RLIMIT_LOCKS": ("Max file locks", 10, 20),
    "RLIMIT_SIGPENDING": ("Max pending signals", 10, 20),
    "RLIMIT_MSGQUEUE": ("Max msgqueue size", 1000, 2000),
    "RLIMIT_NICE": ("Max nice priority", 0, 0),
    "RLIMIT_RTPRIO": ("Max realtime priority", 0, 0),
    "RLIMIT_RTTIME": ("Max realtime timeout", 1000000, 2000000),
}


def test_rlimits(box):
    """config.md, "POSIX process": each type of getrlimit(2), soft and hard."""
    box.process["rlimits"] = [
        {"type": name, "soft": soft, "hard": hard} for name, (_, soft, hard) in LIMITS.items()
    ]
    told = box.run("cat /proc/self/limits").splitlines()
    found = {line[:26].strip(): line[26:].split()[:2] for line in told[1:]}
    wanted = {title: [str(soft), str(hard)] for title, soft, hard in LIMITS.values()}
    assert found == wanted


def test_rlimits_not_listed_stay(box):
    """config.md, "POSIX process": a limit that is not listed is the runtime's own."""
    with open("/proc/self/limits", encoding="utf-8") as file:
        own = [line.split() for line in file if "open files" not in line]
    told = [line.split() for line in box.run("cat /proc/self/limits").splitlines()]
    assert [line for line in told if "files" not in line] == [x for x in own if "files" not in x]


@pytest.mark.parametrize("words", [["RLIMIT_FLY"], ["nofile"], [""], ["RLIMIT_CORE"] * 2])
def test_rlimits_that_are_errors(box, words):
    """config.md, "POSIX process": a value of no limit, or one type twice, MUST be an error."""
    box.process["rlimits"] = [{"type": word, "soft": 1, "hard": 1} for word in words]
    box.create_refused()


def test_a_soft_limit_above_the_hard_one(box):
    """setrlimit(2): EINVAL; the environment cannot be made, so it is an error."""
    box.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]
    box.run_refused("true")


# -- priorities --------------------------------------------------------------------


def test_oom_score_adj(box):
    """config.md, "Linux process": oomScoreAdj is written for the process, not for the runtime."""
    with open("/proc/self/oom_score_adj", encoding="utf-8") as file:
        own = int(file.read())
    box.process["oomScoreAdj"] = own + 321
    assert box.run("cat /proc/self/oom_score_adj") == f"{own + 321}\n"
    del box.process["oomScoreAdj"]
    assert box.run("cat /proc/self/oom_score_adj") == f"{own}\n"


def test_oom_score_adj_of_another_user(box):
    """It is set also for a process without rights of its own."""
    box.process |= {"oomScoreAdj": 500, "user": {"uid": 1000, "gid": 1000}, "capabilities": {}}
    assert box.run("cat /proc/self/oom_score_adj") == "500\n"


@pytest.mark.parametrize("value", [1001, -1001])
def test_oom_score_adj_out_of_range(box, value):
    """proc(5): -1000 to 1000; the kernel refuses, so it is an error."""
    box.process["oomScoreAdj"] = value
    box.create_refused()


@pytest.mark.parametrize(
    ("name", "priority", "told"),
    [
        ("IOPRIO_CLASS_BE", 7, "best-effort: prio 7"),
        ("IOPRIO_CLASS_BE", 0, "best-effort: prio 0"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
        ("IOPRIO_CLASS_RT", 3, "realtime: prio 3"),
    ],
)
def test_io_priority(box, name, priority, told):
    """config.md, "Linux process": ioPriority, class and priority (since 1.1)."""
    box.process["ioPriority"] = {"class": name, "priority": priority}
    assert box.run("ionice") == f"{told}\n"


def test_io_priority_of_no_class(box):
    """config.md, "Linux process": class is one of three."""
    box.process["ioPriority"] = {"class": "IOPRIO_CLASS_FLY", "priority": 0}
    box.create_refused()


def give_real_time(box):
    """Where groups have real time of their own, a new one has none: the parent must give some."""
    parent = box.cgroup("cpu").parent
    if (parent.parent / "cpu.rt_runtime_us").exists():
        parent.mkdir(exist_ok=True)
        (parent / "cpu.rt_runtime_us").write_text("200000")
        box.linux["resources"] = {"cpu": {"realtimeRuntime": 100000}}


@pytest.mark.parametrize(
    ("wanted", "policy", "priority", "nice"),
    [
        ({"policy": "SCHED_OTHER", "nice": 5}, os.SCHED_OTHER, 0, 5),
        ({"policy": "SCHED_BATCH"}, os.SCHED_BATCH, 0, 0),
        ({"policy": "SCHED_IDLE"}, os.SCHED_IDLE, 0, 0),
        ({"policy": "SCHED_RR", "priority": 3}, os.SCHED_RR, 3, 0),
        (
            {"policy": "SCHED_FIFO", "priority": 4, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
            os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, 4, 0,
        ),
    ],
)  # fmt: skip
def test_scheduler(box, wanted, policy, priority, nice):
    """config.md, "Linux process": scheduler (since 1.1): policy, nice, priority, flags."""
    box.process["scheduler"] = wanted
    give_real_time(box)
    box.started()
    assert os.sched_getscheduler(box.pid) == policy
    assert os.sched_getparam(box.pid).sched_priority == priority
    assert os.getpriority(os.PRIO_PROCESS, box.pid) == nice


def test_scheduler_deadline(box):
    """config.md, "Linux process": runtime, deadline and period for SCHED_DEADLINE."""
    box.process["scheduler"] = {
        "policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 2000000, "period": 3000000,
    }  # fmt: skip
    box.started()
    assert os.sched_getscheduler(box.pid) == 6


@pytest.mark.parametrize(
    "wanted", [{"policy": "SCHED_FLY"}, {}, {"policy": "SCHED_RR", "flags": ["X"]}]
)
def test_scheduler_that_is_none(box, wanted):
    """config.md, "Linux process": policy is required and of a list, as flags are."""
    box.process["scheduler"] = wanted
    box.create_refused()


@pytest.mark.parametrize("kind", ["apparmorProfile", "selinuxLabel"])
def test_a_label_the_kernel_does_not_know(box, kind):
    """config.md, "Process": a label that cannot be applied is not passed over in silence."""
    module = kind.removesuffix("Profile").removesuffix("Label")
    if os.path.exists("/sys/kernel/security/lsm"):
        with open("/sys/kernel/security/lsm", encoding="utf-8") as file:
            if module in file.read():
                pytest.skip(f"needs root on a kernel without {module}")
    box.process[kind] = "system_u:object_r:some_t:s0"
    log = box.directory / "log"
    done = box.call_globally("--log", log, script="true", check=False)
    told = (log.read_text() if log.exists() else "") + done.stderr
    assert done.returncode != 0 or told.strip()


def test_personality(box):
    """config-linux.md, "Personality": LINUX32 makes uname tell a 32 bit processor."""
    box.linux["personality"] = {"domain": "LINUX32"}
    assert box.run("uname -m") in ("i686\n", "armv8l\n")
    box.linux["personality"] = {"domain": "LINUX"}
    assert box.run("uname -m") == os.uname().machine + "\n"


def test_personality_that_is_none(box):
    """config-linux.md, "Personality": domain is of a list; no flag is known."""
    for wanted in ({"domain": "SOLARIS"}, {"domain": "LINUX", "flags": ["X"]}):
        box.linux["personality"] = wanted
        box.create_refused()


# -- what is handed over -------------------------------------------------------------


def test_only_the_three_streams_are_open(box):
    """Nothing of the runtime's, nor of its caller's, is open in the container."""
    leaked = [os.open("/", os.O_RDONLY) for _ in range(20)]
    for fd in leaked:
        os.set_inheritable(fd, True)
    try:
        box.ready(close_fds=False)
    finally:
        for fd in leaked:
            os.close(fd)
    until(lambda: executed(box.pid, "sleep"))
    assert set(os.listdir(f"/proc/{box.pid}/fd")) == {"0", "1", "2"}


def executed(pid, word):
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
        return file.read().startswith(word)


def test_preserved_descriptors(box):
    """``--preserve-fds`` of runc: so many after the streams, no more."""
    reader, writer = os.pipe()

    def arrange():
        for fd in (3, 4, 5):
            os.dup2(writer, fd, inheritable=True)

    box.shell("echo kept >&3; exec sleep 100")
    box.create("--preserve-fds", "1", preexec_fn=arrange, close_fds=False)
    box.start()
    os.close(writer)
    assert os.read(reader, 10) == b"kept\n"
    os.close(reader)
    until(lambda: executed(box.pid, "sleep"))
    assert set(os.listdir(f"/proc/{box.pid}/fd")) == {"0", "1", "2", "3"}


def test_no_signal_is_blocked_or_ignored(box):
    """execve(2) keeps both; whoever called the runtime must not decide them."""
    box.process["args"] = ["/bin/cat", "/proc/self/status"]

    def arrange():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    told = status(box.run(preexec_fn=arrange))
    assert (int(told["SigBlk"], 16), int(told["SigIgn"], 16)) == (0, 0)


def test_the_process_leads_its_session(box):
    """A container's first process has no terminal, group or session of its caller."""
    told = box.run("cat /proc/$$/stat").split()
    pid, pgrp, session, tty = told[0], told[4], told[5], told[6]
    assert (pid, pgrp, session, tty) == ("1", "1", "1", "0")
