"""Live views without a browser: what goes to a page, what is kept out of a saved notebook."""

import json
import os
import re
import threading
import time
import zlib

import pytest

from ocimagic.layers.accounting import explore
from ocimagic.layers.tarheader import Kind
from ocimagic.layers.toc import TocEntry
from ocimagic.model.state import Status
from ocimagic.widgets.dashboard import SAMPLES, Dashboard
from ocimagic.widgets.explorer import Explorer
from ocimagic.widgets.following import KEPT, Follow
from ocimagic.widgets.live import LiveView

LOUD = (
    "trap 'exit 0' TERM; i=0; while :; do i=$((i+1)); "
    "printf '\\033[31mno %s\\033[0m\\n' $i; sleep 0.05; done"
)


def entry(path, kind=Kind.FILE, size=0, offset=0, link=""):
    return TocEntry(path, kind, 0o644, 1, 2, size, link, 0, offset)


@pytest.fixture
def page(monkeypatch):
    """What views send."""
    sent = []
    lock = threading.Lock()

    def send(_self, content, buffers=None):
        with lock:
            sent.append((content, buffers))

    monkeypatch.setattr(LiveView, "send", send)
    return sent


def until(is_so, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not (found := is_so()):
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)
    return found


def told(page, kind):
    return [content for content, _ in list(page) if content["type"] == kind]


@pytest.mark.parametrize("kind", [Explorer, Dashboard])
def test_the_code_is_small_and_asks_nobody_else(kind):
    code = kind._esm
    assert len(code.encode()) < 30_000
    links = set(re.findall(r"https?://[^\"'` ]+", code))
    assert links <= {"http://www.w3.org/2000/svg"}, "a name, which nobody fetches"
    assert not re.search(r"\bimport\b|\bfetch\(|\beval\(", code)


class TestExplorer:
    @pytest.fixture
    def found(self):
        return explore(
            [[entry("d", Kind.DIR), entry("d/a\nb", size=7, offset=512),
              entry("d/link", Kind.HARDLINK, link="d/a\nb"),
              entry("s", Kind.SYMLINK, link="d\x1b")],
             [entry("d/a\nb", Kind.WHITEOUT), entry("d/link", Kind.WHITEOUT)]],
            [("ADD x", True), ("RUN rm", True)],
        )  # fmt: skip

    def test_the_files_go_to_a_page_that_asks(self, page, found):
        view = Explorer(found)
        assert not page
        view.hear({"type": "ready"})
        view.hear({"type": "ready"})
        (_, [first]), (_, [second]) = page
        assert first == second, "a page that is opened again gets the same"
        data = json.loads(zlib.decompress(first, 31))
        assert data["names"].split("/") == ["d", r"a\nb", "link", "s"]
        assert (data["depths"], data["kinds"]) == ([0, 1, 1, 0], "dffl")
        assert data["links"] == {"3": r"d\x1b"}
        assert data["waste"] == [[1, 7, 0, 1]]
        assert data["pairs"] == [[0, 1, 1, 7]]
        assert [data["touches"][each] for each in data["touched"]] == [
            [[0, "A"]], [[0, "A"], [1, "D"]], [[0, "A"], [1, "D"]], [[0, "A"]]
        ]  # fmt: skip

    def test_they_are_not_in_what_may_be_saved(self, page, found):
        view = Explorer(found)
        view.hear({"type": "ready"})
        state = view.get_state()
        del state["_esm"]
        assert len(json.dumps(state, default=str)) < 1000

    def test_the_twin_has_the_mark(self, page, found):
        view = Explorer(found)
        assert view.mark("<p>twin</p>") == f'<div data-ocimagic="{view.key}"><p>twin</p></div>'
        assert Explorer(found).key != view.key


@pytest.fixture
def box(shared):
    made = shared.containers.run("busybox", ["sh", "-c", LOUD], detach=True, network="none")
    yield made
    for each in shared.containers.list(all=True):
        shared.containers.remove(each.container_id, force=True)


@pytest.fixture
def board(shared, page, box):
    before = len(os.listdir("/proc/self/fd"))
    shown = []
    made = Dashboard(
        shared.containers,
        every_s=0.2,
        show_all=False,
        way="",
        on_overview=shown.append,
        on_end=lambda: made.close(),  # noqa: PLW0108  it is not there yet
    )
    made.shown = shown
    made.start()
    yield made
    made.close()
    assert not [each for each in threading.enumerate() if re.match("dashboard|logs-", each.name)]
    assert len(os.listdir("/proc/self/fd")) <= before


def row(page):
    states = told(page, "state")
    return states[-1]["rows"][0] if states and states[-1]["rows"] else {}


