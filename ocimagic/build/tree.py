"""Where COPY and ADD read from: the build context, or the files of a stage or an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from ocimagic.layers.tarheader import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


class File(NamedTuple):
    """A file, directory or symlink of a tree.

    Attributes:
        path: from the tree's root, without a slash in front; "" is the root.
        mode: permission bits.
        size: bytes of content, 0 for everything but a file.
        linkname: a symlink's text.
        identity: tells this content from any other of the same tree.
        links: more than 1 if other files of the tree may be the same one.
    """

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    linkname: str
    identity: tuple[int, ...]
    links: int = 1

    @property
    def name(self) -> str:
        """Return the last component."""
        return self.path.rpartition("/")[2]


class Content(NamedTuple):
    """The bytes of one file that was asked for.

    Attributes:
        number: its place in the list that was asked for, from 0.
        xattrs: extended attributes an image should keep.
    """

    number: int
    xattrs: Mapping[str, bytes]
    chunks: Iterable[bytes | memoryview]


class Tree(Protocol):
    """Files that can be looked up, listed and read; two kinds of places have them."""

    def find(self, path: str) -> File | None:
        """Look up a path, every symlink followed inside the tree, ``..`` staying inside."""

    def children(self, directory: File) -> Sequence[File]:
        """List a directory, sorted bytewise; symlinks are symlinks."""

    def contents(self, files: Sequence[File]) -> Iterator[Content]:
        """Yield the content of each file once, in the order that is cheapest."""

    def digests(self, files: Sequence[File]) -> list[str]:
        """Return the sha256 of each file's content, in the order asked."""


def kind_word(kind: Kind) -> str:
    """Return what people call it."""
    return {
        Kind.FILE: "a file",
        Kind.DIR: "a directory",
        Kind.SYMLINK: "a symbolic link",
        Kind.FIFO: "a named pipe",
        Kind.CHAR: "a character device",
        Kind.BLOCK: "a block device",
    }.get(kind, "a special file")
