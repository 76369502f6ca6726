"""Volumes of real containers: kept, filled from images, shared, protected, removed."""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace

import pytest

from ocimagic import Engine
from ocimagic.errors import (
    Conflict,
    ContainerNotFound,
    HostLacks,
    InvalidOption,
    InvalidState,
    LayerRefused,
    OcimagicError,
    StartFailed,
    VolumeNotFound,
)
from ocimagic.model.options import BuildOptions, TmpfsMount, VolumeMount, VolumesFrom
from ocimagic.model.volume import VolumeOptions, VolumesPruned
from ocimagic.wire.container import container_inspect

FULL = (
    "FROM busybox\n"
    "RUN mkdir -p /data/sub /empty && echo one > /data/file && echo two > /data/sub/file"
    " && ln -s file /data/link && ln /data/file /data/hard && chown -R 7:8 /data"
    " && chmod 2770 /data && chmod 4755 /data/file && ln -s data /other && ln -s ../../etc /out\n"
    "RUN echo three > /data/later\n"
)
LOOK = (
    "stat -c '%n %u:%g %a' /data /data/file /data/sub; stat -c %h /data/file;"
    "cat /data/*/file /data/hard /data/later; readlink /data/link; ls -A /data"
)


def kept(name="", target="/data", **more):
    return VolumeMount(target=target, name=name, **more)


def run(engine, script, *volumes, image="busybox", **options):
    """Run a script in a container; return what it wrote."""
    options = {"remove": True, "network": "none"} | options
    done = engine.containers.run(image, ["sh", "-c", script], volumes=volumes, **options)
    return (done.stdout + done.stderr).decode()


def create(engine, *volumes, image="busybox", **options):
    from ocimagic.model.options import RunOptions

    return engine.containers.create(RunOptions(image=image, volumes=volumes, **options))


def names(engine):
    return [each.name for each in engine.volumes.all()]


def exported(engine, name):
    out = io.BytesIO()
    size = engine.volumes.export(name, out.write)
    assert size == out.tell()
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        return out.getvalue(), {each.name: each for each in tar}


def owner(engine):
    """Who has the files of the image; where there is one id only, nobody else can."""
    return "0:0" if engine.containers.launcher.ids == 1 else "7:8"


@pytest.fixture(autouse=True)
def nothing_left(shared):
    yield
    for each in shared.containers.list(all=True):
        shared.containers.remove(each.container_id, force=True, volumes=True)
    for each in shared.volumes.all():
        shared.volumes.remove(each.name)
    assert not list(shared.home.volumes.glob("*"))
    assert not list(shared.home.locks.glob("fill-*"))
    assert not list(shared.home.locks.glob("volume-*"))


@pytest.fixture(scope="module")
def images(shared, tmp_path_factory):
    context = tmp_path_factory.mktemp("context")
    for name, text in (
        ("full", FULL),
        ("declared", FULL + "VOLUME /data /new\n"),
        ("rooted", FULL + 'VOLUME ["/data/.."]\n'),
    ):
        shared.images.build(
            BuildOptions(
                context=str(context), dockerfile=text.replace("7:8", owner(shared)), tags=(name,)
            )
        )


# -- driver options --------------------------------------------------------------------


def test_memory_that_a_driver_mounts_is_each_containers_own(shared):
    """Root's and an ordinary user's: mounted in the container's own mount namespace."""
    memory = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=0700"}
    made = shared.volumes.create(VolumeOptions(name="memory", options=memory))
    assert made.options == memory
    mount = VolumeMount(name="memory", target="/v", kept=True)
    words = ["sh", "-c", "grep ' /v ' /proc/mounts; stat -c %a /v; ls /v; touch /v/x"]
    for _ in range(2):
        told = shared.containers.run("busybox", words, volumes=(mount,), remove=True)
        assert told.exit_code == 0
        assert b"size=1024k" in told.stdout
        assert told.stdout.endswith(b"\n700\n"), "and nothing is in it"
    with pytest.raises(InvalidState, match="not kept here"):
        shared.volumes.export("memory", lambda _: None)
    with pytest.raises(InvalidState, match="not kept here"):
        shared.volumes.load("memory", b"")
    part = replace(mount, part="x")
    with pytest.raises(InvalidOption, match="cannot be mounted alone"):
        shared.containers.run("busybox", ["true"], volumes=(part,))


