"""Steps that were done elsewhere: written with --cache-to, found with --cache-from."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import threading

import pytest
from conftest import BUSYBOX, Workplace, need_containers

from ocimagic.build import cache_directory
from ocimagic.engine.engine import Engine
from ocimagic.errors import (
    Cancelled,
    ImageNotFound,
    InvalidOption,
    InvalidReference,
    RegistryError,
)
from ocimagic.model.cache import CacheFrom, CacheTo
from ocimagic.model.event import StepDone, TransferStarted
from ocimagic.model.options import BuildOptions
from ocimagic.registry.directory import RegistryDirectory
from ocimagic.registry.server import RegistryServer
from ocimagic.spec import mediatype
from ocimagic.spec.platform import Platform

TEXT = """FROM scratch AS tools
COPY tool /tool
COPY other /other
FROM scratch
COPY --from=tools /tool /bin/tool
COPY file /file
LABEL a=b
WORKDIR /w
"""
BUILDKIT = "application/vnd.buildkit.cacheconfig.v0"


def furnish(context):
    context.mkdir(parents=True)
    for name in ("tool", "other", "file"):
        (context / name).write_text(f"the {name}\n" * 50)
        (context / name).chmod(0o644)


@pytest.fixture
def machine(tmp_path):
    """Make machines: an empty store and the same files on each."""
    engines, made = [], []

    def machine(name):
        furnish(tmp_path / name / "context")
        engines.append(Engine(root=tmp_path / name / "root", environment={"HOME": str(tmp_path)}))
        made.append(Workplace(engines[-1], tmp_path / name / "context"))
        return made[-1]

    yield machine
    leftovers = [each.leftovers() for each in made]
    for each in engines:
        each.close()
    assert leftovers == [[]] * len(made)


@pytest.fixture
def served(tmp_path):
    """Our own registry, and what it is asked."""
    asked = []
    with (
        RegistryDirectory(tmp_path / "registry") as kept,
        RegistryServer(kept, on_request=lambda *words: asked.append(words)) as server,
    ):
        server.asked = asked
        server.kept = kept
        yield server


def to(place, **more):
    kind = "local" if str(place).startswith("/") else "registry"
    return {"cache_to": (CacheTo(kind=kind, place=str(place), **more),)}


def of(place, **more):
    kind = "local" if str(place).startswith("/") else "registry"
    return {"cache_from": (CacheFrom(kind=kind, place=str(place), **more),)}


def anew(result):
    return [step.text for step in result.steps if not step.cached]


def documents(directory, tag="latest"):
    """Return manifest and config of a cache in a directory."""
    index = json.loads((directory / "index.json").read_text())
    names = {
        each["annotations"]["org.opencontainers.image.ref.name"]: each["digest"]
        for each in index["manifests"]
    }
    manifest = json.loads(blob(directory, names[tag]).read_bytes())
    return manifest, json.loads(blob(directory, manifest["config"]["digest"]).read_bytes())


def blob(directory, digest):
    return directory / "blobs" / "sha256" / digest.removeprefix("sha256:")


def put(directory, content):
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    blob(directory, digest).write_bytes(content)
    return {"digest": digest, "size": len(content)}


def publish(directory, manifest, config=None):
    """Let a cache's name stand for another manifest, with another config perhaps."""
    if config is not None:
        raw = config if isinstance(config, bytes) else json.dumps(config).encode()
        manifest["config"] |= put(directory, raw)
    entry = {"mediaType": manifest["mediaType"], **put(directory, json.dumps(manifest).encode())}
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


# -- there and back ----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("where", ["registry", "local"])
def test_another_machine_finds_every_step(machine, tmp_path, request, where, mode):
    place = tmp_path / "cache"
    if where == "registry":
        place = f"{request.getfixturevalue('debian_registry')}/cache/{mode}:1"
    first = machine("a").build(TEXT, "app", **to(place, mode=mode))
    other = machine("b")
    second = other.build(TEXT, "app", **of(place))
    assert anew(second) == []
    assert (second.image_id, second.digest) == (first.image_id, first.digest)
    assert other.text(second, "/bin/tool") == "the tool\n" * 50
    assert other.notices() == []
    # What was found is known here from now on, but for what was not needed.
    third = other.build(TEXT, "app")
    assert third.image_id == first.image_id
    assert [step.text for step in third.steps if not step.cached and step.stage == "1"] == []
    assert not other.engine.images.verify().faults


