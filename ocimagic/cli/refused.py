"""What docker's commands take and this version refuses, with the reason for each.

Data only.  The lists follow docker 28; ``tests/cli/test_grammar.py`` tries them.
"""

from __future__ import annotations

from ocimagic.cli.parser import Refused

_CGROUPS = "limits for RUN steps come with a later version"
_WINDOWS = "it is for Windows containers only"

_VALUE, _SWITCH = True, False


def _group(
    why: str, *names: str, takes_value: bool = _VALUE, harmless: frozenset[str] = frozenset()
) -> tuple[Refused, ...]:
    return tuple(
        Refused(tuple(name.split()), takes_value, why, harmless=harmless) for name in names
    )


CREATE = (
    *_group("such addresses are the kernel's", "--link-local-ip"),
    *_group(_WINDOWS, "--cpu-count", "--cpu-percent", "--io-maxbandwidth", "--io-maxiops"),
    *_group(_WINDOWS, "--isolation"),
    *_group("the kernel gave this limit up; --memory counts its memory too", "--kernel-memory"),
    *_group("what a graphics card needs besides its node comes with a later version", "--gpus"),
    *_group("the size of a container's changes cannot be limited yet", "--storage-opt"),
    *_group(
        "content trust was given up by docker too", "--disable-content-trust", takes_value=_SWITCH
    ),
    *_group("this engine needs no socket", "--use-api-socket", takes_value=_SWITCH),
)

RUN = CREATE

PULL = (
    *_group(
        "content trust was given up by docker too", "--disable-content-trust", takes_value=_SWITCH
    ),
)

PUSH = (
    *_group(
        "content trust was given up by docker too", "--disable-content-trust", takes_value=_SWITCH
    ),
)

MANIFEST = _group(
    "which registries have no TLS is said once, in OCIMAGIC_INSECURE_REGISTRIES or daemon.json",
    "--insecure",
    takes_value=_SWITCH,
)

IMAGE_ONE_PLATFORM = _group(
    "a name means the image for this machine; others by their ID", "--platform"
)

IMAGE_RM = (
    *IMAGE_ONE_PLATFORM,
    *_group("what nothing needs any more is always removed", "--no-prune", takes_value=_SWITCH),
)

BUILD = (
    *_group(_CGROUPS, "--cpu-period", "--cpu-quota", "--cpu-shares -c", "--cpuset-cpus"),
    *_group(_CGROUPS, "--cpuset-mems", "--memory -m", "--memory-swap", "--cgroup-parent"),
    *_group(
        "content trust was given up by docker too", "--disable-content-trust", takes_value=_SWITCH
    ),
    *_group(_WINDOWS, "--isolation"),
    *_group("RUN steps have the default protection", "--security-opt"),
    *_group("there is one builder here", "--builder"),
    *_group("SBOM and provenance are not made by this version", "--attest"),
    *_group(
        "SBOM and provenance are not made by this version",
        "--provenance",
        "--sbom",
        harmless=frozenset({"false", "0"}),
    ),
)

START = _group("checkpoints come with a later version", "--checkpoint", "--checkpoint-dir")

_LATER = "it comes with a later version"

ROOT_WORDS = {
    **dict.fromkeys(
        ("plugin",),
        _LATER,
    ),
    **dict.fromkeys(("swarm", "node", "service", "stack", "secret", "config", "trust",
                     "checkpoint"), "this is an engine for one machine"),
}  # fmt: skip

IMAGE_WORDS: dict[str, str] = {}

CONTAINER_WORDS: dict[str, str] = {}

SYSTEM_WORDS = {"dial-stdio": _LATER}
