"""Small jobs with three more libraries that programs use docker by, on our socket."""

import asyncio
import io
import shutil
import tarfile
import urllib.request

import pytest

SITE = """\
FROM busybox
RUN mkdir /www && echo served > /www/index.html
CMD httpd -f -p 8080 -h /www
"""


def packed(**files):
    """Return a tar of texts, as a file."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    raw.seek(0)
    return raw


# -- aiodocker ------------------------------------------------------------------------


def test_aiodocker_builds_runs_talks_and_hears_of_it(daemon):
    aiodocker = pytest.importorskip("aiodocker")

    async def work():
        async with aiodocker.Docker(url=daemon.url) as client:
            heard = client.events.subscribe()
            context = packed(Dockerfile="FROM busybox\nCMD cat\n")
            said = await client.images.build(fileobj=context, encoding="identity", tag="aio:1")
            assert any("Successfully tagged aio:1" in each.get("stream", "") for each in said)
            await _talk(client)
            with pytest.raises(aiodocker.DockerError) as refused:
                await client.containers.get("aio")
            assert refused.value.status == 404
            await client.images.delete("aio:1")
            seen = []
            while "destroy" not in seen:
                event = await asyncio.wait_for(heard.get(), 30)
                seen += [event["Action"]] if event["Type"] == "container" else []
            expected = ["create", "attach", "start", "exec_create", "exec_start", "die", "destroy"]
            kept = [each.partition(":")[0] for each in seen]
            assert [each for each in kept if each in expected] == expected

    asyncio.run(work())


async def _talk(client):
    """Have one container say what it is told, and do something beside it."""
    config = {"Image": "aio:1", "OpenStdin": True, "StdinOnce": True, "AttachStdin": True}
    container = await client.containers.create(config, name="aio")
    async with container.attach(stdin=True, stdout=True, stderr=True) as stream:
        await container.start()
        await stream.write_in(b"heard\n")
        message = await asyncio.wait_for(stream.read_out(), 30)
        assert (message.stream, message.data) == (1, b"heard\n")
        executed = await container.exec(["sh", "-c", "cat /brought; exit 4"])
        await container.put_archive("/", packed(brought="abc").getvalue())
        async with executed.start(detach=False) as output:
            assert (await asyncio.wait_for(output.read_out(), 30)).data == b"abc"
            assert await asyncio.wait_for(output.read_out(), 30) is None
        assert (await executed.inspect())["ExitCode"] == 4
        (usage,) = await container.stats(stream=False)
        assert usage["id"] == container.id
    ended = await container.wait(timeout=30)  # its input has ended with the client's
    assert ended["StatusCode"] == 0
    assert await container.log(stdout=True) == ["heard\n"]
    await container.delete()


# -- testcontainers -------------------------------------------------------------------


@pytest.fixture
def testcontainers(daemon, monkeypatch):
    """The library, which finds our socket as docker's own client does; without its reaper."""
    monkeypatch.setenv("DOCKER_HOST", daemon.url)
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    pytest.importorskip("testcontainers")
    from testcontainers.core import config

    usual = config.testcontainers_config
    assert usual.ryuk_disabled
    # Not as on a machine that is a container itself, which CI's may be.
    monkeypatch.setattr(
        usual, "connection_mode_override", config.ConnectionMode.docker_host, raising=True
    )
    monkeypatch.setattr(usual, "tc_host_override", "127.0.0.1", raising=True)
    monkeypatch.setattr(usual, "sleep_time", 0.05, raising=True)
    return usual


