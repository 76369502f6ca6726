"""How a container's root is made of layers: a snapshotter returns it, the runtime consumes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from ocimagic.spec.codec import Fields


IMAGE_SUFFIX = ".erofs"
VIEWS_NAME = "views"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rootfs:
    """A root file system made by stacking directories, or of a copy where none can be mounted.

    Attributes:
        base: absolute directory that ``lowers`` are relative to; short relative names keep
            128 layers within the one page that mount(2) allows for options.
        lowers: read-only layer directories, top first; at least one.
        images: those of them that are empty: each layer is the file system in the file of
            that name and ``IMAGE_SUFFIX``, to be mounted there by who stacks them.
        upper: absolute directory that takes all changes.
        work: absolute empty directory on the same file system as ``upper``.
        userxattr: overlay marks are ``user.overlay.*``: needed inside a user namespace.
        volatile: never wait for the disk; only for containers nobody keeps.
        copied: ``upper`` is the root itself, a copy of the one lower directory with all changes.
    """

    base: str
    lowers: tuple[str, ...]
    upper: str
    work: str
    images: tuple[str, ...] = ()
    userxattr: bool = False
    volatile: bool = False
    copied: bool = False

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return {
            "type": "copy" if self.copied else "overlay",
            "base": self.base,
            "lowers": list(self.lowers),
            "upper": self.upper,
            "work": self.work,
            "images": list(self.images),
            "userxattr": self.userxattr,
            "volatile": self.volatile,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read it back.

        Raises:
            InvalidDocument: a field is missing or of the wrong type.
        """
        return cls(
            base=fields.text("base"),
            lowers=fields.texts("lowers"),
            upper=fields.text("upper"),
            work=fields.text("work"),
            images=fields.texts("images"),
            userxattr=fields.flag("userxattr"),
            volatile=fields.flag("volatile"),
            copied=fields.text("type", "overlay") == "copy",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Part of another root, shown in the bundle for the config's mounts to bind.

    Attributes:
        name: a plain file name, of this view only.
        rootfs: what is stacked.
        path: what of it; symlinks lead where a process in that root would go.
    """

    name: str
    rootfs: Rootfs
    path: str

    @property
    def source(self) -> str:
        """Return where it is shown, relative to the bundle."""
        return f"{VIEWS_NAME}/{self.name}/shown"

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return {"name": self.name, "rootfs": self.rootfs.to_json(), "path": self.path}

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read it back.

        Raises:
            InvalidDocument: a field is missing or of the wrong type.
        """
        rootfs = Rootfs.from_fields(fields.child("rootfs", required=True))
        return cls(name=fields.text("name"), rootfs=rootfs, path=fields.text("path"))
