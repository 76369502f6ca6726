"""Users and groups by name, as the image itself has them.

Source: facts/build.md section 1.2 (``--chown``, USER).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.layers.tarheader import MAX_ID

if TYPE_CHECKING:
    from ocimagic.build.image_files import ImageFiles
    from ocimagic.dockerfile.source import SourceRange

_MAX_BYTES = 1 << 20
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)


def owner(
    text: str, files: ImageFiles, source: SourceRange, *, is_alone: bool = False
) -> tuple[int, int]:
    """Return uid and gid for ``user[:group]``, each a name or a number.

    A number alone is the gid as well; a name alone brings its primary group.

    Args:
        text: as written.
        files: where names are looked up.
        source: for errors.
        is_alone: ``files`` are none, since --link sees nothing of the image.

    Raises:
        DockerfileError: a name that the image does not have.
    """
    user, colon, group = text.partition(":")
    rows = {} if _NUMBER.fullmatch(user) else _rows(files, "etc/passwd")
    found = rows.get(user)
    if found is None and user and not _NUMBER.fullmatch(user):
        raise _unknown("uid for user", user, "/etc/passwd", text, source, is_alone)
    uid = _number(found[0] if found else user or "0", text, source)
    if not colon:
        return uid, int(found[1]) if found else uid
    if _NUMBER.fullmatch(group):
        return uid, _number(group, text, source)
    groups = _rows(files, "etc/group")
    if group not in groups:
        raise _unknown("gid for group", group, "/etc/group", text, source, is_alone)
    return uid, int(groups[group][0])


def _rows(files: ImageFiles, path: str) -> dict[str, tuple[str, str]]:
    """Read NAME:x:ID:ID lines; what is no such line is passed over, as libc does."""
    text = files.read(path, max_bytes=_MAX_BYTES).decode(errors="replace")
    rows: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        name, _, first, second = f"{line}::::".split(":")[:4]
        if name and _NUMBER.fullmatch(first):
            rows.setdefault(name, (first, second if _NUMBER.fullmatch(second) else first))
    return rows


def _number(text: str, whole: str, source: SourceRange) -> int:
    if int(text) > MAX_ID:
        raise source.error(f"{text} is no user or group", at=whole, hint=f"the last is {MAX_ID}")
    return int(text)


def _unknown(
    what: str, name: str, path: str, whole: str, source: SourceRange, is_alone: bool
) -> Exception:
    return source.error(
        f"can't find {what} {name}",
        at=whole,
        last=True,
        why="--link sees no file of the image, so it knows no names"
        if is_alone
        else f"{path} of this stage has no such name",
        hint="give a number, or leave --link out"
        if is_alone
        else "make it first with RUN adduser, or give a number",
    )
