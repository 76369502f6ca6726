"""The engine: one object over one data root, the same from a notebook, a shell or Python."""

from ocimagic.engine.engine import Engine

__all__ = ["Engine"]
