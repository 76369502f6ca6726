"""config.md, "POSIX-platform Hooks" and the lifecycle of runtime.md: when, where, with what."""

import json
import os

import pytest

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
BEFORE_START = ("prestart", "createRuntime", "createContainer")
OUTSIDE = ("prestart", "createRuntime", "poststart", "poststop")


def hook(script, **options):
    """Make a hook that reads the state first: crun dies by SIGPIPE of one that does not."""
    return {"path": "/bin/sh", "args": ["sh", "-c", f"cat >/dev/null; {script}"]} | options


@pytest.fixture
def diary(box, tmp_path):
    """A directory that hooks write to, at the same place on the machine and in the container."""
    directory = tmp_path / "diary"
    directory.mkdir(mode=0o777)
    box.mount(str(directory), "bind", directory, "bind")
    return directory


def note(diary, name, what="x"):
    script = f"cat >{diary}/{name}.state; echo {what} >>{diary}/{name}"
    return {"path": "/bin/sh", "args": ["sh", "-c", script]}


def whole_life(box):
    """Create, start, end and delete a container."""
    box.create()
    box.start()
    box.wait()
    box.call("delete", box.name)
    box.names.clear()


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


# -- when ------------------------------------------------------------------------


def test_all_kinds_in_their_order(box, diary):
    """runtime.md, "Lifecycle" 3-13: each kind at its step, each list in its order."""
    box.config["hooks"] = {
        kind: [hook(f"echo {kind}{n} >>{diary}/order") for n in (1, 2)] for kind in KINDS
    }
    box.shell(f"echo program >>{diary}/order")
    box.create()
    first = [f"{kind}{n}" for kind in BEFORE_START for n in (1, 2)]
    assert lines(diary / "order") == first
    box.start()
    box.wait()
    told = lines(diary / "order")
    # poststart runs beside the program: only its own order is certain.
    assert told[:8] == [*first, "startContainer1", "startContainer2"]
    assert [word for word in told[8:] if word != "program"] == ["poststart1", "poststart2"]
    box.call("delete", box.name)
    assert lines(diary / "order")[-2:] == ["poststop1", "poststop2"]
    assert lines(diary / "order").count("program") == 1


def test_startcontainer_comes_before_the_program(box, diary):
    """config.md, "StartContainer Hooks": before the user-specified process is executed."""
    box.config["hooks"] = {
        "startContainer": [hook("cat /proc/1/cmdline | tr '\\0' ' ' >/tmp/seen")]
    }
    box.shell("exec sleep 0")
    whole_life(box)
    assert "sleep" not in (box.rootfs / "tmp/seen").read_text().split()


def test_poststart_comes_after_the_program(box, diary):
    """config.md, "Poststart": after the program is executed, before start returns."""
    script = f"until grep -q mark /proc/$(cat {diary}/pid)/cmdline; do sleep 0.01; done"
    box.config["hooks"] = {"poststart": [hook(f"{script}; echo seen >{diary}/seen", timeout=2)]}
    box.shell("while :; do sleep 1; done # mark")
    box.create()
    (diary / "pid").write_text(str(box.pid))
    box.start()
    assert lines(diary / "seen") == ["seen"]


def test_poststop_comes_after_the_deletion(box, diary):
    """config.md, "Poststop": after the container is deleted, before delete returns."""
    box.config["hooks"] = {
        "poststop": [hook(f"test -d {box.cgroup('pids')} || echo gone >{diary}/cgroup")]
    }
    whole_life(box)
    assert lines(diary / "cgroup") == ["gone"]


def test_poststop_also_after_force(box, diary):
    """config.md, "Poststop": whatever way the container is deleted."""
    box.config["hooks"] = {"poststop": [note(diary, "poststop")]}
    box.started()
    box.call("delete", "--force", box.name)
    assert lines(diary / "poststop") == ["x"]


def test_poststop_after_run(box, diary):
    """config.md, "Poststop": ``run`` deletes too."""
    box.config["hooks"] = {"poststop": [note(diary, "poststop")]}
    box.run("true")
    assert lines(diary / "poststop") == ["x"]


# -- where -----------------------------------------------------------------------