def test_commands(machine, tmp_path):
    if BUSYBOX is None:
        pytest.skip("no busybox on this machine (apt install busybox-static)")
    text = (
        "FROM scratch AS built\nCOPY busybox /bin/sh\nRUN echo $$ > /made; date >> /made\n"
        "FROM built\nRUN --mount=type=bind,source=file,target=/f cat /f >> /made\n"
    )
    results = []
    for name in ("a", "b"):
        place = machine(name)
        need_containers(place.engine)
        shutil.copy(BUSYBOX, place.context / "busybox")
        both = to(tmp_path / "cache", mode="max") if name == "a" else of(tmp_path / "cache")
        results.append(place.build(text, **both))
    assert anew(results[1]) == []
    assert results[0].image_id == results[1].image_id
    # And it can be gone on from: the layers are fetched for a new command.
    more = place.build(f"{text}RUN test -s /made && echo more > /more\n", **of(tmp_path / "cache"))
    assert place.text(more, "/more") == "more\n"
    fresh = machine("c")
    shutil.copy(BUSYBOX, fresh.context / "busybox")
    more = fresh.build(f"{text}RUN echo more > /more\n", **of(tmp_path / "cache"))
    assert anew(more) == ["RUN echo more > /more"]


def test_with_a_base(machine, tmp_path, registry, busybox_image):
    text = f"FROM {registry.host}/busybox\nCOPY file /file\n"
    first = machine("a").build(text, **to(tmp_path / "cache"))
    assert len(documents(tmp_path / "cache")[0]["layers"]) == 1, "the base is somebody else's"
    second = machine("b").build(text, **of(tmp_path / "cache"))
    assert anew(second)[1:] == []
    assert second.image_id == first.image_id


# -- what is kept ------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "layers", "absent"), [("min", 3, 2), ("max", 5, 0)])
def test_layers_of_the_result_or_of_all_stages(machine, tmp_path, mode, layers, absent):
    machine("a").build(TEXT, **to(tmp_path / "cache", mode=mode))
    manifest, config = documents(tmp_path / "cache")
    assert [len(manifest["layers"]), len(config["layers"])] == [layers] * 2
    assert len(config["absent"]) == absent
    assert manifest["config"]["mediaType"] == "application/vnd.ocimagic.cache.config.v1+json"


@pytest.mark.parametrize(
    ("compression", "kind"), [("gzip", "+gzip"), ("zstd", "+zstd"), ("none", "")]
)
@pytest.mark.parametrize("is_local", [True, False])
def test_compression(machine, tmp_path, served, compression, kind, is_local):
    place = tmp_path / "cache" if is_local else f"{served.host}/cache:1"
    first = machine("a").build(TEXT, **to(place, compression=compression))
    if is_local:
        manifest = documents(place)[0]
    else:
        digest = served.kept.resolve("cache", "1")
        manifest = json.loads(served.kept.manifest("cache", digest)[0])
    types = {each["mediaType"] for each in manifest["layers"]}
    assert types == {f"{mediatype.OCI_LAYER}{kind}"}
    second = machine("b").build(TEXT, **of(place))
    assert (anew(second), second.image_id) == ([], first.image_id)


def test_equal_builds_write_equal_caches(machine, tmp_path):
    place = machine("a")
    place.build(TEXT, **to(tmp_path / "cache", mode="max"))
    before = sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "cache/blobs").rglob("*"))
    index = (tmp_path / "cache/index.json").read_bytes()
    place.build(TEXT, **to(tmp_path / "cache", mode="max"))
    assert (tmp_path / "cache/index.json").read_bytes() == index
    after = sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "cache/blobs").rglob("*"))
    assert [name for name, _ in after] == [name for name, _ in before]
    layers = {each["digest"][7:] for each in documents(tmp_path / "cache")[0]["layers"]}
    assert [p for p in before if p[0] in layers] == [p for p in after if p[0] in layers]


