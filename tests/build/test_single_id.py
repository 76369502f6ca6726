"""An account with one id builds what root builds: the same owners, the same image ID.

As root the account is a number that /etc/subuid does not know.  As an ordinary user it is this
one, which finds no newuidmap.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import pytest
from test_dockerfiles_debian import proxies

BUSYBOX = shutil.which("busybox")
REPOSITORY = Path(__file__).parents[2]
NOBODY = 54321
PROXIES = ("http_proxy", "https_proxy", "no_proxy")
BASE = "FROM scratch\nCOPY rootfs /\n"


@pytest.fixture(scope="module")
def room():
    """A directory that both accounts reach, with a context in it."""
    if BUSYBOX is None:
        pytest.skip("no busybox on this machine (apt install busybox-static)")
    # pytest's own directories are closed to other accounts.
    place = Path(tempfile.mkdtemp(prefix="single-id-", dir="/var/tmp"))
    place.chmod(0o1777)
    root = place / "context" / "rootfs"
    (root / "bin").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "tmp").mkdir()
    shutil.copy(BUSYBOX, root / "bin" / "busybox")
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    for applet in listed.stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc" / "passwd").write_text(
        "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"
    )
    (root / "etc" / "group").write_text("root:x:0:\nstaff:x:1001:app\nwheel:x:10:app\n")
    (place / "context" / "file").write_text("content")
    (place / "context" / "owned.deb").write_bytes(package())
    (place / "context" / "layer.tar").write_bytes(archive())
    yield place
    shutil.rmtree(place, ignore_errors=True)


def member(name, content=b"", uid=0, gid=0, mode=0o644, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.uid, info.gid, info.mode, info.type, info.linkname = uid, gid, mode, kind, link
    info.size = len(content)
    return info, io.BytesIO(content)


def tar_of(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, content in members:
            tar.addfile(info, content)
    return out.getvalue()


def archive():
    return tar_of(
        member("opt", uid=70, gid=71, mode=0o2750, kind=tarfile.DIRTYPE),
        member("opt/a", b"a", uid=72, gid=73, mode=0o4711),
        member("opt/l", uid=74, gid=75, mode=0o777, kind=tarfile.SYMTYPE, link="a"),
        member("opt/p", uid=76, gid=77, kind=tarfile.FIFOTYPE),
    )


def package():
    """A Debian package whose files belong to somebody."""
    control = tar_of(
        member("./control", b"Package: owned\nVersion: 1\nArchitecture: all\n"
               b"Maintainer: x <x@example.com>\nDescription: x\n")
    )  # fmt: skip
    data = tar_of(
        member("./srv", uid=33, gid=34, mode=0o750, kind=tarfile.DIRTYPE),
        member("./srv/www", b"w", uid=33, gid=34, mode=0o640),
    )
    parts = {"debian-binary": b"2.0\n", "control.tar.gz": gzip.compress(control, mtime=0),
             "data.tar.gz": gzip.compress(data, mtime=0)}  # fmt: skip
    out = b"!<arch>\n"
    for name, content in parts.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        out += content + b"\n" * (len(content) % 2)
    return out


def new_root(room):
    root = Path(tempfile.mkdtemp(dir=room))
    root.chmod(0o777)
    return root


def build(room, dockerfile, *, single, seconds=100, base=BASE, root=None, **options):
    """Build in a process of its own, as root or the account it is, or with one id.

    ``root`` is a data root to be kept, else there is one of its own.
    """
    is_kept = root is not None
    root = root or new_root(room)
    request = {"root": str(root / "root"), "dockerfile": base + dockerfile, "timestamp": 10**6,
               "context": str(room / "context"), **options}  # fmt: skip
    program = Path(__file__).with_name("singlebuild.py")
    words = [sys.executable, str(program), json.dumps(request)]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(root),
                   "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
    environment |= {name: os.environ[name] for name in PROXIES if name in os.environ}
    if single and os.geteuid() == 0:
        ids = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        words = ["setpriv", *ids, *words]
    elif single:
        environment["PATH"] = "/nonexistent"
    done = subprocess.run(
        words,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        cwd="/",
    )
    if not is_kept:
        shutil.rmtree(root, ignore_errors=True)
    if "cannot run containers" in done.stdout + done.stderr:
        pytest.skip("no containers here")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    if "unreachable" in found:
        pytest.skip(f"no Debian mirror can be reached: {found['unreachable']}")
    assert (found["left"], found["answerers"]) == ([], [])
    return found


def alike(room, dockerfile, **options):
    """Build both ways; the images must be one and the same."""
    whole = build(room, dockerfile, single=False, **options)
    single = build(room, dockerfile, single=True, **options)
    assert single["ids"] == 1
    assert (whole["failure"], single["failure"]) == ("", "")
    assert single["layers"] == whole["layers"]
    assert single["output"] == whole["output"]
    assert single["image_id"] == whole["image_id"]
    assert (single["notices"], single["leaks"]) == (whole["notices"], [])
    return single


CASES = {
    "chown": """
