"""Text as docker writes it."""

from dataclasses import replace
from datetime import timedelta

import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.errors import DockerfileError, ImageNotFound, StepFailed
from ocimagic.model.result import ExitStatus, LayerReport, PullsLeft
from ocimagic.model.state import Status
from ocimagic.render.display import as_text
from ocimagic.render.error import error_text
from ocimagic.render.escape import markup, shorten, visible
from ocimagic.render.table import container_table, history_table, image_table, instruction
from ocimagic.render.text import layers_text, table_text
from ocimagic.render.units import human_age, human_duration, human_seconds, human_size
from ocimagic.spec.platform import Platform

NOW = samples.NOW


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0B"), (5, "5B"), (999, "999B"), (1000, "1kB"), (1234, "1.23kB"), (67_812_310, "67.8MB"),
     (999_499, "999kB"), (999_999, "1MB"), (123_400_000_000, "123GB"), (10**21, "1e+03EB")],
)  # fmt: skip
def test_human_size(size, said):
    assert human_size(size) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"),
     (120, "2 minutes"), (59 * 60, "59 minutes"), (3600, "About an hour"), (7200, "2 hours"),
     (47 * 3600, "47 hours"), (48 * 3600, "2 days"), (14 * 86400, "2 weeks"),
     (60 * 86400, "2 months"), (730 * 86400, "2 years")],
)  # fmt: skip
def test_human_duration(seconds, said):
    assert human_duration(seconds) == said


def test_ages_of_the_unknown_and_of_the_future():
    assert human_age(None, NOW) == "N/A"
    assert human_age(NOW + timedelta(days=1), NOW) == "Less than a second ago"


@pytest.mark.parametrize(("seconds", "said"), [(0.0312, "0.03s"), (12.34, "12.3s"), (125, "2m05s")])
def test_human_seconds(seconds, said):
    assert human_seconds(seconds) == said


IMAGES = """\
REPOSITORY    TAG    IMAGE ID      CREATED        SIZE
web           1      8724d338e126  2 minutes ago  67.8MB
busybox       1e5    a9f958b6beff  2 minutes ago  67.8MB"""

CONTAINERS = """\
CONTAINER ID    IMAGE    COMMAND                 CREATED      STATUS                     PORTS    NAMES
cbb1ca061892    web:1    "/bin/sh -c while tr…"  3 hours ago  Up 5 minutes                        web
b4418426bc7e    web:1    "/bin/sh -c while tr…"  3 hours ago  Exited (3) 40 seconds ago           job
a9649d4f726e    web:1    "/bin/sh -c while tr…"  3 hours ago  Created                             new"""  # noqa: E501


def test_images():
    images = [samples.image(), samples.image("busybox", "1e5")]
    assert table_text(image_table(images, NOW)) == IMAGES
    wide = table_text(image_table(images, NOW, digests=True, no_trunc=True))
    assert str(images[0].digest) in wide
    assert str(images[0].image_id) in wide


def test_containers():
    rows = [
        samples.container(),
        samples.exited(),
        samples.container("new", status=Status.CREATED, started=None),
    ]
    assert table_text(container_table(rows, NOW)) == CONTAINERS
    assert "sleep 1; done" in table_text(container_table(rows, NOW, no_trunc=True))


def test_history():
    lines = table_text(history_table(samples.history(), NOW)).splitlines()
    assert lines[0].split() == ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT", "BASE"]
    assert lines[3].startswith("<missing>")
    assert lines[3].endswith("yes")
    assert "COPY app.py /srv/app.py # a rather long line…" in lines[2]


def test_layers():
    drawn = layers_text(samples.report())
    assert "web:1: 3 layers, bottom first" in drawn
    assert drawn.endswith("120MB stored, 336MB if nothing were shared: 216MB saved")
    one = LayerReport(images=samples.report().images[:1], total_bytes=5, stored_bytes=5)
    assert layers_text(one).endswith("\n5B stored")


@pytest.mark.parametrize(
    ("created_by", "said"),
    [
        ("RUN /bin/sh -c apt-get update # buildkit", "RUN apt-get update"),
        ("/bin/sh -c apt-get update", "RUN apt-get update"),
        ('/bin/sh -c #(nop)  CMD ["bash"]', 'CMD ["bash"]'),
        ("COPY a b # buildkit", "COPY a b"),
        ("", "(no command)"),
    ],
)
def test_instruction(created_by, said):
    assert instruction(created_by) == said


