import json

import pytest

from ocimagic import errors


def all_errors(kind=errors.OcimagicError):
    yield kind
    for below in kind.__subclasses__():
        yield from all_errors(below)


def test_the_tree_in_the_docstring_names_every_class():
    ours = [each for each in all_errors() if each.__module__.startswith(f"{errors.__name__}.")]
    assert {each.__name__ for each in ours} | {"pack", "unpack"} == set(errors.__all__)
    for kind in ours:  # and none of a room's own, such as BadWord
        assert kind.__name__ in errors.__doc__


@pytest.mark.parametrize(
    "err",
    [
        errors.ImageNotFound("no such image: x", why="w", hint="h"),
        errors.DigestMismatch("blob", expected="a", actual="b"),
        errors.SizeMismatch("blob", expected=1, actual=2),
        errors.DockerfileError("bad", line=3, column=2, source="FROM"),
        errors.LayerRefused("../x", "leaves"),
        errors.StepFailed("RUN x", command_exit_code=3, tail=["a", "b"]),
        errors.CommandNotFound("x", phase="find_program"),
    ],
)
def test_an_error_crosses_a_process_border_whole(err):
    again = errors.unpack(json.loads(json.dumps(errors.pack(err))))
    assert type(again) is type(err)
    assert again.lines() == err.lines()
    assert again.exit_code == err.exit_code


def test_an_error_of_a_single_room_crosses_as_itself():
    class OfOneRoom(errors.ImageNotFound):
        pass

    again = errors.unpack(errors.pack(OfOneRoom("no such image: x")))
    assert type(again) is OfOneRoom
    assert type(errors.unpack({"error": "Nobody", "fields": {"what": "x"}})) is errors.OcimagicError


def test_the_caret_stands_below_its_column():
    frame = errors.DockerfileError("bad", line=3, column=6, source="FROM ubuntu").where
    first, second = frame.splitlines()
    assert first[second.index("^")] == "u"
