"""What is not as it should be: found with its place, and by our checker as by the usual one."""

import json
import shutil
import sys
import types
from pathlib import Path

import pytest
from compose_files import read
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimagic.compose import schema, stance
from ocimagic.compose.reading import parse
from ocimagic.compose.tree import Node, plain
from ocimagic.errors import InvalidDocument, NotBuiltYet

needs_schema = pytest.mark.skipif(
    not schema.is_there(), reason="the compose schema was not fetched: python setup.py fetch"
)


@pytest.mark.parametrize(
    ("text", "path", "said", "at"),
    [
        ("services: {web: {imag: x}}", "services.web.imag", "did you mean image?", 18),
        ("servics: {}", "servics", "did you mean services?", 1),
        ("services: {web: {image: x, build: {contxt: .}}}", "services.web.build.contxt",
         "did you mean context?", 36),
        ("services: {web: {image: x, ports: [a]}}", "services.web.ports[0]", "no port", 36),
        ("services: {web: {image: x, ports: ['99999:80']}}", "ports[0]", "out of range", 36),
        ("services: {web: {image: x, volumes: ['a:b']}}", "volumes[0]", "not absolute", 38),
        ("services: {web: {image: x, volumes: ['data:/x']}}", "volumes[0].source",
         "add it under volumes:", 38),
        ("services: {web: {image: x, depends_on: [wbe]}}", "depends_on.wbe", "did you mean web?",
         41),
        ("services: {web: {image: x, networks: [front]}}", "networks.front",
         "add front: under networks:", 39),
        ("services: {web: {image: x, secrets: [s]}}", "secrets[0].source",
         "add s: under secrets:", 38),
        ("services: {web: {image: x, restart: allways}}", "restart", "did you mean always?", 28),
        ("services: {web: {image: x, mem_limit: lots}}", "mem_limit", "write 512m", 28),
        ("services: {web: {image: x, stop_grace_period: '5'}}", "stop_grace_period",
         "write 1m30s", 28),
        ("services: {web: {image: x, healthcheck: {test: [curl]}}}", "healthcheck.test",
         "neither CMD", 42),
        ("services: {web: {image: x, network_mode: none, networks: [a]}}", "networks",
         "do not go together", 48),
        ("services: {web: {}}", "services.web", "neither image nor build", 12),
        ("services: {}", "", "there are no services", 1),
        ("services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}",
         "services.", "a → b → a", 12),
        ("services: {web: {image: x, scale: 2, container_name: cc}}", "container_name",
         "cannot have one name", 38),
        ("services: {web: {image: '${X:?say it}'}}", "services.web.image", "say it", 18),
        ("services: {web: {image: x, env_file: none.env}}", "env_file[0].path", "cannot read", 28),
        ("services: {web: {image: x}}\nvolumes: {v: {driver_opts: {typ: nfs}}}", "volumes.v",
         "did you mean type?", 11),
        ("services: {web: {image: x, secrets: [s]}}\nsecrets: {s: {external: true}}",
         "secrets.s.external", "only a swarm", 15),
    ],
)  # fmt: skip
def test_errors_name_the_place_and_what_was_expected(tmp_path, text, path, said, at):
    with pytest.raises((InvalidDocument, NotBuiltYet)) as caught:
        read(tmp_path, text)
    assert path in caught.value.what
    assert said in str(caught.value)
    assert caught.value.where.endswith(f", column {at}")


@needs_schema
@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("services: {web: {image: [x]}}", "services.web.image", "expected a text, not a list"),
        ("services: {web: }", "services.web", "expected keys with values, not nothing"),
        ("services: {web: {image: x, command: {a: 1}}}", "services.web.command",
         "expected a text or a list"),
        ("services: {web: {image: x, cap_add: [A, A]}}", "cap_add[1]", "in this list twice"),
        ("services: {web: {image: x, environment: [1]}}", "environment[0]", "put it in quotes"),
        ("services: {web: {image: x, pull_policy: allways}}", "pull_policy", "not of the form"),
        ("services: {web: {image: x, env_file: [{required: true}]}}", "env_file[0]",
         "path is missing"),
        ("services: {web: {image: x, cgroup: mine}}", "cgroup", "it is host, private"),
    ],
)  # fmt: skip
def test_the_published_schema_is_kept_to(tmp_path, text, path, said):
    with pytest.raises(InvalidDocument) as caught:
        read(tmp_path, text)
    assert path in caught.value.what
    assert said in str(caught.value)


def test_without_the_schema_our_own_knowledge_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "is_there", lambda: False)
    with pytest.raises(InvalidDocument, match="expected a text, not a list"):
        read(tmp_path, "services: {web: {image: [x]}}")
    assert read(tmp_path, "services: {web: {image: x}}").enabled == {"web"}


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("gpus: all", "graphics cards"),
        ("develop: {watch: []}", "not watched"),
        ("provider: {type: x}", "another program"),
        ("models: [m]", "models are not run"),
        ("links: [a]", "find each other by name"),
        ("deploy: {placement: {constraints: []}}", "cluster"),
        ("deploy: {resources: {reservations: {devices: []}}}", "graphics cards"),
        ("post_start: []", "hooks"),
        ("storage_opt: {size: 1G}", "cannot be limited"),
        ("isolation: hyperv", "Windows"),
        ("volumes: [{type: npipe, source: a, target: /a}]", "npipe"),
        ("pull_policy: daily", "is not kept"),
        ("logging: {driver: syslog}", "not built yet"),
    ],
)
def test_what_we_do_not_do_is_refused_by_name(tmp_path, key, why):
    with pytest.raises(NotBuiltYet) as caught:
        read(tmp_path, f"services:\n  web:\n    image: x\n    {key}\n")
    assert why in str(caught.value)
    assert "compose.yaml line 4" in caught.value.where
    assert key.partition(":")[0] in caught.value.what


