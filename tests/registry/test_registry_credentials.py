import base64
import json
import sys

import pytest

from ocimagic.registry.credentials import Credentials, Login

DOCKER = ".docker/config.json"
PODMAN = ".config/containers/auth.json"


def packed(user="ada", password="lovelace", end=""):
    return base64.b64encode(f"{user}:{password}{end}".encode()).decode()


def found(login):
    return login and (login.username, login.password)


@pytest.fixture
def write(tmp_path):
    def write(path, document):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        text = document if isinstance(document, str) else json.dumps(document)
        target.write_text(text)
        return target

    return write


@pytest.fixture
def helper(tmp_path):
    """Put a docker-credential-NAME program on a PATH of its own; return that PATH."""

    def install(name, body):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        script = folder / f"docker-credential-{name}"
        script.write_text(f"#!{sys.executable} -IS\nimport sys\nserver = sys.stdin.read()\n{body}")
        script.chmod(0o755)
        return str(folder)

    return install


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("quay.io", "quay.io"),
        ("https://quay.io", "quay.io"),
        ("https://Quay.io/v2/", "quay.io"),
        ("http://localhost:5000/v1", "localhost:5000"),
    ],
)
def test_keys_are_normalised(tmp_path, write, key, host):
    write(DOCKER, {"auths": {key: {"auth": packed()}}})
    assert found(Credentials(tmp_path, {}).lookup(host)) == ("ada", "lovelace")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": packed()}, ("ada", "lovelace", "", "")),
        ({"auth": packed(end="\0\0")}, ("ada", "lovelace", "", "")),
        ({"auth": packed(password="a:b")}, ("ada", "a:b", "", "")),
        ({"username": "ada", "password": "x"}, ("ada", "x", "", "")),
        ({"auth": packed(), "identitytoken": "t"}, ("ada", "lovelace", "t", "")),
        ({"registrytoken": "t"}, ("", "", "", "t")),
        ({}, None),
        ({"auth": ""}, None),
        ({"auth": "%%%"}, None),
        ({"auth": base64.b64encode(b"nocolon").decode()}, None),
        ({"auth": base64.b64encode(b"\xff:\xff").decode()}, None),
        ({"auth": 7}, None),
    ],
)
def test_entry(tmp_path, write, entry, expected):
    write(DOCKER, {"auths": {"quay.io": entry}})
    login = Credentials(tmp_path, {}).lookup("quay.io")
    actual = login and (
        login.username,
        login.password,
        login.identity_token,
        login.registry_token,
    )
    assert actual == expected


def test_order_of_places(tmp_path, write):
    places = {
        "docker/config.json": {"DOCKER_CONFIG": str(tmp_path / "docker")},
        "my-auth.json": {"REGISTRY_AUTH_FILE": str(tmp_path / "my-auth.json")},
        "run/containers/auth.json": {"XDG_RUNTIME_DIR": str(tmp_path / "run")},
        "cfg/containers/auth.json": {"XDG_CONFIG_HOME": str(tmp_path / "cfg")},
    }
    env = {name: value for each in places.values() for name, value in each.items()}
    for path in places:
        write(path, {"auths": {"quay.io": {"auth": packed(user=path)}}})
    write(".dockercfg", {"quay.io": {"auth": packed(user=".dockercfg")}})
    credentials = Credentials(tmp_path, env, explicit={"quay.io": Login(username="me")})
    assert credentials.lookup("quay.io").username == "me"
    credentials = Credentials(tmp_path, env)
    for path in [*places, ".dockercfg"]:
        assert credentials.lookup("quay.io").username == path
        (tmp_path / path).unlink()
    assert credentials.lookup("quay.io") is None
    assert credentials.problems == ()


