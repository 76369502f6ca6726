"""The cases of ``tests/dockerfiles``: read them, and lay out what they build from.

A case is a directory with a ``Dockerfile``, the context beside it, and ``verify``, in TOML:

    about = "one sentence: the rule of the Dockerfile reference that is shown"
    layers = 1             # how many layers the result has on top of ``base``
    history = ["RUN ..."]  # the last lines of the history, oldest first
    output = ["text"]      # what the commands wrote has these
    notices = ["text"]     # what the build remarked has these

    [build]                # args, target, file (the Dockerfile's name), secrets
    [context]              # what git cannot keep: "path" = text, or a table as in `lay_out`
    [config]               # docker's names; false: not set
    [files]                # "/path" = text, false for not there, or any of
                           # kind, mode, owner, text, link, xattrs, same (a hard link;
                           false for none)
    [error]                # line (none: of the whole build), and text: words of the message
    [docker]               # skip = "why dockerd's builder cannot"; says = its own words for
                           # the error; differs = {"what" = "why"}: files./path, config.Name,
                           # history, layers or error
"""

import bz2
import gzip
import io
import lzma
import os
import shutil
import tarfile
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOM = Path(__file__).parent.parent / "dockerfiles"
ODD = {"links": tarfile.LNKTYPE, "link": tarfile.SYMTYPE}
PACKERS = {"tar": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
TABLES = {"build", "context", "config", "files", "error", "docker"}
KEYS = {
    "": {"about", "layers", "history", "output", "notices", *TABLES},
    "build": {"args", "target", "file", "secrets"},
    "error": {"line", "text"},
    "docker": {"skip", "says", "differs"},
    "files": {"kind", "mode", "owner", "text", "link", "xattrs", "same", "sha256"},
    "context": {"kind", "mode", "text", "link", "same", "holds", "packed"},
}


@dataclass(frozen=True)
class Case:
    """One directory of the corpus."""

    name: str

    @cached_property
    def verify(self):
        found = tomllib.loads((ROOM / self.name / "verify").read_text())
        _known(self.name, "", found)
        for table in ("build", "error", "docker"):
            _known(self.name, table, found.get(table, {}))
        for table in ("files", "context"):
            for said in found.get(table, {}).values():
                _known(self.name, table, said if isinstance(said, dict) else {})
        return found

    @property
    def build(self):
        return self.verify.get("build", {})

    @property
    def file(self):
        return self.build.get("file", "Dockerfile")

    @property
    def fails(self):
        return "error" in self.verify

    @property
    def text(self):
        with (ROOM / self.name / self.file).open(newline="", encoding="utf-8") as file:
            return file.read()

    def lay_out(self, room):
        """Copy the context into a new directory, with modes that do not depend on git."""
        shutil.copytree(ROOM / self.name, room, symlinks=True)
        (room / "verify").unlink()
        for path in room.rglob("*"):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        room.chmod(0o755)
        for name, said in self.verify.get("context", {}).items():
            _make(room / name, {"text": said} if isinstance(said, str) else said)


def _known(name, table, said):
    unknown = set(said) - KEYS[table]
    assert not unknown, f"{name}/verify: {table} has no {', '.join(unknown)}"


def cases():
    return [Case(path.parent.name) for path in sorted(ROOM.glob("*/verify"))]


def _make(path, said):
    path.parent.mkdir(parents=True, exist_ok=True)
    if "text" in said:
        path.write_bytes(said["text"].encode())
        path.chmod(0o644)
    if "link" in said:
        path.symlink_to(said["link"])
    if "same" in said:
        path.hardlink_to(path.parent / said["same"])
    if said.get("kind") == "directory":
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    if said.get("kind") == "fifo":
        os.mkfifo(path)
    if "holds" in said:
        path.write_bytes(PACKERS[said.get("packed", "tar")](_tar(said["holds"])))
        path.chmod(0o644)
    if "mode" in said:
        path.chmod(said["mode"])


def _tar(holds):
    """Return a tar: ``{name = text or {text, mode, owner, link, links, xattrs}}``; ``d/``."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, held in holds.items():
            said = {"text": held} if isinstance(held, str) else held
            info = tarfile.TarInfo(name.rstrip("/"))
            content = said.get("text", "").encode()
            info.mode = said.get("mode", 0o755 if name.endswith("/") else 0o644)
            info.uid, info.gid = map(int, said.get("owner", "0:0").split(":"))
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            for key, kind in ODD.items():
                if key in said:
                    info.type, info.linkname = kind, said[key]
            for key, value in said.get("xattrs", {}).items():
                info.pax_headers[f"SCHILY.xattr.{key}"] = value
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()
