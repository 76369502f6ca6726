"""The grammar: words in, calls on the engine and values out."""

import subprocess
import sys
import threading

import pytest
import samples
from fake_engine import FakeEngine
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimagic.cli import refused
from ocimagic.cli.grammar import ROOT, complete, docker_words, execute, expects, find
from ocimagic.cli.parser import Noun, Refused
from ocimagic.cli.session import Session
from ocimagic.cli.values import Acted, Exits, HelpText, InspectDocument, LogText, Names
from ocimagic.errors import (
    ContainerNotFound,
    InvalidOption,
    InvalidPlatform,
    NotBuiltYet,
    NotFound,
    OcimagicError,
)
from ocimagic.model.event import Output
from ocimagic.model.options import NetworkMode, PullPolicy, RunOptions, VolumeMount
from ocimagic.render.display import as_html, as_text
from ocimagic.spec.platform import Platform


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def session(engine, tmp_path):
    return Session(
        engine=lambda: engine,
        env={"HOME": "/home/kim", "LANG": "C.UTF-8"},
        cwd=str(tmp_path),
        cancelled=threading.Event(),
    )


def options(line, session) -> RunOptions:
    engine = session.engine()
    execute(line.split(), session)
    return engine.calls[-1][1]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("run busybox", {}),
        ("container run busybox ls -la --rm", {"command": ("ls", "-la", "--rm")}),
        ("run busybox -- -x", {"command": ("--", "-x")}),
        ("run -- busybox -x", {"command": ("-x",)}),
        ("run --rm busybox", {"remove": True}),
        ("run --rm=true busybox", {"remove": True}),
        ("run --rm --rm=false busybox", {"remove": False}),
        ("run --rm=0 busybox", {"remove": False}),
        ("run -id busybox", {"interactive": True, "detach": True}),
        ("run -itd --tty=false busybox", None),
        ("run --tty=false -i busybox", {"interactive": True}),
        ("run -i=false busybox", {}),
        ("run -eA=1 -e B=2 --env C=3 --env=D=4 -e=E=5 busybox",
         {"env": ("A=1", "B=2", "C=3", "D=4", "E=5")}),
        ("run -ieA=1 busybox", {"interactive": True, "env": ("A=1",)}),
        ("run -e LANG -e NOPE busybox", {"env": ("LANG=C.UTF-8",)}),
        ("run -e --rm=x busybox", {"env": ("--rm=x",)}),
        ("run --name web -w /srv -u app:app -h box busybox",
         {"name": "web", "working_dir": "/srv", "user": "app:app", "hostname": "box"}),
        ("run --entrypoint sh busybox -c true", {"entrypoint": ("sh",), "command": ("-c", "true")}),
        ("run --entrypoint= busybox", {"entrypoint": ()}),
        ("run --read-only --network none busybox",
         {"read_only": True, "network": NetworkMode.NONE}),
        ("run --net=host busybox", {"network": NetworkMode.HOST}),
        ("run -l a=1 --label b busybox", {"labels": {"a": "1", "b": ""}}),
        ("run --cap-add NET_ADMIN --cap-drop=ALL busybox",
         {"cap_add": ("NET_ADMIN",), "cap_drop": ("ALL",)}),
        ("run --security-opt no-new-privileges busybox", {"no_new_privileges": True}),
        ("run --security-opt=no-new-privileges:true busybox", {"no_new_privileges": True}),
        ("run --stop-signal INT --stop-timeout 3 busybox",
         {"stop_signal": "INT", "stop_timeout_s": 3.0}),
        ("run --pull always --platform linux/arm64 busybox",
         {"pull": PullPolicy.ALWAYS, "platform": Platform("linux", "arm64")}),
        ("run -v /srv/data:/data:ro -v /a:/b busybox",
         {"volumes": (VolumeMount(source="/srv/data", target="/data", read_only=True),
                      VolumeMount(source="/a", target="/b"))}),
        ("run -v ~/x:/x busybox", {"volumes": (VolumeMount(source="/home/kim/x", target="/x"),)}),
    ],
)  # fmt: skip
def test_run_lines(line, expected, session):
    if expected is None:
        with pytest.raises(NotBuiltYet):
            options(line, session)
        return
    assert options(line, session) == RunOptions(**{"image": "busybox"} | expected)


