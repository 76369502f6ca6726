"""Where a build reads from: its context, and the places that were given a name.

Each is opened when the first step wants it, and once; stages that run side by side share it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from ocimagic.build.cache import StepCache, cache_key
from ocimagic.build.context import Context, ContextReader
from ocimagic.build.layer_file import LayerFile
from ocimagic.build.remote import Asked, Fetched, dockerfile_text, fetched, fetched_text
from ocimagic.build.selection import similar
from ocimagic.build.tree_layer import kept, layer_of_files
from ocimagic.dockerfile.ignore import IgnoreRules
from ocimagic.dockerfile.places import STDIN, context_name, is_elsewhere, is_image
from ocimagic.dockerfile.values import is_url
from ocimagic.errors import BuildFailed, InvalidOption
from ocimagic.layers.tarheader import Kind
from ocimagic.model.event import Notice
from ocimagic.spec.digest import chain_ids
from ocimagic.transfer.layer import Layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ocimagic.build.bench import Bench
    from ocimagic.build.content import HashCache
    from ocimagic.build.tree import File
    from ocimagic.model.options import BuildOptions
    from ocimagic.store.images import LayerRecord

Place: TypeAlias = Context | tuple[Layer, ...]
"""A directory of this machine, or the files of layers, bottom first."""

_IGNORE = ".dockerignore"
_DEFAULT = "Dockerfile"
_Opener: TypeAlias = "Callable[[Bench], Place]"


@dataclass(slots=True)
class _Door:
    """A place that is opened once, whoever comes first."""

    open: _Opener
    lock: threading.Lock = field(default_factory=threading.Lock)
    found: Place | None = None

    def place(self, bench: Bench) -> Place:
        with self.lock:
            if self.found is None:
                # What is fetched is no step of whatever stage wants it first.
                # Nor is it for other machines, which fetch it themselves.
                cache = StepCache(bench.store, enabled=not bench.options.no_cache)
                self.found = self.open(replace(bench, cache=cache))
            return self.found


class Places:
    """The context and the named places of one build.

    Args:
        options: say which.
        hashes: knows the content of files that did not change; None where no file is read.
        beside: a directory of files that win over the context's; "" for none.
        fetched: the build's own context, if it was fetched before.

    Attributes:
        fetched: the build's own context as soon as it was fetched; None for a directory.
    """

    def __init__(
        self,
        options: BuildOptions,
        hashes: HashCache | None = None,
        *,
        beside: str = "",
        fetched: Fetched | None = None,
    ) -> None:
        self._options = options
        self._hashes = hashes
        self._beside = beside
        self.fetched = fetched
        has_context = options.context is not None or bool(beside)
        self._main = _Door(self._open_main) if has_context else None
        self._named = {
            context_name(name): _Door(_opener(self, name, text))
            for name, text in options.contexts.items()
            if not is_image(text)
        }
        self._file_name = options.dockerfile_name

    def of(self, options: BuildOptions, fetched: Fetched | None) -> Places:
        """Return the places of a build that turned out to be another, none of them opened."""
        return Places(options, self._hashes, beside=self._beside, fetched=fetched)

    @property
    def shown(self) -> str:
        """Return what errors call the build's own context."""
        return Asked(self._options.context or STDIN).where

    def main(self, bench: Bench) -> Place | None:
        """Return the build's own context, None if it has none.

        Raises:
            BuildFailed: it cannot be had.
        """
        return self._main.place(bench) if self._main else None

    def named(self, bench: Bench, name: str) -> Place:
        """Return a place by its name, as ``context_name`` has it.

        Raises:
            BuildFailed: it cannot be had.
        """
        return self._named[name].place(bench)

    def dockerfile(self, bench: Bench) -> str:
        """Return the text of the Dockerfile: what was given, or what the context has.

        Raises:
            BuildFailed: there is none, or it is no text.
            InvalidOption: there is neither a text nor a context.
        """
        if self._options.dockerfile is not None:
            return self._options.dockerfile
        if is_url(self._options.dockerfile_name):
            return fetched_text(bench, self._options.dockerfile_name)
        place = self.main(bench)
        if place is None:
            raise InvalidOption(
                "there is no Dockerfile", hint="give its text, or a context that has one"
            )
        for name in _names(self._file_name):
            found = _read(bench, place, name)
            if found is not None:
                file, chunks = found
                return dockerfile_text(chunks, file.size, f"{self._file_name} of {self.shown}")
        tree = place if isinstance(place, Context) else bench.files(place)
        near = similar(tree, self._file_name)
        raise BuildFailed(
            f"failed to read dockerfile: open {self._file_name}: no such file or directory",
            where=self.shown,
            hint=f"did you mean -f {near}?" if near else "name it with -f; its path is from there",
        )

    # -- opening -----------------------------------------------------------------------

    def _open_main(self, bench: Bench) -> Place:
        text = self._options.context
        if self.fetched is None and text is not None and is_elsewhere(text):
            self.fetched = fetched(bench, Asked(text))
        found = self.fetched
        if found is None:
            beside = self._beside if text is not None else ""
            name = self._options.dockerfile_name
            return self._directory(text or self._beside, name, beside=beside)
        self._file_name = found.file or self._file_name
        layers = found.layers
        if self._options.is_sent:
            layers += self._hiding_layers(bench, layers)
        elif bench.files(layers).find(_IGNORE):
            text = f"the {_IGNORE} of {self.shown} does not count: it is for local directories"
            bench.on_event(Notice(text))
        return layers + self._beside_layers(bench, layers)

    def _hiding_layers(self, bench: Bench, below: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """Return a layer that hides the builder's own two files, if the client wants it.

        Source: moby, builder/remotecontext/detect.go, removeDockerfile.
        """
        found = _read(bench, below, _IGNORE)
        if found is None or self._options.dockerfile is None:  # it is still to be read
            return ()
        text = b"".join(found[1]).decode("utf-8", "surrogateescape")
        rules, tree = IgnoreRules.parse(text), bench.files(below)
        names = [
            name
            for name in (_IGNORE, *_names(self._file_name))
            if rules.excludes(name) and tree.find(name)
        ]
        if not names:
            return ()
        key = cache_key("context", hidden=names, **bench.dated)
        return (_above(below, kept(bench, key, lambda: _hiding(bench, names))),)

    def _beside_layers(self, bench: Bench, below: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """Return the files that were given with the build as a layer on top of others."""
        if not self._beside:
            return ()
        context = self._directory(self._beside, None)
        top = context.find("")
        assert top is not None
        layer, _ = layer_of_files(bench, context, top)
        return (_above(below, layer),)

    def open_named(self, bench: Bench, name: str, text: str) -> Place:
        """Open a place that is no image."""
        if is_elsewhere(text):
            return fetched(bench, Asked(text, f"--build-context {name}")).layers
        # As in BuildKit, its own .dockerignore counts, and none that is called by a Dockerfile.
        return self._directory(text, "")

    def _directory(self, path: str, ignored_by: str | None, *, beside: str = "") -> Context:
        assert self._hashes is not None
        stamp = self._options.timestamp
        return Context(path, ignored_by, self._hashes, beside=beside, mtime=stamp)


def _above(below: tuple[Layer, ...], layer: Layer) -> Layer:
    """Return a layer as the one on top of others."""
    chain = chain_ids([*(each.diff_id for each in below), layer.diff_id])
    return replace(layer, chain_id=chain[-1])


def _hiding(bench: Bench, names: list[str]) -> LayerRecord:
    with LayerFile(bench.store, bench.options.timestamp) as layer:
        for name in names:
            layer.hide(name)
        return layer.finish()


def _opener(places: Places, name: str, text: str) -> _Opener:
    return lambda bench: places.open_named(bench, name, text)


def _names(name: str) -> tuple[str, ...]:
    """Return what a Dockerfile may be called: ``dockerfile`` will do where it is not there."""
    parent, slash, last = name.rpartition("/")
    return (name, f"{parent}{slash}{_DEFAULT.lower()}") if last == _DEFAULT else (name,)


def _read(bench: Bench, place: Place, name: str) -> tuple[File, Iterable[bytes]] | None:
    """Return a file and its bytes, whatever .dockerignore says of it; None if it is not there."""
    if isinstance(place, Context):
        file = place.unfiltered(name)
        return (file, ContextReader(place, file)) if file and file.kind is Kind.FILE else None
    files = bench.files(place)
    file = files.find(name)
    if file is None or file.kind is not Kind.FILE:
        return None
    return file, (bytes(chunk) for each in files.contents([file]) for chunk in each.chunks)
