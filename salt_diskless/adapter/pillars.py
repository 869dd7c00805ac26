"""Pillars that the master compiles, and what it knows by them of who serves which nodes.

``opts`` is the master's configuration everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import salt.loader
import salt.pillar
import salt.utils.minions

from salt_diskless import adapter
from salt_diskless.adapter import master_ids
from salt_diskless.cluster import DisklessError, parse
from salt_diskless.registry import authority
from salt_diskless.registry.authority import Authority
from salt_diskless.registry.decide import Desk
from salt_diskless.registry.place import store_of

#: The external pillar that brings the registry's nodes.
REGISTRY = "diskless_nodes"


def external(opts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the external pillars of a master's configuration. An entry that is no mapping is left
    out: Salt itself says that it is wrong."""
    entries = opts.get("ext_pillar")
    given = entries if isinstance(entries, list) else []
    return [entry for entry in given if isinstance(entry, Mapping) and entry]


def without_registry(opts: Mapping[str, Any]) -> list[Any]:
    """Return the external pillars of a master's configuration but for the registry's."""
    return [entry for entry in external(opts) if REGISTRY not in entry]


def has_registry(opts: Mapping[str, Any]) -> bool:
    """Return True if the registry's nodes get into pillars: of several external pillars in one
    entry, Salt takes only what the last one returns."""
    return any([*entry][-1] == REGISTRY for entry in external(opts))


def own(opts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands below ``diskless`` in the master's own pillar, without the registry's
    nodes; empty where the master has none.

    Raises :class:`DisklessError` when it cannot be compiled.
    """
    grains = opts.get("grains") or salt.loader.grains(dict(opts))
    return _compiled({**opts, "ext_pillar": without_registry(opts)}, grains, opts["id"])


def of_minion(opts: Mapping[str, Any], minion: str) -> dict[str, Any]:
    """Return what stands below ``diskless`` in the pillar of a minion, as the master compiles it.

    Raises :class:`DisklessError` when it cannot be compiled.
    """
    _, grains, _ = salt.utils.minions.get_minion_data(minion, dict(opts))
    # The other grains are the minion's own word.
    return _compiled(opts, {**(grains or {}), "id": minion}, minion)


def _compiled(opts: Mapping[str, Any], grains: Any, minion: str) -> dict[str, Any]:
    found = salt.pillar.Pillar(dict(opts), grains, minion, "base").compile_pillar()
    if found.get("_errors"):
        raise DisklessError(f"the pillar of {minion}: {found['_errors']}")
    return adapter.pillar(found)


def speakers(opts: Mapping[str, Any], servers: Sequence[str]) -> Authority:
    """Return for which nodes each of these boot servers may speak: by the master's own pillar and
    registry, and by the boot servers' pillars.

    Raises :class:`DisklessError` when one of the pillars is wrong.
    """
    master = master_ids.of_master(opts)
    mine = own(opts)
    trusted = Authority({}, frozenset(name.lower() for name in master))
    if mine:
        desk = Desk(store_of(opts), mine, masters=master)
        trusted = authority.of_cluster(desk.whole(), *master)
    compiled = []
    for server in servers:
        pillar = of_minion(opts, server)
        if server in (pillar.get("servers") or ()):
            compiled.append((server, authority.of_cluster(parse(pillar))))
    return authority.merged(trusted, compiled)
