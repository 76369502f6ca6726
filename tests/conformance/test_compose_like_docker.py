"""Compose files as Debian's docker-compose reads them, and what comes of them with dockerd."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from ocimagic.compose.files import Surroundings
from ocimagic.compose.load import LoadOptions, load
from ocimagic.compose.show import document_of

pytestmark = pytest.mark.skipif(
    not shutil.which("docker-compose"), reason="docker-compose is not installed"
)

# What both understand: docker-compose 1.29 is older than parts of the specification.
FILES = {
    "variables": """
        services:
          web:
            image: "busybox:${TAG:-latest}"
            command: ["echo", "$$HOME", "${UNSET-}", "${EMPTY:-was empty}"]
            environment: {A: "${SET}", B: "b"}
            env_file: [vars.env]
    """,
    "forms": """
        services:
          web:
            image: busybox
            ports: ["8080:80", "127.0.0.1:9000:90/udp", "7000-7001:70-71"]
            volumes: ["./data:/data:ro", "named:/named", "/anonymous"]
            labels: ["a=1", "b="]
            depends_on: [db]
            healthcheck: {test: "true", interval: 90s, retries: 3}
            ulimits: {nproc: 5, nofile: {soft: 10, hard: 20}}
            extra_hosts: ["one:1.2.3.4"]
            mem_limit: 64m
            stop_grace_period: 5s
          db: {image: busybox, networks: {back: {aliases: [store]}}}
        networks: {back: {internal: true}}
        volumes: {named: }
    """,
    "anchors": """
        x-base: &base {image: busybox, restart: always, environment: &env {A: "1", B: "2"}}
        services:
          one: {<<: *base}
          two: {<<: *base, restart: "no", environment: {<<: *env, B: "3"}}
    """,
    "extended": """
        services:
          base: {image: busybox, environment: {A: "1"}, ports: ["80"], cap_add: [NET_ADMIN]}
          web: {extends: {service: base}, environment: {B: "2"}, ports: ["81"], command: "a 'b c'"}
    """,
}
OVER = """
services:
  web: {command: over, environment: [A=over, C=3], ports: ["6060:60"], volumes: ["./b:/data"]}
"""
VARIABLES = {"SET": "set", "EMPTY": "", "PATH": os.environ["PATH"], "HOME": "/nowhere"}


def ours_of(directory, *files):
    project = load(
        LoadOptions(files=files, name="demo"), Surroundings(cwd=str(directory), env=VARIABLES)
    )
    return json.loads(json.dumps(comparable(document_of(project))))


def comparable(document):
    """Leave out what the older one fills in or writes in another form for no reason."""
    services = {}
    for name, service in document["services"].items():
        kept = {k: v for k, v in service.items() if k != "networks" or v != {"default": None}}
        if "depends_on" in kept:
            kept["depends_on"] = {k: v["condition"] for k, v in kept["depends_on"].items()}
        if "environment" in kept:
            kept["environment"] = {k: str(v) for k, v in kept["environment"].items()}
        for port in kept.get("ports", ()):
            port["published"] = str(port.get("published", ""))
        for volume in kept.get("volumes", ()):
            volume.setdefault("bind", {}).pop("create_host_path", None)
        if "mem_limit" in kept:
            kept["mem_limit"] = str(kept["mem_limit"]).replace("64m", str(64 << 20))
        for key in ("ports", "volumes"):
            kept[key] = sorted(kept.get(key, ()), key=lambda each: json.dumps(each, sort_keys=True))
        services[name] = kept
    return {"services": services, "networks": sorted(document.get("networks", {})),
            "volumes": sorted(document.get("volumes", {}))}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "over"), [(n, o) for n in FILES for o in (False, True) if (n, o) != ("anchors", True)]
)
def test_both_read_the_same_file_as_the_same(tmp_path, name, over):
    (tmp_path / "data").mkdir()
    (tmp_path / "vars.env").write_text("FILED=1\nB=from file\n")
    (tmp_path / "compose.yaml").write_text(_dedented(FILES[name]))
    files = ["compose.yaml"]
    if over:
        (tmp_path / "over.yaml").write_text(OVER)
        files.append("over.yaml")
    said = [word for each in files for word in ("-f", each)]
    done = subprocess.run(
        ["docker-compose", "-p", "demo", *said, "config"], cwd=tmp_path, env=VARIABLES,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    again = tmp_path / "again.yaml"
    again.write_text(done.stdout)
    assert ours_of(tmp_path, *files) == ours_of(tmp_path, "again.yaml")


APP = """
services:
  web: {image: busybox, command: sleep 100, init: true, stop_grace_period: 1s, depends_on: [db],
        environment: {A: "1"}, networks: [default, back]}
  db: {image: busybox, command: sleep 100, init: true, stop_grace_period: 1s,
       volumes: ["data:/data"], scale: 2, networks: {back: {aliases: [store]}}}
