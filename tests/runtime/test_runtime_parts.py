"""Parts of the runtime's own: what is said between processes, states, words, sealed programs."""

import filecmp
import json
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ocimagic.errors import (
    ContainerNotFound,
    HostLacks,
    InvalidDocument,
    InvalidOption,
    NameInUse,
    StartFailed,
    StorageError,
)
from ocimagic.linux import process as calls
from ocimagic.linux.identity import ProcessIdentity, boot_id, identify, wait_end
from ocimagic.runtime import limits, sealed
from ocimagic.runtime.channel import Channel
from ocimagic.runtime.cli.changing import signal_number
from ocimagic.runtime.cli.documents import described, template
from ocimagic.runtime.cli.journal import Journal, one_line
from ocimagic.runtime.cli.words import Flag, help_lines, parse
from ocimagic.runtime.hooks import run_all_hooks, run_hooks
from ocimagic.runtime.idmap import write_mappings
from ocimagic.runtime.seccomp_filter import make_filter
from ocimagic.runtime.state import ContainerState, check_id, claim, connect, listen, locked
from ocimagic.spec.hooks import Hook
from ocimagic.spec.isolation import IdMapping
from ocimagic.spec.process import Rlimit
from ocimagic.spec.runtime import RuntimeConfig

# -- the channel -----------------------------------------------------------------------


@pytest.fixture
def ends():
    mine, theirs = Channel.pair()
    yield mine, theirs
    mine.close()
    theirs.close()


def test_messages_come_whole_and_in_order(ends):
    mine, theirs = ends
    mine.say("one", a=1)
    mine.say("two", b=[1, {"c": None}])
    assert (theirs.hear().type, theirs.hear().fields) == ("one", {"b": [1, {"c": None}]})


def test_descriptors_ride_along(ends):
    mine, theirs = ends
    reader, writer = os.pipe()
    mine.say("pipe", writer)
    os.close(writer)
    (copy,) = theirs.hear().fds
    assert not os.get_inheritable(copy)
    os.write(copy, b"x")
    assert os.read(reader, 1) == b"x"
    os.close(copy)
    os.close(reader)


def test_what_is_longer_than_a_datagram(ends):
    mine, theirs = ends
    reader, writer = os.pipe()
    mine.say("long", writer, text="é" * 3_000_000)
    heard = theirs.hear()
    assert heard.fields["text"] == "é" * 3_000_000
    assert len(heard.fds) == 1
    for fd in (*heard.fds, reader, writer):
        os.close(fd)


def test_the_end_of_the_other_side(ends):
    mine, theirs = ends
    theirs.say("last words")
    theirs.close()
    assert mine.hear().type == "last words"
    assert mine.hear() is None


def test_last_words_of_one_that_did_not_listen(ends):
    """The kernel tells of the unread message first, and once; the words are there after that."""
    mine, theirs = ends
    mine.say("unheard")
    theirs.say("last words")
    theirs.close()
    assert mine.hear().type == "last words"
    assert mine.hear() is None


# -- states ----------------------------------------------------------------------------


def new_state(container_id="a", config=None):
    return ContainerState(
        container_id=container_id, directory="", bundle_path="/b", root_path="/r",
        config=config or {"annotations": {"k": "v"}},
    )  # fmt: skip


def test_a_state_comes_back(tmp_path):
    state = claim(new_state(), str(tmp_path)).changed(
        process=ProcessIdentity(5, 6, "boot"), cgroup_paths={"pids": "/x"}, is_created=True
    )
    again = ContainerState.load(str(tmp_path), "a")
    assert again == state
    assert again.annotations == {"k": "v"}
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a/state.json").stat().st_mode & 0o777 == 0o600
    state.remove()
    state.remove()  # again is no error
    assert list(tmp_path.iterdir()) == []


