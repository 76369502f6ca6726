"""Compose with real containers: names, traffic, health, volumes, and that nothing is left."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from compose_files import write

from ocimagic.cli.compose_rows import Ended
from ocimagic.cli.grammar import execute
from ocimagic.cli.session import Session
from ocimagic.compose import labels
from ocimagic.engine.addresses import bridge_of
from ocimagic.errors import (
    Cancelled,
    Conflict,
    DockerfileError,
    HostLacks,
    ImageNotFound,
    InvalidState,
    VolumeNotFound,
)
from ocimagic.linux.links import Links
from ocimagic.model.event import Output
from ocimagic.model.network import NetworkOptions
from ocimagic.model.volume import VolumeOptions

PATIENCE_S = 20
WEB = "mkdir -p /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www"
# A stand-in for redis: what is sent to it is kept in a file of its volume, and told again.
DB = "touch /data/log; exec nc -ll -p 6379 -e sh -c 'read l; echo $$l >> /data/log; cat /data/log'"
APP = f"""
services:
  web:
    image: busybox
    init: true
    command: ["sh", "-c", "{WEB}"]
    ports: ["127.0.0.1::80"]
    environment: {{GREETING: "${{GREETING:-hi}}"}}
    depends_on: {{db: {{condition: service_healthy}}}}
  db:
    image: busybox
    init: true
    command: ["sh", "-c", "{DB}"]
    volumes: ["data:/data"]
    healthcheck: {{test: ["CMD", "test", "-e", "/data/log"], interval: 100ms}}
