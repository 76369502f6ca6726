"""The holder by itself, with shims that do nothing but die; what its processes have loaded."""

import subprocess
import sys

HOPELESS = """
import os, sys
from ocimagic.shim.holder import Holder, Keeper

def serve(holder, link):
    keeper = Keeper(holder, link)
    if "first" not in keeper.groups:
        keeper.keep({"first": {"fd": 0}}, request={"op": "container"})
    os._exit(1)

Holder(serve, lambda: None).run()
print("given up")
"""
ROBBED = """
import json, os, signal, socket, sys
from ocimagic.shim import pair
from ocimagic.shim.holder import Keeper
from ocimagic.shim.memory import anonymous

deaths, keep = anonymous(4096), Keeper.keep

def die_first(keeper, groups, **more):
    if not deaths[0]:
        deaths[0] = 1
        os.kill(os.getpid(), signal.SIGKILL)
    keep(keeper, groups, **more)

Keeper.keep = die_first
inbox = pair.open_pair(lambda: None, {})
mine, theirs = socket.socketpair()
with theirs:
    socket.send_fds(inbox, [json.dumps({"op": "container"}).encode()], [theirs.fileno()])
mine.settimeout(20)
answer = b""
while piece := mine.recv(4096):
    answer += piece
print(deaths[0], b"error" in answer)
inbox.settimeout(20)
print(inbox.recv(1))
"""
LOADED = """
import os
from ocimagic.shim import preload

preload.load_for_containers()
preload.forbid_imports()
for encoding in ("ascii", "utf-8"):
    with open(os.devnull, encoding=encoding) as file:
        file.read()
print("all there")
"""


def run(program):
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path[:0] = {sys.path}\n{program}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip()


def test_a_container_whose_shims_all_die_at_once_is_given_up():
    """Its client waited for ever while shim after shim was forked."""
    assert run(HOPELESS) == "given up"


def test_a_shim_killed_with_a_request_in_its_hands_leaves_it_to_the_next():
    """It was lost: who asked heard nothing, and the next shim waited for ever."""
    assert run(ROBBED).splitlines() == ["1 True", "b''"]


def test_encodings_are_loaded_before_nothing_may_be():
    """An ordinary user's shim could not open a file with an encoding it had not met yet."""
    assert run(LOADED) == "all there"
