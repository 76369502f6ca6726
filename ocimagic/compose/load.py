"""From a command line and its surroundings to a project: which files, which variables, which name.

Spec: Compose Specification 03-compose-file.md, 04-version-and-name.md, 14-include.md and
05-services.md, "extends"; docker's "Environment variables in Compose".
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocimagic.compose import envfile, schema, stance
from ocimagic.compose.assemble import project_of
from ocimagic.compose.files import STDIN, Surroundings, read_text
from ocimagic.compose.interpolate import interpolated
from ocimagic.compose.merge import merged, settled
from ocimagic.compose.normal import absolute, normal
from ocimagic.compose.reading import parse
from ocimagic.compose.tree import Map, Node
from ocimagic.errors import InvalidDocument, InvalidOption
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ocimagic.compose.model import Project

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_MAX_DEPTH = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What stands before the verb.

    Attributes:
        files: ``-f``, as typed.
        name: ``-p``, "" for none.
        profiles: ``--profile``.
        env_files: ``--env-file``.
        directory: ``--project-directory``, "" for none.
        interpolates: False leaves variables as they are.
    """

    files: tuple[str, ...] = ()
    name: str = ""
    profiles: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    directory: str = ""
    interpolates: bool = True


def load(options: LoadOptions, around: Surroundings) -> Project:
    """Read a project.

    Raises:
        InvalidDocument: a file that cannot be understood.
        NotBuiltYet: one that asks for what we do not do.
        InvalidOption: no file, or an option that cannot be.
    """
    directory = _directory(options, around)
    env = _variables(options, around, directory)
    files = _files(options, around, env)
    if not options.directory:
        directory = around.cwd if files[0] == STDIN else os.path.dirname(files[0])
        env = _variables(options, around, directory)
    reader = Reader(around, env, interpolates=options.interpolates)
    root = settled(reader.read(files, directory))
    assert isinstance(root, Map)
    reader.tell_missing()
    name = _project_name(options, env, root, directory)
    profiles = options.profiles or _split(env.get("COMPOSE_PROFILES", ""), ",")
    return project_of(root, name=name, directory=directory, files=files, profiles=profiles, env=env)


