"""Text that grows without end, and patterns that could be tried for years: bounded, and told."""

import random
import re
import time

import pytest

from ocimagic.dockerfile.ignore import IgnoreRules
from ocimagic.dockerfile.lex import MAX_LINE_BYTES
from ocimagic.dockerfile.lint import lint
from ocimagic.dockerfile.match import match
from ocimagic.dockerfile.parse import parse
from ocimagic.dockerfile.plan import plan
from ocimagic.dockerfile.scope import Scope
from ocimagic.dockerfile.words import expand
from ocimagic.errors import DockerfileError

HEAD = "FROM scratch\nENV A=xxxxxxxxxx\n"
LONG = f"FROM scratch\nENV A={'a' * 60000}\n"


def every_instruction(text):
    """Expand all instructions of the last stage, one after the other."""
    dockerfile = parse(text)
    lint(dockerfile)
    planned = plan(dockerfile)
    scope = Scope.of_stage(planned, env=())
    for each in planned.target.instructions:
        scope = scope.after(scope.expanded(each))
    return scope


@pytest.fixture(autouse=True)
def _quick():
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 9


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (HEAD + "ENV A=$A$A\n" * 60, 17),
        (HEAD.replace("ENV", "ARG") + "ARG A=$A$A\n" * 60, 17),
        (HEAD + "ENV A=${A//x/xxxxxxxxxx}\n" * 12, 7),
        (HEAD + "ENV A=${A:+$A$A$A$A$A$A$A$A$A$A}\n" * 12, 7),
        (HEAD + "ENV A=${N:-$A$A$A$A$A$A$A$A$A$A}\n" * 12, 7),
        (HEAD + f"LABEL l={'$A' * 30000}\n", 3),
        (LONG + f"USER {'$A' * 30000}\n", 3),
        (LONG + f"COPY <<E /x\n{'$A' * 200}\nE\n", 4),
        (LONG + "LABEL " + " \\\n".join(f"l{n}=$A$A$A$A" for n in range(200)), 3),
        ("ARG A0=xxxxxxxxxx\n" + "".join(f"ARG A{n + 1}=$A{n}$A{n}\n" for n in range(60))
         + "FROM scratch\n", 16),
        (f"ARG A={'a' * 60000}\n" + "".join(f"ARG B{n}=$A$A$A$A\n" for n in range(900))
         + "FROM scratch\n", 36),
    ],
)  # fmt: skip
def test_a_value_that_doubles_has_an_end(text, line):
    with pytest.raises(DockerfileError, match=r"longer than|more than") as caught:
        every_instruction(text)
    assert caught.value.line == line
    assert "COPY takes it" in caught.value.hint
    assert len(str(caught.value)) < 2000


def test_lint_leaves_what_is_too_much_to_the_build():
    text = LONG + "".join(f"LABEL l{n}=$A$A$A$A\n" for n in range(3000))
    assert lint(parse(text)) == ()


def test_what_is_large_and_honest_still_goes():
    assert expand("$A$A", {"A": "x" * (120 << 10)}) == "x" * (240 << 10)
    assert len(expand("$A" * 30, {"A": "x" * (120 << 10)}, quotes=False)) == 30 * (120 << 10)


def test_a_line_of_a_mebibyte_is_refused_and_one_over_many_lines_is_not():
    with pytest.raises(DockerfileError, match=f"max allowed size of {MAX_LINE_BYTES}") as caught:
        parse("FROM scratch\nRUN " + "a" * (1 << 20))
    assert caught.value.line == 2
    text = "FROM scratch\nENV A=\\\n" + ("a" * 60000 + "\\\n") * 18 + "\n"
    assert len(every_instruction(text).env["A"]) > 1 << 20
    words = every_instruction("FROM scratch\nENV " + "A=b \\\n" * 10000 + "\n")
    assert words.env == {"A": "b"}


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch\nRUN <<A\n" + "x\n" * 500_000,
        "FROM scratch\nRUN " + " ".join("<<A" for _ in range(16000)) + "\n",
        "FROM scratch\nCOPY <<A <<B /x/\nA\n",
        "FROM scratch\nCOPY <<-'A' /x\n A\nA \n\tAA\n",
    ],
)
def test_a_heredoc_that_never_ends(text):
    with pytest.raises(DockerfileError, match="unterminated heredoc") as caught:
        parse(text)
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("text", "target", "what"),
    [
        ("FROM a AS x\nCOPY --from=y b c\nFROM x AS y\n", "y", "circular"),
        ("FROM a AS x\nCOPY --from=z b c\nFROM b AS y\nCOPY --from=x d e\nFROM y AS z", "z",
         "circular"),
        ("FROM a AS x\nRUN --mount=from=x,target=/m true\n", None, "before current command"),
        ("FROM a AS x\nRUN --mount=from=y,target=/m true\nFROM x AS y\n", None,
         "before current command"),
    ],
)  # fmt: skip
def test_stages_that_need_themselves(text, target, what):
    with pytest.raises(DockerfileError, match=what) as caught:
        plan(parse(text), target=target)
    assert caught.value.line == 2


