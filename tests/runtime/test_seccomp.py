"""The seccomp compiler against libseccomp, against a plain reading of the rules, and for real."""

from __future__ import annotations

import errno
import json
import platform
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from bpf_emulator import ALLOW, KILL_PROCESS, Filter, returns_errno
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimagic.bundle.seccomp_default import default_seccomp
from ocimagic.errors import HostLacks, InvalidDocument
from ocimagic.runtime import bpf
from ocimagic.runtime.seccomp import compile_filter
from ocimagic.runtime.syscall_table import X32_BIT, syscall_numbers

ROOT = Path(__file__).parents[2]

DOCKER_WORDS = """
CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE
SYS_CHROOT KILL AUDIT_WRITE
"""
CONDITIONAL_WORDS = """
BPF DAC_READ_SEARCH PERFMON SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT
SYS_PTRACE SYS_RAWIO SYS_TIME SYS_TTY_CONFIG
"""
DOCKER_CAPABILITIES = frozenset(f"CAP_{name}" for name in DOCKER_WORDS.split())
ALL_CONDITIONAL = frozenset(f"CAP_{name}" for name in CONDITIONAL_WORDS.split())
ARCHES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
MACHINE_OF = {arch: machine for machine, arches in ARCHES.items() for arch in arches}
NATIVE = "SCMP_ARCH_X86_64"
EPERM, ENOSYS = returns_errno(errno.EPERM), returns_errno(errno.ENOSYS)
HIGH = 1 << 32
GETPID, SOCKET, CLONE, CLONE3 = (
    syscall_numbers(NATIVE)[name] for name in ("getpid", "socket", "clone", "clone3")
)

# Around each number that the default profile compares with, and around both words' ends.
ARGUMENTS = sorted(
    {
        value & (1 << 64) - 1
        for near in (0, 8, 38, 40, 46, 0x20000, 0x20008, 0x7E020000, 1 << 31, HIGH, 1 << 63)
        for value in (near - 1, near, near + 1, near + HIGH, near | 0x11)
    }
)


def profile(*rules: dict[str, object], default: str = "SCMP_ACT_ERRNO", **more: object):
    return {"defaultAction": default, "syscalls": list(rules), **more}


def rule(name: str, *args: dict[str, object], action: str = "SCMP_ACT_ALLOW", **more: object):
    return {"names": [name], "action": action, "args": list(args), **more}


def arg(operator: str, value: int, value_two: int = 0, index: int = 0):
    return {
        "index": index, "op": f"SCMP_CMP_{operator}", "value": value, "valueTwo": value_two,
    }  # fmt: skip


def compiled(document: dict[str, object], machine: str = "x86_64") -> Filter:
    return Filter(compile_filter(document, machine))


# The default profile.


@pytest.fixture(scope="module")
def default() -> Filter:
    return compiled(default_seccomp(DOCKER_CAPABILITIES, "x86_64"))


def test_everyday_calls_are_allowed_after_few_instructions(default: Filter):
    numbers = syscall_numbers(NATIVE)
    for name in ("read", "write", "openat", "getpid", "execve", "mmap", "futex", "exit_group"):
        answer = default.trace(NATIVE, numbers[name])
        assert answer.returns == ALLOW, name
        assert answer.steps <= 20


def test_a_filter_for_three_abis_is_short(default: Filter):
    assert len(default) < 600


@pytest.mark.parametrize(
    "name", ["mount", "unshare", "setns", "bpf", "reboot", "keyctl", "add_key", "userfaultfd",
             "io_uring_setup", "io_uring_enter", "kexec_load", "init_module", "open_by_handle_at"]
)  # fmt: skip
def test_what_docker_refuses_is_refused_on_each_abi(name: str):
    for machine, arches in ARCHES.items():
        default = compiled(default_seccomp(DOCKER_CAPABILITIES, machine), machine)
        for arch in arches:
            assert default.call(arch, syscall_numbers(arch)[name]) == EPERM


