"""Where a master keeps its registry."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.registry.store import Store

#: In the master's configuration: an absolute path, on a disk of its own machine.
OPTION = "diskless_registry"


def store_of(opts: Mapping[str, Any]) -> Store:
    """Return the registry of a master: where its configuration says, or beside the keys that it has
    accepted, which are as dear as the registry."""
    path = opts.get(OPTION) or os.path.join(opts["pki_dir"], "diskless")
    if not isinstance(path, str) or not os.path.isabs(path):
        raise DisklessError(f"{OPTION}: found {shown(path)}; give an absolute path")
    return Store(path)
