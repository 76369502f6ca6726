"""The event journal: what engines, shims and other processes of a data root tell."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from ocimagic import Engine
from ocimagic.errors import CommandNotFound, HostLacks, InvalidOption
from ocimagic.home import journal
from ocimagic.model.network import NetworkOptions
from ocimagic.model.options import HealthOptions, VolumeMount
from ocimagic.model.request import ExecOptions
from ocimagic.model.volume import VolumeOptions
from ocimagic.shim.client import Started


@pytest.fixture
def since(shared):
    """Return what tells of everything since now, as words."""
    begun = time.time_ns()

    def told(*conditions, until=None):
        found = shared.system.events(
            since_ns=begun, until_ns=until or time.time_ns(), conditions=conditions
        )
        return list(found)

    return told


def words(events):
    return [f"{each.kind} {each.action}" for each in events]


def until(is_so):
    deadline = time.monotonic() + 10
    while not is_so():
        if time.monotonic() > deadline:
            return False
    return True


def test_a_container_from_its_making_to_its_end(shared, since):
    done = shared.containers.run(
        "busybox", ["sh", "-c", "exit 3"], name="ev-a", labels={"class": "devops"}, network="none"
    )
    shared.containers.remove("ev-a")
    found = since("type=container")
    assert words(found) == [
        "container create",
        "container attach",
        "container start",
        "container die",
        "container destroy",
    ]
    assert {each.actor for each in found} == {done.container_id}
    for each in found:
        said = {"name": "ev-a", "image": "busybox", "class": "devops"}
        assert said.items() <= each.attributes.items()
    assert found[3].attributes["exitCode"] == "3"
    times = [each.time_ns for each in found]
    assert times == sorted(times)


def test_who_has_no_engine_tells_its_end(shared, since):
    """``--rm`` and a restart policy are the shim's."""
    shared.containers.run("busybox", ["true"], remove=True, detach=True, network="none")
    assert until(lambda: "container destroy" in words(since()))
    assert words(since()) == [
        "container create", "container start", "container die", "container destroy",
    ]  # fmt: skip


def test_verbs_on_one_that_runs(shared, since):
    shared.containers.run("busybox", ["sleep", "100"], name="ev-b", detach=True, network="none")
    shared.containers.exec("ev-b", ExecOptions(command=("sh", "-c", "exit 4")))
    shared.containers.rename("ev-b", "ev-c")
    shared.containers.kill("ev-c", signal="CONT")
    shared.containers.stop("ev-c", grace_s=0)
    shared.containers.start("ev-c")
    shared.containers.remove("ev-c", force=True)
    found = since()
    assert words(found) == [
        "container create",
        "container start",
        "container exec_create: sh -c exit 4",
        "container exec_start: sh -c exit 4",
        "container exec_die",
        "container rename",
        "container kill",
        "container kill",
        "container kill",  # it did not listen
        "container die",
        "container stop",
        "container start",
        "container kill",
        "container die",
        "container destroy",
    ]
    by_action = {each.action: each for each in found}
    assert by_action["exec_die"].attributes["exitCode"] == "4"
    assert by_action["rename"].attributes["oldName"] == "/ev-b"
    assert found[6].attributes["signal"] == str(int(signal.SIGCONT))
    assert [each.attributes["name"] for each in found[:5]] == ["ev-b"] * 5
    assert {each.attributes["name"] for each in found[5:]} == {"ev-c"}, "the shim knows it, too"


def test_a_shim_that_took_over_goes_on_telling(shared, since):
    made = shared.containers.run(
        "busybox", ["sleep", "100"], name="ev-d", detach=True, network="none"
    )
    state = shared.containers.directory(made.container_id) / "state.json"
    os.kill(Started.from_message(json.loads(state.read_bytes())).shim.pid, signal.SIGKILL)
    shared.containers.stop("ev-d", grace_s=0)
    shared.containers.remove("ev-d")
    assert words(since()).count("container start") == 1
    assert words(since()).count("container die") == 1


