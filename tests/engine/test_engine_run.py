"""Running containers for real: what they see, what comes back, how they end."""

import json
import os
import signal
import socket
import threading
import time

import pytest

from ocimagic.errors import (
    Cancelled,
    CommandNotExecutable,
    CommandNotFound,
    InvalidOption,
    InvalidState,
    NameInUse,
    OcimagicError,
    StartFailed,
)
from ocimagic.model.event import Output
from ocimagic.model.options import RunOptions, VolumeMount
from ocimagic.model.state import Status


@pytest.fixture
def run(shared):
    def run(*command, **options):
        options.setdefault("network", "none")
        options.setdefault("remove", True)
        return shared.containers.run("busybox", list(command), **options)

    return run


def sh(run, script, **options):
    result = run("sh", "-c", script, **options)
    return result.stdout.decode()


def test_only_a_container_that_is_kept_waits_until_its_layers_are_on_the_disk(shared):
    for thread in threading.enumerate():
        if thread.name == "ocimagic-sync":  # of an earlier pull
            thread.join()
    database = shared.containers.store.database
    here = "SELECT count(*) FROM snapshots WHERE boot_id IS NOT NULL"
    with database.transaction() as cursor:
        boot_id = shared.containers.store.snapshots._boot_id
        cursor.execute("UPDATE snapshots SET boot_id = ?", (boot_id,))
    [(waiting,)] = database.rows(here)
    assert waiting
    shared.containers.run("busybox", ["true"], network="none", remove=True)
    assert database.rows(here) == [(waiting,)]
    kept = shared.containers.create(RunOptions(image="busybox", command=("true",)))
    assert database.rows(here) == [(0,)]
    shared.containers.remove(kept.name)


def test_output_and_exit_code_come_back(run):
    result = run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"out\n", b"err\n")
    assert str(result) == "out\n"
    assert result.removed


@pytest.mark.parametrize("code", [0, 1, 2, 125, 126, 127, 128, 200, 255])
def test_every_exit_code_is_a_result(run, code):
    assert run("sh", "-c", f"exit {code}").exit_code == code


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV", "ABRT"])
def test_death_by_signal_is_128_plus_its_number(run, name):
    # A shell as pid 1 ignores signals without a handler, so the command is a child of it
    # and becomes the result through wait's own rule.
    number = int(signal.Signals[f"SIG{name}"])
    code = run("sh", "-c", f"sh -c 'kill -{number} $$'; exit $?").exit_code
    assert code == 128 + number


def test_kill_from_outside_is_137(shared):
    made = shared.containers.run("busybox", ["sleep", "100"], network="none", detach=True)
    shared.containers.kill(made.name)
    ended = shared.containers.wait(made.name)
    assert (ended.code, ended.signal) == (137, 9)
    shared.containers.remove(made.name)


def test_missing_command_is_127(shared):
    with pytest.raises(CommandNotFound) as caught:
        shared.containers.run("busybox", ["nope"], remove=True)
    assert caught.value.exit_code == 127
    assert "$PATH" in caught.value.why


@pytest.mark.parametrize("command", ["/etc/passwd", "/etc", "/proc/self/exe"])
def test_command_that_cannot_run_is_126(shared, command):
    with pytest.raises(CommandNotExecutable) as caught:
        shared.containers.run("busybox", [command], remove=True)
    assert caught.value.exit_code == 126


def test_script_with_an_interpreter_on_proc_is_refused(shared, tmp_path):
    """CVE-2019-5736: /proc/self/exe is the runtime's own program at that moment."""
    script = tmp_path / "evil"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    tmp_path.chmod(0o755)
    volume = VolumeMount(source=str(script), target="/evil")
    with pytest.raises(CommandNotExecutable, match="evil"):
        shared.containers.run("busybox", ["/evil"], volumes=(volume,), remove=True)


def test_wrong_format_is_126(shared, tmp_path):
    program = tmp_path / "odd"
    program.write_bytes(b"\x7fELF but not really")
    program.chmod(0o755)
    volume = VolumeMount(source=str(program), target="/odd")
    with pytest.raises(CommandNotExecutable, match="exec format"):
        shared.containers.run("busybox", ["/odd"], volumes=(volume,), remove=True)