def test_what_changes_nothing_is_told(tmp_path):
    warned = []
    text = """
    version: "3.8"
    x-own: {a: b}
    services:
      web:
        image: "x:${NONE}"
        deploy: {update_config: {parallelism: 2}}
        x-note: fine
    """
    read(tmp_path, text, warned=warned)
    assert [each.split(" ")[0] for each in warned[:2]] == [
        "version",
        "services.web.deploy.update_config",
    ]
    assert "NONE" in warned[2]


def test_every_key_of_the_schema_has_our_answer():
    """A key that the published schema knows is done, refused by name, or told to be ignored."""
    if not schema.is_there():
        pytest.skip("the compose schema was not fetched: python setup.py fetch")
    document = json.loads(schema.SCHEMA.read_text())
    definitions = document["$defs"]
    service = {key for part in ("container_spec", "workload_spec", "service")
               for key in definitions[part]["properties"]}  # fmt: skip
    assert service <= _answered(stance.ROOT.below["services"].below[""])
    assert set(document["properties"]) <= _answered(stance.ROOT)
    for section, name in (("network", "networks"), ("volume", "volumes"), ("secret", "secrets"),
                          ("config", "configs")):  # fmt: skip
        known = _answered(stance.ROOT.below[name].below[""])
        assert set(definitions[section]["properties"]) <= known
    build = definitions["workload_spec"]["properties"]["build"]["oneOf"][1]["properties"]
    own = stance.ROOT.below["services"].below[""].below
    assert set(build) <= _answered(own["build"])
    assert set(definitions["deployment"]["properties"]) <= _answered(own["deploy"])
    assert set(definitions["healthcheck"]["properties"]) <= _answered(own["healthcheck"])


def _answered(keys):
    return {*keys.done.split(), *keys.refused, *keys.ignored}


# -- our checker against the usual one ---------------------------------------------------------

_SCALARS = st.sampled_from(["x", "80:80", "5s", "", "yes", 5, 0, -1, 1.5, True, False, None])
_KEYS = st.sampled_from(
    ["image", "ports", "command", "environment", "healthcheck", "test", "interval", "deploy",
     "replicas", "volumes", "type", "target", "source", "bind", "depends_on", "condition", "build",
     "context", "args", "networks", "aliases", "scale", "x-a", "ulimits", "soft", "hard", "nofile",
     "extra_hosts", "env_file", "path", "required", "cap_add", "tmpfs", "web", "blkio_config",
     "weight"]
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@needs_schema
@settings(deadline=None)  # the first call imports jsonschema
@given(st.dictionaries(_KEYS, _VALUES, max_size=4))
def test_our_checker_says_what_jsonschema_says(service):
    jsonschema = pytest.importorskip("jsonschema")
    document = json.loads(schema.SCHEMA.read_text())
    text = json.dumps({"services": {"web": service}})
    [root] = parse(text, "f")
    validator = jsonschema.validators.validator_for(document)(document)
    is_right = validator.is_valid(plain(root))
    try:
        schema.check(Node(root, root.place))
    except InvalidDocument:
        assert not is_right
    else:
        assert is_right


def test_a_schema_that_is_fetched_is_verified(tmp_path, monkeypatch):
    """``setup.py`` takes the file of that digest from an index, and nothing else."""
    import importlib.util

    # A virtual environment need not have setuptools, and nothing is built here.
    distribution = type("Distribution", (), {"has_data_files": None})
    stand_in = types.SimpleNamespace(setup=None, build_py=object, Distribution=distribution)
    for name in ("setuptools", "setuptools.command", "setuptools.command.build_py"):
        monkeypatch.setitem(sys.modules, name, stand_in)
    root = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location("ocimagic_setup", root / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    project, wheel, digest, _ = module.WHEEL
    page = tmp_path / project / "index.html"
    page.parent.mkdir()
    (page.parent / wheel).write_bytes(b"something else")
    page.write_text(f'<a href="https://nowhere.invalid/{wheel.replace("39", "38")}">old</a>')
    with _served(tmp_path) as url, pytest.raises(OSError, match="does not list"):
        module.fetch_schema(tmp_path / "static", url)
    page.write_text(f'<a href="/{project}/{wheel}#sha256={digest}">{wheel}</a>')
    with _served(tmp_path) as url, pytest.raises(OSError, match="not the file"):
        module.fetch_schema(tmp_path / "static", url)
    assert not (tmp_path / "static").exists()
    shutil.rmtree(tmp_path / project)


def _served(directory):
    import contextlib
    import functools
    import http.server
    import threading

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    @contextlib.contextmanager
    def serving():
        handler = functools.partial(Quiet, directory=str(directory))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}"
            finally:
                server.shutdown()
                thread.join()

    return serving()
