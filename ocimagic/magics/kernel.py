"""The kernel "OCI (ocimagic)": IPython's own with our extension loaded.

Its specification is ``share/jupyter/kernels/ocimagic/kernel.json``, which names this class.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Any

from ipykernel.ipkernel import IPythonKernel

_LINKS = (
    {"text": "Dockerfile reference", "url": "https://docs.docker.com/reference/dockerfile/"},
    {"text": "OCI specifications", "url": "https://specs.opencontainers.org/"},
)


class OciKernel(IPythonKernel):
    """A Python kernel in which docker's words work from the first cell on.

    What ``%load_ext ocimagic`` would print is the first line of the banner.
    """

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  ipykernel's own
        super().__init__(**kwargs)
        self.help_links = [*self.help_links, *_LINKS]
        said = io.StringIO()
        assert self.shell is not None
        with redirect_stdout(said):
            self.shell.extension_manager.load_extension("ocimagic")
        self._greeting = said.getvalue().rstrip()

    @property
    def banner(self) -> str:  # type: ignore[override]  # a property in ipykernel, too
        """Return what a console shows first."""
        return f"{self._greeting}\n{super().banner}"
