"""A git repository as ADD names it: ``URL#ref:directory``, or with a query.

Nothing in it can become an option of git or ssh, or a path outside of the repository.

Source: Dockerfile reference, "ADD <git ref>"; facts/build.md section 1.2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from ocimagic.errors import BadInput
from ocimagic.spec.record import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Iterable

_COMMIT = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}", re.ASCII)
_DIGITS = re.compile(r"[0-9a-fA-F]{1,64}", re.ASCII)
_SCP_LIKE = re.compile(r"([\w.-]+)@([\w.-]+):([^#?]*)", re.ASCII)
_SCHEMES = ("https", "http", "ssh", "git")
# git-check-ref-format(1), and a leading + would force.
_REF = re.compile(r"(?![-+/])(?!.*(\.\.|@\{|//))[^\x00-\x20\x7f~^:?*\[\\]+")
_REFS = {"tag": "refs/tags/", "branch": "refs/heads/"}
_YES = ("1", "t", "true", "")
_NO = ("0", "f", "false")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRef:
    """What of which repository.

    Attributes:
        remote: what git takes as the repository's address.
        ref: branch, tag, full name of either, or a whole commit; "" is the default branch.
        directory: inside the repository; "" is all of it.
        checksum: the commit it must be, or its first digits; "" is any.
        keep_git_dir: None if not said.
        submodules: whether they are fetched, too.
    """

    remote: str
    ref: str = ""
    directory: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool = True

    @classmethod
    def parse(cls, text: str) -> GitRef:
        """Read a source of ADD that ``is_git`` says is one.

        Raises:
            BadInput: says what cannot be.
        """
        address, _, fragment = text.partition("#")
        address, _, query = address.partition("?")
        ref, _, directory = fragment.partition(":")
        found = cls(remote=_remote(address), ref=ref, directory=directory)
        if query:
            found = found._with_query(query)
        if found.ref and not _REF.fullmatch(found.ref):
            raise BadInput(
                f"{found.ref!r} is no branch, tag or commit",
                hint="such as #main, #v1.0 or #main:directory",
            )
        commit_digits(found.checksum)
        return replace(found, directory=_directory(found.directory))

    @property
    def commit(self) -> str:
        """Return the commit if the ref is one, "" otherwise."""
        return self.ref.lower() if _COMMIT.fullmatch(self.ref) else ""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the full names that the ref may mean, the one that wins first."""
        if not self.ref:
            return ("HEAD",)
        # gitrevisions(7).
        return tuple(f"{prefix}{self.ref}" for prefix in ("", "refs/", "refs/tags/", "refs/heads/"))

    def _with_query(self, query: str) -> GitRef:
        given = parse_qsl(query, keep_blank_values=True)
        values = dict(given)
        if len(values) < len(given):
            raise BadInput("a key of the query has several values")
        unknown = [key for key in values if key not in _KEYS]
        if unknown:
            raise BadInput(
                f'unexpected query "{unknown[0]}"', hint="the keys are " + ", ".join(_KEYS)
            )
        for key in _KEYS:
            if key not in ("keep-git-dir", "submodules") and values.get(key) == "":
                raise BadInput(f'query "{key}" has no value')
        if "tag" in values and "branch" in values:
            raise BadInput("branch conflicts with tag")
        named = [
            values[key] if values[key].startswith(prefix) else prefix + values[key]
            for key, prefix in _REFS.items()
            if key in values
        ]
        checksum = _one("checksum", (values.get("checksum", ""), values.get("commit", "")))
        keep = values.get("keep-git-dir")
        return replace(
            self,
            ref=_one("ref", (self.ref, values.get("ref", ""), *named)) or checksum,
            directory=_one("subdir", (self.directory, values.get("subdir", ""))),
            checksum=checksum,
            keep_git_dir=None if keep is None else _yes("keep-git-dir", keep),
            submodules=_yes("submodules", values.get("submodules", "true")),
        )


_KEYS = (
    "ref",
    "tag",
    "branch",
    "subdir",
    "checksum",
    "commit",
    "keep-git-dir",
    "submodules",
)


def commit_digits(text: str) -> str:
    """Check the first digits of a commit, perhaps none, and return them in lower case.

    Raises:
        BadInput: they are no digits.
    """
    if text and not _DIGITS.fullmatch(text):
        raise BadInput(
            f"invalid checksum: {text}, expected hex commit hash",
            hint="it is what git log prints, or the first digits of it",
        )
    return text.lower()


def _one(what: str, values: Iterable[str]) -> str:
    different = list(dict.fromkeys(each for each in values if each))
    if len(different) > 1:
        raise BadInput(f'{what} conflicts: "{different[0]}" vs "{different[1]}"')
    return different[0] if different else ""


def _yes(key: str, value: str) -> bool:
    if value.lower() not in _YES + _NO:
        raise BadInput(f'invalid {key} value: "{value}"', hint="true or false")
    return value.lower() in _YES


def _remote(address: str) -> str:
    """Check an address: git and ssh take one that begins with ``-`` for an option."""
    bad = BadInput("this is no address of a git repository", hint="such as https://host/name.git")
    if not address.isprintable() or " " in address:
        raise bad
    found = _SCP_LIKE.fullmatch(address)
    if found and "://" not in address:
        if any(each.startswith("-") for each in found.groups()) or not found[3]:
            raise bad
        return address
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise bad from None
    if parts.scheme not in _SCHEMES or not host or host.startswith("-"):
        raise bad
    if parts.netloc.startswith("-") or parts.path.strip("/").startswith("-"):
        raise bad
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))


def _directory(text: str) -> str:
    """Clean a path; ``..`` may not lead out of the repository."""
    parts: list[str] = []
    for part in text.split("/"):
        if part == ".." and not parts:
            raise BadInput(f"the directory {text} is outside of the repository")
        if part == "..":
            parts.pop()
        elif part.lower() == ".git" or "\0" in part:
            raise BadInput(f"the directory {text} cannot be copied", hint="--keep-git-dir=true")
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
