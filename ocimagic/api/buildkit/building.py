"""``POST /build?version=2``: the build of docker's client with ``DOCKER_BUILDKIT=1``.

The client keeps its files, secrets and logins; they are asked for over its session.  The build is
our own, as for the classic client; what it does is told as BuildKit tells it.

Sources: docker/cli 20.10 build_buildkit.go; moby 20.10 builder/builder-next/builder.go.
"""

from __future__ import annotations

import base64
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ocimagic.api.buildkit.filesync import Received, Wanted, read_files, tar_of
from ocimagic.api.buildkit.given import Agents, Secrets, is_here, logins
from ocimagic.api.buildkit.jobs import UPLOAD, Upload
from ocimagic.api.buildkit.sending import send_files, send_tar
from ocimagic.api.exchange import Answer
from ocimagic.api.files import piped
from ocimagic.api.transfers import Told
from ocimagic.dockerfile.ignore import IgnoreRules
from ocimagic.dockerfile.needs import WHOLE, context_paths
from ocimagic.dockerfile.parse import parse
from ocimagic.dockerfile.plan import PlatformArgs, plan
from ocimagic.errors import BuildFailed, NotFound, OcimagicError
from ocimagic.model.options import BuildOutput
from ocimagic.spec.platform import host_platform
from ocimagic.wire.asked import registry_config
from ocimagic.wire.asked_build import STDIN
from ocimagic.wire.asked_build import build as asked_build
from ocimagic.wire.asked_build import output as asked_output
from ocimagic.wire.asked_solve import OF_SESSION
from ocimagic.wire.buildkit import messages
from ocimagic.wire.solving import SolveProgress, solve_message
from ocimagic.wire.vertices import StepNames, images_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from typing import Any

    from ocimagic.api.buildkit.sessions import Session
    from ocimagic.api.exchange import Exchange
    from ocimagic.api.files import Readable
    from ocimagic.api.service import Service
    from ocimagic.dockerfile.plan import Plan
    from ocimagic.model.built import BuildResult
    from ocimagic.model.options import BuildOptions, OutputKind
    from ocimagic.spec.reference import Reference
    from ocimagic.wire.asked import Login

_MAX_DOCKERFILE = 4 << 20
_IGNORE = ".dockerignore"
_DEFAULT = "Dockerfile"


