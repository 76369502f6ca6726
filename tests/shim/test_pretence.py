"""One id that looks like all: compared, call by call, with what real root gets."""

from __future__ import annotations

import os
import random
import stat

import pretencebox
import pytest

from ocimagic.layers.ownership import XATTR

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root to compare with")


def pretended(tmp_path, code, **more):
    found = pretencebox.run(tmp_path / "pretended", code, pretends=True, **more)
    assert (found["status"], found["answered"]) == (0, 0), found["said"]
    return found


def both(tmp_path, code):
    """Return what a program sees as real root, after comparing it with what one id shows."""
    real = pretencebox.run(tmp_path / "real", code, pretends=False)
    shown = pretended(tmp_path, code)
    assert shown["out"] == real["out"]
    return real["out"]


WHO = """
def who():
    return [*os.getresuid(), *os.getresgid(), sorted(os.getgroups())]
reader, writer = os.pipe()
def in_child(work):
    before = len(out)
    pid = os.fork()
    if not pid:
        del out[:]
        try: work()
        except BaseException as err: out.append(repr(err))
        os.write(writer, (json.dumps(out) + "\\n").encode())
        os._exit(0)
    os.waitpid(pid, 0)
    raw = b""
    while not raw.endswith(b"\\n"): raw += os.read(reader, 65536)
    out.append(json.loads(raw))
def named(name, *words):
    ctypes.set_errno(0)
    got = getattr(libc, name)(*map(ctypes.c_int, words))
    out.append([name, *words, got, ctypes.get_errno() if got == -1 else 0])
"""

SET_CALLS = {"setuid": 1, "seteuid": 1, "setreuid": 2, "setresuid": 3, "setfsuid": 1,
             "setgid": 1, "setegid": 1, "setregid": 2, "setresgid": 3, "setfsgid": 1}  # fmt: skip


def sequences(seed, count):
    dice = random.Random(seed)
    for _ in range(count):
        steps = []
        for _ in range(dice.randrange(1, 7)):
            name = dice.choice(list(SET_CALLS))
            words = [dice.choice((-1, 0, 0, 1, 2, 1000)) for _ in range(SET_CALLS[name])]
            steps.append((name, *words))
        yield steps


@needs_root
@pytest.mark.parametrize("seed", range(4))
def test_any_sequence_of_changes_of_identity_is_as_roots(tmp_path, seed):
    code = (
        WHO
        + f"""
os.setgroups([])
for steps in {list(sequences(seed, 60))}:
    def work():
        for name, *words in steps:
            named(name, *words)
            out.append(who())
            do(os.chown, "/f", 5, -1)
            do(os.chown, "/f", 0, 0)
            do(os.setgroups, [3, 1])
    open("/f", "w").close()
    in_child(work)
"""
    )
    assert len(both(tmp_path, code)) == 60


@needs_root
def test_keeping_capabilities_is_as_roots(tmp_path):
    code = (
        WHO
        + """
def work():
    out.append(libc.prctl(8, 1, 0, 0, 0))
    named("setresuid", 1000, 1000, 1000)
    named("setresgid", 5, 5, 5)
    effective, permitted, inheritable = syscalls.capget()
    syscalls.capset(1 << 6 | 1, 1 << 6 | 1, 0)
    named("setresgid", 5, 5, 5)
    do(os.chown, "/f", 6, 6)
    do(os.setgroups, [9])
    named("setuid", 0)
    out.append(who())
os.setgroups([])
open("/f", "w").close()
in_child(work)
"""
    )
    both(tmp_path, code)


FILES = (
    WHO
    + """
os.umask(0o022)
def look(path, follow=False):
    told = os.stat(path, follow_symlinks=follow)
    out.append([path, oct(told.st_mode), told.st_uid, told.st_gid, told.st_nlink, told.st_size])
"""
)


