"""The same commands of ctr, to our services and to Debian's containerd: the same answers."""

import io
import json
import os
import subprocess
import tarfile
import time

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed")


def test_ctr_sees_a_server(peer):
    assert "Server:" in peer.ctr("version").stdout
    plugins = peer.ctr("plugins", "ls", "-q").stdout.split()
    assert {"io.containerd.snapshotter.v1.overlayfs", "io.containerd.grpc.v1.tasks"} <= {
        *plugins,
        *(f"{row[0]}.{row[1]}" for row in peer.lines("plugins", "ls") if len(row) > 1),
    }


def test_ctr_makes_and_removes_namespaces(peer):
    peer.ctr("namespaces", "create", "mine", "owner=me")
    assert ["mine", "owner=me"] in peer.lines("namespaces", "ls")
    peer.ctr("namespaces", "label", "mine", "owner=you", "more=1")
    assert ["mine", "more=1,owner=you"] in peer.lines("namespaces", "ls")
    again = peer.ctr("namespaces", "create", "mine", check=False)
    assert again.returncode == 1
    assert "already exists" in again.stderr
    peer.ctr("namespaces", "rm", "mine")
    assert "mine" not in peer.ctr("namespaces", "ls", "-q").stdout.split()
    full = peer.ctr("namespaces", "rm", "test", check=False)
    assert "must be empty" in full.stderr


def test_ctr_has_pulled_checked_and_unpacked(peer):
    [[name, kind, digest, *_]] = peer.lines("images", "ls")
    assert (name, kind) == (peer.image, "application/vnd.oci.image.manifest.v1+json")
    [row] = peer.lines("images", "check")
    assert row[3:5] == ["complete", "(2/2)"]
    assert row[-1] == "true"
    assert digest in peer.ctr("content", "ls", "-q").stdout
    [[key, kind]] = [row for row in peer.lines("snapshots", "ls") if row[-1] == "Committed"]
    info = json.loads(peer.ctr("snapshots", "info", key).stdout)
    assert (info["Kind"], info["Name"], info.get("Parent", "")) == ("Committed", key, "")
    assert peer.lines("leases", "ls") == []


def test_ctr_gives_names_and_labels(peer):
    peer.ctr("images", "tag", peer.image, "docker.io/library/other:1")
    peer.ctr("images", "label", "docker.io/library/other:1", "a=b")
    assert "a=b" in peer.ctr("images", "ls", "name==docker.io/library/other:1").stdout
    again = peer.ctr("images", "tag", peer.image, "docker.io/library/other:1", check=False)
    assert "already exists" in again.stderr
    peer.ctr("images", "rm", "docker.io/library/other:1")
    assert peer.ctr("images", "ls", "-q").stdout.split() == [peer.image]


def test_ctr_exports_and_imports_into_another_namespace(peer, tmp_path):
    peer.ctr("images", "export", tmp_path / "image.tar", peer.image)
    peer.ctr("images", "import", tmp_path / "image.tar", namespace="other")
    assert peer.ctr("images", "ls", "-q", namespace="other").stdout.split() == [peer.image]
    done = peer.ctr("run", "--rm", peer.image, "imported", "echo", "hi", namespace="other")
    assert done.stdout == "hi\n"
    peer.ctr("images", "rm", "--sync", peer.image, namespace="other")
    # What nothing leads to is gone, and what the other namespace has is not.
    assert peer.ctr("content", "ls", "-q", namespace="other").stdout == ""
    assert peer.lines("snapshots", "ls", namespace="other") == []
    assert len(peer.ctr("content", "ls", "-q").stdout.split()) == 3


