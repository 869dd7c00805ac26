"""Which of the machines that wait a rule of the pillar accepts. Without a rule nobody is."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from salt_diskless.cluster import Rule
from salt_diskless.registry.decide import Wish
from salt_diskless.registry.store import Machine


def wishes(
    rule: Rule, machines: Sequence[Machine], doubtful: Collection[str] = ()
) -> Iterator[Wish]:
    """Yield what a rule makes of the machines that wait, in the order of power-on.

    machines
        As :meth:`Transaction.for_rules` has them: a serial number that a node has is used up, and
        so are the next N.
    doubtful
        The MACs of machines of which events name more than one serial number.
    """
    waiting = [
        machine for machine in machines if machine.state == "pending" and _in_time(rule, machine)
    ]
    taken = [machine for machine in machines if machine.state == "accepted"]
    if rule.count is not None:
        used = sum(machine.rule == rule.name and _in_time(rule, machine) for machine in taken)
        waiting = waiting[: max(0, rule.count - used)]
    serials = Counter(machine.serial for machine in machines if machine.state != "rejected")
    for machine in waiting:
        if rule.serials and machine.mac in doubtful:
            continue
        names = _names(rule, machine, serials)
        if names:
            yield Wish(
                mac=machine.mac,
                names=names,
                places=rule.places,
                profile=rule.profile,
                rule=rule.name,
                run=rule.nodes,
            )


def _names(rule: Rule, machine: Machine, serials: Mapping[str | None, int]) -> tuple[str, ...]:
    """Return the names that a machine may get by a rule: none where it is not for this machine.

    serials
        How many machines claim each serial number.
    """
    if rule.macs:
        return _own(rule.macs, machine.mac, rule)
    if rule.prefixes:
        return rule.nodes if machine.mac.startswith(tuple(f"{p}:" for p in rule.prefixes)) else ()
    if rule.serials:
        # Two that say they are the same machine: it is for somebody to look which of them lies.
        return _own(rule.serials, machine.serial, rule) if serials[machine.serial] == 1 else ()
    return rule.nodes


def _own(listed: tuple[str, ...], what: str | None, rule: Rule) -> tuple[str, ...]:
    return (rule.nodes[listed.index(what)],) if what in listed else ()


def _in_time(rule: Rule, machine: Machine) -> bool:
    seen = datetime.datetime.fromtimestamp(machine.first_seen, datetime.timezone.utc)
    return (rule.since is None or rule.since <= seen) and (rule.until is None or seen <= rule.until)