def test_nothing_but_lines_of_the_config(machine, tmp_path, debian_registry):
    place = f"{debian_registry}/cache/lines:1"
    first = machine("a").build("FROM scratch\nLABEL a=b\n", **to(place))
    second = machine("b").build("FROM scratch\nLABEL a=b\n", **of(place))
    assert (anew(second), second.image_id) == ([], first.image_id)


# -- what is fetched ---------------------------------------------------------------


def blobs_asked(server):
    return [
        path.rpartition("/")[2]
        for method, path, _ in server.asked
        if method == "GET" and "/blobs/" in path
    ]


def test_only_what_is_needed_is_fetched(machine, served):
    place = f"{served.host}/cache:1"
    machine("a").build(TEXT, **to(place, mode="max"))
    digest = served.kept.resolve("cache", "1")
    manifest = json.loads(served.kept.manifest("cache", digest)[0])
    config = manifest["config"]["digest"]
    own = [each["digest"] for each in manifest["layers"][:3]]

    served.asked.clear()
    machine("b").build(TEXT, **of(place))
    assert sorted(blobs_asked(served)) == sorted([config, *own]), "the result's alone"

    served.asked.clear()
    machine("c").build("FROM scratch\nCOPY file /elsewhere\n", **of(place))
    assert blobs_asked(served) == [config], "nothing was found"

    # A change late in the file needs the stage it copies from, whole.
    served.asked.clear()
    changed = machine("d")
    result = changed.build(TEXT.replace("/tool /bin", "/other /bin"), **of(place))
    assert changed.text(result, "/bin/tool") == "the other\n" * 50
    assert anew(result)[0] == "COPY --from=tools /other /bin/tool"
    asked = blobs_asked(served)
    assert set(asked) >= {each["digest"] for each in manifest["layers"][3:]}
    assert len(asked) == len(set(asked))


def test_what_was_not_fetched_can_be_handed_on(machine, served):
    place = f"{served.host}/cache:1"
    machine("a").build(TEXT, **to(place, mode="max"))
    digest = served.kept.resolve("cache", "1")
    layers = json.loads(served.kept.manifest("cache", digest)[0])["layers"]
    served.asked.clear()
    other = machine("b")
    other.build(TEXT, **of(place), **to(place, mode="max"))
    assert served.kept.resolve("cache", "1") == digest
    assert not {each["digest"] for each in layers[3:]} & set(blobs_asked(served))
    # To where they are not, they are brought.
    other.build(TEXT, **of(place), **to(f"{served.host}/copy:1", mode="max"))
    copied = served.kept.manifest("copy", served.kept.resolve("copy", "1"))[0]
    assert {each["digest"] for each in json.loads(copied)["layers"]} == {
        each["digest"] for each in layers
    }


def test_layers_that_were_not_kept_are_made_again(machine, tmp_path):
    machine("a").build(TEXT, **to(tmp_path / "cache"))
    other = machine("b")
    result = other.build(TEXT.replace("/tool /bin", "/other /bin"), **of(tmp_path / "cache"))
    assert other.text(result, "/bin/tool") == "the other\n" * 50
    assert [text for text in other.notices() if "begins again" in text] != []
    assert anew(result)[:3] == [
        "COPY tool /tool",
        "COPY other /other",
        "COPY --from=tools /other /bin/tool",
    ]


def test_no_cache_asks_nobody(machine, served):
    place = f"{served.host}/cache:1"
    machine("a").build(TEXT, **to(place))
    served.asked.clear()
    other = machine("b")
    result = other.build(TEXT, no_cache=True, **of(place))
    assert served.asked == []
    assert len(anew(result)) == 6


def test_several_caches_are_asked_in_turn(machine, tmp_path):
    machine("a").build(TEXT, **to(tmp_path / "one"))
    machine("b").build("FROM scratch\nCOPY other /x\n", **to(tmp_path / "two"))
    caches = {
        "cache_from": (*of(tmp_path / "two")["cache_from"], *of(tmp_path / "one")["cache_from"])
    }
    both = machine("c")
    assert anew(both.build(TEXT, **caches)) == []
    assert anew(both.build("FROM scratch\nCOPY other /x\n", **caches)) == []


