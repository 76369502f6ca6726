"""Which calls a container with one id asks about."""

from __future__ import annotations

import os

import pytest

from ocimagic.bundle.pretence import pretending
from ocimagic.bundle.seccomp_default import default_seccomp
from ocimagic.runtime.seccomp_filter import make_filter
from ocimagic.runtime.syscall_table import syscall_numbers
from ocimagic.shim.pretence.askers import Askers
from ocimagic.shim.pretence.identity import IdentityCalls
from ocimagic.shim.pretence.makers import MakerCalls
from ocimagic.shim.pretence.owners import OwnerCalls
from ocimagic.shim.pretence.programs import ProgramCalls
from ocimagic.spec.process import Process, Rlimit
from ocimagic.spec.runtime import PRETENCE_ANNOTATION, RuntimeConfig

PATH = "/run/x/owners"


def config(seccomp, **process):
    plain = RuntimeConfig(process=Process(args=("sh",), **process), seccomp=seccomp)
    return pretending(plain, PATH, "x86_64", (6, 1))


def asked(config):
    rules = [rule for rule in config.seccomp["syscalls"] if rule["action"] == "SCMP_ACT_NOTIFY"]
    return {name for rule in rules for name in rule["names"]}


@pytest.mark.parametrize("seccomp", [None, default_seccomp(frozenset(), "x86_64")])
def test_what_is_asked_is_what_is_answered(seccomp):
    answered = {
        *IdentityCalls(Askers(), None).answers(),
        *OwnerCalls(None, None, None, None).answers(),
        *MakerCalls(None, None, None, None, None).answers(),
        *ProgramCalls(None, None, None).answers(),
    }
    assert asked(config(seccomp)) == answered
    known = {
        name for arch in ("X86_64", "AARCH64") for name in syscall_numbers(f"SCMP_ARCH_{arch}")
    }
    assert answered <= known


def test_questions_come_first_and_the_rest_stays():
    before = default_seccomp(frozenset(), "x86_64")
    found = config(before)
    rules = found.seccomp["syscalls"]
    count = len(rules) - len(before["syscalls"])
    assert {rule["action"] for rule in rules[:count]} == {"SCMP_ACT_NOTIFY"}
    assert rules[count:] == list(before["syscalls"])
    assert found.seccomp["defaultAction"] == before["defaultAction"]
    assert (found.seccomp["listenerPath"], PRETENCE_ANNOTATION in found.annotations) == (PATH, True)


def test_a_container_without_a_filter_has_one_that_allows_the_rest():
    found = config(None).seccomp
    assert found["defaultAction"] == "SCMP_ACT_ALLOW"
    assert "SCMP_ARCH_X86" in found["architectures"], "programs of 32 bits are not killed"


def test_the_limit_that_remembers_is_nobody_elses():
    limits = (
        Rlimit(type="RLIMIT_RTTIME", soft=1, hard=1),
        Rlimit(type="RLIMIT_NOFILE", soft=1, hard=1),
    )
    assert [each.type for each in config(None, rlimits=limits).process.rlimits] == ["RLIMIT_NOFILE"]


@pytest.mark.parametrize(("kernel", "flags"), [((5, 18), 0), ((5, 19), 32)])
def test_only_newer_kernels_can_wait_without_being_interrupted(kernel, flags):
    plain = RuntimeConfig(process=Process(args=("sh",)))
    seccomp = pretending(plain, PATH, os.uname().machine, kernel).seccomp
    assert make_filter(seccomp, {}).flags == flags
