"""A tiny Debian mirror, made of nothing: a few packages whose programs are busybox and shell."""

import gzip
import hashlib
import http.server
import lzma
import os
import re
import shutil
import subprocess
import tarfile
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from rootfs import tar_of

from ocimagic.build.debian.sites import architecture
from ocimagic.spec.platform import host_platform

ARCHITECTURE = architecture(host_platform())

# Enough of dpkg for the script of ``settings``: it keeps what it was asked in a log.
DPKG = b"""#!/bin/sh
echo "$@" >>/dpkg.log
case "$*" in *--fail*) exit 1;; esac
exit 0
"""


def ar(*members):
    parts = [b"!<arch>\n"]
    for name, content in members:
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    return b"".join(parts)


def deb(*entries, pack=lzma.compress, suffix=".xz"):
    """Make a .deb with these files."""
    control = gzip.compress(tar_of(("control", b"Package: x\n")))
    return ar(
        ("debian-binary", b"2.0\n"), ("control.tar.gz", control),
        (f"data.tar{suffix}", pack(tar_of(*entries))),
    )  # fmt: skip


def busybox_entries():
    with open(shutil.which("busybox"), "rb") as file:
        content = file.read()
    yield ("./usr", None)
    yield ("./usr/bin", None)
    yield ("./usr/bin/busybox", content, {"mode": 0o755})
    for name in ("rm", "tail", "ln", "cat", "ls", "tar", "chmod"):
        yield (
            f"./usr/bin/{name}", None,
            {"type": tarfile.SYMTYPE, "linkname": "busybox", "mode": 0o777},
        )  # fmt: skip


def shell_entries():
    """The machine's own shell: busybox's would run its own dpkg whatever is in the path."""
    program = os.path.realpath(shutil.which("dash"))
    told = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    libraries = re.findall(r"(/\S+) \(0x", told)
    made = set()
    targets = {program: "usr/bin/sh"}
    targets |= {each: f"usr{each}".replace("usr/usr/", "usr/") for each in libraries}
    for path, name in targets.items():
        above = name.split("/")[:-1]
        for count in range(1, len(above) + 1):
            directory = "/".join(above[:count])
            if directory not in made:
                made.add(directory)
                yield (f"./{directory}", None)
        with open(path, "rb") as file:
            yield (f"./{name}", file.read(), {"mode": 0o755})


class Mirror:
    """Files by path, and what was asked for.

    Args:
        home: where a key is made, None for no signature.
    """

    def __init__(self, home=None):
        self.files = {}
        self.asked = []
        self.home = home
        self.stanzas = []

    def add(self, name, content, *, version="1.0-1", **fields):
        path = f"pool/{name}_{version}.deb"
        self.files[path] = content
        said = {
            "Package": name, "Version": version, "Architecture": "all", "Filename": path,
            "Size": len(content), "SHA256": hashlib.sha256(content).hexdigest(),
            **{key.replace("_", "-"): value for key, value in fields.items()},
        }  # fmt: skip
        self.stanzas.append("\n".join(f"{key}: {value}" for key, value in said.items()))

    def publish(self, suite="tiny", architecture=ARCHITECTURE):
        plain = "\n\n".join(self.stanzas).encode() + b"\n"
        base = f"main/binary-{architecture}/Packages"
        indexes = {base: plain, f"{base}.xz": lzma.compress(plain)}
        lines = [
            "Origin: Test", f"Suite: {suite}", f"Codename: {suite}",
            f"Date: {format_datetime(datetime.now(UTC))}",
            f"Valid-Until: {format_datetime(datetime.now(UTC) + timedelta(days=7))}",
            f"Architectures: {architecture}", "Components: main", "SHA256:",
        ]  # fmt: skip
        for path, content in indexes.items():
            self.files[f"dists/{suite}/{path}"] = content
            lines.append(f" {hashlib.sha256(content).hexdigest()} {len(content)} {path}")
        release = "\n".join(lines).encode() + b"\n"
        del self.files[f"dists/{suite}/{base}"]  # as on real mirrors
        if self.home is None:
            self.files[f"dists/{suite}/Release"] = release
        else:
            self.files[f"dists/{suite}/InRelease"] = self._signed(release)

    def _gpg(self, *words, **options):
        return subprocess.run(
            ["gpg", "--homedir", self.home, "--batch", "--quiet", *words],
            check=True, capture_output=True, **options,
        ).stdout  # fmt: skip

    def make_key(self):
        """Make the archive's key; return the keyring's path."""
        self.home.mkdir(mode=0o700)
        self._gpg("--passphrase", "", "--quick-gen-key", "archive@test", "ed25519", "sign", "never")
        keyring = self.home / "keyring.gpg"
        keyring.write_bytes(self._gpg("--export"))
        return keyring

    def end_agent(self):
        """End the agent that gpg started for this key: it would stay."""
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "gpg-agent"], check=True)

    def _signed(self, document):
        return self._gpg("--clearsign", input=document)

    @contextmanager
    def serve(self):
        """Serve it from loopback; yields its URL."""
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.lstrip("/")
                mirror.asked.append(path)
                content = mirror.files.get(path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_):
                """Say nothing."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def tiny(mirror, one=b"1\n"):
    """Fill a mirror with the smallest system that the script of ``settings`` works in."""
    busybox = deb(*busybox_entries(), pack=bytes, suffix="")
    mirror.add("busybox", busybox, Essential="yes", Priority="required", Depends="dash")
    mirror.add("dash", deb(*shell_entries(), pack=bytes, suffix=""), Priority="optional")
    program = deb(("./usr", None), ("./usr/bin", None), ("./usr/bin/dpkg", DPKG, {"mode": 0o755}))
    mirror.add("dpkg", program, Essential="yes", Priority="required", Depends="busybox, one | two")
    etc = [("./etc", None), ("./etc/one", one), ("./etc/machine-id", b"abc\n")]
    mirror.add("one", deb(*etc), Priority="optional", Provides="virtual (= 2)")
    mirror.add("two", deb(("./etc", None)), Priority="optional")
    mirror.add("apt", deb(("./etc", None)), Priority="important", Depends="virtual (>= 2)")
    mirror.add("unneeded", deb(("./etc", None)), Priority="optional")
    return mirror
