"""What Tab offers, and where it leaves Python alone."""

import pytest

from ocimagic.magics.completer import Completer


@pytest.fixture
def complete(shell, tmp_path):
    """Complete at the ``|`` in a cell; return the fragment and the texts."""
    (tmp_path / "app.py").write_text("")
    (tmp_path / "src").mkdir()
    completer = Completer(shell.magics_manager.magics["line"]["docker"].session)

    def complete(cell):
        before, _, after = cell.partition("|")
        line = before.count("\n")
        column = len(before.rpartition("\n")[2])
        found = completer.candidates(before + after, line, column)
        return found and (found[0], [text for text, _ in found[1]])

    return complete


@pytest.mark.parametrize(
    ("cell", "fragment", "texts"),
    [
        ("%container_run deb|", "deb", ["debian:bookworm"]),
        ("%container_run debian:bo|", "debian:bo", ["debian:bookworm"]),
        ("x = %container_run --rm web|", "web", ["web:1"]),
        ("    docker run web|", "web", ["web:1"]),
        ("docker image ins|", "ins", ["inspect"]),
        ("%docker image hi|", "hi", ["history"]),
        ("%container_run --entry|", "--entry", ["--entrypoint"]),
        ("%container_logs |", "", ["job", "web"]),
        ("%container_run \\\n  --rm \\\n  bus|", "bus", ["busybox:latest"]),
        ("%%dockerfile -t x --no-c|", "--no-c", ["--no-cache", "--no-cache-filter"]),
        ("%%dockerfile -t x s|", "s", ["src/"]),
        ("%%dockerfile -t x\nFR|", "FR", ["FROM"]),
        ("%%dockerfile -t x\nwo|", "wo", ["workdir"]),
        ("%%dockerfile -t x\nFROM bus|", "bus", ["busybox:latest"]),
        ("%%dockerfile\nFROM web:1 AS built\nFROM bui|", "bui", ["built"]),
        ("%%dockerfile\nFROM x AS built\nCOPY --from=b|", "--from=b",
         ["--from=built", "--from=busybox:latest"]),
        ("%%dockerfile\nCOPY a|", "a", ["app.py"]),
        ("%container_run busybox ec|", "ec", []),
        ("%%dockerfile\nRUN apt|", "apt", []),
    ],
)  # fmt: skip
def test_candidates(complete, cell, fragment, texts):
    assert complete(cell) == (fragment, texts)


@pytest.mark.parametrize(
    "cell", ["x = doc|", "%time x|", "%%bash\ndocker ru|", "docker.x|", "%container_run {na|"]
)
def test_python_is_left_alone(complete, cell):
    assert complete(cell) is None


def test_ipython_shows_ours_only(shell):
    from IPython.core.completer import provisionalcompleter

    def offered(line):
        with provisionalcompleter():
            return [each.text for each in shell.Completer.completions(line, len(line))]

    assert offered("%container_run debian:bo") == ["debian:bookworm"]
    assert offered("%container_run busybox b") == ["b"]
    assert "%container_run" in offered("%container_r")


def test_an_engine_that_fails_completes_nothing(shell):
    session = shell.magics_manager.magics["line"]["docker"].session

    def fail(root):
        from ocimagic.errors import StorageError

        raise StorageError("no store")

    session.make_engine = fail

    assert Completer(session).candidates("%container_run x", 0, 16) == ("x", [])
