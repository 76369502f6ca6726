"""Spoilt input for what reads other people's bytes: ``make fuzz``, and a little of it in CI.

A seed corpus is made here; a round takes one of its pieces, spoils it several times, and gives
it to its reader.  A reader may answer or raise one of our own errors; anything else is a find,
and so is more than a second or 64 MiB for an input of a few thousand bytes.
"""

import argparse
import collections
import gzip
import json
import random
import sys
import time
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rootfs import MadeImage, tar_of

from ocimagic.errors import OcimagicError
from ocimagic.layers.compress import decompressed
from ocimagic.layers.mergedtree import MergedTree
from ocimagic.layers.toc import toc_from_bytes, toc_of, toc_to_bytes
from ocimagic.spec.config import ImageConfig
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import parse_manifest
from ocimagic.spec.platform import Platform
from ocimagic.spec.reference import Reference

MAX_BYTES = 64 << 20
MAX_SECONDS = 1.0  # of processor time, so that a busy machine finds nothing
_WORDS = [b"null", b"-1", b"1e999", b"NaN", b"[]", b"{}", b'""', b"\0", b"\xff", b"../", b"/",
          b"999999999999999999999", b"true", b'"sha256:', b"\x80" + b"\xff" * 7, b"7777777\0",
          b".wh..wh..opq", b"\xef\xbb\xbf", b"\\ud800", b"0 path=x\n"]  # fmt: skip


def read_tar(raw):
    toc = toc_of([raw])
    MergedTree([toc, toc])
    assert toc_from_bytes(toc_to_bytes(toc)) == toc


def read_compressed(raw):
    for _ in decompressed([raw], max_bytes=8 << 20):
        pass


def read_manifest(raw):
    document = parse_manifest(raw)
    if hasattr(document, "choose"):
        document.choose(Platform("linux", "amd64"))
    else:
        document.as_oci()
        document.require_image("x")


def read_config(raw):
    config = ImageConfig.parse(raw)
    again = ImageConfig.parse(config.encoded().raw)
    assert again.diff_ids == config.diff_ids


def read_reference(raw):
    reference = Reference.parse(raw.decode("utf-8", "surrogateescape"))
    assert Reference.parse(str(reference)) == reference


def read_digest(raw):
    text = raw.decode("utf-8", "surrogateescape")
    assert str(Digest.parse(text)) == text


READERS = {
    "tar": read_tar,
    "compressed": read_compressed,
    "manifest": read_manifest,
    "config": read_config,
    "reference": read_reference,
    "digest": read_digest,
}


def corpus():
    """Make what is spoilt: a few whole pieces for each reader."""
    import tarfile

    layer = tar_of(
        ("d", None), ("d/f", b"x" * 700), ("d/" + "l" * 120, b"y"), ("d/.wh.gone", b""),
        ("s", None, {"type": tarfile.SYMTYPE, "linkname": "d/f"}),
        ("h", None, {"type": tarfile.LNKTYPE, "linkname": "d/f"}),
        ("x", b"", {"pax_headers": {"SCHILY.xattr.user.a": "b", "mtime": "1.5"}}),
    )  # fmt: skip
    made = MadeImage([layer], {"Env": ["A=b"], "Labels": {"l": "v"}})
    docker = MadeImage([layer], {"Cmd": ["x"], "Healthcheck": {"Test": ["NONE"]}}, docker=True)
    entry = {"mediaType": made.media_type, "digest": made.digest, "size": len(made.manifest_raw),
             "platform": {"os": "linux", "architecture": "amd64", "variant": "v1"},
             "annotations": {"a": "b"}}  # fmt: skip
    index = {"schemaVersion": 2, "manifests": [entry, entry]}
    pinned = f"[::1]:5000/x@{made.digest}".encode()
    names = [b"debian", b"localhost:5000/a/b:tag", pinned, b"docker.io/library/a:1"]
    return {
        "tar": [layer, tar_of(("a", b"1"))],
        "compressed": [gzip.compress(layer, mtime=0), layer[:1024]],
        "manifest": [made.manifest_raw, docker.manifest_raw, json.dumps(index).encode()],
        "config": [made.config_raw, docker.config_raw],
        "reference": names,
        "digest": [bytes(str(made.digest), "ascii"), b"sha512:" + b"a" * 128],
    }


def spoil(raw, chance):
    """Return it with a few things wrong."""
    out = bytearray(raw)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        at = chance.randrange(len(out) + 1)
        length = chance.choice([1, 1, 4, 12, 100, 512])
        what = chance.randrange(7)
        if what == 0 and at < len(out):
            out[at] ^= 1 << chance.randrange(8)
        elif what == 1:
            del out[at : at + length]
        elif what == 2:
            out[at:at] = chance.choice(_WORDS)
        elif what == 3:
            word = chance.choice(_WORDS)
            out[at : at + len(word)] = word
        elif what == 4:
            out[at:at] = out[at : at + length] * chance.choice([1, 2, 9])
        elif what == 5:
            out[at : at + length] = chance.randbytes(length)
        elif chance.random() < 0.1:
            out[at:at] = chance.choice([b"[", b'{"a":', b"\0" * 512]) * 400
    raw = bytes(out)
    return checked(raw, chance) if chance.random() < 0.7 else raw


def checked(raw, chance):
    """Make the sums of a tar's headers right again, or else nothing gets past them."""
    out = bytearray(raw)
    for at in range(0, len(out) - 511, 512):
        if out[at + 257 : at + 262] == b"ustar":
            out[at + 148 : at + 156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + 512])
    return bytes(out)


def find(name, raw):
    """Read once; return what is wrong with how that went, "" for nothing."""
    began = time.process_time()
    tracemalloc.reset_peak()
    try:
        READERS[name](raw)
    except OcimagicError:
        pass
    except (Exception, RecursionError) as err:  # noqa: BLE001  that is what is looked for
        return f"{type(err).__name__}: {err}"
    if time.process_time() - began > MAX_SECONDS:
        return f"takes {time.process_time() - began:.1f} s"
    if tracemalloc.get_traced_memory()[1] > MAX_BYTES:
        return f"takes {tracemalloc.get_traced_memory()[1] >> 20} MiB"
    return ""


def run(seed, *, rounds=0, seconds=0.0):
    """Spoil and read; returns counts, and finds with what found them."""
    pieces, counts, finds = corpus(), collections.Counter(), {}
    deadline, number = time.monotonic() + seconds, 0
    tracemalloc.start()
    try:
        while number < rounds or time.monotonic() < deadline:
            chance = random.Random(f"{seed}/{number}")
            name = list(READERS)[number % len(READERS)]
            raw = spoil(chance.choice(pieces[name]), chance)
            wrong = find(name, raw)
            counts[name] += 1
            if wrong:
                finds.setdefault(f"{name}: {wrong[:70]}", (number, raw))
            number += 1
    finally:
        tracemalloc.stop()
    return counts, finds


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--seconds", type=float, default=600)
    words.add_argument("--seed", type=int, default=None)
    asked = words.parse_args()
    seed = asked.seed if asked.seed is not None else random.randrange(1 << 30)
    counts, finds = run(seed, seconds=asked.seconds)
    print(f"seed {seed}:", dict(counts))
    for what, (number, raw) in finds.items():
        print(f"FIND in round {number}: {what}\n  {raw[:3000]!r}")
    return 1 if finds else 0


if __name__ == "__main__":
    sys.exit(main())
