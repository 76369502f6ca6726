"""``RUN --mount``: what a command sees while it runs, and no layer holds.

A bind shows files of the context, of a stage or of an image, a cache is a directory that
outlives the build, the others are gone with the command.  What may be written besides the root
is thrown away, but for caches.

Source: Dockerfile reference, "RUN --mount"; facts/build.md section 1.2.
"""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ocimagic.build.cache_mounts import CacheMounts
from ocimagic.build.config_steps import in_workdir
from ocimagic.build.context import Context
from ocimagic.build.tree_layer import layer_of_files
from ocimagic.errors import HostLacks, NotBuiltYet
from ocimagic.model.options import TmpfsMount, VolumeMount
from ocimagic.model.rootfs import View

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from ocimagic.build.bench import Bench
    from ocimagic.build.places import Place
    from ocimagic.build.state import StageState
    from ocimagic.dockerfile.instructions import Run
    from ocimagic.dockerfile.mounts import RunMount, Sharing
    from ocimagic.transfer.layer import Layer

_SECRETS = "/run/secrets"
_AGENTS = "/run/buildkit/ssh_agent"  # where BuildKit has them
_CACHE_MODE, _SECRET_MODE, _CONTEXT_MODE = 0o755, 0o400, 0o755
_TMPFS_WORDS = ("exec", "suid")
_STRICTEST_FIRST: tuple[Sharing, ...] = ("locked", "private", "shared")


@dataclass(frozen=True, slots=True)
class Source:
    """What a bind mount, or the beginning of a cache, shows.

    Attributes:
        layers: of what, bottom first.
        path: of that.
        key: names the files, for the build cache.
    """

    layers: tuple[Layer, ...]
    path: str
    key: str


@dataclass(slots=True)
class Prepared:
    """The mounts of one RUN, ready for its bundle."""

    views: list[View] = field(default_factory=list)
    volumes: list[VolumeMount] = field(default_factory=list)
    tmpfs: list[TmpfsMount] = field(default_factory=list)
    env: list[str] = field(default_factory=list)

    @property
    def targets(self) -> list[str]:
        """Return where in the container something is mounted."""
        return [each.target for each in self.volumes] + [each.target for each in self.tmpfs]


