"""Pushing to our own registry, request by request.

Spec: distribution-spec "Push", "Content Discovery", "Content Management".
"""

import concurrent.futures
import hashlib
import json
import random
from urllib.parse import quote

import pytest
from pusher import CONFIG, Pusher, image

from ocimagic.registry.directory import RegistryDirectory
from ocimagic.registry.server import RegistryServer, Rules
from ocimagic.spec import mediatype
from ocimagic.spec.digest import Digest

LAYER = bytes(range(256)) * 2000


def index_of(*raws):
    """An index of image manifests."""
    entries = [
        {"mediaType": mediatype.OCI_MANIFEST, "digest": str(Digest.of(raw)), "size": len(raw)}
        for raw in raws
    ]
    document = {"schemaVersion": 2, "mediaType": mediatype.OCI_INDEX, "manifests": entries}
    return json.dumps(document).encode()


# -- blobs ---------------------------------------------------------------------


def test_an_image_comes_back_as_it_was_pushed(push):
    raw = push.image("class/demo", "1", [LAYER])
    for by in ("1", Digest.of(raw)):
        answer = push.ask("GET", f"/v2/class/demo/manifests/{by}")
        assert (answer.status, answer.body) == (200, raw)
        assert answer.headers["Docker-Content-Digest"] == Digest.of(raw)
        assert answer.headers["Content-Type"] == mediatype.OCI_MANIFEST
    place = f"/v2/class/demo/blobs/{Digest.of(LAYER)}"
    assert push.ask("GET", place).body == LAYER
    assert push.ask("GET", place, Range="bytes=5-9").body == LAYER[5:10]
    head = push.ask("HEAD", place)
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(LAYER)))


def test_the_digest_may_come_with_the_last_bytes(push):
    place, digest = push.begin("a"), Digest.of(LAYER)
    answer = push.ask("PUT", f"{place}?digest={digest}", LAYER)
    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/a/blobs/{digest}")
    assert push.ask("GET", f"/v2/a/blobs/{digest}").body == LAYER


def test_one_request_is_enough(push):
    digest = Digest.of(LAYER)
    answer = push.ask("POST", f"/v2/a/blobs/uploads/?digest={digest}", LAYER)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, digest)
    assert push.ask("GET", f"/v2/a/blobs/{digest}").body == LAYER


def test_chunks_come_in_order_or_are_told_where_to_go_on(push):
    place = push.begin("a")
    third = len(LAYER) // 3
    first = push.ask("PATCH", place, LAYER[:third], Content_Range=f"0-{third - 1}")
    assert (first.status, first.headers["Range"]) == (202, f"0-{third - 1}")
    ahead = push.ask("PATCH", place, LAYER[9:12], Content_Range="9-11")
    assert (ahead.status, ahead.code) == (416, "BLOB_UPLOAD_INVALID")
    assert (ahead.headers["Range"], ahead.headers["Location"]) == (f"0-{third - 1}", place)
    asked = push.ask("GET", place)
    assert (asked.status, asked.headers["Range"], asked.body) == (204, f"0-{third - 1}", b"")
    rest = LAYER[third:]
    last = f"{third}-{len(LAYER) - 1}"
    done = push.ask("PUT", f"{place}?digest={Digest.of(LAYER)}", rest, Content_Range=last)
    assert done.status == 201
    assert push.ask("GET", f"/v2/a/blobs/{Digest.of(LAYER)}").body == LAYER
    assert push.ask("GET", place).code == "BLOB_UPLOAD_UNKNOWN"