def test_a_volume_that_became_another_one_is_not_mounted_as_what_it_was(shared):
    keeper = shared.containers.volumes
    shared.volumes.create(VolumeOptions(name="v"))
    thought = keeper.named(VolumeMount(name="v", target="/v", kept=True))
    keeper.expect(thought)
    shared.volumes.remove("v")
    options = {"type": "tmpfs", "device": "tmpfs"}
    shared.volumes.create(VolumeOptions(name="v", options=options))
    with pytest.raises(Conflict, match="another one"):
        keeper.expect(thought)


# -- given to the container's user -----------------------------------------------------


def test_files_belong_to_the_containers_user(shared, images, tmp_path):
    """By name as the image knows it, again at each start, links and other mounts left alone."""
    uid, gid = owner(shared).split(":")
    script = (
        f"echo 'app:x:{uid}:{gid}::/:' >> /etc/passwd; mkdir -p /v/a/b; touch /v/f /v/a/b/g;"
        "ln -s /etc/passwd /v/l"
    )
    kept_v = kept("v", "/v")
    run(shared, script, kept_v)
    (tmp_path / "other").write_text("")
    before = (tmp_path / "other").stat().st_uid
    inner = VolumeMount(source=str(tmp_path / "other"), target="/v/a/mounted")
    look = "stat -c '%n %u:%g' /v /v/f /v/l /v/a /v/a/b/g; stat -c %u /etc/passwd"
    for _ in range(2):
        told = run(shared, look, replace(kept_v, own=True), inner, user=f"{uid}:{gid}")
        lines = told.splitlines()
        assert lines[:-1] == [
            f"{each} {uid}:{gid}" for each in ("/v", "/v/f", "/v/l", "/v/a", "/v/a/b/g")
        ]
        assert lines[-1] == "0", "where the link leads is not of the volume"
        assert (tmp_path / "other").stat().st_uid == before
        run(shared, "chown -R 0:0 /v", kept_v)


def test_what_was_not_done_to_the_end_is_done_by_the_next_start(shared):
    """Nothing is noted anywhere: what is there is looked at."""
    uid, gid = owner(shared).split(":")
    run(shared, f"mkdir /v/a; touch /v/a/x /v/y; chown {uid}:{gid} /v /v/y", kept("v", "/v"))
    told = run(shared, "stat -c %u /v/a/x", kept("v", "/v", own=True), user=f"{uid}:{gid}")
    assert told == f"{uid}\n"


def test_who_cannot_be_given_files(shared):
    with pytest.raises(InvalidOption, match="read-only and be given"):
        run(shared, "true", kept("v", "/v", own=True, read_only=True))
    with pytest.raises(HostLacks, match="does not do that"):
        run(shared, "true", kept("v", "/v", own=True), runtime="runc")
    if os.geteuid():
        run(shared, "touch /v/x", kept("v", "/v"))
        with pytest.raises(HostLacks, match="cannot belong to 4000000:4000000"):
            run(shared, "true", kept("v", "/v", own=True), user="4000000:4000000")


# -- kept ------------------------------------------------------------------------------


def test_what_is_written_is_there_for_the_next_container(shared):
    assert run(shared, "echo hello > /data/file", kept("data")) == ""
    assert run(shared, "cat /data/file", kept("data")) == "hello\n"
    assert "Read-only" in run(shared, "echo x > /data/file", kept("data", read_only=True))
    found = shared.volumes.inspect("data")
    assert found.mountpoint == str(shared.home.volumes / "data" / "_data")
    assert (found.users, found.anonymous) == ((), False)


