"""Between the local image repository and the registries: pull, push, login, logout."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ocimagic.errors import ImageNotFound, InvalidReference, PlatformNotFound
from ocimagic.layers.compress import Compression
from ocimagic.model.event import Notice, OnEvent, ignore
from ocimagic.model.options import PullPolicy
from ocimagic.model.result import LoggedIn, LoggedOut, PullResult, PullsLeft, PushResult
from ocimagic.spec.reference import Reference
from ocimagic.store.images import looks_like_id
from ocimagic.transfer.pull import Pulled, pull

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ocimagic.model.options import RunOptions
    from ocimagic.registry.client import RegistryClient
    from ocimagic.registry.credentials import Credentials, Login
    from ocimagic.registry.settings import RegistrySettings
    from ocimagic.registry.transport import Transport
    from ocimagic.spec.digest import Digest
    from ocimagic.spec.platform import Platform
    from ocimagic.store.images import StoredImage
    from ocimagic.store.nameless import Part
    from ocimagic.store.store import Store
    from ocimagic.transfer.unpack import Unpacker


class Exchange:
    """Verbs that talk to a registry."""

    def __init__(self, store: Store, unpacker: Unpacker, environment: Mapping[str, str]) -> None:
        self._store = store
        self._unpacker = unpacker
        self._environment = environment
        self._client: RegistryClient | None = None

    def pull(
        self,
        reference: str,
        *,
        platform: Platform | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> PullResult:
        """Fetch an image from its registry, verify and unpack it.

        Raises:
            InvalidReference: not a name.
            ImageNotFound, Unauthorized, RateLimited, RegistryError: what the registry said.
            PlatformNotFound, ContentError, InvalidDocument: it cannot be used; the store is
                as before.
        """
        return self._pulled(Reference.parse(reference), platform, on_event, cancelled)

    def pull_all(
        self,
        name: str,
        *,
        platform: Platform | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> tuple[PullResult, ...]:
        """Pull every tag of a repository; those that are for other platforms only are passed over.

        Returns:
            One result per tag, in the registry's order.

        Raises:
            InvalidReference: not a repository's name, or one with a tag or a digest.
            PlatformNotFound: none of the tags is for the platform.
            ImageNotFound: no such repository, or one without tags; see ``pull`` for the rest.
        """
        reference = Reference.parse(name)
        if reference.digest or name.rpartition("/")[2].count(":"):
            raise InvalidReference("all tags are wanted, so the name can have none", where=name)
        tags = self.registry_client().tags(reference)
        if not tags:
            raise ImageNotFound(f"{reference.familiar_name} has no tags")
        done: list[PullResult] = []
        missing: PlatformNotFound | None = None
        for tag in tags:
            try:
                wanted = Reference.parse(f"{reference.name}:{tag}")
                done.append(self._pulled(wanted, platform, on_event, cancelled))
            except PlatformNotFound as err:
                missing = err
                on_event(Notice(f"{reference.familiar_name}:{tag} passed over: {err.what}"))
        if missing and not done:
            raise missing
        return tuple(done)

    def _pulled(
        self,
        parsed: Reference,
        platform: Platform | None,
        on_event: OnEvent,
        cancelled: threading.Event | None,
    ) -> PullResult:
        began = time.monotonic()
        done = self._pull(parsed, platform, on_event, cancelled)
        limit = self.registry_client().rate_limit(done.registry)
        return PullResult(
            reference=str(parsed),
            image_id=done.image.image_id,
            digest=done.target,
            up_to_date=done.up_to_date,
            downloaded_bytes=done.downloaded_bytes,
            layers=len(done.image.manifest.layers),
            size_bytes=self._size(done.image),
            seconds=time.monotonic() - began,
            pulls_left=PullsLeft(
                left=limit.remaining,
                limit=limit.limit,
                window_s=limit.window_s,
                is_anonymous=limit.is_anonymous,
            )
            if limit
            else None,
        )

    def _pull(
        self,
        reference: Reference,
        platform: Platform | None,
        on_event: OnEvent,
        cancelled: threading.Event | None = None,
    ) -> Pulled:
        return pull(
            self._store,
            self._unpacker,
            self.registry_client(),
            reference,
            platform=platform,
            on_event=on_event,
            cancelled=cancelled,
        )

    def _settings(self) -> RegistrySettings:
        from ocimagic.registry.settings import RegistrySettings

        return RegistrySettings.read(self._home(), self._environment)

    def _transport(self, settings: RegistrySettings) -> Transport:
        from ocimagic.registry.transport import Transport

        return Transport(
            insecure=settings.insecure,
            env=self._environment,
            certificates=settings.certificates,
        )

    def _credentials(self, explicit: Mapping[str, Login] | None = None) -> Credentials:
        from ocimagic.registry.credentials import Credentials

        return Credentials(self._home(), self._environment, explicit=explicit)

    def _home(self) -> Path:
        from pathlib import Path

        return Path(self._environment.get("HOME") or Path.home())

    def obtain(self, options: RunOptions, on_event: OnEvent) -> StoredImage:
        """Return the image to run: from the store, or pulled as the options say."""
        if options.pull is not PullPolicy.ALWAYS:
            try:
                return self._local(options)
            except ImageNotFound:
                if options.pull is PullPolicy.NEVER or looks_like_id(options.image):
                    raise
        reference = Reference.parse(options.image)
        if options.pull is PullPolicy.MISSING:
            on_event(Notice(f"unable to find image '{reference.familiar}' locally: pulling it"))
        return self._pull(reference, options.platform, on_event).image

    def _local(self, options: RunOptions) -> StoredImage:
        """Return the image to run that is here.

        Raises:
            ImageNotFound: there is none, or none for the platform that was asked for.
        """
        images = self._store.images
        if options.platform is None:
            return images.find(options.image)
        found = images.of_platform(options.image, options.platform)
        if found is None:
            there = images.find(options.image).config.platform
            raise ImageNotFound(
                f"no such image: {options.image} for {options.platform}",
                why=f"the one that is here is for {there}",
                hint=f"%image_pull --platform {options.platform} {options.image}",
            )
        return found

    def push(
        self,
        name: str,
        *,
        all_tags: bool = False,
        platform: Platform | None = None,
        compression: str = "gzip",
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> tuple[PushResult, ...]:
        """Bring an image to the registry that its name begins with.

        Args:
            name: a reference; its tag is what the image gets there.  Of a name for several
                platforms all that are here go, and the index that names them; ``on_event``
                hears of those that are missing.
            all_tags: push every tag that the repository has here; ``name`` has none then.
            platform: push the image for this one alone, under the name.
            compression: ``gzip`` or ``zstd``, for layers that were built here.
            on_event: is told how far it is.
            cancelled: stops it when set.

        Returns:
            One result per tag.

        Raises:
            InvalidReference: not a name, or one with a digest.
            ImageNotFound: nothing here has that name, or the registry has no such repository.
            PlatformNotFound: the name has nothing here for the platform.
            Unauthorized, RateLimited, RegistryError: what the registry said.
        """
        reference = Reference.parse(name)
        if reference.digest:
            raise InvalidReference(
                "cannot push a digest reference", hint="name a tag: what follows @ is left out"
            )
        wanted = self._tags(reference) if all_tags else [reference.tagged()]
        kind = Compression(compression)
        return tuple(self._push(each, platform, kind, on_event, cancelled) for each in wanted)

    def _tags(self, reference: Reference) -> list[Reference]:
        found = [
            each.reference
            for each in self._store.images.names()
            if each.reference.name == reference.name and each.reference.tag
        ]
        if not found:
            raise ImageNotFound(
                f"an image does not exist locally with the tag: {reference.familiar_name}",
                hint="%image_ls shows what there is",
            )
        return found

    def _push(
        self,
        reference: Reference,
        platform: Platform | None,
        compression: Compression,
        on_event: OnEvent,
        cancelled: threading.Event | None,
    ) -> PushResult:
        from ocimagic.transfer.assemble import push_part
        from ocimagic.transfer.push import push

        began = time.monotonic()
        try:
            image = self._store.images.find(str(reference))
        except ImageNotFound as err:
            raise ImageNotFound(
                f"an image does not exist locally with the tag: {reference.familiar_name}",
                why=f"nothing here is called {reference.familiar}",
                hint=f"give it that name first: %image_tag IMAGE {reference.familiar}",
            ) from err
        if platform is not None:
            image = self._for_platform(reference, platform)
        else:
            self._tell_missing(reference, image, on_event)
            if len(parts := self._store.images.parts(reference)) > 1:
                return self._push_index(reference, parts, compression, on_event, cancelled)
        send = push if platform is None else push_part
        done = send(
            self._store,
            self.registry_client(),
            image,
            reference,
            compression=compression,
            on_event=on_event,
            cancelled=cancelled,
        )
        return PushResult(
            reference=str(reference),
            digest=done.manifest.digest,
            manifest_bytes=done.manifest.size,
            layers=len(image.manifest.layers),
            there=done.there,
            mounted=done.mounted,
            sent_bytes=done.sent_bytes,
            seconds=time.monotonic() - began,
        )

    def _for_platform(self, reference: Reference, platform: Platform) -> StoredImage:
        images = self._store.images
        if found := images.of_platform(str(reference), platform):
            return found
        here = {str(each) for each in self._platforms(reference)}
        raise PlatformNotFound(
            f"nothing here of {reference.familiar} is for {platform}",
            why=f"here is {', '.join(sorted(here))}",
            hint=f"%image_pull --platform {platform} {reference.familiar}",
        )

    def _platforms(self, reference: Reference) -> list[Platform]:
        """Return what the images are for that a name has here."""
        images, name = self._store.images, self._store.images.name(reference)
        known = {part.manifest: part.platform for part in images.parts(reference)}
        if name and not known:
            known = {name.manifest: None}
        return [its or images.documents(each)[1].platform for each, its in known.items()]

    def _tell_missing(self, reference: Reference, image: StoredImage, on_event: OnEvent) -> None:
        """Say which platforms of an index are not here, and so are not pushed."""
        missing = self._store.images.missing(reference)
        if not missing:
            return
        here = {each.canonical for each in self._platforms(reference)} | {
            image.config.platform.canonical
        }
        left = [str(each) for each in missing if each.canonical not in here]
        if left:
            name = reference.familiar
            on_event(
                Notice(
                    f"{name} is pushed without {', '.join(left)}: its index names them, and they "
                    f"are not here; %image_pull --platform brings one, and --platform pushes one"
                )
            )

    def _push_index(
        self,
        reference: Reference,
        parts: Sequence[Part],
        compression: Compression,
        on_event: OnEvent,
        cancelled: threading.Event | None,
    ) -> PushResult:
        """Push all images that a name has for its platforms, then their index under the name."""
        from ocimagic.transfer.assemble import push_index

        began = time.monotonic()
        done = push_index(
            self._store,
            self.registry_client(),
            parts,
            reference,
            compression=compression,
            on_event=on_event,
            cancelled=cancelled,
        )
        return PushResult(
            reference=str(reference),
            digest=done.index.digest,
            manifest_bytes=len(done.index.raw),
            layers=done.layers,
            there=done.there,
            mounted=done.mounted,
            sent_bytes=done.sent_bytes,
            seconds=time.monotonic() - began,
        )

    def login(self, registry: str, username: str, password: str) -> LoggedIn:
        """Log in to a registry, and keep the login where docker keeps it.

        Args:
            registry: host, with a port if it has one; "" for Docker Hub.
            username: as the registry knows it.
            password: or a token in its place.

        Raises:
            Unauthorized: the registry refuses them; nothing is kept.
            RegistryError: unreachable, or no registry.
            StorageError: it cannot be written down.
        """
        from ocimagic.registry.client import RegistryClient
        from ocimagic.registry.credentials import Login
        from ocimagic.registry.loginfile import LoginFile, registry_host

        host = registry_host(registry)
        asked = self._credentials({host: Login(username=username, password=password)})
        settings = self._settings()
        with self._transport(settings) as transport:
            RegistryClient(transport, asked, settings=settings).check_login(host)
        kept = LoginFile.of(self._home(), self._environment).store(host, username, password)
        self._client = None  # what it knew may be refused from now on
        return LoggedIn(
            registry=host,
            username=username,
            kept_in=kept.where,
            is_readable=kept.is_readable,
        )

    def logout(self, registry: str) -> LoggedOut:
        """Forget the login for a registry; "" for Docker Hub.

        Raises:
            StorageError: the file it is in cannot be written.
        """
        from ocimagic.registry.loginfile import LoginFile, registry_host

        host = registry_host(registry)
        was_there = LoginFile.of(self._home(), self._environment).erase(host)
        self._client = None
        return LoggedOut(registry=host, was_there=was_there)

    # -- for the rest of this room ---------------------------------------------

    def registry_client(self) -> RegistryClient:
        """Return the way to the registries, with this account's logins and settings."""
        if self._client is None:
            from ocimagic.registry.client import RegistryClient
            from ocimagic.registry.cloudlogins import CloudLogins

            settings = self._settings()
            transport = self._transport(settings)
            clouds = CloudLogins(transport, self._home(), self._environment)
            self._client = RegistryClient(
                transport, self._credentials(), clouds=clouds, settings=settings
            )
        return self._client

    def web(self) -> Transport:
        """Return connections without logins, to be closed by whoever asks for them."""
        return self._transport(self._settings())

    def _layer_bytes(self, diff_id: Digest) -> int:
        record = self._store.images.layer(diff_id)
        return record.unpacked_bytes if record else 0

    def _size(self, image: StoredImage) -> int:
        return sum(self._layer_bytes(each) for each in image.config.diff_ids)
