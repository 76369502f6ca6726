"""Lines to begin with: what the help of a command shows below its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES: dict[str, tuple[str, ...]] = {
    "image pull": ("alpine", "--platform linux/arm64 alpine:3.19"),
    "image push": ("registry.example/team/web:1",),
    "image ls": ("", "--filter dangling=true"),
    "image build": ("-t web:1 .", "-t web:1 -f Dockerfile.test --build-arg V=2 ."),
    "image tag": ("web:1 registry.example/team/web:1",),
    "image inspect": ("alpine", "--format '{{.Architecture}}' alpine"),
    "image history": ("web:1",),
    "image rm": ("web:1",),
    "image save": ("-o web.tar web:1",),
    "image load": ("-i web.tar",),
    "image layers": ("web:1", "web:1 web:2 alpine"),
    "container run": (
        "--rm alpine echo hello",
        "-d --name web -p 8080:80 httpd",
        "--rm -v notes:/data alpine ls /data",
    ),
    "container create": ("--name web httpd",),
    "container ls": ("", "-a"),
    "container logs": ("web", "--tail 20 web"),
    "container exec": ("web ls /", "-e A=1 web sh -c 'echo $A'"),
    "container inspect": ("web", "--format '{{.State.Pid}}' web"),
    "container stop": ("web", "-t 1 web"),
    "container rm": ("web", "-f web"),
    "container cp": ("web:/etc/hostname .", "page.html web:/www/"),
    "container commit": ("web web:changed",),
    "network create": ("shop", "--internal vault"),
    "network connect": ("shop web",),
    "volume create": ("notes",),
    "volume export": ("notes -o notes.tar",),
    "volume import": ("notes notes.tar",),
    "system prune": ("", "-a -f"),
}
"""What follows the words of a command, by these words."""


def examples_for(words: Sequence[str]) -> tuple[str, ...]:
    """Return what may follow the words of a command; () for those that explain themselves.

    Args:
        words: as typed: ``image pull``, or ``pull``, which docker has for the same.
    """
    path = " ".join(words)
    if path in EXAMPLES or len(words) != 1:
        return EXAMPLES.get(path, ())
    group = "container" if path in _OF_CONTAINERS else "image"
    return EXAMPLES.get(f"{group} {path}", ())


_OF_CONTAINERS = frozenset(
    {"run", "create", "logs", "exec", "inspect", "stop", "rm", "cp", "commit"}
)