def test_a_layer_comes_from_whoever_has_kept_it(machine, tmp_path):
    machine("a").build(TEXT, **to(tmp_path / "min"))
    machine("b").build(TEXT, timestamp=1, **to(tmp_path / "max", mode="max"))
    place = machine("c")
    place.build(TEXT, timestamp=1, **to(tmp_path / "min"))
    caches = (*of(tmp_path / "min")["cache_from"], *of(tmp_path / "max")["cache_from"])
    text = TEXT.replace("/tool /bin", "/other /bin")
    other = machine("d")
    result = other.build(text, timestamp=1, cache_from=caches)
    assert other.notices() == []
    assert anew(result)[0] == "COPY --from=tools /other /bin/tool"


def test_a_size_that_is_wrong_where_the_layer_came_by_another_way(machine, tmp_path):
    """What is told of a layer that is not fetched goes into no manifest."""
    machine("a").build(TEXT, timestamp=1, **to(tmp_path / "cache"))
    manifest, config = documents(tmp_path / "cache")
    for each in config["layers"]:
        each["tarBytes"] += 512
    publish(tmp_path / "cache", manifest, config)
    other = machine("b")

    def listen(event):
        if isinstance(event, TransferStarted):  # found, and about to be fetched
            other.engine.images.build(
                BuildOptions(dockerfile=TEXT, context=str(other.context), timestamp=1)
            )

    result = other.build(TEXT, timestamp=1, listen=listen, **of(tmp_path / "cache"))
    assert anew(result) == []
    assert "is wrong about layer" in "".join(other.notices())
    assert not other.engine.images.verify().faults


def test_stopped_while_a_layer_comes(machine, tmp_path):
    machine("a").build(TEXT, **to(tmp_path / "cache"))
    other, stop = machine("b"), threading.Event()

    def listen(event):
        if isinstance(event, TransferStarted):
            stop.set()

    with pytest.raises(Cancelled):
        other.build(TEXT, cancelled=stop, listen=listen, **of(tmp_path / "cache"))
    assert anew(other.build(TEXT, **of(tmp_path / "cache"))) == []


def test_a_step_whose_layer_was_not_needed_cannot_be_entered(machine, tmp_path):
    machine("a").build(TEXT, **to(tmp_path / "cache", mode="max"))
    other = machine("b")
    result = other.build(TEXT, **of(tmp_path / "cache"))
    ids = {step.text: step.image_id for step in result.steps}
    assert other.engine.images.inspect(str(ids["COPY file /file"]))
    assert ids["COPY other /other"] is None
    (told,) = [each.image_id for each in other.of(StepDone) if each.number == 3]
    with pytest.raises(ImageNotFound):
        other.engine.images.inspect(str(told))


# -- in the image itself -----------------------------------------------------------


@pytest.mark.parametrize(
    "how", [{"cache_to": (CacheTo(kind="inline"),)}, {"build_args": {"BUILDKIT_INLINE_CACHE": "1"}}]
)
def test_inline(machine, debian_registry, how):
    name = f"{debian_registry}/cache/inline:{'arg' if 'build_args' in how else 'to'}"
    place = machine("a")
    plain = place.build(TEXT)
    first = place.build(TEXT, name, **how)
    assert first.image_id == plain.image_id, "an image is what it is"
    place.engine.images.push(name)
    other = machine("b")
    second = other.build(TEXT, **of(name))
    assert (anew(second), second.image_id) == ([], first.image_id)


def test_an_image_without_a_cache(machine, registry):
    place = machine("a")
    result = place.build(TEXT, **of(f"{registry.host}/busybox:latest"))
    (told,) = place.notices()
    assert "there is no cache in this image" in told
    assert "type=inline" in told
    assert len(anew(result)) == 6


# -- caches that are none ----------------------------------------------------------


@pytest.mark.parametrize("is_index", [True, False])
def test_buildkits_own_caches_are_refused_in_words(machine, tmp_path, is_index):
    directory = tmp_path / "cache"
    machine("a").build(TEXT, **to(directory))
    config = {"mediaType": BUILDKIT, **put(directory, b'{"layers":[],"records":[]}')}
    layer = documents(directory)[0]["layers"][0]
    if is_index:
        document = {"mediaType": mediatype.OCI_INDEX, "manifests": [layer, config]}
    else:
        document = {"mediaType": mediatype.OCI_MANIFEST, "config": config, "layers": [layer]}
    publish(directory, {"schemaVersion": 2} | document)
    other = machine("b")
    assert len(anew(other.build(TEXT, **of(directory)))) == 6
    (told,) = other.notices()
    assert f"the cache {directory} is not used: this cache is BuildKit's" in told


