"""What real clients sent to have a container made; ``tools/record_create.py`` recorded it."""

import json
from pathlib import Path

FILE = Path(__file__).parent / "create_bodies.json"


def recorded():
    """Yield client, words of a command line, body and query."""
    for client, kept in json.loads(FILE.read_text()).items():
        plain = kept["plain"]
        for case in kept["cases"]:
            body = changed(plain, case.get("config", {}))
            if "HostConfig" in plain or "host" in case:
                host = plain.get("HostConfig") or {}
                body["HostConfig"] = changed(host, case.get("host", {}))
            yield client, case["words"], body, case.get("query", {})


def changed(plain, difference):
    lost = difference.get("-", ())
    more = {key: value for key, value in difference.items() if key != "-"}
    return {key: value for key, value in {**plain, **more}.items() if key not in lost}
