"""A client that pushes by hand, and the registries it pushes to."""

import contextlib
import hashlib
import http.client
import json
import os
import subprocess
import sys
from pathlib import Path

from ocimagic.spec import mediatype
from ocimagic.spec.digest import Digest

ROOM = Path(__file__).resolve().parents[2]
_SERVE = """
import sys
from pathlib import Path
from ocimagic.registry.directory import RegistryDirectory
from ocimagic.registry.passwords import Passwords
from ocimagic.registry.server import RegistryServer, Rules
from ocimagic.registry.tokens import TokenServer
kept, rules = RegistryDirectory(Path(sys.argv[1])), Rules()
if users := sys.argv[2]:
    rules = Rules(tokens=TokenServer(Passwords(Path(users)), kept.secret()))
server = RegistryServer(kept, rules=rules)
print(server.host, flush=True)
sys.stdin.read()
"""


class Answer:
    def __init__(self, raw):
        self.status = raw.status
        self.headers = raw.headers
        self.body = raw.read()

    @property
    def code(self):
        return json.loads(self.body)["errors"][0]["code"]

    @property
    def json(self):
        return json.loads(self.body)


class Pusher:
    """One connection to a registry; ``Authorization`` and others go with each request."""

    def __init__(self, host, connection=http.client.HTTPConnection, **headers):
        self.connection = connection(host, timeout=10)
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def ask(self, method, path, body=None, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        chunked = hasattr(body, "__next__")
        self.connection.request(method, path, body, self.headers | named, encode_chunked=chunked)
        return Answer(self.connection.getresponse())

    def begin(self, name):
        """Begin an upload and return its address."""
        answer = self.ask("POST", f"/v2/{name}/blobs/uploads/")
        assert (answer.status, answer.headers["Range"]) == (202, "0-0")
        return answer.headers["Location"]

    def blob(self, name, content):
        """Push a blob as docker does: one PATCH without a length, then the digest."""
        digest = Digest.of(content)
        place = self.begin(name)
        pieces = (content[at : at + 100_000] for at in range(0, len(content), 100_000))
        answer = self.ask("PATCH", place, iter(pieces), Transfer_Encoding="chunked")
        assert answer.status == 202, answer.body
        answer = self.ask("PUT", f"{answer.headers['Location']}?digest={digest}")
        assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, digest)
        return digest

    def manifest(self, name, reference, raw, media_type=mediatype.OCI_MANIFEST):
        return self.ask("PUT", f"/v2/{name}/manifests/{reference}", raw, Content_Type=media_type)

    def image(self, name, tag, layers, **more):
        """Push a whole image; returns the bytes of its manifest."""
        raw = image(layers, **more)
        for content in (CONFIG, *layers):
            self.blob(name, content)
        answer = self.manifest(name, tag, raw)
        assert answer.status == 201, answer.body
        return raw


CONFIG = json.dumps(
    {
        "os": "linux",
        "architecture": "amd64",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": []},
    }
).encode()


def image(layers, /, **more):
    """Return a manifest of these layers, an image of linux on amd64."""
    parts = [(mediatype.OCI_CONFIG, CONFIG), *((mediatype.OCI_LAYER, each) for each in layers)]
    described = [
        {"mediaType": kind, "size": len(each), "digest": str(Digest.of(each))}
        for kind, each in parts
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_MANIFEST,
        "config": described[0],
        "layers": described[1:],
    }
    return json.dumps(document | more).encode()


@contextlib.contextmanager
def process(directory, before=(), users=""):
    """Serve a directory from a process of its own; yields it and its host.

    ``before`` is what its command line begins with; ``users`` a file of those who get tokens.
    """
    serving = subprocess.Popen(
        [*before, sys.executable, "-c", _SERVE, directory, users],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOM)},
    )
    with serving:
        try:
            yield serving, serving.stdout.readline().strip()
        finally:
            serving.kill()


def assert_whole(directory, *, sparse=False):
    """Look at a registry's directory as an OCI layout: every file is what its name says."""
    files = {}
    for path in (directory / "blobs" / "sha256").iterdir():
        content = path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == path.name
        files[f"sha256:{path.name}"] = content
    assert json.loads((directory / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((directory / "index.json").read_text())
    for entry in index["manifests"]:
        if not entry["digest"].startswith("sha256:"):
            continue
        document = json.loads(files[entry["digest"]])
        assert len(files[entry["digest"]]) == entry["size"]
        for part in (document.get("config"), *document.get("layers", ())):
            is_here = part and not part.get("urls") and (part["digest"] in files or not sparse)
            assert not is_here or len(files[part["digest"]]) == part["size"]
    names = [
        entry.get("annotations", {}).get("org.opencontainers.image.ref.name")
        for entry in index["manifests"]
    ]
    named = [name for name in names if name]
    assert len(named) == len(set(named))
