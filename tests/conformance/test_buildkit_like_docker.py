"""docker's client of 20.10 builds with DOCKER_BUILDKIT=1 on our socket, and on dockerd's: alike."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import tarfile
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed")

from ocimagic.api.server import Address, Server
from ocimagic.registry.passwords import Passwords, add_user
from ocimagic.registry.server import RegistryServer, Rules
from ocimagic.registry.source import MemorySource

PROGRAM = "/usr/bin/docker"  # Debian's; a newer one builds with buildx only
UNREAD = "failed to solve with frontend dockerfile.v0: failed to create LLB definition:"
MANY = """\
ARG V=1
FROM busybox AS one
ARG V
WORKDIR /w
COPY . .
RUN --mount=type=secret,id=s cat /run/secrets/s; echo value $V; find . -type f | sort; echo er >&2
FROM busybox
LABEL x=y
COPY --from=one /w/a.txt \\
  /a.txt
RUN cat /a.txt
CMD ["x"]
"""


class Client:
    """docker's command line on one socket."""

    def __init__(self, url, home):
        self.home = Path(home)
        self._environment = {
            "DOCKER_HOST": url, "DOCKER_BUILDKIT": "1", "HOME": str(home), "PATH": "/usr/bin:/bin",
            "DOCKER_CONFIG": str(self.home / "docker"),
        }  # fmt: skip

    def begin(self, *words, directory, stdin=subprocess.DEVNULL, **environment):
        return subprocess.Popen(
            [PROGRAM, *words], cwd=directory, env=self._environment | environment,
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def call(self, *words, directory="/", data=None, **environment):
        """Return exit code, standard output and standard error."""
        stdin = subprocess.DEVNULL if data is None else subprocess.PIPE
        process = self.begin(*words, directory=directory, stdin=stdin, **environment)
        out, err = process.communicate(data, timeout=60)
        return process.returncode, out.decode(), err.decode()

    def build(self, directory, *words, data=None, **environment):
        """Return what a build tells, without numbers and times; it has to end well."""
        words = ("build", "--progress=plain", *words)
        code, out, err = self.call(*words, directory=directory, data=data, **environment)
        assert (code, out) == (0, ""), err
        return plain(err)

    def refused(self, directory, *words, data=None):
        """Return what a build tells that has to fail, and the last line of it."""
        words = ("build", "--progress=plain", *words)
        code, out, err = self.call(*words, directory=directory, data=data)
        assert (code, out) == (1, ""), err
        return plain(err), err.splitlines()[-1]

    def inspect(self, name, field):
        code, out, err = self.call("inspect", "-f", f"{{{{json {field}}}}}", name)
        assert code == 0, err
        return out.strip()


def plain(text):
    """Return the lines of a plain progress without the number of the step, and seconds."""
    lines = []
    for line in text.splitlines():
        words = line.split(" ", 1)
        if not line or words[-1].startswith("sha256:"):
            continue
        rest = words[1] if line.startswith("#") else line
        head, _, tail = rest.partition(" ")
        lines.append(tail if head.replace(".", "", 1).isdigit() else rest)
    return lines


def _client(url, room):
    if not os.access(PROGRAM, os.X_OK):
        pytest.skip("docker is not installed")
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    if not said.startswith("Docker version 20."):
        pytest.skip(f"no docker client is older than buildx here: {said}")
    return Client(url, room)


@pytest.fixture(scope="module")
def ours_built(shared, tmp_path_factory):
    room = tmp_path_factory.mktemp("s")
    with Server(shared, Address(path=str(room / "s"))) as server:
        yield _client(server.url, room)


@pytest.fixture(scope="module")
def theirs_built(request, tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("needs root: dockerd")
    docker = request.getfixturevalue("theirs")
    return _client(docker._words[2], tmp_path_factory.mktemp("t"))


@pytest.fixture(params=["ours", "theirs"])
def client(request):
    return request.getfixturevalue(f"{request.param}_built")


@pytest.fixture
def context(tmp_path):
    """A directory with files, some of them ignored."""
    for name, text in {
        "Dockerfile": MANY,
        "a.txt": "hi\n",
        "b.log": "no\n",
        ".dockerignore": "*.log\nkept\n!kept/not.txt\n",
        "sub/deep/x": "x" * 70_000,
        "kept/left.txt": "no\n",
        "kept/not.txt": "yes\n",
    }.items():
        path = tmp_path / "c" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "c/link").symlink_to("a.txt")
    os.link(tmp_path / "c/a.txt", tmp_path / "c/hard")
    (tmp_path / "c/run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "c/run.sh").chmod(0o755)
    (tmp_path / "secret").write_text("a secret\n")
    return tmp_path / "c"


def test_a_build_of_many_parts(client, context, tmp_path):
    words = ["--secret", f"id=s,src={tmp_path}/secret", "--build-arg", "V=7", "-t", "demo:1"]
    told = client.build(context, *words, "--label", "z=q", "--iidfile", tmp_path / "id", ".")
    for line in (
        "[internal] load build definition from Dockerfile",
        "[internal] load .dockerignore",
        "[internal] load build context",
        "[internal] load metadata for docker.io/library/busybox:latest",
        "[one 2/4] WORKDIR /w",
        "[one 3/4] COPY . .",
        "[stage-1 2/3] COPY --from=one /w/a.txt   /a.txt",
        "[stage-1 3/3] RUN cat /a.txt",
        "exporting to image",
        "naming to docker.io/library/demo:1 done",
        "a secret", "value 7", "er", "hi",
    ):  # fmt: skip
        assert line in told, told
    # Whichever stage comes first begins from the image.
    froms = {
        "[one 1/4] FROM docker.io/library/busybox",
        "[stage-1 1/3] FROM docker.io/library/busybox",
    }
    assert len(froms & set(told)) == 1
    files = [each for each in told if each.startswith("./")]
    assert files == [
        "./.dockerignore", "./Dockerfile", "./a.txt", "./hard", "./kept/not.txt", "./run.sh",
        "./sub/deep/x",
    ]  # fmt: skip
    image_id = (tmp_path / "id").read_text()
    assert client.inspect("demo:1", ".Id") == f'"{image_id}"'
    assert client.inspect("demo:1", ".Config.Labels") == '{"x":"y","z":"q"}'
    assert client.inspect("demo:1", ".Config.Cmd") == '["x"]'
    again = client.build(context, *words, "--label", "z=q", "-t", "demo:2", ".")
    assert "value 7" not in again
    assert again.count("CACHED") >= 5
    assert client.inspect("demo:2", ".Id") == f'"{image_id}"'
    anew = client.build(context, *words, "--no-cache", ".")
    assert "value 7" in anew


def test_a_quiet_build_says_the_id_or_what_went_wrong(client, context):
    code, out, err = client.call("build", "-q", "-t", "quiet", ".", directory=context)
    assert (code, err) == (0, "")
    assert out.startswith("sha256:")
    assert client.inspect("quiet", ".Id") == f'"{out.strip()}"'
    (context / "fail").write_text("FROM busybox\nRUN echo before; exit 3\n")
    code, out, err = client.call("build", "-q", "-f", "fail", ".", directory=context)
    assert (code, out) == (1, "")
    assert "executor failed running [/bin/sh -c echo before; exit 3]: exit code: 3" in plain(err)


def test_a_command_that_fails_is_named_with_its_exit_code(client, context):
    (context / "fail").write_text("FROM busybox\nENV A=b\nRUN echo before; echo bad >&2; exit 3\n")
    told, last = client.refused(context, "-f", "fail", ".")
    assert last == (
        "executor failed running [/bin/sh -c echo before; echo bad >&2; exit 3]: exit code: 3"
    )
    assert f"ERROR: {last}" in told
    assert {"before", "bad", "[2/2] RUN echo before; echo bad >&2; exit 3"} <= set(told)


@pytest.mark.parametrize(
    ("text", "last"),
    [
        (
            "FROM busybox\nRUNN x\n",
            f"{UNREAD} dockerfile parse error line 2: unknown instruction: RUNN",
        ),
        (
            "FROM busybox\nCOPY nope /\n",
            'failed to compute cache key: "/nope" not found: not found',
        ),
        (
            "FROM busybox\nCOPY b.log /\n",
            'failed to compute cache key: "/b.log" not found: not found',
        ),
        (
            "FROM busybox\nRUN --mount=type=secret,id=q,required true\n",
            "secret q not found: not found",
        ),
    ],
)
def test_mistakes_have_the_same_words(client, context, text, last):
    said = client.refused(context, "-f", "-", ".", data=text.encode())[1]
    assert said.partition(" (did you mean")[0] == last


def test_what_is_not_there_is_said(client, context):
    last = client.refused(context, "-f", "none", ".")[1]
    solving = "failed to solve with frontend dockerfile.v0: "
    assert last.startswith(f"{solving}failed to read dockerfile: open ")
    assert last.endswith("none: no such file or directory")
    last = client.refused(context, "--target", "none", ".")[1]
    assert last.startswith(f"{solving}failed to create LLB definition: ")


def test_one_stage_of_a_dockerfile_elsewhere(client, context, tmp_path):
    (tmp_path / "other").write_text(MANY)
    (tmp_path / "other.dockerignore").write_text("**\n!a.txt\n")
    told = client.build(context, "-f", tmp_path / "other", "--target=one", ".")
    assert [each for each in told if each.startswith("./")] == ["./a.txt"]
    assert "value 1" in told
    assert not [each for each in told if "stage-1" in each]


def test_a_dockerfile_on_standard_input(client, context):
    text = b"FROM busybox\nCOPY sub /s\nRUN ls -l /s/deep\n"
    assert any(each.endswith(" x") for each in client.build(context, "-f", "-", ".", data=text))
    told = client.build(context, "-", data=b"FROM busybox\nRUN echo alone $((3 * 7))\n")
    assert "alone 21" in told


def test_a_dockerfile_with_a_name_that_is_not_ascii(client, context):
    """Metadata cannot hold it, so that we are sent more than is looked at."""
    (context / "caf\u00e9").write_text("FROM busybox\nCOPY a.txt /\nRUN cat /a.txt\n")
    (context / "large").write_bytes(os.urandom(5 << 20))
    (context / "caf\u00e9.dockerignore").write_text("large\n")
    assert "hi" in client.build(context, "-f", "caf\u00e9", ".")


def test_a_tar_on_standard_input(client, context):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(context, ".")
    told = client.build(context, "-t", "tarred", "--target", "one", "-", data=raw.getvalue())
    assert "./b.log" in told  # .dockerignore is for directories
    assert client.inspect("tarred", ".Config.WorkingDir") == '"/w"'


def test_files_go_to_the_client_in_place_of_an_image(client, context, tmp_path):
    (context / "out").write_text(
        "FROM busybox AS made\nRUN mkdir -p /a/b; cd /a; echo in >b/c; chmod 751 b/c; ln -s b l\n"
        "FROM scratch\nCOPY --from=made /a /a\n"
    )
    told = client.build(context, "-f", "out", "-o", tmp_path / "there", ".")
    assert "exporting to client" in told
    there = tmp_path / "there"
    assert sorted(str(each.relative_to(there)) for each in there.rglob("*")) == [
        "a", "a/b", "a/b/c", "a/l",
    ]  # fmt: skip
    assert (there / "a/b/c").read_text() == "in\n"
    assert (there / "a/b/c").stat().st_mode & 0o7777 == 0o751
    assert os.readlink(there / "a/l") == "b"
    client.build(context, "-f", "out", "-o", f"type=tar,dest={tmp_path}/files.tar", ".")
    with tarfile.open(tmp_path / "files.tar") as tar:
        assert tar.extractfile("a/b/c").read() == b"in\n"


def test_an_interrupted_client_ends_its_build(client, context):
    mark = f"{time.time_ns()}"
    (context / "slow").write_text(f"FROM busybox\nRUN sleep 30; true {mark}\n")
    words = ("build", "--progress=plain", "-f", "slow", ".")
    with client.begin(*words, directory=context) as process:
        _until(lambda: _processes(mark))
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        err = process.stderr.read().decode()
        assert process.wait(10) == 1
        _until(lambda: not _processes(mark))
        assert time.monotonic() - began < 1.5
    assert err.splitlines()[-1] == "context canceled"
    assert "CANCELED" in plain(err)


def test_a_killed_client_ends_its_build(ours_built, context):
    mark = f"{time.time_ns()}"
    (context / "slow").write_text(f"FROM busybox\nRUN sleep 30; true {mark}\n")
    with ours_built.begin("build", "-f", "slow", ".", directory=context) as process:
        _until(lambda: _processes(mark))
        process.kill()
        _until(lambda: not _processes(mark))


def _until(condition):
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _processes(mark):
    """Return the commands of containers that have a word in their line."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = each.read_bytes()
            if line.startswith(b"/bin/sh\0-c\0sleep") and mark.encode() in line:
                found.append(each)
    return found


def test_a_base_comes_with_the_clients_own_login(ours_built, context, busybox_image, tmp_path):
    source = MemorySource()
    busybox_image.serve(source, "hidden/base", "1")
    add_user(tmp_path / "users", "ada", "a password")
    config = ours_built.home / "docker/config.json"
    with RegistryServer(source, rules=Rules(passwords=Passwords(tmp_path / "users"))) as server:
        (context / "private").write_text(f"FROM {server.host}/hidden/base:1\nRUN echo in\n")
        try:
            _, last = ours_built.refused(context, "-f", "private", ".")
            assert "login" in last
            login = base64.b64encode(b"ada:a password").decode()
            config.parent.mkdir(exist_ok=True)
            config.write_text(json.dumps({"auths": {server.host: {"auth": login}}}))
            told = ours_built.build(context, "-f", "private", ".")
        finally:
            config.unlink(missing_ok=True)
    assert "in" in told


AGENT = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(void) {
  struct sockaddr_un where = {.sun_family = AF_UNIX};
  unsigned char said[9];
  int fd = socket(AF_UNIX, SOCK_STREAM, 0), count = 0, more;
  strcpy(where.sun_path, getenv("SSH_AUTH_SOCK"));
  if (connect(fd, (void *)&where, sizeof where)) return perror("connect"), 1;
  write(fd, "\0\0\0\1\13", 5);
  while (count < 9 && (more = read(fd, said + count, 9 - count)) > 0) count += more;
  printf("answer %d of %d bytes\n", said[4], count);
  return 0;
}
"""


@contextmanager
def agent(path):
    """Serve an ssh agent that has no keys.  draft-miller-ssh-agent, 3.1 and 4.4."""
    with closing(socket.socket(socket.AF_UNIX)) as door:
        door.bind(str(path))
        door.listen()

        def serve():
            with suppress(OSError):
                while True:
                    with closing(door.accept()[0]) as near:
                        while near.recv(5):
                            near.sendall(b"\0\0\0\5\14\0\0\0\0")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        door.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_an_agent_is_reached_from_a_step(client, context, tmp_path):
    (tmp_path / "agent.c").write_text(AGENT)
    try:
        words = ["gcc", "-static", "-o", context / "ask", tmp_path / "agent.c"]
        subprocess.run(words, check=True)
    except FileNotFoundError:
        pytest.skip("gcc is not installed")
    (context / "ssh").write_text("FROM busybox\nCOPY ask /\nRUN --mount=type=ssh,id=here /ask\n")
    with agent(tmp_path / "agent"):
        words = ("-f", "ssh", "--ssh", f"here={tmp_path}/agent", ".")
        told = client.build(context, *words)
    assert "answer 12 of 9 bytes" in told
