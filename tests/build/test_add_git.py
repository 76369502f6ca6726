"""ADD of git repositories, by the real git from a real server on this machine."""

import os
import shutil
import threading
import time

import pytest
from gitserver import WHEN_NS, GitServer, Repository, git

from ocimagic.errors import BuildFailed, Cancelled, DockerfileError, HostLacks

if not shutil.which("git"):
    pytest.skip("no git on this machine", allow_module_level=True)

FILES = {"README": "one", "*run.sh": "sh", "sub/deep/file": "deep", ">link": "sub/deep/file"}
ALL = {"README", "run.sh", "sub", "sub/deep", "sub/deep/file", "link"}


@pytest.fixture
def server(tmp_path):
    with GitServer(tmp_path / "git") as found:
        found.repository = Repository(found.root, "r")
        found.repository.commit(FILES, "v1", "@v2")
        found.remote = f"{found.url}/r/.git"
        yield found


def add(place, server, words, head="FROM scratch\n", **options):
    result = place.build(f"{head}ADD {words.replace('GIT', server.remote)}\n", **options)
    assert [each for each in place.engine.home.own.iterdir() if each.name.startswith("tmp")] == []
    return result


def test_a_repository(place, server):
    result = add(place, server, "GIT /x", context=None)
    listing = place.listing(result)
    assert {f"x/{name}" for name in ALL} | {"x"} == set(listing)
    assert listing["x/README"] == ("f", 0o644, (0, 0))
    assert listing["x/run.sh"] == ("f", 0o755, (0, 0))
    assert listing["x/sub/deep"] == ("d", 0o755, (0, 0))
    assert listing["x/link"][0] == "l"
    assert place.files(result).find("x/README").mtime_ns == WHEN_NS
    assert place.text(result, "x/link") == "deep"


def test_the_same_commit_is_the_same_layer(place, fresh, server):
    layers = {add(each, server, "GIT /x").steps[-1].layer for each in (place, fresh)}
    assert len(layers) == 1


@pytest.mark.parametrize("is_dumb", [False, True])
@pytest.mark.parametrize(
    "ref", ["", "#v1", "#v2", "#main", "#refs/heads/main", "#heads/main", "#tags/v2", "#COMMIT"]
)
def test_refs(fresh, server, ref, is_dumb):
    server.is_dumb = is_dumb
    commit = git(server.repository.path, "rev-parse", "HEAD")
    result = add(fresh, server, f"GIT{ref.replace('COMMIT', commit)} /x")
    assert fresh.text(result, "x/README") == "one"


def test_other_branches_tags_and_old_commits(place, server):
    repository = server.repository
    first = git(repository.path, "rev-parse", "HEAD")
    repository.commit({"README": "other"}, branch="other/branch")
    repository.commit({"README": "branch"}, branch="same")
    repository.commit({"README": "tag"}, branch="aside")
    git(repository.path, "tag", "same")
    texts = {
        "#other/branch": "other",
        "#same": "tag",
        "?branch=same": "branch",
        "?tag=same": "tag",
        "?ref=other/branch": "other",
        f"?commit={first}": "one",
        f"#{first}": "one",
    }
    for ref, text in texts.items():
        result = add(place, server, f"GIT{ref} /x")
        assert (ref, place.text(result, "x/README")) == (ref, text)


def test_only_what_was_asked_for_is_fetched(place, server):
    for number in range(5):
        server.repository.commit({"README": str(number)})
    result = add(place, server, "--keep-git-dir=true GIT /x")
    target = place.context / "out"
    target.mkdir()
    files = place.files(result)
    for found in files.merged.walk():
        path = target / found.path
        if found.entry.kind.name == "DIR":
            path.mkdir(exist_ok=True)
        elif found.entry.kind.name == "FILE":
            path.write_bytes(files.read(found.path, max_bytes=1 << 20))
        elif found.entry.kind.name == "SYMLINK":
            path.symlink_to(found.entry.linkname)
    assert git(target / "x", "rev-list", "--all", "--count") == "1"
    assert git(target / "x", "remote", "get-url", "origin") == server.remote
    git(target / "x", "config", "core.fileMode", "false")  # the loop above sets no modes
    assert git(target / "x", "status", "--porcelain") == ""


def test_no_git_dir_unless_it_is_kept(place, server):
    assert "x/.git" not in place.listing(add(place, server, "GIT /x"))
    assert "x/.git" in place.listing(add(place, server, "GIT?keep-git-dir=1 /x"))
    assert "x/.git" not in place.listing(add(place, server, "--keep-git-dir=true GIT#:sub /x"))


