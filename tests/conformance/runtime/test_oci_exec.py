"""``exec`` of runc: another process in a container, by flags or by a process document."""

import os
from pathlib import Path

import pytest
from ocibox import PATH_ENV, until
from test_oci_process import capability_sets, mask, status


def test_output_and_exit_code(box):
    """exec ends as the process did."""
    box.started()
    done = box.exec_whole("cat; echo oops >&2; exit 9", check=False, stdin="hello")
    assert (done.returncode, done.stdout, done.stderr) == (9, "hello", "oops\n")


def test_ended_by_a_signal(box):
    """exec passes a signal on as 128+n."""
    box.started()
    assert box.exec_whole("kill -TERM $$", check=False).returncode == 143


def test_it_is_a_process_like_the_first(box):
    """By flags, exec takes user, env, cwd, capabilities, rlimits of the config's process."""
    box.process |= {
        "user": {"uid": 1000, "gid": 1001, "additionalGids": [5], "umask": 0o027},
        "env": [PATH_ENV, "A=1"],
        "cwd": "/home",
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}],
    }
    box.started()
    script = "cat /proc/self/status; grep 'open files' /proc/self/limits; pwd; echo $A"
    told = box.execute(script)
    found = status(told)
    assert (found["Uid"].split()[0], found["Gid"].split()[0]) == ("1000", "1001")
    assert found["Groups"].split() == ["5"]
    assert found["NoNewPrivs"] == "1"
    assert told.splitlines()[-2:] == ["/home", "1"]
    assert "77" in told.splitlines()[-3]
    assert "88" in told.splitlines()[-3]


@pytest.mark.parametrize(
    ("words", "script", "told"),
    [
        (("--user", "1000"), "id -u; id -g", "1000\n0\n"),
        (("--user", "1000:1001"), "id -u; id -g", "1000\n1001\n"),
        (("-u", "0:5"), "id -u; id -g", "0\n5\n"),
        (("--env", "B=two words"), "echo $B", "two words\n"),
        (("-e", "B=1", "-e", "C=2"), "echo $B $C", "1 2\n"),
        (("--cwd", "/tmp"), "pwd", "/tmp\n"),
    ],
)
def test_common_flags(box, words, script, told):
    """The flags that runc and crun have in common."""
    box.started()
    assert box.execute(script, *words) == told


def test_more_flags(box):
    """runc: ``--additional-gids`` and ``--no-new-privs``, ``--cap``."""
    box.process["noNewPrivileges"] = False
    box.process["user"] = {"uid": 1000, "gid": 1000}
    box.started()
    words = ("--additional-gids", "7", "--no-new-privs")
    told = status(box.execute("cat /proc/self/status", *words))
    assert told["Groups"].split() == ["7"]
    assert told["NoNewPrivs"] == "1"


def test_a_process_document(box):
    """``--process``: everything is as the document says, not as the config did."""
    box.started()
    document = {
        "user": {"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 0o077},
        "env": [PATH_ENV, "ONLY=this"],
        "cwd": "/etc",
        "capabilities": {kind: ["CAP_CHOWN"] for kind in ("bounding", "effective", "permitted")},
        "noNewPrivileges": True,
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 3, "hard": 4}],
        "args": ["/bin/sh", "-c", "cat /proc/self/status /proc/self/limits; pwd; echo $ONLY"],
    }
    told = box.exec_process(document).stdout
    found = status(told)
    assert found["Uid"].split()[0] == "5"
    assert found["Gid"].split()[0] == "6"
    assert sorted(found["Groups"].split()) == ["7", "8"]
    assert found["Umask"] == "0077"
    assert capability_sets(told)["Bnd"] == mask("CAP_CHOWN")
    assert found["NoNewPrivs"] == "1"
    assert told.splitlines()[-2:] == ["/etc", "this"]
    limits = next(line for line in told.splitlines() if line.startswith("Max core"))
    assert limits.split()[4:6] == ["3", "4"]


