"""The table of what may be done when."""

import pytest

from ocimagic.model.state import RULES, Status, Verb, refusal


def test_every_verb_has_a_rule():
    assert set(RULES) == set(Verb)


@pytest.mark.parametrize(
    ("verb", "status", "why"),
    [
        (Verb.KILL, Status.EXITED, "it is not running"),
        (Verb.KILL, Status.CREATED, "it is not running"),
        (Verb.PAUSE, Status.PAUSED, "it is already paused"),
        (Verb.PAUSE, Status.EXITED, "it is not running"),
        (Verb.PAUSE, Status.RESTARTING, "it is restarting, wait until it is running"),
        (Verb.UNPAUSE, Status.RUNNING, "it is not paused"),
        (Verb.START, Status.PAUSED, "it is paused, try unpause instead"),
        (Verb.EXEC, Status.PAUSED, "it is paused, unpause it before exec"),
        (Verb.EXEC, Status.CREATED, "it is not running"),
        (Verb.ATTACH, Status.EXITED, "it is stopped, start it first"),
        (Verb.ATTACH, Status.PAUSED, "it is paused, unpause it first"),
        (Verb.TOP, Status.EXITED, "it is not running"),
        (Verb.REMOVE, Status.RUNNING, "it is running: stop it before removing, or force remove"),
        (Verb.REMOVE, Status.PAUSED, "it is paused and must be unpaused first"),
        (Verb.STOP, Status.DEAD, "it is marked for removal"),
        (Verb.RENAME, Status.REMOVING, "it is marked for removal"),
    ],
)
def test_refusals_are_dockers(verb, status, why):
    refused = refusal(verb, status, "web")
    assert refused is not None
    assert (refused.why, refused.http_status) == (why, 409)
    assert "web" in refused.what
    assert "{" not in str(refused)


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        (Verb.START, Status.EXITED),
        (Verb.STOP, Status.CREATED),
        (Verb.STOP, Status.PAUSED),
        (Verb.KILL, Status.PAUSED),
        (Verb.TOP, Status.PAUSED),
        (Verb.COPY, Status.EXITED),
        (Verb.COMMIT, Status.RUNNING),
        (Verb.REMOVE, Status.DEAD),
        (Verb.WAIT, Status.DEAD),
    ],
)
def test_what_is_allowed(verb, status):
    assert refusal(verb, status, "web") is None


def test_hints_name_the_container():
    for verb in Verb:
        for status in Status:
            refused = refusal(verb, status, "web")
            if refused and refused.hint:
                assert "web" in refused.hint
