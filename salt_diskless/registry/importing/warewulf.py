"""Warewulf 4's nodes.conf: YAML, a node's addresses in its ``network devices``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.registry.importing.found import Found, mac


def nodes(text: str) -> Iterator[Found]:
    """Yield its nodes: the device that ``primary network`` names, else ``default``, else the first
    that has a MAC. Profiles are Warewulf's own and are left behind."""
    try:
        # Every scalar is a text: Warewulf writes MACs without quotes.
        read = yaml.load(text, Loader=yaml.BaseLoader)
        lines = _lines(text)
    except yaml.YAMLError as err:
        raise DisklessError(f"found no YAML: {err}") from None
    there = read.get("nodes") if isinstance(read, Mapping) else None
    if not isinstance(there, Mapping):
        raise DisklessError("found no nodes; give Warewulf's nodes.conf")
    for name, node in there.items():
        line = lines.get(name, 1)
        if not isinstance(node, Mapping):
            raise DisklessError(f"line {line}: found {shown(node)}; give a node")
        device = _device(node)
        hardware, address = device.get("hwaddr"), device.get("ipaddr")
        yield Found(
            name=str(name),
            line=line,
            mac=mac(hardware, line) if isinstance(hardware, str) and hardware else None,
            # Some versions write it with a prefix.
            ip=address.partition("/")[0] if isinstance(address, str) and address else None,
        )


def _device(node: Mapping[str, Any]) -> Mapping[str, Any]:
    devices = node.get("network devices")
    if not isinstance(devices, Mapping):
        return {}
    first = node.get("primary network") or node.get("primary") or "default"
    names = [first, *devices]
    for name in names:
        device = devices.get(name)
        if isinstance(device, Mapping) and device.get("hwaddr"):
            return device
    return next((device for device in devices.values() if isinstance(device, Mapping)), {})


def _lines(text: str) -> dict[str, int]:
    """Return the line of each node."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value == "nodes" and isinstance(value, yaml.MappingNode):
            return {name.value: name.start_mark.line + 1 for name, _ in value.value}
    return {}
