"""Ask a private dockerd everything, and write down which keys its answers always have.

The result, tests/wire/golden_api.json, has per operation each path of its answer with the JSON
types seen there; a path is in it if every object that could have had it did.  No value is kept.

    unshare -m --propagation private python tools/record_api.py [--raw DIRECTORY]

needs root, dockerd, iproute2 and a static busybox; it takes about a minute.
"""

import argparse
import base64
import http.client
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from urllib.parse import quote, urlencode

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from dockernet import Daemon, namespace  # noqa: E402
from rootfs import busybox_tar  # noqa: E402

GOLDEN = ROOT / "tests/wire/golden_api.json"
REGISTRY = "127.0.0.1:5000"
# Objects whose keys are names, not fields.
MAPS = {
    "Labels", "Options", "Ports", "ExposedPorts", "PortBindings", "Volumes", "Networks",
    "Containers", "Sysctls", "Tmpfs", "Attributes", "Runtimes", "networks", "stats",
    "AuxiliaryAddresses", "IndexConfigs", "Config.Config", "Data", "Annotations",
}  # fmt: skip
PRUNED = {"containers": "Container", "images": "Image", "volumes": "Volume",
          "networks": "Network", "build": "Build"}  # fmt: skip
DOCKERFILE = 'FROM imported:1\nLABEL a=b\nRUN echo said && touch /new\nCMD ["sh"]\n'


class Api:
    """A daemon's socket; each call is a connection of its own."""

    def __init__(self, path: Path, version: str = "v1.41") -> None:
        self._path, self._version = path, version

    def first(self, path: str) -> None:
        """Wait for the first line of a stream."""
        connection = self._connected()
        connection.request("GET", f"/{self._version}{path}")
        connection.getresponse().readline()
        connection.close()

    def _connected(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self._path))
        return connection

    def call(self, method: str, path: str, body: object = None, **headers: str) -> "Answer":
        connection = self._connected()
        raw = body if isinstance(body, bytes) else b""
        if body is not None and not isinstance(body, bytes):
            raw, headers = json.dumps(body).encode(), {"Content-Type": "application/json"} | headers
        connection.request(method, f"/{self._version}{path}", raw, headers)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())


class Answer:
    """What came back."""

    def __init__(self, status: int, headers: dict[str, str], raw: bytes) -> None:
        self.status, self.headers, self.raw = status, headers, raw

    @property
    def document(self) -> dict:
        return json.loads(self.raw)

    @property
    def lines(self) -> list:
        return [json.loads(line) for line in self.raw.splitlines() if line.strip()]


class Shapes:
    """Paths that were always there, and the JSON types seen."""

    def __init__(self) -> None:
        self._types: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._seen: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._parents: dict[str, dict[str, str]] = defaultdict(dict)

    def add(self, operation: str, value: object) -> None:
        self._walk(operation, "", value)

    def _walk(self, operation: str, path: str, value: object) -> None:
        self._types[operation][path].add(_type(value))
        if isinstance(value, dict):
            self._seen[operation][path] += 1
            names = path.rpartition(".")[2].removesuffix("[]") in MAPS
            for key, inner in value.items():
                below = f"{path}.*" if names else f"{path}.{key}"
                if names:
                    self._walk(operation, below, inner)
                    continue
                self._parents[operation][below] = path
                self._seen[operation][f"{below}!"] += 1
                self._walk(operation, below, inner)
        elif isinstance(value, list):
            for inner in value:
                self._walk(operation, f"{path}[]", inner)

    def always(self) -> dict[str, dict[str, str]]:
        found = {}
        for operation, types in sorted(self._types.items()):
            seen, parents = self._seen[operation], self._parents[operation]
            found[operation] = {
                path: "|".join(sorted(kinds))
                for path, kinds in sorted(types.items())
                if path not in parents or seen[f"{path}!"] == seen[parents[path]]
            }
        return found


