"""Take from the published description of docker's API what answers look like, and only that.

The description is moby's api/swagger.yaml (Apache-2.0), as Debian's package
golang-github-docker-docker-dev has it; the result, tests/wire/published_api.json, is a JSON
schema per operation, without texts and examples:

    python tools/distill_api.py /usr/share/gocode/src/github.com/docker/docker/api/swagger.yaml

Lists and objects may be null in it, because Go sends nil as null.  Where docker 20.10's own
answers are not what the description says, the answers are right: see ``_corrected``.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

TARGET = Path(__file__).resolve().parents[1] / "tests/wire/published_api.json"
OPERATIONS = {
    "BuildPrune",
    "ContainerChanges",
    "ContainerCreate",
    "ContainerExec",
    "ContainerInspect",
    "ContainerList",
    "ContainerPrune",
    "ContainerTop",
    "ContainerUpdate",
    "ContainerWait",
    "DistributionInspect",
    "ExecInspect",
    "ImageCommit",
    "ImageDelete",
    "ImageHistory",
    "ImageInspect",
    "ImageList",
    "ImagePrune",
    "ImageSearch",
    "NetworkCreate",
    "NetworkInspect",
    "NetworkList",
    "NetworkPrune",
    "SystemAuth",
    "SystemDataUsage",
    "SystemEvents",
    "SystemInfo",
    "SystemVersion",
    "VolumeCreate",
    "VolumeInspect",
    "VolumeList",
    "VolumePrune",
}
KEPT = ("type", "required", "enum", "additionalProperties", "items", "properties", "allOf", "$ref")


def schema(said: dict) -> dict:
    """Return a schema of the description as JSON Schema has it."""
    found = {key: said[key] for key in KEPT if key in said}
    if "$ref" in found:
        return {"$ref": found["$ref"]}
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = schema(found[key])
    if "properties" in found:
        found["properties"] = {
            name: _corrected(name, schema(each)) for name, each in found["properties"].items()
        }
    if "allOf" in found:
        found["allOf"] = [schema(each) for each in found["allOf"]]
    kind = found.get("type")
    if kind in ("array", "object") or (said.get("x-nullable") and kind):
        found["type"] = [kind, "null"]
    return found


def _corrected(name: str, found: dict) -> dict:
    """Return the schema of a field as docker really fills it."""
    if name in ("MemorySwappiness", "ExitCode") and found.get("type") == "integer":
        return found | {"type": ["integer", "null"]}
    if name == "Isolation":
        return found | {"enum": ["", *found["enum"]]}
    if name == "Name" and "on-failure" in found.get("enum", ()):
        return found | {"enum": ["no", *found["enum"]]}
    if name == "Containers" and found.get("items") == {"$ref": "#/definitions/ContainerSummary"}:
        return found | {"items": {"type": ["object", "null"]}}  # there is a list too many
    return found


def needed(value: object) -> Iterator[str]:
    """Yield the names of the definitions that a schema refers to."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"].rpartition("/")[2]
        for each in value.values():
            yield from needed(each)
    elif isinstance(value, list):
        for each in value:
            yield from needed(each)


def main() -> None:
    document = yaml.safe_load(Path(sys.argv[1]).read_text())
    operations = {}
    for verbs in document["paths"].values():
        for verb in verbs.values():
            if isinstance(verb, dict) and verb.get("operationId") in OPERATIONS:
                answers = verb["responses"]
                good = next(each for status, each in answers.items() if str(status)[0] == "2")
                operations[verb["operationId"]] = schema(good["schema"])
    definitions = {}
    wanted = set(needed(operations))
    while wanted:
        name = wanted.pop()
        definitions[name] = schema(document["definitions"][name])
        wanted |= set(needed(definitions[name])) - set(definitions)
    version = document["info"]["version"]
    source = f"moby api/swagger.yaml {version}, Apache-2.0, distilled by tools/distill_api.py"
    result = {"source": source, "operations": operations, "definitions": definitions}
    TARGET.write_text(json.dumps(result, indent=None, separators=(",", ":"), sort_keys=True) + "\n")
    print(f"{len(operations)} operations, {len(definitions)} definitions, missing:",
          sorted(set(OPERATIONS) - set(operations)))  # fmt: skip


main()
