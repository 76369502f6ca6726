"""Write a layer's tar as one EROFS image, in one pass: files as they come, the rest at the end.

::

    block 0       the superblock, written last
    block 1       the root directory's inode, written last
    block 2 ...   whole blocks of content, and between them blocks of files' inodes, each with
                  the end of its content behind it
    then          inodes of everything else: short lists of names and symlinks' texts inside
    then          whole blocks of names, of large directories

Inodes are found by their place, counted from the image's beginning.

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

ROOT_PLACE = on_disk.BLOCK
_BLOCK = on_disk.BLOCK
_WRITTEN_AT_ONCE = 1 << 20
_MOST_PIECES = 1000  # IOV_MAX is 1024
_LONGEST_TAIL = 2048  # what is longer leaves less of a block empty than of a block of inodes
_FIRST_BLOCKS = 2
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
    files = _Files(out)
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
            if node is not None:
                node.size = entry.size
                files.put(node, reader.content())
        tree.finish()
        files.flush()
        _finish(tree, out, files.count, uuid())
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
        self._pieces: list[bytes | memoryview] = [bytes(_FIRST_BLOCKS * _BLOCK)]
        self._waiting = _FIRST_BLOCKS * _BLOCK
        self._written = 0

    @property
    def next_block(self) -> int:
        """Return the number of the block that is written next, at the end of one."""
        return (self._written + self._waiting) >> on_disk.BLOCK_BITS

    def add(self, piece: bytes | memoryview) -> None:
        """Write bytes behind the last."""
        self._pieces.append(piece)
        self._waiting += len(piece)
        if self._waiting >= _WRITTEN_AT_ONCE or len(self._pieces) >= _MOST_PIECES:
            self.flush()

    def pad(self) -> None:
        """Write zeros to the end of a block."""
        missing = -(self._written + self._waiting) & _BLOCK - 1
        if missing:
            self.add(_ZEROS[:missing])

    def flush(self) -> None:
        """Write what waits."""
        _write(self.fd, self._pieces)
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


class _Files:
    """Regular files: whole blocks of content go out, what is left goes behind the inode.

    Attributes:
        count: of inodes so far.
    """

    def __init__(self, out: _Out) -> None:
        self.count = 0
        self._out = out
        self._block: list[bytes] = []  # inodes that wait until they fill one
        self._nodes: list[Node] = []
        self._used = 0

    def put(self, node: Node, content: Iterable[memoryview]) -> None:
        """Write a file; its ``place`` is known when its block of inodes is full."""
        tail = node.size & _BLOCK - 1
        if tail > _LONGEST_TAIL or not _fits(node, tail):
            tail = 0
        whole = node.size - tail
        rest: list[memoryview] = []
        if whole:
            node.where = self._out.next_block
        for piece in content:
            if whole >= len(piece):
                self._out.add(piece)
                whole -= len(piece)
                continue
            if whole:
                self._out.add(piece[:whole])
            rest.append(piece[whole:])
            whole = 0
        self._out.pad()
        self.count += 1
        self._pack(node, b"".join([_inode(node, self.count, tail), *rest]))

    def _pack(self, node: Node, inode: bytes) -> None:
        if self._used + len(inode) > _BLOCK:
            self.flush()
        if len(inode) > _BLOCK:  # many attributes: they may cross, and nothing is behind them
            node.place = self._out.next_block << on_disk.BLOCK_BITS
            self._out.add(inode)
            self._out.pad()
            return
        node.place = self._used
        padding = -len(inode) % on_disk.NID_BYTES
        self._block += (inode, _ZEROS[:padding])
        self._nodes.append(node)
        self._used += len(inode) + padding

    def flush(self) -> None:
        """Write the inodes that wait."""
        base = self._out.next_block << on_disk.BLOCK_BITS
        for node in self._nodes:
            node.place += base
        if self._block:
            self._out.add(b"".join(self._block))
            self._out.pad()
        self._block, self._nodes, self._used = [], [], 0


class _Layout:
    """Where everything goes that is no regular file.

    Args:
        root: with all that is below it.
        base: where in the image inodes may go.

    Attributes:
        order: all files but regular ones, once each, by their place; the root first.
        linked: regular files with more names than one.
        names: of each directory, one list for each of its blocks.
        end: where the last inode ends.
        blocks: how many whole blocks follow it.
    """

    def __init__(self, root: Directory, base: int) -> None:
        self.order: list[Node] = [root]
        self.linked: list[Node] = []
        self.names: dict[Directory, list[list[bytes]]] = {}
        self.blocks = 0
        self.end = ROOT_PLACE
        self._put_directory(root)
        self.end = base
        for node in self.order:
            if isinstance(node, Directory):
                self._put_children(node)

    def _put_children(self, directory: Directory) -> None:
        for child in directory.children.values():
            if stat.S_ISREG(child.mode):
                if child.links > 1:
                    self.linked.append(child)
                continue
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
            size = on_disk.DIRENT.size + len(name)
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
        if _fits(node, tail):
            self._put(node, tail)
            return
        if not isinstance(node, Directory):
            node.where = self.blocks
        self.blocks += 1
        self._put(node, 0)

    def _put(self, node: Node, tail: int) -> None:
        size = on_disk.INODE_BYTES + _xattr_bytes(node) + tail
        # Content behind an inode must not cross a block, nor should the inode itself.
        whole = size if tail else on_disk.INODE_BYTES
        if self.end % _BLOCK + whole > _BLOCK:
            self.end += -self.end % _BLOCK
        node.place = self.end
        self.end += size + -size % on_disk.NID_BYTES

    def tail(self, node: Node) -> bytes:
        """Return what stands behind an inode, nothing if it does not fit there."""
        if isinstance(node, Directory):
            names = self.names[node][-1]
            return _dirents(node, names) if _fits(node, _dirents_bytes(names)) else b""
        return node.text if _fits(node, len(node.text)) else b""

    def whole_blocks(self) -> Iterator[bytes]:
        """Yield what is too long for the inodes, in the order of its blocks."""
        for node in self.order:
            if isinstance(node, Directory):
                names = self.names[node]
                fits = _fits(node, _dirents_bytes(names[-1]))
                for each in names[:-1] if fits else names:
                    yield _dirents(node, each).ljust(_BLOCK, b"\0")
            elif not _fits(node, len(node.text)):
                yield node.text.ljust(_BLOCK, b"\0")


def _finish(tree: Tree, out: _Out, files: int, uuid: bytes) -> None:
    """Write all that is no regular file, and the superblock."""
    layout = _Layout(tree.root, out.next_block << on_disk.BLOCK_BITS)
    base = -(-layout.end >> on_disk.BLOCK_BITS)
    if base + layout.blocks > on_disk.MAX_BLOCKS:
        raise LayerRefused("", "more content than an image of 16 TiB holds")
    root, *others = layout.order
    at = out.next_block << on_disk.BLOCK_BITS
    for number, node in enumerate(others, files + 2):
        tail = layout.tail(node)
        inode = _inode(node, number, len(tail), base) + tail
        out.add(bytes(node.place - at) + inode)
        at = node.place + len(inode)
    out.pad()
    for block in layout.whole_blocks():
        out.add(block)
    out.flush()
    for node in layout.linked:
        os.pwrite(out.fd, node.links.to_bytes(4, "little"), node.place + on_disk.LINKS_OFFSET)
    tail = layout.tail(root)
    os.pwrite(out.fd, _inode(root, files + 1, len(tail), base) + tail, ROOT_PLACE)
    _write_superblock(out.fd, files + len(layout.order), base + layout.blocks, uuid)


def _write_superblock(fd: int, inodes: int, blocks: int, uuid: bytes) -> None:
    block = on_disk.SUPER.pack(
        on_disk.MAGIC,
        0,
        on_disk.HAS_CHECKSUM | on_disk.HAS_MTIME,
        on_disk.BLOCK_BITS,
        0,
        ROOT_PLACE // on_disk.NID_BYTES,
        inodes,
        0,
        0,
        blocks,
        0,
        0,
        uuid,
        bytes(16),
        0,
    )
    block = block.ljust(_BLOCK - on_disk.SUPER_OFFSET, b"\0")
    checksum = on_disk.checksum(block).to_bytes(4, "little")
    os.pwrite(fd, block[:4] + checksum + block[8:], on_disk.SUPER_OFFSET)


def _inode(node: Node, number: int, tail: int, base: int = 0) -> bytes:
    """Return an inode with its attributes.

    Args:
        node: of what.
        number: for ``i_ino``.
        tail: how many bytes of content stand behind it.
        base: the block that ``where`` of directories and symlinks is counted from.
    """
    xattrs = _packed_xattrs(node.xattrs) if node.xattrs else b""
    seconds, nanoseconds = divmod(node.mtime_ns, 1_000_000_000)
    is_listed = isinstance(node, Directory) or node.text
    inode = on_disk.INODE.pack(
        on_disk.FLAT_INLINE if tail else on_disk.FLAT_PLAIN,
        (len(xattrs) - on_disk.XATTR_HEADER_BYTES) // 4 + 1 if xattrs else 0,
        node.mode,
        0,
        node.size,
        node.where + base if is_listed else node.where,
        number,
        node.uid,
        node.gid,
        seconds,
        nanoseconds,
        node.links,
    )
    return inode + xattrs


def _fits(node: Node, tail: int) -> bool:
    """Say whether so much content has room behind an inode."""
    return on_disk.INODE_BYTES + _xattr_bytes(node) + tail <= _BLOCK


def _dirents_bytes(names: list[bytes]) -> int:
    return sum(map(len, names)) + on_disk.DIRENT.size * len(names)


def _dirents(directory: Directory, names: list[bytes]) -> bytes:
    """Return one block of a directory, or what of it is used."""
    offset = on_disk.DIRENT.size * len(names)
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
