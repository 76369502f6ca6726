"""Lists of repositories, tags and referrers, from real registries and from odd ones."""

import json
import subprocess
from dataclasses import replace

import pytest
from scripted import Reply

from ocimagic.errors import (
    ImageNotFound,
    RateLimited,
    RegistryAnswered,
    RegistryUnreachable,
    Unauthorized,
)
from ocimagic.registry.client import RegistryClient
from ocimagic.registry.discovery import referrers_tag
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.reference import Reference, is_host

SUBJECT = Digest.of(b"subject")
KIND = "application/vnd.example.sbom"


@pytest.mark.peer
def test_debian_s_registry_lists_what_it_has(debian_registry, oci_layout, client, monkeypatch):
    monkeypatch.setattr("ocimagic.registry.discovery.PER_PAGE", 2)
    for name in ("list/a:1", "list/a:2", "list/a:3", "list/b:1", "list/c:1"):
        words = ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{oci_layout}:demo"]
        subprocess.run([*words, f"docker://{debian_registry}/{name}"], check=True, timeout=60)
    found = [name for name in client.catalog(debian_registry) if name.startswith("list/")]
    assert found == ["list/a", "list/b", "list/c"]
    # It sends all tags at once, in an order of its own.
    assert sorted(client.tags(Reference.parse(f"{debian_registry}/list/a"))) == ["1", "2", "3"]


def test_our_own_lists_what_it_has_page_by_page(server, source, client, monkeypatch):
    monkeypatch.setattr("ocimagic.registry.discovery.PER_PAGE", 3)
    for number in range(8):
        source.names[f"many/{number}"] = {}
    names = client.catalog(server.host)
    assert names == ["class/demo", *(f"many/{number}" for number in range(8))]


def catalog_of(scripted, client, reply):
    server = scripted(lambda seen: reply)
    with pytest.raises(Exception) as caught:  # noqa: PT011  its type is looked at below
        client.catalog(server.host)
    return caught.value, server


def error(code, status, message=""):
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Reply(status, [("Content-Type", "application/json")], body)


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (error("UNSUPPORTED", 405, "The operation is unsupported."), RegistryAnswered, "unsupp"),
        (error("NOT_FOUND", 404), RegistryAnswered, "not found"),
        (Reply(501), RegistryAnswered, "HTTP 501"),
        (error("DENIED", 403, "not for you"), Unauthorized, "not for you"),
        (error("UNAUTHORIZED", 401), Unauthorized, "docker login"),
        (Reply(429, [("Retry-After", "100")]), RateLimited, "come back in 2 minutes"),
        (Reply(503, [("Retry-After", "100")]), RegistryUnreachable, "out of order"),
        (Reply(200, [], b"<html>"), RegistryAnswered, "JSON"),
        (Reply(200, [], b'{"repositories": [1]}'), RegistryAnswered, "text"),
    ],
)
def test_registries_that_do_not_tell(scripted, client, reply, kind, words):
    """Clouds refuse the list in their own ways; each says what can be asked instead."""
    err, server = catalog_of(scripted, client, reply)
    assert type(err) is kind
    assert words in str(err)
    if kind is RegistryAnswered and reply.status != 200:
        assert f"registry ls {server.host}/REPOSITORY" in err.hint


def test_hub_is_not_even_asked():
    with pytest.raises(RegistryAnswered, match=r"docker\.io does not say") as caught:
        RegistryClient().catalog("docker.io")
    assert "registry ls docker.io/REPOSITORY" in caught.value.hint


@pytest.mark.parametrize("link", ["</v2/other/_catalog?n=1>", "<http://127.0.0.2:1/v2/_catalog>"])
def test_a_list_that_goes_on_elsewhere(scripted, client, link):
    reply = Reply(200, [("Link", f'{link}; rel="next"')], b'{"repositories": ["a"]}')
    err, _ = catalog_of(scripted, client, reply)
    assert "elsewhere" in str(err)


