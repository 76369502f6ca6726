"""The engine serves registries: from Python, from a shell, from a notebook."""

import http.client
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

from ocimagic import Engine
from ocimagic.errors import ImageNotFound, InvalidOption, Unauthorized
from ocimagic.model.registry import RegistryOptions

ANY = RegistryOptions(port=0)


def ask(host, method, path, body=None):
    connection = http.client.HTTPConnection(host, timeout=5)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def push(host, image, name, tag):
    """Push a made image by hand."""
    for digest, content in image.blobs.items():
        status, body = ask(host, "POST", f"/v2/{name}/blobs/uploads/?digest={digest}", content)
        assert status == 201, body
    status, body = ask(host, "PUT", f"/v2/{name}/manifests/{tag}", image.manifest_raw)
    assert status == 201, body


def test_what_is_pushed_is_kept_and_can_be_pulled(make_engine, busybox_image):
    engine = make_engine()
    with engine.system.serve_registry(ANY) as served:
        push(served.host, busybox_image, "class/box", "1")
        result = engine.images.pull(f"{served.host}/class/box:1")
        assert result.digest == busybox_image.digest
        assert engine.system.registries() == (served,)
        assert str(served) == f"registry at {served.url}, kept in {engine.home.registry}"
    assert engine.system.registries() == ()
    with engine.system.serve_registry(ANY) as again:
        assert json.loads(ask(again.host, "GET", "/v2/class/box/tags/list")[1])["tags"] == ["1"]


def test_a_registry_ends_with_its_engine(tmp_path):
    engine = Engine(tmp_path / "root", environment={})
    served = engine.system.serve_registry(ANY)
    assert ask(served.host, "GET", "/v2/")[0] == 200
    engine.close()
    with pytest.raises(OSError):  # noqa: PT011  whatever a closed port gives
        ask(served.host, "GET", "/v2/")
    served.close()


def test_two_registries_have_two_directories(make_engine, tmp_path):
    engine = make_engine()
    first = engine.system.serve_registry(ANY)
    with pytest.raises(InvalidOption, match="served already"):
        engine.system.serve_registry(ANY)
    second = engine.system.serve_registry(RegistryOptions(port=0, data=str(tmp_path / "other")))
    assert engine.system.registries() == (first, second)
    port = int(second.host.rpartition(":")[2])
    first.close()
    with pytest.raises(InvalidOption, match=f"port {port}"):
        engine.system.serve_registry(RegistryOptions(port=port))
    assert engine.system.serve_registry(ANY).url, "the directory was let go"


def test_pull_through(make_engine, registry, busybox_image, tmp_path):
    engine = make_engine()
    how = RegistryOptions(port=0, mirror=registry.url, data=str(tmp_path / "mirror"))
    with engine.system.serve_registry(how) as served:
        result = engine.images.pull(f"{served.host}/busybox:latest")
        assert result.digest == busybox_image.digest
        with pytest.raises(ImageNotFound):
            engine.images.pull(f"{served.host}/busybox:none")


def test_warnings(make_engine, tmp_path):
    engine = make_engine()
    users = engine.system.add_registry_user("ada", "lovelace")
    assert users == str(engine.home.registry_users)
    for how, words in (
        ({"is_open": True}, "no login"),
        ({"htpasswd": users}, "no TLS"),
        ({"htpasswd": users, "address": "127.0.0.1"}, None),
    ):
        options = RegistryOptions(**{"port": 0, "address": "0.0.0.0", **how})
        with engine.system.serve_registry(options) as served:
            assert [words in each for each in served.warnings] == ([True] if words else [])


def test_tokens(make_engine, registry, busybox_image):
    engine = make_engine()
    users = engine.system.add_registry_user("ada", "lovelace")
    how = RegistryOptions(port=0, htpasswd=users, tokens=True, anonymous_pull=True)
    with engine.system.serve_registry(how) as served:
        name = f"{served.host}/class/box:1"
        engine.images.tag(engine.images.pull(f"{registry.host}/busybox").reference, name)
        with pytest.raises(Unauthorized):
            engine.images.push(name)
        with pytest.raises(Unauthorized, match="refuses the login"):
            engine.images.login(served.host, "ada", "wrong")
        engine.images.login(served.host, "ada", "lovelace")
        engine.images.push(name)
        engine.images.logout(served.host)
        assert engine.images.pull(name).digest == busybox_image.digest
        with pytest.raises(Unauthorized):
            engine.images.push(name)
    (key,) = engine.home.registry.rglob("token.key")
    assert key.stat().st_mode & 0o777 == 0o600


