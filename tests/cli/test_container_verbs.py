"""Docker's words for containers that are there: what reaches the engine, what is said back."""

import os
import threading

import pytest
import samples
from fake_engine import FakeConsole, FakeEngine

from ocimagic.cli.grammar import execute, find
from ocimagic.cli.last import Last
from ocimagic.cli.session import Session
from ocimagic.cli.values import Acted, Exits, TarBytes
from ocimagic.errors import ContainerNotFound, InvalidOption, OcimagicError
from ocimagic.model.event import Notice, Output, Refreshed
from ocimagic.model.policy import RestartName, RestartPolicy
from ocimagic.model.report import Copied, ExecResult
from ocimagic.model.request import CommitOptions, ExecOptions, UpdateOptions
from ocimagic.model.resources import ResourceOptions
from ocimagic.model.result import ContainerSummary, RunResult
from ocimagic.render.display import as_html, as_text

CONTAINERS = [
    "attach", "commit", "cp", "create", "diff", "exec", "export", "kill", "logs", "pause", "port",
    "rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause", "update", "wait",
]  # fmt: skip
PRUNED = f"Deleted Containers:\n{samples.exited().container_id}\n\nTotal reclaimed space: 12B"


@pytest.fixture
def engine():
    return FakeEngine()


class Hearing(Session):
    """A session that keeps what it heard."""

    def __init__(self, engine, cwd):
        super().__init__(engine=lambda: engine, cwd=cwd, cancelled=threading.Event())
        self.heard = []
        self.on_event = self.heard.append


@pytest.fixture
def session(engine, tmp_path):
    return Hearing(engine, str(tmp_path))


@pytest.mark.parametrize("word", CONTAINERS)
def test_every_verb_is_dockers_own_word_too(word):
    assert find([word]) is find(["container", word])


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("restart -t 3 web", ("restart", "web", 3.0, None)),
        ("restart -s HUP web", ("restart", "web", None, "HUP")),
        ("stop -t -1 web", ("stop", "web", 1e9, None)),
        ("pause web", ("pause", "web")),
        ("container unpause web", ("unpause", "web")),
        ("rename web db", ("rename", "web", "db")),
        ("attach --no-stdin --sig-proxy=false web", ("attach", "web", None, False)),
        ("top web", ("top", "web", ())),
        ("top web aux", ("top", "web", ("aux",))),
        ("top web -o pid,args", ("top", "web", ("-o", "pid,args"))),
        ("stats --no-stream", ("stats", False)),
        ("stats -a --no-stream web db", ("stats", "web", "db", True)),
        ("diff web", ("diff", "web")),
        ("export web", ("export", "web")),
        ("commit web", ("commit", "web", CommitOptions())),
        ("commit -a me -m msg -c ENV\u00a0A=1 -c LABEL\u00a0b=2 --pause=false web app:1",
         ("commit", "web", CommitOptions(reference="app:1", author="me", message="msg",
                                         changes=("ENV A=1", "LABEL b=2"), pause=False))),
        ("exec web ls -la", ("exec", "web", ExecOptions(command=("ls", "-la")), None)),
        ("exec -itw /srv -u a:b -e X=1 --privileged -d web sh",
         ("exec", "web", ExecOptions(command=("sh",), env=("X=1",), working_dir="/srv", user="a:b",
                                     interactive=True, tty=True, detach=True, privileged=True),
          None)),
        ("update --memory 64m --pids-limit 5 web",
         ("update", "web",
          UpdateOptions(resources=ResourceOptions(memory_bytes=64 << 20, pids_limit=5)))),
        ("update --restart on-failure:3 web",
         ("update", "web", UpdateOptions(
             resources=ResourceOptions(),
             restart=RestartPolicy(name=RestartName.ON_FAILURE, maximum_retry_count=3)))),
        ("container prune -f", ("prune", 1)),
        ("container prune -f --filter label=x", ("prune", 0)),
        ("container prune -f --filter until=1s", ("prune", 1)),
        ("start -a web", ("start attached", "web", False)),
    ],
)  # fmt: skip
def test_calls(line, call, session, engine):
    execute([word.replace("\u00a0", " ") for word in line.split(" ")], session)
    assert engine.calls[-1] == call


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pause web", "web"),
        ("restart web", "web"),
        ("top web", "PID    CMD\n7      sleep 1 2"),
        ("diff web", "C /etc\nA /etc/new"),
        ("commit web app:1", str(samples.digest("new"))),
        ("port web", ""),
        ("attach web", ""),
        ("exec -d web true", ""),
        ("stats --no-stream --format {{.Name}}:{{.CPUPerc}}:{{.MemUsage}} web",
         "web:12.35%:625KiB / 23.54GiB"),
        ('ps --format {{.Label\u00a0"a"}}|{{.Mounts}}', "|"),
        ("container prune -f", PRUNED),
        ("container prune -f --filter label=x", "Total reclaimed space: 12B"),
        ("cp web:/etc/hosts .", "Successfully copied 2.05kB to"),
        ("cp -q web:/etc/hosts .", ""),
    ],
)  # fmt: skip
def test_what_is_said(line, said, session):
    value = execute([word.replace("\u00a0", " ") for word in line.split(" ")], session)
    text = as_text(value, samples.NOW)
    assert text.startswith(said) if said.startswith("Success") else text == said
    as_html(value, samples.NOW)


