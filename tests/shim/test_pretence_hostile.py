"""What answers for a container is asked by whatever runs in it: nothing of it reaches outside."""

from __future__ import annotations

import errno
import os
import re

import pretencebox
import pytest

from ocimagic.layers.ownership import XATTR, Ownership
from ocimagic.linux.notify import FileKey
from ocimagic.shim.pretence import askers as askers_module
from ocimagic.shim.pretence import leaves as leaves_module
from ocimagic.shim.pretence.askers import Askers
from ocimagic.shim.pretence.credentials import Credentials, Ids, Refused
from ocimagic.shim.pretence.leaves import LeafOwners


def run(tmp_path, code, **more):
    found = pretencebox.run(tmp_path / "box", code, pretends=True, **more)
    assert (found["status"], found["answered"]) == (0, 0), found["said"]
    return found


@pytest.fixture
def outside(tmp_path):
    """A file beside the root, which nobody may touch."""
    path = tmp_path / "outside"
    path.write_text("outside")
    before = path.stat()
    yield path
    assert os.listxattr(path) == []
    assert (path.stat().st_ctime_ns, path.read_text()) == (before.st_ctime_ns, "outside")
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names <= {"box", "outside"}, "something was made beside the root"


def test_no_link_leads_out(tmp_path, outside):
    up = "/".join([".."] * 20)
    code = f"""
os.symlink({str(outside)!r}, "/absolute")
os.symlink("{up}{outside}", "/relative")
os.symlink({str(tmp_path)!r}, "/directory")
os.mkdir("/a"); os.chdir("/a"); os.chmod("/", 0o777)
for path in ("/absolute", "/relative", "/directory/outside", "{up}{outside}", "{outside}",
             "../../outside", "/../../outside"):
    do(os.chown, path, 5, 5); do(os.chown, path, 6, 6, dir_fd=os.open("/a", os.O_RDONLY))
os.setresuid(1000, 1000, 1000)
for path in ("/directory/made", "../../made", "{up}{tmp_path}/made"):
    do(os.open, path, os.O_CREAT | os.O_RDWR); do(os.mkdir, path); do(os.symlink, "x", path)
"""
    found = run(tmp_path, code)["out"]
    # What climbs only comes to the root: there it may make something.
    assert {each for each in found if isinstance(each, str)} == {
        f"errno {errno.ENOENT}",
        f"errno {errno.EEXIST}",
    }
    assert found[:14] == [f"errno {errno.ENOENT}"] * 14


def test_a_name_that_looks_like_ours_is_a_name(tmp_path, outside):
    """Whoever knows its pid could try to begin at the machine's /proc."""
    code = f"""
pid = os.getpid()
for path in (f"{{pid}}/fd/../../1/root/etc", f"{{pid}}/root{outside}", f"{{pid}}/cwd",
             f"self/root{outside}", f"../{{pid}}/root{outside}", f"/proc/{{pid}}/root{outside}",
             f"/proc/self/root{outside}", f"/proc/self/cwd/{{pid}}", "/proc/self/fd/x"):
    do(os.chown, path, 5, 5)
    do(lambda: os.stat(path).st_uid)
os.makedirs(f"/{{pid}}/fd"); open(f"/{{pid}}/fd/0", "w").close()
do(os.chown, f"{{pid}}/fd/0", 5, 6); do(lambda: os.stat(f"{{pid}}/fd/0").st_gid)
"""
    *refused, done, seen = run(tmp_path, code)["out"]
    assert set(refused) == {f"errno {errno.ENOENT}"}
    assert (done, seen) == (None, 6)


def test_whoever_exchanges_a_path_meanwhile_gets_nothing_outside(tmp_path, outside):
    code = f"""
os.makedirs("/in"); open("/in/outside", "w").close()
os.symlink({str(tmp_path)!r}, "/link"); os.symlink("/in", "/path")
stop = []
def flip():
    while not stop:
        os.symlink({str(tmp_path)!r}, "/new"); os.replace("/new", "/path")
        os.symlink("/in", "/new"); os.replace("/new", "/path")
thread = threading.Thread(target=flip); thread.start()
done = 0
for number in range(3000):
    try:
        os.chown("/path/outside", 1 + number % 7, 3); done += 1
    except FileNotFoundError: pass
stop.append(1); thread.join()
out.append([done > 0, os.stat("/in/outside").st_gid])
"""
    assert run(tmp_path, code)["out"] == [[True, 3]]


