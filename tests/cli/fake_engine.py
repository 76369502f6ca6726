"""An engine of plain values: it records what it was asked and answers at once."""

from __future__ import annotations

import samples

from ocimagic.errors import ContainerNotFound, ImageNotFound
from ocimagic.model.event import LayerPhase, LayerProgress, Output, PullStarted, ignore
from ocimagic.model.result import ExitStatus


class FakeImages:
    def __init__(self, calls):
        self.calls = calls

    def pull(self, reference, *, platform=None, on_event=ignore, cancelled=None):
        self.calls.append(("pull", reference, platform))
        layer = samples.digest("layer")
        on_event(PullStarted(reference, samples.digest(reference), ((layer, 100),)))
        on_event(LayerProgress(layer, LayerPhase.DONE, 100, 100))
        return samples.pull_result(reference=reference)

    def list(self, name=None, *, all=False):  # noqa: A002
        self.calls.append(("images", name, all))
        return (
            samples.image(),
            samples.image("busybox", "latest"),
            samples.image("<none>", "<none>"),
        )

    def inspect(self, name):
        self.calls.append(("inspect image", name))
        if name == "missing":
            raise ImageNotFound("no image missing")
        return samples.image_details()

    def history(self, name):
        self.calls.append(("history", name))
        return samples.history()

    def layers(self, *names):
        self.calls.append(("layers", *names))
        return samples.report()

    def tag(self, source, target):
        self.calls.append(("tag", source, target))

    def remove(self, *names, force=False):
        self.calls.append(("rmi", *names, force))
        return samples.removed()

    def build(self, options, *, on_event=ignore, cancelled=None):
        self.calls.append(("build", options))
        return samples.build_result()


class FakeContainers:
    def __init__(self, calls):
        self.calls = calls

    def create(self, options, *, on_event=ignore):
        self.calls.append(("create", options))
        return samples.container(options.name or "made")

    def start(self, name):
        self.calls.append(("start", name))
        return samples.container(self._known(name))

    def run_options(self, options, *, stdin=None, on_event=ignore, cancelled=None):
        self.calls.append(("run", options, stdin))
        if options.detach:
            return samples.container(options.name or "made")
        on_event(PullStarted(options.image, samples.digest("i"), ()))
        on_event(Output("stdout", b"out\n"))
        on_event(Output("stderr", b"err\n"))
        if options.command == ("cancel",):
            cancelled.set()
            return samples.run_result(exit_code=137)
        code = options.command[-1] if options.command else "0"
        return samples.run_result(exit_code=int(code) if code.isdecimal() else 0)

    def list(self, *, all=False):  # noqa: A002
        self.calls.append(("ps", all))
        return (samples.container(), samples.exited()) if all else (samples.container(),)

    def get(self, name):
        return samples.container(self._known(name))

    def inspect(self, name):
        self.calls.append(("inspect container", name))
        self._known(name)
        return samples.container_details()

    def logs(self, name, *, follow=False, tail=None, cancelled=None):
        self.calls.append(("logs", self._known(name), follow, tail))
        yield ("2026-03-21T12:00:00Z", "stdout", b"one\n")
        yield ("2026-03-21T12:00:01Z", "stderr", b"two \x1b[31m\n")

    def wait(self, name, *, cancelled=None):
        self.calls.append(("wait", name))
        return ExitStatus(code=3, signal=None, finished=samples.NOW)

    def stop(self, name, *, grace_s=None):
        self.calls.append(("stop", self._known(name), grace_s))
        return ExitStatus(code=137, signal=9, finished=samples.NOW)

    def kill(self, name, *, signal="KILL"):
        self.calls.append(("kill", self._known(name), signal))

    def remove(self, name, *, force=False):
        self.calls.append(("rm", self._known(name), force))

    def _known(self, name):
        if name in {"missing", "web:1"}:
            raise ContainerNotFound(f"no container {name}")
        return name


class FakeSystem:
    def info(self):
        return samples.system_info()


class FakeEngine:
    def __init__(self):
        self.calls = []
        self.images = FakeImages(self.calls)
        self.containers = FakeContainers(self.calls)
        self.system = FakeSystem()
        self.closed = False

    def close(self):
        self.closed = True
