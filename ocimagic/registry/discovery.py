"""What a registry has: its lists of repositories, tags and referrers, page by page.

Spec: distribution-spec "Content Discovery": "Listing Tags", "Listing Referrers", "Pagination";
``_catalog`` is distribution's own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ocimagic.errors import InvalidDigest, InvalidDocument, RegistryAnswered
from ocimagic.registry.origin import Origin, resolve_step
from ocimagic.spec import mediatype
from ocimagic.spec.codec import MAX_MANIFEST_BYTES, decode
from ocimagic.spec.manifest import Index, parse_manifest
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocimagic.errors import OcimagicError
    from ocimagic.registry.message import Answer
    from ocimagic.spec.descriptor import Descriptor
    from ocimagic.spec.digest import Digest

MAX_PAGES = 100
MAX_NAMES = 100_000
MAX_REFERRERS = 10_000
PER_PAGE = 1000  # more is an error at Amazon's


@dataclass(frozen=True, slots=True)
class Question:
    """One list, and how to ask for it.

    Attributes:
        ask: sends a GET for a path with its query; whoever calls it closes the answer.
        refused: turns an answer that is no list into an error.
        what: the list, for errors.
        within_s: seconds to wait for a page.
    """

    ask: Callable[[str], Answer]
    refused: Callable[[Answer], OcimagicError]
    what: str
    within_s: float


def names(question: Question, path: str, key: str) -> list[str]:
    """Return a list of names, in the registry's order, each once.

    Args:
        question: how to ask.
        path: of the first page.
        key: of the list in each page's document.

    Raises:
        RegistryAnswered: pages that do not end or lead elsewhere.
        OcimagicError: what the registry said instead.
    """
    found: dict[str, None] = {}
    for answer in _pages(question, path):
        before = len(found)
        found.update(dict.fromkeys(_names(question, answer, key)))
        if len(found) >= MAX_NAMES:
            break
        if len(found) == before and _next_page(answer):
            raise _endless(question, answer.origin.shown)
    return list(found)[:MAX_NAMES]


def referrers(question: Question, path: str) -> list[Descriptor] | None:
    """Return what refers to a manifest; None where the registry does not know such lists.

    Raises:
        RegistryAnswered: it is no list, or does not end.
        OcimagicError: what the registry said instead.
    """
    found: dict[Digest, Descriptor] = {}
    for answer in _pages(question, path, absent=frozenset({404, 405})):
        said = answer.header("content-type").partition(";")[0].strip().lower()
        if answer.status != 200 or said != mediatype.OCI_INDEX:
            return None  # from before 1.1: some answer anything with a page for people
        before = len(found)
        found.update((each.digest, each) for each in _index(question, answer).manifests)
        if len(found) >= MAX_REFERRERS:
            break
        if len(found) == before and _next_page(answer):
            raise _endless(question, answer.origin.shown)
    return list(found.values())[:MAX_REFERRERS]


def referrers_tag(subject: Digest) -> str:
    """Name the tag that stands in for a list of referrers where a registry keeps none.

    Spec: distribution-spec "Referrers Tag Schema".
    """
    return f"{subject.algorithm[:32]}-{subject.hex[:64]}"


def _pages(
    question: Question, path: str, *, absent: frozenset[int] = frozenset()
) -> Iterator[Answer]:
    """Yield the answers, each to be read before the next is asked for."""
    asked, host = path, ""
    for _ in range(MAX_PAGES):
        with question.ask(asked) as answer:
            if answer.status != 200 and answer.status not in absent:
                raise question.refused(answer)
            yield answer
            following, host = _next_page(answer, path), answer.origin.shown
        if following is None:
            return
        asked = following
    raise _endless(question, host)


def _names(question: Question, answer: Answer, key: str) -> list[str]:
    raw = answer.read(max_bytes=MAX_MANIFEST_BYTES, within_s=question.within_s, what=question.what)
    try:
        found = decode(raw, what=question.what, max_bytes=MAX_MANIFEST_BYTES).texts(key)
    except InvalidDocument as err:
        raise _nonsense(answer, err) from err
    return [name for name in found if name.isprintable()]


def _index(question: Question, answer: Answer) -> Index:
    raw = answer.read(max_bytes=MAX_MANIFEST_BYTES, within_s=question.within_s, what=question.what)
    try:
        document = parse_manifest(raw, content_type=mediatype.OCI_INDEX)
    except (InvalidDocument, InvalidDigest) as err:
        raise _nonsense(answer, err) from err
    assert isinstance(document, Index), "its media type is checked"
    return document


def _nonsense(answer: Answer, err: OcimagicError) -> RegistryAnswered:
    return RegistryAnswered(f"{answer.origin.shown}: {err.what}", why=err.why)


def _endless(question: Question, host: str) -> RegistryAnswered:
    return RegistryAnswered(f"the {question.what} does not end", where=host)


def _next_page(answer: Answer, path: str = "") -> str | None:
    """Return the path of the next page, None after the last.

    Raises:
        RegistryAnswered: the Link leads to another host or another list.
    """
    found = re.search(r"<([^>]{1,4000})>\s*;[^,]*\brel=\"?next\"?", answer.header("link"))
    if not found:
        return None
    url = resolve_step(answer.request.url, found[1])
    here, there = urlsplit(answer.request.url), urlsplit(url)
    if Origin.of(url) != answer.origin or there.path != here.path:
        raise RegistryAnswered(
            f"{answer.origin.shown} continues its list elsewhere",
            why="a next page must be on the same host, below the same name",
        )
    return f"{path.partition('?')[0]}?{there.query}"
