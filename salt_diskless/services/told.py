"""What the master's registry told this boot server lately, node by node: it may be newer than a
pillar that a run still goes by.

The registry counts what it tells; the count stands in each pillar that it has added to
(``diskless:registry:number``), and comes with each call. What was told later than a pillar was
compiled goes over that pillar's nodes. After a day nobody goes by such a pillar any more, and what
was told is forgotten: a registry that was put back from a backup counts from there.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from salt_diskless import tree
from salt_diskless.cluster import DisklessError
from salt_diskless.registry.listed import listed

PATH = f"{tree.STATE}/told.json"
#: A file that is there while the pillar has something of the registry.
REGISTRY = f"{tree.STATE}/registry"
#: For how long it counts, in seconds.
DAY = 86400

#: A node's settings as below ``diskless:nodes``, or None for one that is served no more; by name.
News = Mapping[str, Mapping[str, Any] | None]


def note(number: int, news: News) -> None:
    """Note what the registry tells; who calls has the lock of ``services.nodes``.

    number
        How far the registry has counted.
    """
    entries = {name: {"number": number, "at": time.time(), "node": news[name]} for name in news}
    _write({**_read(), **entries})


def drop(names: Iterable[str]) -> None:
    """Forget what was told of nodes: somebody has decided by hand, or the pillar is to."""
    there = _read()
    left = {name: entry for name, entry in there.items() if name not in {*names}}
    if left != there:
        _write(left)


def had_registry() -> bool:
    """Return True if the pillar that was applied last had something of the registry."""
    return os.path.exists(REGISTRY)


def note_registry(is_there: bool) -> None:
    """Record whether the pillar that was applied has something of the registry."""
    if is_there and not had_registry():
        text = tree.header("the pillar that was applied has a number of the registry").encode()
        files: dict[str, tree.Content] = {REGISTRY: text}
        tree.apply(tree.compare(files), files)
    elif not is_there:
        tree.clean([REGISTRY], test=False)


def since(number: int) -> News:
    """Return what was told later than the registry had counted up to ``number``."""
    found = _read()
    return {name: found[name]["node"] for name in found if found[name]["number"] > number}


def over(nodes: Any, news: News) -> Any:
    """Return a pillar's nodes with what was told over them, except where it lists them by hand.

    nodes
        None where the pillar has none.
    """
    if not news or not isinstance(nodes, Mapping | None):
        return nodes
    left = {name: node for name, node in (nodes or {}).items() if name not in news}
    by_hand = listed(left).names
    new = {name: node for name, node in news.items() if node and name.lower() not in by_hand}
    return {**left, **new}


def _read() -> dict[str, dict[str, Any]]:
    data = tree.read(PATH)
    if data is None:
        return {}
    now = time.time()
    try:
        return {
            name: {key: entry[key] for key in ("number", "at", "node")}
            for name, entry in json.loads(data).items()
            if abs(now - entry["at"]) < DAY
        }
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise DisklessError(
            f"{PATH}: found something that is not what was written there; remove it, and run "
            "salt-call state.apply diskless"
        ) from err


def _write(entries: Mapping[str, Mapping[str, Any]]) -> None:
    tree.replace(PATH, json.dumps(entries).encode(), 0o600)
