"""The examples below the options of a command's help."""

import shlex
import threading

import pytest
from fake_engine import FakeEngine

from ocimagic.cli.examples import EXAMPLES, examples_for
from ocimagic.cli.grammar import execute, parsed
from ocimagic.cli.session import Session


@pytest.fixture
def session(tmp_path):
    return Session(
        engine=FakeEngine, env={"HOME": "/root"}, cwd=str(tmp_path), cancelled=threading.Event()
    )


@pytest.mark.parametrize("path", EXAMPLES)
def test_help_has_examples_that_are_understood(session, path):
    """Help named options, and no line to begin with."""
    said = execute([*path.split(), "--help"], session).text
    for each in EXAMPLES[path]:
        assert f"  docker {path} {each}".rstrip() in said.splitlines()
        assert parsed([*path.split(), *shlex.split(each)]) is not None


def test_docker_s_short_words_have_the_same(session):
    assert examples_for(["pull"]) == EXAMPLES["image pull"]
    assert examples_for(["run"]) == EXAMPLES["container run"]
    assert examples_for(["network", "ls"]) == ()
    assert "  docker pull alpine\n" in execute(["pull", "--help"], session).text


def test_help_counts_in_english(session):
    said = execute(["image", "pull", "--help"], session).text
    assert "docker has 1 more option for this; it says why" in said
    assert "more options for this; each says why" in execute(["run", "--help"], session).text
