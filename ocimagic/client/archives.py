"""Archives of images through an API, builds, and what no API does with images.

Spec: Docker Engine API v1.41, ImageGet, ImageLoad, ImageCreate.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.client.building import build
from ocimagic.client.calling import part
from ocimagic.client.refusing import undone, untold
from ocimagic.engine.archives import pieces_of
from ocimagic.engine.pipes import Counted
from ocimagic.errors import NeighbourError
from ocimagic.model.archive import Imported, Loaded, LoadedImage, Saved
from ocimagic.model.event import OnEvent, ignore
from ocimagic.spec.digest import Digest
from ocimagic.spec.reference import Reference
from ocimagic.wire.read_image import image_details
from ocimagic.wire.read_progress import TransferReader
from ocimagic.wire.sent import auth_header

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import BinaryIO

    from ocimagic.client.calling import Caller
    from ocimagic.model.accounts import Accounts
    from ocimagic.model.archive import Adoptable, Adopted, ArchiveFormat
    from ocimagic.model.built import BuildChecked, BuildResult
    from ocimagic.model.difference import ImageDiff
    from ocimagic.model.distribution import (
        CopyResult,
        ImageTree,
        ReferrerReport,
        RegistryListing,
    )
    from ocimagic.model.explored import Explored
    from ocimagic.model.options import BuildOptions
    from ocimagic.model.registry import RegistryLogin
    from ocimagic.model.report import Bootstrapped, Verified
    from ocimagic.model.request import ImportOptions
    from ocimagic.model.result import LayerReport, LoggedOut
    from ocimagic.spec.platform import Platform

    Source = str | int | bytes | BinaryIO

_KIND = "image"


class Archives:
    """Verbs on archives, and refusals.

    Args:
        caller: asks the API.
        environment: says where logins are kept.
        logins: that win over those, by registry.
    """

    def __init__(
        self,
        caller: Caller,
        environment: Mapping[str, str],
        logins: Mapping[str, RegistryLogin] | None = None,
    ) -> None:
        self._caller = caller
        self._environment = environment
        self._logins = dict(logins or {})

    def save(
        self,
        names: Sequence[str],
        write: Callable[[bytes], object],
        *,
        format: ArchiveFormat = "docker",  # noqa: A002
        cancelled: threading.Event | None = None,
    ) -> Saved:
        """Write images as one tar, as the API has it."""
        if format != "docker":
            raise undone(f"save an image as {format}", "leave --format out")
        query = {"names": list(names)}
        with self._caller.asked(
            "GET", "/images/get", kind=_KIND, query=query, cancelled=cancelled
        ) as (connection, answer):
            counted = Counted(connection.pieces(answer))
            for piece in counted:
                write(piece)
        known = [
            image_details(self._caller.document("GET", self._at(each, "json"), kind=_KIND))
            for each in names
        ]
        return Saved(
            image_ids=tuple(dict.fromkeys(each.image_id for each in known)),
            tags=tuple(_shown(each) for each in names if not _is_id(each)),
            size_bytes=counted.total,
        )

    def load(
        self,
        source: Source,
        *,
        platform: Platform | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> Loaded:
        """Have all images of an archive loaded."""
        if platform is not None:
            raise undone("load one platform of an archive")
        reader = TransferReader("archive", "loading")
        self._streamed(
            "/images/load", {"quiet": "0"}, reader, on_event, cancelled, body=pieces_of(source)
        )
        images: dict[Digest, list[str]] = {}
        for each in reader.loaded:
            if _is_id(each):
                images.setdefault(Digest.parse(each), [])
                continue
            found = self._caller.document("GET", self._at(each, "json"), kind=_KIND)
            images.setdefault(image_details(found).image_id, []).append(_shown(each))
        return Loaded(
            images=tuple(
                LoadedImage(image_id=image_id, tags=tuple(tags))
                for image_id, tags in images.items()
            )
        )

    def import_(
        self,
        source: Source,
        options: ImportOptions | None = None,
        *,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> Imported:
        """Have an image made of the tar of a root."""
        reference = Reference.parse(options.reference) if options and options.reference else None
        query: dict[str, str | list[str]] = {"fromSrc": "-"}
        if options is not None:
            query |= {"message": options.message, "changes": list(options.changes)}
            query |= {"platform": str(options.platform)} if options.platform else {}
        if reference is not None:
            # In one word, as podman 4.3 wants it; docker takes both.
            query |= {"repo": f"{reference.name}:{reference.tag or 'latest'}"}
        reader = TransferReader("archive", "importing")
        self._streamed("/images/create", query, reader, on_event, cancelled, body=pieces_of(source))
        if not reader.imported:
            raise NeighbourError(f"{self._caller.address.url} does not say what was imported")
        path = self._at(reader.imported, "json")
        made = image_details(self._caller.document("GET", path, kind=_KIND))
        return Imported(
            image_id=made.image_id,
            reference=reference.familiar if reference else "",
            size_bytes=made.size_bytes,
        )

    def build(
        self,
        options: BuildOptions,
        *,
        stdin: int | bytes | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> BuildResult:
        """Have an image built from a Dockerfile."""
        return build(self._caller, options, stdin=stdin, on_event=on_event, cancelled=cancelled)

    # -- for the rest of this room -----------------------------------------------------

    def _at(self, name: str, verb: str) -> str:
        return f"/images/{part(name, slashes=True)}/{verb}"

    def _streamed(
        self,
        path: str,
        query: Mapping[str, str | Sequence[str]],
        reader: TransferReader,
        on_event: OnEvent,
        cancelled: threading.Event | None,
        *,
        body: Iterable[bytes] | None = None,
        reference: Reference | None = None,
    ) -> None:
        """Ask for what is told line by line, and pass it on."""
        headers = {"X-Registry-Auth": self._auth(reference)} if reference else {}
        with self._caller.asked(
            "POST", path, kind="pull", query=query, body=body, headers=headers, cancelled=cancelled
        ) as found:
            for line in self._caller.lines(*found, kind="pull"):
                for event in reader.events(line):
                    on_event(event)

    def _auth(self, reference: Reference) -> str:
        """Return this account's login for a registry, as docker's client sends it along."""
        from ocimagic.registry.credentials import Credentials, Login

        home = Path(self._environment.get("HOME") or os.path.expanduser("~"))
        explicit = {
            host: Login(**{key: getattr(each, key) for key in ("username", "password")})
            for host, each in self._logins.items()
        }
        known = Credentials(home, self._environment, explicit=explicit)
        found = known.lookup(reference.registry, reference.repository)
        if found is None:
            return auth_header({})
        return auth_header(
            {
                "username": found.username,
                "password": found.password,
                "identitytoken": found.identity_token,
                "registrytoken": found.registry_token,
                "serveraddress": reference.registry,
            }
        )

    # -- what an API has no word for ----------------------------------------------------

    def copy(self, source: str, target: str, **_: object) -> CopyResult:
        """Refuse."""
        raise undone(f"copy {source} to {target} past its store", "pull, tag and push it")

    def list_registry(self, name: str) -> RegistryListing:
        """Refuse."""
        raise untold(f"what the registry {name} has")

    def referrers(
        self, name: str, *, artifact_type: str = "", platform: Platform | None = None
    ) -> ReferrerReport:
        """Refuse."""
        del artifact_type, platform
        raise untold(f"what a registry has about {name}")

    def logout(self, registry: str) -> LoggedOut:
        """Refuse."""
        raise undone(f"forget a login for {registry}: it keeps none")

    def trees(self) -> tuple[ImageTree, ...]:
        """Refuse."""
        raise untold("which platforms its images have", "%image_ls")

    def layers(self, *names: str) -> LayerReport:
        """Refuse."""
        raise untold(f"the layers of {' '.join(names)}", "%image_history shows their sizes")

    def waste(self, name: str) -> Accounts:
        """Refuse."""
        raise untold(f"what the layers of {name} waste", "%image_adopt brings the image here")

    def explore(self, name: str) -> Explored:
        """Refuse."""
        raise untold(f"the files of {name}", "%image_adopt brings the image here")

    def diff(self, first: str, second: str) -> ImageDiff:
        """Refuse."""
        raise untold(f"why {first} and {second} differ", "%image_adopt brings them here")

    def verify(
        self,
        *names: str,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> Verified:
        """Refuse."""
        del names, on_event, cancelled
        raise undone("recheck the bytes of its images")

    def check(
        self,
        options: BuildOptions,
        *,
        stdin: int | bytes | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> BuildChecked:
        """Refuse."""
        del options, stdin, on_event, cancelled
        raise undone("check a Dockerfile without building it")

    def bootstrap(self, options: object, **_: object) -> Bootstrapped:
        """Refuse."""
        del options
        raise undone("make a base image of packages")

    def adoptable(
        self, source: str | None = None, *, cancelled: threading.Event | None = None
    ) -> Adoptable:
        """Refuse."""
        del source, cancelled
        raise _no_adoption()

    def adopt(self, names: Sequence[str] = (), **_: object) -> Adopted:
        """Refuse."""
        del names
        raise _no_adoption()


def _no_adoption() -> Exception:
    return undone("adopt images of another engine", "save and load them")


def _is_id(text: str) -> bool:
    return text.startswith("sha256:")


def _shown(name: str) -> str:
    return Reference.parse(name).familiar
