"""Verbs of results: docker's own, with options by keyword; gone when the extension is."""

import pytest
from samples import build_result, container, container_details, image, pull_result, run_result

from ocimagic.magics.registration import unload


@pytest.fixture
def lines(shell, monkeypatch):
    """Return the lines that reach the session."""
    session = shell.magics_manager.magics["line"]["docker"].session
    said = []
    monkeypatch.setattr(session, "run", lambda words, **_: said.append(words))
    return said


def test_options_are_keywords(lines):
    one = container("web")
    one.stop(time=3)
    one.exec("sh", "-c", "echo $A", env=["A=1", "B=2"], u="nobody", detach=False, privileged=True)
    one.logs(tail=5, timestamps=True)
    one.stats()
    name = one.container_id
    assert lines == [
        ["container", "stop", "--time=3", name],
        ["container", "exec", "--env=A=1", "--env=B=2", "-u", "nobody", "--privileged", name,
         "sh", "-c", "echo $A"],
        ["container", "logs", "--tail=5", "--timestamps", name],
        ["container", "stats", "--no-stream", name],
    ]  # fmt: skip


def test_every_kind_knows_what_it_is_called(lines):
    container_details().inspect()
    run_result().logs()
    image("web", "1").run("true", rm=True)
    pull_result().history()
    build_result().tag("web:2")
    assert [words[:2] for words in lines] == [
        ["container", "inspect"],
        ["container", "logs"],
        ["container", "run"],
        ["image", "history"],
        ["image", "tag"],
    ]
    assert lines[2][2:] == ["--rm", str(image("web", "1").image_id), "true"]
    assert lines[4][-1] == "web:2"


def test_fields_stay_and_verbs_go(shell):
    assert container("web").ports == container("web").ports
    assert not callable(container("web").ports)
    unload(shell)
    assert not hasattr(container("web"), "stop")
    assert not hasattr(image("web", "1"), "run")
