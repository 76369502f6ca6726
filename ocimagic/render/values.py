"""Results as other programs want them: dictionaries, docker's documents, frames, graphs.

Values of the model are plain and know none of this; here is one place for all of them.  In a
notebook ``magics`` gives them these functions as methods.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from ocimagic.errors import HostLacks, InvalidOption
from ocimagic.model import (
    accounts,
    built,
    difference,
    distribution,
    explored,
    network,
    overview,
    own_layer,
    report,
)
from ocimagic.model import result as results
from ocimagic.model import volume as volumes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import graphviz

Row = dict[str, object]

# -- dictionaries ------------------------------------------------------------------


def to_dict(value: object) -> Any:  # noqa: ANN401  a dictionary, and of a list one of them each
    """Return a result as what ``json.dumps`` takes: the names of its fields and their values.

    Bytes become text, times ISO 8601, digests and other values of the specification text.
    """
    if value is None or isinstance(value, bool | int | float | str | bytes | Enum | datetime):
        return _leaf(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {each.name: to_dict(getattr(value, each.name)) for each in fields}
    if isinstance(value, Mapping):
        return {str(key): to_dict(each) for key, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: to_dict(each) for name, each in value._asdict().items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_dict(each) for each in value]
    return str(value)


def _leaf(value: object) -> object:
    match value:
        case str():
            return str(value)  # a digest is a str that knows more
        case bytes():
            return value.decode(errors="replace")
        case Enum():
            return value.value
        case datetime():
            return value.isoformat()
    return value


# -- docker's documents --------------------------------------------------------------


def _image(value: results.ImageDetails) -> object:
    from ocimagic.wire.image import image_inspect

    return image_inspect(value)


def _container(value: results.ContainerDetails) -> object:
    from ocimagic.wire.container import container_inspect

    return container_inspect(value)


def _network(value: network.NetworkSummary) -> object:
    from ocimagic.wire.network import network_inspect

    return network_inspect(value)


def _volume(value: volumes.VolumeSummary) -> object:
    from ocimagic.wire.volume import volume_inspect

    return volume_inspect(value)


def _system(value: results.SystemInfo) -> object:
    from ocimagic.wire.system import system_info

    return system_info(value)


DOCUMENTS: dict[type, Callable[[Any], object]] = {
    results.ImageDetails: _image,
    results.ContainerDetails: _container,
    results.SystemInfo: _system,
    network.NetworkSummary: _network,
    volumes.VolumeSummary: _volume,
}
"""What has a document of docker's behind it, and how that is written."""

# -- frames ---------------------------------------------------------------------------


def to_pandas(value: object) -> Any:  # noqa: ANN401  pandas may be absent
    """Return a DataFrame with a row for each item of a list, or of a result that is one.

    Raises:
        HostLacks: pandas is not installed.
        InvalidOption: the result is no list.
    """
    try:
        import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as err:
        raise HostLacks(
            "pandas is not installed here",
            why="a DataFrame is pandas' own",
            hint="%pip install pandas; .to_dict() needs nothing",
        ) from err
    return pd.DataFrame(rows(value))


def rows(value: object) -> list[Row]:
    """Return a result as rows of plain values.

    Raises:
        InvalidOption: it is no list.
    """
    if isinstance(value, list | tuple):
        return [_row(each) for each in value]
    if type(value) not in LISTS:
        raise InvalidOption(
            f"{type(value).__name__} is no list", hint=".to_dict() has all that is in it"
        )
    return [_row(each) for each in LISTS[type(value)](value)]


def _row(item: object) -> Row:
    if isinstance(item, Mapping):
        return {str(key): _cell(each) for key, each in item.items()}
    if not dataclasses.is_dataclass(item):
        return {"value": item}
    return {field.name: _cell(getattr(item, field.name)) for field in dataclasses.fields(item)}


