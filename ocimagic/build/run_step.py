"""RUN: a container on the layers so far; what it changed becomes the next layer.

The bundle goes to the launcher as any container's does.  Its upper directory is written as a
tar, and then becomes the snapshot of that layer itself, so that nothing is unpacked again.
"""

from __future__ import annotations

import contextlib
import os
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ocimagic.build.cache import Made, cache_key, now
from ocimagic.build.few import remove_few, write_changes
from ocimagic.build.history import argv
from ocimagic.build.limits import frame
from ocimagic.build.pretence import answered, asking
from ocimagic.build.run_mounts import Prepared, RunMounts
from ocimagic.bundle.convert import runtime_config
from ocimagic.bundle.directory import write_bundle
from ocimagic.bundle.hostfiles import PLACED, SHOWN, write_host_files
from ocimagic.bundle.machine import find_place
from ocimagic.dockerfile.instructions import Run, Script
from ocimagic.errors import (
    BuildFailed,
    CommandNotExecutable,
    CommandNotFound,
    OcimagicError,
    StepFailed,
)
from ocimagic.home.disk import storage_errors
from ocimagic.model.event import Output
from ocimagic.model.options import NetworkMode, RunOptions, VolumeMount
from ocimagic.shim import client as shim
from ocimagic.shim import protocol
from ocimagic.spec.digest import Digest
from ocimagic.store.images import LayerRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ocimagic.build.bench import Bench
    from ocimagic.build.places import Place
    from ocimagic.build.state import StageState
    from ocimagic.model.rootfs import Rootfs
    from ocimagic.shim.client import Connection, Launcher
    from ocimagic.spec.runtime import RuntimeConfig

HOSTNAME = "ocimagic-build"  # the same on every machine: programs write it into files
_TAIL_LINES = 20
_TAIL_BYTES = 1 << 16
_KILL = 9


def run_step(
    bench: Bench,
    state: StageState,
    run: Run,
    number: int,
    place_of: Callable[[str | None], Place | None],
) -> tuple[Made, bool]:
    """Run an expanded RUN, or find it done; return what it made and whether it was found.

    Args:
        bench: of this build.
        state: before the instruction.
        run: expanded.
        number: of the step, for ``Output`` events.
        place_of: gives what a mount's ``from`` names; None is the build context.

    Raises:
        DockerfileError: a mount of something that is not there.
        StepFailed: the command ended with a non-zero exit code, or could not be started.
        HostLacks: no container can run here.
        Cancelled: the container was stopped.
    """
    network, hosts = _network(bench, run), bench.options.extra_hosts
    mounts = RunMounts(bench, state, run, place_of) if run.mounts else None
    key = cache_key(
        "run",
        below=state.chain_id,
        argv=argv(state, run.command),
        script=run.command.text if isinstance(run.command, Script) else "",
        env=sorted(state.scope.cached_env().items()),
        user=state.config.user,
        cwd=state.config.working_dir,
        network=network.value,
        platform=str(state.platform),
        **bench.dated,
        **({"mounts": mounts.key} if mounts else {}),
        **({"security": run.security} if run.security != "sandbox" else {}),
        **({"hosts": sorted(name for name, _ in hosts)} if hosts else {}),
    )
    if found := bench.cache.find(key):
        return found, True
    if bench.unpacker.why_owners_are_lost:  # asked late, for it takes a launcher
        key = cache_key("run without owners", run=key)
        if found := bench.cache.find(key):
            return found, True
    with bench.alone(key, run.source.start_line):
        if found := bench.cache.find(key):  # another build has done it meanwhile
            return found, True
        try:
            made = Made(_Sandbox(bench, state, run, number, network, mounts).layer(), now())
        except OcimagicError as err:
            err.where = err.where or frame(run.source)
            raise
        bench.cache.remember(key, made)
    return made, False


