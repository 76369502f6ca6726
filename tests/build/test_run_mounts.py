"""RUN --mount, in real containers: what a command sees, and that no layer holds it."""

import os
import socket
import tarfile
import threading
import time

import pytest
from conftest import make_base, need_containers

from ocimagic.build.cache_mounts import CacheMounts
from ocimagic.errors import Cancelled, DockerfileError, NotBuiltYet, StepFailed

BASE = "FROM base\n"


def only(text):
    """Return an ARG that makes a step new to the session's cache."""
    return f"ARG ONLY={text}{time.time_ns()}\n"


def added(runs, result):
    """Return what the last step's layer holds."""
    store = runs.engine.containers.store
    with tarfile.open(store.blobs.path(result.steps[-1].layer)) as tar:
        return tar.getnames()


def test_a_bind_shows_the_context_as_root_owns_it_and_stays_out_of_the_layer(runs):
    runs.write("src/a", "A\n", mode=0o640)
    runs.write("src/deep/b", "B\n")
    runs.write("secret", "no\n")
    runs.write(".dockerignore", "secret\n")
    text = f"{BASE}{only('b')}RUN --mount=target=/ctx cat /ctx/src/a /ctx/src/deep/b > /both; "
    text += "stat -c '%u %g %a' /ctx/src/a >> /both; ls -A /ctx >> /both; touch /ctx/x || true\n"
    result = runs.build(text)
    assert runs.text(result, "both") == "A\nB\n0 0 640\n.dockerignore\nsrc\n"
    assert "Read-only" in runs.output()
    assert added(runs, result) == ["both"]


def test_part_of_the_context_and_a_single_file(runs):
    runs.write("src/a", "A\n")
    head = f"{BASE}{only('p')}WORKDIR /w\n"
    text = f"{head}RUN --mount=source=src,target=in --mount=src=src/a,dst=/one cat in/a /one > /o\n"
    result = runs.build(text)
    assert runs.text(result, "o") == "A\nA\n"
    assert added(runs, result) == ["o"]


def test_the_source_of_a_bind_is_a_name_and_no_pattern(runs):
    runs.write("a.md", "wrong\n")
    runs.write("*.md", "right\n")
    runs.build(f"{BASE}{only('n')}RUN --mount=source=*.md,target=/m cat /m\n")
    assert runs.output() == "right\n"


def test_what_is_written_into_a_bind_is_thrown_away(runs):
    runs.write("a", "A\n")
    text = f"{BASE}{only('w')}RUN --mount=target=/c,rw echo B > /c/a && cat /c/a && echo n > /c/n\n"
    runs.build(text + "RUN --mount=target=/c ls /c && cat /c/a\n")
    assert runs.output() == "B\na\nA\n"
    assert (runs.context / "a").read_text() == "A\n"


def test_a_bind_from_a_stage_and_from_an_image(runs):
    text = f"FROM base AS one\n{only('s')}RUN mkdir -p /d && echo made > /d/f\n"
    text += "FROM scratch AS none\n"
    text += f"{BASE}{only('s')}RUN --mount=from=one,source=/d,target=/m/n cat /m/n/f > /got\n"
    text += "RUN --mount=from=base,source=bin/busybox,target=/bb --mount=from=none,target=/none "
    text += "test -s /bb && ls -A /none\n"
    result = runs.build(text)
    assert runs.text(result, "got") == "made\n"
    assert "m" not in runs.listing(result)


def test_mount_points_go_and_what_was_there_stays(runs):
    text = f"{BASE}RUN mkdir -p /there/kept\n{only('t')}"
    text += "RUN --mount=type=tmpfs,target=/there/made/deep --mount=type=tmpfs,target=/a/b/c true\n"
    listing = runs.listing(runs.build(text))
    assert "there/kept" in listing
    assert not {"there/made", "a", "a/b"} & set(listing)


def test_a_mount_point_that_becomes_a_link_leads_nowhere(runs, tmp_path):
    """CVE-2024-23652: what is behind it was removed, on the machine."""
    canary = tmp_path / "canary"
    canary.mkdir()
    text = f"{BASE}{only('l')}RUN --mount=type=tmpfs,target=/x/y true; "
    text += f"mkdir -p /z && ln -s {tmp_path} /z/x\n"
    runs.build(text + "RUN --mount=type=tmpfs,target=/z/x/canary true\n")
    assert canary.is_dir()


