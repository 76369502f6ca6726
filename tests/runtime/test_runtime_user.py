import pytest

from ocimagic.errors import StartFailed
from ocimagic.runtime.user import Identity, resolve

PASSWD = """root:x:0:0:root:/root:/bin/sh
alice:x:1000:1001::/home/alice:/bin/sh
4294967296:x:0:0:::
broken line
nohome:x:7:7:::
neg:x:-1:-1::/:
"""
GROUP = "root:x:0:\nwheel:x:10:root,alice\nstaff:x:50:alice\nbig:x:99999999999:alice\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Identity(0, 0, (0, 10), "/root")),
        ("root", Identity(0, 0, (0, 10), "/root")),
        ("0", Identity(0, 0, (0, 10), "/root")),
        ("alice", Identity(1000, 1001, (10, 50, 1001), "/home/alice")),
        ("1000", Identity(1000, 1001, (10, 50, 1001), "/home/alice")),
        ("alice:0", Identity(1000, 0, (0,), "/home/alice")),
        ("alice:staff", Identity(1000, 50, (50,), "/home/alice")),
        ("1000:", Identity(1000, 1001, (10, 50, 1001), "/home/alice")),
        (":50", Identity(0, 50, (50,), "/root")),
        ("4242", Identity(4242, 0, (0,), "/")),
        ("4242:4343", Identity(4242, 4343, (4343,), "/")),
        ("nohome", Identity(7, 7, (7,), "/")),
        ("0001000", Identity(1000, 1001, (10, 50, 1001), "/home/alice")),
    ],
)
def test_users(text, expected):
    assert resolve(text, PASSWD, GROUP) == expected


@pytest.mark.parametrize(
    "text",
    ["nosuch", "alice:nosuch", "4294967295", "4294967296", "99999999999999999999", "-1", "+1",
     "neg", "1000:abc", "0x0", "\u0661"],
)  # fmt: skip
def test_bad_users(text):
    with pytest.raises(StartFailed):
        resolve(text, PASSWD, GROUP)


def test_without_files_numbers_still_work():
    assert resolve("", "", "") == Identity(0, 0, (0,), "/root")
    assert resolve("12", "", "") == Identity(12, 0, (0,), "/")
