"""What happened, as text for a terminal and as a page for a notebook: the picture's two twins."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from ocimagic.render.escape import element_markup, markup, shorten, visible
from ocimagic.render.html import figure, plain_table_html
from ocimagic.render.sequence_svg import sequence_svg
from ocimagic.render.table import Table
from ocimagic.render.text import table_text
from ocimagic.render.units import clock_time, count, short_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocimagic.model.explanation import Explanation, Moment, Step

_MANY_WORDS = 3
_LINE_CHARS = 400
_HEADS = ("", "at", "took", "who", "what")


def explain_text(told: Explanation) -> str:
    """Write the whole story: the steps, then what each is made of."""
    parts = [headline(told), table_text(_table(told))]
    parts += [_step_text(number, step) for number, step in enumerate(told.steps, 1)]
    parts += [f"Not told: {visible(each)}" for each in told.lacks]
    return "\n\n".join(parts)


def headline(told: Explanation) -> str:
    """Say in one sentence what it was and how it ended."""
    took = f" after {short_time(told.seconds)}" if told.seconds is not None else ""
    return visible(f"{told.line}: {told.ending}{took}, begun {_moment(told.began)}")


def _moment(rfc3339: str) -> str:
    """Write a moment for people: its day and second, which zone; the rest is noise here."""
    try:
        moment = datetime.fromisoformat(rfc3339)
    except ValueError:
        return rfc3339
    return f"{moment:%Y-%m-%d %H:%M:%S} {moment.tzname() or ''}".rstrip()


def _table(told: Explanation) -> Table:
    rows = tuple(
        (
            str(number),
            clock_time(step.at_s),
            short_time(step.seconds),
            parties(step),
            step.title,
        )
        for number, step in enumerate(told.steps, 1)
    )
    return Table(headline(told), _HEADS, rows, frozenset({"at", "took"}))


def parties(step: Step) -> str:
    """Say who did something for whom."""
    if step.to is step.party:
        return step.party.value
    return f"{step.party.value} → {step.to.value}"


def _step_text(number: int, step: Step) -> str:
    lines = [f"{number}. {visible(step.title)}"]
    width = max((len(name) for name, _ in step.facts), default=0)
    lines += [f"   {visible(name):{width}}  {visible(value)}" for name, value in step.facts]
    if step.moments:
        lines.append(f"   {count(len(step.moments), 'thing')} in order:")
        lines += [f"   {line}" for line in _moment_lines(step.moments)]
    for name, document in step.documents.items():
        lines.append(f"   {visible(name)} ({_size(document)}), what says something in it:")
        lines += [f"     {line}" for line in _json_lines(said(document))]
    if step.chapter:
        lines.append(f"   spec  {step.chapter.title} <{step.chapter.url}>")
    if step.source:
        more = "".join(f", {each.place}" for each in step.more)
        lines.append(f"   code  {step.source.place} {step.source.name}{more}")
    return "\n".join(lines)


def said(document: object) -> object:
    """Leave out of a document what is empty, zero or false: it asks for nothing."""
    if isinstance(document, dict):
        kept = {key: said(value) for key, value in document.items()}
        return {key: value for key, value in kept.items() if value not in (None, "", 0, [], {})}
    if isinstance(document, list | tuple):
        return [said(each) for each in document]
    return document


def _json_lines(document: object) -> Iterable[str]:
    """Write a document's members, each on a line, what is long cut."""
    if not isinstance(document, dict):
        yield visible(shorten(json.dumps(document), _LINE_CHARS))
        return
    width = max((len(key) for key in document), default=0)
    for key, value in document.items():
        text = json.dumps(_short(value), ensure_ascii=False, default=str)
        yield visible(f"{key:{width}}  {shorten(text, _LINE_CHARS)}")


def _moment_lines(moments: Sequence[Moment]) -> Iterable[str]:
    width = max(len(each.name) for each in moments)
    for each in moments:
        at = clock_time(each.at_s, 3)
        yield f"{at:>11}  {visible(each.name):{width}}  {visible(each.detail)}".rstrip()


# -- HTML ------------------------------------------------------------------------


def story_words(told: Explanation) -> str:
    """Say the whole story in sentences: the picture's alternative text."""
    said = [_whole(told)]
    for number, step in enumerate(told.steps, 1):
        at = f" at {clock_time(step.at_s)}" if step.at_s else ""
        said.append(f"{number}: {parties(step)}{at}: {step.title}.")
    return visible(" ".join(said))


