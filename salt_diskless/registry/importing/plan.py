"""What an import would change, and the change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from salt_diskless.cluster import DisklessError, schema
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.ranges import fold
from salt_diskless.registry.decide import Desk, address_of, checked
from salt_diskless.registry.importing.found import Found
from salt_diskless.registry.store import RegisteredNode


@dataclass(frozen=True, slots=True)
class Plan:
    """``said`` is the difference, for people; ``nodes`` are those that are new or other."""

    desk: Desk
    nodes: tuple[RegisteredNode, ...]
    said: dict[str, Any]

    def make(self, test: bool) -> None:
        """Change the registry; with ``test`` only find out whether that can be done."""
        if self.nodes:
            self.desk.bring(self.nodes, test)


def plan(desk: Desk, found: Iterable[Found], profile: str | None) -> Plan:
    """Return what an import of these nodes would change.

    Raises :class:`DisklessError` that names every line that is wrong.
    """
    wrong: list[str] = []
    wanted: list[RegisteredNode] = []
    for one in found:
        try:
            wanted.append(_node(desk, one, profile))
        except DisklessError as err:
            wrong.append(f"line {one.line}: {err}")
    if wrong:
        more = f"\n  and {len(wrong) - 50} more" if len(wrong) > 50 else ""
        raise DisklessError("nothing was changed:\n  " + "\n  ".join(wrong[:50]) + more)
    with desk.store.read() as tx:
        there = {node.name.lower(): node for node in tx.nodes()}
    same, listed = [], []
    added: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    for node in wanted:
        old = there.get(node.name.lower())
        if desk.listed.same(node.name, node.mac):
            listed.append(node.name)
        elif old is None:
            added[node.name] = node.as_pillar()
        elif old.as_pillar() == node.as_pillar() or (
            # The file does not have the MAC of a machine that has taken the place.
            node.mac is None and {**node.as_pillar(), "mac": old.mac} == old.as_pillar()
        ):
            same.append(node.name)
        else:
            changed[node.name] = {"old": old.as_pillar(), "new": node.as_pillar()}
    said = {
        "added": added,
        "changed": changed,
        "unchanged": fold(same),
        "listed": fold(listed),
        "places": fold(node.name for node in wanted if node.mac is None and node.name in added),
    }
    new = tuple(node for node in wanted if node.name in added or node.name in changed)
    return Plan(desk, new, {key: value for key, value in said.items() if value})


def _node(desk: Desk, one: Found, profile: str | None) -> RegisteredNode:
    if not schema.is_host_name(one.name):
        raise DisklessError(f"found {shown(one.name)}; give a host name")
    if one.ip is None:
        raise DisklessError(f"{one.name}: found no address; give the file that has it as well")
    ip = address_of(one.ip, "ip")
    mine = one.profile or profile or desk.only_profile()
    settings = checked(one.settings)
    if "bmc" in settings:
        settings["bmc"] = address_of(settings["bmc"], "bmc")
    return RegisteredNode(one.name, one.mac, ip, mine, settings)
