"""runtime.md: state, the verbs, what each must refuse, and what an error must leave: nothing."""

import json
import os
import select
import signal
import subprocess
from pathlib import Path

import pytest
from ocibox import until

MARK = "echo ran >>/tmp/mark; exec sleep 100"


def marks(box):
    path = box.rootfs / "tmp/mark"
    return path.read_text() if path.exists() else ""


# -- state ---------------------------------------------------------------------


def test_state_of_a_created_container(box):
    """runtime.md, "State": ociVersion, id, status, pid (created or running) and bundle."""
    box.config["annotations"] = {"org.example.a": "b", "c": ""}
    box.create()
    told = box.state()
    assert told["ociVersion"].split(".")[0] == "1"
    assert told["id"] == box.name
    assert told["status"] == "created"
    assert told["pid"] == box.pid
    assert told["bundle"] == str(box.bundle)
    assert told["annotations"] == {"org.example.a": "b", "c": ""}


def test_status_follows_the_life(box):
    """runtime.md, "State": created, running, stopped."""
    box.started()
    told = box.state()
    assert (told["status"], told["pid"]) == ("running", box.pid)
    box.kill()
    assert box.status() == "stopped"


def test_status_of_a_process_that_ended_by_itself(box):
    """runtime.md, "Kill": stopped irrespective of how it came to that."""
    box.started("exit 3")
    assert box.wait() == 3
    assert box.status() == "stopped"


def test_bundle_is_absolute_when_given_relative(box):
    """runtime.md, "State": bundle is the absolute path."""
    box.write()
    box.names.add(box.name)
    with (box.directory / "out").open("wb") as out:
        done = subprocess.run(
            box.words("create", "--bundle", "bundle", box.name),
            cwd=box.directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False,
        )  # fmt: skip
    assert done.returncode == 0
    assert box.state()["bundle"] == str(box.bundle)


def test_state_refuses(box):
    """runtime.md, "Query State": an error without an ID, and for one that does not exist."""
    box.refused("state")
    box.refused("state", "nobody")


# -- create --------------------------------------------------------------------


def test_create_does_not_run_the_program(box):
    """runtime.md, "Create": process.args must not be applied until start."""
    box.shell(MARK)
    box.create()
    os.kill(box.pid, 0)
    assert marks(box) == ""
    box.start()
    assert box.status() == "running"


def test_create_needs_an_id_and_a_bundle(box, tmp_path):
    """runtime.md, "Create": an error if not provided a path to the bundle and the ID."""
    box.write()
    box.refused("create", "--bundle", box.bundle)
    (tmp_path / "empty").mkdir()
    box.refused("create", "--bundle", tmp_path / "empty", "x")
    box.refused("create", "--bundle", tmp_path / "missing", "x")
    assert not (box.root / "x").exists()


def test_create_refuses_an_id_in_use(box):
    """runtime.md, "Create": an ID that is not unique generates an error; the first lives on."""
    box.shell(MARK)
    box.create()
    before = box.state()
    box.create_refused(write=False)
    assert box.state() == before
    box.start()
    box.create_refused(write=False)
    assert box.status() == "running"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/"])
def test_create_refuses_an_invalid_id(box, name):
    """runtime.md, "Create": an ID that is not valid generates an error, and no container."""
    box.write()
    box.create_refused(name=name)
    box.names.clear()
    assert not box.root.exists() or not list(box.root.rglob("state.json"))
    assert not (box.directory / "a").exists()


@pytest.mark.parametrize("name", ["a b", "a\nb", "a\x01b", "é", "a:b"])
def test_create_refuses_characters_outside_of_the_alphabet(box, name):
    """runtime.md, "Create": not valid in any other way; here, a character that names no file."""
    box.create_refused(name=name)


@pytest.mark.parametrize("name", ["a", "A.b_c-d+e", "0", "x" * 100])
def test_create_takes_every_id_runc_takes(box, name):
    """An ID of letters, digits, ``_+-.`` works; the spec leaves the alphabet to us."""
    box.linux["cgroupsPath"] += f"/{name}"
    box.create(name=name)
    assert box.state(name)["id"] == name
    box.call("delete", "--force", name)


