"""Pull and push through an API, with a real registry."""

import pytest

from ocimagic.errors import ImageNotFound
from ocimagic.model.event import LayerPhase, LayerProgress, TransferStarted


def test_a_pull_tells_how_far_it_is(remote, shared, registry):
    name = f"{registry.host}/busybox"
    shared.images.remove(name)
    events = []
    done = remote.images.pull(name, on_event=events.append)
    mine = shared.images.inspect(name)
    assert (done.image_id, done.size_bytes, done.layers) == (mine.image_id, mine.size_bytes, 1)
    assert done.reference == f"{name}:latest"
    assert isinstance(events[0], TransferStarted)
    assert {each.phase for each in events if isinstance(each, LayerProgress)} & {
        LayerPhase.DONE, LayerPhase.EXISTS,
    }  # fmt: skip
    again = remote.images.pull(name)
    assert (again.up_to_date, again.downloaded_bytes, again.digest) == (True, 0, done.digest)


def test_a_push_says_what_the_registry_has(remote, shared):
    with shared.system.serve_registry() as registry:
        _push(remote, f"{registry.host}/pushed-through:1")


def _push(remote, name):
    remote.images.tag("busybox", name)
    [done] = remote.images.push(name)
    assert done.reference == name
    assert done.layers == 1
    remote.images.remove(name)
    assert remote.images.pull(name).digest == done.digest


def test_what_no_registry_has_is_not_found(remote, registry):
    with pytest.raises(ImageNotFound):
        remote.images.pull(f"{registry.host}/nobody-made-this:1")
