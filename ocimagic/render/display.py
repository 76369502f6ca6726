"""One dispatch from any result to its text and its HTML.

A value of another room joins by having ``to_text`` and ``to_html`` itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ocimagic.errors import OcimagicError
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
from ocimagic.render import html, table, text
from ocimagic.render.escape import visible
from ocimagic.render.later import Later
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from ocimagic.render import adoption, doctor
    from ocimagic.render import difference as differences
    from ocimagic.render import distribution as distributed
    from ocimagic.render import error as errors
    from ocimagic.render import events as happened
    from ocimagic.render import explored as files
    from ocimagic.render import insides as inner
    from ocimagic.render import inspect_tree as trees
    from ocimagic.render import overview as overviews
    from ocimagic.render import report as reports
    from ocimagic.render import volume as volumes
else:
    adoption, doctor, errors = Later("adoption"), Later("doctor"), Later("error")
    differences, distributed = Later("difference"), Later("distribution")
    happened, files, inner = Later("events"), Later("explored"), Later("insides")
    trees, overviews, reports = Later("inspect_tree"), Later("overview"), Later("report")
    volumes = Later("volume")


@runtime_checkable
class Drawable(Protocol):
    """A value that knows its own picture."""

    def to_text(self, now: datetime, /) -> str:
        """Return the plain text, complete by itself."""
        ...

    def to_html(self, now: datetime, /) -> str | None:
        """Return the HTML, None when the text is all there is."""
        ...


@dataclass(frozen=True, slots=True)
class _Drawing:
    """How one type is drawn; both take the value and the time."""

    as_text: Callable[[Any, datetime], str]
    as_html: Callable[[Any, datetime], str]


def as_text(value: object, now: datetime) -> str:
    """Draw any result as plain text, without a line end.

    Args:
        value: a result of the engine, a tuple of them, an error, or a JSON document.
        now: what ages are counted from.
    """
    if value is None:
        return ""
    if isinstance(value, Drawable):
        return value.to_text(now)
    drawing = _drawing(value)
    return drawing.as_text(value, now) if drawing else visible(str(value), lines=True)


def as_html(value: object, now: datetime) -> str | None:
    """Draw any result as HTML; None when its text is all there is."""
    if isinstance(value, Drawable):
        return value.to_html(now)
    drawing = _drawing(value)
    return drawing.as_html(value, now) if drawing else None


def mimebundle(value: object, now: datetime) -> dict[str, str]:
    """Draw any result as a notebook wants it: by media type."""
    if isinstance(value, explored.FileTree):
        from ocimagic.render.explored import MOST_IN_NOTEBOOK

        value = value.first(MOST_IN_NOTEBOOK)
    bundle = {"text/plain": as_text(value, now)}
    drawn = as_html(value, now)
    return bundle if drawn is None else bundle | {"text/html": drawn}


def draws(kind: type) -> bool:
    """Say whether values of a type have a picture or words of their own here."""
    return kind in _ONE or hasattr(kind, "to_text")


def _drawing(value: object) -> _Drawing | None:
    if isinstance(value, OcimagicError):
        return _Drawing(
            lambda error, _: errors.error_text(error), lambda error, _: errors.error_html(error)
        )
    if isinstance(value, tuple | list):
        return _drawing_of_several(value) if value else None
    return _ONE.get(type(value))


def _drawing_of_several(values: Sequence[object]) -> _Drawing | None:
    """Draw results of one type as the rows of a table, or one below another."""
    kinds = {type(each) for each in values}
    kind = kinds.pop() if len(kinds) == 1 else object
    if kind in _ROWS or kind not in _ONE:
        return _ROWS.get(kind)
    one = _ONE[kind]
    return _Drawing(
        lambda value, now: "\n".join(one.as_text(each, now) for each in value),
        lambda value, now: "".join(one.as_html(each, now) for each in value),
    )


def _tabled(layout: Callable[[Any, datetime], table.Table]) -> _Drawing:
    """Draw what is a table in both forms."""
    return _Drawing(
        lambda value, now: text.table_text(layout(value, now)),
        lambda value, now: html.table_html(layout(value, now)),
    )


def _row_of(drawing: _Drawing) -> _Drawing:
    """Draw one value as a table of one row."""
    return _Drawing(
        lambda value, now: drawing.as_text((value,), now),
        lambda value, now: drawing.as_html((value,), now),
    )


def _said(say: Callable[[Any], str], tell: Callable[[Any], str] | None = None) -> _Drawing:
    """Draw what is a sentence; ``tell`` is the one for HTML, where the two differ."""
    return _Drawing(
        lambda value, _: say(value),
        lambda value, _: html.paragraph((tell or say)(value), lines=True),
    )


def _document(convert: Callable[[Any], object]) -> _Drawing:
    """Draw what is best looked at as its JSON document."""
    return _Drawing(
        lambda value, _: trees.tree_text(convert(value)),
        lambda value, _: trees.tree_html(convert(value)),
    )


def _image_document(details: result.ImageDetails) -> object:
    from ocimagic.wire.image import image_inspect

    return image_inspect(details)


def _container_document(details: result.ContainerDetails) -> object:
    from ocimagic.wire.container import container_inspect

    return container_inspect(details)


def _layers_text(report: result.LayerReport, _now: datetime) -> str:
    from ocimagic.render.layer_graph import layers_tree

    return layers_tree(report)


def _layers_html(report: result.LayerReport, _now: datetime) -> str:
    from ocimagic.render.layer_graph import layers_html

    return layers_html(report)


def _build_html(result: built.BuildResult) -> str:
    from ocimagic.render.build_picture import build_html

    return build_html(result)


def _disk_html(usage: report.DiskUsage) -> str:
    from ocimagic.render.disk_picture import disk_html

    return disk_html(usage)


def _map_text(network_map: network.NetworkMap, _now: datetime) -> str:
    from ocimagic.render.network_map import map_text

    return map_text(network_map)


def _map_html(network_map: network.NetworkMap, _now: datetime) -> str:
    from ocimagic.render.network_picture import map_html

    return map_html(network_map)


def _own_text(own: own_layer.ContainerLayers, _now: datetime) -> str:
    from ocimagic.render.own_layer import own_text

    return own_text(own)


def _own_html(own: own_layer.ContainerLayers, _now: datetime) -> str:
    from ocimagic.render.own_layer import own_html

    return own_html(own)


def _layer_rows(layers: Sequence[result.LayerInfo], _now: datetime) -> table.Table:
    return table.layer_table("Layers", layers)


def _explained_text(told: explanation.Explanation, _now: datetime) -> str:
    from ocimagic.render.explain import explain_text

    return explain_text(told)


def _explained_html(told: explanation.Explanation, _now: datetime) -> str:
    from ocimagic.render.explain import explain_html

    return explain_html(told)


_IMAGES = _tabled(table.image_table)
_CONTAINERS = _tabled(lambda rows, now: table.container_table(rows, now, memory=True))
_HISTORY = _tabled(table.history_table)
_LAYERS = _tabled(_layer_rows)
_EXITS = _Drawing(
    lambda statuses, now: "\n".join(text.exit_sentence(each, now) for each in statuses),
    lambda statuses, now: "".join(html.exit_html(each, now) for each in statuses),
)
_STATS = _tabled(lambda rows, _: reports.stats_table(rows))
_CHANGES = _Drawing(
    lambda rows, _: "\n".join(reports.change_lines(rows)),
    lambda rows, _: html.table_html(reports.change_table(rows)),
)
_JSON = _document(lambda value: value)

_ROWS: dict[type, _Drawing] = {
    result.ImageSummary: _IMAGES,
    result.ContainerSummary: _CONTAINERS,
    result.HistoryLine: _HISTORY,
    result.LayerInfo: _LAYERS,
    distribution.SearchHit: _tabled(lambda rows, _: distributed.search_table(rows)),
    distribution.ImageTree: _Drawing(
        lambda rows, _: distributed.trees_text(rows),
        lambda rows, _: distributed.trees_html(rows),
    ),
    result.ExitStatus: _EXITS,
    report.ContainerStats: _STATS,
    report.FileChange: _CHANGES,
    system_event.SystemEvent: _Drawing(
        lambda events, _: happened.events_text(events),
        lambda events, _: html.table_html(happened.events_table(events)),
    ),
    dict: _JSON,
}

_ONE: dict[type, _Drawing] = {
    **{kind: _row_of(drawing) for kind, drawing in _ROWS.items()},
    dict: _JSON,
    result.ImageDetails: _document(_image_document),
    result.ContainerDetails: _document(_container_document),
    result.LayerReport: _Drawing(_layers_text, _layers_html),
    explanation.Explanation: _Drawing(_explained_text, _explained_html),
    result.PullResult: _Drawing(
        lambda value, _: text.pull_sentence(value), lambda value, _: html.pull_html(value)
    ),
    result.PushResult: _said(text.push_sentence),
    distribution.CopyResult: _said(distributed.copy_sentence),
    distribution.RegistryListing: _tabled(lambda value, _: distributed.listing_table(value)),
    distribution.ReferrerReport: _Drawing(
        distributed.referrers_text,
        lambda value, now: html.table_html(distributed.referrers_table(value, now)),
    ),
    distribution.ManifestList: _Drawing(
        lambda value, _: distributed.list_text(value),
        lambda value, _: distributed.list_html(value),
    ),
    distribution.ListPushed: _Drawing(
        lambda value, _: distributed.list_pushed_text(value),
        lambda value, _: distributed.list_pushed_html(value),
    ),
    result.LoggedIn: _said(text.login_text),
    result.LoggedOut: _said(text.logout_text),
    built.BuildChecked: _Drawing(
        lambda value, _: text.checked_text(value),
        lambda value, _: html.checked_html(value),
    ),
    built.BuildResult: _Drawing(
        lambda value, _: text.build_text(value), lambda value, _: _build_html(value)
    ),
    result.RunResult: _Drawing(
        lambda value, _: text.run_sentence(value), lambda value, _: html.run_html(value)
    ),
    result.Removed: _Drawing(
        lambda value, _: text.removed_text(value), lambda value, _: html.removed_html(value)
    ),
    insides.ContainerNamespaces: _Drawing(
        lambda value, _: inner.namespaces_text(value),
        lambda value, _: inner.namespaces_html(value),
    ),
    insides.BundleView: _Drawing(
        lambda value, _: inner.bundle_text(value), lambda value, _: inner.bundle_html(value)
    ),
    report.ProcessTable: _tabled(lambda value, _: reports.process_table(value)),
    report.Pruned: _Drawing(
        lambda value, _: reports.pruned_text(value),
        lambda value, _: html.preformatted(reports.pruned_text(value)),
    ),
    report.ImagesPruned: _said(reports.images_pruned_text),
    report.CachePruned: _said(reports.cache_pruned_text),
    report.SystemPruned: _said(reports.system_pruned_text, reports.system_pruned_sentence),
    volume.VolumesPruned: _said(volumes.volumes_pruned_text),
    report.Verified: _said(reports.verified_text),
    difference.ImageDiff: _Drawing(
        lambda value, _: differences.diff_text(value),
        lambda value, _: differences.diff_html(value),
    ),
    explored.Explored: _Drawing(
        lambda value, _: files.explored_text(value), lambda value, _: files.explored_html(value)
    ),
    explored.FileTree: _Drawing(
        lambda value, _: files.tree_text(value), lambda value, _: files.tree_html(value)
    ),
    accounts.Accounts: _tabled(lambda value, _: reports.accounts_table(value)),
    overview.Overview: _Drawing(
        lambda value, _: overviews.overview_text(value),
        lambda value, _: overviews.overview_html(value),
    ),
    report.DiskUsage: _Drawing(
        lambda value, _: text.table_text(reports.usage_table(value)),
        lambda value, _: _disk_html(value),
    ),
    report.Copied: _said(reports.copied_text),
    report.Committed: _said(reports.committed_text, reports.committed_sentence),
    report.Bootstrapped: _said(reports.bootstrapped_sentence),
    archive.Saved: _said(reports.saved_text),
    archive.Loaded: _Drawing(
        lambda value, _: "\n".join(reports.loaded_lines(value)),
        lambda value, _: html.preformatted("\n".join(reports.loaded_lines(value))),
    ),
    archive.Adoptable: _Drawing(
        adoption.adoptable_text,
        lambda value, now: html.table_html(adoption.adoptable_table(value, now)),
    ),
    archive.Adopted: _said(adoption.adopted_text),
    archive.Imported: _said(lambda value: str(value.image_id), reports.imported_sentence),
    report.ExecResult: _Drawing(
        lambda value, _: reports.exec_sentence(value),
        lambda value, _: html.exec_html(value),
    ),
    result.SystemInfo: _Drawing(
        lambda value, _: text.info_text(value), lambda value, _: html.info_html(value)
    ),
    own_layer.ContainerLayers: _Drawing(_own_text, _own_html),
    network.NetworkMap: _Drawing(_map_text, _map_html),
    isolation.Diagnosis: _Drawing(
        lambda value, _: doctor.diagnosis_text(value),
        lambda value, _: doctor.diagnosis_html(value),
    ),
}
