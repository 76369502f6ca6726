"""Write a layer's tar as one EROFS image, in one pass: content as it comes, the tree at the end.

::

    block 0       the superblock, written last
    block 1 …     content of files, each from a block of its own
    then          inodes: the root's first; short lists of names and symlinks' texts inside
    then          whole blocks of names, of large directories

Source: Linux Documentation/filesystems/erofs.rst.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ocimagic.errors import LayerRefused
from ocimagic.layers.apply import AppliedLayer, as_fact, counted
from ocimagic.layers.entrypath import Mark, locate
from ocimagic.layers.erofs import format as on_disk
from ocimagic.layers.erofs.tree import Directory, Tree
from ocimagic.layers.tarstream import TarReader
from ocimagic.layers.toc import TocEntry, toc_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ocimagic.layers.erofs.tree import Node
    from ocimagic.layers.tarheader import Entry

_BLOCK = on_disk.BLOCK
_DIRENT_BYTES = on_disk.DIRENT.size
_WRITTEN_AT_ONCE = 1 << 20
_MOST_PIECES = 1000  # IOV_MAX is 1024
_ZEROS = bytes(_BLOCK)
_ENTRY_TYPES = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFLNK: 7,
}


def write_image(
    chunks: Iterable[bytes],
    fd: int,
    *,
    uuid: Callable[[], bytes] = lambda: bytes(16),
    on_progress: Callable[[int], None] | None = None,
) -> AppliedLayer:
    """Write a layer to a file as an image that can be one lower layer of an overlay mount.

    On any error the file is left half written, for the caller to remove.  Memory is taken for
    the names and attributes only, never for content.

    Args:
        chunks: the uncompressed tar; read to its end, so a digest over it is complete.
        fd: an empty file, open for writing.
        uuid: asked when all chunks have been read; 16 bytes that name the file system.
        on_progress: is told the bytes of tar used so far, after each chunk.

    Raises:
        LayerRefused: the tar is malformed or hostile, or no such file can be.
        NeedsParent: the layer leans on its parent.
        DiskFull: no space.
        StorageError: the file cannot be written.
    """
    reader = TarReader(counted(chunks, on_progress) if on_progress else chunks)
    out = _Out(fd)
    tree = Tree()
    toc: list[TocEntry] = []
    entries = 0
    entry: Entry | None = None
    try:
        for entry in reader:
            entries += 1
            place = locate(entry.name)
            if place.mark is Mark.IGNORED:
                continue
            line = toc_entry(entry, place)
            toc.append(line)
            node = tree.put(entry, place, line)
            if node is not None and entry.size:
                node.size = entry.size
                node.where = out.next_block
                out.add(reader.content())
        tree.finish()
        _finish(tree, out, uuid())
    except OSError as err:
        raise as_fact(err, entry.name if entry else "") from err
    return AppliedLayer(
        entries=entries,
        size_bytes=sum(line.size for line in toc),
        toc=tuple(toc),
        needs_parent=False,
        skipped=tuple(tree.skipped),
    )


class _Out:
    """The file, written from its beginning to its end in large pieces."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._pieces: list[bytes | memoryview] = [_ZEROS]
        self._waiting = _BLOCK
        self._written = 0

    @property
    def next_block(self) -> int:
        """Return the number of the block that is written next."""
        return (self._written + self._waiting) >> on_disk.BLOCK_BITS

    def add(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Write pieces one behind another, and zeros to the end of a block."""
        size = 0
        for piece in pieces:
            self._pieces.append(piece)
            size += len(piece)
            if size >= _WRITTEN_AT_ONCE:
                self._waiting += size
                size = 0
                self.flush()
        self._waiting += size
        padding = -(self._written + self._waiting) & _BLOCK - 1
        if padding:
            self._pieces.append(_ZEROS[:padding])
            self._waiting += padding
        if self._waiting >= _WRITTEN_AT_ONCE or len(self._pieces) >= _MOST_PIECES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        for begin in range(0, len(self._pieces), _MOST_PIECES):
            _write(self.fd, self._pieces[begin : begin + _MOST_PIECES])
        self._written += self._waiting
        self._waiting = 0
        self._pieces = []


def _write(fd: int, pieces: list[bytes | memoryview]) -> None:
    left = sum(map(len, pieces))
    while left > (done := os.writev(fd, pieces)):
        left -= done
        while done >= len(pieces[0]):
            done -= len(pieces.pop(0))
        pieces[0] = memoryview(pieces[0])[done:]


class _Layout:
    """Where everything goes that is no content.

    Attributes:
        order: all files, once each, by their place.
        names: of each directory, one list for each of its blocks.
        meta_bytes: how long the inodes are with what is in them.
        blocks: how many whole blocks follow them.
    """

    def __init__(self, root: Directory) -> None:
        self.order: list[Node] = [root]
        self.names: dict[Directory, list[list[bytes]]] = {}
        self.meta_bytes = 2 * on_disk.NID_BYTES  # no file has the number 0, nor that of none
        self.blocks = 0
        self._put_directory(root)
        for node in self.order:
            if isinstance(node, Directory):
                self._put_children(node)

    def _put_children(self, directory: Directory) -> None:
        for child in directory.children.values():
            if child.place:
                continue  # another name of it came first
            self.order.append(child)
            if isinstance(child, Directory):
                self._put_directory(child)
            elif child.text:
                self._put_with(child, len(child.text))
            else:
                self._put(child, 0)

    def _put_directory(self, directory: Directory) -> None:
        blocks: list[list[bytes]] = [[]]
        used = 0
        for name in sorted((*directory.children, b".", b"..")):
            size = _DIRENT_BYTES + len(name)
            if used + size > _BLOCK:
                blocks.append([])
                used = 0
            blocks[-1].append(name)
            used += size
        self.names[directory] = blocks
        directory.size = (len(blocks) - 1) * _BLOCK + used
        directory.where = self.blocks
        self.blocks += len(blocks) - 1
        self._put_with(directory, used)

    def _put_with(self, node: Node, tail: int) -> None:
        """Place an inode with the end of its content behind it, or that in a block of its own."""
        if on_disk.INODE_BYTES + _xattr_bytes(node) + tail <= _BLOCK:
            self._put(node, tail)
            return
        if not isinstance(node, Directory):
            node.where = self.blocks
        self.blocks += 1
        self._put(node, 0)

    def _put(self, node: Node, tail: int) -> None:
        size = on_disk.INODE_BYTES + (_xattr_bytes(node) if node.xattrs else 0) + tail
        # Content inside of an inode must not cross a block, nor should the inode itself.
        whole = size if tail else on_disk.INODE_BYTES
        if self.meta_bytes % _BLOCK + whole > _BLOCK:
            self.meta_bytes += -self.meta_bytes % _BLOCK
        node.place = self.meta_bytes
        self.meta_bytes += size + -size % on_disk.NID_BYTES


def _finish(tree: Tree, out: _Out, uuid: bytes) -> None:
    """Write inodes, names and the superblock."""
    layout = _Layout(tree.root)
    meta = out.next_block
    base = meta + -(-layout.meta_bytes // _BLOCK)
    if base + layout.blocks > on_disk.MAX_BLOCKS:
        raise LayerRefused("", "more content than an image of 16 TiB holds")
    out.add(_inodes(layout, base))
    out.add(_whole_blocks(layout))
    out.flush()
    block = on_disk.SUPER.pack(
        on_disk.MAGIC,
        0,
        on_disk.HAS_CHECKSUM | on_disk.HAS_MTIME,
        on_disk.BLOCK_BITS,
        0,
        tree.root.place // on_disk.NID_BYTES,
        len(layout.order),
        0,
        0,
        base + layout.blocks,
        meta,
        0,
        uuid,
        bytes(16),
        0,
    )
    block = block.ljust(_BLOCK - on_disk.SUPER_OFFSET, b"\0")
    checksum = on_disk.checksum(block).to_bytes(4, "little")
    os.pwrite(out.fd, block[:4] + checksum + block[8:], on_disk.SUPER_OFFSET)


def _inodes(layout: _Layout, base: int) -> Iterator[bytes]:
    """Yield the inodes with what is in them, and the gaps between."""
    at = 0
    for number, node in enumerate(layout.order, 1):
        xattrs = _packed_xattrs(node.xattrs) if node.xattrs else b""
        tail = b""
        where, form = node.where, on_disk.FLAT_PLAIN
        if isinstance(node, Directory):
            where += base
            if not _is_alone(node, node.size & _BLOCK - 1 or _BLOCK):
                form = on_disk.FLAT_INLINE
                tail = _dirents(node, layout.names[node][-1])
        elif node.text:
            where += base
            if not _is_alone(node, node.size):
                form = on_disk.FLAT_INLINE
                tail = node.text
        seconds, nanoseconds = divmod(node.mtime_ns, 1_000_000_000)
        inode = on_disk.INODE.pack(
            form,
            (len(xattrs) - on_disk.XATTR_HEADER_BYTES) // 4 + 1 if xattrs else 0,
            node.mode,
            0,
            node.size,
            where,
            number,
            node.uid,
            node.gid,
            seconds,
            nanoseconds,
            node.links,
        )
        piece = bytes(node.place - at) + inode + xattrs + tail
        at += len(piece)
        yield piece


def _is_alone(node: Node, tail: int) -> bool:
    """Say whether the end of its content does not fit into its inode."""
    return on_disk.INODE_BYTES + _xattr_bytes(node) + tail > _BLOCK


def _whole_blocks(layout: _Layout) -> Iterator[bytes]:
    """Yield what is too long for the inodes, in the order of its blocks."""
    for node in layout.order:
        if isinstance(node, Directory):
            names = layout.names[node]
            alone = _is_alone(node, node.size & _BLOCK - 1 or _BLOCK)
            for block in names if alone else names[:-1]:
                yield _dirents(node, block).ljust(_BLOCK, b"\0")
        elif node.text and _is_alone(node, node.size):
            yield node.text.ljust(_BLOCK, b"\0")


def _dirents(directory: Directory, names: list[bytes]) -> bytes:
    """Return one block of a directory, or what of it is used."""
    offset = _DIRENT_BYTES * len(names)
    parts = []
    for name in names:
        if name == b".":
            node: Node = directory
        elif name == b"..":
            node = directory.parent
        else:
            node = directory.children[name]
        kind = _ENTRY_TYPES[stat.S_IFMT(node.mode)]
        parts.append(on_disk.DIRENT.pack(node.place // on_disk.NID_BYTES, offset, kind, 0))
        offset += len(name)
    return b"".join(parts + names)


def _xattr_bytes(node: Node) -> int:
    return len(_packed_xattrs(node.xattrs)) if node.xattrs else 0


def _packed_xattrs(xattrs: Mapping[bytes, bytes]) -> bytes:
    """Return the attributes as they stand behind an inode."""
    parts = [bytes(on_disk.XATTR_HEADER_BYTES)]
    for name in sorted(xattrs):
        value = xattrs[name]
        prefix, index = next(
            (prefix, index) for prefix, index in on_disk.XATTR_PREFIXES if name.startswith(prefix)
        )
        rest = name[len(prefix) :]
        entry = on_disk.XATTR_ENTRY.pack(len(rest), index, len(value)) + rest + value
        parts.append(entry + bytes(-len(entry) % 4))
    return b"".join(parts)