@dataclass(slots=True)
class Solve:
    """One build that a client of BuildKit's asks for.

    Attributes:
        service: that it is asked of.
        options: what to build; a context of ``client-session`` is fetched over the session.
        progress: is told of it.
        stop: set when it is to be stopped.
        session: of the client, None for none.
        body: an archive that came otherwise.
        given: logins that came otherwise.
        output: form of what the client is sent in place of an image: ``local`` or ``tar``.
    """

    service: Service
    options: BuildOptions
    progress: SolveProgress
    stop: threading.Event
    session: Session | None = None
    body: Readable | None = None
    given: dict[str, Login] | None = None
    output: OutputKind | None = None

    def run(self) -> BuildResult:
        """Build.

        Raises:
            OcimagicError: why not; it was told to the progress.
        """
        try:
            with ExitStack() as held:
                if self.session is not None:
                    held.enter_context(self.session.used(self.stop))
                    agents = Agents(self.session)
                    held.callback(agents.close)
                    secrets = Secrets(self.session)
                    self.options = replace(self.options, secrets=secrets, ssh=agents)
                if self.output is None:
                    result = self._built()
                    self.progress.exported(result)
                else:
                    result = self._sent(self.output)
                return result
        except OcimagicError as err:
            self.progress.failed(err)
            raise

    def _sent(self, kind: OutputKind) -> BuildResult:
        """Build, and send the files to the client."""
        if self.session is None:
            raise NotFound("what was made is sent over a session, and there is none")
        # Where there is room for it: it may be gigabytes.
        root = f"{self.service.engine.system.info().data_root}/ocimagic"
        with TemporaryDirectory(prefix="tmp-output-", dir=root) as room:
            path = f"{room}/output.tar"
            outputs = (BuildOutput(kind="tar", path=path),)
            self.options = replace(self.options, outputs=outputs, tags=())
            result = self._built()
            with self.progress.begin("exporting to client") as vertex:
                send = send_files if kind == "local" else send_tar
                count = send(self.session, path, self.stop)
                vertex.moved("copying files" if kind == "local" else "sending tarball", count)
        return result

    def _built(self) -> BuildResult:
        known = dict(self.given or {})
        if self.options.context != OF_SESSION:
            # Its Dockerfile is read where it is.
            with piped(self.body) if self.body else nullcontext() as stdin:
                return self._build(known, stdin)
        if self.session is None:
            raise NotFound("the files of a client come over a session, and there is none")
        text, rules = _definition(self.session, self.options.dockerfile_name, self.progress)
        self.options = replace(self.options, dockerfile=text)
        planned, images = self._planned(text)
        engine, pull = self.service.engine, self.options.pull
        known |= logins(self.session, engine, images, pull=pull)
        paths = context_paths(planned)
        # What ONBUILD of a base reads is known when it is here, and may be anything.
        if not all(is_here(engine, each, plain=True) for each in images) or pull:
            paths = (WHOLE,)
        if not paths:
            self.options = replace(self.options, context=None)
            return self._build(known, None)
        self.options = replace(self.options, context=STDIN, is_sent=True)
        received = Received(self.session, _context(paths, rules), self.stop)
        vertex = self.progress.begin("[internal] load build context")

        def ended(error: OcimagicError | None) -> None:
            vertex.moved("transferring context:", received.bytes)
            vertex.done(error=error.what if error else "")

        with tar_of(received, ended) as stdin:
            return self._build(known, stdin)

    def _planned(self, text: str) -> tuple[Plan, list[Reference]]:
        """Return what is to be done, and the images it needs; tell its steps' names."""
        dockerfile, options = parse(text), self.options
        host = str(host_platform())
        target = str(options.platforms[0]) if options.platforms else host
        planned = plan(
            dockerfile,
            build_args=options.build_args,
            target=options.target,
            platform=PlatformArgs(target=target, build=host),
        )
        images = images_of(planned)
        self.progress.plan(StepNames(planned, len(dockerfile.stages)), images)
        return planned, images

    def _build(self, known: dict[str, Login], stdin: int | None) -> BuildResult:
        images = self.service.with_logins(known)
        hear = self.progress.hear
        return images.build(self.options, stdin=stdin, on_event=hear, cancelled=self.stop)


def _definition(
    session: Session, name: str, progress: SolveProgress
) -> tuple[str, tuple[str, ...]]:
    """Return the text of the Dockerfile, and the lines of the .dockerignore that counts for it.

    Raises:
        BuildFailed: there is no such Dockerfile, or it is no text.
        BadInput: the .dockerignore cannot be understood.
    """
    other = (_DEFAULT.lower(),) if name == _DEFAULT else ()
    with progress.begin(f"[internal] load build definition from {name}") as vertex:
        names = (name, *other, f"{name}{_IGNORE}")
        found = read_files(session, "dockerfile", names, _MAX_DOCKERFILE)
        vertex.moved("transferring dockerfile:", sum(map(len, found.values())) or 2)
    with progress.begin("[internal] load .dockerignore") as vertex:
        ignored = found.get(f"{name}{_IGNORE}")
        if ignored is None:
            read = read_files(session, "context", (_IGNORE,), _MAX_DOCKERFILE)
            ignored = read.get(_IGNORE, b"")
        vertex.moved("transferring context:", len(ignored) or 2)
        rules = tuple(ignored.decode("utf-8", "surrogateescape").split("\n"))
        IgnoreRules.parse("\n".join(rules))
    raw = next((found[each] for each in (name, *other) if each in found), None)
    if raw is None:
        raise BuildFailed(
            f"failed to read dockerfile: open {name}: no such file or directory",
            hint="name it with -f",
        )
    try:
        return raw.decode("utf-8-sig"), rules
    except UnicodeDecodeError as err:
        raise BuildFailed("the Dockerfile is not UTF-8 text", why=str(err)) from err


