"""Docker's verbs on real containers: what they do, and what is said when they cannot.

Sentences were compared with docker 28 on dockerd 20.10.
"""

import os
import signal
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from ocimagic.errors import (
    Cancelled,
    CommandNotExecutable,
    CommandNotFound,
    ContainerNotFound,
    HostLacks,
    InvalidOption,
    InvalidState,
    NameInUse,
    OcimagicError,
    StartFailed,
)
from ocimagic.model.event import Output
from ocimagic.model.moment import nanoseconds
from ocimagic.model.options import RunOptions
from ocimagic.model.policy import RestartName, RestartPolicy
from ocimagic.model.request import CommitOptions, ExecOptions, UpdateOptions
from ocimagic.model.resources import ResourceOptions
from ocimagic.model.state import Status

SLEEP = "echo up; while :; do sleep 0.05; done"


def run(engine, script=SLEEP, **options):
    """Start a container in the background and wait until it says ``up``; return its name."""
    options.setdefault("network", "none")
    made = engine.containers.run("busybox", ["sh", "-c", script], detach=True, **options)
    for _, _, data in engine.containers.logs(made.name, follow=True):
        if data.rstrip() == b"up":
            return made.name
    raise AssertionError(list(engine.containers.logs(made.name)))


@pytest.fixture
def box(shared):
    name = run(shared)
    yield name
    shared.containers.remove(name, force=True)


@pytest.fixture
def freezer(shared, box):
    """Skip where this account has no cgroup to freeze."""
    try:
        shared.containers.pause(box)
    except HostLacks as err:
        pytest.skip(f"not root, or no cgroup of our own: {err.what}")
    shared.containers.unpause(box)


@pytest.fixture(scope="module")
def created(shared):
    made = shared.containers.create(RunOptions(image="busybox", command=("true",), name="made"))
    yield made.name
    shared.containers.remove(made.name)


class TestStart:
    def test_starting_twice_is_no_error(self, shared, box):
        pid = shared.containers.get(box).pid
        assert shared.containers.start(box).pid == pid

    def test_with_streams_from_the_first_byte(self, shared):
        shared.containers.create(
            RunOptions(image="busybox", command=("sh", "-c", "echo hi; exit 3"), name="streams")
        )
        for _ in range(2):
            heard = []
            with shared.containers.start_attached("streams") as attachment:
                out, err = attachment.follow(heard.append)
            assert (out, err, attachment.exit.code) == (b"hi\n", b"", 3)
            assert heard == [Output("stdout", b"hi\n")]
        shared.containers.remove("streams")

    def test_with_input(self, shared):
        options = RunOptions(image="busybox", command=("cat",), name="reader", interactive=True)
        shared.containers.create(options)
        with shared.containers.start_attached("reader", stdin=True) as attachment:
            attachment.feed(b"given\n")
            assert attachment.follow(lambda _: None)[0] == b"given\n"
        shared.containers.remove("reader")


class TestStop:
    def test_restart_gives_a_new_process(self, shared, box):
        before = shared.containers.get(box)
        after = shared.containers.restart(box, grace_s=0)
        assert after.status is Status.RUNNING
        assert after.pid != before.pid
        assert after.started > before.started

    def test_restart_starts_what_does_not_run(self, shared):
        shared.containers.run("busybox", ["true"], network="none", name="over")
        assert shared.containers.restart("over").name == "over"
        assert shared.containers.wait("over").code == 0
        shared.containers.remove("over")

    def test_stop_with_another_signal(self, shared):
        name = run(shared, "trap 'exit 9' USR2; " + SLEEP)
        assert shared.containers.stop(name, signal="USR2", grace_s=5).code == 9
        shared.containers.remove(name)

    def test_stop_of_what_never_ran(self, shared, created):
        assert shared.containers.stop(created) is None

    def test_wait_is_told_the_code_while_waiting(self, shared):
        name = run(shared, "trap 'exit 4' TERM; " + SLEEP)
        codes = []
        waiters = [
            threading.Thread(target=lambda: codes.append(shared.containers.wait(name).code))
            for _ in range(3)
        ]
        for each in waiters:
            each.start()
        shared.containers.stop(name, grace_s=5)
        for each in waiters:
            each.join(5)
        assert codes == [4, 4, 4]
        shared.containers.remove(name)