def test_engine_errors_are_125(shared):
    with pytest.raises(OcimagicError) as caught:
        shared.containers.run("busybox", ["true"], working_dir="relative", remove=True)
    assert caught.value.exit_code == 125


def test_a_failed_start_with_rm_leaves_nothing(shared):
    before = shared.containers.list(all=True)
    with pytest.raises(CommandNotFound):
        shared.containers.run("busybox", ["nope"], remove=True)
    assert shared.containers.list(all=True) == before


def test_a_failed_start_without_rm_leaves_a_created_container(shared):
    with pytest.raises(CommandNotFound):
        shared.containers.run("busybox", ["nope"], name="stillborn")
    assert shared.containers.get("stillborn").status is Status.CREATED
    shared.containers.remove("stillborn")


def test_it_is_alone(run):
    seen = sh(run, "echo $$; ps | wc -l; hostname; ls /proc | grep -c '^[0-9]*$'")
    pid, lines, hostname, _ = seen.split()
    assert pid == "1"
    assert int(lines) <= 4
    assert hostname != socket.gethostname()


def test_network_none_has_only_loopback_and_it_is_up(run):
    assert sh(run, "ls /sys/class/net; cat /sys/class/net/lo/flags").split() == ["lo", "0x9"]


def test_network_host_is_the_machines(shared):
    result = shared.containers.run("busybox", ["cat", "/proc/net/dev"], network="host", remove=True)
    with open("/proc/net/dev", encoding="ascii") as file:
        names = {line.split(":")[0].strip() for line in file if ":" in line}
    assert {line.split(":")[0].strip() for line in result.stdout.decode().splitlines()[2:]} == names
    assert result.network == "host"


def test_mounts_are_dockers(run):
    mounts = {
        line.split()[1]: line.split()[2:4] for line in sh(run, "cat /proc/mounts").splitlines()
    }
    assert mounts["/"][0] == "overlay"
    assert mounts["/proc"][0] == "proc"
    assert mounts["/dev"][0] == "tmpfs"
    assert mounts["/dev/pts"][0] == "devpts"
    assert mounts["/dev/shm"][0] == "tmpfs"
    assert mounts["/dev/mqueue"][0] == "mqueue"
    assert mounts["/sys"][1].startswith("ro")
    assert mounts["/proc/sys"][1].startswith("ro")


def test_masked_paths_show_nothing(run):
    assert sh(run, "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c").strip() == "0"
    assert sh(run, "ls /sys/firmware | wc -l").strip() == "0"


def test_proc_sys_cannot_be_written(run):
    result = run("sh", "-c", "echo x > /proc/sys/kernel/hostname")
    assert result.exit_code != 0
    assert b"Read-only" in result.stderr


