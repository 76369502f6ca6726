"""``%load_ext ocimagic`` and back: everything put into IPython is taken out again."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocimagic import __version__
from ocimagic.home.location import Home
from ocimagic.magics import names
from ocimagic.magics.config import OciMagic
from ocimagic.magics.door import Door
from ocimagic.magics.errors import render_errors
from ocimagic.magics.magic import Magic
from ocimagic.magics.statements import ShowStatements
from ocimagic.magics.transform import CellLines

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ocimagic.magics.session import MakeEngine


_RUNS = ("root mode", "rootless mode")


def load(ip: InteractiveShell, *, make_engine: MakeEngine | None = None) -> None:
    """Put the magics into a shell and say so in one line; a second time changes nothing.

    Args:
        ip: the shell.
        make_engine: makes the engine over a data root ("" for the usual one) when needed; it
            looks up its variables in a mapping.
    """
    if _loaded(ip) is not None:
        return
    if "docker" in ip.magics_manager.magics["line"]:
        sys.stdout.write("ocimagic replaces another %docker; %unload_ext ocimagic brings it back\n")
    with ExitStack() as undo:
        config = OciMagic(parent=ip)
        door = Door(ip, config, make_engine)
        undo.push(door.undo)
        _add(undo, ip.configurables, config)
        undo.callback(render_errors(ip, config))
        magics = _magics(door)
        for kind, name, magic in magics:
            _add_magic(undo, ip, kind, name, magic)
        ours = {kind: {name for of, name, _ in magics if of == kind} for kind in ("line", "cell")}
        _add(
            undo,
            ip.input_transformers_cleanup,
            CellLines(
                ours=ours["cell"],
                near=ours["line"],
                is_magic=lambda kind, name: ip.find_magic(name, kind) is not None,
                is_variable=lambda name: name in ip.user_ns,
            ),
        )
        shown = ShowStatements(ours["line"] | ours["cell"], lambda: ip.ast_node_interactivity)
        _add(undo, ip.ast_transformers, shown)
        _add(undo, ip.Completer.custom_matchers, door.matcher())
        kernel = getattr(ip, "kernel", None)
        if kernel is not None:
            undo.callback(door.inspect_for(kernel))
        door.open_for_values()
        door.unload = undo.pop_all().close
    sys.stdout.write(f"{greeting(config)}\n")


def unload(ip: InteractiveShell) -> None:
    """Take everything out of the shell again; containers stay."""
    door = _loaded(ip)
    if door is not None:
        door.unload()


def _loaded(ip: InteractiveShell) -> Door | None:
    """Return the door of a shell we are in: our ``%docker`` holds it."""
    magic = ip.magics_manager.magics["line"].get("docker")
    return magic.door if isinstance(magic, Magic) else None


def _magics(door: Door) -> list[tuple[str, str, Magic]]:
    """List every magic as kind, name and what runs."""
    words = names.OF_GRAMMAR | names.OF_OUR_OWN
    made = {name: Magic(door, name, words) for name, words in words.items()}
    lines = [("line", name, magic) for name, magic in made.items() if name != "dockerfile"]
    return [*lines, *(("cell", name, made[name]) for name in names.CELLS)]


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
    try_it = "%docker run busybox echo hello" if _mode() in _RUNS else "%docker --help"
    return (
        f"ocimagic {__version__} · {_mode()} · store {_shown(home.data)} · {counted} · try {try_it}"
    )


def _shown(path: Path) -> str:
    """Return a path as people write it: ~ for their own directory."""
    with suppress(ValueError, RuntimeError):
        return f"~/{path.relative_to(Path.home())}"
    return str(path)


def _mode() -> str:
    """Return the mode by what is known without probing; ``%system_info`` probes."""
    if not sys.platform.startswith("linux"):
        return "images only: containers need Linux"
    return _RUNS[0] if os.geteuid() == 0 else _RUNS[1]