def test_only_one_gets_an_id(tmp_path):
    won, lost, barrier = [], [], threading.Barrier(8)

    def attempt():
        barrier.wait()
        try:
            won.append(claim(new_state(), str(tmp_path)))
        except NameInUse as err:
            lost.append(err)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (len(won), len(lost)) == (1, 7)
    assert os.listdir(tmp_path) == ["a"], "the losers leave nothing"


def test_readers_never_see_half_a_state(tmp_path):
    state = claim(new_state(config={"big": "x" * 200_000}), str(tmp_path))
    stop, seen = threading.Event(), []

    def read():
        while not stop.is_set():
            seen.append(ContainerState.load(str(tmp_path), "a").is_started)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        state = state.changed(is_started=bool(number % 2))
    stop.set()
    reader.join()
    assert seen


def test_what_is_no_state(tmp_path):
    with pytest.raises(ContainerNotFound):
        ContainerState.load(str(tmp_path), "a")
    with pytest.raises(InvalidOption):
        ContainerState.load(str(tmp_path), "../a")
    (tmp_path / "a").mkdir()
    with pytest.raises(ContainerNotFound):
        ContainerState.load(str(tmp_path), "a")
    (tmp_path / "a/state.json").write_text("{")
    with pytest.raises(StorageError):
        ContainerState.load(str(tmp_path), "a")
    (tmp_path / "a/state.json").write_text('{"id": 5}')
    with pytest.raises(InvalidDocument):
        ContainerState.load(str(tmp_path), "a")
    (tmp_path / "file").write_text("")
    assert ContainerState.list(str(tmp_path / "nosuch")) == []


def test_one_that_is_damaged_does_not_hide_the_others(tmp_path):
    claim(new_state("good"), str(tmp_path))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/state.json").write_text("{")
    (tmp_path / "~rubbish").mkdir()
    assert [each.container_id for each in ContainerState.list(str(tmp_path))] == ["good"]


def test_a_lock_is_held_by_one(tmp_path):
    with (
        locked(str(tmp_path)),
        pytest.raises(BlockingIOError),
        locked(str(tmp_path), wait=False),
    ):
        pytest.fail("two have it")
    with pytest.raises(ContainerNotFound), locked(str(tmp_path / "nosuch")):
        pytest.fail("there is nothing to lock")


@pytest.mark.parametrize("name", ["a", "a_b", "a.b", "a-b", "a+b", "A0", "..a", "x" * 64])
def test_what_is_an_id(name):
    check_id(name)


def test_a_door_with_a_long_path(tmp_path):
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    with listen(str(directory / "door")) as door, connect(str(directory / "door")) as client:
        server, _ = door.accept()
        with server:
            client.send(b"x")
            assert server.recv(10) == b"x"
    with pytest.raises(StorageError):
        listen(str(directory / "door"))
    with pytest.raises(ConnectionRefusedError):
        connect(str(directory / "door"))


# -- who a process is --------------------------------------------------------------------


def test_a_process_is_more_than_its_pid():
    with subprocess.Popen(["sleep", "50"]) as child:
        who = identify(child.pid)
        other = ProcessIdentity(who.pid, who.start_ticks + 1, who.boot_id)
        assert who.is_alive()
        for wrong in (other, ProcessIdentity(who.pid, who.start_ticks, "x"),
                      ProcessIdentity(0, 0, boot_id())):  # fmt: skip
            assert not wrong.is_alive()
            with pytest.raises(ProcessLookupError):
                wrong.send(signal.SIGKILL)
            wrong.kill()
        assert who.is_alive()
        fd = who.open()
        assert not wait_end(fd, 10)
        who.kill()
        assert wait_end(fd, 1000)
        os.close(fd)
        assert not who.is_alive(), "a zombie is over"


# -- hooks -----------------------------------------------------------------------------


def test_a_hook_gets_the_state_its_words_and_a_place(tmp_path):
    script = 'cat > state; echo "$0 $1 $A" > words; readlink /proc/self/fd/1 > out'
    hook = Hook("/bin/sh", ("sh", "-c", script, "zero", "one"), ("A=b", "PATH=/bin:/usr/bin"))
    run_hooks("test", [hook], {"id": "x", "big": "y" * 200_000}, str(tmp_path))
    assert json.loads((tmp_path / "state").read_text())["big"] == "y" * 200_000
    assert (tmp_path / "words").read_text() == "zero one b\n"


def test_a_hook_may_leave_something_running_with_its_stdout(tmp_path):
    hook = Hook("/bin/sh", ("sh", "-c", "sleep 30 & echo $! > pid"), ("PATH=/bin:/usr/bin",))
    run_hooks("test", [hook], {}, str(tmp_path))
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("hook", "why"),
    [
        (Hook("/nosuch"), "No such file"),
        (Hook("/bin/false"), "exit status 1"),
        (Hook("/etc/passwd"), "Permission denied"),
        (Hook("/bin/sh", ("sh", "-c", "kill -9 $$")), "killed by signal 9"),
        (Hook("/bin/sleep", ("sleep", "60"), (), 1), "longer than 1 s"),
    ],
)
def test_hooks_that_fail(tmp_path, hook, why):
    with pytest.raises(StartFailed, match=f"(?s)test hook 2 failed.*{why}"):
        run_hooks("test", [Hook("/bin/true"), hook, Hook("/nosuch")], {}, str(tmp_path))
    said = []
    run_all_hooks("test", [hook, Hook("/bin/true")], {}, str(tmp_path), said.append)
    assert len(said) == 1
    assert why in said[0]