def test_namespaces(box, diary):
    """config.md, "POSIX-platform Hooks": runtime namespace, or container namespace."""
    kinds = ("mnt", "net", "uts", "ipc")
    script = "for n in {}; do readlink /proc/self/ns/$n; done >{}/{}.ns"
    box.config["hooks"] = {
        kind: [hook(script.format(" ".join(kinds), diary, kind))] for kind in KINDS
    }
    box.shell(script.format(" ".join(kinds), diary, "program"))
    whole_life(box)
    inside = lines(diary / "program.ns")
    outside = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert lines(diary / "startContainer.ns") == inside
    assert lines(diary / "createContainer.ns") == inside
    for kind in OUTSIDE:
        # crun is started in a mount namespace of its own, to hide cgroup v2 from it.
        assert lines(diary / f"{kind}.ns")[1:] == outside[1:]
        # The container's own is gone at poststop, and its number free for crun's next one.
        if kind != "poststop":
            assert lines(diary / f"{kind}.ns")[0] != inside[0]


@pytest.mark.parametrize("kind", KINDS)
def test_where_the_path_is_looked_up(box, diary, kind, tmp_path):
    """config.md, "POSIX-platform Hooks": path resolves outside, startContainer's inside."""
    program = tmp_path / "hook-of-the-machine"
    place = box.rootfs / "hook-of-the-container"
    for path, word in ((program, "machine"), (place, "container")):
        path.write_text(f"#!/bin/sh\ncat >/dev/null; echo {word} >{diary}/which\n")
        path.chmod(0o755)
    path = "/hook-of-the-container" if kind == "startContainer" else str(program)
    box.config["hooks"] = {kind: [{"path": path}]}
    whole_life(box)
    assert lines(diary / "which") == ["container" if kind == "startContainer" else "machine"]


def test_the_root_has_not_been_changed_yet(box, diary):
    """config.md, "CreateRuntime Hooks": after the namespaces, before pivot_root."""
    box.config["hooks"] = {
        "createContainer": [hook(f"test -d {box.rootfs}/bin && echo yes >{diary}/sees-rootfs")]
    }
    whole_life(box)
    assert lines(diary / "sees-rootfs") == ["yes"]


def test_mounts_of_createcontainer_are_seen_inside(box, diary):
    """config.md, "CreateContainer Hooks": the mount namespace is there and set up."""
    (box.rootfs / "home/late").mkdir()
    box.config["hooks"] = {
        "createContainer": [
            {"path": "/bin/mount", "args": ["mount", "-t", "tmpfs", "l", f"{box.rootfs}/home/late"]}
        ]
    }
    assert "/home/late" in box.run("cat /proc/self/mountinfo")
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        assert "home/late" not in mounts.read()


# -- with what -------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_state_on_stdin(box, diary, kind):
    """config.md, "POSIX-platform Hooks": the state MUST be passed to hooks over stdin."""
    box.config["annotations"] = {"a": "b"}
    box.config["hooks"] = {kind: [note(diary, kind)]}
    box.shell("exec sleep 100")
    box.create()
    box.start()
    box.kill()
    box.call("delete", box.name)
    told = json.loads((diary / f"{kind}.state").read_text())
    assert told["ociVersion"].split(".")[0] == "1"
    assert told["id"] == box.name
    assert told["bundle"] == str(box.bundle)
    assert told["annotations"] == {"a": "b"}
    if kind in OUTSIDE[:3]:
        assert told["pid"] == box.pid


@pytest.mark.parametrize(
    ("kind", "status"),
    [("prestart", "created creating"), ("createRuntime", "creating"),
     ("createContainer", "creating"), ("startContainer", "created"), ("poststart", "running"),
     ("poststop", "stopped")],
)  # fmt: skip
def test_status_of_the_state(box, diary, kind, status):
    """runtime.md, "State": creating, created, running, stopped, as the lifecycle has it.

    At the prestart hooks the environment is created, step 2, and the operation is not over.
    """
    box.config["hooks"] = {kind: [note(diary, kind)]}
    box.shell("exec sleep 100")
    box.create()
    box.start()
    box.kill()
    box.call("delete", box.name)
    assert json.loads((diary / f"{kind}.state").read_text())["status"] in status.split()


