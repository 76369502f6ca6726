import hashlib
import sys
from pathlib import Path

import pytest
from elfs import made_elf

from ocimagic.build.homemade import STAND_IN_FILE, STAND_IN_FOR, Variant, assemble
from ocimagic.build.machine import Machine
from ocimagic.errors import HostLacks
from ocimagic.layers.tarheader import Kind
from ocimagic.spec.reference import Reference

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there are no programs for Linux")

NAME = Reference.parse("made/base")


@pytest.fixture(params=["busybox", "dynamic"])
def machine(request):
    made = Machine(busybox=request.param == "busybox")
    shell, _ = made.tree()
    if request.param == "busybox" and "usr/bin/busybox" not in shell:
        pytest.skip("there is no static busybox here")
    return made


def program(directory, name, **options):
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_bytes(made_elf(**options))
    path.chmod(0o755)
    return path


def items(image):
    return {path: item for layer in image.layers for path, item in layer.items.items()}


def test_the_same_machine_gives_the_same_image_id(engine, make_engine, machine):
    from ocimagic.build.homemade import make_base

    other = make_engine("other")
    first = make_base(engine._store, NAME, machine=machine)
    again = make_base(engine._store, NAME, machine=machine)
    elsewhere = make_base(other._store, NAME, machine=Machine(busybox=machine._busybox))
    assert first.image_id == again.image_id == elsewhere.image_id
    assert [str(each.reference) for each in first.names] == ["docker.io/made/base:latest"]


def test_every_blob_is_what_its_name_says(engine, machine):
    from ocimagic.build.homemade import make_base

    image = make_base(engine._store, NAME, machine=machine)
    for descriptor in (image.manifest.config, *image.manifest.layers):
        content = engine._store.blobs.path(descriptor.digest).read_bytes()
        assert hashlib.sha256(content).hexdigest() == descriptor.digest.hex
        assert len(content) == descriptor.size
    assert [each.digest for each in image.manifest.layers] == list(image.config.diff_ids)
    assert image.config.raw == engine._store.blobs.path(image.image_id).read_bytes()


def test_it_runs(engine, machine):
    from ocimagic.build.homemade import make_base

    make_base(engine._store, NAME, machine=machine)
    script = "id -un; cat /etc/os-release; ls -ld /tmp; echo a b | tr a-z A-Z | sed s/B/C/"
    try:
        result = engine.containers.run("made/base", ["sh", "-c", script], remove=True)
    except HostLacks as err:
        pytest.skip(f"containers cannot run here: {err.why}")
    assert (result.stderr, result.exit_code) == (b"", 0)
    lines = result.stdout.decode().splitlines()
    assert lines[0] == "root"
    assert any("home-made base of ocimagic" in line for line in lines)
    assert any(line.startswith("drwxrwxrwt") for line in lines)
    assert lines[-1] == "A C"


def test_no_program_lacks_a_library(engine):
    from ocimagic.build.homemade import make_base

    make_base(engine._store, NAME, machine=Machine(busybox=False))
    script = (
        "for each in /usr/bin/*; do $each --version </dev/null >/dev/null 2>/tmp/said; "
        "[ $? -lt 126 ] || { echo $each; cat /tmp/said; }; done"
    )
    try:
        result = engine.containers.run("made/base", ["sh", "-c", script], remove=True)
    except HostLacks as err:
        pytest.skip(f"containers cannot run here: {err.why}")
    assert result.stdout == b""


def test_everything_is_roots_of_one_moment_and_not_setuid(machine):
    for path, (entry, _) in items(assemble(machine=machine)).items():
        assert (entry.uid, entry.gid) == (0, 0), path
        assert entry.mtime_ns == 1616284800 * 10**9, path
        assert entry.mode & 0o6000 == 0, path


def test_a_layer_names_all_directories_it_needs(machine):
    image = assemble(Variant(stands_for="x", in_parts=True), machine)
    assert len(image.layers) == 3
    for layer in image.layers:
        for path in layer.items:
            assert "/" not in path or path.rpartition("/")[0] in layer.items, path


def test_no_layer_repeats_a_file_of_a_lower_one(machine):
    image = assemble(Variant(stands_for="x", in_parts=True), machine)
    leaves = [
        {path for path, item in layer.items.items() if item.entry.kind is not Kind.DIR}
        for layer in image.layers
    ]
    assert not leaves[0] & leaves[1]
    assert not (leaves[0] | leaves[1]) & leaves[2]


def test_a_stand_in_says_what_it_is(machine):
    variant = Variant(stands_for="redis:latest", files={"usr/local/bin/redis": "#!/bin/sh\n"})
    base, image = assemble(machine=machine), assemble(variant, machine)
    assert b"not the real image" in items(image)[STAND_IN_FILE].content
    config = image.config([])
    assert config.config.labels[STAND_IN_FOR] == "redis:latest"
    assert STAND_IN_FOR not in base.config([]).config.labels
    assert image.layers[0].items == base.layers[0].items
    assert len(image.layers) == 2


