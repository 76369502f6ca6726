"""Values of the engine as IPython shows them: formatters over ``render``, no value knows them."""

from __future__ import annotations

from dataclasses import is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ocimagic.cli import values
from ocimagic.magics.listing import Listing
from ocimagic.model import (
    accounts,
    archive,
    built,
    difference,
    distribution,
    isolation,
    report,
    result,
    volume,
)

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
_MODULES = (accounts, archive, built, difference, distribution, isolation, report, result, values,
            volume)  # fmt: skip
_MAYBE_SHOWN = (*_SUMMED_UP, values.LogText, values.Names, Listing)
_TREES = (result.ImageDetails, result.ContainerDetails, values.InspectDocument)


def draw(value: object, config: OciMagic) -> Bundle:
    """Draw a value by media type, as ``OciMagic.display`` wants it."""
    from ocimagic.render.display import mimebundle

    if config.display == "widget" and isinstance(value, _TREES):
        return dict(explore(value)._repr_mimebundle_())
    drawn = value.items if isinstance(value, Listing) else value
    bundle: Bundle = dict(mimebundle(drawn, datetime.now(UTC)))
    return {"text/plain": bundle["text/plain"]} if config.display == "text" else bundle


def explore(value: object) -> Any:  # noqa: ANN401  a widget, and widgets are untyped
    """Return the search box over what ``inspect`` knows of a value."""
    from ocimagic.widgets.inspect_tree import InspectTree

    match value:
        case values.InspectDocument(kind, [document]):
            return InspectTree(document, title=f"{kind} {document.get('Id', '')}")
        case values.InspectDocument(kind, documents):
            return InspectTree(documents, title=kind)
        case result.ImageDetails():
            from ocimagic.wire.image import image_inspect

            return InspectTree(image_inspect(value), title=f"image {value.image_id}")
        case result.ContainerDetails():
            from ocimagic.wire.container import container_inspect

            return InspectTree(
                container_inspect(value), title=f"container {value.summary.container_id}"
            )
        case _:
            return InspectTree(value)


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

    for kind in kinds:
        bundles.for_type(kind, lambda value: draw(value, config))
    for kind in _MAYBE_SHOWN:
        displays.for_type(kind, shown_already)

    def take_back() -> None:
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