def test_relative_volume_starts_at_the_sessions_directory(session, tmp_path):
    given = options("run -v ./data:/data -v .:/all busybox", session)
    assert [each.source for each in given.volumes] == [str(tmp_path / "data"), str(tmp_path)]


def test_env_file_comes_before_env(session, tmp_path):
    (tmp_path / "vars").write_text("# words\nA=1\n\nLANG\n B=2\n")
    given = options("run --env-file vars -e A=2 busybox", session)
    assert given.env == ("A=1", "LANG=C.UTF-8", "B=2", "A=2")


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("run -it busybox", NotBuiltYet, "not a terminal"),
        ("run -p 80:80 busybox", NotBuiltYet, "open on the host already"),
        ("run -p80:80 busybox", NotBuiltYet, "bridge"),
        ("run -m 1g busybox", NotBuiltYet, "cgroups"),
        ("run --gpus=all busybox", NotBuiltYet, "--gpus"),
        ("run --network web busybox", NotBuiltYet, "--network none"),
        ("run -v data:/data busybox", NotBuiltYet, "-v ./data:/data"),
        ("run -v /a:/b:z busybox", NotBuiltYet, "ro and rw"),
        ("run --security-opt seccomp=unconfined busybox", NotBuiltYet, "seccomp"),
        ("exec web ls", NotBuiltYet, "exec"),
        ("image push web", NotBuiltYet, "push"),
        ("image ls --tree", NotBuiltYet, "--tree"),
        ("build https://github.com/x/y", NotBuiltYet, "fetch it"),
        ("run --nmae web busybox", InvalidOption, "did you mean --name?"),
        ("run -Z busybox", InvalidOption, "-Z"),
        ("run", InvalidOption, "IMAGE"),
        ("run --name", InvalidOption, "needs a value"),
        ("run --rm=perhaps busybox", InvalidOption, "true or false"),
        ("run --stop-timeout soon busybox", InvalidOption, "--stop-timeout"),
        ("run --stop-timeout -1 busybox", InvalidOption, "--stop-timeout"),
        ("run --pull allways busybox", InvalidOption, "did you mean always?"),
        ("run -v /data busybox", InvalidOption, "SOURCE:TARGET"),
        ("run -v /a:b busybox", InvalidOption, "not absolute"),
        ("run -e =x busybox", InvalidOption, "NAME=value"),
        ("run -l =x busybox", InvalidOption, "no key"),
        ("run --env-file none busybox", InvalidOption, "cannot read"),
        ("run --platform a/b/c/d busybox", InvalidPlatform, "platform"),
        ("runn busybox", InvalidOption, "did you mean docker run?"),
        ("image lss", InvalidOption, "did you mean docker image ls?"),
        ("--debug ps", InvalidOption, "--debug"),
        ("pull", InvalidOption, "REFERENCE"),
        ("pull a b", InvalidOption, "unexpected"),
        ("images --filter refrence=a", InvalidOption, "did you mean reference=?"),
        ("images --filter dangling=perhaps", InvalidOption, "true or false"),
        ("logs --tail few web", InvalidOption, "--tail"),
        ("inspect --type volume x", InvalidOption, "--type"),
        ("build nowhere", InvalidOption, "not a directory"),
        ("build -f - .", InvalidOption, "standard input"),
        ("build -f Dockerfile -", InvalidOption, "-f"),
        ("build --build-arg =1 -", InvalidOption, ""),
        ("inspect missing", NotFound, "no image or container"),
        ("container inspect missing", ContainerNotFound, "missing"),
        ("version -f {{.Nope}}", InvalidOption, "Nope"),
        ("version -f {{.Client.Verison}}", InvalidOption, "did you mean Version?"),
        ("version -f {{.Version", InvalidOption, "without"),
        ("version -f {{range}}", NotBuiltYet, "range"),
    ],
)
def test_refusals(line, kind, said, session):
    with pytest.raises(kind) as caught:
        execute(line.split(), session)
    assert type(caught.value) is kind
    assert said in str(caught.value)


