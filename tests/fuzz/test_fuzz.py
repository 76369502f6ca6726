"""A bounded number of spoilt inputs, half a minute of them in CI; ``make fuzz`` goes on for ten."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import fuzzing


def test_what_is_whole_is_read():
    for name, pieces in fuzzing.corpus().items():
        for piece in pieces:
            fuzzing.READERS[name](piece)


def test_spoilt_input_is_refused_in_our_own_words():
    # In CI one of the two accounts goes on for half a minute.
    is_long = os.environ.get("OCIMAGIC_FULL") == "1" and os.geteuid() == 0
    counts, finds = fuzzing.run(1, rounds=6000, seconds=30.0 if is_long else 0.0)
    assert sum(counts.values()) >= 6000
    assert finds == {}