def test_a_link_in_the_source_cannot_leave_it(runs):
    text = f"FROM base AS evil\n{only('e')}RUN ln -s / /root && ln -s ../../.. /up\n"
    text += f"{BASE}{only('e')}RUN --mount=from=evil,source=/root,target=/m ls /m > /got\n"
    text += "RUN --mount=from=evil,source=/up,target=/m ls /m > /got2\n"
    result = runs.build(text)
    for name in ("got", "got2"):
        assert set(runs.text(result, name).split()) >= {"bin", "etc", "root", "up"}


def test_a_link_of_the_context_cannot_leave_it(runs):
    os.symlink("/etc", runs.context / "out")
    with pytest.raises(DockerfileError, match="not found"):
        runs.build(f"{BASE}RUN --mount=source=out,target=/m cat /m/shadow\n")


def test_only_what_is_shown_decides_the_cache(runs):
    runs.write("src/a", "A\n")
    runs.write("other", "1")
    text = f"{BASE}{only('k')}RUN --mount=source=src,target=/m cat /m/a > /o\n"
    runs.build(text)
    runs.write("other", "2")
    os.utime(runs.context / "src" / "a", (1, 1))
    runs.build(text)
    assert runs.cached()["RUN"]
    runs.write("src/a", "B\n")
    result = runs.build(text)
    assert not runs.cached()["RUN"]
    assert runs.text(result, "o") == "B\n"


def test_a_cache_outlives_builds_and_is_in_no_layer(runs):
    name = f"id{time.time_ns()}"
    mount = f"--mount=type=cache,id={name},target=/cache"
    for count in range(1, 3):
        text = f"{BASE}{only('c')}RUN {mount} echo x >> /cache/log && wc -l < /cache/log > /n\n"
        result = runs.build(text)
        assert runs.text(result, "n").strip() == str(count)
        assert "cache" not in runs.listing(result)
    # What it holds decides nothing.
    runs.build(text)
    assert runs.cached()["RUN"]


def test_a_cache_that_begins_with_files_of_a_stage(runs):
    name = f"id{time.time_ns()}"
    mount = f"--mount=type=cache,id={name},target=/c,from=begin,source=/d"
    begin = "FROM base AS begin\nRUN mkdir /d && echo first > /d/log\n"
    for count in range(2, 4):
        text = f"{begin}{BASE}{only('f')}RUN {mount} echo x >> /c/log && wc -l < /c/log > /n\n"
        assert runs.text(runs.build(text), "n").strip() == str(count)


def test_mode_and_owner_of_a_cache(runs):
    # With one id other owners are recorded, or cannot be at all.
    owner = "0" if runs.engine.images._unpacker.why_owners_are_lost else "7"
    mount = f"--mount=type=cache,id=o{time.time_ns()},target=/c,mode=0700,uid={owner},gid={owner}"
    runs.build(f"{BASE}{only('o')}RUN {mount} stat -c '%a %u %g' /c\n")
    assert runs.output() == f"700 {owner} {owner}\n"


def test_a_locked_cache_is_one_builds_at_a_time_and_private_ones_differ(runs, tmp_path):
    caches = CacheMounts(runs.engine.home)
    waited = []

    def give_up(seconds):
        waited.append(seconds)
        raise Cancelled("enough")

    with caches.held("a", "locked", give_up) as first:
        with pytest.raises(Cancelled), caches.held("a", "locked", give_up):
            pass
        with (
            caches.held("a", "private", give_up) as second,
            caches.held("a", "private", give_up) as third,
        ):
            assert len({first, second, third}) == 3
    assert waited
    with caches.held("a", "locked", give_up) as again:
        assert again == first


def test_a_cache_is_there_when_whoever_made_it_was_killed_halfway(runs):
    name = f"id{time.time_ns()}"
    caches = CacheMounts(runs.engine.home)
    with caches.held(name, "shared", lambda _: None) as directory:
        (directory / "fs-new").mkdir()
    mount = f"--mount=type=cache,id={name},target=/c,mode=0700"
    runs.build(f"{BASE}{only('k')}RUN {mount} stat -c %a /c\n")
    assert runs.output() == "700\n"


