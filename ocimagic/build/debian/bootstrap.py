"""An image of a Debian suite, made here from its packages; no registry is asked.

Find the suite and judge who signed it; choose the packages; fetch them; unpack those that
dpkg itself needs; let dpkg install all of them in a container of ours; write what came of it
as one layer.  The same packages give the same image ID.

Source for the order and the choice: debootstrap(8), mmdebstrap(1), variant "minbase".
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.build.bench import Bench
from ocimagic.build.cache import Made, StepCache, cache_key, now
from ocimagic.build.debian.aptconf import AptConfig
from ocimagic.build.debian.closure import minimal, needed
from ocimagic.build.debian.deb import data_tar
from ocimagic.build.debian.fetch import Fetcher, RemoteFile
from ocimagic.build.debian.flatten import Times, flatten
from ocimagic.build.debian.index import PackageIndex
from ocimagic.build.debian.root import Root
from ocimagic.build.debian.settings import (
    EMPTIED,
    ENVIRONMENT,
    PACKAGES,
    SCRIPT,
    is_dropped,
    own_files,
)
from ocimagic.build.debian.sites import architecture, sites, wanted
from ocimagic.build.debian.suite import Suite, Trust, find_suite, index_files, read_index
from ocimagic.build.layer_file import LayerFile
from ocimagic.build.places import Places
from ocimagic.build.run_step import run_layer
from ocimagic.build.state import Origin, StageState
from ocimagic.dockerfile import instructions as ins
from ocimagic.dockerfile.scope import Scope
from ocimagic.dockerfile.source import SourceRange
from ocimagic.errors import HostLacks, InvalidReference, StepFailed, SuiteNotFound
from ocimagic.model.event import Notice, StepDone, StepStarted
from ocimagic.model.options import BuildOptions
from ocimagic.model.report import Bootstrapped
from ocimagic.spec import mediatype
from ocimagic.spec.config import DEFAULT_PATH, ContainerConfig, HistoryEntry, ImageConfig
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Manifest
from ocimagic.spec.platform import host_platform
from ocimagic.spec.reference import Reference
from ocimagic.transfer.layer import Layer, chunks_of, most_unpacked

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from ocimagic.build.debian.index import Package
    from ocimagic.build.debian.sites import Site, Wanted
    from ocimagic.model.event import OnEvent
    from ocimagic.model.request import BootstrapOptions
    from ocimagic.store.images import LayerRecord
    from ocimagic.store.store import Store
    from ocimagic.transfer.unpack import Unpacker

_VERSION = 1
_NS = 1_000_000_000
_STEPS = 5
_MERGED = ("bin", "sbin", "lib")
# Whose loader is where the ABI has it, /lib64, and whose packages may not say so.
_WITH_LIB64 = frozenset({"amd64", "ppc64el", "loong64"})
_SINGLE_ID_HINT = (
    "give the account more: a line NAME:100000:65536 in /etc/subuid and /etc/subgid;\n"
    "or bootstrap as root"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is to be made, all of it known before anything is unpacked.

    Attributes:
        packages: sorted by name; ``first`` are those that are unpacked before dpkg is there.
        sites: that apt is to know in the image.
        epoch: seconds since 1970 of everything that has no time of its own.
    """

    suites: tuple[Suite, ...]
    packages: tuple[Package, ...]
    first: tuple[Package, ...]
    sites: tuple[Site, ...]
    files: Mapping[str, tuple[bytes, int]]
    epoch: int

    @property
    def key(self) -> Digest:
        """Name the layer by everything that goes into it."""
        return cache_key(
            "bootstrap",
            version=_VERSION,
            packages=[[each.name, each.sha256] for each in self.packages],
            first=[each.name for each in self.first],
            files=[[path, *map(str, self.files[path])] for path in sorted(self.files)],
            script=SCRIPT,
            environment=ENVIRONMENT,
            epoch=self.epoch,
        )


