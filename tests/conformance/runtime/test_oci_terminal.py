"""config.md, "Process": terminal and consoleSize; the console socket of runc's command line."""

import fcntl
import os
import struct
import termios

import pytest
from ocibox import ConsoleSocket

TIOCGWINSZ = termios.TIOCGWINSZ


def on_terminal(box, console, script, **process):
    """Start a script on a terminal; returns all it wrote."""
    box.process |= {"terminal": True} | process
    box.shell(script)
    box.create("--console-socket", console.path)
    console.receive()
    box.start()
    return console.read_all()


def test_the_streams_are_a_terminal(box, console):
    """config.md, "Process": a pseudoterminal pair; the container's end is duplicated to 0-2."""
    told = on_terminal(box, console, "tty; for n in 0 1 2; do test -t $n && echo $n; done")
    assert told == "/dev/pts/0\n0\n1\n2\n"
    assert box.wait() == 0


def test_dev_console_is_the_terminal(box, console):
    """config-linux.md, "Default Devices": /dev/console is the pty if terminal is set."""
    told = on_terminal(box, console, "echo shown >/dev/console; test -c /dev/console && echo ok")
    assert told == "shown\nok\n"


def test_no_dev_console_without_a_terminal(box):
    """config-linux.md, "Default Devices": /dev/console only if terminal is set."""
    assert box.run("test -e /dev/console || echo none") == "none\n"


def test_the_terminal_controls_the_session(box, console):
    """A shell needs job control: the terminal is the controlling one of the process's session."""
    told = on_terminal(box, console, "echo mine >/dev/tty; cut -d' ' -f6-7 </proc/$$/stat")
    first, numbers = told.splitlines()
    session, device = numbers.split()
    assert (first, session) == ("mine", "1")
    assert device != "0"


def test_a_key_interrupts(box, console):
    """ctrl-c on the master is SIGINT for the foreground process group."""
    box.process["terminal"] = True
    box.shell("trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done")
    box.create("--console-socket", console.path)
    master = console.receive()
    box.start()
    told = b""
    while b"ready" not in told:
        told += os.read(master, 100)
    os.write(master, b"\x03")
    assert "caught" in console.read_all()
    assert box.wait() == 9


def test_console_size(box, console):
    """config.md, "Process": consoleSize is the size of the terminal."""
    told = on_terminal(box, console, "stty size", consoleSize={"height": 33, "width": 111})
    assert told == "33 111\n"
    size = struct.unpack("HHHH", fcntl.ioctl(console.master, TIOCGWINSZ, bytes(8)))
    assert size[:2] == (33, 111)


def test_console_size_without_a_terminal(box):
    """config.md, "Process": runtimes MUST ignore consoleSize if terminal is false or unset."""
    box.process["consoleSize"] = {"height": 33, "width": 111}
    assert box.run("test -t 0 || echo no terminal") == "no terminal\n"


def test_input_reaches_the_program(box, console):
    """What is written to the master is the program's input."""
    box.process["terminal"] = True
    box.shell("stty -echo; echo ready; read line; echo got $line")
    box.create("--console-socket", console.path)
    master = console.receive()
    box.start()
    told = b""
    while b"ready" not in told:
        told += os.read(master, 100)
    os.write(master, b"hello\n")
    assert "got hello" in console.read_all()


def test_the_terminal_is_the_containers_own(box, console):
    """config-linux.md, "Default Devices": it is of the container's devpts, and the user's."""
    box.process["user"] = {"uid": 1000, "gid": 1000}
    told = on_terminal(box, console, "ls -1 /dev/pts; stat -c '%u %a' /dev/pts/0; echo x >/dev/tty")
    assert told == "0\nptmx\n1000 620\nx\n"


def test_ptmx_gives_terminals(box):
    """config-linux.md, "Default Devices": /dev/ptmx is the container's /dev/pts/ptmx."""
    script = "exec 5<>/dev/ptmx; ls -1 /dev/pts; stat -Lc %t:%T /dev/ptmx /dev/pts/ptmx"
    assert box.run(script) == "0\nptmx\n5:2\n5:2\n"


@pytest.mark.parametrize("words", [(), ("--console-socket", "/nonexistent/socket")])
def test_a_terminal_needs_someone_to_send_it_to(box, words):
    """create cannot hand a master over without a console socket that answers."""
    box.process["terminal"] = True
    box.create_refused(*words)
    assert box.left_behind() == []


def test_exec_on_a_terminal(box, tmp_path):
    """exec has a terminal of its own, with the size its process document says."""
    box.started()
    (tmp_path / "x").mkdir()
    console = ConsoleSocket(tmp_path / "x")
    document = {
        "terminal": True, "script": "tty; stty size", "consoleSize": {"height": 5, "width": 6},
    }  # fmt: skip
    box.exec_detached(document, "--console-socket", console.path)
    console.receive()
    told = console.read_all()
    console.close()
    assert told == "/dev/pts/0\n5 6\n"
