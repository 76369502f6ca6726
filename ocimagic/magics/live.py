"""Which values get a live view beside their static twin, and the life of these views."""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ocimagic.magics.drawing import TREES, Inspected, draw, draw_tree, inspected
from ocimagic.model.explored import Explored
from ocimagic.model.state import ALIVE

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.display_functions import DisplayHandle
    from IPython.core.interactiveshell import InteractiveShell

    from ocimagic.magics.config import OciMagic
    from ocimagic.model.containers import ContainersAPI
    from ocimagic.model.overview import Overview
    from ocimagic.widgets.dashboard import Dashboard
    from ocimagic.widgets.live import LiveView

_MOST = 8  # explorers: each keeps its image's files for pages that are opened again
_MOST_TREES = 64  # search boxes: each keeps its document
_TWIN_S = 10.0  # so old are the figures of a dashboard's static twin at most


class LiveViews:
    """The live views of one kernel.

    Args:
        ip: the shell.
        config: how to show.
        has_page: tells whether there is a front end that shows more than what is saved; tools
            that execute notebooks would keep a view's code in the file.
    """

    def __init__(
        self, ip: InteractiveShell, config: OciMagic, has_page: Callable[[], bool]
    ) -> None:
        self._ip = ip
        self._config = config
        self._has_page = has_page
        self._explorers: deque[LiveView] = deque()
        self._trees: deque[LiveView] = deque()
        self._dashboard: tuple[Dashboard, _Twin] | None = None

    def register(self) -> Callable[[], None]:
        """Teach IPython to show values live; return what takes that back."""
        assert self._ip.display_formatter is not None
        bundles = self._ip.display_formatter.mimebundle_formatter
        shown = {Explored: self.explored, Inspected: self.tree}
        shown |= dict.fromkeys(TREES, self.inspect)
        for kind, how in shown.items():
            bundles.for_type(kind, how)
        atexit.register(self._leave)

        def take_back() -> None:
            atexit.unregister(self._leave)
            for kind in shown:
                bundles.pop(kind, None)
            self.close()

        return take_back

    def allowed(self) -> bool:
        """Say whether live views are wanted and can be seen."""
        return self._config.display in {"auto", "widget"} and self._has_page()

    def can_change(self) -> bool:
        """Say whether what is shown can change while a command runs: not in a saved file."""
        return self._has_page() or getattr(self._ip, "kernel", None) is None

    def explored(self, value: Explored) -> dict[str, Any]:
        """Draw an image's files, with a live explorer where there can be one."""
        bundle = draw(value, self._config)
        if not self.allowed():
            return bundle
        from ocimagic.widgets.explorer import Explorer

        return _grown(Explorer(value), bundle, self._explorers, _MOST)

    def inspect(self, value: object) -> dict[str, Any]:
        """Draw what ``inspect`` returned: as a tree to search, if the user wants that."""
        if self._config.display == "widget":
            return self.tree(inspected(value))
        return draw(value, self._config)

    def tree(self, value: Inspected) -> dict[str, Any]:
        """Draw a document as a tree, with a search box where there can be one."""
        bundle = draw_tree(value, self._config)
        if not self.allowed():
            return bundle
        from ocimagic.widgets.inspect_tree import InspectTree

        return _grown(InspectTree(value.document), bundle, self._trees, _MOST_TREES)

    def dashboard(self, containers: ContainersAPI, *, every_s: float, show_all: bool) -> None:
        """Show all containers live; a dashboard that was there before ends."""
        from IPython.display import DisplayHandle

        from ocimagic.widgets.dashboard import Dashboard

        self.end_dashboard()
        twin = _Twin(DisplayHandle(), self._config, show_all=show_all)
        board = Dashboard(
            containers,
            every_s=every_s,
            show_all=show_all,
            way=self._config.way_to_ports(),
            on_overview=twin.draw,
            on_end=self.end_dashboard,
        )
        once = threading.Event()
        for overview in containers.watch(all=True, cancelled=once):
            twin.begin(overview, board)
            once.set()
        self._dashboard = (board, twin)
        board.start()

    def end_dashboard(self) -> None:
        """End the dashboard: its threads are over, and its last state is what stays."""
        shown, self._dashboard = self._dashboard, None
        if shown is not None:
            board, twin = shown
            board.close()
            twin.end()

    def close(self) -> None:
        """End all live views: their static twins are to be seen again."""
        self._leave()
        _close(self._explorers)

    def _leave(self) -> None:
        """End what needs its kernel: a page need not see that one was started anew."""
        self.end_dashboard()
        _close(self._trees)


def _close(views: deque[LiveView]) -> None:
    while views:
        views.popleft().close()


def _grown(
    view: LiveView, bundle: dict[str, Any], views: deque[LiveView], most: int
) -> dict[str, Any]:
    """Return a twin on which a view grows; the oldest views end when there are too many."""
    views.append(view)
    while len(views) > most:
        views.popleft().close()
    return bundle | {"text/html": view.mark(bundle["text/html"])}


class _Twin:
    """The static twin of a dashboard: renewed when something changed, or it is old."""

    def __init__(self, handle: DisplayHandle, config: OciMagic, *, show_all: bool) -> None:
        self._handle = handle
        self._config = config
        self._show_all = show_all
        self._seen: set[str] = set()  # what ran stays listed, so that it can be started again
        self._board: Dashboard | None = None
        self._last: Overview | None = None
        self._looks: object = None
        self._drawn_s = 0.0

    def begin(self, overview: Overview, board: Dashboard) -> None:
        """Display it, with the mark on which its live view grows."""
        self._board = board
        self._handle.display(self._bundle(self._kept(overview)), raw=True)

    def draw(self, overview: Overview) -> None:
        """Take how all is now; in a thread of the dashboard."""
        kept = self._kept(overview)
        looks = [(each.name, each.status, each.health, each.ports) for each in kept.containers]
        if looks != self._looks or time.monotonic() - self._drawn_s > _TWIN_S:
            self._looks, self._drawn_s = looks, time.monotonic()
            self._handle.update(self._bundle(kept), raw=True)

    def end(self) -> None:
        """Leave the last state, without the mark."""
        self._board = None
        if self._last is not None:
            self._handle.update(self._bundle(self._last), raw=True)

    def _kept(self, overview: Overview) -> Overview:
        alive = {each.container_id for each in overview.containers if each.status in ALIVE}
        self._seen |= alive
        listed = tuple(
            each
            for each in overview.containers
            if self._show_all or each.container_id in self._seen
        )
        self._last = replace(overview, containers=listed)
        return self._last

    def _bundle(self, overview: Overview) -> dict[str, Any]:
        bundle = draw(overview, self._config)
        if self._board is not None:
            bundle = bundle | {"text/html": self._board.mark(bundle["text/html"])}
        return bundle
