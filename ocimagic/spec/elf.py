"""ELF files: for which processor, with which loader, and which libraries they need.

Read from the bytes alone; nothing is executed, as ``ldd`` would.
Spec: System V ABI, "Object Files" (ELF header) and "Program Loading and Dynamic Linking".
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, Self

from ocimagic.errors import InvalidDocument
from ocimagic.spec.platform import Platform
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

MAGIC = b"\x7fELF"
MAX_PROGRAM_HEADERS = 4096
MAX_DYNAMIC_ENTRIES = 1 << 16
MAX_TEXT_BYTES = 4096  # PATH_MAX: a loader, a library or a search path that could be opened

_PLATFORMS = {
    3: Platform("linux", "386"),
    40: Platform("linux", "arm", "v7"),
    62: Platform("linux", "amd64"),
    183: Platform("linux", "arm64"),
    243: Platform("linux", "riscv64"),
    258: Platform("linux", "loong64"),
}
_ET_EXEC, _ET_DYN = 2, 3
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME, _DT_RPATH = 0, 1, 5, 10, 14, 15
_DT_RUNPATH, _DT_FLAGS_1, _DF_1_PIE = 29, 0x6FFFFFFB, 0x08000000
_CLASS_32, _CLASS_64, _LITTLE_ENDIAN = 1, 2, 1


class _Layout(NamedTuple):
    """How one class of ELF packs its tables."""

    header: struct.Struct  # type, machine, offset, size and count of the program headers
    program: struct.Struct
    dynamic: struct.Struct


_LAYOUTS = {
    _CLASS_32: _Layout(
        struct.Struct("<16xHHI4xI4x4x2xHH"), struct.Struct("<IIIIII"), struct.Struct("<iI")
    ),
    _CLASS_64: _Layout(
        struct.Struct("<16xHHI8xQ8x4x2xHH"), struct.Struct("<IIQQQQ"), struct.Struct("<qQ")
    ),
}


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int  # in the file


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfFile:
    """What the loader would want to know of a program or a library.

    Attributes:
        bits: 32 or 64; a library fits only a program of the same ``bits`` and ``machine``.
        machine: the number of the processor.
        is_program: it can be started, so it is no mere library.
        interpreter: path of the loader the kernel starts first; "" without one.
        needed: names of libraries, in the order the loader looks for them.
        runpath: directories to search; may hold ``$ORIGIN``.
        rpath: the older kind, searched first, and only where there is no ``runpath``.
        soname: by which name others need this library; "" if it says nothing.
    """

    bits: int
    machine: int
    is_program: bool
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    soname: str = ""

    @property
    def is_static(self) -> bool:
        """Say whether it runs without a loader and without any library."""
        return self.is_program and not self.interpreter and not self.needed

    @property
    def platform(self) -> Platform | None:
        """Return what it runs on, if that is a processor we know."""
        return _PLATFORMS.get(self.machine)

    def fits(self, other: ElfFile) -> bool:
        """Say whether the two can be in one process."""
        return (self.bits, self.machine) == (other.bits, other.machine)

    def search_path(self, origin: str, inherited: Iterable[str] = ()) -> list[str]:
        """List where the loader looks first for what this file needs, in order.

        Args:
            origin: the directory this file is in.
            inherited: ``rpath`` of this file and of those that needed it, nearest first.

        Spec: ld.so(8).
        """
        said = self.runpath or inherited
        places = [place.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for place in said]
        return [place for place in places if place.startswith("/")]

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read the headers of a whole file.

        Raises:
            InvalidDocument: no ELF file, big endian, no program or library, or a table or a
                text that lies outside the file.
        """
        layout = _layout(content)
        kind, machine, version, *table = _unpack(layout.header, content, 0)
        if kind not in (_ET_EXEC, _ET_DYN) or version != 1:
            raise _invalid("it is neither a program nor a library")
        segments = _segments(content, layout, *table)
        tags = _dynamic(content, layout, segments)
        strings = _strings(content, segments, tags)
        interpreter = _interpreter(content, segments)
        flags = tags.get(_DT_FLAGS_1, [0])[0]
        return cls(
            bits=64 if layout is _LAYOUTS[_CLASS_64] else 32,
            machine=machine,
            is_program=kind == _ET_EXEC or bool(interpreter) or bool(flags & _DF_1_PIE),
            interpreter=interpreter,
            needed=tuple(_text(strings, at) for at in tags.get(_DT_NEEDED, [])),
            runpath=_directories(strings, tags.get(_DT_RUNPATH, [])),
            rpath=_directories(strings, tags.get(_DT_RPATH, [])),
            soname="".join(_text(strings, at) for at in tags.get(_DT_SONAME, [])[:1]),
        )


