"""Home-made base images: put together from the programs of this machine, without a registry.

A static busybox if there is one, else the shell, the core utilities, their loader and their
libraries, found by reading ELF headers.  The same machine gives the same image ID.

Stand-ins have the names and shapes of public images, for a class without a network; a label
and ``/etc/ocimagic-standin`` say what they are.

See also: ld.so(8) for where libraries are searched.
"""

from __future__ import annotations

import glob
import json
import os
import posixpath
import re
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.build.layer_file import LayerFile
from ocimagic.errors import HostLacks, InvalidDocument
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.spec import elf, mediatype
from ocimagic.spec.config import DEFAULT_PATH, ContainerConfig, HistoryEntry, ImageConfig
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.elf import ElfFile
from ocimagic.spec.manifest import Manifest
from ocimagic.spec.platform import host_platform
from ocimagic.store.blobs import CHUNK, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ocimagic.spec.digest import Digest
    from ocimagic.spec.platform import Platform
    from ocimagic.spec.reference import Reference
    from ocimagic.store.images import StoredImage
    from ocimagic.store.store import Store

STAND_IN_FOR = "dev.ocimagic.stand-in-for"
STAND_IN_FILE = "etc/ocimagic-standin"
# One moment for all files and all images, or the same machine would give another image ID at
# every try: the day of the class notes.
CREATED = datetime(2021, 3, 21, tzinfo=UTC)

_SYSTEM_DIRECTORIES = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")
_SHELLS = ("sh", "dash", "bash")
_UTILITIES = """
    [ awk basename cat chgrp chmod chown cksum clear cmp comm cp cut date dd df diff dirname du
    echo env expand expr false find free getent grep groups gzip head hostname id install join
    kill ln ls md5sum mkdir mkfifo mktemp mv nice nl nohup nproc od paste pgrep printenv printf
    ps pwd readlink realpath rm rmdir sed seq sha256sum sleep sort split stat sync tac tail tar
    tee test timeout top touch tr true truncate tty uname uniq uptime wc who whoami xargs yes
"""
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_PLAIN_DIRECTORIES = """
    dev etc home mnt opt proc run srv sys usr/bin usr/lib usr/local/bin usr/sbin usr/share
    var/cache var/lib var/log
"""
_MODES = {
    # Not owned by the learner: where only one user id can be mapped, all must belong to root.
    "home/learner": 0o1777,
    "root": 0o700,
    "tmp": 0o1777,
    "var/tmp": 0o1777,
}
_ETC = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
    "learner:x:1000:1000:learner:/home/learner:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "etc/group": "root:x:0:\nlearner:x:1000:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What distinguishes one image from the home-made base.

    Attributes:
        stands_for: the public image it stands in for; "" for the base itself.
        in_parts: three layers instead of one.
        files: path to content, in a layer of their own unless ``in_parts``; all executable.
    """

    stands_for: str = ""
    in_parts: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    cmd: tuple[str, ...] = ("sh",)
    exposed_ports: tuple[str, ...] = ()
    working_dir: str = ""


BASE = Variant()


class Item(NamedTuple):
    """One thing in a layer and where its content comes from."""

    entry: Entry
    content: bytes | Path = b""


@dataclass(frozen=True, slots=True)
class HomeLayer:
    """A layer not yet written: what is in it, by path.

    Attributes:
        created_by: its line in the image's history.
    """

    created_by: str
    items: Mapping[str, Item]

    def entries(self) -> Iterator[tuple[Entry, Iterable[bytes]]]:
        """Yield each entry and its content, in the order of the tar."""
        for path in sorted(self.items):
            entry, content = self.items[path]
            yield entry, _chunks(content) if isinstance(content, Path) else [content]


@dataclass(frozen=True, slots=True)
class HomeImage:
    """An image not yet stored."""

    variant: Variant
    platform: Platform
    layers: tuple[HomeLayer, ...]

    def config(self, diff_ids: Sequence[Digest]) -> ImageConfig:
        """Return the image's config over these layers."""
        variant = self.variant
        labels = {
            "org.opencontainers.image.title": variant.stands_for or "ocimagic/base",
            "org.opencontainers.image.description": _what_it_is(variant),
        }
        if variant.stands_for:
            labels[STAND_IN_FOR] = variant.stands_for
        container = ContainerConfig(
            env=(f"PATH={DEFAULT_PATH}",),
            cmd=variant.cmd,
            exposed_ports=variant.exposed_ports,
            working_dir=variant.working_dir,
            labels=labels,
        )
        history = [
            HistoryEntry(created=CREATED, created_by=each.created_by) for each in self.layers
        ]
        command = HistoryEntry(
            created=CREATED, created_by=f"CMD {json.dumps(variant.cmd)}", empty_layer=True
        )
        return ImageConfig(
            platform=self.platform,
            created=CREATED,
            config=container,
            diff_ids=tuple(diff_ids),
            history=(*history, command),
        ).encoded()


