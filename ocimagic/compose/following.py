"""What the containers of a project write, each line behind the name of its container."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from ocimagic.errors import ContainerNotFound, InvalidState, OcimagicError
from ocimagic.model.event import Output

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocimagic.compose.there import Instance
    from ocimagic.model.engine import EngineAPI
    from ocimagic.model.event import OnEvent


class Prefixes:
    """Puts names before lines, and keeps the end of an unfinished line until it is whole.

    Args:
        names: of all that are shown together.
        plain: no names.
        times: when each line was written.
        colors: a colour for each name, for a terminal.
    """

    def __init__(
        self, names: Iterable[str], *, plain: bool = False, times: bool = False,
        colors: bool = False,
    ) -> None:  # fmt: skip
        known = list(names)
        self._width = max(map(len, known), default=0)
        self._plain = plain
        self._times = times
        self._colors = {n: 31 + i % 6 for i, n in enumerate(known)} if colors else {}
        self._rest: dict[tuple[str, str], bytes] = {}

    def lines(self, name: str, when: str, stream: str, data: bytes) -> bytes:
        """Return the whole lines of what was written, each behind its name."""
        text = self._rest.pop((name, stream), b"") + data
        *whole, rest = text.split(b"\n")
        if rest:
            self._rest[name, stream] = rest
        return b"".join(self._line(name, when, each) for each in whole)

    def end(self, name: str) -> list[tuple[str, bytes]]:
        """Return what a container wrote last without a line end, by stream."""
        left = [key for key in self._rest if key[0] == name]
        return [(key[1], self._line(name, "", self._rest.pop(key))) for key in left]

    def _line(self, name: str, when: str, text: bytes) -> bytes:
        stamp = f"{when} ".encode() if self._times and when else b""
        if self._plain:
            return stamp + text + b"\n"
        head = f"{name:<{self._width}}  | "
        if name in self._colors:
            head = f"\x1b[{self._colors[name]}m{head}\x1b[0m"
        return head.encode() + stamp + text + b"\n"


class Follower:
    """Follows the logs of containers, each in a thread of its own.

    Args:
        engine: that has them.
        prefixes: what stands before their lines.
        on_event: is given ``Output``.
        cancelled: ends it when set.
    """

    def __init__(
        self,
        engine: EngineAPI,
        prefixes: Prefixes,
        on_event: OnEvent,
        cancelled: threading.Event,
    ) -> None:
        self._engine = engine
        self._prefixes = prefixes
        self._on_event = on_event
        self._cancelled = cancelled
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        self.ended: list[Instance] = []
        self._changed = threading.Condition(self._lock)

    def follow(
        self, instance: Instance, *, since_ns: int | None = None, tail: int | None = None
    ) -> None:
        """Begin to follow a container."""
        thread = threading.Thread(
            target=self._work,
            args=(instance, since_ns, tail),
            name=f"logs of {instance.name}",
            daemon=True,
        )
        self._threads.append(thread)
        thread.start()

    def wait_some(self, seconds: float) -> bool:
        """Wait until all have ended, but not longer than that; tell whether they have."""
        with self._changed:
            if self._alive():
                self._changed.wait(seconds)
            if self._errors:
                raise self._errors[0]
            return not self._alive()

    def _alive(self) -> int:
        return len(self._threads) - len(self.ended) - len(self._errors)

    def join(self) -> None:
        """Wait until nothing more comes."""
        for thread in self._threads:
            thread.join()

    def _work(self, instance: Instance, since_ns: int | None, tail: int | None) -> None:
        try:
            entries = self._engine.containers.logs(
                instance.container_id,
                follow=True,
                since_ns=since_ns,
                tail=tail,
                cancelled=self._cancelled,
            )
            for when, stream, data in entries:
                self._show(instance.name, when, stream, data)
        except ContainerNotFound:
            pass  # removed meanwhile
        except InvalidState:  # it keeps no log
            self._until_end(instance)
        except BaseException as err:  # noqa: BLE001  it is raised where they are waited for
            with self._changed:
                self._errors.append(err)
                self._changed.notify_all()
            return
        with self._changed:
            for stream, line in self._prefixes.end(instance.name):
                self._on_event(Output(stream, line))
            self.ended.append(instance)
            self._changed.notify_all()

    def _until_end(self, instance: Instance) -> None:
        with suppress(OcimagicError):
            self._engine.containers.wait(instance.container_id, cancelled=self._cancelled)

    def _show(self, name: str, when: str, stream: str, data: bytes) -> None:
        with self._lock:
            lines = self._prefixes.lines(name, when, stream, data)
            if lines:
                self._on_event(Output(stream, lines))


def written(
    engine: EngineAPI,
    instances: Sequence[Instance],
    *,
    tail: int | None = None,
    since_ns: int | None = None,
    until_ns: int | None = None,
) -> list[tuple[str, str, str, bytes]]:
    """Return what containers wrote so far, in the order of time: when, who, stream, bytes."""
    found = []
    for each in instances:
        entries = engine.containers.logs(
            each.container_id, tail=tail, since_ns=since_ns, until_ns=until_ns
        )
        found += [(when, each.name, stream, data) for when, stream, data in entries]
    return sorted(found, key=lambda entry: entry[0])