RUN touch /a /b && chown 7:8 /a && chmod 6755 /a && ln /a /h && cp -a /a /c && chown 9 /b
RUN stat -c '%n %u %g %a %h' /a /b /c /h; mv /a /d && chgrp 5 /h && stat -c '%n %u %g %a' /d
RUN mkdir -p /deep/er && touch /deep/er/f && chown -R 12:13 /deep
RUN mv /deep /moved && rm /moved/er/f && touch /moved/er/f && ls -lnR /moved | cut -c 1-40
""",
    "copied": """
COPY --chown=5:6 file /five
COPY --chown=app:wheel file /apps
ADD layer.tar /
RUN chmod 600 /five && echo more >>/apps && stat -c '%n %u %g %a' /five /apps /opt /opt/*
RUN mv /opt/l /opt/m && mv /opt/p / && cp -a /opt /opt2
RUN find /opt2 -exec stat -c '%n %u %g' {} ';' | sort
RUN stat -c '%n %u %g' /opt/m /p && chown -h 1:2 /opt/m
RUN stat -c '%n %u %g' /opt/m && rm /opt/m && ln -s x /opt/m
RUN stat -c '%n %u %g' /opt/m
""",
    "links": """
RUN ln -s a /l && chown -h 5:6 /l && mkfifo /p && chown 7:8 /p && mkdir /d && mv /l /p /d
RUN stat -c '%n %u %g %a %F' /d/l /d/p && mv /d /e && rm /e/p && mkfifo /e/p
RUN stat -c '%n %u %g' /e/l /e/p && mv /e/l /n && stat -c '%n %u %g' /n && ln /n /m
""",
    "users": """
RUN chmod 1777 /tmp && mkdir -p /home/app && chown app:staff /home/app
USER app
RUN id && touch /tmp/f && mkdir /tmp/d && ln -s f /tmp/l && ls -ln /tmp | cut -c 1-30
RUN ! chown 0 /tmp/f && chgrp wheel /tmp/f && ! chgrp 5 /tmp/d && cd /home/app && echo x >x
USER 4000:4001
RUN id && echo y >/tmp/4000
USER root
RUN su app -c 'id; umask 077; mkdir -p ~/a/b; echo 1 >~/a/b/c'
RUN stat -c '%n %u %g %a' /home/app/a/b/c
RUN mkdir /s && chgrp 44 /s && chmod 2775 /s && touch /s/f && mkdir /s/d && touch /s/d/e
""",
    "elsewhere": """
RUN mkdir -p /sub/bin && cp /bin/busybox /sub/bin/ && touch /sub/f /f && ln -s /f /sub/l
RUN chroot /sub /bin/busybox chown 5:6 /f && stat -c '%u' /f /sub/f
RUN chroot /sub /bin/busybox chown 7 /l && chroot /sub /bin/busybox stat -c '%u %g' /f /../f
RUN chroot /sub /bin/busybox sh -c 'cd bin && /bin/busybox chown 4 ../../f' && stat -c %u /sub/f /f
RUN exec 3</f && chown 9 /proc/self/fd/3 && chown :8 /dev/fd/3 && stat -c '%u %g' /f
RUN exec 3</f && stat -L -c '%u %g' /proc/self/fd/3 && stat -L -c '%u %g' /dev/fd/3
RUN cd /sub && chown 3 f ../f ./../sub/bin && stat -c '%u' f ../f bin
RUN touch /dev/shm/x && chown 5 /dev/shm/x && stat -c %u /dev/shm/x && chown 5 /dev/stdout
RUN ! chown 5 /none && ! chown 5 /f/x && ln -s loop /loop && ! chown 5 /loop && ! chown nobody /f
RUN su app -c '! cat >/f; ! touch /new; ! mkdir /new; mkdir -p /dev/shm; echo x >/dev/null'
""",
    "tar": """
COPY layer.tar owned.deb /
RUN mkdir /x && tar xf /layer.tar -C /x && find /x -exec stat -c '%n %u %g %a %F' {} ';' | sort
RUN mkdir -p /var/lib/dpkg/info && touch /var/lib/dpkg/status && dpkg -i /owned.deb
RUN stat -c '%n %u %g %a' /srv /srv/www
RUN mv /owned.deb /tmp && cd /tmp && dpkg-deb -x owned.deb /y && stat -c '%n %u %g %a' /y/srv/www
""",
}


@pytest.mark.parametrize("case", CASES)
def test_the_image_is_the_one_that_root_builds(room, case):
    alike(room, CASES[case].lstrip("\n"))


@pytest.mark.skipif(os.geteuid() != 0, reason="root can make devices to compare with")
def test_devices_too(room):
    text = "RUN mknod /null c 1 3 && mknod /disk b 8 1 && chown 0:6 /disk && chmod 660 /disk\n"
    text += "RUN ls -ln /null /disk | cut -c 1-40 && cp -a /disk /copied && test -b /copied\n"
    found = alike(room, text)
    assert "disk b 660 0:6 0 " in found["layers"][1]


def test_mounts_of_run_belong_to_whom_they_should(room):
    text = (
        "RUN --mount=type=cache,target=/c,uid=5,gid=6,mode=0700 stat -c '%u %g %a' /c && touch /c/f"
    )
    text += " && chown 7:7 /c/f && stat -c '%u' /c/f\n"
    assert alike(room, text)["output"] == "5 6 700\n7\n"


def test_squashed_it_is_the_same(room):
    text = "RUN touch /a && chown 5:6 /a && ln -s a /l && chown -h 7:8 /l\nRUN mv /l /m\n"
    alike(room, text, squash=True)


def test_what_fails_fails(room):
    found = build(room, "USER app\nRUN chown 5 /bin/busybox\n", single=True)
    assert "exit code: 1" in found["failure"]
    assert "Operation not permitted" in found["output"]


def test_whoever_kills_who_answers_ends_the_step_and_nothing_hangs(room):
    text = "RUN echo begun; while :; do touch /x && chown 5 /x || exit 9; done\n"
    found = build(room, text, single=True, at_output="kill")
    assert "a worker ended without an answer" in found["failure"]


def test_a_build_that_is_stopped_leaves_nobody_answering(room):
    text = "RUN echo begun; while :; do touch /x; done\n"
    found = build(room, text, single=True, at_output="stop")
    assert "stopped by you" in found["failure"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be an account that nobody else is")
def test_nothing_outlives_a_builder_that_is_killed(room):
    account, root = NOBODY + 1, new_root(room)
    request = {"root": str(root / "root"), "context": str(room / "context"), "at_output": "die",
               "dockerfile": BASE + "RUN echo begun; while :; do touch /x; done\n"}  # fmt: skip
    program = Path(__file__).with_name("singlebuild.py")
    ids = ["setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(root), "PYTHONPATH": str(REPOSITORY)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        [*ids, sys.executable, str(program), json.dumps(request)],
        env=environment, capture_output=True, text=True, check=False, timeout=60, cwd="/",
    )  # fmt: skip
    if "cannot run containers" in done.stdout + done.stderr:
        pytest.skip("no containers here")
    assert done.returncode == -9, done.stderr + done.stdout
    deadline = time.monotonic() + 20
    while left := processes_of(account):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    shutil.rmtree(root, ignore_errors=True)


def processes_of(account):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if entry.stat().st_uid == account:
                    found.append((entry / "comm").read_text())
    return found


def test_a_command_that_is_not_there_is_told_as_ever(room):
    found = build(room, 'RUN ["/none"]\n', single=True)
    assert "did not start" in found["failure"]


def test_privileged_it_is_the_same(room):
    text = "RUN --security=insecure touch /a && chown 5:6 /a && stat -c '%u %g' /a\n"
    assert alike(room, text, allow=["security.insecure"])["output"] == "5 6\n"


def test_what_a_container_changes_of_a_file_does_not_take_it_from_its_owner(room):
    text = "COPY --chown=5:6 --chmod=640 file /five\n"
    found = build(room, text, single=True, run=["sh", "-c", "echo more >>/five; echo x >/new"])
    assert found["failure"] == ""
    assert [line.split()[:4] for line in found["layers"][-1]] == [
        ["five", "f", "640", "5:6"],
        ["new", "f", "644", "0:0"],
    ]


def test_where_it_cannot_be_it_is_told_once_and_the_rest_is_as_before(room):
    """Here a limit stands in the way that is needed to remember by."""
    root = new_root(room)
    text = "RUN touch /a && ! chown 5 /a\nRUN touch /b\n"
    found = build(room, text, single=True, root=root, rttime_us=10**9)
    assert found["failure"] == ""
    assert [line for lines in found["layers"][1:] for line in lines] == [
        "a f 644 0:0 0 ",
        "b f 644 0:0 0 ",
    ]
    (told,) = found["notices"]
    assert "one user id" in told
    assert "RLIMIT_RTTIME" in told
    more = "USER app\nRUN true\n"
    found = build(room, text + more, single=True, root=root, rttime_us=10**9)
    assert "does not exist in this user namespace" in found["failure"]
    # What was made so is not taken for what can be made without the limit.
    found = build(room, text, single=True, root=root)
    assert "exit code: 1" in found["failure"]
    text = text.replace("! ", "")
    found = build(room, text, single=True, root=root)
    assert (found["layers"][1], found["notices"]) == (["a f 644 5:0 0 "], [])
    shutil.rmtree(root, ignore_errors=True)


def test_many_files_are_no_matter(room):
    text = (
        "RUN mkdir /d && cd /d && for n in $(seq 3000); do ln -s x $n; done && chown -hR 5:6 /d\n"
    )
    text += "RUN find /d -user 5 -group 6 | wc -l\n"
    assert alike(room, text)["output"] == "3001\n"


DEBIAN = r"""FROM debian:bookworm
RUN apt-get update && apt-get install -y --no-install-recommends cron sudo man-db
RUN useradd -m -G sudo -s /bin/bash joe && echo 'joe ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/joe
RUN su - joe -c 'id; mkdir -p a/b; ln -s a l; sudo touch roots; sg sudo "touch g"; stat -c %U:%G *'
USER joe
WORKDIR /home/joe
RUN id && touch z && sudo -u nobody id -un && sudo chown man z && stat -c '%U %G' z . /etc/shadow
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to compare with")
def test_a_debian_is_the_one_that_root_makes(room):
    """Its packages, accounts, and what set-user-id programs make."""
    options = {"base": "", "distribution": "debian:bookworm", "seconds": 400, "network": "host",
               "build_args": proxies()}  # fmt: skip
    whole, single = (build(room, DEBIAN, single=each, **options) for each in (False, True))
    assert (single["ids"], whole["failure"], single["failure"]) == (1, "", "")
    assert single["layers"][0] == whole["layers"][0]
    # The hour is in logs and caches, so that sizes differ; names, modes and owners do not.
    for one, other in zip(single["layers"][1:], whole["layers"][1:], strict=True):
        assert [line.split()[:4] for line in one] == [line.split()[:4] for line in other]
    tail = "nobody\nman joe\njoe joe\nroot shadow\n"
    assert [each["output"].endswith(tail) for each in (whole, single)] == [True, True]
    assert single["leaks"] == []