volumes: {{data: }}
"""


class Shell:
    """Runs compose lines in a directory, as the shell does."""

    def __init__(self, engine, directory):
        self.engine = engine
        self.directory = directory
        self.out = []
        self.cancelled = threading.Event()

    def __call__(self, line, **env):
        session = Session(
            engine=lambda: self.engine,
            on_event=self.out.append,
            env={"HOME": str(self.directory), **env},
            cwd=str(self.directory),
            cancelled=self.cancelled,
        )
        words = line if isinstance(line, list) else line.split()
        return execute(["compose", *words], session)

    def written(self):
        return b"".join(e.data for e in self.out if isinstance(e, Output)).decode()

    def containers(self):
        found = self.engine.containers.list(all=True)
        return {each.name: each for each in found if labels.PROJECT in each.labels}

    def ids(self):
        return {name: each.container_id for name, each in self.containers().items()}


@pytest.fixture
def shell(shared, tmp_path):
    """A shell in a directory called demo; nothing of any project is left after it."""
    if why := shared.networks.lacks():
        pytest.skip(f"needs root, or networks of this account's own: {why}")
    directory = tmp_path / "demo"
    directory.mkdir()
    yield Shell(shared, directory)
    # Of our own networks only: other tests of this machine have links at the same time.
    own = {bridge_of(each.network_id) for each in shared.networks.all()}
    for each in shared.containers.list(all=True):
        shared.containers.remove(each.container_id, force=True, volumes=True)
    shared.networks.prune()
    for each in shared.volumes.all():
        shared.volumes.remove(each.name)
    assert until(lambda: not own & _links()), own & _links()


def _links():
    with Links() as links:
        return {each.name for each in links.all()}


def until(is_so):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := is_so()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def fetch(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.read().decode().strip()
    except OSError:
        return ""


def said(shell, service, script):
    done = shell(["exec", service, "sh", "-c", script])
    assert done.exit_code == 0, done.stderr
    return done.stdout.decode().strip()


def test_a_small_app_comes_up_talks_and_goes(shell):
    write(shell.directory, compose__yaml=APP)
    shell("up -d")
    found = shell.containers()
    assert set(found) == {"demo-web-1", "demo-db-1"}
    mine = found["demo-web-1"].labels
    assert mine[labels.PROJECT] == "demo"
    assert mine[labels.SERVICE] == "web"
    assert mine[labels.NUMBER] == "1"
    assert mine[labels.ONE_OFF] == "False"
    assert mine[labels.DEPENDS_ON] == "db:service_healthy:false"
    assert mine[labels.DIRECTORY] == str(shell.directory)
    assert mine[labels.FILES] == str(shell.directory / "compose.yaml")
    assert len(mine[labels.HASH]) == 64
    assert found["demo-db-1"].health.status == "healthy"
    # From the machine, and from service to service by name.
    [address] = shell("port web 80").lines
    host = found["demo-web-1"].container_id[:12]
    assert until(lambda: fetch(f"http://{address}/") == host)
    assert said(shell, "web", "echo one | nc db 6379") == "one"
    # The second up leaves all as it is.
    before = shell.ids()
    shell.out.clear()
    shell("up -d")
    assert shell.ids() == before
    assert "Created" not in shell.written()
    # What was changed is replaced, and nothing else.
    shell("up -d", GREETING="other")
    after = shell.ids()
    assert after["demo-web-1"] != before["demo-web-1"]
    assert after["demo-db-1"] == before["demo-db-1"]
    assert set(after) == set(before)
    # The volume outlives the containers, and goes with -v.
    shell("down -t 1")
    assert shell.containers() == {}
    assert [each.name for each in shell.engine.networks.all()] == ["bridge", "host", "none"]
    shell("up -d")
    assert said(shell, "web", "echo two | nc db 6379") == "one\ntwo"
    shell("down -v -t 1")
    assert shell.engine.volumes.all() == ()


def test_several_of_one_service(shell):
    write(shell.directory, compose__yaml=APP.replace('ports: ["127.0.0.1::80"]', "expose: [80]"))
    shell("up -d --scale web=3")
    webs = {each for each in shell.containers() if "-web-" in each}
    assert webs == {"demo-web-1", "demo-web-2", "demo-web-3"}
    # The order changes with each lookup; a client may sort them by nearness, as glibc's does.
    look = "echo $(nslookup web | grep -A9 answer | grep Address)"
    told = said(shell, "db", f"for i in $(seq 40); do {look}; done")
    found = [each.split()[1::2] for each in told.splitlines()]
    assert {len(each) for each in found} == {3}
    assert {each[0] for each in found} == set(found[0])
    fetches = "; ".join(f"wget -qO- http://{address}/" for address in found[0])
    assert len(set(said(shell, "db", fetches).split())) == 3
    before = shell.ids()
    shell("up -d --scale web=1")
    assert set(shell.containers()) == {"demo-web-1", "demo-db-1"}
    assert shell.ids()["demo-web-1"] == before["demo-web-1"]
    shell("scale web=2")
    assert set(shell.containers()) == {"demo-web-1", "demo-web-2", "demo-db-1"}


def test_profiles_and_single_services(shell):
    text = """
    services:
      one: {image: busybox, init: true, command: sleep 100, depends_on: [two]}
      two: {image: busybox, init: true, command: sleep 100}
      tool: {image: busybox, init: true, command: sleep 100, profiles: [tools]}
    """
    write(shell.directory, compose__yaml=text)
    shell("up -d")
    assert set(shell.containers()) == {"demo-one-1", "demo-two-1"}
    shell("--profile tools up -d tool")
    assert "demo-tool-1" in shell.containers()
    assert shell("ps --services").lines == ("one", "tool", "two")
    shell("down -t 1")
    assert shell.containers() == {}
    shell("up -d --no-deps one")
    assert set(shell.containers()) == {"demo-one-1"}
    # Who knows the name needs no file.
    (shell.directory / "compose.yaml").unlink()
    assert [each.name for each in shell("-p demo ps")] == ["demo-one-1"]
    shell("-p demo down -t 1")
    assert shell.containers() == {}


def test_secrets_configs_and_variables(shell):
    text = """
    services:
      app:
        image: busybox
        init: true
        command: sleep 100
        env_file: [a.env, {path: none.env, required: false}]
        environment: {OWN: "${FROM_ENV}"}
        secrets:
          - plain
          - {source: variable, target: renamed, uid: "5", gid: "6", mode: 0400}
        configs:
          - {source: inline, target: /etc/app/app.conf}
          - {source: plain, mode: 0640}
    secrets: {plain: {file: ./plain.txt}, variable: {environment: FROM_ENV}}
    configs: {inline: {content: "who = $${me} ${FROM_ENV}\\n"}, plain: {file: ./plain.txt}}
    """
    write(
        shell.directory,
        compose__yaml=text,
        a__env="A=1\nB='two words'\n",
        plain__txt="text\n",
        __env="FROM_ENV=secret\n",
    )
    shell("up -d")
    look = "cat /run/secrets/plain; cat /etc/app/app.conf; stat -c '%a %u %g' "
    files = "/run/secrets/renamed /etc/app/app.conf /plain"
    assert said(shell, "app", look + files).splitlines() == [
        "text", "who = ${me} secret", "400 5 6", "444 0 0", "640 0 0",
    ]  # fmt: skip
    assert said(shell, "app", "cat /run/secrets/renamed; echo; echo $A $B $OWN").splitlines() == [
        "secret", "1 two words secret",
    ]  # fmt: skip
    before = shell.ids()
    shell("up -d")
    assert shell.ids() == before
    shell("up -d", FROM_ENV="changed")
    assert shell.ids() != before


def test_what_depends_on_work_that_fails(shell):
    text = """
    services:
      web: {image: busybox, init: true, command: sleep 100,
            depends_on: {job: {condition: service_completed_successfully}}}
      job: {image: busybox, command: "sh -c 'exit ${CODE:-0}'"}
    """
    write(shell.directory, compose__yaml=text)
    with pytest.raises(InvalidState) as caught:
        shell("up -d", CODE="3")
    assert "service web cannot start" in caught.value.what
    assert "exited with 3" in caught.value.why
    assert not any("-web-" in each for each in shell.containers())
    shell("up -d")
    assert shell.containers()["demo-web-1"].pid


def test_one_that_gets_ill_is_told(shell):
    text = """
    services:
      web: {image: busybox, init: true, command: sleep 100,
            depends_on: {db: {condition: service_healthy}}}
      db: {image: busybox, init: true, command: sleep 100,
           healthcheck: {test: "echo broken; exit 1", interval: 50ms, retries: 1}}
    """
    write(shell.directory, compose__yaml=text)
    with pytest.raises(InvalidState) as caught:
        shell("up -d")
    assert "demo-db-1 is unhealthy" in caught.value.what
    assert caught.value.why == "broken"


def test_attached_it_shows_all_and_stops_gracefully(shell):
    text = """
    services:
      one: {image: busybox, init: true, depends_on: [two],
            command: ["sh", "-c", "echo from one; exec sleep 100"]}
      two: {image: busybox,
            command: ["sh", "-c", "trap 'echo bye; exit 0' TERM; echo from two; sleep 100 & wait"]}
    """
    write(shell.directory, compose__yaml=text)
    failed = []

    def up():
        try:
            shell("up")
        except Cancelled as err:
            failed.append(err)

    thread = threading.Thread(target=up)
    thread.start()
    assert until(lambda: "from one" in shell.written() and "from two" in shell.written())
    shell.cancelled.set()
    thread.join(PATIENCE_S)
    assert [each.what for each in failed] == ["stopped by you: the services of demo were stopped"]
    lines = shell.written().splitlines()
    assert "demo-one-1  | from one" in lines
    assert lines.index("demo-two-1  | bye") > lines.index("demo-two-1  | from two")
    assert {each.status.value for each in shell.containers().values()} == {"exited"}
    shell.cancelled.clear()
    shell.out.clear()
    logs = shell("logs --no-log-prefix").stdout.decode().splitlines()
    assert sorted(logs) == ["bye", "from one", "from two"]


def test_attached_it_stops_what_it_began_even_while_it_waits(shell):
    text = """
    services:
      web: {image: busybox, init: true, command: sleep 100,
            depends_on: {db: {condition: service_healthy}}}
      db: {image: busybox, init: true, command: sleep 100, logging: {driver: none},
           healthcheck: {test: "exit 1", interval: 50ms, start_period: 99s}}
    """
    write(shell.directory, compose__yaml=text)
    failed = []

    def up():
        try:
            shell("up")
        except Cancelled as err:
            failed.append(err.what)

    thread = threading.Thread(target=up)
    thread.start()
    assert until(lambda: "demo-db-1  Waiting" in shell.written())
    shell.cancelled.set()
    thread.join(PATIENCE_S)
    assert failed == ["stopped by you: the services of demo were stopped"]
    assert {e.name: e.status.value for e in shell.containers().values()} == {"demo-db-1": "exited"}


def test_what_is_replaced_restarts_those_who_asked_for_it(shell):
    text = """
    services:
      web: {image: busybox, init: true, command: sleep 100,
            depends_on: {db: {condition: service_started, restart: true}}}
      other: {image: busybox, init: true, command: sleep 100, depends_on: [db]}
      db: {image: busybox, init: true, command: sleep 100, environment: {N: "${N:-1}"}}
    """
    write(shell.directory, compose__yaml=text)
    shell("up -d --wait")
    before = shell.containers()
    shell("up -d -t 1", N="2")
    after = shell.containers()
    for name in ("demo-web-1", "demo-other-1"):
        assert after[name].container_id == before[name].container_id
    assert after["demo-web-1"].started > before["demo-web-1"].started
    assert after["demo-other-1"].started == before["demo-other-1"].started


def test_images_are_pulled_as_the_file_says(shell, registry):
    text = "services: {web: {image: '%s', command: sleep 9, pull_policy: %s, init: true}}"
    image = f"{registry.host}/busybox:latest"
    with contextlib.suppress(ImageNotFound):
        shell.engine.images.remove(image)
    write(shell.directory, compose__yaml=text % (image, "never"))
    with pytest.raises(ImageNotFound, match="for service web"):
        shell("up -d")
    write(shell.directory, compose__yaml=text % (image, "missing"))
    [pulled] = shell("pull --policy missing")
    assert pulled.reference == image
    assert shell("pull --policy missing").lines == ()
    assert shell("build").lines == ()
    assert "nothing is built" in str(shell.out[-1])
    shell.out.clear()
    shell("up -d")
    assert "Pulled" not in shell.written()
    shell("up -d --pull always")
    assert f"Image {image}  Pulled" in shell.written()


def test_the_end_of_one_ends_all(shell):
    text = """
    services:
      stays: {image: busybox, init: true, command: sleep 100}
      tests: {image: busybox, command: ["sh", "-c", "echo tested; exit 7"]}
    """
    write(shell.directory, compose__yaml=text)
    ended = shell("up --exit-code-from tests")
    assert ended == Ended("demo-tests-1", 7)
    assert "demo-tests-1  | tested" in shell.written()
    assert {each.status.value for each in shell.containers().values()} == {"exited"}


def test_run_once_and_exec(shell):
    write(shell.directory, compose__yaml=APP)
    done = shell(
        [
            "run",
            "--rm",
            "-T",
            "-e",
            "X=5",
            "web",
            "sh",
            "-c",
            "echo $X; echo x | nc db 6379 >/dev/null",
        ]
    )
    assert (done.exit_code, done.stdout) == (0, b"5\n")
    assert set(shell.containers()) == {"demo-db-1"}
    assert shell(["exec", "db", "sh", "-c", "exit 3"]).exit_code == 3
    [name] = shell("run -d --no-deps web sleep 100").lines
    found = shell.containers()[name].labels
    assert (found[labels.ONE_OFF], found[labels.SERVICE]) == ("True", "web")
    assert [each.name for each in shell("ps")] == ["demo-db-1"]
    shell("down -v -t 0")
    assert shell.containers() == {}


def test_built_images_and_what_becomes_of_them(shell):
    text = """
    services:
      web:
        build:
          context: .
          dockerfile_inline: |
            FROM busybox
            ARG WORD=none
            COPY f /f
            RUN echo $$WORD >> /f
          args: {WORD: "${WORD:-built}"}
        init: true
        command: sleep 100
    """
    write(shell.directory, compose__yaml=text, f="text\n")
    shell("up -d")
    assert said(shell, "web", "cat /f") == "text\nbuilt"
    assert shell("images").rows[0][1] == "demo-web"
    before = shell.ids()
    shell("up -d --build")
    assert shell.ids() == before  # every step was cached
    shell("up -d --build", WORD="anew")
    assert shell.ids() != before
    assert said(shell, "web", "cat /f") == "text\nanew"
    shell("down -t 0 --rmi local")
    assert shell.engine.images.list("demo-web") == ()


def test_a_build_that_fails_names_its_service(shell):
    text = """
    services:
      web:
        build:
          context: .
          dockerfile_inline: |
            FROM busybox
            RNU true
    """
    write(shell.directory, compose__yaml=text)
    with pytest.raises(DockerfileError) as caught:
        shell("up -d")
    assert "did you mean RUN" in str(caught.value)
    assert "the build of service web, compose.yaml line 4" in caught.value.why


def test_unnamed_volumes_go_on_when_a_service_is_replaced(shell):
    text = (
        "services: {web: {image: busybox, init: true, command: 'sleep ${N:-100}', volumes: [/v]}}"
    )
    write(shell.directory, compose__yaml=text)
    shell("up -d")
    said(shell, "web", "echo kept > /v/f")
    shell("up -d -t 1", N="101")
    assert said(shell, "web", "cat /v/f") == "kept"
    assert len(shell.engine.volumes.all()) == 1
    shell("up -d -t 1 -V", N="102")
    assert said(shell, "web", "ls /v") == ""
    shell("down -v -t 0")
    assert shell.engine.volumes.all() == ()


def test_services_that_share_and_networks_apart(shell):
    text = """
    services:
      web: {image: busybox, init: true, command: sleep 100, networks: [front]}
      beside: {image: busybox, init: true, command: "nc -ll -p 99 -e echo hi",
               network_mode: "service:web", pid: "service:web"}
      db: {image: busybox, init: true, command: sleep 100, networks: {back: {aliases: [store]}}}
      both: {image: busybox, init: true, command: sleep 100, networks: [front, back]}
    networks: {front: , back: {internal: true}}
    """
    write(shell.directory, compose__yaml=text)
    shell("up -d")
    assert until(lambda: said(shell, "both", "nc web 99") == "hi")
    assert said(shell, "both", "ping -c 1 -W 2 store | grep -c '1 packets received'") == "1"
    assert said(shell, "web", "nslookup db >/dev/null 2>&1 || echo apart") == "apart"
    assert said(shell, "web", "ps | grep -c '[n]c -ll'") == "1"
    # Who shares what is of a container goes with it.
    before = shell.ids()
    shell("up -d --force-recreate -t 1 web")
    after = shell.ids()
    assert after["demo-web-1"] != before["demo-web-1"]
    assert after["demo-db-1"] == before["demo-db-1"]
    shell("up -d -t 1")
    assert until(lambda: said(shell, "both", "nc web 99") == "hi")


def test_stop_start_restart_kill_and_rm(shell):
    write(shell.directory, compose__yaml=APP)
    shell("create")
    assert {each.status.value for each in shell.containers().values()} == {"created"}
    shell("start")
    first = shell.containers()["demo-web-1"].started
    shell("restart -t 1 web")
    assert shell.containers()["demo-web-1"].started > first
    shell("kill -s TERM web")
    assert until(lambda: shell.containers()["demo-web-1"].exit)
    assert shell("ps -q").lines == (shell.ids()["demo-db-1"],)
    assert [each.name for each in shell("ps -a --status exited")] == ["demo-web-1"]
    [row] = [json.loads(x) for x in shell("ps --format json").to_text(_now()).splitlines()]
    assert (row["Service"], row["Health"], row["State"]) == ("db", "healthy", "running")
    shell("stop -t 1")
    shell("rm -f")
    assert shell.containers() == {}


def _now():
    from datetime import UTC, datetime

    return datetime.now(UTC)


def test_volumes_have_the_options_of_their_driver(shell):
    text = """
    services: {web: {image: busybox, init: true, command: sleep 100, volumes: ["v:/v"]}}
    volumes: {v: {driver_opts: {type: tmpfs, device: tmpfs, o: "size=${SIZE:-1m}"}}}
    """
    write(shell.directory, compose__yaml=text)
    shell("up -d")
    assert "size=1024k" in said(shell, "web", "grep ' /v ' /proc/mounts")
    with pytest.raises(Conflict, match="other driver_opts"):
        shell("up -d", SIZE="2m")
    shell("down -v -t 0")
    assert shell.engine.volumes.all() == ()


def test_the_end_of_a_service_is_waited_for(shell):
    text = """
    services:
      job: {image: busybox, init: true, command: ["sh", "-c", "sleep 0.3; exit 5"]}
      stays: {image: busybox, init: true, command: sleep 100}
    """
    write(shell.directory, compose__yaml=text)
    shell("up -d")
    assert shell("top stays").tables[0][0] == "demo-stays-1"
    assert shell("wait job stays") == Ended("demo-job-1", 5)
    assert shell("ls").rows == (
        ("demo", "exited(1), running(1)", str(shell.directory / "compose.yaml")),
    )
    assert shell("wait --down-project job") == Ended("demo-job-1", 5)
    assert shell.containers() == {}


def test_things_of_others_are_left_alone(shell):
    text = """
    services:
      web: {image: busybox, init: true, command: sleep 100, networks: [n], volumes: ["v:/v"]}
    networks: {n: {external: true, name: outside}}
    volumes: {v: {external: true, name: outside}}
    """
    write(shell.directory, compose__yaml=text)
    shell.engine.networks.create(NetworkOptions(name="outside"))
    with pytest.raises(VolumeNotFound, match="external"):
        shell("up -d")
    shell.engine.volumes.create(VolumeOptions(name="outside"))
    shell("up -d")
    shell("down -v -t 0")
    assert [each.name for each in shell.engine.volumes.all()] == ["outside"]
    assert "outside" in [each.name for each in shell.engine.networks.all()]
    shell.engine.networks.create(NetworkOptions(name="demo_default"))
    write(shell.directory, compose__yaml="services: {web: {image: busybox, command: sleep 9}}")
    with pytest.raises(Conflict, match="not of project demo"):
        shell("up -d")


def test_orphans_are_told_and_removed(shell):
    two = "services: {%s: {image: busybox, init: true, command: sleep 100}}"
    write(shell.directory, compose__yaml=two % "old")
    shell("up -d")
    write(shell.directory, compose__yaml=two % "new")
    shell("up -d")
    assert any("demo-old-1" in str(event) for event in shell.out)
    assert set(shell.containers()) == {"demo-old-1", "demo-new-1"}
    shell("up -d --remove-orphans")
    assert set(shell.containers()) == {"demo-new-1"}


KILLED = """
import os, signal, sys
from ocimagic.cli.app import run as command
from ocimagic.engine import run
real, seen = run.{function}, [0]
def dies(*args, **options):
    seen[0] += 1
    if seen[0] == {number} and not {after}:
        os.kill(os.getpid(), signal.SIGKILL)
    found = real(*args, **options)
    if seen[0] == {number}:
        os.kill(os.getpid(), signal.SIGKILL)
    return found