def _cell(value: object) -> object:
    """Return what a DataFrame can sort and compare; digests and statuses become text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    word = getattr(value, "value", value)
    return word if isinstance(word, str) or hasattr(word, "isoformat") else str(word)


def _layers(value: results.LayerReport) -> Iterable[object]:
    return (
        {"image": name}
        | {each.name: getattr(layer, each.name) for each in dataclasses.fields(layer)}
        for name, layers in value.images
        for layer in layers
    )


def _processes(value: report.ProcessTable) -> Iterable[object]:
    return (dict(zip(value.titles, each, strict=True)) for each in value.rows)


def _differences(value: difference.ImageDiff) -> Iterable[object]:
    return (
        {"path": each.path, "what": one.what, "old": one.old, "new": one.new}
        for each in value.files
        for one in each.differences
    )


def _usage(value: report.DiskUsage) -> Iterable[object]:
    from ocimagic.render.report import usage_rows

    return usage_rows(value)


def _files(value: explored.Explored | explored.FileTree) -> Iterable[object]:
    return (
        {
            "path": f"/{each.path}",
            "kind": each.kind,
            "size_bytes": each.size_bytes,
            "is_there": each.is_there,
            "touches": " ".join(f"{touch.letter}{touch.layer}" for touch in each.touches),
            "mode": each.mode,
            "uid": each.uid,
            "gid": each.gid,
            "link": each.link,
        }
        for each in value.files
    )


def _overview(value: overview.Overview) -> Iterable[object]:
    for each in value.containers:
        used = value.stats.get(each.container_id)
        yield {
            "name": each.name,
            "image": each.image,
            "status": each.status,
            "cpu_percent": used.cpu_percent if used else None,
            "memory_bytes": used.memory_bytes if used else None,
            "memory_percent": used.memory_percent if used else None,
            "container_id": each.container_id,
        }


LISTS: dict[type, Callable[[Any], Iterable[object]]] = {
    results.LayerReport: _layers,
    built.BuildResult: lambda value: value.steps,
    accounts.Accounts: lambda value: value.layers,
    difference.ImageDiff: _differences,
    distribution.ReferrerReport: lambda value: value.referrers,
    explored.Explored: _files,
    explored.FileTree: _files,
    overview.Overview: _overview,
    network.NetworkMap: lambda value: value.containers,
    own_layer.ContainerLayers: lambda value: value.changes,
    report.DiskUsage: _usage,
    report.ProcessTable: _processes,
}
"""Results that are lists at heart, and their items."""

# -- graphs ---------------------------------------------------------------------------


def to_dot(value: object) -> graphviz.Digraph:
    """Return a result as a graph for Graphviz, which is needed only to draw it.

    Raises:
        InvalidOption: it is no graph.
    """
    if isinstance(value, list | tuple) and value:
        return _of_several(value)
    if type(value) not in GRAPHS:
        names = ", ".join(each.__name__ for each in GRAPHS)
        raise InvalidOption(f"{type(value).__name__} is no graph", hint=f"{names} are")
    return GRAPHS[type(value)](value)


def _of_several(values: Sequence[object]) -> graphviz.Digraph:
    """Return the graph of images with what their indexes name; other lists are none."""
    from ocimagic.render.distribution_graph import trees_digraph

    trees = [each for each in values if isinstance(each, distribution.ImageTree)]
    if len(trees) < len(values):
        raise InvalidOption("this list is no graph", hint="%image_layers and --tree make graphs")
    return trees_digraph(*trees)


def _of_layers(value: results.LayerReport) -> graphviz.Digraph:
    from ocimagic.render.layer_graph import layers_digraph

    return layers_digraph(value)


def _of_difference(value: difference.ImageDiff) -> graphviz.Digraph:
    nothing = results.LayerReport(images=(), total_bytes=0, stored_bytes=0)
    return _of_layers(value.stacks or nothing)


def _of_build(value: built.BuildResult) -> graphviz.Digraph:
    from ocimagic.render.build_graph import build_digraph

    return build_digraph(value)


def _of_networks(value: network.NetworkMap) -> graphviz.Digraph:
    from ocimagic.render.network_map import map_digraph

    return map_digraph(value)


def _of_container(value: own_layer.ContainerLayers) -> graphviz.Digraph:
    from ocimagic.render.own_layer import own_digraph

    return own_digraph(value)


def _of_tree(value: distribution.ImageTree) -> graphviz.Digraph:
    from ocimagic.render.distribution_graph import trees_digraph

    return trees_digraph(value)


def _of_referrers(value: distribution.ReferrerReport) -> graphviz.Digraph:
    from ocimagic.render.distribution_graph import referrers_digraph

    return referrers_digraph(value)


GRAPHS: dict[type, Callable[[Any], graphviz.Digraph]] = {
    results.LayerReport: _of_layers,
    difference.ImageDiff: _of_difference,
    built.BuildResult: _of_build,
    network.NetworkMap: _of_networks,
    own_layer.ContainerLayers: _of_container,
    distribution.ImageTree: _of_tree,
    distribution.ReferrerReport: _of_referrers,
}
"""Results that are graphs."""
