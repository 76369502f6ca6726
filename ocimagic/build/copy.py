"""COPY and ADD: files go straight into a layer, without mount, container or root.

Source: facts/build.md sections 1.2 and 1.4.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.build import archive
from ocimagic.build.cache import Made, cache_key, now
from ocimagic.build.config_steps import in_workdir
from ocimagic.build.layer_file import LayerFile
from ocimagic.build.owner import owner
from ocimagic.build.placement import Placement
from ocimagic.build.sources import LocalFiles, Source, names_directory, sources_of
from ocimagic.dockerfile.chmod import Chmod
from ocimagic.dockerfile.instructions import Add, Copy
from ocimagic.errors import LayerRefused
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.model.event import Notice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocimagic.build.bench import Bench
    from ocimagic.build.places import Place
    from ocimagic.build.selection import Selected
    from ocimagic.build.state import StageState
    from ocimagic.build.tree import File, Tree
    from ocimagic.store.images import LayerRecord

_HEREDOC_MODE = 0o644
_LEAST_LIMIT = 1 << 30
_RATIO_LIMIT = 100


def copy_step(
    bench: Bench,
    state: StageState,
    instruction: Copy | Add,
    place: Place | None,
) -> tuple[Made, bool]:
    """Do an expanded COPY or ADD, or find it done; return what it made and whether found.

    Args:
        bench: of this build.
        state: before the instruction.
        instruction: expanded.
        place: what it reads from: the build context, or what ``--from`` means.

    Raises:
        DockerfileError: a source that is not there, or does not fit where it should go.
        BuildFailed: a source that cannot be read.
    """
    definition = _definition(state, instruction) | bench.dated
    # The file system of another stage has a name already: equal name, equal files.  An ADD may
    # fetch more than it has.
    quick = None
    if isinstance(place, tuple) and isinstance(instruction, Copy):
        tree_name = place[-1].chain_id if place else ""
        quick = cache_key("copy-from", **definition, tree=tree_name, paths=instruction.sources)
        if found := bench.cache.find(quick):
            return found, True
    tree = bench.files(place) if isinstance(place, tuple) else place
    with ExitStack() as held:
        sources = sources_of(bench, instruction, tree, held)
        key = cache_key("copy", **definition, **_content(sources))
        made = found = bench.cache.find(key)
        if made is None:
            held.enter_context(bench.alone(key, instruction.source.start_line))
            made = found = bench.cache.find(key)  # another build may have done it meanwhile
        if made is None:
            made = Made(_CopyJob(bench, state, instruction).layer(sources), now())
            bench.cache.remember(key, made)
    if quick:
        bench.cache.remember(quick, replace(made, content=key))
    return made, found is not None


def _definition(state: StageState, instruction: Copy | Add) -> dict[str, object]:
    """Return what of the instruction itself decides what comes of it."""
    heredocs = [[each.name, each.content] for each in instruction.heredocs]
    return {
        "below": None if _stands_alone(instruction) else state.chain_id,
        "destination": in_workdir(state, instruction.destination),
        "into": names_directory(instruction.destination),
        "chown": instruction.chown,
        "chmod": instruction.chmod,
        "exclude": instruction.exclude,
        "sources": len(instruction.sources),
        "heredocs": heredocs,
        "unpack": instruction.unpack if isinstance(instruction, Add) else False,
        "parents": isinstance(instruction, Copy) and instruction.parents,
    }


def _content(sources: Sequence[Source]) -> dict[str, object]:
    """Return what the sources have, as ``why`` compares it."""
    local = [each for source in sources if isinstance(source, LocalFiles) for each in source.key()]
    fetched = [each.key() for each in sources if not isinstance(each, LocalFiles)]
    return {"files": local, "fetched": fetched}


def _stands_alone(instruction: Copy | Add) -> bool:
    """Say whether the layer is made as if there were nothing below.

    BuildKit does --link only where there is no --chmod.
    """
    return instruction.link and instruction.chmod is None


class _Wanted(NamedTuple):
    """A file whose content is still to be written; ``source`` is the number of its source."""

    entry: Entry
    file: File
    tree: Tree
    source: int


@dataclass(slots=True)
class _CopyJob:
    """One COPY or ADD that is not in the cache."""

    bench: Bench
    state: StageState
    instruction: Copy | Add
    chown: tuple[int, int] | None = None
    files: dict[str, _Wanted] = field(default_factory=dict)

    def layer(self, sources: Sequence[Source]) -> LayerRecord | None:
        """Write the layer; None if there was nothing to copy."""
        instruction = self.instruction
        selected = [(each, source) for source in sources for each in source.selected()]
        if not selected and not instruction.heredocs:
            return None
        is_alone = _stands_alone(instruction)
        below = self.bench.files(() if is_alone else self.state.layers)
        if instruction.chown is not None:
            self.chown = owner(instruction.chown, below, instruction.source, is_alone=is_alone)
        files = [file for each, _ in selected for _, file in (("", each.file), *each.inside)]
        placement = Placement(
            below.merged,
            instruction.source,
            owner=self.chown,
            mtime_ns=max((file.mtime_ns for file in files), default=self._now_ns),
        )
        destination = placement.resolve(in_workdir(self.state, instruction.destination))
        with LayerFile(self.bench.store, self.bench.options.timestamp) as layer:
            for number, (each, source) in enumerate(selected):
                file, tree = each.file, source.tree()
                if self._is_archive(file, tree, may_unpack=source.may_unpack):
                    self._write_files(layer, placement)  # a later source may replace it
                    self._unpack(file, tree, layer, placement, destination)
                else:
                    self._place(each, tree, placement, destination, number)
            self._write_files(layer, placement)
            self._write_heredocs(layer, placement, destination)
            record = layer.finish()
        self.bench.tocs[record.diff_id] = layer.toc
        return record

    @property
    def _now_ns(self) -> int:
        return int(self.bench.began.timestamp()) * 1_000_000_000

    def _mode(self, mode: int, *, is_directory: bool = False) -> int:
        """Return what --chmod makes of a mode."""
        if self.instruction.chmod is None:
            return mode
        return Chmod.parse(self.instruction.chmod).applied(mode, is_directory=is_directory)

    @staticmethod
    def _is_archive(file: File, tree: Tree, *, may_unpack: bool) -> bool:
        return may_unpack and file.kind is Kind.FILE and archive.is_archive(_bytes(file, tree))

    def _place(
        self, selected: Selected, tree: Tree, placement: Placement, destination: str, number: int
    ) -> None:
        file = selected.file
        if file.kind is Kind.DIR:
            placement.parents(destination)
            placement.directory(destination)  # BuildKit's --chmod does not reach it
            for name, inside in selected.inside:
                path = f"{destination}/{name}".lstrip("/")
                if name in selected.passed:
                    placement.directory(path, new=self._entry(path, inside))
                else:
                    self._put(path, inside, tree, placement, number)
        else:
            path = self._file_path(selected.name, placement, destination)
            if path in self.files:
                self._warn_twice(path)
            self._put(path, file, tree, placement, number)

    def _file_path(self, name: str, placement: Placement, destination: str) -> str:
        """Decide whether the destination is the file's directory or its new name."""
        into = names_directory(self.instruction.destination)
        if into or not destination or placement.kind(destination) is Kind.DIR:
            return f"{destination}/{name}".lstrip("/")
        return destination

    def _put(self, path: str, file: File, tree: Tree, placement: Placement, number: int) -> None:
        entry = self._entry(path, file)
        placement.put(entry)
        self.files.pop(path, None)
        if file.kind is Kind.FILE:
            self.files[path] = _Wanted(entry, file, tree, number)

    def _entry(self, path: str, file: File) -> Entry:
        mode = file.mode
        if file.kind is not Kind.SYMLINK:
            mode = self._mode(mode, is_directory=file.kind is Kind.DIR)
        uid, gid = self.chown or (file.uid, file.gid)
        return Entry(path, file.kind, mode, uid, gid, file.mtime_ns, file.size, file.linkname)

    def _warn_twice(self, path: str) -> None:
        text = f"several sources become the one file /{path}, the last one wins"
        hint = "; end the destination with / to copy into a directory"
        self.bench.on_event(Notice(text + hint, self.instruction.source.start_line))

    def _write_files(self, layer: LayerFile, placement: Placement) -> None:
        """Write what was placed, each content once; files that are one in a source stay one."""
        for entry in placement.take():
            layer.add(entry)
        by_tree: dict[int, list[_Wanted]] = {}
        first: dict[tuple[int, tuple[int, ...]], str] = {}
        links: list[Entry] = []
        for wanted in self.files.values():
            entry, file = wanted.entry, wanted.file
            name = first.setdefault((wanted.source, file.identity), entry.name)
            if name != entry.name and file.links > 1:
                links.append(entry._replace(kind=Kind.HARDLINK, size=0, linkname=name))
            else:
                by_tree.setdefault(id(wanted.tree), []).append(wanted)
        self.files = {}
        for files in by_tree.values():
            for content in files[0].tree.contents([each.file for each in files]):
                self.bench.check_cancelled()
                entry = files[content.number].entry
                try:
                    layer.add(entry._replace(xattrs=content.xattrs), content.chunks)
                except LayerRefused as err:
                    raise self._refused(entry.name, err) from err
        for link in links:
            layer.add(link)

    def _write_heredocs(self, layer: LayerFile, placement: Placement, destination: str) -> None:
        for heredoc in self.instruction.heredocs:
            data = heredoc.content.encode()
            uid, gid = self.chown or (0, 0)
            path = self._file_path(heredoc.name, placement, destination)
            mode = self._mode(_HEREDOC_MODE)
            entry = Entry(path, Kind.FILE, mode, uid, gid, self._now_ns, len(data))
            placement.put(entry)
            for each in placement.take():
                layer.add(each)
            layer.add(entry, [data])

    def _unpack(
        self, file: File, tree: Tree, layer: LayerFile, placement: Placement, destination: str
    ) -> None:
        placement.parents(destination)
        placement.directory(destination)
        for entry in placement.take():
            layer.add(entry)
        try:
            archive.extract(
                _bytes(file, tree),
                layer,
                placement,
                destination,
                max_bytes=max(_LEAST_LIMIT, _RATIO_LIMIT * file.size),
                check=self.bench.check_cancelled,
            )
        except LayerRefused as err:
            raise self._refused(file.path, err) from err

    def _refused(self, name: str, err: LayerRefused) -> Exception:
        return self.instruction.source.error(
            f"cannot put {name} into a layer", why=err.why, hint="remove it, or exclude it"
        )


def _bytes(file: File, tree: Tree) -> Iterator[bytes]:
    return (bytes(chunk) for each in tree.contents([file]) for chunk in each.chunks)
