"""From the text after a magic's name to words: the quoting of a shell, Python's values in braces.

::

    %container_run -e "WHO=world" {image} sh -c 'echo {not touched}'   # a comment

``{name}``, ``{name.attribute}`` and ``{name[key]}`` become the value when ``name`` exists.
A text is always one word, whatever is in it; a list or tuple becomes one word per item.
``{{…}}``, ``${…}``, ``$NAME`` and everything in single quotes stay as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption
from ocimagic.model.archive import AdoptableImage, LoadedImage
from ocimagic.model.built import BuildResult
from ocimagic.model.report import Bootstrapped, Committed, ContainerStats, ExecResult
from ocimagic.model.result import (
    ContainerDetails,
    ContainerSummary,
    ImageDetails,
    ImageSummary,
    PullResult,
    PushResult,
    RunResult,
)
from ocimagic.spec.nearest import nearest
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

_BRACES = re.compile(r"\{([^\W\d]\w*)((?:\.[^\W\d]\w*|\[[^\][{}]+\])*)\}")
_STEP = re.compile(r"\.(\w+)|\[([^\]]+)\]")
_OPERATORS = frozenset({"|", "||", "&", "&&", "<", ">", ">>", "2>", "2>&1", "2>/dev/null", ";"})


@dataclass(frozen=True, slots=True)
class Words:
    """A line taken apart.

    Attributes:
        words: without quotes, values put in.
        quiet: the line ended in ``;``, so its value is not shown.
    """

    words: tuple[str, ...]
    quiet: bool


def split(line: str, names: Mapping[str, object]) -> Words:
    """Split a line as a shell does, putting in the values of ``names``."""
    return _Splitter(line, names).split()


def is_quiet(line: str) -> bool:
    """Tell whether a line ends in ``;``; a line that cannot be split says so when it runs."""
    try:
        return split(line, {}).quiet
    except InvalidOption:
        return False


class _Splitter:
    """One pass over one line; ``_word`` is None between words."""

    def __init__(self, line: str, names: Mapping[str, object]) -> None:
        self._line = line
        self._names = names
        self._at = 0
        self._word: str | None = None
        self._quoted = False
        self._words: list[str] = []
        self._quiet = False

    def split(self) -> Words:
        while self._at < len(self._line) and not self._quiet:
            self._step()
        self._end_word()
        return Words(tuple(self._words), self._quiet)

    def _step(self) -> None:
        char = self._line[self._at]
        if char.isspace():
            self._end_word()
            self._at += 1
        elif char == "#" and self._word is None:
            self._at = len(self._line)
        elif char == ";" and _nothing_after(self._line, self._at + 1):
            self._quiet = True
        elif char == "'":
            self._single_quotes()
        elif char == '"':
            self._double_quotes()
        elif char == "\\":
            self._escape(any_char=True)
        else:
            self._plain()

    def _add(self, text: str) -> None:
        self._word = (self._word or "") + text

    def _end_word(self) -> None:
        if self._word is None:
            return
        if self._word in _OPERATORS and not self._quoted:
            raise InvalidOption(
                f"a cell line is not a shell: {self._word} has no meaning here",
                hint="quote it if the command should get it, use Python on the result, "
                "or put the line in a script: sh -c '…'",
                where=self._line.strip(),
            )
        self._words.append(self._word)
        self._word, self._quoted = None, False

    def _single_quotes(self) -> None:
        end = self._line.find("'", self._at + 1)
        if end < 0:
            raise _open_quote(self._line, self._at)
        self._quoted = True
        self._add(self._line[self._at + 1 : end])
        self._at = end + 1

    def _double_quotes(self) -> None:
        start, self._quoted = self._at, True
        self._add("")
        self._at += 1
        while True:
            if self._at >= len(self._line):
                raise _open_quote(self._line, start)
            char = self._line[self._at]
            if char == '"':
                break
            if char == "\\":
                self._escape(any_char=False)
            else:
                self._plain(one_word=True)
        self._at += 1

    def _escape(self, *, any_char: bool) -> None:
        r"""Take ``\x``; between double quotes only a few characters can be escaped."""
        following = self._line[self._at + 1 : self._at + 2]
        self._at += 2
        if following == "\n":
            return  # a continued line
        self._quoted = True
        self._add(following if any_char or following in '"\\$`' else "\\" + following)

    def _plain(self, *, one_word: bool = False) -> None:
        """Take what needs no quoting: a whole pair of braces, or one character."""
        rest = self._line[self._at :]
        if rest.startswith("{{") and (end := rest.find("}}")) >= 0:
            self._take(end + 2)
        elif rest.startswith("${"):
            self._take(2)
        elif (found := _BRACES.match(rest)) and self._known(found):
            self._put_in(self._value(found), one_word=one_word)
            self._at += found.end()
        else:
            self._take(1)

    def _take(self, count: int) -> None:
        self._add(self._line[self._at : self._at + count])
        self._at += count

    def _known(self, found: re.Match[str]) -> bool:
        """Tell a name that exists; one that almost does is an error, any other is just text."""
        name = found[1]
        if name in self._names:
            return True
        known = nearest(name, (known for known in self._names if not known.startswith("_")))
        if known is None:
            return False
        raise InvalidOption(
            f"there is no variable {name}",
            hint=f"did you mean {{{known}}}? Single quotes keep braces as text",
            where=self._line.strip(),
        )

    def _value(self, found: re.Match[str]) -> object:
        value = self._names[found[1]]
        said = found[1]
        for step in _STEP.finditer(found[2]):
            try:
                value = getattr(value, step[1]) if step[1] else _item(value, step[2])
            except (AttributeError, LookupError, TypeError) as err:
                raise InvalidOption(
                    f"{said} has no {step[0]}",
                    why=f"it is a {type(value).__name__}",
                    where=self._line.strip(),
                ) from err
            said += step[0]
        return value

    def _put_in(self, value: object, *, one_word: bool) -> None:
        self._quoted = True  # a value is never an operator
        if not isinstance(value, (list, tuple)):
            self._add(word_of(value))
            return
        texts = [word_of(item) for item in value]
        if one_word:
            self._add(" ".join(texts))
            return
        for number, text in enumerate(texts):
            if number:
                self._end_word()
                self._quoted = True
            self._add(text)


def _nothing_after(line: str, at: int) -> bool:
    rest = line[at:].strip()
    return not rest or rest.startswith("#")


def _open_quote(line: str, at: int) -> InvalidOption:
    shown = line.rstrip()
    return InvalidOption(
        f"the quote {line[at]} is never closed",
        hint=f"close it, or write \\{line[at]} for the character itself",
        where=shown if "\n" in shown else f"{shown}\n{' ' * at}^",
    )


def _item(value: object, key: str) -> object:
    """Return ``value[key]``; the key is an index or a text, with or without quotes."""
    text = key.strip()
    if re.fullmatch(r"-?\d+", text):
        return value[int(text)]  # type: ignore[index]
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    return value[text]  # type: ignore[index]


def word_of(value: object) -> str:
    """Return how a command line names a value: an image by its name, a container by its ID.

    A table, as pandas and polars have them, is its CSV.
    """
    match value:
        case ImageSummary():
            return str(value.image_id) if "<none>" in value.name else value.name
        case ImageDetails() | BuildResult() | Bootstrapped() | LoadedImage() | AdoptableImage():
            return value.tags[0] if value.tags else str(value.image_id)
        case PullResult() | PushResult():
            return value.reference
        case ContainerSummary() | RunResult() | ExecResult() | ContainerStats():
            return value.container_id
        case Committed():
            return value.reference or str(value.image_id)
        case ContainerDetails():
            return value.summary.container_id
        case _:
            return _text_of(value)


def _text_of(value: object) -> str:
    """Return bytes as they are, a table as its CSV, and of anything else what print would show."""
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "surrogateescape")
    if hasattr(value, "columns"):
        pandas, polars = (getattr(value, name, None) for name in ("to_csv", "write_csv"))
        if callable(pandas):
            return str(pandas(index=False))
        if callable(polars):
            return str(polars())
    return str(value)
