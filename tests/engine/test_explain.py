"""What ``explain`` tells of a container is held against /proc and the files of that very run."""

import json
import os
import re
import shutil
import time
from datetime import datetime
from pathlib import Path

import pytest

from ocimagic import Engine
from ocimagic.engine import run as running
from ocimagic.engine.record import Document
from ocimagic.engine.story_words import clone_flags
from ocimagic.engine.timeline import Ticks, parse_notes
from ocimagic.errors import CommandNotFound, NotFound
from ocimagic.model import chapters
from ocimagic.model.explanation import Chapter, Party
from ocimagic.model.network import NetworkChoice
from ocimagic.model.options import NetworkMode, RunOptions

NETWORKED = os.geteuid() == 0
PACKAGE = Path(running.__file__).parents[2]


@pytest.fixture(scope="module")
def alive(shared):
    """A container that runs, the seconds around its start, and its story."""
    before = time.time()
    made = shared.containers.run("busybox", ["sleep", "1000"], network="none", detach=True,
                                 name="alive", hostname="told")  # fmt: skip
    after = time.time()
    yield made, (before, after), shared.explainer.explain("alive")
    shared.containers.remove("alive", force=True)


def step(told, part):
    """Return the one step whose title holds a text."""
    [found] = [each for each in told.steps if part in each.title]
    return found


def facts(told, part):
    return dict(step(told, part).facts)


def status_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_namespaces_are_those_of_the_process(alive):
    made, _, told = alive
    said = facts(told, "clone3")
    config = json.loads((bundle_of(told) / "config.json").read_text())
    asked = {each["type"] for each in config["linux"]["namespaces"]}
    names = {"mnt": "mount", "net": "network"}
    for kind in os.listdir("/proc/self/ns"):
        if kind.endswith("_for_children"):
            continue
        theirs = os.stat(f"/proc/{made.pid}/ns/{kind}").st_ino
        mine = os.stat(f"/proc/self/ns/{kind}").st_ino
        words = said[f"{names.get(kind, kind)} namespace"]
        assert words.startswith(f"{kind}:[{theirs}]")
        is_new = names.get(kind, kind) in asked
        assert ("new" in words) == is_new
        if is_new:
            assert theirs != mine
            assert f"here: {mine}" in words
    assert len(asked) >= 4
    assert f"{len(asked)} new namespaces" in step(told, "clone3").title


def test_pids_and_parents_are_those_of_the_kernel(alive, shared):
    made, _, told = alive
    said = facts(told, "takes it")
    start = facts(told, "execve")
    status = status_of(made.pid)
    assert start["pid outside"] == str(made.pid) == status["Pid"]
    assert start["pid inside"] == status["NSpid"].split()[-1]
    assert said["engine"] == f"process {os.getpid()}"
    launcher = shared.containers.launcher.pid
    assert f"process {launcher}" in said["launcher"]
    shim, holder = (int(re.search(r"process (\d+)", said[n])[1]) for n in ("shim", "holder"))
    assert int(status_of(holder)["PPid"]) == launcher
    assert said["holder"].endswith(f"launcher {launcher}")
    assert said["shim"] == f"process {shim}, child of holder {holder}"
    assert said["first process"] == f"{made.pid}, child of shim {shim}"
    assert status["PPid"] in (str(shim), str(holder))  # the shim gives way after a second


def test_nothing_of_the_runtime_is_left(alive, shared):
    made, _, _ = alive
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:  # until a light shim is in the place of the first
        told = shared.explainer.explain("alive")
        said = facts(told, "exits")
        if "shim now" in said:
            break
        time.sleep(0.05)
    first = re.search(r"ran in shim (\d+)", said["outside"])[1]
    assert not Path(f"/proc/{first}").exists() or status_of(first)["State"].startswith("Z")
    holder = status_of(made.pid)["PPid"]
    assert said["parent now"] == f"holder {holder}"
    assert Path(f"/proc/{made.pid}/comm").read_text().strip() == "sleep"
    assert said["inside"] == f"process {made.pid} is sleep since execve"


