"""Shell patterns of ``${name#pattern}``, ``%`` and ``/``: ``*`` and ``?``, no ``[]``.

No regular expressions: with a few stars in a row they would try for years.  What lies between
two stars is looked for at all places of the value at once, a bit for each.

Source: POSIX "Pattern Matching Notation" less bracket expressions; facts/build.md section 1.1.
"""

from __future__ import annotations

_MOST_MASKS = 64  # kept at a time; one is as many bits as the value has characters


def trim_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """Cut from the start of ``value`` what matches ``pattern``.

    Raises:
        ValueError: if the pattern escapes what needs no escape.
    """
    return value[_end_of_prefix(value, _tokens(pattern), longest=longest) :]


def trim_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """Cut from the end of ``value`` what matches ``pattern``; raises like `trim_prefix`."""
    end = _end_of_prefix(value[::-1], _tokens(pattern)[::-1], longest=longest)
    return value[: len(value) - end]


def replace(value: str, pattern: str, replacement: str, *, every: bool, most: int) -> str:
    """Put ``replacement`` for the first (or every) longest match; raises like `trim_prefix`.

    Args:
        value: to look through.
        pattern: to look for.
        replacement: to put in its place.
        every: not only for the first match.
        most: characters that the result may have.

    Raises:
        OverflowError: it would have more.
    """
    done: list[str] = []
    end = length = 0
    for start, stop in _matches(value, _tokens(pattern)):
        done.append(value[end:start] + replacement)
        length += len(done[-1])
        if length > most:
            raise OverflowError(most)
        end = stop
        if not every:
            break
    return "".join(done) + value[end:]


def _tokens(pattern: str) -> list[str]:
    """Split into ``*``, ``?`` and literal characters, the latter marked by a leading ``=``."""
    tokens: list[str] = []
    chars = iter(pattern)
    for char in chars:
        if char in "*?":
            tokens.append(char)
        elif char != "\\":
            tokens.append("=" + char)
        else:
            escaped = next(chars, "")
            # The last two end the pattern inside ${}, so there they need the escape.
            if escaped not in ("*", "?", "\\", "}", "/"):
                raise ValueError(f"invalid escape '\\{escaped}'")
            tokens.append("=" + escaped)
    return tokens


def _end_of_prefix(value: str, tokens: list[str], *, longest: bool) -> int:
    """Return where the shortest or longest match at the start of a value ends, 0 if none does."""
    first, *others = _between_stars(tokens)
    places = _Places(value, tokens)
    if not places.of(first) & 1:
        return 0
    end = len(first)
    for number, part in enumerate(others):
        is_last = number == len(others) - 1
        if is_last and not part:
            return len(value) if longest else end
        starts = places.of(part) >> end << end
        if not starts:
            return 0
        found = _highest(starts) if is_last and longest else _lowest(starts)
        end = found + len(part)
    return end


def _matches(value: str, tokens: list[str]) -> list[tuple[int, int]]:
    """Return start and end of each longest match, from the left, none within another."""
    parts = _between_stars(tokens)
    places = _Places(value, tokens)
    if len(parts) == 1:
        width = len(parts[0])
        starts = places.of(parts[0])
        return _apart(starts, width)
    begin = end = 0
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        if is_last and not part:
            return [(begin, len(value))]
        starts = places.of(part) >> end << end
        if not starts:
            return []
        found = _highest(starts) if is_last else _lowest(starts)
        begin = found if number == 0 else begin
        end = found + len(part)
    # Behind the last place where the last part is found there is no other match.
    return [(begin, end)]


def _apart(starts: int, width: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    free = 0
    for start, bit in enumerate(reversed(f"{starts:b}" if starts else "")):
        if bit == "1" and start >= free:
            found.append((start, start + width))
            free = start + width
    return found


def _between_stars(tokens: list[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for each in tokens:
        if each == "*":
            parts.append([])
        else:
            parts[-1].append(each)
    return parts


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def _highest(bits: int) -> int:
    return bits.bit_length() - 1


class _Places:
    """Where what has no star is found in a value.

    Args:
        value: to look through.
        tokens: all that may be asked for.
    """

    def __init__(self, value: str, tokens: list[str]) -> None:
        self._length = len(value)
        wanted = {each[1:] for each in tokens}
        self._at: dict[str, list[int]] = {}
        for place, char in enumerate(value):
            if char in wanted:
                self._at.setdefault(char, []).append(place)
        self._masks: dict[str, int] = {}

    def of(self, part: list[str]) -> int:
        """Return a bit for each place where a part begins; an empty one does so at the end, too."""
        if len(part) > self._length:
            return 0
        starts = (1 << (self._length - len(part) + 1)) - 1
        for offset, each in enumerate(part):
            if each != "?":
                starts &= self._mask(each[1:]) >> offset
        return starts

    def _mask(self, char: str) -> int:
        if char not in self._masks:
            if len(self._masks) >= _MOST_MASKS:
                self._masks.clear()
            bits = bytearray(self._length // 8 + 1)
            for place in self._at.get(char, ()):
                bits[place >> 3] |= 1 << (place & 7)
            self._masks[char] = int.from_bytes(bits, "little")
        return self._masks[char]
