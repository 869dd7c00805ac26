"""
Give the nodes of the registry to the pillar of their boot servers, and to nobody else's.

In the master's configuration:

.. code-block:: yaml

    ext_pillar:
      - diskless_nodes: {}

They stand in ``diskless:nodes`` beside those that the pillar lists by hand, and how far the
registry has counted in ``diskless:registry:number``. A node that is listed by hand with the same
name and MAC is left out here. Where the registry contradicts the pillar, the pillar's nodes are the
ones that stand there, and every check of the pillar (``diskless.validate``, ``state.apply
diskless``) is an error that names both. The master's own pillar, which orchestrations go by, has
the nodes of all boot servers.

It works with each ``pillar_source_merging_strategy`` but ``list``, with which Salt keeps no
pillar at all, and with ``ext_pillar_first`` or another external pillar after it, where the pillar
of the minion is compiled twice: what is listed by hand is not known before. A node that is listed
by hand under the minion id of the master or of a syndic is an error of the same checks. With
``overwrite`` and ``aggregate``, where Salt does not merge below ``diskless``, it has to be the
last one of the list, and ``ext_pillar_first`` is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import salt.pillar

from salt_diskless import adapter
from salt_diskless.adapter import master_ids, pillars
from salt_diskless.cluster import DisklessError, Problem
from salt_diskless.registry.listed import listed
from salt_diskless.registry.place import store_of

if TYPE_CHECKING:
    __opts__: dict[str, Any]

__virtualname__ = "diskless_nodes"


def ext_pillar(minion_id: str, pillar: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
    """Return the nodes of one boot server, below ``diskless``; empty for every other minion."""
    # In an external pillar this is the master's own id.
    own = minion_id == __opts__["id"]
    with store_of(__opts__).read() as tx:
        nodes = [node for node in tx.nodes(None if own else minion_id) if node.mac is not None]
        number = tx.number()
    first = bool(__opts__.get("ext_pillar_first"))
    by_hand = _by_hand(minion_id) if first or _later() else (pillar.get("diskless") or {})
    if not isinstance(by_hand, Mapping):
        # The checks of the pillar say what is wrong with it.
        return {}
    servers = by_hand.get("servers")
    listed_servers = servers if isinstance(servers, Mapping) else {}
    if not nodes and not (own or minion_id in listed_servers):
        return {}
    index = listed(by_hand.get("nodes"))
    conflicts = [_text(problem) for problem in master_ids.problems(index, __opts__)]
    if not nodes and not number and not conflicts:
        return {}
    strategy = _strategy()
    _check_settings(strategy, first)
    given = {}
    for node in nodes:
        problem = index.conflict(node.name, node.mac, node.ip)
        if problem is not None:
            conflicts.append(_text(problem))
        elif not index.same(node.name, node.mac):
            given[node.name] = node.as_pillar()
    found: dict[str, Any] = {"nodes": given} if given else {}
    # A boot server that has been told of something later knows that this pillar is older.
    found["registry"] = {"number": number}
    if conflicts:
        found["registry"]["conflicts"] = conflicts
    return {"diskless": found if strategy == "recurse" else _joined(by_hand, found)}


def _text(problem: Problem) -> dict[str, str]:
    return {"path": problem.path, "found": problem.found, "right": problem.right}


def _later() -> str | None:
    """Return an external pillar after this one, which may list nodes by hand, or None."""
    names = [str(name) for entry in pillars.external(__opts__) for name in entry]
    return names[-1] if names and names[-1] != __virtualname__ else None


def _strategy() -> str:
    """Return how Salt merges what this returns: ``recurse``, ``overwrite`` or ``list``, where
    ``aggregate`` does as ``overwrite`` for what is not marked (salt.utils.dictupdate.merge)."""
    strategy = __opts__.get("pillar_source_merging_strategy") or "smart"
    renderer = str(__opts__.get("renderer") or "")
    if strategy == "smart":
        is_yamlex = renderer.rpartition("|")[2] == "yamlex" or renderer.startswith("yamlex_")
        strategy = "aggregate" if is_yamlex else "recurse"
    if strategy in ("overwrite", "aggregate"):
        return "overwrite"
    return "list" if strategy == "list" else "recurse"


def _check_settings(strategy: str, first: bool) -> None:
    """Raise :class:`DisklessError` where the master's settings would lose nodes."""
    given = __opts__.get("pillar_source_merging_strategy") or "smart"
    setting = "the master's configuration: pillar_source_merging_strategy: found"
    right = "set it to smart or recurse"
    for entry in pillars.external(__opts__):
        if __virtualname__ in entry and [*entry][-1] != __virtualname__:
            raise DisklessError(
                f"the master's configuration: ext_pillar: found {[*entry][-1]} in one list item "
                f"with {__virtualname__}, and Salt uses only the last of an item; give each "
                "its own '-'"
            )
    if strategy == "list":
        raise DisklessError(f"{setting} list, with which Salt keeps no pillar; {right}")
    if strategy == "overwrite":
        if first:
            raise DisklessError(
                f"{setting} {given} beside ext_pillar_first: True, with which the pillar's "
                f"diskless removes the registry's nodes; {right}, or set ext_pillar_first to False"
            )
        last = _later()
        if last is not None:
            raise DisklessError(
                f"{setting} {given} and ext_pillar with {last} after "
                f"{__virtualname__}, which could remove the registry's nodes; {right}, or move "
                f"{__virtualname__} to the end of ext_pillar"
            )


def _by_hand(minion_id: str) -> dict[str, Any]:
    """Return what the pillar of a minion has below ``diskless`` without the registry."""
    compiler = salt.pillar.Pillar(
        {**__opts__, "ext_pillar": pillars.without_registry(__opts__)},
        __opts__.get("grains") or {},
        minion_id,
        __opts__.get("saltenv") or "base",
        pillarenv=__opts__.get("pillarenv"),
    )
    # Errors in it are in the pillar that is being compiled as well.
    return adapter.pillar(compiler.compile_pillar())


def _joined(by_hand: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that is to stand below ``diskless`` where Salt does not merge there."""
    joined = {**by_hand}
    for key, value in found.items():
        there = by_hand.get(key) or {}
        joined[key] = {**there, **value} if isinstance(there, Mapping) else there
    return joined