def test_mounts_are_in_the_order_of_the_kernels_list(alive):
    made, _, told = alive
    there = [
        line.split()[4] for line in Path(f"/proc/{made.pid}/mountinfo").read_text().splitlines()
    ]
    mounts = step(told, "mounts")
    said = [value.rpartition(" on ")[2] for name, value in mounts.facts if name.isdigit()][1:]
    said = [each for each in said if each.startswith("/")]
    assert len(said) >= 6
    assert {"/proc", "/dev", "/dev/pts", "/etc/hosts"} <= set(said)
    assert [each for each in there if each in said] == said
    assert there[0] == "/"
    assert mounts.title.startswith(f"{len([n for n, _ in mounts.facts if n.isdigit()])} mounts")
    times = [each.at_s for each in mounts.moments]
    assert times == sorted(times)
    read_only = {line.split()[4] for line in Path(f"/proc/{made.pid}/mountinfo").read_text()
                 .splitlines() if "ro" in line.split()[5].split(",")}  # fmt: skip
    paths = facts(told, "mask and protect")["read-only"].split(", ")
    assert {each for each in paths if each in there} <= read_only


def test_privileges_are_those_of_the_process(alive):
    made, _, told = alive
    status, said = status_of(made.pid), facts(told, "capabilities are left")
    assert said["CapEff, CapBnd"] == f"{status['CapEff']}, {status['CapBnd']}"
    bits = int(status["CapBnd"], 16).bit_count()
    assert len(said["capabilities"].split()) == bits
    assert step(told, "capabilities are left").title.startswith(f"{bits} capabilities")
    assert said["no_new_privs"] == status["NoNewPrivs"]
    assert said["seccomp"].startswith(f"mode {status['Seccomp']}")
    # As the shim sees them: of an ordinary account's container it shares the user namespace.
    seen = "0, 0" if os.geteuid() else f"{status['Uid'].split()[0]}, {status['Gid'].split()[0]}"
    assert said["user, group"] == seen


def test_the_cgroup_is_the_processs_own(alive):
    made, _, told = alive
    said = {name: path for name, path in step(told, "cgroup:").facts if name.startswith("cgroup")}
    if said == {"cgroup": "none: this account may make none here"}:
        return
    there = {line.split(":", 2)[1]: line.split(":", 2)[2].strip()
             for line in Path(f"/proc/{made.pid}/cgroup").read_text().splitlines()}  # fmt: skip
    for name, path in said.items():
        controller = name.removeprefix("cgroup ").replace("version 2", "")
        assert path.endswith(there[controller])
        assert str(made.pid) in Path(path, "cgroup.procs").read_text().split()


def test_times_are_in_order_and_of_this_run(alive):
    made, (before, after), told = alive
    began = datetime.fromisoformat(told.began).timestamp()
    assert before - 0.05 <= began <= after
    times = [each.at_s for each in told.steps if each.at_s is not None]
    assert times == sorted(times)
    assert times[0] == 0.0
    assert times[-1] <= after - before
    # The kernel's own word for when the process was made: clock ticks since boot.
    ticks = int(Path(f"/proc/{made.pid}/stat").read_text().rpartition(")")[2].split()[19])
    born = ticks / os.sysconf("SC_CLK_TCK")
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME) - time.time()
    assert abs(began + step(told, "clone3").at_s + uptime - born) < 0.1
    assert told.seconds is None
    assert told.ending == "container running"
    assert told.lacks == ()


def test_what_the_process_did_is_told_with_its_system_calls(alive):
    _, _, told = alive
    names = [each.name for each in step(told, "pivot_root").moments]
    assert names[0] == "pivot_root(2)"
    assert "umount2(2)" in names
    inside = step(told, "name the host")
    assert ("sethostname(2)", "told") in [(each.name, each.detail) for each in inside.moments]
    users = [each.name for each in step(told, "capabilities are left").moments]
    assert users.index("setresgid(2)") < users.index("setresuid(2)") < users.index("capset(2)")
    every = [each for one in told.steps if one.party is Party.RUNC for each in one.moments]
    assert sum(each.name == "prctl(2)" for each in every) >= 2


def bundle_of(told):
    return Path(facts(told, "config.json")["bundle"])


def test_the_bundle_is_the_containers_own(alive):
    _, _, told = alive
    [document] = step(told, "config.json").documents.values()
    assert document == json.loads((bundle_of(told) / "config.json").read_text())
    assert facts(told, "config.json")["args"] == "sleep 1000"


