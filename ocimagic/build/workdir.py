"""WORKDIR: a line of the config, and a layer with the directory if the image lacks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.build.cache import Made, cache_key, now
from ocimagic.build.config_steps import in_workdir
from ocimagic.build.layer_file import LayerFile
from ocimagic.build.owner import owner
from ocimagic.build.placement import Placement
from ocimagic.build.tree import kind_word
from ocimagic.layers.tarheader import Kind

if TYPE_CHECKING:
    from ocimagic.build.bench import Bench
    from ocimagic.build.state import StageState
    from ocimagic.dockerfile.source import SourceRange
    from ocimagic.store.images import LayerRecord


def workdir_step(bench: Bench, state: StageState, source: SourceRange) -> tuple[Made, bool]:
    """Make the working directory of a state, owned by its user; return as ``copy_step``.

    Raises:
        DockerfileError: something else is there.
    """
    path = in_workdir(state, ".")
    user = state.config.user
    key = cache_key("workdir", below=state.chain_id, path=path, user=user, **bench.dated)
    if found := bench.cache.find(key):
        return found, True
    with bench.alone(key, source.start_line):
        if found := bench.cache.find(key):  # another build has done it meanwhile
            return found, True
        made = Made(_layer(bench, state, path, source), now())
        bench.cache.remember(key, made, [layer.diff_id for layer in state.layers])
    return made, False


def _layer(bench: Bench, state: StageState, path: str, source: SourceRange) -> LayerRecord | None:
    files = bench.files(state.layers)
    place = Placement(files.merged, source, mtime_ns=int(bench.began.timestamp()) * 1_000_000_000)
    resolved = place.resolve(path)
    if not resolved:
        return None
    kind = place.kind(resolved)
    if kind not in (None, Kind.DIR):
        raise source.error(
            f"WORKDIR /{path} is not a directory",
            why=f"the image has {kind_word(kind)} of that name",
            hint="choose another path",
        )
    if state.config.user:
        place.owner = owner(state.config.user, files, source)
    if kind is None:
        place.parents(resolved)
        place.directory(resolved)
    # Where the directory is there, the layer is empty: docker's layers are counted so, too.
    with LayerFile(bench.store, bench.options.timestamp) as layer:
        for entry in place.take():
            layer.add(entry)
        record = layer.finish()
    bench.tocs[record.diff_id] = layer.toc
    return record
