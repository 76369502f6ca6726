"""Mirrors, trust and certificates, where docker and podman keep them."""

import json

import pytest

from ocimagic.errors import InvalidOption
from ocimagic.registry.settings import RegistrySettings
from ocimagic.spec.reference import Reference

DEBIAN = "docker.io/library/debian:12"


@pytest.fixture
def read(tmp_path):
    """Write files of an account (``home/``) and of the machine (``etc/``), and read them."""

    def read(files=(), **env):
        for name, text in dict(files).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text if isinstance(text, str) else json.dumps(text))
        return RegistrySettings.read(tmp_path / "home", env, etc=tmp_path / "etc")

    return read


def places(settings, text):
    return [f"{each.registry}/{each.repository}" for each in settings.places(Reference.parse(text))]


def test_nothing_said(read):
    found = read()
    assert (found.insecure, found.mirrors, found.problems) == (frozenset(), (), [])
    assert places(found, DEBIAN) == ["docker.io/library/debian"]


def test_a_variable(read):
    found = read(OCIMAGIC_INSECURE_REGISTRIES=" http://Reg.example:5000/ , other ,")
    assert found.insecure == {"reg.example:5000", "other"}
    found = read(OCIMAGIC_TRUSTED_REALMS="gitlab.example, other:8443")
    assert found.trusted_realms == {"gitlab.example", "other:8443"}
    assert found.insecure == frozenset()


def test_the_mirror_of_a_class_is_asked_first(read):
    file = {"etc/docker/daemon.json": {"registry-mirrors": ["https://mirror.example"]}}
    found = read(file, OCIMAGIC_REGISTRY_MIRROR="http://192.0.2.7:5000/, https://other.example")
    assert found.insecure == {"192.0.2.7:5000"}
    assert places(found, DEBIAN) == [
        "192.0.2.7:5000/library/debian",
        "other.example/library/debian",
        "mirror.example/library/debian",
        "docker.io/library/debian",
    ]
    assert places(found, "quay.io/team/app") == ["quay.io/team/app"]


def test_dockers_file(read):
    found = read(
        {
            "etc/docker/daemon.json": {
                "insecure-registries": ["reg.example:5000"],
                "registry-mirrors": ["https://mirror.example", "http://class.local:5000/"],
            },
            "home/.config/docker/daemon.json": {"insecure-registries": ["mine:1"]},
        }
    )
    assert found.insecure == {"reg.example:5000", "mine:1", "class.local:5000"}
    assert places(found, DEBIAN) == [
        "mirror.example/library/debian",
        "class.local:5000/library/debian",
        "docker.io/library/debian",
    ]
    assert places(found, "quay.io/team/app") == ["quay.io/team/app"], "mirrors are of the Hub only"


REGISTRIES = """
unqualified-search-registries = ["docker.io"]
[[registry]]
prefix = "docker.io/library"
location = "docker.io/library"
[[registry.mirror]]
location = "class.local:5000/hub"
insecure = true
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "far.example"
[[registry]]
prefix = "*.corp.example"
location = "gateway.example/corp"
[[registry]]
location = "evil.example"
blocked = true
[[registry]]
location = "plain.example:80"
insecure = true
"""


BLOCKED = '[[registry]]\nlocation = "b"\nblocked = true'


def test_podmans_file(read):
    found = read({"etc/containers/registries.conf": REGISTRIES})
    assert found.insecure == {"class.local:5000", "plain.example:80"}
    assert places(found, DEBIAN)[0] == "class.local:5000/hub/debian", "the longest prefix decides"
    assert places(found, "team/app")[0] == "far.example/team/app"
    assert places(found, "a.corp.example/x/y")[0] == "gateway.example/corp/x/y"
    with pytest.raises(InvalidOption, match="is blocked"):
        places(found, "evil.example/x")
    tagged = found.places(Reference.parse(DEBIAN))[0]
    assert (tagged.tag, tagged.digest) == ("12", None)


def test_mirrors_of_digests_and_of_tags(read):
    """What a tag names may be old in a mirror; what a digest names cannot be."""
    said = """
    [[registry]]
    location = "quay.io"
    mirror-by-digest-only = true
    [[registry.mirror]]
    location = "kept.example"
    [[registry]]
    location = "ghcr.io"
    [[registry.mirror]]
    location = "tags.example"
    pull-from-mirror = "tag-only"
    [[registry.mirror]]
    location = "digests.example"
    pull-from-mirror = "digest-only"
    """
    found = read({"etc/containers/registries.conf": said})
    digest = "@sha256:" + "0" * 64
    assert places(found, "quay.io/a/b:1") == ["quay.io/a/b"]
    assert places(found, f"quay.io/a/b{digest}") == ["kept.example/a/b", "quay.io/a/b"]
    assert places(found, "ghcr.io/a/b")[0] == "tags.example/a/b"
    assert places(found, f"ghcr.io/a/b{digest}")[0] == "digests.example/a/b"


def test_an_accounts_file_counts_in_place_of_the_machines(read, tmp_path):
    files = {
        "etc/containers/registries.conf": REGISTRIES,
        "home/.config/containers/registries.conf": "",
        "home/.config/containers/registries.conf.d/a.conf": BLOCKED,
        "own.conf": '[[registry]]\nlocation = "c.example"\ninsecure = true',
    }
    found = read(files)
    assert (found.insecure, found.blocked) == (frozenset(), {"b"})
    found = read(files, CONTAINERS_REGISTRIES_CONF=str(tmp_path / "own.conf"))
    assert found.insecure == {"c.example"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("etc/docker/daemon.json", "{"),
        ("etc/docker/daemon.json", "[]"),
        ("etc/docker/daemon.json", '{"registry-mirrors": 7}'),
        ("etc/docker/daemon.json", '{"registry-mirrors": [7]}'),
        ("etc/containers/registries.conf", "[["),
        ("etc/containers/registries.conf", "registry = 7"),
        ("etc/containers/registries.conf", "[[registry]]\ninsecure = true"),
        ("etc/containers/registries.conf", "\x00"),
    ],
)
def test_a_damaged_file_is_said_and_passed_over(read, name, text):
    found = read({name: text}, OCIMAGIC_INSECURE_REGISTRIES="x")
    (problem,) = found.problems
    assert name in problem
    assert found.insecure == {"x"}


def test_certificates(read, tmp_path):
    found = read(
        {
            "etc/docker/certs.d/reg.example:5000/ca.crt": "A",
            "etc/docker/certs.d/reg.example:5000/client.cert": "B",
            "etc/docker/certs.d/reg.example:5000/client.key": "C",
            "etc/docker/certs.d/reg.example:5000/lonely.cert": "D",
            "home/.config/containers/certs.d/reg.example:5000/own.crt": "E",
        }
    )
    kept = found.certificates("reg.example:5000")
    assert [each.name for each in kept.authorities] == ["own.crt", "ca.crt"]
    assert [(a.name, b.name) for a, b in kept.clients] == [("client.cert", "client.key")]
    assert found.certificates("reg.example") == type(kept)()
