"""What a client asks for when it has an image built: the query of ``POST /build``.

Spec: Docker Engine API v1.41, ImageBuild.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import NotBuiltYet
from ocimagic.model.cache_words import cache_from
from ocimagic.model.name_words import extra_host
from ocimagic.model.network_words import build_network
from ocimagic.model.options import BuildOptions
from ocimagic.spec.platform import Platform
from ocimagic.wire.asked_solve import SENT
from ocimagic.wire.create_resources import limits

if TYPE_CHECKING:
    from ocimagic.wire.reading import Query

STDIN = "-"
_LIMITS = ("memory", "memswap", "cpushares", "cpuperiod", "cpuquota")
_TO_THE_STORE = ("", "moby", "image", "docker")
_WORDS = {
    "cpusetcpus": "limits for RUN steps come with a later version",
    "cpusetmems": "limits for RUN steps come with a later version",
    "cgroupparent": "limits for RUN steps come with a later version",
}


def output(query: Query) -> str:
    """Return which form of a build's result its client wants to be sent, "" for none.

    Raises:
        NotBuiltYet: several, or another form.
    """
    kinds = [each.text("Type", "") for each in query.listed("outputs").children("outputs")]
    if len(kinds) > 1 or not {*kinds} <= {*_TO_THE_STORE, *SENT}:
        raise NotBuiltYet(
            f"outputs {', '.join(kinds)} of a client's build are not built yet",
            why="its image goes where all images go, or its files to the client",
            hint="docker save writes an image into a file",
        )
    return "".join({*kinds} & {*SENT})


def build(query: Query) -> BuildOptions:
    """Read the query; the context and the Dockerfile in it are the body's.

    ``rm`` and ``forcerm`` are passed over: no step leaves a container.  ``q`` is about the answer,
    ``buildid`` and ``session`` about BuildKit.

    Raises:
        InvalidOption: a value that cannot be understood.
        NotBuiltYet: what docker has and this version has not.
    """
    _refuse_others(query)
    platforms = [word for text in query.texts("platform") for word in text.split(",") if word]
    return BuildOptions(
        dockerfile=None,
        dockerfile_name=query.text("dockerfile") or "Dockerfile",
        context=query.text("remote") or STDIN,
        tags=tuple(text for text in query.texts("t") if text),
        # A value of null is docker's for "unset": ARG keeps its own.
        build_args=query.listed("buildargs").text_map("buildargs", unset=True),
        labels=query.listed("labels").text_map("labels"),
        target=query.text("target") or None,
        platforms=tuple(Platform.parse(word) for word in platforms),
        no_cache=query.flag("nocache"),
        pull=query.flag("pull"),
        network=build_network(query.text("networkmode")),
        extra_hosts=tuple(
            extra_host("extrahosts", word)
            for text in query.texts("extrahosts")
            for word in text.split(",")
            if word
        ),
        shm_size_bytes=query.number("shmsize", least=0),
        ulimits=limits(query.listed("ulimits")),
        cache_from=tuple(
            cache_from(lambda path: path, text)
            for text in query.listed("cachefrom").texts("cachefrom")
        ),
        squash=query.flag("squash"),
        is_sent=not query.text("remote"),
    )


def _refuse_others(query: Query) -> None:
    for name in _LIMITS:
        # -1 is docker's word for no limit of swap.
        if query.number(name) > 0:
            raise NotBuiltYet(
                f"{name} of a build is not built yet",
                why="limits for RUN steps come with a later version",
            )
    for name, why in _WORDS.items():
        if query.text(name):
            raise NotBuiltYet(f"{name} of a build is not built yet", why=why)
    if (isolation := query.text("isolation")) not in ("", "default"):
        raise NotBuiltYet(
            f"isolation {isolation!r} is not built yet", why="it is for Windows containers only"
        )
    if query.listed("securityopt").texts("securityopt"):
        raise NotBuiltYet(
            "securityopt of a build is not built yet",
            why="RUN steps have the default protection",
        )
