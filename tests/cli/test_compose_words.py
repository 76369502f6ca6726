"""``compose`` on the command line: where its options may stand, and what its verbs answer."""

import pytest

from ocimagic.cli.compose_words import hoisted
from ocimagic.cli.grammar import complete, docker_words, execute, find
from ocimagic.cli.session import Session
from ocimagic.errors import InvalidOption, NotBuiltYet


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("compose up -d", "compose up -d"),
        ("compose -f a.yaml -p b up -d", "compose up --file=a.yaml --project-name=b -d"),
        ("compose -fa.yaml --profile=x logs -f w", "compose logs --file=a.yaml --profile=x -f w"),
        ("compose -f - config", "compose config --file=- "),
        ("compose --env-file e run -e A=1 web sh -f", "compose run --env-file=e -e A=1 web sh -f"),
        ("compose --help", "compose --help"),
        ("compose -x up", "compose -x up"),
        ("compose -f", "compose -f"),
        ("container ls", "container ls"),
        ("", ""),
    ],
)  # fmt: skip
def test_options_before_the_verb_go_behind_it(line, expected):
    assert hoisted(line.split()) == expected.split()


def test_the_verb_is_found_behind_its_options():
    assert find(["compose", "-f", "x", "-p", "y", "up"]).name == "up"
    assert find(["compose", "up"]).cancellable
    assert docker_words()["compose_up"] == ("compose", "up")
    texts = [each.text for each in complete(["compose", "-p", "x"], "lo")]
    assert texts == ["logs"]
    options = [each.text for each in complete(["compose", "up"], "--no-")]
    assert "--no-deps" in options
    assert "--file" not in [each.text for each in complete(["compose", "up"], "--f")]


def run(line, cwd, **rest):
    session = Session(
        engine=lambda: pytest.fail("no engine is needed"), env={}, cwd=str(cwd), **rest
    )
    return execute(line.split(), session)


def test_config_needs_no_engine(tmp_path):
    (tmp_path / "c.yaml").write_text(
        "name: own\nservices:\n  web: {image: 'x:${T:-1}', ports: ['80']}\n  db: {build: .}\n"
        "volumes: {v: }\n"
    )
    text = run("compose -f c.yaml config", tmp_path)
    assert text.document["services"]["web"]["image"] == "x:1"
    assert str(text.to_text(None)).startswith("name: own\nservices:\n")
    assert run("compose -f c.yaml config --services", tmp_path).lines == ("db", "web")
    assert run("compose -f c.yaml config --images", tmp_path).lines == ("own-db", "x:1")
    assert run("compose -f c.yaml config --volumes", tmp_path).lines == ("v",)
    assert run("compose -f c.yaml config -q", tmp_path).lines == ()
    [line] = run("compose -f c.yaml config --hash web", tmp_path).lines
    assert line.startswith("web ")
    kept = run("compose -f c.yaml config --no-interpolate", tmp_path)
    assert kept.document["services"]["web"]["image"] == "x:${T:-1}"
    assert run("compose -f c.yaml config --format json", tmp_path).text.startswith('{\n  "name"')


def test_the_file_may_come_on_standard_input(tmp_path):
    text = run("compose -f - config", tmp_path, stdin=b"services: {web: {image: x}}")
    assert text.document["name"] == "".join(
        c for c in tmp_path.name.lower() if c.isalnum() or c in "_-"
    )
    with pytest.raises(InvalidOption, match="there is none"):
        run("compose -f - config", tmp_path)


@pytest.mark.parametrize(
    ("line", "error", "said"),
    [
        ("compose up --watch", NotBuiltYet, "not watched"),
        ("compose --dry-run up", NotBuiltYet, "cannot be shown"),
        ("compose watch", NotBuiltYet, "not watched"),
        ("compose upp", InvalidOption, "did you mean docker compose up?"),
        ("compose up --buidl", InvalidOption, "did you mean --build?"),
        ("compose up --build --no-build", InvalidOption, "do not go together"),
        ("compose up -d --exit-code-from web", InvalidOption, "leave -d out"),
        ("compose up", InvalidOption, "no compose file here"),
        ("compose -f none.yaml up", InvalidOption, "no compose file none.yaml"),
        ("compose down --rmi some", InvalidOption, "all or local"),
    ],
)
def test_what_is_refused(tmp_path, line, error, said):
    with pytest.raises(error) as caught:
        run(line, tmp_path)
    assert said in str(caught.value)


def test_version():
    assert run("compose version --short", ".").lines[0][0].isdigit()
