"""What ``explain`` tells of a project is held against its containers, networks and clocks."""

import os
import re
from datetime import datetime
from pathlib import Path

import pytest
from compose_files import write
from test_compose_real import APP, shell  # noqa: F401  the fixture

from ocimagic.cli.grammar import execute
from ocimagic.cli.last import last_of
from ocimagic.cli.session import Session
from ocimagic.engine.addresses import bridge_of
from ocimagic.errors import ImageNotFound, NotFound
from ocimagic.model.explanation import Party
from ocimagic.render.display import as_html, as_text


def up(shell, line="up -d"):  # noqa: F811
    """Bring services up as a notebook does, and return the session of the next line."""
    deeds = []
    first = Session(engine=lambda: shell.engine, cwd=str(shell.directory), deeds=deeds,
                    env={"HOME": str(shell.directory)}, on_event=shell.out.append)  # fmt: skip
    execute(["compose", *line.split()], first)
    last = last_of(None, f"docker compose {line}", deeds)
    return Session(engine=lambda: shell.engine, last=last)


def facts(told, part):
    [found] = [each for each in told.steps if part in each.title]
    return dict(found.facts)


def at(told, part):
    [found] = [each for each in told.steps if part in each.title]
    return found.at_s


def test_services_networks_and_volumes_in_their_order_and_by_their_clocks(shell):  # noqa: F811
    write(shell.directory, compose__yaml=APP)
    session = up(shell)
    told = execute(["explain"], session)
    assert (told.kind, told.name, told.line) == ("compose", "demo", "docker compose up -d")
    assert told.ending == "2 of 2 containers run"
    order = facts(told, "project demo")
    assert order["services in order"] == "db → web"
    assert order["web needs"] == "db: service_healthy"
    assert order["files"] == str(shell.directory / "compose.yaml")
    times = [each.at_s for each in told.steps if each.at_s is not None]
    assert times == sorted(times)
    parts = ("network demo_default", "volume demo_data", "create container demo-db-1",
             "start demo-db-1", "demo-db-1 is healthy", "create container demo-web-1",
             "start demo-web-1")  # fmt: skip
    assert [at(told, part) for part in parts] == sorted(at(told, part) for part in parts)
    there = shell.containers()
    began = datetime.fromisoformat(told.began).timestamp()
    for name, summary in there.items():
        assert abs(began + at(told, f"create container {name}") - summary.created.timestamp()) < 0.1
        started = facts(told, f"start {name}")
        assert f"process {summary.pid}" in f"start {name}: process {summary.pid}"
        assert started["first process"].startswith(f"{summary.pid}, child of shim ")
        # The kernel's own word for when the process was made: clock ticks since boot.
        stat = Path(f"/proc/{summary.pid}/stat").read_text().rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        ago = uptime - int(stat[19]) / os.sysconf("SC_CLK_TCK")
        assert abs((datetime.now().astimezone().timestamp() - ago)
                   - (began + at(told, f"start {name}"))) < 0.5  # fmt: skip
        assert started["its own story"] == f"%explain {name}"
        own = shell.engine.explainer.explain(name)
        assert f"{summary.pid}," in facts(own, "takes it")["first process"]
        made = facts(told, f"create container {name}")
        assert made["container ID"] == summary.container_id
        [place] = summary.places
        assert started[place.network] == " ".join(map(str, place.addresses))
    [network] = [each for each in shell.engine.networks.all() if each.name == "demo_default"]
    said = facts(told, "network demo_default")
    assert said["network ID"] == network.network_id
    assert said["who is in it"] == "demo-db-1 demo-web-1"
    assert f"subnet {network.subnets[0].subnet}" in said
    assert bridge_of(network.network_id)
    [volume] = [each for each in shell.engine.volumes.all() if each.name == "demo_data"]
    assert facts(told, "volume demo_data")["mountpoint"] == volume.mountpoint
    waited = next(each for each in told.steps if "is healthy" in each.title)
    assert 0 < waited.seconds < told.seconds
    now = datetime.now().astimezone()
    assert "demo-db-1 is healthy" in as_text(told, now)
    assert "<img" in as_html(told, now)


def test_a_second_up_tells_only_what_it_did(shell):  # noqa: F811
    write(shell.directory, compose__yaml=APP)
    up(shell)
    told = execute(["explain"], up(shell))
    titles = [each.title for each in told.steps]
    assert "container demo-db-1: Running" in titles
    assert "container demo-web-1: Running" in titles
    assert not any(each.startswith(("create", "start", "network", "volume")) for each in titles)
    assert facts(told, "project demo")["services in order"] == "none started"
    shell.engine.containers.kill("demo-web-1")
    shell.engine.containers.wait("demo-web-1")
    told = execute(["explain"], up(shell))
    assert facts(told, "project demo")["services in order"] == "web"
    assert "container demo-web-1: Started" not in [each.title for each in told.steps]


def test_another_kernel_tells_the_same_of_what_is_there(shell):  # noqa: F811
    write(shell.directory, compose__yaml=APP)
    first = execute(["explain"], up(shell))
    later = execute(["explain", "demo"], Session(engine=lambda: shell.engine))
    kinds = ("network", "volume", "create", "start")
    assert [each.title for each in later.steps if each.title.startswith(kinds)] == [
        each.title for each in first.steps if each.title.startswith(kinds)
    ]
    assert later.line == "docker compose -p demo up"
    assert any("not known, nor what it waited for" in each for each in later.lacks)
    shell("down -v")
    with pytest.raises(NotFound, match="no container or image is called"):
        execute(["explain", "demo"], Session(engine=lambda: shell.engine))


def test_an_up_that_failed_is_told_to_where_it_failed(shell):  # noqa: F811
    write(
        shell.directory,
        compose__yaml="""
        services:
          good: {image: busybox, command: ["sleep", "100"]}
          bad: {image: "localhost:1/nothing:1", depends_on: [good], pull_policy: never}
    """,
    )
    deeds = []
    session = Session(engine=lambda: shell.engine, cwd=str(shell.directory), deeds=deeds,
                      env={"HOME": str(shell.directory)})  # fmt: skip
    with pytest.raises(ImageNotFound) as caught:
        execute(["compose", "up", "-d"], session)
    from ocimagic.cli.last import failed

    last = failed("up", "docker compose up -d", caught.value, deeds)
    told = execute(["explain"], Session(engine=lambda: shell.engine, last=last))
    assert told.ending.startswith("failed with exit code ")
    assert told.steps[-1].title.startswith("error: ")
    assert told.steps[-1].party is Party.DAEMON
    assert re.search("localhost:1/nothing", told.steps[-1].title)
