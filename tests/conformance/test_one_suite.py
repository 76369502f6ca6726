"""One suite for three engines: ours in-process, ours over its socket, and dockerd over its own.

The same calls and the same assertions: ``ApiClient`` is an engine, whoever is behind it.
"""

import io
import os
import signal
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from dockernet import Daemon, namespace

from ocimagic.api.server import Address, Server
from ocimagic.client import ApiClient
from ocimagic.errors import (
    Cancelled,
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    ContainerNotFound,
    DockerfileError,
    ImageNotFound,
    InvalidState,
    NameInUse,
    NetworkNotFound,
    NotFound,
    StepFailed,
    VolumeNotFound,
)
from ocimagic.model.event import Output, StepStarted
from ocimagic.model.network import NetworkChoice, NetworkOptions, Subnet
from ocimagic.model.options import BuildOptions, NetworkMode, PullPolicy, RunOptions, VolumeMount
from ocimagic.model.policy import HealthOptions, RestartName, RestartPolicy
from ocimagic.model.report import ChangeKind
from ocimagic.model.request import CommitOptions, ExecOptions, ImportOptions, UpdateOptions
from ocimagic.model.resources import ResourceOptions
from ocimagic.model.state import Status
from ocimagic.model.volume import VolumeOptions

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.filterwarnings("ignore"),
]

PATIENCE_S = 20


@pytest.fixture(scope="module")
def in_process(shared):
    return shared


