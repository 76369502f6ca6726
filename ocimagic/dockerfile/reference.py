"""What each instruction does, in a sentence, with its flags and one example.

This is what editors show; `interpret` is what decides.  Words and examples are our own.

Source: Dockerfile reference, the section of each instruction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Entry:
    """One instruction.

    Attributes:
        form: how it is written, capitals for what is put in.
        does: what it does.
        example: one line, or a few.
        makes_layer: it may; else it changes the configuration of the image.
        lasts: the image keeps what it says; else only the build knows.
        flags: what each flag asks for, by name without ``--``.
    """

    form: str
    does: str
    example: str
    flags: Mapping[str, str] = field(default_factory=dict)
    makes_layer: bool = False
    lasts: bool = True


_FROM_CHOWN = "Owner of the files: a name or number, or USER:GROUP"
_FROM_CHMOD = "Their mode: octal such as 755, or words such as u=rwX,go=rX"
_FROM_LINK = "A layer of its own that does not depend on those below: it is reused when they change"
_FROM_EXCLUDE = "Leave out what fits this pattern; may come again"

ENTRIES: Mapping[str, Entry] = {
    "FROM": Entry(
        "FROM [--platform=P] IMAGE [AS STAGE]",
        "Begins a stage on top of an image, of an earlier stage, or of scratch (nothing). "
        "Only the last stage, or the one that --target names, becomes the image.",
        "FROM python:3.12-slim AS tools",
        lasts=False,
        flags={"platform": "The platform of the image, such as linux/arm64 or $BUILDPLATFORM"},
    ),
    "RUN": Entry(
        'RUN [FLAGS] COMMAND   or   RUN [FLAGS] ["PROGRAM", "WORD"]',
        "Runs a command in a container of the image so far; what it writes becomes a layer. "
        "It is taken from the cache until the line, or anything above it, changes.",
        "RUN apt-get update && apt-get install -y curl && rm -rf /var/lib/apt/lists/*",
        makes_layer=True,
        flags={
            "mount": "Something that is there while it runs and in no layer: type=bind, cache, "
            "tmpfs, secret or ssh; may come again",
            "network": "default, none or host",
            "security": "sandbox or insecure",
            "device": "A device of the machine; may come again",
        },
    ),
    "COPY": Entry(
        "COPY [FLAGS] SOURCE... TARGET",
        "Copies files of the build context, or with --from of a stage or an image, into a layer. "
        "A TARGET that ends with / is a directory. The cache is asked by content, not by date.",
        "COPY --chown=app:app app.py templates/ /srv/app/",
        makes_layer=True,
        flags={
            "from": "A stage, an image or a named context instead of the build context",
            "chown": _FROM_CHOWN,
            "chmod": _FROM_CHMOD,
            "link": _FROM_LINK,
            "parents": "Keep the directories the sources are in",
            "exclude": _FROM_EXCLUDE,
        },
    ),
    "ADD": Entry(
        "ADD [FLAGS] SOURCE... TARGET",
        "Copies like COPY, and besides unpacks local archives and fetches URLs and repositories. "
        "COPY says more clearly what happens where neither is wanted.",
        "ADD --checksum=sha256:24454f83... https://example.com/data.tar.gz /data/",
        makes_layer=True,
        flags={
            "chown": _FROM_CHOWN,
            "chmod": _FROM_CHMOD,
            "checksum": "The digest that a fetched file, or the commit of a repository, must have",
            "link": _FROM_LINK,
            "keep-git-dir": "Keep .git of a repository",
            "unpack": "Unpack archives, those from URLs too; =false: not even local ones",
            "exclude": _FROM_EXCLUDE,
        },
    ),
    "CMD": Entry(
        'CMD ["PROGRAM", "WORD"]   or   CMD COMMAND',
        "What a container runs when it is not told: words after the image replace it. After an "
        "ENTRYPOINT it is that one's words. Only the last CMD counts; nothing runs in the build.",
        'CMD ["python", "app.py"]',
    ),
    "ENTRYPOINT": Entry(
        'ENTRYPOINT ["PROGRAM", "WORD"]   or   ENTRYPOINT COMMAND',
        "The program that every container of the image runs; words after the image are appended "
        "to it. In the form without brackets a shell is process 1, and signals reach that.",
        'ENTRYPOINT ["/usr/bin/redis-server"]',
    ),
    "ENV": Entry(
        "ENV NAME=VALUE...",
        "Sets variables for the lines below and for containers of the image.",
        'ENV APP_HOME=/srv/app GREETING="hello world"',
    ),
    "ARG": Entry(
        "ARG NAME[=DEFAULT]...",
        "Declares variables that --build-arg may set. They are for the lines below in the same "
        "stage and not for containers; above the first FROM they are for FROM lines.",
        "ARG VERSION=1.0",
        lasts=False,
    ),
    "LABEL": Entry(
        "LABEL NAME=VALUE...",
        "Writes facts about the image into its configuration: who keeps it, from which sources.",
        'LABEL maintainer=ada@example.com version="1.0"',
    ),
    "WORKDIR": Entry(
        "WORKDIR PATH",
        "The directory for the lines below and for containers; one that is not there is made, as a "
        "layer. A relative path begins at the WORKDIR before.",
        "WORKDIR /srv/app",
        makes_layer=True,
    ),
    "USER": Entry(
        "USER NAME[:GROUP]",
        "Who runs the RUN lines below, and containers of the image. It is not made: the image "
        "must have it, or it is a number.",
        "USER app",
    ),
    "EXPOSE": Entry(
        "EXPOSE PORT[/PROTOCOL]...",
        "Notes on which ports the program listens. Nothing is opened: -p publishes a port, "
        "and -P all that are noted.",
        "EXPOSE 8080/tcp",
    ),
    "VOLUME": Entry(
        "VOLUME PATH...",
        "Each container gets a volume of its own there, filled with what the image has. What "
        "lines below write there is lost in docker's classic builder; put it last.",
        "VOLUME /var/lib/data",
    ),
    "STOPSIGNAL": Entry(
        "STOPSIGNAL SIGNAL",
        "The signal that asks a container to end; SIGTERM if there is none.",
        "STOPSIGNAL SIGQUIT",
    ),
    "HEALTHCHECK": Entry(
        "HEALTHCHECK [FLAGS] CMD COMMAND   or   HEALTHCHECK NONE",
        "Runs a command in each container again and again: exit code 0 is healthy, 1 is not. "
        "NONE takes back what the base image has.",
        "HEALTHCHECK --interval=10s CMD wget -q -O /dev/null http://localhost:8080/ || exit 1",
        flags={
            "interval": "From one check to the next; 30s",
            "timeout": "A check that takes longer has failed; 30s",
            "start-period": "Failures in this time after the start do not count; 0s",
            "start-interval": "From check to check in that time; 5s",
            "retries": "So many failures in a row are unhealthy; 3",
        },
    ),
    "SHELL": Entry(
        'SHELL ["PROGRAM", "WORD"]',
        "The shell of RUN, CMD and ENTRYPOINT lines that are not in brackets.",
        'SHELL ["/bin/bash", "-o", "pipefail", "-c"]',
    ),
    "ONBUILD": Entry(
        "ONBUILD INSTRUCTION",
        "An instruction that is kept for later: it is done at the FROM of an image built on "
        "this one.",
        "ONBUILD COPY . /srv/app",
    ),
    "MAINTAINER": Entry(
        "MAINTAINER NAME",
        "Notes who keeps the image. It is out of use: LABEL maintainer=NAME says the same.",
        "LABEL maintainer=ada@example.com",
    ),
}  # fmt: skip
