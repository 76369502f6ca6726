"""Docker's own sentences for what goes wrong, where programs and people know them by heart.

Ours say what to do besides, which a client of docker's API has no place for.  A pattern is one
of our messages as ``what: why``; docker's follows it, with what the pattern found put in.

Source: dockerd 20.10, as recorded in tests/conformance/recorded.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = r"'([^']*)'"
_CONFLICT = (
    'Conflict. The container name "/{0}" is already in use by container "{0:id}". You have to '
    "remove (or rename) that container to be able to reuse that name."
)
_VOLUME_NAME = (
    'create {0}: "{0}" includes invalid characters for a local volume name, only '
    '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use '
    "absolute path"
)
_RUNNING = (
    "You cannot remove a {1} container {0:id}. Stop the container before attempting removal "
    "or force remove"
)
_NO_FILE = (
    "COPY failed: file not found in build context or excluded by .dockerignore: "
    "stat {0}: file does not exist"
)
_PORT = (
    "driver failed programming external connectivity on endpoint: Bind for {0} failed: "
    "port is already allocated"
)
_WORDS = tuple(
    (re.compile(pattern, re.DOTALL), words)
    for pattern, words in (
        (rf"the container name {_NAME} is already in use.*", _CONFLICT),
        (rf"invalid container name: {_NAME}.*",
         "Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
        (r"container (\S+) has this name already.*",
         "Renaming a container with the same name as its current name"),
        (rf"the working directory {_NAME} is invalid: it needs to be an absolute path.*",
         "the working directory '{0}' is invalid, it needs to be an absolute path"),
        (rf"mode {_NAME} of volume .* cannot be understood.*", "invalid mode: {0}"),
        (r"a memory limit of \d+ bytes is too small.*", "Minimum memory limit allowed is 6MB"),
        (rf"invalid restart policy: {_NAME}.*", "invalid restart policy '{0}'"),
        (r"cannot mount (\S+) on \S+: \1: No such file or directory.*",
         'invalid mount config for type "bind": bind source path does not exist: {0}'),
        (rf"log driver {_NAME} is not built yet.*",
         'error looking up logging plugin {0}: plugin "{0}" not found'),
        (r"filter '([^'=]*)=[^']*' cannot be understood.*", "Invalid filter '{0}'"),
        (rf"invalid filter {_NAME}.*", "Invalid filter '{0}'"),
        (rf"invalid signal: {_NAME}.*", "Invalid signal: {0}"),
        (r"cannot kill container (\S+): it is not running.*",
         "Cannot kill container: {0}: Container {0:id} is not running"),
        (r"cannot .* container (\S+): it is (not running|not paused|already paused).*",
         "Container {0:id} is {1}"),
        (r"cannot remove container (\S+): it is (running|paused|restarting).*",
         _RUNNING),
        (r"ps shows no PID column.*", "Couldn't find PID field in ps output"),
        (r"could not find the (?:file|directory) (\S+) in container ([^\s:]+).*",
         "Could not find the file {0} in container {1}"),
        (r"--change '(\w+)[^']*' (?:cannot be understood|is not a valid change).*",
         "{0:lower} is not a valid change command"),
        (r"no image (\S+) in \S+.*",
         "manifest for {0} not found: manifest unknown: manifest unknown"),
        (r"limit (-?\d+) is outside the range (.*)", "Limit {0} is outside the range {1}"),
        (r"(remove \S+: volume is in use - \[\w+\]): .*", "{0}"),
        (r"no such volume: (\S+)", "get {0}: no such volume"),
        (rf"{_NAME} is no name for a volume.*", _VOLUME_NAME),
        (rf"there is no (?:network|volume) driver {_NAME}.*", 'plugin "{0}" not found'),
        (r"network with name (bridge|host|none) already exists",
         "operation is not permitted on predefined {0} network"),
        (r"port ([\d.]+:\d+)/\w+ is already allocated.*", _PORT),
        (r"container (\S+) is in network (\S+) already.*",
         "endpoint with name {0} already exists in network {1}"),
        (r"container (\S+) is not in network (\S+?)",
         "container {0:id} is not connected to network {1}"),
        (rf"{_NAME} is no subnet.*", "Invalid subnet {0} : invalid CIDR address: {0}"),
        (r"(an image does not exist locally with the tag: [^\s]+): nothing here .*", "{0}"),
        (r"dockerfile parse error line \d+: (no build stage in current context).*", "{0}"),
        (r"dockerfile parse error line \d+: the Dockerfile cannot be empty.*",
         "the Dockerfile (Dockerfile) cannot be empty"),
        (r"(dockerfile parse error line \d+: unknown instruction: \w+).*", "{0}"),
        (r'target stage "(.*)" could not be found.*',
         "failed to reach build target {0} in Dockerfile"),
        (r'(?:.* )?"([^"]*)": not found: there is no such file in the build context.*',
         _NO_FILE),
    )
)  # fmt: skip
_COMMAND = re.compile(r"cannot run ('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")(.*)", re.DOTALL)
_WORKDIR = re.compile(r"cannot use working directory (.*?): (.*)", re.DOTALL)
_REASONS = ("executable file not found in $PATH", "permission denied", "exec format error")


class _Part(str):
    """What a pattern found: as it is, ``lower``, or the ``id`` of the container of that name."""

    identify: Callable[[str], str]

    def __new__(cls, text: str, identify: Callable[[str], str]) -> Self:
        """Return a part with what knows containers."""
        made = super().__new__(cls, text)
        made.identify = identify
        return made

    def __format__(self, how: str) -> str:
        """Return the part as a sentence wants it."""
        if how == "id":
            return self.identify(str(self))
        return self.lower() if how == "lower" else str(self)


def docker_words(said: str, identify: Callable[[str], str] = str) -> str:
    """Return docker's sentence for one of ours, or ours where it has none.

    Args:
        said: ours, what and why, on one line.
        identify: returns the whole ID of the container of a name.
    """
    for pattern, words in _WORDS:
        if found := pattern.fullmatch(said):
            return words.format(*(_Part(each, identify) for each in found.groups()))
    return said


def start_words(said: str) -> str:
    """Return why a process did not begin as docker's runtime says it.

    Clients find ``not found``, ``no such file or directory`` and ``permission denied`` in it.
    """
    if found := _COMMAND.fullmatch(said):
        name, why = str(ast.literal_eval(found[1])), found[2]
        reason = next((each for each in _REASONS if each in why), "")
        if "no such file or directory in the image" in why:
            reason = f"stat {name}: no such file or directory"
        return f'exec: "{name}": {reason or why.lstrip(": ")}: unknown'
    if found := _WORKDIR.fullmatch(said):
        return f'chdir to cwd ("{found[1]}") set in config.json failed: {found[2].lower()}: unknown'
    return said
