"""``%load_ext ocimagic`` and back: everything put into IPython is taken out again."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ocimagic import __version__
from ocimagic.cli.grammar import docker_words
from ocimagic.home.location import Home
from ocimagic.magics import drawing
from ocimagic.magics.commands import CELL_MAGICS, DockerMagic, ExploreMagic
from ocimagic.magics.completer import Completer
from ocimagic.magics.config import OciMagic
from ocimagic.magics.errors import render_errors
from ocimagic.magics.session import KernelSession
from ocimagic.magics.statements import ShowStatements
from ocimagic.magics.transform import CellLines

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from ocimagic.model.engine import EngineAPI

    Magic = DockerMagic | ExploreMagic


def load(ip: InteractiveShell, *, make_engine: Callable[[str], EngineAPI] | None = None) -> None:
    """Put the magics into a shell and say so in one line; a second time changes nothing.

    Args:
        ip: the shell.
        make_engine: makes the engine over a data root ("" for the usual one) when needed.
    """
    if _loaded(ip) is not None:
        return
    if "docker" in ip.magics_manager.magics["line"]:
        sys.stdout.write("ocimagic replaces another %docker; %unload_ext ocimagic brings it back\n")
    with ExitStack() as undo:
        config = OciMagic(parent=ip)
        session = KernelSession(ip, config, make_engine)
        undo.callback(session.close)
        _add(undo, ip.configurables, config)
        undo.callback(render_errors(ip, config))
        undo.callback(drawing.register(ip, config, session.on_screen))
        magics = _magics(session)
        for kind, name, magic in magics:
            _add_magic(undo, ip, kind, name, magic)
        names = {kind: {name for of, name, _ in magics if of == kind} for kind in ("line", "cell")}
        _add(
            undo,
            ip.input_transformers_cleanup,
            CellLines(
                ours=names["cell"],
                near=names["line"],
                is_magic=lambda kind, name: ip.find_magic(name, kind) is not None,
                is_variable=lambda name: name in ip.user_ns,
            ),
        )
        shown = ShowStatements(names["line"] | names["cell"], lambda: ip.ast_node_interactivity)
        _add(undo, ip.ast_transformers, shown)
        _add(undo, ip.Completer.custom_matchers, Completer(session).matcher())
        session.undo = undo.pop_all()
    sys.stdout.write(f"{greeting(config)}\n")


def unload(ip: InteractiveShell) -> None:
    """Take everything out of the shell again; containers stay."""
    session = _loaded(ip)
    if session is not None:
        session.undo.close()


def _loaded(ip: InteractiveShell) -> KernelSession | None:
    """Return the session of a shell we are in: our ``%docker`` holds it."""
    magic = ip.magics_manager.magics["line"].get("docker")
    return magic.session if isinstance(magic, DockerMagic) else None


def _magics(session: KernelSession) -> list[tuple[str, str, Magic]]:
    """List every magic as kind, name and what runs."""
    words = docker_words() | {"docker": (), "dockerfile": ("image", "build")}
    made: dict[str, Magic] = {
        name: DockerMagic(session, name, words) for name, words in words.items()
    }
    made["explore"] = ExploreMagic(session)
    lines = [("line", name, magic) for name, magic in made.items() if name != "dockerfile"]
    return [*lines, *(("cell", name, made[name]) for name in CELL_MAGICS if name in made)]


def _add_magic(undo: ExitStack, ip: InteractiveShell, kind: str, name: str, magic: Magic) -> None:
    table = ip.magics_manager.magics[kind]
    before = table.get(name)

    def put_back() -> None:
        if table.get(name) is magic:
            del table[name]
        if before is not None:
            table[name] = before

    table[name] = magic
    undo.callback(put_back)


def _add(undo: ExitStack, items: list[Any], item: object) -> None:
    items.append(item)

    def take_out() -> None:
        if item in items:
            items.remove(item)

    undo.callback(take_out)


def greeting(config: OciMagic) -> str:
    """Say in one line what was loaded; it looks at two files and starts nothing."""
    home = Home.find(os.environ, root=config.root or None)
    try:
        index = json.loads((home.data / "index.json").read_bytes())
        images = len({entry["digest"] for entry in index["manifests"]})
    except (OSError, ValueError, LookupError, TypeError):
        images = 0  # a new data root, or one that the first command will speak about
    counted = "1 image" if images == 1 else f"{images} images"
    return (
        f"ocimagic {__version__} · {_mode()} · {home.data} · {counted} · "
        "%docker --help, %system_info"
    )


def _mode() -> str:
    """Return the mode by what is known without probing; ``%system_info`` probes."""
    if not sys.platform.startswith("linux"):
        return "images only: containers need Linux"
    return "root" if os.geteuid() == 0 else "rootless"
