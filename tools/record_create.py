"""Record what clients of docker's API send to have a container made.

    python tools/record_create.py tests/wire/create_bodies.json --docker /usr/bin/docker
    python tools/record_create.py tests/wire/create_bodies.json --library

Each client's bodies are kept beside the words of a command line that mean the same, as what
differs from the client's body for no words at all.  ``--library`` asks the docker-py that this
Python has.  Nothing is created: the server answers only what a client waits for.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "cli"))

from docker_client import DockerClient, _Handler  # type: ignore[import-not-found, unused-ignore]

LINES = (
    "-i", "-t", "-it", "--rm", "-a stdout", "-a stdin -i", "--name web --platform linux/arm64",
    "-e A=1 -e B= -e 'C=a b'", "-w /srv -u app:app -h box --domainname example.com",
    "--entrypoint sh", "--entrypoint=", "--group-add audio --group-add 1000", "-l a=1 --label b",
    "--annotation a=1", "-m 512m --memory-reservation 8m --memory-swap 1g", "--memory-swap -1",
    "--memory-swappiness 0", "--oom-kill-disable --oom-score-adj -500", "--cpus 1.5",
    "--cpu-shares 16 --cpu-period 50000 --cpu-quota 25000", "--cpu-quota -1",
    "--cpu-rt-period 5 --cpu-rt-runtime 3", "--cpuset-cpus 0-1 --cpuset-mems 0",
    "--pids-limit -1", "--pids-limit 100",
    "--blkio-weight 300 --blkio-weight-device /dev/sda:300",
    "--device-read-bps /dev/sda:1mb --device-write-bps /dev/sda:1k",
    "--device-read-iops /dev/sda:10 --device-write-iops /dev/sda:10",
    "--device-cgroup-rule 'c 42:* rm' --cgroup-parent /class",
    "--ulimit nofile=1024:2048 --ulimit core=0 --ulimit memlock=5:-1", "--shm-size 64m",
    "--privileged", "--cap-add NET_ADMIN --cap-add SYS_TIME --cap-drop ALL",
    "--security-opt no-new-privileges", "--security-opt no-new-privileges:true",
    "--security-opt seccomp=unconfined --security-opt apparmor=mine",
    "--security-opt label=type:web_t --security-opt label=level:s0:c1",
    "--security-opt systempaths=unconfined",
    "--sysctl net.ipv4.ip_forward=1 --sysctl 'kernel.sem=1 2'", "--read-only --init",
    "--init=false", "--runtime runc", "--device /dev/null",
    "--device /dev/null:rw --device /dev/zero:/dev/x:r", "--tmpfs /run --tmpfs /x:size=64m,exec",
    "-v /srv/data:/data:ro -v /a:/b", "-v /a:/b:ro,Z,rslave", "-v data:/data:ro,nocopy",
    "-v /nameless", "--volumes-from web --volumes-from db:ro --volume-driver local",
    "--mount src=v,dst=/x,volume-label=a=b,volume-driver=local,readonly",
    "--mount type=volume,dst=/x,readonly,volume-nocopy=true", "--mount type=volume,dst=/x",
    "--mount type=volume,src=v,dst=/x,volume-subpath=a/b",
    "--mount src=v,dst=/x,volume-opt=type=tmpfs,volume-opt=device=tmpfs",
    "--mount type=bind,src=/tmp,dst=/x,readonly,bind-propagation=rshared",
    "--mount type=bind,src=/tmp,dst=/x,bind-nonrecursive",
    "--mount type=bind,src=/tmp,dst=/x,bind-recursive=disabled",
    "--mount type=bind,src=/tmp,dst=/x,readonly,bind-recursive=writable",
    "--mount type=bind,src=/tmp,dst=/x,ro,bind-recursive=readonly,bind-propagation=rprivate",
    "--mount type=tmpfs,dst=/x", "--mount type=tmpfs,dst=/x,tmpfs-size=64m,tmpfs-mode=1770",
    "--network none", "--network host", "--network container:web", "--network bridge",
    "--network web",
    "--network web --network-alias a --network-alias b --ip 10.0.0.9 --ip6 fd00::9",
    "--network web --mac-address 02:42:0a:00:00:09",
    "--network name=web,alias=a,alias=b --network other",
    "-p 8080:80", "-p 80", "-p 127.0.0.1:8080:80/udp -p 127.0.0.1::53/udp -p 53:53/tcp",
    "-p [::1]:8080:80", "-p 8000-8005:80", "-p 8000-8002:90-92", "-p 8080:80 --network web",
    "-p 8080:80 --network host", "-P --expose 90 --expose 53/udp", "--expose 90",
    "--pid host --uts host --userns host --cgroupns host --ipc host",
    "--pid container:web --ipc container:web --cgroupns private", "--ipc shareable",
    "--ipc none", "--add-host a:1.2.3.4 --add-host b:::1 --add-host d:host-gateway",
    "--dns 9.9.9.9 --dns ::1 --dns-search example.com --dns-search .",
    "--dns-opt ndots:2 --dns-option rotate", "--restart always", "--restart unless-stopped",
    "--restart on-failure", "--restart on-failure:3", "--health-cmd 'curl x'",
    "--health-interval 1m30s --health-retries 3 --health-timeout 1.5s --health-start-period 100ms",
    "--health-cmd true --health-start-interval 2s", "--no-healthcheck",
    "--stop-signal INT --stop-timeout 3", "--stop-timeout -1", "--log-driver none",
    "--log-opt max-size=10m --log-opt max-file=3 --log-opt compress=true",
)  # fmt: skip
COMMANDS = ("busybox echo 'a b' ''",)

# Words of a command line: what docker-py is asked for, with what create_host_config is.
CALLS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("", {}, {}),
    ("-i", {"stdin_open": True}, {}),
    ("-t", {"tty": True}, {}),
    ("-e A=1 -e B=2", {"environment": {"A": "1", "B": "2"}}, {}),
    ("-e A=1", {"environment": ["A=1"]}, {}),
    ("-l a=1 -l b", {"labels": {"a": "1", "b": ""}}, {}),
    ("-l a", {"labels": ["a"]}, {}),
    ("-w /srv -u 33 -h box --domainname x.org",
     {"working_dir": "/srv", "user": 33, "hostname": "box", "domainname": "x.org"}, {}),
    ("--entrypoint sh", {"entrypoint": "sh"}, {}),
    ("-v /mnt -v /more", {"volumes": ["/mnt", "/more"]}, {}),
    ("-v /mnt:/data:ro", {"volumes": ["/data"]},
     {"binds": {"/mnt": {"bind": "/data", "ro": True}}}),
    ("-v vol:/data", {}, {"binds": ["vol:/data"]}),
    ("-v /a:/b:rshared", {}, {"binds": {"/a": {"bind": "/b", "mode": "rshared"}}}),
    ("--stop-signal INT", {"stop_signal": "INT"}, {}),
    ("--expose 90", {"ports": [90]}, {}),
    ("--expose 53/udp --expose 54", {"ports": [(53, "udp"), 54]}, {}),
    ("-p 8080:80", {"ports": [80]}, {"port_bindings": {80: 8080}}),
    ("-p 80", {"ports": [80]}, {"port_bindings": {80: None}}),
    ("-p 127.0.0.1:8080:80/udp", {}, {"port_bindings": {"80/udp": ("127.0.0.1", 8080)}}),
    ("-p 127.0.0.1::80", {}, {"port_bindings": {80: ("127.0.0.1",)}}),
    ("-p 1111:80 -p 2222:80", {}, {"port_bindings": {80: [1111, 2222]}}),
    ("-P", {}, {"publish_all_ports": True}),
    ("--privileged --read-only --init", {}, {"privileged": True, "read_only": True, "init": True}),
    ("--cap-add NET_ADMIN --cap-drop ALL", {}, {"cap_add": ["NET_ADMIN"], "cap_drop": ["ALL"]}),
    ("-m 512m --memory-swap 1g", {}, {"mem_limit": "512m", "memswap_limit": "1g"}),
    ("--cpus 1.5 --cpu-shares 16 --pids-limit 5", {},
     {"nano_cpus": 1500000000, "cpu_shares": 16, "pids_limit": 5}),
    ("--ulimit nofile=5:9", {}, {"ulimits": [{"name": "nofile", "soft": 5, "hard": 9}]}),
    ("--sysctl net.ipv4.ip_forward=1 --shm-size 64m", {},
     {"sysctls": {"net.ipv4.ip_forward": 1}, "shm_size": "64m"}),
    ("--device /dev/null:/dev/x:r", {}, {"devices": ["/dev/null:/dev/x:r"]}),
    ("--device-read-bps /dev/sda:10", {}, {"device_read_bps": [{"Path": "/dev/sda", "Rate": 10}]}),
    ("--tmpfs /run --tmpfs /x:size=1m", {}, {"tmpfs": {"/run": "", "/x": "size=1m"}}),
    ("--dns 9.9.9.9 --dns-search x.org --dns-opt rotate", {},
     {"dns": ["9.9.9.9"], "dns_search": ["x.org"], "dns_opt": ["rotate"]}),
    ("--add-host a:1.2.3.4", {}, {"extra_hosts": {"a": "1.2.3.4"}}),
    ("--network host --pid host --ipc host --uts host --userns host", {},
     {"network_mode": "host", "pid_mode": "host", "ipc_mode": "host", "uts_mode": "host",
      "userns_mode": "host"}),
    ("--network none", {"network_disabled": True}, {}),
    ("--network container:web", {}, {"network_mode": "container:web"}),
    ("--network web", {}, {"network_mode": "web"}),
    ("--network web", {"networks": [("web", {})]}, {}),
    ("--network web --network-alias a --ip 10.0.0.9",
     {"networks": [("web", {"aliases": ["a"], "ipv4_address": "10.0.0.9"})]},
     {"network_mode": "web"}),
    ("--restart on-failure:3", {},
     {"restart_policy": {"Name": "on-failure", "MaximumRetryCount": 3}}),
    ("--log-opt max-size=10m", {}, {"log_config": {"type": "json-file",
                                                   "config": {"max-size": "10m"}}}),
    ("--log-driver none", {}, {"log_config": {"type": "none", "config": {}}}),
    ("--security-opt seccomp=unconfined --group-add 5", {},
     {"security_opt": ["seccomp=unconfined"], "group_add": [5]}),
    ("--volumes-from web", {}, {"volumes_from": ["web"]}),
    ("--health-cmd 'curl x' --health-interval 1s --health-retries 2",
     {"healthcheck": {"test": "curl x", "interval": 1000000000, "retries": 2}}, {}),
    ("--no-healthcheck", {"healthcheck": {"test": ["NONE"]}}, {}),
    ("--mount type=volume,src=v,dst=/x,volume-label=a=b", {},
     {"mounts": [("/x", "v", {"labels": {"a": "b"}})]}),
    ("--mount type=bind,src=/tmp,dst=/x,readonly", {},
     {"mounts": [("/x", "/tmp", {"type": "bind", "read_only": True})]}),
    ("--mount type=tmpfs,dst=/x,tmpfs-size=64m,tmpfs-mode=1770", {},
     {"mounts": [("/x", None, {"type": "tmpfs", "tmpfs_size": "64m", "tmpfs_mode": 0o1770})]}),
)  # fmt: skip


class _Recorder(_Handler):  # type: ignore[misc, unused-ignore]
    def do_POST(self) -> None:  # noqa: N802  http.server's name
        self.server.query = dict(parse_qsl(urlsplit(self.path).query))
        super().do_POST()

    def do_GET(self) -> None:  # noqa: N802
        self.answer(200, {"OSType": "linux", "ApiVersion": self.server.api, "Version": "20.10"})


def cli_cases(client: Any) -> list[dict[str, Any]]:  # noqa: ANN401  tests have no types
    """Return what the command-line client sends; what it refuses is left out."""
    found = []
    for words in ("busybox", *(f"{line} busybox" for line in LINES), *COMMANDS):
        body = client.create(shlex.split(words), cwd="/")
        if isinstance(body, str):
            print(f"{words}: {body.splitlines()[0]}", file=sys.stderr)
            continue
        found.append({"words": words, "body": body, "query": client.server.query})
    return found


def library_cases(client: Any) -> tuple[str, list[dict[str, Any]]]:  # noqa: ANN401
    """Return what docker-py sends."""
    import docker  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from docker.types import Mount  # type: ignore[import-not-found, import-untyped, unused-ignore]

    api = docker.APIClient(base_url=f"unix://{client.path}", version="1.41")
    found = []
    for words, asked, host in CALLS:
        given = dict(host)
        if "mounts" in given:
            given["mounts"] = [Mount(a, b, **more) for a, b, more in given["mounts"]]
        if "networks" in asked:
            places = {name: api.create_endpoint_config(**each) for name, each in asked["networks"]}
            others = {name: value for name, value in asked.items() if name != "networks"}
            asked = {**others, "networking_config": api.create_networking_config(places)}  # noqa: PLW2901
        if given:
            asked = {**asked, "host_config": api.create_host_config(**given)}  # noqa: PLW2901
        api.create_container("busybox", **asked)
        found.append({
            "words": f"{words} busybox".strip(),
            "body": client.server.bodies[-1],
            "query": client.server.query,
        })  # fmt: skip
    return f"docker-py {docker.__version__}", found


def difference(plain: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a body that are not in the plain one, or are something else there."""
    lost = plain.keys() - body.keys()
    found = {key: value for key, value in body.items() if plain.get(key, ...) != value}
    return {**found, "-": sorted(lost)} if lost else found


