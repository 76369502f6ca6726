"""A listing answers to numbers, slices, names and the beginning of an ID."""

import sys
import types
from datetime import UTC, datetime

import pytest

from ocimagic.magics.listing import Listing
from ocimagic.model.result import ContainerSummary, ImageSummary
from ocimagic.model.state import Status
from ocimagic.spec.digest import Digest

NOW = datetime(2024, 1, 2, tzinfo=UTC)


def image(repository, tag):
    return ImageSummary(
        repository=repository,
        tag=tag,
        image_id=Digest.of(f"{repository}:{tag}".encode()),
        digest=Digest.of(b"{}"),
        created=NOW,
        size_bytes=10,
        shared_bytes=3,
    )


def container(name, container_id):
    return ContainerSummary(
        container_id=container_id,
        name=name,
        image="busybox",
        image_id=Digest.of(b"x"),
        command=("true",),
        created=NOW,
        started=None,
        status=Status.CREATED,
        pid=None,
        exit=None,
        network="host",
    )


IMAGES = Listing([image("busybox", "latest"), image("demo", "1"), image("demo", "2")])
CONTAINERS = Listing([container("web", "ab" * 32), container("db", "cd" * 32)])


def test_it_is_a_sequence():
    assert len(IMAGES) == 3
    assert IMAGES[0].tag == "latest"
    assert IMAGES[-1].tag == "2"
    assert [each.name for each in IMAGES] == IMAGES.names
    assert IMAGES[1:] == Listing(IMAGES.items[1:])
    assert IMAGES.items == IMAGES
    assert list(IMAGES) == IMAGES
    assert hash(IMAGES) == hash(Listing(IMAGES.items))
    assert "demo" in repr(IMAGES)
    assert not Listing([])


def test_names_and_ids_are_keys():
    assert IMAGES["demo:2"] is IMAGES[2]
    assert IMAGES["busybox"] is IMAGES[0]
    assert IMAGES[str(IMAGES[1].image_id)] is IMAGES[1]
    assert IMAGES[IMAGES[1].image_id.hex[:12]] is IMAGES[1]
    assert CONTAINERS["web"] is CONTAINERS[0]
    assert CONTAINERS["cdcd"] is CONTAINERS[1]


@pytest.mark.parametrize(
    ("key", "said"), [("demo:3", "did you mean demo"), ("", "''"), ("x", "'x'")]
)
def test_an_unknown_name_is_a_key_error(key, said):
    with pytest.raises(KeyError, match=said):
        IMAGES[key]


def test_rows_for_pandas_are_plain(monkeypatch):
    fake = types.ModuleType("pandas")
    fake.DataFrame = lambda rows: rows
    monkeypatch.setitem(sys.modules, "pandas", fake)

    row = CONTAINERS.to_pandas()[0]

    assert row["status"] == "created"
    assert row["created"] == NOW
    assert row["image_id"] == str(Digest.of(b"x"))
    assert row["pid"] is None


def test_a_real_frame():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = CONTAINERS.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["name"]) == [each.name for each in CONTAINERS]
    assert frame["created"].dt.year.tolist() == [NOW.year] * len(CONTAINERS)
    assert frame["pid"].isna().any()
    assert (frame["status"] == "created").all()
