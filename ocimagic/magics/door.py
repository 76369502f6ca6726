"""What stands in IPython from the start: names, each of which opens the door to the rest.

``%load_ext`` takes the time that a reader notices, so it loads names only.  Grammar, pictures
and what the session needs are loaded when one of them is wanted.
"""

from __future__ import annotations

import sys
import threading
from contextlib import ExitStack
from functools import cached_property
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any

from ocimagic.magics.loading import loading

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.completer import CompletionContext, SimpleMatcherResult
    from IPython.core.interactiveshell import InteractiveShell

    from ocimagic.magics.completer import Completer
    from ocimagic.magics.config import OciMagic
    from ocimagic.magics.inspector import Inspector
    from ocimagic.magics.session import KernelSession, MakeEngine

# Whoever loads one of these may get values of ours without any magic.
_MAKE_VALUES = ("ocimagic.engine", "ocimagic.client")


class Door:
    """The way from the shell to the session.

    Args:
        ip: the shell.
        config: the user's settings.
        make_engine: see ``KernelSession``.

    Attributes:
        undo: takes out of the shell what opening has put in.
        unload: takes out everything.
    """

    def __init__(
        self, ip: InteractiveShell, config: OciMagic, make_engine: MakeEngine | None
    ) -> None:
        self.undo = ExitStack()
        self.unload: Callable[[], None] = self.undo.close
        self._ip, self._config, self._make_engine = ip, config, make_engine
        self._lock = threading.RLock()
        self._opened: KernelSession | None = None

    @property
    def session(self) -> KernelSession:
        """The session; with it our values get their pictures, methods and verbs."""
        with self._lock:
            if self._opened is None:
                with loading():
                    self._opened = self._open()
            return self._opened

    def _open(self) -> KernelSession:
        from ocimagic.magics import drawing
        from ocimagic.magics.session import KernelSession
        from ocimagic.magics.verbs import give_verbs

        session = KernelSession(self._ip, self._config, self._make_engine)
        self.undo.callback(session.close)
        self.undo.callback(drawing.register(self._ip, self._config, session.on_screen))
        self.undo.callback(give_verbs(session))
        self.undo.callback(session.live.register())
        return session

    def open_for_values(self) -> None:
        """Open as soon as there may be values of ours."""
        if not sys.modules.keys().isdisjoint((*_MAKE_VALUES, "ocimagic.model.result")):
            _ = self.session
            return
        watch = _Watch(self)
        sys.meta_path.insert(0, watch)
        self.undo.callback(watch.end)

    @cached_property
    def completer(self) -> Completer:
        """What answers Tab."""
        from ocimagic.magics.completer import Completer

        return Completer(self.session)

    @cached_property
    def inspector(self) -> Inspector:
        """What answers Shift-Tab."""
        from ocimagic.magics.inspector import Inspector

        return Inspector(self.session, self.completer)

    def matcher(self) -> Callable[[CompletionContext], SimpleMatcherResult]:
        """Return the matcher for IPython."""
        from IPython.core.completer import context_matcher

        @context_matcher(identifier="ocimagic", priority=100)
        def ocimagic_matcher(context: CompletionContext) -> SimpleMatcherResult:
            return self.completer.match(context)

        matcher: Callable[[CompletionContext], SimpleMatcherResult] = ocimagic_matcher
        return matcher

    def inspect_for(self, kernel: Any) -> Callable[[], None]:  # noqa: ANN401  ipykernel is untyped
        """Answer for a kernel what is at the cursor; return what takes that back."""
        before = kernel.do_inspect

        def do_inspect(code: str, cursor_pos: int, *rest: Any, **named: Any) -> Any:  # noqa: ANN401
            found = self.inspector.answer(code, cursor_pos)
            return before(code, cursor_pos, *rest, **named) if found is None else found

        def take_back() -> None:
            if kernel.__dict__.get("do_inspect") is do_inspect:
                del kernel.do_inspect

        kernel.do_inspect = do_inspect
        return take_back


class _Watch(MetaPathFinder):
    """Opens a door before a module that makes values is loaded; it finds none itself."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def find_spec(self, fullname: str, *_where: object) -> None:
        if fullname in _MAKE_VALUES:
            self.end()
            _ = self._door.session

    def end(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
