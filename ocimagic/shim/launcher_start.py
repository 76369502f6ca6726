"""How a launcher begins: a bare Python that finds ocimagic where the engine found it."""

from __future__ import annotations

START = """
import sys
sys.path[:0] = sys.argv[2:]
from ocimagic.shim.launcher import main
main()
"""
