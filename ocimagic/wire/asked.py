"""Other requests of clients of docker's API: exec, update, volumes, commit, filters, logins.

Spec: Docker Engine API v1.41, ContainerExec, ContainerUpdate, VolumeCreate, ImageCommit and
"Authentication".
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption, NotBuiltYet
from ocimagic.model.request import CommitOptions, ExecOptions, UpdateOptions
from ocimagic.model.volume import VolumeOptions, check_driver_options, check_volume_driver
from ocimagic.spec.record import dataclass, field, replace
from ocimagic.wire.commit_config import changes_of
from ocimagic.wire.create import console_size, environment
from ocimagic.wire.create_host import restart
from ocimagic.wire.create_resources import resources
from ocimagic.wire.reading import Asked, asked, parsed

if TYPE_CHECKING:
    from ocimagic.wire.reading import Query

_MAX_HEADER = 1 << 20


@dataclass(frozen=True, slots=True)
class Login:
    """Who a client is to a registry: ``X-Registry-Auth``, ``X-Registry-Config``, ``/auth``.

    Attributes:
        server: the registry as the client calls it, "" for the one that is asked.
        identity_token: stands for both name and password.
        registry_token: is sent to the registry as it is.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    server: str = ""
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token or self.registry_token)


def exec_create(body: object) -> ExecOptions:
    """Read the body of ``POST /containers/{id}/exec``.

    Raises:
        InvalidOption: a value that cannot be understood, or there is no command.
    """
    given = asked(body, "exec config")
    command = given.words("Cmd") or ()
    if not command:
        raise InvalidOption("No exec command specified")
    tty, size = given.flag("Tty"), console_size(given)
    return ExecOptions(
        command=command,
        env=environment(given),
        working_dir=given.text("WorkingDir", "") or None,
        user=given.text("User", "") or None,
        interactive=given.flag("AttachStdin"),
        tty=tty,
        console_size=size if tty else None,
        detach=given.flag("Detach"),
        privileged=given.flag("Privileged"),
        detach_keys=given.text("DetachKeys", ""),
    )


def container_update(body: object) -> UpdateOptions:
    """Read the body of ``POST /containers/{id}/update``.

    Raises:
        InvalidOption: a value that cannot be understood.
        NotBuiltYet: a limit that docker has and this version has not.
    """
    given = asked(body, "update config")
    limits = resources(given)
    if given.given("PidsLimit") == 0:
        # Of a container that is there 0 takes a limit away, and null lets it stay.
        limits = replace(limits, pids_limit=-1)
    return UpdateOptions(resources=limits, restart=restart(given))


def volume_create(body: object) -> VolumeOptions:
    """Read the body of ``POST /volumes/create``.

    Raises:
        InvalidOption: a value that cannot be understood.
        NotBuiltYet: it is to be of a swarm.
    """
    given = asked(body, "volume")
    if given.child("ClusterVolumeSpec").value:
        raise NotBuiltYet(
            "cluster volumes are not built yet", why="this is an engine for one machine"
        )
    return VolumeOptions(
        name=given.text("Name", ""),
        driver=check_volume_driver(given.text("Driver", "")),
        labels=given.text_map("Labels"),
        options=check_driver_options(given.text_map("DriverOpts")),
    )


def commit(query: Query, body: object) -> tuple[str, CommitOptions]:
    """Read ``POST /commit``.

    Args:
        query: with ``container``, ``repo``, ``tag`` and docker's others.
        body: as ``json.loads`` returns it: a config, which goes for that of the container.

    Returns:
        The container, and what is asked of it.

    Raises:
        InvalidOption: a value that cannot be understood.
    """
    container, repository, tag = (query.text(name) for name in ("container", "repo", "tag"))
    if not container:
        raise InvalidOption("invalid commit: no container is named")
    if tag and not repository:
        raise InvalidOption("invalid commit: a tag without a repo")
    return container, CommitOptions(
        reference=f"{repository}:{tag}" if tag else repository,
        author=query.text("author"),
        message=query.text("comment"),
        changes=(*changes_of(asked(body, "container config")), *query.texts("changes")),
        pause=query.flag("pause", default=True),
    )


def filters(text: str) -> dict[str, tuple[str, ...]]:
    """Read ``filters`` of a query, ``{"label": {"a=b": true}}`` or ``{"label": ["a=b"]}``.

    Returns:
        Keys to their values; which there are is not checked.

    Raises:
        InvalidOption: it is neither.
    """
    if not text:
        return {}
    given = parsed(text, "filter")
    if not isinstance(given, dict):
        raise InvalidOption(f"invalid filter: {text[:200]!r} is no object")
    values = Asked({"filter": given}, "filters").child("filter")
    return {key: _filter_values(values, key) for key in given}


def _filter_values(given: Asked, key: str) -> tuple[str, ...]:
    found = given.given(key)
    if not isinstance(found, dict):
        return given.texts(key)
    # What it says of a value does not matter to docker either, as long as it is a truth.
    words = given.child(key)
    for value in found:
        words.flag(value)
    return tuple(found)


def auth(header: str) -> Login:
    """Read ``X-Registry-Auth``: JSON in base64 for URLs, with or without its padding.

    Docker's own server passes a bad one over when it pulls; that is its caller's to do.

    Raises:
        InvalidOption: it is none.
    """
    return _login(_header(header, "X-Registry-Auth"))


def registry_config(header: str) -> dict[str, Login]:
    """Read ``X-Registry-Config``: logins by registry.

    Raises:
        InvalidOption: it is none.
    """
    given = Asked({"auths": _header(header, "X-Registry-Config")}, "X-Registry-Config")
    return {name: _login(each.value, server=name) for name, each in given.objects("auths").items()}


def login(body: object) -> Login:
    """Read the body of ``POST /auth``.

    Raises:
        InvalidOption: a value that cannot be understood.
    """
    return _login(body)


def _header(text: str, what: str) -> object:
    if not text:
        return {}
    plain = text.strip().rstrip("=").replace("+", "-").replace("/", "_")
    if len(plain) > _MAX_HEADER:
        raise InvalidOption(f"invalid {what} header: it is over {_MAX_HEADER} letters")
    try:
        raw = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as err:
        raise InvalidOption(
            f"invalid {what} header: must be a valid base64url-encoded string", why=str(err)
        ) from err
    return parsed(raw, f"{what} header")


def _login(value: object, *, server: str = "") -> Login:
    given = asked(value, "login")
    username, password = given.text("username", ""), given.text("password", "")
    if not username and (both := given.text("auth", "")):
        username, password = _both(both)
    return Login(
        username=username,
        password=password,
        server=given.text("serveraddress", "") or server,
        identity_token=given.text("identitytoken", ""),
        registry_token=given.text("registrytoken", ""),
    )


def _both(text: str) -> tuple[str, str]:
    """Part a name and a password that are written as in docker's config file."""
    try:
        name, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (ValueError, binascii.Error) as err:
        raise InvalidOption("invalid login: auth is no base64 of a name and a password") from err
    return name, password.rstrip("\0")
