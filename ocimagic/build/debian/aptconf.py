"""What this machine's apt knows: where it fetches from, through which proxy, with which login.

Spec: sources.list(5), apt.conf(5), apt-transport-http(1), apt_auth.conf(5).
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.build.debian.deb822 import stanzas
from ocimagic.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<rest>\S.*)")
_SETTING = re.compile(r'(\S+?) "(.*)";')
_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class AptSource:
    """One suite that this machine fetches packages from.

    Attributes:
        keyrings: its Signed-By: files, or one key as text; none means all that are trusted.
    """

    uri: str
    suite: str
    components: tuple[str, ...]
    keyrings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AptLogin:
    """A login for what is below ``host`` or ``host/path``."""

    scheme: str
    place: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AptConfig:
    """All of it; empty where there is no apt.

    Attributes:
        settings: of apt.conf, by name in lower case.
        problems: what could not be used, one sentence each.
    """

    sources: tuple[AptSource, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    logins: tuple[AptLogin, ...] = ()
    problems: tuple[str, ...] = ()

    @classmethod
    def read(cls, etc: Path = Path("/etc/apt")) -> AptConfig:
        """Read what there is; a file that cannot be understood is told and passed over."""
        problems: list[str] = []
        sources: list[AptSource] = []
        for path in _files(etc, "sources.list", "sources.list.d", (".list", ".sources")):
            parse = _of_sources if path.suffix == ".sources" else _of_list
            try:
                sources += parse(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, BadInput) as err:
                problems.append(f"{path} is passed over: {err}")
        logins: list[AptLogin] = []
        for path in _files(etc, "auth.conf", "auth.conf.d", (".conf",)):
            try:
                logins += _logins(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as err:
                problems.append(f"{path} is passed over: {err}")
        return cls(tuple(sources), _settings(), tuple(logins), tuple(problems))

    def setting(self, name: str) -> str:
        """Return a setting, "" for none."""
        return self.settings.get(name.lower(), "")

    def is_off(self, name: str) -> bool:
        """Say whether a setting is there and says no."""
        return self.setting(name).lower() in ("false", "no", "off", "0", "without", "disable")

    def proxy(self, scheme: str, host: str) -> str:
        """Return the proxy for a host, "" for none; ``DIRECT`` is none although others have."""
        name = f"Acquire::{scheme}::Proxy"
        return self.setting(f"{name}::{host}") or self.setting(name)

    def login(self, url: str) -> tuple[str, str] | None:
        """Return user and password for a URL: the first line that fits."""
        scheme, _, place = url.partition("://")
        for each in self.logins:
            # Without a scheme of its own a login is for TLS only, as apt has it.
            said = each.scheme == scheme if each.scheme else scheme == "https"
            rest = place.removeprefix(each.place)
            if said and rest != place and (not rest or rest[0] in "/:" or each.place[-1:] == "/"):
                return each.username, each.password
        return None


def _files(etc: Path, one: str, more: str, endings: tuple[str, ...]) -> Iterator[Path]:
    if (etc / one).is_file():
        yield etc / one
    if (etc / more).is_dir():
        yield from sorted(each for each in (etc / more).iterdir() if each.suffix in endings)


def _of_list(text: str) -> Iterator[AptSource]:
    """Read the one-line style."""
    for line in text.splitlines():
        found = _LINE.fullmatch(line.partition("#")[0].strip())
        if not found:
            continue
        options = dict(each.partition("=")[::2] for each in (found["options"] or "").split())
        suite, *components = found["rest"].split()
        if suite.endswith("/"):
            continue  # a directory without suites
        keyrings = tuple(filter(None, options.get("signed-by", "").split(",")))
        yield AptSource(found["uri"].rstrip("/"), suite, tuple(components), keyrings)


def _of_sources(text: str) -> Iterator[AptSource]:
    """Read the deb822 style."""
    for fields in stanzas(text, what="a .sources file"):
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
            continue
        signed = fields.get("signed-by", "")
        # A key in the file has its blank lines as dots.
        inline = "\n".join("" if line == "." else line for line in signed.strip().split("\n"))
        keyrings = (inline,) if "-----BEGIN" in signed else tuple(signed.split())
        components = tuple(fields.get("components", "").split())
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                if not suite.endswith("/"):
                    yield AptSource(uri.rstrip("/"), suite, components, keyrings)


def _logins(text: str) -> Iterator[AptLogin]:
    """Read netrc: ``machine HOST[/PATH] login NAME password WORD``."""
    words = iter(shlex.split(text, comments=True, posix=False))
    said: dict[str, str] = {}
    for word in words:
        if word not in ("machine", "login", "password"):
            continue
        value = next(words, "")
        if word == "machine":
            yield from _login(said)
            said = {}
        said[word] = value
    yield from _login(said)


def _login(said: Mapping[str, str]) -> Iterator[AptLogin]:
    if "machine" in said and "login" in said:
        scheme, found, place = said["machine"].rpartition("://")
        yield AptLogin(scheme if found else "", place, said["login"], said.get("password", ""))


def _settings() -> dict[str, str]:
    """Ask apt itself: its configuration is a language of its own."""
    program = shutil.which("apt-config")
    if program is None:
        return {}
    try:
        done = subprocess.run(
            [program, "dump"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    found = (_SETTING.fullmatch(line) for line in done.stdout.splitlines())
    return {each[1].lower(): each[2] for each in found if each}
