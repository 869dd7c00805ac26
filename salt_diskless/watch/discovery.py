"""Machines that are no nodes and ask the boot server: one event for each that is new, and one more
when what its maker has written into it gets known."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from salt_diskless.boot.pxelinux import REGISTERED
from salt_diskless.cluster import Network
from salt_diskless.command import CommandFailed
from salt_diskless.platform import Platform
from salt_diskless.services import answers, nodes
from salt_diskless.watch import journal
from salt_diskless.watch.store import Machine, opened

#: One that was heard of in the last so many seconds is still there.
WAITS = 120
#: After so many seconds it is told of again, as long as it is there and nothing was decided.
AGAIN = 600
#: Events at a time: the others come the next time.
MOST = 200


def look(networks: list[Network], platform: Platform) -> list[dict[str, str]]:
    """Read what the daemons logged since the last look, and return what is to be told: for each
    machine its ``mac``, ``ip``, ``serial``, ``asset`` and ``uuid``. Machines that ask and have been
    listed meanwhile are answered.

    networks
        Those of this boot server: a machine is told of that has an address of the
        ``discovery_range`` of one.
    """
    now = time.time()
    told = []
    with opened() as store:
        store.take(journal.entries(store.cursor))
        there = [one for one in store.machines(now - WAITS) if _is_discovered(one, networks)]
        listed = nodes.listed_of(platform, [one.mac for one in there])
        for machine in _due([one for one in there if one.mac not in listed], platform, now):
            store.tell(machine, now)
            told.append(
                {key: getattr(machine, key) for key in ("mac", "ip", "serial", "asset", "uuid")}
            )
    answers.give(
        platform, [one.mac for one in there if one.mac in listed and one.asked], REGISTERED
    )
    return told


def update() -> list[Machine]:
    """Read what the daemons logged since the last look, and return all that is known. Where there
    is no journal, that is what was known before."""
    with opened() as store:
        with contextlib.suppress(CommandFailed):
            store.take(journal.entries(store.cursor))
        return store.machines()


def waiting(networks: list[Network], platform: Platform) -> list[tuple[Machine, str]]:
    """Return the machines that are no nodes and were heard of just now, each with what was decided
    about it."""
    since = time.time() - WAITS
    there = [one for one in update() if one.seen > since and _is_discovered(one, networks)]
    listed = nodes.listed_of(platform, [one.mac for one in there])
    return [
        (one, answers.decision(platform, one.mac) or "pending")
        for one in there
        if one.mac not in listed
    ]


def _due(machines: list[Machine], platform: Platform, now: float) -> Iterator[Machine]:
    """Yield those of the machines that an event is due for."""
    count = 0
    for machine in machines:
        if count == MOST:
            return
        if machine.told is not None:
            is_more = machine.known != machine.told_as == "\n\n"
            if not is_more and now - machine.told < AGAIN:
                continue
        if answers.decision(platform, machine.mac) is None:
            count += 1
            yield machine


def _is_discovered(machine: Machine, networks: list[Network]) -> bool:
    return bool(machine.ip) and any(
        network.discovery_range is not None and machine.ip in network.discovery_range
        for network in networks
    )
