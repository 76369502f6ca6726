"""Build a Dockerfile in a process of its own; print a JSON object of what came of it.

The argument is a JSON object: ``root``, ``dockerfile``, ``context``, and more BuildOptions.
``distribution`` is bootstrapped first; ``rttime_us`` is a limit of all; ``at_output`` is done when
a RUN writes something: ``kill`` ends who answers for it, ``stop`` the build, ``die`` this process;
``run`` is a command for a container of the image, whose changes are committed.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time

from ocimagic.engine.engine import Engine
from ocimagic.errors import OcimagicError, RegistryUnreachable
from ocimagic.layers.toc import toc_from_bytes
from ocimagic.model.event import Notice, Output
from ocimagic.model.options import BuildOptions, NetworkMode, RunOptions
from ocimagic.model.request import BootstrapOptions, CommitOptions
from ocimagic.transfer.layer import layers_of


def main():
    request = json.loads(sys.argv[1])
    if limit_us := request.pop("rttime_us", 0):
        resource.setrlimit(resource.RLIMIT_RTTIME, (limit_us, limit_us))
    if "network" in request:
        request["network"] = NetworkMode(request["network"])
    root, distribution = request.pop("root"), request.pop("distribution", "")
    with Engine(root=root) as engine:
        if distribution:
            try:
                engine.images.bootstrap(BootstrapOptions(name=distribution))
            except RegistryUnreachable as err:
                print(json.dumps({"unreachable": err.what}))
                return
        print(json.dumps(built(engine, request)))
        unpacker = engine.images._unpacker
        unpacker.remove_trees([engine.home.snapshots])


def built(engine, options):
    """Return image ID, output, notices, and a line for each entry of each layer."""
    events = []
    found = {"ids": engine.containers.launcher.ids, "failure": ""}
    at_output, command = options.pop("at_output", ""), options.pop("run", ())
    cancelled = threading.Event()

    def on_event(event):
        events.append(event)
        if isinstance(event, Output) and at_output == "kill":
            for pid in answerers(os.getpid()):
                os.kill(pid, signal.SIGKILL)
        if isinstance(event, Output) and at_output == "stop":
            cancelled.set()
        if isinstance(event, Output) and at_output == "die":
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        result = engine.images.build(
            BuildOptions(**options), on_event=on_event, cancelled=cancelled
        )
        image = engine._store.images.load(result.digest)
        if command:
            image = committed(engine, result, tuple(command))
    except OcimagicError as err:
        found["failure"] = f"{err}"
    else:
        store, unpacker = engine._store, engine.images._unpacker
        layers = layers_of(image)
        found["image_id"] = str(result.image_id)
        found["layers"] = [
            [f"{e.path} {e.kind} {e.mode:o} {e.uid}:{e.gid} {e.size} {e.linkname}"
             for e in toc_from_bytes(unpacker.toc(layer))]
            for layer in layers
        ]  # fmt: skip
        found["leaks"] = [
            str(layer.blob.digest)
            for layer in layers
            if b"user.ocimagic" in store.blobs.path(layer.blob.digest).read_bytes()
        ]
    found["output"] = b"".join(e.data for e in events if isinstance(e, Output)).decode()
    found["notices"] = [e.text for e in events if isinstance(e, Notice)]
    home = engine.home
    left = [path.name for path in home.snapshots.iterdir() if not path.name.isdigit()]
    found["left"] = [
        *(name for name in left if name != "empty"),
        *(path.name for path in home.run.iterdir()),
        *(path.name for path in home.ingest.iterdir()),
    ]
    deadline = time.monotonic() + 10  # it has answered, and may just be ending
    while (left := answerers(os.getpid())) and time.monotonic() < deadline:
        time.sleep(0.02)
    found["answerers"] = left
    return found


def committed(engine, result, command):
    """Run a command in a container of an image, and commit what it changed."""
    options = RunOptions(image=str(result.image_id), command=command, name="it")
    done = engine.containers.run_options(options)
    assert done.exit_code == 0, done
    engine.containers.commit("it", CommitOptions(reference="committed"))
    engine.containers.remove("it", force=True)
    return engine._store.images.find("committed")


def answerers(pid):
    """Return the processes below one that answer for a container."""
    parents, names = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8") as file:
                    head, _, tail = file.read().rpartition(")")
            except OSError:
                continue
            parents[int(entry)] = int(tail.split()[1])
            names[int(entry)] = head.partition("(")[2]

    def is_below(each):
        while each in parents and each != pid:
            each = parents[each]
        return each == pid

    return [each for each, name in names.items() if name == "ocimagic-owners" and is_below(each)]


if __name__ == "__main__":
    main()
