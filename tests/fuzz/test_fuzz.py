"""A bounded number of spoilt inputs; ``make fuzz`` goes on for ten minutes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import fuzzing


def test_what_is_whole_is_read():
    for name, pieces in fuzzing.corpus().items():
        for piece in pieces:
            fuzzing.READERS[name](piece)


def test_spoilt_input_is_refused_in_our_own_words():
    counts, finds = fuzzing.run(1, rounds=6000)
    assert sum(counts.values()) == 6000
    assert finds == {}
