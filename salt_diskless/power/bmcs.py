"""What a boot server does with its nodes' BMCs, by functions of Salt's extension saltext.bmc."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from salt_diskless.cluster import DisklessError, Node, Site
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.names import given
from salt_diskless.cluster.ranges import fold
from salt_diskless.cluster.wording import nearest
from salt_diskless.power import apart
from salt_diskless.registry.answers import words

ACTIONS = ("on", "off", "cycle", "status")
#: What a BMC is told where its machine is not yet what it is to be.
TOLD = "told"
#: What a BMC may say of its machine.
STATES = ("on", "off", "unknown")
#: IPMI's port: saltext.bmc 0.0.1 asks port 0 where its pillar has none.
_PORT = 623
#: So many characters of a BMC's answer are kept.
_LONGEST = 200
_NEEDED = "bmc.power_status"


def require(functions: Mapping[str, Any], salt_version: str) -> None:
    """Raise :class:`DisklessError` where saltext.bmc is missing."""
    if _NEEDED not in functions:
        raise DisklessError(
            f"saltext.bmc: found no such extension of Salt on this boot server, which has Salt "
            f"{salt_version}; with Salt 3008 or newer, install it where Salt's Python is: "
            "salt-pip install 'saltext.bmc[ipmi]'"
        )


def nodes_of(site: Site, names: Sequence[str] | str, bmc: bool = True) -> list[Node]:
    """Return nodes of a boot server.

    names
        A node set, or a list of names.
    bmc
        Whether they have to have a BMC.

    Raises :class:`DisklessError` when one of them is not served by it, or has none.
    """
    try:
        wanted = given(names)
    except ValueError as err:
        raise DisklessError(f"names: found {shown(names)}; {err}") from None
    unknown = [str(name) for name in wanted if name not in site.nodes]
    if unknown or not wanted:
        raise DisklessError(
            f"names: found {fold(unknown)[:500] or 'nothing'}; give nodes of this boot server "
            f"({site.server.name}); {nearest(unknown[0] if unknown else '', site.nodes)}"
        )
    nodes = [site.nodes[name] for name in wanted]
    without = [node.name for node in nodes if node.bmc is None]
    if bmc and without:
        raise DisklessError(missing(without))
    return nodes


def missing(names: Sequence[str]) -> str:
    """Return what is said of nodes without a BMC."""
    return f"diskless:nodes:{fold(names)}:bmc: found nothing; give the address of its BMC"


def action_of(given: object) -> str:
    """Return the action that somebody typed: on Salt's command line, YAML makes True of ``on``, and
    False of ``off``.

    Raises :class:`DisklessError` when it is none.
    """
    action = ("off", "on")[given] if isinstance(given, bool) else given
    if action not in ACTIONS:
        raise DisklessError(f"action: found {shown(given)}; {nearest(str(given), ACTIONS)}")
    return str(action)


def ask(
    nodes: Sequence[Node],
    action: str,
    functions: Mapping[str, Callable[..., Any]],
    settings: Mapping[str, Any],
    force: bool = False,
    pxe: bool = False,
) -> dict[str, apart.Said]:
    """Ask the BMCs of nodes for something, many at once, and return what came of each, by node:
    ``on`` or ``off``, as it is (and so it stays), or ``told``, where it is to change.

    functions
        Salt's, by name.
    settings
        What stands in the pillar below ``saltext.bmc``.
    force
        With ``off``: cut the power, and do not ask the system to end.
    pxe
        With ``on`` and ``cycle``: have the next boot, and only that, be by PXE.
    """
    by_name = {node.name: node for node in nodes}
    with contextlib.suppress(ImportError):
        # Once, and not in each process: saltext.bmc imports it when it is needed.
        importlib.import_module("pyghmi.ipmi.command")

    def say(function: str, names: Iterable[str], **more: Any) -> dict[str, apart.Said]:
        # Each call in a process of its own: a second one for the same BMC hangs in pyghmi.
        calls = {
            name: _call(functions[f"bmc.{function}"], by_name[name], settings, more)
            for name in names
        }
        return apart.each(calls)

    states = said = {name: _state(one) for name, one in say("power_status", by_name).items()}
    todo = [name for name, one in said.items() if not one.problem and one.value != action]
    if action == "status":
        todo = []
    if pxe and action in ("on", "cycle"):
        said = said | say("set_boot_device", todo, device="pxe")
        todo = [name for name in todo if not said[name].problem]
    if action == "off":
        told = say("power_off", todo, force=force)
    else:
        runs = [name for name in todo if action == "cycle" and states[name].value != "off"]
        told = say("power_on", [name for name in todo if name not in runs])
        told |= say("power_cycle", runs)
        # Of Redfish's ways to start again many BMCs know only the other one.
        again = say("power_reset", [name for name in runs if told[name].problem], force=True)
        told |= {name: one for name, one in again.items() if not one.problem}
    for name, one in told.items():
        said[name] = one if one.problem else apart.Said(TOLD)
    return {name: _addressed(one, str(by_name[name].bmc)) for name, one in said.items()}


def _call(
    function: Callable[..., Any], node: Node, settings: Mapping[str, Any], more: Mapping[str, Any]
) -> Callable[[], str]:
    profiles = settings.get("profiles") or {}
    # saltext.bmc's profile of that name; without one, what it has for all.
    profile = node.name if node.name in profiles else None
    port = (profiles[node.name] if profile else settings).get("port") or _PORT

    def call() -> str:
        try:
            return str(function(profile, host=str(node.bmc), port=port, **more))[:_LONGEST]
        finally:
            _log_out()

    return call


def _state(said: apart.Said) -> apart.Said:
    """Return what a BMC says of its machine's power; another word is a problem."""
    if said.problem or said.value in STATES:
        return said
    return apart.Said(problem=f"found the power state {shown(said.value)}; {' or '.join(STATES)}")


def _addressed(said: apart.Said, address: str) -> apart.Said:
    # pyghmi's reason why it reaches nobody is None.
    problem = words(said.problem.removesuffix(": None"))
    if problem and address not in problem:
        problem = f"{address}: {problem}"
    return dataclasses.replace(said, problem=problem)


def _log_out() -> None:
    """End IPMI's session: a BMC has a few at a time, and saltext.bmc leaves them to time out."""
    module = sys.modules.get("pyghmi.ipmi.private.session")
    if module is not None:
        module.Session._cleanup()
