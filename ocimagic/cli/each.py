"""One verb on several names: all are tried, then what went wrong is said, as docker does."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ocimagic.errors import OcimagicError
from ocimagic.model.event import Notice, Output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ocimagic.cli.session import Session
    from ocimagic.model.event import Event

T = TypeVar("T")


def on_each(session: Session, names: Iterable[str], act: Callable[[str], T]) -> list[T]:
    """Act on every name, then raise the first error with the others in its words.

    What was done when something failed is said on standard output, a name a line.

    Raises:
        OcimagicError: of the first name that failed.
    """
    results: list[T] = []
    errors: list[OcimagicError] = []
    done: list[str] = []
    for name in names:
        try:
            results.append(act(name))
            done.append(name)
        except OcimagicError as err:
            errors.append(err)
    if not errors:
        return results
    if done:
        session.on_event(Output("stdout", "".join(f"{name}\n" for name in done).encode()))
    first, *others = errors
    if others:
        said = [f"{each.what}: {each.why}" if each.why else each.what for each in others]
        first.why = "\n".join([*filter(None, [first.why]), "and " + "; ".join(said)])
    raise first


def forgiving(act: Callable[[str], str], gone: str, *, force: bool) -> Callable[[str], str]:
    """Return ``act`` for which, with ``--force``, a name that nothing has is no error.

    Args:
        act: removes what has a name; returns the name.
        gone: what to return for one that nothing has; ``{}`` stands for it.
        force: whether that was said.
    """

    def forgive(name: str) -> str:
        try:
            return act(name)
        except OcimagicError as err:
            if force and err.http_status == 404:
                return gone.format(name)
            raise

    return forgive


def without_progress(session: Session) -> Callable[[Event], None]:
    """Return a listener that leaves out how a pull moves on."""

    def hear(event: Event) -> None:
        if isinstance(event, Output | Notice):
            session.on_event(event)

    return hear