@pytest.fixture(scope="module")
def our_socket(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("serve") / "api.sock"
    with Server(shared, Address(path=str(path))) as server, ApiClient(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def dockerd(archive, tmp_path_factory):
    room = tmp_path_factory.mktemp("dockerd")
    with (
        namespace(f"ocimagic-one-{os.getpid()}") as inside,
        Daemon(room, inside),
        ApiClient(f"unix://{room}/socket") as client,
    ):
        client.images.load(str(archive))
        yield client


@pytest.fixture(params=["in_process", "our_socket", "dockerd"])
def engine(request):
    found = request.getfixturevalue(request.param)
    yield found
    for each in found.containers.list(all=True):
        found.containers.remove(each.container_id, force=True, volumes=True)
    found.networks.prune()
    for each in found.volumes.all():
        found.volumes.remove(each.name)
    for each in found.images.list():
        if each.name != "busybox:latest" and "busybox" not in each.repository:
            name = str(each.image_id) if "<none>" in each.name else each.name
            found.images.remove(name, force=True)


def sh(script, **options):
    options.setdefault("network", NetworkMode.NONE)
    return RunOptions(image="busybox", command=("sh", "-c", script), **options)


def sleeper(**options):
    script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    return sh(script, detach=True, **options)


def listens(engine, name):
    """Wait until a sleeper has its trap: before it, a first process passes TERM over."""
    until(lambda: list(engine.containers.logs(name)))


def until(look):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


# -- run -----------------------------------------------------------------------------


def test_run_gives_both_streams_and_the_exit_code(engine):
    done = engine.containers.run_options(sh("echo out; echo err >&2; exit 3", name="r1"))
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 3)
    assert (done.name, done.image, done.removed, done.network) == ("r1", "busybox", False, "none")
    assert len(done.container_id) == 64


def test_run_passes_on_what_is_written_while_it_runs(engine):
    events = []
    engine.containers.run_options(sh("echo one; echo two >&2"), on_event=events.append)
    said = {(each.stream, each.data) for each in events if isinstance(each, Output)}
    assert said == {("stdout", b"one\n"), ("stderr", b"two\n")}


def test_run_reads_input_to_its_end(engine):
    done = engine.containers.run_options(sh("cat; echo end", interactive=True), stdin=b"x\ny\n")
    assert (done.stdout, done.exit_code) == (b"x\ny\nend\n", 0)


def test_run_moves_a_megabyte_both_ways(engine):
    data = os.urandom(1 << 20)
    done = engine.containers.run_options(sh("cat", interactive=True), stdin=data)
    assert done.stdout == data


def test_run_with_rm_leaves_nothing(engine):
    done = engine.containers.run_options(sh("exit 7", remove=True))
    assert (done.exit_code, done.removed) == (7, True)
    until(lambda: not engine.containers.list(all=True))


def test_run_with_a_terminal_is_one_stream(engine):
    done = engine.containers.run_options(sh("tty; echo err >&2", tty=True))
    assert done.stdout == b"/dev/pts/0\r\nerr\r\n"
    assert done.stderr == b""


def test_run_detached_gives_a_container_that_runs(engine):
    made = engine.containers.run_options(sleeper(name="d1"))
    assert (made.name, made.status, made.image) == ("d1", Status.RUNNING, "busybox")
    assert made.pid
    assert made.exit is None


def test_what_is_asked_for_arrives(engine):
    script = "id -u; pwd; hostname; echo $A; cat /proc/self/limits | grep files | tr -s ' '"
    from ocimagic.model.resources import Ulimit

    done = engine.containers.run_options(
        sh(
            script, user="1000", working_dir="/tmp", hostname="box", env=("A=b c",),
            ulimits=(Ulimit(name="nofile", soft=100, hard=200),),
        )
    )  # fmt: skip
    assert done.stdout == b"1000\n/tmp\nbox\nb c\nMax open files 100 200 files \n"


def test_a_command_that_is_not_there_is_127(engine):
    with pytest.raises(CommandNotFound) as caught:
        engine.containers.run_options(RunOptions(image="busybox", command=("nope",)))
    assert "nope" in str(caught.value)
    assert caught.value.exit_code == 127


def test_a_command_that_cannot_be_executed_is_126(engine):
    with pytest.raises(CommandNotExecutable):
        engine.containers.run_options(RunOptions(image="busybox", command=("/etc/passwd",)))


def test_cancelling_a_run_stops_the_container(engine):
    cancelled = threading.Event()

    def listen(event):
        if isinstance(event, Output):
            cancelled.set()

    with pytest.raises(Cancelled):
        engine.containers.run_options(
            sh("echo on; exec sleep 60", name="c1"), on_event=listen, cancelled=cancelled
        )
    assert engine.containers.get("c1").status is Status.EXITED


def test_an_image_that_is_nowhere_is_not_found(engine):
    options = RunOptions(image="nobody/nothing:1", pull=PullPolicy.NEVER)
    with pytest.raises(ImageNotFound):
        engine.containers.create(options)


# -- life -------------------------------------------------------------------------------


def test_create_then_start_then_wait(engine):
    made = engine.containers.create(sh("exit 4", name="l1", labels={"k": "v"}))
    assert (made.status, made.pid, made.exit, made.started) == (Status.CREATED, None, None, None)
    assert made.labels == {"k": "v"}
    assert made.command == ("sh", "-c", "exit 4")
    engine.containers.start("l1")
    assert engine.containers.wait("l1").code == 4
    found = engine.containers.get("l1")
    assert (found.status, found.exit.code) == (Status.EXITED, 4)
    assert found.started


def test_wait_for_what_never_ran_is_refused(engine):
    engine.containers.create(sh("true", name="l2"))
    with pytest.raises(InvalidState):
        engine.containers.wait("l2")


def test_starting_what_runs_changes_nothing(engine):
    first = engine.containers.run_options(sleeper(name="l3"))
    assert engine.containers.start("l3").pid == first.pid


def test_stop_lets_the_process_end(engine):
    engine.containers.run_options(sleeper(name="l4"))
    listens(engine, "l4")
    assert engine.containers.stop("l4", grace_s=5).code == 5
    assert engine.containers.stop("l4").code == 5  # once more is no error


def test_stop_of_what_never_ran_is_nothing(engine):
    engine.containers.create(sh("true", name="l5"))
    assert engine.containers.stop("l5") is None


def test_stop_kills_who_does_not_listen(engine):
    engine.containers.run_options(
        sh("trap '' TERM; while :; do sleep 1; done", detach=True, name="l6")
    )
    assert engine.containers.stop("l6", grace_s=0).code == 128 + signal.SIGKILL


def test_kill_sends_a_signal(engine):
    engine.containers.run_options(sleeper(name="l7"))
    listens(engine, "l7")
    engine.containers.kill("l7", signal="TERM")
    assert engine.containers.wait("l7").code == 5
    with pytest.raises(InvalidState):
        engine.containers.kill("l7")


def test_restart_is_a_new_process(engine):
    first = engine.containers.run_options(sleeper(name="l8"))
    again = engine.containers.restart("l8", grace_s=1)
    assert again.status is Status.RUNNING
    assert again.pid != first.pid


def test_pause_and_unpause(engine):
    engine.containers.run_options(sleeper(name="l9"))
    engine.containers.pause("l9")
    assert engine.containers.get("l9").status is Status.PAUSED
    with pytest.raises(InvalidState):
        engine.containers.exec("l9", ExecOptions(command=("true",)))
    with pytest.raises(InvalidState):
        engine.containers.pause("l9")
    engine.containers.unpause("l9")
    assert engine.containers.get("l9").status is Status.RUNNING


def test_rename(engine):
    made = engine.containers.create(sh("true", name="old"))
    assert engine.containers.rename("old", "new").name == "new"
    assert engine.containers.get("new").container_id == made.container_id
    with pytest.raises(ContainerNotFound):
        engine.containers.get("old")


def test_a_name_that_is_taken(engine):
    engine.containers.create(sh("true", name="one"))
    with pytest.raises(NameInUse):
        engine.containers.create(sh("true", name="one"))


def test_update_changes_limits_and_policy(engine):
    engine.containers.run_options(sleeper(name="u1"))
    limits = ResourceOptions(memory_bytes=64 << 20, memory_swap_bytes=64 << 20)
    policy = RestartPolicy(name=RestartName.ON_FAILURE, maximum_retry_count=3)
    engine.containers.update("u1", UpdateOptions(resources=limits, restart=policy))
    found = engine.containers.inspect("u1").options
    assert found.resources.memory_bytes == 64 << 20
    assert found.restart == policy


def test_remove_what_runs_takes_force(engine):
    engine.containers.run_options(sleeper(name="m1"))
    with pytest.raises(Conflict):
        engine.containers.remove("m1")
    engine.containers.remove("m1", force=True)
    with pytest.raises(ContainerNotFound):
        engine.containers.get("m1")


def test_prune_takes_what_does_not_run_and_is_not_kept(engine):
    engine.containers.run_options(sleeper(name="p1"))
    engine.containers.run_options(sh("true", name="p2"))
    kept = engine.containers.create(sh("true", name="p3"))
    gone = engine.containers.prune(lambda each: each.name == "p3")
    assert len(gone.containers) == 1
    names = {each.name for each in engine.containers.list(all=True)}
    assert names == {"p1", kept.name}


# -- looking ----------------------------------------------------------------------------


def test_lists_newest_first_and_those_that_live(engine):
    engine.containers.run_options(sh("true", name="v1"))
    engine.containers.run_options(sleeper(name="v2"))
    assert [each.name for each in engine.containers.list()] == ["v2"]
    assert [each.name for each in engine.containers.list(all=True)] == ["v2", "v1"]
    assert engine.containers.list(all=True, size=True)[1].size.total_bytes > 0


def test_a_container_is_found_by_the_beginning_of_its_id(engine):
    made = engine.containers.create(sh("true"))
    assert engine.containers.get(made.container_id[:12]) == made


def test_nobody_of_that_name(engine):
    for verb in ("get", "inspect", "start", "stop", "kill", "remove", "diff", "top", "pause"):
        with pytest.raises(ContainerNotFound):
            getattr(engine.containers, verb)("nobody")


def test_inspect_says_what_was_asked_for(engine):
    asked = sh(
        "true", name="i1", env=("A=1",), working_dir="/tmp", user="1:2", labels={"a": "b"},
        hostname="h", read_only=True, cap_drop=("CAP_MKNOD",), stop_signal="SIGINT",
        restart=RestartPolicy(name=RestartName.ALWAYS),
        resources=ResourceOptions(nano_cpus=500_000_000),
        extra_hosts=(("x", "10.0.0.1"),), init=True, detach=True, stop_timeout_s=3.0,
        health=HealthOptions(test=("CMD", "true"), interval_s=2.0),
    )  # fmt: skip
    engine.containers.create(asked)
    found = engine.containers.inspect("i1")
    options = found.options
    for field in ("working_dir", "user", "read_only", "cap_drop", "stop_signal", "restart", "init",
                  "extra_hosts", "command", "stop_timeout_s", "network"):  # fmt: skip
        assert getattr(options, field) == getattr(asked, field), field
    assert options.resources.nano_cpus == 500_000_000
    assert "A=1" in options.env
    assert found.hostname == "h"
    assert options.health.test == ("CMD", "true")
    assert options.health.interval_s == 2.0


def test_top_shows_the_processes(engine):
    engine.containers.run_options(sh("exec sleep 77", detach=True, name="t1"))
    table = engine.containers.top("t1", ("-o", "pid,args"))
    assert "PID" in table.titles
    assert any("sleep 77" in " ".join(row) for row in table.rows)
    engine.containers.create(sh("true", name="t2"))
    with pytest.raises(InvalidState):
        engine.containers.top("t2")


def test_stats_count_memory_and_processes(engine):
    made = engine.containers.run_options(sleeper(name="t3"))
    [row] = next(engine.containers.stats("t3"))
    assert (row.container_id, row.name, row.status) == (made.container_id, "t3", Status.RUNNING)
    assert row.memory_bytes > 0
    assert row.memory_limit_bytes > row.memory_bytes
    assert row.processes >= 1
    assert row.now.cpu.total_ns > 0


def test_health_is_told(engine):
    health = HealthOptions(test=("CMD", "true"), interval_s=0.5)
    engine.containers.run_options(sleeper(name="h1", health=health))
    until(lambda: engine.containers.get("h1").health.status == "healthy")


# -- logs, attach, exec -----------------------------------------------------------------------


def test_logs_have_times_streams_and_bytes(engine):
    engine.containers.run_options(sh("echo a; echo b >&2; echo c", name="g1"))
    found = list(engine.containers.logs("g1"))
    assert {each[1:] for each in found} == {
        ("stdout", b"a\n"), ("stderr", b"b\n"), ("stdout", b"c\n"),
    }  # fmt: skip
    assert all(each[0].startswith("20") and each[0].endswith("Z") for each in found)
    assert len(list(engine.containers.logs("g1", tail=1))) == 1


def test_logs_of_a_terminal(engine):
    engine.containers.run_options(sh("echo a; echo b", name="g2", tty=True))
    assert [each[1:] for each in engine.containers.logs("g2")] == [
        ("stdout", b"a\r\n"), ("stdout", b"b\r\n"),
    ]  # fmt: skip


def test_logs_follow_to_the_end(engine):
    engine.containers.run_options(
        sh("for i in 1 2 3; do echo $i; sleep 0.2; done", detach=True, name="g3")
    )
    assert [each[2] for each in engine.containers.logs("g3", follow=True)] == [
        b"1\n",
        b"2\n",
        b"3\n",
    ]


def test_following_logs_can_be_cancelled(engine):
    engine.containers.run_options(sh("echo on; exec sleep 60", detach=True, name="g4"))
    cancelled, seen = threading.Event(), []
    for each in engine.containers.logs("g4", follow=True, cancelled=cancelled):
        seen.append(each[2])
        cancelled.set()
    assert seen == [b"on\n"]


def test_attach_to_what_runs(engine):
    engine.containers.run_options(
        sh("read x; echo got $x; exit 6", detach=True, interactive=True, name="a1")
    )
    events = []
    ended = engine.containers.attach("a1", stdin=b"it\n", on_event=events.append)
    assert ended.code == 6
    assert b"".join(each.data for each in events) == b"got it\n"


def test_attach_to_what_does_not_run_is_refused(engine):
    engine.containers.create(sh("true", name="a2"))
    with pytest.raises(InvalidState):
        engine.containers.attach("a2")


def test_exec_gives_streams_and_exit_code(engine):
    engine.containers.run_options(sleeper(name="e1"))
    options = ExecOptions(
        command=("sh", "-c", "cat; echo $B; pwd; id -u; echo err >&2; exit 9"), env=("B=c",),
        working_dir="/tmp", user="1000", interactive=True,
    )  # fmt: skip
    done = engine.containers.exec("e1", options, stdin=b"in\n")
    assert (done.stdout, done.stderr, done.exit_code) == (b"in\nc\n/tmp\n1000\n", b"err\n", 9)
    assert done.name == "e1"


def test_exec_with_a_terminal(engine):
    engine.containers.run_options(sleeper(name="e2"))
    done = engine.containers.exec(
        "e2", ExecOptions(command=("sh", "-c", "test -t 0; echo $?"), tty=True)
    )
    assert done.stdout == b"0\r\n"


def test_exec_of_what_is_not_there(engine):
    engine.containers.run_options(sleeper(name="e3"))
    with pytest.raises(CommandNotFound):
        engine.containers.exec("e3", ExecOptions(command=("nope",)))


def test_exec_where_nothing_runs(engine):
    engine.containers.create(sh("true", name="e4"))
    with pytest.raises(InvalidState):
        engine.containers.exec("e4", ExecOptions(command=("true",)))


def test_exec_detached(engine):
    engine.containers.run_options(sleeper(name="e5"))
    assert (
        engine.containers.exec("e5", ExecOptions(command=("touch", "/made"), detach=True)) is None
    )
    until(lambda: any(each.path == "/made" for each in engine.containers.diff("e5")))


# -- files -----------------------------------------------------------------------------------


def test_diff_has_dockers_letters(engine):
    engine.containers.run_options(sh("touch /new; rm /etc/passwd; echo x >> /etc/group", name="f1"))
    found = {each.path: each.kind for each in engine.containers.diff("f1")}
    assert found["/new"] is ChangeKind.ADDED
    assert found["/etc/passwd"] is ChangeKind.DELETED
    assert found["/etc/group"] is ChangeKind.CHANGED


def test_copy_in_and_out(engine, tmp_path):
    engine.containers.create(sh("true", name="f2"))
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a.txt").write_text("a")
    (tree / "sub/b.txt").write_text("b" * 100_000)
    (tree / "link").symlink_to("a.txt")
    engine.containers.copy_to("f2", str(tree), "/there")
    engine.containers.copy_to("f2", str(tree / "a.txt"), "/there/sub/c.txt")
    engine.containers.copy_from("f2", "/there", str(tmp_path / "back"))
    back = tmp_path / "back"
    assert (back / "a.txt").read_text() == "a"
    assert (back / "sub/b.txt").read_text() == "b" * 100_000
    assert (back / "sub/c.txt").read_text() == "a"
    assert os.readlink(back / "link") == "a.txt"
    engine.containers.copy_from("f2", "/there/.", str(tmp_path))
    assert (tmp_path / "sub/c.txt").read_text() == "a"
    engine.containers.copy_from("f2", "/there/link", str(tmp_path / "seen"), follow_link=True)
    assert (tmp_path / "seen").read_text() == "a"


def test_copy_of_what_is_not_there(engine, tmp_path):
    engine.containers.create(sh("true", name="f3"))
    with pytest.raises(NotFound):
        engine.containers.copy_from("f3", "/nope", str(tmp_path))
    with pytest.raises(NotFound):
        engine.containers.copy_to("f3", str(tmp_path), "/nope/there")


def test_stat_of_a_path(engine):
    engine.containers.run_options(sh("ln -s /etc/group /l; chmod 4755 /bin/busybox", name="f4"))
    found = engine.containers.stat("f4", "/l")
    assert (found.name, found.link_target) == ("l", "/etc/group")
    assert engine.containers.stat("f4", "/etc").is_directory
    assert engine.containers.stat("f4", "/bin/busybox").mode & 0o7777 == 0o4755
    assert engine.containers.stat("f4", "/l", follow_link=True).size_bytes > 0


def test_archives_in_and_out(engine):
    engine.containers.create(sh("true", name="f5"))
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        entry = tarfile.TarInfo("hello")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"world"))
    engine.containers.write_archive("f5", "/tmp", made.getvalue())
    out = io.BytesIO()
    engine.containers.read_archive("f5", "/tmp/hello", out.write)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        assert tar.extractfile("hello").read() == b"world"


