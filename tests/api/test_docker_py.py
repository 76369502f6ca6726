"""A small job with docker-py, the Python library that many programs use docker by."""

import io
import tarfile
from contextlib import closing

import pytest

docker = pytest.importorskip("docker")


@pytest.fixture
def client(daemon):
    with closing(docker.DockerClient(base_url=daemon.url, version="auto", timeout=60)) as client:
        yield client


def test_a_day_s_work(client):
    assert client.ping()
    image, said = client.images.build(
        fileobj=io.BytesIO(b"FROM busybox\nRUN echo made > /made\nCMD cat /made\n"), tag="day:1"
    )
    assert any("Successfully tagged day:1" in each.get("stream", "") for each in said)
    assert client.containers.run("day:1", remove=True) == b"made\n"
    with pytest.raises(docker.errors.ContainerError) as failed:
        client.containers.run("day:1", ["sh", "-c", "echo why >&2; exit 3"], remove=True)
    assert (failed.value.exit_status, failed.value.stderr) == (3, b"why\n")
    assert [each.tags for each in client.images.list("day")] == [["day:1"]]
    client.images.remove(image.id)
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("day:1")


def test_a_container_that_stays(client):
    container = client.containers.run("busybox", "sleep 1000", detach=True, init=True, name="stays")
    container.reload()
    assert container.status == "running"
    assert container.exec_run("echo in here") == (0, b"in here\n")
    out, err = container.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True).output
    assert (out, err) == (b"o\n", b"e\n")
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member = tarfile.TarInfo("brought")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    assert container.put_archive("/tmp", raw.getvalue())
    pieces, stat = container.get_archive("/tmp/brought")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert tar.extractfile("brought").read() == b"abc"
    assert stat["size"] == 3
    container.kill()
    assert container.wait()["StatusCode"] == 137
    container.remove()
    assert client.containers.list(all=True) == []


def test_output_as_it_comes(client):
    container = client.containers.run(
        "busybox", ["sh", "-c", "for i in 1 2 3; do echo $i; done"], detach=True
    )
    assert b"".join(container.logs(stream=True, follow=True)) == b"1\n2\n3\n"
