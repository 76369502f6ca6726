"""Files from web servers, for whoever imports one."""

import hashlib
import io
import tarfile
import threading

import pytest
from rootfs import tar_of
from scripted import Reply

from ocimagic import Engine
from ocimagic.errors import (
    Cancelled,
    DiskFull,
    LayerRefused,
    NotFound,
    RegistryAnswered,
    RegistryUnreachable,
)
from ocimagic.model.event import LayerPhase, LayerProgress, TransferStarted
from ocimagic.model.request import ImportOptions
from ocimagic.registry.download import Download

CONTENT = bytes(range(256)) * 12_000  # 3 MB
RANGES = [("Accept-Ranges", "bytes"), ("ETag", '"v1"')]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    root = tmp_path_factory.mktemp("import")
    with Engine(root / "root", environment={"HOME": str(root)}) as engine:
        yield engine


def broken(content, at, *headers):
    """Announce all of it, and hang up at a byte."""
    head = [("Content-Length", str(len(content))), *headers]
    return Reply(200, head, content[:at], framed=False, then=lambda connection, stop: None)


def rest(seen, content):
    start = int(seen.headers["range"].removeprefix("bytes=").rstrip("-"))
    said = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return Reply(206, [("Content-Range", said), *RANGES], content[start:])


def fetched(transport, server):
    download = Download(transport, f"{server.url}/root.tar")
    return b"".join(download.pieces()), download


def test_a_connection_that_breaks_is_taken_up_again(scripted, transport):
    def script(seen):
        return rest(seen, CONTENT) if "range" in seen.headers else broken(CONTENT, 1 << 20, *RANGES)

    server = scripted(script)
    content, download = fetched(transport, server)
    assert content == CONTENT
    assert download.done_bytes == download.total_bytes == len(CONTENT)
    _, second = server.seen
    assert (second.headers["range"], second.headers["if-range"]) == ("bytes=1048576-", '"v1"')


def test_a_file_that_changes_meanwhile(scripted, transport):
    def script(seen):
        return (
            Reply(200, RANGES, b"new")
            if "range" in seen.headers
            else broken(CONTENT, 1 << 20, *RANGES)
        )

    with pytest.raises(RegistryAnswered, match="changed while it was fetched"):
        fetched(transport, scripted(script))


@pytest.mark.parametrize("headers", [[], [("Accept-Ranges", "bytes"), ("ETag", 'W/"v1"')]])
def test_a_server_that_cannot_go_on(scripted, transport, headers):
    server = scripted(lambda seen: broken(CONTENT, 1 << 20, *headers))
    with pytest.raises(RegistryUnreachable):
        fetched(transport, server)
    assert len(server.seen) == 1


def test_a_server_that_breaks_again_and_again(scripted, transport):
    def script(seen):
        if "range" not in seen.headers:
            return broken(CONTENT, 10, *RANGES)
        return Reply(
            206,
            [("Content-Range", f"bytes 10-{len(CONTENT) - 1}/{len(CONTENT)}"),
             ("Content-Length", str(len(CONTENT) - 10)), *RANGES],
            b"",
            framed=False,
            then=lambda connection, stop: None,
        )  # fmt: skip

    server = scripted(script)
    with pytest.raises(RegistryUnreachable):
        fetched(transport, server)
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Reply(404), NotFound, "there is no http://"),
        (Reply(410), NotFound, "check the address"),
        (Reply(403), RegistryAnswered, "HTTP 403"),
        (Reply(302, [("Location", "http://169.254.169.254/keys")]), RegistryAnswered, "not follow"),
    ],
)
def test_no_file(scripted, transport, reply, kind, words):
    with pytest.raises(kind) as caught:
        fetched(transport, scripted(lambda seen: reply))
    assert words in str(caught.value)


# -- import ----------------------------------------------------------------------


def test_import_from_a_url(engine, scripted):
    tar = tar_of(("etc", None), ("etc/hostname", b"far\n"), ("big", b"x" * 2_000_000))
    server = scripted(lambda seen: Reply(200, [], tar))
    events = []
    options = ImportOptions(reference="far:1", changes=("CMD ls",))
    made = engine.images.import_(
        f"{server.url}/root.tar?token=secret", options, on_event=events.append
    )
    details = engine.images.inspect("far:1")
    assert (made.image_id, made.reference) == (details.image_id, "far:1")
    assert details.config.diff_ids == (f"sha256:{hashlib.sha256(tar).hexdigest()}",)
    (line,) = engine.images.history("far:1")
    assert line.comment == f"Imported from {server.url}/root.tar", "without the query"
    started, *moved = events
    assert isinstance(started, TransferStarted)
    assert (started.verb, started.layers[0][1]) == ("importing", len(tar))
    assert all(isinstance(each, LayerProgress) and each.label == "file" for each in moved)
    assert (moved[-1].phase, moved[-1].done_bytes) == (LayerPhase.DONE, len(tar))


def test_import_of_a_compressed_file_of_unknown_length(engine, scripted):
    plain = tar_of(("a", b"a"))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        tar.addfile(tarfile.TarInfo("a"))
    for content in (plain, packed.getvalue()):
        server = scripted(lambda seen, content=content: Reply(200, [], content, framed=False))
        assert engine.images.import_(f"{server.url}/r").image_id


def test_import_of_what_is_no_root(engine, scripted):
    before = engine.images.list()
    for content in (b"", b"<html>" * 1000):
        server = scripted(lambda seen, content=content: Reply(200, [], content))
        with pytest.raises(LayerRefused):
            engine.images.import_(f"{server.url}/r")
    server = scripted(lambda seen: Reply(404))
    with pytest.raises(NotFound):
        engine.images.import_(f"{server.url}/r")
    large = Reply(200, [("Content-Length", str(1 << 60))], b"x", framed=False)
    server = scripted(lambda seen: large)
    with pytest.raises(DiskFull, match="does not fit"):
        engine.images.import_(f"{server.url}/r")
    assert engine.images.list() == before
    assert list(engine.home.ingest.iterdir()) == []


def test_import_called_off(engine, scripted):
    stop = threading.Event()
    server = scripted(lambda seen: Reply(200, [], tar_of(("a", b"x" * 3_000_000))))
    with pytest.raises(Cancelled, match="import stopped"):
        engine.images.import_(f"{server.url}/r", on_event=lambda event: stop.set(), cancelled=stop)
    assert list(engine.home.ingest.iterdir()) == []
