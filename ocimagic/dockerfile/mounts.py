"""``RUN --mount``: one comma-separated value into a typed mount.

A field may hold a variable, so a mount is read twice: when the Dockerfile is parsed, to find
mistakes early, and by `RunMount.expanded` when the stage's variables are known.

Source: Dockerfile reference, "RUN --mount"; facts/build.md section 1.2.
"""

from __future__ import annotations

import csv
import posixpath
import re
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from ocimagic.dockerfile.source import SourceRange, quoted
from ocimagic.spec.nearest import nearest
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.errors import DockerfileError

MountType: TypeAlias = Literal["bind", "cache", "tmpfs", "secret", "ssh"]
Sharing: TypeAlias = Literal["shared", "private", "locked"]

_ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
}
_SWITCHES = frozenset({"readonly", "readwrite", "required"})
_ALWAYS = frozenset({"type", "target"})
_FIELDS: dict[str, frozenset[str]] = {
    "bind": frozenset({"source", "from", "readonly", "readwrite"}),
    "cache": frozenset(
        {"id", "source", "from", "readonly", "readwrite", "sharing", "mode", "uid", "gid"}
    ),
    "tmpfs": frozenset({"size"}),
    "secret": frozenset({"id", "source", "required", "mode", "uid", "gid", "env"}),
    "ssh": frozenset({"id", "required", "mode", "uid", "gid"}),
}
_KNOWN = _ALWAYS.union(*_FIELDS.values())
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([kmgt]?)i?b?", re.ASCII | re.IGNORECASE)
_SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMount:
    """A mount that exists while one RUN runs.

    Args:
        raw: the value as written.
        type: what is mounted.
        target: path in the container, or relative to WORKDIR; None is ``/run/secrets/`` and
            the id's last part for a secret without ``env``, and the agent's path for ssh.
        source: path in ``from_stage`` or the context; for a secret its id.
        from_stage: stage name, index or image; None is the build context.
        id: of a cache (None: the target), secret (never None) or ssh agent (None: default).
        readonly: for bind the default is True, for cache False.
        sharing: of a cache between builds that run at the same time.
        mode: permission bits, or None for the type's default.
        uid: owner, or None for 0; so is gid.
        gid: see uid.
        size_bytes: limit of a tmpfs.
        required: fail without the secret or agent.
        env: name of the variable a secret is put into.
    """

    raw: str
    type: MountType
    target: str | None = None
    source: str | None = None
    from_stage: str | None = None
    id: str | None = None
    readonly: bool = False
    sharing: Sharing = "shared"
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size_bytes: int | None = None
    required: bool = False
    env: str | None = None

    def expanded(self, expand: Callable[[str], str], where: SourceRange) -> RunMount:
        """Return this mount with every field but ``from`` expanded.

        Raises:
            DockerfileError: as `parse_mount` does.
        """
        return parse_mount(self.raw, where, expand=expand)


def parse_mount(
    raw: str, where: SourceRange, *, expand: Callable[[str], str] | None = None
) -> RunMount:
    """Read the value of one ``--mount``.

    Args:
        raw: such as ``type=cache,target=/root/.cache``.
        where: the RUN, for errors.
        expand: gives a field's final value; without it a field with a ``$`` in it is taken
            as it is, and one that must be a number is left None.

    Raises:
        DockerfileError: for an unknown type or key, or a value that does not fit.
    """
    reader = _MountReader(raw=raw, where=where, final=expand is not None)
    reader.read(expand or str)
    return reader.mount()