def test_oom_score_adj_of_exec(box):
    """``--process``: oomScoreAdj is the new process's own."""
    box.started()
    told = box.exec_process({"oomScoreAdj": 700, "script": "cat /proc/self/oom_score_adj"}).stdout
    assert told == "700\n"


@pytest.mark.parametrize("kind", ["inheritable", "ambient"])
def test_capabilities_not_asked_for_are_not_given(box, kind):
    """CVE-2022-29162: exec leaves nothing inheritable that nobody asked for."""
    box.started()
    found = capability_sets(box.execute("cat /proc/self/status"))
    assert found["Inh" if kind == "inheritable" else "Amb"] == 0


def test_in_the_cgroup_of_the_container(box):
    """The new process is counted and limited as the others are."""
    box.linux["resources"] = {"pids": {"limit": 20}}
    box.started()
    assert box.execute("cat /proc/self/cgroup") == box.execute("cat /proc/1/cgroup")
    pid = box.exec_detached({"script": "exec sleep 100"})
    assert str(pid) in (box.cgroup("pids") / "cgroup.procs").read_text().split()


def test_detached(box):
    """``--detach``: returns when the process runs; ``--pid-file`` tells which."""
    box.started()
    pid = box.exec_detached({"script": "echo here; exec sleep 100"})
    until(lambda: "here" in box.output())
    until(lambda: "sleep" in Path(f"/proc/{pid}/cmdline").read_text())
    assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{box.pid}/ns/pid")


def test_only_the_three_streams_are_open(box):
    """Nothing of the runtime's is open in a process of exec."""
    box.started()
    pid = box.exec_detached({"args": ["/bin/sleep", "100"]})
    until(lambda: "sleep" in Path(f"/proc/{pid}/cmdline").read_text())
    assert set(os.listdir(f"/proc/{pid}/fd")) == {"0", "1", "2"}


def test_preserved_descriptors(box):
    """``--preserve-fds``: so many after the streams."""
    reader, writer = os.pipe()
    box.started()

    def arrange():
        os.dup2(writer, 3, inheritable=True)

    box.execute("echo kept >&3", "--preserve-fds", "1", preexec_fn=arrange, close_fds=False)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "kept\n"


def test_sees_the_containers_processes(box):
    """pid namespace: exec sees the first process, as a child of nobody there."""
    box.started()
    told = box.execute("cat /proc/1/cmdline; cut -d' ' -f4 /proc/$$/stat")
    assert told == "sleep\x00100\x000\n"


def test_in_a_created_container(box):
    """As in runc: before start there is a container to enter already."""
    box.create()
    assert box.execute("echo early") == "early\n"
    assert box.status() == "created"


def test_refuses(box):
    """No such container, one that has ended, no program, no arguments."""
    box.refused("exec", "nobody", "/bin/true")
    box.started()
    box.refused("exec", box.name)
    box.refused("exec", box.name, "/nonexistent")
    box.refused("exec", "--cwd", "relative", box.name, "/bin/true")
    box.kill()
    box.refused("exec", box.name, "/bin/true")


@pytest.mark.parametrize(
    ("word", "code"), [("/nonexistent", (1, 127, 255)), ("/etc/passwd", (1, 126, 255))]
)
def test_a_program_that_cannot_be_run(box, word, code):
    """An error of its own, not the program's: podman and docker read 126 and 127 from words."""
    box.started()
    done = box.call("exec", box.name, word, check=False)
    assert done.returncode in code
    assert word in done.stderr


def test_in_a_paused_container(box):
    """runc refuses: the new process would be frozen before it could say anything."""
    box.ready()
    box.call("pause", box.name)
    box.refused("exec", box.name, "/bin/true")
    box.call("resume", box.name)


def test_exec_cpu_affinity(box):
    """config.md, "Linux Process": execCPUAffinity (1.2.1): final is where exec runs."""
    if os.cpu_count() < 2:
        pytest.skip("needs root on a machine with two processors")
    box.process["execCPUAffinity"] = {"initial": "0", "final": "1"}
    box.started()
    assert "Cpus_allowed_list:\t1\n" in box.execute("cat /proc/self/status")
