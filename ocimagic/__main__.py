"""``python -m ocimagic`` and the ``ocimagic`` command."""

from __future__ import annotations

import sys


def main() -> int:
    """Run one command line and return its exit code."""
    from ocimagic.cli.app import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