def test_own_columns_are_refused(session):
    with pytest.raises(NotBuiltYet, match="columns"):
        execute(["images", "--format", "table {{.ID}}"], session)


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("pull busybox", ("pull", "busybox", None)),
        ("image pull --platform arm64 busybox", ("pull", "busybox", Platform("linux", "arm64"))),
        ("images -a web", ("images", "web", True)),
        ("image list", ("images", None, False)),
        ("image history web", ("history", "web")),
        ("history web --no-trunc", ("history", "web")),
        ("image layers a b", ("layers", "a", "b")),
        ("tag a b", ("tag", "a", "b")),
        ("rmi -f a b", ("rmi", "a", "b", True)),
        ("image remove a", ("rmi", "a", False)),
        ("ps", ("ps", False)),
        ("container ps -a", ("ps", True)),
        ("ps -l", ("ps", True)),
        ("ps --filter status=exited", ("ps", True)),
        ("start web", ("start", "web")),
        ("stop -t 3 web", ("stop", "web", 3.0)),
        ("stop web --time=0", ("stop", "web", 0.0)),
        ("stop web", ("stop", "web", None)),
        ("kill -s HUP web", ("kill", "web", "HUP")),
        ("rm -fv web", ("rm", "web", True)),
        ("wait web", ("wait", "web")),
        ("logs --tail 5 web", ("logs", "web", False, 5)),
        ("logs -n5 web -t", ("logs", "web", False, 5)),
        ("logs --tail=all web", ("logs", "web", False, None)),
    ],
)
def test_calls(line, call, session, engine):
    execute(line.split(), session)
    assert engine.calls == [call]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pull -q busybox", "busybox"),
        ("images -q", samples.image().image_id.short),
        ("images -q --no-trunc", str(samples.image().image_id)),
        ("ps -q", samples.container().container_id[:12]),
        ("history -q web:1", "<missing>"),
        ("images --format {{.Repository}}:{{.Tag}}", "busybox:latest"),
        ("images --format json", '"Repository":"busybox"'),
        ("ps --format {{.Names}}\\t{{.State}}", "web\trunning"),
        ("ps -a --filter name=job --format {{.Names}}", "job"),
        ("history --format {{.CreatedBy}} --no-trunc web", "ADD rootfs.tar /"),
        ("history -H=false web", "67800000"),
        ("stop web", "web"),
        ("wait web", "3"),
        ("rm web", "web"),
        ("version", "ocimagic"),
        ("version --format {{.Server.Version}}", "0.1"),
        ("info", "bridge"),
        ("info -f {{.Driver}}", "overlay"),
        ("inspect -f {{.Config.Cmd}} web:1", "[python3 /srv/app.py]"),
        ("inspect -f {{.State.ExitCode}} job", "3"),
        ("image layers web:1 web:2", "shared by 4"),
        ("run --help", "Usage: docker run"),
        ("image", "layers"),
        ("image --help", "layers"),
        ("container logs --help", "--follow"),
    ],
)
def test_what_is_said(line, said, session):
    value = execute(line.split(" "), session)
    assert said in as_text(value, samples.NOW)


def test_json_action(session):
    value = execute(
        ["image", "inspect", "-f", "{{json .RootFS}} {{len .RootFS.Layers}}", "x"], session
    )
    (line,) = value.lines
    assert line.startswith('{"Type":"layers","Layers":["sha256:')
    assert line.endswith(" 2")


