"""RUN, in real containers."""

import tarfile
import threading
import time

import pytest
from conftest import make_base, need_containers

from ocimagic.errors import (
    Cancelled,
    DiskFull,
    ImageNotFound,
    RegistryError,
    StartFailed,
    StepFailed,
)


def only(text):
    """Return an ARG that makes a step new to the session's cache."""
    return f"ARG ONLY={text}{time.time_ns()}\n"


def test_run_makes_a_layer(runs):
    result = runs.build(f"FROM base\n{only('a')}RUN echo hi > /made && mkdir /new\n", "ran")
    assert runs.text(result, "made") == "hi\n"
    listing = runs.listing(result)
    assert listing["new"] == ("d", 0o755, (0, 0))
    assert "bin/busybox" in listing
    out = runs.engine.containers.run("ran", ["cat", "/made"], remove=True, network="none")
    assert (out.exit_code, out.stdout) == (0, b"hi\n")


def test_mount_points_do_not_stay(runs):
    result = runs.build(f"FROM base\n{only('m')}RUN test -s /etc/hosts && test -d /proc/1\n")
    before = set(runs.listing(runs.build("FROM base\n")))
    assert before == set(runs.listing(result)) - {"etc"} | {"etc"}
    assert result.steps[-1].layer is not None


def test_a_layer_holds_only_what_the_command_changed(runs):
    """The directories of the stubs once came along, with a new time."""
    result = runs.build(f"FROM base\n{only('o')}RUN echo x > /only\n")
    store = runs.engine.containers.store
    with tarfile.open(store.blobs.path(result.steps[-1].layer)) as tar:
        assert tar.getnames() == ["only"]


def test_mount_points_on_an_image_without_etc(runs):
    head = "FROM scratch\nCOPY --from=base /bin/busybox /bin/busybox\n"
    result = runs.build(head + only("e") + 'RUN ["/bin/busybox", "true"]\n')
    assert {"bin", "bin/busybox"} == set(runs.listing(result))


def test_deleted_files_and_modes(runs):
    text = (
        f"FROM base\n{only('d')}RUN echo x > /x && chmod 4750 /x && rm /etc/group && rm -r /tmp\n"
    )
    listing = runs.listing(runs.build(text))
    assert listing["x"] == ("f", 0o4750, (0, 0))
    assert "etc/passwd" in listing
    assert not {"etc/group", "tmp"} & set(listing)


def test_what_a_command_sees(runs):
    text = (
        f"ARG G=global\nFROM base\n{only('env')}ARG G\nARG A=arg\nENV E=env A=wins\n"
        "USER app\nWORKDIR /w\n"
        "RUN echo E=$E A=$A G=$G P=$HTTP_PROXY B=$BASE; id -u; id -g; pwd; head -n1 /etc/hostname\n"
    )
    runs.build(text, build_args={"HTTP_PROXY": "proxy"})
    assert runs.output() == "E=env A=wins G=global P=proxy B=1\n1000\n1001\n/w\nocimagic-build\n"


def test_exec_form_shell_and_heredocs(runs):
    text = (
        f"FROM base\n{only('forms')}"
        'RUN ["/bin/busybox", "echo", "$HOME"]\n'
        'SHELL ["/bin/sh", "-ec"]\n'
        "RUN echo $0-$-\n"
        "RUN <<EOF\necho one\necho two\nEOF\n"
        "RUN <<EOF\n#!/bin/busybox cat\nscript\nEOF\n"
        "RUN cat <<A <<B\nfirst\nA\nsecond\nB\n"
    )
    runs.build(text)
    outputs = [runs.output(step) for step in (3, 5, 6, 7, 8)]
    assert outputs[0] == "$HOME\n"
    assert "e" in outputs[1]
    assert outputs[2:] == ["one\ntwo\n", "#!/bin/busybox cat\nscript\n", "second\n"]


def test_history_of_run(runs):
    result = runs.build("FROM base\nARG A=1\nARG B\nRUN true one\n", build_args={"B": "2"})
    image = runs.engine._store.images.load(result.digest)
    assert image.config.history[-1].created_by == "RUN |2 A=1 B=2 /bin/sh -c true one # ocimagic"


def test_network_none(runs):
    text = f"FROM base\n{only('n')}RUN --network=none ls /sys/class/net\n"
    runs.build(text)
    assert {"lo"} == set(runs.output().split())


