"""The isolation ladder: what is found out by trying, and what is chosen from it."""

from __future__ import annotations

import dataclasses
import os

import pytest

from ocimagic.model.isolation import MEANINGS, Grade, Mode, Probe, choose, findings
from ocimagic.shim.probing import probe

ROOT = Probe(
    uid=0,
    mount_namespace=True,
    user_namespace=True,
    ids=0,
    fresh_proc=True,
    chroot=True,
    trace=True,
    proot="",
    overlay={"/var/lib": ""},
    cgroups=("cpu", "memory"),
    seccomp=True,
    landlock=7,
    tun=True,
)
NOTHING = {"mount_namespace": False, "user_namespace": False, "fresh_proc": False}


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({}, Mode.FULL),
        ({"fresh_proc": False}, Mode.NESTED),
        ({"uid": 1000, "mount_namespace": False, "ids": 65537, "chroot": False}, Mode.ROOTLESS),
        ({"uid": 1000, "mount_namespace": False, "ids": 1, "chroot": False}, Mode.ROOTLESS_1),
        ({"uid": 0, "mount_namespace": False, "ids": 1, "fresh_proc": False}, Mode.NESTED),
        (NOTHING, Mode.CHROOT),
        (NOTHING | {"uid": 1000, "chroot": False, "proot": "/usr/bin/proot"}, Mode.TRACED),
        (NOTHING | {"uid": 1000, "chroot": False}, Mode.LOOK),
        (NOTHING | {"chroot": False, "trace": False, "proot": "/usr/bin/proot"}, Mode.LOOK),
    ],
)
def test_the_best_rung_is_chosen(changes: dict[str, object], mode: Mode) -> None:
    assert choose(dataclasses.replace(ROOT, **changes)) is mode


def test_every_mode_has_its_words() -> None:
    assert set(MEANINGS) == set(Mode)


def test_what_is_not_good_says_what_would_mend_it() -> None:
    bare = dataclasses.replace(
        ROOT,
        **NOTHING,
        overlay={"/data": "Invalid argument"},
        cgroups=(),
        seccomp=False,
        landlock=0,
        tun=False,
    )
    found = findings(bare)
    assert all(each.advice for each in found if each.grade is not Grade.GOOD)
    assert {each.subject for each in found if each.grade is Grade.GOOD} == {"change of the root"}
    nothing = findings(dataclasses.replace(bare, chroot=False))
    assert all(each.grade is not Grade.GOOD and each.advice for each in nothing)
    assert all(each.grade is Grade.GOOD for each in findings(ROOT))


def test_this_machine_is_probed_for_real(tmp_path) -> None:
    found = probe((str(tmp_path),))
    assert found.uid == os.geteuid()
    assert found.overlay == {str(tmp_path): ""}
    assert choose(found) in {Mode.FULL, Mode.ROOTLESS, Mode.ROOTLESS_1}
    assert found.seccomp
    assert (choose(found) is Mode.FULL) == (os.geteuid() == 0)


def test_a_directory_overlayfs_cannot_write_is_named_with_the_reason() -> None:
    found = probe(("/proc",))
    assert found.overlay["/proc"]
