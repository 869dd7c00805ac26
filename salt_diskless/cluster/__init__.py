"""Pillar in, :class:`Cluster` out: typed, frozen, expanded, and every check made.

Pure: no Salt, no disk, no subprocess.
"""

from salt_diskless.cluster.build import parse
from salt_diskless.cluster.errors import ClusterError, DisklessError, Problem
from salt_diskless.cluster.model import (
    Bootstrap,
    Cluster,
    Entry,
    Image,
    Network,
    Node,
    Rule,
    Server,
    Settings,
    Site,
    Source,
    Swap,
    Timeout,
)

__all__ = [
    "Bootstrap",
    "Cluster",
    "ClusterError",
    "DisklessError",
    "Entry",
    "Image",
    "Network",
    "Node",
    "Problem",
    "Rule",
    "Server",
    "Settings",
    "Site",
    "Source",
    "Swap",
    "Timeout",
    "parse",
]
