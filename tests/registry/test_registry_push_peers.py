"""docker, podman, skopeo and buildah push to our registry and pull from it."""

import json
import shutil
import subprocess

import pytest
from registry_peers import call, program, pulled

from ocimagic.registry.passwords import Passwords, add_user
from ocimagic.registry.server import RegistryServer, Rules, server_tls
from ocimagic.spec import mediatype

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("kind", ["oci", "v2s2"])
def test_skopeo(keeping, skopeo, client, oci_layout, image, tmp_path, kind):
    name = f"{keeping.host}/class/demo:1"
    source, plain = f"oci:{oci_layout}:demo", ("--dest-tls-verify=false", "--format", kind)
    skopeo("copy", *plain, "--dest-compress=false", source, f"docker://{name}")
    manifest = pulled(client, name)
    wanted = mediatype.OCI_MANIFEST if kind == "oci" else mediatype.DOCKER_MANIFEST
    assert manifest.media_type == wanted
    skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{tmp_path / 'got'}")
    assert (tmp_path / "got/manifest.json").read_bytes() == manifest.raw
    # Mounted: the second repository gets no bytes.
    other = f"docker://{keeping.host}/class/other:1"
    unsafe = ("--src-tls-verify=false", "--dest-tls-verify=false")
    skopeo("copy", *unsafe, f"docker://{name}", other)
    assert pulled(client, f"{keeping.host}/class/other:1").digest == manifest.digest
    skopeo("delete", "--tls-verify=false", f"docker://{name}")
    assert json.loads(skopeo("list-tags", "--tls-verify=false", other[:-2]))["Tags"] == ["1"]


def test_skopeo_reads_the_directory_itself(keeping, skopeo, oci_layout, tmp_path):
    target = f"docker://{keeping.host}/class/demo:1"
    skopeo("copy", "--dest-tls-verify=false", f"oci:{oci_layout}:demo", target)
    skopeo("copy", f"oci:{tmp_path / 'kept'}:class/demo:1", f"dir:{tmp_path / 'got'}")
    assert (tmp_path / "got/manifest.json").exists()


def test_skopeo_with_a_login_over_tls(kept, skopeo, oci_layout, certificate, tmp_path):
    add_user(tmp_path / "htpasswd", "ada", "lovelace")
    cert, key = certificate
    (tmp_path / "trusted").mkdir()
    shutil.copy(cert, tmp_path / "trusted/ca.crt")
    rules = Rules(tls=server_tls(str(cert), str(key)), passwords=Passwords(tmp_path / "htpasswd"))
    trusted = ("--dest-cert-dir", tmp_path / "trusted")
    with RegistryServer(kept, rules=rules) as server:
        words = (f"oci:{oci_layout}:demo", f"docker://{server.host}/class/demo:1")
        skopeo("copy", *trusted, "--dest-creds", "ada:lovelace", *words)
        assert kept.tags("class/demo").keys() == {"1"}
        for wrong in (("--dest-creds", "ada:wrong"), ()):
            with pytest.raises(AssertionError, match=r"unauthorized|authentication required|login"):
                skopeo("copy", *trusted, *wrong, *words)


@pytest.mark.parametrize("name", ["podman", "buildah"])
def test_podman_and_buildah(as_root, keeping, client, root_tar, tmp_path, short, name):
    command = [program(name), "--root", tmp_path / "store", "--runroot", short / "run"]
    command += ["--storage-driver", "vfs"]
    target = f"{keeping.host}/class/{name}:1"
    if name == "podman":
        call(*command, "import", root_tar, target)
    else:
        made = call(*command, "from", "scratch").strip()
        call(*command, "add", made, root_tar)
        call(*command, "commit", made, target)
    try:
        call(*command, "push", "--tls-verify=false", target)
        call(*command, "push", "--tls-verify=false", target, f"docker://{target}-again")
        manifest = pulled(client, target)
        call(*command, "rmi", "--force", target)
        call(*command, "pull", "--tls-verify=false", target)
        told = json.loads(call(*command, "inspect", "--type", "image", target))
        told = told[0] if isinstance(told, list) else told
        assert manifest.config.digest.hex in json.dumps(told)
    finally:
        subprocess.run(["umount", "-l", tmp_path / "store/vfs"], capture_output=True, check=False)


def test_docker(docker, root_tar):
    docker, host = docker
    target = f"{host}/class/docker:1"
    first = docker("import", root_tar, target).strip()
    docker("push", target)
    docker("tag", target, f"{host}/class/other:1")
    assert "Mounted from class/docker" in docker("push", f"{host}/class/other:1")
    for name in (target, f"{host}/class/other:1"):
        docker("rmi", name)
    assert not docker("images", "--quiet").strip()
    docker("pull", target)
    assert docker("images", "--quiet", "--no-trunc").strip() == first
