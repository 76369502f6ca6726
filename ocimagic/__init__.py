"""A complete OCI container engine inside a Jupyter kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocimagic.version import VERSION

__all__ = ["Engine", "__version__", "load_ipython_extension", "unload_ipython_extension"]

__version__ = VERSION

if TYPE_CHECKING:
    from ocimagic.engine import Engine


def __getattr__(name: str) -> Any:  # noqa: ANN401  a module's lazy attribute may be anything
    """Load the engine on first use, so that ``import ocimagic`` stays cheap."""
    if name == "Engine":
        from ocimagic.engine import Engine

        return Engine
    raise AttributeError(name)


def load_ipython_extension(ipython: Any) -> None:  # noqa: ANN401  IPython is untyped
    """Register the magics: what ``%load_ext ocimagic`` calls."""
    from ocimagic.magics import load

    load(ipython)


def unload_ipython_extension(ipython: Any) -> None:  # noqa: ANN401  IPython is untyped
    """Take the magics back: what ``%unload_ext ocimagic`` calls."""
    from ocimagic.magics import unload

    unload(ipython)