def test_failing_run(runs):
    command = "for i in $(ls /bin); do echo $i; done; ls /bin; echo last >&2; exit 3"
    text = f"FROM base\n{only('f')}RUN echo kept > /kept\nRUN {command}\n"
    with pytest.raises(StepFailed) as caught:
        runs.build(text, "failed")
    err = caught.value
    assert (err.command_exit_code, err.exit_code) == (3, 1)
    assert len(err.tail) == 20
    assert "last" in err.tail
    assert "did not complete successfully: exit code: 3" in err.what
    assert "Dockerfile line 4" in err.where
    with pytest.raises(ImageNotFound):
        runs.engine.images.inspect("failed")
    with pytest.raises(StepFailed):
        runs.build(text)
    assert runs.cached() == {"FROM": True, "ARG": True, "RUN": True}


def test_command_that_is_not_there(runs):
    with pytest.raises(StepFailed) as caught:
        runs.build(f'FROM base\n{only("c")}RUN ["nope"]\n')
    assert caught.value.command_exit_code == 127
    with pytest.raises(StepFailed) as caught:
        runs.build(f"FROM base\n{only('c')}RUN nope\n")
    assert caught.value.command_exit_code == 127
    assert "not in this image" in caught.value.hint


def test_no_shell(runs):
    with pytest.raises(StepFailed) as caught:
        runs.build(f"FROM scratch\n{only('s')}RUN true\n")
    assert "no shell" in caught.value.hint
    assert "line 3" in caught.value.where


def test_a_shell_for_another_processor_is_not_said_to_be_missing(runs):
    runs.write("sh", b"\x7fELF for another machine", mode=0o755)
    with pytest.raises(StepFailed, match="exec format error") as caught:
        runs.build(f"FROM scratch\n{only('e')}COPY sh /bin/sh\nRUN true\n")
    assert "no shell" not in caught.value.hint


def test_a_failed_step_is_told_and_its_ground_known_where_no_blob_fits_any_more(runs, monkeypatch):
    def full(_content, _digest=None):
        raise DiskFull("no space left")

    monkeypatch.setattr(runs.engine._store.blobs, "put", full)
    with pytest.raises(StepFailed) as caught:
        runs.build(f"FROM base\n{only('k')}RUN exit 3\n")
    assert caught.value.command_exit_code == 3
    assert caught.value.image_id.short in caught.value.hint


def test_unknown_user(runs):
    with pytest.raises(StartFailed) as caught:
        runs.build(f"FROM base\n{only('u')}USER nosuch\nRUN true\n")
    assert "Dockerfile line 4" in caught.value.where


def test_hostile_command_cannot_reach_out(runs, tmp_path):
    """Mount points are cleaned up without following what the command put in their place."""
    victim = tmp_path / "victim"
    victim.mkdir()
    victim.chmod(0o777)
    (victim / "hosts").touch()
    (victim / "hostname").touch()
    head = "FROM scratch\nCOPY --from=base /bin /bin\n"
    result = runs.build(f"{head}{only('h')}RUN mv /etc /moved && ln -s {victim} /etc\n")
    assert sorted(p.name for p in victim.iterdir()) == ["hostname", "hosts"]
    listing = runs.listing(result)
    assert listing["etc"][0] == "l"
    assert "moved" in listing


CACHE = [
    ("nothing", "", {}, True),
    ("label before", "LABEL x=1\n", {}, True),
    ("env before", "ENV x=1\n", {}, False),
    ("used arg", "", {"V": "2"}, False),
    ("proxy", "", {"HTTP_PROXY": "p"}, True),
    ("user", "USER 5\n", {}, False),
    ("workdir", "WORKDIR /tmp\n", {}, False),
    ("shell", 'SHELL ["/bin/sh", "-ec"]\n', {}, False),
    ("cmd", "CMD x\nEXPOSE 80\n", {}, True),
]


@pytest.mark.parametrize(
    ("lines", "args", "hit"), [c[1:] for c in CACHE], ids=[c[0] for c in CACHE]
)
def test_what_a_run_depends_on(runs, lines, args, hit):
    head = f"FROM base\n{only('dep')}ARG V=1\nWORKDIR /\n"
    runs.build(f"{head}RUN echo $V\n")
    runs.build(f"{head}{lines}RUN echo $V\n", build_args=args)
    assert hit is runs.cached()["RUN"]


