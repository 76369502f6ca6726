"""ELF files made for tests."""

import struct


def made_elf(bits=64, kind=3, machine=62, needed=(), runpath="", interpreter="", **changed):
    """Write an ELF file of one loaded segment, by the book."""
    strings = b"\0"
    tags = []
    for tag, text in [*((1, each) for each in needed), *([(29, runpath)] if runpath else [])]:
        tags.append((tag, len(strings)))
        strings += text.encode() + b"\0"
    header, program, dynamic = {
        64: (64, "<IIQQQQQQ", "<qQ"),
        32: (52, "<IIIIIIII", "<iI"),
    }[bits]
    each = struct.calcsize(program)
    begin = header + 3 * each
    loader = interpreter.encode() + b"\0" if interpreter else b""
    tags += [(5, begin + 0x1000 + len(loader)), (10, changed.get("strsz", len(strings))), (0, 0)]
    dyn = b"".join(struct.pack(dynamic, *tag) for tag in tags)
    body = loader + strings + dyn

    def segment(kind, at, size):
        if bits == 64:
            return struct.pack(program, kind, 4, at, at + 0x1000, 0, size, size, 1)
        return struct.pack(program, kind, at, at + 0x1000, 0, size, size, 4, 1)

    segments = [
        segment(1, begin, len(body)),
        segment(2, begin + len(loader) + len(strings), len(dyn)),
        segment(3 if interpreter else 0, begin, len(loader)),
    ]
    ident = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9)
    count = changed.get("phnum", 3)
    if bits == 64:
        rest = struct.pack(
            "<HHIQQQIHHHHHH", kind, machine, 1, 0, 64, 0, 0, 64, each, count, 0, 0, 0
        )
    else:
        rest = struct.pack(
            "<HHIIIIIHHHHHH", kind, machine, 1, 0, 52, 0, 0, 52, each, count, 0, 0, 0
        )
    return ident + rest + b"".join(segments) + body
