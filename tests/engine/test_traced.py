"""An engine of an account that may neither be root nor make namespaces, where there is proot.

Like a notebook service whose containers run as uid 1000; that was not reached, this is an
emulation.
"""

import json
import os
import shutil

import pytest
from emulated import CLONE, PRELUDE, inside

from ocimagic.model.options import TmpfsMount, VolumeMount

PROGRAM = r"""
found["me"] = os.getuid()
text = '''
FROM scratch
COPY bin /bin
COPY etc /etc
RUN echo one > /one; mkdir /gone /shut; echo x > /gone/x; chown 33:33 /one; echo y > /shut/y
RUN rm -r /gone; echo two > /two; chmod 0 /two; chmod 555 /shut
WORKDIR /work
RUN <<END
echo three > three
END
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
    found["output"] = run("sh", "-c", "cat /one /two three; id -u; pwd; exit 3", remove=True)
    found["listed"] = run("ls", "/", remove=True)[0].split()
    found["user"] = run("id", "-u", remove=True, user="ann")[0]
    found["env"] = run("env", remove=True, env=("A=1",))[0].split()
    found["canary"] = run("cat", "/data/canary", remove=True)[1]
    found["terminal"] = run("sh", "-c", "test -t 0 && echo terminal", remove=True, tty=True)[0]
    found["stdin"] = run("cat", remove=True, interactive=True, stdin=b"said")[0]
    found["left by"] = run("sh", "-c", "sleep 77 & sh -c 'sleep 78 &'; exit 4", remove=True)[1]
    try:
        run("nope", remove=True)
    except OcimagicError as err:
        found["no command"] = [type(err).__name__, err.exit_code]
    found["sleeping"] = sleepers()
    for name, more in (("network", {"network": "none"}), ("read-only", {"read_only": True})):
        try:
            run("echo", **more)
        except OcimagicError as err:
            found[f"refused {name}"] = f"{err.what} {err.why}"
    containers.run("box", ("sleep", "100"), name="kept", detach=True)
    found["explained"] = explained(engine, "kept")
    done = containers.exec("kept", ExecOptions(command=("sh", "-c", "echo in > /new; cat /new")))
    found["exec"] = done.stdout.decode()
    done = containers.exec("kept", ExecOptions(command=("sh", "-c", "rm /one; exit 9")))
    found["exec code"] = done.exit_code
    found["diff"] = [[each.kind.value, each.path] for each in containers.diff("kept")]
    containers.copy_to("kept", "/data/canary", "/from-outside")
    found["copied in"] = containers.exec(
        "kept", ExecOptions(command=("cat", "/from-outside"))).stdout.decode()
    containers.commit("kept", CommitOptions(reference="changed"))
    found["stopped"] = containers.stop("kept", grace_s=5).code
    containers.start("kept")
    containers.kill("kept")
    found["killed"] = containers.wait("kept").code
    whole = []
    containers.export("kept", whole.append)
    with tarfile.open(fileobj=io.BytesIO(b"".join(whole))) as tar:
        members = tar.getmembers()
    found["owners"] = sorted({(each.uid, each.gid) for each in members})
    found["exported"] = sorted({each.name.strip("./").split("/")[0] for each in members})
    containers.remove("kept")
    done = containers.run("changed", ("ls", "/"), remove=True)
    found["committed"] = done.stdout.decode().split()
    found["left"] = [each.name for each in containers.list(all=True)]
found["sleeping at the end"] = sleepers()
found["files left"] = os.listdir("/data/root/ocimagic/containers")
found["in /tmp"] = [each for each in os.listdir("/tmp") if "proo" in each]
found["notices"] = notices
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(shared):
    """Return what the program found."""
    if not shutil.which("proot"):
        pytest.skip("proot is not installed")
    return json.loads(inside(shared, ["-c", PRELUDE + PROGRAM], user="1000:1000"))


@pytest.mark.slow
def test_containers_under_a_tracer(found):
    assert found["me"] == 1000
    assert (found["mode"], found["doctor"], found["snapshotter"]) == ("traced", "traced", "copy")
    assert any("not isolated" in each for each in found["lacks"])
    assert found["output"] == ["one\ntwo\nthree\n0\n/work\n", 3]
    assert found["listed"] == ["bin", "dev", "etc", "one", "proc", "shut", "sys", "two", "work"]
    assert found["user"] == "33\n", "it is told that it is ann"
    assert "A=1" in found["env"]
    assert found["canary"] == 1, "a path of the machine means nothing inside"
    assert (found["terminal"], found["stdin"]) == ("terminal\r\n", "said")
    assert found["no command"] == ["CommandNotFound", 127]
    assert (found["exec"], found["exec code"], found["copied in"]) == ("in\n", 9, "secret")
    assert found["diff"] == [["A", "/new"], ["D", "/one"]]
    assert {"new", "one", "from-outside"} & {*found["committed"]} == {"new", "from-outside"}
    assert {*found["exported"]} - {""} >= {*found["committed"]} - {"proc", "sys"}
    assert found["owners"] == [[0, 0]], "who is no root is root in there"


@pytest.mark.slow
def test_the_end_of_a_traced_command_is_the_containers(found):
    """Its tracer would wait for what it leaves, and cannot say which signal ended it."""
    assert (found["left by"], found["sleeping"]) == (4, [])
    assert (found["stopped"], found["killed"]) == (143, 137)
    assert (found["left"], found["sleeping at the end"]) == ([], [])
    assert (found["files left"], found["in /tmp"]) == ([], [])


@pytest.mark.slow
def test_a_tracer_is_no_isolation_and_nothing_is_weaker_than_asked_for(found):
    assert ["not isolated" in each for each in found["notices"]] == [True]
    assert found["isolated"] is False
    for what in ("network", "read-only"):
        assert "cannot be had here" in found[f"refused {what}"]
        assert "proot" in found[f"refused {what}"]


@pytest.mark.slow
def test_the_class_from_beginning_to_end(shared, tmp_path):
    """What ``make demo`` does, and every other notebook; a changed root shows the rest."""
    if os.geteuid():
        pytest.skip("needs root")
    if not shutil.which("proot"):
        pytest.skip("proot is not installed")
    if not (CLONE / "tools").is_dir():
        pytest.skip("tools/ is not here")
    for name in ("tools", "notebooks"):
        shutil.copytree(CLONE / name, tmp_path / name)
    notebooks = sorted((tmp_path / "notebooks").glob("*.ipynb"))
    for each in notebooks[::2]:
        each.unlink()
    for each in (tmp_path, *tmp_path.rglob("*")):
        os.chown(each, 1000, 1000)
    for above in tmp_path.parents[:3]:
        above.chmod(above.stat().st_mode | 0o011)
    told = inside(
        shared,
        [str(tmp_path / "tools/demo.py")],
        VolumeMount(source=str(tmp_path), target=str(tmp_path)),
        user="1000:1000",
    )
    assert "Everything that was promised here was seen to happen." in told
    assert told.count("runs from top to bottom") == len(notebooks[1::2])


@pytest.mark.slow
def test_nothing_is_lost_when_what_keeps_them_is_killed(shared, tmp_path):
    """Rounds of ``make soak``: the next shim finds a tracer and what it runs."""
    if not shutil.which("proot"):
        pytest.skip("proot is not installed")
    if not (CLONE / "tools").is_dir():
        pytest.skip("tools/ is not here")
    scratch = TmpfsMount(target="/var/tmp", options=("mode=1777", "exec"))
    told = inside(
        shared,
        [str(CLONE / "tools/soak.py"), "--rounds", "6"],
        VolumeMount(source=str(CLONE / "tools"), target=str(CLONE / "tools"), read_only=True),
        user="1000:1000",
        tmpfs=(scratch,),
    )
    assert '"rounds": 6' in told
    assert "WRONG" not in told


def test_a_start_is_explained_as_far_as_it_went(found):
    titles, facts, lacks = found["explained"]
    assert lacks == []
    assert "start → execve sleep 100" in titles
    assert ["no_new_privs", "1"] in facts
