"""--chmod: what becomes of a mode, by BuildKit's table and by the real chmod."""

import itertools
import os
import random
import subprocess

import pytest

from ocimagic.dockerfile.chmod import Chmod
from ocimagic.errors import BadInput

DIR = 0o40000

# old mode (DIR for a directory), value, new mode
CASES = [
    (0o777, "0", 0),
    (0o123, "0644", 0o644),
    (0o777, "=", 0),
    (0o421, "+", 0o421),
    (0o421, "+t", 0o1421),
    (0o1421, "-t", 0o421),
    (0o000, "u+X", 0o000),
    (0o001, "u+X", 0o101),
    (DIR, "u+X", 0o100),
    (DIR, "+X", 0o111),
    (0o000, "+s", 0o6000),
    (0o000, "o+s", 0o000),
    (0o000, "o+t", 0o000),
    (0o6777, "-s", 0o777),
    (0o777, "-X", 0o777),
    (0o042, "u=g", 0o442),
    (0o742, "u=g-w", 0o442),
    (0o021, "u+go", 0o321),
    (0o777, "a=r,ug=rw,u+x", 0o764),
    (0o000, "o+r,g+w,a+t,g-s,u+og", 0o1624),
    (0o777, "go-w", 0o755),
    (0o766, "=rw,+X", 0o777),
    (0o670, "go=u-w", 0o644),
    (0o4755, "u=rwx", 0o755),
    (0o1777, "a=rwx", 0o1777),
    (0o700, "u=rwX,g-w", 0o700),
    # What the reference promises of u=rwX,go=rX.
    (DIR | 0o700, "u=rwX,go=rX", 0o755),
    (0o600, "u=rwX,go=rX", 0o644),
    (0o711, "u=rwX,go=rX", 0o755),
    (0o640, "u=u", 0o640),
    (0o640, "g+u-w,o=g", 0o644),
]


@pytest.mark.parametrize(("old", "text", "new"), CASES)
def test_applied(old, text, new):
    found = Chmod.parse(text).applied(old & 0o7777, is_directory=bool(old & DIR))
    assert oct(new) == oct(found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "nothing where a clause"),
        (",", "nothing where a clause"),
        ("u=rw,", "nothing where a clause"),
        ("u", "does not say what to do"),
        ("q+r", "'q' in 'q+r' is none of u, g, o, a"),
        ("u=rwq", "'q' in 'u=rwq' is none of r, w"),
        ("u+r,go", "'go' does not say what to do"),
        ("ur", "'r' in 'ur'"),
        ("8", None),
        ("9", None),
        ("10000", None),
        ("0x1ff", None),
        ("755,u+x", None),
        ("7" * 5000, None),
        ("-1", "'1' in '-1'"),
        ("u=\u0663", "is none of r"),
    ],
)
def test_refused(text, why):
    with pytest.raises(BadInput, match="invalid chmod parameter") as caught:
        Chmod.parse(text)
    assert caught.value.hint
    assert (why or "") in (caught.value.why or "")


def test_as_chmod_itself(tmp_path):
    """A hundred drawn values agree with coreutils where it and BSD are of one mind."""
    rng = random.Random(5)
    file = tmp_path / "f"
    file.write_text("")
    signs = ["".join(pair) for pair in itertools.product("+-=", ["", "r", "w", "x", "rwx", "rx"])]
    for _ in range(100):
        clauses = [
            rng.choice(["u", "g", "o", "a", "ug", "go"]) + rng.choice([*signs, "=u", "+g", "-o"])
            for _ in range(rng.randint(1, 3))
        ]
        text, old = ",".join(clauses), rng.randrange(0o1000)
        file.chmod(old)
        subprocess.run(["chmod", text, file], check=True)
        assert Chmod.parse(text).applied(old) == os.stat(file).st_mode & 0o7777, (text, oct(old))
