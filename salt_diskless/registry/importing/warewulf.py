"""Warewulf 4's nodes.conf, of 4.2 to 4.6: YAML, a node's addresses in its ``network devices``.

The primary device is told by ``primary network`` of the node (4.3 and newer), by ``primary`` or
``default`` in the device (4.2 to 4.4), or by either in one of the node's profiles. Profiles may
have settings of a device, too (internal/pkg/node/mergo.go and internal/pkg/upgrade of Warewulf).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.registry.importing.found import Found, mac, no_ethernet

#: As strconv.ParseBool of Go has it, and YAML.
_TRUE = frozenset({"1", "t", "true", "y", "yes", "on"})
#: More profiles in profiles than that are a mistake.
_DEEPEST = 1000


def nodes(text: str) -> Iterator[Found]:
    """Yield its nodes with MAC and address of their primary device. Profiles are Warewulf's own and
    are left behind; further devices are named in the notes."""
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
    profiles = read.get("nodeprofiles") or {}
    if not isinstance(profiles, Mapping):
        raise DisklessError(f"'nodeprofiles': found {shown(profiles)}; give a mapping")
    for name, given in there.items():
        line = lines.get(name, 1)
        node = {} if given in ("", "null", "~") else given
        if not isinstance(node, Mapping):
            raise DisklessError(f"line {line}: found {shown(node)}; give a node")
        try:
            yield _node(str(name), line, [node, *_profiles(node, profiles)])
        except DisklessError as err:
            words = str(err)
            raise DisklessError(
                words if words.startswith("line ") else f"line {line}: {words}"
            ) from None


def _node(name: str, line: int, layers: list[Mapping[str, Any]]) -> Found:
    """Return a node that these layers make, of which the first counts most."""
    devices = _devices(layers)
    primary, notes = _primary(layers, devices)
    device = devices.get(primary, {})
    others = sorted(other for other in devices if other != primary)
    notes += [f"network device {other}" for other in others]
    if any("ipaddr" in _mapping(layer, "ipmi") or layer.get("ipmi ipaddr") for layer in layers[:1]):
        notes.append("ipmi; give bmc in a table")
    hardware = device.get("hwaddr", "")
    # Some versions write it with a prefix.
    address = (device.get("ipaddr") or device.get("ipcidr", "")).partition("/")[0]
    if hardware and no_ethernet(hardware):
        why = f"the primary network device {primary} has no Ethernet address; a node boots by that"
        return Found(name, line, ip=address or None, skip=why, notes=tuple(notes))
    return Found(
        name=name,
        line=line,
        mac=mac(hardware, line) if hardware else None,
        ip=address or None,
        notes=tuple(notes),
    )


def _profiles(node: Mapping[str, Any], profiles: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the profiles of a node, the one that counts most first: in Warewulf a later one goes
    over those before it, and a profile over those that it names itself."""
    names: list[str] = []
    seen: set[str] = set()
    # Up to 4.4 each node without profiles had this one.
    _expand(node.get("profiles", ["default"]), profiles, seen, names, 0)
    left_out = {name[1:] for name in names if name.startswith("~")}
    return [
        _mapping(profiles, name)
        for name in reversed(names)
        if name in profiles and name not in left_out
    ]


def _expand(
    given: Any, profiles: Mapping[str, Any], seen: set[str], names: list[str], depth: int
) -> None:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        if given in ("", "null", "~"):
            return
        raise DisklessError(f"'profiles': found {shown(given)}; give a list of names")
    for name in given:
        if name in seen or depth > _DEEPEST:
            continue
        seen.add(name)
        if name in profiles:
            _expand(_mapping(profiles, name).get("profiles", []), profiles, seen, names, depth + 1)
        names.append(name)


def _devices(layers: list[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the devices of a node, in its order, with what its profiles say of them."""
    found: dict[str, dict[str, str]] = {}
    keys = ("hwaddr", "ipaddr", "ipcidr", "type", "device")
    for layer in layers:
        for name in _mapping(layer, "network devices"):
            device = _mapping(_mapping(layer, "network devices"), name)
            there = found.setdefault(name, {})
            for key in keys:
                value = _text(device, key)
                if value:
                    there.setdefault(key, value)
    return found


def _primary(
    layers: list[Mapping[str, Any]], devices: Mapping[str, Mapping[str, str]]
) -> tuple[str, list[str]]:
    """Return the name of the primary device, and what is to be noted about the choice."""
    for layer in layers:
        given = _text(layer, "primary network") or _text(layer, "primary")
        flagged = _mapping(layer, "network devices")
        marked = [
            name
            for key in ("primary", "default")
            for name in flagged
            if _text(_mapping(flagged, name), key).lower() in _TRUE
        ]
        for name in (given, *marked):
            if name in devices:
                return name, []
    if "default" in devices:
        return "default", []
    cards = sorted(name for name in devices if _is_card(devices[name]))
    # Warewulf itself takes the first one by its name.
    chosen = next(iter(cards or sorted(devices)), "")
    if len(cards) > 1:
        return chosen, [f"no primary network is given: {chosen} of {', '.join(cards)} is taken"]
    return chosen, []


def _is_card(device: Mapping[str, str]) -> bool:
    """Return whether a node can boot from a device."""
    hardware = device.get("hwaddr", "")
    kind = device.get("type", "").lower()
    return bool(hardware) and not no_ethernet(hardware) and kind in ("", "ethernet")


def _text(there: Mapping[str, Any], key: str) -> str:
    """Return a text, an empty one where there is none."""
    value = there.get(key, "")
    if not isinstance(value, str):
        raise DisklessError(f"{shown(key)}: found {shown(value)}; give a text")
    return "" if value in ("null", "~", "--") else value.strip()


def _mapping(there: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a mapping, an empty one where there is none."""
    value = there.get(key) or {}
    if value in ("null", "~"):
        value = {}
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