def test_a_terminal_that_changes_its_size(shared, since):
    made = shared.containers.run(
        "busybox", ["sleep", "100"], name="ev-g", detach=True, tty=True, network="none"
    )
    with shared.containers.open_attached("ev-g", stdin=False) as attachment:
        attachment.resize(40, 100)
        assert until(lambda: since("event=resize"))
    shared.containers.remove("ev-g", force=True)
    (resized,) = since("event=resize")
    assert resized.actor == made.container_id
    assert {"height": "40", "width": "100"}.items() <= resized.attributes.items()
    assert [each.action for each in since("event=attach")] == ["attach"]


def test_a_start_that_fails_mounts_no_volume(shared, since):
    volumes = [VolumeMount(target="/data", kept=True, name="ev-w")]
    with pytest.raises(CommandNotFound):
        shared.containers.run("busybox", ["/nothing"], network="none", remove=True, volumes=volumes)
    shared.volumes.remove("ev-w")
    assert not since("event=mount", "event=unmount")


def test_health_is_told_when_it_changes(shared, since):
    health = HealthOptions(test=("CMD-SHELL", "test -e /well"), interval_s=0.05, retries=2)
    shared.containers.run(
        "busybox", ["sleep", "100"], name="ev-e", detach=True, network="none", health=health
    )
    assert until(lambda: "container health_status: unhealthy" in words(since()))
    shared.containers.exec("ev-e", ExecOptions(command=("touch", "/well")))
    assert until(lambda: "container health_status: healthy" in words(since()))
    shared.containers.remove("ev-e", force=True)
    assert len(since("event=health_status")) == 2


def test_images_networks_and_volumes(shared, since, registry):
    shared.images.pull(f"{registry.host}/busybox")
    shared.images.tag("busybox", "ev:1")
    shared.images.remove("ev:1")
    shared.volumes.create(VolumeOptions(name="ev-v"))
    shared.volumes.create(VolumeOptions(name="ev-v"))  # it is there: nothing happens
    shared.volumes.remove("ev-v")
    assert words(since("type=image", "type=volume")) == [
        "image pull", "image tag", "image untag", "volume create", "volume destroy",
    ]  # fmt: skip
    assert [each.actor for each in since("event=pull")] == [f"{registry.host}/busybox:latest"]
    assert words(since("image=ev:1")) == ["image tag", "image untag"]
    assert words(since("image=ev")) == ["image tag", "image untag"]
    assert words(since("volume=ev-v", "event=create")) == ["volume create"]
    assert words(since("volume=nobody")) == []


def test_a_network_is_joined_and_left(shared, since):
    try:
        shared.networks.create(NetworkOptions(name="ev-n"))
    except HostLacks as err:
        pytest.skip(f"no networks here: {err}")
    shared.containers.run("busybox", ["true"], network="ev-n", remove=True)
    assert until(lambda: "network disconnect" in words(since()))
    shared.networks.remove("ev-n")
    assert words(since("type=network")) == [
        "network create", "network connect", "network disconnect", "network destroy",
    ]  # fmt: skip
    assert len(since("network=ev-n", "type=network")) == 4


