"""An engine of plain values: it records what it was asked and answers at once."""

from __future__ import annotations

import os

import every_kind
import samples
from fake_remote import FakeManifests, FakeRemote

from ocimagic.errors import ContainerNotFound, ImageNotFound, NetworkNotFound, VolumeNotFound
from ocimagic.model.accounts import Accounts, LayerAccount, Wasted
from ocimagic.model.event import LayerPhase, LayerProgress, Output, TransferStarted, ignore
from ocimagic.model.explanation import Explanation, Party, Step
from ocimagic.model.report import (
    CachePruned,
    ChangeKind,
    Committed,
    Copied,
    ExecResult,
    Fault,
    FileChange,
    ProcessTable,
    Pruned,
    SystemPruned,
    Verified,
)
from ocimagic.model.result import ExitStatus, LoggedIn, LoggedOut
from ocimagic.model.system_event import SystemEvent, events_that_fit
from ocimagic.model.volume import VolumesPruned


class FakeImages(FakeRemote):
    def __init__(self, calls):
        self.calls = calls

    def pull(self, reference, *, platform=None, on_event=ignore, cancelled=None):
        self.calls.append(("pull", reference, platform))
        layer = samples.digest("layer")
        on_event(TransferStarted(reference, samples.digest(reference), ((layer, 100),)))
        on_event(LayerProgress(layer, LayerPhase.DONE, 100, 100))
        return samples.pull_result(reference=reference)

    def pull_all(self, name, *, platform=None, on_event=ignore, cancelled=None):
        self.calls.append(("pull_all", name, platform))
        return tuple(samples.pull_result(reference=f"{name}:{tag}") for tag in "12")

    def push(
        self,
        name,
        *,
        all_tags=False,
        platform=None,
        compression="gzip",
        on_event=ignore,
        cancelled=None,
    ):
        self.calls.append(("push", name, all_tags, compression, *([platform] if platform else [])))
        return (samples.push_result(reference=name),)

    def explore(self, name):
        self.calls.append(("explore", name))
        return every_kind.explored()

    def waste(self, name):
        self.calls.append(("waste", name))
        lost = (Wasted(path="big", size_bytes=3_000_000, by=1),)
        first = LayerAccount(created_by="COPY . /", added=("big", "kept"), changed=(), deleted=(),
                             shipped_bytes=4_000_000, wasted=lost)  # fmt: skip
        last = LayerAccount(added=(), changed=(), deleted=("big",), shipped_bytes=0, wasted=())
        return Accounts(image=name, layers=(first, last))

    def verify(self, *names, on_event=ignore, cancelled=None):
        self.calls.append(("verify", *names))
        bad = Fault(image="web:1", digest=samples.digest("layer"), what="the layer is not here")
        return Verified(
            images=2, checked_bytes=5_000_000, faults=(bad,) if "web:1" in names else ()
        )

    def login(self, registry, username, password):
        self.calls.append(("login", registry, username, password))
        return LoggedIn(
            registry=registry or "docker.io", username=username, kept_in="box", is_readable=True
        )

    def logout(self, registry):
        self.calls.append(("logout", registry))
        return LoggedOut(registry=registry or "docker.io", was_there=registry == "quay.io")

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

    def build(self, options, *, stdin=None, on_event=ignore, cancelled=None):
        self.calls.append(("build", options, stdin))
        return samples.build_result(platforms=tuple(map(samples.built_for, options.platforms)))

    def save(self, names, write, *, format="docker", cancelled=None):  # noqa: A002
        self.calls.append(("save", *names, format))
        if "missing" in names:
            raise ImageNotFound("no image missing")
        write(b"image tar")
        return samples.saved()

    def load(self, source, *, platform=None, on_event=ignore, cancelled=None):
        self.calls.append(("load", source, platform))
        on_event(TransferStarted("web:1", None, ((samples.digest("layer"), 100),), "loading"))
        on_event(LayerProgress(samples.digest("layer"), LayerPhase.DONE, 100, 100))
        return samples.loaded()

    def import_(self, source, options=None, *, on_event=ignore, cancelled=None):
        self.calls.append(("import", source, options))
        return samples.imported()


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
        on_event(TransferStarted(options.image, samples.digest("i"), ()))
        on_event(Output("stdout", b"out\n"))
        on_event(Output("stderr", b"err\n"))
        if options.command == ("cancel",):
            cancelled.set()
            return samples.run_result(exit_code=137)
        code = options.command[-1] if options.command else "0"
        return samples.run_result(exit_code=int(code) if code.isdecimal() else 0)

    def list(self, *, all=False, size=False):  # noqa: A002
        self.calls.append(("ps", all, size))
        web = samples.container(memory_bytes=2_306_867)
        return (web, samples.exited()) if all else (web,)

    def get(self, name):
        return samples.container(self._known(name))

    def inspect(self, name, *, size=False):
        self.calls.append(("inspect container", name, size))
        self._known(name)
        return samples.container_details(tty=name == "shell", interactive=name == "shell")

    def ports(self, name):
        return ()

    def logs(self, name, *, follow=False, tail=None, since_ns=None, until_ns=None, cancelled=None):
        self.calls.append(("logs", self._known(name), follow, tail, since_ns, until_ns))
        yield ("2026-03-21T12:00:00Z", "stdout", b"one\n")
        yield ("2026-03-21T12:00:01Z", "stderr", b"two \x1b[31m\n")

    def wait(self, name, *, cancelled=None):
        self.calls.append(("wait", name))
        return ExitStatus(code=3, signal=None, finished=samples.NOW)

    def stop(self, name, *, grace_s=None, signal=None):
        self.calls.append(("stop", self._known(name), grace_s, signal))
        return ExitStatus(code=137, signal=9, finished=samples.NOW)

    def restart(self, name, *, grace_s=None, signal=None):
        self.calls.append(("restart", self._known(name), grace_s, signal))
        return samples.container(name)

    def pause(self, name):
        self.calls.append(("pause", self._known(name)))

    def unpause(self, name):
        self.calls.append(("unpause", self._known(name)))

    def rename(self, name, new_name):
        self.calls.append(("rename", self._known(name), new_name))
        return samples.container(new_name)

    def update(self, name, options):
        self.calls.append(("update", self._known(name), options))
        return ("swap is not limited here",)

    def prune(self, keep=lambda _: False):
        gone = [each for each in (samples.exited(),) if not keep(each)]
        self.calls.append(("prune", len(gone)))
        return Pruned(containers=tuple(each.container_id for each in gone), freed_bytes=12)

    def attach(self, name, *, stdin=None, sig_proxy=True, on_event=ignore, cancelled=None):
        self.calls.append(("attach", self._known(name), stdin, sig_proxy))
        on_event(Output("stdout", b"hello\n"))
        return ExitStatus(code=4, signal=None, finished=samples.NOW)

    def open_attached(self, name, *, stdin=True):
        self.calls.append(("open attached", self._known(name), stdin))
        return FakeAttachment(self._known(name))

    def start_attached(self, name, *, stdin=False):
        self.calls.append(("start attached", self._known(name), stdin))
        return FakeAttachment(name)

    def run_attached(self, options, *, on_event=ignore):
        self.calls.append(("run attached", options))
        return FakeAttachment(options.name or "made")

    def exec(self, name, options, *, stdin=None, on_event=ignore, cancelled=None):
        self.calls.append(("exec", self._known(name), options, stdin))
        if options.detach:
            return None
        on_event(Output("stdout", b"out\n"))
        return ExecResult(
            container_id=samples.container(name).container_id,
            name=name,
            exit_code=6,
            stdout=b"out\n",
            stderr=b"",
            duration_s=0.02,
        )

    def exec_attached(self, name, options):
        self.calls.append(("exec attached", self._known(name), options))
        return FakeAttachment(name)

    def top(self, name, ps_options=()):
        self.calls.append(("top", self._known(name), tuple(ps_options)))
        return ProcessTable(("PID", "CMD"), (("7", "sleep 1 2"),))

    def stats(self, *names, all=False, interval_s=1.0, cancelled=None):  # noqa: A002
        self.calls.append(("stats", *names, all))
        yield (samples.stats(),)
        yield (samples.stats(cpu_percent=50.0),)

    def copy_from(self, name, path, target, *, follow_link=False, archive=False):
        self.calls.append(("copy from", self._known(name), path, target, follow_link, archive))
        return Copied(source=f"{name}:{path}", target=target, size_bytes=2048)

    def copy_to(self, name, source, path, *, follow_link=False):
        self.calls.append(("copy to", self._known(name), source, path, follow_link))
        return Copied(source=source, target=f"{name}:{path}", size_bytes=2048)

    def read_archive(self, name, path, out, *, follow_link=False):
        self.calls.append(("read archive", self._known(name), path, follow_link))
        out(b"tar")
        return 3

    def write_archive(self, name, path, stdin):
        self.calls.append(("write archive", self._known(name), path, stdin))
        return 3

    def diff(self, name):
        self.calls.append(("diff", self._known(name)))
        return (FileChange(ChangeKind.CHANGED, "/etc"), FileChange(ChangeKind.ADDED, "/etc/new"))

    def watch(self, *, all=False, interval_s=2.0, cancelled=None):  # noqa: A002
        yield every_kind.overview()

    def layers(self, name):
        self.calls.append(("layers", self._known(name)))
        return every_kind.own_layer(name)

    def namespaces(self, name):
        self.calls.append(("namespaces", self._known(name)))
        return every_kind.namespaces(name)

    def bundle(self, name):
        self.calls.append(("bundle", self._known(name)))
        return every_kind.bundle(name)

    def export(self, name, out):
        self.calls.append(("export", self._known(name)))
        out(b"whole tar")
        return 9

    def commit(self, name, options):
        self.calls.append(("commit", self._known(name), options))
        return Committed(image_id=samples.digest("new"), reference=options.reference, size_bytes=10)

    def kill(self, name, *, signal="KILL"):
        self.calls.append(("kill", self._known(name), signal))

    def remove(self, name, *, force=False, volumes=False):
        self.calls.append(("rm", self._known(name), force, volumes))

    def _known(self, name):
        if name in {"missing", "web:1"}:
            raise ContainerNotFound(f"no container {name}")
        return name