class Bootstrap:
    """Makes one image; use it once.

    Args:
        store: gets everything.
        unpacker: its launcher starts the container.
        environment: proxies and SOURCE_DATE_EPOCH.
        on_event: hears how far it is.
        cancelled: set it to stop.
        apt: of this machine; read if not given.

    Attributes:
        has_scraps: layers were made that nothing names.
    """

    def __init__(
        self,
        store: Store,
        unpacker: Unpacker,
        environment: Mapping[str, str],
        on_event: OnEvent,
        *,
        cancelled: threading.Event | None = None,
        apt: AptConfig | None = None,
    ) -> None:
        self._store = store
        self._unpacker = unpacker
        self._environment = environment
        self._on_event = on_event
        self._cancelled = cancelled
        self._apt = AptConfig.read() if apt is None else apt
        self._number = 0
        self._began = self._step_began = time.monotonic()
        self._fetched = 0
        self.has_scraps = False

    def make(self, options: BootstrapOptions) -> Bootstrapped:
        """Make the image and give it its names; the same a second time changes nothing.

        Raises:
            NotBuiltYet, InvalidOption, InvalidReference: it cannot be understood.
            SuiteNotFound, RegistryError: the mirror has it not, or cannot be reached.
            SignatureRefused, PackageRefused, ContentError: what it gives is not to be used.
            StepFailed: a package could not be configured.
            HostLacks: no container can run here, or not with more than one id.
        """
        asked = wanted(options.name)
        tags = [_tag(each) for each in options.tags]
        self._check_host()
        for problem in self._apt.problems:
            self._on_event(Notice(problem))
        with (
            self._store.in_use(),
            Fetcher(
                self._store, self._apt, self._environment, self._on_event, self._cancelled
            ) as fetcher,
        ):
            plan = self._plan(fetcher, asked, options)
            layer, cached = self._layer(fetcher, plan, use_cache=not options.no_cache)
            names = tags or _names(asked, plan)
            self._begin("name the image " + " ".join(each.familiar for each in names))
            manifest = self._publish(plan, asked, layer, names)
            self._end(cached=cached)
        return Bootstrapped(
            image_id=manifest.config.digest,
            tags=tuple(each.familiar for each in names),
            packages=tuple(f"{each.name} {each.version}" for each in plan.packages),
            mirrors=tuple(f"{each.uri} {each.suite}" for each in plan.sites),
            signed_by=tuple(dict.fromkeys(key for suite in plan.suites for key in suite.keys)),
            fetched_bytes=self._fetched,
            size_bytes=layer.unpacked_bytes,
            cached=cached,
            seconds=time.monotonic() - self._began,
        )

    def _check_host(self) -> None:
        """Look before anything is fetched.

        Raises:
            HostLacks: see ``make``.
        """
        self._unpacker.ensure(())
        if why := self._unpacker.why_owners_are_lost:
            raise HostLacks(
                "a distribution cannot be bootstrapped with one user id",
                why=f"its files belong to several, and whose they are cannot be recorded: {why}",
                hint=_SINGLE_ID_HINT,
            )

    # -- what to do --------------------------------------------------------------

    def _plan(self, fetcher: Fetcher, asked: Wanted, options: BootstrapOptions) -> _Plan:
        arch = architecture(host_platform())
        places = sites(
            asked, self._apt, mirror=options.mirror, keyrings=options.keyrings, architecture=arch
        )
        self._begin(f"look what {places[0].uri} has for {asked.suite}")
        if not options.check_signature:
            text = "the signature of the mirror is not checked: anybody may be answering for it"
            self._on_event(Notice(text))
        trust = Trust(
            now=datetime.now(UTC),
            signed=options.check_signature,
            until=options.check_valid_until and not self._apt.is_off("Acquire::Check-Valid-Until"),
            keyring=asked.distribution.package,
        )
        suites = self._suites(fetcher, places, arch, trust)
        wanted_files = [each for suite in suites for each in index_files(suite)]
        self._fetched += fetcher.files(wanted_files, f"{len(wanted_files)} package lists")
        index = PackageIndex()
        for number, suite in enumerate(suites):
            for packed, plain in suite.indexes:
                index.add(read_index(self._store, packed, plain), number)
        packages = minimal(index, options.include)
        first = needed(
            packages, [each for each in packages if each.is_essential or each.name == "dpkg"]
        )
        written = tuple(_written(suite, asked) for suite in suites)
        has_keys = any(each.name == asked.distribution.package for each in packages)
        keyring = f"/usr/share/keyrings/{asked.distribution.keyring}" if has_keys else ""
        said = self._environment.get("SOURCE_DATE_EPOCH", "")
        epoch = int(said) if said.isdecimal() else int(suites[0].release.date.timestamp())
        self._end()
        return _Plan(
            suites=suites,
            packages=packages,
            first=first,
            sites=written,
            files=own_files(written, asked.distribution.name, keyring),
            epoch=epoch,
        )

    def _suites(
        self, fetcher: Fetcher, places: Sequence[Site], arch: str, trust: Trust
    ) -> tuple[Suite, ...]:
        found = []
        for site in places:
            try:
                found.append(find_suite(fetcher, site, arch, trust))
            except SuiteNotFound:
                if not site.pocket:
                    raise
                text = f"{site.uri} has no {site.suite}: the image goes without its updates"
                self._on_event(Notice(text))
        return tuple(found)

    # -- doing it ----------------------------------------------------------------

    def _layer(self, fetcher: Fetcher, plan: _Plan, *, use_cache: bool) -> tuple[LayerRecord, bool]:
        """Make the layer, or find it made."""
        cache = StepCache(self._store, enabled=use_cache)
        made = cache.find(plan.key)
        if made and made.layer:
            return made.layer, True
        debs = [_remote(each, plan.suites) for each in plan.packages]
        self._begin(f"fetch {len(debs)} packages")
        self._fetched += fetcher.files(debs, f"{len(debs)} packages")
        self._end()
        began_ns = time.time_ns()
        self.has_scraps = True
        self._begin(f"unpack {len(plan.first)} packages that dpkg needs")
        unpacked = self._unpack(plan)
        self._end()
        self._begin(f"configure {len(debs)} packages in a container")
        configured = self._configure(plan, unpacked)
        self._end()
        # Whoever says what time it is means every file; else only those that were made now.
        newest = plan.epoch * _NS if "SOURCE_DATE_EPOCH" in self._environment else began_ns
        times = Times(min(newest, began_ns), plan.epoch * _NS)
        # Where it could be squashed the second holds the first; else it holds the changes.
        layers = [unpacked, configured] if self._unpacker.copies else [configured]
        layer = flatten(self._store, layers, times=times, drop=is_dropped, empty=EMPTIED)
        cache.remember(plan.key, Made(layer, now()))
        return layer, False

    def _unpack(self, plan: _Plan) -> LayerRecord:
        """Make a root with dpkg in it and all packages beside it."""
        with LayerFile(self._store) as file:
            root = Root(file, plan.epoch * _NS)
            arch = architecture(host_platform())
            for name in (*_MERGED, *(("lib64",) if arch in _WITH_LIB64 else ())):
                root.directory(f"usr/{name}")
                root.link(name, f"usr/{name}")
            for path, (content, mode) in plan.files.items():
                root.file(path, content, mode)
            for package in plan.first:
                with self._store.blobs.open(_digest(package)) as deb:
                    limit = most_unpacked(package.size)
                    root.package(data_tar(deb, package.name, max_bytes=limit), package.name)
            for package in plan.packages:
                with self._store.blobs.open(_digest(package)) as deb:
                    path = f"{PACKAGES}/{package.name}.deb"
                    root.big_file(path, chunks_of(deb), package.size)
            return file.finish()

    def _configure(self, plan: _Plan, unpacked: LayerRecord) -> LayerRecord:
        """Let dpkg install the packages; return what that changed."""
        environment = {
            "PATH": DEFAULT_PATH,
            **dict(ENVIRONMENT),
            "SOURCE_DATE_EPOCH": str(plan.epoch),
        }
        config = ContainerConfig(env=tuple(f"{k}={v}" for k, v in environment.items()))
        blob = Descriptor(mediatype.OCI_LAYER, unpacked.digest, unpacked.blob_bytes)
        state = StageState(
            config=config,
            scope=Scope.of_env(config.env),
            platform=host_platform(),
            origin=Origin(),
            layers=(Layer(blob, unpacked.diff_id, unpacked.diff_id),),
        )
        text = "RUN dpkg --install"
        run = ins.Run(
            source=SourceRange(start_line=1, end_line=1, text=text, logical=text),
            command=ins.ExecForm(("/bin/sh", "-c", SCRIPT)),
            network="none",
        )
        options = BuildOptions(dockerfile="")
        bench = Bench(
            store=self._store,
            unpacker=self._unpacker,
            options=options,
            cache=StepCache(self._store, enabled=False),
            places=Places(options),
            began=now(),
            on_event=self._on_event,
            cancelled=self._cancelled,
        )
        try:
            return run_layer(bench, state, run, self._number, squashed=True)
        except StepFailed as err:
            raise StepFailed(
                "the packages could not be configured",
                command_exit_code=err.command_exit_code,
                tail=err.tail,
                why=err.why or f"dpkg ended with exit code {err.command_exit_code}",
                hint="its last lines say why; the packages that were fetched are kept",
            ) from err

    def _publish(
        self, plan: _Plan, asked: Wanted, layer: LayerRecord, names: Sequence[Reference]
    ) -> Manifest:
        created = datetime.fromtimestamp(plan.epoch, UTC)
        said = _annotations(plan, asked, created)
        has_bash = any(each.name == "bash" for each in plan.packages)
        cmd = ("bash",) if has_bash else ("sh",)
        command = f"ocimagic image bootstrap {asked.distribution.name}:{plan.sites[0].suite}"
        config = ImageConfig(
            platform=host_platform(),
            created=created,
            config=ContainerConfig(env=(f"PATH={DEFAULT_PATH}",), cmd=cmd, labels=said),
            diff_ids=(layer.diff_id,),
            history=(
                HistoryEntry(created=created, created_by=command),
                HistoryEntry(
                    created=created, created_by=f"CMD {json.dumps(cmd)}", empty_layer=True
                ),
            ),
        ).encoded()
        manifest = Manifest.build(
            Descriptor(mediatype.OCI_CONFIG, config.image_id, len(config.raw)),
            [Descriptor(mediatype.OCI_LAYER, layer.digest, layer.blob_bytes)],
            said,
        )
        store = self._store
        store.blobs.put(config.raw)
        store.blobs.put(manifest.raw)
        store.sync()
        store.images.add(manifest, [(name, manifest.digest) for name in names])
        store.layout.publish()
        return manifest

    # -- telling -----------------------------------------------------------------

    def _begin(self, text: str) -> None:
        self._number += 1
        self._step_began = time.monotonic()
        self._on_event(StepStarted(self._number, _STEPS, "bootstrap", text, self._number))

    def _end(self, *, cached: bool = False) -> None:
        took = time.monotonic() - self._step_began
        self._on_event(StepDone(self._number, cached, took, None, 0))