def test_testcontainers_serves_a_page_of_an_image_of_its_own(testcontainers, tmp_path):
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.image import DockerImage
    from testcontainers.core.wait_strategies import HttpWaitStrategy

    (tmp_path / "Dockerfile").write_text(SITE)
    with DockerImage(path=tmp_path, tag="site:1") as image:
        site = DockerContainer(str(image)).with_exposed_ports(8080)
        with site.waiting_for(HttpWaitStrategy(8080).for_status_code(200)):
            place = f"{site.get_container_host_ip()}:{site.get_exposed_port(8080)}"
            with urllib.request.urlopen(f"http://{place}/", timeout=30) as page:
                assert page.read() == b"served\n"
            assert site.exec(["cat", "/www/index.html"]).output == b"served\n"


def test_testcontainers_waits_for_what_is_written(testcontainers, tmp_path):
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    brought = tmp_path / "brought"
    brought.write_text("read from the machine")
    writes = "sleep 0.1; cat /brought; echo; echo $WORD is ready; sleep 1000"
    container = (
        DockerContainer("busybox")
        .with_command(["sh", "-c", writes])
        .with_env("WORD", "all")
        .with_volume_mapping(str(brought), "/brought")
        .with_kwargs(network_mode="none", init=True)
        .waiting_for(LogMessageWaitStrategy("all is ready"))
    )
    with container:
        assert container.get_logs()[0] == b"read from the machine\nall is ready\n"


# -- python-on-whales -----------------------------------------------------------------


@pytest.fixture
def whales(daemon, monkeypatch):
    """The library, over whichever docker client this machine has."""
    python_on_whales = pytest.importorskip("python_on_whales")
    if not shutil.which("docker"):
        pytest.skip("docker is not installed")
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    return python_on_whales.DockerClient(host=daemon.url, client_type="docker")


def test_python_on_whales_builds_runs_copies_and_looks(whales, tmp_path):
    from python_on_whales.exceptions import DockerException, NoSuchImage

    (tmp_path / "Dockerfile").write_text("FROM busybox\nENV WORD=built\nCMD echo $WORD\n")
    image = whales.legacy_build(tmp_path, tags="whale:1")
    assert image.repo_tags == ["whale:1"]
    assert whales.run("whale:1", remove=True, networks=["none"]) == "built"
    with pytest.raises(DockerException) as failed:
        whales.run("whale:1", ["sh", "-c", "echo so far; exit 3"], remove=True, networks=["none"])
    assert (failed.value.return_code, failed.value.stdout) == (3, "so far\n")
    sleeper = whales.run("whale:1", ["sleep", "1000"], detach=True, init=True, name="whale")
    assert sleeper.state.running
    assert sleeper.config.env[-1] == "WORD=built"
    (tmp_path / "brought").write_text("abc")
    sleeper.copy_to(tmp_path / "brought", "/brought")
    assert sleeper.execute(["cat", "/brought"]) == "abc"
    assert sleeper.diff()["/brought"] == "A"
    (usage,) = whales.stats([sleeper])
    assert usage.container_id == sleeper.id
    assert [each.name for each in whales.ps()] == ["whale"]
    sleeper.remove(force=True)
    assert not sleeper.exists()
    image.remove()
    with pytest.raises(NoSuchImage):
        whales.image.inspect("whale:1")


def test_python_on_whales_keeps_volumes_and_networks(whales):
    with whales.volume.create("whale-data", labels={"of": "whale"}) as volume:
        words = ["sh", "-c", "echo kept > /data/word"]
        assert whales.run("busybox", words, volumes=[(volume, "/data")], remove=True) == ""
        said = whales.run("busybox", ["cat", "/data/word"], volumes=[(volume, "/data", "ro")],
                          remove=True)  # fmt: skip
        assert said == "kept"
        found = whales.volume.list([("label", "of=whale")])
        assert [each.name for each in found] == ["whale-data"]
    assert not whales.volume.exists("whale-data")
    network = whales.network.create("whale-net")
    try:
        said = whales.run("busybox", ["hostname", "-i"], networks=[network], remove=True)
        (subnet,) = [each["Subnet"] for each in network.ipam.config]
        assert said.split(".")[:2] == subnet.split(".")[:2]
    finally:
        network.remove()
