"""pasta or slirp4netns, where one can be used: the way out of an account's network namespace.

Such a program has a link there and sends what comes to it from sockets of its own.  It needs
/dev/net/tun.  A process of ours is its parent and ends it when nobody keeps the namespace: when
the last copy of a pipe's end is closed.

Source: pasta(1), slirp4netns(1).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

from ocimagic.linux import syscalls
from ocimagic.linux.links import Links
from ocimagic.linux.netns import inside
from ocimagic.network.firewall import WAY_OUT
from ocimagic.network.plan import PASTA, SLIRP
from ocimagic.shim.forks import close_all_but, fork_apart, fork_child

_PATIENCE_S = 5.0
_LOOK_S = 0.01
_FORWARD = "/proc/sys/net/ipv4/ip_forward"
_COMMANDS = {
    # No ports are taken, and the machine is no gateway: both is done by relays.
    PASTA: (
        "pasta", "--foreground", "--quiet", "--config-net", "--ns-ifname", WAY_OUT,
        "--no-map-gw", "--no-netns-quit",
        "--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none",
        "--netns", "{netns}",
    ),
    SLIRP: (
        "slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", "--disable-dns",
        "--netns-type=path", "{netns}", WAY_OUT,
    ),
}  # fmt: skip


def start(program: str, ground_fd: int) -> int | None:
    """Start a program that leads out of a network namespace.

    Args:
        program: ``pasta`` or ``slirp4netns``.
        ground_fd: the namespace.

    Returns:
        What keeps it: it ends when all copies of this descriptor are closed.  None if it does
        not work here.
    """
    if not inside(ground_fd, _forwards):
        return None
    kept, keeps = os.pipe2(os.O_CLOEXEC)

    def live() -> None:
        close_all_but([kept, ground_fd])
        syscalls.set_process_name("ocimagic-wayout")
        _keep(program, ground_fd, kept)

    pid = fork_apart(live)
    os.close(kept)
    gone = select.poll()
    pidfd = os.pidfd_open(pid)
    gone.register(pidfd, select.POLLIN)
    deadline = time.monotonic() + _PATIENCE_S
    try:
        while time.monotonic() < deadline and not gone.poll(_LOOK_S * 1000):
            if inside(ground_fd, leads_out):
                return keeps
    finally:
        os.close(pidfd)
    os.close(keeps)
    return None


def _forwards() -> bool:
    """Let the network namespace we are in pass packets on; False if that is not to be had."""
    try:
        with open(_FORWARD, "w", encoding="ascii") as file:
            file.write("1")
    except OSError:  # read-only: we are in a container
        return False
    return True


def leads_out() -> bool:
    """Say whether the network namespace we are in has a default route by such a program."""
    with Links() as links:
        way = links.find(WAY_OUT)
        return way is not None and any(
            each.index == way.index and not each.destination.prefixlen for each in links.routes()
        )


def _keep(program: str, ground_fd: int, kept: int) -> None:
    """Run the program until nobody keeps what it is for, or it ends."""
    # Ours: pasta closes what it is given.
    netns = f"/proc/{os.getpid()}/fd/{ground_fd}"
    words = [each.format(netns=netns) for each in _COMMANDS[program]]

    def become() -> None:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # what pasta expects; Python ignores it
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.execvp(words[0], words)  # noqa: S606

    child = fork_child(become)
    pidfd = os.pidfd_open(child)
    over = select.poll()
    over.register(kept, 0)  # that all others are closed is said unasked
    over.register(pidfd, select.POLLIN)
    over.poll()
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.waitpid(child, 0)
