"""A learner's first five minutes, line by line, in a real kernel; facts are what he sees."""

import itertools
import os
import re

import pytest
from shown import plain

from ocimagic import Engine
from ocimagic.errors import HostLacks

pytestmark = [
    pytest.mark.slow,
    # Whoever cannot run containers here is told so by others of our tests.
    pytest.mark.usefixtures("shared"),
]

DOCKERFILE = """
FROM busybox
RUN echo ready > /ready
COPY app.sh /app.sh
CMD ["sh", "/app.sh"]
"""


@pytest.fixture
def classroom():
    try:
        registry = Engine.classroom()
    except HostLacks as err:
        pytest.skip(str(err))
    with registry:
        yield registry.host


# Stops the cell that runs, as the stop button does, once its third step is really under way.
STOPPER = """
import os, pathlib, signal, threading, time
def stop():
    words = b"sleep\\x0098765"
    def is_there(each):
        try:
            return words in each.read_bytes()
        except OSError:
            return False
    while not any(map(is_there, pathlib.Path("/proc").glob("[0-9]*/cmdline"))):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=stop, daemon=True).start()
"""
LONG = """
FROM busybox
RUN echo ready > /ready
RUN sleep 98765
RUN true
"""
ASK = """
kernel = get_ipython().kernel
offered = kernel.do_complete("%im", 3)["matches"]
print(sorted(each.rpartition("%")[2] for each in offered if "image_" in each))
print(kernel.do_inspect("%image_pull", 11)["data"]["text/plain"])
"""


def first_cells(classroom):
    return {
        "mirror": f"%config OciMagic.registry_mirror = 'http://{classroom}'",
        "ask": ASK,
        "pull": "%image_pull busybox",
        "hello": "%container_run busybox echo hello",
        "explain": "%explain",
        "slip": "%contianer_run busybox true",
        "build": f"%%dockerfile -t web:1{DOCKERFILE}",
        "change": "open('app.sh', 'a').write('# more\\n');",
        "again": f"%%dockerfile -t web:2{DOCKERFILE}",
        "layers": "%image_layers web:1 web:2 busybox",
        "start": "c = %container_run -d --name web -p 80 web:1",
        "logs": "while 'up' not in str(c.logs()):\n    pass\nprint(c.logs())",
        "stats": "c.stats()",
        "listed": "%container_ls",
    }


AFTER_A_RESTART = {
    "still": "%container_ls",
    "untagged": "%container_run web true",
    "stopper": STOPPER,
    "stopped": f"%%dockerfile -t slow:1{LONG}",
    "after": "%image_ls slow",
    "gone": "%container_rm -f web",
    "pruned": "%system_prune -f",
}


def html(cell):
    return "".join(each.get("data", {}).get("text/html", "") for each in cell.outputs)


@pytest.fixture
def lines(run_notebook, classroom, tmp_path):
    """Run both halves, each in a kernel of its own; return cells and what they say, by name."""
    (tmp_path / "app.sh").write_text("echo up; sleep 1000\n")
    cells = {}
    for named in (first_cells(classroom), AFTER_A_RESTART):
        ran = run_notebook(*named.values(), allow_errors=True, load="%load_ext ocimagic")
        cells["greeting"] = cells.get("greeting") or run_notebook.notebook.cells[0]
        cells |= dict(zip(named, ran, strict=True))
    return cells, {name: plain(each) for name, each in cells.items()}


def test_line_by_line(lines):
    cells, said = lines
    for name in ("slip", "untagged", "stopped"):
        assert "Traceback" not in said[name]
    the_first_image(said)
    the_run_and_its_story(cells, said)
    the_builds(cells, said)
    the_container(said)
    the_end(cells, said)


def the_first_image(said):
    """Say lines 2 to 4: the greeting, completion and help, the pull in one sentence."""
    assert re.match(r"ocimagic \d.* · \w+.* mode · store \S+ · 0 images · ", said["greeting"])
    assert said["greeting"].endswith("try %docker run busybox echo hello\n")
    offered, _, help_text = said["ask"].partition("\n")
    for verb in ("build", "history", "inspect", "layers", "ls", "pull", "push", "rm", "tag"):
        assert f"'image_{verb}'" in offered
    assert "--platform OS/ARCH" in help_text
    assert len(re.findall(r"\n  docker image pull .*alpine", help_text)) == 2, "two examples"
    sentence = r"(\S+/)?busybox:latest: 1 layer, .*digest sha256:[0-9a-f]{12}, [\d.]+s"
    assert re.match(sentence, said["pull"])
    assert "Pulling" not in said["pull"]


def the_run_and_its_story(cells, said):
    """Say lines 5 to 7: output and badge, the chain of this very run, a slip."""
    assert said["hello"].startswith("hello\n")
    assert "exit 0, " in said["hello"]
    told = said["explain"]
    assert told.startswith("docker container run busybox echo hello: exit code 0")
    chain = ("docker client", "REST API", "daemon", "containerd", "OCI bundle", "shim", "runc")
    for one, other in itertools.pairwise(chain):
        assert told.index(one) < told.index(other), "in the order of the notes"
    assert re.search(r"start: shim \d+ takes it", told)
    assert " ms" in told
    assert "<img alt=" in html(cells["explain"])
    assert "did you mean %container_run?" in said["slip"]


def the_builds(cells, said):
    """Say lines 8 to 10: a table of steps, why one was done again, what is shared."""
    assert said["build"].split()[:6] == ["STEP", "INSTRUCTION", "CACHE", "TIME", "LAYER", "IMAGE"]
    assert re.search(r"web:1: image [0-9a-f]{12}, .*\b1 of 4 steps from the cache", said["build"])
    assert "the file app.sh changed" in said["again"]
    assert "2 of 4 steps from the cache" in said["again"]
    assert "(base, shared by 3)" in said["layers"]
    assert re.search(r"\d[kM]?B if nothing were shared: \S+ saved", said["layers"])
    assert "<img alt=" in html(cells["layers"])


def is_counted():
    """Say whether a container has a cgroup here that counts its memory: root's has."""
    return os.geteuid() == 0


def the_container(said):
    """Say lines 11 and 12: it is Python, and it outlives the kernel."""
    assert said["logs"] == "up\n"
    for head in ("CPU %", "MEM USAGE / LIMIT", "MEM %"):
        assert head in said["stats"]
    rows = []
    for name in ("listed", "still"):
        head, row = said[name].strip().splitlines()
        columns = head.split()
        assert "NAMES" in columns
        assert columns[-1] == "MEMORY" or not is_counted(), "by the container's cgroup"
        assert "->80/tcp" in row
        assert " Up " in row
        rows.append(row.split())
    assert rows[0][0] == rows[1][0], "the same container, for another kernel"


def the_end(cells, said):
    """Say lines 13 to 15: what to try, a build that is stopped, and cleaning up."""
    assert "  try   web:1, web:2 are here: name one of them" in said["untagged"]
    assert "The build was stopped by you" in said["stopped"]
    assert "2 of 4 steps are done and kept" in said["stopped"]
    assert "slow" not in said["after"].partition("\n")[2]
    assert said["gone"].strip() == "web"
    assert re.search(r"\b1 container, .*\d[kM]?B freed", html(cells["pruned"]))
    assert "Total reclaimed space" in said["pruned"]
