"""Engines over several data roots on one machine: no two of their networks have one subnet."""

import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

ROOTS = 4
SCRIPT = """
import sys, threading
from contextlib import ExitStack
from ocimagic import Engine
from ocimagic.errors import Conflict
from ocimagic.model.network import NetworkOptions, Subnet

def run(engine, name, network="bridge"):
    options = {"name": name, "detach": True, "network": network}
    return engine.containers.run("busybox", ["sleep", "100"], **options)

def subnet(engine, name):
    return engine.networks.inspect(name).subnets[0].subnet

with ExitStack() as stack:
    engines = [stack.enter_context(Engine(root, environment={})) for root in sys.argv[2:]]
    for engine in engines:
        with open(sys.argv[1], "rb") as file:
            engine.images.load(file.fileno())
        stack.callback(lambda engine=engine: [
            engine.containers.remove(each.container_id, force=True)
            for each in engine.containers.list(all=True)])
        engine.networks.create(NetworkOptions(name="made"))
    # Nobody is in one yet: all have chosen the same.
    assert len({subnet(each, "bridge") for each in engines}) == 1
    assert len({subnet(each, "made") for each in engines}) == 1

    for network in ("bridge", "made"):
        together, wrong = threading.Barrier(len(engines)), []
        def first(engine):
            together.wait()
            try:
                run(engine, f"first-{network}", network)
            except Exception as err:
                wrong.append(err)
        threads = [threading.Thread(target=first, args=[each]) for each in engines]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert not wrong, wrong
        for engine in engines:
            run(engine, f"second-{network}", network)
        assert len({subnet(each, network) for each in engines}) == len(engines), network

    # What somebody asked for is nobody's to change.
    asked = NetworkOptions(name="asked", subnets=(Subnet(subnet="10.77.0.0/24"),))
    for engine in engines[:2]:
        engine.networks.create(asked)
    run(engines[0], "asked", "asked")
    try:
        run(engines[1], "asked", "asked")
    except Conflict as err:
        assert "is in use on this machine" in str(err), err
    else:
        raise AssertionError("two have what was asked for")
print("done")
"""


def test_whose_subnet_nobody_chose_gets_a_free_one(shared, tmp_path):
    archive = tmp_path / "busybox.tar"
    with archive.open("wb") as file:
        shared.images.save(["busybox"], file.write)
    roots = [str(tmp_path / f"root-{number}") for number in range(ROOTS)]
    inside = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
    command = [*inside, sys.executable, "-c", SCRIPT, str(archive), *roots]

    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)

    assert done.stdout == "done\n", done.stderr
