"""The settings a user can change: ``%config OciMagic``."""

from __future__ import annotations

import os

from traitlets import Bool, Enum, Unicode
from traitlets.config import Configurable

MIRROR, OFFLINE = "OCIMAGIC_REGISTRY_MIRROR", "OCIMAGIC_OFFLINE"


class OciMagic(Configurable):
    """Settings of the ocimagic magics."""

    _proxy: str | None = None

    root = Unicode(
        "",
        help="Directory for images and containers; empty for OCIMAGIC_ROOT or the usual place. "
        "A change holds from the next command on.",
    ).tag(config=True)

    docker_host = Unicode(
        "",
        help="A Docker API that the magics ask instead of this notebook's own engine: "
        "unix://PATH, tcp://HOST:PORT, ssh://USER@HOST, or env for DOCKER_HOST. A change holds "
        "from the next command on; %docker_host looks first whether somebody answers.",
    ).tag(config=True)

    docker_certs = Unicode(
        "",
        help="Directory with ca.pem, cert.pem and key.pem, for a docker_host with TLS.",
    ).tag(config=True)

    errors = Enum(
        ("short", "full"),
        "short",
        help="short: what, why, where and what to try. full: the Python traceback above it.",
    ).tag(config=True)

    progress = Enum(
        ("auto", "html", "widget", "text", "none"),
        "auto",
        help="How pulls and builds show that they move on. auto: html in a notebook, text in a "
        "terminal. Every kind ends as the static summary.",
    ).tag(config=True)

    display = Enum(
        ("auto", "html", "text", "widget"),
        "auto",
        help="How values are shown. auto and html: HTML with its text twin. text: text only. "
        "widget: inspect results with a search box above the same HTML, while their kernel lives.",
    ).tag(config=True)

    theme = Enum(
        ("auto", "light", "dark"),
        "auto",
        help="Colours of pictures. auto: those of the page they are on. light or dark: always "
        "these, for a page that is printed or exported from a machine of the other kind.",
    ).tag(config=True)

    terminal = Enum(
        ("auto", "widget", "lines"),
        "auto",
        help="How -it is shown. widget: a terminal that goes on while other cells run. lines: a "
        "box to type line after line into. auto: the widget if it was installed.",
    ).tag(config=True)

    ports = Unicode(
        "",
        help="Where links to published ports lead: an address with {port} in it, such as "
        "/user/me/proxy/{port}/. Empty: through jupyter-server-proxy if this notebook's server "
        "has it, else to localhost.",
    ).tag(config=True)

    registry_mirror = Unicode(
        "",
        help="A registry that is asked for Docker Hub's images first, such as the one of your "
        "class: http://192.0.2.7:5000. Several with commas.",
    ).tag(config=True)

    offline = Bool(
        False,
        help="Ask no other machine: images that are here, files and registries of this machine "
        "work, all else is an error that says so.",
    ).tag(config=True)

    on_interrupt = Enum(
        ("stop", "detach", "kill"),
        "stop",
        help="What the stop button does to the container that a cell runs in the foreground. "
        "stop: it gets its stop signal and half a second. detach: it goes on, %container_attach "
        "comes back to it. kill: it ends at once, with exit code 137.",
    ).tag(config=True)

    on_kernel_exit = Enum(
        ("keep", "stop"),
        "keep",
        help="What becomes of containers that this notebook started when its kernel is shut "
        "down or restarted. stop: they are stopped. A killed kernel stops none.",
    ).tag(config=True)

    check = Bool(
        False,
        help="Raise an error when a foreground container ends with an exit code other than 0.",
    ).tag(config=True)

    def variables(self) -> dict[str, str]:
        """Return the settings that the engine knows as variables of the environment."""
        said = {MIRROR: self.registry_mirror, OFFLINE: "1" if self.offline else ""}
        return {name: value for name, value in said.items() if value}

    def way_to_ports(self) -> str:
        """Return the address with ``{port}`` that links to ports get; "" for localhost."""
        if self.ports:
            return self.ports
        if self._proxy is None:
            from ocimagic.magics.server import proxy_way

            # Asked once: a server that gets the proxy later is another one.
            self._proxy = proxy_way(os.environ)
        return self._proxy
