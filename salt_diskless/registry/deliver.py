"""Telling boot servers what was decided: one call for all that is new, however many events made it.

Whoever has news for them tries a lock. The one that gets it waits until the burst is over, applies
the rules and tells the servers; the others are done when what they know is in the store, for the
one that has the lock looks once more when it has let go of it. A lock of flock(2) goes with its
holder, and what was not delivered stands in the store.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from salt_diskless.cluster import ClusterError, DisklessError
from salt_diskless.cluster.ranges import fold
from salt_diskless.registry import rules
from salt_diskless.registry.decide import Desk
from salt_diskless.registry.store import Delivery, Machine, Store, Transaction

log = logging.getLogger(__name__)

#: A burst is over when nothing was written for so long, or at last after the second one, in
#: seconds.
QUIET = 1.0
LONGEST = 30.0
#: How many nodes or machines one call has at most.
CHUNK = 1000
#: In how many parts it goes at the next time when it was refused.
PARTS = 8

#: Has a boot server call a function with one argument; the number is how far the registry has
#: counted. Raises :class:`Unreachable` when it does not answer, another :class:`DisklessError` when
#: it refuses.
Tell = Callable[[str, str, Any, int], Any]

#: The order matters: a name, an address or a MAC is free when the one that had it is gone.
_ORDER = ("remove", "forget", "add", "reject")


class Unreachable(DisklessError):
    """A boot server does not answer."""


@contextlib.contextmanager
def _lock(store: Store, wait: bool) -> Iterator[bool]:
    store.create()
    descriptor = os.open(store.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def quiet(store: Store, wait: float = QUIET, longest: float = LONGEST) -> None:
    """Return when nobody has written to the registry for ``wait`` seconds."""
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        end = time.monotonic() + longest
        since, last = time.monotonic(), None
        while time.monotonic() < min(end, since + wait):
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            if version != last:
                since, last = time.monotonic(), version
            time.sleep(0.05)


def burst(store: Store, desk: Callable[[], Desk], tell: Tell) -> dict[str, Any]:
    """Have the rules applied and the boot servers told, once for all that happens at the moment.

    desk
        Makes the desk from the pillar as it is by then.

    Returns what was done, by boot server; nothing when somebody else is at it already.
    """
    said: dict[str, Any] = {}
    while True:
        with _lock(store, wait=False) as mine:
            if not mine:
                return said
            quiet(store)
            try:
                apply_rules(store, desk())
            finally:
                # What is decided does not wait for a pillar that is wrong.
                said = deliver(store, tell)
        with store.read() as tx:
            if not tx.waiting():
                return said


def owed(store: Store, desk: Callable[[], Desk], tell: Tell) -> dict[str, Any]:
    """Do what :func:`burst` does where something is left: somebody was killed, or a boot server was
    down."""
    with store.read() as tx:
        due = tx.due()
    return burst(store, desk, tell) if due else {}


def now(store: Store, tell: Tell) -> dict[str, Any]:
    """Tell the boot servers at once what they have yet to be told, after whoever is at it."""
    with _lock(store, wait=True):
        return deliver(store, tell)


def apply_rules(store: Store, desk: Desk) -> None:
    """Accept whom a rule accepts, and take away what cannot be: the machines that the pillar lists
    by hand, and claims that contradict it. What is refused is a line in the log."""
    _sift(store, desk)
    with store.read() as tx:
        waiting = tx.machines("pending")
    counting = [rule.name for rule in desk.cluster.rules if rule.count is not None]
    machines: list[Machine] = []
    for rule in desk.cluster.rules:
        if not machines:
            with store.read() as tx:
                machines = tx.for_rules(counting)
                others = tx.contradictions()
            doubtful = {mac for mac, claims in others.items() if "serial" in claims}
        wanted = list(rules.wishes(rule, machines, doubtful))
        if not wanted:
            continue
        refused: list[str] = []
        try:
            nodes = desk.accept(wanted, refused=refused)
        except DisklessError as err:
            log.error("diskless: rule %s accepts nobody: %s", rule.name, err)
            continue
        for problem in refused:
            log.error("diskless: rule %s: %s", rule.name, problem)
        if nodes:
            log.info("diskless: rule %s accepted %s", rule.name, fold(node.name for node in nodes))
            machines = []
    try:
        desk.follow()
    except ClusterError as err:
        log.error("diskless: the pillar and the registry's nodes: %s", err)
    with store.write() as tx:
        # What came meanwhile is for the next time.
        tx.looked_at(waiting)


def _sift(store: Store, desk: Desk) -> None:
    pools = [
        (net.server, net.discovery_range)
        for net in desk.cluster.networks.values()
        if net.discovery_range is not None
    ]
    with store.write() as tx:
        for machine in tx.machines("pending"):
            name = desk.listed.macs.get(machine.mac)
            if name is not None:
                log.warning("diskless: %s announced itself; it is %s", machine.mac, name)
                tx.forget(machine.mac)
                continue
            if machine.server is not None and machine.server not in desk.cluster.servers:
                log.warning("diskless: %s: %s is no boot server", machine.mac, machine.server)
                tx.unclaim(machine.mac, "server")
            # A boot server lends addresses of its own networks only.
            lent = [pool for server, pool in pools if machine.server in (None, server)]
            if machine.ip is not None and not any(machine.ip in pool for pool in lent):
                log.warning("diskless: %s: nobody lent it %s", machine.mac, machine.ip)
                tx.unclaim(machine.mac, "ip")


def deliver(store: Store, tell: Tell) -> dict[str, Any]:
    """Tell each boot server what it has yet to be told, and return what came of it: by server, the
    nodes or machines of each action, folded, and the ``problem`` where there was one."""
    with store.read() as tx:
        orders = tx.deliveries()
    servers: dict[str, list[Delivery]] = {}
    for order in orders:
        servers.setdefault(order.server, []).append(order)
    said: dict[str, Any] = {}
    # One that does not answer costs time: those that did so last come first.
    for server in sorted(servers, key=lambda name: max(order.tries for order in servers[name])):
        done: dict[str, list[str]] = {}
        for action, subjects in _deliver(store, server, servers[server], tell):
            done.setdefault(action, []).extend(subjects)
        said[server] = {action: _shown(action, subjects) for action, subjects in done.items()}
    return said


def _shown(action: str, subjects: Sequence[str]) -> str:
    return fold(subjects) if action in ("add", "remove") else ", ".join(subjects)


def _deliver(
    store: Store, server: str, orders: Sequence[Delivery], tell: Tell
) -> Iterator[tuple[str, list[str]]]:
    for number, (action, some) in enumerate(batches := list(_batches(orders))):
        try:
            with store.read() as tx:
                argument, counted = _argument(tx, action, some), tx.number()
            function = f"diskless_node.{action}"
            answer = tell(server, function, argument, counted) if argument else None
        except Unreachable as err:
            _complain(some, err)
            with store.write() as tx:
                for _, left in batches[number:]:
                    tx.undelivered(left)
            yield "problem", [str(err)]
            return
        except DisklessError as err:
            _complain(some, err)
            with store.write() as tx:
                tx.undelivered(some)
            yield "problem", [str(err)]
            continue
        with store.write() as tx:
            tx.delivered(some)
            if action == "add":
                tx.told(settings["mac"] for settings in argument.values())
            elif action == "reject":
                tx.told(argument)
        yield action, [order.subject for order in some]
        for word in ("outdated", "problem"):
            if isinstance(answer, Mapping) and word in answer:
                yield word, [str(answer[word])]


def _complain(orders: Sequence[Delivery], err: DisklessError) -> None:
    """Say once what keeps orders from being done: they are tried again and again."""
    is_new = any(order.tries == 0 for order in orders)
    log.log(logging.ERROR if is_new else logging.DEBUG, "diskless: %s", err)


def _batches(orders: Sequence[Delivery]) -> Iterator[tuple[str, list[Delivery]]]:
    """Yield what goes in one call. What was refused before is apart from what is new, so that it
    does not take that with it, and goes in smaller parts each time, until what is refused is alone.
    """
    for action in _ORDER:
        mine = [order for order in orders if order.action == action]
        for tries in sorted({order.tries for order in mine}):
            some = [order for order in mine if order.tries == tries]
            size = min(CHUNK, -(-len(some) // PARTS)) if tries else CHUNK
            for start in range(0, len(some), size):
                yield action, some[start : start + size]


def _argument(tx: Transaction, action: str, orders: Sequence[Delivery]) -> Any:
    if action != "add":
        return [order.subject for order in orders]
    nodes = [tx.node(order.subject) for order in orders]
    return {node.name: node.as_pillar() for node in nodes if node is not None and node.mac}
