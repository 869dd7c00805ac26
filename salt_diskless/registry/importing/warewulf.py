"""Warewulf 4's nodes.conf, of 4.2 to 4.6: YAML, a node's addresses in its ``network devices``.

The primary device is told by ``primary network`` of the node (4.3 and newer), by ``primary`` or
``default`` in the device (4.2 to 4.4), or by either in one of the node's profiles. Profiles may
have settings of a device, too (internal/pkg/node/mergo.go and internal/pkg/upgrade of Warewulf).
"""

from __future__ import annotations

import re
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
#: Texts that stand for no value: YAML's, and those by which wwctl takes a value away.
_EMPTY = ("", "null", "~", "--", "UNDEF", "UNSET")
_TOO_DEEP = "found too many nested levels; give Warewulf's nodes.conf"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads every scalar as a text, because Warewulf writes MACs without quotes."""

    yaml_implicit_resolvers = {"<": [("tag:yaml.org,2002:merge", re.compile("<<"))]}  # noqa: RUF012


def nodes(text: str) -> Iterator[Found]:
    """Yield its nodes with MAC and address of their primary device. Profiles are Warewulf's own and
    are left behind; further devices are named in the notes."""
    read, lines = _read(text)
    listing = read.get("nodes") if isinstance(read, Mapping) else None
    if not isinstance(listing, Mapping):
        raise DisklessError("found no nodes; give Warewulf's nodes.conf")
    profiles = read.get("nodeprofiles") or {}
    if not isinstance(profiles, Mapping):
        raise DisklessError(f"'nodeprofiles': found {shown(profiles)}; give a mapping")
    for name, given in listing.items():
        line = lines.get(name, 1)
        node = {} if given in _EMPTY else given
        if not isinstance(node, Mapping):
            raise DisklessError(f"line {line}: found {shown(node)}; give a node")
        try:
            yield _node(str(name), line, [node, *_profiles(node, profiles)])
        except DisklessError as err:
            words = str(err)
            raise DisklessError(
                words if words.startswith("line ") else f"line {line}: {words}"
            ) from None


def _read(text: str) -> tuple[Any, dict[str, int]]:
    """Return the content of a file, and the line of each node.

    Raises :class:`DisklessError` for a text that is no YAML, or has a key twice.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None, {}
        _check_keys(root)
        lines = {}
        for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
            if key.value == "nodes" and isinstance(value, yaml.MappingNode):
                lines = {str(name.value): name.start_mark.line + 1 for name, _ in value.value}
        return loader.construct_document(root), lines
    except yaml.MarkedYAMLError as err:
        if "nesting" in str(err.problem):
            raise DisklessError(_TOO_DEEP) from None
        line = f"line {err.problem_mark.line + 1}: " if err.problem_mark else ""
        what = f"{line}found no YAML: {err.problem}"
    except (yaml.YAMLError, ValueError, OverflowError) as err:
        # The last two are what an escape of no character makes.
        what = "found no YAML: " + " ".join(str(err).split())
    except RecursionError:
        raise DisklessError(_TOO_DEEP) from None
    raise DisklessError(f"{what}; give Warewulf's nodes.conf")


def _check_keys(root: yaml.Node) -> None:
    """Raise :class:`DisklessError` for a key that a mapping has twice: Warewulf refuses that, and
    Python's YAML takes the last one."""
    left, done = [root], set()
    while left:
        node = left.pop()
        if id(node) in done:
            continue
        done.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            left += node.value
        elif isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if isinstance(key.value, str) and first.setdefault(key.value, line) != line:
                    raise DisklessError(
                        f"line {line}: found {shown(key.value)} again, which is in line "
                        f"{first[key.value]} already; give it once"
                    )
                left.append(value)


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
    if any(_text(layer, "disabled").lower() in _TRUE for layer in layers[:1]):
        return Found(
            name, line, ip=address or None, skip="disabled in Warewulf", notes=tuple(notes)
        )
    if hardware and no_ethernet(hardware):
        why = f"the primary network device {primary} has no Ethernet address, by which a node boots"
        return Found(name, line, ip=address or None, skip=why, notes=tuple(notes))
    return Found(
        name=name,
        line=line,
        mac=mac(hardware, line) if hardware else None,
        ip=address or None,
        # A node that has just been added has no device yet.
        certain=bool(address),
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
        if given in _EMPTY:
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
    devices: dict[str, dict[str, str]] = {}
    keys = ("hwaddr", "ipaddr", "ipcidr", "type", "device")
    for layer in layers:
        for name in _mapping(layer, "network devices"):
            device = _mapping(_mapping(layer, "network devices"), name)
            settings = devices.setdefault(name, {})
            for key in keys:
                value = _text(device, key)
                if value:
                    settings.setdefault(key, value)
    return devices


def _primary(
    layers: list[Mapping[str, Any]], devices: Mapping[str, Mapping[str, str]]
) -> tuple[str, list[str]]:
    """Return the name of the primary device, and what is to be noted about the choice."""
    gone = ""
    for layer in layers:
        given = _text(layer, "primary network") or _text(layer, "primary")
        if given in devices:
            return given, []
        gone = gone or given
        flagged = _mapping(layer, "network devices")
        for key in ("primary", "default"):
            marked = [
                name for name in flagged if _text(_mapping(flagged, name), key).lower() in _TRUE
            ]
            if len(marked) > 1:
                raise DisklessError(f"{shown(key)}: found {', '.join(marked)}; give one device")
            if marked:
                return marked[0], []
    if "default" in devices:
        return "default", []
    cards = sorted(name for name in devices if _is_card(devices[name]))
    # Warewulf itself takes the first one by its name.
    chosen = next(iter(cards or sorted(devices)), "")
    why = f"the node has no device of the name of its primary network, {gone}" if gone else ""
    if len(cards) > 1:
        why = why or "no primary network is given"
        why += f": the import takes {chosen} of {', '.join(cards)}"
    return chosen, [why] if why else []


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
    return "" if value in _EMPTY else value.strip()


def _mapping(there: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a mapping, an empty one where there is none."""
    value = there.get(key) or {}
    if value in _EMPTY:
        value = {}
    if not isinstance(value, Mapping):
        raise DisklessError(f"{shown(key)}: found {shown(value)}; give a mapping")
    return value
