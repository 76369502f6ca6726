"""What there is to name: images, tags, containers, files in them; asked with patience's limit.

Tab must not hang: what may take long (a registry, a container's files) is asked in a thread,
waited for a moment, and kept for the next time Tab is pressed.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from ocimagic.errors import OcimagicError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ocimagic.magics.session import KernelSession

PATIENCE_S = 0.7  # at most so long a Tab waits for others
KEPT_S = 60.0  # so long what a registry said is believed
_FILES_KEPT_S = 2.0
_MAX_KEPT = 200


class Known:
    """Names of all kinds; a list is empty when nobody can tell."""

    def __init__(self, session: KernelSession) -> None:
        self._session = session
        self._kept: dict[tuple[str, ...], _Asked] = {}

    def images(self) -> list[str]:
        """Return the names of images that are here."""
        return self._now(
            lambda: {
                each.name
                for each in self._session.engine().images.list()
                if "<none>" not in each.name
            }
        )

    def containers(self) -> list[str]:
        """Return the names of containers, ended ones too."""
        return self._now(
            lambda: (each.name for each in self._session.engine().containers.list(all=True))
        )

    def networks(self) -> list[str]:
        """Return the names of networks."""
        return self._now(lambda: (each.name for each in self._session.engine().networks.all()))

    def volumes(self) -> list[str]:
        """Return the names of volumes that somebody named."""
        return self._now(
            lambda: (
                each.name for each in self._session.engine().volumes.all() if not each.anonymous
            )
        )

    def remote(self, typed: str) -> list[str]:
        """Return names in a registry that begin as typed: ``HOST/REPOSITORY`` or with a tag.

        Only a name that says where it ends is asked for: a host and a slash, or a colon.
        """
        place, colon, _ = typed.rpartition(":")
        if getattr(self._session.config, "offline", False):
            return []
        if colon and "/" not in typed.rpartition(":")[2] and place:
            return [f"{place}:{tag}" for tag in self._listed(place)]
        host, slash, _ = typed.partition("/")
        if slash and ("." in host or ":" in host or host == "localhost"):
            return [f"{host}/{name}" for name in self._listed(host)]
        return []

    def in_container(self, name: str, folder: str) -> list[str]:
        """Return the files of a container's directory; directories end with a slash."""
        return self._soon(
            ("files", name, folder),
            lambda: self._session.engine().containers.names(name, folder),
            _FILES_KEPT_S,
        )

    def _listed(self, name: str) -> list[str]:
        return self._soon(
            ("registry", name),
            lambda: self._session.engine().images.list_registry(name).names,
            KEPT_S,
        )

    def _now(self, ask: Callable[[], Iterable[str]]) -> list[str]:
        try:
            return sorted(ask())
        except OcimagicError:
            return []  # the command itself will say what is wrong

    def _soon(
        self, key: tuple[str, ...], ask: Callable[[], Iterable[str]], kept_s: float
    ) -> list[str]:
        asked = self._kept.get(key)
        if asked is None or asked.age_s() > kept_s:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            asked = self._kept[key] = _Asked(lambda: self._now(ask))
        return asked.wait(PATIENCE_S)


class _Asked:
    """A question that was put in a thread."""

    def __init__(self, ask: Callable[[], list[str]]) -> None:
        self._answer: list[str] = []
        self._done = threading.Event()
        self._at_s = time.monotonic()
        threading.Thread(target=self._ask, args=(ask,), name="ocimagic-tab", daemon=True).start()

    def age_s(self) -> float:
        """Return for how long the answer is known; an open question has no age."""
        return time.monotonic() - self._at_s if self._done.is_set() else 0.0

    def wait(self, patience_s: float) -> list[str]:
        """Return the answer if it comes in time, else nothing."""
        return self._answer if self._done.wait(patience_s) else []

    def _ask(self, ask: Callable[[], list[str]]) -> None:
        try:
            self._answer = ask()
        finally:
            self._at_s = time.monotonic()
            self._done.set()


def files(fragment: str, below: str = ".") -> Iterator[str]:
    """Yield files and folders of this machine that begin as typed; folders end with a slash.

    Args:
        fragment: what is typed.
        below: the directory that relative paths begin at.
    """
    folder, start = os.path.split(fragment)
    where = os.path.join(below, os.path.expanduser(folder))
    try:
        entries = sorted(os.scandir(where or "."), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
            yield os.path.join(folder, entry.name) + ("/" if entry.is_dir() else "")
