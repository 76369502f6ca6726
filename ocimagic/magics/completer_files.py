"""Completion inside of a cell that is a Dockerfile or a compose file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from ocimagic.cli.grammar import find
from ocimagic.dockerfile.flags import FlagKind
from ocimagic.dockerfile.interpret import FLAGS
from ocimagic.dockerfile.reference import ENTRIES
from ocimagic.magics.known import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ocimagic.magics.known import Known
    from ocimagic.magics.place import ComposePlace, DockerfilePlace

Candidate: TypeAlias = tuple[str, str]  # what is typed, and its kind for the list

_STAGE = re.compile(r"^\s*FROM\s.*\sAS\s+(\S+)", re.IGNORECASE)
_DECLARED = re.compile(r"^\s*(ARG|ENV)\s+(.*)", re.IGNORECASE)
_NAME = re.compile(r"(?:^|\s)([A-Za-z_]\w*)(?==|\s*$)")
_VARIABLE = re.compile(r"\$(\{?)(\w*)$")
# The values of flags that are one of a few words, by instruction and flag.
_FLAG_WORDS = {
    ("RUN", "network"): ("default", "none", "host"),
    ("RUN", "security"): ("sandbox", "insecure"),
    ("RUN", "mount"): ("type=bind,", "type=cache,", "type=tmpfs,", "type=secret,", "type=ssh,"),
    ("FROM", "platform"): ("$BUILDPLATFORM", "$TARGETPLATFORM", "linux/amd64", "linux/arm64"),
}
_SIGNALS = ("SIGHUP", "SIGINT", "SIGKILL", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2")
_OLD = "MAINTAINER"  # known, and not offered


# -- Dockerfile ------------------------------------------------------------------


def dockerfile_candidates(here: DockerfilePlace, known: Known) -> list[Candidate]:
    """Return what could come next in a Dockerfile."""
    fragment, words = here.fragment, here.words
    if here.quiet:
        return []
    if words and words[0].upper() == "ONBUILD":
        words = words[1:]
    if not words:
        shown = [each for each in ENTRIES if each != _OLD]
        if fragment.islower():
            shown = [each.lower() for each in shown]
        return _starting(fragment, ((each, "keyword") for each in shown))
    keyword, rest = words[0].upper(), words[1:]
    if (found := _VARIABLE.search(fragment)) and keyword not in {"RUN", "CMD", "ENTRYPOINT"}:
        head = fragment[: found.start()]
        close = "}" if found[1] else ""
        names = variables(here.above)
        texts = (f"{head}${found[1]}{name}{close}" for name in names if name.startswith(found[2]))
        return [(text, "variable") for text in texts]
    if fragment.startswith("--"):
        return _flags(keyword, fragment, here, known)
    return _arguments(keyword, rest, here, known)


def _flags(keyword: str, fragment: str, here: DockerfilePlace, known: Known) -> list[Candidate]:
    name, equals, value = fragment[2:].partition("=")
    if not equals:
        kinds = FLAGS.get(keyword, {})
        texts = (f"--{each}" + ("" if kind is FlagKind.SWITCH else "=")
                 for each, kind in sorted(kinds.items()))  # fmt: skip
        return _starting(fragment, ((text, "option") for text in texts))
    if keyword == "COPY" and name == "from":
        found = [*((each, "stage") for each in stages(here.above)), *_images(value, known)]
        return [(f"--from={text}", kind) for text, kind in _starting(value, found)]
    head, comma, last = value.rpartition(",")
    if keyword == "RUN" and name == "mount" and comma:
        found = [(f"from={each}", "stage") for each in stages(here.above)]
        keys = ("target=", "source=", "from=", "id=", "readonly", "sharing=", "required")
        found += [(each, "option") for each in keys]
        return [(f"--mount={head},{text}", kind) for text, kind in _starting(last, found)]
    words = _FLAG_WORDS.get((keyword, name), ())
    return [(f"--{name}={each}", "value") for each in words if each.startswith(value)]


def _arguments(
    keyword: str, rest: Sequence[str], here: DockerfilePlace, known: Known
) -> list[Candidate]:
    fragment = here.fragment
    plain = [each for each in rest if not each.startswith("--")]
    match keyword:
        case "FROM" if not plain:
            named = [*((each, "stage") for each in stages(here.above)), ("scratch", "image")]
            return [*_images(fragment, known), *_starting(fragment, named)]
        case "FROM" if len(plain) == 1:
            return _starting(fragment, [("AS", "keyword"), ("as", "keyword")])[:1]
        case "COPY" | "ADD":
            if any(each.startswith("--from=") for each in rest):
                return []  # files of another image are not looked up
            return [(name, "path") for name in files(fragment, context_of(here.argv))]
        case "HEALTHCHECK" if not plain:
            return _starting(fragment, [("CMD", "keyword"), ("NONE", "keyword")])
        case "STOPSIGNAL":
            return _starting(fragment, ((each, "value") for each in _SIGNALS))
        case _:
            return []


def stages(lines: Iterable[str]) -> list[str]:
    """Return the names of the stages that lines of a Dockerfile begin."""
    return [found[1] for line in lines if (found := _STAGE.match(line))]


def variables(lines: Iterable[str], only: str = "") -> list[str]:
    """Return the names that ARG and ENV lines declare, or those of one of the two."""
    found: dict[str, None] = {}
    for line in lines:
        if (said := _DECLARED.match(line)) and said[1].upper() in (only or "ARG ENV"):
            found |= dict.fromkeys(_NAME.findall(said[2]))
    return list(found)


def context_of(argv: Sequence[str]) -> str:
    """Return the directory of a build command: its last word, if that is no option's value."""
    words = [word for word in argv if word != "-"]
    verb = find(words)
    if verb is None:
        return "."
    valued = {
        name
        for name, option in verb.spellings().items()
        if not getattr(option, "is_flag", not getattr(option, "takes_value", False))
    }
    at = 0
    path = ""
    while at < len(words):
        word = words[at]
        if word in valued:
            path = words[at + 1] if word == "--context" and at + 1 < len(words) else path
            at += 2
            continue
        if not word.startswith("-") and word not in {"image", "build", "builder", "buildx"}:
            path = word
        at += 1
    return path or "."


