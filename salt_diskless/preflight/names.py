"""Whether a node has the name of this boot server itself."""

from __future__ import annotations

import os
from collections.abc import Iterator

from salt_diskless.cluster.errors import Problem
from salt_diskless.cluster.model import Site
from salt_diskless.cluster.names import alike, short
from salt_diskless.platform import Platform


def problems(site: Site, _platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each node that is called as this machine: its minion id, which the checks
    of the pillar look at, can be another name than its host name."""
    own = os.uname().nodename
    bare = short(own)
    for name in site.nodes:
        if name[: len(bare)].lower() == bare and alike(name, own):
            yield Problem(
                f"diskless:nodes:{name}",
                name,
                f"give another name, like node005: {own} is the host name of this boot server",
            )
