"""An engine for tests of the front room only: fixed values, and plain processes as containers."""

import os
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime

from samples import (
    NOW,
    build_result,
    container,
    container_details,
    digest,
    exited,
    history,
    image,
    image_details,
    pull_result,
    removed,
    report,
    run_result,
    volume,
)

from ocimagic.errors import ContainerNotFound, DockerfileError, ImageNotFound, StepFailed
from ocimagic.model.distribution import RegistryListing
from ocimagic.model.event import (
    LayerPhase,
    LayerProgress,
    Output,
    StepDone,
    StepStarted,
    TransferStarted,
)
from ocimagic.model.network import NetworkReport, NetworkSummary
from ocimagic.model.result import ExitStatus, SystemInfo

STEP_S = 0.02


class StandInImages:
    def __init__(self):
        self.rows = [image("web", "1"), image("busybox", "latest"), image("debian", "bookworm")]

    def pull(self, reference, *, platform=None, on_event=lambda event: None, cancelled=None):
        if "nowhere" in reference:
            raise ImageNotFound(f"no such image: {reference}", hint="check the name")
        layers = tuple((digest(name), 1000) for name in ("one", "two"))
        on_event(TransferStarted(reference, digest("m"), layers))
        paced = cancelled or threading.Event()
        for done in range(0, 1000, 100):
            for each, size in layers:
                on_event(LayerProgress(each, LayerPhase.DOWNLOADING, done, size))
            if paced.wait(5 if "slow" in reference else STEP_S):
                raise RuntimeError("cancelled")
        for each, size in layers:
            on_event(LayerProgress(each, LayerPhase.DONE, size, size))
        return pull_result(reference=reference, layers=2)

    def list(self, name=None, *, all=False):  # noqa: A002
        return tuple(row for row in self.rows if name in {None, row.repository, row.name})

    def inspect(self, name):
        if name not in {"web:1", "web"}:
            raise ImageNotFound(f"no such image: {name}", hint="did you mean web:1?")
        return image_details()

    def history(self, name):
        return history()

    def list_registry(self, name):
        known = {"127.0.0.1:5000": ("team/app", "team/tool"), "127.0.0.1:5000/team/app": ("1", "2")}
        if name == "slow.example/app":
            time.sleep(3)
        if name not in known:
            raise ImageNotFound(f"no such repository: {name}")
        kind = "tag" if "/" in name else "repository"
        return RegistryListing(place=name, kind=kind, names=known[name])

    def layers(self, *names):
        return report()

    def tag(self, source, target):
        repository, _, tag = target.partition(":")
        self.rows.append(image(repository, tag or "latest"))

    def remove(self, *names, force=False):
        return removed()

    def build(self, options, *, stdin=None, on_event=lambda event: None, cancelled=None):
        """Take each line for a step: BAD is a syntax error, ``RUN false`` fails."""
        lines = options.dockerfile.splitlines()
        total = sum(bool(line.strip()) for line in lines)
        number = 0
        for at, text in enumerate(lines, 1):
            if not text.strip():
                continue
            number += 1
            if text.lstrip().startswith("BAD"):
                column = text.index("BAD") + 1
                raise DockerfileError(
                    "no such instruction: BAD", line=at, column=column, source=text
                )
            on_event(StepStarted(number, total, "0", text, at))
            on_event(Output("stdout", f"doing {text}\n".encode(), step=number))
            if text == "RUN false":
                raise StepFailed(
                    "RUN false ended with exit code 1",
                    command_exit_code=1,
                    tail=("last words",),
                    where=f"Dockerfile line {at}: {text}",
                )
            on_event(StepDone(number, number == 1, 0.01, None, 0))
        return build_result(tags=options.tags)


class StandInContainers:
    def __init__(self):
        self.asked = []

    def run_options(self, options, *, stdin=None, on_event=lambda event: None, cancelled=None):
        self.asked.append(options)
        if options.detach:
            return container(options.name or "quiet_name")
        command = [*(options.entrypoint or ()), *options.command]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        if stdin:
            process.stdin.write(stdin)
        process.stdin.close()
        kept = {"stdout": b"", "stderr": b""}

        def copy(stream, file):
            while data := os.read(file.fileno(), 4096):
                kept[stream] += data
                on_event(Output(stream, data))

        copies = [
            threading.Thread(target=copy, args=(name, getattr(process, name)), daemon=True)
            for name in kept
        ]
        for each in copies:
            each.start()
        while process.poll() is None:
            if cancelled and cancelled.wait(0.01):
                process.send_signal(signal.SIGTERM)
                process.wait()
        for each in copies:
            each.join()
        process.stdout.close()
        process.stderr.close()
        code = process.returncode
        return run_result(
            exit_code=code if code >= 0 else 128 - code, removed=options.remove, **kept
        )

    def create(self, options, *, on_event=None):
        return container(options.name or "made")

    def list(self, *, all=False, size=False):  # noqa: A002
        web = container("web", memory_bytes=2_306_867)
        return (web, exited("job")) if all else (web,)

    def inspect(self, name, *, size=False):
        if name != "job":
            raise ContainerNotFound(f"no such container: {name}")
        return container_details()

    def logs(self, name, *, follow=False, tail=None, since_ns=None, until_ns=None, cancelled=None):
        yield ("2026-03-21T12:00:00Z", "stdout", b"first\n")
        yield ("2026-03-21T12:00:01Z", "stderr", b"second\n")

    def names(self, name, path, *, limit=1000):
        found = {
            "/": ("bin/", "etc/", "hello"),
            "/etc": ("group", "passwd"),
            "/etc/": ("group", "passwd"),
        }
        return found[path]

    def wait(self, name, *, cancelled=None):
        (cancelled or threading.Event()).wait()
        return ExitStatus(code=0, signal=None, finished=datetime.now(UTC))

    def stop(self, name, *, grace_s=None, signal=None):
        return ExitStatus(code=143, signal=15, finished=datetime.now(UTC))


class StandInSystem:
    def info(self):
        return SystemInfo(
            version="0",
            data_root="/data",
            run_root="/run",
            isolation="look",
            snapshotter="none",
            runtime="none",
            kernel="6",
            operating_system="Test",
            architecture="amd64",
            cpus=2,
            memory_bytes=1 << 30,
            images=3,
            containers=2,
            running=1,
            store_bytes=1,
            free_bytes=1,
            lacks=("everything",),
            not_yet=(),
            networks=NetworkReport(kinds=(), usual="none"),
        )


class StandInNetworks:
    def all(self):
        names = ("bridge", "host", "none", "net")
        return tuple(
            NetworkSummary(network_id=name, name=name, driver="bridge", created=NOW)
            for name in names
        )


class StandInVolumes:
    def all(self):
        return volume("data"), volume("0a1b2c", anonymous=True)


class StandInEngine:
    def __init__(self, root="", environment=None):
        self.root = root
        self.images = StandInImages()
        self.containers = StandInContainers()
        self.networks = StandInNetworks()
        self.volumes = StandInVolumes()
        self.system = StandInSystem()
        self.closed = False

    def close(self):
        self.closed = True