def test_every_source_is_a_function_and_every_chapter_a_section(alive):
    _, _, told = alive
    seen = 0
    for each in told.steps:
        for source in filter(None, (each.source, *each.more)):
            lines = (PACKAGE / source.path).read_text().splitlines()
            name = source.name.rpartition(".")[2]
            # A decorated function begins at its decorator.
            head = "\n".join(lines[source.line - 1 : source.line + 3])
            assert re.search(rf"(def|class) {name}\b", head)
            assert source.code.splitlines()[0].strip() == lines[source.line - 1].strip()
            seen += 1
        if each.party in (Party.RUNC, Party.BUNDLE, Party.PROCESS):
            assert each.chapter
    assert seen > 40
    known = [each for each in vars(chapters).values() if isinstance(each, Chapter)]
    assert all(each.chapter in known for each in told.steps if each.chapter)


def test_another_engine_tells_the_same_later(alive, shared):
    _, _, told = alive
    with Engine(shared.home.data, environment={"HOME": str(shared.home.data)}) as other:
        again = other.explainer.explain(told.name)
    assert again.began == told.began
    assert [each.title for each in again.steps] == [each.title for each in told.steps]
    assert facts(again, "clone3") == facts(told, "clone3")


def test_it_is_told_when_the_container_has_ended_and_gone_with_it(shared):
    done = shared.containers.run("busybox", ["sh", "-c", "exit 3"], network="none")
    told = shared.explainer.explain()
    assert told.name == done.name
    assert told.ending == "exit code 3, container kept"
    assert facts(told, "exit code 3")["exit code"] == "3"
    assert 0 < told.seconds <= done.duration_s + 0.05
    shared.containers.remove(done.name)
    with pytest.raises(NotFound, match="no container or image"):
        shared.explainer.explain(done.name)


def test_one_that_removed_itself_is_remembered(shared):
    done = shared.containers.run("busybox", ["echo", "hello"], network="none", remove=True)
    told = shared.explainer.explain("last")
    assert told.name == done.name
    assert told.ending == "exit code 0, container removed"
    assert facts(told, "execve")["argv"] == "echo hello"
    [config] = step(told, "config.json").documents.values()
    assert config["process"]["args"] == ["echo", "hello"]
    assert "pivot_root(2)" in [each.name for each in step(told, "pivot_root").moments]
    assert told.asked.options.command == ("echo", "hello")
    json.dumps(told.to_dict())


def test_made_by_one_command_and_started_by_another(shared):
    made = shared.containers.create(RunOptions(image="busybox", command=("true",),
                                               network=NetworkMode.NONE))  # fmt: skip
    told = shared.explainer.explain(made.name)
    assert any("How it was started is not known" in each for each in told.lacks)
    assert told.asked.started is False
    time.sleep(1.1)
    shared.containers.start(made.name)
    shared.containers.wait(made.name)
    told = shared.explainer.explain(made.name)
    assert any("made by one command and started by another" in each for each in told.lacks)
    assert step(told, "create container").at_s == 0.0
    assert 0 <= step(told, "takes it").at_s < 1.0
    shared.containers.remove(made.name)


def test_a_container_that_no_engine_noted_is_told_as_far_as_it_is_known(shared, monkeypatch):
    class Silent(Ticks):
        def note(self, name, detail=None):
            pass

        def encode(self):
            return ""

    monkeypatch.setattr(running, "Ticks", Silent)
    done = shared.containers.run("busybox", ["true"], network="none")
    told = shared.explainer.explain(done.name)
    assert [each.partition(":")[0] for each in told.lacks] == [
        "How it was made is not known",
        "How it was started is not known",
    ]
    assert not (shared.containers.directory(done.container_id) / "timeline.json").exists()
    assert told.ending == "exit code 0, container kept"
    assert parse_notes(Document.decode(shared.containers.find(done.name).document).made) == ()
    shared.containers.remove(done.name)


def test_a_command_that_is_not_there(shared):
    with pytest.raises(CommandNotFound):
        shared.containers.run("busybox", ["nowhere"], network="none", name="nowhere")
    told = shared.explainer.explain()
    assert told.name == "nowhere"
    assert any("How it was started is not known" in each for each in told.lacks)
    shared.containers.remove("nowhere")


def test_a_container_that_is_started_again_is_told_anew(shared):
    done = shared.containers.run("busybox", ["true"], network="none", name="again")
    first = shared.explainer.explain(done.name)
    time.sleep(1.1)
    shared.containers.start("again")
    shared.containers.wait("again")
    second = shared.explainer.explain("again")
    assert second.began > first.began
    assert step(second, "clone3").title != step(first, "clone3").title
    shared.containers.remove("again")