def test_lists_are_tuples_of_the_model_and_know_their_table_when_empty(session):
    rows = execute(["ps"], session)
    assert rows == (samples.container(),)
    assert "CONTAINER ID" in as_text(rows, samples.NOW)
    nothing = execute(["images", "--filter", "reference=nope"], session)
    assert nothing == ()
    assert as_text(nothing, samples.NOW).split() == [
        "REPOSITORY",
        "TAG",
        "IMAGE",
        "ID",
        "CREATED",
        "SIZE",
    ]
    assert "<caption" in as_html(nothing, samples.NOW)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("reference=busy*", ["busybox:latest"]), ("reference=web:1", ["web:1"]),
     ("dangling=true", ["<none>:<none>"])],
)  # fmt: skip
def test_image_filters(pattern, names, session):
    assert [each.name for each in execute(["images", "-f", pattern], session)] == names


def test_every_name_is_tried_before_the_error(session, engine):
    with pytest.raises(ContainerNotFound):
        execute(["rm", "missing", "web"], session)
    assert engine.calls == [("rm", "web", False)]


def test_follow_sends_events(session):
    heard = []
    session.on_event = heard.append
    value = execute(["logs", "-f", "-t", "web"], session)
    assert value == LogText("web", timestamps=True, streamed=True)
    assert heard[0] == Output("stdout", b"2026-03-21T12:00:00Z one\n")


def test_logs_keep_the_streams_apart(session):
    value = execute(["logs", "web"], session)
    assert (value.stdout, value.stderr) == (b"one\n", b"two \x1b[31m\n")
    assert as_text(value, samples.NOW) == "one\ntwo \\x1b[31m"


def test_quiet_run_hides_the_pull_but_not_the_output(session):
    heard = []
    session.on_event = heard.append
    execute(["run", "-q", "busybox"], session)
    assert heard == [Output("stdout", b"out\n"), Output("stderr", b"err\n")]


def test_stdin_goes_only_to_interactive_runs(session, engine):
    session.stdin = b"words"
    execute(["run", "busybox"], session)
    execute(["run", "-i", "busybox"], session)
    assert [call[2] for call in engine.calls] == [None, b"words"]


def test_values_of_verbs(session):
    assert execute(["start", "web"], session) == Acted("started", ("web",), (samples.container(),))
    ended = execute(["wait", "a", "b"], session)
    assert isinstance(ended, Exits)
    assert (ended.code, as_text(ended, samples.NOW)) == (3, "3\n3")
    assert "exit 3" in as_html(ended, samples.NOW)
    document = execute(["inspect", "web", "web:1"], session)
    assert isinstance(document, InspectDocument)
    assert document.kind == "mixed"
    assert execute(["tag", "a", "b"], session) is None


class TestBuild:
    def asked(self, argv, session):
        execute(["build", *argv], session)
        return session.engine().calls[-1][1]

    def test_directory(self, session, tmp_path):
        (tmp_path / "Dockerfile").write_text("FROM scratch\n")
        line = "-t web:1 -t web --build-arg A=1 --build-arg LANG --build-arg NOPE --label x=y"
        given = self.asked(
            [*line.split(), "--target", "last", "--no-cache", "--pull", "."], session
        )
        assert given.dockerfile == "FROM scratch\n"
        assert given.context == str(tmp_path)
        assert given.tags == ("web:1", "web")
        assert given.build_args == {"A": "1", "LANG": "C.UTF-8"}
        assert (given.target, given.no_cache, given.pull) == ("last", True, True)

    def test_dash_has_no_context(self, session):
        session.stdin = b"FROM scratch\n"
        given = self.asked(["-"], session)
        assert (given.dockerfile, given.context) == ("FROM scratch\n", None)

    def test_file_from_stdin_with_context(self, session, tmp_path):
        session.stdin = b"FROM scratch\n"
        given = self.asked(["-f", "-", "."], session)
        assert (given.dockerfile, given.context) == ("FROM scratch\n", str(tmp_path))

    def test_file_starts_at_the_current_directory(self, session, tmp_path):
        (tmp_path / "sub").mkdir()
        (tmp_path / "my.Dockerfile").write_text("FROM a\n")
        given = self.asked(["-f", "my.Dockerfile", "sub"], session)
        assert (given.dockerfile, given.dockerfile_name) == ("FROM a\n", "my.Dockerfile")

    @pytest.mark.parametrize("raw", [b"\xff\xfe", b"#" * ((4 << 20) + 1)])
    def test_not_text(self, raw, session):
        session.stdin = raw
        with pytest.raises(InvalidOption):
            self.asked(["-"], session)

    def test_quiet(self, session):
        session.stdin = b"FROM scratch\n"
        value = execute(["build", "-q", "--rm", "--progress=plain", "-"], session)
        assert value == Names((str(samples.build_result().image_id),))


