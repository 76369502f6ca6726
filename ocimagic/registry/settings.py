"""What this machine says of registries: which to trust without TLS, mirrors, certificates.

Read where docker and podman keep it, so that nobody has to say it twice: the variables
``OCIMAGIC_REGISTRY_MIRROR`` (of Docker Hub, asked before all others; several with commas),
``OCIMAGIC_INSECURE_REGISTRIES`` and ``OCIMAGIC_TRUSTED_REALMS``, docker's ``daemon.json``,
containers' ``registries.conf`` and both of their ``certs.d``.  A file that cannot be understood
is noted in ``problems`` and passed over.

Spec: dockerd's "registry-mirrors", "insecure-registries" and "Verify repository client with
certificates"; containers-registries.conf(5); containers-certs.d(5).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption
from ocimagic.registry.credentials import registry_key
from ocimagic.spec.record import dataclass, field, replace
from ocimagic.spec.reference import DEFAULT_REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ocimagic.spec.reference import Reference

INSECURE = "OCIMAGIC_INSECURE_REGISTRIES"
TRUSTED_REALMS = "OCIMAGIC_TRUSTED_REALMS"
MIRROR = "OCIMAGIC_REGISTRY_MIRROR"
_ETC = Path("/etc")
_FAULTS = (OSError, ValueError, TypeError, AttributeError, KeyError)


@dataclass(frozen=True, slots=True)
class Mirror:
    """Another place to ask for what is below a prefix.

    Attributes:
        prefix: ``host`` or ``host/path``, as references have it.
        location: what stands there instead.
        serves: ``all``, or only what is asked for by digest, or by tag.
    """

    prefix: str
    location: str
    serves: str = "all"


@dataclass(frozen=True, slots=True)
class Certificates:
    """What one registry is to be met with.

    Attributes:
        authorities: PEM files to trust besides the system's.
        clients: pairs of certificate and key that prove who we are.
    """

    authorities: tuple[Path, ...] = ()
    clients: tuple[tuple[Path, Path], ...] = ()


@dataclass(slots=True)
class RegistrySettings:
    """All of it, for one account.

    Attributes:
        insecure: ``host`` or ``host:port`` without TLS, or with a certificate of their own.
        mirrors: in the order they are to be asked.
        blocked: prefixes that are not to be asked at all.
        certificate_directories: with a directory per host in each.
        trusted_realms: hosts of token servers that may get the login of a registry on another
            host, as a self-hosted GitLab's does.
        problems: what could not be used, one sentence each.
    """

    insecure: frozenset[str] = frozenset()
    mirrors: tuple[Mirror, ...] = ()
    blocked: frozenset[str] = frozenset()
    certificate_directories: tuple[Path, ...] = ()
    trusted_realms: frozenset[str] = frozenset()
    problems: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, home: Path, env: Mapping[str, str], *, etc: Path = _ETC) -> RegistrySettings:
        """Read what there is.

        Args:
            home: of the account.
            env: its environment.
            etc: where the machine's own settings are.
        """
        config = Path(env["XDG_CONFIG_HOME"]) if env.get("XDG_CONFIG_HOME") else home / ".config"
        found = cls(
            insecure=frozenset(_hosts(env.get(INSECURE, "").split(","))),
            trusted_realms=frozenset(_hosts(env.get(TRUSTED_REALMS, "").split(","))),
            certificate_directories=(
                config / "containers/certs.d",
                etc / "containers/certs.d",
                etc / "docker/certs.d",
            ),
        )
        found._add_mirrors(env.get(MIRROR, "").split(","))
        for path in (etc / "docker/daemon.json", config / "docker/daemon.json"):
            found._try(path, found._add_daemon)
        for path in _registries_files(config, env, etc):
            found._try(path, found._add_registries)
        return found

    def places(self, reference: Reference) -> list[Reference]:
        """Return where to ask for what a reference names, in turn; its own place is the last.

        The longest prefix that fits decides.

        Raises:
            InvalidOption: it is not to be asked for at all.
        """
        name = f"{reference.registry}/{reference.repository}"
        if any(_covers(prefix, name) for prefix in self.blocked):
            raise InvalidOption(
                f"registry {reference.registry} is blocked",
                why="registries.conf of this machine says blocked = true",
            )
        fitting = [each for each in self.mirrors if _covers(each.prefix, name)]
        longest = max((len(each.prefix) for each in fitting), default=0)
        kind = "digest-only" if reference.digest else "tag-only"
        chosen = [
            each for each in fitting if len(each.prefix) == longest and each.serves in {"all", kind}
        ]
        return [*(_moved(reference, each, name) for each in chosen), reference]

    def certificates(self, host: str) -> Certificates:
        """Return what is kept for a host: ``name`` or ``name:port``."""
        authorities: list[Path] = []
        clients: list[tuple[Path, Path]] = []
        for base in self.certificate_directories:
            directory = base / host
            if directory.is_dir():
                authorities += sorted(directory.glob("*.crt"))
                pairs = ((each, each.with_suffix(".key")) for each in directory.glob("*.cert"))
                clients += sorted(pair for pair in pairs if pair[1].exists())
        return Certificates(tuple(authorities), tuple(clients))

    def _try(self, path: Path, read: Callable[[bytes], None]) -> None:
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as err:
            self.problems.append(f"{path} cannot be read: {err.strerror}")
            return
        try:
            read(content)
        except _FAULTS as err:
            self.problems.append(f"{path} cannot be understood: {err}")

    def _add_daemon(self, content: bytes) -> None:
        document = json.loads(content)
        self.insecure |= frozenset(_hosts(document.get("insecure-registries", [])))
        self._add_mirrors(document.get("registry-mirrors", []))

    def _add_mirrors(self, urls: list[str]) -> None:
        """Ask these before Docker Hub; who is named with http:// has no TLS."""
        plain = [each for each in urls if each.strip().startswith("http://")]
        self.insecure |= {each.partition("/")[0] for each in _hosts(plain)}
        self.mirrors += tuple(Mirror(DEFAULT_REGISTRY, each) for each in _hosts(urls))

    def _add_registries(self, content: bytes) -> None:
        import tomllib

        for entry in tomllib.loads(content.decode()).get("registry", []):
            location = registry_key(entry.get("location", "") or entry["prefix"])
            prefix = registry_key(entry.get("prefix", "") or location)
            if entry.get("insecure"):
                self.insecure |= {location.partition("/")[0]}
            if entry.get("blocked"):
                self.blocked |= {prefix}
            found = []
            usual = "digest-only" if entry.get("mirror-by-digest-only") else "all"
            for each in entry.get("mirror", []):
                serves = each.get("pull-from-mirror", usual)
                found.append(Mirror(prefix, registry_key(each["location"]), serves))
                if each.get("insecure"):
                    self.insecure |= {found[-1].location.partition("/")[0]}
            if location != prefix:
                found.append(Mirror(prefix, location))
            self.mirrors += tuple(found)


def _registries_files(config: Path, env: Mapping[str, str], etc: Path) -> Iterator[Path]:
    """Yield the files that count: the account's own in place of the machine's, then additions."""
    if env.get("CONTAINERS_REGISTRIES_CONF"):
        yield Path(env["CONTAINERS_REGISTRIES_CONF"])
        return
    for base in (config / "containers", etc / "containers"):
        if (base / "registries.conf").exists():
            yield base / "registries.conf"
            yield from sorted((base / "registries.conf.d").glob("*.conf"))
            return


def _hosts(texts: list[str]) -> list[str]:
    return [registry_key(text.strip()) for text in texts if text.strip()]


def _moved(reference: Reference, mirror: Mirror, name: str) -> Reference:
    """Return a reference as it is called at a mirror."""
    is_wild = mirror.prefix.startswith("*.")
    rest = name[name.index("/") :] if is_wild else name[len(mirror.prefix) :]
    host, _, path = f"{mirror.location}{rest}".partition("/")
    return replace(reference, registry=host, repository=path)


def _covers(prefix: str, name: str) -> bool:
    if prefix.startswith("*."):
        host = name.partition("/")[0]
        return host.endswith(prefix[1:])
    return name == prefix or name.startswith(f"{prefix}/")