class RunMounts:
    """The mounts of one expanded RUN.

    Args:
        bench: of this build.
        state: before the instruction.
        run: expanded.
        place_of: gives what ``from`` names; None is the build context.

    Raises:
        DockerfileError: a source that is not there, a secret that is required and not given.
    """

    def __init__(
        self,
        bench: Bench,
        state: StageState,
        run: Run,
        place_of: Callable[[str | None], Place | None],
    ) -> None:
        self._bench = bench
        self._state = state
        self._run = run
        self._place_of = place_of
        if run.mounts and bench.unpacker.copies:
            raise HostLacks(
                "RUN --mount needs mounts",
                why="this machine lets nobody mount anything (%system_doctor says more)",
                hint="leave it out: COPY what the command needs before it",
            )
        self._sources = {
            number: self._source(mount)
            for number, mount in enumerate(run.mounts)
            if mount.type == "bind" or (mount.type == "cache" and mount.from_stage)
        }
        for mount in run.mounts:
            self._check_given(mount)

    @property
    def key(self) -> list[object]:
        """Return what of the mounts decides what the command makes of them.

        Neither what a cache holds nor what a secret says does.
        """
        return [
            [
                mount.type,
                self._target(mount, number),
                mount.readonly,
                mount.env,
                mount.size_bytes,
                [mount.id, mount.mode, mount.uid, mount.gid],
                self._sources[number].key if number in self._sources else None,
            ]
            for number, mount in enumerate(self._run.mounts)
        ]

    def prepare(self, room: Path, bundle: Path, held: ExitStack) -> Prepared:
        """Make what is to be mounted.

        Args:
            room: a directory on the snapshots' file system, gone after the command.
            bundle: of the container.
            held: is closed when the command has ended.

        Raises:
            Cancelled: while another build had a cache for itself.
        """
        prepared = Prepared()
        caches = self._hold_caches(held)
        for number, mount in enumerate(self._run.mounts):
            target = self._target(mount, number)
            match mount.type:
                case "bind":
                    view = self._view(number, room / f"{number}", volatile=True)
                    prepared.views.append(view)
                    source = str(bundle / view.source)
                    prepared.volumes.append(
                        VolumeMount(source=source, target=target, read_only=mount.readonly)
                    )
                case "cache":
                    source = self._prepare_cache(number, mount, caches[number], prepared)
                    prepared.volumes.append(
                        VolumeMount(
                            source=str(bundle / source), target=target, read_only=mount.readonly
                        )
                    )
                case "tmpfs":
                    size = (f"size={mount.size_bytes}",) if mount.size_bytes else ()
                    words = (*_TMPFS_WORDS, *size)  # its mode is that of what it covers
                    prepared.tmpfs.append(TmpfsMount(target=target, options=words))
                case "secret":
                    self._prepare_secret(number, mount, target, prepared, held)
                case "ssh":
                    self._prepare_agent(mount, target, prepared)
        return prepared

    # -- bind ----------------------------------------------------------------------

    def _source(self, mount: RunMount) -> Source:
        """Find the files a mount shows."""
        path = mount.source or ""
        place, source = self._place_of(mount.from_stage), self._run.source
        if place is None:
            raise source.error(
                "this build has no context to mount",
                at=mount.raw,
                hint="give the build a directory, or say from=STAGE",
            )
        if isinstance(place, Context):
            return self._from_directory(place, path)
        if self._bench.files(place).find(path) is None:
            raise source.error(
                f'"{path}": not found',
                at=path,
                why=f"there is no such file in {mount.from_stage or self._bench.places.shown}",
                hint="source is looked up from the root of that stage or image",
            )
        return Source(place, path, f"{place[-1].chain_id if place else ''}:{path}")

    def _from_directory(self, context: Context, path: str) -> Source:
        """Show files of a directory as a layer: what is excluded is not in it, and root's it is."""
        found = context.find(path)
        if found is None:
            why, hint = context.missing(path)
            raise self._run.source.error(f'"{path}": not found', at=path, why=why, hint=hint)
        # What is mounted has the mode of the directory, and so must be one in the layer.
        name = found.name or "context"
        shown = found if found.path else found._replace(mode=_CONTEXT_MODE)
        layer, key = layer_of_files(self._bench, context, shown, top=name)
        return Source((layer,), name, str(key))

    def _view(self, number: int, directory: Path, *, volatile: bool) -> View:
        unpacker = self._bench.unpacker
        source = self._sources[number]
        directory.mkdir(parents=True, exist_ok=True)
        self._bench.bring(source.layers)
        rootfs = self._bench.store.snapshots.rootfs(
            unpacker.ensure(source.layers),
            directory,
            userxattr=unpacker.rootless,
            volatile=volatile,
        )
        return View(name=f"{number}", rootfs=rootfs, path=source.path)

    # -- the others ------------------------------------------------------------------

    def _hold_caches(self, held: ExitStack) -> dict[int, Path]:
        """Have all caches; return their directories by the number of the mount.

        Each once, and always in one order: two commands that want the same ones, or one that
        wants one twice, would wait for ever.
        """
        wanted: dict[str, list[int]] = {}
        for number, mount in enumerate(self._run.mounts):
            if mount.type == "cache":
                wanted.setdefault(self._cache_name(number, mount), []).append(number)
        caches = CacheMounts(self._bench.store.home)
        directories: dict[int, Path] = {}
        for name, numbers in sorted(wanted.items()):
            asked = {self._sharing(self._run.mounts[number]) for number in numbers}
            sharing = next(each for each in _STRICTEST_FIRST if each in asked)
            directory = held.enter_context(caches.held(name, sharing, self._bench.wait))
            directories |= dict.fromkeys(numbers, directory)
        return directories

    def _cache_name(self, number: int, mount: RunMount) -> str:
        """Return what a cache is known by: changes fit only on the files they were made on."""
        name = mount.id or self._target(mount, number)
        return f"{name}\0{self._sources[number].key}" if number in self._sources else name

    def _sharing(self, mount: RunMount) -> Sharing:
        # Two overlays cannot share what they change.
        return "locked" if mount.from_stage and mount.sharing == "shared" else mount.sharing

    def _prepare_cache(
        self, number: int, mount: RunMount, directory: Path, prepared: Prepared
    ) -> str:
        """Return where the cache is: absolute, or in the bundle."""
        if mount.from_stage is None:

            def furnish(path: Path) -> None:
                path.chmod(_CACHE_MODE if mount.mode is None else mount.mode)
                self._give(path, mount)

            return str(CacheMounts(self._bench.store.home).files(directory, furnish))
        upper = str(directory / "upper")
        for shown in prepared.views:
            if shown.rootfs.upper == upper:
                return shown.source
        view = self._view(number, directory, volatile=False)
        prepared.views.append(view)
        return view.source

    def _prepare_secret(
        self, number: int, mount: RunMount, target: str, prepared: Prepared, held: ExitStack
    ) -> None:
        value = self._bench.options.secrets.get(mount.id or "")
        if value is None:
            return
        if mount.env is not None:
            prepared.env.append(f"{mount.env}={value.decode()}")
        if mount.env is not None and mount.target is None:
            return
        # In the run root: that is memory on most machines, and gone after a reboot.
        path = self._bench.store.home.run / f"secret-{os.urandom(8).hex()}-{number}"
        held.callback(path.unlink, missing_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(value)
            os.fchmod(file.fileno(), _SECRET_MODE if mount.mode is None else mount.mode)
        self._give(path, mount)
        prepared.volumes.append(VolumeMount(source=str(path), target=target, read_only=True))

    def _prepare_agent(self, mount: RunMount, target: str, prepared: Prepared) -> None:
        socket = self._bench.options.ssh.get(mount.id or "default")
        if socket is None:
            return
        prepared.volumes.append(VolumeMount(source=socket, target=target, read_only=True))
        prepared.env.append(f"SSH_AUTH_SOCK={target}")

    def _give(self, path: Path, mount: RunMount) -> None:
        """Give a file to the owner a mount asks for."""
        uid, gid = mount.uid or 0, mount.gid or 0
        launcher = self._bench.unpacker.launcher
        if (uid or gid) and launcher is not None:
            request = {"op": "files", "job": "own", "path": str(path), "uid": uid, "gid": gid}
            request["recorded"] = self._bench.unpacker.records
            launcher.work(request)

    # -- asking ----------------------------------------------------------------------

    def _target(self, mount: RunMount, number: int) -> str:
        """Return where in the container a mount is."""
        if mount.target is None:
            if mount.type == "ssh":
                return f"{_AGENTS}.{number}"
            return f"{_SECRETS}/{posixpath.basename(mount.id or '')}"
        return "/" + in_workdir(self._state, mount.target)

    def _check_given(self, mount: RunMount) -> None:
        """Refuse what was required and is not there, before anything is done."""
        options, source = self._bench.options, self._run.source
        if mount.type == "ssh" and (mount.mode or mount.uid or mount.gid):
            raise NotBuiltYet(
                "an agent for another user is not built yet",
                where=source.error("", at=mount.raw).where,
                hint="leave mode, uid and gid out: root can use it",
            )
        if mount.type == "secret" and mount.env is not None:
            self._check_text(mount, options.secrets.get(mount.id or "", b""))
        given = {"secret": options.secrets, "ssh": options.ssh}.get(mount.type)
        name = mount.id or "default"
        if given is None or name in given or not mount.required:
            return
        how = f"--secret id={name},src=FILE" if mount.type == "secret" else f"--ssh {name}"
        raise source.error(
            f"{mount.type} {name}: not found",
            at=mount.raw,
            why="the mount says required, and the build was given none of that name",
            hint=f"build with {how}",
        )

    def _check_text(self, mount: RunMount, value: bytes) -> None:
        """Refuse a secret that no variable can hold, in words that do not hold it either."""
        try:
            is_text = "\0" not in value.decode()
        except UnicodeDecodeError:
            is_text = False
        if not is_text:
            raise self._run.source.error(
                f"secret {mount.id} cannot be a variable",
                at=mount.raw,
                why="it is no text: a variable holds UTF-8, without NUL",
                hint="mount it as a file: leave env out",
            )
