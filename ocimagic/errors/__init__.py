"""Everything that can go wrong, as one tree.

Each class names a fact.  A message says what is so and where; ``why`` and ``hint`` say
the cause and what to do.  ``exit_code`` is what the shell gets, ``http_status`` what the
Docker API answers.

::

    OcimagicError                         125  500
    ├── BadInput                          125  400
    │   ├── InvalidReference  InvalidDigest  InvalidPlatform  InvalidOption
    │   ├── DriverNotFound                an option names a driver that nobody has: 404
    │   ├── InvalidDocument               a manifest, config or compose file that breaks its spec
    │   │   └── NotAnImage                or that is of something else than an image
    │   └── DockerfileError               with line, column and the line itself
    ├── NotFound                          125  404
    │   ├── ImageNotFound  ContainerNotFound  NetworkNotFound  VolumeNotFound  BlobNotFound
    │   └── SuiteNotFound (a mirror's)  PlatformNotFound (an index's)  ExecNotFound
    ├── Conflict                          125  409
    │   └── NameInUse  ImageInUse  PortTaken  InvalidState
    ├── ContentError                      125  500
    │   ├── Mismatch                      bytes are not what their descriptor says
    │   │   └── DigestMismatch  SizeMismatch
    │   ├── LayerRefused                  a layer tar that is malformed or hostile
    │   ├── ArchiveRefused                a saved image's archive that is so
    │   ├── PackageRefused                a .deb, or the index of a mirror, that is so
    │   └── SignatureRefused              a mirror's index that nobody known has signed
    ├── RegistryError                     125  502
    │   ├── RegistryUnreachable  RegistryAnswered
    │   └── Unauthorized  RateLimited  Offline
    ├── NeighbourError                    125  502   a dockerd or podman that refuses or babbles
    │   └── NeighbourUnreachable          or that cannot be asked at all
    ├── StorageError                      125  500
    │   └── DiskFull
    ├── HostLacks                         125  501   this machine cannot give it
    ├── NotBuiltYet                       125  501   a later version will
    ├── Cancelled                         130  500   the user stopped it
    ├── StartFailed                       125  500   the runtime could not make the container
    │   └── CommandNotFound (127)  CommandNotExecutable (126)
    └── BuildFailed                         1  500
        └── StepFailed                    a RUN that ended non-zero, with its last lines
"""

from __future__ import annotations

from ocimagic.errors.asked import (
    BadInput,
    BlobNotFound,
    Conflict,
    ContainerNotFound,
    DockerfileError,
    DriverNotFound,
    ExecNotFound,
    ImageInUse,
    ImageNotFound,
    InvalidDigest,
    InvalidDocument,
    InvalidOption,
    InvalidPlatform,
    InvalidReference,
    InvalidState,
    NameInUse,
    NetworkNotFound,
    NotAnImage,
    NotFound,
    PlatformNotFound,
    PortTaken,
    SuiteNotFound,
    VolumeNotFound,
)
from ocimagic.errors.base import (
    OcimagicError,
    pack,
    unpack,
)
from ocimagic.errors.content import (
    ArchiveRefused,
    ContentError,
    DigestMismatch,
    LayerRefused,
    Mismatch,
    PackageRefused,
    SignatureRefused,
    SizeMismatch,
)
from ocimagic.errors.elsewhere import (
    NeighbourError,
    NeighbourUnreachable,
    Offline,
    RateLimited,
    RegistryAnswered,
    RegistryError,
    RegistryUnreachable,
    Unauthorized,
)
from ocimagic.errors.work import (
    BuildFailed,
    Cancelled,
    CommandNotExecutable,
    CommandNotFound,
    DiskFull,
    HostLacks,
    NotBuiltYet,
    StartFailed,
    StepFailed,
    StorageError,
)

__all__ = [
    "ArchiveRefused",
    "BadInput",
    "BlobNotFound",
    "BuildFailed",
    "Cancelled",
    "CommandNotExecutable",
    "CommandNotFound",
    "Conflict",
    "ContainerNotFound",
    "ContentError",
    "DigestMismatch",
    "DiskFull",
    "DockerfileError",
    "DriverNotFound",
    "ExecNotFound",
    "HostLacks",
    "ImageInUse",
    "ImageNotFound",
    "InvalidDigest",
    "InvalidDocument",
    "InvalidOption",
    "InvalidPlatform",
    "InvalidReference",
    "InvalidState",
    "LayerRefused",
    "Mismatch",
    "NameInUse",
    "NeighbourError",
    "NeighbourUnreachable",
    "NetworkNotFound",
    "NotAnImage",
    "NotBuiltYet",
    "NotFound",
    "OcimagicError",
    "Offline",
    "PackageRefused",
    "PlatformNotFound",
    "PortTaken",
    "RateLimited",
    "RegistryAnswered",
    "RegistryError",
    "RegistryUnreachable",
    "SignatureRefused",
    "SizeMismatch",
    "StartFailed",
    "StepFailed",
    "StorageError",
    "SuiteNotFound",
    "Unauthorized",
    "VolumeNotFound",
    "pack",
    "unpack",
]