def _layout(content: bytes) -> _Layout:
    if not content.startswith(MAGIC) or len(content) < 16:
        raise _invalid("it does not begin as an ELF file does")
    if content[5] != _LITTLE_ENDIAN or content[4] not in _LAYOUTS:
        raise _invalid("only little-endian files of 32 or 64 bits can be read")
    return _LAYOUTS[content[4]]


def _segments(
    content: bytes, layout: _Layout, offset: int, size: int, count: int
) -> list[_Segment]:
    """Read the program headers: which parts of the file mean what, and where they are loaded."""
    if count and size < layout.program.size:
        raise _invalid("its program headers are too short")
    if count > MAX_PROGRAM_HEADERS:
        raise _invalid(f"it has {count} program headers")
    found = []
    for number in range(count):
        kind, *fields = _unpack(layout.program, content, offset + number * size)
        # The 64-bit header has its flags second, the 32-bit one near its end.
        _, begin, address, _, length = fields if layout is _LAYOUTS[_CLASS_64] else (0, *fields[:4])
        found.append(_Segment(kind, begin, address, length))
    return found


def _dynamic(content: bytes, layout: _Layout, segments: list[_Segment]) -> dict[int, list[int]]:
    """Return the values of each tag of the dynamic section, in order."""
    tags: dict[int, list[int]] = {}
    for segment in segments:
        if segment.kind != _PT_DYNAMIC:
            continue
        count = segment.size // layout.dynamic.size
        if count > MAX_DYNAMIC_ENTRIES:
            raise _invalid(f"its dynamic section has {count} entries")
        for number in range(count):
            at = segment.offset + number * layout.dynamic.size
            tag, value = _unpack(layout.dynamic, content, at)
            if tag == _DT_NULL:
                break
            tags.setdefault(tag, []).append(value)
        break
    return tags


def _strings(content: bytes, segments: list[_Segment], tags: dict[int, list[int]]) -> bytes:
    """Return the table of texts; its place is given as an address in memory."""
    if _DT_STRTAB not in tags:
        return b""
    address, size = tags[_DT_STRTAB][0], tags.get(_DT_STRSZ, [0])[0]
    for segment in segments:
        into = address - segment.address
        if segment.kind == _PT_LOAD and into >= 0 and into + size <= segment.size:
            return _slice(content, segment.offset + into, size)
    raise _invalid("its table of names is in no segment")


def _interpreter(content: bytes, segments: list[_Segment]) -> str:
    for segment in segments:
        if segment.kind == _PT_INTERP:
            if segment.size > MAX_TEXT_BYTES:
                raise _invalid("the name of its loader is too long")
            return _text(_slice(content, segment.offset, segment.size), 0)
    return ""


def _directories(strings: bytes, offsets: list[int]) -> tuple[str, ...]:
    return tuple(part for at in offsets for part in _text(strings, at).split(":") if part)


def _text(strings: bytes, at: int) -> str:
    """Return the text that begins at ``at`` and ends with a NUL."""
    end = strings.find(b"\0", at)
    if not 0 <= at < len(strings) or end < 0:
        raise _invalid("a name lies outside its table of names")
    if end - at > MAX_TEXT_BYTES:
        raise _invalid("a name in it is too long")
    return strings[at:end].decode("utf-8", "surrogateescape")


def _unpack(shape: struct.Struct, content: bytes, at: int) -> tuple[int, ...]:
    if not 0 <= at <= len(content) - shape.size:
        raise _invalid("it ends too early")
    return shape.unpack_from(content, at)


def _slice(content: bytes, at: int, size: int) -> bytes:
    if not 0 <= at <= at + size <= len(content):
        raise _invalid("it ends too early")
    return content[at : at + size]


def _invalid(why: str) -> InvalidDocument:
    return InvalidDocument("this is not a valid ELF file", why=why)
