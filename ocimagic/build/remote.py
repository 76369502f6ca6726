"""Contexts from elsewhere: a repository, a URL, standard input.

Each becomes one layer, as if it were added to an empty image, and is a place of files from
then on as a stage is.  So it is fetched once for all builds that want the same; a hostile
archive meets the same guards as ADD has for it; and owners are the archive's, as with BuildKit.
``.dockerignore`` counts for none of them: docker has it for local directories only.

Source: docker buildx build, "PATH | URL | -"; BuildKit, frontend/dockerui/context.go and
namedcontext.go.
"""

from __future__ import annotations

import contextlib
import re
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ocimagic.build import archive
from ocimagic.build.cache import cache_key
from ocimagic.build.fetched import FetchedFile
from ocimagic.build.git_source import GitFiles
from ocimagic.build.layer_file import LayerFile
from ocimagic.build.placement import Placement
from ocimagic.build.spooled import Spooled
from ocimagic.build.tree_layer import kept, write_layer
from ocimagic.dockerfile.instructions import Add
from ocimagic.dockerfile.places import is_repository, repository
from ocimagic.dockerfile.source import SourceRange
from ocimagic.errors import BuildFailed, DockerfileError, LayerRefused, OcimagicError
from ocimagic.layers.mergedtree import MergedTree
from ocimagic.model.event import Notice
from ocimagic.registry.origin import shown_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocimagic.build.bench import Bench
    from ocimagic.store.images import LayerRecord
    from ocimagic.transfer.layer import Layer

_FILE_NAME = "context"  # BuildKit's, for what is at a URL and no archive
_ARCHIVE = re.compile(r"\.(tar(\.\w+)?|t[gbx]z2?|tzst)$")
_UNPACK = "docker unpacks no archive that has a name; ADD --unpack=true URL / in a stage does"
_KEEP_GIT_DIR = "BUILDKIT_CONTEXT_KEEP_GIT_DIR"
_YES = ("1", "t", "true")
MAX_DOCKERFILE_BYTES = 4 << 20
_LEAST_LIMIT = 1 << 30
_RATIO_LIMIT = 100
# The beginning of what is compressed: no Dockerfile starts so.
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
_HEAD_BYTES, _PAGE_BYTES = 1024, 16


@dataclass(frozen=True, slots=True)
class Asked:
    """A place that somebody asked for.

    Args:
        text: as it is written.
        option: where: ``--build-context src``, or "" for the build's own context.
    """

    text: str
    option: str = ""

    @property
    def shown(self) -> str:
        """Return it without a password."""
        return shown_url(self.text) if "://" in self.text else self.text

    @property
    def where(self) -> str:
        """Return how errors call it."""
        return f"{self.option or 'the build context'} {self.shown}"

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Have errors say where it was asked for: that is no line of the Dockerfile."""
        try:
            yield
        except DockerfileError as err:
            raise BuildFailed(err.what, why=err.why, hint=err.hint, where=self.where) from err
        except LayerRefused as err:
            raise BuildFailed(
                f"{self.shown} cannot be a build context",
                why=err.why,
                where=self.where,
                hint="make it anew, and see that you trust where it is from",
            ) from err
        except OcimagicError as err:
            if self._line.text in (err.where or ""):
                err.where = self.where
            raise

    def as_add(self, bench: Bench) -> Add:
        """Return it as the instruction that would fetch it into an empty image."""
        keep = bench.options.build_args.get(_KEEP_GIT_DIR, "").lower() in _YES
        return Add(
            source=self._line, sources=(self.text,), destination="/", keep_git_dir=keep or None
        )

    @property
    def _line(self) -> SourceRange:
        text = f"the context {self.shown}"
        return SourceRange(start_line=1, end_line=1, text=text, logical=text)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a place has.

    Attributes:
        layers: its files.
        file: the name of the one file there is, where it is no archive and no repository.
        modified_ns: when the server says that it was changed; 0 where nobody says.
    """

    layers: tuple[Layer, ...]
    file: str = ""
    modified_ns: int = 0


def fetched(bench: Bench, asked: Asked) -> Fetched:
    """Return the files of a repository or of what is at a URL, fetched unless they are here.

    As in BuildKit, an archive is unpacked where it is the build's own context; under a name it
    is one file, as anything at a URL.

    Raises:
        BuildFailed: there is no such thing, or it cannot be fetched or used.
        HostLacks: there is no git.
        DiskFull, Cancelled: as everywhere.
    """
    add = asked.as_add(bench)
    with asked.told(), ExitStack() as held:
        if is_repository(asked.text):
            files = GitFiles(bench, add, repository(asked.text))
            held.callback(files.close)
            key = cache_key("context", content=files.key(), **bench.dated)
            return Fetched((kept(bench, key, lambda: _checked_out(bench, files)),))
        file = FetchedFile(bench, add, asked.text, needs_name=False)
        held.callback(file.close)
        return _of_url(bench, file, asked)