@pytest.mark.parametrize("family", [38, 40, HIGH + 38, HIGH + 40, HIGH + 2, 46, 1 << 31])
def test_socket_refuses_af_alg_af_vsock_and_numbers_the_kernel_would_truncate(
    default: Filter, family: int
):
    assert default.call(NATIVE, SOCKET, family) == EPERM


@pytest.mark.parametrize("family", [0, 1, 2, 10, 16, 17, 37, 39, 41, 44, 45])
def test_socket_allows_the_other_families(default: Filter, family: int):
    assert default.call(NATIVE, SOCKET, family) == ALLOW


def test_a_32_bit_call_has_no_upper_half(default: Filter):
    socket = syscall_numbers("SCMP_ARCH_X86")["socket"]
    assert default.call("SCMP_ARCH_X86", socket, HIGH + 38) == EPERM
    assert default.call("SCMP_ARCH_X86", socket, HIGH + 2) == ALLOW


def test_clone_makes_processes_but_no_namespaces(default: Filter):
    assert default.call(NATIVE, CLONE, 0x01200011) == ALLOW
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 1 << 30):
        assert default.call(NATIVE, CLONE, 0x11 | flag) == EPERM
    assert default.call(NATIVE, CLONE3) == ENOSYS


@pytest.mark.parametrize("persona", [0, 8, 0x20000, 0x20008, 0xFFFFFFFF])
def test_personality_allows_five_values(default: Filter, persona: int):
    number = syscall_numbers(NATIVE)["personality"]
    assert default.call(NATIVE, number, persona) == ALLOW
    assert default.call(NATIVE, number, persona + 1) == EPERM


def test_calls_newer_than_the_profile_do_not_exist_in_it(default: Filter):
    numbers = syscall_numbers(NATIVE)
    assert default.call(NATIVE, numbers["removexattrat"]) == ALLOW
    for number in (numbers["removexattrat"] + 1, numbers["file_setattr"], 470, 600, X32_BIT - 1):
        assert default.call(NATIVE, number) == ENOSYS


def test_arm_private_calls_do_not_make_the_profile_look_newer():
    default = compiled(default_seccomp(DOCKER_CAPABILITIES, "aarch64"), "aarch64")
    assert default.call("SCMP_ARCH_ARM", syscall_numbers("SCMP_ARCH_ARM")["set_tls"]) == ALLOW
    assert default.call("SCMP_ARCH_ARM", 470) == ENOSYS


@pytest.mark.parametrize(
    ("capability", "name"),
    [("CAP_SYS_ADMIN", "mount"), ("CAP_SYS_ADMIN", "clone3"), ("CAP_SYS_MODULE", "init_module"),
     ("CAP_SYS_TIME", "clock_settime"), ("CAP_BPF", "bpf"), ("CAP_SYSLOG", "syslog"),
     ("CAP_SYS_CHROOT", "chroot"), ("CAP_SYS_PTRACE", "pidfd_getfd")],
)  # fmt: skip
def test_a_capability_opens_its_calls(capability: str, name: str):
    number = syscall_numbers(NATIVE)[name]
    without = compiled(default_seccomp(frozenset(), "x86_64"))
    having = compiled(default_seccomp(frozenset({capability}), "x86_64"))
    assert without.call(NATIVE, number) != ALLOW
    assert having.call(NATIVE, number) == ALLOW


def test_sys_admin_may_clone_namespaces():
    default = compiled(default_seccomp(frozenset({"CAP_SYS_ADMIN"}), "x86_64"))
    assert default.call(NATIVE, CLONE, 0x10000000) == ALLOW


def test_another_machine_is_refused_in_words():
    with pytest.raises(HostLacks, match="riscv64"):
        default_seccomp(frozenset(), "riscv64")
    with pytest.raises(HostLacks, match="riscv64"):
        compile_filter(profile(), "riscv64")


