"""The nodes of a boot server one by one: served, and served no more, in constant time; how far they
are, and their power."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import salt.version

from salt_diskless import adapter, preflight
from salt_diskless.cluster import DisklessError, schema
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.names import given
from salt_diskless.cluster.ranges import filled, fold, fold_addresses, folded, natural
from salt_diskless.cluster.wording import nearest
from salt_diskless.power import bmcs
from salt_diskless.services import nodes as served
from salt_diskless.watch import discovery
from salt_diskless.watch import progress as boots

if TYPE_CHECKING:
    __pillar__: dict[str, Any]
    __opts__: dict[str, Any]
    __grains__: dict[str, Any]
    __salt__: dict[str, Any]

__virtualname__ = "diskless_node"
__func_alias__ = {"list_": "list"}


@adapter.reading
def list_(names: list[str] | str | None = None, full: bool = False) -> dict[str, Any]:
    """
    Return the nodes that this boot server serves, whether the pillar lists them or they were added
    since, folded: below ``boots`` image and version to the nodes, and their ``addresses``.

    names
        A node set, or a list of names: return MAC, address, image and version of each of these.
    full
        Return them of every node.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_node.list
        salt-call diskless_node.list 'node[003-004]'
    """
    nodes = served.served_nodes(adapter.platform(__grains__, __pillar__))
    if names is not None:
        try:
            wanted = given(names)
        except ValueError as err:
            raise DisklessError(f"names: found {shown(names)}; {err}") from err
        unknown = [name for name in wanted if name not in nodes]
        if unknown:
            raise DisklessError(
                f"names: found {fold(unknown)[:500]}, which this boot server does not serve; "
                f"{nearest(unknown[0], nodes)}"
            )
        return {name: nodes[name] for name in wanted}
    if full:
        return {name: nodes[name] for name in sorted(nodes, key=natural)}
    booted = (
        (f"{one['image']} {one['version']}" if one["image"] else "nothing", name)
        for name, one in nodes.items()
    )
    addresses = fold_addresses([str(one["ip"]) for one in nodes.values()])
    return filled({"boots": folded(booted), "addresses": addresses})


@adapter.reading
def show(name: str) -> dict[str, str | None]:
    """
    Return what this boot server serves a node: its MAC and address, image and version, and below
    ``file`` what its loader reads.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_node.show node003
    """
    return served.show(name, adapter.platform(__grains__, __pillar__))


@adapter.execution
def add(nodes: Any, keys: bool = False, number: int | None = None) -> dict[str, Any]:
    """
    Serve nodes beside those that are served already: write their loaders' files, snapshots,
    exports and DHCP hosts, and have exportfs and the running dhcpd take them, without a restart.
    ``state.apply diskless`` finds nothing to do after that, when its pillar has them, too; when it
    has not, it takes them away again.

    One of them that waits at its console boots by itself. A node that is served already by its
    name and address may have a new MAC: its board was changed, and dhcpd, which goes on serving the
    old one too, is restarted by the next ``state.apply diskless``.

    nodes
        Name to settings, as below ``diskless:nodes`` in the pillar.
    keys
        Make the keys of their Salt minions, too, as ``diskless_snapshot.minion_keys`` does: the
        master's registry asks for it, and lets them in.
    number
        How far the registry has counted, when it tells: a run that goes by an older pillar serves
        these nodes, too.

    Returns the changes, nodes folded; below ``outdated`` the service that is to be restarted all
    the same, where dhcpd cannot be told while it runs; below ``keys`` the public keys, by node.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_node.add '{node129: {mac: "52:54:00:00:00:81", ip: 10.8.226.140,
            profile: compute}}'
    """
    if not isinstance(nodes, Mapping) or not nodes:
        raise DisklessError(f"nodes: found {shown(nodes)}; give a mapping, name to settings")
    cluster, names = adapter.cluster_of(__pillar__, nodes), adapter.platform(__grains__, __pillar__)
    preflight.require(cluster.served_by(__opts__["id"]), names)
    return served.add(
        cluster,
        __opts__["id"],
        names,
        adapter.make_pair if keys else None,
        None if number is None else (_number(number), nodes),
    )


@adapter.execution
def remove(names: list[str] | str, number: int | None = None) -> dict[str, Any]:
    """
    Serve nodes no more: take their loaders' files, exports and DHCP hosts away. Their snapshots
    stay. What the pillar still lists comes back with the next ``state.apply diskless``. A name that
    this server has never served is an error, and then none is removed.

    names
        A node set, or a list of names.
    number
        How far the registry has counted, when it tells: a run that goes by an older pillar does not
        serve these nodes, either.

    Returns the changes, nodes folded; below ``outdated`` the service that the next
    ``state.apply diskless`` restarts, since dhcpd has some of them from its configuration.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_node.remove 'node[129-130]'
    """
    try:
        wanted = given(names)
    except ValueError as err:
        raise DisklessError(f"names: found {shown(names)}; {err}") from err
    told_by = None if number is None else (_number(number), dict.fromkeys(wanted))
    images = adapter.cluster_of(__pillar__, {}).images.values()

    def was_served(name: str) -> bool:
        # A snapshot stays when its node goes. The registry may say everything twice.
        return number is not None or any(
            schema.is_host_name(name) and os.path.isdir(f"{image.location}/snapshot/{name}")
            for image in images
        )

    platform = adapter.platform(__grains__, __pillar__)
    return served.remove(wanted, platform, told_by, was_served)


@adapter.reading
def progress(names: list[str] | str) -> dict[str, dict[str, Any]]:
    """
    Return how far nodes got in their last boot: name to ``stage`` and ``version``, as
    ``diskless.status`` has them, and ``since``, by this server's clock, in seconds since 1970
    (None: it is ``unseen``).

    names
        A node set, or a list of names.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_node.progress 'node[003-004]'
    """
    site = adapter.site(__pillar__, __opts__)
    nodes = bmcs.nodes_of(site, names, bmc=False)
    found = boots.reached(site, {})
    return {node.name: dataclasses.asdict(found[node.name]) for node in nodes}


@adapter.execution
def power(
    action: str | bool, names: list[str] | str, force: bool = False, pxe: bool = False
) -> dict[str, Any]:
    """
    Tell the BMCs of nodes something, by the functions of Salt's extension saltext.bmc (Redfish or
    IPMI), which has to be installed and whose own pillar has their user and password. Nothing is
    waited for: that is what the runner ``diskless.power`` does.

    action
        ``on``, ``off``, ``cycle`` (off and on again; one that is off is switched on) or ``status``.
    names
        A node set, or a list of names, of nodes of this boot server.
    force
        With ``off``: cut the power; otherwise the node's system is asked to end.
    pxe
        With ``on`` and ``cycle``: have the BMC choose PXE for the next boot, and only that.

    Returns the nodes, folded, by what their BMCs say: ``told``, or ``on``, ``off`` or ``unknown``,
    which is how they are, and were before; ``failed``, name to why nothing came of it; and ``at``,
    when the first one was asked, by this server's clock, in seconds since 1970.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_node.power status 'node[003-004]'
        salt-call diskless_node.power off node003 force=True
    """
    action = bmcs.action_of(action)
    site = adapter.site(__pillar__, __opts__)
    nodes = bmcs.nodes_of(site, names)
    bmcs.require(__salt__, salt.version.__version__)
    at = time.time()
    settings = __pillar__.get("saltext.bmc") or {}
    answers = bmcs.ask(nodes, action, __salt__, settings, force, pxe)
    words: dict[str, list[str]] = {}
    for name, said in answers.items():
        if not said.problem:
            words.setdefault(said.value, []).append(name)
    failed = {name: said.problem for name, said in answers.items() if said.problem}
    return {
        **{word: fold(some) for word, some in words.items()},
        **({"failed": failed} if failed else {}),
        "at": at,
    }


@adapter.reading
def waiting(full: bool = False) -> dict[str, Any]:
    """
    Return the machines that are no nodes and wait to be registered: MAC to address, serial number,
    asset tag, UUID (nothing where that is not known), and whether that is ``pending`` or
    ``rejected``, in a line.

    full
        Return the fields of each machine instead.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_node.waiting
    """
    networks = adapter.cluster_of(__pillar__, {}).served_by(__opts__["id"]).networks
    found = discovery.waiting([*networks.values()], adapter.platform(__grains__, __pillar__))
    machines = {
        one.mac: {
            "ip": one.ip,
            "serial": one.serial,
            "asset": one.asset,
            "uuid": one.uuid,
            "decision": decision,
        }
        for one, decision in found
    }
    return machines if full else {mac: _line(one) for mac, one in machines.items()}


def _line(machine: Mapping[str, str]) -> str:
    """Return what is known of a machine as a line."""
    known = [f"{key} {value}" for key, value in machine.items() if value and key != "decision"]
    return ", ".join([machine["decision"], *known])


@adapter.execution
def reject(macs: list[str] | str) -> dict[str, Any]:
    """
    Have machines that wait at their console be told that they are rejected.

    macs
        MACs of machines that are no nodes.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_node.reject 52:54:00:99:99:01
    """
    rejected = served.reject(_macs(macs), adapter.platform(__grains__, __pillar__))
    return {"rejected": rejected} if rejected else {}


@adapter.execution
def forget(macs: list[str] | str, number: int | None = None) -> dict[str, Any]:
    """
    Forget what was decided about machines, and that they were seen: they are told nothing any more,
    and the next time that one asks, it is new.

    macs
        MACs of machines.
    number
        How far the registry has counted, when it tells: then a machine that is not known is no
        error.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_node.forget 52:54:00:99:99:01
    """
    required = number is None or not _number(number)
    forgotten = served.forget(_macs(macs), adapter.platform(__grains__, __pillar__), required)
    return {"forgotten": forgotten} if forgotten else {}


def _number(given: object) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise DisklessError(f"number: found {shown(given)}; give what the registry has counted")
    return given


def _macs(given: list[str] | str) -> list[str]:
    return served.macs([given] if isinstance(given, str) else given)
