"""Base images from a Debian mirror: reading what one says, and the whole way with a tiny one."""

import gzip
import io
import os
import shutil
import subprocess
from datetime import UTC, datetime

import pytest
from debianmirror import ARCHITECTURE, Mirror, ar, deb, tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from rootfs import tar_of

from ocimagic.build.debian import deb822, relation, version
from ocimagic.build.debian.deb import data_tar
from ocimagic.build.debian.release import Release
from ocimagic.build.debian.settings import is_dropped
from ocimagic.errors import (
    DigestMismatch,
    InvalidDocument,
    InvalidOption,
    NotBuiltYet,
    OcimagicError,
    PackageRefused,
    SignatureRefused,
    SuiteNotFound,
)
from ocimagic.layers.tarheader import Kind
from ocimagic.layers.toc import toc_of
from ocimagic.model.request import BootstrapOptions

# Versions, from dpkg's and apt's own tests and from Debian's policy: each less than the next.
ORDER = ("0~~", "0~", "0", "0.0", "1~rc1-1", "1-0ubuntu1", "1-1~bpo1", "1-1", "1-1+b1", "1-2",
         "1+a", "1.2-1", "1.10-1", "2.0~beta", "2.0", "2.0a", "2.0+dfsg", "1:0.1")  # fmt: skip
letters = st.text("0123456789abz.+~-", max_size=6)
versions = st.builds(
    lambda epoch, rest: f"{epoch}0{rest}", st.sampled_from(("", "1:", "0:")), letters
)


def test_versions_in_order():
    assert sorted(sorted(ORDER), key=version.key) == list(ORDER)


@pytest.mark.skipif(not shutil.which("dpkg"), reason="dpkg is not installed")
@settings(max_examples=60, deadline=None)
@given(versions, versions)
def test_versions_as_dpkg_orders_them(one, two):
    if one.endswith("-") or two.endswith("-"):
        return  # no revision, which dpkg does not take
    for word, ours in (("lt", "<<"), ("eq", "="), ("gt", ">>")):
        done = subprocess.run(["dpkg", "--compare-versions", one, word, two], check=False)
        assert version.satisfies(one, ours, two) == (done.returncode == 0), (one, word, two)


def test_stanzas():
    text = "A: 1\nDesc: x\n more\n  lines\n\n# none\n\n\nB: 2\n"
    assert list(deb822.stanzas(text, what="t")) == [
        {"a": "1", "desc": "x\nmore\nlines"},
        {"b": "2"},
    ]
    for broken in ("A: 1\nA: 2\n", " half\n", "no field\n"):
        with pytest.raises(InvalidDocument):
            list(deb822.stanzas(broken, what="t"))


def test_relations():
    found = relation.parse_relations("a (>= 1:2), b:any | c (<< 3) [amd64] <!nocheck>,\n d")
    assert [[str(each) for each in clause] for clause in found] == [
        ["a (>= 1:2)"], ["b", "c (<< 3)"], ["d"],
    ]  # fmt: skip
    assert found[0][0].is_met_by("1:2.1")
    assert not found[0][0].is_met_by("9")
    with pytest.raises(InvalidDocument):
        relation.parse_relations("a (>= 1")


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (bytes, "")])
def test_a_package_is_read(pack, suffix):
    raw = deb(("./etc", None), ("./etc/x", b"content"), pack=pack, suffix=suffix)
    toc = toc_of(data_tar(io.BytesIO(raw), "p", max_bytes=1 << 20))
    assert [(each.path, each.size) for each in toc] == [("etc", 0), ("etc/x", 7)]