def test_podman_keys_name_parts_of_a_registry(tmp_path, write):
    auths = {
        "quay.io": {"auth": packed(user="all")},
        "quay.io/team": {"auth": packed(user="team")},
        "quay.io/team/app": {"auth": packed(user="app")},
    }
    write(PODMAN, {"auths": auths})
    credentials = Credentials(tmp_path, {})
    assert credentials.lookup("quay.io", "other/app").username == "all"
    assert credentials.lookup("quay.io", "team/web").username == "team"
    assert credentials.lookup("quay.io", "team/app").username == "app"
    assert credentials.lookup("quay.io", "team/application").username == "team"


def test_docker_keys_do_not(tmp_path, write):
    write(DOCKER, {"auths": {"quay.io/team": {"auth": packed()}}})
    assert Credentials(tmp_path, {}).lookup("quay.io", "team/app") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": 7}', '{"credHelpers": {"a": 1}}'])
def test_broken_file_is_noted_and_passed_over(tmp_path, write, text):
    write(DOCKER, text)
    write(PODMAN, {"auths": {"quay.io": {"auth": packed()}}})
    credentials = Credentials(tmp_path, {})
    assert found(credentials.lookup("quay.io")) == ("ada", "lovelace")
    assert DOCKER in credentials.problems[0]
    credentials.lookup("quay.io")
    assert len(credentials.problems) == 1


@pytest.mark.parametrize(
    ("config", "host", "server"),
    [
        ({"credsStore": "x"}, "quay.io", "quay.io"),
        ({"credsStore": "x"}, "docker.io", "https://index.docker.io/v1/"),
        ({"credHelpers": {"quay.io": "x"}, "credsStore": "none"}, "quay.io", "quay.io"),
        ({"credHelpers": {"https://quay.io/": "x"}}, "quay.io", "quay.io"),
    ],
)
def test_helper_is_asked(tmp_path, write, helper, config, host, server):
    write(DOCKER, config)
    body = 'print(\'{"ServerURL": "", "Username": "\' + server + \'", "Secret": "s"}\')'
    credentials = Credentials(tmp_path, {"PATH": helper("x", body)})
    assert found(credentials.lookup(host)) == (server, "s")


def test_helper_with_an_identity_token(tmp_path, write, helper):
    write(DOCKER, {"credsStore": "x"})
    path = helper("x", 'print(\'{"Username": "<token>", "Secret": "s"}\')')
    assert Credentials(tmp_path, {"PATH": path}).lookup("quay.io").identity_token == "s"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("print('credentials not found in native keychain'); sys.exit(1)", None),
        ("sys.exit(3)", "exit code 3"),
        ("print('hello')", "docker-credential-x"),
        ('print(\'{"Username": "u"}\')', None),
    ],
)
def test_helper_without_an_answer_falls_through(tmp_path, write, helper, body, problem):
    write(DOCKER, {"credsStore": "x", "auths": {"quay.io": {"auth": packed()}}})
    credentials = Credentials(tmp_path, {"PATH": helper("x", body)})
    assert found(credentials.lookup("quay.io")) == ("ada", "lovelace")
    assert [problem in each for each in credentials.problems] == ([True] if problem else [])


def test_helper_that_hangs(tmp_path, write, helper, monkeypatch):
    monkeypatch.setattr("ocimagic.registry.credentials.HELPER_TIMEOUT_S", 0.2)
    write(DOCKER, {"credsStore": "x"})
    credentials = Credentials(tmp_path, {"PATH": helper("x", "import time; time.sleep(9)")})
    assert credentials.lookup("quay.io") is None
    assert "did not answer" in credentials.problems[0]


@pytest.mark.parametrize("name", ["desktop.exe", "../../bin/sh", "a b"])
def test_helper_that_is_not_there(tmp_path, write, name):
    write(DOCKER, {"credsStore": name})
    credentials = Credentials(tmp_path, {"PATH": str(tmp_path)})
    assert credentials.lookup("quay.io") is None
    assert "not installed" in credentials.problems[0]


def test_secrets_are_not_shown():
    login = Login(username="ada", password="s3", identity_token="s4", registry_token="s5")
    assert not {"s3", "s4", "s5"} & set(repr(login).split("'"))
