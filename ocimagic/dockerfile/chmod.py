"""The value of ``--chmod``: a number, or changes such as ``u=rwX,go-w``.

The grammar is chmod(1)'s as BSD has it, which is BuildKit's: clauses parted by commas, each of
``ugoa``, then ``+``, ``-`` or ``=`` and ``rwxXst`` or ``ugo``, the latter two again if wanted.
No umask applies: an image has none.

Source: POSIX chmod; Dockerfile reference, ``COPY --chmod``.
"""

from __future__ import annotations

import re

from ocimagic.errors import BadInput
from ocimagic.spec.record import dataclass

MAX_MODE = 0o7777
_OCTAL = re.compile(r"[0-9]+", re.ASCII)
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=][rwxXstugo]*)+)", re.ASCII)
_ACTION = re.compile(r"([-+=])([rwxXstugo]*)", re.ASCII)
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_SET_ID = {"u": 0o4000, "g": 0o2000, "o": 0}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111}
_STICKY = 0o1000
_HINT = "such as --chmod=644 or --chmod=u=rwX,go=rX"


@dataclass(frozen=True, slots=True)
class _Change:
    """One operator and what it is applied to.

    Attributes:
        who: of ``ugo``; all three where nobody is named.
        letters: permissions, and classes to copy from.
    """

    who: str
    operator: str
    letters: str

    def applied(self, mode: int, old: int, *, is_directory: bool) -> int:
        """Return ``mode`` changed; ``old`` is what it was before all changes."""
        given = self._given(mode, old, is_directory=is_directory)
        if self.operator == "=":
            mode &= ~self._reach()
        return mode & ~given if self.operator == "-" else mode | given

    def _reach(self) -> int:
        """Return all bits that belong to those named; the sticky bit only where it is asked for."""
        bits = sum(7 << _SHIFTS[each] | _SET_ID[each] for each in self.who)
        return bits | (_STICKY if "t" in self.letters else 0)

    def _given(self, mode: int, old: int, *, is_directory: bool) -> int:
        named = 0
        for letter in self.letters:
            if letter in _SHIFTS:
                named |= (mode >> _SHIFTS[letter] & 7) * 0o111
            elif letter == "X":
                # BSD gives `-X` no meaning, and looks at the mode before all changes.
                if self.operator != "-" and (is_directory or old & 0o111):
                    named |= 0o111
            else:
                named |= _BITS.get(letter, 0)
        bits = named & sum(7 << _SHIFTS[each] for each in self.who)
        if "s" in self.letters:
            bits |= sum(_SET_ID[each] for each in self.who)
        if "t" in self.letters and self.who != "o":
            bits |= _STICKY
        return bits


@dataclass(frozen=True, slots=True)
class Chmod:
    """What ``--chmod`` makes of a mode."""

    number: int | None = None
    changes: tuple[_Change, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Chmod:
        """Read the value of a flag, expanded.

        Raises:
            BadInput: for a number above 07777 or what is neither a number nor a change.
        """
        if _OCTAL.match(text):
            return cls(number=_number(text))
        changes: list[_Change] = []
        for clause in text.split(","):
            found = _CLAUSE.fullmatch(clause)
            if found is None:
                raise BadInput(
                    f"invalid chmod parameter: '{text}'", why=_reason(clause), hint=_HINT
                )
            who = "".join(each for each in "ugo" if each in found[1])
            who = "ugo" if "a" in found[1] or not who else who
            changes += [_Change(who, sign, letters) for sign, letters in _ACTION.findall(found[2])]
        return cls(changes=tuple(changes))

    def applied(self, mode: int, *, is_directory: bool = False) -> int:
        """Return what becomes of a file's mode bits, 12 of them before and after."""
        if self.number is not None:
            return self.number
        new = mode
        for change in self.changes:
            new = change.applied(new, mode, is_directory=is_directory)
        return new


def _number(text: str) -> int:
    number = int(text, 8) if re.fullmatch("[0-7]{1,22}", text) else MAX_MODE + 1
    if number > MAX_MODE:
        raise BadInput(
            f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777",
            hint=_HINT,
        )
    return number


def _reason(clause: str) -> str:
    """Say in words what is wrong with a clause."""
    if not clause:
        return "there is nothing where a clause such as u=rw should be"
    rest = clause.lstrip("ugoa")
    if not rest:
        return f"'{clause}' does not say what to do: +, - or = is missing"
    if rest[0] not in "+-=":
        return f"'{rest[0]}' in '{clause}' is none of u, g, o, a, +, - and ="
    bad = next(each for each in rest if each not in "+-=rwxXstugo")
    return f"'{bad}' in '{clause}' is none of r, w, x, X, s, t, u, g and o"
