"""What build steps came to, when two builds come to the same at once."""

from datetime import UTC, datetime, timedelta

from ocimagic.home.location import Home
from ocimagic.spec import mediatype
from ocimagic.spec.config import ContainerConfig, ImageConfig
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Manifest
from ocimagic.spec.platform import Platform
from ocimagic.store.database import ImageDatabase
from ocimagic.store.results import StepResults

THEN = datetime(2026, 1, 2, tzinfo=UTC)


def image(created):
    config = ImageConfig(
        platform=Platform("linux", "amd64"), created=created, config=ContainerConfig()
    )
    config = config.encoded()
    blob = Descriptor(mediatype.OCI_CONFIG, config.image_id, len(config.raw))
    return Manifest.build(blob, [], {}), config


def test_the_first_image_of_a_kind_decides_when_it_was_created(tmp_path):
    home = Home(tmp_path / "data", tmp_path / "run")
    home.create()
    results = StepResults(ImageDatabase(home.database))
    key = Digest.of(b"all that goes into it but the time")
    first, second = image(THEN), image(THEN + timedelta(seconds=1))
    kept = results.put(key, None, *first)
    assert kept == (first[1].image_id, THEN)
    # Another build asked before this one had put it there, and comes later.
    assert results.put(key, None, *second) == kept == results.newest(key)
    assert results.get(second[1].image_id) is None
    # One that is to do everything anew takes nothing that was there before it began.
    soon = datetime.now(UTC).timestamp() + 60
    assert results.newest(key, since=soon) is None
    assert results.put(key, None, *second, since=soon) == (second[1].image_id, second[1].created)