def test_processes_that_die_while_they_ask_leave_nothing(tmp_path):
    code = """
import signal
for number in range(60):
    pid = os.fork()
    if not pid:
        os.setresuid(number, number, number)
        open("/f", "w").close()
        while True:
            try:
                os.chown("/f", 1, 2); os.stat("/f")
                os.mkdir(f"/d{number}"); os.rmdir(f"/d{number}")
            except OSError: pass
    time.sleep(0.005)
    os.kill(pid, 9); os.waitpid(pid, 0)
open("/g", "w").close(); os.chown("/g", 8, 9); out.append(os.stat("/g").st_uid)
"""
    found = run(tmp_path, code)
    assert found["out"] == [8]
    assert int(re.search(r"open (\d+)", found["said"])[1]) < 16


def test_interrupted_calls_are_answered_once(tmp_path):
    code = """
import signal
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
os.mkdir("/w"); os.chmod("/w", 0o777); os.setresuid(5, 5, 5)
for number in range(1500):
    os.close(os.open(f"/w/{number}", os.O_CREAT | os.O_EXCL))
signal.setitimer(signal.ITIMER_REAL, 0, 0)
out.append([len(seen) > 20, {os.stat(f"/w/{number}").st_uid for number in range(1500)} == {5}])
"""
    kernel = tuple(map(int, os.uname().release.split(".")[:2]))
    if kernel < (5, 19):
        pytest.skip("this kernel cannot wait for a listener without being interrupted")
    assert run(tmp_path, code)["out"] == [[True, True]]


def test_many_threads_ask_at_once(tmp_path):
    code = """
bad = []
def work(number):
    path = f"/t{number}"; open(path, "w").close()
    for turn in range(300):
        os.chown(path, turn, number)
        told = os.stat(path)
        if (told.st_uid, told.st_gid) != (turn, number): bad.append((number, turn))
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
for each in threads: each.start()
for each in threads: each.join()
out.append(bad)
"""
    assert run(tmp_path, code)["out"] == [[]]


def test_addresses_that_are_none(tmp_path):
    code = """
import errno
libc.syscall.restype = ctypes.c_long
numbers = {"x86_64": {"chown": 92, "stat": 4, "getresuid": 118, "setgroups": 116, "getgroups": 115,
           "getsockopt": 55, "capset": 126, "statx": 332},
           "aarch64": {"getresuid": 148, "setgroups": 159, "getgroups": 158,
           "getsockopt": 209, "capset": 91, "statx": 291}}[os.uname().machine]
def raw(name, *words):
    if name not in numbers: return
    wide = [ctypes.c_long(w) if isinstance(w, int) else w for w in words]
    got = libc.syscall(ctypes.c_long(numbers[name]), *wide)
    out.append([name, errno.errorcode[ctypes.get_errno()] if got == -1 else got])
open("/f", "w").close(); os.chown("/f", 5, 5); buffer = ctypes.create_string_buffer(256)
raw("chown", 1, 5, 5); raw("chown", -1, 5, 5); raw("chown", 0, 5, 5)
raw("chown", b"x" * 5000, 5, 5)
raw("stat", b"/f", 1); raw("stat", b"/f", 0); raw("stat", 1, buffer)
raw("getresuid", 0, 0, 0); raw("getresuid", 1, 1, 1)
raw("setgroups", 1 << 20, buffer); raw("setgroups", 3, 1); raw("setgroups", 0, 0)
os.setgroups([1, 2, 3]); raw("getgroups", 2, buffer); raw("getgroups", 0, 0); raw("getgroups", 3, 1)
one, two = socket.socketpair()
page = mmap.mmap(-1, 8192)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
libc.munmap(ctypes.c_void_p(address + 4096), 4096)
ctypes.memmove(address + 4090, b"/f\\0", 3); raw("chown", address + 4090, 6, 6)
ctypes.memmove(address + 4094, b"/f", 2); raw("chown", address + 4094, 6, 6)
raw("getsockopt", one.fileno(), 1, 17, 1, 1); raw("getsockopt", one.fileno(), 1, 17, 0, 0)
raw("getsockopt", one.fileno(), 1, 17, address, address + 4094); raw("getsockopt", 99, 1, 17, 1, 1)
raw("capset", 1, 1); raw("capset", address, address + 4090)
raw("statx", -100, b"/f", 0, 0x7FF, 1); raw("statx", -100, address + 4094, 0, 0x7FF, buffer)
os.write(writer, json.dumps(out).encode()); os._exit(0)
"""
    code = f"reader, writer = os.pipe()\npid = os.fork()\nif not pid:\n{indented(code)}\n"
    code += "os.close(writer); out.extend(json.loads(os.read(reader, 65536))); os.wait()\n"
    found = [tuple(each) for each in run(tmp_path, code)["out"]]
    wanted = {
        "chown": ["EFAULT", "EFAULT", "EFAULT", "ENAMETOOLONG", 0, "EFAULT"],
        "stat": ["EFAULT", "EFAULT", "EFAULT"],
        "getresuid": ["EFAULT", "EFAULT"],
        "setgroups": ["EINVAL", "EFAULT", 0],
        "getgroups": ["EINVAL", 3, "EFAULT"],
        "getsockopt": ["EFAULT", "EFAULT", "EFAULT", "EBADF"],
        "capset": ["EFAULT", "EINVAL"],
        "statx": ["EFAULT", "EFAULT"],
    }
    for name, values in wanted.items():
        if name in dict(found):
            assert [value for each, value in found if each == name] == values