def test_a_cache_with_files_is_another_than_one_of_that_name_without(runs):
    name = f"id{time.time_ns()}"
    mount = f"--mount=type=cache,id={name},target=/c"
    begin = "FROM base AS begin\nRUN mkdir /d && echo first > /d/log\n"
    runs.build(f"{begin}{BASE}{only('q')}RUN {mount},from=begin,source=/d ls /c\n")
    runs.build(f"{BASE}{only('q')}RUN {mount} ls -A /c && echo ok\n")
    assert runs.output() == "ok\n"


def test_one_command_may_have_a_locked_cache_twice(runs, stop):
    name = f"id{time.time_ns()}"
    mounts = f"--mount=type=cache,id={name},target=/a,sharing=locked "
    mounts += f"--mount=type=cache,id={name},target=/b,sharing=locked"
    begin = "FROM base AS begin\nRUN mkdir /d && echo first > /d/log\n"
    timer = threading.Timer(30, stop.set)  # it waited for itself
    timer.start()
    runs.build(f"{BASE}{only('2')}RUN {mounts} echo x > /a/f; cat /b/f\n", cancelled=stop)
    assert runs.output() == "x\n"
    again = mounts.replace("sharing=locked", "from=begin,source=/d")
    text = f"{begin}{BASE}{only('2')}RUN {again} echo y > /a/f; cat /b/f /b/log\n"
    runs.build(text, cancelled=stop)
    assert runs.output() == "y\nfirst\n"
    timer.cancel()


def test_two_stages_that_want_the_same_caches_the_other_way_round(runs, stop):
    names = [f"{letter}{time.time_ns()}" for letter in "ab"]
    one, two = (f"--mount=type=cache,id={each},target=/{each},sharing=locked" for each in names)
    timer = threading.Timer(30, stop.set)  # each waited for the other
    timer.start()
    for number in range(3):
        text = f"FROM base AS one\n{only('i')}RUN {one} {two} sleep 0.{number}\n"
        text += f"FROM base AS two\n{only('i')}RUN {two} {one} sleep 0.{number}\n"
        text += "FROM scratch\nCOPY --from=one /etc/passwd /1\nCOPY --from=two /etc/passwd /2\n"
        runs.build(text, cancelled=stop)
    timer.cancel()


def test_a_build_that_waits_for_a_cache_can_be_stopped(runs, stop):
    name = f"id{time.time_ns()}"
    text = f"{BASE}{only('w')}RUN --mount=type=cache,id={name},sharing=locked,target=/c true\n"
    timer = threading.Timer(0.3, stop.set)
    with CacheMounts(runs.engine.home).held(name, "locked", lambda _: None):
        timer.start()
        with pytest.raises(Cancelled):
            runs.build(text, cancelled=stop)
    timer.join()


def test_pruning_takes_caches_away(fresh, base_root):
    make_base(fresh, base_root)
    need_containers(fresh.engine)
    fresh.build(f"{BASE}RUN --mount=type=cache,target=/c head -c 100000 /dev/zero > /c/big\n")
    disk = fresh.engine.system.disk
    assert disk.usage().cache_bytes >= 100_000
    assert disk.prune_cache().freed_bytes >= 100_000
    assert CacheMounts(fresh.engine.home).all() == []


def test_a_tmpfs_has_its_size(runs):
    text = f"{BASE}{only('t')}RUN --mount=type=tmpfs,target=/t,size=1m "
    text += "head -c 2000000 /dev/zero > /t/big || true; wc -c < /t/big > /n\n"
    assert runs.text(runs.build(text), "n").strip() == str(1 << 20)


