"""RUN: a container on the layers so far; what it changed becomes the next layer.

The bundle goes to the launcher as any container's does.  Its upper directory is written as a
tar, and then becomes the snapshot of that layer itself, so that nothing is unpacked again.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ocimagic.build.cache import Made, cache_key, now
from ocimagic.build.history import argv
from ocimagic.build.limits import frame
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
from ocimagic.model.rootfs import IMAGE_SUFFIX
from ocimagic.shim import client as shim
from ocimagic.shim import protocol
from ocimagic.spec.digest import Digest
from ocimagic.store.images import LayerRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ocimagic.build.bench import Bench
    from ocimagic.build.state import StageState
    from ocimagic.model.rootfs import Rootfs
    from ocimagic.shim.client import Connection, Launcher
    from ocimagic.spec.runtime import RuntimeConfig

HOSTNAME = "ocimagic-build"  # the same on every machine: programs write it into files
_TAIL_LINES = 20
_TAIL_BYTES = 1 << 16
_KILL = 9


def run_step(bench: Bench, state: StageState, run: Run, number: int) -> tuple[Made, bool]:
    """Run an expanded RUN, or find it done; return what it made and whether it was found.

    Args:
        bench: of this build.
        state: before the instruction.
        run: expanded.
        number: of the step, for ``Output`` events.

    Raises:
        StepFailed: the command ended with a non-zero exit code, or could not be started.
        HostLacks: no container can run here.
        Cancelled: the container was stopped.
    """
    network = _network(bench, run)
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
    )
    found = bench.cache.find(key)
    if found:
        return found, True
    try:
        made = Made(run_layer(bench, state, run, number), now())
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

        snapshots/new-…/fs        the overlay's upper directory, later the snapshot
                       /work      the overlay's own
                       /box/…     bundle, host files, log; the shim removes it
    """

    bench: Bench
    state: StageState
    run: Run
    number: int
    network: NetworkMode

    def layer(self, *, squashed: bool = False) -> LayerRecord:
        """Run the command and return the layer it made."""
        unpacker = self.bench.unpacker
        below = [] if squashed else unpacker.ensure(self.state.layers)
        launcher = unpacker.launcher
        assert launcher is not None
        store = self.bench.store
        run_directory = store.home.run / f"build-{os.urandom(8).hex()}"
        with storage_errors(store.home.data):
            place = unpacker.unpacked(self.state.layers[0]) if squashed else store.snapshots.new()
        try:
            # Not around the command: a listener's OSError is not the disk's.
            with storage_errors(store.home.data):
                config = self._write(launcher, place, below, run_directory.name)
            self._execute(launcher, place, run_directory)
            with storage_errors(store.home.data):
                if not unpacker.copies and not squashed:
                    _remove_stubs(place / "fs", self._lower(below), config)
                return self._keep(launcher, place, below, unpacked=not squashed)
        finally:
            shim.end_lost(place / "box")
            unpacker.remove_trees([path for path in (place, run_directory) if path.exists()])

    def _copied(self, below: Sequence[str], place: Path) -> Rootfs:
        """Return the root where nothing can be mounted."""
        rootfs = self.bench.store.snapshots.copied_rootfs(below, place)
        return replace(rootfs, upper=str(place / "fs"))

    def _write(
        self, launcher: Launcher, place: Path, below: Sequence[str], container_id: str
    ) -> RuntimeConfig:
        """Make the bundle, and the root if it is a copy."""
        box = place / "box"
        box.mkdir(mode=0o700)
        rootless = self.bench.unpacker.rootless
        own_network = self.network is NetworkMode.NONE
        files = write_host_files(box, HOSTNAME, own_network=own_network)
        options = self._options(box)
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
            container_id=container_id,
        )
        config = runtime_config(replace(self.state.config, env=()), options, where)
        snapshots = self.bench.store.snapshots
        if copies:
            rootfs = self._copied(below, place)
            request = {"op": "files", "job": "populate", "rootfs": rootfs.to_json()}
            launcher.work(request | {"files": files})
        else:
            rootfs = snapshots.rootfs(below, place, userxattr=rootless, volatile=True)
            os.rmdir(rootfs.upper)
        write_bundle(box / "bundle", config, replace(rootfs, upper=str(place / "fs")))
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
        return RunOptions(
            image="",
            command=argv(self.state, command),
            entrypoint=(),
            env=env,
            volumes=volumes,
            network=self.network,
            remove=True,
        )

    def _execute(self, launcher: Launcher, place: Path, run_directory: Path) -> None:
        """Start the container and see it to its end.

        Raises:
            StepFailed: a non-zero exit code.
            Cancelled: the user stopped it.
        """
        with storage_errors(run_directory):
            run_directory.mkdir(mode=0o700)
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
            tail=tail.lines(),
            why=killed or None,
            where=frame(self.run.source),
            hint=hints.get(ended.code, "its last lines say why"),
        )

    def _not_started(self, err: CommandNotFound | CommandNotExecutable) -> StepFailed:
        command = argv(self.state, self.run.command)
        hint = err.hint
        if command[0] == self.state.shell[0]:
            hint = 'the image has no shell: use RUN ["program", "argument"], or another base'
        return StepFailed(
            f'process "{" ".join(command)}" did not start: {err.what}',
            command_exit_code=err.exit_code,
            why=err.why,
            where=frame(self.run.source),
            hint=hint,
        )

    def _remove_work(self, work: Path) -> None:
        """Remove overlayfs' own directory: here, since asking the launcher costs a fork."""
        try:
            (work / "work").chmod(0o700)  # the kernel makes it without any permission
            shutil.rmtree(work)
        except OSError:
            self.bench.unpacker.remove_trees([work])

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
            "clamp_mtime": None,
            "toc": toc,
        }

    def _keep(
        self, launcher: Launcher, place: Path, below: Sequence[str], *, unpacked: bool
    ) -> LayerRecord:
        """Write the changes as a blob, and make the directory the layer's snapshot.

        A copy has files of the machine in it, so that the snapshot is unpacked when it is needed.
        """
        store = self.bench.store
        path = store.home.ingest / f"build-{os.getpid()}-{os.urandom(6).hex()}.tar"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                result = launcher.work(self._changes(place, below), [fd])
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
            store.snapshots.commit(place, diff_id)
        return record


