"""The grammar: words in, calls on the engine and values out."""

import subprocess
import sys
import threading

import pytest
import samples
from fake_engine import FakeEngine
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ocimagic.cli import refused
from ocimagic.cli.grammar import ROOT, complete, docker_words, execute, expects, find
from ocimagic.cli.parser import Noun, Refused
from ocimagic.cli.session import Session
from ocimagic.cli.values import Acted, Exits, HelpText, InspectDocument, LogText
from ocimagic.errors import (
    ContainerNotFound,
    DriverNotFound,
    ImageNotFound,
    InvalidOption,
    NotBuiltYet,
    NotFound,
    OcimagicError,
    VolumeNotFound,
)
from ocimagic.model.event import Output
from ocimagic.model.volume import VolumeOptions
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


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("exec web", InvalidOption, "wants a command"),
        ("buildx ls", InvalidOption, "buildx"),
        ("build --provenance=mode=max .", NotBuiltYet, "--provenance"),
        ("push --compression lz4 web", InvalidOption, "lz4"),
        ("login -u ada", InvalidOption, "nobody is here"),
        ("login", InvalidOption, "nobody is here"),
        ("login -p x --password-stdin", InvalidOption, "mutually exclusive"),
        ("image prune", InvalidOption, "nobody is here"),
        ("system prune", InvalidOption, "nobody is here"),
        ("image prune -f --filter dangling=perhaps", InvalidOption, "true or false"),
        ("image prune -f --filter untill=1h", InvalidOption, "did you mean until=?"),
        ("login --password-stdin", InvalidOption, "--username"),
        ("image ls --tree -q", InvalidOption, "--quiet and --tree"),
        ("image ls --filter reference=[", InvalidOption, "no pattern"),
        ("image ls --filter before=missing", ImageNotFound, "missing"),
        ("run --nmae web busybox", InvalidOption, "did you mean --name?"),
        ("run -Z busybox", InvalidOption, "-Z"),
        ("run", InvalidOption, "IMAGE"),
        ("run --name", InvalidOption, "needs a value"),
        ("run --rm=perhaps busybox", InvalidOption, "true or false"),
        ("runn busybox", InvalidOption, "did you mean docker run?"),
        ("image lss", InvalidOption, "did you mean docker image ls?"),
        ("--debug ps", InvalidOption, "--debug"),
        ("pull", InvalidOption, "REFERENCE"),
        ("pull a b", InvalidOption, "unexpected"),
        ("images --filter refrence=a", InvalidOption, "did you mean reference=?"),
        ("images --filter dangling=perhaps", InvalidOption, "true or false"),
        ("logs --tail few web", InvalidOption, "--tail"),
        ("inspect --type secret x", InvalidOption, "--type"),
        ("build nowhere", InvalidOption, "not a directory"),
        ("build -f - .", InvalidOption, "standard input"),
        ("build", InvalidOption, "PATH|URL|-"),
        ("build --context a b", InvalidOption, "said twice"),
        ("build --build-arg =1 -", InvalidOption, ""),
        ("volume create -o type=nfs x", InvalidOption, 'missing required option: "device"'),
        ("volume create -d nfs x", DriverNotFound, "no volume driver"),
        ("volume inspect missing", VolumeNotFound, "no such volume"),
        ("volume rm missing", VolumeNotFound, "no such volume"),
        ("volume update x", NotBuiltYet, "swarm"),
        ("volume prune", InvalidOption, "nobody is here"),
        ("volume ls -f scope=local", InvalidOption, "filter"),
        ("inspect missing", NotFound, "no container, image, network or volume"),
        ("container inspect missing", ContainerNotFound, "missing"),
        ("version -f {{.Nope}}", InvalidOption, "Nope"),
        ("version -f {{.Client.Verison}}", InvalidOption, "did you mean Version?"),
        ("version -f {{.Version", InvalidOption, "without"),
        ("version -f {{range}}", InvalidOption, "cannot be understood"),
        ("version -f {{define}}", NotBuiltYet, "define"),
    ],
)
def test_refusals(line, kind, said, session):
    with pytest.raises(kind) as caught:
        execute(line.split(), session)
    assert type(caught.value) is kind
    assert said in str(caught.value)