def test_devices_are_the_six_and_links(run):
    names = set(sh(run, "ls /dev").split())
    assert {"null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "ptmx"} <= names
    assert not {"sda", "mem", "kmsg", "vda"} & names
    assert sh(
        run, "echo gone > /dev/null; head -c 4 /dev/zero | wc -c; stat -c %t:%T /dev/null"
    ).split() == ["4", "1:3"]


def test_capabilities_are_dockers_fourteen(run):
    status = dict(
        line.split(":\t")
        for line in sh(run, "grep -E 'Cap|NoNew|Seccomp:' /proc/self/status").splitlines()
    )
    assert status["CapEff"] == status["CapBnd"] == status["CapPrm"] == "00000000a80425fb"
    assert status["CapInh"] == status["CapAmb"] == "0000000000000000"
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "0"


def test_capabilities_can_be_dropped_and_added(run):
    bounding = sh(run, "grep CapBnd /proc/self/status", cap_drop=("ALL",), cap_add=("chown",))
    assert bounding.split()[1] == "0000000000000001"
    with pytest.raises(InvalidOption, match="unknown capability"):
        run("true", cap_add=("FLY",))


def test_no_new_privileges_when_asked(run):
    assert sh(run, "grep NoNewPrivs /proc/self/status", no_new_privileges=True).split()[1] == "1"


def test_only_three_descriptors_are_open(run):
    with open("/dev/null", encoding="ascii") as leaky:
        os.set_inheritable(leaky.fileno(), True)
        # 3 is the directory that ls itself is reading.
        assert sh(run, "ls /proc/self/fd").split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
def test_working_directory_through_a_descriptor_is_refused(run, number):
    """CVE-2024-21626: a leaked directory descriptor as WORKDIR leads to the machine."""
    with pytest.raises(StartFailed):
        run("pwd", working_dir=f"/proc/self/fd/{number}")


def test_working_directory_is_made(run):
    assert sh(run, "pwd", working_dir="/made/for/this") == "/made/for/this\n"


def test_environment(run):
    env = sh(run, "env", env=("A=1", "A=2", "B=x y", "EMPTY="), hostname="box")
    assert {"A=2", "B=x y", "EMPTY=", "HOME=/root", "HOSTNAME=box"} <= set(env.splitlines())
    assert not any(line.startswith("A=1") for line in env.splitlines())


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("", "uid=0 gid=0 groups=0,10"),
        ("alice", "uid=1000 gid=1000 groups=10,1000"),
        ("1000", "uid=1000 gid=1000 groups=10,1000"),
        ("1000:0", "uid=1000 gid=0 groups=0"),
        ("alice:wheel", "uid=1000 gid=10 groups=10"),
        ("4242", "uid=4242 gid=0 groups=0"),
    ],
)
def test_user(shared, run, user, ids):
    if shared.containers.launcher.ids == 1:
        pytest.skip("this account has one id only")
    seen = sh(run, "id | sed 's/([a-z]*)//g'", user=user)
    uid, gid, groups = seen.split()
    listed = ",".join(sorted(groups.removeprefix("groups=").split(","), key=int))
    assert f"{uid} {gid} groups={listed}" == ids


def test_unknown_user_is_said(run):
    with pytest.raises(StartFailed, match="unable to find user nosuch"):
        run("true", user="nosuch")


def test_user_out_of_range_is_never_looked_up(run):
    """CVE-2024-40635: a large number must not become root or a name."""
    with pytest.raises(StartFailed, match="out of range"):
        run("true", user="4294967296")


def test_an_ordinary_user_has_no_capabilities_and_may_write_its_output(shared, run):
    if shared.containers.launcher.ids == 1:
        pytest.skip("this account has one id only")
    out = sh(run, "grep CapEff /proc/self/status; echo more > /dev/stdout", user="1000")
    assert out.split() == ["CapEff:", "0000000000000000", "more"]


def test_no_signal_is_ignored_inside(run):
    status = str(run("grep", "SigIgn", "/proc/self/status"))
    assert status.split()[1] == "0000000000000000"


def test_read_only_root(run):
    result = run("sh", "-c", "touch /x; touch /dev/shm/ok && echo shm", read_only=True)
    assert b"Read-only" in result.stderr
    assert result.stdout == b"shm\n"


def test_volumes(run, tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "in").write_text("from the host\n")
    both = VolumeMount(source=str(tmp_path), target="/data")
    assert sh(run, "cat /data/in; echo back > /data/out", volumes=(both,)) == "from the host\n"
    assert (tmp_path / "out").read_text() == "back\n"
    reading = VolumeMount(source=str(tmp_path), target="/data", read_only=True)
    assert b"Read-only" in run("touch", "/data/x", volumes=(reading,)).stderr


def test_a_file_as_volume_and_one_below_another(run, tmp_path):
    (tmp_path / "one").write_text("one\n")
    inner = VolumeMount(source=str(tmp_path / "one"), target="/a/b/file")
    outer = VolumeMount(source=str(tmp_path), target="/a/b")
    assert sh(run, "cat /a/b/file", volumes=(inner, outer)) == "one\n"


def test_a_volume_that_is_not_there_is_said(run, tmp_path):
    missing = VolumeMount(source=str(tmp_path / "none"), target="/data")
    with pytest.raises(StartFailed, match="none"):
        run("true", volumes=(missing,))


def test_stdin_bytes(run):
    assert sh(run, "cat", stdin=b"x" * 300_000, interactive=True) == "x" * 300_000


def test_stdin_of_a_descriptor(run):
    reader, writer = os.pipe()
    os.write(writer, b"line\n")
    os.close(writer)
    try:
        assert sh(run, "cat", stdin=reader, interactive=True) == "line\n"
    finally:
        os.close(reader)