@needs_root
def test_what_root_makes_and_gives_away(tmp_path):
    code = (
        FILES
        + """
os.mkdir("/d"); open("/d/f", "w").close(); os.symlink("f", "/d/l"); os.mkfifo("/d/p")
for path in ("/d", "/d/f", "/d/l", "/d/p"):
    do(os.chown, path, 5, 6, follow_symlinks=False); look(path)
do(os.chown, "/d/l", 7, -1); look("/d/f"); look("/d/l")
do(os.chown, "/d/f", -1, 8); look("/d/f")
os.chmod("/d/f", 0o6755); look("/d/f"); do(os.chown, "/d/f", 9, 9); look("/d/f")
os.chmod("/d/f", 0o6644); do(os.chown, "/d/f", -1, -1); look("/d/f")
os.link("/d/f", "/h"); look("/h"); do(os.chown, "/h", 4, 4); look("/d/f")
os.rename("/d/l", "/moved"); look("/moved"); os.rename("/d", "/e"); look("/e"); look("/e/p")
fd = os.open("/e/f", os.O_RDONLY); do(os.fchown, fd, 44, 45); look("/e/f")
told = os.fstat(fd); out.append([told.st_uid, told.st_gid])
do(os.chown, "/none", 1, 1); do(os.chown, "/e/f/x", 1, 1); do(os.chown, "", 1, 1)
os.symlink("loop", "/loop"); do(os.chown, "/loop", 1, 1)
do(os.fchown, 999, 1, 1)
where = os.open("/e", os.O_RDONLY)
do(os.chown, "f", 70, 71, dir_fd=where); out.append(os.stat("f", dir_fd=where).st_uid)
os.chdir("/e"); do(os.chown, "f", 80, -1); look("f"); do(os.chown, "../e/f", 81, -1); look("./f")
do(os.chown, "/", 3, 4); look("/"); do(os.chown, "/", 0, 0)
do(os.chown, "/e/f", 4294967294, 4294967294); look("/e/f")
os.unlink("/moved"); os.symlink("x", "/moved"); look("/moved")
"""
    )
    both(tmp_path, code)


@needs_root
def test_what_another_user_makes_is_his(tmp_path):
    code = (
        FILES
        + """
os.mkdir("/w"); os.chmod("/w", 0o777); os.mkdir("/w/s"); os.chown("/w/s", 0, 44)
os.chmod("/w/s", 0o2777)
open("/w/roots", "w").close()
def work():
    os.setgroups([20, 30]); os.setgid(1001); os.setuid(1000); os.umask(0o027)
    for base in ("/w", "/w/s"):
        os.chdir(base)
        open("f", "w").write("x"); look("f")
        os.close(os.open("x", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)); look("x")
        do(os.open, "x", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        os.mkdir("d"); look("d"); do(os.mkdir, "d"); do(os.mkdir, "d/e/f"); do(os.mkdir, ".")
        os.symlink("f", "l"); look("l"); os.mkfifo("p"); look("p")
        os.mknod("n", 0o100666); look("n")
        do(os.chown, "f", 0, -1); do(os.chown, "f", -1, 30); look("f"); do(os.chown, "f", -1, 9)
        do(os.chown, "/w/roots", -1, 20); do(os.chown, "/w/roots", 1000, -1)
        do(os.mknod, "null", 0o20666, os.makedev(1, 3))
        with open("f", "a") as file: file.write("y")
        look("f")
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o644); told = os.fstat(fd)
        out.append([told.st_uid, told.st_gid, oct(told.st_mode), os.get_inheritable(fd)])
        fd = syscalls.openat2(-100, "two", os.O_CREAT | os.O_WRONLY, 0o666, 0)
        os.close(fd); look("two")
in_child(work)
"""
    )
    both(tmp_path, code)


@needs_root
def test_where_another_user_may_make_nothing_he_may_not(tmp_path):
    code = (
        FILES
        + """
os.mkdir("/his"); os.chown("/his", 1000, 0); os.mkdir("/group"); os.chown("/group", 0, 20)
os.chmod("/group", 0o771)
for path, uid, gid, mode in (("/secret", 0, 0, 0o600), ("/open", 0, 0, 0o666),
                             ("/team", 5, 30, 0o060), ("/mine", 1000, 0, 0o400),
                             ("/nomember", 5, 6, 0o664), ("/denied", 5, 1001, 0o606)):
    open(path, "w").close(); os.chown(path, uid, gid); os.chmod(path, mode)
def work():
    os.setgroups([20, 30]); os.setgid(1001); os.setuid(1000)
    def at(path, flags=os.O_WRONLY | os.O_CREAT):
        try: os.close(os.open(path, flags)); out.append([path, "opened"])
        except OSError as err: out.append([path, err.errno])
    for path in ("/secret", "/open", "/team", "/mine", "/nomember", "/denied", "/new",
                 "/his/new", "/group/new", "/none/new"):
        at(path); at(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    at("/open", os.O_RDONLY | os.O_CREAT); at("/", os.O_TMPFILE | os.O_RDWR)
    do(os.mkdir, "/his"); do(os.mkdir, "/his/d"); do(os.mkdir, "/d"); do(os.mkdir, "/none/d")
    do(os.symlink, "x", "/l"); do(os.symlink, "x", "/group/l"); do(os.mkfifo, "/p")
    do(os.mknod, "/n", 0o100644); do(os.mkdir, "/secret"); do(os.mkdir, "/secret/x")
in_child(work)
"""
    )
    both(tmp_path, code)