def test_a_later_change_of_the_config_has_no_effect(box):
    """runtime.md, "Create": changes to config.json after create have no effect."""
    box.shell("echo first; exit 5")
    box.create()
    box.shell("echo second; exit 6")
    box.write()
    box.start()
    assert box.wait() == 5
    assert box.output() == "first\n"


def test_equal_ids_live_below_different_roots(make_box):
    """runtime.md, "State": unique across all containers on this host, per state root."""
    one, two = make_box(), make_box()
    one.create(name="same")
    two.create(name="same")
    assert one.state("same")["pid"] != two.state("same")["pid"]


# -- what an error leaves --------------------------------------------------------


def spoil_mount(box):
    box.mount("/x", "bind", "/nonexistent/source", "bind")


def spoil_namespace(box):
    box.namespace("network", "/nonexistent/ns")


def spoil_program(box):
    box.process["args"] = ["/nonexistent"]


def spoil_hook(box):
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}


@pytest.mark.parametrize("spoil", [spoil_mount, spoil_namespace, spoil_program, spoil_hook])
def test_a_failed_create_leaves_nothing(box, spoil):
    """runtime.md, "Errors": the state of the environment is as if it were never attempted."""
    good = json.dumps(box.config)
    spoil(box)
    box.create_refused()
    assert box.left_behind() == []
    box.refused("state", box.name)
    box.config = json.loads(good)
    box.create()
    assert box.status() == "created"


def test_a_failed_create_calls_poststop_hooks(box):
    """runtime.md, "Lifecycle" 4: when a createRuntime hook fails, go on at poststop."""
    said = box.directory / "poststop"
    box.config["hooks"] = {
        "createRuntime": [{"path": "/bin/false"}],
        "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo x >>{said}"]}],
    }
    box.create_refused()
    assert said.read_text() == "x\n"


# -- start ---------------------------------------------------------------------


def test_start_runs_the_program(box):
    """runtime.md, "Start": runs the user-specified program; then the status is running."""
    box.shell(MARK)
    box.create()
    box.start()
    assert box.status() == "running"
    while marks(box) != "ran\n":
        os.sched_yield()


def test_start_refuses(box):
    """runtime.md, "Start": an error without an ID, and for one that does not exist."""
    box.refused("start")
    box.refused("start", "nobody")


def test_start_twice_has_no_effect(box):
    """runtime.md, "Start": not created: no effect on the container, and an error."""
    box.started(MARK)
    before = box.state()
    box.refused("start", box.name)
    assert box.state() == before
    box.kill()
    box.refused("start", box.name)
    assert box.status() == "stopped"
    assert marks(box) == "ran\n"


def test_start_without_a_process_is_an_error(box):
    """runtime.md, "Start" and config.md, "Process": process may be absent until start."""
    del box.config["process"]
    box.create()
    assert box.status() == "created"
    box.refused("start", box.name)


def test_a_program_that_is_not_there(box):
    """config.md, "Process": args[0] that cannot be run is an error of create or start."""
    box.process["args"] = ["nowhere-to-be-found"]
    assert "nowhere-to-be-found" in box.run_refused()


# -- kill ----------------------------------------------------------------------

TRAPS = """
for s in HUP USR1 USR2 TERM WINCH; do trap "echo $s; exit 0" $s; done
echo ready >/tmp/ready; while :; do read -t 1 x </tmp/fifo; done
"""


def trapping(box):
    os.mkfifo(box.rootfs / "tmp/fifo")
    held = os.open(box.rootfs / "tmp/fifo", os.O_RDWR | os.O_CLOEXEC)
    box.started(TRAPS)
    while not (box.rootfs / "tmp/ready").exists():
        os.sched_yield()
    return held


@pytest.mark.parametrize(
    ("word", "arrives"),
    [("USR1", "USR1"), ("SIGUSR2", "USR2"), ("1", "HUP"), (None, "TERM"), ("SIGWINCH", "WINCH")],
)
def test_kill_sends_the_signal(box, word, arrives):
    """runtime.md, "Kill": sends the specified signal to the container process."""
    held = trapping(box)
    box.call("kill", box.name, *([word] if word else []))
    assert box.wait() == 0
    os.close(held)
    assert box.output() == f"{arrives}\n"


def test_kill_of_a_created_container(box):
    """runtime.md, "Kill": an error only if it is neither created nor running."""
    box.create()
    box.call("kill", box.name, "KILL")
    assert box.wait() == 128 + signal.SIGKILL
    assert box.status() == "stopped"