def test_hooks_ignore_no_signal_and_leak_nothing(tmp_path):
    held = os.open("/", os.O_RDONLY)
    os.set_inheritable(held, True)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        script = "ls /proc/self/fd > fds; grep SigIgn /proc/self/status > ignored"
        hook = Hook("/bin/sh", ("sh", "-c", script), ("PATH=/bin:/usr/bin",))
        run_hooks("test", [hook], {}, str(tmp_path))
    finally:
        signal.signal(signal.SIGHUP, before)
        os.close(held)
    assert set((tmp_path / "fds").read_text().split()) <= {"0", "1", "2", "3"}  # ls opens one
    assert (tmp_path / "ignored").read_text().split()[1] == "0000000000000000"


# -- limits and mappings -----------------------------------------------------------------


def test_limits_of_another_process():
    with subprocess.Popen(["sleep", "50"]) as child:
        wanted = Rlimit(type="RLIMIT_CORE", soft=1, hard=4096)
        assert list(limits.set_rlimits(child.pid, [wanted])) == []
        assert calls.limit(child.pid, calls.RLIMITS["CORE"]) == (1, 4096)
        assert list(limits.set_oom_score(child.pid, 400)) == []
        assert Path(f"/proc/{child.pid}/oom_score_adj").read_text() == "400\n"
        child.kill()
    with pytest.raises(HostLacks):
        list(limits.set_rlimits(child.pid, [wanted]))
    with pytest.raises(HostLacks):
        list(limits.set_oom_score(child.pid, 1))


def test_an_ordinary_users_own_id():
    """Its own id it may map itself; more only with newuidmap."""
    if os.geteuid() == 0:
        pytest.skip("root can map all")
    child = subprocess.Popen(["unshare", "-U", "cat"], stdin=subprocess.PIPE)
    try:
        while os.readlink(f"/proc/{child.pid}/ns/user") == os.readlink("/proc/self/ns/user"):
            select.select([], [], [], 0.01)
        own = [[IdMapping(0, each, 1)] for each in (os.geteuid(), os.getegid())]
        write_mappings(child.pid, *own)
        assert Path(f"/proc/{child.pid}/uid_map").read_text().split()[1] == str(os.geteuid())
        assert Path(f"/proc/{child.pid}/setgroups").read_text() == "deny\n"
        with pytest.raises(HostLacks):
            write_mappings(child.pid, [IdMapping(0, 0, 5)], [IdMapping(0, 0, 5)])
    finally:
        child.communicate()