# -- from a shell --------------------------------------------------------------


def command(tmp_path, *words):
    return [sys.executable, "-m", "ocimagic", "--root", str(tmp_path / "root"), "registry", *words]


def test_serve_in_a_shell(tmp_path, busybox_image):
    words = command(tmp_path, "serve", "--port", "0")
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as serving:
        url = serving.stdout.readline().strip()
        push(url.removeprefix("http://"), busybox_image, "a", "1")
        serving.send_signal(signal.SIGINT)
        out, err = serving.communicate(timeout=20)
    assert (serving.returncode, out) == (130, "")
    assert (
        err == f"images are kept in {tmp_path}/root/ocimagic/registry; ctrl-c ends the registry\n"
    )
    index = json.loads((tmp_path / "root/ocimagic/registry/index.json").read_text())
    assert index["manifests"][0]["digest"] == busybox_image.digest


def test_a_terminal_sees_each_request(tmp_path):
    pid, master = pty.fork()
    if pid == 0:
        words = command(tmp_path, "serve", "--port", "0")
        os.execvp(words[0], words)
    told = read_until(master, b"ends the registry")
    host = told.split()[0].decode().removeprefix("http://")
    ask(host, "GET", "/v2/")
    ask(host, "GET", "/v2/a/manifests/1")
    told += read_until(master, b"manifests/1")
    os.write(master, b"\x03")
    _, status = os.waitpid(pid, 0)
    os.close(master)
    assert os.waitstatus_to_exitcode(status) == 130
    assert b"200 GET /v2/\r\n404 GET /v2/a/manifests/1" in told


def read_until(fd, word):
    told, deadline = b"", time.monotonic() + 20
    while word not in told:
        assert time.monotonic() < deadline, told
        if select.select([fd], [], [], 1)[0]:
            told += os.read(fd, 4096)
    return told


def test_users_and_strangers_in_a_shell(tmp_path):
    words = command(tmp_path, "user", "add", "--password-stdin", "ada")
    added = subprocess.run(words, input="lovelace\n", capture_output=True, text=True, check=True)
    path = added.stdout.strip()
    with open(path, encoding="utf-8") as file:
        assert file.read().startswith("ada:$ocimagic$scrypt$")
    words = command(tmp_path, "serve", "--port", "0", "--address", "0.0.0.0")
    refused = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    assert refused.returncode == 125
    assert "without a login does not listen on 0.0.0.0" in refused.stderr
    with subprocess.Popen(
        [*words, "--htpasswd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as serving:
        host = serving.stdout.readline().strip().removeprefix("http://0.0.0.0")
        assert ask(f"127.0.0.1{host}", "GET", "/v2/")[0] == 401
        serving.send_signal(signal.SIGINT)


def test_our_own_push_with_our_own_login(make_engine, registry, tmp_path):
    engine = make_engine()
    users = engine.system.add_registry_user("ada", "lovelace")
    with engine.system.serve_registry(RegistryOptions(port=0, htpasswd=users)) as served:
        source, target = f"{registry.host}/busybox:latest", f"{served.host}/ada/box:1"
        engine.images.pull(source)
        engine.images.tag(source, target)
        with pytest.raises(Unauthorized):
            engine.images.push(target)
        with pytest.raises(Unauthorized):
            engine.images.login(served.host, "ada", "wrong")
        engine.images.login(served.host, "ada", "lovelace")
        [pushed] = engine.images.push(target)
        engine.images.tag(source, f"{served.host}/kim/box:1")
        engine.images.push(f"{served.host}/kim/box:1")
        other = make_engine("other")
        other.images.login(served.host, "ada", "lovelace")
        assert other.images.pull(target).digest == pushed.digest
        assert other.images.pull(f"{served.host}/kim/box:1").digest == pushed.digest
