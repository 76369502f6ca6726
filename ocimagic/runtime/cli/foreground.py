"""Stay with a process until it is over: pass signals and the terminal on, return its code."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import struct
import termios
import tty
from typing import TYPE_CHECKING

from ocimagic.runtime.terminal import resize

if TYPE_CHECKING:
    from ocimagic.runtime.create import Init

_CHUNK = 1 << 16
# Those that cannot be caught, that mean something to this process itself, or that a fault raises.
_OWN = {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGCHLD,
    signal.SIGPIPE,
    signal.SIGURG,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTTIN,
    signal.SIGTTOU,
}


class Foreground:
    """A process in front of the caller's terminal, or between its pipes."""

    def __init__(self, init: Init) -> None:
        self._init = init
        self._poll = select.poll()
        self._console = init.console
        self._typed = bytearray()
        self._is_ended = False

    def run(self) -> int:
        """Start the process and wait for its end; return its exit code, 128+n for a signal."""
        init = self._init
        wakeup, alarm = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, wakeup)
            undo.callback(os.close, alarm)
            self._catch(alarm, undo)
            if self._console >= 0:
                self._take_terminal(undo)
            init.start()
            self._poll.register(init.pidfd, select.POLLIN)
            self._poll.register(wakeup, select.POLLIN)
            self._serve(wakeup)
        status = os.waitid(os.P_PIDFD, init.pidfd, os.WEXITED)
        assert status is not None
        init.close()
        return status.si_status + (0 if status.si_code == os.CLD_EXITED else 128)

    def _catch(self, alarm: int, undo: contextlib.ExitStack) -> None:
        """Note every signal that can be passed on."""
        for number in signal.valid_signals() - _OWN:
            with contextlib.suppress(OSError, ValueError):  # libc keeps some for itself
                before = signal.signal(number, _ignore)
                undo.callback(signal.signal, number, before)
        undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(alarm, warn_on_full_buffer=False))

    def _take_terminal(self, undo: contextlib.ExitStack) -> None:
        """Make the caller's terminal a raw one, of the same size as the process's."""
        os.set_blocking(self._console, False)
        self._poll.register(self._console, select.POLLIN)
        self._poll.register(0, select.POLLIN)
        with contextlib.suppress(termios.error):  # no terminal here: bytes are passed all the same
            before = termios.tcgetattr(0)
            undo.callback(termios.tcsetattr, 0, termios.TCSADRAIN, before)
            tty.setraw(0)
            self._copy_size()

    def _copy_size(self) -> None:
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
            rows, columns, _, _ = struct.unpack("HHHH", size)
            resize(self._console, rows, columns)

    def _serve(self, wakeup: int) -> None:
        is_over = False
        while not is_over:
            for fd, events in self._poll.poll():
                if fd == self._init.pidfd:
                    is_over = True
                elif fd == wakeup:
                    self._pass_signals(wakeup)
                elif fd == 0:
                    self._read_input()
                elif events & select.POLLOUT:
                    self._write_input()
                else:
                    self._copy_output()
        if self._console >= 0:
            while self._copy_output():
                continue

    def _pass_signals(self, wakeup: int) -> None:
        for number in os.read(wakeup, 64):
            if number == signal.SIGWINCH and self._console >= 0:
                self._copy_size()
                continue
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init.pidfd, number)

    def _copy_output(self) -> bool:
        """Copy what the terminal says now; return whether there was anything."""
        try:
            data = os.read(self._console, _CHUNK)
        except OSError as err:
            if err.errno != errno.EAGAIN:
                with contextlib.suppress(KeyError):  # EIO: nobody has the other side any more
                    self._poll.unregister(self._console)
            return False
        while data:
            data = data[os.write(1, data) :]
        return True

    def _read_input(self) -> None:
        """Take what was typed; the end of a pipe is what a terminal says at its end."""
        data = os.read(0, _CHUNK)
        self._is_ended = not data
        self._typed += data or b"\x04"
        # No more before this is written: whoever writes must feel that nobody reads.
        self._poll.unregister(0)
        self._poll.modify(self._console, select.POLLIN | select.POLLOUT)

    def _write_input(self) -> None:
        with contextlib.suppress(BlockingIOError):
            del self._typed[: os.write(self._console, self._typed)]
        if not self._typed:
            self._poll.modify(self._console, select.POLLIN)
            if not self._is_ended:
                self._poll.register(0, select.POLLIN)


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing: the wakeup descriptor has noted it."""
