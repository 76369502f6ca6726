"""The real thing: Debian's registry, filled by skopeo with a real Debian and a busybox."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from rootfs import MadeImage

from ocimagic.spec.digest import Digest

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@pytest.fixture(scope="module")
def debian_tar(tmp_path_factory):
    """The one that OCIMAGIC_DEBIAN names, as CI makes it for all accounts, or one of our own."""
    given = os.environ.get("OCIMAGIC_DEBIAN")
    if given and os.path.exists(given):
        return Path(given)
    if not shutil.which("mmdebstrap"):
        pytest.skip("mmdebstrap is not installed")
    path = tmp_path_factory.mktemp("debian") / "debian.tar"
    quick = "--dpkgopt=force-unsafe-io"  # it is thrown away: no waiting for the disk
    command = ["mmdebstrap", "--quiet", "--variant=minbase", quick, "bookworm", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return path


def push(made, host, name, directory, *options):
    """Write an OCI layout and have skopeo push it."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for digest, content in (made.blobs | {made.digest: made.manifest_raw}).items():
        (blobs / digest.hex).write_bytes(content)
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    entry = (
        f'{{"mediaType":"{made.media_type}","digest":"{made.digest}","size":'
        f'{len(made.manifest_raw)},"annotations":{{"org.opencontainers.image.ref.name":"x"}}}}'
    )
    (directory / "index.json").write_text(f'{{"schemaVersion":2,"manifests":[{entry}]}}')
    command = ["skopeo", "copy", "-q", "--dest-tls-verify=false", *options]
    subprocess.run([*command, f"oci:{directory}:x", f"docker://{host}/{name}"], check=True)


def test_a_real_debian_from_a_debian_registry(shared, debian_registry, debian_tar, tmp_path):
    layer = debian_tar.read_bytes()
    config = {"Cmd": ["bash"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}
    made = MadeImage([layer], config)
    push(made, debian_registry, "debian:bookworm", tmp_path / "a", "--preserve-digests")
    push(made, debian_registry, "debian:v2s2", tmp_path / "b", "-f", "v2s2")
    done = shared.images.pull(f"{debian_registry}/debian:bookworm")
    assert done.digest == made.digest
    assert done.downloaded_bytes == made.layers[0].size + len(made.config_raw)
    docker = shared.images.pull(f"{debian_registry}/debian:v2s2")
    assert docker.downloaded_bytes < 10_000, "only its config: the layer is here already"
    details = shared.images.inspect(f"{debian_registry}/debian:v2s2")
    assert details.layers[0].diff_id == Digest.of(layer)

    def run(script, **options):
        result = shared.containers.run(
            f"{debian_registry}/debian:bookworm",
            ["bash", "-c", script],
            network="none",
            remove=True,
            **options,
        )
        assert result.exit_code == 0, result.stderr
        return result.stdout.decode()

    assert "VERSION_CODENAME=bookworm" in run("cat /etc/os-release")
    assert run("dpkg --verify; dpkg -l | grep -c ^ii").strip().isdigit(), "every file is right"
    with tarfile.open(debian_tar) as tar:
        names = {member.name.removeprefix("./").rstrip("/") for member in tar}
    # The mount points are other file systems now; -xdev lists them but not what is in them.
    seen = {line[1:] for line in run("find / -xdev").splitlines()}
    assert {name for name in names if not name.startswith(("dev/", "proc/", "sys/"))} - seen <= {
        "", ".",
    }  # fmt: skip
    assert run("stat -c %a:%u:%g /usr/bin/passwd /etc/shadow /tmp").split() == [
        "4755:0:0",
        "640:0:42",
        "1777:0:0",
    ]
    assert "uid=33(www-data)" in run("id", user="www-data")