def test_two_containers_see_one_volume_while_both_run(shared):
    script = "until [ -e /data/go ]; do sleep 0.02; done; echo seen > /data/seen"
    options = {"detach": True, "name": "waits", "network": "none"}
    shared.containers.run("busybox", ["sh", "-c", script], volumes=(kept("data"),), **options)
    told = run(
        shared, "touch /mnt/go; until [ -e /mnt/seen ]; do sleep 0.02; done; cat /mnt/seen",
        kept("data", "/mnt"),
    )  # fmt: skip
    assert told == "seen\n"


def test_a_name_that_cannot_be(shared):
    for name in ("-x", "a/b", "..", ".x", "a b", "é", "x" * 256):
        with pytest.raises(InvalidOption, match="is no name for a volume"):
            run(shared, "true", kept(name))
        with pytest.raises(InvalidOption, match="is no name for a volume"):
            shared.volumes.create(VolumeOptions(name=name))
    longest = "x" * 255
    assert run(shared, "echo a > /data/a; cat /data/a", kept(longest)) == "a\n"
    assert names(shared) == [longest]


# -- filled ------------------------------------------------------------------------------


def test_an_empty_volume_gets_what_the_image_has(shared, images):
    plain = run(shared, LOOK, image="full")
    assert f"/data {owner(shared)} 2770" in plain
    assert run(shared, LOOK, kept("data"), image="full") == plain
    run(shared, "rm /data/later; echo mine > /data/file", kept("data"), image="full")
    told = run(shared, "ls /data; cat /data/file", kept("data"), image="full")
    assert told.split() == ["file", "hard", "link", "sub", "mine"], "once only"


def test_what_is_not_to_be_filled_stays_empty(shared, images):
    assert run(shared, "ls -A /data", kept("data", no_copy=True), image="full") == ""
    run(shared, "echo a > /x/a", kept("data", "/x"))
    assert run(shared, "ls -A /data", kept("data"), image="full") == "a\n", "it had something"
    assert run(shared, "stat -c '%u %a' /gone", kept("more", "/gone"), image="full") == "0 755\n"
    assert run(shared, "ls -A /empty", kept("none", "/empty"), image="full") == ""


def test_a_link_in_the_image_leads_to_its_own_files(shared, images):
    assert "file" in run(shared, "ls /data", kept("data", "/other"), image="full")
    told = run(shared, "ls -A /etc", kept("host", "/out"), image="full")
    assert "shadow-" not in told


def test_a_volume_over_a_file_is_refused(shared, images):
    with pytest.raises(InvalidOption, match="a volume cannot be at /data/file"):
        run(shared, "true", kept("data", "/data/file"), image="full")
    assert shared.volumes.inspect("data").users == ()


def test_a_volume_in_a_volume(shared, images):
    told = run(
        shared, "cat /data/file /data/sub/file; ls -A /data/sub",
        kept("inner", "/data/sub"), kept("outer"), image="full",
    )  # fmt: skip
    assert told.split() == ["one", "two", "file"]


def test_many_at_once_fill_it_once(shared, images):
    told, failed = [], []

    def one():
        try:
            told.append(run(shared, LOOK, kept("data"), image="full"))
        except OcimagicError as err:
            failed.append(err)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failed
    assert set(told) == {run(shared, LOOK, image="full")}