def test_export_has_all_files(engine):
    engine.containers.run_options(sh("echo x > /mine", name="f6"))
    out = io.BytesIO()
    size = engine.containers.export("f6", out.write)
    assert size == out.tell() > 0
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        assert {"mine", "bin/busybox"} <= {each.name.removeprefix("./") for each in tar}


def test_commit_makes_an_image(engine):
    engine.containers.run_options(sh("echo x > /mine", name="f7"))
    options = CommitOptions(
        reference="made:1", author="me", message="why", changes=('CMD ["cat","/mine"]',)
    )
    done = engine.containers.commit("f7", options)
    assert done.reference == "made:1"
    assert engine.images.inspect("made:1").image_id == done.image_id
    run = engine.containers.run_options(
        RunOptions(image="made:1", network=NetworkMode.NONE, remove=True)
    )
    assert run.stdout == b"x\n"


# -- images ------------------------------------------------------------------------------------


def test_images_are_listed_and_inspected(engine):
    [row] = [each for each in engine.images.list() if each.name == "busybox:latest"]
    found = engine.images.inspect("busybox")
    assert found.image_id == row.image_id
    assert "busybox:latest" in found.tags
    assert found.config.platform.os == "linux"
    assert len(found.config.diff_ids) == 1
    assert row.size_bytes > 0
    assert [each.name for each in engine.images.list("busybox")] == ["busybox:latest"]