def test_assemble_of_the_engine(engine):
    details = engine.images.assemble()
    assert details.tags == ("ocimagic/base:latest",)
    assert len(details.layers) == 1
    assert details.size_bytes > 0
    assert engine.images.assemble("again").image_id == details.image_id
    assert engine.images.inspect(str(details.image_id)).tags == (
        "again:latest",
        "ocimagic/base:latest",
    )


# -- libraries, on machines made for it ----------------------------------------


def test_libraries_that_a_program_says_where_to_find_stay_there(tmp_path):
    loader = program(tmp_path / "lib", "ld.so")
    options = {"needed": ["liba.so.1"], "interpreter": str(loader)}
    program(tmp_path / "bin", "sh", runpath="$ORIGIN/../opt", **options)
    program(tmp_path / "real", "liba.so.1.2.3", needed=["libb.so"], runpath=f"{tmp_path}/b")
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "liba.so.1").symlink_to("../real/liba.so.1.2.3")
    program(tmp_path / "b", "libb.so")
    shell, _ = Machine([str(tmp_path / "bin")], busybox=False).tree()
    inside = str(tmp_path).lstrip("/")
    assert shell[f"{inside}/opt/liba.so.1"].content == tmp_path / "real" / "liba.so.1.2.3"
    assert shell[f"{inside}/b/libb.so"].content == tmp_path / "b" / "libb.so"
    assert shell[f"{inside}/lib/ld.so"].content == loader
    assert shell["usr/bin/sh"].entry.linkname == f"../../{inside}/bin/sh"


def test_a_library_of_another_processor_is_passed_over(tmp_path):
    loader = program(tmp_path / "lib", "ld.so")
    options = {"needed": ["liba.so"], "interpreter": str(loader)}
    program(tmp_path / "bin", "sh", runpath=f"{tmp_path}/arm:{tmp_path}/intel", **options)
    program(tmp_path / "arm", "liba.so", machine=40)
    program(tmp_path / "intel", "liba.so")
    shell, _ = Machine([str(tmp_path / "bin")], busybox=False).tree()
    assert [path for path in shell if path.endswith("liba.so")] == [f"{tmp_path}/intel/liba.so"[1:]]


def test_libraries_that_need_each_other(tmp_path):
    loader = program(tmp_path / "lib", "ld.so")
    for name, other in (("liba.so", "libb.so"), ("libb.so", "liba.so")):
        program(tmp_path / "lib", name, needed=[other, "ld.so"], runpath="$ORIGIN")
    options = {"needed": ["liba.so"], "interpreter": str(loader)}
    program(tmp_path / "bin", "sh", runpath=f"{tmp_path}/lib", **options)
    shell, _ = Machine([str(tmp_path / "bin")], busybox=False).tree()
    assert sum(path.endswith(".so") for path in shell) == 3


def test_a_program_whose_library_is_missing_is_left_out(tmp_path):
    loader = program(tmp_path / "lib", "ld.so")
    program(tmp_path / "bin", "sh", interpreter=str(loader))
    program(tmp_path / "bin", "ls", interpreter=str(loader), needed=["libnowhere.so.7"])
    shell, utilities = Machine([str(tmp_path / "bin")], busybox=False).tree()
    assert "usr/bin/sh" in shell
    assert utilities == {}


def test_a_program_under_several_names_is_there_once(tmp_path):
    loader = program(tmp_path / "lib", "ld.so")
    real = program(tmp_path / "bin", "many", interpreter=str(loader))
    for name in ("sh", "ls", "cat"):
        (tmp_path / "bin" / name).symlink_to("many")
    shell, utilities = Machine([str(tmp_path / "bin")], busybox=False).tree()
    whole = shell | utilities
    assert [item.content for item in whole.values()].count(real) == 1
    assert whole["usr/bin/ls"].entry.kind is Kind.SYMLINK
    assert whole["usr/bin/ls"].entry.linkname == whole["usr/bin/sh"].entry.linkname


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF", made_elf()[:70]])
def test_a_machine_without_a_shell_for_linux(tmp_path, content):
    (tmp_path / "sh").write_bytes(content)
    with pytest.raises(HostLacks, match="base image"):
        assemble(machine=Machine([str(tmp_path)]))


def test_a_busybox_that_cannot_be_executed_is_no_busybox(tmp_path):
    program(tmp_path, "busybox", kind=2, machine=40)
    with pytest.raises(HostLacks):
        assemble(machine=Machine([str(tmp_path)]))


def test_the_path_may_be_anything(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", f"relative::{tmp_path}/nowhere")
    assert all(each.is_absolute() for each in Machine()._path)
    assert Path("/usr/bin") in Machine()._path
