"""The programs of this machine, and the libraries its loader would give them.

Nothing is executed but a busybox, to list its applets; libraries are found by reading ELF
headers.

See also: ld.so(8) for where libraries are searched.
"""

from __future__ import annotations

import glob
import os
import posixpath
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.build.rootitem import MERGED, Item, entry, link
from ocimagic.errors import HostLacks, InvalidDocument
from ocimagic.layers.tarheader import Kind
from ocimagic.spec import elf
from ocimagic.spec.elf import ElfFile
from ocimagic.spec.platform import host_platform

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


_SYSTEM_DIRECTORIES = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")
_SHELLS = ("sh", "dash", "bash")
_UTILITIES = """
    [ awk basename cat chgrp chmod chown cksum clear cmp comm cp cut date dd df diff dirname du
    echo env expand expr false find free getent grep groups gzip head hostname id install join
    kill ln ls md5sum mkdir mkfifo mktemp mv nice nl nohup nproc od paste pgrep printenv printf
    ps pwd readlink realpath rm rmdir sed seq sha256sum sleep sort split stat sync tac tail tar
    tee test timeout top touch tr true truncate tty uname uniq uptime wc who whoami xargs yes
"""


class Machine:
    """The programs of this machine, and the libraries its loader would give them.

    Args:
        path: directories with programs, the best first.
        busybox: take a static busybox if there is one.
    """

    def __init__(self, path: Sequence[str] | None = None, *, busybox: bool = True) -> None:
        said = os.environ.get("PATH", os.defpath).split(os.pathsep) if path is None else path
        system = _SYSTEM_DIRECTORIES if path is None else ()
        self._path = [Path(each) for each in (*system, *said) if os.path.isabs(each)]
        self._busybox = busybox
        self._files: dict[Path, ElfFile | None] = {}
        self._default_directories: list[Path] = []
        self.platform = host_platform()

    def tree(self) -> tuple[dict[str, Item], dict[str, Item]]:
        """Return the shell with what it needs, and the utilities with what they need besides.

        Raises:
            HostLacks: there is no shell that Linux could run.
        """
        busybox = self._find_busybox() if self._busybox else None
        if busybox:
            path, applets = busybox
            return self._of_busybox(path, applets)
        taken: dict[Path, str] = {}
        tree: dict[str, Item] = {}
        for name in _SHELLS:
            self._add_program(name, tree, taken)
        if "usr/bin/sh" not in tree:
            raise HostLacks(
                "there is nothing here to make a base image from",
                why="neither a static busybox nor a shell for Linux is on the PATH",
                hint="pull an image instead, for example busybox",
            )
        shell = dict(tree)
        for name in _UTILITIES.split():
            self._add_program(name, tree, taken)
        return shell, {path: item for path, item in tree.items() if path not in shell}

    # -- busybox ---------------------------------------------------------------

    def _find_busybox(self) -> tuple[Path, list[str]] | None:
        """Return a busybox that needs no libraries, and its applets."""
        for directory in self._path:
            path = directory / "busybox"
            found = self._read(path)
            if not found or not found.is_static:
                continue
            try:
                asked = subprocess.run(
                    [path, "--list"], capture_output=True, text=True, timeout=10, check=True
                )
            except (OSError, subprocess.SubprocessError):
                continue  # for another processor, or not a busybox at all
            applets = [name for name in asked.stdout.split() if re.fullmatch(r"[\w.\[+-]+", name)]
            if "sh" in applets:
                return path, [name for name in applets if name != "busybox"]
        return None

    def _of_busybox(
        self, path: Path, applets: Iterable[str]
    ) -> tuple[dict[str, Item], dict[str, Item]]:
        found = self._read(path)
        assert found
        self.platform = found.platform or self.platform
        links = {f"usr/bin/{name}": link(f"usr/bin/{name}", "usr/bin/busybox") for name in applets}
        shell = {
            "usr/bin/busybox": _machine_file("usr/bin/busybox", path),
            "usr/bin/sh": links.pop("usr/bin/sh"),
        }
        return shell, links

    # -- programs with loader and libraries ------------------------------------

    def _add_program(self, name: str, tree: dict[str, Item], taken: dict[Path, str]) -> None:
        """Add a program and what it needs; nothing if it is not here, or something is missing.

        Args:
            name: looked for on the PATH.
            tree: gets what it has not yet.
            taken: where in the image a file of the machine is already.
        """
        for directory in self._path:
            real = _resolved(directory / name)
            found = self._read(real) if real else None
            needs = self._needs(real, found) if real and found and found.is_program else None
            if real is None or found is None or needs is None:
                continue
            self.platform = found.platform or self.platform
            for path, file in [*needs, (_image_path(real), real), (f"usr/bin/{name}", real)]:
                _take(path, file, tree, taken)
            return

    def _needs(self, program: Path, header: ElfFile) -> list[tuple[str, Path]] | None:
        """Find loader and libraries: paths in the image, and files; None if one is missing."""
        loader = _resolved(Path(header.interpreter)) if header.interpreter else None
        if header.interpreter and loader is None:
            return None
        # The loader of the image has no cache to look into, but it knows its own directory.
        home = posixpath.dirname(_image_path(loader)) if loader else ""
        found = [(_image_path(Path(header.interpreter)), loader)] if loader else []
        seen = {loader.name} if loader else set()
        waiting = [(program, header, header.rpath)]
        while waiting:
            origin, needing, rpath = waiting.pop(0)
            for name in needing.needed:
                if name in seen:
                    continue
                seen.add(name)
                library = self._find_library(name, origin, needing, rpath)
                if library is None:
                    return None
                path, said_where = library
                real = path.resolve()
                found.append((_image_path(path) if said_where else f"{home}/{name}", real))
                inside = self._read(real)
                assert inside
                waiting.append((real, inside, (*inside.rpath, *rpath)))
        return found

    def _find_library(
        self, name: str, origin: Path, needing: ElfFile, rpath: Iterable[str]
    ) -> tuple[Path, bool] | None:
        """Search as ld.so(8) says; also tell whether the needing file said where."""
        if "/" in name:
            return (Path(name), True) if self._fits(Path(name), needing) else None
        for place in needing.search_path(str(origin.parent), rpath):
            if self._fits(Path(place) / name, needing):
                return Path(place) / name, True
        self._default_directories = self._default_directories or _loader_directories()
        for directory in self._default_directories:
            if self._fits(directory / name, needing):
                return directory / name, False
        return None

    def _fits(self, path: Path, needing: ElfFile) -> bool:
        found = self._read(path)
        return found is not None and found.fits(needing)

    def _read(self, path: Path) -> ElfFile | None:
        """Return what a file says of itself; None if it is no ELF file we may read."""
        if path not in self._files:
            try:
                with path.open("rb") as file:
                    is_elf = file.read(len(elf.MAGIC)) == elf.MAGIC
                self._files[path] = ElfFile.parse(path.read_bytes()) if is_elf else None
            except (OSError, InvalidDocument):
                self._files[path] = None
        return self._files[path]