def test_what_comes_is_told_at_once_and_to_everybody(shared):
    other = """
import sys, time
from ocimagic import Engine
with Engine(sys.argv[1], environment={}) as engine:
    print("there", flush=True)
    for event in engine.system.events(conditions=["container=ev-f"]):
        print(event.action, flush=True)
        if event.action == "destroy":
            break
"""
    stop, heard = threading.Event(), []

    def listen():
        heard.extend(shared.system.events(conditions=["container=ev-f"], cancelled=stop))

    thread = threading.Thread(target=listen)
    thread.start()
    command = [sys.executable, "-c", other, str(shared.home.data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "there\n"
        time.sleep(0.3)  # both listen by now: what was before is not told
        shared.containers.run("busybox", ["true"], name="ev-f", network="none")
        shared.containers.remove("ev-f")
        told = process.communicate(timeout=20)[0].split()
        assert told == ["create", "attach", "start", "die", "destroy"]
    assert until(lambda: len(heard) == 5)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_filters_that_are_none(shared):
    for text, said in (("tpye=image", "did you mean type"), ("label", "write label=VALUE")):
        with pytest.raises(InvalidOption) as raised:
            shared.system.events(conditions=[text])
        assert said in raised.value.hint


def test_labels_must_all_fit(shared, since):
    labels = {"a": "1", "b": "2"}
    shared.containers.run("busybox", ["true"], network="none", remove=True, labels=labels)
    assert until(lambda: since("label=a=1", "label=b", "event=destroy"))
    assert not since("label=a=1", "label=c")
    assert not since("label=a=2")


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("since_s", [0, 1, 17.5, 2500, 4989, 4999.5, 6000])
def test_a_journal_is_not_read_from_its_beginning(tmp_path, since_s, older):
    path = tmp_path / "events.jsonl"
    lines = [b'{"time":%d,"pad":"%s"}\n' % (s * 10**9, b"x" * (s % 700)) for s in range(5000)]
    lines[2400:2600:7] = [b"half of one\n"] * len(lines[2400:2600:7])
    cut = 2500 if older else 0
    if older:
        (tmp_path / "events.1.jsonl").write_bytes(b"".join(lines[:cut]))
    path.write_bytes(b"".join(lines[cut:]))
    since_ns = int(since_s * 10**9)
    with closing(journal.Reading(path, since_ns)) as reading:
        found = [each["time"] for each in reading.more()]
        journal.note(path, {"kind": "image"})
        assert [each["kind"] for each in reading.more()] == ["image"]
    everything = [json.loads(each)["time"] for each in lines if each[:1] == b"{"]
    wanted = [each for each in everything if each >= since_ns]
    assert found[len(found) - len(wanted) :] == wanted
    assert found == everything[len(everything) - len(found) :]
    assert len(found) < len(wanted) + 1000


def test_a_journal_that_grew_is_turned(tmp_path, monkeypatch):
    """Nobody loses a line for it, who writes or who reads."""
    monkeypatch.setattr(journal, "MAX_BYTES", 2000)
    path = tmp_path / "events.jsonl"
    with closing(journal.Reading(path)) as reading:
        seen = [each["number"] for each in reading.more()]
        for number in range(60):
            journal.note(path, {"number": number})
            if number % 7 == 0:
                seen += [each["number"] for each in reading.more()]
        seen += [each["number"] for each in reading.more()]
    assert seen == list(range(60))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["events.1.jsonl", "events.jsonl"]
    assert path.stat().st_size <= 2100
    with closing(journal.Reading(path)) as reading:
        kept = [each["number"] for each in reading.more()]
    assert kept == list(range(kept[0], 60))


def test_what_is_no_line_is_passed_over(tmp_path):
    path = tmp_path / "events.jsonl"
    journal.note(path, {"kind": "image", "action": "tag", "id": "x", "attributes": {}})
    with path.open("ab") as file:
        file.write(b'{"kind": "imag\n[1]\nnonsense\n{"kind": 7}\n')
    journal.note(path, {"kind": "image", "action": "untag", "id": "x", "attributes": {}})
    from ocimagic.engine.events import events

    found = events(path, since_ns=0, until_ns=time.time_ns())
    assert [each.action for each in found] == ["tag", "untag"]


def test_a_disk_that_takes_no_more_stops_nothing(tmp_path):
    journal.note(tmp_path / "nowhere" / "events.jsonl", {"kind": "image"})
    journal.note(tmp_path / "events.jsonl", {"kind": "x" * (1 << 20)})
    assert not (tmp_path / "events.jsonl").exists()


def test_many_write_at_once(tmp_path):
    path = tmp_path / "events.jsonl"
    script = (
        "import sys; from ocimagic.home import journal\n"
        "for n in range(300): journal.note(sys.argv[1], {'who': sys.argv[2], 'pad': 'x' * 500})"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script, str(path), str(number)])
        for number in range(4)
    ]
    for each in started:
        assert each.wait(60) == 0
    with closing(journal.Reading(path)) as reading:
        who = [each["who"] for each in reading.more()]
    assert {each: who.count(each) for each in "0123"} == dict.fromkeys("0123", 300)


def test_an_engine_without_a_journal_tells_nothing(tmp_path):
    with Engine(tmp_path / "root", environment={}) as engine:
        assert list(engine.system.events(since_ns=0, until_ns=time.time_ns())) == []
