"""An engine as root where nobody may mount or make namespaces: a notebook service, for example.

It runs in a container of ours with docker's default seccomp profile and capabilities, the
machine's cgroups out of reach.  Python and the packages come from this machine, read-only.
"""

import json
import shutil

import pytest
from emulated import CLONE, PRELUDE, inside

from ocimagic.model.options import VolumeMount

PROGRAM = r"""
text = '''
FROM scratch
COPY bin /bin
COPY etc /etc
RUN echo one > /one; mkdir /gone; echo x > /gone/x; chown 33:33 /one
RUN rm -r /gone; echo two > /two
RUN <<END
echo three > /three
END
VOLUME /etc
'''
with Engine("/data/root", environment={"HOME": "/data"}) as engine:
    containers = engine.containers
    info = engine.system.info()
    found["mode"], found["lacks"], found["snapshotter"] = (
        info.isolation, info.lacks, info.snapshotter)
    found["doctor"] = engine.system.diagnose().mode.value
    engine.images.build(BuildOptions(context=context, dockerfile=text, tags=("box",)))
    def run(*words, **more):
        return outcome(containers.run("box", words, on_event=hear, **more))
    found["output"] = run("sh", "-c", "cat /one /two /three; stat -c %u /one; exit 3", remove=True)
    found["listed"] = run("ls", "/", remove=True)[0].split()
    found["dev"] = run("sh", "-c", "echo x > /dev/null && ls /dev", remove=True)[0].split()
    found["user"] = run("id", "-u", remove=True, user="ann")[0]
    found["resolv"] = run("cat", "/etc/resolv.conf", remove=True)[1]
    found["terminal"] = run("sh", "-c", "test -t 0 && echo terminal", remove=True, tty=True)[0]
    script = "sleep 77 & sh -c 'sleep 78 & sleep 79' & sleep 0.2; exit 4"
    found["left by"] = run("sh", "-c", script, remove=True)[1]
    found["sleeping"] = sleepers()
    found["kill"] = run("sh", "-c", f"kill -0 {os.getpid()}", remove=True)
    for name, more in (
        ("network", {"network": "none"}), ("read-only", {"read_only": True}),
        ("volume", {"volumes": (VolumeMount(name="data", target="/data"),)}),
    ):
        try:
            run("echo", **more)
        except OcimagicError as err:
            found[f"refused {name}"] = err.what
    containers.run("box", ("sleep", "100"), name="kept", detach=True)
    found["explained"] = explained(engine, "kept")
    done = containers.exec("kept", ExecOptions(command=("sh", "-c", "echo in > /new; cat /new")))
    found["exec"] = done.stdout.decode()
    done = containers.exec("kept", ExecOptions(command=("rm", "/two")))
    found["diff"] = [(each.kind.value, each.path) for each in containers.diff("kept")]
    own = containers.layers("kept")
    found["own layer"] = [own.is_copy, len(own.layers), own.copied_bytes,
        [(each.kind.value, each.path, each.below) for each in own.changes]]
    containers.copy_from("kept", "/new", "/data/new")
    found["copied"] = open("/data/new").read()
    containers.copy_to("kept", "/data/canary", "/from-outside")
    found["copied in"] = containers.exec(
        "kept", ExecOptions(command=("cat", "/from-outside"))).stdout.decode()
    containers.commit("kept", CommitOptions(reference="changed"))
    found["top"] = len(containers.top("kept").rows)
    found["stopped"] = containers.stop("kept", grace_s=0).code
    containers.start("kept")
    found["again"] = containers.exec(
        "kept", ExecOptions(command=("cat", "/new"))).stdout.decode()
    containers.kill("kept")
    found["killed"] = containers.wait("kept").code
    whole = []
    containers.export("kept", whole.append)
    with tarfile.open(fileobj=io.BytesIO(b"".join(whole))) as tar:
        found["exported"] = sorted(each for each in tar.getnames() if each.count("/") < 2)
    containers.remove("kept")
    found["escape"] = run("sh", "-c", "chroot / true; mount -t tmpfs x /bin", remove=True)
    containers.run("box", ("sh", "-c", "sleep 0.5; echo late; exit 7"), name="tough", detach=True)
    state = json.loads(open(glob.glob("/data/root/**/state.json", recursive=True)[0]).read())
    shim = int(open(f"/proc/{state['pid']}/stat").read().rpartition(")")[2].split()[1])
    os.kill(shim, 9)
    found["shim killed"] = containers.wait("tough").code
    found["its log"] = b"".join(data for _, _, data in containers.logs("tough")).decode()
    containers.remove("tough")
    done = containers.run("changed", ("ls", "/"), remove=True)
    found["committed"] = done.stdout.decode().split()
    found["left"] = [each.name for each in containers.list(all=True)]
found["notices"] = notices
found["mounted"] = [line for line in open("/proc/mounts") if "/data/" in line]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(shared):
    """Return what the program found."""
    return json.loads(inside(shared, ["-c", PRELUDE + PROGRAM]))


@pytest.mark.slow
def test_the_class_from_beginning_to_end(shared, tmp_path):
    """What ``make demo`` does, where a learner is root and nothing more.

    Every other notebook; a tracer shows the rest.
    """
    if not (CLONE / "tools").is_dir():
        pytest.skip("tools/ is not here")
    for name in ("tools", "notebooks"):
        shutil.copytree(CLONE / name, tmp_path / name)
    notebooks = sorted((tmp_path / "notebooks").glob("*.ipynb"))
    for each in notebooks[1::2]:
        each.unlink()
    told = inside(
        shared,
        [str(tmp_path / "tools/demo.py")],
        VolumeMount(source=str(tmp_path), target=str(tmp_path)),
    )
    assert "Everything that was promised here was seen to happen." in told
    assert "not isolated" in told
    assert told.count("runs from top to bottom") == len(notebooks[::2])


@pytest.mark.slow
def test_nothing_is_lost_when_what_keeps_them_is_killed(shared, tmp_path):
    """Rounds of ``make soak``: nothing but descent and sessions says what is a container's."""
    if not (CLONE / "tools").is_dir():
        pytest.skip("tools/ is not here")
    told = inside(
        shared,
        [str(CLONE / "tools/soak.py"), "--rounds", "6"],
        VolumeMount(source=str(tmp_path), target="/var/tmp"),
        VolumeMount(source=str(CLONE / "tools"), target=str(CLONE / "tools"), read_only=True),
    )
    assert '"rounds": 6' in told
    assert "WRONG" not in told