class FakeAttachment:
    """A process that says one thing and ends, or is let go of when its name is "leave"."""

    def __init__(self, name):
        self.container_id = samples.container(name).container_id
        self.name = name
        self.tty = True
        self.exec_id = ""
        self.exit = None
        self.sizes = []
        self.detached = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def close(self):
        pass

    def end(self):
        pass

    def feed(self, stdin):
        pass

    def follow(self, on_event, cancelled=None):
        on_event(Output("stdout", b"said\n"))
        self._end()
        return b"said\n", b""

    def terminal(self, detach_keys=""):
        self.detach_keys = detach_keys
        return self

    def write(self, data):
        pass

    def resize(self, rows, columns):
        self.sizes.append((rows, columns))

    def output(self):
        yield b"$ "
        if self.name != "leave":
            self._end()

    def leave(self):
        pass

    def ending(self):
        return "exit 9"

    def _end(self):
        self.exit = ExitStatus(code=9, signal=None, finished=samples.NOW)


class FakeConsole:
    """Somebody at a terminal of 24 lines."""

    def __init__(self):
        self.seen = b""

    def size(self):
        return 24, 80

    def drive(self, attachment, terminal):
        self.seen += b"".join(terminal.output())
        return False


class FakeDisk:
    def __init__(self, calls):
        self.calls = calls

    def usage(self):
        self.calls.append(("df",))
        return samples.disk_usage()

    def prune_images(self, *, all=False, keep=lambda _: False):  # noqa: A002
        self.calls.append(("prune images", all, keep(samples.image())))
        return samples.images_pruned()

    def prune_cache(self):
        self.calls.append(("prune cache",))
        return CachePruned(steps=3, freed_bytes=1000)

    def prune(self, *, all=False, volumes=False):  # noqa: A002
        self.calls.append(("prune", all, volumes))
        return SystemPruned(
            containers=Pruned(containers=("job",), freed_bytes=500),
            images=samples.images_pruned(),
            cache=CachePruned(steps=3, freed_bytes=1000),
            volumes=VolumesPruned(volumes=("old",), freed_bytes=7) if volumes else VolumesPruned(),
        )


