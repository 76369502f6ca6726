"""``image adopt``: what reaches the engine, what is said back."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import samples

from ocimagic.cli.grammar import execute, find
from ocimagic.cli.session import Session
from ocimagic.errors import InvalidOption
from ocimagic.magics.expansion import word_of
from ocimagic.model.archive import Adoptable, AdoptableImage, Adopted, Loaded, LoadedImage
from ocimagic.model.event import ignore
from ocimagic.render.display import as_html, as_text

NOW = datetime(2026, 1, 2, tzinfo=UTC)
WEB = LoadedImage(
    image_id=samples.digest("web"),
    tags=("web:1", "web:2"),
    replaced=(("web:1", samples.digest("old")),),
)
HELLO = LoadedImage(image_id=samples.digest("hello"), tags=())
OFFER = Adoptable(
    source="docker at unix:///run/docker.sock",
    images=(
        AdoptableImage(
            image_id=WEB.image_id, tags=WEB.tags, size_bytes=67_800_000,
            created=NOW - timedelta(hours=3), is_here=True,
        ),
        AdoptableImage(
            image_id=HELLO.image_id, tags=(), size_bytes=5, created=None, is_here=False,
        ),
    ),
)  # fmt: skip


class Images:
    def __init__(self):
        self.calls = []

    def adoptable(self, source=None, *, cancelled=None):
        self.calls.append(("adoptable", source))
        return OFFER

    def adopt(self, names=(), *, source=None, all=False, on_event=ignore, cancelled=None):  # noqa: A002
        self.calls.append(("adopt", tuple(names), source, all, on_event is ignore))
        return adopted()


def adopted(came=(WEB,), known=(HELLO,), received=2_000_000):
    return Adopted(
        source="podman (/usr/bin/podman)", loaded=Loaded(images=came), known=known,
        received_bytes=received, seconds=0.5,
    )  # fmt: skip


@pytest.fixture
def images():
    return Images()


@pytest.fixture
def session(images):
    engine = SimpleNamespace(images=images)
    return Session(engine=lambda: engine, on_event=print)


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("", ("adoptable", None)),
        ("--from podman", ("adoptable", "podman")),
        ("web:1 abcd", ("adopt", ("web:1", "abcd"), None, False, False)),
        ("--from=unix:///x web", ("adopt", ("web",), "unix:///x", False, False)),
        ("-a", ("adopt", (), None, True, False)),
        ("-qa", ("adopt", (), None, True, True)),
    ],
)
def test_calls(line, call, session, images):
    execute(["image", "adopt", *line.split()], session)
    assert images.calls == [call]


def test_all_and_names_exclude_each_other(session, images):
    with pytest.raises(InvalidOption, match="exclude each other"):
        execute(["image", "adopt", "--all", "web"], session)
    assert images.calls == []


def test_quiet_is_for_scripts(session):
    wanted = f"{WEB.image_id}\n{HELLO.image_id}"
    for line in ("image adopt -q", "image adopt -qa"):
        assert as_text(execute(line.split(), session), NOW) == wanted


def test_a_stop_reaches_it():
    assert find(["image", "adopt"]).cancellable


def test_the_list_is_a_table_under_who_has_it():
    head, *lines = as_text(OFFER, NOW).splitlines()
    assert head == "docker at unix:///run/docker.sock: 2 images"
    assert [line.split()[0] for line in lines] == ["IMAGE", "web:1", "web:2", "<none>"]
    assert [line.split()[-1] for line in lines] == ["HERE", "yes", "yes", "no"]
    assert "3 hours ago" in lines[1]
    assert "67.8MB" in lines[1]
    assert "N/A" in lines[3]
    drawn = as_html(OFFER, NOW)
    for text in ("<table", head, "web:2", "&lt;none&gt;"):
        assert text in drawn
    empty = Adoptable(source="podman", images=())
    assert as_text(empty, NOW) == "podman: 0 images"


def test_what_came_and_what_did_not_have_to():
    short, old = WEB.image_id.short, samples.digest("old")
    wanted = [
        f"The image web:1 already exists, renaming the old one with ID {old} to empty string",
        f"Adopted image: web:1, web:2 ({short})",
        f"Here already: {HELLO.image_id}",
        "1 image, 2MB in 0.50s from podman (/usr/bin/podman)",
    ]
    assert as_text(adopted(), NOW).splitlines() == wanted
    assert all(line in as_html(adopted(), NOW) for line in wanted)
    known = as_text(adopted(came=(), received=0), NOW)
    assert known == f"Here already: {HELLO.image_id} from podman (/usr/bin/podman)"
    nothing = as_text(adopted(came=(), known=(), received=0), NOW)
    assert nothing == "podman (/usr/bin/podman) has no image with a name"


def test_a_command_line_takes_the_results_by_name():
    assert word_of(OFFER.images[0]) == word_of(WEB) == "web:1"
    assert word_of(HELLO) == str(HELLO.image_id)