@needs_root
def test_devices_stand_for_devices(tmp_path):
    code = (
        FILES
        + """
for name, kind, numbers in (("c", 0o20640, (1, 3)), ("b", 0o60660, (8, 300))):
    do(os.mknod, "/" + name, kind, os.makedev(*numbers)); look("/" + name)
    told = os.stat("/" + name); out.append([os.major(told.st_rdev), os.minor(told.st_rdev)])
    do(os.chown, "/" + name, 5, 6); look("/" + name)
    out.append(list(map(int, (stat.S_ISCHR(told.st_mode), stat.S_ISBLK(told.st_mode)))))
    do(os.mknod, "/" + name, kind, 5)
os.mkdir("/s"); os.chown("/s", 0, 6); os.chmod("/s", 0o2755)
do(os.mknod, "/s/z", 0o20666, os.makedev(1, 5)); look("/s/z")
"""
    )
    both(tmp_path, code)


@needs_root
def test_threads_processes_and_orphans_have_the_users_they_should(tmp_path):
    code = (
        WHO
        + """
def work():
    named("setresgid", 7, 7, 7); named("setresuid", 1000, 0, 0)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(who())); thread.start(); thread.join()
    out.append(seen)
    if not os.fork():
        if not os.fork():  # its parent is gone, and has asked nothing
            os.read(inner, 1)
            os.write(writer, (json.dumps(who()) + "\\n").encode()); os._exit(0)
        os._exit(0)
    os.wait()
    named("setuid", 0)
inner, outer = os.pipe()
in_child(work)
os.write(outer, b"g")
raw = b""
while not raw.endswith(b"\\n"): raw += os.read(reader, 65536)
out.append(json.loads(raw))
"""
    )
    both(tmp_path, code)


def test_the_limit_that_remembers_is_not_seen(tmp_path):
    code = (
        WHO
        + """
def work():
    named("setuid", 1000)
    out.append(resource.getrlimit(resource.RLIMIT_RTTIME))
    resource.setrlimit(resource.RLIMIT_RTTIME, (1, 1))
    out.append(resource.getrlimit(resource.RLIMIT_RTTIME))
    out.append(who())
in_child(work)
"""
    )
    found = pretended(tmp_path, code)["out"][0]
    assert found[1:] == [[-1, -1], [-1, -1], [1000, 1000, 1000, 0, 0, 0, []]]


def test_what_is_recorded_where(tmp_path):
    code = (
        FILES
        + """
open("/f", "w").close(); os.symlink("x", "/l"); os.mkdir("/d"); os.symlink("y", "/d/l")
os.symlink("z", "/gone"); os.symlink("roots", "/roots")
for path in ("/f", "/l", "/d/l", "/gone"): os.chown(path, 5, 6, follow_symlinks=False)
os.unlink("/gone"); os.symlink("z", "/gone"); os.rename("/d", "/e")
os.chown("/f", 0, 0); open("/g", "w").close(); os.chown("/g", 1, 1)
"""
    )
    found = pretended(tmp_path, code)
    assert found["leaves"] == {"l": "5:6", "e/l": "5:6"}
    root = tmp_path / "pretended" / "fs"
    assert os.listxattr(root / "f") == []
    assert os.getxattr(root / "g", XATTR) == b"1:1"
    assert not stat.S_IMODE((root / "f").stat().st_mode) & 0o022


def test_leaves_of_layers_are_known_and_stay_so(tmp_path):
    """A squashed build works on a layer in place; its own list is what it begins with."""
    first = pretended(tmp_path, 'os.symlink("x", "/l"); os.lchown("/l", 5, 6)')
    assert first["leaves"] == {"l": "5:6"}
    code = FILES + 'look("/l"); os.rename("/l", "/m"); look("/m"); os.symlink("r", "/r")'
    again = pretended(tmp_path, code)
    assert [line[2:4] for line in again["out"]] == [[5, 6], [5, 6]]
    assert again["leaves"] == {"m": "5:6"}


