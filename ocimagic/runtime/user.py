"""Who ``USER`` means, by the container's own passwd and group files.

Pure: the text of the files comes in.  A name of digits only is a number, never looked up as
a name (CVE-2024-40635); files are read with a limit by the caller (CVE-2026-47262).
"""

from __future__ import annotations

from ocimagic.errors import StartFailed
from ocimagic.spec.record import dataclass

MAX_ID = 2**32 - 2


@dataclass(frozen=True, slots=True)
class Identity:
    """The ids a process runs with.

    Attributes:
        groups: supplementary group ids.
        home: what HOME is when nothing else says so.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def resolve(text: str, passwd: str, group: str) -> Identity:
    """Find the ids of ``user``, ``uid``, ``user:group``, ``uid:gid`` or "" for root.

    Raises:
        StartFailed: a name that the image does not know, or a number out of range.
    """
    user, colon, group_text = text.partition(":")
    users = [line.split(":") for line in passwd.splitlines() if line.count(":") >= 5]
    groups = [line.split(":") for line in group.splitlines() if line.count(":") >= 3]
    name, uid, gid, home = _find_user(user or "0", users)
    if colon and group_text:
        chosen = _find_group(group_text, groups)
        return Identity(uid, chosen, (chosen,), home)
    extra = {
        int(entry[2])
        for entry in groups
        if name and name in entry[3].split(",") and _is_id(entry[2])
    }
    # The primary group is always listed too: without it a program could drop out of a group
    # that is denied something (CVE-2022-36109).
    return Identity(uid, gid, tuple(sorted(extra | {gid})), home)


def resolve_groups(text: str, group: str) -> tuple[int, ...]:
    """Find the ids of groups written with commas between, "" for none.

    Raises:
        StartFailed: a name that the image does not know, or a number out of range.
    """
    groups = [line.split(":") for line in group.splitlines() if line.count(":") >= 3]
    return tuple(_find_group(each, groups) for each in text.split(",") if each)


def _find_user(user: str, users: list[list[str]]) -> tuple[str, int, int, str]:
    numeric = user.isascii() and user.isdigit()
    if numeric:
        _check_range(user)
    for entry in users:
        matches = entry[2] == str(int(user)) if numeric else entry[0] == user
        if matches and _is_id(entry[2]) and _is_id(entry[3]):
            return entry[0], int(entry[2]), int(entry[3]), entry[5] or "/"
    if numeric:
        return ("root", 0, 0, "/root") if int(user) == 0 else ("", int(user), 0, "/")
    raise StartFailed(
        f"unable to find user {user}: no matching entries in passwd file",
        hint="use a number, or add the user to the image with RUN adduser",
    )


def _find_group(text: str, groups: list[list[str]]) -> int:
    if text.isascii() and text.isdigit():
        return _check_range(text)
    for entry in groups:
        if entry[0] == text and _is_id(entry[2]):
            return int(entry[2])
    raise StartFailed(
        f"unable to find group {text}: no matching entries in group file",
        hint="use a number, or add the group to the image with RUN addgroup",
    )


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12 and int(text) <= MAX_ID


def _check_range(text: str) -> int:
    if len(text) > 12 or int(text) > MAX_ID:
        raise StartFailed(
            f"user or group id {text} is out of range", why=f"the largest is {MAX_ID}"
        )
    return int(text)
