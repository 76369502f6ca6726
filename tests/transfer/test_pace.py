"""The pace of a layer, by a clock that the test moves."""

from ocimagic.transfer.pace import WINDOW_S, Pace


def test_the_window_slides():
    now = [100.0]
    pace = Pace(lambda: now[0])
    assert (pace.now(), pace.overall()) == (0.0, 0.0)
    for _ in range(20):  # a fast beginning
        now[0] += 0.5
        pace.add(1000)
    assert pace.now() == pace.overall() == 2000
    for _ in range(20):  # then slow
        now[0] += 0.5
        pace.add(10)
    assert pace.now() == 20
    assert 500 < pace.overall() < 1500
    now[0] += 50 * WINDOW_S  # then nothing
    assert pace.now() < 1
    assert 500 < pace.overall() < 1500, "what is over is over"


def test_a_moment_says_nothing():
    now = [0.0]
    pace = Pace(lambda: now[0])
    now[0] += 0.001
    pace.add(10**9)
    assert (pace.now(), pace.overall()) == (0.0, 0.0)


def test_few_marks_are_kept():
    now = [0.0]
    pace = Pace(lambda: now[0])
    for number in range(10_000):
        now[0] += 0.001
        pace.reached(number)
    assert len(pace._marks) < 40