def run_layer(
    bench: Bench, state: StageState, run: Run, number: int, *, squashed: bool = False
) -> LayerRecord:
    """Run an expanded RUN whatever the cache says; return the layer it made.

    Args:
        bench: of this build.
        state: before the instruction.
        run: expanded.
        number: of the step, for ``Output`` events.
        squashed: the state has one layer, and the command works on a copy of it, which is
            faster where it replaces nearly all of it: the result holds both, and the stubs
            that only mounts were put on, and is not unpacked.  Where layers are copied
            anyway it holds the changes, as ever.

    Raises:
        StepFailed: see ``run_step``.
    """
    sandbox = _Sandbox(bench, state, run, number, _network(bench, run))
    return sandbox.layer(squashed=squashed and not bench.unpacker.copies)


def _network(bench: Bench, run: Run) -> NetworkMode:
    asked = NetworkMode(run.network)
    return bench.options.network if asked is NetworkMode.DEFAULT else asked


@dataclass(slots=True)
class _Tail:
    """The last lines a command wrote."""

    data: bytearray = field(default_factory=bytearray)

    def add(self, data: bytes) -> None:
        self.data += data
        del self.data[:-_TAIL_BYTES]

    def lines(self) -> list[str]:
        return self.data.decode(errors="replace").splitlines()[-_TAIL_LINES:]