def _loader_directories() -> list[Path]:
    """Return where the loader looks when nobody says where: its configuration, its defaults."""
    configured = list(_configured(Path("/etc/ld.so.conf"), 0))
    for musl in sorted(glob.glob("/etc/ld-musl-*.path")):
        configured += Path(musl).read_text(encoding="utf-8").replace(":", "\n").split()
    multiarch = sorted(glob.glob("/lib/*-linux-*")) + sorted(glob.glob("/usr/lib/*-linux-*"))
    usual = ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"]
    return [Path(each) for each in (*configured, *multiarch, *usual)]


def _configured(file: Path, depth: int) -> Iterator[str]:
    """Read an ld.so.conf: directories, and ``include`` of other such files."""
    try:
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words[:1] == ["include"] and depth < 8:
            for pattern in words[1:]:
                for each in sorted(glob.glob(os.path.join(file.parent, pattern))):
                    yield from _configured(Path(each), depth + 1)
        elif words and words[0].startswith("/"):
            yield words[0]


def _resolved(path: Path) -> Path | None:
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError):
        return None


def _image_path(path: Path) -> str:
    """Say where a file of the machine goes: ``/bin`` and its like are links into ``/usr``."""
    inside = posixpath.normpath(path.as_posix()).lstrip("/")
    return f"usr/{inside}" if inside.partition("/")[0] in MERGED else inside


def _take(path: str, file: Path, tree: dict[str, Item], taken: dict[Path, str]) -> None:
    """Add a file of the machine, or a link to where it is already."""
    if path not in tree:
        first = taken.setdefault(file, path)
        tree[path] = _machine_file(path, file) if first == path else link(path, first)


def _machine_file(path: str, file: Path) -> Item:
    # The machine's own bits would bring setuid programs along.
    return Item(entry(path, Kind.FILE, 0o755)._replace(size=file.stat().st_size), file)
