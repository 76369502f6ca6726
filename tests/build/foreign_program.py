"""Run by test_platforms.py in a user namespace that has a binfmt_misc of its own.

``foreign_program.py register FLAGS PROGRAM`` as its root, then ``build DIRECTORY``.

What is an ARM program there is run by this machine's busybox: an emulator that can do nothing
but the applet the program is named after.
"""

import os
import subprocess
import sys
from pathlib import Path

from ocimagic import Engine
from ocimagic.model.event import Notice, Output
from ocimagic.model.options import BuildOptions
from ocimagic.spec.elf_probe import probe_program
from ocimagic.spec.platform import Platform

FORMATS = Path("/proc/sys/fs/binfmt_misc")
MASK = b"\xff" * 7 + b"\0" * 9 + b"\xfe\xff\xff\xff"
TEXT = """FROM scratch
COPY root /
ARG TARGETARCH
RUN mkdir /made && echo $TARGETARCH > /made/arch
RUN cat /made/arch
"""


def register(flags, program):
    subprocess.run(["mount", "-t", "binfmt_misc", "none", FORMATS], check=True)
    magic, mask = (
        "".join(f"\\x{byte:02x}" for byte in each) for each in (probe_program("arm64")[:20], MASK)
    )
    words = ["", "emulator", "M", "", magic, mask, program, flags]
    (FORMATS / "register").write_text(":".join(words))


def write_root(where):
    (where / "bin").mkdir(parents=True)
    (where / "tmp").mkdir()
    for name in ("sh", "echo", "cat", "mkdir"):
        (where / "bin" / name).write_bytes(probe_program("arm64"))
        (where / "bin" / name).chmod(0o755)


def build(room):
    write_root(room / "context" / "root")
    heard = []
    options = BuildOptions(
        dockerfile=TEXT,
        context=str(room / "context"),
        tags=("arm",),
        platforms=(Platform("linux", "arm64"),),
    )
    with Engine(root=room / "root", environment={"HOME": str(room)}) as engine:
        engine.images.build(options, on_event=heard.append)
    for event in heard:
        if isinstance(event, Output):
            os.write(1, event.data)
        elif isinstance(event, Notice):
            print("notice:", event.text, flush=True)


if sys.argv[1] == "register":
    register(*sys.argv[2:])
else:
    build(Path(sys.argv[2]))