def test_docker_words():
    words = docker_words()
    assert words["image_pull"] == ("image", "pull")
    assert words["container_run"] == ("container", "run")
    assert words["system_info"] == ("system", "info")
    assert all(find(argv) for argv in words.values())


@pytest.mark.parametrize(
    ("argv", "incomplete", "expected"),
    [
        ([], "imag", ["image", "images"]),
        (["container"], "l", ["list", "logs", "ls"]),
        (["run"], "--env", ["--env", "--env-file"]),
        (["run", "-e", "A=1"], "--nam", ["--name"]),
        (["run", "busybox"], "--nam", []),
        (["nothing"], "", []),
        (["ps"], "x", []),
    ],
)
def test_complete(argv, incomplete, expected):
    assert [each.text for each in complete(argv, incomplete)] == expected


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("run", "image"),
        ("run --rm -e A=1", "image"),
        ("run --name", ""),
        ("run -ie", ""),
        ("run busybox", ""),
        ("stop", "container"),
        ("image build", "path"),
        ("ps", ""),
        ("", ""),
    ],
)
def test_expects(line, kind):
    assert expects(line.split()) == kind


def test_every_run_option_of_docker_is_known():
    """docker 28.2 lists 104 with --help, and hides --net, --net-alias and --dns-opt."""
    known = find(["run"]).spellings()
    options = {id(option) for name, option in known.items()}
    assert len({name for name in known if name.startswith("--")}) == 106
    assert len(options) == 105


def test_refusals_say_why_without_a_full_stop():
    def all_refused(noun):
        for each in noun.commands.values():
            yield from all_refused(each) if isinstance(each, Noun) else each.refused

    for each in all_refused(ROOT):
        assert isinstance(each, Refused)
        assert each.why
        assert not each.why.endswith(".")
        assert all(name.startswith("-") for name in each.names)
    assert not set(refused.ROOT_WORDS) & set(ROOT.commands)


WORDS = st.one_of(
    st.sampled_from([*ROOT.words(), "ls", "rm", "pull", "run", "layers", "--", "-", "-q", "-it",
                     "--rm=false", "-e", "A=1", "-v", ".:/x", "--format", "{{.ID}}", "{{json .}}",
                     "--filter", "reference=*", "-f", "--tail", "web", "busybox", "--help", "-h"]),
    st.text(max_size=12),
    st.from_regex(r"--?[a-z-]{1,8}(=[^\n]{0,4})?", fullmatch=True),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(argv=st.lists(WORDS, max_size=6))
def test_nothing_but_our_errors_comes_out(argv, tmp_path_factory):
    session = Session(engine=FakeEngine, env={"HOME": "/"}, cwd="/nowhere", stdin=b"FROM a\xff")
    session.cancelled = threading.Event()
    try:
        value = execute(argv, session)
        as_text(value, samples.NOW).encode()
        as_html(value, samples.NOW)
    except OcimagicError as err:
        str(err).encode(errors="surrogatepass")
    complete(argv, "-")
    expects(argv)


def test_help_of_every_verb(session):
    for words in docker_words().values():
        value = execute([*words, "--help"], session)
        assert isinstance(value, HelpText)
        assert value.text.startswith(f"Usage: docker {' '.join(words)}")


def test_import_leaves_the_heavy_modules_out():
    code = (
        "import sys, ocimagic.cli.grammar\n"
        "heavy = {'tabulate', 'graphviz', 'asyncio', 'sqlite3', 'ssl', 'IPython', 'ipywidgets'}\n"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