def indented(code):
    return "\n".join(f"    {line}" for line in code.splitlines())


def test_records_that_a_process_writes_itself_are_read_with_care(tmp_path):
    code = f"""
for number, value in enumerate((b"x", b"4294967295:1", b"-1:1", b"1:1:c:9999999999:1", b"7:8")):
    path = f"/{{number}}"; open(path, "w").close()
    os.setxattr(path, {XATTR!r}, value)
    told = os.stat(path); out.append([told.st_uid, told.st_gid])
"""
    assert run(tmp_path, code)["out"] == [[0, 0]] * 4 + [[7, 8]]


def test_nobody_comes(tmp_path):
    """The container never begins: the answerer ends when its asker does."""
    found = pretencebox.run(tmp_path / "box", "os._exit(0)", pretends=True)
    assert (found["answered"], found["leaves"]) == (0, {})


def test_there_are_not_too_many_kinds_of_users(monkeypatch):
    monkeypatch.setattr(askers_module, "MAX_KINDS", 3)
    question = type("Question", (), {"pid": 0})
    askers = Askers()
    limit = askers_module.resource.prlimit(0, askers_module.LIMIT)
    try:
        for uid in (1, 2, 1, 2):
            askers.become(question, Credentials(Ids.all(uid)))
            assert askers.who(question).user.real == uid
        with pytest.raises(Refused) as refused:
            askers.become(question, Credentials(Ids.all(3)))
        assert refused.value.number == errno.EAGAIN
        assert askers.who(question).user.real == 2
    finally:
        askers_module.resource.prlimit(0, askers_module.LIMIT, limit)


def test_there_are_not_too_many_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(leaves_module, "MAX_LEAVES", 3)
    root = os.open(tmp_path, os.O_RDONLY)
    leaves = LeafOwners(root)
    keys = [FileKey((1, 1), number, 0) for number in range(4)]
    for key in keys[:3]:
        leaves.record(key, Ownership(1, 1))
    with pytest.raises(OSError, match="space") as full:
        leaves.record(keys[3], Ownership(1, 1))
    assert full.value.errno == errno.ENOSPC
    leaves.record(keys[0], Ownership(2, 2))
    leaves.record(keys[0], Ownership())
    leaves.record(keys[3], Ownership(1, 1))
    assert (leaves.find(keys[0]), leaves.find(keys[3])) == (None, Ownership(1, 1))
    os.close(root)
