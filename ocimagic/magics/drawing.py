"""Values of the engine as IPython shows them: formatters over ``render``, no value knows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ocimagic.cli import compose_rows, values
from ocimagic.magics.listing import Listing
from ocimagic.magics.loading import loading
from ocimagic.magics.methods import give
from ocimagic.model import (
    accounts,
    archive,
    built,
    difference,
    distribution,
    explanation,
    explored,
    insides,
    isolation,
    network,
    overview,
    own_layer,
    report,
    result,
    system_event,
    volume,
)
from ocimagic.spec.record import dataclass, is_dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from ocimagic.magics.config import OciMagic

    Bundle = dict[str, Any]

_SUMMED_UP = (
    result.PullResult,
    result.PushResult,
    built.BuildResult,
    report.Bootstrapped,
    archive.Loaded,
    archive.Adopted,
)
_MODULES = (accounts, archive, built, compose_rows, difference, distribution, explanation,
            explored, insides, isolation, network, overview, own_layer, report, result,
            system_event, values, volume)  # fmt: skip
_MAYBE_SHOWN = (*_SUMMED_UP, values.LogText, values.Names, Listing)
TREES = (result.ImageDetails, result.ContainerDetails, values.InspectDocument)


@dataclass(frozen=True, slots=True)
class Inspected:
    """What ``inspect`` knows of a value, to be searched.

    Attributes:
        document: what ``json.loads`` may return.
        title: what it is about.
    """

    document: object
    title: str = ""


def draw(value: object, config: OciMagic) -> Bundle:
    """Draw a value by media type, as ``OciMagic.display`` wants it."""
    drawn = value.items if isinstance(value, Listing) else value
    with loading():
        from ocimagic.render.display import mimebundle

        return finished(dict(mimebundle(drawn, datetime.now(UTC))), config)


def finished(bundle: Bundle, config: OciMagic) -> Bundle:
    """Give what was drawn its theme, its links their way; take the HTML from who wants none."""
    from ocimagic.render.ports import has_links, through
    from ocimagic.render.svg import in_theme

    html = bundle.get("text/html", "")
    if config.theme != "auto" and html:
        bundle["text/html"] = html = in_theme(html, config.theme)
    if has_links(html) and (way := config.way_to_ports()):
        bundle["text/html"] = through(html, way)
    return {"text/plain": bundle["text/plain"]} if config.display == "text" else bundle


def draw_tree(value: Inspected, config: OciMagic) -> Bundle:
    """Draw a document as a foldable tree."""
    from ocimagic.render.inspect_tree import tree_html, tree_text

    html = tree_html(value.document, title=value.title)
    return finished({"text/plain": tree_text(value.document), "text/html": html}, config)


def inspected(value: object) -> Inspected:
    """Return what ``inspect`` knows of a value; a value of another kind is its own document."""
    match value:
        case values.InspectDocument(kind, [document]):
            return Inspected(document, f"{kind} {document.get('Id', '')}")
        case values.InspectDocument(kind, documents):
            return Inspected(documents, kind)
        case result.ImageDetails():
            from ocimagic.wire.image import image_inspect

            return Inspected(image_inspect(value), f"image {value.image_id}")
        case result.ContainerDetails():
            from ocimagic.wire.container import container_inspect

            title = f"container {value.summary.container_id}"
            return Inspected(container_inspect(value), title)
        case _:
            return Inspected(value)


def register(
    ip: InteractiveShell, config: OciMagic, on_screen: Callable[[object], bool]
) -> Callable[[], None]:
    """Teach IPython to show our values; return what takes that back.

    Args:
        ip: the shell.
        config: how to show.
        on_screen: tells whether a value was shown already while its command ran.
    """
    kinds = _kinds()
    assert ip.display_formatter is not None
    bundles = ip.display_formatter.mimebundle_formatter
    displays = ip.display_formatter.ipython_display_formatter

    def shown_already(value: object) -> None:
        if not on_screen(value):
            # IPython takes this for "go on": the bundle below is asked next.
            raise NotImplementedError

    ungive = give(kinds)
    for kind in kinds:
        bundles.for_type(kind, lambda value: draw(value, config))
    for kind in _MAYBE_SHOWN:
        displays.for_type(kind, shown_already)

    def take_back() -> None:
        ungive()
        for kind in kinds:
            bundles.pop(kind, None)
        for kind in _MAYBE_SHOWN:
            displays.pop(kind, None)

    return take_back


def _kinds() -> list[type]:
    """Return every type a command may give back."""
    found = [kind for each in _MODULES for kind in vars(each).values()
             if _is_ours(kind, each.__name__)]  # fmt: skip
    return [*found, Listing]


def _is_ours(kind: object, module: str) -> bool:
    return isinstance(kind, type) and kind.__module__ == module and is_dataclass(kind)
