"""containerd's filters, by the examples of its documentation."""

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed")

from ocimagic.containerd.filters import chosen, fields_of
from ocimagic.errors import BadInput

FOUND = [("a", {"x": "1"}), ("b", {"x": "2", "y.z": "3"}), ("ab", {})]


def names(*filters):
    return [
        name for name, _ in chosen(FOUND, filters, lambda each: fields_of(each[1], name=each[0]))
    ]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ((), ["a", "b", "ab"]),
        (("",), ["a", "b", "ab"]),
        (("name==a",), ["a"]),
        (("name==a", "name==b"), ["a", "b"]),
        (("name!=a",), ["b", "ab"]),
        (("name~=a",), ["a", "ab"]),
        (('name~="^a$"',), ["a"]),
        (("name~=|^a|",), ["a", "ab"]),
        (("labels.x",), ["a", "b"]),
        (("labels.x==2",), ["b"]),
        (('labels."y.z"==3',), ["b"]),
        (("name~=b,labels.x==2",), ["b"]),
        (("nothing==1",), []),
    ],
)
def test_what_fits_is_chosen(filters, found):
    assert names(*filters) == found


@pytest.mark.parametrize("bad", ["==a", "name=a", "name==a name==b", "name~=[", ",", "a.==1"])
def test_what_is_no_filter_is_refused(bad):
    with pytest.raises(BadInput):
        names(bad)