def test_stats_table_has_dockers_columns(session):
    text = as_text(execute(["stats", "--no-stream"], session), samples.NOW)
    heads = ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O",
             "PIDS"]  # fmt: skip
    assert [head for head in heads if head in text.splitlines()[0]] == heads
    assert "1.2kB / 0B" in text


def test_stats_are_live_until_cancelled(session):
    shown = execute(["stats"], session)
    assert [type(event) for event in session.heard] == [Refreshed, Refreshed]
    assert session.heard[-1].value is shown
    assert shown[0].cpu_percent == 50.0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("restrat web", "did you mean docker restart?"),
        ("container unpuase web", "did you mean docker container unpause?"),
        ("exec --itneractive web sh", "did you mean --interactive?"),
        ("exec", "CONTAINER"),
        ("exec -t", "CONTAINER"),
        ("update web", "one or more flags"),
        ("update --restart sometimes web", "sometimes"),
        ("update --memory lots web", "lots"),
        ("start -a web db", "multiple containers"),
        ("cp web:/a db:/b", "between containers"),
        ("cp a b", "must be in a container"),
        ("cp ./web:a b", "must be in a container"),
        ("cp - web:/x", "no standard input"),
        ("port web 80", "no public port '80' published for web"),
        ("port web eighty", "not a port"),
        ("logs --since yesterday web", "--since"),
        ("ps --filter status=exitd", "did you mean status=exited?"),
        ("ps --filter health=fine", "there are: starting, healthy"),
        ("ps --filter is-task=maybe", "true or false"),
        ("ps --filter name=[", "no pattern"),
        ("ps --filter publish=eighty", "publish=80"),
        ("ps --filter nmae=x", "did you mean name=?"),
        ("container prune", "add -f"),
        ("container prune -f --filter untl=1h", "did you mean until=?"),
        ("container prune -f --filter until=soon", "until"),
        ("run --restart always --restrat no busybox", "did you mean --restart?"),
        ("stats --no-strem", "did you mean --no-stream?"),
    ],
)
def test_refusals(line, said, session):
    with pytest.raises(InvalidOption) as caught:
        execute(line.split(), session)
    assert said in str(caught.value)


@pytest.mark.parametrize("verb", ["pause", "unpause", "restart", "top", "diff", "attach"])
def test_unknown_names_are_said(verb, session):
    with pytest.raises(ContainerNotFound):
        execute([verb, "missing"], session)


def test_every_name_is_tried_and_the_good_ones_are_said(session, engine):
    with pytest.raises(ContainerNotFound) as caught:
        execute(["pause", "missing", "web", "web:1"], session)
    assert engine.calls == [("pause", "web")]
    assert session.heard == [Output("stdout", b"web\n")]
    assert "no container missing" in caught.value.what
    assert "no container web:1" in caught.value.why