def test_tables_with_columns_of_ones_own(session):
    rows = execute(["ps", "-a", "--format", "table {{.Names}}\\t{{.Status}}"], session)
    assert as_text(rows, samples.NOW).splitlines() == [
        "NAMES     STATUS",
        "web       Up 5 minutes",
        "job       Exited (3) 40 seconds ago",
    ]


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("pull busybox", ("pull", "busybox", None)),
        ("image pull --platform arm64 busybox", ("pull", "busybox", Platform("linux", "arm64"))),
        ("pull -a busybox", ("pull_all", "busybox", None)),
        ("image verify", ("verify",)),
        ("image verify a b", ("verify", "a", "b")),
        ("image waste a", ("waste", "a")),
        ("system df", ("df",)),
        ("image prune -f", ("prune images", False, False)),
        ("image prune -af", ("prune images", True, False)),
        ("image prune -f --filter dangling=false", ("prune images", True, False)),
        ("image prune -f --filter until=1970-01-01", ("prune images", False, True)),
        ("image prune -f --filter label=none", ("prune images", False, True)),
        ("image prune -f --filter label!=none", ("prune images", False, False)),
        ("builder prune -af", ("prune cache",)),
        ("system prune -f", ("prune", False, False)),
        ("system prune --all --force --volumes", ("prune", True, True)),
        ("volume create", ("create volume", VolumeOptions())),
        (
            "volume create -d local --label a=b --label c x",
            ("create volume", VolumeOptions(name="x", labels={"a": "b", "c": ""})),
        ),
        ("volume rm data", ("rm volume", "data")),
        ("volume remove data", ("rm volume", "data")),
        ("volume prune -f", ("prune volumes", ("idle",), False)),
        ("volume prune -f -a", ("prune volumes", ("idle",), True)),
        ("volume prune -f --filter all=true", ("prune volumes", ("idle",), True)),
        ("volume prune -f --filter label!=tier", ("prune volumes", (), False)),
        ("push web:1", ("push", "web:1", False, "gzip")),
        ("push --platform arm64 web", ("push", "web", False, "gzip", Platform("linux", "arm64"))),
        ("image push -a --compression=zstd web", ("push", "web", True, "zstd")),
        ("login -u ada -p x", ("login", "", "ada", "x")),
        ("login quay.io --username=ada --password=x", ("login", "quay.io", "ada", "x")),
        ("logout", ("logout", "")),
        ("logout quay.io", ("logout", "quay.io")),
        ("images -a web", ("images", "web", True)),
        ("image list", ("images", None, False)),
        ("image history web", ("history", "web")),
        ("history web --no-trunc", ("history", "web")),
        ("image layers a b", ("layers", "a", "b")),
        ("tag a b", ("tag", "a", "b")),
        ("rmi -f a b", ("rmi", "a", "b", True)),
        ("image remove a", ("rmi", "a", False)),
        ("ps", ("ps", False, False)),
        ("container ps -a", ("ps", True, False)),
        ("ps -ls", ("ps", True, True)),
        ("ps --filter status=exited", ("ps", True, False)),
        ("start web", ("start", "web")),
        ("stop -t 3 web", ("stop", "web", 3.0, None)),
        ("stop web --time=0 -s INT", ("stop", "web", 0.0, "INT")),
        ("stop web", ("stop", "web", None, None)),
        ("kill -s HUP web", ("kill", "web", "HUP")),
        ("rm -fv web", ("rm", "web", True, True)),
        ("wait web", ("wait", "web")),
        ("logs --tail 5 web", ("logs", "web", False, 5, None, None)),
        ("logs -n5 web -t", ("logs", "web", False, 5, None, None)),
        (
            "logs --since 1970-01-01T00:00:01Z --until 2.5 --tail=all web",
            ("logs", "web", False, None, 1_000_000_000, 2_500_000_000),
        ),
    ],
)
def test_calls(line, call, session, engine):
    execute(line.split(), session)
    assert engine.calls == [call]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pull -q busybox", "busybox"),
        ("push -q web:1", "web:1"),
        ("image verify", "2 images, 5MB of layers: every digest fits"),
        ("image waste web:1", "3MB"),
        ("image waste web:1", "/big, by layer 1"),
        ("image waste web:1", "25.0% of it is shown"),
        ("image verify web:1", "the layer is not here"),
        ("image verify web:1", "1 fault; pull or build"),
        ("system df", "Images         1        1         5MB     1.25MB (25%)"),
        ("system df", "Containers     1        0         500B    500B (100%)"),
        ("system df", "Local Volumes  2        1         800B    200B (25%)"),
        ("system df -v", "idle           0        200B"),
        ("system prune -f --volumes", "Deleted Volumes:\nold\n"),
        ("volume ls", "DRIVER    VOLUME NAME\nlocal     data\nlocal     idle"),
        ("volume ls -q --filter dangling=true", "idle"),
        ("volume ls -q --filter dangling=false", "data"),
        ("volume ls -q -f name=dat -f driver=local -f label=tier=gold", "data"),
        ("volume ls --format {{.Name}}:{{.Mountpoint}}", "data:/volumes/data/_data"),
        ("volume ls --format json", '"Mountpoint":"/volumes/data/_data","Name":"data","Scope"'),
        ("volume inspect data", '"Mountpoint": "/volumes/data/_data"'),
        ("volume inspect -f {{.Scope}} data", "local"),
        ("volume inspect -f {{.CreatedAt}} data", "2026-03-21T12:00:00Z"),
        ("inspect --type volume -f {{.Name}} thing", "thing"),
        ("volume rm -f missing", "missing"),
        ("volume prune -f", "Deleted Volumes:\nidle\n\nTotal reclaimed space: 5B"),
        ("system df -v", "web:1    "),
        ("system df -v", "Containers space usage:"),
        (
            "system df --format {{.Type}}:{{.Size}}",
            "Images:5MB\nContainers:500B\nLocal Volumes:800B\nBuild Cache:0B",
        ),
        ("system df --format json", '"Reclaimable":"1.25MB (25%)"'),
        ("image prune -f", "Deleted Images:\nuntagged: web:1\ndeleted: sha256:"),
        ("image prune -f", "\n\nTotal reclaimed space: 1MB"),
        ("builder prune -f", "Forgot 3 build steps"),
        ("system prune -f", "Deleted Containers:\njob\n"),
        ("system prune -f", "Total reclaimed space: 1MB"),
        ("logout quay.io", "Removing login credentials for quay.io"),
        ("logout", "Not logged in to docker.io"),
        ("login -u ada -p x", "Login Succeeded"),
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
    assert "MEMORY" not in as_text(rows, samples.NOW), "docker's own table has none"
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
    assert engine.calls == [("rm", "web", False, False)]


