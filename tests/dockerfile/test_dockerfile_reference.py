"""What editors say of instructions is about what the parser knows, and nothing else."""

import pytest

from ocimagic.dockerfile import interpret
from ocimagic.dockerfile.parse import parse
from ocimagic.dockerfile.reference import ENTRIES


def test_every_instruction_and_every_flag_is_there():
    assert set(ENTRIES) == set(interpret._READERS)
    for keyword, entry in ENTRIES.items():
        assert set(entry.flags) == set(interpret.FLAGS.get(keyword, {})), keyword


@pytest.mark.parametrize("keyword", ENTRIES)
def test_examples_can_be_built(keyword):
    example = ENTRIES[keyword].example.replace("sha256:24454f83...", f"sha256:{'0' * 64}")
    text = example if keyword == "FROM" else f"FROM scratch\n{example}"
    stage = parse(text).stages[-1]
    shown = stage.instructions[-1].keyword if stage.instructions else "FROM"
    assert shown == ("LABEL" if keyword == "MAINTAINER" else keyword)