def test_the_same_bytes_every_time():
    script = (
        "import sys; from ocimagic.runtime.seccomp import compile_filter as c;"
        "from ocimagic.bundle.seccomp_default import default_seccomp as d;"
        "sys.stdout.buffer.write(c(d(frozenset({'CAP_BPF', 'CAP_SYSLOG'}), 'x86_64'), 'x86_64'))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, cwd=ROOT,
            capture_output=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1


# The default profile against libseccomp.


def libseccomp_filter(seccomp, document, arch: str) -> tuple[Filter, set[str]]:
    """Return libseccomp's filter for one ABI alone, and the names it does not know."""
    found = seccomp.SyscallFilter(seccomp.ERRNO(document["defaultErrnoRet"]))
    token = getattr(seccomp.Arch, arch.removeprefix("SCMP_ARCH_"))
    if token != seccomp.system_arch():
        found.remove_arch(seccomp.system_arch())
        found.add_arch(token)
    unknown: set[str] = set()
    for entry in document["syscalls"]:
        action = (
            seccomp.ALLOW
            if entry["action"] == "SCMP_ACT_ALLOW"
            else seccomp.ERRNO(entry["errnoRet"])
        )
        args = [
            seccomp.Arg(a["index"], getattr(seccomp, a["op"][9:]), a["value"], a.get("valueTwo", 0))
            for a in entry.get("args", [])
        ]
        for name in entry["names"]:
            if seccomp.resolve_syscall(token, name) == -1:
                unknown.add(name)
            else:
                found.add_rule(action, name, *args)
    with tempfile.TemporaryFile() as file:
        found.export_bpf(file)
        file.seek(0)
        return Filter(file.read()), unknown


@pytest.mark.parametrize("capabilities", [DOCKER_CAPABILITIES, frozenset(), ALL_CONDITIONAL],
                         ids=["docker", "none", "all"])  # fmt: skip
@pytest.mark.parametrize("arch", MACHINE_OF)
def test_default_profile_equals_libseccomp_on_every_number(arch: str, capabilities: frozenset[str]):
    seccomp = pytest.importorskip("pyseccomp", reason="the oracle is not installed")
    if seccomp.system_arch() not in (seccomp.Arch.X86_64, seccomp.Arch.AARCH64):
        pytest.skip("libseccomp runs on a machine without tables here")
    document = default_seccomp(capabilities, MACHINE_OF[arch])
    ours = compiled(document, MACHINE_OF[arch])
    theirs, unknown = libseccomp_filter(seccomp, document, arch)
    numbers = syscall_numbers(arch)
    bit = X32_BIT if arch == "SCMP_ARCH_X32" else 0
    newest = bit | numbers["removexattrat"]
    own = {number for number in numbers.values() if number >= bit + 512}  # of x32 and arm
    asked = {numbers[name] for name in ("socket", "clone", "personality")}
    nameless = {numbers[name] for name in unknown if name in numbers}
    compared = 0
    for number in range(bit, bit + 601):
        if number in nameless:
            assert ours.call(arch, number) == ALLOW
        elif number > newest and number not in own:
            assert ours.call(arch, number) == ENOSYS
        else:
            for argument in ARGUMENTS if number in asked else (0, (1 << 64) - 1):
                expected, actual = (one.call(arch, number, argument) for one in (theirs, ours))
                assert expected == actual, f"call {number}, argument {argument:#x}"
                compared += 1
    assert compared > 900


# Operators.


def holds(operator: str, argument: int, value: int, value_two: int) -> bool:
    return {
        "NE": argument != value,
        "LT": argument < value,
        "LE": argument <= value,
        "EQ": argument == value,
        "GE": argument >= value,
        "GT": argument > value,
        "MASKED_EQ": argument & value == value_two,
    }[operator]


OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
EDGES = sorted(
    {
        number
        for near in (0, 1 << 31, HIGH, 5 * HIGH + 7, 1 << 63, 1 << 64)
        for number in (near - 1, near, near + 1)
        if 0 <= number < 1 << 64
    }
)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("value", EDGES)
def test_operators_at_the_edges_of_64_bits(operator: str, value: int):
    value_two = value & 0x8000000180000001
    for index in (0, 5):
        one = compiled(profile(rule("getpid", arg(operator, value, value_two, index))))
        for argument in EDGES:
            arguments = [0] * index + [argument]
            expected = ALLOW if holds(operator, argument, value, value_two) else EPERM
            assert expected == one.call(NATIVE, GETPID, *arguments), hex(argument)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("value", EDGES)
def test_operators_on_an_abi_of_32_bits_see_the_low_word_only(operator: str, value: int):
    arch, value_two = "SCMP_ARCH_X86", value & 0x8000000180000001
    getpid = syscall_numbers(arch)["getpid"]
    one = compiled(profile(rule("getpid", arg(operator, value, value_two)), architectures=[arch]))
    for argument in EDGES:
        expected = ALLOW if holds(operator, argument % HIGH, value, value_two) else EPERM
        assert expected == one.call(arch, getpid, argument), hex(argument)


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_agree_with_libseccomp(operator: str):
    seccomp = pytest.importorskip("pyseccomp", reason="the oracle is not installed")
    if seccomp.system_arch() != seccomp.Arch.X86_64:
        pytest.skip("compared on x86_64")
    for value in EDGES:
        document = profile(
            rule("getpid", arg(operator, value, value & 0xF0F00000F0F)), defaultErrnoRet=1
        )
        theirs, _ = libseccomp_filter(seccomp, document, NATIVE)
        ours = compiled(document)
        for argument in EDGES:
            assert theirs.call(NATIVE, GETPID, argument) == ours.call(NATIVE, GETPID, argument)


# Rules.


def test_all_conditions_of_a_rule_must_hold():
    both = compiled(profile(rule("getpid", arg("EQ", 1), arg("EQ", 2, index=1))))
    assert both.call(NATIVE, GETPID, 1, 2) == ALLOW
    assert both.call(NATIVE, GETPID, 1, 3) == EPERM
    assert both.call(NATIVE, GETPID, 0, 2) == EPERM


def test_one_of_several_rules_is_enough():
    either = compiled(profile(rule("getpid", arg("EQ", 1)), rule("getpid", arg("EQ", 2, index=1))))
    assert either.call(NATIVE, GETPID, 1, 3) == ALLOW
    assert either.call(NATIVE, GETPID, 0, 2) == ALLOW
    assert either.call(NATIVE, GETPID, 0, 3) == EPERM


def test_an_argument_named_twice_makes_two_rules_as_in_runc():
    either = compiled(profile(rule("getpid", arg("EQ", 1), arg("EQ", 2))))
    assert [either.call(NATIVE, GETPID, n) for n in (1, 2, 3)] == [ALLOW, ALLOW, EPERM]


def test_the_first_rule_that_matches_decides():
    ordered = compiled(
        profile(
            rule("getpid", arg("EQ", 1), action="SCMP_ACT_ERRNO", errnoRet=errno.EINTR),
            rule("getpid"),
            rule("getpid", arg("EQ", 2), action="SCMP_ACT_KILL"),
        )
    )
    assert ordered.call(NATIVE, GETPID, 1) == returns_errno(errno.EINTR)
    assert ordered.call(NATIVE, GETPID, 2) == ALLOW


def test_a_rule_that_says_the_default_still_comes_first():
    # runc drops such a rule; then the second one would allow everything.
    ordered = compiled(
        profile(rule("socket", arg("EQ", 38), action="SCMP_ACT_ERRNO"), rule("socket"))
    )
    assert ordered.call(NATIVE, SOCKET, 38) == EPERM
    assert ordered.call(NATIVE, SOCKET, 2) == ALLOW


@pytest.mark.parametrize(
    ("action", "errno_ret", "returns"),
    [("ALLOW", None, 0x7FFF0000), ("LOG", None, 0x7FFC0000), ("TRACE", None, 0x7FF00001),
     ("TRACE", 7, 0x7FF00007), ("TRAP", None, 0x00030000), ("KILL", None, 0),
     ("KILL_THREAD", None, 0), ("KILL_PROCESS", None, 0x80000000), ("ERRNO", None, 0x00050001),
     ("ERRNO", 38, 0x00050026), ("ERRNO", 0, 0x00050000)],
)  # fmt: skip
def test_actions(action: str, errno_ret: int | None, returns: int):
    more = {} if errno_ret is None else {"errnoRet": errno_ret}
    one = compiled(profile(rule("getpid", action=f"SCMP_ACT_{action}", **more)))
    assert one.call(NATIVE, GETPID) == returns


def test_names_nobody_knows_are_ignored():
    one = compiled(profile({"names": ["frobnicate", "getpid"], "action": "SCMP_ACT_ALLOW"}))
    assert one.call(NATIVE, GETPID) == ALLOW
    nothing = compiled(profile({"names": ["frobnicate"], "action": "SCMP_ACT_ALLOW"}))
    assert nothing.call(NATIVE, GETPID) == EPERM


@pytest.mark.parametrize(("default", "newer"), [("ALLOW", 0x7FFF0000), ("LOG", 0x7FFC0000),
                         ("TRACE", 0x7FF00001), ("ERRNO", ENOSYS), ("KILL", ENOSYS)])  # fmt: skip
def test_newer_calls_where_the_default_permits_and_where_it_denies(default: str, newer: int):
    one = compiled(profile(rule("getpid"), default=f"SCMP_ACT_{default}"))
    assert one.call(NATIVE, 600) == newer


def test_a_profile_without_rules_is_its_default():
    assert compiled(profile()).call(NATIVE, 600) == EPERM
    assert compiled(profile(default="SCMP_ACT_ALLOW")).call(NATIVE, 0) == ALLOW


# ABIs.


def test_x32_is_filtered_by_its_own_numbers():
    x32 = syscall_numbers("SCMP_ARCH_X32")
    one = compiled(profile(rule("ioctl"), architectures=["SCMP_ARCH_X32"]))
    assert one.call(NATIVE, x32["ioctl"]) == ALLOW
    assert one.call(NATIVE, X32_BIT + 16) == EPERM  # 16 is ioctl on x86_64
    assert one.call(NATIVE, 16) == ALLOW


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"])
def test_x32_that_is_not_listed_does_not_exist(default: str):
    one = compiled(profile(rule("getpid"), default=default, architectures=[NATIVE]))
    assert one.call(NATIVE, X32_BIT | GETPID) == ENOSYS
    assert one.call(NATIVE, 0xFFFFFFFF) == ENOSYS


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("listed", [[], ["SCMP_ARCH_PPC64LE"]])
def test_an_abi_that_is_not_listed_kills(machine: str, listed: list[str]):
    one = compiled(profile(default="SCMP_ACT_ALLOW", architectures=listed), machine)
    native, other = ARCHES[machine][:2]
    assert one.call(native, 0) == ALLOW
    assert one.call(other, 0) == KILL_PROCESS
    assert one.call(0x80000016, 0) == KILL_PROCESS  # s390x


# Documents that are refused.


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"defaultAction": "SCMP_ACT_MAYBE"},
        {"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1},
        profile(architectures=["SCMP_ARCH_Z80"]),
        profile({"names": [], "action": "SCMP_ACT_ALLOW"}),
        profile({"names": ["getpid"]}),
        profile(rule("getpid", errnoRet=1)),
        profile(rule("getpid", action="SCMP_ACT_ERRNO", errnoRet=1 << 16)),
        profile(rule("getpid", arg("EQ", -1))),
        profile(rule("getpid", arg("EQ", 1 << 64))),
        profile(rule("getpid", arg("MASKED_EQ", 1, 1 << 64))),
        profile(rule("getpid", arg("EQ", 1, index=6))),
        profile(rule("getpid", arg("ALMOST", 1))),
        profile(rule("getpid", {"index": 0, "op": "SCMP_CMP_EQ"})),
        profile(rule("getpid", {"index": True, "op": "SCMP_CMP_EQ", "value": 1})),
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": "all"},
    ],
)
def test_a_document_that_breaks_the_spec_is_refused(document: dict[str, object]):
    with pytest.raises(InvalidDocument):
        compile_filter(document, "x86_64")


