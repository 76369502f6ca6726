"""Images that are made here: of a Dockerfile, or of a distribution's packages."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Self

from ocimagic.engine.archives import pieces_of
from ocimagic.engine.arrivals import built
from ocimagic.engine.exchange import Exchange
from ocimagic.model.event import OnEvent, ignore
from ocimagic.model.request import BootstrapOptions
from ocimagic.store import gc

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from ocimagic.build.solve import Builder
    from ocimagic.model.built import BuildChecked, BuildResult
    from ocimagic.model.options import BuildOptions
    from ocimagic.model.registry import RegistryLogin
    from ocimagic.model.report import Bootstrapped


class Making(Exchange):
    """Verbs that make images."""

    def with_logins(self, logins: Mapping[str, RegistryLogin]) -> Self:
        """Return the same verbs with other logins, by registry; builds pull with them, too."""
        other = super().with_logins(logins)
        vars(other).pop("_builder", None)  # it has this one's
        return other

    def build(
        self,
        options: BuildOptions,
        *,
        stdin: int | bytes | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> BuildResult:
        """Build an image from a Dockerfile.

        Args:
            options: what to build.
            stdin: what a context of ``-`` is, as bytes or a descriptor: a tar in any
                compression, or the text of a Dockerfile.
            on_event: hears of each step.
            cancelled: set it to stop.

        Raises:
            DockerfileError: it cannot be understood or followed, such as a COPY of what is
                not there; line and column say where.
            StepFailed: a RUN ended with a non-zero exit code.
            BuildFailed: any other reason, such as a context that cannot be read.
            NotBuiltYet: an instruction of a later version; nothing was executed.
        """
        began = time.time()
        pieces = None if stdin is None else pieces_of(stdin)
        done = self._builder.build(options, stdin=pieces, on_event=on_event, cancelled=cancelled)
        for tag in done.tags:
            self._store.note("image", "tag", str(done.image_id), {"name": tag})
        manifest = done.digest
        if manifest is None or done.platforms:
            manifest = self._store.images.find(str(done.image_id)).manifest.digest
        self._remember(done.image_id, manifest, built(done, options, began))
        return done

    def check(
        self,
        options: BuildOptions,
        *,
        stdin: int | bytes | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> BuildChecked:
        """Look in a Dockerfile for what is probably not meant; nothing is built.

        Args:
            options: as for ``build``.
            stdin: as for ``build``.
            on_event: hears of a context that is fetched for its Dockerfile.
            cancelled: set it to stop.

        Raises:
            DockerfileError: it cannot be understood; line and column say where.
            BuildFailed: there is none, or its context cannot be had.
        """
        pieces = None if stdin is None else pieces_of(stdin)
        return self._builder.check(options, stdin=pieces, on_event=on_event, cancelled=cancelled)

    @cached_property
    def _builder(self) -> Builder:
        from ocimagic.build.solve import Builder

        return Builder(
            self._store,
            self._unpacker,
            self._pull,
            self.web,
            self._environment,
            self.registry_client,
        )

    def bootstrap(
        self,
        options: BootstrapOptions | str,
        *,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> Bootstrapped:
        """Make a base image of a Debian suite from its packages, for want of a registry.

        The same packages give the same image ID.

        Args:
            options: or just ``debian:SUITE``.
            on_event: hears how far it is.
            cancelled: set it to stop.

        Raises:
            SuiteNotFound, RegistryError: the mirror has it not, or cannot be reached.
            SignatureRefused: the mirror's Release is not signed by the distribution.
            PackageRefused, ContentError: what the mirror gives is not to be used.
            StepFailed: a package could not be configured.
            HostLacks: no container can run here with the ids it needs.
        """
        from ocimagic.build.debian.bootstrap import Bootstrap

        asked = BootstrapOptions(name=options) if isinstance(options, str) else options
        work = Bootstrap(
            self._store, self._unpacker, self._environment, on_event, cancelled=cancelled
        )
        try:
            return work.make(asked)
        finally:
            self._sweep_unfinished(needed=work.has_scraps)

    def _sweep_unfinished(self, *, needed: bool) -> None:
        """Take away layers that nothing names, such as a half-made root, if nobody works."""
        if needed:
            with self._store.alone() as held:
                if held:
                    gc.sweep(self._store, self._unpacker.remove_trees)
