"""What a token lets its bearer do, and what a request needs of it.

::

    repository:class/demo:pull,push      registry:catalog:*

Spec: distribution "Token Scope Documentation".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PULL = frozenset({"pull"})
PUSH = frozenset({"pull", "push"})
DELETE = frozenset({"delete"})
MOST = 32
_MAX_TEXT = 1024
_SCOPE = re.compile(
    r"(?P<kind>[a-z0-9]+)(?:\([a-z0-9]+\))?:(?P<name>[^\s\"\\]+):(?P<actions>[a-z*]+(?:,[a-z*]+)*)?"
)


@dataclass(frozen=True, slots=True)
class Scope:
    """Some actions on one thing.

    Attributes:
        kind: ``repository`` or ``registry``; others exist elsewhere.
        name: of the repository, or ``catalog``.
        actions: ``pull``, ``push``, ``delete``; ``*`` is all there are.
    """

    kind: str
    name: str
    actions: frozenset[str]

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{','.join(sorted(self.actions))}"

    def to_json(self) -> dict[str, object]:
        """Return an entry of a token's ``access``."""
        return {"type": self.kind, "name": self.name, "actions": sorted(self.actions)}

    @classmethod
    def of_json(cls, entry: Mapping[str, object]) -> Scope:
        """Read an entry that we wrote."""
        actions = entry["actions"]
        assert isinstance(actions, list)
        return cls(str(entry["type"]), str(entry["name"]), frozenset(map(str, actions)))


CATALOG = Scope("registry", "catalog", frozenset({"*"}))


def parse_scopes(texts: Iterable[str]) -> list[Scope]:
    """Read what a client asks for; each text may be several scopes with spaces between.

    What is asked twice of one thing becomes one scope.

    Raises:
        InvalidOption: one is no scope, or there are too many.
    """
    asked: dict[tuple[str, str], frozenset[str]] = {}
    for text in texts:
        for each in text.split():
            found = _SCOPE.fullmatch(each) if len(each) <= _MAX_TEXT else None
            if not found:
                raise InvalidOption(f"{each[:200]!r} is no scope", hint="TYPE:NAME:ACTION[,ACTION]")
            thing = found["kind"], found["name"]
            actions = frozenset((found["actions"] or "").split(",")) - {""}
            asked[thing] = asked.get(thing, frozenset()) | actions
    if len(asked) > MOST:
        raise InvalidOption(f"more than {MOST} scopes are asked for at once")
    return [Scope(kind, name, actions) for (kind, name), actions in asked.items()]


def granted(asked: Iterable[Scope], *, is_user: bool) -> list[Scope]:
    """Leave of what is asked what somebody may do: users everything, others look and pull.

    Whether the registry as a whole takes pushes or deletes anything is not said here.
    """
    everything = PUSH | DELETE if is_user else PULL
    given = []
    for each in asked:
        if each == CATALOG:
            given.append(each)
        elif each.kind == "repository":
            actions = everything if "*" in each.actions else everything & each.actions
            given += [Scope(each.kind, each.name, actions)] if actions else []
    return given


def needed(method: str, repository: str, kind: str, origin: str | None) -> list[Scope]:
    """Return what a request needs.

    Args:
        method: of HTTP.
        repository: which.
        kind: what of it: ``manifests``, ``blobs``, ``blobs/uploads``, ``tags``, ``referrers``.
        origin: the repository that a blob is to be taken over from.
    """
    if kind == "blobs/uploads":
        actions = PUSH  # the sight of an upload and its end, too
    elif method in {"GET", "HEAD"}:
        actions = PULL
    else:
        actions = DELETE if method == "DELETE" else PUSH
    own = [Scope("repository", repository, actions)]
    if origin is None or origin == repository:
        return own
    return [*own, Scope("repository", origin, PULL)]


def covers(access: Iterable[Scope], wanted: Iterable[Scope]) -> bool:
    """Say whether a token's access has all that a request needs."""
    has = {(each.kind, each.name): each.actions for each in access}
    return all(each.actions <= has.get((each.kind, each.name), frozenset()) for each in wanted)