GOOD = deb(("./etc", None), ("./etc/x", b"content"))
CONTROL = ("control.tar.gz", gzip.compress(tar_of(("control", b""))))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no ar archive"),
        (b"!<arch>\n", "ends before its files"),
        (GOOD[:-40], ""),
        (GOOD[:100], "ends before its files"),
        (ar(("debian-binary", b"3.0\n"), CONTROL), "format 2"),
        (ar(("debian-binary", b"2.0\n"), ("data.tar", b"")), "stands where control.tar should"),
        (ar(("debian-binary", b"2.0\n"), CONTROL, ("evil", b"")), "stands where data.tar should"),
        (ar(("debian-binary", b"2.0\n"), CONTROL, ("data.tar.xz", b"no xz")), ""),
        (ar(("debian-binary", b"2.0\n"), *[("_x", b"")] * 40), "members"),
    ],
)
def test_what_is_no_package_is_refused(raw, reason):
    with pytest.raises(OcimagicError) as caught:
        toc_of(data_tar(io.BytesIO(raw), "p", max_bytes=1 << 20))
    assert reason in str(caught.value) + str(caught.value.why)


def test_a_bomb_is_stopped():
    raw = deb(("./large", bytes(1 << 22)))
    with pytest.raises(PackageRefused, match="more than"):
        list(data_tar(io.BytesIO(raw), "p", max_bytes=1 << 20))


def test_what_an_image_is_not_to_have():
    assert is_dropped("var/log/dpkg.log", Kind.FILE)
    assert is_dropped("ocimagic-packages/a.deb", Kind.FILE)
    assert not is_dropped("var/log", Kind.DIR)
    assert not is_dropped("usr/bin/dpkg", Kind.FILE)


def test_a_release_without_digests():
    with pytest.raises(InvalidDocument, match="not valid"):
        Release.parse("Suite: x\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n")


# The whole way

INDEX = f"dists/tiny/main/binary-{ARCHITECTURE}/Packages.xz"


def options(url, **more):
    more.setdefault("check_signature", False)
    return BootstrapOptions(name="debian:tiny", mirror=url, **more)


@pytest.fixture
def mirror():
    if not shutil.which("busybox") or not shutil.which("dash"):
        pytest.skip("busybox-static or dash is not installed")
    return Mirror()


def test_an_image_of_a_mirror(engine, shared, mirror):
    """``shared`` skips where containers cannot run."""
    tiny(mirror).publish()
    with mirror.serve() as url:
        done = engine.images.bootstrap(options(url))
        assert {each.split()[0] for each in done.packages} == {
            "apt", "busybox", "dash", "dpkg", "one",
        }  # fmt: skip
        assert (done.tags, done.signed_by, done.cached) == (("debian:tiny",), (), False)
        asked = len(mirror.asked)
        again = engine.images.bootstrap(options(url, tags=("mine:1",)))
    assert (again.cached, again.image_id, again.fetched_bytes) == (True, done.image_id, 0)
    assert not [path for path in mirror.asked[asked:] if path.endswith(".deb")]
    told = engine.containers.run(
        "mine:1", ["sh", "-c", "cat /etc/one /dpkg.log; ls /; cat /etc/machine-id"], remove=True,
        network="none",
    )  # fmt: skip
    text = told.stdout.decode()
    assert text.startswith("1\n")
    assert "--configure --pending" in text
    assert "ocimagic-packages" not in text
    assert "abc" not in text
    listed = engine.containers.run(
        "debian:tiny",
        ["cat", "/etc/apt/sources.list.d/debian.sources"],
        remove=True,
        network="none",
    )
    assert f"URIs: {url}\nSuites: tiny\n" in listed.stdout.decode()
    assert len(engine.images.inspect("debian:tiny").layers) == 1


def test_what_fails_inside_leaves_no_image(engine, shared, mirror):
    tiny(mirror)
    bad = deb(
        ("./usr", None),
        ("./usr/bin", None),
        ("./usr/bin/dpkg", b"#!/bin/sh\necho no room >&2; exit 3\n", {"mode": 0o755}),
    )
    mirror.add("dpkg", bad, version="2.0", Essential="yes", Priority="required")
    mirror.publish()
    before = engine.images.list()
    with mirror.serve() as url, pytest.raises(OcimagicError, match="could not be configured"):
        engine.images.bootstrap(options(url))
    assert engine.images.list() == before


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda files: files.pop("dists/tiny/Release"), SuiteNotFound),
        (lambda files: files.update({"pool/one_1.0-1.deb": b"other"}), OcimagicError),
        (lambda files: files.pop("pool/one_1.0-1.deb"), OcimagicError),
        (lambda files: files.update({"dists/tiny/Release": b"nonsense"}), InvalidDocument),
        (
            lambda files: files.update({INDEX: b"x"}),
            OcimagicError,
        ),
    ],
)
def test_a_mirror_that_lies_is_not_believed(engine, shared, mirror, spoil, error):
    tiny(mirror, os.urandom(8)).publish()  # or a package might be here already
    spoil(mirror.files)
    before = engine.images.list()
    with mirror.serve() as url, pytest.raises(error) as caught:
        engine.images.bootstrap(options(url))
    assert caught.value.what
    assert engine.images.list() == before


