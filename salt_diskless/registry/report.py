"""What there is, for people: machines, and nodes folded."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.ranges import expand, fold
from salt_diskless.cluster.wording import nearest
from salt_diskless.registry import answers
from salt_diskless.registry.answers import Answer
from salt_diskless.registry.authority import Authority
from salt_diskless.registry.decide import Desk
from salt_diskless.registry.store import (
    Decision,
    Machine,
    RegisteredNode,
    Transaction,
)


def when(moment: float | None) -> str | None:
    """Return a time as it is shown: UTC, to the second."""
    if moment is None:
        return None
    time = datetime.datetime.fromtimestamp(int(moment), datetime.timezone.utc)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def machine(one: Machine) -> dict[str, Any]:
    """Return a machine without what nobody knows of it."""
    said = {key: getattr(one, key) for key in ("mac", "serial", "asset", "uuid", "ip", "server")}
    said |= {key: when(getattr(one, key)) for key in ("first_seen", "last_seen")}
    if one.state != "pending":
        said |= {"decided": when(one.decided), "rule": one.rule, "delivered": when(one.told)}
    return {key: value for key, value in said.items() if value is not None}


def _by(decision: Decision | None) -> dict[str, Any]:
    """Return who made the last decision, when, and from where; ``decision`` is what it was."""
    if decision is None:
        return {}
    return {
        "decision": decision.what,
        "by": decision.user,
        "from": decision.source,
        "decided": when(decision.made),
    }


def _decisions(
    nodes: Iterable[RegisteredNode], rejected: Iterable[Machine], made: Mapping[str, Decision]
) -> dict[str, Any]:
    """Return who made the decisions that count now: the nodes, folded, and each rejected MAC."""
    groups: dict[str, list[str]] = {}
    for node in nodes:
        decision = made.get(node.mac or node.name)
        if decision is not None:
            groups.setdefault(f"{decision.user} ({decision.source})", []).append(node.name)
    others = {one.mac: made[one.mac] for one in rejected if one.mac in made}
    said = {
        "accepted": {who: fold(names) for who, names in groups.items()},
        "rejected": {
            mac: f"{one.user} ({one.source}), {when(one.made)}" for mac, one in others.items()
        },
    }
    return {key: value for key, value in said.items() if value}


def summary(desk: Desk) -> dict[str, Any]:
    """Return all nodes, folded, and what is amiss; what is empty is left out."""
    with desk.store.read() as tx:
        nodes, orders = tx.nodes(), tx.deliveries()
        pending, rejected = tx.machines("pending"), tx.machines("rejected")
        made = tx.decisions()
    found = ((node, desk.listed.conflict(node.name, node.mac, node.ip)) for node in nodes)
    conflicts = {node.name: str(problem) for node, problem in found if problem is not None}
    own = [
        node
        for node in nodes
        if node.name not in conflicts and not desk.listed.same(node.name, node.mac)
    ]
    undelivered: dict[str, dict[str, list[str]]] = {}
    for order in orders:
        of_server = undelivered.setdefault(order.server, {})
        of_server.setdefault(order.action, []).append(order.subject)
    said = {
        "listed": fold(desk.listed.names),
        "registered": fold(node.name for node in own if node.mac is not None),
        "places": fold(node.name for node in own if node.mac is None),
        "pending": len(pending),
        "rejected": [machine.mac for machine in rejected],
        "decisions": _decisions(own, rejected, made),
        "conflicts": conflicts,
        "undelivered": {
            server: {action: ", ".join(subjects) for action, subjects in of_server.items()}
            for server, of_server in undelivered.items()
        },
    }
    return {key: value for key, value in said.items() if value}


def waiting(tx: Transaction) -> list[dict[str, Any]]:
    """Return the machines that wait; who decided about one before, such as who had it forgotten,
    stands below ``before``, and what later events said otherwise below ``contradicted``."""
    said = []
    others = tx.contradictions()
    for one in tx.machines("pending"):
        more = {"before": _by(tx.decision(one.mac)), "contradicted": others.get(one.mac)}
        said.append({**machine(one), **{key: value for key, value in more.items() if value}})
    return said


def lines(machines: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return machines that wait, each as a line: MAC to what is known of it."""
    found = {}
    for one in machines:
        words = [f"{key} {one[key]}" for key in ("serial", "asset", "ip") if key in one]
        words += [f"seen by {one['server']}"] if "server" in one else []
        words += [f"since {one['first_seen']}"] if "first_seen" in one else []
        for key, values in one.get("contradicted", {}).items():
            words.append(f"other events say {key} {' or '.join(values)}")
        if "before" in one:
            words.append("before: " + ", ".join(f"{key} {v}" for key, v in one["before"].items()))
        found[one["mac"]] = ", ".join(words)
    return found


def of(desk: Desk, names: Iterable[str], boots: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what is known of each of these nodes; below ``boot``, how far it got.

    boots
        As :func:`boots` returns it.
    """
    said: dict[str, dict[str, Any]] = {}
    reached = _reached(boots)
    with desk.store.read() as tx:
        for name in names:
            node = tx.node(name)
            if node is None or desk.listed.same(name, node.mac):
                mac = desk.listed.names.get(name.lower())
                said[name] = {"state": "listed", "mac": mac} if mac else {"state": "unknown"}
                said[name] |= reached.get(name, {})
                continue
            own = tx.machine(node.mac) if node.mac else None
            state = "a place, waits for a machine" if own is None else "registered"
            said[node.name] = {
                "state": state,
                "server": node.server,
                **(machine(own) if own else {}),
                **_by(tx.decision(node.mac or node.name)),
                **node.as_pillar(),
                **reached.get(node.name, {}),
            }
    return said


def has_unknown(desk: Desk, shown: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether nobody knows some of the nodes that :func:`of` returned.

    Raises :class:`DisklessError` when nobody knows any of them.
    """
    unknown = [name for name, one in shown.items() if one.get("state") == "unknown"]
    if unknown and len(unknown) == len(shown):
        with desk.store.read() as tx:
            names = [*desk.listed.names, *(node.name for node in tx.nodes())]
        raise DisklessError(
            f"names: found {fold(unknown)[:500]}, which neither the pillar nor the registry has; "
            f"{nearest(unknown[0], names)}"
        )
    return bool(unknown)


def _reached(boots: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return node to ``boot`` and that, out of what boot servers say of folded nodes."""
    groups = [group for said in boots.values() if isinstance(said, list) for group in said]
    return {
        name: {"boot": {key: value for key, value in group.items() if key != "nodes"}}
        for group in groups
        for name in expand(group["nodes"])
    }


def boots(
    servers: Iterable[str],
    speakers: Authority,
    said: Mapping[str, Any],
    problems: Mapping[str, str],
) -> dict[str, Any]:
    """Return what ``diskless.status`` of each boot server says of its own nodes, or the words why
    it says nothing. Below ``not believed`` is what is wrong with their answers, by server.

    said, problems
        What boot servers answered, and the words of those that could not.
    """
    found: dict[str, Any] = {}
    doubts: dict[str, str] = {}
    for server in servers:
        if server not in said:
            found[server] = problems.get(server, "no answer")[:300]
            continue
        answer = Answer(server, "diskless.status", speakers.nodes_of(server))
        found[server] = answers.boots(answer, said[server])
        if answer.problems:
            doubts[server] = "\n".join(answer.problems[:10])
    return {**found, **({"not believed": doubts} if doubts else {})}