def _type(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


class Recorder:
    """Makes things in a daemon, and keeps what it says."""

    def __init__(self, api: Api, raw: Path | None) -> None:
        self.api, self._raw, self.shapes = api, raw, Shapes()

    def ask(self, method: str, path: str, body: object = None, *, called: str = "",
            lines: bool = False, **headers: str) -> Answer:  # fmt: skip
        """Ask, and record the answer's shape under the name of an operation."""
        answer = self.api.call(method, path, body, **headers)
        if answer.status >= 400:
            raise SystemExit(f"{method} {path}: {answer.status} {answer.raw!r}")
        if called:
            self.keep(called, answer.lines if lines else answer.document)
        return answer

    def keep(self, called: str, value: object) -> None:
        self.shapes.add(called, value)
        if self._raw:
            with (self._raw / f"{called.replace('/', '_').replace(' ', '_')}.json").open(
                "a"
            ) as out:
                json.dump(value, out, indent=1)
                out.write("\n")

    def create(self, name: str, **body: object) -> str:
        asked = {"Image": "imported:1", "Cmd": ["sleep", "1000"], **body}
        path = f"/containers/create?name={name}"
        return self.ask("POST", path, asked, called="ContainerCreate").document["Id"]


MUCH = {
    "Tty": True, "OpenStdin": True, "User": "1000", "Env": ["A=b"], "WorkingDir": "/tmp",
    "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGTERM",
    "StopTimeout": 1, "Entrypoint": ["env"], "Hostname": "host", "Volumes": {"/nameless": {}},
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 100_000_000},
    "HostConfig": {
        "Memory": 100 << 20, "NanoCpus": 500_000_000, "PidsLimit": 50, "CapAdd": ["NET_ADMIN"],
        "Binds": ["vol:/data", "/etc:/other:ro"], "PortBindings": {"80/tcp": [{"HostPort": ""}]},
        "NetworkMode": "net", "Tmpfs": {"/t": "size=1m"}, "ExtraHosts": ["h:1.2.3.4"],
        "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}], "Init": True,
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
        "Sysctls": {"net.ipv4.ip_forward": "1"}, "Dns": ["1.1.1.1"],
        "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/n",
                     "CgroupPermissions": "rwm"}],
    },
    "NetworkingConfig": {"EndpointsConfig": {"net": {"Aliases": ["other"]}}},
}  # fmt: skip


def record(it: Recorder) -> None:
    """Go through all operations."""
    it.ask("GET", "/version", called="SystemVersion")
    it.ask("GET", "/info", called="SystemInfo")
    for kind, called in PRUNED.items():  # nothing to take
        it.ask("POST", f"/{kind}/prune", called=f"{called}Prune")
    it.ask("GET", "/volumes", called="VolumeList")
    images(it)
    it.ask("POST", "/volumes/create", {"Name": "vol", "Labels": {"a": "b"}}, called="VolumeCreate")
    it.ask("POST", "/volumes/create", {}, called="VolumeCreate")
    it.ask("GET", "/volumes/vol", called="VolumeInspect")
    it.ask("GET", "/volumes", called="VolumeList")
    subnet = {"Config": [{"Subnet": "172.30.0.0/16", "Gateway": "172.30.0.1"}]}
    it.ask("POST", "/networks/create", {"Name": "net", "IPAM": subnet, "Labels": {"a": "b"}},
           called="NetworkCreate")  # fmt: skip
    it.ask("POST", "/networks/create", {"Name": "spare", "Internal": True}, called="NetworkCreate")
    containers(it)
    it.ask("GET", "/networks", called="NetworkList")
    for name in ("net", "host", "bridge"):
        it.ask("GET", f"/networks/{name}", called="NetworkInspect")
    it.ask("GET", "/system/df", called="SystemDataUsage")
    it.ask("POST", "/auth", {"username": "a", "password": "b", "serveraddress": REGISTRY},
           called="SystemAuth")  # fmt: skip
    until = f"/events?{urlencode({'since': 0, 'until': int(time.time()) + 1})}"
    for event in it.ask("GET", until).lines:
        it.keep(f"SystemEvents {event['Type']}", event)
    for name in ("plain", "much", "ended"):
        it.api.call("DELETE", f"/containers/{name}?force=1")
    it.create("left")
    it.ask("POST", "/containers/prune", called="ContainerPrune")
    it.ask("POST", "/volumes/prune", called="VolumePrune")
    it.ask("POST", "/networks/prune", called="NetworkPrune")
    filters = quote(json.dumps({"dangling": {"false": True}}))
    it.ask("POST", f"/images/prune?filters={filters}", called="ImagePrune")
    it.keep("Error", it.api.call("GET", "/containers/none/json").document)


def images(it: Recorder) -> None:
    """Everything that makes, moves, shows and removes images."""
    what = "/images/create?fromSrc=-&repo=imported&tag=1"
    it.ask("POST", what, busybox_tar(), called="ImageImport lines", lines=True)
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(DOCKERFILE)
        tar.addfile(info, io.BytesIO(DOCKERFILE.encode()))
    for _ in range(2):  # the second is from the cache
        it.ask("POST", "/build?t=built:1", context.getvalue(), called="ImageBuild lines",
               lines=True)  # fmt: skip
    spoilt = context.getvalue().replace(b"touch /new", b"exit 3    ")
    it.ask("POST", "/build", spoilt, called="ImageBuild failed lines", lines=True)
    it.ask("POST", f"/images/built:1/tag?repo={REGISTRY}/built&tag=1")
    auth = {"X-Registry-Auth": base64.urlsafe_b64encode(b"{}").decode()}
    for _ in range(2):
        it.ask("POST", f"/images/{REGISTRY}/built/push?tag=1", called="ImagePush lines",
               lines=True, **auth)  # fmt: skip
    it.ask("GET", f"/distribution/{REGISTRY}/built:1/json", called="DistributionInspect", **auth)
    for name in ("imported:1", "built:1", f"{REGISTRY}/built:1"):
        it.ask("GET", f"/images/{name}/json", called="ImageInspect")
        it.ask("GET", f"/images/{name}/history", called="ImageHistory")
    it.ask("GET", "/images/json?all=1", called="ImageList")
    saved = it.ask("GET", "/images/get?names=built:1").raw
    it.ask("DELETE", f"/images/{REGISTRY}/built:1", called="ImageDelete")
    it.ask("DELETE", "/images/built:1", called="ImageDelete")
    it.ask("POST", "/build/prune?all=1", called="BuildPrune")
    for _ in range(2):
        it.ask("POST", f"/images/create?fromImage={REGISTRY}/built&tag=1",
               called="ImagePull lines", lines=True)  # fmt: skip
    it.ask("DELETE", f"/images/{REGISTRY}/built:1", called="ImageDelete")
    it.ask("POST", "/images/load", saved, called="ImageLoad lines", lines=True)
    it.ask("POST", "/images/load?quiet=1", saved, called="ImageLoad lines", lines=True)