def test_a_secret_is_a_file_or_a_variable_and_nowhere_else(base, fresh, base_root):
    need_containers(fresh.engine)
    make_base(fresh, base_root)
    secret = f"very{time.time_ns()}"
    text = f"{BASE}{only('x')}RUN --mount=type=secret,id=token cat /run/secrets/token; "
    text += "stat -c ' %a %u' /run/secrets/token\n"
    text += 'RUN --mount=type=secret,id=token,env=TOKEN test -n "$TOKEN" && echo got > /got\n'
    text += "RUN --mount=type=secret,id=token,target=/a/b,mode=0444 stat -c %a /a/b; "
    text += "test ! -e /run/secrets/token\n"
    result = fresh.build(text, secrets={"token": secret.encode()})
    assert fresh.output() == f"{secret} 400 0\n444\n"
    store = fresh.engine.home.data
    for path in store.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    assert not {"run", "a"} & set(fresh.listing(result))
    # Another value is no reason to run it again.
    fresh.build(text, secrets={"token": b"other"})
    assert fresh.cached()["RUN"]


@pytest.mark.parametrize("value", [b"hush\0", b"hush\xff"])
def test_a_secret_that_no_variable_can_hold_is_refused_and_not_shown(runs, value):
    text = f"{BASE}{only('v')}RUN --mount=type=secret,id=s,env=S "
    with pytest.raises(DockerfileError, match="cannot be a variable") as caught:
        runs.build(f"{text}true\n", secrets={"s": value})
    assert "hush" not in str(caught.value)
    runs.build(f"{BASE}{only('v')}RUN --mount=type=secret,id=s true\n", secrets={"s": value})


def test_another_mount_is_another_step(runs):
    """BuildKit's keys, too, have all that is written in a mount."""
    given = {"secrets": {"one": b"1", "two": b"2"}}
    head = f"FROM base AS old\nFROM base AS new\nRUN echo x > /bin/x\n{BASE}{only('m')}"
    text = f"{head}RUN --mount=type=secret,id=one,target=/s cat /s; stat -c %a /s\n"
    runs.build(text, **given)
    assert runs.output() == "1400\n"
    runs.build(text.replace("id=one", "id=two"), **given)
    assert runs.output() == "2400\n"
    runs.build(text.replace("target", "mode=0444,target"), **given)
    assert runs.output() == "1444\n"
    text = (
        f"{head}RUN --mount=type=cache,id=m{time.time_ns()},target=/c,from=old ls /c/bin/x; true\n"
    )
    runs.build(text)
    runs.build(text.replace("from=old", "from=new"))
    assert runs.output() == "/c/bin/x\n"


def test_a_secret_that_is_not_given(runs):
    with pytest.raises(DockerfileError, match="secret token: not found") as caught:
        runs.build(f"{BASE}RUN --mount=type=secret,id=token,required true\n")
    assert "--secret id=token" in str(caught.value.hint)
    runs.build(f"{BASE}{only('n')}RUN --mount=type=secret,id=token test ! -e /run/secrets/token\n")


def test_an_agent_is_a_socket_the_command_is_told_of(runs, tmp_path):
    text = f"{BASE}{only('a')}RUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK\n"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "agent"))
        door.listen()
        runs.build(text, ssh={"default": str(tmp_path / "agent")})
    assert runs.output() == "/run/buildkit/ssh_agent.0\n"
    with pytest.raises(NotBuiltYet):
        runs.build(f"{BASE}RUN --mount=type=ssh,uid=7 true\n", ssh={"default": "/x"})
    with pytest.raises(DockerfileError, match="ssh default: not found"):
        runs.build(f"{BASE}RUN --mount=type=ssh,required true\n")


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ("source=nope,target=/m", '"nope": not found'),
        ("from=base,source=/nope,target=/m", '"/nope": not found'),
    ],
)
def test_a_source_that_is_not_there(runs, mount, said):
    with pytest.raises(DockerfileError, match=said) as caught:
        runs.build(f"{BASE}RUN --mount={mount} true\n")
    assert "Dockerfile:2" in str(caught.value) or "line 2" in str(caught.value)


def test_no_context_to_mount(runs):
    with pytest.raises(DockerfileError, match="no context"):
        runs.build(f"{BASE}RUN --mount=target=/m true\n", context=None)


def test_nothing_is_left_after_a_failure(runs):
    runs.write("a", "A")
    with pytest.raises(StepFailed):
        runs.build(
            f"{BASE}{only('z')}RUN --mount=target=/m --mount=type=secret,id=s false\n",
            secrets={"s": b"x"},
        )
