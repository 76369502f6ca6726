"""The files of an image from its layers' tars alone, by the image spec; none of our code."""

import hashlib
import tarfile
from dataclasses import dataclass

XATTR = "SCHILY.xattr."
KINDS = {
    tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "link", tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
}  # fmt: skip
SHOWN = 1 << 16  # bytes of content that are kept


@dataclass(frozen=True)
class Entry:
    """What is compared of a file; ``same`` are the paths of the same inode, if several."""

    kind: str
    mode: int
    owner: str
    link: str = ""
    text: bytes = b""
    sha256: str = ""
    device: tuple = ()
    xattrs: tuple = ()


def flatten(layers):
    """Return path to `Entry`, and path to the paths that are the same file.

    Args:
        layers: open binary files with uncompressed tars, bottom first.
    """
    tree, group = {}, {}
    for layer in layers:
        _apply(layer, tree, group)
    groups = {}
    for path, number in group.items():
        groups.setdefault(number, set()).add(path)
    same = {path: frozenset(groups[number]) for path, number in group.items()}
    return tree, {path: found for path, found in same.items() if len(found) > 1}


def _apply(layer, tree, group):
    added, gone = {}, []
    fresh = {}
    with tarfile.open(fileobj=layer, mode="r:") as tar:
        for info in tar:
            path = "/" + info.name.strip("/").removeprefix("./")
            path = "/" if path == "/." else path
            parent, _, name = path.rpartition("/")
            if not info.isdir() and path in added and added[path].kind == "directory":
                _remove(added, fresh, path, itself=True)
            if name == ".wh..wh..opq":
                gone.append((parent or "/", False))
            elif name.startswith(".wh."):
                gone.append((f"{parent}/{name[4:]}", True))
            elif info.islnk():
                target = "/" + info.linkname.strip("/").removeprefix("./")
                added[path] = added[target]
                fresh[path] = fresh.setdefault(target, (id(layer), target))
            else:
                fresh.pop(path, None)
                added[path] = _entry(tar, info)
    for path, itself in gone:
        _remove(tree, group, path, itself=itself)
    for path, entry in added.items():
        if path in tree and (tree[path].kind, entry.kind) != ("directory", "directory"):
            _remove(tree, group, path, itself=True)
        tree[path] = entry
    group.update(fresh)


def _remove(tree, group, path, *, itself):
    below = path.rstrip("/") + "/"
    for each in [name for name in tree if name.startswith(below) or (itself and name == path)]:
        del tree[each]
        group.pop(each, None)


def _entry(tar, info):
    content = tar.extractfile(info).read() if info.isreg() else b""
    device = (info.devmajor, info.devminor) if info.ischr() or info.isblk() else ()
    return Entry(
        kind=KINDS[info.type],
        mode=info.mode & 0o7777 if info.type != tarfile.SYMTYPE else 0o777,
        owner=f"{info.uid}:{info.gid}",
        link=info.linkname if info.issym() else "",
        text=content[:SHOWN],
        sha256=hashlib.sha256(content).hexdigest() if info.isreg() else "",
        device=device,
        xattrs=tuple(
            sorted(
                (key.removeprefix(XATTR), value)
                for key, value in info.pax_headers.items()
                if key.startswith(XATTR)
            )
        ),
    )
