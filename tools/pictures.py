"""Make the pictures of the README from real runs: ``python tools/pictures.py``.

An engine in a data root of its own builds, runs and connects what the pictures show; each is
written as an SVG document to ``docs/pictures``, with its words beside it.
"""

from __future__ import annotations

import base64
import html
import re
import shutil
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic import Engine
from ocimagic.cli.grammar import execute
from ocimagic.cli.session import Session
from ocimagic.render.display import as_html

if TYPE_CHECKING:
    from collections.abc import Iterable

OUT = Path(__file__).resolve().parents[1] / "docs" / "pictures"
BASE = "base:latest"
WAIT = ("sh", "-c", "trap exit TERM; while :; do sleep 0.1; done")
LAYERDEMO = f"""\
FROM {BASE}
RUN for each in 1 2 3; do head -c 200000 /dev/urandom > /var/list-$each; done
"""
WEB = """\
FROM layerdemo:latest
LABEL maintainer=khaja@qt.com version=1.0
COPY app.py /srv/app.py
RUN rm /var/list-3; head -c 90000 /dev/urandom > /srv/cache
CMD ["sh", "/srv/app.py"]
"""
SHOP = f"""\
FROM {BASE} AS deps
RUN head -c 300000 /dev/urandom > /wheels

FROM {BASE} AS assets
COPY app.js /web/app.js
RUN sleep 0.3; gzip -c /web/app.js > /web/app.js.gz

FROM deps AS test
RUN sleep 0.2; echo passed > /report

FROM {BASE}
COPY --from=deps /wheels /srv/wheels
COPY --from=assets /web /srv/web
COPY --from=test /report /srv/
"""
_PICTURE = re.compile(r'<img alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]*)"')


class Studio:
    """An engine, a context directory, and docker's words on them."""

    def __init__(self, engine: Engine, context: Path) -> None:
        self.engine = engine
        self.context = context

    def docker(self, *words: str, stdin: str = "") -> object:
        """Run a command and return its value."""
        session = Session(engine=lambda: self.engine, cwd=str(self.context), stdin=stdin.encode())
        return execute(words, session)

    def build(self, tag: str, dockerfile: str) -> object:
        """Build from the context."""
        return self.docker("build", "-t", tag, "-f", "-", ".", stdin=dockerfile)

    def file(self, name: str, text: str) -> None:
        """Put a file into the context."""
        (self.context / name).write_text(text)


def main() -> int:
    """Make all pictures."""
    OUT.mkdir(exist_ok=True)
    with ExitStack() as undo:
        room = Path(tempfile.mkdtemp(prefix="ocimagic-pictures-", dir="/var/tmp"))
        undo.callback(shutil.rmtree, room, ignore_errors=True)
        (room / "context").mkdir()
        engine = undo.enter_context(Engine(room / "root", environment={}))
        for name, value in shots(Studio(engine, room / "context")):
            keep(name, value)
    return 0


def shots(studio: Studio) -> Iterable[tuple[str, object]]:
    """Yield each picture's name with the value that it shows."""
    studio.engine.images.assemble(BASE)
    studio.file("app.py", "echo hello\n")
    studio.file("app.js", "let version = 1;\n")
    studio.build("layerdemo", LAYERDEMO)
    yield "layerdemo", studio.docker("image", "layers", BASE, "layerdemo")
    studio.build("web:1", WEB)
    studio.file("app.py", "echo hello again\n")
    studio.build("web:2", WEB)
    yield "base-and-derived", studio.docker("image", "layers", BASE, "layerdemo", "web:1", "web:2")
    yield "one-image", studio.docker("image", "layers", "web:1")
    studio.build("shop:1", SHOP)
    studio.file("app.js", "let version = 2;\n")
    yield "build", studio.build("shop:1", SHOP)
    yield from with_containers(studio)


def with_containers(studio: Studio) -> Iterable[tuple[str, object]]:
    """Yield what needs containers that run."""
    work = "echo more >> /etc/os-release; rm /var/list-2; echo hello > /tmp/new; sleep 300"
    run = ("run", "-d", "--name")
    studio.docker("network", "create", "front")
    studio.docker("network", "create", "--internal", "back")
    try:
        studio.docker(*run, "web", "--network", "front", "-p", "8080:80", "web:1", *WAIT)
        studio.docker(*run, "api", "--network", "front", "web:2", *WAIT)
        studio.docker("network", "connect", "back", "api")
        studio.docker(*run, "db", "--network", "back", BASE, *WAIT)
        yield "networks", studio.docker("network", "map")
        studio.docker(*run, "writer", "--network", "none", "web:1", "sh", "-c", work)
        done = "until [ -f /tmp/new ]; do sleep 0.05; done"
        studio.docker("exec", "writer", "sh", "-c", done)
        yield "copy-up", studio.docker("container", "layers", "writer")
        yield "disk", studio.docker("system", "df")
        studio.docker("run", "--rm", BASE, "echo", "hello")
        yield "explain", studio.docker("explain")
    finally:
        for each in studio.engine.containers.list(all=True):
            studio.engine.containers.remove(each.container_id, force=True)


def keep(name: str, value: object) -> None:
    """Write a value's picture, and say its words."""
    drawn = as_html(value, datetime.now(UTC)) or ""
    found = _PICTURE.search(drawn)
    if found is None:
        raise SystemExit(f"{name} has no picture")
    path = OUT / f"{name}.svg"
    path.write_bytes(base64.b64decode(found[2]) + b"\n")
    print(f"{path.name}: {html.unescape(found[1])}")


if __name__ == "__main__":
    sys.exit(main())
