"""Programs that are run at points of a container's life: ``hooks`` of the runtime configuration.

Spec: runtime-spec config.md (1.2), "POSIX-platform Hooks".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from ocimagic.errors import InvalidDocument
from ocimagic.spec.codec import without_none

if TYPE_CHECKING:
    from ocimagic.spec.codec import Fields


class Hook(NamedTuple):
    """One program.

    Attributes:
        path: absolute.
        args: the whole argument vector, its first word included; empty for the path alone.
        env: ``NAME=value``, and nothing else.
        timeout_s: after which it counts as failed, None for never.
    """

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout_s: int | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read one hook."""
        path = fields.text("path")
        if not path.startswith("/"):
            raise InvalidDocument(
                "this runtime config is not valid", why=f"the hook path {path!r} is not absolute"
            )
        timeout = fields.integer("timeout", least=1) if "timeout" in fields else None
        return cls(path, fields.texts("args"), fields.texts("env"), timeout)

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return without_none(
            {
                "path": self.path,
                "args": list(self.args),
                "env": list(self.env),
                "timeout": self.timeout_s,
            }
        )


class Hooks(NamedTuple):
    """All hooks, each kind in its order of execution."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read ``hooks``."""
        return cls(
            *(tuple(Hook.parse(each) for each in fields.children(key)) for key in HOOK_KINDS)
        )

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return without_none(
            {
                key: [hook.to_json() for hook in hooks]
                for key, hooks in zip(HOOK_KINDS, self, strict=True)
            }
        )


HOOK_KINDS = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)
