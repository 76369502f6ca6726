"""Images of the real dockerd, of podman's service and of podman's program, adopted."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
from archives import named, oci_files, tarred
from peers import Peer, need
from rootfs import MadeImage, tar_of

from ocimagic.errors import (
    Cancelled,
    HostLacks,
    ImageNotFound,
    InvalidOption,
    NeighbourError,
    NeighbourUnreachable,
)
from ocimagic.model.event import LayerPhase, LayerProgress, TransferStarted
from ocimagic.transfer import neighbourhood

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _only_ours(monkeypatch, tmp_path):
    """What this machine runs itself is not asked."""
    monkeypatch.setattr(neighbourhood, "SYSTEM", tmp_path)


def fill(peer, room, layer, architecture):
    """Give a peer an image of two layers, one of its own making with two names, and one of none."""
    image = MadeImage([layer, tar_of(("which", b"web"))], {"Cmd": ["/bin/cat", "/which"]},
                      architecture=architecture)  # fmt: skip
    (room / "web.tar").write_bytes(tarred(oci_files((image, named("quay.io/me/web:2")))))
    (room / "docker.tar").write_bytes(_docker(image, layer))
    peer("load", "--input", room / "docker.tar")
    (room / "root.tar").write_bytes(layer)
    peer("import", "--change", "CMD true", room / "root.tar", "hello:1")
    (room / "other.tar").write_bytes(tar_of(("f", b"x")))
    peer("import", room / "other.tar")


def _docker(image, layer):
    from archives import docker_files

    return tarred(
        docker_files(image, "quay.io/me/web:2", layers=[layer, tar_of(("which", b"web"))])
    )


def ids_of(peer):
    lines = peer("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    return dict(map(str.split, lines.splitlines()))


@pytest.fixture(scope="module")
def made(tmp_path_factory, busybox_layer, busybox_image):
    architecture = json.loads(busybox_image.config_raw)["architecture"]

    def make(peer):
        fill(peer, tmp_path_factory.mktemp("fill"), busybox_layer, architecture)
        return ids_of(peer)

    return make


@pytest.fixture(scope="module")
def docker_there(docker, made):
    ids = made(docker)
    return SimpleNamespace(source=docker.address, ids=ids, environment={}, hello="hello:1")


@pytest.fixture(scope="module")
def podman_filled(podman, made, tmp_path_factory):
    """Podman's images, and the environment in which its program finds them."""
    ids = made(podman)
    conf = tmp_path_factory.mktemp("conf") / "storage.conf"
    conf.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{podman.room}/root"\n'
        f'runroot = "{podman.room}/run"\n'
    )
    environment = {"CONTAINERS_STORAGE_CONF": str(conf), "PATH": os.environ["PATH"],
                   "XDG_RUNTIME_DIR": str(conf.parent)}  # fmt: skip
    return SimpleNamespace(
        source="podman", ids=ids, environment=environment, hello="localhost/hello:1"
    )


