"""What a build came to, ours or docker's, in a form that can be compared."""

from dataclasses import dataclass, field

CONFIG = (
    "Env Cmd Entrypoint Labels ExposedPorts Volumes User WorkingDir StopSignal Healthcheck "
    "OnBuild Shell"
).split()
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
    """Return name to (ours, docker's) of all that is not the same."""
    found = {}

    def compare(name, one, other):
        if one != other:
            found[name] = (one, other)

    if ours.error or theirs.error:
        compare("error", ours.error or "built", theirs.error or "built")
        return {} if ours.error and theirs.error else found
    for key in CONFIG:
        compare(f"config.{key}", ours.config.get(key), theirs.config.get(key))
    compare("author", ours.author, theirs.author)
    for path in sorted(set(ours.files) | set(theirs.files)):
        compare(f"files.{path}", ours.files.get(path), theirs.files.get(path))
    compare("same", ours.same, theirs.same)
    compare("history", ours.history, theirs.history)
    compare("layers", ours.layers, theirs.layers)
    return found
