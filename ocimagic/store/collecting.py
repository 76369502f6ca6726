"""Which objects of the containerd role nothing leads to any more.

Roots are images, containers, leases that are not over, and what says so itself by a label; from
there labels lead on.  As in containerd, what has no way from a root goes, however new it is.

Source: containerd, docs/garbage-collection.md.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from ocimagic.store import objects

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from ocimagic.spec.digest import Digest
    from ocimagic.store.objects import Object, Objects

_ROOT, _EXPIRE = "containerd.io/gc.root", "containerd.io/gc.expire"
_CONTENT, _SNAPSHOT = "containerd.io/gc.ref.content", "containerd.io/gc.ref.snapshot."
_KINDS = (objects.CONTENT, objects.SNAPSHOT)

Node = tuple[str, str]  # kind and name


def doomed(kept: Objects, needed: Collection[Digest], home: str) -> list[Object]:
    """Return content and snapshots that nothing leads to, and leases that are over.

    Args:
        kept: all there are.
        needed: blobs that the engine keeps by itself.
        home: the namespace in which these are.
    """
    found = []
    for namespace in kept.namespaces():
        leases = kept.list(namespace, objects.LEASE)
        over = [each for each in leases if _is_over(each)]
        lost = {each.name for each in over}
        resources = kept.list(namespace, objects.RESOURCE)
        found += [each for each in resources if each.document["lease"] in lost]
        found += over
        nodes = {(kind, each.name): each for kind in _KINDS for each in kept.list(namespace, kind)}
        roots = list(_roots(kept, namespace, nodes, lost))
        if namespace == home:
            roots += [(objects.CONTENT, str(each)) for each in needed]
        reached = _reached(nodes, roots)
        found += [each for node, each in nodes.items() if node not in reached]
    return found


def unnamed(kept: Objects, names: Collection[str], home: str) -> list[Object]:
    """Return images that the engine had and whose names it has taken away."""
    images = kept.list(home, objects.IMAGE)
    return [each for each in images if each.document.get("published") and each.name not in names]


def _is_over(lease: Object) -> bool:
    try:
        return datetime.fromisoformat(lease.labels[_EXPIRE]).timestamp() < time.time()
    except (KeyError, ValueError):
        return False


def _roots(
    kept: Objects, namespace: str, nodes: Mapping[Node, Object], lost: set[str]
) -> Iterator[Node]:
    for image in kept.list(namespace, objects.IMAGE):
        if image.document.get("published"):
            continue  # it is the engine's, which says what it needs
        yield objects.CONTENT, str(image.document["target"]["digest"])
        yield from _led_to(image)
    for container in kept.list(namespace, objects.CONTAINER):
        yield objects.SNAPSHOT, str(container.document.get("snapshot_key", ""))
        yield from _led_to(container)
    for each in kept.list(namespace, objects.RESOURCE):
        if each.document["lease"] not in lost:
            kind = objects.CONTENT if each.document["type"] == "content" else objects.SNAPSHOT
            yield kind, str(each.document["id"])
    for node, each in nodes.items():
        if _ROOT in each.labels:
            yield node


def _reached(nodes: Mapping[Node, Object], roots: Iterable[Node]) -> set[Node]:
    reached: set[Node] = set()
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if node in nodes and node not in reached:
            reached.add(node)
            found = nodes[node]
            waiting.extend(_led_to(found))
            if node[0] == objects.SNAPSHOT and found.document["parent"]:
                waiting.append((objects.SNAPSHOT, str(found.document["parent"])))
    return reached


def _led_to(found: Object) -> Iterator[Node]:
    for label, value in found.labels.items():
        if label.startswith(_SNAPSHOT):
            yield objects.SNAPSHOT, value
        elif label == _CONTENT or label.startswith(f"{_CONTENT}."):
            yield objects.CONTENT, value