def test_directories(place, server):
    for words in ("GIT#main:sub /x", "GIT#:/sub/ /x", "GIT?subdir=./sub&branch=main /x"):
        result = add(place, server, words)
        assert set(place.listing(result)) == {"x", "x/deep", "x/deep/file"}
    for words in ("GIT#:nope /x", "GIT#:README /x"):
        with pytest.raises(DockerfileError, match="no such directory"):
            add(place, server, words)


def test_flags(place, server):
    text = "--exclude=sub --exclude=*.sh --chown=3:4 --chmod=go= GIT#v1 /a/x"
    listing = place.listing(add(place, server, text))
    assert set(listing) == {"a", "a/x", "a/x/README", "a/x/link"}
    assert listing["a/x/README"] == ("f", 0o600, (3, 4))
    head = "FROM scratch\nCOPY <<f /other\nf\n"
    assert add(place, server, "--link GIT /a").steps
    assert add(place, server, "--link GIT /a", head).steps[-1].cached


# -- the cache ---------------------------------------------------------------------


def test_a_commit_is_fetched_once(fresh, server):
    add(fresh, server, "GIT#main /x")
    assert server.packs()
    assert add(fresh, server, "GIT#main /x").steps[-1].cached
    assert add(fresh, server, "GIT#v1 /x").steps[-1].cached
    commit = git(server.repository.path, "rev-parse", "HEAD")
    asked = len(server.asked)
    assert add(fresh, server, f"GIT#{commit} /x").steps[-1].cached
    assert asked == len(server.asked)
    server.repository.commit({"README": "two"})
    result = add(fresh, server, "GIT#main /x")
    assert not result.steps[-1].cached
    assert fresh.text(result, "x/README") == "two"


def test_checksum(place, server):
    commit = git(server.repository.path, "rev-parse", "HEAD")
    tag = git(server.repository.path, "rev-parse", "v2")
    for words in (
        f"--checksum={commit} GIT /x",
        f"--checksum={commit[:9].upper()} GIT#v1 /x",
        f"--checksum={tag} GIT#v2 /x",
        f"GIT?branch=main&checksum={commit[:7]} /x",
        f"GIT?checksum={commit} /x",
    ):
        assert place.text(add(place, server, words), "x/README") == "one"
    with pytest.raises(DockerfileError, match="expected checksum to match 1234567, got") as caught:
        add(place, server, "--checksum=1234567 GIT /x")
    assert commit in caught.value.what
    assert (caught.value.line, caught.value.column) == (2, 16)


# -- submodules --------------------------------------------------------------------


def add_submodule(server, name, url, path):
    git(server.repository.path, "config", "-f", ".gitmodules", f"submodule.{name}.path", path)
    git(server.repository.path, "config", "-f", ".gitmodules", f"submodule.{name}.url", url)
    inner = git(server.root / "inner", "rev-parse", "HEAD")
    git(server.repository.path, "update-index", "--add", "--cacheinfo", f"160000,{inner},{path}")
    git(server.repository.path, "add", ".gitmodules")
    git(server.repository.path, "commit", "-q", "-m", "s")
    git(server.repository.path, "update-server-info")


def test_submodules(place, server):
    Repository(server.root, "inner").commit({"inside": "in"})
    add_submodule(server, "m", "../../inner/.git", "mod")
    listing = place.listing(add(place, server, "GIT /x"))
    assert {"x/mod", "x/mod/inside"} <= set(listing)
    assert not [path for path in listing if path.endswith(".git")]
    listing = place.listing(add(place, server, "GIT?submodules=false /x"))
    assert "x/mod/inside" not in listing


def test_what_is_kept_of_a_submodule_is_the_same_each_time_and_has_no_password(place, server):
    Repository(server.root, "inner").commit({"inside": "in"})
    add_submodule(server, "m", "../../inner/.git", "mod")
    for login in ("me:s3cret", "s3cret"):
        words = f"--keep-git-dir=true {server.remote.replace('//', f'//{login}@')} /x"
        first = add(place, server, words)
        time.sleep(1.1)
        again = add(place, server, words, no_cache=True)
        assert again.steps[-1].layer == first.steps[-1].layer
        files = place.files(first)
        for found in files.merged.walk():
            if found.entry.kind.name == "FILE":
                assert b"s3cret" not in files.read(found.path, max_bytes=1 << 20), found.path
        assert place.text(first, "x/.git/modules/m/config")


