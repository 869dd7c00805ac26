"""What an import would change, and the change."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ClusterShell.RangeSet import RangeSet

from salt_diskless.cluster import DisklessError, names
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.ranges import fold
from salt_diskless.cluster.wording import nearest
from salt_diskless.registry.decide import Desk, address_of, checked
from salt_diskless.registry.importing.found import Found
from salt_diskless.registry.importing.only import Only
from salt_diskless.registry.importing.triage import Triage
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


def plan(
    desk: Desk, entries: Iterable[Found], profile: str | None, only: Only | None = None
) -> Plan:
    """Return what an import of these nodes would change.

    Raises :class:`DisklessError` that names every line that is wrong.
    """
    with desk.store.read() as tx:
        registered = {node.name.lower(): node for node in tx.nodes()}
    _check_profile(desk, profile)
    every = list(entries)
    only = (only or Only()).by_first_names(every)
    missing = only.check(every)
    triage = Triage(desk, registered, profile, only)
    coming, others = triage.sorted(every)
    wrong = list(triage.wrong)
    same, by_hand, places = [], [], []
    new: list[RegisteredNode] = []
    added: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    for entry in coming:
        old = registered.get(entry.name.lower())
        try:
            node = _node(desk, entry, old, profile)
        except DisklessError as err:
            wrong.append(f"{entry.where}: {err}")
            continue
        if entry.name in triage.doubts:
            about = ", ".join(part for part in (node.mac, node.ip) if part)
            wrong.append(
                f"{entry.where}: found {entry.name} ({about}): {triage.doubts[entry.name]}; give "
                "what is right, or choose other nodes with only="
            )
        if desk.listed.same(entry.name, entry.mac):
            by_hand.append(node.name)
        elif old is None:
            new.append(node)
            added[node.name] = node.as_pillar()
            if node.mac is None:
                places.append(node.name)
        elif old.as_pillar() == node.as_pillar():
            same.append(node.name)
        else:
            new.append(node)
            changed[node.name] = _difference(old, node)
    if wrong:
        more = f"\n  and {len(wrong) - 50} more" if len(wrong) > 50 else ""
        raise DisklessError("nothing was changed:\n  " + "\n  ".join(wrong[:50]) + more)
    said = {
        "added": added,
        "changed": changed,
        "unchanged": fold(same),
        "listed": fold(by_hand),
        "places": fold(places),
        "missing": fold(missing),
        "skipped": _by_reason((entry.skip, entry) for entry in others),
        "left out": _by_reason((note, entry) for entry in coming for note in entry.notes),
    }
    return Plan(desk, tuple(new), {key: value for key, value in said.items() if value})


def _by_reason(lines: Iterable[tuple[str, Found]]) -> dict[str, str]:
    """Return reasons to the names of the lines that have them, folded, with the lines."""
    grouped: dict[str, list[Found]] = {}
    for reason, entry in lines:
        grouped.setdefault(reason, []).append(entry)
    return {reason: _folded(some) for reason, some in grouped.items()}


def _folded(some: Iterable[Found]) -> str:
    names: dict[str, None] = {}
    files: dict[str, set[int]] = {}
    for entry in some:
        if entry.name:
            names.setdefault(entry.name)
        files.setdefault(entry.file, set()).add(entry.line)
    where = "; ".join(_lines(file, numbers) for file, numbers in files.items())
    return f"{fold(names)} ({where})".lstrip()


#: Line numbers that take more characters than that are counted only.
_LONGEST = 100


def _lines(file: str, numbers: set[int]) -> str:
    noun = "line" if len(numbers) == 1 else "lines"
    folded = str(RangeSet.fromlist([str(number) for number in sorted(numbers)]))
    if len(folded) > _LONGEST:
        folded = f"{min(numbers)} to {max(numbers)}, {len(numbers)} of them"
    return f"{os.path.basename(file)} {noun} {folded}".lstrip()


def _node(
    desk: Desk, entry: Found, old: RegisteredNode | None, profile: str | None
) -> RegisteredNode:
    """Return the node that a line makes: what that does not say stays as the registry has it."""
    right = names.problem(entry.name)
    if right is not None:
        raise DisklessError(f"found {shown(entry.name)}; {right}")
    address = entry.ip or (old.ip if old else None)
    if address is None:
        raise DisklessError(f"{entry.name}: found no address; give the file that has it, too")
    ip = address_of(address, "ip")
    settings = checked(entry.settings)
    if "bmc" in settings:
        settings["bmc"] = address_of(settings["bmc"], "bmc")
    mine = entry.profile or profile
    _check_profile(desk, mine)
    if old is None:
        return RegisteredNode(entry.name, entry.mac, ip, mine or desk.only_profile(), settings)
    settings = {**old.settings, **settings}
    return RegisteredNode(entry.name, entry.mac or old.mac, ip, mine or old.profile, settings)


def _check_profile(desk: Desk, name: str | None) -> None:
    """Raise :class:`DisklessError` for a profile that the pillar does not have."""
    profiles = desk.pillar.get("profiles") or {}
    if name is not None and name not in profiles:
        raise DisklessError(f"profile: found {shown(name)}; {nearest(name, profiles)}")


def _difference(old: RegisteredNode, new: RegisteredNode) -> dict[str, dict[str, Any]]:
    """Return what is other in two nodes, as it was and as it would be."""
    before, after = ({"name": node.name, **node.as_pillar()} for node in (old, new))
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return {
        "old": {key: before[key] for key in keys if key in before},
        "new": {key: after[key] for key in keys if key in after},
    }