def test_thousands_of_stages():
    names = [f"FROM scratch AS s{n}\n" for n in range(10000)]
    assert len(plan(parse("".join(names))).stages) == 1
    chain = ["FROM scratch AS s0\n", *(f"FROM s{n} AS s{n + 1}\n" for n in range(1500))]
    dockerfile = parse("".join(chain))
    assert lint(dockerfile) == ()
    assert len(plan(dockerfile).stages) == 1501


@pytest.mark.parametrize(
    "line",
    [
        "ENV V{n}=v{n}",
        "ENV V0=v{n}",
        "ENV V{n}=$V{n}x",  # a name that is nearly another one
        "LABEL l{n}=$A",
        "ARG A{n}=a{n}",
        "EXPOSE {n}",
    ],
)
def test_tens_of_thousands_of_lines(line):
    lines = "".join(line.format(n=n + 1) + "\n" for n in range(20000))
    scope = every_instruction(f"FROM scratch\nENV A=a\n{lines}")
    assert scope.seen["A"] == "a"


def test_names_that_come_one_by_one_keep_their_places():
    lines = "".join(f"ENV V{n}={n}\n" for n in range(1000))
    scope = every_instruction(f"FROM scratch\n{lines}ENV V3=x V999=y V1000=z V4=\n")
    assert list(scope.env) == [f"V{n}" for n in range(1001)]
    assert len(scope.env) == 1001
    assert [scope.env[f"V{n}"] for n in (3, 4, 5, 999, 1000)] == ["x", "", "5", "y", "z"]
    assert scope.env == dict(scope.env)
    assert "V1001" not in scope.env


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("${A##" + "*a" * 20000 + "b}", "a" * 60000),
        ("${A%%b" + "a*" * 20000 + "}", "a" * 60000),
        ("${A//*a*a*a*a*a*a*b/x}", "a" * 60000),
        ("${A//" + "?" * 25000 + "b/x}", "a" * 60000),
    ],
)
def test_a_pattern_of_a_variable_is_not_tried_for_years(word, value):
    assert expand(word, {"A": value}) == value


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*" + "a*" * 60 + "b", "a" * 255),
        ("[a-z]*" * 60 + "0", "a" * 255),
        ("**/" * 40 + "x", "/".join(["d"] * 80)),
        ("**a" * 20 + "b", "a/" * 100 + "c"),
        ("**/*a" * 20 + "/b", "/".join(["a" * 20] * 60)),
        ("*/" * 60 + "**" + "/*" * 60, "/".join(["d"] * 100)),
    ],
)
def test_a_pattern_of_names_is_not_tried_for_years(pattern, name):
    assert not match(pattern, name)
    assert not IgnoreRules.parse(pattern).excludes(name)


def slow(pattern):
    """Translate a .dockerignore pattern the simple way, as docker does."""
    parts = []
    while pattern:
        if pattern.startswith("**"):
            pattern = pattern[3:] if pattern.startswith("**/") else pattern[2:]
            parts.append("(?:.*/)?" if pattern else ".*")
            continue
        one = "[ab]" if pattern.startswith("[") else pattern[0]
        pattern = pattern.removeprefix(one)
        parts.append({"*": "[^/]*", "?": "[^/]"}.get(one, one))
    return "".join(parts)


def test_patterns_mean_what_they_meant():
    """Each way of matching that is quick, against the one that is simple."""
    chance = random.Random(11)
    pieces = ["a", "b", "/", "*", "?", "[ab]", "**/", "a**b", "/**"]
    seen = set()
    for _ in range(4000):
        pattern = "".join(chance.choice(pieces) for _ in range(chance.randrange(1, 7)))
        pattern = re.sub("/+", "/", re.sub(r"\*{3,}", "**", pattern)).strip("/") or "a"
        if re.fullmatch(r"\*\*[^*?\[]*", pattern):
            continue  # docker compares the ends of texts there
        name = "".join(chance.choice("aab/") for _ in range(chance.randrange(1, 9)))
        name = re.sub("/+", "/", name).strip("/") or "a"
        (rule,) = IgnoreRules.parse(pattern).rules
        expected = re.fullmatch(slow(pattern), name) is not None
        assert (rule.matcher.fullmatch(name) is not None) == expected, (pattern, name)
        seen.add(expected)
    assert seen == {True, False}
