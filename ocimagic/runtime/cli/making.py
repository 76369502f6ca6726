"""The commands that make containers: create and run."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument
from ocimagic.runtime.beginning import destroy
from ocimagic.runtime.bundle import load_bundle
from ocimagic.runtime.cli.handing import HANDED_FLAGS, STDIO, check_console, preserved, write_pid
from ocimagic.runtime.cli.words import Flag
from ocimagic.runtime.create import Init
from ocimagic.spec.record import replace

if TYPE_CHECKING:
    from ocimagic.runtime.bundle import Bundle
    from ocimagic.runtime.cli.session import Session
    from ocimagic.runtime.cli.words import Words

_BUNDLE = (
    Flag("bundle", "directory with config.json; by default the current one", "PATH", "b"),
    *HANDED_FLAGS,
    Flag("no-pivot", "the machine's root is its initramfs: move instead of pivot"),
    Flag("no-new-keyring", "keep the caller's session keyring"),
)
CREATE_FLAGS = _BUNDLE
RUN_FLAGS = (
    *_BUNDLE,
    Flag("detach", "return when the command has begun", short="d"),
    Flag("keep", "do not delete the container when it is over"),
    Flag("no-subreaper", "accepted; orphans are never waited for"),
)


def create(session: Session, words: Words) -> int:
    """Make a container that waits for ``start``."""
    container_id = words.only_argument()
    bundle = _bundle(words)
    check_console(bundle.config.process, words, detach=True)
    init = _make(session, bundle, container_id, words, door=True)
    init.let_go()
    return 0


def run(session: Session, words: Words) -> int:
    """Create, start, wait for the end and delete; return the command's exit code."""
    container_id = words.only_argument()
    bundle, detach = _bundle(words), words.has("detach")
    check_console(bundle.config.process, words, detach=detach)
    init = _make(session, bundle, container_id, words)
    if detach:
        init.start()
        return 0
    from ocimagic.runtime.cli.foreground import Foreground

    code = Foreground(init).run()
    if words.has("keep"):
        return code
    with contextlib.suppress(FileNotFoundError):
        destroy(init.state, session.journal.warning)
    return code


def _bundle(words: Words) -> Bundle:
    path = os.path.abspath(words.text("bundle") or ".")
    try:
        return load_bundle(path, {})
    except OSError as err:
        raise InvalidDocument(
            "config.json cannot be read", why=err.strerror, where=str(err.filename)
        ) from err


def _make(
    session: Session, bundle: Bundle, container_id: str, words: Words, *, door: bool = False
) -> Init:
    """Make a container and tell its pid; nothing is left of it if that fails."""
    kept, process = preserved(words, bundle.config.process)
    bundle = replace(bundle, config=replace(bundle.config, process=process))
    init = Init.create(
        bundle,
        container_id,
        STDIO,
        state_root=session.root,
        console_socket=words.text("console-socket") or None,
        preserve_fds=kept,
        on_warning=session.journal.warning,
        no_pivot=words.has("no-pivot"),
        no_new_keyring=words.has("no-new-keyring"),
        door=door,
    )
    try:
        write_pid(words, init)
    except BaseException:
        init.close()
        from ocimagic.runtime.container import delete

        delete(init.state, force=True)
        raise
    return init
