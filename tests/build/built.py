"""What a build came to, ours or docker's, in a form that can be compared."""

import re
from dataclasses import dataclass, field
from itertools import zip_longest

CONFIG = [
    "Env",
    "Cmd",
    "Entrypoint",
    "Labels",
    "ExposedPorts",
    "Volumes",
    "User",
    "WorkingDir",
    "StopSignal",
    "Healthcheck",
    "OnBuild",
    "Shell",
]
FLAGS = re.compile(r"(?<= )--(chown|chmod)=\S+ ")
PORT = re.compile(r"\d+/\w+")
MARKS = (" # buildkit", " # ocimagic")


@dataclass
class Built:
    """An image, or why there is none."""

    error: str = ""
    line: int | None = None
    config: dict = field(default_factory=dict)
    author: str = ""
    history: list = field(default_factory=list)  # (text, whether it made a layer)
    layers: int = 0
    files: dict = field(default_factory=dict)
    same: dict = field(default_factory=dict)
    output: str = ""
    notices: list = field(default_factory=list)

    @classmethod
    def of(cls, document, files, same):
        """Make one of an image config."""
        config = {key: document["config"].get(key) for key in CONFIG}
        return cls(
            config={key: value for key, value in config.items() if value},
            author=document.get("author", ""),
            history=[_line(each) for each in document["history"]],
            layers=len(document["rootfs"]["diff_ids"]),
            files=files,
            same=same,
        )


def _line(entry):
    text = entry.get("created_by", "")
    for mark in MARKS:
        text = text.removesuffix(mark)
    return text, not entry.get("empty_layer", False)


def differences(ours, theirs):
    """Return name to a text with ours and docker's of all that is not the same."""
    if ours.error or theirs.error:
        same = bool(ours.error) == bool(theirs.error)
        return {} if same else {"error": _both(ours.error or "built", theirs.error or "built")}
    pairs = {f"config.{key}": (ours.config.get(key), theirs.config.get(key)) for key in CONFIG}
    pairs["author"] = (ours.author, theirs.author)
    for path in sorted(set(ours.files) | set(theirs.files)):
        pairs[f"files.{path}"] = (ours.files.get(path), theirs.files.get(path))
    for path in sorted(set(ours.same) | set(theirs.same)):
        pairs[f"same.{path}"] = (ours.same.get(path), theirs.same.get(path))
    pairs["layers"] = (ours.layers, theirs.layers)
    found = {name: _both(*pair) for name, pair in pairs.items() if pair[0] != pair[1]}
    lines = zip_longest(map(_plain, ours.history), map(_plain, theirs.history))
    odd = [_both(*pair) for pair in lines if pair[0] != pair[1]]
    return found | ({"history": "".join(odd)} if odd else {})


def _plain(line):
    """Leave out what docker's versions write each in its own way, values of Go in Go's words."""
    text, made = line
    word = text.partition(" ")[0]
    if word in ("COPY", "ADD"):
        return FLAGS.sub("", text), made
    if word == "EXPOSE":
        return f"EXPOSE {sorted(PORT.findall(text))}", made
    return ("HEALTHCHECK" if word == "HEALTHCHECK" else text), made


def _both(ours, theirs):
    return f"\n    ours:     {ours}\n    docker's: {theirs}"