def test_args_and_env(box, diary):
    """config.md, "POSIX-platform Hooks": args as execv's argv, env as environ: nothing else."""
    listing = f"tr '\\0' '\\n' </proc/$$/environ >{diary}/env; echo \"$0 $*\" >{diary}/args"
    wanted = ["A=1", "B=two words", "PATH=/bin:/usr/bin"]
    one = {"path": "/bin/sh", "args": ["any", "-c", listing, "zero", "x y", ""], "env": wanted}
    box.config["hooks"] = {"createRuntime": [one]}
    os.environ["OCIMAGIC_LEAK"] = "secret"
    try:
        box.create()
    finally:
        del os.environ["OCIMAGIC_LEAK"]
    assert sorted(lines(diary / "env")) == sorted(wanted)
    assert lines(diary / "args") == ["zero x y "]


def test_a_hook_that_reads_no_state(box, diary):
    """A hook may end before it has read stdin: that is not a failure."""
    box.config["annotations"] = {"big": "x" * 200000}
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/true"}], "poststop": [note(diary, "p")]}
    whole_life(box)
    assert len((diary / "p.state").read_text()) > 200000


def test_a_hook_without_args(box, diary, tmp_path):
    """config.md, "POSIX-platform Hooks": args are optional."""
    program = tmp_path / "hook"
    program.write_text(f'#!/bin/sh\ncat >/dev/null; echo "$#" >{diary}/count\n')
    program.chmod(0o755)
    box.config["hooks"] = {"createRuntime": [{"path": str(program)}]}
    box.create()
    assert lines(diary / "count") == ["0"]


# -- failures ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", BEFORE_START)
@pytest.mark.parametrize("how", [hook("echo reason >&2; exit 3"), {"path": "/nonexistent/hook"}])
def test_a_failure_before_start_stops_all(box, diary, kind, how):
    """runtime.md, "Lifecycle" 3-5: an error, the container is stopped, on at poststop."""
    box.config["hooks"] = {
        kind: [how, note(diary, "second")],
        "startContainer": [note(diary, "startContainer")],
    }
    box.create_refused()
    assert box.left_behind() == []
    assert not (diary / "second").exists()
    assert not (diary / "startContainer").exists()
    box.refused("state", box.name)


def test_a_failure_of_startcontainer(box, diary):
    """runtime.md, "Lifecycle" 7: start generates an error and the container is stopped."""
    box.config["hooks"] = {"startContainer": [hook("exit 1")]}
    box.shell(f"echo ran >{diary}/ran")
    box.create()
    box.refused("start", box.name)
    box.wait()
    assert not (diary / "ran").exists()
    assert box.call("state", box.name, check=False).stdout.find('"running"') < 0


def test_a_failure_of_poststart_is_a_warning(box, diary):
    """runtime.md (1.2), "Lifecycle" 9: a warning; the rest goes on as if it had succeeded."""
    box.config["hooks"] = {"poststart": [hook("exit 1"), note(diary, "second")]}
    box.shell("exec sleep 100")
    box.create()
    box.start()
    assert box.status() == "running"
    assert lines(diary / "second") == ["x"]


def test_a_failure_of_poststop_is_a_warning(box, diary):
    """runtime.md, "Lifecycle" 13: a warning; the remaining hooks go on."""
    box.config["hooks"] = {"poststop": [hook("exit 1"), note(diary, "second")]}
    whole_life(box)
    assert lines(diary / "second") == ["x"]
    assert box.left_behind() == []


def test_timeout(box, diary):
    """config.md, "POSIX-platform Hooks": timeout is the seconds before the hook is aborted."""
    slow = hook(f"echo $$ >{diary}/pid; exec sleep 50", timeout=1)
    box.config["hooks"] = {"createRuntime": [slow]}
    box.create_refused()
    assert box.left_behind() == []
    assert lines(diary / "pid")


@pytest.mark.parametrize("timeout", [0, -1])
def test_timeout_must_be_positive(box, timeout):
    """config.md, "POSIX-platform Hooks": if set, timeout MUST be greater than zero."""
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/true", "timeout": timeout}]}
    box.create_refused()


@pytest.mark.parametrize("path", ["true", "./true", "", None])
def test_path_must_be_absolute(box, path):
    """config.md, "POSIX-platform Hooks": path is required and MUST be absolute."""
    box.config["hooks"] = {"createRuntime": [{"path": path} if path is not None else {}]}
    box.create_refused()