@pytest.mark.slow
def test_containers_where_nothing_can_be_mounted(found):
    assert (found["mode"], found["doctor"], found["snapshotter"]) == ("chroot", "chroot", "copy")
    assert any("not isolated" in each for each in found["lacks"])
    assert found["output"] == ["one\ntwo\nthree\n33\n", 3]
    assert found["listed"] == ["bin", "dev", "etc", "one", "three", "two"], "and no /gone"
    assert {"null", "zero", "tty", "shm"} <= set(found["dev"])
    assert found["user"] == "33\n"
    assert found["resolv"] == 0
    assert found["terminal"] == "terminal\r\n"
    assert (found["left by"], found["sleeping"]) == (4, [])
    assert found["diff"] == [["A", "/new"], ["D", "/two"]]
    changes = [["A", "/new", None], ["D", "/two", 3]]  # by the second of three RUNs
    assert found["own layer"] == [True, 5, 0, changes]
    assert (found["exec"], found["copied"], found["copied in"]) == ("in\n", "in\n", "secret")
    assert found["top"] == 1
    assert (found["stopped"], found["again"], found["killed"]) == (143, "in\n", 137)
    assert {"bin", "new", "one"} <= {each.strip("./") for each in found["exported"]}
    assert found["committed"] == ["bin", "dev", "etc", "from-outside", "new", "one", "three"]
    assert (found["shim killed"], found["its log"]) == (7, "late\n")
    assert (found["left"], found["mounted"]) == ([], [])


@pytest.mark.slow
def test_what_keeps_a_changed_root(found):
    """Said once, and with each result; nothing is weaker than asked for; root has no way out."""
    assert ["not isolated" in each for each in found["notices"]] == [True]
    assert found["isolated"] is False
    for what in ("network", "read-only", "volume"):
        assert "cannot be had here" in found[f"refused {what}"]
    assert "can't kill" in found["kill"][0], "Landlock: no signal to who is not confined with it"
    assert "not permitted" in found["escape"][0]
    assert found["escape"][1] == 1


def test_a_start_is_explained_as_far_as_it_went(found):
    titles, facts, lacks = found["explained"]
    assert lacks == []
    assert "0 new namespaces" in next(each for each in titles if "clone3" in each)
    assert "start → execve sleep 100" in titles
    assert "change the root" in titles
    assert ["seccomp", "mode 2: a filter"] in facts
