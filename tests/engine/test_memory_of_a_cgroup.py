"""What memory a cgroup uses, read from its files."""

import pytest

from ocimagic.engine.usage import memory_of


@pytest.mark.parametrize(
    ("controller", "used", "stat"),
    [
        ("", "memory.current", "anon 7\ninactive_file 1000\n"),
        (
            "memory",
            "memory.usage_in_bytes",
            "inactive_file 3\ntotal_cache 4\ntotal_inactive_file 1000\n",
        ),
    ],
)
def test_files_that_could_be_dropped_are_left_out(tmp_path, controller, used, stat):
    (tmp_path / used).write_text("5096\n")
    (tmp_path / "memory.stat").write_text(stat)

    assert memory_of({controller: str(tmp_path), "pids": "/elsewhere"}) == 4096


def test_nothing_is_known_where_nothing_counts(tmp_path):
    assert memory_of({}) is None
    assert memory_of({"": str(tmp_path)}) is None
    assert memory_of({"memory": str(tmp_path / "gone")}) is None
