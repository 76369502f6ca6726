"""ADD of a git repository: one commit, its submodules, and nothing of git but the files.

The commit is found out first and is what the cache knows; only a step that is not there yet
fetches it.  Files have mode 0644 or 0755, no owner and the commit's time, so that a commit is
always the same layer.

Source: facts/build.md section 1.2 (ADD).
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ocimagic.build.content import HashCache
from ocimagic.build.context import Context
from ocimagic.build.git_program import Git, GitFailed
from ocimagic.build.limits import frame
from ocimagic.build.selection import Selected, exclusions, whole
from ocimagic.dockerfile.gitref import GitRef, commit_digits
from ocimagic.errors import BadInput, BuildFailed, HostLacks
from ocimagic.layers.tarheader import Kind
from ocimagic.model.event import TransferStarted
from ocimagic.registry.origin import shown_url
from ocimagic.registry.transport import refuse_offline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocimagic.build.bench import Bench
    from ocimagic.build.tree import Content, File
    from ocimagic.dockerfile.instructions import Add

_GIT_DIR = ".git"
# Old and dumb servers cannot give one commit only, or only what a name leads to.
_WORTH_ANOTHER_WAY = re.compile("shallow|depth|not our ref|unadvertised|object name|remote ref")
_WEB = ("https", "http")
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
# What differs each time a commit is fetched, and says nothing of it.
_PASSING = ("FETCH_HEAD", "ORIG_HEAD", "logs", "hooks", "index", "gc.log", "description")


class Checkout:
    """The files of a commit, as a tree.

    Args:
        context: the directory they are in.
        keeps_git_dir: whether git's own files are there, too.
    """

    def __init__(self, context: Context, *, keeps_git_dir: bool) -> None:
        self._context = context
        self._keeps_git_dir = keeps_git_dir

    def find(self, path: str) -> File | None:
        """Look up a path; links stay inside."""
        found = self._context.find(path)
        is_hidden = found and not self._keeps_git_dir and _GIT_DIR in found.path.split("/")
        return None if is_hidden else found

    def children(self, directory: File) -> Sequence[File]:
        """List a directory."""
        found = self._context.children(directory)
        return [each for each in found if self._keeps_git_dir or each.name != _GIT_DIR]

    def contents(self, files: Sequence[File]) -> Iterator[Content]:
        """Yield contents in the order asked."""
        return self._context.contents(files)

    def digests(self, files: Sequence[File]) -> list[str]:
        """Return the digests of files."""
        return self._context.digests(files)


@dataclass(slots=True)
class GitFiles:
    """One repository of an ADD; ``close`` takes away what was fetched.

    Args:
        bench: of this build.
        add: the instruction, expanded.
        text: the repository as it is written.

    Raises:
        DockerfileError: it is none, or does not agree with the flags.
    """

    bench: Bench
    add: Add
    text: str
    may_unpack: bool = False
    _ref: GitRef = field(init=False)
    _commit: str = ""
    _name: str = ""  # the full name of the ref on the other side
    _room: Path | None = None
    _checkout: Checkout | None = None

    def __post_init__(self) -> None:
        """Read what was given."""
        try:
            ref = GitRef.parse(self.text)
            checksum = commit_digits(self.add.checksum or "")
        except BadInput as err:
            at = "--checksum" if "checksum" in err.what else self.text
            raise self.add.source.error(err.what, at=at, hint=err.hint) from None
        if checksum and ref.checksum and checksum != ref.checksum:
            what = f'checksum mismatch "{checksum}" != "{ref.checksum}"'
            raise self.add.source.error(what, at=self.text)
        keeps = self.add.keep_git_dir
        if None not in (keeps, ref.keep_git_dir) and keeps != ref.keep_git_dir:
            raise self.add.source.error("inconsistent keep-git-dir configuration", at=self.text)
        self._ref = GitRef(
            remote=ref.remote,
            ref=ref.ref,
            directory=ref.directory,
            checksum=(checksum or ref.checksum).lower(),
            # As in BuildKit, a directory of a repository has no .git to keep.
            keep_git_dir=bool(ref.keep_git_dir if keeps is None else keeps) and not ref.directory,
            submodules=ref.submodules,
        )

    @property
    def shown(self) -> str:
        """Return the repository's address without a password."""
        remote = self._ref.remote
        return shown_url(remote) if "://" in remote else remote

    def key(self) -> list[object]:
        """Return the commit and what is made of it.

        Raises:
            DockerfileError: no such branch, tag or commit, or another than ``--checksum`` says.
            BuildFailed: the repository cannot be asked.
            HostLacks: there is no git.
        """
        self._resolve()
        ref = self._ref
        return ["git", ref.remote, self._commit, ref.directory, ref.keep_git_dir, ref.submodules]

    def tree(self) -> Checkout:
        """Return the files, fetched."""
        if self._checkout is None:
            self._checkout = self._fetched()
        return self._checkout

    def selected(self) -> Sequence[Selected]:
        """Return all files of the directory that was asked for.

        Raises:
            DockerfileError: the commit has no such directory.
            BuildFailed: it cannot be fetched.
        """
        tree = self.tree()
        top = tree.find(self._ref.directory)
        if top is None or top.kind is not Kind.DIR:
            raise self.add.source.error(
                f'"{self._ref.directory}": no such directory in {self.shown}', at=self.text
            )
        return [whole(tree, top, exclusions(self.add.exclude, self.add.source))]

    def close(self) -> None:
        """Remove what was fetched."""
        if self._room is not None:
            shutil.rmtree(self._room, ignore_errors=True)
            self._room = None

    # -- asking ------------------------------------------------------------------------

    def _git(self, *words: str) -> str:
        if self._room is None:
            own = self.bench.store.home.own
            self._room = Path(tempfile.mkdtemp(prefix="tmp-git-", dir=own))
        try:
            return Git(self.bench, self._room).run(words)
        except HostLacks as err:
            err.where = frame(self.add.source, self.text)
            raise

    def _go_out(self) -> None:
        """Refuse to ask another machine where the user said so."""
        if urlsplit(self._ref.remote).hostname not in _THIS_MACHINE:
            refuse_offline(self.bench.environment, self.shown)

    def _resolve(self) -> None:
        """Find out which commit it is, without fetching anything."""
        if self._commit:
            return
        ref, told = self._ref, ""
        if ref.commit:
            self._commit = told = ref.commit
        else:
            self._commit, told = self._asked()
        if not (self._commit.startswith(ref.checksum) or told.startswith(ref.checksum)):
            raise self.add.source.error(
                f"expected checksum to match {ref.checksum}, got {self._commit}",
                at=self.add.checksum or self.text,
                why=f"that is where {ref.ref or 'the default branch'} of {self.shown} is now",
                hint="if that is the commit you mean, change the checksum",
            )

    def _asked(self) -> tuple[str, str]:
        """Return the commit of the ref, and what the ref itself is: perhaps a tag's object."""
        self._go_out()
        names = self._ref.names
        try:
            # A tag that is an object of its own has a second line, with the commit.
            answer = self._git("ls-remote", "--", self._ref.remote, *names, *_peeled(names))
        except GitFailed as err:
            raise self._failed(err) from err
        found = {
            name: digits
            for digits, _, name in (line.partition("\t") for line in answer.splitlines())
        }
        for name in names:
            if name in found:
                self._name = name
                return found.get(f"{name}^{{}}", found[name]), found[name]
        raise self.add.source.error(
            f"repository does not contain ref {self._ref.ref or 'HEAD'}",
            at=self.text,
            why=f"{self.shown} has no branch or tag of that name",
            hint="a commit must be written whole, with 40 digits",
        )

    # -- fetching ----------------------------------------------------------------------

    def _fetched(self) -> Checkout:
        self._resolve()
        self._go_out()
        self.bench.on_event(TransferStarted(self.shown, None, (), "fetching"))
        try:
            self._git("init", "--quiet", "checkout")
            self._fetch()
            got = self._git("-C", "checkout", "rev-parse", f"{self._commit}^{{commit}}").strip()
            self._git("-C", "checkout", "checkout", "--quiet", "--force", "--detach", got)
            if self._ref.submodules:
                self._fetch_submodules()
            time_s = int(self._git("-C", "checkout", "show", "-s", "--format=%ct", got))
        except GitFailed as err:
            raise self._failed(err) from err
        assert self._room is not None
        directory = self._room / "checkout"
        if self._ref.keep_git_dir:
            self._make_lasting(directory / _GIT_DIR)
        hashes = HashCache(self._room / "hashes", self.bench.check_cancelled)
        context = Context(str(directory), None, hashes, mtime=max(0, time_s))
        return Checkout(context, keeps_git_dir=bool(self._ref.keep_git_dir))

    def _fetch(self) -> None:
        """Fetch the one commit; all that there is where the server cannot give one."""
        wanted = self._name or self._commit
        ways = (
            ("--depth=1", wanted),
            (wanted,),
            ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"),
        )
        failure: GitFailed | None = None
        for way in ways:
            flags = [each for each in way if each.startswith("--")]
            refs = [each for each in way if not each.startswith("--")]
            fetch = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", *flags)
            try:
                self._git("-C", "checkout", *fetch, "--", self._ref.remote, *refs)
                self._git("-C", "checkout", "cat-file", "-e", f"{self._commit}^{{commit}}")
            except GitFailed as err:
                failure = failure or err
                if not _WORTH_ANOTHER_WAY.search(str(err)):
                    break
            else:
                return
        assert failure is not None
        raise failure

    def _fetch_submodules(self) -> None:
        update = ("submodule", "--quiet", "update", "--init", "--recursive")
        assert self._room is not None
        if not (self._room / "checkout" / ".gitmodules").is_file():
            return
        self._git("-C", "checkout", "remote", "add", "origin", self._ref.remote)
        try:
            self._git("-C", "checkout", *update, "--depth=1")
        except GitFailed:
            self._git("-C", "checkout", *update)

    def _make_lasting(self, git_dir: Path) -> None:
        """Leave in .git what is the same each time, and no password."""
        with contextlib.suppress(GitFailed):  # it is there where there are submodules
            self._git("-C", "checkout", "remote", "add", "origin", self._ref.remote)
        parts = urlsplit(self._ref.remote)
        login = parts.netloc.rpartition("@")[0]
        if ":" in login or (login and parts.scheme in _WEB):  # a token may stand alone
            for config in git_dir.rglob("config"):
                text = config.read_text(encoding="utf-8", errors="surrogateescape")
                text = text.replace(f"{login}@", "")
                config.write_text(text, encoding="utf-8", errors="surrogateescape")
        heads = [each.parent for each in git_dir.rglob("HEAD")]
        for directory in (each for each in heads if (each / "objects").is_dir()):
            self._forget_passing(directory)

    def _forget_passing(self, git_dir: Path) -> None:
        """Leave nothing of the fetching in the git directory of the repository or a submodule."""
        for name in _PASSING:
            path = git_dir / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        # An index that knows no times and inodes: the next git status looks for itself.
        self._git(f"--git-dir={git_dir}", "read-tree", "HEAD")

    def _failed(self, err: GitFailed) -> BuildFailed:
        self.bench.check_cancelled()
        said = str(err).replace(self._ref.remote, self.shown)
        hint = "see that the address is right, and that it can be read without a password"
        if self._ref.remote.startswith(("ssh:", "git@")) or "@" in self.shown:
            hint = "is its key in ~/.ssh/known_hosts, and an agent given (--ssh default)?"
        return BuildFailed(
            f"cannot fetch {self.shown}",
            why=said or "git did not say why",
            hint=hint,
            where=frame(self.add.source, self.text),
        )


def _peeled(names: Sequence[str]) -> list[str]:
    return [f"{name}^{{}}" for name in names]