def test_warnings_of_an_update_are_notices(session):
    assert execute(["update", "-m", "64m", "web"], session) == Acted("updated", ("web",))
    assert session.heard == [Notice("swap is not limited here")]


class TestFilters:
    def names(self, session, *conditions):
        words = [word for each in conditions for word in ("--filter", each)]
        return [each.name for each in execute(["ps", "-a", *words], session)]

    @pytest.fixture
    def engine(self, engine):
        rows = (
            samples.container("web", labels={"a": "1"}, mounts=(("/srv", "/data"),)),
            samples.exited("job", exposed_ports=("80/tcp",), labels={"a": "2", "b": ""}),
            samples.container("old", created=samples.NOW.replace(year=2020), network="none"),
        )
        engine.containers.list = lambda **_: rows
        by_name = {each.name: each for each in rows}
        engine.containers.get = by_name.__getitem__
        return engine

    @pytest.mark.parametrize(
        ("conditions", "names"),
        [
            (["name=^web$"], ["web"]),
            (["name=^/web"], ["web"]),
            (["name=o"], ["job", "old"]),
            (["status=running", "status=exited"], ["web", "job", "old"]),
            (["status=exited"], ["job"]),
            (["exited=3"], ["job"]),
            (["label=a"], ["web", "job"]),
            (["label=a", "label=b"], ["job"]),
            (["label=a=1"], ["web"]),
            (["before=web"], ["old"]),
            (["since=old"], ["web", "job"]),
            (["volume=/srv"], ["web"]),
            (["volume=/data"], ["web"]),
            (["network=none"], ["old"]),
            (["health=none", "name=web"], ["web"]),
            (["expose=80"], ["job"]),
            (["expose=70-90/tcp"], ["job"]),
            (["expose=80/udp"], []),
            (["publish=80"], []),
            (["is-task=false", "name=web"], ["web"]),
            (["is-task=true"], []),
            (["ancestor=web:1", "name=web"], ["web"]),
            (["ancestor=missing"], []),
        ],
    )
    def test_container_filters(self, conditions, names, session, engine):
        session.engine = lambda: engine
        assert self.names(session, *conditions) == names


class TestCopies:
    @pytest.mark.parametrize(
        ("line", "call"),
        [
            ("cp web:/a b", ("copy from", "web", "/a", "{cwd}/b", False, False)),
            ("cp -aL web:/a b/", ("copy from", "web", "/a", "{cwd}/b/", True, True)),
            ("cp web:a .", ("copy from", "web", "a", "{cwd}/.", False, False)),
            ("cp web: /", ("copy from", "web", "/", "/", False, False)),
            ("cp dir/. web:/x", ("copy to", "web", "{cwd}/dir/.", "/x", False)),
            ("cp . web:/x", ("copy to", "web", "{cwd}/.", "/x", False)),
            ("cp /a/b web:x/", ("copy to", "web", "/a/b", "x/", False)),
            ("cp ./a:b web:/x", ("copy to", "web", "{cwd}/a:b", "/x", False)),
        ],
    )
    def test_where_things_go(self, line, call, session, engine):
        assert isinstance(execute(line.split(), session), Copied)
        cwd = session.cwd
        said = tuple(p.replace("{cwd}", cwd) if isinstance(p, str) else p for p in call)
        assert engine.calls == [said]

    def test_a_tar_goes_to_standard_output_or_is_a_value(self, session):
        value = execute(["cp", "web:/etc", "-"], session)
        assert value == TarBytes(b"tar")
        assert "tar of 3B" in as_text(value, samples.NOW)
        taken = []
        session.out = taken.append
        assert execute(["cp", "web:/etc", "-"], session) is None
        assert execute(["export", "web"], session) is None
        assert taken == [b"tar", b"whole tar"]

    def test_a_tar_comes_from_standard_input(self, session, engine):
        session.stdin = b"given"
        execute(["cp", "-", "web:/x"], session)
        assert engine.calls == [("write archive", "web", "/x", b"given")]

    def test_export_to_a_file_is_whole_or_not_there(self, session, engine, tmp_path):
        execute(["export", "-o", "all.tar", "web"], session)
        assert (tmp_path / "all.tar").read_bytes() == b"whole tar"
        with pytest.raises(ContainerNotFound):
            execute(["export", "-o", "none.tar", "missing"], session)
        with pytest.raises(InvalidOption, match="cannot write"):
            execute(["export", "-o", "no/such/place.tar", "web"], session)
        assert os.listdir(tmp_path) == ["all.tar"]


