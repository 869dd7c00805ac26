"""A registry and a pillar for the tests of it."""

from __future__ import annotations

import copy
import pathlib
from typing import Any

import yaml

from salt_diskless.registry.announcement import Announcement, read
from salt_diskless.registry.decide import Desk, Wish, names_of, places_of
from salt_diskless.registry.store import RegisteredNode, Store

PILLAR = yaml.safe_load("""
servers:
  boot2: {address: 10.8.226.72, interface: eth0}
  boot1: {address: 10.9.0.1, interface: eth0}
networks:
  compute:
    server: boot2
    subnet: 10.8.226.0/24
    routers: [10.8.226.1]
    nameservers: [10.8.226.2]
    discovery_range: 10.8.226.200-10.8.226.250
  other: {server: boot1, subnet: 10.9.0.0/28}
images:
  debian: {location: /diskless/debian}
profiles:
  base: {image: debian}
  compute: {profile: base, network: compute}
  other: {profile: base, network: other}
nodes:
  node[003-004]:
    profile: compute
    ip: 10.8.226.3+
    mac: ["00:21:5E:40:64:03", "00-21-5E-40-64-04"]
""")


def mac(number: int) -> str:
    return f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"


def said(number: int, **claims: Any) -> Announcement:
    return read({"mac": mac(number), **claims})


def announce(store: Store, *numbers: int, now: float | None = None, **claims: Any) -> None:
    for number in numbers:
        with store.write() as tx:
            tx.announce(said(number, **claims), now)


def desk(store: Store, **changes: Any) -> Desk:
    return Desk(store, {**copy.deepcopy(PILLAR), **changes})


def accept(
    store: Store, number: int, name: str = "node[001-128]", ip: str | None = None, **more: Any
) -> RegisteredNode:
    profile = more.pop("profile", "compute")
    wish = Wish(mac(number), names_of(name), places_of(ip), profile, more)
    (node,) = desk(store).accept([wish])
    return node


def content(store: Store) -> list[Any]:
    """Return all that a registry has."""
    with store.read() as tx:
        return [tx.machines(), tx.nodes(), tx.deliveries()]


def of(tmp_path: pathlib.Path) -> Store:
    return Store(str(tmp_path / "registry"))