def test_kill_refuses(box):
    """runtime.md, "Kill": no ID, no such container, not running, no such signal."""
    box.refused("kill")
    box.refused("kill", "nobody", "TERM")
    box.started()
    for word in ("NOSUCH", "999", "-1", "SIGTERM; true"):
        box.refused("kill", box.name, word)
    assert box.status() == "running"
    box.kill()
    box.refused("kill", box.name, "KILL")
    assert box.status() == "stopped"


def test_kill_zero_is_no_signal_or_an_error(box):
    """kill(2): signal 0 delivers nothing; the container lives on either way."""
    box.started()
    box.call("kill", box.name, "0", check=False)
    assert box.status() == "running"


def test_kill_all_reaches_every_process(box):
    """``--all`` of runc: every process of the container, here without a pid namespace."""
    box.without_namespace("pid")
    box.started("sleep 100 & sleep 100 & echo $! >/tmp/pid; exec sleep 100")
    path = box.rootfs / "tmp/pid"
    while not path.exists() or not path.read_text():
        os.sched_yield()
    other = os.pidfd_open(int(path.read_text()))
    box.call("kill", "--all", box.name, "KILL")
    assert box.wait() == 137
    until(lambda: select.select([other], [], [], 0)[0])
    os.close(other)


# -- delete --------------------------------------------------------------------


def test_delete_refuses(box):
    """runtime.md, "Delete": an error without an ID, and for one that does not exist."""
    box.refused("delete")
    box.refused("delete", "nobody")


def test_delete_of_a_running_container(box):
    """runtime.md, "Delete": not stopped: no effect, and an error."""
    box.started()
    box.refused("delete", box.name)
    assert box.status() == "running"


def test_delete_of_a_created_container(box):
    """runtime.md, "Delete": created is not stopped either."""
    box.create()
    box.refused("delete", box.name)
    assert box.status() == "created"


def test_delete_removes_what_create_made(box):
    """runtime.md, "Delete": the resources made by create are deleted; the ID may be used again."""
    box.started()
    assert box.cgroup("pids").is_dir()
    box.kill()
    box.call("delete", box.name)
    assert box.left_behind() == []
    box.refused("state", box.name)
    box.started("exit 0")
    assert box.wait() == 0


def test_delete_leaves_what_create_did_not_make(box, tmp_path):
    """runtime.md, "Delete": resources not created by this container must not be deleted."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/file").write_text("kept")
    box.mount("/home", "bind", tmp_path / "volume", "rbind")
    parent = box.cgroup("pids").parent / f"{box.name}-parent"
    parent.mkdir(parents=True)
    box.linux["cgroupsPath"] = f"/{parent.relative_to(parent.parents[1])}/child"
    box.started("exit 0")
    box.wait()
    box.call("delete", box.name)
    assert (tmp_path / "volume/file").read_text() == "kept"
    assert (box.bundle / "config.json").exists()
    assert (box.rootfs / "bin/sh").exists()
    assert not (parent / "child").exists()
    parent.rmdir()


def test_delete_force(box):
    """``--force`` of runc: kills what runs; what is not there is no error."""
    box.started()
    box.call("delete", "--force", box.name)
    assert box.wait() == 137
    assert box.left_behind() == []
    box.call("delete", "--force", box.name)


def test_delete_removes_processes_without_a_pid_namespace(box):
    """runtime.md, "Delete": nothing of the container is left, be its first process long gone."""
    box.without_namespace("pid")
    box.started("(exec sleep 100) & echo $! >/tmp/pid; exit 0")
    assert box.wait() == 0
    other = os.pidfd_open(int((box.rootfs / "tmp/pid").read_text()))
    box.call("delete", box.name, check=False)
    box.call("delete", "--force", box.name)
    until(lambda: select.select([other], [], [], 0)[0])
    os.close(other)
    assert box.left_behind() == []


# -- run -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137)]
)
def test_run_passes_the_exit_code_on(box, script, code):
    """``run`` of runc ends as the process did, 128+n if a signal ended it."""
    if "kill" in script:
        box.without_namespace("pid")  # as pid 1 it would not feel its own signal
    assert box.run_whole(script, check=False).returncode == code
    assert box.left_behind() == []


def test_run_passes_the_streams_on(box):
    """``run`` of runc: the three streams are the container's."""
    done = box.run_whole("cat; echo oops >&2", stdin="hello")
    assert (done.stdout, done.stderr) == ("hello", "oops\n")