def test_ctr_runs_with_streams_and_exit_code(peer):
    words = ("sh", "-c", "read x; echo $x; echo err >&2; exit 7")
    done = peer.ctr("run", "--rm", peer.image, "streams", *words, input="in\n", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("in\n", "err\n", 7)
    assert peer.lines("containers", "ls") == []
    assert peer.lines("tasks", "ls") == []


def test_ctr_runs_much_output(peer):
    words = ("sh", "-c", "seq 1 200000")
    done = peer.ctr("run", "--rm", peer.image, "much", *words)
    assert done.stdout == "".join(f"{n}\n" for n in range(1, 200001))


def test_ctr_runs_with_a_terminal(peer):
    command = "{} -a {} -n test run --rm -t --fifo-dir {} {} term sh -c 'tty; read x; exit $x'"
    program = " ".join(peer.program)
    line = command.format(program, peer.address, peer.room / "fifo", peer.image)
    script = ["script", "-qec", line, "/dev/null"]
    (peer.room / "fifo").mkdir(exist_ok=True)
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().strip() == b"/dev/pts/0"
        process.stdin.write(b"5\n")
        process.stdin.flush()
        process.stdout.read()
        assert process.wait(10) == 5


def test_ctr_keeps_a_container_and_what_runs_of_it(peer):
    peer.ctr("containers", "create", "--label", "a=b", peer.image, "kept", "sleep", "1000")
    assert peer.lines("containers", "ls") == [["kept", peer.image, "io.containerd.runc.v2"]]
    peer.ctr("containers", "label", "kept", "c=d")
    info = json.loads(peer.ctr("containers", "info", "kept").stdout)
    assert info["Labels"] | {"a": "b", "c": "d"} == info["Labels"]
    assert info["Spec"]["process"]["args"] == ["sleep", "1000"]
    assert (info["SnapshotKey"], info["Snapshotter"]) == ("kept", "overlayfs")
    assert peer.status("kept") is None
    again = peer.ctr("containers", "create", peer.image, "kept", check=False)
    assert "already exists" in again.stderr
    peer.ctr("tasks", "start", "-d", "kept")
    assert peer.status("kept") == "RUNNING"
    running = peer.ctr("containers", "rm", "kept", check=False)
    assert running.returncode == 1
    [[pid, *_]] = peer.lines("tasks", "ps", "kept")
    assert peer.lines("tasks", "ls") == [["kept", pid, "RUNNING"]]
    peer.ctr("tasks", "kill", "-s", "SIGKILL", "kept")
    peer.until("kept", "STOPPED")
    gone = peer.ctr("tasks", "kill", "kept", check=False)
    assert gone.returncode == 1
    assert peer.ctr("tasks", "delete", "kept", check=False).returncode in (0, 137)
    peer.ctr("containers", "rm", "kept")
    assert [row for row in peer.lines("snapshots", "ls") if row[0] == "kept"] == []


def test_ctr_executes_pauses_and_measures(peer):
    peer.ctr("run", "-d", peer.image, "busy", "sleep", "1000")
    try:
        words = ("--exec-id", "one", "busy", "sh", "-c", "echo in it; exit 3")
        done = peer.ctr("tasks", "exec", *words, check=False)
        assert (done.stdout, done.returncode) == ("in it\n", 3)
        done = peer.ctr("tasks", "exec", "--exec-id", "two", "busy", "cat", input="to it")
        assert done.stdout == "to it"
        paused = peer.ctr("tasks", "pause", "busy", check=False)
        if paused.returncode:
            assert os.geteuid(), paused.stderr  # without a cgroup of one's own
            assert "cannot be paused" in paused.stderr
        else:
            assert peer.status("busy") == "PAUSED"
            peer.ctr("tasks", "resume", "busy")
            rows = peer.lines("tasks", "metrics", "busy")
            figures = dict(row[:2] for row in rows if len(row) > 1)
            assert int(figures["pids.current"]) >= 1
        assert peer.status("busy") == "RUNNING"
        refused = peer.ctr("tasks", "delete", "busy", check=False)
        assert refused.returncode == 1
    finally:
        peer.ctr("tasks", "kill", "-s", "KILL", "busy")
        peer.until("busy", "STOPPED")
        peer.ctr("containers", "rm", "busy")


def test_ctr_is_told_what_cannot_run(peer):
    done = peer.ctr("run", "--rm", peer.image, "bad", "/no/such", check=False)
    assert done.returncode != 0
    assert "/no/such" in done.stderr
    assert peer.lines("tasks", "ls") == []
    assert "not found" in peer.ctr("run", "--rm", "no:such", "x", check=False).stderr
    assert "not found" in peer.ctr("tasks", "kill", "nobody", check=False).stderr
    words = ("snapshots", "prepare", "p", "sha256:" + "0" * 64)
    assert "not found" in peer.ctr(*words, check=False).stderr


def test_ctr_writes_reads_and_removes_content(ours):
    """Only ours: containerd may collect it at any moment, nothing leads to it."""
    digest = "sha256:d3751d33f9cd5049c4af2b462735457e4d3baf130bcbb87f389e349fbaeb20b9"
    words = ("content", "ingest", "--expected-digest", digest, "--expected-size", "5", "ref")
    ours.ctr("leases", "create", "--id", "hold")
    ours.ctr(*words, input="hallo")
    assert ours.ctr("content", "get", digest).stdout == "hallo"
    ours.ctr("content", "label", digest, "a=b")
    row = next(row for row in ours.lines("content", "ls") if row[0] == digest)
    assert (row[1], row[-1]) == ("5B", "a=b")
    ours.ctr("content", "rm", digest)
    assert "not found" in ours.ctr("content", "get", digest, check=False).stderr
    never = "sha256:" + "1" * 64
    words = ("content", "ingest", "--expected-digest", never, "--expected-size", "5", "other")
    wrong = ours.ctr(*words, input="hello", check=False)
    assert "unexpected commit digest" in wrong.stderr
    assert ours.ctr("leases", "ls", "-q").stdout.split() == ["hold"]
    ours.ctr("leases", "rm", "hold")


def test_ctr_stacks_snapshots(peer):
    [[base, _]] = [row for row in peer.lines("snapshots", "ls") if row[-1] == "Committed"]
    peer.ctr("snapshots", "prepare", "work", base)
    kinds = {row[0]: row[-1] for row in peer.lines("snapshots", "ls")}
    assert kinds["work"] == "Active"
    again = peer.ctr("snapshots", "prepare", "work", base, check=False)
    assert "already exists" in again.stderr
    assert "child" in peer.ctr("snapshots", "rm", base, check=False).stderr
    peer.ctr("snapshots", "commit", "done", "work")
    tree = peer.ctr("snapshots", "tree").stdout
    assert tree.index(base) < tree.index("done")
    peer.ctr("snapshots", "rm", "done")


def test_ctr_makes_a_layer_of_what_changed(peer):
    if os.geteuid() and peer.program[0] != "ctr":
        pytest.skip("needs root: mounts are shown to root only")
    words = ("sh", "-c", "echo new > /new; rm /etc/group")
    peer.ctr("run", peer.image, "changed", *words)
    layer = peer.ctr("snapshots", "diff", "changed", text=False).stdout
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        names = {name.removeprefix("./") for name in tar.getnames()}
    assert {"new", "etc/.wh.group"} <= names
    peer.ctr("containers", "rm", "changed")


def test_ctr_hears_what_happens(peer):
    wanted = ["/snapshot/prepare", "/containers/create", "/tasks/create", "/tasks/start"]
    wanted += ["/tasks/exit", "/tasks/delete", "/containers/delete"]
    heard, ended = [], {}
    command = ["ctr", "-a", peer.address, "events"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        time.sleep(0.3)
        peer.ctr("run", "--rm", peer.image, "heard", "true")
        for line in process.stdout:
            *_, topic, content = line.split(maxsplit=6)
            heard += [topic] if topic in wanted else []
            ended = json.loads(content) if topic == "/tasks/exit" else ended
            if topic == wanted[-1]:
                break
        process.terminate()
    assert heard == wanted
    assert (ended["container_id"], ended["id"]) == ("heard", "heard")
