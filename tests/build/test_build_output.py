"""Where a build's result goes besides the store, and what else a build may be asked for."""

import tarfile
import time
from dataclasses import replace

import pytest

from ocimagic.errors import BuildFailed, DockerfileError, InvalidOption, StepFailed
from ocimagic.model.options import BuildOptions, BuildOutput, NetworkMode

TEXT = "FROM scratch\nCOPY --chown=7:8 src /app\nCOPY src/a /b\n"


@pytest.fixture
def source(place):
    place.write("src/a", "A\n", mode=0o640)
    place.write("src/deep/c", "C\n")
    (place.context / "src" / "link").symlink_to("/etc/passwd")
    return place


def test_a_directory_of_the_files(source, tmp_path):
    out = tmp_path / "out"
    source.build(TEXT, outputs=(BuildOutput(kind="local", path=str(out)),))
    assert (out / "app" / "deep" / "c").read_text() == "C\n"
    assert (out / "b").stat().st_mode & 0o777 == 0o640
    assert (out / "app" / "link").is_symlink()


def test_a_link_that_is_there_leads_nothing_out(source, tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    text = "FROM scratch\nCOPY <<E /x2/f\nhi\nE\n"
    (out / "x2").symlink_to(elsewhere)
    with pytest.raises(InvalidOption, match="cannot write the result") as caught:
        source.build(text, outputs=(BuildOutput(kind="local", path=str(out)),))
    assert "cannot overwrite" in caught.value.why
    assert list(elsewhere.iterdir()) == []


def test_a_tar_of_the_files(source, tmp_path):
    out = tmp_path / "out.tar"
    source.build(TEXT, outputs=(BuildOutput(kind="tar", path=str(out)),))
    with tarfile.open(out) as tar:
        names = {each.name: each for each in tar}
    assert {"app", "app/a", "app/deep", "app/deep/c", "app/link", "b"} == set(names)
    assert (names["app/a"].uid, names["app/a"].gid, names["app/a"].mode) == (7, 8, 0o640)
    assert names["app/link"].linkname == "/etc/passwd"


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_an_archive_that_loads_again(source, tmp_path, kind):
    out = tmp_path / "out.tar"
    result = source.build(TEXT, "sent", outputs=(BuildOutput(kind=kind, path=str(out)),))
    loaded = source.engine.images.load(out)
    assert loaded.images[0].image_id == result.image_id
    assert loaded.images[0].tags == ("sent:latest",)


def test_a_file_is_there_whole_or_not_at_all(source, tmp_path):
    with pytest.raises(InvalidOption, match="cannot write the result"):
        source.build(TEXT, outputs=(BuildOutput(kind="tar", path=str(tmp_path / "no" / "x")),))
    assert not (tmp_path / "no").exists()


def test_hard_links_and_files_of_a_run(runs, tmp_path):
    text = f"FROM base\nARG A={time.time_ns()}\nRUN echo x > /x && ln /x /y && rm -r /tmp\n"
    runs.build(text, outputs=(BuildOutput(kind="local", path=str(tmp_path / "out")),))
    assert (tmp_path / "out" / "y").read_text() == "x\n"
    assert not (tmp_path / "out" / "tmp").exists()


def test_a_stage_that_is_built_anew(runs):
    text = f"FROM base AS one\nARG A={time.time_ns()}\nRUN true\nFROM base\n"
    text += "COPY --from=one /etc/passwd /p\nRUN true\n"
    runs.build(text)
    result = runs.build(text, no_cache_of=("one",))
    assert [each.cached for each in result.steps if each.text == "RUN true"] == [False, True]


def test_annotations_are_in_the_manifest(source):
    result = source.build(TEXT, annotations={"org.example.a": "b"})
    manifest = source.engine._store.images.load(result.digest).manifest
    assert manifest.annotations["org.example.a"] == "b"


def test_hosts_and_shared_memory_for_run(runs):
    text = f"FROM base\nARG A={time.time_ns()}\nRUN cat /etc/hosts; cat /proc/mounts\n"
    runs.build(text, extra_hosts=(("db", "10.1.2.3"),), shm_size_bytes=1 << 20)
    assert "10.1.2.3\tdb\n" in runs.output()
    assert "size=1024k" in runs.output()


def test_the_machines_network_must_be_allowed(runs):
    text = f"FROM base\nARG A={time.time_ns()}\nRUN  --network=HOST ls /sys/class/net\n"
    with pytest.raises(
        DockerfileError, match=r"entitlement network\.host is not allowed"
    ) as caught:
        runs.build(text, allow=("security.insecure",))
    assert (caught.value.line, caught.value.column) == (3, 6)
    assert "--allow network.host" in caught.value.hint
    runs.build(text, allow=("network.host",))
    assert "lo" in runs.output().split()


def test_who_builds_in_the_machines_network_has_allowed_it(runs):
    text = f"FROM base\nARG A={time.time_ns()}\nRUN --network=host ls /sys/class/net\n"
    runs.build(text, network=NetworkMode.HOST)
    assert "lo" in runs.output().split()


def test_a_stage_that_is_not_needed_asks_for_nothing(runs):
    unsafe = "FROM base AS unsafe\nRUN --network=host true\n"
    runs.build(f"{unsafe}FROM base\n")
    with pytest.raises(DockerfileError, match="line 2, column 5"):
        runs.build(f"{unsafe}FROM unsafe\n")


def test_an_unsafe_run_must_be_allowed(runs):
    text = f"FROM base\nARG A={time.time_ns()}\nRUN --security=insecure cat /proc/self/status\n"
    with pytest.raises(DockerfileError, match=r"entitlement security\.insecure is not allowed"):
        runs.build(text)
    runs.build(text, allow=("security.insecure",))
    allowed = runs.output()
    runs.build(text.replace(" --security=insecure", ""))
    bounded = runs.output()
    caps = [
        int(line.split()[1], 16)
        for said in (allowed, bounded)
        for line in said.splitlines()
        if line.startswith("CapEff")
    ]
    assert caps[0].bit_count() > caps[1].bit_count()


def test_a_check_builds_nothing(place):
    text = "FROM scratch\nMAINTAINER me\nENV a b\n"
    found = place.engine.images.check(BuildOptions(dockerfile=text))
    assert [(each.rule, each.line) for each in found.warnings] == [
        ("MaintainerDeprecated", 2),
        ("LegacyKeyValueFormat", 3),
    ]
    assert found.exit_code == 1
    assert found.warnings[0].url.endswith("/maintainer-deprecated/")
    assert place.engine.images.check(BuildOptions(dockerfile="FROM scratch\n")).exit_code == 0


def test_a_check_knows_the_context_and_the_options(place, tmp_path):
    context = tmp_path / "checked"
    context.mkdir()
    (context / ".dockerignore").write_text("*.log\n")
    given = BuildOptions(dockerfile="FROM scratch\nCOPY a.log /\nENV a b\n", context=str(context))
    found = place.engine.images.check(given)
    assert [each.rule for each in found.warnings] == ["CopyIgnoredFile", "LegacyKeyValueFormat"]
    given = replace(given, build_args={"BUILDKIT_DOCKERFILE_CHECK": "skip=CopyIgnoredFile"})
    found = place.engine.images.check(given)
    assert [each.rule for each in found.warnings] == ["LegacyKeyValueFormat"]
    given = replace(given, build_args={"BUILDKIT_DOCKERFILE_CHECK": "error=true"})
    with pytest.raises(BuildFailed, match="lint violation found for rules: CopyIgnoredFile, Leg"):
        place.engine.images.build(given)


def test_what_a_failed_step_was_to_work_on_can_be_entered(runs):
    text = f"FROM base\nARG A={time.time_ns()}\nRUN echo made > /made\nENV E=1\nRUN false\n"
    with pytest.raises(StepFailed) as caught:
        runs.build(text)
    err = caught.value
    assert f"%container_run -it --rm {err.image_id.short} sh" in err.hint
    script = ["sh", "-c", "cat /made; echo $E"]
    inside = runs.engine.containers.run(err.image_id, script, remove=True, network="none")
    assert inside.stdout == b"made\n1\n"


def test_more_contexts_by_name(runs, tmp_path):
    more = tmp_path / "more"
    (more / "sub").mkdir(parents=True)
    (more / "sub" / "f").write_text("more\n")
    (more / "not").write_text("ignored")
    # moby/buildkit#2550: its own counts, and none that is called by a Dockerfile.
    (more / ".dockerignore").write_text("not\n")
    (more / "Dockerfile.dockerignore").write_text("sub\n")
    text = f"FROM base\nARG A={time.time_ns()}\nCOPY --from=Extra sub/f /copied\n"
    text += "RUN --mount=from=extra,source=sub,target=/m cat /m/f > /mounted\n"
    result = runs.build(text, contexts={"extra": str(more)})
    assert runs.text(result, "copied") == runs.text(result, "mounted") == "more\n"
    (more / "sub" / "f").write_text("other\n")
    assert runs.text(runs.build(text, contexts={"extra": str(more)}), "mounted") == "other\n"
    for path in ("sub/nope", "not"):
        with pytest.raises(DockerfileError, match=f'"{path}": not found'):
            runs.build(f"FROM base\nCOPY --from=extra {path} /\n", contexts={"extra": str(more)})


def test_a_context_that_stands_for_a_stage_and_for_a_base(runs, tmp_path):
    text = "FROM nowhere.invalid/x:1 AS one\nRUN true\nFROM scratch AS two\nCOPY --from=one /f /g\n"
    (tmp_path / "f").write_text("a file\n")
    result = runs.build(text, contexts={"one": str(tmp_path)})
    assert runs.text(result, "g") == "a file\n"
    base = {"nowhere.invalid/x:1": "docker-image://base"}
    assert runs.build("FROM nowhere.invalid/x:1\nRUN true\n", contexts=base).steps
    on_files = runs.build("FROM one\nCOPY --from=one f h\n", contexts={"one": str(tmp_path)})
    assert runs.text(on_files, "f") == runs.text(on_files, "h") == "a file\n"