def test_an_upload_goes_on_where_a_connection_broke(keeping, push):
    place = push.begin("a")
    with Pusher(keeping.host) as other:
        other.connection.putrequest("PATCH", place)
        other.connection.putheader("Content-Length", str(len(LAYER)))
        other.connection.endheaders()
        other.connection.send(LAYER[:50_000])
    answer = push.ask("GET", place)
    while (start := int(answer.headers["Range"].partition("-")[2]) + 1) < 50_000:
        answer = push.ask("GET", place)
    assert start == 50_000
    # The server may not have seen the end of the other connection yet.
    while (more := push.ask("PATCH", place, LAYER[start:])).status == 409:
        pass
    assert more.status == 202
    assert push.ask("PUT", f"{place}?digest={Digest.of(LAYER)}").status == 201


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_bytes_are_what_their_digest_says(push, algorithm, tmp_path):
    wrong = f"{algorithm}:{hashlib.new(algorithm, b'other').hexdigest()}"
    right = f"{algorithm}:{hashlib.new(algorithm, LAYER).hexdigest()}"
    place = push.begin("a")
    answer = push.ask("PUT", f"{place}?digest={wrong}", LAYER)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert push.ask("GET", place).status == 404, "the upload is over"
    assert push.ask("HEAD", f"/v2/a/blobs/{wrong}").status == 404
    assert push.ask("PUT", f"{push.begin('a')}?digest={right}", LAYER).status == 201
    assert push.ask("GET", f"/v2/a/blobs/{right}").body == LAYER
    assert not list((tmp_path / "kept/ocimagic/uploads").iterdir())


def test_a_blob_is_mounted_from_another_repository(push):
    digest = push.blob("one", LAYER)
    assert push.ask("HEAD", f"/v2/two/blobs/{digest}").status == 404, "each has its own"
    for query in (f"mount={digest}&from=one", f"mount={digest}"):
        name = f"two{len(query)}"
        answer = push.ask("POST", f"/v2/{name}/blobs/uploads/?{query}")
        assert (answer.status, answer.headers["Location"]) == (201, f"/v2/{name}/blobs/{digest}")
        assert push.ask("GET", f"/v2/{name}/blobs/{digest}").body == LAYER
    for query in (f"mount={digest}&from=none", f"mount={Digest.of(b'no')}&from=one"):
        answer = push.ask("POST", f"/v2/three/blobs/uploads/?{query}")
        assert (answer.status, answer.headers["Range"]) == (202, "0-0"), "an upload instead"


def test_an_upload_is_cancelled(push, tmp_path):
    place = push.begin("a")
    assert push.ask("DELETE", place).status == 204
    assert push.ask("PATCH", place, b"x").code == "BLOB_UPLOAD_UNKNOWN"
    assert push.ask("DELETE", place).status == 404
    assert not list((tmp_path / "kept/ocimagic/uploads").iterdir())


def test_an_upload_belongs_to_its_repository(push):
    place = push.begin("a").replace("/a/", "/b/")
    assert push.ask("GET", place).status == 404


# -- manifests -----------------------------------------------------------------


AWAY = image([]).replace(b"sha256:", b"sha256:../")
LONGER = image([]).replace(b'size": ', b'size": 1')


