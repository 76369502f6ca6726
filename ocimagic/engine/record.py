"""A container's document in the database: what was asked for, as JSON and back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from ocimagic.model.options import NetworkMode, PullPolicy, RunOptions, VolumeMount


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What the engine remembers of a container besides its row.

    Attributes:
        command: what runs, entrypoint included.
        network: what it really gets.
        layers: snapshot names, bottom first.
    """

    options: RunOptions
    image_id: str
    command: tuple[str, ...]
    hostname: str
    network: str
    layers: tuple[str, ...]

    def encode(self) -> str:
        """Write it as JSON."""
        options = asdict(self.options)
        options |= {
            "network": self.options.network.value,
            "pull": self.options.pull.value,
            "platform": None,
            "labels": dict(self.options.labels),
        }
        rest = {
            each.name: getattr(self, each.name) for each in fields(self) if each.name != "options"
        }
        return json.dumps(rest | {"options": options})

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read it back."""
        content: dict[str, Any] = json.loads(text)
        options = content["options"]
        volumes = tuple(VolumeMount(**each) for each in options["volumes"])
        lists = ("command", "env", "cap_add", "cap_drop")
        entrypoint = options["entrypoint"]
        options |= {name: tuple(options[name]) for name in lists} | {
            "volumes": volumes,
            "entrypoint": None if entrypoint is None else tuple(entrypoint),
            "network": NetworkMode(options["network"]),
            "pull": PullPolicy(options["pull"]),
        }
        return cls(
            options=RunOptions(**options),
            image_id=content["image_id"],
            command=tuple(content["command"]),
            hostname=content["hostname"],
            network=content["network"],
            layers=tuple(content["layers"]),
        )