def test_second_build_starts_no_launcher(runs, base_root):
    from ocimagic.engine.engine import Engine

    text = f"FROM base\n{only('l')}WORKDIR /w\nCOPY f .\nRUN cat f > g\nCMD x\n"
    runs.write("f", "content")
    first = runs.build(text, "no-launcher")
    with Engine(root=runs.engine.home.data) as other:
        runs_there = type(runs)(other, runs.context)
        again = runs_there.build(text, "no-launcher")
        assert other._launcher._process is None
    assert first.image_id == again.image_id
    assert all(step.cached for step in again.steps)


def test_snapshot_is_the_upper_directory_itself(runs):
    """A layer that RUN made can be used at once, and reads the same from its blob."""
    result = runs.build(f"FROM base\n{only('s')}RUN echo one > /s && rm /etc/group\n", "snap")
    store, unpacker = runs.engine._store, runs.engine.images._unpacker
    from ocimagic.transfer.layer import layers_of

    layer = layers_of(store.images.load(result.digest))[-1]
    assert store.snapshots.find(layer.diff_id, layer.chain_id) is not None
    with store.database.transaction() as cursor:
        cursor.execute("DELETE FROM snapshots WHERE key = ?", (layer.diff_id,))
    unpacker.ensure([layer])
    out = runs.engine.containers.run("snap", ["ls", "/etc"], remove=True, network="none")
    assert b"group" not in out.stdout.split()


def test_equal_layers_are_stacked_once(runs):
    """overlayfs refuses one directory twice; two RUNs that change nothing make equal layers."""
    text = f"FROM base\n{only('eq')}RUN true\nRUN echo\nRUN true two\nRUN ls /bin\n"
    result = runs.build(text, "equal")
    assert len({step.layer for step in result.steps if step.layer}) == 1
    out = runs.engine.containers.run("equal", ["echo", "hi"], remove=True, network="none")
    assert out.stdout == b"hi\n"


def test_listener_that_fails_is_not_a_full_disk(runs):
    def listen(event):
        if hasattr(event, "data"):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        runs.build(f"FROM base\n{only('p')}RUN echo one\n", listen=listen)


def test_cancel_before_a_step(runs, stop):
    stop.set()
    with pytest.raises(Cancelled):
        runs.build("FROM base\nRUN true\n", cancelled=stop)


def test_cancel_stops_a_running_command(runs, stop):
    text = f"FROM base\n{only('x')}RUN echo done > /done\nRUN echo started; sleep 60\n"

    def listen(event):
        if getattr(event, "data", b"").startswith(b"started"):
            stop.set()

    began = time.monotonic()
    with pytest.raises(Cancelled, match="stopped by you") as stopped:
        runs.build(text, cancelled=stop, listen=listen)
    assert time.monotonic() - began < 10
    assert stopped.value.hint.startswith("3 of 4 steps are done and kept")
    threading.Timer(0, stop.clear).run()
    with pytest.raises(StepFailed):
        runs.build(text.replace("sleep 60", "exit 1"), cancelled=stop)
    assert runs.output(4) == "started\n"
    finished = {e.number: e.cached for e in runs.events if hasattr(e, "cached")}
    assert finished[3]


def test_interrupt_in_a_listener_stops_the_command(runs):
    def listen(event):
        if getattr(event, "data", b"").startswith(b"started"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.build(f"FROM base\n{only('i')}RUN echo started; sleep 60\n", listen=listen)


def test_unknown_base_has_the_line(place):
    with pytest.raises((ImageNotFound, RegistryError)) as caught:
        place.build("# x\nFROM 127.0.0.1:1/nope:1\n")
    assert "Dockerfile line 2, column 6" in caught.value.where


def test_unknown_base_suggests_a_stage_or_an_image(place):
    place.build("FROM scratch\n", "127.0.0.1:1/demo")
    with pytest.raises((ImageNotFound, RegistryError)) as caught:
        place.build("FROM 127.0.0.1:1/demoo\n")
    assert caught.value.hint == "did you mean 127.0.0.1:1/demo:latest?"


def test_cold_build_in_a_store_of_its_own(fresh, tmp_path):
    make_base(fresh, tmp_path)
    need_containers(fresh.engine)
    fresh.write("f", "content")
    text = 'FROM base\nWORKDIR /w\nCOPY f .\nRUN cat f > g && rm f\nCMD ["cat", "g"]\n'
    first = fresh.build(text, "cold")
    assert first.image_id == fresh.build(text, "cold").image_id
    out = fresh.engine.containers.run("cold", remove=True, network="none")
    assert out.stdout == b"content"
    assert first.image_id != fresh.build(text, no_cache=True).image_id
