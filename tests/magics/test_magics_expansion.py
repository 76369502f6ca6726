"""Words of a line: quotes as in a shell, values of Python in braces."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.errors import InvalidOption
from ocimagic.magics.expansion import split
from ocimagic.model.result import ImageSummary
from ocimagic.spec.digest import Digest

ID = Digest.of(b"{}")


def image(repository: str, tag: str) -> ImageSummary:
    return ImageSummary(
        repository=repository,
        tag=tag,
        image_id=ID,
        digest=ID,
        created=datetime(2024, 1, 2, tzinfo=UTC),
        size_bytes=1,
        shared_bytes=0,
    )


NAMES = {
    "name": "web 1",
    "port": 8080,
    "words": ["a b", "c"],
    "empty": [],
    "settings": {"key": "value", "Config": {"Env": ["A=1"]}},
    "image": image("demo", "1"),
    "bare": image("<none>", "<none>"),
    "semi": ";",
}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("image ls -a", ["image", "ls", "-a"]),
        ("run  busybox\techo", ["run", "busybox", "echo"]),
        ("sh -c 'echo \"{name}\" {{x}}'", ["sh", "-c", 'echo "{name}" {{x}}']),
        ('sh -c "echo \'a\' \\"b\\" \\n \\$X"', ["sh", "-c", "echo 'a' \"b\" \\n $X"]),
        ("a'b c'\"d e\"f", ["ab cd ef"]),
        ("'' \"\" x", ["", "", "x"]),
        ("a\\ b \\'c", ["a b", "'c"]),
        ("run \\\n  -d busybox", ["run", "-d", "busybox"]),
        ("ls # a comment 'with a quote", ["ls"]),
        ("echo a#b '#'", ["echo", "a#b", "#"]),
        # values
        ("{name}", ["web 1"]),
        ("x{port}y", ["x8080y"]),
        ('"-{name}-"', ["-web 1-"]),
        ("{words}", ["a b", "c"]),
        ("-{words}-", ["-a b", "c-"]),
        ('"{words}"', ["a b c"]),
        ("{empty} x", ["x"]),
        ("{settings[key]} {settings['key']}", ["value", "value"]),
        ("{settings[Config][Env][0]}", ["A=1"]),
        ("{image} {image.tag}", ["demo:1", "1"]),
        ("{bare}", [str(ID)]),
        ("echo {semi}", ["echo", ";"]),
        # left alone
        ("'{name}'", ["{name}"]),
        ("--format {{.Names}} {{name}}", ["--format", "{{.Names}}", "{{name}}"]),
        ("--format '{{json .}}'", ["--format", "{{json .}}"]),
        ("$HOME ${name} $name", ["$HOME", "${name}", "$name"]),
        ('{"a":1} {} { x }', ["{a:1}", "{}", "{", "x", "}"]),
        ("{unknown_thing}", ["{unknown_thing}"]),
        ("a{b,c}", ["a{b,c}"]),
        # operators only count unquoted and alone
        ("sh -c 'a | b; c > d' '|'", ["sh", "-c", "a | b; c > d", "|"]),
        ("a;b", ["a;b"]),
    ],
)
def test_words(line, words):
    assert list(split(line, NAMES).words) == words


@pytest.mark.parametrize(
    ("line", "words", "quiet"),
    [
        ("ls;", ["ls"], True),
        ("ls a ; ", ["ls", "a"], True),
        ("ls; # quiet", ["ls"], True),
        ("ls ';'", ["ls", ";"], False),
        ("ls \\;", ["ls", ";"], False),
    ],
)
def test_a_semicolon_at_the_end_silences(line, words, quiet):
    taken = split(line, {})

    assert list(taken.words) == words
    assert taken.quiet is quiet


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("echo 'a", "the quote ' is never closed"),
        ('echo "a', 'the quote " is never closed'),
        ("image ls | grep x", "| has no meaning here"),
        ("run a && run b", "&& has no meaning here"),
        ("logs web > file", "> has no meaning here"),
        ("{nme}", "there is no variable nme"),
        ("{image.tg}", "image has no .tg"),
        ("{settings[Config][nope]}", "settings[Config] has no [nope]"),
        ("{words[7]}", "words has no [7]"),
    ],
)
def test_what_cannot_be_meant_is_said(line, said):
    with pytest.raises(InvalidOption) as caught:
        split(line, NAMES)

    assert said in caught.value.what


def test_an_open_quote_is_pointed_at():
    with pytest.raises(InvalidOption) as caught:
        split("run busybox echo 'it", {})

    assert caught.value.where == "run busybox echo 'it\n" + " " * 17 + "^"


def test_a_near_name_is_offered():
    with pytest.raises(InvalidOption, match=r"did you mean \{name\}"):
        split("{naem}", NAMES)


@given(st.text())
def test_a_text_is_always_one_word(text):
    assert split("a {value} b", {"value": text}).words == ("a", text, "b")


@given(st.lists(st.text(min_size=1).filter(lambda text: "'" not in text and "\x00" not in text)))
def test_single_quotes_keep_everything(texts):
    line = " ".join(f"'{text}'" for text in texts)

    assert list(split(line, {"x": 1}).words) == texts
