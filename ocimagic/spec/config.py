"""Image configs.

Spec: image-spec config.md; Healthcheck, Shell, OnBuild, ArgsEscaped, container and
container_config are docker's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ocimagic.errors import InvalidDocument
from ocimagic.spec import process
from ocimagic.spec.codec import decode, encode, rfc3339, without_none
from ocimagic.spec.digest import Digest
from ocimagic.spec.platform import Platform
from ocimagic.spec.record import dataclass, field, replace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ocimagic.spec.codec import Fields

DEFAULT_PATH = process.DEFAULT_PATH


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    """What a container of the image does by default.

    Attributes:
        env: ``NAME=value`` in order.
        entrypoint: None when unset; an empty tuple cannot occur.
        cmd: None when unset.
        healthcheck: docker's object as it came, or None.
    """

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: Mapping[str, object] | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read the ``config`` object.

        Raises:
            InvalidDocument: a field of the wrong type, or an Env entry without ``=``.
        """
        env = fields.texts("Env")
        for entry in env:
            if not entry.partition("=")[0] or "=" not in entry or "\0" in entry:
                raise InvalidDocument(
                    "this image config is not valid", why=f"Env entry {entry[:60]!r} has no NAME="
                )
        return cls(
            user=fields.text("User", ""),
            exposed_ports=tuple(fields.child("ExposedPorts").value),
            env=env,
            entrypoint=fields.texts("Entrypoint") or None,
            cmd=fields.texts("Cmd") or None,
            volumes=tuple(fields.child("Volumes").value),
            working_dir=fields.text("WorkingDir", ""),
            labels=fields.text_map("Labels"),
            stop_signal=fields.text("StopSignal", ""),
            args_escaped=fields.flag("ArgsEscaped"),
            healthcheck=fields.child("Healthcheck").value or None,
            shell=fields.texts("Shell"),
            on_build=fields.texts("OnBuild"),
        )

    def to_json(self) -> dict[str, object]:
        """Return the JSON object, empty fields left out."""
        return without_none(
            {
                "User": self.user,
                "ExposedPorts": {port: {} for port in self.exposed_ports},
                "Env": list(self.env),
                "Entrypoint": list(self.entrypoint or ()),
                "Cmd": list(self.cmd or ()),
                "Volumes": {path: {} for path in self.volumes},
                "WorkingDir": self.working_dir,
                "Labels": dict(self.labels),
                "StopSignal": self.stop_signal,
                "ArgsEscaped": self.args_escaped or None,
                "Healthcheck": self.healthcheck and dict(self.healthcheck),
                "Shell": list(self.shell),
                "OnBuild": list(self.on_build),
            }
        )

    def environment(self) -> dict[str, str]:
        """Return env as a mapping, the last of equal names winning."""
        return dict(entry.partition("=")[::2] for entry in self.env)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One line of an image's history.

    Attributes:
        empty_layer: the instruction made no layer.
    """

    created: datetime | None = None
    created_by: str = ""
    comment: str = ""
    author: str = ""
    empty_layer: bool = False

    def to_json(self) -> dict[str, object]:
        """Return the JSON object, empty fields left out."""
        return without_none(
            {
                "created": self.created and rfc3339(self.created),
                "created_by": self.created_by,
                "comment": self.comment,
                "author": self.author,
                "empty_layer": self.empty_layer or None,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The config document of one image; its digest is the image_id.

    Attributes:
        raw: the bytes it came in, or its canonical encoding when we made it.
        diff_ids: digests of the uncompressed layer tars, bottom first.
        container: ID of the container that it was made of, "" if nobody wrote it down.
        container_config: of that container, as it came; also what is not the image's.
    """

    raw: bytes = field(default=b"", repr=False, compare=False)
    platform: Platform = field(default_factory=Platform)
    created: datetime | None = None
    author: str = ""
    config: ContainerConfig = field(default_factory=ContainerConfig)
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    container: str = ""
    container_config: Mapping[str, object] | None = None

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read an image config.

        Raises:
            InvalidDocument: breaks the spec.
        """
        fields = decode(raw, what="image config")
        rootfs = fields.child("rootfs")
        if rootfs.text("type", "layers") != "layers":
            raise InvalidDocument("this image config is not valid", why="rootfs.type is not layers")
        return cls(
            raw=raw,
            platform=Platform(
                fields.text("os", "linux"),
                fields.text("architecture", ""),
                fields.text("variant", ""),
                fields.text("os.version", ""),
            ),
            created=fields.time("created"),
            author=fields.text("author", ""),
            config=ContainerConfig.from_fields(fields.child("config")),
            diff_ids=tuple(Digest.parse(text) for text in rootfs.texts("diff_ids")),
            history=tuple(_history(entry) for entry in fields.children("history")),
            container=fields.text("container", ""),
            container_config=fields.child("container_config").value or None,
        )

    def encoded(self) -> ImageConfig:
        """Return the same config with ``raw`` written anew, canonical."""
        document: dict[str, object] = {
            "os": self.platform.os,
            "architecture": self.platform.architecture,
            "config": self.config.to_json(),
            "rootfs": {"type": "layers", "diff_ids": [str(each) for each in self.diff_ids]},
            "history": [entry.to_json() for entry in self.history],
        }
        optional = {
            "variant": self.platform.variant,
            "os.version": self.platform.os_version,
            "created": self.created and rfc3339(self.created),
            "author": self.author,
            "container": self.container,
            "container_config": self.container_config and dict(self.container_config),
        }
        return replace(self, raw=encode(document | without_none(optional)))

    @property
    def image_id(self) -> Digest:
        """Name the raw bytes."""
        return Digest.of(self.raw)


def _history(fields: Fields) -> HistoryEntry:
    return HistoryEntry(
        created=fields.time("created"),
        created_by=fields.text("created_by", ""),
        comment=fields.text("comment", ""),
        author=fields.text("author", ""),
        empty_layer=fields.flag("empty_layer"),
    )
