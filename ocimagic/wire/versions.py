"""What documents look like in older and newer versions of docker's API.

The rest of this room writes what API 1.50 has; ``shaped`` puts back what older clients still
read and takes out what they never had.  Spec: moby's api/docs/CHANGELOG.md, v1.24 to v1.51.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.network import PREDEFINED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Document = dict[str, object]
Version = tuple[int, int]
NEWEST: Version = (1, 50)
OLDEST: Version = (1, 24)
# What is about the running of a container, not about its image.
_RUN_CONFIG: Document = {
    "Hostname": "",
    "Domainname": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Image": "",
}
_EMPTY_CONFIG: Document = _RUN_CONFIG | {
    "User": "",
    "Env": None,
    "Cmd": None,
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
}
_SHORT = 12


def parse_version(text: str) -> Version:
    """Read ``1.41``.

    Raises:
        ValueError: it is no version.
    """
    major, _, minor = text.removeprefix("v").partition(".")
    return int(major), int(minor)


def shaped(operation: str, answer: object, version: Version) -> object:
    """Return an answer as a version of the API has it.

    Args:
        operation: docker's name of it, such as ``ImageInspect``.
        answer: a document, or a list of such; changed in place.
        version: that a client speaks.
    """
    for document in _documents(answer):
        for before, change in _CHANGES.get(operation, ()):
            if version < before:
                change(document)
    return answer


def _documents(answer: object) -> Iterator[Document]:
    if isinstance(answer, dict):
        yield answer
    elif isinstance(answer, list):
        yield from (each for each in answer if isinstance(each, dict))


def _within(name: str, document: Document) -> Iterator[Document]:
    yield from _documents(document.get(name))


def _virtual_size(document: Document) -> None:
    document["VirtualSize"] = document["Size"]


def _no_descriptor(document: Document) -> None:
    document.pop("Descriptor", None)


def _run_config(document: Document) -> None:
    config = document.get("Config")
    if isinstance(config, dict):
        document["Config"] = _RUN_CONFIG | config


def _container_of_image(document: Document) -> None:
    """Add what docker left out in 1.45.

    compose 1.29 looks there for the volumes of a container that it makes anew, in whatever
    version, and ends without it.
    """
    config, made_of = document.get("Config"), document.get("ContainerConfig")
    volumes = config.get("Volumes") if isinstance(config, dict) else None
    known = made_of if isinstance(made_of, dict) else {}
    document.setdefault("Container", "")
    document["ContainerConfig"] = _EMPTY_CONFIG | {"Volumes": volumes} | known


def _nameless(document: Document) -> None:
    if not document["RepoTags"] and not document["RepoDigests"]:
        document |= {"RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"]}


def _kernel_memory(document: Document) -> None:
    document |= {"KernelMemory": 0, "KernelMemoryTCP": 0}


def _host_config(change: Callable[[Document], None]) -> Callable[[Document], None]:
    def changed(document: Document) -> None:
        for config in _within("HostConfig", document):
            change(config)

    return changed


def _no_annotations(document: Document) -> None:
    document.pop("Annotations", None)


def _endpoints(document: Document) -> Iterator[tuple[str, Document]]:
    for settings in _within("NetworkSettings", document):
        networks = settings.get("Networks")
        if isinstance(networks, dict):
            yield from ((name, each) for name, each in networks.items() if isinstance(each, dict))


def _short_alias(document: Document) -> None:
    """Add the container's short ID to what it is called in networks of one's own."""
    short = str(document["Id"])[:_SHORT]
    for name, each in _endpoints(document):
        if name not in PREDEFINED and each.get("EndpointID"):
            aliases = each.get("Aliases")
            each["Aliases"] = [*(aliases if isinstance(aliases, list) else ()), short]


def _no_dns_names(document: Document) -> None:
    for _, each in _endpoints(document):
        each.pop("DNSNames", None)


def _no_gateway_priority(document: Document) -> None:
    for _, each in _endpoints(document):
        each.pop("GwPriority", None)


def _no_ipv4_flag(document: Document) -> None:
    document.pop("EnableIPv4", None)


def _builder_size(document: Document) -> None:
    document["BuilderSize"] = 0


def _old_images(document: Document) -> None:
    for each in _within("Images", document):
        _virtual_size(each)


def _bridge_filters(document: Document) -> None:
    document |= {"BridgeNfIptables": False, "BridgeNfIp6tables": False}


def _expected(document: Document) -> None:
    for name in ("ContainerdCommit", "RuncCommit", "InitCommit"):
        for each in _within(name, document):
            each["Expected"] = each["ID"]
    for each in _within("RegistryConfig", document):
        each |= {
            "AllowNondistributableArtifactsCIDRs": [],
            "AllowNondistributableArtifactsHostnames": [],
        }


def _info_kernel_memory(document: Document) -> None:
    for name in ("KernelMemory", "KernelMemoryTCP"):
        document.setdefault(name, False)


def _no_components(document: Document) -> None:
    for name in ("Platform", "Components"):
        document.pop(name, None)


def _no_created(document: Document) -> None:
    document.pop("CreatedAt", None)


def _no_volumes_created(document: Document) -> None:
    for each in _within("Volumes", document):
        _no_created(each)


def _no_wait_error(document: Document) -> None:
    document.pop("Error", None)


def _untold_created(document: Document) -> None:
    document.setdefault("Created", "0001-01-01T00:00:00Z")


_ENDPOINTS = (((1, 44), _no_dns_names), ((1, 48), _no_gateway_priority))
_NETWORKS = (((1, 48), _no_ipv4_flag),)
# Per operation: before which version, and what is done to a document then.
_ALWAYS = (9, 0)
_CHANGES: dict[str, tuple[tuple[Version, Callable[[Document], None]], ...]] = {
    "ContainerInspect": (
        ((1, 42), _host_config(_kernel_memory)),
        ((1, 43), _host_config(_no_annotations)),
        ((1, 45), _short_alias),
        *_ENDPOINTS,
    ),
    "ContainerList": _ENDPOINTS,
    "ContainerWait": (((1, 34), _no_wait_error),),
    "ImageInspect": (
        ((1, 50), _run_config),
        ((1, 48), _no_descriptor),
        (_ALWAYS, _container_of_image),
        ((1, 44), _virtual_size),
        ((1, 44), _untold_created),
    ),
    "ImageList": (((1, 48), _no_descriptor), ((1, 44), _virtual_size), ((1, 43), _nameless)),
    "NetworkInspect": _NETWORKS,
    "NetworkList": _NETWORKS,
    "SystemDataUsage": (
        ((1, 31), _no_volumes_created),
        ((1, 42), _builder_size),
        ((1, 44), _old_images),
    ),
    "SystemInfo": (
        ((1, 42), _info_kernel_memory),
        ((1, 49), _expected),
        ((1, 50), _bridge_filters),
    ),
    "SystemVersion": (((1, 35), _no_components),),
    "VolumeCreate": (((1, 31), _no_created),),
    "VolumeInspect": (((1, 31), _no_created),),
}