class TestDashboard:
    def test_rows_are_pushed_with_figures(self, board, page, box):
        until(lambda: row(page).get("memory") and row(page)["status"] == "running")
        assert row(page)["name"] == box.name
        assert until(lambda: board.shown)[-1].containers

    def test_a_button_does_it_and_says_so(self, board, page, box):
        until(lambda: row(page))
        for ask, (verb, status) in enumerate(
            [("stop", "exited"), ("start", "running"), ("restart", "running")]
        ):
            board.hear({"type": "do", "verb": verb, "id": box.container_id, "ask": ask})
            assert {"type": "heard", "ask": ask} in told(page, "heard"), "at once"
            done = until(lambda ask=ask: [e for e in told(page, "done") if e["ask"] == ask])
            assert done[0]["error"] == ""
            until(lambda status=status: row(page).get("status") == status)
        board.hear({"type": "do", "verb": "remove", "id": box.container_id, "ask": 9})
        until(lambda: told(page, "state")[-1]["rows"] == [])

    def test_what_cannot_be_done_is_said_in_words(self, board, page, box):
        until(lambda: row(page))
        board.hear({"type": "do", "verb": "unpause", "id": box.container_id, "ask": 1})
        [done] = until(lambda: told(page, "done"))
        assert "is not paused" in done["error"]
        board.hear({"type": "do", "verb": "remove", "id": "nowhere", "ask": 2})
        until(lambda: "no such container" in told(page, "done")[-1]["error"].lower())
        board.hear({"type": "do", "verb": "__class__", "id": box.container_id, "ask": 3})
        until(lambda: "no button" in told(page, "done")[-1]["error"])

    def test_two_buttons_at_once_are_one(self, shared, board, page, box, monkeypatch):
        held, goes_on = threading.Event(), threading.Event()

        def slow(_name):
            held.set()
            goes_on.wait(10)

        monkeypatch.setattr(shared.containers, "stop", slow)
        board.hear({"type": "do", "verb": "stop", "id": box.container_id, "ask": 1})
        assert held.wait(10)
        board.hear({"type": "do", "verb": "restart", "id": box.container_id, "ask": 2})
        [done] = until(lambda: told(page, "done"))
        assert (done["ask"], done["error"]) == (2, "something else is done with it already")
        goes_on.set()
        until(lambda: len(told(page, "done")) == 2)

    def test_logs_follow_and_go_on_after_a_restart(self, shared, board, page, box):
        board.hear({"type": "logs", "id": box.container_id, "follow": True, "ask": 1})

        def lines():
            return [line for each in told(page, "log") for line in each["lines"]]

        until(lambda: "no 3" in lines())
        assert told(page, "log")[0]["is_first"]
        assert not [line for line in lines() if "\x1b" in line]
        shared.containers.stop(box.name)
        until(lambda: row(page).get("status") == Status.EXITED.value)
        before = len(lines())
        shared.containers.start(box.name)
        until(lambda: "no 1" in lines()[before:])
        assert lines().count("no 2") <= 2, "no line of the first run comes again"
        board.hear({"type": "logs", "id": box.container_id, "follow": False, "ask": 2})
        until(lambda: not [e for e in threading.enumerate() if e.name.startswith("logs-")])

    def test_a_page_that_is_opened_again_gets_the_past(self, board, page, box):
        until(lambda: len({each["rows"][0]["sampled"] for each in told(page, "state")}) > 4)
        board.hear({"type": "ready"})
        [past] = told(page, "samples")
        assert 3 < len(past["samples"][box.container_id]) <= SAMPLES

    def test_nothing_is_sent_after_the_end(self, board, page, box):
        until(lambda: row(page))
        board.hear({"type": "close", "id": "", "ask": 1})
        sent = len(page)
        board.hear({"type": "ready"})
        board.hear({"type": "logs", "id": box.container_id, "follow": True, "ask": 1})
        time.sleep(0.5)
        assert len(page) == sent


class TestFollow:
    """With a log that nobody could write so fast."""

    class Containers:
        def __init__(self, *records):
            self.records = records

        def logs(self, _name, **_options):
            yield from (("2026-03-21T12:00:00.000000001Z", "stdout", each) for each in self.records)

    def lines(self, *records):
        follow = Follow(self.Containers(*records), "x", lambda: None)
        follow.start()
        follow.join(10)
        return follow.take()

    def test_too_many_lines_leave_the_last(self):
        lines, left_out, _ = self.lines(b"".join(b"%d\n" % at for at in range(KEPT + 50)), b"end\n")
        assert (len(lines), lines[-1], left_out) == (KEPT, "end", 51)

    def test_a_line_in_pieces_is_one(self):
        assert self.lines(b"be", b"gin\nen", b"d")[0] == ["begin", "end"]

    def test_a_line_without_an_end_is_cut(self):
        lines, _, _ = self.lines(*[b"x" * 1000] * 50)
        assert max(map(len, lines)) <= 4000

    def test_escapes_and_hidden_characters_are_out(self):
        assert self.lines(b"\x1b[1mbold\x1b[0m\r\n50%\r100%\n", "\u202ex\n".encode())[0] == [
            "bold", "100%", r"\u202ex"
        ]  # fmt: skip