def given(bench: Bench, pieces: Iterable[bytes]) -> Fetched | str:
    """Return what came on standard input: the files of an archive, or the text of a Dockerfile.

    Raises:
        BuildFailed: it is neither.
    """
    asked = Asked("-")
    with asked.told(), ExitStack() as held:
        file = Spooled(bench, asked.where)
        held.callback(file.close)
        file.take(pieces)
        if not archive.is_archive(file.chunks()):
            _refuse_binary(file, asked)
            return dockerfile_text(file.chunks(), file.size, asked.where)
        key = cache_key("context", content=["given", file.sha256], **bench.dated)
        return Fetched((kept(bench, key, lambda: _unpacked(bench, file)),))


def fetched_text(bench: Bench, url: str) -> str:
    """Return the text of a Dockerfile at a URL.

    Raises:
        BuildFailed: there is none, or it cannot be fetched.
    """
    asked = Asked(url, "-f")
    with asked.told(), ExitStack() as held:
        file = FetchedFile(bench, asked.as_add(bench), url, needs_name=False)
        held.callback(file.close)
        file.selected()
        return dockerfile_text(file.tree().chunks(), file.tree().size, asked.where)


def dockerfile_text(chunks: Iterable[bytes], size: int, where: str) -> str:
    """Return the text of a Dockerfile.

    Raises:
        BuildFailed: it is none, or far too long.
    """
    if size > MAX_DOCKERFILE_BYTES:
        raise BuildFailed(
            "the Dockerfile is too large",
            why=f"{size} bytes; the limit is {MAX_DOCKERFILE_BYTES >> 20} MiB",
            where=where,
        )
    try:
        return b"".join(chunks).decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise BuildFailed("the Dockerfile is not UTF-8 text", why=str(err), where=where) from err


def _of_url(bench: Bench, file: FetchedFile, asked: Asked) -> Fetched:
    """Unpack an archive; anything else is the one file of its context, and its Dockerfile."""
    content, has_name = file.key(), bool(asked.option)
    # What is one file under a name may be an archive all the same.
    as_tar, as_file = (
        cache_key("context", content=content, form=form, **bench.dated)
        for form in ("tar", "named" if has_name else "file")
    )
    spooled = file.tree()

    def unpacked() -> LayerRecord:
        return _unpacked(bench, spooled)

    def written() -> LayerRecord:
        return write_layer(bench, spooled, [(_FILE_NAME, file.selected()[0].file)])

    if has_name and _ARCHIVE.search(urlsplit(asked.text).path):
        text = f"{asked.where} is one file called {_FILE_NAME}: {_UNPACK}"
        bench.on_event(Notice(text))
    is_file = has_name or bench.cache.find(as_file) is not None
    if not is_file and bench.cache.find(as_tar) is None:
        file.selected()
        is_file = not archive.is_archive(spooled.chunks())
        if is_file:
            _refuse_binary(spooled, asked)
    key, make = (as_file, written) if is_file else (as_tar, unpacked)
    layers = (kept(bench, key, make),)
    return Fetched(layers, _FILE_NAME if is_file else "", file.modified_ns)


def _checked_out(bench: Bench, files: GitFiles) -> LayerRecord:
    [chosen] = files.selected()
    return write_layer(bench, files.tree(), chosen.inside)


def _unpacked(bench: Bench, file: Spooled) -> LayerRecord:
    source = SourceRange(start_line=1, end_line=1, text=file.name, logical=file.name)
    placement = Placement(MergedTree(()), source)
    most = max(_LEAST_LIMIT, _RATIO_LIMIT * file.size)
    with LayerFile(bench.store, bench.options.timestamp) as layer:
        archive.extract(
            file.chunks(), layer, placement, "", max_bytes=most, check=bench.check_cancelled
        )
        return layer.finish()


def _refuse_binary(file: Spooled, asked: Asked) -> None:
    """Refuse what is no text: the parser would complain of the first of its bytes."""
    head = next(iter(file.chunks()), b"")[:_HEAD_BYTES]
    if head.lstrip()[:_PAGE_BYTES].lower().startswith((b"<!doctype", b"<html")):
        raise BuildFailed(
            f"{asked.shown} is a web page, not a Dockerfile",
            where=asked.where,
            hint="the address of a repository ends with .git; that of a file is the one of its raw "
            "text",
        )
    if head.startswith(_PACKED) or b"\0" in head:
        raise BuildFailed(
            f"{asked.shown} is neither an archive nor a Dockerfile",
            why="it is compressed or binary, and holds no tar that can be read",
            where=asked.where,
            hint="give a tar, plain or in gzip, bzip2, xz or zstd, or the text of a Dockerfile",
        )
