"""What docker's answers always have, and where one of ours has not; see tools/record_api.py.

Beside it what moby's description says of their types; see tools/distill_api.py.
"""

import json
from pathlib import Path

from jsonschema import Draft4Validator

_PUBLISHED = json.loads((Path(__file__).parent / "published_api.json").read_text())
GOLDEN = json.loads((Path(__file__).parent / "golden_api.json").read_text())
_NAMES = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}


def differences(operation, document):
    """Return which paths are not there, or have a type that docker never sent.

    Null is as good as a list or an object: which of both Go sends depends on how it was made.
    """
    found = []
    for path, types in GOLDEN.get(operation, {}).items():  # docker could not be asked for all
        for value in _at(document, _steps(path)):
            kind = "missing" if value is _MISSING else _NAMES.get(type(value), "number")
            allowed = set(types.split("|"))
            if allowed & {"object", "array"}:
                allowed |= {"null"}
            if allowed == {"null"}:  # docker never had a value there
                allowed |= {"object", "array", kind} - {"missing"}
            if kind not in allowed:
                found.append(f"{path}: {kind}, not {types}")
    return sorted(set(found))


_MISSING = object()


def _steps(path):
    return path.replace("[]", ".[]").split(".")[1:] if path else []


def _at(value, steps):
    """Yield the values at a path, once ``_MISSING`` for each object without the last key."""
    if not steps:
        yield value
        return
    first, rest = steps[0], steps[1:]
    if first == "[]" and isinstance(value, list):
        for each in value:
            yield from _at(each, rest)
    elif first == "*" and isinstance(value, dict):
        for each in value.values():
            yield from _at(each, rest)
    elif isinstance(value, dict) and first not in ("[]", "*"):
        if first in value:
            yield from _at(value[first], rest)
        elif not rest:
            yield _MISSING


def faults(operation, document):
    """Yield where a document is not what the description of docker's API says."""
    schema = _PUBLISHED["operations"].get(operation)
    if schema is None:
        return
    validator = Draft4Validator({**schema, "definitions": _PUBLISHED["definitions"]})
    for error in validator.iter_errors(document):
        yield f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
