import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from elfs import made_elf
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.errors import InvalidDocument
from ocimagic.spec.elf import ElfFile
from ocimagic.spec.platform import Platform, host_platform

LINUX = sys.platform == "linux"
on_linux = pytest.mark.skipif(not LINUX, reason="reads programs of Linux")


@pytest.mark.parametrize("bits", [32, 64])
def test_a_program_by_the_book(bits):
    content = made_elf(
        bits,
        needed=["liba.so.1", "libc.so.6"],
        runpath="$ORIGIN/../lib:/opt",
        interpreter="/lib/ld",
    )
    found = ElfFile.parse(content)
    assert found.bits == bits
    assert found.platform == Platform("linux", "amd64")
    assert found.interpreter == "/lib/ld"
    assert found.needed == ("liba.so.1", "libc.so.6")
    assert found.runpath == ("$ORIGIN/../lib", "/opt")
    assert found.is_program
    assert not found.is_static
    assert found.search_path("/x/bin") == ["/x/bin/../lib", "/opt"]


def test_a_program_without_loader_is_static():
    assert ElfFile.parse(made_elf(kind=2)).is_static


def test_a_library_is_no_static_program():
    assert not ElfFile.parse(made_elf(kind=3)).is_static


def test_only_a_file_without_runpath_inherits_an_rpath():
    plain, own = ElfFile.parse(made_elf()), ElfFile.parse(made_elf(runpath="/own"))
    assert plain.search_path("/x", ["/theirs"]) == ["/theirs"]
    assert own.search_path("/x", ["/theirs"]) == ["/own"]


def test_places_relative_to_the_current_directory_are_left_out():
    assert ElfFile.parse(made_elf(runpath="lib:/opt")).search_path("/x") == ["/opt"]


@on_linux
def test_this_python():
    found = ElfFile.parse(Path(sys.executable).resolve().read_bytes())
    assert found.is_program
    assert found.platform is not None
    assert found.platform.architecture == host_platform().architecture
    if not found.is_static:
        assert Path(found.interpreter).exists()
        assert all(".so" in name for name in found.needed)


@on_linux
def test_the_loader_of_this_python_needs_no_loader():
    python = ElfFile.parse(Path(sys.executable).resolve().read_bytes())
    if not python.interpreter:
        pytest.skip("this Python is static")
    loader = ElfFile.parse(Path(python.interpreter).read_bytes())
    assert (loader.interpreter, loader.needed) == ("", ())
    assert loader.soname == Path(python.interpreter).name
    assert not loader.is_static
    assert loader.fits(python)


@on_linux
def test_a_static_busybox():
    path = shutil.which("busybox")
    if path is None:
        pytest.skip("there is no busybox here")
    found = ElfFile.parse(Path(path).read_bytes())
    assert found.is_static == (not found.interpreter)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "does not begin"),
        (b"#!/bin/sh\n", "does not begin"),
        (b"\x7fELF", "does not begin"),
        (b"\x7fELF\x02\x02\x01" + bytes(60), "little-endian"),
        (b"\x7fELF\x07\x01\x01" + bytes(60), "little-endian"),
        (made_elf()[:40], "too early"),
        (made_elf()[:100], "too early"),
        (made_elf(kind=1), "neither a program nor a library"),
        (made_elf(phnum=9999), "9999 program headers"),
        (made_elf(phnum=50), "too early"),
        (made_elf(needed=["liba"], strsz=1), "outside"),
        (made_elf(needed=["liba"], strsz=1 << 40), "no segment"),
    ],
)
def test_malformed(content, why):
    with pytest.raises(InvalidDocument, match="not a valid ELF") as caught:
        ElfFile.parse(content)
    assert why in caught.value.why


WHOLE = made_elf(needed=["liba.so.1", "libb.so.2"], runpath="/opt", interpreter="/lib/ld")


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=8))
def test_any_bytes_changed_give_a_value_or_our_error(at, change):
    content = WHOLE[:at] + change + WHOLE[at + len(change) :]
    with suppress(InvalidDocument):
        ElfFile.parse(content)


@given(st.integers(0, len(WHOLE)))
def test_any_cut_gives_a_value_or_our_error(length):
    with suppress(InvalidDocument):
        ElfFile.parse(WHOLE[:length])


@given(st.binary(max_size=300))
def test_any_bytes_at_all(content):
    with pytest.raises(InvalidDocument):
        ElfFile.parse(content)
    with suppress(InvalidDocument):
        ElfFile.parse(b"\x7fELF\x02\x01\x01" + content)
