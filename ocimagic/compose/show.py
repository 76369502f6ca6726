"""A project as text: what ``config`` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocimagic.compose.model import Project


def document_of(project: Project) -> dict[str, object]:
    """Return a project's file in its long form: enabled services, real names.

    As compose does, it has the services' networks and the names of all things in it, so that
    it means the same everywhere.
    """
    services = {}
    for name in sorted(project.enabled):
        service = project.services[name]
        document = dict(service.document)
        variables = _variables(service.options.env)
        document.pop("env_file", None)
        if variables:
            document["environment"] = variables
        if service.networks and "networks" not in document:
            document["networks"] = dict.fromkeys(key for key, _ in service.networks)
        services[name] = dict(sorted(document.items()))
    made: dict[str, object] = {"name": project.name, "services": services}
    names = {
        "networks": {key: each.options.name for key, each in project.networks.items()},
        "volumes": {key: each.name for key, each in project.volumes.items()},
        "secrets": _prefixed(project, "secrets"),
        "configs": _prefixed(project, "configs"),
    }
    for section, known in names.items():
        if known:
            made[section] = {
                key: {"name": name, **_section(project, section, key)}
                for key, name in sorted(known.items())
            }
    return made | {k: value for k, value in project.document.items() if k.startswith("x-")}


def _variables(env: tuple[str, ...]) -> dict[str, str | None]:
    parts = (text.partition("=") for text in sorted(env))
    return {name: value if equals else None for name, equals, value in parts}


def _prefixed(project: Project, section: str) -> dict[str, str]:
    entries = project.document.get(section)
    return {key: f"{project.name}_{key}" for key in entries} if isinstance(entries, dict) else {}


def _section(project: Project, section: str, key: str) -> dict[str, object]:
    entries = project.document.get(section)
    found = entries.get(key) if isinstance(entries, dict) else None
    return dict(found) if isinstance(found, dict) else {}


def as_yaml(document: object) -> str:
    """Write a document as YAML that compose reads back as the same."""
    import yaml

    escaped = _escaped(document)
    return str(yaml.safe_dump(escaped, sort_keys=False, default_flow_style=False, width=4096))


def as_json(document: object) -> str:
    """Write a document as JSON."""
    return json.dumps(_escaped(document), indent=2)


def _escaped(value: object) -> object:
    """Write each dollar twice: what is printed is a compose file again."""
    match value:
        case str():
            return value.replace("$", "$$")
        case dict():
            return {key: _escaped(each) for key, each in value.items()}
        case list():
            return [_escaped(each) for each in value]
    return value