@pytest.mark.skipif(not NETWORKED, reason="needs root: networks of its own")
def test_networks_are_told(shared):
    chosen = (NetworkChoice(network="bridge"),)
    options = RunOptions(image="busybox", command=("true",), network=NetworkMode.NETWORK,
                         networks=chosen, remove=True)  # fmt: skip
    shared.containers.run_options(options)
    told = shared.explainer.explain()
    assert step(told, "networks: bridge").seconds > 0


@pytest.mark.parametrize("name", ["runc", "crun"])
def test_another_runtime_is_told_as_far_as_it_can_be_known(shared, name):
    program = shutil.which(name)
    if not program:
        pytest.skip(f"{name} is not installed")
    if name == "crun" and os.path.ismount("/sys/fs/cgroup/unified"):
        pytest.skip("this machine's cgroups are of both versions, which crun refuses")
    made = shared.containers.run("busybox", ["sleep", "1000"], network="none", detach=True,
                                 runtime=program)  # fmt: skip
    try:
        comm = Path(f"/proc/{made.pid}/comm")  # start returns before its execve
        deadline = time.monotonic() + 10
        while comm.read_text() != "sleep\n" and time.monotonic() < deadline:
            time.sleep(0.005)
        told = shared.explainer.explain(made.name)
        said = facts(told, f"{name} create")
        assert said["its exit code"] == "0"
        pid = int(said["pid of the runtime"])
        assert pid != made.pid
        assert not Path(f"/proc/{pid}").exists()
        assert 0 < float(said["its processor time"].split()[0]) < 10_000
        assert int(said["its memory at most"].split()[0]) > 500
        words = said["command line"].split()
        assert (words[0], words[-1]) == (program, made.container_id)
        assert step(told, f"{name} create").seconds > 0.001
        status, said = status_of(made.pid), facts(told, "waits as")
        assert said["CapEff, CapBnd"] == f"{status['CapEff']}, {status['CapBnd']}"
        assert "its parent" in said
        assert said["Name before and after start"].endswith(" → sleep")
        ticks = int(Path(f"/proc/{made.pid}/stat").read_text().rpartition(")")[2].split()[19])
        assert said["born"] == f"{ticks / os.sysconf('SC_CLK_TCK'):.2f} s after the machine's start"
        for kind, word in (("pid", "pid"), ("mnt", "mount"), ("uts", "uts")):
            theirs = os.readlink(f"/proc/{made.pid}/ns/{kind}")
            assert said[f"{word} namespace"].startswith(f"{theirs} new")
        lines = Path(f"/proc/{made.pid}/mountinfo").read_text().splitlines()
        there = [f"{each.partition(' - ')[2].split()[0]} on {each.split()[4]}" for each in lines]
        assert [value for key, value in said.items() if key.isdigit()] == there
        gone = facts(told, "exits")
        assert gone[f"{name} create"] == f"process {pid}, exit code 0"
        assert gone[f"{name} start"].endswith("exit code 0")
        own = facts(told, "what it says itself")
        kept = json.loads(Path(own["file"]).read_text())
        assert own["created"] == kept["created"]
        assert str(made.pid) in (own.get("init_process_pid"), own.get("pid"))
        titles = [each.title for each in told.steps]
        order = [f"{name} create", f"process {made.pid} waits", f"{name} start", "start → execve"]
        at = [next(n for n, title in enumerate(titles) if title.startswith(part)) for part in order]
        assert at == sorted(at)
        assert all(step(told, titles[n]).at_s is not None for n in at)
        assert facts(told, "execve")["pid outside"] == str(made.pid)
        assert any("nobody can say" in each for each in told.lacks)
        assert any(f"{program} is another program" in each for each in told.lacks)
        [config] = step(told, f"{name} create").documents.values()
        assert config["process"]["args"] == ["sleep", "1000"]
    finally:
        shared.containers.remove(made.name, force=True)


def test_nothing_to_explain(make_engine):
    with pytest.raises(NotFound, match="nothing to explain yet"):
        make_engine().explainer.explain()


def test_flags_are_named():
    assert clone_flags(0x20000000 | 0x00020000) == "CLONE_NEWNS | CLONE_NEWPID"
