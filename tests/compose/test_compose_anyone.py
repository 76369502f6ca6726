"""Compose as any account: services without a network of their own, and words for those with one."""

import json
import os

import pytest
from compose_files import write

from ocimagic.cli.grammar import execute
from ocimagic.cli.session import Session
from ocimagic.errors import HostLacks

TEXT = """
services:
  job:
    image: busybox
    network_mode: none
    command: sh -c 'cat /run/secrets/word > /data/out; echo done'
    volumes: ["data:/data"]
    secrets: [{source: word, mode: 0400}]
  after:
    image: busybox
    network_mode: none
    init: true
    command: sleep 100
    volumes: ["data:/data:ro"]
    depends_on: {job: {condition: service_completed_successfully}}
volumes: {data: }
secrets: {word: {environment: WORD}}
"""


@pytest.fixture
def shell(shared, tmp_path):
    directory = tmp_path / "demo"
    directory.mkdir()

    def run(line):
        words = line if isinstance(line, list) else line.split()
        session = Session(
            engine=lambda: shared, env={"WORD": "hidden"}, cwd=str(directory)
        )  # fmt: skip
        return execute(["compose", *words], session)

    run.directory = directory
    run.engine = shared
    yield run
    for each in shared.containers.list(all=True):
        shared.containers.remove(each.container_id, force=True, volumes=True)
    for each in shared.volumes.all():
        shared.volumes.remove(each.name)


def test_services_without_a_network(shell):
    write(shell.directory, compose__yaml=TEXT)
    shell("up -d")
    assert shell(["exec", "after", "cat", "/data/out"]).stdout == b"hidden"
    assert shell("logs --no-log-prefix job").stdout == b"done\n"
    assert [each.name for each in shell("ps -a")] == ["demo-after-1", "demo-job-1"]
    assert [each.name for each in shell("ps")] == ["demo-after-1"]
    before = shell("ps -q").lines
    shell("up -d")
    assert shell("ps -q").lines == before
    [row] = json.loads(shell("ls --format json").to_text(None))
    assert row["Name"] == "demo"
    shell("down -v -t 0")
    assert shell.engine.containers.list(all=True) == ()
    assert shell.engine.volumes.all() == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can make networks")
def test_networks_are_missed_in_words(shell):
    if not shell.engine.networks.lacks():
        pytest.skip("root may, and so may this account: it has networks")
    write(shell.directory, compose__yaml="services: {web: {image: busybox, command: sleep 9}}")
    with pytest.raises(HostLacks, match="cannot make networks"):
        shell("up -d")
    assert shell.engine.containers.list(all=True) == ()