def containers(it: Recorder) -> None:
    """Everything about containers that answers with a document."""
    it.create("plain")
    it.ask("GET", "/containers/plain/json", called="ContainerInspect")
    it.create("much", **MUCH)
    it.create("ended", Cmd=["sh", "-c", "echo x > /f; rm /etc/group; exit 3"],
              HostConfig={"NetworkMode": "none"})  # fmt: skip
    for name in ("plain", "much", "ended"):
        it.ask("POST", f"/containers/{name}/start")
    it.ask("POST", "/containers/ended/wait", called="ContainerWait")
    it.api.first("/events?" + urlencode({"since": 0, "filters": json.dumps(
        {"event": {"health_status": True}})}))  # fmt: skip
    for name in ("plain", "much", "ended"):
        it.ask("GET", f"/containers/{name}/json", called="ContainerInspect")
        it.ask("GET", f"/containers/{name}/json?size=1", called="ContainerInspect size")
    it.ask("GET", "/containers/json?all=1", called="ContainerList")
    it.ask("GET", "/containers/json?all=1&size=1", called="ContainerList size")
    it.ask("GET", "/containers/plain/top", called="ContainerTop")
    it.ask("GET", "/containers/ended/changes", called="ContainerChanges")
    for name in ("plain", "much"):
        it.ask("GET", f"/containers/{name}/stats?stream=0", called="ContainerStats")
        it.ask("GET", f"/containers/{name}/stats?stream=0&one-shot=1", called="ContainerStats once")
    it.ask("GET", "/containers/ended/stats?stream=0", called="ContainerStats ended")
    it.ask("POST", "/containers/plain/update", {"CpuShares": 100}, called="ContainerUpdate")
    said = it.ask("HEAD", "/containers/plain/archive?path=/bin/sh").headers
    it.keep("ContainerArchiveInfo", json.loads(
        base64.b64decode(said["X-Docker-Container-Path-Stat"])))  # fmt: skip
    it.ask("POST", "/commit?container=ended&repo=kept&changes=CMD+sh", {}, called="ImageCommit")
    it.ask("GET", "/images/kept/json", called="ImageInspect")
    asked = {"Cmd": ["sleep", "100"], "AttachStdout": True, "User": "1000"}
    for body, detach in ((asked, True), ({"Cmd": ["false"]}, False)):
        made = it.ask("POST", "/containers/plain/exec", body, called="ContainerExec").document["Id"]
        it.ask("GET", f"/exec/{made}/json", called="ExecInspect")
        it.ask("POST", f"/exec/{made}/start", {"Detach": detach})
        it.ask("GET", f"/exec/{made}/json", called="ExecInspect")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", type=Path, help="keep whole answers here, to look at")
    arguments = parser.parse_args()
    if arguments.raw:
        arguments.raw.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="rec") as directory:
        room = Path(directory)
        with namespace(f"ocimagic-rec-{os.getpid()}") as inside, Daemon(room, inside):
            serve = [*inside, sys.executable, "-m", "ocimagic", "registry", "serve", "-q", "--port",
                     REGISTRY.partition(":")[2], "--data", str(room / "registry")]  # fmt: skip
            environment = os.environ | {
                "OCIMAGIC_ROOT": str(room / "ours"),
                "PYTHONPATH": str(ROOT),
            }
            registry = subprocess.Popen(serve, env=environment, stdout=subprocess.PIPE)
            try:
                assert registry.stdout is not None
                registry.stdout.readline()  # it is there
                recorder = Recorder(Api(room / "socket"), arguments.raw)
                record(recorder)
            finally:
                registry.terminate()
                registry.wait()
    found = recorder.shapes.always()
    GOLDEN.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")
    print(f"{len(found)} operations, {sum(map(len, found.values()))} paths")


if __name__ == "__main__":
    main()