run.{function} = dies
sys.exit(command(["compose", "up", "-d", "-t", "1"]))
"""


@pytest.mark.parametrize(
    ("function", "number", "after"),
    [("create", 1, True), ("create", 2, False), ("start", 1, True), ("start", 2, False)],
)
def test_one_that_was_killed_in_the_middle_is_done_again(shell, function, number, after):
    write(shell.directory, compose__yaml=APP)
    shell("up -d")
    # Both are to be replaced now, and that is cut short.
    program = KILLED.format(function=function, number=number, after=after)
    env = {**os.environ, "OCIMAGIC_ROOT": str(shell.engine.home.data), "GREETING": "other",
           "HOME": str(shell.directory)}  # fmt: skip
    text = APP.replace("interval: 100ms", "interval: 90ms")
    write(shell.directory, compose__yaml=text)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=shell.directory, env=env, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    shell("up -d -t 1", GREETING="other")
    found = shell.containers()
    assert set(found) == {"demo-web-1", "demo-db-1"}
    assert all(each.pid for each in found.values())
    [address] = shell("port web 80").lines
    assert until(lambda: fetch(f"http://{address}/"))
    before = shell.ids()
    shell("up -d", GREETING="other")
    assert shell.ids() == before


def test_an_account_without_networks_is_told_so(shell, monkeypatch):
    from ocimagic.engine.networks import Networks

    write(shell.directory, compose__yaml=APP)
    monkeypatch.setattr(Networks, "lacks", lambda _: "links of the machine are root's")
    with pytest.raises(HostLacks, match="cannot make networks"):
        shell("up -d")
    assert shell.containers() == {}


def test_quiet_verbs_say_only_what_is_wrong(shell):
    write(
        shell.directory,
        compose__yaml="""
        services:
          app:
            build:
              dockerfile_inline: |
                FROM busybox
                RUN echo loud
        """,
    )
    shell("build -q --no-cache")
    assert not shell.out
    shell("build --no-cache")
    assert "loud" in shell.written()
