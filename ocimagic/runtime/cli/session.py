"""What every command knows: where states are kept, and where to tell what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocimagic.runtime.state import ContainerState

if TYPE_CHECKING:
    from ocimagic.runtime.cli.journal import Journal


@dataclass(frozen=True, slots=True)
class Session:
    """One call of the command line.

    Attributes:
        root: directory of all states, absolute.
    """

    root: str
    journal: Journal

    def load(self, container_id: str) -> ContainerState:
        """Return the state of a container.

        Raises:
            ContainerNotFound: there is none.
        """
        return ContainerState.load(self.root, container_id)