def test_a_submodule_of_this_machine_is_refused(place, server):
    Repository(server.root, "inner").commit({"inside": "in"})
    add_submodule(server, "m", str(server.root / "inner"), "mod")
    with pytest.raises(BuildFailed, match="cannot fetch") as caught:
        add(place, server, "GIT /x")
    assert "not allowed" in caught.value.why


# -- what may go wrong ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "kind", "what"),
    [
        ("GIT#nope /x", DockerfileError, "repository does not contain ref nope"),
        ("GIT#v /x", DockerfileError, "repository does not contain ref v"),
        (f"GIT#{'1' * 40} /x", BuildFailed, "cannot fetch http"),
        ("GIT#abc1234 /x", DockerfileError, "does not contain ref abc1234"),
        ("URL/gone/.git /x", BuildFailed, "cannot fetch http"),
        ("http://127.0.0.1:9/r.git /x", BuildFailed, "cannot fetch http"),
        ("ssh://127.0.0.1:9/r.git /x", BuildFailed, "cannot fetch ssh"),
        ("git://127.0.0.1:9/r /x", BuildFailed, "cannot fetch git"),
    ],
)
def test_not_there(place, server, words, kind, what):
    with pytest.raises(kind, match=what) as caught:
        add(place, server, words.replace("URL", server.url))
    assert "line 2, column 5" in caught.value.where
    assert caught.value.why


def test_a_password_is_not_told(place, server):
    secret = server.remote.replace("//", "//me:s3cret@")
    result = place.build(f"FROM scratch\nADD --keep-git-dir=true {secret} /x\n")
    assert "s3cret" not in place.text(result, "x/.git/config")
    with pytest.raises(BuildFailed) as caught:
        place.build(f"FROM scratch\nADD {secret}/gone.git /x\n")
    assert "s3cret" not in caught.value.what + caught.value.why


def test_nothing_of_the_machine_counts(fresh, server, tmp_path, monkeypatch):
    """A home directory that would run programs, and a repository that would like to."""
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    home = tmp_path / "home"
    (home / "template" / "hooks").mkdir(parents=True)
    shutil.copy(hook, home / "template" / "hooks" / "post-checkout")
    (home / ".gitconfig").write_text(
        f"[init]\ntemplateDir={home}/template\n[core]\nhooksPath={home}/template/hooks\n"
        f'fsmonitor={hook}\nsshCommand={hook}\n[filter "x"]\nsmudge={hook}\nrequired=true\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_EXEC_PATH", "/nonexistent")
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    server.repository.commit({".gitattributes": "* filter=x\n"})
    assert fresh.text(add(fresh, server, "GIT /x"), "x/README") == "one"
    assert not (tmp_path / "ran").exists()


def test_links_of_the_repository_stay_inside(place, server):
    server.repository.commit({">out": "/etc", ">up": "../../../../../../etc", ">git": ".git"})
    listing = place.listing(add(place, server, "GIT /x"))
    assert "l" == listing["x/out"][0] == listing["x/up"][0]
    for directory in ("out", "up", "git", "git/refs"):
        with pytest.raises(DockerfileError, match="no such directory"):
            add(place, server, f"GIT#:{directory} /x")


def test_a_name_that_would_delete_is_refused(place, server):
    server.repository.commit({"d/.wh.x": ""})
    with pytest.raises(DockerfileError, match=r"cannot put x/d/\.wh\.x into a layer"):
        add(place, server, "GIT /x")


def test_stop(place, tmp_path):
    """The server takes the connection and says nothing."""
    import socket

    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/r.git"
        timer = threading.Timer(0.5, stop.set)
        timer.start()
        with pytest.raises(Cancelled):
            place.build(f"FROM scratch\nADD {url} /x\n", cancelled=stop)
        timer.join()


def test_no_git(tmp_path):
    from ocimagic.engine.engine import Engine
    from ocimagic.model.options import BuildOptions

    environment = {**os.environ, "PATH": str(tmp_path)}
    with Engine(root=tmp_path / "root", environment=environment) as engine:
        text = "FROM scratch\nADD https://example.invalid/x.git /x\n"
        with pytest.raises(HostLacks, match="has none") as caught:
            engine.images.build(BuildOptions(dockerfile=text))
    assert "line 2, column 5" in caught.value.where