def test_a_profile_too_long_for_the_kernel_is_refused_in_words():
    many = [rule("getpid", arg("EQ", value)) for value in range(1100)]
    with pytest.raises(HostLacks, match="too long"):
        compile_filter(profile(*many), "x86_64")


# Any rules, against a plain reading of them.


NAMES = ("read", "write", "open", "getpid", "clone", "socket", "fchmodat2", "frobnicate")
words = st.one_of(st.sampled_from(EDGES), st.integers(0, (1 << 64) - 1), st.integers(0, 3))
conditions = st.builds(
    arg, st.sampled_from(OPERATORS), words, words, index=st.integers(min_value=0, max_value=2)
)
actions = st.sampled_from(["ALLOW", "ERRNO", "KILL_PROCESS", "TRAP", "LOG"])
rules = st.builds(
    lambda names, args, action: {"names": names, "args": args, "action": f"SCMP_ACT_{action}"},
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4),
    st.lists(conditions, max_size=3, unique_by=lambda found: found["index"]),
    actions,
)
RETURNS = {"ALLOW": ALLOW, "ERRNO": EPERM, "KILL_PROCESS": KILL_PROCESS, "TRAP": 0x30000,
           "LOG": 0x7FFC0000}  # fmt: skip


def plain_reading(document, arch: str, number: int, arguments: list[int]) -> int:
    numbers = syscall_numbers(arch)
    if arch in {"SCMP_ARCH_X86", "SCMP_ARCH_ARM"}:
        arguments = [argument % HIGH for argument in arguments]
    named = [[numbers.get(name) for name in entry["names"]] for entry in document["syscalls"]]
    for entry, theirs in zip(document["syscalls"], named, strict=True):
        if number in theirs and all(
            holds(a["op"][9:], arguments[a["index"]], a["value"], a["valueTwo"])
            for a in entry["args"]
        ):
            return RETURNS[entry["action"][9:]]
    known = [number for theirs in named for number in theirs if number is not None]
    default = RETURNS[document["defaultAction"][9:]]
    permits = document["defaultAction"] in {"SCMP_ACT_ALLOW", "SCMP_ACT_LOG"}
    return default if permits or not known or number <= max(known) else ENOSYS


