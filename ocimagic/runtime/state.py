"""What is remembered of a container between two commands: ``<state root>/<id>/state.json``.

The directory appears with the file in it and takes the ID; a lock on it orders commands.  The
file is replaced as a whole, so whoever reads it sees one moment.

Spec: runtime-spec runtime.md, "State".
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from ocimagic.errors import (
    ContainerNotFound,
    InvalidOption,
    NameInUse,
    OcimagicError,
    StorageError,
)
from ocimagic.linux import syscalls
from ocimagic.linux.identity import ProcessIdentity
from ocimagic.spec.codec import Fields, rfc3339
from ocimagic.spec.record import dataclass, field, replace
from ocimagic.spec.version import OCI_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocimagic.runtime.cgroup import Cgroup
    from ocimagic.spec.hooks import Hooks
    from ocimagic.spec.runtime import RuntimeConfig

STATE_NAME = "state.json"
_HERE = -100  # AT_FDCWD
START_NAME = "start.sock"  # where the first process waits for whoever starts it
_ID = re.compile(r"[\w+.-]{1,1024}", re.ASCII)
NOBODY = ProcessIdentity(0, 0, "")


@dataclass(frozen=True, slots=True)
class ContainerState:
    """A container as it was when it was last written down.

    Attributes:
        directory: where it is written, "" for nowhere.
        process: the first process; NOBODY before there is one.
        config: the config.json it was made from, as JSON; later changes do not count.
        created: aware.
        is_created: all is ready for the command.
        is_started: the command has begun.
    """

    container_id: str
    directory: str
    bundle_path: str
    root_path: str
    config: Mapping[str, object] = field(repr=False)
    process: ProcessIdentity = NOBODY
    cgroup_paths: Mapping[str, str] = field(default_factory=dict)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    owner: int = field(default_factory=os.geteuid)
    is_created: bool = False
    is_started: bool = False

    @classmethod
    def load(cls, state_root: str, container_id: str) -> Self:
        """Read the state of a container.

        Raises:
            InvalidOption: that is no ID.
            ContainerNotFound: nobody wrote it.
            StorageError: it cannot be read.
        """
        check_id(container_id)
        directory = os.path.join(state_root, container_id)
        try:
            with open(os.path.join(directory, STATE_NAME), "rb") as file:
                fields = json.load(file)
        except (FileNotFoundError, NotADirectoryError):
            raise ContainerNotFound(
                f"container {container_id!r} does not exist", where=state_root
            ) from None
        except (OSError, ValueError) as err:
            raise StorageError(
                f"the state of container {container_id!r} cannot be read", why=str(err)
            ) from err
        return cls.from_json(fields, directory)

    @classmethod
    def from_json(cls, fields: Mapping[str, object], directory: str = "") -> Self:
        """Read what ``to_json`` wrote."""
        known = Fields(fields, "container state")
        pid = known.child("process")
        return cls(
            container_id=known.text("id"),
            directory=directory,
            bundle_path=known.text("bundle"),
            root_path=known.text("rootfs"),
            config=known.child("config").value,
            process=ProcessIdentity(
                pid.number("pid"), pid.number("start_ticks"), pid.text("boot_id")
            ),
            cgroup_paths=known.text_map("cgroup_paths"),
            created=known.time("created") or datetime.now(UTC),
            owner=known.number("owner"),
            is_created=known.flag("is_created"),
            is_started=known.flag("is_started"),
        )

    @classmethod
    def list(cls, state_root: str) -> list[Self]:
        """Return all containers of a state root by their IDs.

        One that goes just now is left out, and so is one whose state is damaged: it is told of
        when it is named.
        """
        try:
            names = sorted(os.listdir(state_root))
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            with contextlib.suppress(OcimagicError):
                found.append(cls.load(state_root, name))
        return found

    def to_json(self) -> dict[str, object]:
        """Return all of it as JSON."""
        return {
            "id": self.container_id,
            "bundle": self.bundle_path,
            "rootfs": self.root_path,
            "config": self.config,
            "process": {
                "pid": self.process.pid,
                "start_ticks": self.process.start_ticks,
                "boot_id": self.process.boot_id,
            },
            "cgroup_paths": dict(self.cgroup_paths),
            "created": rfc3339(self.created),
            "owner": self.owner,
            "is_created": self.is_created,
            "is_started": self.is_started,
        }

    def changed(self, **fields: object) -> Self:
        """Return it with other fields, and write that down."""
        new = replace(self, **fields)  # type: ignore[arg-type]
        new.write()
        return new

    def write(self) -> None:
        """Write it down as a whole, unless it is written nowhere.

        Raises:
            StorageError: the disk does not take it.
        """
        if not self.directory:
            return
        path = os.path.join(self.directory, STATE_NAME)
        try:
            fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(json.dumps(self.to_json()).encode())
            os.rename(f"{path}.new", path)
        except OSError as err:
            raise StorageError(
                "the state of the container cannot be written", why=str(err.strerror), where=path
            ) from err

    def remove(self) -> None:
        """Forget it; the ID is free then."""
        for name in (START_NAME, f"{STATE_NAME}.new", STATE_NAME):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.directory, name))
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(self.directory)

    # What it says

    @property
    def cgroup(self) -> Cgroup:
        """Return the container's cgroup."""
        from ocimagic.runtime.cgroup import Cgroup

        return Cgroup.from_paths(self.cgroup_paths)

    @property
    def runtime_config(self) -> RuntimeConfig:
        """Return the config it was made from.

        Raises:
            InvalidDocument: somebody changed it.
        """
        from ocimagic.spec.runtime import RuntimeConfig

        return RuntimeConfig.from_fields(Fields(self.config, "runtime config"))

    @property
    def hooks(self) -> Hooks:
        """Return the config's hooks."""
        from ocimagic.spec.hooks import Hooks

        return Hooks.parse(Fields(self.config, "runtime config").child("hooks"))

    @property
    def annotations(self) -> Mapping[str, str]:
        """Return the config's annotations."""
        return Fields(self.config, "runtime config").text_map("annotations")

    @property
    def has_own_mounts(self) -> bool:
        """Say whether its mounts are gone with its processes."""
        return self._namespaces().get("mount") == ""

    @property
    def has_own_pids(self) -> bool:
        """Say whether all its processes end with the first one."""
        return self._namespaces().get("pid") == ""

    def _namespaces(self) -> dict[str, str]:
        linux = Fields(self.config, "runtime config").child("linux")
        found = linux.children("namespaces")
        return {each.text("type"): each.text("path", "") for each in found}

    @property
    def start_path(self) -> str:
        """Return where the socket is that the first process waits at."""
        return os.path.join(self.directory, START_NAME)

    def status(self) -> str:
        """Return "creating", "created", "running", "paused" or "stopped", as it is now."""
        if not self.process.pid:
            return "creating"
        if not self.process.is_alive():
            return "stopped"
        if self.cgroup.is_frozen():
            return "paused"
        if self.is_started:
            return "running"
        if not self.is_created:
            return "creating"
        return "created" if self._still_waits() else "running"

    def _still_waits(self) -> bool:
        """Say whether the first process waits, whatever became of who started it."""
        if not self.directory or not os.path.exists(self.start_path):
            return True  # a creator holds the other end, and it writes down when it lets go
        try:
            connect(self.start_path).close()
        except ConnectionRefusedError:
            return False
        return True

    def to_oci_json(self, status: str | None = None) -> dict[str, object]:
        """Return the state as hooks and callers get it.

        Args:
            status: says what it is, instead of looking.
        """
        status = status or self.status()
        found: dict[str, object] = {
            "ociVersion": OCI_VERSION,
            "id": self.container_id,
            "status": status,
            "pid": 0 if status == "stopped" else self.process.pid,
            "bundle": self.bundle_path,
        }
        return found | ({"annotations": dict(notes)} if (notes := self.annotations) else {})


