"""runc's command line around the operations: what docker, podman and people call."""

import json
import subprocess
import threading

import pytest
from ocibox import collect


def test_version(runtime):
    """docker parses ``--version``: "NAME version X", and a line with the spec's version."""
    done = subprocess.run(
        [*runtime.command, "--version"], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert " version " in lines[0]
    spec = next(line for line in lines if line.startswith("spec: "))
    assert spec.split()[1].split(".")[0] == "1"


@pytest.mark.parametrize(
    "words", [[], ["nonsense"], ["create"], ["--nonsense", "list"], ["run", "--no"]]
)
def test_words_nobody_knows(box, words):
    """An error, in words; only no words at all may be help."""
    done = box.call(*words, check=False)
    assert done.returncode != 0 or not words
    assert (done.stdout + done.stderr).strip()


@pytest.mark.parametrize("words", [["--help"], ["create", "--help"], ["exec", "--help"]])
def test_help(box, words):
    """--help tells, and is no error."""
    assert "bundle" in box.call(*words).stdout or words != ["create", "--help"]


# -- spec, features ---------------------------------------------------------------------


def test_spec_writes_a_config_that_runs(box):
    """``spec`` of runc: a config.json in the current directory, for a rootfs beside it."""
    config = box.bundle / "config.json"
    box.call("spec", cwd=box.bundle)
    document = json.loads(config.read_text())
    assert document["ociVersion"].split(".")[0] == "1"
    document["process"] |= {"terminal": False, "args": ["echo", "it runs"]}
    box.config = document
    assert box.run() == "it runs\n"


def test_spec_does_not_overwrite(box):
    """``spec`` of runc: an existing config.json is an error."""
    box.write()
    box.refused("spec", cwd=box.bundle)
    assert json.loads((box.bundle / "config.json").read_text()) == box.config


def test_spec_rootless(box):
    """``spec --rootless``: a config that an ordinary user can run."""
    box.call("spec", "--rootless", cwd=box.bundle)
    document = json.loads((box.bundle / "config.json").read_text())
    assert "user" in [each["type"] for each in document["linux"]["namespaces"]]
    assert document["linux"]["uidMappings"]


def test_features(box):
    """features.md: what a runtime knows, as JSON."""
    told = json.loads(box.call("features").stdout)
    assert told["ociVersionMin"].startswith("1.")
    assert told["ociVersionMax"].startswith("1.")
    assert {"prestart", "createRuntime", "poststop"} <= set(told["hooks"])
    assert {"rbind", "ro", "nosuid", "rslave"} <= set(told["mountOptions"])
    linux = told["linux"]
    assert {"pid", "network", "mount", "ipc", "uts", "user", "cgroup"} <= set(linux["namespaces"])
    assert "CAP_CHOWN" in linux["capabilities"]
    assert linux["cgroup"]["v1"] is True
    assert linux["seccomp"]["enabled"] is True
    assert "SCMP_ACT_ERRNO" in linux["seccomp"]["actions"]


# -- list, ps, events ---------------------------------------------------------------------


def test_list(box, make_box):
    """``list``: a table, the IDs with -q, or JSON."""
    other = make_box()
    other.root = box.root
    box.started()
    other.create()
    assert set(box.call("list", "-q").stdout.split()) == {box.name, other.name}
    table = box.call("list").stdout.splitlines()
    assert table[0].split()[:2] == ["ID", "PID"] or table[0].split()[:2] == ["NAME", "PID"]
    row = next(line for line in table if line.startswith(box.name)).split()
    assert row[1:3] == [str(box.pid), "running"]
    found = {each["id"]: each for each in json.loads(box.call("list", "--format", "json").stdout)}
    assert found[box.name]["status"] == "running"
    assert found[other.name]["status"] == "created"
    assert found[box.name]["bundle"] == str(box.bundle)


def test_list_of_nothing(box):
    """``list`` of a state root that is empty or not there."""
    assert box.call("list", "-q").stdout == ""
    assert json.loads(box.call("list", "--format", "json").stdout or "null") in (None, [])


def test_ps(box):
    """``ps``: the processes of the container, as numbers of the machine or as a table."""
    box.ready("sleep 100 & exec sleep 100")
    told = json.loads(box.call("ps", "--format", "json", box.name).stdout)
    assert box.pid in told
    assert len(told) == 2
    table = box.call("ps", box.name).stdout
    assert str(box.pid) in table
    assert "PID" in table.splitlines()[0]


def test_ps_refuses(box):
    """``ps`` of nothing there."""
    box.refused("ps", "nobody")


def test_events_stats(box):
    """``events --stats`` of runc: one JSON document, and the end."""
    box.linux["resources"] = {"memory": {"limit": 1 << 26}, "pids": {"limit": 30}}
    box.ready()
    told = json.loads(box.call("events", "--stats", box.name).stdout)
    assert (told["type"], told["id"]) == ("stats", box.name)
    data = told["data"]
    assert data["pids"]["current"] >= 1
    assert data["pids"]["limit"] == 30
    assert data["memory"]["usage"]["limit"] == 1 << 26
    assert data["memory"]["usage"]["usage"] > 0
    assert data["cpu"]["usage"]["total"] > 0


# -- options before the verb -----------------------------------------------------------------


@pytest.mark.parametrize("shape", ["json", "text"])
def test_log(box, shape):
    """docker reads errors from ``--log FILE --log-format json``: a level and a message a line."""
    box.process["args"] = ["/nonexistent/program"]
    box.write()
    log = box.directory / "log"
    words = ("--log", log, "--log-format", shape, "create", "--bundle", box.bundle, box.name)
    assert box.call(*words, check=False).returncode != 0
    box.names.add(box.name)
    last = log.read_text().splitlines()[-1]
    assert "/nonexistent/program" in last
    if shape == "json":
        document = json.loads(last)
        assert document["level"] == "error"
        assert "/nonexistent/program" in document["msg"]
        assert document["time"]


def test_log_of_a_verb_that_fails_early(box):
    """Also what fails before a container is touched goes to the log."""
    log = box.directory / "log"
    done = box.call("--log", log, "--log-format", "json", "state", "nobody", check=False)
    assert done.returncode != 0
    document = json.loads(log.read_text().splitlines()[-1])
    assert document["level"] == "error"
    assert "nobody" in document["msg"] or "exist" in document["msg"]


def test_log_is_appended_to(box):
    """One file serves a container's whole life."""
    log = box.directory / "log"
    for _ in range(2):
        box.call("--log", log, "--log-format", "json", "state", "nobody", check=False)
    assert len(log.read_text().splitlines()) >= 2


def test_the_state_root_is_private(box):
    """Nobody but the owner may look into the state of containers."""
    box.create()
    assert box.root.stat().st_mode & 0o066 == 0


def test_systemd_cgroup_is_accepted_or_refused_in_words(box):
    """``--systemd-cgroup`` is accepted; without systemd create says so."""
    box.write()
    done = box.call("--systemd-cgroup", "list", check=False)
    assert done.returncode == 0 or done.stderr.strip()


# -- many at once ------------------------------------------------------------------------------


def test_many_in_parallel(make_box):
    """Containers of one state root do not disturb each other."""
    boxes = [make_box() for _ in range(12)]
    for box in boxes:
        box.root = boxes[0].root
        box.shell(f"echo {box.name}; exit 3")
        box.write()
        box.names.add(box.name)
    results = {}

    def whole_life(box):
        results[box.name] = box.call("run", "--bundle", box.bundle, box.name, check=False)

    threads = [threading.Thread(target=whole_life, args=(box,)) for box in boxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = {name: (done.returncode, done.stdout) for name, done in results.items()}
    assert told == {box.name: (3, f"{box.name}\n") for box in boxes}
    assert boxes[0].call("list", "-q").stdout == ""


def test_the_same_id_created_at_once(box):
    """runtime.md, "Create": of several creates with one ID exactly one succeeds."""
    box.shell("exec sleep 100")
    box.write()
    box.names.add(box.name)
    codes = []

    def create():
        words = box.words("create", "--bundle", box.bundle, box.name)
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
        codes.append(done.returncode)

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes.count(0) == 1
    assert box.status() == "created"
    box.call("delete", "--force", box.name)
    collect()


def test_a_caller_that_dies_leaves_a_container_that_can_be_deleted(box):
    """runtime.md, "Errors": an aborted create leaves nothing that cannot be removed."""
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "30"]}]}
    box.write()
    box.names.add(box.name)
    words = box.words("create", "--bundle", box.bundle, box.name)
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not box.cgroup("pids").exists() or not (box.root / box.name).exists():
            assert process.poll() is None
        process.kill()
    box.call("delete", "--force", box.name)
    collect()
    assert box.left_behind() == []