networks: {back: {internal: true}}
volumes: {data: }
"""
LABELS = ("project", "service", "container-number", "oneoff", "project.working_dir",
          "project.config_files", "network", "volume")  # fmt: skip


def what_is_there(docker):
    """Return containers, networks and volumes with what both label them with."""
    found = {"containers": {}, "networks": {}, "volumes": {}}
    for each in docker.call("ps", "-aq").split():
        [document] = json.loads(docker.call("inspect", each))
        name = document["Name"].lstrip("/").replace("_", "-")
        networks = {
            key: sorted(set(place["Aliases"] or ()) - {each[:12], document["Id"][:12]} - {name})
            for key, place in document["NetworkSettings"]["Networks"].items()
        }
        found["containers"][name] = {
            "labels": _labels(document["Config"]["Labels"]),
            "networks": networks,
            "mounts": sorted((m["Type"], m["Destination"], m["RW"]) for m in document["Mounts"]),
            "command": document["Config"]["Cmd"],
            "env": [e for e in document["Config"]["Env"] if not e.startswith("PATH=")],
        }
    for each in docker.call(
        "network", "ls", "-q", "-f", "label=com.docker.compose.project"
    ).split():
        [document] = json.loads(docker.call("network", "inspect", each))
        found["networks"][document["Name"]] = (
            _labels(document["Labels"]), document["Internal"], document["Driver"],
        )  # fmt: skip
    for each in docker.call("volume", "ls", "-q").split():
        [document] = json.loads(docker.call("volume", "inspect", each))
        found["volumes"][each] = _labels(document["Labels"])
    return found


def _labels(labels):
    prefix = "com.docker.compose."
    return {key: labels[prefix + key] for key in LABELS if prefix + key in labels}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_same_comes_of_a_file(ours, theirs, tmp_path):
    room = tmp_path / "demo"
    room.mkdir()
    (room / "compose.yaml").write_text(APP)
    host = theirs._words[2]
    lines = (
        (["docker-compose"], {**VARIABLES, "DOCKER_HOST": host}),
        ([sys.executable, "-m", "ocimagic", "compose"], ours._environment),
    )
    there = []
    for (words, env), docker in zip(lines, (theirs, ours), strict=True):
        for verb in (["-f", "compose.yaml", "up", "-d"], None, ["down", "-v"]):
            if verb is None:
                there.append(what_is_there(docker))
                continue
            done = subprocess.run(
                [*words, *verb], cwd=room, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (words, verb, done.stderr)
        left = what_is_there(docker)
        assert left == {"containers": {}, "networks": {}, "volumes": {}}
    expected, actual = there
    # docker-compose 1.29 writes the file as it was typed; 2 writes the whole path, and so do we.
    for each in expected["containers"].values():
        each["labels"]["project.config_files"] = str(room / "compose.yaml")
    assert actual == expected


def _dedented(text):
    import textwrap

    return textwrap.dedent(text)