def check_id(container_id: str) -> None:
    """Refuse what is no ID: letters, digits and ``_+-.``, but not ``.`` and ``..``.

    Raises:
        InvalidOption: says which.
    """
    if not _ID.fullmatch(container_id) or container_id in (".", ".."):
        raise InvalidOption(
            f"invalid container ID: {container_id!r}",
            hint="letters, digits and _ + - . are allowed",
        )


def connect(path: str) -> socket.socket:
    """Connect to a socket whose path may be longer than the 107 bytes of an address.

    Raises:
        OSError: nobody listens there.
    """
    head, tail = os.path.split(path)
    directory = os.open(head or ".", os.O_PATH | os.O_CLOEXEC)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        door.connect(f"/proc/self/fd/{directory}/{tail}")
    except BaseException:
        door.close()
        raise
    finally:
        os.close(directory)
    return door


def listen(path: str) -> socket.socket:
    """Open the door of a state directory, for this account only.

    Raises:
        StorageError: it cannot be made.
    """
    head, tail = os.path.split(path)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        directory = os.open(head, os.O_PATH | os.O_CLOEXEC)
        try:
            door.bind(f"/proc/self/fd/{directory}/{tail}")
        finally:
            os.close(directory)
        door.listen(4)
    except OSError as err:
        door.close()
        raise StorageError("no state can be kept", why=err.strerror, where=path) from err
    return door


def claim(state: ContainerState, state_root: str) -> ContainerState:
    """Write the state of a new container down; its ID is taken from then on.

    Raises:
        InvalidOption: that is no ID.
        NameInUse: somebody has it.
        StorageError: nothing can be written there.
    """
    check_id(state.container_id)
    final = os.path.join(state_root, state.container_id)
    # Never without its file: made under a name that is no ID, and then renamed.
    directory = os.path.join(state_root, f"~{os.urandom(8).hex()}")
    try:
        os.makedirs(state_root, 0o700, exist_ok=True)
        os.mkdir(directory, 0o700)
        replace(state, directory=directory).write()
        try:
            syscalls.renameat2(_HERE, directory, _HERE, final, syscalls.RENAME_NOREPLACE)
        except OSError:
            replace(state, directory=directory).remove()
            raise
    except OSError as err:
        if err.errno == errno.EEXIST:
            raise NameInUse(
                f"container with given ID already exists: {state.container_id}", where=state_root
            ) from None
        raise StorageError("no state can be kept", why=str(err.strerror), where=final) from err
    return replace(state, directory=final)


@contextlib.contextmanager
def locked(directory: str, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock on a state directory.

    Raises:
        BlockingIOError: another has it, and ``wait`` is false.
        ContainerNotFound: it is gone.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        name = os.path.basename(directory)
        raise ContainerNotFound(f"container {name!r} does not exist") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(fd)
