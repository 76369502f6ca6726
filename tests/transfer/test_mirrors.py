"""Pulling by way of mirrors: what they have, what they lack, and what they get wrong."""

import pytest
from rootfs import MadeImage, tar_of

from ocimagic.errors import ImageNotFound, InvalidOption
from ocimagic.model.event import Notice
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource

CONF = """
[[registry]]
location = "{own}"
[[registry.mirror]]
location = "{mirror}/copies"
"""


class Place:
    """A registry that notes what it is asked."""

    def __init__(self):
        self.source = MemorySource()
        self.asked = []
        self.server = RegistryServer(self.source, on_request=lambda *said: self.asked.append(said))

    @property
    def host(self):
        return self.server.host

    def layers_given(self):
        return [path for method, path, code in self.asked if method == "GET" and "/blobs/" in path]


@pytest.fixture
def places(tmp_path):
    own, mirror = Place(), Place()
    path = tmp_path / ".config/containers/registries.conf"
    path.parent.mkdir(parents=True)
    path.write_text(CONF.format(own=own.host, mirror=mirror.host))
    yield own, mirror
    own.server.close()
    mirror.server.close()


@pytest.fixture
def made():
    return MadeImage([tar_of(("a", b"a" * 50_000))])


def layer_digests(made):
    return [layer.digest for layer in made.layers]


def pull(engine, name):
    heard = []
    done = engine.images.pull(name, on_event=heard.append)
    return done, [each.text for each in heard if isinstance(each, Notice)]


def test_a_mirror_gives_what_it_has(engine, places, made):
    own, mirror = places
    made.serve(mirror.source, "copies/team/app", "1")
    done, notices = pull(engine, f"{own.host}/team/app:1")
    assert done.reference == f"{own.host}/team/app:1", "its name stays what it is"
    assert notices == []
    assert own.asked == []
    assert [each.name for each in engine.images.list()] == [f"{own.host}/team/app:1"]


def test_what_a_mirror_lacks_comes_from_its_own_place(engine, places, made):
    own, mirror = places
    made.serve(own.source, "team/app", "1")
    done, (notice,) = pull(engine, f"{own.host}/team/app:1")
    assert done.digest == made.digest
    assert notice.startswith(f"mirror {mirror.host} does not help: ")
    assert "\n" not in notice, "what to try is for whoever has no other place"


def test_a_mirror_that_loses_a_layer(engine, places, made):
    own, mirror = places
    made.serve(own.source, "team/app", "1")
    made.serve(mirror.source, "copies/team/app", "1")
    for digest in layer_digests(made):
        mirror.source.blobs.pop(digest)
    done, notices = pull(engine, f"{own.host}/team/app:1")
    assert (done.digest, len(notices)) == (made.digest, 1)
    assert len(own.layers_given()) >= 1


def test_a_mirror_that_lies(engine, places, made):
    own, mirror = places
    made.serve(own.source, "team/app", "1")
    made.serve(mirror.source, "copies/team/app", "1")
    for digest in layer_digests(made):
        mirror.source.blobs[digest] = bytes(len(mirror.source.blobs[digest]))
    done, notices = pull(engine, f"{own.host}/team/app:1")
    assert (done.digest, len(notices)) == (made.digest, 1)
    run = engine.containers.store.blobs
    assert all(run.has(digest) for digest in layer_digests(made))


def test_a_mirror_that_is_away(engine, places, made):
    own, mirror = places
    made.serve(own.source, "team/app", "1")
    mirror.server.close()
    assert pull(engine, f"{own.host}/team/app:1")[0].digest == made.digest


def test_nobody_has_it(engine, places):
    own, _ = places
    with pytest.raises(ImageNotFound) as caught:
        pull(engine, f"{own.host}/team/app:1")
    assert own.host in str(caught.value), "what its own place says counts"


def test_a_blocked_registry(engine, tmp_path):
    path = tmp_path / ".config/containers/registries.conf"
    path.parent.mkdir(parents=True)
    path.write_text('[[registry]]\nlocation = "evil.example"\nblocked = true\n')
    with pytest.raises(InvalidOption, match="is blocked"):
        engine.images.pull("evil.example/app")