@dataclass(slots=True, kw_only=True)
class _MountReader:
    raw: str
    where: SourceRange
    final: bool
    fields: dict[str, str] = field(default_factory=dict)

    def read(self, expand: Callable[[str], str]) -> None:
        """Split the CSV into fields under their full names."""
        try:
            items = next(csv.reader([self.raw], strict=True), [])
        except csv.Error as err:
            raise self._bad(f"failed to parse mount: {err}", self.raw) from None
        for item in items:
            key, equals, value = item.partition("=")
            key = key.strip().lower()
            name = _ALIASES.get(key, key)
            if not equals and name not in _SWITCHES:
                raise self._bad(
                    f"invalid field '{item}' must be a key=value pair",
                    item,
                    hint="mounts are written key=value,key=value without blanks",
                )
            if name not in _KNOWN:
                near = nearest(name, [*_KNOWN, *_ALIASES])
                raise self._bad(
                    f"unexpected key '{key}' in '{item}'"
                    + (f" (did you mean {near}?)" if near else ""),
                    item,
                )
            if name == "from" and "$" in value:
                raise self._bad(
                    "'from' doesn't support variable expansion, define alias stage instead",
                    item,
                    hint=f"write FROM {value} AS base further up, and from=base here",
                )
            self.fields[name] = value if name == "from" else expand(value)

    def mount(self) -> RunMount:
        """Check the fields against the type and build the mount."""
        if self._pending(self.fields.get("type", "")):  # then nothing else can be judged yet
            return RunMount(raw=self.raw, type="bind", from_stage=self.fields.get("from"))
        kind = self._type()
        for name in self.fields:
            if name not in _ALWAYS and name not in _FIELDS[kind]:
                raise self._misplaced(name, kind)
        target = self.fields.get("target")
        if target is not None and target.rstrip("/") in {"", "."}:
            raise self._bad(
                f"invalid mount target {quoted(target)}", "target", hint="mount below / instead"
            )
        self._check_needs(kind, target)
        return RunMount(
            raw=self.raw,
            type=kind,
            target=target,
            source=self.fields.get("source"),
            from_stage=self.fields.get("from"),
            id=self._id(kind),
            readonly=self._readonly(kind),
            sharing=self._sharing(),
            mode=self._number("mode", 8),
            uid=self._number("uid", 10),
            gid=self._number("gid", 10),
            size_bytes=self._size(),
            required=self._switch("required"),
            env=self.fields.get("env"),
        )

    def _type(self) -> MountType:
        value = self.fields.get("type", "bind").lower()
        for kind in get_args(MountType):
            if value == kind:
                return kind  # type: ignore[no-any-return]  # get_args is untyped
        near = nearest(value, _FIELDS)
        raise self._bad(
            f"unsupported mount type {quoted(value)}"
            + (f" (did you mean {near}?)" if near else ""),
            value,
            hint="the types are " + ", ".join(_FIELDS),
        )

    def _misplaced(self, name: str, kind: MountType) -> DockerfileError:
        if kind == "ssh" and name == "source":
            return self._bad("ssh does not support source", name)
        if kind == "secret" and name == "from":
            return self._bad("secret mount should not have a from", name)
        if name == "sharing":
            return self._bad(f"invalid cache sharing set for {kind} mount", name)
        return self._bad(
            f'{name} not allowed for "{kind}" type mounts',
            name,
            hint=f"{kind} takes " + ", ".join(sorted(_ALWAYS | _FIELDS[kind])),
        )

    def _check_needs(self, kind: MountType, target: str | None) -> None:
        named = self.fields.get("source") or self.fields.get("id") or target
        if kind == "secret" and not named:
            raise self._bad(
                "invalid secret mount. one of source, target required",
                "secret",
                hint="name the secret: --mount=type=secret,id=NAME",
            )
        if kind in {"bind", "cache", "tmpfs"} and target is None:
            raise self._bad(
                f"a {kind} mount needs a target", kind, hint="add target=/path/in/the/container"
            )

    def _id(self, kind: MountType) -> str | None:
        name = self.fields.get("id")
        if kind != "secret":
            return name
        return self.fields.get("source") or name or posixpath.basename(self.fields["target"])

    def _readonly(self, kind: MountType) -> bool:
        if "readwrite" in self.fields:
            return not self._switch("readwrite")
        return self._switch("readonly") if "readonly" in self.fields else kind == "bind"

    def _switch(self, name: str) -> bool:
        value = self.fields.get(name)
        if value is None or value.lower() in {"false", "0"}:
            return False
        if value.lower() in {"", "true", "1"} or (self._pending(value)):
            return True
        raise self._bad(
            f"invalid value for {name}: {value}", name, hint=f"write {name} or {name}=false"
        )

    def _sharing(self) -> Sharing:
        value = self.fields.get("sharing", "shared").lower()
        for sharing in get_args(Sharing):
            if value == sharing or self._pending(value):
                return sharing  # type: ignore[no-any-return]  # get_args is untyped
        raise self._bad(
            f"unsupported sharing value {quoted(value)}",
            "sharing",
            hint="it is one of shared, private and locked",
        )

    def _number(self, name: str, base: int) -> int | None:
        value = self.fields.get(name)
        if value is None or self._pending(value):
            return None
        if not re.fullmatch(r"[0-7]{1,10}" if base == 8 else r"[0-9]{1,10}", value):
            raise self._bad(
                f"invalid value {value} for {name}",
                name,
                hint=f"{name} is {'an octal' if base == 8 else 'a decimal'} number",
            )
        return int(value, base)

    def _size(self) -> int | None:
        value = self.fields.get("size")
        if value is None or self._pending(value):
            return None
        found = _SIZE.fullmatch(value)
        if not found:
            raise self._bad(f"invalid value for size: {value}", "size", hint="such as size=64m")
        return int(float(found[1]) * _SIZE_UNITS[found[2].lower()])

    def _pending(self, value: str) -> bool:
        return "$" in value and not self.final

    def _bad(self, what: str, at: str, *, hint: str | None = None) -> DockerfileError:
        return self.where.error(what, at=at, hint=hint)
