"""Compose files of tests: written into a directory, and read as a project."""

import textwrap

from ocimagic.compose.files import Surroundings
from ocimagic.compose.load import LoadOptions, load


def write(directory, **files):
    """Write files by name; ``__`` stands for a dot and ``___`` for a slash."""
    for name, text in files.items():
        path = directory / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def read(directory, text="", *, env=None, warned=None, **options):
    """Return the project of a text, or of the files that are in a directory already."""
    if text:
        write(directory, compose__yaml=text)
    told = warned.append if warned is not None else lambda _: None
    around = Surroundings(cwd=str(directory), env=env or {}, warn=told)
    return load(LoadOptions(**options), around)
