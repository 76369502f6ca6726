"""The dashboard: containers, what they use, their logs and buttons, pushed by threads.

A page's messages wait until the kernel has no cell to run, where it has no subshells to take
them; what is pushed to a page does not.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from ocimagic.errors import OcimagicError
from ocimagic.model.state import Status
from ocimagic.render.overview import overview_rows, overview_sentence
from ocimagic.widgets.following import Follow
from ocimagic.widgets.live import LiveView, script

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocimagic.model.containers import ContainersAPI
    from ocimagic.model.overview import Overview

SAMPLES = 60
_JOIN_S = 3.0
_LOGS_S = 0.1  # from one sending of lines to the next


class Dashboard(LiveView):
    """All containers of an engine; ``start`` begins to push, ``close`` ends it.

    Args:
        containers: the engine's verbs.
        every_s: from one sample to the next.
        show_all: those that do not run, too, from the beginning.
        way: where links to ports lead, see ``render.ports.through``.
        on_overview: is given each overview, in a thread of this widget.
        on_end: is called when a page wants it to end; closes it.
    """

    _esm = script("live.js", "dashboard.js")

    def __init__(
        self,
        containers: ContainersAPI,
        *,
        every_s: float,
        show_all: bool,
        way: str,
        on_overview: Callable[[Overview], None],
        on_end: Callable[[], None],
    ) -> None:
        super().__init__()
        self._containers = containers
        self._every_s = every_s
        self._show_all = show_all
        self._way = way
        self._on_overview = on_overview
        self._on_end = on_end
        self._stop = threading.Event()
        self._lock = threading.Lock()  # of what follows
        self._is_closed = False
        self._state: dict[str, Any] | None = None
        self._samples: dict[str, deque[tuple[float, float, int]]] = {}
        self._follows: dict[str, Follow] = {}
        self._busy: set[str] = set()
        self._lines_there = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to watch and to push."""
        self._run("dashboard", self._watch)
        self._run("dashboard-logs", self._send_logs)

    def close(self) -> None:
        """End all threads, then the view; the static twin is to be seen again."""
        self._stop.set()
        self._lines_there.set()
        with self._lock:
            self._is_closed = True
            follows, threads = list(self._follows.values()), list(self._threads)
        for follow in follows:
            follow.stop()
        for follow in follows:
            follow.join(_JOIN_S)
        for thread in threads:
            thread.join(_JOIN_S)
        super().close()

    # -- what a page says ----------------------------------------------------------

    def hear(self, content: dict[str, Any], _buffers: Sequence[memoryview] = ()) -> None:
        """Take a message: in the main thread, or another one where kernels have several."""
        if content.get("ask") is not None:
            self._tell({"type": "heard", "ask": content["ask"]})
        kind, container_id = content.get("type"), str(content.get("id", ""))
        if kind == "ready":
            self._greet()
        elif kind == "do":
            verb = str(content.get("verb"))
            self._run(f"dashboard-{verb}", self._do, verb, container_id, content.get("ask"))
        elif kind == "logs":
            self._follow(container_id, follows=bool(content.get("follow")))
        elif kind == "close":
            self._on_end()

    def _greet(self) -> None:
        """Tell a page that has just been opened all that was told before."""
        with self._lock:
            state = self._state
            greeting = {
                "type": "samples",
                "samples": {each: list(found) for each, found in self._samples.items()},
                "all": self._show_all,
                "followed": list(self._follows),
            }
        self._tell(greeting)
        if state is not None:
            self._tell(state)

    def _do(self, verb: str, container_id: str, ask: object) -> None:
        with self._lock:
            is_free = container_id not in self._busy
            self._busy.add(container_id)
        error = "something else is done with it already"
        if is_free:
            try:
                error = self._done(verb, container_id)
            finally:
                with self._lock:
                    self._busy.discard(container_id)
        self._tell({"type": "done", "ask": ask, "id": container_id, "error": error})

    def _done(self, verb: str, container_id: str) -> str:
        """Do what a button says; return in words why that cannot be done."""
        verbs: dict[str, Callable[[str], object]] = {
            "start": self._containers.start,
            "stop": self._containers.stop,
            "restart": self._containers.restart,
            "pause": self._containers.pause,
            "unpause": self._containers.unpause,
            "remove": lambda name: self._containers.remove(name, force=True),
        }
        if verb not in verbs:
            return f"there is no button {verb}"
        try:
            verbs[verb](container_id)
        except OcimagicError as err:
            return "; ".join(filter(None, (str(err), err.why, err.hint)))
        except OSError as err:
            return str(err)
        return ""

    # -- what is pushed --------------------------------------------------------------

    def _watch(self) -> None:
        try:
            for overview in self._containers.watch(
                all=True, interval_s=self._every_s, cancelled=self._stop
            ):
                self._push(overview)
        except (OcimagicError, OSError) as err:
            self._tell({"type": "over", "text": str(err)})

    def _push(self, overview: Overview) -> None:
        rows = overview_rows(overview, self._way)
        state = {
            "type": "state",
            "said": overview_sentence(overview),
            "every": self._every_s,
            "rows": rows,
        }
        with self._lock:
            self._state = state
            for gone in self._samples.keys() - {row["id"] for row in rows}:
                del self._samples[gone]
            for row in rows:
                self._sample(row)
        self._tell(state)
        self._resume({each.container_id: each.status for each in overview.containers})
        self._on_overview(overview)

    def _sample(self, row: dict[str, Any]) -> None:
        if row["sampled"] is None:
            return
        kept = self._samples.setdefault(row["id"], deque(maxlen=SAMPLES))
        if not kept or kept[-1][0] != row["sampled"]:
            kept.append((row["sampled"], row["cpu"], row["memory"]))

    def _tell(self, content: dict[str, Any]) -> None:
        with self._lock:
            if not self._is_closed:
                self.send(content)

    # -- logs --------------------------------------------------------------------------

    def _follow(self, container_id: str, *, follows: bool) -> None:
        with self._lock:
            old = self._follows.pop(container_id, None)
            if follows and not self._is_closed:
                follow = Follow(self._containers, container_id, self._lines_there.set)
                self._follows[container_id] = follow
                follow.start()
                self._lines_there.set()
        if old is not None:
            old.stop()

    def _resume(self, statuses: dict[str, Status]) -> None:
        """Read on the logs of containers that were started again; forget those that are gone."""
        with self._lock:
            for container_id, follow in list(self._follows.items()):
                status = statuses.get(container_id)
                if status is None:
                    del self._follows[container_id]
                    follow.stop()
                elif status is Status.RUNNING and not follow.goes_on and not self._is_closed:
                    follow.start()

    def _send_logs(self) -> None:
        while not self._stop.wait(_LOGS_S):
            self._lines_there.wait()
            self._lines_there.clear()
            with self._lock:
                follows = list(self._follows.items())
            for container_id, follow in follows:
                lines, left_out, is_first = follow.take()
                if lines or is_first:
                    content = {"lines": lines, "left_out": left_out, "is_first": is_first}
                    self._tell({"type": "log", "id": container_id, **content})

    def _run(self, name: str, work: Callable[..., None], *arguments: object) -> None:
        """Do something in a thread that ends with this, or with the kernel."""
        thread = threading.Thread(target=work, args=arguments, name=name, daemon=True)
        with self._lock:
            if self._is_closed:
                return
            self._threads = [each for each in self._threads if each.is_alive()]
            self._threads.append(thread)
        thread.start()