@pytest.mark.parametrize("left", ["filling", "filled", "half moved"])
def test_a_killed_copy_is_begun_again_or_finished(shared, images, left):
    run(shared, LOOK, kept("data"), image="full")
    place = "/volumes/data"
    script = {
        # As if it had been killed while it copied: what is there is not whole.
        "filling": "rm -r _data/* && mkdir -p filling/part && echo half > filling/part/file",
        # And when all was copied, and nothing or something of it moved.
        "filled": "mv _data filled && mkdir _data",
        "half moved": "mkdir filled && chown 7:8 filled && chmod 2770 filled && mv _data/sub filled"
        " && chmod 700 _data && chown 0:0 _data",
    }[left].replace("7:8", owner(shared))
    bound = VolumeMount(source=str(shared.home.volumes), target="/volumes")
    assert run(shared, f"cd {place} && {script}", bound) == ""
    assert run(shared, LOOK, kept("data"), image="full") == run(shared, LOOK, image="full")
    assert run(shared, f"ls {place}", bound) == "_data\n"


KILLED = """
import os, signal, sys
from ocimagic import Engine
from ocimagic.model.options import VolumeMount
engine = Engine(sys.argv[1], environment={})
engine.containers.launcher.ids
signal.signal(signal.SIGALRM, lambda *_: os.killpg(0, signal.SIGKILL))
signal.setitimer(signal.ITIMER_REAL, float(sys.argv[2]))
for number in range(1000):
    volume = VolumeMount(name=f"data{number}", target="/data")
    engine.containers.run("full", ["true"], volumes=(volume,), network="none", remove=True)
"""