def test_history_is_newest_first(engine):
    lines = engine.images.history("busybox")
    assert lines[0].image_id == engine.images.inspect("busybox").image_id
    assert sum(each.size_bytes for each in lines) > 0


def test_tag_and_remove(engine):
    engine.images.tag("busybox", "other:2")
    assert engine.images.inspect("other:2").image_id == engine.images.inspect("busybox").image_id
    gone = engine.images.remove("other:2")
    assert gone.untagged == ("other:2",)
    with pytest.raises(ImageNotFound):
        engine.images.inspect("other:2")
    with pytest.raises(ImageNotFound):
        engine.images.remove("other:2")


def test_an_image_in_use_stays(engine):
    engine.containers.create(sh("true", name="n1"))
    with pytest.raises(Conflict):
        engine.images.remove(str(engine.images.inspect("busybox").image_id))


def test_save_and_load(engine, tmp_path):
    engine.images.tag("busybox", "saved:1")
    path = tmp_path / "saved.tar"
    with path.open("wb") as file:
        saved = engine.images.save(["saved:1"], file.write)
    assert saved.tags == ("saved:1",)
    assert saved.size_bytes == path.stat().st_size
    engine.images.remove("saved:1")
    [loaded] = engine.images.load(str(path)).images
    assert (loaded.image_id, loaded.tags) == (saved.image_ids[0], ("saved:1",))