def _context(paths: tuple[str, ...], lines: tuple[str, ...]) -> Wanted:
    """Return what is asked for of the context: what is read, without what is excluded."""
    rules = IgnoreRules.parse("\n".join(lines))

    def keeps(path: str, is_directory: bool) -> bool:
        if not rules.excludes(path):
            return True
        return is_directory and rules.may_reinclude_below(path)

    patterns = [("!" if each.brings_back else "") + each.pattern for each in rules.rules]
    follow = () if WHOLE in paths else paths
    return Wanted("context", follow=follow, exclude=patterns, keeps=keeps)


def build(service: Service, exchange: Exchange) -> Answer | None:
    """Build an image as docker's client with BuildKit asks for it."""
    messages()  # 501 before anything is begun
    name = exchange.query.text("buildid")
    if name.startswith(f"{UPLOAD}:"):
        return _upload(service, exchange, name.removeprefix(f"{UPLOAD}:"))
    given = registry_config(exchange.request.header("x-registry-config"))
    session_id = exchange.query.text("session")
    # Found before anything is refused: docker's client waits for ever if it is not there yet.
    session = service.sessions.find(session_id) if session_id else None
    answer = _Lines(exchange, session, quiet=exchange.query.flag("q"))
    with (
        answer.ended(),
        service.jobs.running(name) as stop,
        exchange.watched(stop),
        ExitStack() as held,
    ):
        options = asked_build(exchange.query)
        body: Readable | None = None
        if options.context == UPLOAD:
            body = held.enter_context(service.jobs.taking(name))
        elif options.context == STDIN:
            body = exchange.body
        if body is not None:
            options = replace(options, context=STDIN, is_sent=False)
        progress = SolveProgress(answer.trace)
        answer.progress = progress
        kind = asked_output(exchange.query)
        solve = Solve(service, options, progress, stop, session, body, given)
        solve.output = output_kind(kind)
        answer.done(solve.run(), is_sent=bool(kind))
    return None


def output_kind(exporter: str) -> OutputKind | None:
    """Return the form in which a client is sent what was made; None for an image that stays."""
    return "local" if exporter == "local" else "tar" if exporter == "tar" else None


def _upload(service: Service, exchange: Exchange, name: str) -> Answer:
    """Have another request's build read this one's body."""
    upload = Upload(exchange.body)
    with exchange.watched():
        service.jobs.give(name, upload)
        upload.read.wait()
    return Answer(200)


class _Lines:
    """The lines of an answer; a quiet one has them only if the build fails."""

    def __init__(self, exchange: Exchange, session: Session | None, *, quiet: bool) -> None:
        self._told = Told(exchange)
        self._session = session
        self.progress: SolveProgress | None = None
        self._quiet = quiet
        self._kept: list[dict[str, object]] = []

    def trace(self, response: Any) -> None:  # noqa: ANN401  a message
        """Tell what happened."""
        aux = base64.b64encode(response.SerializeToString()).decode()
        line: dict[str, object] = {"id": "moby.buildkit.trace", "aux": aux}
        if self._quiet:
            self._kept.append(line)
        else:
            self._told.lines([line])

    def done(self, result: BuildResult, *, is_sent: bool) -> None:
        """Tell the image, unless its files went to the client in place of it."""
        if is_sent:
            return
        image_id = str(result.image_id)
        line: dict[str, object] = {"id": "moby.image.id", "aux": {"ID": image_id}}
        self._told.lines([{"stream": f"{image_id}\n"} if self._quiet else line])

    @contextmanager
    def ended(self) -> Iterator[None]:
        """Tell a failure as the last line, if there are any."""
        try:
            yield
        except OcimagicError as err:
            self._told.lines(self._kept)
            if not self._told.has_begun:
                if self._session is not None:
                    self._session.end()  # its client does not, when it is refused
                raise
            message = solve_message(
                err, has_begun=self.progress is not None and self.progress.has_begun
            )
            self._told.lines([{"errorDetail": {"message": message}, "error": message}])
        self._told.close()