@pytest.mark.parametrize("delay_s", [0.02, 0.05, 0.09, 0.14, 0.2])
def test_killed_at_any_moment_a_volume_becomes_full(shared, images, delay_s):
    words = [sys.executable, "-c", KILLED, shared.home.data, str(delay_s)]
    done = subprocess.run(words, start_new_session=True, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    expected = run(shared, LOOK, image="full")
    for name in names(shared):
        assert run(shared, LOOK, kept(name), image="full") == expected
    for each in shared.containers.list(all=True):  # made and not begun, or not yet at its end
        with contextlib.suppress(ContainerNotFound):
            shared.containers.remove(each.container_id, force=True)
    shared.volumes.prune(all=True)
    for each in shared.home.locks.glob("*-*"):  # of who was killed, until somebody has it again
        each.unlink()
    for each in shared.home.volumes.glob("*"):
        assert each.name not in names(shared)
        run(shared, "true", kept(each.name))  # a directory without a row is put away
    Engine(shared.home.data, environment={"HOME": str(shared.home.data)}).close()


@pytest.mark.parametrize("runtime", ["runc"])
def test_other_runtimes_mount_them_too(shared, images, runtime):
    if not shutil.which(runtime):
        pytest.skip(f"{runtime} is not installed")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    assert run(shared, "cat /data/sub/file", kept("data"), image="full", runtime=runtime) == "two\n"


def test_a_part_of_a_volume(shared, images, tmp_path):
    run(shared, "true", kept("data"), image="full")
    assert run(shared, "cat /x/file; touch /x/new", kept("data", "/x", part="sub")) == "two\n"
    assert run(shared, "ls /data/sub; cat /y", kept("data"), kept("data", "/y", part="file")) == (
        "file\nnew\none\n"
    )
    made = shared.containers.run(
        "busybox", ["true"], volumes=(kept("data", "/x", part="sub"),), network="none", detach=True
    )
    shared.containers.wait(made.name)
    shared.containers.copy_from(made.name, "/x/file", str(tmp_path))
    assert (tmp_path / "file").read_text() == "two\n"
    with pytest.raises(StartFailed, match="No such file"):
        run(shared, "true", kept("data", "/x", part="gone"))
    for part in ("/sub", "../x", "sub/../.."):
        with pytest.raises(InvalidOption, match="not a path in it"):
            run(shared, "true", kept("data", "/x", part=part))
    with pytest.raises(HostLacks, match="cannot be mounted by"):
        run(shared, "true", kept("data", "/x", part="sub"), runtime=sys.executable)


def test_a_link_in_a_volume_leads_no_part_out_of_it(shared, tmp_path):
    (tmp_path / "secret").write_text("secret")
    run(shared, f"ln -s {tmp_path} /data/out; ln -s ../../../.. /data/up", kept("data"))
    with pytest.raises(StartFailed, match="No such file"):
        run(shared, "true", kept("data", "/x", part="out"))
    assert run(shared, "ls /x", kept("data", "/x", part="up")) == "out\nup\n", "the volume itself"


# -- nobody's, and an image's ----------------------------------------------------------------


def test_volumes_of_an_image(shared, images):
    made = create(shared, image="declared")
    mounts = container_inspect(shared.containers.inspect(made.name))["Mounts"]
    assert [(each["Type"], each["Destination"], each["RW"]) for each in mounts] == [
        ("volume", "/data", True),
        ("volume", "/new", True),
    ]
    assert all(re.fullmatch("[0-9a-f]{64}", each["Name"]) for each in mounts)
    assert names(shared) == sorted(each["Name"] for each in mounts)
    assert "file" in exported(shared, mounts[0]["Name"])[1]["./file"].name
    shared.containers.remove(made.name)
    assert len(names(shared)) == 2, "kept without -v"
    assert len(shared.volumes.prune().volumes) == 2
    made = create(shared, image="declared")
    shared.containers.remove(made.name, volumes=True)
    assert names(shared) == []


def test_what_was_asked_for_takes_the_place_of_the_images(shared, images, tmp_path):
    bound = VolumeMount(source=str(tmp_path), target="/data")
    tmpfs = (TmpfsMount(target="/new"),)
    create(shared, bound, tmpfs=tmpfs, image="declared")
    assert names(shared) == []
    create(shared, kept("mine"), kept("", "/new"), image="declared")
    assert "mine" in names(shared)
    assert len(names(shared)) == 2


def test_a_volume_over_the_root_is_refused(shared, images):
    with pytest.raises(InvalidOption, match="would cover the root"):
        create(shared, image="rooted")
    assert names(shared) == []


def test_rm_takes_nameless_volumes_along_and_no_others(shared, images):
    run(shared, "echo a > /x/a", kept("mine"), kept("", "/x"), image="declared")
    assert names(shared) == ["mine"]
    volumes = (kept("mine"), kept("", "/x"))
    shared.containers.run(
        "declared", ["true"], volumes=volumes, network="none", remove=True, detach=True
    )
    until_gone(shared)
    assert names(shared) == ["mine"]


def test_nameless_volumes_of_a_detached_container_go_when_it_ends(shared, images):
    """Not when an engine looks next: the shim takes their files; the row is nobody's."""
    made = shared.containers.run(
        "declared", ["sh", "-c", "echo a > /data/a; exec sleep 60"], detach=True, remove=True,
        network="none", volumes=(kept("", "/x"), kept("mine", "/y")),
    )  # fmt: skip
    directories = {each.name: shared.home.volumes / each.name for each in shared.volumes.all()}
    assert len(directories) == 4
    shared.containers.kill(made.container_id)
    until(lambda: not any(path.exists() for name, path in directories.items() if name != "mine"))
    until(lambda: [each.name for each in shared.home.volumes.iterdir()] == ["mine"])
    assert names(shared) == ["mine"], "and their rows go when somebody looks"


def test_what_another_container_has_too_stays_when_the_first_ends(shared, images):
    first = shared.containers.run(
        "busybox", ["sleep", "60"], detach=True, remove=True, network="none",
        volumes=(kept("", "/x"),),
    )  # fmt: skip
    [name] = names(shared)
    second = create(shared, volumes_from=(VolumesFrom(container=first.container_id),))
    shared.containers.kill(first.container_id)
    until(lambda: not shared.containers.directory(first.container_id).exists())
    assert [each.container_id for each in shared.containers.list(all=True)] == [second.container_id]
    assert shared.containers.volumes.data(name).exists()
    assert names(shared) == [name]


def test_who_begins_to_use_a_volume_keeps_a_shim_from_removing_it(shared, images):
    made = shared.containers.run(
        "busybox", ["sleep", "60"], detach=True, remove=True, network="none",
        volumes=(kept("", "/x"),),
    )  # fmt: skip
    [name] = names(shared)
    with shared.containers.volumes.using([name]):
        shared.containers.kill(made.container_id)
        until(lambda: not shared.containers.directory(made.container_id).exists())
        until(lambda: not shared.networks._is_kept(made.container_id))
        assert shared.containers.volumes.data(name).exists()
    assert names(shared) == []


def until(is_so):
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def until_gone(engine):
    for each in engine.containers.list(all=True):
        with contextlib.suppress(OcimagicError):
            engine.containers.wait(each.container_id)
    while engine.containers.list(all=True):
        threading.Event().wait(0.02)


def test_a_container_that_could_not_be_made_leaves_nothing(shared):
    broken = VolumeMount(source="/x", target="/y", propagation="wrong")
    with pytest.raises(InvalidOption):
        create(shared, kept("", "/x"), broken)
    assert names(shared) == []
    assert shared.containers.list(all=True) == ()


# -- others' --------------------------------------------------------------------------------


def test_volumes_from_another(shared, images, tmp_path):
    (tmp_path / "here").write_text("here\n")
    bound = VolumeMount(source=str(tmp_path), target="/host", read_only=True)
    donor = create(shared, kept("mine"), kept("", "/x"), bound, name="donor")
    script = "cat /host/here; echo a > /host/a; echo b > /data/b && echo c > /x/c"
    told = run(shared, script, volumes_from=(VolumesFrom(container="donor"),))
    assert told.startswith("here\n")
    assert told.count("Read-only") == 1
    told = run(
        shared, "cat /data/b /x/c; touch /x/d; ls -A /mine",
        kept("other", "/mine"),
        volumes_from=(VolumesFrom(container="donor", read_only=True),),
    )  # fmt: skip
    assert told.startswith("b\nc\n")
    assert "Read-only" in told
    assert len(names(shared)) == 3, "the donor still has what nobody named"
    heir = create(shared, volumes_from=(VolumesFrom(container="donor"),))
    shared.containers.remove(donor.name, volumes=True)
    assert len(names(shared)) == 3, "so has its heir"
    shared.containers.remove(heir.name, volumes=True)
    assert names(shared) == ["mine", "other"]


# -- removed --------------------------------------------------------------------------------


def test_a_volume_in_use_cannot_be_removed(shared):
    made = create(shared, kept("data"))
    with pytest.raises(Conflict) as refused:
        shared.volumes.remove("data")
    assert refused.value.what == f"remove data: volume is in use - [{made.container_id}]"
    assert shared.volumes.inspect("data").users == (made.container_id,)
    assert shared.volumes.prune(all=True) == VolumesPruned()
    shared.containers.remove(made.name, volumes=True)
    assert names(shared) == ["data"], "a name keeps it"
    assert shared.volumes.remove("data") == "data"
    with pytest.raises(VolumeNotFound, match="no such volume: data"):
        shared.volumes.remove("data")


def test_prune_takes_the_nameless_and_with_all_the_rest(shared):
    shared.volumes.create(VolumeOptions(name="named", labels={"a": "b"}))
    nameless = shared.volumes.create(VolumeOptions())
    assert nameless.labels == {"com.docker.volume.anonymous": ""}
    run(shared, "head -c 5000 /dev/zero > /data/zero", kept(nameless.name))
    assert shared.volumes.prune() == VolumesPruned(volumes=(nameless.name,), freed_bytes=5000)
    assert shared.volumes.prune(lambda each: "a" in each.labels, all=True) == VolumesPruned()
    assert shared.volumes.prune(all=True).volumes == ("named",)


def test_making_it_again_changes_nothing(shared):
    first = shared.volumes.create(VolumeOptions(name="data", labels={"a": "b"}))
    run(shared, "echo a > /data/a", kept("data"))
    assert shared.volumes.create(VolumeOptions(name="data", labels={"c": "d"})) == first
    assert run(shared, "cat /data/a", kept("data")) == "a\n"
    with pytest.raises(InvalidOption, match="no volume driver"):
        shared.volumes.create(VolumeOptions(name="data", driver="nfs"))


def test_what_a_killed_removal_left_is_no_part_of_a_new_volume(shared):
    run(shared, "echo old > /data/old", kept("data"))
    shared._store.volumes.remove("data")  # and the engine is killed here
    assert run(shared, "ls -A /data", kept("data")) == ""
    assert list(shared.home.volumes.glob(".gone-*"))
    Engine(shared.home.data, environment={"HOME": str(shared.home.data)}).close()
    assert not list(shared.home.volumes.glob(".gone-*"))


def test_removal_and_use_at_once(shared):
    """Whoever comes first: a container that was made has its volume."""
    failed = []

    def use():
        for _ in range(6):
            try:
                assert run(shared, "echo a > /data/a && cat /data/a", kept("data")) == "a\n"
            except BaseException as err:  # noqa: BLE001
                failed.append(err)

    user = threading.Thread(target=use)
    user.start()
    while user.is_alive():
        with contextlib.suppress(Conflict, VolumeNotFound):
            shared.volumes.remove("data")
    user.join()
    assert not failed


# -- tar -------------------------------------------------------------------------------------


def test_out_and_in_again(shared, images):
    run(shared, "true", kept("data"), image="full")
    tar, entries = exported(shared, "data")
    assert f"{entries['./file'].uid}:{entries['./file'].gid}" == owner(shared)
    shared.volumes.create(VolumeOptions(name="copy"))
    shared.volumes.load("copy", tar)
    assert run(shared, LOOK, kept("copy")) == run(shared, LOOK, image="full")
    run(shared, "echo mine > /data/mine; echo x > /data/later", kept("copy"))
    shared.volumes.load("copy", tar)
    assert run(shared, "cat /data/mine /data/later", kept("copy")) == "mine\nthree\n"
    with pytest.raises(VolumeNotFound):
        shared.volumes.load("gone", tar)
    with pytest.raises(VolumeNotFound):
        shared.volumes.export("gone", lambda _: None)


def test_a_tar_that_is_cut_leaves_an_empty_volume_empty(shared, images):
    run(shared, "true", kept("data"), image="full")
    tar, _ = exported(shared, "data")
    shared.volumes.create(VolumeOptions(name="copy"))
    with pytest.raises(LayerRefused):
        shared.volumes.load("copy", tar[:2000])
    assert run(shared, "ls -A /data", kept("copy")) == ""
    shared.volumes.load("copy", tar)
    assert run(shared, LOOK, kept("copy")) == run(shared, LOOK, image="full")


# -- seen ------------------------------------------------------------------------------------


def test_where_volumes_are_counted(shared):
    run(shared, "head -c 3000 /dev/zero > /data/zero", kept("data"))
    made = create(shared, kept("data"), kept("", "/x"), remove=False)
    usage = {each.name: each for each in shared.system.disk.usage().volumes}
    assert (usage["data"].size_bytes, usage["data"].containers) == (3000, 1)
    (summary,) = shared.containers.list(all=True)
    assert set(summary.volumes) == set(usage)
    shared.containers.remove(made.name)
    pruned = shared.system.disk.prune(volumes=True)
    assert len(pruned.volumes.volumes) == 1
    assert names(shared) == ["data"]


def test_a_stopped_containers_files_are_copied_from_its_volumes(shared, tmp_path):
    run(shared, "echo a > /data/a", kept("data"))
    made = shared.containers.run(
        "busybox", ["true"], volumes=(kept("data"),), network="none", name="done", detach=True
    )
    shared.containers.wait("done")
    shared.containers.copy_from(made.name, "/data/a", str(tmp_path))
    assert (tmp_path / "a").read_text() == "a\n"