def test_without_interactive_stdin_is_empty(run):
    assert sh(run, "cat; echo end", stdin=b"unseen") == "end\n"


def test_output_arrives_while_it_happens(shared):
    seen = []
    done = shared.containers.run(
        "busybox",
        ["sh", "-c", "echo first; sleep 0.4; echo last"],
        network="none",
        remove=True,
        on_event=lambda event: seen.append((time.monotonic(), event)),
    )
    outputs = [(when, event) for when, event in seen if isinstance(event, Output)]
    assert [event.data for _, event in outputs] == [b"first\n", b"last\n"]
    assert outputs[1][0] - outputs[0][0] > 0.2
    assert done.exit_code == 0


def test_output_of_a_short_command_is_whole_however_late_we_listen(shared, monkeypatch):
    """Its output once was lost when it ended before its starter had asked for it."""
    launch = type(shared.containers.launcher).launch

    def slow(self, request):
        connection = launch(self, request)
        ended = shared.containers.directory(request["id"]) / "exit.json"
        deadline = time.monotonic() + 5
        while not ended.exists() and time.monotonic() < deadline:
            pass
        return connection

    monkeypatch.setattr(type(shared.containers.launcher), "launch", slow)
    done = shared.containers.run("busybox", ["echo", "short"], network="none", name="short")
    assert done.stdout == b"short\n"
    shared.containers.remove("short")


def test_much_output_is_whole(run):
    result = run("sh", "-c", "yes 0123456789 | head -n 300000")
    assert result.stdout == b"0123456789\n" * 300_000


def test_names(shared, run):
    first = shared.containers.run("busybox", ["true"], name="ada")
    with pytest.raises(NameInUse, match="ada"):
        shared.containers.run("busybox", ["true"], name="ada")
    assert shared.containers.get(first.container_id[:12]).name == "ada"
    shared.containers.remove("ada")
    with pytest.raises(InvalidOption, match="invalid container name"):
        run("true", name="a b")


def test_detached_container_lives_and_its_log_and_exit_code_stay(shared):
    made = shared.containers.run(
        "busybox", ["sh", "-c", "echo one; echo two >&2; exit 7"], detach=True, network="none"
    )
    assert shared.containers.wait(made.name).code == 7
    assert [(s, d) for _, s, d in shared.containers.logs(made.name)] == [
        ("stdout", b"one\n"),
        ("stderr", b"two\n"),
    ]
    again = shared.containers.get(made.name)
    assert (again.status, again.exit.code) == (Status.EXITED, 7)
    shared.containers.start(made.name)
    assert shared.containers.wait(made.name).code == 7
    assert len(list(shared.containers.logs(made.name))) == 4
    shared.containers.remove(made.name)


def test_logs_follow_until_the_end(shared):
    made = shared.containers.run(
        "busybox",
        ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done"],
        detach=True,
        network="none",
    )
    assert [d for _, _, d in shared.containers.logs(made.name, follow=True)] == [
        b"1\n",
        b"2\n",
        b"3\n",
    ]
    shared.containers.remove(made.name)


def test_following_misses_nothing_between_the_file_and_the_attach(shared):
    """The first line once fell between reading the file and being attached, and hung."""
    for _ in range(25):
        made = shared.containers.run(
            "busybox", ["sh", "-c", "echo up; sleep 100"], detach=True, network="none"
        )
        _wait_for_log(shared, made.name, b"up\n")
        shared.containers.remove(made.name, force=True)


def test_log_is_dockers_json_file(shared):
    long = "x" * 40_000
    made = shared.containers.run(
        "busybox", ["sh", "-c", f"echo {long}; printf 'a\\377b'"], detach=True, network="none"
    )
    shared.containers.wait(made.name)
    path = shared.containers.inspect(made.name).log_path
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    assert [len(record["log"]) for record in records] == [16384, 16384, 40_001 - 32768, 3]
    assert records[-1]["log"] == "a\ufffdb"
    assert all(set(record) == {"log", "stream", "time"} for record in records)
    assert os.stat(path).st_mode & 0o777 == 0o640
    shared.containers.remove(made.name)