def _tag(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest:
        raise InvalidReference("a tag cannot have a digest", hint="leave out what follows @")
    return reference


def _names(asked: Wanted, plan: _Plan) -> list[Reference]:
    """Return the names of an image that got none: as it was asked for; latest has two."""
    named = asked.reference.tagged()
    if named.tag != "latest":
        return [named]
    suite = plan.sites[0].suite
    return [named, replace(named, tag=suite)]


def _written(suite: Suite, asked: Wanted) -> Site:
    """Return a site as the image's own apt is to know it: "stable" would change one day."""
    codename = suite.release.codename.removesuffix(suite.site.pocket)
    if asked.suite.endswith("stable") and codename and asked.suite != "unstable":
        return replace(suite.site, suite=codename + suite.site.pocket)
    return suite.site


def _digest(package: Package) -> Digest:
    return Digest(f"sha256:{package.sha256}")


def _remote(package: Package, suites: Sequence[Suite]) -> RemoteFile:
    url = f"{suites[package.source].site.uri}/{package.filename}"
    return RemoteFile(package.name, (url,), package.size, _digest(package))


def _annotations(plan: _Plan, asked: Wanted, created: datetime) -> dict[str, str]:
    """Say what it is.  Spec: image-spec annotations.md, "Pre-Defined Annotation Keys"."""
    release = plan.suites[0].release
    title = f"{asked.distribution.name}:{plan.sites[0].suite}"
    prefix = "org.opencontainers.image."
    said = {
        "title": title,
        "description": f"{title} of {len(plan.packages)} packages, made by ocimagic from a mirror",
        "created": created.isoformat().replace("+00:00", "Z"),
        "source": plan.sites[0].uri,
        "vendor": release.origin,
        "version": release.version,
    }
    return {prefix + key: value for key, value in said.items() if value}
