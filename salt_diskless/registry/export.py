"""The registry's nodes as pillar, for those who want them in git: what is written, a pillar
reads."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from salt_diskless import tree
from salt_diskless.cluster import DisklessError
from salt_diskless.disk import REMEDIES, write_all
from salt_diskless.registry.store import RegisteredNode
from salt_diskless.tree import header

_NUMBERED = re.compile(r"(.*?)([0-9]+)([^0-9]*)")


class _Mac(str):
    """A text that is quoted, so that no YAML makes a number of it."""


class _Dumper(yaml.SafeDumper):
    """Writes what :mod:`yaml`'s safe loader reads."""


_Dumper.add_representer(
    _Mac, lambda dumper, mac: dumper.represent_scalar("tag:yaml.org,2002:str", mac, style='"')
)


def pillar(nodes: Iterable[RegisteredNode]) -> dict[str, Any]:
    """Return what would stand in ``diskless:nodes``: nodes whose names, addresses and settings go
    on are one node set."""
    runs = sorted(_runs(nodes), key=lambda run: _address(run[0]))
    return {_key(run): _settings(run) for run in runs}


def write(path: str, content: bytes) -> None:
    """Make a file what it is to be, in one rename; remove what a killed export left beside it.

    Raises :class:`DisklessError` for a file that the project did not write, and when it cannot be
    written.
    """
    new = path + tree.UNFINISHED
    try:
        directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):  # A file system without locks.
                fcntl.flock(directory, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
            if tree.compare({path: content}):
                _replace(path, new, content)
        finally:
            os.close(directory)
    except OSError as err:
        remedy = REMEDIES.get(err.errno or 0, "give a path that the master may write")
        raise DisklessError(
            f"{path}: cannot be written: {err.strerror}; it is as it was ({remedy} and run the "
            "command again)"
        ) from err


def _replace(path: str, new: str, content: bytes) -> None:
    """Write ``new`` with the mode and the owner of ``path``, and rename it over ``path``."""
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with contextlib.suppress(FileNotFoundError):
            before = os.lstat(path)
            os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
        write_all(descriptor, content)
        os.fsync(descriptor)
        os.rename(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
    finally:
        os.close(descriptor)


def text(nodes: Iterable[RegisteredNode]) -> str:
    """Return an SLS of the pillar."""
    return header("the registry's nodes") + yaml.dump(
        {"diskless": {"nodes": pillar(nodes)}}, Dumper=_Dumper, sort_keys=False, width=100
    )


def _runs(nodes: Iterable[RegisteredNode]) -> Iterator[list[RegisteredNode]]:
    run: list[RegisteredNode] = []
    for node in sorted(nodes, key=_order):
        if run and not _follows(run[-1], node):
            yield run
            run = []
        run.append(node)
    if run:
        yield run


def _order(node: RegisteredNode) -> Any:
    return (node.profile or "", json.dumps(_shared(node), sort_keys=True), _address(node))


def _shared(node: RegisteredNode) -> dict[str, Any]:
    """Return the settings that a node set has once: of BMCs each node has its own, or none has."""
    return {**node.settings, **({"bmc": True} if "bmc" in node.settings else {})}


def _address(node: RegisteredNode) -> int:
    first, second, third, fourth = map(int, node.ip.split("."))
    return first << 24 | second << 16 | third << 8 | fourth


def _follows(one: RegisteredNode, other: RegisteredNode) -> bool:
    if (one.profile, _shared(one), _address(one) + 1) != (
        *(other.profile, _shared(other)),
        _address(other),
    ):
        return False
    here, there = _NUMBERED.fullmatch(one.name), _NUMBERED.fullmatch(other.name)
    if here is None or there is None:
        return False
    (before, digits, after), (also_before, next_digits, also_after) = here.groups(), there.groups()
    return (
        (before, after, len(digits)) == (also_before, also_after, len(next_digits))
        and int(digits) + 1 == int(next_digits)
        # What has another number before this one is a node set of two dimensions to ClusterShell.
        and not any(character.isdigit() for character in before)
    )


def _key(run: list[RegisteredNode]) -> str:
    first, last = _NUMBERED.fullmatch(run[0].name), _NUMBERED.fullmatch(run[-1].name)
    if len(run) == 1 or first is None or last is None:
        return run[0].name
    return f"{first[1]}[{first[2]}-{last[2]}]{first[3]}"


def _settings(run: list[RegisteredNode]) -> dict[str, Any]:
    first = run[0]
    macs = [_Mac(node.mac) for node in run if node.mac]
    own: dict[str, Any] = {} if first.profile is None else {"profile": first.profile}
    own["ip"] = first.ip if len(run) == 1 else f"{first.ip}+"
    own["mac"] = macs[0] if len(run) == 1 else macs
    settings = dict(first.settings)
    if len(run) > 1 and "bmc" in settings:
        settings["bmc"] = [node.settings["bmc"] for node in run]
    return {**own, **settings}