def test_a_set_user_id_program_makes_its_owner_of_him_who_runs_it(tmp_path):
    if os.uname().machine != "x86_64":
        pytest.skip("compared on x86_64")
    # exit(geteuid()): mov eax,107; syscall; mov edi,eax; mov eax,60; syscall
    code = bytes.fromhex("b86b0000000f0589c7b83c0000000f05")
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\x3e\0\x01\0\0\0"
    head += (0x400078).to_bytes(8, "little") + (64).to_bytes(8, "little") + bytes(8 + 4)
    head += b"\x40\0\x38\0\x01\0" + bytes(6)
    segment = b"\x01\0\0\0\x05\0\0\0" + bytes(8) + (0x400000).to_bytes(8, "little") * 2
    segment += (120 + len(code)).to_bytes(8, "little") * 2 + (4096).to_bytes(8, "little")
    program = head + segment + code
    text = (
        FILES
        + f"""
def make(path, mode, uid):
    with open(path, "wb") as file: file.write({program!r})
    os.chown(path, uid, 0); os.chmod(path, mode)
def run(path):
    pid = os.fork()
    if not pid:
        os.setuid(100)
        try: os.execv(path, [path])
        finally: os._exit(255)
    out.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
make("/plain", 0o755, 7); make("/set", 0o4755, 7); make("/rootset", 0o4755, 0)
run("/plain"); run("/set"); run("/rootset")
"""
    )
    assert pretended(tmp_path, text)["out"] == [100, 7, 0]
    if IS_ROOT:
        both(tmp_path / "compared", text)


@needs_root
def test_every_way_to_look_at_a_file_shows_the_same(tmp_path):
    code = (
        FILES
        + """
libc.syscall.restype = ctypes.c_long
machine = os.uname().machine
numbers = {"x86_64": {"statx": 332, "newfstatat": 262, "stat": 4, "fstat": 5, "lstat": 6},
           "aarch64": {"statx": 291, "newfstatat": 79, "fstat": 80}}[machine]
at_uid, at_mode = {"x86_64": (28, 24), "aarch64": (24, 16)}[machine]
buffer = ctypes.create_string_buffer(256)
def raw(name, *words):
    if name not in numbers: return
    wide = [ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    got = libc.syscall(ctypes.c_long(numbers[name]), *wide)
    out.append([name, got if got >= 0 else ctypes.get_errno()])
    if got == 0 and name == "statx":
        out.append([*struct.unpack_from("=II", buffer, 20), *struct.unpack_from("=H", buffer, 28),
                    *struct.unpack_from("=II", buffer, 128)])
    elif got == 0:
        out.append([*struct.unpack_from("=II", buffer, at_uid),
                    *struct.unpack_from("=I", buffer, at_mode)])
open("/f", "w").close(); os.chown("/f", 5, 6); os.symlink("f", "/l"); os.lchown("/l", 7, 8)
os.mknod("/c", 0o20600, os.makedev(1, 3)); os.mkdir("/d"); os.chown("/d", 9, 9); os.chdir("/d")
fd, where = os.open("/f", os.O_RDONLY), os.open("/d", os.O_PATH)
link = os.open("/l", os.O_PATH | os.O_NOFOLLOW)
for path in (b"/f", b"/l", b"/c", b"/d", b".", b"../l", b"/none", b""):
    raw("stat", path, buffer); raw("lstat", path, buffer)
    for flags in (0, 0x100, 0x1000, 0x1100, 1):
        for base in (-100, where, fd, 999):
            raw("newfstatat", base, path, buffer, flags)
            raw("statx", base, path, flags, 0x7FF, buffer)
for base in (fd, where, link, 999):
    raw("fstat", base, buffer); raw("newfstatat", base, b"", buffer, 0x1000)
"""
    )
    both(tmp_path, code)


def test_who_is_at_the_other_end_of_a_local_socket(tmp_path):
    code = """
one, two = socket.socketpair()
def peer(end):
    _, uid, gid = struct.unpack("=iII", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return [uid, gid]
out.append(peer(one))
door = socket.socket(socket.AF_UNIX); door.bind("/door"); door.listen()
os.chmod("/door", 0o777)
pid = os.fork()
if not pid:
    os.setresgid(6, 6, 6); os.setresuid(5, 5, 5)
    mine = socket.socket(socket.AF_UNIX); mine.connect("/door"); mine.recv(1); os._exit(0)
his = door.accept()[0]
time.sleep(0.05)
out.append(peer(his)); his.send(b"x"); os.wait()
"""
    assert pretended(tmp_path, code)["out"] == [[0, 0], [5, 6]]