def _images(fragment: str, known: Known) -> list[Candidate]:
    here = _starting(fragment, ((name, "image") for name in known.images()))
    there = _starting(fragment, ((name, "tag") for name in known.remote(fragment)))
    return [*here, *(each for each in there if (each[0], "image") not in here)]


def _starting(fragment: str, candidates: Iterable[Candidate]) -> list[Candidate]:
    return [(text, kind) for text, kind in candidates if text.startswith(fragment)]


# -- compose ---------------------------------------------------------------------


def compose_candidates(here: ComposePlace, known: Known) -> tuple[str, list[Candidate]]:
    """Return the fragment and what it could become in a compose file."""
    from ocimagic.compose.keys import keys_at, path_at, values_at

    before = here.before
    if before.lstrip().startswith("#"):
        return "", []
    found = re.match(r"^( *)((?:- +)*)(?:([\w.\-]+):\s+)?(.*)$", before)
    assert found is not None  # every part may be empty
    path = path_at(here.lines, here.number, len(found[1]), in_list=bool(found[2]))
    fragment = found[4]
    if found[3] is None:
        texts = list(_names(path, here))
        if found[2] or not texts:
            texts += [(word, "value") for word in values_at(path)]
        keys = [(f"{key}:", "key") for key in sorted(keys_at(path))]
        return fragment, _starting(fragment, [*texts, *keys])
    path = (*path, found[3])
    if found[3] == "image":
        return fragment, _images(fragment, known)
    values = [(word, "value") for word in values_at(path)]
    return fragment, _starting(fragment, [*_names(path, here), *values])


def _names(path: Sequence[str], here: ComposePlace) -> Iterator[Candidate]:
    """Yield the names that a service refers to."""
    if len(path) < 3 or path[0] != "services":
        return
    match path[2]:
        case "depends_on" | "links":
            kind, names = "service", [each for each in _declared(here, "services")
                                      if each != path[1]]  # fmt: skip
        case "networks" | "volumes" | "secrets" | "configs" as kind:
            names = _declared(here, kind)
        case _:
            return
    yield from ((each, kind.removesuffix("s") or kind) for each in names)


def _declared(here: ComposePlace, section: str) -> list[str]:
    """Return the keys of a top section."""
    found: list[str] = []
    inside, column = False, 0
    for line in here.lines:
        text = re.match(r"^( *)([\w.\-]+) *:", line)
        if text is None:
            continue
        if not text[1]:
            inside, column = text[2] == section, 0
        elif inside and len(text[1]) == (column or len(text[1])):
            column = len(text[1])
            found.append(text[2])
    return found
