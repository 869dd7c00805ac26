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
    except (yaml.YAMLError, ValueError, OverflowError) as err:
        # The last two are what an escape of no character makes.
        raise DisklessError(f"found no YAML: {err}") from None
    except RecursionError:
        raise DisklessError(
            "found too much within each other; give Warewulf's nodes.conf"
        ) from None
    there = read.get("nodes") if isinstance(read, Mapping) else None
    if not isinstance(there, Mapping):
        raise DisklessError("found no nodes; give Warewulf's nodes.conf")
    for name, node in there.items():
        line = lines.get(name, 1)
        if not isinstance(node, Mapping):
            raise DisklessError(f"line {line}: found {shown(node)}; give a node")
        try:
            device = _device(node)
            hardware, address = _text(device, "hwaddr"), _text(device, "ipaddr")
        except DisklessError as err:
            raise DisklessError(f"line {line}: {err}") from None
        yield Found(
            name=str(name),
            line=line,
            mac=mac(hardware, line) if hardware else None,
            # Some versions write it with a prefix.
            ip=address.partition("/")[0] or None,
        )


def _device(node: Mapping[str, Any]) -> Mapping[str, Any]:
    devices = _mapping(node, "network devices")
    first = _text(node, "primary network") or _text(node, "primary") or "default"
    for name in (first, *devices):
        device = _mapping(devices, name)
        if _text(device, "hwaddr"):
            return device
    return next(filter(None, (_mapping(devices, name) for name in devices)), {})


def _text(there: Mapping[str, Any], key: str) -> str:
    """Return a text, an empty one where there is none."""
    value = there.get(key, "")
    if not isinstance(value, str):
        raise DisklessError(f"{shown(key)}: found {shown(value)}; give a text")
    return value


def _mapping(there: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a mapping, an empty one where there is none."""
    value = there.get(key) or {}
    if not isinstance(value, Mapping):
        raise DisklessError(f"{shown(key)}: found {shown(value)}; give a mapping")
    return value


def _lines(text: str) -> dict[str, int]:
    """Return the line of each node."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value == "nodes" and isinstance(value, yaml.MappingNode):
            return {name.value: name.start_mark.line + 1 for name, _ in value.value}
    return {}