@pytest.mark.parametrize(
    ("raw", "kind", "status", "code"),
    [
        (image([LAYER]), mediatype.OCI_MANIFEST, 400, "MANIFEST_BLOB_UNKNOWN"),
        (index_of(image([])), mediatype.OCI_INDEX, 400, "MANIFEST_BLOB_UNKNOWN"),
        (image([]), mediatype.OCI_INDEX, 400, "MANIFEST_INVALID"),
        (image([]), mediatype.DOCKER_MANIFEST, 400, "MANIFEST_INVALID"),
        (image([]), "text/html", 400, "MANIFEST_INVALID"),
        (b"{", mediatype.OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        (b"[]", mediatype.OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        (b"", mediatype.OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        (image([], manifests=[]), mediatype.OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        (AWAY, mediatype.OCI_MANIFEST, 400, "DIGEST_INVALID"),
        (LONGER, mediatype.OCI_MANIFEST, 400, "SIZE_INVALID"),
        (b"{" + b" " * (4 << 20) + b"}", mediatype.OCI_MANIFEST, 413, "SIZE_INVALID"),
    ],
)
def test_a_manifest_that_is_none_is_refused(push, raw, kind, status, code):
    push.blob("a", CONFIG)
    answer = push.manifest("a", "1", raw, kind)
    assert (answer.status, answer.code) == (status, code), answer.body
    assert push.ask("GET", "/v2/a/tags/list").json["tags"] == []


@pytest.mark.parametrize("fits", [True, False])
def test_a_manifest_of_four_mebibytes(push, fits):
    push.blob("a", CONFIG)
    least = len(image([], annotations={"a": ""}))
    raw = image([], annotations={"a": "x" * ((4 << 20) - least + (not fits))})
    assert push.manifest("a", "1", raw).status == (201 if fits else 413)


def test_a_manifest_is_pushed_by_its_digest(push):
    raw = image([LAYER])
    push.image("a", "1", [LAYER])
    other = push.manifest("a", Digest.of(b"other"), raw)
    assert (other.status, other.code) == (400, "DIGEST_INVALID")
    long = f"sha512:{hashlib.sha512(raw).hexdigest()}"
    assert push.manifest("a", long, raw).headers["Docker-Content-Digest"] == long
    assert push.ask("GET", f"/v2/a/manifests/{long}").body == raw
    assert push.ask("GET", "/v2/a/tags/list").json["tags"] == ["1"]


def test_an_index_and_what_it_names(push):
    raw = push.image("a", "one", [LAYER])
    index = index_of(raw)
    assert push.manifest("a", "all", index, mediatype.OCI_INDEX).status == 201
    answer = push.ask("GET", "/v2/a/manifests/all")
    assert (answer.body, answer.headers["Content-Type"]) == (index, mediatype.OCI_INDEX)


def test_layers_of_other_places_need_not_be_here(push):
    push.blob("a", CONFIG)
    foreign = {
        "mediaType": mediatype.DOCKER_FOREIGN + ".gzip",
        "digest": str(Digest.of(b"elsewhere")),
        "size": 9,
        "urls": ["https://example.com/x"],
    }
    assert push.manifest("a", "1", image([], layers=[foreign])).status == 201


def test_a_tag_moves(push, tmp_path):
    first = push.image("a", "1", [LAYER])
    second = push.image("a", "1", [LAYER, b"more"])
    assert push.ask("GET", "/v2/a/manifests/1").body == second
    assert push.ask("GET", f"/v2/a/manifests/{Digest.of(first)}").body == first
    index = json.loads((tmp_path / "kept/index.json").read_text())
    names = {
        entry.get("annotations", {}).get("org.opencontainers.image.ref.name"): entry["digest"]
        for entry in index["manifests"]
    }
    assert names == {"a:1": Digest.of(second), None: Digest.of(first)}


@pytest.mark.parametrize("tag", [".hidden", "a" * 129, "ä", "-x"])
def test_a_tag_that_is_none(push, tag):
    answer = push.manifest("a", quote(tag), image([]))
    assert (answer.status, answer.code) == (400, "TAG_INVALID")


# -- who refers to whom --------------------------------------------------------


def test_referrers(push):
    raw = push.image("a", "1", [LAYER])
    subject = {"mediaType": mediatype.OCI_MANIFEST, "digest": str(Digest.of(raw)), "size": len(raw)}
    place = f"/v2/a/referrers/{Digest.of(raw)}"
    empty = push.ask("GET", place)
    assert (empty.status, empty.json["manifests"]) == (200, [])
    assert empty.headers["Content-Type"] == mediatype.OCI_INDEX
    signature = image([], subject=subject, artifactType="a/signature", annotations={"by": "ada"})
    plain = image([], subject=subject)
    for each in (signature, plain):
        answer = push.manifest("a", Digest.of(each), each)
        assert (answer.status, answer.headers["OCI-Subject"]) == (201, Digest.of(raw))
    found = {each["digest"]: each for each in push.ask("GET", place).json["manifests"]}
    assert set(found) == {Digest.of(signature), Digest.of(plain)}
    assert found[Digest.of(signature)]["annotations"] == {"by": "ada"}
    assert found[Digest.of(signature)]["size"] == len(signature)
    assert found[Digest.of(plain)]["artifactType"] == mediatype.OCI_CONFIG
    only = push.ask("GET", f"{place}?artifactType=a%2Fsignature")
    assert [each["digest"] for each in only.json["manifests"]] == [Digest.of(signature)]
    assert only.headers["OCI-Filters-Applied"] == "artifactType"
    assert push.ask("GET", f"/v2/none/referrers/{Digest.of(raw)}").json["manifests"] == []
    assert push.ask("GET", "/v2/a/referrers/x").code == "DIGEST_INVALID"


def test_referrers_come_in_pages_that_a_client_can_read(push):
    push.blob("a", CONFIG)
    subject = {"mediaType": mediatype.OCI_MANIFEST, "digest": str(Digest.of(b"x")), "size": 1}
    pushed = set()
    for number in range(3):
        raw = image([], subject=subject, annotations={"a": str(number) * (3 << 20)})
        assert push.manifest("a", Digest.of(raw), raw).status == 201, "its subject may come later"
        pushed.add(Digest.of(raw))
    found, place = [], f"/v2/a/referrers/{Digest.of(b'x')}"
    while place:
        answer = push.ask("GET", place)
        assert len(answer.body) <= 4 << 20
        found += [each["digest"] for each in answer.json["manifests"]]
        place = (answer.headers["Link"] or "").partition(">")[0][1:]
    assert sorted(found) == sorted(pushed)


# -- lists ---------------------------------------------------------------------


def test_lists_come_in_pages(push):
    raw = push.image("z/first", "1", [])
    for number in range(5):
        push.manifest("z/first", f"v{number}", raw)
        push.image(f"name{number}", "1", [])
    for path, field in (("/v2/_catalog", "repositories"), ("/v2/z/first/tags/list", "tags")):
        whole = push.ask("GET", path).json[field]
        assert whole == sorted(whole)
        assert len(whole) == 6
        found, place = [], f"{path}?n=4"
        while place:
            answer = push.ask("GET", place)
            assert len(answer.json[field]) <= 4
            found += answer.json[field]
            place = (answer.headers["Link"] or "").partition(">")[0][1:]
        assert found == whole


# -- deleting ------------------------------------------------------------------


def blobs(tmp_path):
    return {f"sha256:{path.name}" for path in (tmp_path / "kept/blobs/sha256").iterdir()}


def test_a_deleted_manifest_takes_its_tags_and_leaves_its_blobs(push, tmp_path):
    first = push.image("a", "1", [LAYER, b"shared"])
    push.manifest("a", "also", first)
    second = push.image("a", "2", [b"shared"])
    busy = push.ask("DELETE", f"/v2/a/blobs/{Digest.of(LAYER)}")
    assert (busy.status, busy.code) == (405, "UNSUPPORTED"), "a manifest names it"
    assert push.ask("DELETE", f"/v2/a/manifests/{Digest.of(first)}").status == 202
    assert push.ask("GET", "/v2/a/manifests/1").code == "MANIFEST_UNKNOWN"
    assert push.ask("GET", "/v2/a/tags/list").json["tags"] == ["2"]
    assert push.ask("DELETE", f"/v2/a/manifests/{Digest.of(first)}").code == "MANIFEST_UNKNOWN"
    assert blobs(tmp_path) == {Digest.of(each) for each in (CONFIG, b"shared", second, LAYER)}
    assert push.manifest("a", "again", first).status == 201, "somebody else was about to push it"
    push.ask("DELETE", f"/v2/a/manifests/{Digest.of(first)}")
    assert push.ask("DELETE", f"/v2/a/blobs/{Digest.of(LAYER)}").status == 202
    for tag in ("2", Digest.of(second)):
        assert push.ask("DELETE", f"/v2/a/manifests/{tag}").status == 202
    empty = push.ask("GET", "/v2/a/tags/list")
    assert (empty.status, empty.json["tags"]) == (200, [])


def test_what_no_manifest_names_goes_when_the_directory_is_opened(tmp_path):
    with (
        RegistryDirectory(tmp_path / "kept") as kept,
        RegistryServer(kept, rules=Rules(may_delete=True)) as server,
        Pusher(server.host) as push,
    ):
        gone = push.image("a", "1", [LAYER, b"shared"])
        left = push.image("a", "2", [b"shared"])
        push.blob("b", b"never named")
        push.ask("DELETE", f"/v2/a/manifests/{Digest.of(gone)}")
    with RegistryDirectory(tmp_path / "kept"):
        assert blobs(tmp_path) == {Digest.of(each) for each in (CONFIG, b"shared", left)}


def test_a_tag_is_deleted_alone(push):
    raw = push.image("a", "1", [LAYER])
    assert push.ask("DELETE", "/v2/a/manifests/1").status == 202
    assert push.ask("DELETE", "/v2/a/manifests/1").code == "MANIFEST_UNKNOWN"
    assert push.ask("GET", f"/v2/a/manifests/{Digest.of(raw)}").body == raw


def test_a_blob_is_deleted_from_its_repository_only(push, tmp_path):
    digest = push.blob("a", LAYER)
    push.ask("POST", f"/v2/b/blobs/uploads/?mount={digest}&from=a")
    assert push.ask("DELETE", f"/v2/a/blobs/{digest}").status == 202
    assert push.ask("DELETE", f"/v2/a/blobs/{digest}").code == "BLOB_UNKNOWN"
    assert push.ask("GET", f"/v2/b/blobs/{digest}").body == LAYER
    assert push.ask("DELETE", f"/v2/b/blobs/{digest}").status == 202
    assert blobs(tmp_path) == set()


def test_nothing_is_deleted_unless_that_is_allowed(kept, push):
    raw = push.image("a", "1", [LAYER])
    with RegistryServer(kept) as server, Pusher(server.host) as strict:
        for path in ("manifests/1", f"manifests/{Digest.of(raw)}", f"blobs/{Digest.of(LAYER)}"):
            answer = strict.ask("DELETE", f"/v2/a/{path}")
            assert (answer.status, answer.code) == (405, "UNSUPPORTED")
        assert strict.ask("DELETE", strict.begin("a")).status == 204, "an upload is one's own"
    assert push.ask("GET", "/v2/a/manifests/1").body == raw


def test_read_only(kept, push):
    raw = push.image("a", "1", [LAYER])
    place = push.begin("a")
    with (
        RegistryServer(kept, rules=Rules(read_only=True, may_delete=True)) as server,
        Pusher(server.host) as reader,
    ):
        assert reader.ask("GET", "/v2/a/manifests/1").body == raw
        for method, path in (
            ("POST", "/v2/a/blobs/uploads/"),
            ("PATCH", place),
            ("PUT", f"{place}?digest={Digest.of(b'')}"),
            ("PUT", "/v2/a/manifests/1"),
            ("DELETE", "/v2/a/manifests/1"),
        ):
            answer = reader.ask(method, path, b"")
            assert (answer.status, answer.code) == (405, "UNSUPPORTED")
            assert b"read-only" in answer.body


# -- many at once --------------------------------------------------------------


def test_twenty_push_overlapping_images_at_once(keeping, tmp_path):
    chance = random.Random(7)
    layers = [chance.randbytes(200_000 + number) for number in range(6)]

    def push(number):
        mine = [*layers[number % 4 : number % 4 + 3], f"own {number}".encode()]
        with Pusher(keeping.host) as pusher:
            return pusher.image(f"class/kim{number % 5}", f"v{number}", mine)

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        raws = list(pool.map(push, range(20)))
    with Pusher(keeping.host) as pusher:
        for number, raw in enumerate(raws):
            answer = pusher.ask("GET", f"/v2/class/kim{number % 5}/manifests/v{number}")
            assert answer.body == raw
            for part in json.loads(raw)["layers"]:
                blob = pusher.ask("GET", f"/v2/class/kim{number % 5}/blobs/{part['digest']}")
                assert Digest.of(blob.body) == part["digest"]
    assert not list((tmp_path / "kept/ocimagic/uploads").iterdir())


def test_two_uploads_of_one_blob_are_fine(push):
    places = [push.begin("a"), push.begin("a")]
    for place in places:
        assert push.ask("PATCH", place, LAYER).status == 202
    for place in places:
        assert push.ask("PUT", f"{place}?digest={Digest.of(LAYER)}").status == 201
    assert push.ask("GET", f"/v2/a/blobs/{Digest.of(LAYER)}").body == LAYER
