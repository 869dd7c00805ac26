"""How far each node of a boot server got in its last boot, and when."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from salt_diskless.cluster import Site
from salt_diskless.cluster.ranges import fold
from salt_diskless.image.running import booted, stages
from salt_diskless.image.versions import published
from salt_diskless.watch.discovery import update
from salt_diskless.watch.store import Machine

#: So many seconds without the next step, and a node is stuck.
STUCK = 300
#: A system that is up asks for an address itself, this long after its root was there.
_SETTLES = 600


@dataclass(frozen=True, slots=True)
class Reached:
    """A node's last step.

    stage
        ``unseen``; ``dhcp``, ``loader`` or ``kernel`` as the server's daemons gave it those;
        ``root``, it mounts; ``up``, its root was handed over to its init; ``minion``, and its Salt
        minion has started since.
    version
        What it boots, where that is known.
    since
        In seconds since 1970; None for ``unseen``.
    """

    stage: str
    version: str = ""
    since: float | None = None


def reached(site: Site, minions: Mapping[str, float]) -> dict[str, Reached]:
    """Return the last step of each node of a boot server.

    minions
        When the nodes' Salt minions have started last, by the master's clock in seconds since 1970.
    """
    machines = {machine.mac: machine for machine in update()}
    found = {}
    for image in site.images.values():
        roots = {
            node: (version, since / 1e9)
            for version, nodes in booted(image).items()
            for node, since in nodes.items()
        }
        # What it said before it noted its version, it said in another boot.
        said = {
            node: text
            for text, nodes in stages(image).items()
            for node, at in nodes.items()
            if node in roots and at / 1e9 >= roots[node][1]
        }
        for node in site.nodes_of(image):
            machine = machines.get(node.mac)
            found[node.name] = _reached(
                machine, roots.get(node.name), said.get(node.name, ""), minions.get(node.name)
            )
    return found


def _reached(
    machine: Machine | None,
    root: tuple[str, float] | None,
    said: str,
    minion: float | None = None,
) -> Reached:
    steps = []
    if root is not None:
        is_up = said.startswith(f"version {root[0]} handed over")
        steps.append(Reached("up" if is_up else "root", *root))
    if machine is not None:
        if machine.kernel is not None:
            steps.append(Reached("kernel", machine.version, machine.kernel))
        if machine.loader is not None:
            steps.append(Reached("loader", "", machine.loader))
        if machine.dhcp is not None and not _is_its_own(machine, root):
            steps.append(Reached("dhcp", "", machine.dhcp))
    last = max(steps, key=lambda step: step.since or 0, default=Reached("unseen"))
    if last.stage == "up" and minion is not None and minion > (last.since or 0):
        return Reached("minion", last.version, minion)
    return last


def _is_its_own(machine: Machine, root: tuple[str, float] | None) -> bool:
    """Tell whether it was the system itself that asked for an address last, and no new boot."""
    if root is None or machine.dhcp is None:
        return False
    return (machine.loader or 0) <= root[1] and machine.dhcp < root[1] + _SETTLES


def folded(site: Site, found: Mapping[str, Reached]) -> list[dict[str, object]]:
    """Return the steps with the nodes that share them folded: ``nodes``, ``stage``, ``version``,
    and the times between which they came to it (``since``); ``stale`` where that is not the version
    that a boot of now takes, and ``stuck`` where the next step does not come."""
    now = time.time()
    current = {image.name: published(image) for image in site.images.values()}
    groups: dict[tuple[str, str, bool, bool], list[str]] = {}
    for name, step in found.items():
        node = site.nodes[name]
        wanted = node.settings.version or getattr(current[node.image.name], "name", "")
        stale = step.stage in ("root", "up", "minion") and step.version != wanted
        stuck = step.stage not in ("unseen", "up", "minion") and now - (step.since or 0) > STUCK
        groups.setdefault((step.stage, step.version, stale, stuck), []).append(name)
    return [
        {
            "nodes": fold(names),
            "stage": stage,
            **({"version": version} if version else {}),
            **_since(found[name].since for name in names),
            **({"stale": True} if stale else {}),
            **({"stuck": True} if stuck else {}),
        }
        for (stage, version, stale, stuck), names in sorted(groups.items())
    ]


def _since(times: Iterable[float | None]) -> dict[str, list[str]]:
    known = [at for at in times if at is not None]
    return {"since": [_shown(min(known)), _shown(max(known))]} if known else {}


def _shown(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