class Reader:
    """Reads files, and those they include and extend.

    Args:
        around: where they are.
        env: for their variables.
        interpolates: whether to put them in.
        open_files: that include, one the other, what this one reads.
    """

    def __init__(
        self,
        around: Surroundings,
        env: Mapping[str, str],
        *,
        interpolates: bool = True,
        open_files: tuple[str, ...] = (),
    ) -> None:
        self._around = around
        self._env = env
        self._interpolates = interpolates
        self._missing: dict[str, None] = {}
        self._told: set[str] = set()
        self._open = open_files

    def read(self, files: Sequence[str], directory: str) -> Map:
        """Return several files merged, in their long form."""
        made: Map | None = None
        for file in files:
            for document in self._documents(file, directory):
                made = document if made is None else merged(made, document)
        if made is None:
            raise InvalidDocument(
                f"{', '.join(files)}: nothing is said", hint="begin with services:"
            )
        return made

    def tell_missing(self) -> None:
        """Warn of variables that are not set."""
        for name in self._missing:
            self._around.warn(f"the variable {name} is not set: it is taken as empty")

    def _documents(self, file: str, directory: str) -> Iterator[Map]:
        """Yield the documents of one file, checked and in their long form."""
        for root in self._parsed(file):
            made = normal(root, directory)
            includes = made.get("include")
            services = made.get("services")
            if isinstance(services, Map):
                made.put("services", self._extended(services, file, directory))
            if includes is not None:
                made = self._included(Node(made, made.place), directory)
            yield made

    def _parsed(self, file: str) -> list[Map]:
        """Return a file's documents, their variables put in, and checked."""
        is_stdin = file == STDIN
        name = self._around.stdin_name if is_stdin else _short(file, self._around.cwd)
        if is_stdin:
            if self._around.stdin is None:
                raise InvalidOption(
                    "the compose file is to come from standard input: there is none"
                )
            text = self._around.stdin.decode("utf-8-sig", errors="replace")
        else:
            text = read_text(file)
        made = []
        for root in parse(text, name):
            node = Node(root, root.place)
            stance.check(node, self._warn)
            if self._interpolates:
                value = interpolated(node, self._env, self._note_missing)
                assert isinstance(value, Map)
                node = Node(value, root.place)
                if schema.is_there():
                    schema.check(node)
            assert isinstance(node.value, Map)
            made.append(node.value)
        return made

    def _note_missing(self, name: str) -> None:
        self._missing[name] = None

    def _warn(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._around.warn(text)

    # -- extends -------------------------------------------------------------------

    def _extended(self, services: Map, file: str, directory: str) -> Map:
        made = services.copied()
        for name in services:
            made.put(name, self._resolved(services, name, file, directory, ()))
        return made

    def _resolved(
        self, services: Map, name: str, file: str, directory: str, chain: tuple[str, ...]
    ) -> Map:
        """Return a service with what it extends below it."""
        node = Node(services, services.place, "services").at(name)
        if not isinstance(node.value, Map):
            raise node.wrong("a service has keys with values", hint="image: NAME, or build: .")
        extends = node.get("extends")
        if extends is None:
            return node.value
        here = f"{file}:{name}"
        if here in chain or len(chain) > _MAX_DEPTH:
            raise extends.wrong("services extend each other in a circle")
        wanted, other = extends.get("service"), extends.get("file")
        if wanted is None:
            raise extends.wrong("service is missing", hint="service: NAME")
        base_services, base_file, base_directory = services, file, directory
        if other and other.text() != file:
            base_file, base_directory = other.text(), os.path.dirname(other.text())
            base_services = self._services_of(base_file, base_directory, other)
        if wanted.text() not in base_services:
            near = nearest(wanted.text(), base_services)
            raise wanted.wrong(
                f"there is no service {wanted.text()!r} in {_short(base_file, self._around.cwd)}",
                hint=f"did you mean {near}?" if near else None,
            )
        base = self._resolved(
            base_services, wanted.text(), base_file, base_directory, (*chain, here)
        )
        return _over(base, node.value, name)

    def _services_of(self, file: str, directory: str, asked: Node) -> Map:
        if not os.path.isfile(file):
            raise asked.wrong(f"there is no file {_short(file, self._around.cwd)}")
        for root in self._parsed(file):
            services = normal(root, directory).get("services")
            if isinstance(services, Map):
                return services
        raise asked.wrong(f"{_short(file, self._around.cwd)} has no services")

    # -- include -------------------------------------------------------------------

    def _included(self, node: Node, directory: str) -> Map:
        """Return a file with what it includes: projects of their own, side by side."""
        root = node.map()
        made = root.copied()
        made.drop("include")
        for each in node.at("include").items():
            part = self._include(each, directory)
            for section in ("services", "networks", "volumes", "secrets", "configs"):
                if isinstance(part.get(section), Map):
                    made.put(section, _beside(made, part, section, each))
        return made

    def _include(self, node: Node, directory: str) -> Map:
        paths = [node.text()] if isinstance(node.value, str) else []
        own = env_files = None
        if not paths:
            found = node.get("path")
            if found is None:
                raise node.wrong("path is missing", hint="path: FILE")
            paths = [found.text()] if isinstance(found.value, str) else list(found.texts())
            own, env_files = node.get("project_directory"), node.get("env_file")
        files = [absolute(path, directory) for path in paths]
        for path in files:
            if not os.path.isfile(path):
                raise node.wrong(f"there is no file {_short(path, self._around.cwd)}")
        if files[0] in self._open or len(self._open) > _MAX_DEPTH:
            raise node.wrong("files include each other in a circle")
        home = absolute(own.text(), directory) if own else os.path.dirname(files[0])
        named = [] if env_files is None else [
            absolute(text, directory)
            for text in ([env_files.text()] if isinstance(env_files.value, str)
                         else env_files.texts())
        ]  # fmt: skip
        env = {**_env_files(named or _usual_env(home), dict(self._env)), **self._env}
        reader = Reader(
            self._around,
            env,
            interpolates=self._interpolates,
            open_files=(*self._open, files[0]),
        )
        made = reader.read(files, home)
        reader.tell_missing()
        return made


def _over(base: Map, own: Map, name: str) -> Map:
    """Put a service over the one it extends."""
    under, over = Map(base.place), Map(own.place)
    for root, service in ((under, base), (over, own)):
        section = Map(service.place)
        section.put(name, service)
        root.put("services", section)
    services = merged(under, over)["services"]
    assert isinstance(services, Map)
    made = services[name]
    assert isinstance(made, Map)
    made.drop("extends")
    return made


def _beside(made: Map, part: Map, section: str, node: Node) -> Map:
    """Put the entries of an included file beside those that are there.

    Raises:
        InvalidDocument: both have one of a name, and they differ.
    """
    there, more = made.get(section), part[section]
    assert isinstance(more, Map)
    if not isinstance(there, Map):
        return more
    joined = there.copied()
    for key, value in more.items():
        if key in joined and joined[key] != value:
            raise node.wrong(
                f"{section}.{key} is there already, and differs",
                why=f"{there.places[key]} and {more.places[key]}",
            )
        joined.put(key, value, more.places[key])
    return joined


# -- which files, variables and name ---------------------------------------------------


def _directory(options: LoadOptions, around: Surroundings) -> str:
    """Return where ``.env`` is looked for before the files are known."""
    if options.directory:
        return around.path(options.directory)
    first = next((each for each in options.files if each != STDIN), None)
    return os.path.dirname(around.path(first)) if first else around.cwd


def _variables(options: LoadOptions, around: Surroundings, directory: str) -> dict[str, str]:
    """Return the caller's variables over those of the ``.env`` files."""
    named = [around.path(each) for each in options.env_files]
    if not named:
        named = [around.path(p) for p in _split(around.env.get("COMPOSE_ENV_FILES", ""), ",")]
    if around.env.get("COMPOSE_DISABLE_ENV_FILE", "").lower() in ("1", "true"):
        return dict(around.env)
    return {**_env_files(named or _usual_env(directory), around.env), **around.env}


def _usual_env(directory: str) -> list[str]:
    path = os.path.join(directory, ".env")
    return [path] if os.path.isfile(path) else []


def _env_files(paths: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        found |= envfile.parse(read_text(path), path, {**found, **known})
    return found


def _files(options: LoadOptions, around: Surroundings, env: Mapping[str, str]) -> list[str]:
    """Return the files: those named, those of COMPOSE_FILE, or the usual ones.

    Raises:
        InvalidOption: there is none.
    """
    named = list(options.files)
    if not named and env.get("COMPOSE_FILE"):
        named = list(_split(env["COMPOSE_FILE"], env.get("COMPOSE_PATH_SEPARATOR") or os.pathsep))
    if named:
        files = [STDIN if each == STDIN else around.path(each) for each in named]
        for each in files:
            if each != STDIN and not os.path.isfile(each):
                raise InvalidOption(f"there is no compose file {_short(each, around.cwd)}")
        return files
    place = around.path(options.directory) if options.directory else around.cwd
    while True:
        if found := _usual_files(place):
            return found
        above = os.path.dirname(place)
        if above == place or options.directory:
            raise InvalidOption(
                "there is no compose file here",
                why=f"{', '.join(NAMES)} are in neither {around.cwd} nor above it",
                hint="-f FILE names one",
            )
        place = above


def _usual_files(place: str) -> list[str]:
    """Return the compose file of a directory, and the one that changes it."""
    first = next((n for n in NAMES if os.path.isfile(os.path.join(place, n))), None)
    if first is None:
        return []
    found = [os.path.join(place, first)]
    stems = ("compose.override", "docker-compose.override")
    for stem in stems if first.startswith("compose") else stems[1:]:
        for ending in (".yaml", ".yml"):
            path = os.path.join(place, stem + ending)
            if os.path.isfile(path) and len(found) == 1:
                found.append(path)
    return found


def _project_name(options: LoadOptions, env: Mapping[str, str], root: Map, directory: str) -> str:
    """Return the project's name: said, of the file, or of its directory."""
    said = options.name or env.get("COMPOSE_PROJECT_NAME", "") or str(root.get("name") or "")
    if said:
        if not _NAME.fullmatch(said):
            raise InvalidOption(
                f"{said!r} is no name for a project",
                why="it is of small letters, digits, - and _, and begins with a letter or digit",
                hint=_made_name(said) or None,
            )
        return said
    made = _made_name(os.path.basename(directory))
    if not made:
        raise InvalidOption("the project has no name", hint="-p NAME, or name: NAME in the file")
    return made


def _made_name(text: str) -> str:
    return re.sub(r"[^-_a-z0-9]", "", text.lower()).lstrip("-_")


def _split(text: str, separator: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(separator) if each.strip())


def _short(path: str, cwd: str) -> str:
    """Return a path as a person would type it."""
    relative = os.path.relpath(path, cwd)
    return path if relative.startswith("..") else relative