@pytest.fixture(scope="module")
def podman_service(podman, podman_filled):
    path = podman.room / "service"
    words = [*podman.command, "system", "service", "--time", "0", f"unix://{path}"]
    with (podman.room / "log").open("wb") as log:
        service = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not path.exists():
            assert service.poll() is None, (podman.room / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "podman's service does not come"
            time.sleep(0.05)
        yield SimpleNamespace(**vars(podman_filled) | {"source": f"unix://{path}"})
    finally:
        service.terminate()
        service.wait(30)


@pytest.fixture(params=["docker_there", "podman_service", "podman_filled"])
def there(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def ours(make_engine, there):
    return make_engine(**there.environment)


def here(engine):
    return {row.name: row.image_id for row in engine.images.list()}


def digest(there, name):
    said = there.ids[name]
    return said if said.startswith("sha256:") else f"sha256:{said}"


def streamed(events):
    return [each.verb for each in events if isinstance(each, TransferStarted)]


# -- listing ------------------------------------------------------------------------------


def test_the_list_is_theirs_and_changes_nothing(there, ours):
    found = ours.images.adoptable(there.source)
    tags = {tag: each for each in found.images for tag in each.tags}
    assert set(tags) == {"quay.io/me/web:2", there.hello}
    assert [str(tags[name].image_id) for name in tags] == [digest(there, name) for name in tags]
    assert len([each for each in found.images if not each.tags]) == 1
    assert all(each.size_bytes > 0 for each in found.images)
    assert not any(each.is_here for each in found.images)
    age = time.time() - tags[there.hello].created.timestamp()
    assert -1 < age < 600
    if there.hello == "hello:1":  # podman says when it came
        assert tags["quay.io/me/web:2"].created is None
    assert here(ours) == {}


# -- adopting -----------------------------------------------------------------------------


def test_one_comes_by_name_with_its_id_and_runs(there, ours):
    events = []
    done = ours.images.adopt(["quay.io/me/web:2"], source=there.source, on_event=events.append)
    assert here(ours) == {"quay.io/me/web:2": digest(there, "quay.io/me/web:2")}
    assert [each.tags for each in done.loaded.images] == [("quay.io/me/web:2",)]
    assert done.known == ()
    assert done.received_bytes > 1_000_000
    assert streamed(events) == ["adopting", "loading"]
    phases = {each.phase for each in events if isinstance(each, LayerProgress)}
    assert {LayerPhase.DOWNLOADING, LayerPhase.DONE} <= phases
    assert ours.images.verify().faults == ()
    try:
        assert ours.containers.run("quay.io/me/web:2", remove=True).stdout == b"web"
    except HostLacks as err:
        pytest.skip(f"containers cannot run here: {err.why}")
    found = ours.images.adoptable(there.source)
    assert {each.is_here for each in found.images if "quay.io/me/web:2" in each.tags} == {True}


def test_again_nothing_is_streamed(there, ours):
    ours.images.adopt("hello:1", source=there.source)
    before, events = here(ours), []
    done = ours.images.adopt("hello:1", source=there.source, on_event=events.append)
    assert (done.loaded.images, done.received_bytes, events) == ((), 0, [])
    assert [(each.tags, str(each.image_id)) for each in done.known] == [
        ((there.hello,), digest(there, there.hello))
    ]
    assert here(ours) == before


def test_what_is_here_under_another_name_gets_theirs(there, ours):
    ours.images.adopt("hello:1", source=there.source)
    ours.images.tag(there.hello, "mine:1")
    ours.images.remove(there.hello)
    ours.images.adopt([there.ids[there.hello]], source=there.source)
    assert set(here(ours)) == {"mine:1", there.hello}
    assert len(set(here(ours).values())) == 1


def test_by_id_all_its_names_come(there, ours):
    done = ours.images.adopt([digest(there, there.hello)[7:19]], source=there.source)
    assert [each.tags for each in done.images] == [(there.hello,)]
    assert here(ours) == {there.hello: digest(there, there.hello)}


def test_all_that_have_names_come_in_one_archive(there, ours):
    done = ours.images.adopt(all=True, source=there.source)
    wanted = {name: digest(there, name) for name in ("quay.io/me/web:2", there.hello)}
    assert here(ours) == wanted
    assert done.received_bytes < 4_000_000  # the layer that both have came once
    assert ours.images.adopt(all=True, source=there.source).received_bytes == 0


def test_one_without_a_name_comes_by_its_id(there, ours):
    [nameless] = [each for each in ours.images.adoptable(there.source).images if not each.tags]
    done = ours.images.adopt([str(nameless.image_id)], source=there.source)
    assert [(each.image_id, each.tags) for each in done.images] == [(nameless.image_id, ())]


def test_what_is_not_there_is_said_and_nothing_comes(there, ours):
    with pytest.raises(ImageNotFound, match=r"did you mean quay\.io/me/web:2"):
        ours.images.adopt(["hello:1", "quay.io/me/web:3"], source=there.source)
    with pytest.raises(ImageNotFound, match="no such image: 0123456789ab"):
        ours.images.adopt(["0123456789ab"], source=there.source)
    assert here(ours) == {}


def test_a_stop_leaves_nothing(there, ours):
    stop = threading.Event()
    before = children()

    def on_event(event):
        if isinstance(event, LayerProgress) and event.phase is LayerPhase.DOWNLOADING:
            stop.set()

    with pytest.raises(Cancelled, match="nothing of it was kept"):
        ours.images.adopt(all=True, source=there.source, on_event=on_event, cancelled=stop)
    assert here(ours) == {}
    assert list(ours.home.ingest.iterdir()) == []
    assert children() <= before


def children():
    """Return the processes that this one has started and that are not gone."""
    pids = set()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/children") as file:
            pids |= set(file.read().split())
    return pids


# -- who answers --------------------------------------------------------------------------


def test_without_from_docker_comes_before_podman(docker_there, podman_filled, make_engine):
    environment = podman_filled.environment
    podman = make_engine("one", **environment).images.adoptable()
    assert podman.source.startswith("podman (/")
    both = make_engine("two", DOCKER_HOST=docker_there.source, **environment)
    assert both.images.adoptable().source == f"docker at {docker_there.source}"
    assert both.images.adoptable("podman").source == podman.source


def test_what_goes_between_list_and_archive_is_told_in_docker_s_words(
    docker, docker_there, make_engine, monkeypatch
):
    from ocimagic.transfer.daemon import Daemon

    engine = make_engine()
    listed = Daemon.images

    def gone(self):
        found = listed(self)
        docker("rmi", "--force", "gone:1")
        return found

    docker("tag", "hello:1", "gone:1")
    with open(os.devnull, "rb") as nothing:
        subprocess.run([*docker.command, "import", "-", "gone:1"], stdin=nothing, check=True,
                       capture_output=True)  # fmt: skip
    monkeypatch.setattr(Daemon, "images", gone)
    with pytest.raises(NeighbourError, match=r"refuses\n.*no such file"):
        engine.images.adopt("gone:1", source=docker.address)
    assert here(engine) == {}


def test_a_podman_that_fails_says_why(make_engine, tmp_path):
    need("podman")
    conf = tmp_path / "containers.conf"
    conf.write_text("[[[")
    engine = make_engine(
        CONTAINERS_CONF=str(conf), PATH=os.environ["PATH"], XDG_RUNTIME_DIR=str(tmp_path)
    )
    with pytest.raises(NeighbourError, match=r"podman .* refuses") as caught:
        engine.images.adoptable("podman")
    assert "containers.conf" in caught.value.why


def test_podman_of_an_ordinary_user(make_engine, tmp_path, busybox_layer):
    if os.geteuid() == 0:
        pytest.skip("not root's")
    need("podman")
    conf = tmp_path / "storage.conf"
    conf.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/p"\nrunroot = "{tmp_path}/r"\n'
        f'rootless_storage_path = "{tmp_path}/p"\n'
    )
    environment = {"CONTAINERS_STORAGE_CONF": str(conf), "PATH": os.environ["PATH"],
                   "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}  # fmt: skip
    peer = Peer("env", *(f"{key}={value}" for key, value in environment.items()), "podman")
    (tmp_path / "root.tar").write_bytes(tar_of(("f", b"x")))
    try:
        try:
            peer("import", tmp_path / "root.tar", "hello:1")
        except AssertionError as err:
            pytest.skip(f"podman cannot work as this user: {err}")
        [image_id] = ids_of(peer).values()
        engine = make_engine(**{name: environment[name] for name in environment if name != "HOME"})
        engine.images.adopt("hello:1")
        assert here(engine)["localhost/hello:1"] == f"sha256:{image_id.removeprefix('sha256:')}"
    finally:
        peer("unshare", "rm", "-rf", tmp_path / "p", tmp_path / "r", check=False)
        # Podman keeps a process that holds its user namespace.
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((tmp_path / "libpod/tmp/pause.pid").read_text()), signal.SIGTERM)


def test_no_engine_at_all_says_where_it_was_looked_for(make_engine, tmp_path):
    engine = make_engine(XDG_RUNTIME_DIR=str(tmp_path))
    with pytest.raises(NeighbourUnreachable, match="neither docker nor podman is here") as caught:
        engine.images.adoptable()
    said = caught.value.why.splitlines()
    assert said == [
        f"docker at unix://{tmp_path}/run/docker.sock: there is no such socket",
        f"docker at unix://{tmp_path}/var/run/docker.sock: there is no such socket",
        f"docker at unix://{tmp_path}/docker.sock: there is no such socket",
        f"podman at unix://{tmp_path}/podman/podman.sock: there is no such socket",
        f"podman at unix://{tmp_path}/run/podman/podman.sock: there is no such socket",
        "podman at program: there is no such program on PATH",
    ]
    with pytest.raises(InvalidOption, match="which images"):
        engine.images.adopt(all=False)
