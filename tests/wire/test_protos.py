"""Messages from tables: the bytes of the protobuf encoding's own examples, and back."""

import pytest

pytest.importorskip("google.protobuf", reason="protobuf is not installed")

from ocimagic.wire.protos import message_classes

FIRST = """
message Numbers
  1 a int32
  2 b string
  4 d string
  5 e [int32]
  6 f [int32]
message Holder
  3 c Numbers
"""
SECOND = """
message Labels
  1 labels {string string}
  2 from .one.Holder
  3 at .google.protobuf.Timestamp
"""


@pytest.fixture(scope="module")
def packages():
    return message_classes({"one": FIRST, "two": SECOND})


@pytest.mark.parametrize(
    ("fields", "encoded"),
    [
        # protobuf.dev, "Encoding": a varint, a string, packed numbers
        ({"a": 150}, "089601"),
        ({"b": "testing"}, "120774657374696e67"),
        ({"f": [3, 270, 86942]}, "3206038e029ea705"),
    ],
)
def test_bytes_of_the_encodings_own_examples(packages, fields, encoded):
    one = packages["one"]
    assert one.Numbers(**fields).SerializeToString().hex() == encoded
    assert one.Numbers.FromString(bytes.fromhex(encoded)) == one.Numbers(**fields)


def test_a_message_in_a_message(packages):
    one = packages["one"]
    assert one.Holder(c=one.Numbers(a=150)).SerializeToString().hex() == "1a03089601"


def test_packages_that_refer_to_others_and_maps(packages):
    one, two = packages["one"], packages["two"]
    sent = two.Labels(labels={"a": "1"})
    getattr(sent, "from").c.a = 7
    sent.at.FromJsonString("2026-01-02T03:04:05Z")
    read = two.Labels.FromString(sent.SerializeToString())
    assert read.labels["a"] == "1"
    assert getattr(read, "from") == one.Holder(c=one.Numbers(a=7))
    assert read.at.seconds == 1767323045


def test_fields_that_a_table_does_not_name_are_kept(packages):
    """A newer client's field goes through a message of ours unhurt."""
    raw = bytes.fromhex("089601") + b"\x7a\x02hi"  # field 15
    assert packages["one"].Numbers.FromString(raw).SerializeToString() == raw


@pytest.mark.parametrize("line", ["1 a int32", "message", "message A\n 1 a", "message A\n x a b"])
def test_a_line_that_cannot_be_read_is_named(line):
    with pytest.raises(ValueError, match="three: cannot read"):
        message_classes({"three": line})