@pytest.mark.parametrize("place", ["{server}/none:1", "127.0.0.1:1/none:1", "{room}/none"])
def test_a_cache_that_is_not_there_is_a_warning(machine, served, tmp_path, place):
    other = machine("b")
    where = place.format(server=served.host, room=tmp_path)
    result = other.build(TEXT, **of(where))
    assert len(anew(result)) == 6
    (told,) = other.notices()
    assert told.startswith(f"the cache {where} is not used: ")


def test_a_tag_that_is_not_there(machine, tmp_path):
    place = machine("a")
    place.build(TEXT, **to(tmp_path / "cache", tag="main"))
    place.build(TEXT, **of(tmp_path / "cache", tag="other"))
    assert "no cache called other" in place.notices()[0]
    digest = json.loads((tmp_path / "cache/index.json").read_text())["manifests"][0]["digest"]
    assert anew(machine("b").build(TEXT, **of(tmp_path / "cache", digest=digest))) == []


def changed_config(**changes):
    def change(directory):
        manifest, config = documents(directory)
        publish(directory, manifest, config | changes)

    return change


def changed_layers(change):
    """Change what the config says of its layers."""

    def work(directory):
        manifest, config = documents(directory)
        for each in config["layers"]:
            change(each)
        publish(directory, manifest, config)

    return work


def changed_blobs(make):
    """Put other bytes into each layer's file."""

    def change(directory):
        for layer in documents(directory)[0]["layers"]:
            path = blob(directory, layer["digest"])
            path.write_bytes(make(path.read_bytes()))

    return change


def replaced_blobs(content):
    """Let the manifest name other layers, rightly described."""

    def change(directory):
        manifest, config = documents(directory)
        packed = gzip.compress(content, mtime=0)
        for layer, said in zip(manifest["layers"], config["layers"], strict=True):
            layer.update(put(directory, packed))
            said["tarBytes"] = len(content)
        publish(directory, manifest, config)

    return change


def raw_config(content):
    def change(directory):
        publish(directory, documents(directory)[0], content)

    return change


def fifos(directory):
    for layer in documents(directory)[0]["layers"]:
        blob(directory, layer["digest"]).unlink()
        os.mkfifo(blob(directory, layer["digest"]))


def wrong_type(directory):
    manifest, _ = documents(directory)
    manifest["layers"][0]["mediaType"] = "application/octet-stream"
    publish(directory, manifest)


def wrong_size(directory):
    manifest, _ = documents(directory)
    manifest["layers"][0]["size"] += 1
    publish(directory, manifest)


def one_layer_less(directory):
    manifest, _ = documents(directory)
    del manifest["layers"][0]
    publish(directory, manifest)


def swapped(directory):
    manifest, _ = documents(directory)
    manifest["layers"].reverse()
    publish(directory, manifest)


OTHER = "sha256:" + "0" * 64
STEP = {"key": OTHER, "created": "2026-01-01T00:00:00Z"}
HOSTILE = {
    "other bytes": changed_blobs(lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])),
    "bytes missing": changed_blobs(lambda raw: raw[:-5]),
    "more bytes": changed_blobs(lambda raw: raw + b"x"),
    "no bytes": changed_blobs(lambda raw: b""),
    "no tar": replaced_blobs(b"x" * 2048),
    "half a tar": replaced_blobs(b"file".ljust(512, b"\0")),
    "a bomb": replaced_blobs(bytes(3 << 20)),
    "a pipe": fifos,
    "wrong type": wrong_type,
    "wrong size": wrong_size,
    "swapped": swapped,
    "one layer less": one_layer_less,
    "other diff_ids": changed_layers(lambda each: each.update(tarBytes=each["tarBytes"] + 512)),
    "longer than said": changed_layers(lambda each: each.update(tarBytes=512)),
    "longer than can be": changed_layers(lambda each: each.update(tarBytes=1 << 70)),
    "negative": changed_layers(lambda each: each.update(tarBytes=-1)),
    "not a digest": changed_layers(lambda each: each.update(diffId="../../x")),
    "another algorithm": changed_layers(lambda each: each.update(diffId="sha512:" + "0" * 128)),
    "of no layer": changed_config(steps=[STEP | {"layer": OTHER}]),
    "no time": changed_config(steps=[{"key": OTHER}]),
    "an odd time": changed_config(steps=[STEP | {"created": "yesterday"}]),
    "one key twice": changed_config(steps=[STEP, STEP]),
    "steps no list": changed_config(steps={}),
    "a later version": changed_config(version=2),
    "no JSON": raw_config(b"{"),
    "too long": raw_config(b" " * (9 << 20)),
    "deep": raw_config(b'{"version":' + b"[" * 100_000),
    "no index": lambda directory: (directory / "index.json").write_text("[]"),
    "no manifest": lambda directory: (directory / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "manifests": []})
    ),
}  # fmt: skip


