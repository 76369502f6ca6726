"""What a registry answers to those who push and delete.

Spec: distribution-spec "Push" and "Content Management".
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from typing import TYPE_CHECKING

from ocimagic.errors import OcimagicError
from ocimagic.registry.contents import Contents
from ocimagic.registry.pulling import parse_digest
from ocimagic.registry.reply import Refusal
from ocimagic.spec.digest import Digest

if TYPE_CHECKING:
    import threading

    from ocimagic.registry.body import Body
    from ocimagic.registry.exchange import Exchange
    from ocimagic.registry.inbox import Upload
    from ocimagic.registry.source import ContentKeeper

_CHUNK = re.compile(r"(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/.*)?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IN_MEMORY_BYTES = 64 << 10


def begin_upload(exchange: Exchange, keeper: ContentKeeper, repository: str) -> None:
    """POST: mount a blob, take one whole, or begin an upload."""
    mounted, said = exchange.asked("mount"), exchange.asked("digest")
    if mounted is not None:
        wanted = parse_digest(mounted)
        if keeper.mount(repository, wanted, origin=exchange.asked("from")):
            return _send_kept(exchange, f"/v2/{repository}/blobs/{wanted}", wanted)
    digest = parse_digest(said) if said is not None else None
    name = keeper.uploads.begin(repository)
    if digest is None:
        return _send_progress(
            exchange, repository, name, 202, keeper.uploads.find(repository, name)
        )
    try:
        _take_chunk(_body(exchange), keeper.uploads.find(repository, name))
        keeper.keep_upload(repository, name, digest)
    except BaseException:
        keeper.uploads.forget(name)  # nobody knows its name
        raise
    return _send_kept(exchange, f"/v2/{repository}/blobs/{digest}", digest)


def send_upload_status(
    exchange: Exchange, keeper: ContentKeeper, repository: str, name: str
) -> None:
    """GET: say how far an upload is."""
    _send_progress(exchange, repository, name, 204, keeper.uploads.find(repository, name))


def continue_upload(exchange: Exchange, keeper: ContentKeeper, repository: str, name: str) -> None:
    """PATCH: take a chunk."""
    upload = keeper.uploads.find(repository, name)
    with upload.alone():
        _check_chunk(exchange, repository, name, upload)
        _take_chunk(_body(exchange), upload, _chunk_bytes(exchange))
    _send_progress(exchange, repository, name, 202, upload)


def finish_upload(exchange: Exchange, keeper: ContentKeeper, repository: str, name: str) -> None:
    """PUT: take the last chunk, if there is one, and the digest of it all."""
    digest = parse_digest(exchange.asked("digest") or "")
    upload = keeper.uploads.find(repository, name)
    with upload.alone():
        _check_chunk(exchange, repository, name, upload)
        _take_chunk(_body(exchange), upload, _chunk_bytes(exchange))
        keeper.keep_upload(repository, name, digest)
    _send_kept(exchange, f"/v2/{repository}/blobs/{digest}", digest)


def cancel_upload(exchange: Exchange, keeper: ContentKeeper, repository: str, name: str) -> None:
    """DELETE: throw an upload away."""
    with keeper.uploads.find(repository, name).alone():
        keeper.uploads.forget(name)
    exchange.send_head(204, {})


def put_manifest(
    exchange: Exchange,
    keeper: ContentKeeper,
    repository: str,
    reference: str,
    turn: threading.Semaphore,
) -> None:
    """PUT: check and keep a manifest.

    Args:
        exchange: the request.
        keeper: where to.
        repository: where to.
        reference: a tag or the manifest's digest.
        turn: few manifests are looked into at a time, for that takes memory.
    """
    said = parse_digest(reference) if ":" in reference else None
    if said is None and not _TAG.fullmatch(reference):
        raise Refusal(400, "TAG_INVALID", "a tag is 1 to 128 letters, digits, _ . -")
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        for piece in _body(exchange).pieces(most=exchange.limits.manifest_bytes):
            file.write(piece)
        file.seek(0)
        with turn:
            raw = file.read()
            digest = Digest.of_hash(hashlib.new(said.algorithm if said else "sha256", raw))
            if said is not None and digest != said:
                raise Refusal(400, "DIGEST_INVALID", f"this manifest is {digest}, not {said}")
            contents = Contents.parse(raw, exchange.headers.get("Content-Type", ""))
            tag = reference if said is None else None
            keeper.keep_manifest(repository, raw, contents, digest=digest, tag=tag)
    more = {"OCI-Subject": str(contents.subject)} if contents.subject else {}
    _send_kept(exchange, f"/v2/{repository}/manifests/{digest}", digest, more)


def delete_manifest(
    exchange: Exchange, keeper: ContentKeeper, repository: str, reference: str
) -> None:
    """DELETE: take a tag away, or a manifest with all its tags."""
    if ":" in reference:
        there = keeper.remove_manifest(repository, parse_digest(reference))
    else:
        there = keeper.remove_tag(repository, reference)
    if not there:
        raise Refusal(404, "MANIFEST_UNKNOWN", f"{repository} has no manifest {reference}")
    exchange.send_bytes(status=202)


def delete_blob(exchange: Exchange, keeper: ContentKeeper, repository: str, digest: str) -> None:
    """DELETE: take a blob away that no manifest names."""
    if not keeper.remove_blob(repository, parse_digest(digest)):
        raise Refusal(404, "BLOB_UNKNOWN", f"{repository} has no blob {digest}")
    exchange.send_bytes(status=202)


def _body(exchange: Exchange) -> Body:
    assert exchange.body is not None
    return exchange.body


def _chunk(exchange: Exchange) -> re.Match[str] | None:
    said = exchange.headers.get("Content-Range")
    if said is None:
        return None
    found = _CHUNK.fullmatch(said.strip())
    if not found or int(found[2]) < int(found[1]):
        raise Refusal(400, "BLOB_UPLOAD_INVALID", "Content-Range must be START-END")
    return found


def _chunk_bytes(exchange: Exchange) -> int | None:
    """Return how long a chunk calls itself, None when it says nothing."""
    found = _chunk(exchange)
    return int(found[2]) - int(found[1]) + 1 if found else None


def _check_chunk(exchange: Exchange, repository: str, name: str, upload: Upload) -> None:
    """Refuse a chunk that does not go where the last one ended, before a byte of it is read."""
    found = _chunk(exchange)
    if not found:
        return
    if int(found[1]) != upload.written:
        raise Refusal(
            416,
            "BLOB_UPLOAD_INVALID",
            f"the next chunk must start at byte {upload.written}",
            **{
                key.replace("-", "_"): value
                for key, value in _progress(repository, name, upload).items()
            },
        )
    length = _body(exchange).length
    if length is not None and length != _chunk_bytes(exchange):
        raise _lies()


def _take_chunk(body: Body, upload: Upload, expected: int | None = None) -> None:
    """Write a body to an upload; what came before a connection broke is kept."""
    start = upload.written
    try:
        for piece in body.pieces():
            if expected is not None and upload.written + len(piece) - start > expected:
                raise _lies()
            upload.append(piece)
        if expected is not None and upload.written - start != expected:
            raise _lies()
    except (OcimagicError, _Lie):
        upload.cut(start)
        raise


class _Lie(Refusal):
    """A chunk that is not as long as its Content-Range says."""


def _lies() -> _Lie:
    return _Lie(400, "SIZE_INVALID", "the chunk is not as long as its Content-Range says")


def _progress(repository: str, name: str, upload: Upload) -> dict[str, str]:
    return {
        "Location": f"/v2/{repository}/blobs/uploads/{name}",
        # Of nothing, too, this is how registries say it.
        "Range": f"0-{max(0, upload.written - 1)}",
        "Docker-Upload-UUID": name,
    }


def _send_progress(
    exchange: Exchange, repository: str, name: str, status: int, upload: Upload
) -> None:
    headers = _progress(repository, name, upload)
    if status == 204:
        exchange.send_head(status, headers)
    else:
        exchange.send_bytes(status=status, headers=headers)


def _send_kept(
    exchange: Exchange, location: str, digest: Digest, more: dict[str, str] | None = None
) -> None:
    headers = {"Location": location, "Docker-Content-Digest": str(digest), **(more or {})}
    exchange.send_bytes(status=201, headers=headers)
