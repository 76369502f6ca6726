"""Who may use our registry: users, TLS, and addresses that others can reach."""

import base64
import hashlib
import http.client
import socket
import ssl
import threading

import pytest
from pusher import Pusher

from ocimagic.errors import InvalidOption, Unauthorized
from ocimagic.registry.client import RegistryClient
from ocimagic.registry.passwords import Passwords, add_user
from ocimagic.registry.server import RegistryServer, Rules, server_tls
from ocimagic.spec.reference import Reference


def basic(name, password):
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "htpasswd"
    add_user(path, "ada", "lovelace")
    return path


@pytest.fixture
def guarded(kept, users):
    with RegistryServer(kept, rules=Rules(passwords=Passwords(users))) as server:
        yield server


@pytest.mark.parametrize(
    "login",
    [
        None,
        basic("ada", "wrong"),
        basic("ada", ""),
        basic("bob", "lovelace"),
        basic("", ""),
        basic("ada", "x" * 5000),
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        basic("ada", "lovelace").replace("Basic", "Bearer"),
        "Basic",
    ],
)
def test_nobody_else_may_do_anything(guarded, login):
    headers = {"Authorization": login} if login else {}
    with Pusher(guarded.host, **headers) as pusher:
        for method, path in (
            ("GET", "/v2/"),
            ("GET", "/v2/_catalog"),
            ("HEAD", "/v2/a/manifests/1"),
            ("POST", "/v2/a/blobs/uploads/"),
            ("PUT", "/v2/a/manifests/1"),
        ):
            answer = pusher.ask(method, path, b"")
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
            assert method == "HEAD" or answer.code == "UNAUTHORIZED"


def test_a_user_pushes_and_our_client_pulls(guarded, transport, logged_in):
    with Pusher(guarded.host, Authorization=basic("ada", "lovelace")) as pusher:
        raw = pusher.image("a", "1", [b"layer"])
    reference = Reference.parse(f"{guarded.host}/a:1")
    assert RegistryClient(transport, logged_in(guarded.host)).manifest(reference).raw == raw
    with pytest.raises(Unauthorized):
        RegistryClient(transport).manifest(reference)


def test_the_file_of_users_is_read_again_when_it_changes(guarded, users):
    with Pusher(guarded.host) as pusher:

        def status(name, password):
            return pusher.ask("GET", "/v2/", Authorization=basic(name, password)).status

        assert (status("ada", "lovelace"), status("kim", "secret")) == (200, 401)
        add_user(users, "kim", "secret")
        assert (status("ada", "lovelace"), status("kim", "secret")) == (200, 200)
        add_user(users, "ada", "changed")
        assert (status("ada", "lovelace"), status("ada", "changed")) == (401, 200)
        users.write_text("")
        assert status("kim", "secret") == 401
        users.write_text("kim:$2y$05$abc\n")
        refused = pusher.ask("GET", "/v2/", Authorization=basic("kim", "secret"))
        assert refused.status == 500
        assert str(users).encode() not in refused.body, "that is nobody else's business"


def test_who_is_known_does_not_wait_for_those_who_guess(users, monkeypatch):
    passwords, go_on, begun = Passwords(users), threading.Event(), threading.Event()
    assert passwords.admits(basic("ada", "lovelace"))
    scrypt = hashlib.scrypt

    def slow(*words, **options):
        begun.set()
        go_on.wait(10)
        return scrypt(*words, **options)

    monkeypatch.setattr(hashlib, "scrypt", slow)
    guess = threading.Thread(target=passwords.admits, args=(basic("ada", "x"),))
    guess.start()
    assert begun.wait(10)
    known = []
    asking = threading.Thread(
        target=lambda: known.append(passwords.admits(basic("ada", "lovelace")))
    )
    asking.start()
    asking.join(5)
    answered_meanwhile = list(known)
    go_on.set()
    guess.join()
    asking.join()
    assert answered_meanwhile == [True]