def _whole(told: Explanation) -> str:
    return f"Sequence of what happened. {headline(told)}."


def explain_html(told: Explanation) -> str:
    """Draw the picture, and fold below it the same as a table and what each step is made of.

    All of it is in every notebook that is saved: so there are few styles, and the page's own.
    """
    words = story_words(told)
    lacks = "".join(f"<li>{element_markup(each)}</li>" for each in told.lacks)
    return (
        figure(sequence_svg(told, title=_whole(told)), words, headline(told))
        + (f"<p>Not told:</p><ul>{lacks}</ul>" if lacks else "")
        + _fold("The same as a table", plain_table_html(_table(told)))
        + _fold("Each step opened: figures, system calls, specification, code", _steps(told))
    )


def _fold(summary: str, body: str) -> str:
    return f"<details><summary>{element_markup(summary)}</summary>{body}</details>"


def _lines(text: str) -> str:
    return f'<pre style="white-space:pre-wrap">{element_markup(text, lines=True)}</pre>'


def _steps(told: Explanation) -> str:
    steps = "".join(
        _fold(f"{number} · {step.title}", f'<div style="margin-left:1em">{_step_html(step)}</div>')
        for number, step in enumerate(told.steps, 1)
    )
    return f'<div style="overflow-wrap:break-word">{steps}</div>'


def _step_html(step: Step) -> str:
    parts = [_facts(step.facts)] if step.facts else []
    if step.chapter:
        link = f'<a href="{markup(step.chapter.url)}">{element_markup(step.chapter.title)}</a>'
        parts.append(f"<p>Specification: {link}</p>")
    parts += [
        _fold(f"{name} ({_size(document)})", _document_html(document))
        for name, document in step.documents.items()
    ]
    if step.moments:
        title = f"{count(len(step.moments), 'thing')} in order, system calls among them"
        parts.append(_fold(title, _lines("\n".join(_moment_lines(step.moments)))))
    if step.source:
        # The code itself: it is there without a kernel and without a network.
        place = f"{step.source.place} {step.source.name}"
        parts.append(_fold(place, _lines(step.source.code)))
    if step.more:
        more = ", ".join(f"{each.place} {each.name}" for each in step.more)
        parts.append(f"<p>Also: {element_markup(more)}</p>")
    return "".join(parts)


def _document_html(document: object, levels: int = 2) -> str:
    """Draw a JSON document to be opened member by member, below that as its text.

    A tree all the way down would take ten times the bytes, in every notebook that is saved.
    """
    if not isinstance(document, dict) or not document or not levels:
        return _lines(_json_text(_short(document)))
    items = []
    for key, value in document.items():
        if isinstance(value, dict | list) and value:
            body = _fold(f"{key} ({_size(value)})", _document_html(value, levels - 1))
        else:
            text = element_markup(json.dumps(value, ensure_ascii=False))
            body = f"{element_markup(key)}: <code>{text}</code>"
        items.append(f"<li>{body}</li>")
    return f'<ul style="list-style:none">{"".join(items)}</ul>'


def _json_text(document: object) -> str:
    """Write JSON with each member of it on a line of its own."""
    if isinstance(document, list) and document:
        items = (json.dumps(each, ensure_ascii=False) for each in document)
        return "[" + ",\n ".join(items) + "]"
    if isinstance(document, dict) and document:
        members = (f"{json.dumps(key)}: {_json_text(each)}" for key, each in document.items())
        return "{" + ",\n ".join(members) + "}"
    return json.dumps(document, ensure_ascii=False)


def _short(document: object) -> object:
    """Write a list of words as one text: a seccomp profile names hundreds of system calls."""
    if isinstance(document, dict):
        return {key: _short(value) for key, value in document.items()}
    if not isinstance(document, list | tuple):
        return document
    words = [each for each in document if isinstance(each, str)]
    if len(words) == len(document) > _MANY_WORDS:
        return " ".join(words)
    return [_short(each) for each in document]


def _size(document: object) -> str:
    return count(len(document), "member") if isinstance(document, dict | list) else "a value"


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    items = "".join(
        f"<li>{element_markup(name)}: <code>{element_markup(value)}</code></li>"
        for name, value in facts
    )
    return f"<ul>{items}</ul>"