class TestTerminals:
    @pytest.mark.parametrize(
        "line",
        ["run -it busybox", "exec -it web sh", "attach shell", "start -ai shell"],
    )
    def test_without_a_terminal_it_is_said(self, line, session):
        session.stdin = 0
        with pytest.raises(InvalidOption, match="the input device is not a TTY"):
            execute(line.split(), session)

    def test_run_gives_the_containers_code(self, session, engine):
        session.console = FakeConsole()
        value = execute(["run", "-it", "--rm", "--detach-keys", "a", "busybox", "sh"], session)
        assert isinstance(value, RunResult)
        assert (value.exit_code, value.removed) == (9, True)
        assert session.console.seen == b"$ "
        kind, options = engine.calls[-1]
        assert (kind, options.console_size) == ("run attached", (24, 80))

    def test_detaching_leaves_the_container(self, session, engine):
        session.console = FakeConsole()
        engine.containers.get = samples.container
        assert isinstance(execute(["run", "-it", "--name", "leave", "busybox"], session),
                          ContainerSummary)  # fmt: skip
        assert execute(["exec", "-it", "leave", "sh"], session).names == ("leave",)

    def test_exec_and_attach(self, session):
        session.console = FakeConsole()
        done = execute(["exec", "-it", "web", "sh"], session)
        assert isinstance(done, ExecResult)
        assert done.exit_code == 9
        ended = execute(["attach", "shell"], session)
        assert isinstance(ended, Exits)
        assert ended.code == 9
        assert execute(["start", "-ai", "shell"], session).exit_code == 9

    def test_a_terminal_nobody_types_into_needs_none(self, session, engine):
        execute(["run", "-t", "busybox"], session)
        execute(["exec", "-t", "web", "true"], session)
        session.stdin = b"typed"
        execute(["run", "-it", "busybox"], session)
        assert [call[0] for call in engine.calls] == ["run", "exec", "run"]


class TestQuestions:
    def test_prune_asks(self, session, engine):
        asked = []

        def answer(question):
            asked.append(question)
            return "y\n" if len(asked) > 1 else "\n"

        session.ask = answer
        assert as_text(execute(["container", "prune"], session), samples.NOW) == ""
        assert engine.calls == []
        execute(["container", "prune"], session)
        assert engine.calls == [("prune", 1)]
        assert "stopped containers" in asked[0]


def test_details_of_a_log_have_dockers_blank(session):
    value = execute(["logs", "--details", "web"], session)
    assert value.stdout == b" one\n"


def test_no_line_breaks_the_grammar(session):
    for line in ("cp", "cp web:", "top", "exec -e", "commit", "rename web", "update -m"):
        with pytest.raises(OcimagicError):
            execute(line.split(), session)


def test_explain_asks_for_the_last_thing_or_a_name(session):
    told = execute(["explain"], session)
    assert session.engine().calls[-1] == ("explain", "last", "", False)
    assert [each.title for each in told.steps][1:] == [
        "no socket between: a call in this process",
        "create container last",
    ]
    session.last = Last("docker run busybox", "web")
    assert execute(["explain"], session).line == "docker run busybox"
    assert session.engine().calls[-1] == ("explain", "web", "docker run busybox", True)
    execute(["explain", "other"], session)
    assert session.engine().calls[-1] == ("explain", "other", "", False)
    failure = InvalidOption("no")
    session.last = Last("docker run no", failure=failure)
    execute(["explain"], session)
    assert ("explain failure", "docker run no", failure) in session.engine().calls
