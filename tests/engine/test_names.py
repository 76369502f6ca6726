"""IDs of containers: what docker's users expect of them."""

import re

from ocimagic.engine import names


def test_the_first_digits_of_an_id_are_never_a_number(monkeypatch):
    """They are the host name, and programs take one of digits only for a number or an address."""
    given = iter([b"\x12" * 32, b"\x98" * 6 + b"\xff" * 26, b"\x1a" * 32])
    monkeypatch.setattr(names.os, "urandom", lambda _count: next(given))
    assert names.new_id() == "1a" * 32


def test_ids_are_sixty_four_hex_digits():
    assert re.fullmatch("[0-9a-f]{64}", names.new_id())
    assert names.new_id() != names.new_id()
