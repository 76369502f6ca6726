import socket
import sys
import urllib.request

import pytest

from ocimagic.build.homemade import STAND_IN_FOR
from ocimagic.engine.classroom import ClassRegistry
from ocimagic.errors import HostLacks, ImageNotFound, RegistryError
from ocimagic.spec.platform import Platform, host_platform

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there are no programs for Linux")

NAMES = ("alpine", "busybox", "httpd", "redis", "tomcat", "ubuntu")


@pytest.fixture(scope="module")
def classroom():
    with ClassRegistry() as registry:
        yield registry


def run(engine, image, *command, **options):
    try:
        return engine.containers.run(image, list(command), network="none", **options)
    except HostLacks as err:
        pytest.skip(f"containers cannot run here: {err.why}")


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_pulled_and_says_what_it_is(engine, classroom, name):
    engine.images.pull(f"{classroom.host}/{name}")
    details = engine.images.inspect(f"{classroom.host}/{name}")
    assert details.config.config.labels[STAND_IN_FOR].startswith(f"{name}:")
    assert all(layer.media_type.endswith("+gzip") for layer in details.layers)
    said = run(engine, f"{classroom.host}/{name}", "cat", "/etc/ocimagic-standin", remove=True)
    assert b"it is not the real image" in said.stdout


def test_the_names_and_tags_of_the_class_notes(engine, classroom):
    wanted = {"alpine:latest", "redis:latest", "httpd:latest", "ubuntu:latest", "tomcat:8"}
    assert {f"{classroom.host}/{name}" for name in wanted} <= set(classroom.names)
    short = engine.images.pull(f"{classroom.host}/tomcat:8")
    nested = engine.images.pull(f"{classroom.host}/library/tomcat:latest")
    assert short.image_id == nested.image_id
    assert nested.downloaded_bytes == 0


def test_what_is_not_there(engine, classroom):
    with pytest.raises(ImageNotFound):
        engine.images.pull(f"{classroom.host}/nginx")
    with pytest.raises(ImageNotFound):
        engine.images.pull(f"{classroom.host}/ubuntu:20.04")


def test_ubuntu_has_three_layers_and_apt_update_makes_one(engine, classroom):
    engine.images.pull(f"{classroom.host}/ubuntu:latest")
    assert len(engine.images.inspect(f"{classroom.host}/ubuntu").layers) == 3
    name = f"{classroom.host}/ubuntu"
    updated = run(engine, name, "sh", "-c", "apt update && cat /var/lib/apt/lists/*", remove=True)
    assert updated.exit_code == 0
    refused = run(engine, name, "apt", "install", "nginx", remove=True)
    assert refused.exit_code == 100
    assert b"real image" in refused.stderr


def test_the_servers_share_their_base(engine, classroom):
    first = engine.images.pull(f"{classroom.host}/tomcat:8")
    second = engine.images.pull(f"{classroom.host}/redis")
    assert second.downloaded_bytes < first.downloaded_bytes / 100
    report = engine.images.layers(f"{classroom.host}/tomcat:8", f"{classroom.host}/redis")
    tomcat, redis = (layers for _, layers in report.images)
    assert tomcat[0].diff_id == redis[0].diff_id
    assert tomcat[1].diff_id != redis[1].diff_id


def test_a_server_waits_until_it_is_stopped(engine, classroom):
    engine.images.pull(f"{classroom.host}/redis")
    started = run(engine, f"{classroom.host}/redis", detach=True)
    while b"waiting" not in b"".join(data for _, _, data in engine.containers.logs(started.name)):
        assert engine.containers.get(started.name).exit is None
    assert engine.containers.stop(started.name).code == 0


def test_an_index_offers_several_platforms(engine, classroom):
    name = f"{classroom.host}/alpine"
    ours = engine.images.pull(name)
    assert ours.digest != engine.images.inspect(name).manifest.digest
    assert engine.images.inspect(name).config.platform.canonical == host_platform().canonical
    other = Platform("linux", "riscv64")
    assert other.canonical != host_platform().canonical
    theirs = engine.images.pull(name, platform=other)
    assert theirs.digest == ours.digest
    assert theirs.image_id != ours.image_id
    assert engine.images.inspect(name).config.platform == other


def test_the_same_machine_serves_the_same_digests(classroom):
    with ClassRegistry() as again:
        assert again.source.names == classroom.source.names


def test_it_listens_on_this_machine_only_and_stops(engine):
    registry = engine.classroom()
    assert registry.host.startswith("127.0.0.1:")
    with urllib.request.urlopen(f"{registry.url}/v2/_catalog", timeout=5) as answer:
        assert b'"library/ubuntu"' in answer.read()
    registry.close()
    registry.close()
    host, port = registry.host.split(":")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, int(port)), timeout=5).close()
    with pytest.raises(RegistryError):
        engine.images.pull(f"{registry.host}/ubuntu")
