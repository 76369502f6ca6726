"""Other programs that push to our registry and pull from it."""

import contextlib
import os
import shutil
import subprocess
import time

import pytest
from pusher import process

from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import parse_manifest
from ocimagic.spec.reference import Reference

NETNS = f"ocimagic-push-{os.getpid()}"


def program(name):
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def call(*words, **options):
    done = subprocess.run(
        [*map(str, words)], capture_output=True, text=True, timeout=60, check=False, **options
    )
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stderr}"
    return done.stdout


def pulled(client, name):
    """Pull an image with our own client and check each byte; returns its manifest."""
    reference = Reference.parse(name)
    raw, content_type = client.manifest(reference)
    manifest = parse_manifest(raw, content_type=content_type)
    for blob in (manifest.config, *manifest.layers):
        with client.open_blob(reference, blob) as stream:
            assert Digest.of(b"".join(stream.chunks)) == blob.digest
    return manifest


@contextlib.contextmanager
def dockerd(tmp_path, users=""):
    """A dockerd in a network namespace of its own, and our registry beside it there.

    Yields what calls docker, and the registry's host; ``users`` get tokens there.
    """
    daemon, client, ip = program("dockerd"), program("docker"), program("ip")
    call(ip, "netns", "add", NETNS)
    inside = ["nsenter", f"--net=/run/netns/{NETNS}"]
    words = [
        *inside, daemon, "--data-root", tmp_path / "docker", "--exec-root", tmp_path / "exec",
        "--host", f"unix://{tmp_path}/docker.sock", "--pidfile", tmp_path / "docker.pid",
        "--bridge", "none", "--iptables=false", "--log-level", "error",
    ]  # fmt: skip
    with contextlib.ExitStack() as undo:
        undo.callback(call, ip, "netns", "del", NETNS)
        call(ip, "-n", NETNS, "link", "set", "lo", "up")
        log = undo.enter_context((tmp_path / "docker.log").open("wb"))
        running = subprocess.Popen([*map(str, words)], stdout=log, stderr=log)
        undo.callback(
            subprocess.run, ["umount", "-l", tmp_path / "exec/netns/default"],
            check=False, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        undo.callback(running.wait, 20)
        undo.callback(running.terminate)
        _, host = undo.enter_context(process(tmp_path / "kept", inside, users))
        command = [
            client,
            "--config",
            tmp_path / "config",
            "--host",
            f"unix://{tmp_path}/docker.sock",
        ]
        deadline = time.monotonic() + 20
        while subprocess.run([*command, "version"], capture_output=True, check=False).returncode:
            assert running.poll() is None, (tmp_path / "docker.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "dockerd does not answer"
            time.sleep(0.1)
        yield lambda *words, **options: call(*command, *words, **options), host