def test_sentences():
    said = {
        samples.pull_result(): "1 layer, 2.16MB downloaded, 4.26MB unpacked, digest sha256:",
        samples.pull_result(up_to_date=True): "is up to date",
        samples.pull_result(pulls_left=PullsLeft(left=7, limit=10, is_anonymous=True)): (
            "; 7 of 10 anonymous pulls left here"
        ),
        samples.pull_result(pulls_left=PullsLeft(left=0, limit=200, window_s=21600)): (
            "; 0 of 200 pulls in 6 hours left"
        ),
        samples.pull_result(pulls_left=PullsLeft(left=9, limit=10, is_anonymous=False)): (
            "; 9 of 10 pulls left for this login"
        ),
        samples.run_result(): "exit 0, 0.03s, network host, container removed",
        samples.run_result(exit_code=137, removed=False): "exit 137 (SIGKILL)",
        samples.removed(): "1 name untagged, 1 object deleted, 2.31kB freed",
        ExitStatus(code=137, signal=9, finished=NOW): "exit 137, killed by signal 9",
    }
    for value, words in said.items():
        assert words in as_text(value, NOW)


def test_build():
    lines = as_text(samples.build_result(warnings=("MAINTAINER is old",)), NOW).splitlines()
    assert lines[0].split() == ["STEP", "INSTRUCTION", "CACHE", "TIME", "LAYER", "IMAGE"]
    assert "cached" in lines[1]
    assert lines[-2] == "warning: MAINTAINER is old"
    assert lines[-1].startswith("web:1: image ")
    assert "2 of 3 steps from the cache" in lines[-1]


def test_a_build_for_several_platforms():
    both = tuple(map(samples.built_for, (Platform(), Platform("linux", "arm", "v7"))))
    said = as_text(samples.build_result(platforms=both, tags=()), NOW).splitlines()[-1]
    assert said.startswith(f"{samples.build_result().digest.short}: index of linux/amd64 ")
    assert f"linux/arm/v7 {both[1].image_id.short}, " in said


def test_info_lists_what_is_missing():
    drawn = as_text(samples.system_info(), NOW)
    assert "This machine lacks: user namespaces are switched off" in drawn
    assert "Not built yet: bridge networks" in drawn


def test_hidden_characters_become_visible():
    assert visible("a\x1b[31m\n\u202e\x9b\ud800") == "a\\x1b[31m\\n\\u202e\\x9b\\ud800"
    assert visible("a\n\tb\r", lines=True) == "a\n\tb\\r"
    assert markup('<a href="x">') == "&lt;a href=&quot;x&quot;&gt;"
    assert shorten("abcdef", 4) == "abc…"


@given(st.text())
def test_visible_text_is_printable_and_encodable(text):
    shown = visible(text)
    shown.encode()
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)


def test_hostile_strings_are_harmless_in_tables():
    image = samples.image(samples.HOSTILE, "a\nb")
    container = samples.container(samples.HOSTILE, command=("\x1b]0;owned\x07", "\r\n"))
    for value in ((image,), (container,)):
        drawn = as_text(value, NOW)
        assert "\x1b" not in drawn
        assert "\u202e" not in drawn
        assert len(drawn.splitlines()) == 2


def test_errors():
    error = ImageNotFound("no image debain:12", why="not here\x1b[2J", hint="pull it")
    assert error_text(error) == "no image debain:12\n  why   not here\\x1b[2J\n  try   pull it"
    step = StepFailed("RUN failed", command_exit_code=2, tail=[f"line {n}" for n in range(30)])
    lines = error_text(step).splitlines()
    assert lines[1] == "  last 20 lines of output:"
    assert lines[2] == "    line 10"


def test_code_frame_keeps_its_caret():
    error = DockerfileError("unknown instruction", line=2, column=1, source="FORM x")
    frame = error_text(error).splitlines()
    assert frame[1].index("F") > 0
    assert frame[1].index("FORM") == frame[2].index("^")


def test_json_and_unknown_values():
    assert as_text({"a": ["\x1b"]}, NOW) == '{\n    "a": [\n        "\\u001b"\n    ]\n}'
    assert as_text(None, NOW) == ""
    assert as_text("a\x1b", NOW) == "a\\x1b"
    assert as_text((), NOW) == "()"


def test_created_unknown():
    assert "N/A" in as_text((replace(samples.image(), created=None),), NOW)