def test_run_detached(box):
    """``run --detach`` of runc: returns when the program runs."""
    box.shell("exec sleep 100")
    box.write()
    box.names.add(box.name)
    pid_file = box.directory / "pid"
    done = subprocess.run(
        box.words("run", "--detach", "--pid-file", pid_file, "--bundle", box.bundle, box.name),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    box.pidfds.append(os.pidfd_open(int(pid_file.read_text())))
    assert box.status() == "running"


# -- the bundle ------------------------------------------------------------------


def test_the_bundle_is_the_working_directory_by_default(box):
    """bundle.md; runc: ``--bundle`` defaults to the current directory."""
    box.shell("echo here")
    box.write()
    box.names.add(box.name)
    assert box.call("run", box.name, cwd=box.bundle).stdout == "here\n"


def test_root_path_absolute_and_relative(box, tmp_path):
    """config.md, "Root": path is absolute, or relative to the bundle."""
    elsewhere = tmp_path / "elsewhere"
    box.rootfs.rename(elsewhere)
    box.config["root"]["path"] = str(elsewhere)
    assert box.run("echo absolute") == "absolute\n"
    inner = box.bundle / "a/b"
    inner.mkdir(parents=True)
    elsewhere.rename(inner / "c")
    box.config["root"]["path"] = "a/b/c"
    assert box.run("echo relative") == "relative\n"


def test_root_path_must_be_a_directory(box):
    """config.md, "Root": a directory MUST exist at the path."""
    for path in ("missing", "rootfs/bin/busybox"):
        box.config["root"]["path"] = path
        box.create_refused()
        assert box.left_behind() == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', '{"ociVersion": "1.0.2"}', "\x00"])
def test_a_config_that_is_none(box, text):
    """bundle.md: config.json holds the configuration data; anything else is an error."""
    box.write()
    (box.bundle / "config.json").write_text(text)
    box.create_refused(write=False)
    assert box.left_behind() == []


@pytest.mark.parametrize("version", [None, "", "abc", "2.0.0", "1"])
def test_oci_version_is_needed_and_known(box, version):
    """config.md, "Specification version": required, SemVer; unsupported ones are errors."""
    box.config["ociVersion"] = version
    if version is None:
        del box.config["ociVersion"]
    box.create_refused()


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0+dev", "1.2.1", "1.3.0"])
def test_oci_versions_of_the_1_series(box, version):
    """config.md, "Specification version": compatible with the complete 1.x series."""
    box.config["ociVersion"] = version
    assert box.run("echo fine") == "fine\n"


def test_unknown_properties_are_ignored(box):
    """config.md, "Extensibility": unknown properties MUST NOT generate an error."""
    box.config["org.example.unknown"] = {"a": [1, None]}
    box.process["unknown"] = True
    box.linux["unknown"] = "x"
    box.config["root"]["unknown"] = 1
    assert box.run("echo fine") == "fine\n"


@pytest.mark.parametrize("value", [{"args": "sh"}, {"cwd": 1}, {"env": {}}, {"user": 0}])
def test_valid_values(box, value):
    """config.md, "Valid values": an invalid value where one is needed is an error."""
    box.process.update(value)
    box.create_refused()


def test_annotations_keep_every_character(box):
    """config.md, "Annotations": keys and values are strings; unknown keys are no error."""
    notes = {"a.b/c": 'quote " back \\ slash', "empty": "", "é": "ü\n\t", "org.x": "y" * 5000}
    box.config["annotations"] = notes
    box.create()
    assert box.state()["annotations"] == notes


@pytest.mark.parametrize("notes", [{"a": 1}, {"a": None}, ["a"]])
def test_annotations_are_strings(box, notes):
    """config.md, "Annotations": values MUST be strings."""
    box.config["annotations"] = notes
    box.create_refused()


def test_pid_file_holds_the_pid_of_the_machine(box):
    """``--pid-file`` of runc: the number, and nothing else."""
    box.create()
    text = (box.directory / "pid").read_text()
    assert text == str(box.state()["pid"])
    assert Path(f"/proc/{text}").exists()
