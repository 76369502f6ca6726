"""The notebook server a kernel belongs to, and whether it leads to ports of this machine.

A browser need not be on this machine: on a JupyterHub, or through ssh, it reaches the notebook
server only.  jupyter-server-proxy lets it reach ports through that.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATIENCE_S = 1.0
_NOT_THERE = 404


class _Server(NamedTuple):
    """A notebook server.

    Attributes:
        url: where it listens; "" if that is not known here.
        base: the path that everything of it begins with.
    """

    url: str
    base: str


def proxy_way(environment: Mapping[str, str]) -> str:
    """Return the path by which the kernel's server leads to ports: ``/base/proxy/{port}/``.

    Returns:
        "" if it does not, or there is no server.
    """
    server = _server(environment)
    if server is None or not _has_proxy(server):
        return ""
    return f"{server.base.rstrip('/')}/proxy/{{port}}/"


def _server(environment: Mapping[str, str]) -> _Server | None:
    """Return the server that started this kernel, as it wrote down itself or its hub said."""
    from jupyter_core.paths import jupyter_runtime_dir

    parent = environment.get("JPY_PARENT_PID", "")
    try:
        noted = json.loads((Path(jupyter_runtime_dir()) / f"jpserver-{parent}.json").read_bytes())
        return _Server(str(noted["url"]), str(noted["base_url"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # another machine's, another account's, or none
    prefix = environment.get("JUPYTERHUB_SERVICE_PREFIX", "")
    return _Server("", prefix) if prefix else None


def _has_proxy(server: _Server) -> bool:
    """Ask the server for a page that jupyter-server-proxy has; nobody has to be logged in."""
    import urllib3

    if server.url.startswith(("http://", "https://")):
        try:
            with urllib3.PoolManager(retries=False, timeout=_PATIENCE_S) as web:
                page = f"{server.url.rstrip('/')}/server-proxy/servers-info"
                return web.request("GET", page, redirect=False).status != _NOT_THERE
        except urllib3.exceptions.HTTPError:
            pass  # its certificate is nobody's, or it is too busy
    return importlib.util.find_spec("jupyter_server_proxy") is not None
