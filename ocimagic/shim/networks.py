"""The networks of a shim's container: made before its command begins, gone after it has ended.

What the kernel does not drop by itself when shim and holder are killed (a link, a port's rule)
is found by the next engine: who is not kept is not there.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidState
from ocimagic.home.locks import locked
from ocimagic.linux.netns import inside
from ocimagic.network.ground import Ground
from ocimagic.network.neighbours import Neighbours
from ocimagic.network.plan import RELAY, Endpoint, Plan, Port
from ocimagic.network.relay import open_ways
from ocimagic.network.reserve import reserve
from ocimagic.network.resolver import Resolver, open_sockets
from ocimagic.network.wiring import LOCK, Place, Wiring, targets
from ocimagic.shim import events, wayout
from ocimagic.shim.relay import GROUND, PORTS, WAYS, Leads, RelayKeeper, port_of_socket
from ocimagic.spec.codec import Fields

if TYPE_CHECKING:
    from ocimagic.shim.monitor import Monitor

_NAMES = "names"
_NO_PLAN = Plan(room="", table="")


class Networks:
    """What the monitor does about networks; nothing for a container without a plan.

    What it is connected to now is in ``life.endpoints`` and ``life.ports``, as JSON: it may be
    connected to others while it runs.
    """

    def __init__(self, monitor: Monitor, plan: Plan | None) -> None:
        self._monitor = monitor
        self._plan = plan
        self._resolver: Resolver | None = None
        self._netns = -1
        self._there: tuple[Endpoint, ...] | None = None
        self._relay = RelayKeeper(monitor.loop, monitor.keeper)
        self._place = Place()
        self._wiring = self._wire()

    def _wire(self) -> Wiring:
        task, plan = self._monitor.task, self._plan or _NO_PLAN
        return Wiring(task.container_id, plan.container, plan.room, plan.table, self._place)

    @property
    def _endpoints(self) -> tuple[Endpoint, ...]:
        """Return where the container is now; the same tuple as long as that is so."""
        told = self._monitor.life.endpoints
        if self._there is None or len(self._there) != len(told):
            fields = Fields({"endpoints": told}, "life")
            self._there = tuple(map(Endpoint.parse, fields.children("endpoints")))
        return self._there

    def _move(self, endpoints: list[dict[str, object]]) -> None:
        self._monitor.life.endpoints, self._there = endpoints, None

    def hold(self, pid: int) -> None:
        """Get hold of a container's network namespace, which later only root may look at."""
        if self._plan is not None:
            self._let_go()
            with contextlib.suppress(FileNotFoundError):  # it has ended; why, it has said
                self._netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def _let_go(self) -> None:
        if self._netns >= 0:
            os.close(self._netns)
            self._netns = -1

    def attach(self) -> None:
        """Connect the container that is held, and take the ports that lead to it.

        Raises:
            PortTaken: somebody has one.
            StartFailed: the kernel refused.
        """
        if self._plan is None:
            return
        life, plan = self._monitor.life, self._plan
        if PORTS in self._monitor.keeper.groups:  # a killed shim had taken them
            self._monitor.keeper.drop(PORTS)
        self.remove_links()  # of the time before, if it is started again
        self._take_place()
        ports, held = reserve(plan.ports, Neighbours(Path(plan.room)).holder_of)
        self._monitor.keeper.keep({PORTS: {f"{fd}": fd for fd in held}})
        # Noted before it is done: a shim that takes over knows what to take away.
        self._move([each.to_json() for each in plan.endpoints])
        life.ports = [each.to_json() for each in ports]
        self._monitor.save()
        self._wiring.attach(self._netns, plan, ports)
        self._answer_names(self._netns)
        self._let_go()
        self._relay.begin(self._leads())
        for each in plan.endpoints:
            events.tell_of_network(self._monitor, "connect", each)

    def _take_place(self) -> None:
        """Find or make, without root, where the bridges are, and the way out of there."""
        plan, keeper = self._plan, self._monitor.keeper
        if plan is None or not plan.way:
            return
        room = Path(plan.room)
        if GROUND not in keeper.groups:
            with locked(room, LOCK):
                found = Ground(room).join((os.getpid(), os.getppid()), self._lead_out)
            keeper.keep({GROUND: found})
        ground_fd = keeper.groups[GROUND]["fd"]
        if WAYS not in keeper.groups:
            keeper.keep({WAYS: inside(ground_fd, open_ways)})
        self._found_place()

    def _lead_out(self, ground_fd: int, is_old: bool) -> int | None:
        """Start what leads out of the ground besides relays, if there is anything."""
        assert self._plan is not None
        if self._plan.way == RELAY or (is_old and inside(ground_fd, wayout.leads_out)):
            return None
        return wayout.start(self._plan.way, ground_fd)

    def _found_place(self) -> None:
        groups = self._monitor.keeper.groups
        if GROUND in groups:
            ways = {name: port_of_socket(fd) for name, fd in groups.get(WAYS, {}).items()}
            place = Place(groups[GROUND]["fd"], ways)
            if place != self._place:
                self._place = place
                self._wiring.close()
                self._wiring = self._wire()

    def _leads(self) -> Leads:
        """Return what a relay has to know."""
        fields = Fields({"ports": self._monitor.life.ports}, "life")
        return Leads(
            ports=tuple(map(Port.parse, fields.children("ports"))),
            targets=tuple(targets(self._endpoints)),
        )

    def adopt(self) -> None:
        """Go on with what an earlier shim made."""
        if self._plan is None:
            return
        if GROUND in self._monitor.keeper.groups:
            self._found_place()
            room = Path(self._plan.room)
            with locked(room, LOCK):
                Ground(room).note((os.getpid(), os.getppid()))
        if _NAMES in self._monitor.keeper.groups:
            self._open_resolver(self._plan)
        if self._endpoints:
            self._relay.begin(self._leads())

    def _answer_names(self, netns_fd: int) -> None:
        """Let the container find others by name, if one of its networks has names."""
        plan, keeper = self._plan, self._monitor.keeper
        if plan is None or self._resolver or not any(each.resolves for each in self._endpoints):
            return
        fds = inside(netns_fd, open_sockets)
        keeper.keep({_NAMES: fds})
        self._open_resolver(plan)

    def _open_resolver(self, plan: Plan) -> None:
        self._resolver = Resolver(
            self._monitor.loop,
            self._monitor.keeper.groups[_NAMES],
            Neighbours(Path(plan.room)),
            lambda: self._endpoints,
            plan.servers,
        )

    def detach(self) -> None:
        """Give addresses, ports and names back, before anybody hears of the end; twice is once."""
        life = self._monitor.life
        if self._plan is None or not life.endpoints:
            return
        if self._resolver is not None:
            self._resolver.close()
            self._resolver = None
        endpoints = self._endpoints
        self._found_place()
        self._relay.end()
        self._let_go()
        self._wiring.withdraw(endpoints, self._leads().ports)
        self._monitor.keeper.drop(PORTS, _NAMES)
        life.leftover += life.endpoints
        for each in endpoints:
            events.tell_of_network(self._monitor, "disconnect", each)
        self._move([])
        life.ports = []
        self._monitor.save()

    def remove_links(self) -> None:
        """Take away what is left of the container's networks in the kernel."""
        life = self._monitor.life
        if self._plan is not None and life.leftover:
            told = Fields({"endpoints": life.leftover}, "life")
            self._found_place()
            self._wiring.remove_links(list(map(Endpoint.parse, told.children("endpoints"))))
            life.leftover = []
            self._monitor.save()

    def close(self) -> None:
        """Leave nothing, when all is told."""
        self.remove_links()
        if self._plan is not None and GROUND in self._monitor.keeper.groups:
            room = Path(self._plan.room)
            with locked(room, LOCK):
                Ground(room).leave((os.getpid(), os.getppid()))
        self._wiring.close()

    def connect(self, pid: int, document: dict[str, object]) -> None:
        """Connect a running container to one more network.

        Raises:
            InvalidState: it has no network of its own, or is connected already.
            StartFailed: the kernel refused.
        """
        endpoint = Endpoint.parse(Fields(document, "endpoint"))
        there = self._endpoints
        if self._plan is None:
            raise InvalidState("this container has no network of its own")
        if any(each.network_id == endpoint.network_id for each in there):
            raise InvalidState("the container is in this network already")
        with _Netns(pid) as netns_fd:
            is_way_out = all(each.internal for each in there)
            self._wiring.connect(netns_fd, endpoint, is_way_out=is_way_out)
            self._move([*self._monitor.life.endpoints, endpoint.to_json()])
            self._answer_names(netns_fd)
        self._lead_on(there)
        self._monitor.publish()

    def _lead_on(self, was: tuple[Endpoint, ...]) -> None:
        """Let ports lead to where the container is now."""
        leads = self._leads()
        self._wiring.lead_ports(leads.ports, was, self._endpoints)
        self._relay.change(leads)

    def disconnect(self, pid: int, network_id: str) -> None:
        """Take a running container out of a network.

        Raises:
            InvalidState: it is not in it.
        """
        there = self._endpoints
        found = [each for each in there if each.network_id == network_id]
        if not found:
            raise InvalidState("the container is not in this network")
        self._wiring.disconnect(found[0])
        rest = [each for each in there if each.network_id != network_id]
        ways = [each for each in rest if not each.internal]
        if ways:
            with _Netns(pid) as netns_fd:
                self._wiring.give_way_out(netns_fd, ways[0])
        self._move([each.to_json() for each in rest])
        self._lead_on(there)
        self._monitor.publish()


class _Netns:
    """A process's network namespace, open for a while."""

    def __init__(self, pid: int) -> None:
        self._path = f"/proc/{pid}/ns/net"
        self._fd = -1

    def __enter__(self) -> int:
        self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def port_of(document: dict[str, object]) -> Port:
    """Read a port that a shim published."""
    return Port.parse(Fields(document, "port"))
