"""The names of our magics, so that they are known before the grammar of their lines is loaded.

A test compares them with ``cli.grammar``.
"""

from __future__ import annotations

_VERBS = {
    "image": "pull push ls inspect history layers waste diff verify tag rm prune build bootstrap "
    "adopt explore tree save load import copy referrers search",
    "container": "run create start stop restart kill pause unpause wait rename update rm prune ls "
    "inspect top ns bundle stats port logs attach exec cp diff layers export commit",
    "manifest": "inspect create annotate push rm",
    "network": "create ls inspect map rm prune connect disconnect",
    "volume": "create ls inspect rm prune export import",
    "system": "info doctor df events prune version serve unserve",
    "context": "install",
    "registry": "ls serve start stop",
    "registry user": "add",
    "builder": "build prune",
    "buildx": "build prune",
    "compose": "up down create start stop restart kill pause unpause rm scale wait logs exec run "
    "config ps images port top ls version build pull push",
}
# By the names of magics, docker's words that they stand for; None: its line is none of docker's.
OF_GRAMMAR: dict[str, tuple[str, ...] | None] = {
    "_".join((*nouns.split(), verb)): (*nouns.split(), verb)
    for nouns, verbs in _VERBS.items()
    for verb in verbs.split()
}
OF_OUR_OWN: dict[str, tuple[str, ...] | None] = {
    "docker": (),
    "dockerfile": ("image", "build"),
    "compose": ("compose",),
    "explain": ("explain",),
    "explore": None,
    "dashboard": ("dashboard",),
    "docker_host": None,
}
CELLS = ("docker", "dockerfile", "image_build", "container_run", "container_exec", "compose")
