"""The keys that let go of a terminal: ``ctrl-p,ctrl-q`` unless something else is asked for.

Source: Docker CLI reference, "Override the detach sequence".
"""

from __future__ import annotations

from ocimagic.errors import InvalidOption

DETACH_KEYS = "ctrl-p,ctrl-q"
_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse_keys(text: str) -> bytes:
    """Return what the keys of a sequence send; docker's own for "".

    Raises:
        InvalidOption: it is no sequence of keys.
    """
    return bytes(_key(each, text) for each in (text or DETACH_KEYS).split(","))


def _key(name: str, text: str) -> int:
    if len(name) == 1 and name.isascii():
        return ord(name)
    if name.lower() == "del":
        return 127
    letter = name.lower().removeprefix("ctrl-")
    if name.lower().startswith("ctrl-") and len(letter) == 1:
        if letter in _CONTROL:
            return _CONTROL[letter]
        if "a" <= letter <= "z":
            return ord(letter) - ord("a") + 1
    raise InvalidOption(
        f"invalid detach keys ({text}): unknown key {name!r}",
        hint="for example ctrl-p,ctrl-q: letters, or ctrl- and one of a-z @ [ \\ ] ^ _",
    )


class KeyWatch:
    """Holds back what may be the beginning of a sequence, until it is clear.

    Attributes:
        detached: the whole sequence was typed.
    """

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = 0
        self.detached = False

    def feed(self, data: bytes) -> bytes:
        """Take what was typed and return what goes to the process."""
        passed = bytearray()
        for byte in data:
            if self.detached:
                break
            if byte != self._keys[self._held]:
                passed += self._keys[: self._held]
                self._held = 0
            if byte == self._keys[self._held]:
                self._held += 1
                self.detached = self._held == len(self._keys)
            else:
                passed.append(byte)
        return bytes(passed)