def test_lines_of_the_file(tmp_path):
    path = tmp_path / "htpasswd"
    add_user(path, "ada", "one")
    add_user(path, "kim", "two:with colon")
    add_user(path, "ada", "three")
    assert [line.partition(":")[0] for line in path.read_text().splitlines()] == ["kim", "ada"]
    assert "three" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    passwords = Passwords(path)
    assert passwords.admits(basic("kim", "two:with colon"))
    assert passwords.admits(basic("ada", "three"))
    assert not passwords.admits(basic("ada", "one"))
    for name, password in (("a:b", "x"), ("a b", "x"), ("", "x"), ("a\nb", "x"), ("a", "")):
        with pytest.raises(InvalidOption):
            add_user(path, name, password)


def test_sha_of_apache_is_read(tmp_path):
    # printf 'password' | openssl sha1 -binary | base64
    (tmp_path / "htpasswd").write_text("# class\n\nkim:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")
    passwords = Passwords(tmp_path / "htpasswd")
    assert passwords.admits(basic("kim", "password"))
    assert not passwords.admits(basic("kim", "other"))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("kim:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC", "bcrypt"),
        ("kim:$apr1$salt$hash", "cannot check"),
        ("kim:plain", "cannot check"),
        ("kim", "cannot check"),
        ("kim:$ocimagic$scrypt$99999999$8$1$AA==$AA==", "cannot check"),
    ],
)
def test_lines_that_cannot_be_checked(tmp_path, line, why):
    (tmp_path / "htpasswd").write_text(f"{line}\n")
    with pytest.raises(InvalidOption) as caught:
        Passwords(tmp_path / "htpasswd")
    assert why in caught.value.why
    assert "line 1" in caught.value.what
    assert "registry user add" in caught.value.hint


def test_no_file_of_users(tmp_path):
    with pytest.raises(InvalidOption):
        Passwords(tmp_path / "none")


# -- addresses -----------------------------------------------------------------


def test_other_machines_only_with_a_login_or_when_that_is_said(kept, users):
    with pytest.raises(InvalidOption) as caught:
        RegistryServer(kept, address="0.0.0.0")
    assert "--open" in caught.value.hint
    assert "--htpasswd" in caught.value.hint
    for rules in (Rules(is_open=True), Rules(passwords=Passwords(users))):
        with RegistryServer(kept, address="0.0.0.0", rules=rules) as server:
            assert server.url.startswith("http://0.0.0.0:")
            with Pusher(server.host.replace("0.0.0.0", "127.0.0.1")) as pusher:
                assert pusher.ask("GET", "/v2/").status == (200 if rules.is_open else 401)


# -- TLS -----------------------------------------------------------------------


def test_tls(kept, certificate, client):
    cert, key = certificate
    rules = Rules(tls=server_tls(str(cert), str(key)))
    with RegistryServer(kept, rules=rules) as server:
        assert server.url == f"https://{server.host}"
        context = ssl.create_default_context(cafile=str(cert))

        def secure(host, timeout):
            return http.client.HTTPSConnection(host, timeout=timeout, context=context)

        layer = bytes(1_000_000)
        # Somebody who only connects keeps nobody waiting.
        with (
            socket.socket() as silent,
            Pusher(server.host, secure) as pusher,
        ):
            silent.connect(("127.0.0.1", int(server.host.rpartition(":")[2])))
            raw = pusher.image("a", "1", [layer])
            assert pusher.ask("GET", "/v2/a/manifests/1").body == raw
        reference = Reference.parse(f"{server.host}/a:1")
        assert client.manifest(reference).raw == raw
        with Pusher(server.host) as plain, pytest.raises((OSError, http.client.HTTPException)):
            plain.ask("GET", "/v2/")


def test_a_certificate_that_is_none(certificate, tmp_path):
    cert, key = certificate
    (tmp_path / "other").write_text("no key")
    for pair in ((cert, tmp_path / "other"), (tmp_path / "none", key), (key, cert)):
        with pytest.raises(InvalidOption, match="certificate"):
            server_tls(*map(str, pair))
