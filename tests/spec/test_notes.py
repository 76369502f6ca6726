"""Lines of notes come back as they were written."""

import pytest

from ocimagic.spec.notes import line, parse_line


@pytest.mark.parametrize(
    "detail",
    [None, 0, 12, [1, "a\tb"], {"a": "\n"}, "", "plain", "123", "=x", "two\nlines", "tab\there",
     "\u2028 and \x1b"],
)  # fmt: skip
def test_a_note_comes_back(detail):
    text = line(17, "heard ready", detail)
    assert "\n" not in text
    at, name, found = parse_line(text)
    assert (at, name) == (17, "heard ready")
    assert found == (None if detail == "" else detail) or found == detail


def test_what_has_a_text_is_written_as_that():
    class Mount:
        def __str__(self):
            return "mount proc on /proc"

    assert parse_line(line(1, "mount_all", Mount())) == (1, "mount_all", "mount proc on /proc")