def make_base(
    store: Store, reference: Reference, *, variant: Variant = BASE, machine: Machine | None = None
) -> StoredImage:
    """Put an image together, keep it and name it; a second time changes nothing.

    Args:
        store: where; the layers are unpacked when somebody needs them.
        reference: its name.
        variant: what it has besides.
        machine: whose programs; this one's if not given.

    Raises:
        HostLacks: this machine has no programs that Linux could run.
        DiskFull, StorageError: it cannot be kept.
    """
    image = assemble(variant, machine)
    with store.in_use(), storage_errors(store.home.data):
        layers = [_keep(store, layer) for layer in image.layers]
        config = image.config([layer.digest for layer in layers])
        store.blobs.put(config.raw)
        described = Descriptor(mediatype.OCI_CONFIG, config.image_id, len(config.raw))
        manifest = Manifest.build(described, layers)
        store.blobs.put(manifest.raw)
        store.sync()
        store.images.add(manifest, [(reference, manifest.digest)])
        store.layout.publish()
        return store.images.load(manifest.digest)


def assemble(variant: Variant = BASE, machine: Machine | None = None) -> HomeImage:
    """Choose what goes into an image; nothing is stored yet.

    Raises:
        HostLacks: this machine has no programs that Linux could run.
    """
    machine = machine or Machine()
    shell, utilities = machine.tree()
    settings = {path: text_file(path, text) for path, text in _ETC.items()}
    settings["etc/os-release"] = text_file("etc/os-release", _os_release())
    own = {path: text_file(path, text, 0o755) for path, text in variant.files.items()}
    if variant.stands_for:
        own[STAND_IN_FILE] = text_file(STAND_IN_FILE, _what_it_is(variant) + "\n")
    if variant.in_parts:
        parts = [
            ("the shell, its loader and its libraries", _skeleton(shell, utilities) | shell),
            ("the utilities and their libraries", utilities),
            ("the settings and what is special to this image", settings | own),
        ]
    else:
        everything = _skeleton(shell, utilities) | shell | utilities | settings
        parts = [("the programs, loader and libraries of one machine", everything)]
        if variant.files:
            parts.append((f"the stand-in of {variant.stands_for}", own))
        else:
            everything |= own
    layers = [HomeLayer(f"ocimagic: {what}", with_parents(items)) for what, items in parts]
    return HomeImage(variant, machine.platform, tuple(layers))


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
        links = {f"usr/bin/{name}": _link(f"usr/bin/{name}", "usr/bin/busybox") for name in applets}
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
    return f"usr/{inside}" if inside.partition("/")[0] in _MERGED else inside


def _take(path: str, file: Path, tree: dict[str, Item], taken: dict[Path, str]) -> None:
    """Add a file of the machine, or a link to where it is already."""
    if path not in tree:
        first = taken.setdefault(file, path)
        tree[path] = _machine_file(path, file) if first == path else _link(path, first)


def _machine_file(path: str, file: Path) -> Item:
    # The machine's own bits would bring setuid programs along.
    return Item(_entry(path, Kind.FILE, 0o755)._replace(size=file.stat().st_size), file)


def text_file(path: str, text: str, mode: int = 0o644) -> Item:
    """Return a small file that is written here."""
    content = text.encode()
    return Item(_entry(path, Kind.FILE, mode)._replace(size=len(content)), content)


def _link(path: str, target: str) -> Item:
    relative = posixpath.relpath(target, posixpath.dirname(path))
    return Item(_entry(path, Kind.SYMLINK, 0o777)._replace(linkname=relative))


def _entry(path: str, kind: Kind, mode: int) -> Entry:
    return Entry(path, kind, mode, mtime_ns=int(CREATED.timestamp()) * 1_000_000_000)


def _skeleton(*trees: Mapping[str, Item]) -> dict[str, Item]:
    """Return the directories every image has, and the links of merged ``/usr``."""
    paths = (*_PLAIN_DIRECTORIES.split(), *_MODES)
    used = [path for tree in (paths, *trees) for path in tree]
    links = [
        name for name in _MERGED if any(f"{path}/".startswith(f"usr/{name}/") for path in used)
    ]
    return {path: _directory(path) for path in paths} | {
        name: _link(name, f"usr/{name}") for name in links
    }


def _directory(path: str) -> Item:
    return Item(_entry(f"{path}/", Kind.DIR, _MODES.get(path, 0o755)))


def with_parents(items: Mapping[str, Item]) -> dict[str, Item]:
    """Add the directories that are not said: a layer that says all unpacks by itself."""
    whole = dict(items)
    for path in items:
        parent = posixpath.dirname(path)
        while parent and parent not in whole:
            whole[parent] = _directory(parent)
            parent = posixpath.dirname(parent)
    return whole


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK):
            yield chunk


def _keep(store: Store, layer: HomeLayer) -> Descriptor:
    """Write a layer's tar as a blob and return its descriptor; its digest is its diff_id."""
    with LayerFile(store) as file:
        for entry, content in layer.entries():
            file.add(entry, content)
        record = file.finish()
    return Descriptor(mediatype.OCI_LAYER, record.digest, record.blob_bytes)


def _what_it_is(variant: Variant) -> str:
    made = f"made by ocimagic from the programs of one machine ({_machine_name()})"
    if not variant.stands_for:
        return f"home-made base, {made}"
    return f"stand-in for {variant.stands_for}, {made}; it is not the real image"


def _os_release() -> str:
    name = f"home-made base of ocimagic from this machine ({_machine_name()})"
    return f'NAME="ocimagic home-made base"\nID=ocimagic\nPRETTY_NAME="{name}"\n'


def _machine_name() -> str:
    import platform

    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        name = platform.system()
    return re.sub(r'["\\$`\n]', "", name)