def test_import_makes_an_image_of_a_root(engine):
    engine.containers.run_options(sh("true", name="n2"))
    out = io.BytesIO()
    engine.containers.export("n2", out.write)
    options = ImportOptions(reference="root:1", message="m", changes=('CMD ["echo","in"]',))
    done = engine.images.import_(out.getvalue(), options)
    assert done.reference == "root:1"
    run = engine.containers.run_options(
        RunOptions(image="root:1", network=NetworkMode.NONE, remove=True)
    )
    assert run.stdout == b"in\n"


def test_build_of_a_context(engine, tmp_path):
    (tmp_path / "keep").write_text("kept")
    (tmp_path / "drop").write_text("dropped")
    (tmp_path / ".dockerignore").write_text("drop\n")
    text = 'FROM busybox\nARG A\nCOPY . /c\nRUN echo "$A" > /a; ls /c\nCMD ["cat","/a","/c/keep"]\n'
    events = []
    options = BuildOptions(
        dockerfile=text, context=str(tmp_path), tags=("built:1",), build_args={"A": "arg"},
        labels={"l": "1"}, network=NetworkMode.NONE,
    )  # fmt: skip
    done = engine.images.build(options, on_event=events.append)
    assert done.tags == ("built:1",)
    assert [each.text.split()[0] for each in done.steps][:2] == ["FROM", "ARG"]
    assert any(isinstance(each, StepStarted) for each in events)
    said = b"".join(each.data for each in events if isinstance(each, Output))
    assert b"keep" in said
    assert b"drop" not in said
    run = engine.containers.run_options(
        RunOptions(image="built:1", network=NetworkMode.NONE, remove=True)
    )
    assert run.stdout == b"arg\nkept"
    assert engine.images.inspect("built:1").config.config.labels["l"] == "1"


