"""Where everything is: the data root and the run root.

::

    DATA  /var/lib/ocimagic, or ~/.local/share/ocimagic      an OCI image layout, and
      oci-layout  index.json  blobs/                         what others may read
      ingest/<digest>.part                                   downloads that can be resumed
      ocimagic/db.sqlite                                     names, layers, containers, cache
      ocimagic/snapshots/<n>/fs  fs.erofs  toc               unpacked layers
      ocimagic/containers/<id>/                              bundle, changes, log, exit record
      ocimagic/volumes/<name>/_data                          named volumes
      ocimagic/cache-mounts/<id>/                            what RUN --mount=type=cache keeps
      ocimagic/registry/                                     what our own registry keeps
      ocimagic/objects/                                      the containerd role's: snapshots/<n>,
                                                             tasks/<id>, events.jsonl
      ocimagic/events.jsonl  events.1.jsonl                  what happened
      ocimagic/locks/                                        flock files
    RUN   /run/ocimagic, or $XDG_RUNTIME_DIR/ocimagic        gone after a reboot
      <id>/state.json  shim.sock
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ocimagic.errors import DiskFull, StorageError
from ocimagic.home.disk import spread_out, storage_errors
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

_RUN_NAME = "ocimagic"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
NO_IMAGES = (
    b'{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}'
)


@dataclass(frozen=True, slots=True)
class Home:
    """The two directories an engine works on; any number of engines may share them.

    Attributes:
        data: survives a reboot.
        run: state of what is alive; need not survive one.
    """

    data: Path
    run: Path

    @classmethod
    def find(
        cls, environment: Mapping[str, str], *, root: str | os.PathLike[str] | None = None
    ) -> Self:
        """Decide where things are: ``root``, else OCIMAGIC_ROOT, else the usual place."""
        uid = os.getuid() if hasattr(os, "getuid") else 1
        share = environment.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        usual = Path("/var/lib/ocimagic") if uid == 0 else Path(share) / "ocimagic"
        chosen = root or environment.get("OCIMAGIC_ROOT")
        data = Path(chosen).expanduser().resolve() if chosen else usual
        run = _run_root(environment, uid)
        # The usual place, named, is the usual place.
        return cls(data, run if data == usual.resolve() or not chosen else run / _tag(data))

    def create(self) -> None:
        """Make what is missing; only the owner may look in.

        Raises:
            StorageError, DiskFull: a directory or a file cannot be made, or the run root is
                another user's.
        """
        try:
            for each in (self.data, self.run):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_owner()
            for each in (self.blobs, self.ingest, self.snapshots, self.containers, self.locks):
                each.mkdir(parents=True, exist_ok=True)
            spread_out(self.snapshots)
        except OSError as err:
            is_full = err.errno in (errno.ENOSPC, errno.EDQUOT)
            raise (DiskFull if is_full else StorageError)(
                f"cannot use {err.filename} for images and containers",
                why=err.strerror,
                hint="set OCIMAGIC_ROOT to a directory you may write",
            ) from err
        with storage_errors(self.data):
            for name, content in (("index.json", NO_IMAGES), ("oci-layout", LAYOUT)):
                if not (self.data / name).exists():
                    write_atomic(self.data / name, content, mode=0o644)

    def _check_owner(self) -> None:
        """Refuse a run root that somebody else made first, in /tmp, to look at what is in it."""
        user = os.geteuid() if hasattr(os, "geteuid") else None
        for each in (self.run, self.run.parent):
            is_own_name = each.name.startswith(_RUN_NAME)
            if user is not None and is_own_name and each.lstat().st_uid not in (user, 0):
                raise StorageError(
                    f"{each} belongs to somebody else",
                    why="what is put there could be read or replaced",
                    hint="set XDG_RUNTIME_DIR to a directory that is yours alone",
                )

    @property
    def blobs(self) -> Path:
        """Return the directory of sha256 blobs."""
        return self.data / "blobs" / "sha256"

    @property
    def ingest(self) -> Path:
        """Return where unfinished downloads lie."""
        return self.data / "ingest"

    @property
    def own(self) -> Path:
        """Return the part that is no OCI layout."""
        return self.data / "ocimagic"

    @property
    def database(self) -> Path:
        """Return the database file."""
        return self.own / "db.sqlite"

    @property
    def snapshots(self) -> Path:
        """Return where layers are unpacked."""
        return self.own / "snapshots"

    @property
    def containers(self) -> Path:
        """Return where containers keep bundle, changes and log."""
        return self.data.joinpath("ocimagic", "containers")  # at once: lists ask it of each

    @property
    def volumes(self) -> Path:
        """Return where named volumes are."""
        return self.own / "volumes"

    @property
    def cache_mounts(self) -> Path:
        """Return where directories of ``RUN --mount=type=cache`` are."""
        return self.own / "cache-mounts"

    @property
    def registry(self) -> Path:
        """Return where our own registry keeps what is pushed to it."""
        return self.own / "registry"

    @property
    def registry_users(self) -> Path:
        """Return the file of our own registry's users."""
        return self.own / "registry.htpasswd"

    @property
    def objects(self) -> Path:
        """Return where the files of the containerd role are."""
        return self.own / "objects"

    @property
    def journal(self) -> Path:
        """Return the file that events are appended to."""
        return self.own / "events.jsonl"

    @property
    def locks(self) -> Path:
        """Return where flock files are."""
        return self.own / "locks"


def _run_root(environment: Mapping[str, str], uid: int) -> Path:
    if uid == 0:
        return Path("/run", _RUN_NAME)
    runtime = environment.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime, _RUN_NAME)
    return Path(tempfile.gettempdir()) / f"{_RUN_NAME}-{uid}"


def _tag(data: Path) -> str:
    """Name the run directory of a data root that is not the usual one."""
    import hashlib

    return "root-" + hashlib.sha256(os.fsencode(data)).hexdigest()[:12]


def write_atomic(path: Path, content: bytes, *, durable: bool = True, mode: int = 0o600) -> None:
    """Replace a file whole: readers see the old bytes or the new ones.

    Args:
        path: where.
        content: all of it.
        durable: wait until it would survive a power cut.
        mode: permission bits.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    try:
        fd = os.open(temporary, flags, mode)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable, where the system has such a thing."""
    if os.name != "posix":
        return
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