@dataclass(slots=True)
class _Sandbox:
    """The container of one RUN and the directory it works in.

    ::

        snapshots/new-…-mounts    what of RUN --mount is thrown away
        snapshots/new-…/fs        the overlay's upper directory, later the snapshot
                       /work      the overlay's own
                       /box/…     bundle, host files, log; the shim removes it
    """

    bench: Bench
    state: StageState
    run: Run
    number: int
    network: NetworkMode
    mounts: RunMounts | None = None
    held: ExitStack = field(default_factory=ExitStack)
    prepared: Prepared = field(default_factory=Prepared)

    def layer(self, *, squashed: bool = False) -> LayerRecord:
        """Run the command and return the layer it made."""
        unpacker = self.bench.unpacker
        self.bench.bring(self.state.layers)
        below = [] if squashed else unpacker.ensure(self.state.layers)
        launcher = unpacker.launcher
        assert launcher is not None
        store = self.bench.store
        run_directory = store.home.run / f"build-{os.urandom(8).hex()}"
        with storage_errors(store.home.data):
            place = unpacker.unpacked(self.state.layers[0]) if squashed else store.snapshots.new()
        beside = place.with_name(f"{place.name}-mounts")
        try:
            # Not around the command: a listener's OSError is not the disk's.
            with storage_errors(store.home.data):
                if self.mounts is not None:
                    bundle = place / "box" / "bundle"
                    self.prepared = self.mounts.prepare(beside, bundle, self.held)
                config = self._write(launcher, place, below, run_directory)
            with storage_errors(run_directory):
                run_directory.mkdir(mode=0o700)
            layers = [self.bench.store.snapshots.directory(name) for name in below]
            with answered(self.bench, run_directory, place, layers):
                self._execute(launcher, place, run_directory)
            with storage_errors(store.home.data):
                if not unpacker.copies and not squashed:
                    self._remove_stubs(place / "fs", below, config)
                return self._keep(place, below, unpacked=not squashed)
        finally:
            shim.end_lost(place / "box")
            self.held.close()
            for each in (place, beside, run_directory):
                remove_few(unpacker, each)

    def _copied(self, below: Sequence[str], place: Path) -> Rootfs:
        """Return the root where nothing can be mounted."""
        rootfs = self.bench.store.snapshots.copied_rootfs(below, place)
        return replace(rootfs, upper=str(place / "fs"))

    def _write(
        self, launcher: Launcher, place: Path, below: Sequence[str], run_directory: Path
    ) -> RuntimeConfig:
        """Make the bundle, and the root if it is a copy."""
        box = place / "box"
        box.mkdir(mode=0o700)
        rootless = self.bench.unpacker.rootless
        own_network = self.network is NetworkMode.NONE
        options = self._options(box)
        files = write_host_files(box, HOSTNAME, own_network=own_network, options=options)
        copies = self.bench.unpacker.copies
        if copies:
            files = (*files, *((each.target, each.source) for each in options.volumes))
            options = replace(options, volumes=())
        where = find_place(
            options,
            rootless=rootless,
            shares_processes=self.bench.unpacker.shares_processes,
            bare=copies,
            tracer=self.bench.unpacker.tracer,
            hostname=HOSTNAME,
            files=files,
            container_id=run_directory.name,
        )
        config = runtime_config(replace(self.state.config, env=()), options, where)
        config = asking(self.bench, run_directory, config, where)
        snapshots = self.bench.store.snapshots
        if copies:
            rootfs = self._copied(below, place)
            request = {"op": "files", "job": "populate", "rootfs": rootfs.to_json()}
            launcher.work(request | {"files": files})
        else:
            rootfs = snapshots.rootfs(below, place, userxattr=rootless, volatile=True)
            os.rmdir(rootfs.upper)
        rootfs = replace(rootfs, upper=str(place / "fs"))
        write_bundle(box / "bundle", config, rootfs, self.prepared.views)
        return config

    def _options(self, box: Path) -> RunOptions:
        env = tuple(f"{name}={value}" for name, value in self.state.scope.run_env().items())
        volumes: tuple[VolumeMount, ...] = ()
        command = self.run.command
        if isinstance(command, Script):
            script = box / "script"
            script.write_text(command.text, encoding="utf-8", newline="")
            script.chmod(0o755)
            volumes = (VolumeMount(source=str(script), target=command.path, read_only=True),)
        volumes += tuple(self.prepared.volumes)
        return RunOptions(
            image="",
            command=argv(self.state, command),
            entrypoint=(),
            env=(*self._dated(), *env, *self.prepared.env),
            volumes=volumes,
            tmpfs=tuple(self.prepared.tmpfs),
            extra_hosts=self.bench.options.extra_hosts,
            shm_size_bytes=self.bench.options.shm_size_bytes,
            ulimits=self.bench.options.ulimits,
            privileged=self.run.security == "insecure",
            network=self.network,
            remove=True,
        )

    def _dated(self) -> tuple[str, ...]:
        """Return what tells programs which time to write, where the clock's is not wanted.

        Source: reproducible-builds.org, "SOURCE_DATE_EPOCH".
        """
        stamp = self.bench.options.timestamp
        return () if stamp is None else (f"SOURCE_DATE_EPOCH={stamp}",)

    def _execute(self, launcher: Launcher, place: Path, run_directory: Path) -> None:
        """Start the container and see it to its end.

        Raises:
            StepFailed: a non-zero exit code.
            Cancelled: the user stopped it.
        """
        tail = _Tail()
        with launcher.launch(
            {
                "id": run_directory.name,
                "bundle": str(place / "box" / "bundle"),
                "directory": str(place / "box"),
                "run_directory": str(run_directory),
                "log_path": str(place / "box" / "log.json"),
                "interactive": False,
                "remove": True,
                "tied": True,
                "attached": True,
            }
        ) as connection:
            try:
                connection.started()
            except (CommandNotFound, CommandNotExecutable) as err:
                raise self._not_started(err) from err
            except KeyboardInterrupt:
                connection.abort()
                raise
            ended = self._follow(connection, tail)
        if ended.code:
            raise self._failed(ended, tail)

    def _follow(self, connection: Connection, tail: _Tail) -> shim.Exit:
        try:
            for kind, payload in connection.frames(cancelled=self.bench.cancelled):
                if kind in protocol.STREAMS:
                    tail.add(payload)
                    stream = protocol.STREAMS[kind]
                    self.bench.on_event(Output(stream, payload, self.number))
                elif ended := shim.exit_of(payload):
                    return ended
        except BaseException:  # an interrupt, or a listener that failed
            connection.abort()
            raise
        if self.bench.cancelled is not None and self.bench.cancelled.is_set():
            connection.abort()
            self.bench.check_cancelled()
        raise BuildFailed(
            "the shim of this RUN is gone", why="it was killed; nobody saw the exit code"
        )

    def _failed(self, ended: shim.Exit, tail: _Tail) -> StepFailed:
        command = " ".join(argv(self.state, self.run.command))
        hints = {
            126: "the file is there but cannot be executed: RUN chmod +x, or run it by sh",
            127: "a command is not in this image: check its spelling, or install it first",
        }
        killed = ended.signal and f"signal {ended.signal} ended it"
        if ended.signal == _KILL:
            killed = "it was killed, perhaps because memory ran out"
        return StepFailed(
            f'process "{command}" did not complete successfully: exit code: {ended.code}',
            command_exit_code=ended.code,
            command=command,
            tail=tail.lines(),
            why=killed or None,
            where=frame(self.run.source),
            hint=hints.get(ended.code, "its last lines say why"),
        )

    def _not_started(self, err: CommandNotFound | CommandNotExecutable) -> StepFailed:
        command = argv(self.state, self.run.command)
        hint = err.hint
        is_shell = isinstance(err, CommandNotFound) and command[0] == self.state.shell[0]
        if is_shell and self.bench.files(self.state.layers).find(command[0]) is None:
            hint = 'the image has no shell: use RUN ["program", "argument"], or another base'
        return StepFailed(
            f'process "{" ".join(command)}" did not start: {err.what}',
            command_exit_code=err.exit_code,
            command=" ".join(command),
            why=f'exec: "{command[0]}": {err.why}' if err.why else None,  # docker's words
            where=frame(self.run.source),
            hint=hint,
        )

    def _remove_work(self, work: Path) -> None:
        """Remove overlayfs' own directory."""
        with contextlib.suppress(OSError):
            (work / "work").chmod(0o700)  # the kernel makes it without any permission
        remove_few(self.bench.unpacker, work)

    def _remove_stubs(self, upper: Path, below: Sequence[str], config: RuntimeConfig) -> None:
        """Take away what is in the changes only because something was mounted there."""
        from ocimagic.build.stubs import remove_made, remove_stubs  # for Linux only

        if self.prepared.targets:
            files = self.bench.files(self.state.layers)
            remove_made(upper, self.prepared.targets, files)
        remove_stubs(upper, self._lower(below), config)

    def _lower(self, below: Sequence[str]) -> list[Path]:
        """Return the layer directories, top first."""
        return [self.bench.store.snapshots.directory(name) / "fs" for name in reversed(below)]

    def _changes(self, place: Path, below: Sequence[str]) -> dict[str, object]:
        """Return what has a worker write the changes as a tar."""
        toc = str(place / "toc")
        if self.bench.unpacker.copies:
            script = self.run.command
            placed = [*PLACED, *(SHOWN if self.bench.unpacker.tracer else ())]
            if isinstance(script, Script):
                placed.append(script.path.strip("/"))
            rootfs = self._copied(below, place).to_json()
            return {
                "op": "files",
                "job": "pack",
                "rootfs": rootfs,
                "bundle": str(place / "box" / "bundle"),
                "stubs": placed,
                "toc": toc,
            }
        return {
            "op": "diff",
            "upper": str(place / "fs"),
            "userxattr": self.bench.unpacker.rootless,
            "clamp_mtime": self.bench.options.timestamp,
            "recorded": self.bench.unpacker.records,
            "toc": toc,
        }

    def _keep(self, place: Path, below: Sequence[str], *, unpacked: bool) -> LayerRecord:
        """Write the changes as a blob, and make the directory the layer's snapshot.

        A copy has files of the machine in it, so that the snapshot is unpacked when it is needed.
        """
        store = self.bench.store
        path = store.home.ingest / f"build-{os.getpid()}-{os.urandom(6).hex()}.tar"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                result = write_changes(self.bench.unpacker, self._changes(place, below), fd)
            finally:
                os.close(fd)
            diff_id = Digest.parse(str(result["diff_id"]))
            size, files = (int(str(result[key])) for key in ("tar_bytes", "unpacked_bytes"))
            store.blobs.adopt_file(path, diff_id, size)
        finally:
            path.unlink(missing_ok=True)
        record = LayerRecord(diff_id, diff_id, size, size, files)
        store.images.add_layer(record)
        if unpacked and not self.bench.unpacker.copies:
            (place / "size").write_text(str(files))
            self._remove_work(place / "work")
            store.snapshots.commit(place, diff_id, is_recorded=self.bench.unpacker.records)
        return record