class FakeNetworks:
    def inspect(self, name):
        raise NetworkNotFound(name)


class FakeVolumes:
    def __init__(self, calls):
        self.calls = calls

    def create(self, options):
        self.calls.append(("create volume", options))
        return samples.volume(options.name or "made")

    def all(self):
        return samples.volume(), samples.volume("idle", users=(), anonymous=True)

    def inspect(self, name):
        if name == "missing":
            raise VolumeNotFound(f"no such volume: {name}")
        return samples.volume(name)

    def remove(self, name):
        self.calls.append(("rm volume", self.inspect(name).name))
        return name

    def prune(self, keep=lambda _: False, *, all=False):  # noqa: A002
        gone = tuple(each.name for each in self.all() if not each.users and not keep(each))
        self.calls.append(("prune volumes", gone, all))
        return VolumesPruned(volumes=gone, freed_bytes=5)

    def export(self, name, out):
        out(f"tar of {name}".encode())
        return 0

    def load(self, name, stream):
        data = stream if isinstance(stream, bytes) else os.read(stream, 100)
        self.calls.append(("import volume", name, data))
        return 0


class FakeSystem:
    served = None

    def __init__(self, calls):
        self.disk = FakeDisk(calls)

    def info(self):
        return samples.system_info()

    def events(self, *, since_ns=None, until_ns=None, conditions=(), cancelled=None):
        fits = events_that_fit(conditions)
        yield from filter(fits, (SystemEvent("container", "start", "ab" * 32, {"name": "web"}),))

    def diagnose(self):
        return samples.diagnosis()

    def serve_registry(self, options=None, *, on_request=None):
        self.served = FakeRegistry(options, on_request)
        return self.served

    def registries(self):
        return () if self.served is None or self.served.closed else (self.served,)

    def add_registry_user(self, name, password, *, htpasswd=None):
        self.user = name, password
        return htpasswd or "/users"


class FakeRegistry:
    url, host, data, warnings = "http://127.0.0.1:5000", "127.0.0.1:5000", "/data", ("beware",)

    def __init__(self, options, on_request):
        self.options, self.on_request, self.closed = options, on_request, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.closed = True


class FakeExplainer:
    def __init__(self, calls):
        self.calls = calls

    def explain(self, name="last", *, line="", newest=False):
        self.calls.append(("explain", name, line, newest))
        step = Step(party=Party.DAEMON, to=Party.CONTAINERD, title=f"create container {name}")
        return Explanation(kind="container", name=name, line=line, began="2026", seconds=1.0,
                           ending="exit code 0", steps=(step,))  # fmt: skip

    def explain_failure(self, line, failure):
        self.calls.append(("explain failure", line, failure))
        return self.explain(line=line)


class FakeEngine:
    def __init__(self):
        self.calls = []
        self.explainer = FakeExplainer(self.calls)
        self.images = FakeImages(self.calls)
        self.manifests = FakeManifests(self.calls)
        self.containers = FakeContainers(self.calls)
        self.networks = FakeNetworks()
        self.volumes = FakeVolumes(self.calls)
        self.system = FakeSystem(self.calls)
        self.closed = False

    def close(self):
        self.closed = True
