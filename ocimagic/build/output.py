"""Where else the result of a build goes: a directory, a tar of its files, an archive.

Source: Docker CLI reference, ``docker buildx build --output``.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, TypeAlias

from ocimagic.build.image_files import kept_xattrs
from ocimagic.errors import BadInput, HostLacks, InvalidOption
from ocimagic.home.disk import storage_errors
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.layers.tarstream import TarWriter
from ocimagic.transfer.layer import chunks_of
from ocimagic.transfer.save import Chosen, ChosenIndex, save

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ocimagic.build.bench import Bench
    from ocimagic.build.commit import Built, Committed
    from ocimagic.build.state import StageState
    from ocimagic.model.options import BuildOutput
    from ocimagic.spec.reference import Reference

    _Trees: TypeAlias = Sequence[tuple[str, StageState]]  # each with the directory it goes to


def check_outputs(outputs: Sequence[BuildOutput], platforms: int) -> None:
    """Refuse, before anything is built, what cannot be written.

    Raises:
        InvalidOption: docker's archive of what is for several platforms.
    """
    if platforms > 1 and any(each.kind == "docker" for each in outputs):
        raise InvalidOption(
            "type=docker holds an image for one platform",
            why="this build is for several",
            hint="write -o type=oci,dest=FILE, or build for one platform",
        )


def write_output(
    bench: Bench, made: Committed, tags: Sequence[Reference], output: BuildOutput
) -> None:
    """Write one output; a file appears whole or not at all.

    What is for several platforms goes to a directory for each, ``linux_arm64``.

    Raises:
        InvalidOption: it cannot be written there.
        HostLacks: files can be unpacked on Linux only.
    """
    trees = [(_directory_of(each) if made.index else "", each.state) for each in made.images]
    try:
        if output.kind == "local":
            _write_directory(bench, trees, output.path)
            return
        with _replacing(output.path) as file:
            if output.kind == "tar":
                _write_tar(bench, trees, file.write)
            else:
                _write_archive(bench, made, tags, output, file.write)
    except OSError as err:
        raise InvalidOption(
            f"cannot write the result to {output.path}", why=err.strerror or str(err)
        ) from err
    except BadInput as err:  # a file stands where a directory is to be, or the other way round
        raise InvalidOption(
            f"cannot write the result to {output.path}",
            why=err.what,
            hint="choose an empty directory: some files may be there already",
        ) from err


def _directory_of(built: Built) -> str:
    return f"{str(built.platform).replace('/', '_')}/"


def _write_archive(
    bench: Bench,
    made: Committed,
    tags: Sequence[Reference],
    output: BuildOutput,
    write: Callable[[bytes], object],
) -> None:
    assert output.kind in ("oci", "docker")
    images = [bench.store.images.load(each.manifest.digest) for each in made.images]
    names = tuple(tag.tagged() for tag in tags)
    save(
        bench.store,
        [] if made.index else [Chosen(images[0], names)],
        write,
        archive_format=output.kind,
        check=bench.check_cancelled,
        indexes=[ChosenIndex(made.index, tuple(images), names)] if made.index else (),
    )


class _replacing:  # noqa: N801  used as a function
    """A file that takes its name when it is whole."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115  closed in __exit__
            dir=os.path.dirname(self._path), prefix=".ocimagic-", delete=False
        )

    def __enter__(self) -> tempfile._TemporaryFileWrapper[bytes]:
        return self._file

    def __exit__(self, kind: object, *_: object) -> None:
        self._file.close()
        if kind is None:
            os.chmod(self._file.name, 0o644)
            os.replace(self._file.name, self._path)
        else:
            os.unlink(self._file.name)


def _write_tar(bench: Bench, trees: _Trees, write: Callable[[bytes], object]) -> None:
    """Write all files of the result, hard links as files of their own."""
    writer = TarWriter(lambda piece: write(bytes(piece)))
    for prefix, state in trees:
        if prefix:
            writer.add(Entry(prefix, Kind.DIR, 0o755))
        _add_tree(bench, prefix, state, writer)
    writer.finish()


def _add_tree(bench: Bench, prefix: str, state: StageState, writer: TarWriter) -> None:
    files = bench.files(state.layers)
    regular = []
    for found in files.merged.walk():
        bench.check_cancelled()
        entry = found.entry
        if not found.path:
            continue
        if entry.kind in (Kind.FILE, Kind.HARDLINK):
            file = files.find(found.path)
            assert file is not None
            regular.append((found.path, file))
            continue
        name = prefix + found.path + ("/" if entry.kind is Kind.DIR else "")
        writer.add(
            Entry(name, entry.kind, entry.mode, entry.uid, entry.gid, entry.mtime_ns, 0,
                  entry.linkname)
        )  # fmt: skip
    for content in files.contents([file for _, file in regular]):
        bench.check_cancelled()
        path, file = regular[content.number]
        name = prefix + path
        made = Entry(name, Kind.FILE, file.mode, file.uid, file.gid, file.mtime_ns, file.size)
        writer.add(made._replace(xattrs=kept_xattrs(content.xattrs)), content.chunks)


def _write_directory(bench: Bench, trees: _Trees, path: str) -> None:
    """Write all files of the result, owned by whoever builds; what an image says is not trusted."""
    try:
        from ocimagic.layers.attributes import IdPolicy
        from ocimagic.layers.extract import extract
    except ImportError as err:
        raise HostLacks(
            "files can be written to a directory on Linux only", hint="use type=tar"
        ) from err
    os.makedirs(path, exist_ok=True)
    spool: Path = bench.store.home.ingest / f"build-{os.getpid()}-{os.urandom(6).hex()}.tar"
    try:
        with storage_errors(bench.store.home.data), spool.open("xb") as file:
            _write_tar(bench, trees, file.write)
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with spool.open("rb") as file:
                ids = IdPolicy.here(single=True)
                extract(chunks_of(file), root, ".", ids=ids, devices=False)
        finally:
            os.close(root)
    finally:
        spool.unlink(missing_ok=True)