@pytest.fixture(scope="session")
def good_cache(tmp_path_factory):
    """A cache of all stages, to be spoiled, and the image it is of."""
    room = tmp_path_factory.mktemp("good")
    furnish(room / "context")
    with Engine(root=room / "root") as engine:
        place = Workplace(engine, room / "context")
        result = place.build(TEXT, timestamp=1, **to(room / "cache", mode="max"))
    return room / "cache", result.image_id


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_not_as_it_was_said_is_done_again(machine, tmp_path, good_cache, change):
    shutil.copytree(good_cache[0], tmp_path / "cache")
    change(tmp_path / "cache")
    other = machine("b")
    result = other.build(TEXT, timestamp=1, **of(tmp_path / "cache"))
    assert result.image_id == good_cache[1]
    assert {"COPY tool /tool", "COPY --from=tools /tool /bin/tool"} <= set(anew(result))
    assert any(f"the cache {tmp_path}/cache is not used" in text for text in other.notices())
    assert not other.engine.images.verify().faults
    assert other.leftovers() == []


def test_a_cache_that_nobody_named_is_not_asked(machine, tmp_path):
    """CVE-2024-24557: an image that is only here, or only in the registry, says nothing."""
    first = machine("a")
    first.build(TEXT, "app", **to(tmp_path / "cache"), build_args={"BUILDKIT_INLINE_CACHE": "1"})
    archive = bytearray()
    first.engine.images.save(["app"], archive.extend, format="oci")
    other = machine("b")
    other.engine.images.load(bytes(archive))
    assert len(anew(other.build(TEXT))) == 6


# -- the directory -----------------------------------------------------------------


def test_skopeo_reads_the_directory(machine, tmp_path):
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    place = machine("a")
    for tag in ("one", "two"):
        place.build(TEXT, labels={"tag": tag}, **to(tmp_path / "cache", tag=tag, mode="max"))
    for tag in ("one", "two", "one"):
        words = ["skopeo", "copy", f"oci:{tmp_path}/cache:{tag}", f"oci:{tmp_path}/copy:{tag}"]
        subprocess.run(words, check=True, capture_output=True)
        assert documents(tmp_path / "copy", tag) == documents(tmp_path / "cache", tag)
    other = machine("b")
    assert anew(other.build(TEXT, **of(tmp_path / "copy", tag="two"))) == []


def test_broken_off_at_any_write(machine, tmp_path, monkeypatch):
    """Whatever write is the last one, the old cache can be used, and the next build goes on."""
    place, directory = machine("a"), tmp_path / "cache"
    place.build(TEXT, timestamp=1, **to(directory))
    old = set((directory / "blobs/sha256").iterdir())
    place.write("file", "changed")
    replace, left = os.replace, 0

    def failing(source, target):
        nonlocal left
        if str(target).startswith(str(directory)):
            left -= 1
            if left < 0:
                raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(cache_directory.os, "replace", failing)
    for number in range(4):  # a layer, the config, the manifest, index.json
        left = number
        with pytest.raises(InvalidOption) as refused:
            place.build(TEXT, timestamp=1, **to(directory))
        assert "No space left" in refused.value.why
        assert not list((directory / "blobs/sha256").glob(".*"))
        left = 100
        assert anew(machine(f"old{number}").build(TEXT, timestamp=1, **of(directory))) == []
        for each in set((directory / "blobs/sha256").iterdir()) - old:
            each.unlink()  # so that the next try has to write all of it again
    left = 4
    place.build(TEXT, timestamp=1, **to(directory))
    other = machine("b")
    other.write("file", "changed")
    assert anew(other.build(TEXT, timestamp=1, **of(directory))) == []


