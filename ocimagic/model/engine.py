"""The engine as its callers see it: the same verbs in-process and, later, over a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Protocol

from ocimagic.model.event import OnEvent, ignore

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ocimagic.errors import OcimagicError
    from ocimagic.model.accounts import Accounts
    from ocimagic.model.archive import Adoptable, Adopted, ArchiveFormat, Imported, Loaded, Saved
    from ocimagic.model.built import BuildChecked, BuildResult
    from ocimagic.model.containers import ContainersAPI
    from ocimagic.model.difference import ImageDiff
    from ocimagic.model.distribution import (
        CopyResult,
        ImageTree,
        ListPushed,
        ManifestDetails,
        ManifestDocument,
        ManifestList,
        PlatformChange,
        ReferrerReport,
        RegistryListing,
        SearchHit,
    )
    from ocimagic.model.explanation import Explanation, HeardRequest
    from ocimagic.model.explored import Explored
    from ocimagic.model.isolation import Diagnosis
    from ocimagic.model.networks import NetworksAPI
    from ocimagic.model.options import BuildOptions
    from ocimagic.model.registry import OnRequest, RegistryAPI, RegistryLogin, RegistryOptions
    from ocimagic.model.report import (
        Bootstrapped,
        CachePruned,
        DiskUsage,
        ImagesPruned,
        SystemPruned,
        Verified,
    )
    from ocimagic.model.request import BootstrapOptions, ImportOptions
    from ocimagic.model.result import (
        HistoryLine,
        ImageDetails,
        ImageSummary,
        LayerReport,
        LoggedIn,
        LoggedOut,
        PullResult,
        PushResult,
        Removed,
        SystemInfo,
    )
    from ocimagic.model.system_event import SystemEvent
    from ocimagic.model.volumes import VolumesAPI
    from ocimagic.spec.platform import Platform


class ImagesAPI(Protocol):
    """Verbs on images; ``name`` is a reference or an image ID, whole or its first digits."""

    def pull(
        self,
        reference: str,
        *,
        platform: Platform | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> PullResult:
        """Fetch an image from its registry, verify and unpack it."""
        ...

    def pull_all(
        self,
        name: str,
        *,
        platform: Platform | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> tuple[PullResult, ...]:
        """Pull every tag of a repository."""
        ...

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
        """Bring an image to the registry that its name begins with; one result per tag."""
        ...

    def copy(
        self,
        source: str,
        target: str,
        *,
        all: bool = False,  # noqa: A002  skopeo's word
        platform: Platform | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> CopyResult:
        """Copy an image from registry to registry, past the store; digests stay."""
        ...

    def list_registry(self, name: str) -> RegistryListing:
        """List the repositories of a registry, or the tags of a repository."""
        ...

    def search(
        self, term: str, *, limit: int = ..., cancelled: threading.Event | None = None
    ) -> tuple[SearchHit, ...]:
        """Search Docker Hub, or the registry that a term begins with, for images."""
        ...

    def referrers(
        self, name: str, *, artifact_type: str = "", platform: Platform | None = None
    ) -> ReferrerReport:
        """List what a registry has about an image."""
        ...

    def login(self, registry: str, username: str, password: str, *, keep: bool = True) -> LoggedIn:
        """Log in to a registry, and keep the login where docker keeps it."""
        ...

    def with_logins(self, logins: Mapping[str, RegistryLogin]) -> ImagesAPI:
        """Return the same verbs with other logins, by registry; nothing is kept of them."""
        ...

    def logout(self, registry: str) -> LoggedOut:
        """Forget the login for a registry."""
        ...

    def list(self, name: str | None = None, *, all: bool = False) -> tuple[ImageSummary, ...]:  # noqa: A002
        """List images, newest first; ``name`` keeps one repository or reference."""
        ...

    def trees(self) -> tuple[ImageTree, ...]:
        """Return what each name points at, with all platforms that it names."""
        ...

    def inspect(self, name: str) -> ImageDetails:
        """Return everything known of one image."""
        ...

    def history(self, name: str) -> tuple[HistoryLine, ...]:
        """Return how an image was made, newest step first."""
        ...

    def layers(self, *names: str) -> LayerReport:
        """Compare the layers of one or more images."""
        ...

    def waste(self, name: str) -> Accounts:
        """Say what each layer of an image adds, changes, deletes, and whose bytes it wastes."""
        ...

    def explore(self, name: str) -> Explored:
        """Say of each file of an image which layers did what to it, and what bytes that wastes."""
        ...

    def diff(self, first: str, second: str) -> ImageDiff:
        """Say why two images are not the same, down to the file and its attribute."""
        ...

    def verify(
        self,
        *names: str,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> Verified:
        """Recheck every byte of images, all of them if none is named."""
        ...

    def tag(self, source: str, target: str) -> None:
        """Give an image one more name."""
        ...

    def remove(self, *names: str, force: bool = False) -> Removed:
        """Take names away, and images that have none left."""
        ...

    def build(
        self,
        options: BuildOptions,
        *,
        stdin: int | bytes | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> BuildResult:
        """Build an image from a Dockerfile."""
        ...

    def check(
        self,
        options: BuildOptions,
        *,
        stdin: int | bytes | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> BuildChecked:
        """Look in a Dockerfile for what is probably not meant."""
        ...

    def bootstrap(
        self,
        options: BootstrapOptions | str,
        *,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> Bootstrapped:
        """Make a base image from the packages of a Debian mirror."""
        ...

    def save(
        self,
        names: Sequence[str],
        write: Callable[[bytes], object],
        *,
        format: ArchiveFormat = "docker",  # noqa: A002
        cancelled: threading.Event | None = None,
    ) -> Saved:
        """Write images as one tar."""
        ...

    def load(
        self,
        source: str | int | bytes | BinaryIO,
        *,
        platform: Platform | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> Loaded:
        """Load all images of an archive, or none."""
        ...

    def import_(
        self,
        source: str | int | bytes | BinaryIO,
        options: ImportOptions | None = None,
        *,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> Imported:
        """Make an image of one layer: the tar of a root."""
        ...

    def adoptable(
        self, source: str | None = None, *, cancelled: threading.Event | None = None
    ) -> Adoptable:
        """List the images that a dockerd or podman has."""
        ...

    def adopt(
        self,
        names: Sequence[str] = (),
        *,
        source: str | None = None,
        all: bool = False,  # noqa: A002  docker's word
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> Adopted:
        """Bring images of a dockerd or podman here, all of them or none."""
        ...


class ManifestsAPI(Protocol):
    """Verbs on manifests and on lists of them; names are references."""

    def inspect(
        self, name: str, *, within: str | None = None, on_event: OnEvent = ignore
    ) -> ManifestDocument:
        """Return a manifest or an index as it is."""
        ...

    def details(
        self, name: str, *, within: str | None = None, on_event: OnEvent = ignore
    ) -> ManifestDetails:
        """Return a manifest, or each one that an index names, with its platform."""
        ...

    def create(self, name: str, images: Sequence[str], *, amend: bool = False) -> ManifestList:
        """Begin a list of images for several platforms, or add to one."""
        ...

    def annotate(self, name: str, image: str, change: PlatformChange) -> ManifestList:
        """Say which platform an image of a list is for."""
        ...

    def push(
        self,
        name: str,
        *,
        purge: bool = False,
        compression: str = "gzip",
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> ListPushed:
        """Bring the images of a list to its registry, then the list as an index."""
        ...

    def remove(self, *names: str) -> tuple[str, ...]:
        """Take lists away that were made here; returns their full names."""
        ...


class DiskAPI(Protocol):
    """Verbs on what is on disk."""

    def usage(self) -> DiskUsage:
        """Add up what images, containers and the build cache take."""
        ...

    def prune_images(
        self,
        *,
        all: bool = False,  # noqa: A002  docker's word
        keep: Callable[[ImageSummary], bool] = ...,
    ) -> ImagesPruned:
        """Take images away that nobody needs."""
        ...

    def prune_cache(self) -> CachePruned:
        """Forget all build steps."""
        ...

    def prune(self, *, all: bool = False, volumes: bool = False) -> SystemPruned:  # noqa: A002
        """Take stopped containers, unused images, the build cache and perhaps volumes away."""
        ...


class SystemAPI(Protocol):
    """Verbs on the engine itself."""

    @property
    def disk(self) -> DiskAPI:
        """Return the verbs on what is on disk."""
        ...

    def events(
        self,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        conditions: Iterable[str] = (),
        cancelled: threading.Event | None = None,
    ) -> Iterator[SystemEvent]:
        """Yield what happened since a time, and what happens until another."""
        ...

    def info(self) -> SystemInfo:
        """Return what this machine and this version can do."""
        ...

    def diagnose(self) -> Diagnosis:
        """Try what containers need and say what would give more."""
        ...

    def serve_registry(
        self, options: RegistryOptions | None = None, *, on_request: OnRequest | None = None
    ) -> RegistryAPI:
        """Serve a registry that can be pushed to, until it or this engine is closed."""
        ...

    def registries(self) -> tuple[RegistryAPI, ...]:
        """Return the registries that are served now."""
        ...

    def add_registry_user(self, name: str, password: str, *, htpasswd: str | None = None) -> str:
        """Write a user for a registry into a file of users; return which file."""
        ...


class ExplainerAPI(Protocol):
    """What happened when a command was given."""

    def explain(self, name: str = "last", *, line: str = "", newest: bool = False) -> Explanation:
        """Tell how a container began, or how an image was pulled or built."""
        ...

    def hear(self, container_id: str, request: HeardRequest) -> None:
        """Keep a request that a client sent about a container."""
        ...

    def explain_failure(self, line: str, failure: OcimagicError) -> Explanation:
        """Tell how far a command came that failed just now."""
        ...


class EngineAPI(Protocol):
    """One engine over one data root."""

    @property
    def explainer(self) -> ExplainerAPI:
        """Return who tells what happened."""
        ...

    @property
    def images(self) -> ImagesAPI:
        """Return the verbs on images."""
        ...

    @property
    def manifests(self) -> ManifestsAPI:
        """Return the verbs on manifests."""
        ...

    @property
    def containers(self) -> ContainersAPI:
        """Return the verbs on containers."""
        ...

    @property
    def networks(self) -> NetworksAPI:
        """Return the verbs on networks."""
        ...

    @property
    def volumes(self) -> VolumesAPI:
        """Return the verbs on volumes."""
        ...

    @property
    def system(self) -> SystemAPI:
        """Return the verbs on the engine."""
        ...

    def close(self) -> None:
        """Let go of the launcher and the database; containers stay."""
        ...


def split_command(text: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return a command as a tuple; a text is one word, as in exec form."""
    if text is None:
        return ()
    return (text,) if isinstance(text, str) else tuple(text)
