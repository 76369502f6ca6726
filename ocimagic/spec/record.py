"""``dataclasses`` for modules that have to load fast.

The standard module writes and compiles Python for every class, 0.4 ms each, and loads ``inspect``
to do so: half of the time that ``ocimagic-runtime`` would take to start.  ``record_maker`` has
the same words; type checkers are shown the original.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass, field, fields, is_dataclass, replace
else:
    from ocimagic.spec.record_maker import dataclass, field, fields, is_dataclass, replace

__all__ = ["dataclass", "field", "fields", "is_dataclass", "replace"]
