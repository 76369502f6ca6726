"""Why a step was not found in the cache: told with what changed, old and new."""

import time

import pytest

from ocimagic.build.why import changed_text, explain
from ocimagic.render.text import build_text

COPY = "FROM scratch\nCOPY src /src\nWORKDIR /w\n"


def whys(result):
    return {step.text.split()[0]: step.why for step in result.steps}


def test_nothing_is_said_the_first_time_nor_of_what_was_found(fresh):
    fresh.write("src/a", "A")
    assert set(whys(fresh.build(COPY, "x")).values()) == {""}
    second = fresh.build(COPY, "x")
    assert all(step.cached and not step.why for step in second.steps)


def test_a_file_that_changed_and_what_stands_on_it(fresh):
    fresh.write("src/a", "A")
    fresh.build(COPY, "x")
    fresh.write("src/a", "B")
    result = fresh.build(COPY, "x")
    assert whys(result) == {
        "FROM": "",
        "COPY": "the file a changed",
        "WORKDIR": "what it builds on changed",
    }
    assert "the file a changed" in build_text(result)
    assert [event.why for event in fresh.of(type(fresh.events[-1])) if event.why]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda place: place.write("src/b", "new"), "the file b is new"),
        (lambda place: (place.context / "src" / "a").unlink(), "the file a is gone"),
        (
            lambda place: (place.context / "src" / "a").chmod(0o600),
            "the file a changed its mode from 0644 to 0600",
        ),
    ],
)
def test_files_that_come_go_and_change_their_mode(fresh, change, said):
    fresh.write("src/a", "A")
    fresh.write("src/deep/c", "C")
    fresh.build(COPY, "x")
    change(fresh)
    assert whys(fresh.build(COPY, "x"))["COPY"] == said


def test_an_argument_and_a_variable(runs):
    tag = f"why{time.time_ns()}"
    text = f"FROM base\nARG V=1\nENV E=one U={tag}\nRUN true\n"
    runs.build(text, tag)
    result = runs.build(text, tag, build_args={"V": "2"})
    assert whys(result)["RUN"] == "the variable V changed from '1' to '2'"
    result = runs.build(text.replace("E=one", "F=two"), tag, build_args={"V": "2"})
    said = whys(result)
    assert said["RUN"] == "the variable E is gone, the variable F is new: 'two'"
    assert said["ENV"].startswith("the instruction changed; it was: ENV E=one")


def test_values_that_sound_like_secrets_are_not_shown(runs):
    tag = f"why{time.time_ns()}"
    text = f"FROM base\nARG API_TOKEN\nENV U={tag} PASSWORD=$API_TOKEN\nRUN A_KEY=s3cret true\n"
    runs.build(text, tag, build_args={"API_TOKEN": "s3cret-old"})
    said = [whys(runs.build(text, tag, build_args={"API_TOKEN": "s3cret-new"}))]
    assert said[0]["RUN"] == "the variable API_TOKEN changed, the variable PASSWORD changed"
    said.append(whys(runs.build(text.replace("true", "false || true"), tag)))
    assert said[1]["RUN"].endswith("it was: RUN A_KEY=... true")
    said.append(whys(runs.build(text.replace("API_TOKEN\nENV", "API_TOKEN='s3cret 2'\nENV"), tag)))
    assert "s3cret" not in str(said)


def test_another_instruction_at_its_place(runs):
    tag = f"why{time.time_ns()}"
    runs.build(f"FROM base\nRUN echo {tag}\n", tag)
    said = whys(runs.build(f"FROM base\nRUN echo {tag} again\n", tag))
    assert said["RUN"] == f"the instruction changed; it was: RUN echo {tag}"


def test_what_stood_there_before_is_named_only_if_it_was_of_the_same_kind(fresh):
    fresh.write("src/a", "A")
    fresh.build(COPY, "x")
    more = fresh.build(COPY.replace("COPY", "LABEL a=b\nCOPY"), "x")
    assert whys(more) == {"FROM": "", "LABEL": "", "COPY": "", "WORKDIR": ""}
    other = fresh.build(COPY.replace("COPY", "LABEL a=c\nCOPY"), "x")
    assert whys(other)["LABEL"] == "the instruction changed; it was: LABEL a=b"


def test_no_cache_is_a_reason(fresh):
    fresh.write("src/a", "A")
    fresh.build(COPY, "x")
    assert whys(fresh.build(COPY, "x", no_cache=True))["COPY"] == "--no-cache"


def test_the_next_version_of_an_image_is_compared_with_the_one_before(fresh):
    fresh.write("src/a", "A")
    fresh.build(COPY, "team/x:1")
    fresh.write("src/a", "B")
    assert whys(fresh.build(COPY, "team/x:2"))["COPY"] == "the file a changed"


def test_another_dockerfile_of_the_same_words_says_nothing(fresh):
    fresh.write("src/a", "A")
    fresh.build(COPY, "x")
    fresh.write("src/a", "B")
    assert whys(fresh.build(COPY, "y"))["COPY"] == ""


def test_words():
    old = {"below": "a", "user": "", "chown": None, "argv": ["a"], "files": []}
    new = {"below": "b", "user": "me", "chown": "me:me", "argv": ["b"], "files": []}
    assert explain(old, new) == (
        "the command changed, --chown changed from nothing to 'me:me', USER changed from '' to 'me'"
    )
    many = [[f"f{number}", "f", 0o644, 0, 0, "x"] for number in range(9)]
    assert explain({"files": []}, {"files": many}).endswith("the file f2 is new and 6 more")
    owner = [["f", "f", 0o644, 0, 0, "x"]], [["f", "f", 0o644, 7, 8, "x"]]
    assert explain({"files": owner[0]}, {"files": owner[1]}) == (
        "the file f changed its owner from 0:0 to 7:8"
    )
    assert explain(old, old) == "what it made is gone"
    assert len(changed_text("RUN " + "x" * 500, "RUN y")) < 120