@settings(max_examples=300, deadline=None)
@given(
    st.lists(rules, max_size=6),
    actions,
    st.sampled_from(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
    st.lists(st.tuples(words, words, words), min_size=1, max_size=4),
)
def test_any_rules_are_read_plainly(entries, default, arch, argument_lists):
    machine = MACHINE_OF[arch]
    document = profile(*entries, default=f"SCMP_ACT_{default}", architectures=list(ARCHES[machine]))
    one = compiled(document, machine)
    numbers = syscall_numbers(arch)
    around = {numbers[name] + step for name in NAMES if name in numbers for step in (-1, 0, 1)}
    for number in sorted(around - {-1}):
        for arguments in argument_lists:
            expected = plain_reading(document, arch, number, list(arguments))
            assert expected == one.call(arch, number, *arguments), number


# The tables.


@pytest.mark.parametrize(
    ("arch", "header"),
    [("SCMP_ARCH_X86_64", "unistd_64.h"), ("SCMP_ARCH_X86", "unistd_32.h"),
     ("SCMP_ARCH_X32", "unistd_x32.h")],
)  # fmt: skip
def test_numbers_equal_the_kernel_headers(arch: str, header: str):
    path = Path("/usr/include/x86_64-linux-gnu/asm", header)
    if not path.exists():
        pytest.skip("no kernel headers of x86_64 here")
    pattern = r"#define __NR_(\w+) (?:\(__X32_SYSCALL_BIT \+ )?(\d+)"
    bit = X32_BIT if arch == "SCMP_ARCH_X32" else 0
    in_header = {name: int(n) + bit for name, n in re.findall(pattern, path.read_text())}
    numbers = syscall_numbers(arch)
    assert in_header.items() <= numbers.items() or max(in_header.values()) > max(numbers.values())
    assert len(in_header) > 300


@pytest.mark.parametrize("arch", MACHINE_OF)
def test_numbers_equal_libseccomp(arch: str):
    seccomp = pytest.importorskip("pyseccomp", reason="the oracle is not installed")
    token = getattr(seccomp.Arch, arch.removeprefix("SCMP_ARCH_"))
    found = {}
    for name, number in syscall_numbers(arch).items():
        theirs = seccomp.resolve_syscall(token, name)
        if theirs >= 0:  # negative: unknown, or one that x86 also has inside socketcall and ipc
            found[name] = (number, theirs)
    assert len(found) > 290
    assert {name: pair for name, pair in found.items() if pair[0] != pair[1]} == {}


# The assembler.


def far_program(filler: int) -> list[bpf.Item]:
    """A test whose two labels have ``filler`` instructions before them."""
    one, two, near = bpf.Label(), bpf.Label(), bpf.Label()
    return [
        bpf.Load(0),
        bpf.Test(bpf.Compare.EQ, 7, one, two),
        near,
        *[bpf.Mask(0xFF)] * filler,
        one,
        bpf.Return(1),
        two,
        bpf.Return(2),
    ]


@pytest.mark.parametrize("filler", [0, 1, 250, 251, 252, 253, 254, 255, 256, 257, 1000])
def test_tests_reach_far_labels(filler: int):
    program = Filter(bpf.assemble(far_program(filler)))
    assert program.call(0, 7) == 1
    assert program.call(0, 8) == 2


def test_a_jump_to_what_follows_is_left_out():
    label = bpf.Label()
    assert bpf.assemble([bpf.Jump(label), label, bpf.Return(0)]) == struct.pack("=HBBI", 6, 0, 0, 0)


def test_a_jump_back_is_a_mistake():
    label = bpf.Label("loop")
    with pytest.raises(ValueError, match="loop"):
        bpf.assemble([label, bpf.Load(0), bpf.Jump(label)])


# For real.


CHILD = """
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
code, calls = bytes.fromhex(sys.argv[1]), json.loads(sys.argv[2])
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]
program = Program(len(code) // 8, code)
assert libc.prctl(38, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS"
assert libc.prctl(22, 2, ctypes.byref(program)) == 0, "PR_SET_SECCOMP"
said = {}
for label, number, first, second in calls:
    ctypes.set_errno(0)
    args = [ctypes.c_long(n) for n in (number, first, second, 0, 0, 0, 0)]
    said[label] = [libc.syscall(*args), ctypes.get_errno()]
said["pid"] = os.getpid()
print(json.dumps(said))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="loads a filter into Linux")
@pytest.mark.skipif(platform.machine() not in ARCHES, reason="no tables for this machine")
def test_the_kernel_takes_the_default_profile_and_obeys_it():
    machine = platform.machine()
    numbers = syscall_numbers(ARCHES[machine][0])
    calls = [
        ("getpid", numbers["getpid"], 0, 0),
        ("AF_ALG", numbers["socket"], 38, 5),
        ("AF_ALG in 64 bits", numbers["socket"], HIGH + 38, 5),
        ("AF_UNIX", numbers["socket"], 1, 1),
        ("clone3", numbers["clone3"], 0, 0),
        ("namespace", numbers["clone"], 0x10000011, 0),
        ("io_uring", numbers["io_uring_setup"], 1, 0),
        ("newer", 480, 0, 0),
    ]
    code = compile_filter(default_seccomp(DOCKER_CAPABILITIES, machine), machine)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", CHILD, code.hex(), json.dumps(calls)],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["getpid"] == [said["pid"], 0]
    assert said["AF_ALG"] == [-1, errno.EPERM]
    assert said["AF_ALG in 64 bits"] == [-1, errno.EPERM]
    assert said["AF_UNIX"][0] >= 0
    assert said["clone3"] == [-1, errno.ENOSYS]
    assert said["namespace"] == [-1, errno.EPERM]
    assert said["io_uring"] == [-1, errno.EPERM]
    assert said["newer"] == [-1, errno.ENOSYS]