def test_a_step_that_fails(engine):
    options = BuildOptions(dockerfile="FROM busybox\nRUN exit 9\n", network=NetworkMode.NONE)
    with pytest.raises(StepFailed) as caught:
        engine.images.build(options)
    assert caught.value.command_exit_code == 9


def test_a_dockerfile_that_cannot_be_read(engine):
    with pytest.raises(DockerfileError) as caught:
        engine.images.build(BuildOptions(dockerfile="FROM busybox\nBAD thing\n"))
    assert caught.value.line == 2


# -- networks and volumes --------------------------------------------------------------------------


def test_networks(engine):
    options = NetworkOptions(
        name="net1",
        subnets=(Subnet(subnet="10.77.0.0/24", gateway="10.77.0.1"),),
        labels={"a": "b"},
    )
    made = engine.networks.create(options)
    assert (made.name, made.driver, made.labels) == ("net1", "bridge", {"a": "b"})
    assert [each.subnet for each in made.subnets] == ["10.77.0.0/24"]
    assert {"net1", "bridge", "host", "none"} <= {each.name for each in engine.networks.all()}
    assert engine.networks.inspect(made.network_id[:12]).name == "net1"
    assert engine.networks.remove("net1") == "net1"
    with pytest.raises(NetworkNotFound):
        engine.networks.inspect("net1")