def test_a_dependency_that_is_not_there(engine, shared, mirror):
    mirror.add("aa", deb(("./etc", None)), Essential="yes", Depends="bb (>= 2)")
    mirror.add("bb", deb(("./etc", None)), version="1")
    mirror.publish()
    with (
        mirror.serve() as url,
        pytest.raises(InvalidDocument, match="needs what the suite has not"),
    ):
        engine.images.bootstrap(options(url))


def test_an_expired_release():
    text = "Suite: x\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n " + "0" * 64 + " 1 a\n"
    found = Release.parse(text + "Valid-Until: Thu, 08 Jan 2026 00:00:00 UTC\n")
    found.check_time(datetime(2026, 1, 7, tzinfo=UTC))
    for day in (datetime(2026, 1, 9, tzinfo=UTC), datetime(2025, 12, 30, tzinfo=UTC)):
        with pytest.raises(PackageRefused, match=r"too old|from the future"):
            found.check_time(day)
        found.check_time(day, until=False)
    with pytest.raises(PackageRefused, match="another suite"):
        found.check_names("y")


@pytest.fixture
def make_mirror(tmp_path):
    """Make mirrors with keys; their agents are ended."""
    homes = []

    def make(name):
        homes.append(tmp_path / name)
        mirror = Mirror(homes[-1])
        return mirror, str(mirror.make_key())

    yield make
    for home in homes:
        Mirror(home).end_agent()


@pytest.mark.skipif(
    not (shutil.which("gpg") and shutil.which("gpgv")), reason="gpg and gpgv are not installed"
)
def test_signatures(engine, shared, make_mirror):
    mirror, keyring = make_mirror("keys")
    mirror.add("aa", deb(("./etc", None)), Essential="yes", Depends="missing")
    mirror.publish()
    signed = {"check_signature": True, "keyrings": (keyring,)}
    with mirror.serve() as url:
        # Past the signature: what is wrong is inside.
        with pytest.raises(InvalidDocument, match="needs what"):
            engine.images.bootstrap(options(url, **signed))
        good = mirror.files["dists/tiny/InRelease"]
        mirror.files["dists/tiny/InRelease"] = good.replace(b"Suite: tiny", b"Suite: evil")
        with pytest.raises(SignatureRefused):
            engine.images.bootstrap(options(url, **signed))
        mirror.files["dists/tiny/InRelease"] = good
        _, foreign = make_mirror("others")
        with pytest.raises(SignatureRefused):
            engine.images.bootstrap(options(url, check_signature=True, keyrings=(foreign,)))
        mirror.home = None
        del mirror.files["dists/tiny/InRelease"]
        mirror.publish()
        with pytest.raises(SignatureRefused, match="not signed"):
            engine.images.bootstrap(options(url, **signed))


def test_what_cannot_be_asked_for(engine, shared):
    with pytest.raises(NotBuiltYet, match="fedora"):
        engine.images.bootstrap(BootstrapOptions(name="fedora:42"))
    with pytest.raises(InvalidOption, match="no mirror"):
        engine.images.bootstrap(BootstrapOptions(name="debian:tiny", mirror="ftp://x"))
    with pytest.raises(InvalidOption, match="no keyring"):
        engine.images.bootstrap(
            BootstrapOptions(name="debian:tiny", mirror="http://127.0.0.1:1", keyrings=("/none",))
        )
    assert issubclass(DigestMismatch, OcimagicError)
