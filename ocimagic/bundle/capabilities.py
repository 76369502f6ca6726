"""``--cap-add``, ``--cap-drop`` and ``--privileged``: which capabilities a container gets.

Spec: capabilities(7); the order in which the two lists count is docker's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.bundle.defaults import CAPABILITIES
from ocimagic.errors import InvalidOption
from ocimagic.spec.capability import CAPABILITY_NAMES
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

ALL = "ALL"


def resolve_capabilities(
    add: Sequence[str], drop: Sequence[str], *, privileged: bool = False
) -> tuple[str, ...]:
    """Return the capability names, in the kernel's order.

    What is both added and dropped is there, unless all are added.

    Raises:
        InvalidOption: an unknown name.
    """
    added, dropped = {_capability(each) for each in add}, {_capability(each) for each in drop}
    if privileged:
        held = set(CAPABILITY_NAMES)
    elif ALL in added:
        held = set(CAPABILITY_NAMES) - dropped
    elif ALL in dropped:
        held = added
    else:
        held = (set(CAPABILITIES) - dropped) | added
    return tuple(name for name in CAPABILITY_NAMES if name in held)


def _capability(text: str) -> str:
    name = text.upper()
    if name == ALL:
        return name
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    if name not in CAPABILITY_NAMES:
        near = nearest(name, CAPABILITY_NAMES)
        hint = f"did you mean {near}?" if near else "see capabilities(7), or ALL"
        raise InvalidOption(f"unknown capability: {text!r}", hint=hint)
    return name