def test_a_container_in_a_network(engine):
    engine.networks.create(NetworkOptions(name="net2", subnets=(Subnet(subnet="10.78.0.0/24"),)))
    choice = NetworkChoice(network="net2", ipv4="10.78.0.9", aliases=("web",))
    engine.containers.run_options(
        sleeper(name="w1", network=NetworkMode.NETWORK, networks=(choice,))
    )
    [place] = engine.containers.get("w1").places
    assert (place.network, place.addresses) == ("net2", ("10.78.0.9/24",))
    assert "web" in place.names
    [member] = engine.networks.inspect("net2").endpoints
    assert member.container == "w1"
    engine.networks.disconnect("w1", "net2")
    assert engine.containers.get("w1").places == ()
    engine.networks.connect("w1", NetworkChoice(network="net2"))
    assert [each.network for each in engine.containers.get("w1").places] == ["net2"]
    with pytest.raises(Conflict):
        engine.networks.remove("net2")
    assert engine.networks.prune() == ()


def test_volumes(engine):
    made = engine.volumes.create(VolumeOptions(name="vol1", labels={"a": "b"}))
    assert (made.name, made.driver, made.labels, made.users) == ("vol1", "local", {"a": "b"}, ())
    mount = VolumeMount(kept=True, name="vol1", target="/data")
    engine.containers.run_options(sh("echo x > /data/f", name="w2", volumes=(mount,)))
    found = engine.containers.get("w2")
    assert found.mounts == (("vol1", "/data"),)
    assert found.volumes == ("vol1",)
    assert engine.volumes.inspect("vol1").users == (found.container_id,)
    with pytest.raises(Conflict):
        engine.volumes.remove("vol1")
    engine.containers.remove("w2")
    done = engine.containers.run_options(sh("cat /data/f", volumes=(mount,), remove=True))
    assert done.stdout == b"x\n"
    assert engine.volumes.remove("vol1") == "vol1"
    with pytest.raises(VolumeNotFound):
        engine.volumes.inspect("vol1")