def packed(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Return all cases of a client in short."""
    plain = cases[0]["body"]
    lines = []
    for case in cases:
        host = case["body"].get("HostConfig") or {}
        config = {key: value for key, value in case["body"].items() if key != "HostConfig"}
        bare = {key: value for key, value in plain.items() if key != "HostConfig"}
        line = {
            "words": case["words"],
            "query": case["query"],
            "config": difference(bare, config),
            "host": difference(plain.get("HostConfig") or {}, host),
        }
        lines.append({key: value for key, value in line.items() if value})
    return {"plain": plain, "cases": lines}


def main() -> None:
    """Add one client's bodies to the file, or replace them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--docker", help="path of a docker command")
    parser.add_argument("--api", default="1.41", help="what the server says it speaks")
    parser.add_argument("--library", action="store_true", help="docker-py instead")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        client = DockerClient(directory, api=given.api)
        try:
            client.server.RequestHandlerClass = _Recorder
            if given.library:
                name, cases = library_cases(client)
            else:
                client.program = given.docker
                cases = cli_cases(client)
                name = f"docker {client.version(given.docker)}, API {given.api}"
        finally:
            client.close()
    kept = json.loads(given.file.read_text()) if given.file.exists() else {}
    kept[name] = packed(cases)
    rows = [
        f"{json.dumps(name)}: {{\n"
        f'"plain": {json.dumps(each["plain"], sort_keys=True)},\n"cases": [\n'
        + ",\n".join(json.dumps(line, sort_keys=True) for line in each["cases"])
        + "\n]}"
        for name, each in sorted(kept.items())
    ]
    given.file.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    print(f"{name}: {len(cases)} bodies")


if __name__ == "__main__":
    main()
