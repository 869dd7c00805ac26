"""The running dhcpd, changed without a restart: OMAPI, by the program that comes with dhcpd,
omshell(1).

dhcpd keeps what it is told so in its lease file, and has it again after a restart. So a host that
is made here has a name of its own, that no configuration has: what dhcpd keeps of it then never
gets into the way of the node's host there (one whose removal it keeps would be removed again at
each start).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from salt_diskless import tree
from salt_diskless.boot.dhcpd import OMAPI_KEY, OMAPI_PORT
from salt_diskless.cluster import DisklessError
from salt_diskless.command import run

_T = TypeVar("_T")
_MAC = re.compile(r"^hardware-address = ([0-9a-f:]{17})$", re.MULTILINE)
_SECRET = re.compile(r'^  secret "([A-Za-z0-9+/=]+)";$', re.MULTILINE)
#: A host of ours in dhcpd's lease file; what comes later about it is what holds.
_KEPT = re.compile(
    rb"^host (?P<node>[A-Za-z0-9.-]+)_(?P<hex>[0-9a-f]{12}) \{\n(?:  dynamic;\n)?"
    rb"(?:  (?P<deleted>deleted);|  hardware ethernet \S+;\n  fixed-address (?P<ip>[0-9.]+);)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Host:
    """A host in the running dhcpd; ``node`` is the node's name, ``nis`` its NIS domain where that
    is not its network's."""

    node: str
    mac: str
    ip: str
    nis: str | None = None

    @property
    def name(self) -> str:
        """What dhcpd calls it; no node's name has a ``_``."""
        return f"{self.node}_{self.mac.replace(':', '')}"


class Unreachable(DisklessError):
    """No dhcpd runs that takes the key."""


def make(hosts: Sequence[Host], key_file: str) -> None:
    """Have the running dhcpd serve these hosts too; one that is there already is made anew.

    Raises :class:`Unreachable`, or :class:`DisklessError` with what dhcpd refuses.
    """
    there = [host for host, said in _each(hosts, _make, key_file) if "already exists" in said]
    remove(there, key_file)
    for host, said in (*_each(there, _make, key_file), *_each(hosts, _check, key_file)):
        if "can't" in said:
            raise DisklessError(f"dhcpd does not take the host {host.name}: {said.strip()}")


def remove(hosts: Iterable[Host], key_file: str) -> None:
    """Have the running dhcpd forget hosts that :func:`make` made, if it knows them.

    Raises :class:`Unreachable`.
    """
    _each(hosts, _remove, key_file)


def known(names: Iterable[str], key_file: str) -> dict[str, str]:
    """Return the hosts of these names that the running dhcpd has, each with its MAC: what it has
    read from its configuration.

    Raises :class:`Unreachable`.
    """
    answers = _each(names, _look_up, key_file)
    return {name: match[1] for name, said in answers if (match := _MAC.search(said))}


def kept(lease_file: bytes) -> list[Host]:
    """Return the hosts that :func:`make` made, as dhcpd has them in its lease file."""
    found: dict[bytes, Host] = {}
    for match in _KEPT.finditer(lease_file):
        name = match["node"] + match["hex"]
        found.pop(name, None)
        if not match["deleted"]:
            hex_digits = match["hex"].decode()
            mac = ":".join(hex_digits[at : at + 2] for at in range(0, 12, 2))
            found[name] = Host(match["node"].decode(), mac, match["ip"].decode())
    return list(found.values())


def _make(host: Host) -> list[str]:
    options = {"host-name": host.node, **({"nis-domain": host.nis} if host.nis else {})}
    statements = " ".join(f'option {name} \\"{value}\\";' for name, value in options.items())
    return [
        "new host",
        f'set name = "{host.name}"',
        f"set hardware-address = {host.mac}",
        "set hardware-type = 1",
        f"set ip-address = {host.ip}",
        f'set statements = "{statements}"',
        "create",
        "close",
    ]


def _check(host: Host) -> list[str]:
    return _look_up(host.name)


def _remove(host: Host) -> list[str]:
    return [*_look_up(host.name)[:-1], "remove", "close"]


def _look_up(name: str) -> list[str]:
    return ["new host", f'set name = "{name}"', "open", "close"]


def _each(
    things: Iterable[_T], commands: Callable[[_T], list[str]], key_file: str
) -> list[tuple[_T, str]]:
    """Have dhcpd do something about each thing, and return what was said about it."""
    things = list(things)
    if not things:
        return []
    match = _SECRET.search((tree.read(key_file) or b"").decode(errors="replace"))
    if match is None:
        raise Unreachable(f"{key_file}: found no key; salt-call state.apply diskless makes it")
    connect = ["server 127.0.0.1", f"port {OMAPI_PORT}", "key-algorithm hmac-sha256"]
    connect += [f"key {OMAPI_KEY} {match[1]}", "connect"]
    blocks = [connect, *(commands(thing) for thing in things)]
    script = "".join(f"{line}\n" for block in blocks for line in block)
    # It answers each line, and then it asks for the next one with "> ".
    said = run(["omshell"], input=script, timeout=60 + len(things)).stdout.split("> ")[1:]
    if "obj: <null>" not in "".join(said[: len(connect)]):
        why = " ".join("".join(said[: len(connect)]).split())
        raise Unreachable(f"dhcpd cannot be changed while it runs (OMAPI): {why}")
    answers, at = [], len(connect)
    for thing, block in zip(things, blocks[1:], strict=True):
        answers.append((thing, "".join(said[at : at + len(block)])))
        at += len(block)
    return answers