def test_stop_gives_the_command_a_chance_then_kills(shared):
    polite = shared.containers.run(
        "busybox",
        ["sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done"],
        detach=True,
        network="none",
    )
    _wait_for_log(shared, polite.name, b"up\n")
    assert shared.containers.stop(polite.name, grace_s=10).code == 5
    shared.containers.remove(polite.name)
    deaf = shared.containers.run("busybox", ["sleep", "100"], detach=True, network="none")
    began = time.monotonic()
    assert shared.containers.stop(deaf.name, grace_s=0.2).code == 137
    assert time.monotonic() - began < 5
    assert shared.containers.stop(deaf.name).code == 137, "stopping twice is no error"
    shared.containers.remove(deaf.name)


def test_stop_signal_of_the_options(shared):
    made = shared.containers.run(
        "busybox",
        ["sh", "-c", "trap 'exit 9' USR1; echo up; while :; do sleep 0.05; done"],
        detach=True,
        network="none",
        stop_signal="SIGUSR1",
    )
    _wait_for_log(shared, made.name, b"up\n")
    assert shared.containers.stop(made.name, grace_s=10).code == 9
    shared.containers.remove(made.name)


def test_a_running_container_is_not_removed_without_force(shared):
    made = shared.containers.run("busybox", ["sleep", "100"], detach=True, network="none")
    with pytest.raises(InvalidState, match="cannot remove"):
        shared.containers.remove(made.name)
    assert shared.containers.start(made.name).pid == made.pid, "starting twice is no error"
    shared.containers.remove(made.name, force=True)
    assert made.name not in [each.name for each in shared.containers.list(all=True)]


def test_cancelling_stops_the_container(shared):
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Cancelled, match="stopped by you"):
        shared.containers.run(
            "busybox", ["sleep", "100"], network="none", remove=True, cancelled=stop
        )
    assert shared.containers.list() == ()


def test_keyboard_interrupt_stops_the_container(shared):
    main = threading.main_thread().ident
    threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        shared.containers.run("busybox", ["sleep", "100"], network="none", remove=True)
    assert shared.containers.list() == ()


def test_the_image_below_stays_as_it_was(shared, run):
    """Layers are read-only: what a container changes is in its own upper directory."""
    first = shared.containers.run(
        "busybox",
        ["sh", "-c", "rm /etc/passwd; echo new > /etc/new"],
        network="none",
        name="writer",
    )
    assert first.exit_code == 0
    assert sh(run, "cat /etc/passwd | wc -l; ls /etc/new 2>&1 | wc -l").split()[0] == "2"
    upper = shared.containers.inspect("writer").upper_dir
    assert {"new", "passwd"} <= set(os.listdir(f"{upper}/etc"))
    shared.containers.remove("writer")


def test_af_alg_sockets_are_denied(run, tmp_path):
    """The seccomp profile is in force: mount is denied even to root."""
    result = run("sh", "-c", "mount -t tmpfs none /tmp")
    assert result.exit_code != 0
    assert b"ermission denied" in result.stderr or b"not permitted" in result.stderr


def test_inspect_shows_the_bundle(shared):
    made = shared.containers.run("busybox", ["sleep", "100"], detach=True, network="none")
    details = shared.containers.inspect(made.name)
    assert details.runtime_config["process"]["args"] == ["sleep", "100"]
    assert details.summary.pid > 0
    assert os.path.exists(f"/proc/{details.summary.pid}")
    shared.containers.remove(made.name, force=True)


def test_run_leaves_no_descriptor(shared, no_leaks):
    for _ in range(3):
        shared.containers.run("busybox", ["true"], network="none", remove=True)


def _wait_for_log(shared, name, wanted):
    for _, _, data in shared.containers.logs(name, follow=True):
        if data == wanted:
            return


def test_first_output_does_not_wait_for_the_next(shared):
    """What arrived together with "started" once lay there until more came."""
    for _ in range(10):
        seen = []
        shared.containers.run(
            "busybox",
            ["sh", "-c", "echo ready; sleep 0.15"],
            network="none",
            remove=True,
            on_event=lambda event, seen=seen: seen.append(time.monotonic()),
        )
        assert time.monotonic() - seen[0] > 0.1
