"""Where ``login`` writes and ``logout`` forgets: docker's file, or the helper it names."""

import base64
import json
import os
import stat

import pytest

from ocimagic.errors import InvalidDocument, InvalidOption, StorageError
from ocimagic.registry.credentials import HUB_KEY, Credentials
from ocimagic.registry.loginfile import LoginFile, registry_host

HELPER = """#!/bin/sh
echo "$1" >>"$LOG/verbs"
cat >"$LOG/$1"
[ "$1" != get ] || cat "$LOG/store" 2>/dev/null || { echo "credentials not found"; exit 1; }
"""


@pytest.fixture
def env(tmp_path):
    return {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "LOG": str(tmp_path)}


@pytest.fixture
def file(tmp_path, env):
    return LoginFile.of(tmp_path, env)


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".docker/config.json"


@pytest.fixture
def helper(tmp_path, path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/docker-credential-box"
    program.write_text(HELPER)
    program.chmod(0o755)
    path.parent.mkdir()
    path.write_text('{"credsStore": "box"}')
    return program


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("", "docker.io"),
        ("docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("Quay.IO", "quay.io"),
        ("https://localhost:5000/", "localhost:5000"),
        ("http://[::1]:5000/v2/", "[::1]:5000"),
    ],
)
def test_hosts(text, host):
    assert registry_host(text) == host


@pytest.mark.parametrize("text", ["quay.io/team", "a b", "https://ghcr.io/x/y"])
def test_what_is_no_host(text):
    with pytest.raises(InvalidOption, match="not the name of a registry"):
        registry_host(text)


def test_a_login_is_where_docker_and_we_find_it(tmp_path, env, file, path):
    kept = file.store("quay.io", "ada", "love:lace")
    assert (kept.where, kept.is_readable) == (str(path), True)
    packed = json.loads(path.read_text())["auths"]["quay.io"]["auth"]
    assert base64.b64decode(packed) == b"ada:love:lace"
    found = Credentials(tmp_path, env).lookup("quay.io")
    assert (found.username, found.password) == ("ada", "love:lace")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["config.json"]


def test_the_hub_has_its_old_name(file, path):
    file.store("docker.io", "ada", "x")
    assert list(json.loads(path.read_text())["auths"]) == [HUB_KEY]
    assert file.erase("docker.io") is True
    assert json.loads(path.read_text())["auths"] == {}
    assert file.erase("docker.io") is False


def test_what_else_is_in_the_file_stays(file, path):
    path.parent.mkdir()
    others = {
        "auths": {"ghcr.io": {"auth": "eA=="}},
        "currentContext": "x",
        "HttpHeaders": {"A": "b"},
    }
    path.write_text(json.dumps(others))
    file.store("quay.io", "ada", "x")
    file.erase("quay.io")
    assert json.loads(path.read_text()) == others


def test_a_link_stays_a_link(tmp_path, file, path):
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings/docker.json").write_text("{}")
    path.parent.mkdir()
    path.symlink_to(tmp_path / "settings/docker.json")
    file.store("quay.io", "ada", "x")
    assert path.is_symlink()
    assert "quay.io" in (tmp_path / "settings/docker.json").read_text()


def test_a_helper_gets_the_secret_and_the_file_does_not(tmp_path, env, helper, file, path):
    kept = file.store("quay.io", "ada", "secret")
    assert (kept.where, kept.is_readable) == ("docker-credential-box", False)
    assert "secret" not in path.read_text()
    assert json.loads((tmp_path / "store").read_text())["Secret"] == "secret"
    assert Credentials(tmp_path, env).lookup("quay.io").password == "secret"
    assert file.erase("quay.io") is True
    assert (tmp_path / "erase").read_text() == "quay.io"


def test_a_helper_for_one_registry(helper, file, path):
    path.write_text('{"credHelpers": {"quay.io": "box"}}')
    assert not file.store("quay.io", "ada", "x").is_readable
    assert file.store("ghcr.io", "ada", "x").is_readable


def test_a_helper_that_is_missing_or_fails(tmp_path, helper, file, path):
    helper.write_text("#!/bin/sh\necho it is locked; exit 1\n")
    with pytest.raises(StorageError, match="cannot store the login") as caught:
        file.store("quay.io", "ada", "secret")
    assert "it is locked" in caught.value.why
    helper.unlink()
    with pytest.raises(StorageError, match="docker-credential-box is not installed"):
        file.store("quay.io", "ada", "secret")
    assert json.loads(path.read_text()) == {"credsStore": "box"}, "nothing was written"


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": []}'])
def test_a_damaged_file_is_left_as_it_is(file, path, content):
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InvalidDocument):
        file.store("quay.io", "ada", "x")
    assert path.read_text() == content


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_nobody_may_write(file, path):
    path.parent.mkdir(mode=0o500)
    with pytest.raises(StorageError, match="cannot write"):
        file.store("quay.io", "ada", "x")
