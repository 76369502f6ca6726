"""What every command knows: where states are kept, and where to tell what goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ocimagic.runtime.cli.journal import Journal
    from ocimagic.runtime.state import ContainerState


class Session(NamedTuple):
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
        from ocimagic.runtime.state import ContainerState

        return ContainerState.load(self.root, container_id)