# -- seccomp -----------------------------------------------------------------------------


def rules(**more):
    return {"defaultAction": "SCMP_ACT_ALLOW", **more}


def asking(*names):
    return [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}]


@pytest.mark.parametrize(
    "document",
    [
        rules(flags=["SECCOMP_FILTER_FLAG_NOPE"]),
        rules(listenerMetadata="x"),
        rules(syscalls=asking("mkdir")),
        rules(syscalls=asking("mkdir", "write"), listenerPath="/x"),
        {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"},
        {},
    ],
)
def test_filters_that_could_never_work(document):
    with pytest.raises(InvalidDocument):
        make_filter(document, {})


def test_filters_are_compiled_once():
    compiled = {}
    one = make_filter(rules(flags=["SECCOMP_FILTER_FLAG_LOG"]), compiled)
    two = make_filter(rules(listenerPath="/x"), compiled)
    assert one.program is two.program
    assert (one.flags, two.flags, two.listener_path) == (2, 0, "")
    assert len(compiled) == 1
    assert make_filter(None, compiled) is None


def test_a_rule_that_asks_is_in_the_program():
    found = make_filter(rules(syscalls=asking("mkdir"), listenerPath="/x"), {})
    returns = {found.program[i + 4 : i + 8] for i in range(0, len(found.program), 8)}
    assert (0x7FC0_0000).to_bytes(4, sys.byteorder) in returns


# -- a program nobody can write ------------------------------------------------------------


def write_to(path, flags):
    fd = os.open(path, flags)
    try:
        os.write(fd, b"evil")
    finally:
        os.close(fd)


@pytest.mark.parametrize("way", [sealed._bound, sealed._copied])
def test_a_sealed_program_runs_and_cannot_be_written(way, tmp_path):
    """CVE-2019-5736.

    Guard: ``_bound`` without ``set_attributes``, or ``_copied`` without its seals, is written.
    """
    if way is sealed._bound and os.geteuid() != 0:
        pytest.skip("needs root: an ordinary user may not mount")
    # Another file: that of a running program cannot be written anyway, as long as it runs.
    program = str(tmp_path / "python")
    shutil.copy(os.path.realpath("/proc/self/exe"), program)
    fd = way(program)
    words = [sys.executable, "-I", "-S", "-c", "import sys, json; print(sys.base_prefix); input()"]
    try:
        with subprocess.Popen(
            words, executable=f"/proc/self/fd/{fd}", pass_fds=[fd], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as child:  # fmt: skip
            assert child.stdout.readline() == f"{sys.base_prefix}\n"
            with pytest.raises(OSError, match=r"busy|permitted|Read-only"):
                write_to(f"/proc/{child.pid}/exe", os.O_WRONLY)
            child.communicate("\n")
        for more in (0, os.O_TRUNC, os.O_APPEND):
            with pytest.raises(OSError, match=r"Read-only|permitted"):
                write_to(f"/proc/self/fd/{fd}", os.O_WRONLY | more)
    finally:
        os.close(fd)
    assert filecmp.cmp(program, "/proc/self/exe", shallow=False)


def test_this_program_is_sealed_one_way_or_the_other():
    fd = sealed.sealed_executable()
    try:
        with pytest.raises(OSError, match=r"busy|permitted|Read-only"):
            write_to(f"/proc/self/fd/{fd}", os.O_WRONLY)
    finally:
        os.close(fd)


def test_the_copy_is_not_the_file():
    fd = sealed._copied(os.path.realpath("/proc/self/exe"))
    try:
        assert os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:")
        assert stat.S_IMODE(os.fstat(fd).st_mode) & 0o111
        with pytest.raises(PermissionError):
            os.truncate(fd, 0)
    finally:
        os.close(fd)


# -- words -------------------------------------------------------------------------------

FLAGS = (
    Flag("bundle", "a path", "PATH", "b"),
    Flag("detach", "go away", short="d"),
    Flag("env", "a variable", "NAME=VALUE", "e", many=True),
)


def test_flags_and_arguments():
    words = parse(["-b", "x", "--detach", "--env=A=b", "-e", "C=d", "id", "--detach", "-x"], FLAGS)
    assert (words.text("bundle"), words.has("detach")) == ("x", True)
    assert words.texts("env") == ["A=b", "C=d"]
    assert words.arguments == ["id", "--detach", "-x"]
    assert parse(["-bundle", "x", "--", "-d"], FLAGS).arguments == ["-d"]
    assert not parse(["--detach=false"], FLAGS).has("detach")
    assert parse(["-"], FLAGS).arguments == ["-"]
    assert parse([], FLAGS).text("bundle", "here") == "here"


@pytest.mark.parametrize("words", [["--nosuch"], ["-b"], ["--bundle"], ["-x=1"], ["---"]])
def test_flags_nobody_knows(words):
    with pytest.raises(InvalidOption):
        parse(words, FLAGS)


def test_one_argument_and_numbers():
    assert parse(["a"], FLAGS).only_argument() == "a"
    for wrong in ([], ["a", "b"]):
        with pytest.raises(InvalidOption):
            parse(wrong, FLAGS).only_argument()
    numbers = (Flag("n", "", "N"),)
    assert parse(["-n", "5"], numbers).number("n") == 5
    assert parse([], numbers).number("n") == 0
    with pytest.raises(InvalidOption):
        parse(["-n", "five"], numbers).number("n")


def test_help_names_every_flag():
    text = "\n".join(help_lines(FLAGS))
    assert all(f"--{flag.name}, -{flag.short}" in text for flag in FLAGS)


@pytest.mark.parametrize(
    ("text", "number"),
    [("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("9", 9), ("0", 0), ("RTMIN+3", 37),
     ("SIGRTMIN", 34), ("RTMAX-1", 63)],
)  # fmt: skip
def test_signals(text, number):
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["", "NOSUCH", "99", "-1", "SIG", "RTMIN+99", "SIGTERM; x", "1.5"])
def test_what_is_no_signal(text):
    with pytest.raises(InvalidOption):
        signal_number(text)


# -- what is told ------------------------------------------------------------------------


def test_the_log_in_both_forms(tmp_path, capsys):
    err = StartFailed("it fails", why="because\nof two", hint="try that")
    for style in ("json", "text"):
        Journal(str(tmp_path / style), style).error(err)
        Journal(str(tmp_path / style), style).warning("careful")
    lines = [json.loads(line) for line in (tmp_path / "json").read_text().splitlines()]
    assert [line["level"] for line in lines] == ["error", "warning"]
    assert lines[0]["msg"] == "it fails: because; of two (try that)" == one_line(err)
    assert lines[0]["time"].endswith("Z")
    assert (
        'level=error msg="it fails: because; of two (try that)"' in (tmp_path / "text").read_text()
    )
    assert capsys.readouterr().err.count("it fails") == 2
    with pytest.raises(InvalidOption):
        Journal("", "xml")


def test_the_template_is_a_config():
    for document in (template(), template(1000, 1000)):
        config = RuntimeConfig.parse(json.dumps(document).encode())
        assert config.warnings == ()
        assert config.process.args == ("sh",)


def test_features_are_what_is_there():
    told = described()
    assert told["linux"]["namespaces"] == sorted(
        ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]
    )
    assert {"rbind", "rro", "idmap", "tmpcopyup"} <= set(told["mountOptions"])
    assert "SCMP_ACT_NOTIFY" in told["linux"]["seccomp"]["actions"]
    assert told["linux"]["intelRdt"] == {"enabled": False}