def test_a_volume_goes_to_a_file_and_comes_from_one(session, engine, tmp_path):
    session.cwd = str(tmp_path)
    assert execute(["volume", "export", "data"], session).data == b"tar of data"
    execute(["volume", "export", "data", "-o", str(tmp_path / "x.tar")], session)
    assert (tmp_path / "x.tar").read_bytes() == b"tar of data"
    execute(["volume", "import", "copy", str(tmp_path / "x.tar")], session)
    assert engine.calls[-1] == ("import volume", "copy", b"tar of data")
    session.stdin = b"piped"
    execute(["volume", "import", "copy", "-"], session)
    assert engine.calls[-1] == ("import volume", "copy", b"piped")
    with pytest.raises(InvalidOption, match="cannot read gone"):
        execute(["volume", "import", "copy", "gone"], session)


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
        (["container"], "l", ["layers", "list", "logs", "ls"]),
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
    assume("serve" not in argv)  # which goes on until it is cancelled, at a real socket
    home = str(tmp_path_factory.getbasetemp())  # where context install writes
    session = Session(engine=FakeEngine, env={"HOME": home}, cwd="/nowhere", stdin=b"FROM a\xff")
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


def test_a_login_that_is_asked_for(session, engine):
    """What a person types is neither cut nor kept with its line end."""
    asked = []

    def answer(text, given):
        asked.append(text)
        return given

    session.ask = lambda text: answer(text, "ada\n")
    session.ask_secret = lambda text: answer(text, " love lace \n")
    execute(["login", "quay.io"], session)
    assert asked == ["Username: ", "Password: "]
    assert engine.calls == [("login", "quay.io", "ada", " love lace ")]


def test_a_password_from_a_pipe(session, engine):
    session.stdin = b"love lace\n"
    execute(["login", "-u", "ada", "--password-stdin"], session)
    assert engine.calls == [("login", "", "ada", "love lace")]
    session.stdin = b"\n"
    with pytest.raises(InvalidOption, match="nobody is here"):
        execute(["login", "-u", "ada", "--password-stdin"], session)