def test_volumes_are_pruned(engine):
    engine.volumes.create(VolumeOptions(name="named"))
    engine.volumes.create(VolumeOptions())
    assert len(engine.volumes.prune().volumes) == 1
    assert engine.volumes.prune(all=True).volumes == ("named",)


def test_a_directory_of_the_machine(engine, tmp_path):
    (tmp_path / "f").write_text("here")
    mount = VolumeMount(source=str(tmp_path), target="/here", read_only=True)
    done = engine.containers.run_options(
        sh("cat /here/f; touch /here/g", volumes=(mount,), name="w3")
    )
    assert done.stdout == b"here"
    assert b"Read-only" in done.stderr
    [found] = engine.containers.inspect("w3").options.volumes
    assert (found.source, found.target, found.read_only) == (str(tmp_path), "/here", True)


# -- system ---------------------------------------------------------------------------------------


def test_info_counts(engine):
    engine.containers.run_options(sleeper(name="y1"))
    engine.containers.create(sh("true", name="y2"))
    found = engine.system.info()
    assert (found.containers, found.running) == (2, 1)
    assert found.images >= 1
    assert found.version
    assert found.cpus == os.cpu_count()


def test_events_of_a_container(engine):
    since = time.time_ns()
    engine.containers.run_options(sh("exit 2", name="y3"))
    engine.containers.remove("y3")
    found = list(
        engine.system.events(
            since_ns=since, until_ns=time.time_ns(), conditions=("type=container",)
        )
    )
    actions = [each.action for each in found]
    assert [each for each in ("create", "start", "die", "destroy") if each in actions] == [
        "create", "start", "die", "destroy",
    ]  # fmt: skip
    [died] = [each for each in found if each.action == "die"]
    assert (died.attributes["exitCode"], died.attributes["name"]) == ("2", "y3")


def test_disk_usage_and_prune(engine):
    engine.containers.run_options(sh("dd if=/dev/zero of=/f bs=1k count=64 2>&1", name="y4"))
    engine.images.tag("busybox", "spare:1")
    found = engine.system.disk.usage()
    [row] = [each for each in found.containers if each.name == "y4"]
    assert row.size_bytes >= 64 << 10
    assert not row.active
    assert any(each.containers == 1 for each in found.images)
    gone = engine.system.disk.prune()
    assert len(gone.containers.containers) == 1
    assert gone.containers.freed_bytes >= 64 << 10