class TestPause:
    def test_processes_stand_still(self, shared, freezer):
        name = run(shared, "echo up; while :; do echo tick; sleep 0.02; done")
        shared.containers.pause(name)
        assert shared.containers.get(name).status is Status.PAUSED
        assert name in [each.name for each in shared.containers.list()]
        lines = len(list(shared.containers.logs(name)))
        threading.Event().wait(0.2)
        assert len(list(shared.containers.logs(name))) <= lines + 1
        shared.containers.unpause(name)
        threading.Event().wait(0.2)
        assert len(list(shared.containers.logs(name))) > lines + 2
        assert shared.containers.get(name).status is Status.RUNNING
        shared.containers.remove(name, force=True)

    def test_what_may_be_done_meanwhile(self, shared, box, freezer):
        shared.containers.pause(box)
        containers = shared.containers
        refused = [
            (lambda: containers.pause(box), "it is already paused"),
            (lambda: containers.start(box), "it is paused, try unpause instead"),
            (lambda: containers.exec(box, ExecOptions(command=("true",))), "unpause it before"),
            (lambda: containers.attach(box), "it is paused, unpause it first"),
            (lambda: containers.remove(box), "it is paused and must be unpaused first"),
        ]
        for act, said in refused:
            with pytest.raises(InvalidState, match=said):
                act()
        assert containers.top(box).rows
        assert containers.stat(box, "/etc/passwd").size_bytes
        assert containers.diff(box) == ()
        assert containers.commit(box, CommitOptions(reference="frozen")).reference
        assert containers.get(box).status is Status.PAUSED, "commit leaves it paused"
        shared.images.remove("frozen")

    @pytest.mark.parametrize("how", ["stop", "kill", "remove"])
    def test_a_paused_container_can_be_ended(self, how, shared, freezer):
        name = run(shared)
        shared.containers.pause(name)
        if how == "stop":
            assert shared.containers.stop(name, grace_s=0.1).code == 137
        elif how == "kill":
            shared.containers.kill(name)
            assert shared.containers.wait(name).code == 137
        shared.containers.remove(name, force=True)
        with pytest.raises(ContainerNotFound):
            shared.containers.get(name)


class TestRename:
    def test_it_is_found_by_its_new_name(self, shared, box):
        renamed = shared.containers.rename(box, "better")
        assert renamed.name == "better"
        assert shared.containers.get("better").container_id == renamed.container_id
        with pytest.raises(ContainerNotFound):
            shared.containers.get(box)
        shared.containers.rename("better", box)

    def test_what_cannot_be(self, shared, box, created):
        with pytest.raises(NameInUse, match=f"'{created}' is already in use"):
            shared.containers.rename(box, created)
        with pytest.raises(InvalidOption, match="has this name already"):
            shared.containers.rename(box, box)
        with pytest.raises(InvalidOption, match="invalid container name"):
            shared.containers.rename(box, "a b")
        assert shared.containers.get(box).status is Status.RUNNING


