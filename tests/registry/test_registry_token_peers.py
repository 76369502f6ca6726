"""docker, podman, skopeo and buildah get tokens from our registry, and are refused by it."""

import json
import shutil
import subprocess

import pytest
from registry_peers import call, dockerd, program, pulled

from ocimagic.registry.client import RegistryClient
from ocimagic.registry.passwords import Passwords, add_user
from ocimagic.registry.server import RegistryServer, Rules, server_tls
from ocimagic.registry.tokens import TokenServer

pytestmark = pytest.mark.peer
REFUSED = r"unauthorized|authentication required|invalid username/password|do not go together|login"


@pytest.fixture
def users(tmp_path):
    add_user(tmp_path / "htpasswd", "ada", "lovelace")
    return tmp_path / "htpasswd"


@pytest.fixture
def asked():
    return []


@pytest.fixture
def serve(kept, users, asked):
    """Serve with tokens, until the end of the test."""
    opened = []

    def serve(anonymous_pull=False, **rules):
        tokens = TokenServer(Passwords(users), kept.secret(), anonymous_pull=anonymous_pull)
        rules = Rules(tokens=tokens, may_delete=True, **rules)
        opened.append(
            RegistryServer(kept, rules=rules, on_request=lambda *each: asked.append(each))
        )
        return opened[-1]

    yield serve
    for each in opened:
        each.close()


def test_skopeo(serve, skopeo, oci_layout, transport, logged_in, tmp_path):
    server = serve()
    name, other = (f"docker://{server.host}/class/{each}:1" for each in ("demo", "other"))
    login, plain = ("--dest-creds", "ada:lovelace"), "--dest-tls-verify=false"
    source = f"oci:{oci_layout}:demo"
    skopeo("copy", plain, *login, source, name)
    client = RegistryClient(transport, logged_in(server.host))
    pulled(client, name.removeprefix("docker://"))
    both = ("--src-tls-verify=false", plain, "--src-creds", "ada:lovelace", *login)
    skopeo("copy", *both, name, other)  # mounted
    for wrong in (("--dest-creds", "ada:wrong"), ("--dest-no-creds",)):
        with pytest.raises(AssertionError, match=REFUSED):
            skopeo("copy", plain, *wrong, source, name)
    with pytest.raises(AssertionError, match=REFUSED):
        skopeo("inspect", "--tls-verify=false", "--no-creds", name)
    skopeo("delete", "--tls-verify=false", "--creds", "ada:lovelace", name)
    listed = skopeo("list-tags", "--tls-verify=false", "--creds", "ada:lovelace", other[:-2])
    assert json.loads(listed)["Tags"] == ["1"]


def test_skopeo_over_tls(serve, skopeo, oci_layout, certificate, kept, tmp_path):
    cert, key = certificate
    server = serve(tls=server_tls(str(cert), str(key)))
    (tmp_path / "trusted").mkdir()
    shutil.copy(cert, tmp_path / "trusted/ca.crt")
    trusted = ("--dest-cert-dir", tmp_path / "trusted", "--dest-creds", "ada:lovelace")
    skopeo("copy", *trusted, f"oci:{oci_layout}:demo", f"docker://{server.host}/class/demo:1")
    assert kept.tags("class/demo").keys() == {"1"}


def test_skopeo_without_a_login_where_everybody_may_pull(serve, skopeo, oci_layout, tmp_path):
    server = serve(anonymous_pull=True)
    name, source = f"docker://{server.host}/class/demo:1", f"oci:{oci_layout}:demo"
    with pytest.raises(AssertionError, match=REFUSED):
        skopeo("copy", "--dest-tls-verify=false", source, name)
    skopeo("copy", "--dest-tls-verify=false", "--dest-creds", "ada:lovelace", source, name)
    skopeo("copy", "--src-tls-verify=false", name, f"dir:{tmp_path / 'got'}")
    assert (tmp_path / "got/manifest.json").exists()


@pytest.mark.parametrize("name", ["podman", "buildah"])
def test_podman_and_buildah(as_root, serve, root_tar, tmp_path, short, name, asked):
    server = serve()
    command = [program(name), "--root", tmp_path / "store", "--runroot", short / "run"]
    command += ["--storage-driver", "vfs"]
    logins = ("--authfile", tmp_path / "auth.json", "--tls-verify=false")
    target = f"{server.host}/class/{name}:1"
    if name == "podman":
        call(*command, "import", root_tar, target)
    else:
        made = call(*command, "from", "scratch").strip()
        call(*command, "add", made, root_tar)
        call(*command, "commit", made, target)
    try:
        for password in ("wrong", "lovelace"):
            words = ("login", *logins, "--username", "ada", "--password-stdin", server.host)
            if password == "wrong":
                with pytest.raises(AssertionError, match=REFUSED):
                    call(*command, *words, input=password)
                with pytest.raises(AssertionError, match=REFUSED):
                    call(*command, "push", "--tls-verify=false", target)
            else:
                assert "Login Succeeded" in call(*command, *words, input=password)
        call(*command, "push", *logins, target)
        call(*command, "rmi", "--force", target)
        with pytest.raises(AssertionError, match=REFUSED):
            call(*command, "pull", "--tls-verify=false", target)
        call(*command, "pull", *logins, target)
        assert any(f"scope=repository%3Aclass%2F{name}" in path for _, path, _ in asked)
    finally:
        subprocess.run(["umount", "-l", tmp_path / "store/vfs"], capture_output=True, check=False)


def test_docker(as_root, root_tar, users, tmp_path):
    with dockerd(tmp_path, users) as (docker, host):
        target = f"{host}/class/docker:1"
        first = docker("import", root_tar, target).strip()
        login = ("login", "--username", "ada", "--password-stdin", host)
        with pytest.raises(AssertionError, match=REFUSED):
            docker("push", target)
        with pytest.raises(AssertionError, match=REFUSED):
            docker(*login, input="wrong")
        assert "Login Succeeded" in docker(*login, input="lovelace")
        kept = json.loads((tmp_path / "config/config.json").read_text())["auths"][host]
        assert kept["identitytoken"], "docker keeps a refresh token, not the password"
        docker("push", target)
        docker("tag", target, f"{host}/class/other:1")
        assert "Mounted from class/docker" in docker("push", f"{host}/class/other:1")
        for name in (target, f"{host}/class/other:1"):
            docker("rmi", name)
        docker("pull", target)
        assert docker("images", "--quiet", "--no-trunc").strip() == first
        docker("rmi", target)
        add_user(users, "ada", "changed")
        with pytest.raises(AssertionError, match=REFUSED):
            docker("pull", target)