def test_a_list_without_end(scripted, client):
    link = '</v2/_catalog?last=a>; rel="next"'
    err, server = catalog_of(
        scripted, client, Reply(200, [("Link", link)], b'{"repositories": ["a"]}')
    )
    assert "does not end" in str(err)
    assert len(server.seen) == 2


# -- referrers -------------------------------------------------------------------


def index(*entries):
    document = {"schemaVersion": 2, "mediaType": mediatype.OCI_INDEX, "manifests": entries}
    return json.dumps(document).encode()


def entry(name, kind=KIND):
    described = Descriptor(mediatype.OCI_MANIFEST, Digest.of(name.encode()), 10)
    return replace(described, artifact_type=kind).to_json()


def typed(body, *headers):
    return Reply(200, [("Content-Type", mediatype.OCI_INDEX), *headers], body)


def test_referrers_over_pages_and_filtered_here(scripted, client):
    """A registry need not know how to filter; then all it has comes, and we do."""

    def script(seen):
        if "last=" in seen.path:
            return typed(index(entry("c"), entry("d", "other/type")))
        here = seen.path.partition("?")[0]
        link = ("Link", f'<{here}?last=b>; rel="next"')
        return typed(index(entry("a"), entry("b", "other/type")), link)

    server = scripted(script)
    reference = Reference.parse(f"{server.host}/a")
    found = client.referrers(reference, SUBJECT, artifact_type=KIND)
    assert [each.digest for each in found.manifests] == [Digest.of(b"a"), Digest.of(b"c")]
    assert found.is_listed
    assert server.seen[0].path.endswith("?artifactType=application%2Fvnd.example.sbom")
    assert server.seen[0].headers["accept"] == mediatype.OCI_INDEX
    assert len(client.referrers(reference, SUBJECT).manifests) == 4


@pytest.mark.parametrize(
    "absent",
    [Reply(404), Reply(405), Reply(200, [("Content-Type", "text/html")], b"<html>welcome")],
    ids=["404", "405", "a page for people"],
)
def test_a_registry_from_before_the_list(scripted, client, absent):
    tag = referrers_tag(SUBJECT)
    assert tag == f"sha256-{SUBJECT.hex}"

    def script(seen):
        return typed(index(entry("a"))) if seen.path.endswith(f"/manifests/{tag}") else absent

    server = scripted(script)
    found = client.referrers(Reference.parse(f"{server.host}/a"), SUBJECT)
    assert ([each.digest for each in found.manifests], found.is_listed) == (
        [Digest.of(b"a")],
        False,
    )


def test_nothing_refers_to_it(scripted, client, server):
    odd = scripted(lambda seen: Reply(404))
    for host in (odd.host, server.host):
        found = client.referrers(Reference.parse(f"{host}/class/demo"), SUBJECT)
        assert found.manifests == ()


@pytest.mark.parametrize("body", [b"{}", b"[", index({"digest": "sha256:x"}), index({"a": 1})])
def test_a_list_of_referrers_that_is_none(scripted, client, body):
    server = scripted(lambda seen: typed(body))
    with pytest.raises(RegistryAnswered):
        client.referrers(Reference.parse(f"{server.host}/a"), SUBJECT)


def test_referrers_that_are_refused(scripted, client):
    server = scripted(lambda seen: error("DENIED", 403))
    with pytest.raises(Unauthorized):
        client.referrers(Reference.parse(f"{server.host}/a"), SUBJECT)


def test_a_repository_that_is_not_there(server, client):
    with pytest.raises(ImageNotFound):
        client.tags(Reference.parse(f"{server.host}/none"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quay.io", True), ("localhost", True), ("localhost:5000", True), ("box:5000", True),
        ("[::1]:5000", True), ("[::1]", True), ("127.0.0.1:5000", True),
        ("ubuntu", False), ("ubuntu:22.04", False), ("quay.io/team", False), ("-.x", False),
        ("", False),
    ],
)  # fmt: skip
def test_is_host(text, said):
    assert is_host(text) == said
