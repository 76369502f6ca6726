"""The real docker, podman and skopeo, each over a store of its own."""

import shutil
import subprocess

import pytest


class Peer:
    """A command line over a store of its own."""

    def __init__(self, *command):
        self.command = list(map(str, command))

    def __call__(self, *words, check=True):
        done = subprocess.run(
            [*self.command, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def ids(self):
        """Return the image IDs here by name."""
        lines = self("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
        return {
            name.rpartition("/")[2]: found for name, found in map(str.split, lines.splitlines())
        }


def need(*programs):
    missing = [each for each in programs if not shutil.which(each)]
    if missing:
        pytest.skip(f"{' '.join(missing)} not installed")