def test_what_a_killed_build_left_is_taken_away(machine, tmp_path):
    place, directory = machine("a"), tmp_path / "cache"
    place.build(TEXT, **to(directory))
    (directory / "blobs/sha256/.ocimagic-1-2").write_text("half a blob")
    place.build(TEXT, **to(directory))
    assert not list((directory / "blobs/sha256").glob(".*"))
    assert not (directory / "index.json.lock").exists()


# -- what cannot be written --------------------------------------------------------


def test_a_directory_of_something_else(machine, tmp_path):
    place = machine("a")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis").write_text("")
    with pytest.raises(InvalidOption, match="not a directory for caches"):
        place.build(TEXT, **to(tmp_path / "mine"))
    assert os.listdir(tmp_path / "mine") == ["thesis"]
    with pytest.raises(InvalidOption, match="cannot write a cache"):
        place.build(TEXT, **to(tmp_path / "mine/thesis"))
    place.build(TEXT, **to(tmp_path / "mine", ignores_errors=True))
    (told,) = place.notices()
    assert told.startswith(f"the cache {tmp_path}/mine was not written: ")


def test_a_registry_that_is_not_there(machine):
    place = machine("a")
    with pytest.raises(RegistryError):
        place.build(TEXT, "app", **to("127.0.0.1:1/cache:1"))
    assert [each.name for each in place.engine.images.list()] == ["app:latest"], "it is built"
    place.build(TEXT, **to("127.0.0.1:1/cache:1", ignores_errors=True))
    assert "was not written" in place.notices()[0]


@pytest.mark.parametrize("options", [to("NO"), of("NO")])
def test_a_name_that_is_none_is_told_before_anything_is_built(machine, options):
    place = machine("a")
    with pytest.raises(InvalidReference):
        place.build(TEXT, **options)
    assert place.events == []


# -- several platforms, one layer --------------------------------------------------------------

MANY = """FROM scratch
ARG TARGETARCH
COPY tool /tool
COPY <<EOF /for
$TARGETARCH
EOF
"""
BOTH = tuple(map(Platform.parse, ("linux/amd64", "linux/arm64")))


def test_another_machine_finds_the_steps_of_all_platforms(machine, served, tmp_path):
    for place in (tmp_path / "cache", f"{served.host}/cache/many:1"):
        name = "registry" if isinstance(place, str) else "local"
        first = machine(f"a-{name}").build(MANY, platforms=BOTH, **to(place))
        other = machine(f"b-{name}")
        second = other.build(MANY, platforms=BOTH, **of(place))
        assert anew(second) == []
        assert second.digest == first.digest
        found = [other.text(each, "for").strip() for each in second.platforms]
        assert found == ["amd64", "arm64"]
        assert other.notices() == []


def test_each_image_of_an_index_has_its_own_steps(machine, served):
    name = f"{served.host}/many:1"
    one = machine("a")
    inline = {"cache_to": (CacheTo(kind="inline", place=""),)}
    first = one.build(MANY, name, platforms=BOTH, **inline)
    one.engine.images.push(name)
    second = machine("b").build(MANY, platforms=BOTH, **of(name))
    assert anew(second) == []
    assert [each.image_id for each in second.platforms] == [
        each.image_id for each in first.platforms
    ]


def test_what_was_squashed_elsewhere_is_not_merged_again(machine, tmp_path):
    place = tmp_path / "cache"
    first = machine("a").build(TEXT, squash=True, **to(place, mode="max"))
    other = machine("b")
    second = other.build(TEXT, squash=True, **of(place))
    assert anew(second) == []
    assert second.image_id == first.image_id
    assert other.text(second, "bin/tool") == "the tool\n" * 50
    assert other.engine.images.verify().faults == ()
