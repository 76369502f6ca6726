import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.errors import InvalidDigest, InvalidReference
from ocimagic.spec.digest import Digest, chain_ids
from ocimagic.spec.reference import Reference

D = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        ("tomcat:8", "docker.io/library/tomcat:8", "tomcat:8"),
        ("docker.io/library/redis", "docker.io/library/redis:latest", "redis:latest"),
        ("index.docker.io/redis", "docker.io/library/redis:latest", "redis:latest"),
        ("me/app", "docker.io/me/app:latest", "me/app:latest"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x:1", "localhost:5000/x:1", "localhost:5000/x:1"),
        ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest", "127.0.0.1:5000/a/b:latest"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        ("UP/x", "UP/x:latest", "UP/x:latest"),
        ("a__b-c.d", "docker.io/library/a__b-c.d:latest", "a__b-c.d:latest"),
        (f"x@{D}", f"docker.io/library/x@{D}", f"x@{D}"),
        (f"x:1@{D}", f"docker.io/library/x:1@{D}", f"x:1@{D}"),
        (
            "1.dkr.ecr.eu-west-1.amazonaws.com/app",
            "1.dkr.ecr.eu-west-1.amazonaws.com/app:latest",
            "1.dkr.ecr.eu-west-1.amazonaws.com/app:latest",
        ),
    ],
)
def test_defaults_are_dockers(text, full, familiar):
    reference = Reference.parse(text)
    assert (str(reference), reference.familiar) == (full, familiar)
    assert Reference.parse(full) == reference


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "@", "a:", "a@", "A", "a B", "-x", "x-", "a//b", "/a", "a/", "a..b", "a___b",
           "x/" * 130 + "x", "host:99999/x", "ho$t.de/x", "[::g]:1/x", "a:b:c", "\u00e4", "a\n",
        "a:\n",
     "a:" + "t" * 129, "a@sha256:12", "a@md5:" + "0" * 32, "a@sha256:" + "A" * 64, "0" * 64,
        "../../etc", "a@" + D + "@" + D,
    ],
)  # fmt: skip
def test_what_breaks_the_grammar_is_refused_with_words(text):
    with pytest.raises(InvalidReference, match="invalid reference format") as caught:
        Reference.parse(text)
    assert caught.value.why


@given(st.text(max_size=300))
def test_any_text_is_parsed_or_refused(text):
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return
    assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", "sha256:" + "0" * 63, "sha256:" + "G" * 64, "sha1:" + "0" * 40, "../../x",
     "sha256:" + "0" * 64 + "\n", "SHA256:" + "0" * 64],
)  # fmt: skip
def test_digests_are_checked(text):
    with pytest.raises(InvalidDigest):
        Digest.parse(text)


def test_chain_ids_follow_the_spec():
    one, two = Digest.of(b"1"), Digest.of(b"2")
    assert chain_ids([]) == []
    assert chain_ids([one, two]) == [one, Digest.of(f"{one} {two}".encode())]
