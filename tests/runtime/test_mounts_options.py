"""The words of mount options as what they ask: every one of the specification's table."""

import itertools

import pytest

from ocimagic.linux import mounting
from ocimagic.runtime.mount_options import KNOWN_WORDS, PROPAGATION, Change, parse_options

# config.md, "Linux mount options" (runtime-spec 1.2), as it is printed there.
TABLE = """
async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev
nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private
ratime rbind rdev rdiratime relatime remount rexec rnoatime rnodiratime rnoexec rnorelatime
rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid
rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable
rnodev idmap ridmap
""".split()  # noqa: SIM905  as it is printed


def test_every_word_of_the_table_is_known_and_nothing_else():
    assert set(TABLE) == KNOWN_WORDS
    for word in TABLE:
        assert parse_options([word]).data == "", word


def test_other_words_are_the_file_systems_in_their_order():
    found = parse_options(["nosuid", "size=1m", "ro", "mode=755", "xyz", "rw", "uid=0"])
    assert found.data == "size=1m,mode=755,xyz,uid=0"


@pytest.mark.parametrize(
    ("word", "twin", "bit"),
    [
        ("ro", "rw", mounting.MOUNT_ATTR_RDONLY),
        ("nosuid", "suid", mounting.MOUNT_ATTR_NOSUID),
        ("nodev", "dev", mounting.MOUNT_ATTR_NODEV),
        ("noexec", "exec", mounting.MOUNT_ATTR_NOEXEC),
        ("nodiratime", "diratime", mounting.MOUNT_ATTR_NODIRATIME),
        ("nosymfollow", "symfollow", mounting.MOUNT_ATTR_NOSYMFOLLOW),
    ],
)
def test_attributes_and_their_opposites(word, twin, bit):
    """The later word holds, and what is said is not what is left unsaid."""
    assert parse_options([word]).top == Change(bit, 0)
    assert parse_options([twin]).top == Change(0, bit)
    assert parse_options([word, twin]).top == Change(0, bit)
    assert parse_options([twin, word]).top == Change(bit, 0)
    assert parse_options([f"r{word}"]).all == Change(bit, 0)
    assert parse_options([f"r{word}", f"r{twin}"]).all == Change(0, bit)
    assert not parse_options([f"r{word}"]).top
    assert not parse_options([word]).all


@pytest.mark.parametrize(
    ("words", "policy"),
    [
        (["noatime"], mounting.MOUNT_ATTR_NOATIME),
        (["noatime", "atime"], mounting.MOUNT_ATTR_RELATIME),
        (["strictatime"], mounting.MOUNT_ATTR_STRICTATIME),
        (["strictatime", "nostrictatime"], mounting.MOUNT_ATTR_RELATIME),
        (["noatime", "relatime"], mounting.MOUNT_ATTR_RELATIME),
        (["relatime", "norelatime"], mounting.MOUNT_ATTR_RELATIME),
        (["relatime", "noatime", "strictatime"], mounting.MOUNT_ATTR_STRICTATIME),
    ],
)
def test_access_times_have_one_policy(words, policy):
    """The kernel refuses two, and one that does not clear the whole field."""
    expected = Change(policy, mounting.MOUNT_ATTR__ATIME)
    assert parse_options(words).top == expected
    assert parse_options([f"r{word}" for word in words]).all == expected


def test_file_system_flags():
    words = ["sync", "dirsync", "mand", "iversion", "lazytime", "silent"]
    found = parse_options(words).mount_flags
    assert found == (
        mounting.MS_SYNCHRONOUS | mounting.MS_DIRSYNC | mounting.MS_MANDLOCK
        | mounting.MS_I_VERSION | mounting.MS_LAZYTIME | mounting.MS_SILENT
    )  # fmt: skip
    undone = ["async", "nomand", "noiversion", "nolazytime", "loud"]
    assert parse_options([*words, *undone]).mount_flags == mounting.MS_DIRSYNC


def test_flags_of_mount_2():
    found = parse_options(["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime",
                           "nosymfollow"]).mount_flags  # fmt: skip
    assert found == (
        mounting.MS_RDONLY | mounting.MS_NOSUID | mounting.MS_NODEV | mounting.MS_NOEXEC
        | mounting.MS_NOATIME | mounting.MS_NODIRATIME | mounting.MS_NOSYMFOLLOW
    )  # fmt: skip
    assert parse_options(["strictatime"]).mount_flags == mounting.MS_STRICTATIME
    assert parse_options(["defaults", "rw", "suid", "dev", "exec"]).mount_flags == 0


def test_propagation_is_applied_in_order():
    found = parse_options(["rprivate", "slave", "shared"]).propagation
    assert found == (PROPAGATION["rprivate"], PROPAGATION["slave"], PROPAGATION["shared"])
    assert PROPAGATION["rprivate"] == mounting.MS_PRIVATE | mounting.MS_REC


def test_switches():
    assert parse_options(["bind"]).bind
    assert not parse_options(["bind"]).recursive
    assert parse_options(["rbind"]).recursive
    assert parse_options(["rbind"]).bind
    assert parse_options(["ridmap"]).idmap
    assert parse_options(["ridmap"]).idmap_recursive
    assert not parse_options(["idmap"]).idmap_recursive
    assert parse_options(["tmpcopyup"]).copy_up
    assert parse_options(["remount"]).remount
    assert parse_options([]) == parse_options(["defaults"])


def test_a_change_followed_by_another_is_what_both_do_in_turn():
    bits = (0, 1, 2, 3)
    for on, off, more, less in itertools.product(bits, repeat=4):
        first, second = Change(on & ~off, off), Change(more & ~less, less)
        joined = first.joined(second)
        for before in bits:
            one = before & ~first.off | first.on
            assert before & ~joined.off | joined.on == one & ~second.off | second.on