class TestExec:
    def run(self, engine, name, *command, **options):
        stdin = options.pop("stdin", None)
        return engine.containers.exec(name, ExecOptions(command=command, **options), stdin=stdin)

    def test_output_and_exit_code(self, shared, box):
        done = self.run(shared, box, "sh", "-c", "echo out; echo err >&2; exit 7")
        assert (done.exit_code, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
        assert str(done) == "out\n"

    @pytest.mark.parametrize("code", [0, 1, 126, 127, 137, 255])
    def test_every_exit_code_is_a_result(self, code, shared, box):
        assert self.run(shared, box, "sh", "-c", f"exit {code}").exit_code == code

    def test_it_is_in_the_container(self, shared, box):
        done = self.run(
            shared, box, "sh", "-c", "hostname; ls /proc/1/root/bin/busybox; cat /proc/1/comm"
        )
        assert done.stdout.decode().split() == [
            shared.containers.inspect(box).hostname, "/proc/1/root/bin/busybox", "sh",
        ]  # fmt: skip

    def test_environment_directory_and_user(self, shared, box):
        assert self.run(shared, box, "pwd", working_dir="/etc").stdout == b"/etc\n"
        env = self.run(shared, box, "env", env=("A=1", "B=x y")).stdout.decode().splitlines()
        assert {"A=1", "B=x y"} <= set(env)
        assert any(line.startswith("HOSTNAME=") for line in env)
        if shared.containers.launcher.ids != 1:
            assert self.run(shared, box, "id", "-u", user="alice").stdout == b"1000\n"
            assert self.run(shared, box, "id", "-g", user="1000:10").stdout == b"10\n"

    def test_the_containers_own_are_the_default(self, shared):
        name = run(shared, env=("OWN=1",), working_dir="/etc")
        assert self.run(shared, name, "sh", "-c", "pwd; echo $OWN").stdout == b"/etc\n1\n"
        shared.containers.remove(name, force=True)

    def test_input(self, shared, box):
        assert self.run(shared, box, "cat", interactive=True, stdin=b"x" * 300_000).stdout == (
            b"x" * 300_000
        )
        assert self.run(shared, box, "cat", stdin=b"unseen").stdout == b""

    def test_output_arrives_while_it_happens(self, shared, box):
        seen = []
        shared.containers.exec(
            box,
            ExecOptions(command=("sh", "-c", "echo first; sleep 0.3; echo last")),
            on_event=lambda event: seen.append((time.monotonic(), event.data)),
        )
        assert [data for _, data in seen] == [b"first\n", b"last\n"]
        assert seen[1][0] - seen[0][0] > 0.2

    def test_protection_is_the_containers(self, shared, box):
        script = "grep -E 'CapEff|CapInh|CapAmb|Seccomp:' /proc/self/status; ls /proc/self/fd"
        own = self.run(shared, box, "sh", "-c", "grep -E 'CapEff|Seccomp:' /proc/1/status").stdout
        seen = self.run(shared, box, "sh", "-c", script).stdout.decode().split()
        fields = dict(zip(seen[:8:2], seen[1:8:2], strict=True))
        assert fields["CapInh:"] == fields["CapAmb:"] == "0" * 16
        assert fields["CapEff:"] in own.decode()
        assert fields["Seccomp:"] == "2"

    def test_privileged_has_more(self, shared, box):
        grep = ("grep", "CapEff", "/proc/self/status")
        usual = int(self.run(shared, box, *grep).stdout.split()[1], 16)
        more = int(self.run(shared, box, *grep, privileged=True).stdout.split()[1], 16)
        assert more & usual == usual
        assert more.bit_count() > usual.bit_count()

    def test_detached_goes_on_by_itself(self, shared, box):
        assert (
            self.run(shared, box, "sh", "-c", "sleep 0.2; echo made > /made", detach=True) is None
        )
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if self.run(shared, box, "cat", "/made").stdout == b"made\n":
                return
        pytest.fail("it did not go on")

    @pytest.mark.parametrize(
        ("options", "kind", "said"),
        [
            ({"command": ("nosuch",)}, CommandNotFound, "nosuch"),
            ({"command": ("/etc/passwd",)}, CommandNotExecutable, "/etc/passwd"),
            ({"command": ("pwd",), "working_dir": "/nosuch"}, StartFailed, "/nosuch"),
            ({"command": ("pwd",), "working_dir": "relative"}, InvalidOption, "not absolute"),
            ({"command": ("id",), "user": "nosuch"}, StartFailed, "unable to find user nosuch"),
            ({"command": ()}, InvalidOption, "no command"),
            ({"command": ("a\0b",)}, InvalidOption, "no command"),
        ],
    )
    def test_what_cannot_be(self, options, kind, said, shared, box):
        with pytest.raises(kind, match=said):
            shared.containers.exec(box, ExecOptions(**options))
        assert self.run(shared, box, "true").exit_code == 0

    @pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8, 9, 10])
    def test_working_directory_through_a_descriptor_is_refused(self, number, shared, box):
        """CVE-2024-21626, by way of exec."""
        with pytest.raises(StartFailed):
            self.run(shared, box, "pwd", working_dir=f"/proc/self/fd/{number}")

    def test_cancelling_ends_the_command_only(self, shared, box):
        stop = threading.Event()
        threading.Timer(0.3, stop.set).start()
        with pytest.raises(Cancelled, match="stopped by you"):
            shared.containers.exec(box, ExecOptions(command=("sleep", "77")), cancelled=stop)
        assert shared.containers.get(box).status is Status.RUNNING
        assert b"sleep 77" not in self.run(shared, box, "ps").stdout

    def test_the_end_of_the_container_ends_it(self, shared):
        name = run(shared)
        threading.Timer(0.3, lambda: shared.containers.kill(name)).start()
        done = self.run(shared, name, "sleep", "77")
        assert done.exit_code == 137
        shared.containers.wait(name)
        shared.containers.remove(name)

    def test_many_at_once(self, shared, box):
        codes = {}

        def one(number):
            codes[number] = self.run(shared, box, "sh", "-c", f"exit {number}").exit_code

        threads = [threading.Thread(target=one, args=(number,)) for number in range(12)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(30)
        assert codes == {number: number for number in range(12)}

    def test_it_leaves_no_descriptor(self, shared, box, no_leaks):
        for _ in range(5):
            self.run(shared, box, "true")


class TestTerminal:
    """-t: one stream, keys, sizes; -i: detach keys."""

    def drive(self, terminal, *typed, until):
        """Type and read until something is seen; return all output."""
        seen = b""
        for each in typed:
            terminal.write(each)
        for data in terminal.output():
            seen += data
            if until in seen:
                return seen
        return seen

    def test_a_shell_with_a_terminal(self, shared):
        options = RunOptions(
            image="busybox", command=("sh",), tty=True, interactive=True, console_size=(30, 100),
            name="tty",
        )  # fmt: skip
        with shared.containers.run_attached(options) as attachment:
            terminal = attachment.terminal()
            seen = self.drive(terminal, b"stty size; tty; echo $TERM\n", until=b"xterm")
            assert b"30 100" in seen
            assert b"/dev/" in seen
            terminal.resize(40, 132)
            assert b"40 132" in self.drive(terminal, b"stty size\n", until=b"40 132")
            self.drive(terminal, b"exit 6\n", until=b"never")
            assert terminal.ending() == "exit 6"
        assert attachment.exit.code == 6
        shared.containers.remove("tty")

    def test_detaching_and_coming_back(self, shared):
        options = RunOptions(
            image="busybox", command=("sh",), tty=True, interactive=True, name="left"
        )
        with shared.containers.run_attached(options) as attachment:
            terminal = attachment.terminal()
            self.drive(terminal, b"echo one-$((1+1))\n", until=b"one-2")
            assert self.drive(terminal, b"\x10", b"\x11", until=b"never") is not None
            assert terminal.detached
            assert terminal.ending() == "detached: left goes on"
        assert shared.containers.get("left").status is Status.RUNNING
        with shared.containers.open_attached("left") as attachment:
            terminal = attachment.terminal("ctrl-a,x")
            assert b"two-4" in self.drive(terminal, b"echo two-$((2+2))\n", until=b"two-4")
            self.drive(terminal, b"\x01x", until=b"never")
            assert terminal.detached
        shared.containers.remove("left", force=True)

    def test_exec_with_a_terminal(self, shared, box):
        options = ExecOptions(command=("sh",), tty=True, interactive=True, console_size=(20, 60))
        with shared.containers.exec_attached(box, options) as attachment:
            terminal = attachment.terminal()
            seen = self.drive(
                terminal, b"stty size; test -t 1 && echo is-$((3+3))\n", until=b"is-6"
            )
            assert b"20 60" in seen
            self.drive(terminal, b"exit 5\n", until=b"never")
        assert attachment.exit.code == 5

    def test_a_failed_start_with_rm_leaves_nothing(self, shared):
        before = shared.containers.list(all=True)
        options = RunOptions(image="busybox", command=("nosuch",), tty=True, remove=True)
        with pytest.raises(CommandNotFound):
            shared.containers.run_attached(options)
        assert shared.containers.list(all=True) == before


class TestAttach:
    def test_until_the_end(self, shared):
        script = "echo up; read line; echo got $line; exit 8"
        name = run(shared, script, interactive=True)
        heard = []
        ended = shared.containers.attach(name, stdin=b"this\n", on_event=heard.append)
        assert ended.code == 8
        assert b"".join(event.data for event in heard) == b"got this\n"
        shared.containers.remove(name)

    def test_letting_go(self, shared, box):
        stop = threading.Event()
        threading.Timer(0.2, stop.set).start()
        with pytest.raises(Cancelled, match="goes on"):
            shared.containers.attach(box, sig_proxy=False, cancelled=stop)
        assert shared.containers.get(box).status is Status.RUNNING

    def test_an_interrupt_is_passed_on(self, shared):
        name = run(shared, "trap 'echo bye; exit 2' INT; " + SLEEP)
        stop = threading.Event()
        threading.Timer(0.2, stop.set).start()
        heard = []
        assert shared.containers.attach(name, on_event=heard.append, cancelled=stop).code == 2
        assert heard[-1].data == b"bye\n"
        shared.containers.remove(name)

    def test_several_see_the_same(self, shared):
        name = run(shared, "echo up; read x; for i in 1 2 3; do echo $i; done", interactive=True)
        seen = [b"", b""]
        attachments = [shared.containers.open_attached(name) for _ in seen]

        def follow(number):
            seen[number] = attachments[number].follow(lambda _: None)[0]

        threads = [threading.Thread(target=follow, args=(number,)) for number in range(2)]
        for each in threads:
            each.start()
        with shared.containers.open_attached(name) as typist:
            typist.send(b"go\n")
        for each in threads:
            each.join(10)
        assert seen == [b"1\n2\n3\n"] * 2
        for each in attachments:
            each.close()
        shared.containers.remove(name)


class TestTop:
    def test_it_shows_the_containers_processes_only(self, shared):
        name = run(shared, "sleep 1234 & " + SLEEP)
        table = shared.containers.top(name)
        assert table.titles[:3] == ("UID", "PID", "PPID")
        commands = [row[-1] for row in table.rows]
        assert any("sleep 1234" in each for each in commands)
        assert all("python" not in each for each in commands)
        pids = [int(row[1]) for row in table.rows]
        assert shared.containers.get(name).pid in pids
        shared.containers.remove(name, force=True)

    def test_options_of_ps(self, shared, box):
        table = shared.containers.top(box, ["-o", "pid,args"])
        assert table.titles == ("PID", "COMMAND")
        assert "PID" in shared.containers.top(box, ["aux"]).titles
        with pytest.raises(InvalidOption, match="no PID column"):
            shared.containers.top(box, ["-o", "args"])
        with pytest.raises(InvalidOption, match="ps does not understand"):
            shared.containers.top(box, ["--nosuch"])


class TestStats:
    def first(self, engine, *names, **options):
        stream = engine.containers.stats(*names, **options)
        try:
            return next(stream)
        finally:
            stream.close()

    def test_what_a_busy_container_uses(self, shared):
        name = run(shared, "echo up; while :; do :; done")
        (stats,) = self.first(shared, name)
        assert (stats.name, stats.status) == (name, Status.RUNNING)
        assert stats.cpu_percent > 5
        assert stats.memory_bytes > 0
        assert stats.memory_limit_bytes > stats.memory_bytes
        assert 0 < stats.memory_percent < 100
        assert stats.processes >= 1
        shared.containers.remove(name, force=True)

    def test_what_a_list_knows_of_it(self, shared, box, created):
        # What was executed in it may just be ending: the two are looked at one after the other.
        for _ in range(50):
            (stats,) = self.first(shared, box)
            rows = {each.name: each for each in shared.containers.list(all=True)}
            known = rows[box].memory_bytes
            if known == pytest.approx(stats.memory_bytes, rel=0.2):
                break
        if os.geteuid() == 0 or known is not None:
            assert known == pytest.approx(stats.memory_bytes, rel=0.2)
        assert rows[created].memory_bytes is None
        assert rows[box] == shared.containers.get(box), "what it uses makes it no other container"

    def test_all_of_them(self, shared, box, created):
        assert [each.name for each in self.first(shared)] == [box]
        names = {each.name: each for each in self.first(shared, all=True)}
        assert set(names) == {box, created}
        idle = names[created]
        assert (idle.cpu_percent, idle.memory_bytes, idle.processes) == (0.0, 0, 0)

    def test_it_goes_on_until_cancelled(self, shared, box):
        stop = threading.Event()
        samples = []
        for rows in shared.containers.stats(box, interval_s=0.05, cancelled=stop):
            samples.append(rows)
            if len(samples) == 4:
                stop.set()
        assert len(samples) == 4
        assert samples[0][0].taken < samples[-1][0].taken

    def test_once_is_quick(self, shared, box):
        began = time.monotonic()
        self.first(shared, box)
        assert time.monotonic() - began < 1

    def test_one_that_ends_meanwhile_is_left_out(self, shared):
        name = run(shared)
        stream = shared.containers.stats(interval_s=0.05)
        assert name in [each.name for each in next(stream)]
        shared.containers.remove(name, force=True)
        assert name not in [each.name for each in next(stream)]
        stream.close()


class TestUpdate:
    def test_restart_policy(self, shared, box):
        policy = RestartPolicy(name=RestartName.ON_FAILURE, maximum_retry_count=3)
        options = UpdateOptions(resources=ResourceOptions(), restart=policy)
        shared.containers.update(box, options)
        assert shared.containers.inspect(box).options.restart == policy

    def test_a_container_that_does_not_run(self, shared):
        shared.containers.create(RunOptions(image="busybox", command=("true",), name="later"))
        resources = ResourceOptions(memory_bytes=64 << 20)
        shared.containers.update("later", UpdateOptions(resources=resources))
        details = shared.containers.inspect("later")
        assert details.options.resources.memory_bytes == 64 << 20
        assert details.runtime_config["linux"]["resources"]["memory"]["limit"] == 64 << 20
        shared.containers.remove("later")

    def test_limits_hold_at_once(self, shared, box):
        if os.geteuid():
            pytest.skip("needs root: this account has no cgroup of its own")
        shared.containers.update(
            box, UpdateOptions(resources=ResourceOptions(memory_bytes=64 << 20, pids_limit=7))
        )
        (stats,) = next(shared.containers.stats(box))
        assert stats.memory_limit_bytes == 64 << 20
        script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait"
        done = shared.containers.exec(box, ExecOptions(command=("sh", "-c", script)))
        assert b"can't fork" in done.stderr

    def test_what_was_not_said_stays(self, shared):
        shared.containers.create(
            RunOptions(
                image="busybox", command=("true",), name="both",
                resources=ResourceOptions(memory_bytes=64 << 20),
            )
        )  # fmt: skip
        shared.containers.update("both", UpdateOptions(resources=ResourceOptions(cpu_shares=512)))
        resources = shared.containers.inspect("both").options.resources
        assert (resources.memory_bytes, resources.cpu_shares) == (64 << 20, 512)
        shared.containers.remove("both")

    def test_what_cannot_be(self, shared, box):
        with pytest.raises(InvalidOption, match="too small"):
            shared.containers.update(
                box, UpdateOptions(resources=ResourceOptions(memory_bytes=1024))
            )
        assert shared.containers.inspect(box).options.resources == ResourceOptions()


@pytest.fixture
def written(shared):
    script = "for i in 1 2 3 4; do echo $i; sleep 0.05; done"
    shared.containers.run("busybox", ["sh", "-c", script], network="none", name="written")
    yield "written"
    shared.containers.remove("written")


class TestLogs:
    def lines(self, engine, name, **options):
        return [data for _, _, data in engine.containers.logs(name, **options)]

    def test_times(self, shared, written):
        entries = list(shared.containers.logs(written))
        times = [nanoseconds(when) for when, _, _ in entries]
        assert self.lines(shared, written, since_ns=times[2]) == [b"3\n", b"4\n"]
        assert self.lines(shared, written, since_ns=times[2] + 1) == [b"4\n"]
        assert self.lines(shared, written, until_ns=times[1]) == [b"1\n", b"2\n"]
        assert self.lines(shared, written, since_ns=times[1], until_ns=times[2]) == [
            b"2\n",
            b"3\n",
        ]
        assert self.lines(shared, written, tail=2, since_ns=times[3]) == [b"4\n"]
        assert self.lines(shared, written, tail=0) == []

    def test_following_ends_at_a_time(self, shared):
        name = run(shared, "echo up; while :; do echo tick; sleep 0.02; done")
        until = time.time_ns() + 300_000_000
        assert len(self.lines(shared, name, follow=True, until_ns=until)) > 3
        shared.containers.remove(name, force=True)


class TestList:
    def test_sizes(self, shared):
        script = "head -c 5000 /dev/zero > /f; echo up; sleep 100"
        name = run(shared, script)
        summary = next(e for e in shared.containers.list(size=True) if e.name == name)
        assert summary.size.changed_bytes == 5000
        image = shared.images.inspect("busybox").size_bytes
        assert summary.size.total_bytes == image + 5000
        assert shared.containers.list()[0].size is None
        assert shared.containers.inspect(name, size=True).summary.size.changed_bytes == 5000
        shared.containers.remove(name, force=True)

    def test_labels_of_the_image_too(self, shared):
        shared.containers.run("busybox", ["true"], network="none", name="lab", labels={"a": "1"})
        shared.containers.commit("lab", CommitOptions(reference="lab", changes=("LABEL b=2",)))
        shared.containers.remove("lab")
        shared.containers.run("lab", ["true"], network="none", name="lab2", labels={"c": "3"})
        assert dict(shared.containers.get("lab2").labels) == {"a": "1", "b": "2", "c": "3"}
        shared.containers.remove("lab2")
        shared.images.remove("lab")

    def test_no_port_is_published(self, shared, box):
        assert shared.containers.ports(box) == ()


class TestPrune:
    def test_only_what_does_not_run(self, shared, box):
        shared.containers.run("busybox", ["sh", "-c", "echo 12345 > /f"], network="none", name="p1")
        shared.containers.run("busybox", ["true"], network="none", name="p2", labels={"keep": ""})
        shared.containers.create(RunOptions(image="busybox", command=("true",), name="p3"))
        ids = {each.name: each.container_id for each in shared.containers.list(all=True)}
        kept = {ids["p2"], ids.get("made")}
        pruned = shared.containers.prune(lambda each: each.container_id in kept)
        assert set(pruned.containers) == {ids["p1"], ids["p3"]}
        assert pruned.freed_bytes == 6
        assert shared.containers.get(box).status is Status.RUNNING
        shared.containers.remove("p2")


class TestWrongStates:
    """Docker's sentences: the container's name, and what to do."""

    @pytest.mark.parametrize(
        ("verb", "said"),
        [
            ("kill", "it is not running"),
            ("pause", "it is not running"),
            ("unpause", "it is not paused"),
            ("top", "it is not running"),
            ("attach", "it is stopped, start it first"),
        ],
    )
    def test_of_a_container_that_does_not_run(self, verb, said, shared, created):
        with pytest.raises(InvalidState) as caught:
            getattr(shared.containers, verb)(created)
        assert caught.value.why == said
        assert created in caught.value.what
        assert caught.value.http_status == 409

    def test_exec(self, shared, created):
        with pytest.raises(InvalidState, match="cannot exec in container made") as caught:
            shared.containers.exec(created, ExecOptions(command=("true",)))
        assert caught.value.hint == "%container_start made"

    def test_of_one_that_runs(self, shared, box):
        with pytest.raises(InvalidState, match="it is not paused"):
            shared.containers.unpause(box)
        with pytest.raises(InvalidState, match="stop it before removing, or force remove"):
            shared.containers.remove(box)

    @pytest.mark.parametrize("signal_name", ["FOO", "0", "65", "-1", ""])
    def test_no_such_signal(self, signal_name, shared, box):
        with pytest.raises(InvalidOption, match="invalid signal"):
            shared.containers.kill(box, signal=signal_name)


@pytest.mark.parametrize(
    "verb",
    ["start", "stop", "kill", "restart", "pause", "unpause", "wait", "get", "inspect", "remove",
     "attach", "top", "ports", "diff"],
)  # fmt: skip
def test_unknown_names_are_said_with_what_is_near(verb, shared, created):
    with pytest.raises(ContainerNotFound, match="no such container: mdae") as caught:
        getattr(shared.containers, verb)("mdae")
    assert caught.value.hint == "did you mean made?"


def test_unknown_names_of_generators(shared):
    with pytest.raises(ContainerNotFound):
        shared.containers.logs("nosuch")
    with pytest.raises(ContainerNotFound):
        next(shared.containers.stats("nosuch"))


def test_a_changed_boot_makes_running_containers_exited(shared, box, monkeypatch):
    """After a host crash nobody saw the end: 255, never 0 and never running."""
    from ocimagic.engine import register

    directory = shared.containers.directory(shared.containers.get(box).container_id)
    state = register.read_json(directory / register.STATE_NAME)
    pid = state["pid"]
    monkeypatch.setattr(
        register,
        "read_json",
        lambda path: state | {"boot_id": "another"} if "state.json" in str(path) else None,
    )
    monkeypatch.setattr(register.shim, "is_kept", lambda _: False)
    record = shared.containers.find(box)
    status, ended = shared.containers.status(record)
    assert (status, ended.code, ended.signal) == (Status.EXITED, 255, None)
    os.kill(pid, 0)  # whoever has that pid now is left alone


def test_created_times_are_what_prune_compares(shared, created):
    age = datetime.now(UTC) - shared.containers.get(created).created
    assert timedelta() < age < timedelta(minutes=5)


def test_errors_are_ours(shared, box):
    assert issubclass(HostLacks, OcimagicError)
    os.kill(shared.containers.get(box).pid, signal.SIGCONT)


def test_info_and_doctor_say_which_networks_there_are(shared):
    """What is said is what is so, whoever asks."""
    from ocimagic.model.isolation import Grade

    found = shared.system.info().networks
    [line] = [each for each in shared.system.diagnose().findings if each.subject == "networks"]
    made = shared.containers.run("busybox", ["true"], detach=True)
    details = shared.containers.inspect(made.container_id)
    shared.containers.remove(made.container_id, force=True)
    in_bridge = [each.network for each in details.options.networks] == ["bridge"]
    assert found.usual == ("bridge" if in_bridge else "host")
    assert (line.grade is Grade.GOOD) == (not found.why_not)
    assert bool(found.why_not) == bool(shared.networks.lacks())
    assert (found.why_not or found.firewall[0].partition(",")[0]) in line.found
    assert found.way_out