def _remove_stubs(upper: Path, lowers: Sequence[Path], config: RuntimeConfig) -> None:
    """Take away the empty files and directories that only mounts were put on.

    The command could neither write nor remove them, for something was mounted there.
    """
    from ocimagic.linux.paths import open_beneath

    root = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # The command may have put links anywhere: never by a joined path.
        for parent, name in {_split(mount.destination) for mount in config.mounts}:
            with suppress(OSError):
                fd = open_beneath(root, parent or ".", os.O_RDONLY | os.O_DIRECTORY)
                try:
                    _remove_empty(name, fd)
                finally:
                    os.close(fd)
            if parent and "/" not in parent and _is_untouched(parent, root, lowers):
                with suppress(OSError):
                    os.rmdir(parent, dir_fd=root)
    finally:
        os.close(root)


def _split(destination: str) -> tuple[str, str]:
    parent, _, name = destination.strip("/").rpartition("/")
    return parent, name


def _remove_empty(name: str, directory: int) -> None:
    told = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISDIR(told.st_mode):
        os.rmdir(name, dir_fd=directory)
    elif stat.S_ISREG(told.st_mode) and not told.st_size:
        os.unlink(name, dir_fd=directory)


def _is_untouched(name: str, upper: int, lowers: Sequence[Path]) -> bool:
    """Say whether a directory is in the upper only because stubs were made in it."""
    with suppress(OSError):
        told = os.stat(name, dir_fd=upper, follow_symlinks=False)
        for lower in lowers:
            below = _owner_and_mode(lower, name)
            if below is not None:
                return (told.st_mode, told.st_uid, told.st_gid) == below
        return True
    return False


def _owner_and_mode(lower: Path, name: str) -> tuple[int, int, int] | None:
    """Return ``st_mode``, user and group of a file at the top of a layer, None if it has none."""
    from ocimagic.layers.erofs.look import find_in_image

    image = f"{lower}{IMAGE_SUFFIX}"
    if os.path.exists(image):
        return find_in_image(image, os.fsencode(name))
    try:
        told = os.lstat(lower / name)
    except FileNotFoundError:
        return None
    return told.st_mode, told.st_uid, told.st_gid
