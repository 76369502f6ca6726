"""Pushing a name for several platforms of which some are not here, or one of them alone."""

import pytest

from ocimagic.errors import PlatformNotFound
from ocimagic.model.event import Notice
from ocimagic.model.options import BuildOptions
from ocimagic.model.registry import RegistryOptions
from ocimagic.spec.manifest import Index, parse_manifest
from ocimagic.spec.platform import Platform, host_platform
from ocimagic.spec.reference import Reference

HOST = Platform("linux", host_platform().architecture)
RISCV, S390X = Platform("linux", "riscv64"), Platform("linux", "s390x")
TEXT = "FROM scratch\nARG TARGETARCH\nCOPY <<E /arch\n$TARGETARCH\nE\n"


@pytest.fixture
def host(make_engine):
    """Serve ``many:1`` for three platforms."""
    maker = make_engine("maker")
    with maker.system.serve_registry(RegistryOptions(port=0)) as served:
        name = f"{served.host}/many:1"
        wanted = (HOST, RISCV, S390X)
        maker.images.build(BuildOptions(dockerfile=TEXT, tags=(name,), platforms=wanted))
        maker.images.push(name)
        yield served.host


def there(engine, name):
    """Return what a registry has under a name."""
    fetched = engine.images.registry_client()
    raw = fetched.manifest(Reference.parse(name)).raw
    return parse_manifest(raw)


def push(engine, name, **options):
    told = []
    [result] = engine.images.push(name, on_event=told.append, **options)
    assert there(engine, name).digest == result.digest
    return [each.text for each in told if isinstance(each, Notice)]


def test_what_is_missing_is_named(engine, host):
    for platform in (RISCV, HOST):
        engine.images.pull(f"{host}/many:1", platform=platform)
    engine.images.tag(f"{host}/many:1", f"{host}/other:1")
    [said] = push(engine, f"{host}/other:1")
    assert "other:1 is pushed without linux/s390x" in said
    assert "--platform" in said
    found = there(engine, f"{host}/other:1")
    assert isinstance(found, Index)
    assert {each.platform for each in found.manifests} == {HOST, RISCV}
    # What the name points at now is whole.
    assert push(engine, f"{host}/other:1") == []


def test_one_of_several_is_said_to_be_one(engine, host):
    engine.images.pull(f"{host}/many:1")
    engine.images.tag(f"{host}/many:1", f"{host}/single:1")
    [said] = push(engine, f"{host}/single:1")
    assert "without linux/riscv64, linux/s390x" in said
    assert not isinstance(there(engine, f"{host}/single:1"), Index)


def test_nothing_is_said_of_what_is_whole(engine, host):
    for platform in (RISCV, S390X, HOST):
        engine.images.pull(f"{host}/many:1", platform=platform)
    engine.images.tag(f"{host}/many:1", f"{host}/whole:1")
    assert push(engine, f"{host}/whole:1") == []
    assert there(engine, f"{host}/whole:1").digest == there(engine, f"{host}/many:1").digest
    built = f"{host}/built:1"
    engine.images.build(BuildOptions(dockerfile=TEXT, tags=(built,), platforms=(HOST, RISCV)))
    # Compressed on its way: the registry has other manifests of the same platforms.
    assert push(engine, built) == push(engine, built) == []


def test_one_platform_that_is_asked_for(engine, host):
    for platform in (RISCV, HOST):
        engine.images.pull(f"{host}/many:1", platform=platform)
    engine.images.tag(f"{host}/many:1", f"{host}/risc:1")
    before = engine._store.images.name(Reference.parse(f"{host}/risc:1"))
    assert push(engine, f"{host}/risc:1", platform=RISCV) == []
    wanted = engine._store.images.of_platform(f"{host}/risc:1", RISCV)
    assert there(engine, f"{host}/risc:1").config.digest == wanted.image_id
    # The name stays what it is here.
    assert engine._store.images.name(Reference.parse(f"{host}/risc:1")) == before
    assert len(engine._store.images.parts(Reference.parse(f"{host}/risc:1"))) == 2
    with pytest.raises(PlatformNotFound, match=r"nothing here of .* is for linux/s390x") as caught:
        engine.images.push(f"{host}/risc:1", platform=S390X)
    assert "linux/riscv64" in caught.value.why
    assert "pull --platform linux/s390x" in caught.value.hint
