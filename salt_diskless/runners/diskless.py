"""
What the master does between boot servers, golden machines and nodes.

``diskless.orch.golden`` and ``diskless.orch.keys`` call ``introduce`` and ``accept_keys``; those
are of use alone where keys have changed. The others are the registry: the machines that announced
themselves, and what is decided about them (``docs/registry.md``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import salt.utils.args
import salt.utils.event
from salt.exceptions import CommandExecutionError

from salt_diskless import adapter
from salt_diskless.adapter import keys, master_ids, minions, pillars
from salt_diskless.cluster import ClusterError, DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.placeholders import is_placeholder
from salt_diskless.cluster.ranges import fold
from salt_diskless.image import keys as ssh_keys
from salt_diskless.power import waves
from salt_diskless.power.remote import Servers
from salt_diskless.registry import (
    announcement,
    answers,
    authority,
    decide,
    deliver,
    export,
    importing,
    report,
)
from salt_diskless.registry.answers import brief
from salt_diskless.registry.origin import of_call
from salt_diskless.registry.place import store_of

if TYPE_CHECKING:
    __opts__: dict[str, Any]
    __context__: dict[str, Any]
    __user__: str

log = logging.getLogger(__name__)

__virtualname__ = "diskless"

#: A machine has a few host keys of ssh, one a kind.
MOST_HOST_KEYS = 16
__func_alias__ = {"import_": "import", "export_": "export"}


@adapter.runner
def introduce(minion: str, servers: list[str], user: str = "root") -> dict[str, Any]:
    """
    Make a golden machine and its boot servers known to each other: each server's public key is let
    in there, to read by rsync only, and its host keys are pinned on each server. Nothing is taken
    on trust: what Salt carries, it carries between minions that the master has accepted.

    minion
        The golden machine's minion id.
    servers
        Minion ids of the boot servers.
    user
        Whom they log in as.

    Returns ``{minion: whether it changed, server: whether it changed}``.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.introduce node004 '["node002"]'
    """
    own = {
        server: ssh_keys.checked(key, f"{server}: the answer to diskless_image.key")
        for server, key in minions.work(__opts__, servers, "diskless_image.key").items()
    }
    (host_keys,) = minions.work(__opts__, [minion], "diskless_golden.host_keys").values()
    where = f"{minion}: the answer to diskless_golden.host_keys"
    if not isinstance(host_keys, list | tuple) or not 0 < len(host_keys) <= MOST_HOST_KEYS:
        raise DisklessError(
            f"{where}: found {brief(host_keys)}; it must be a list of 1 to {MOST_HOST_KEYS} keys"
        )
    host_keys = [ssh_keys.checked(key, where) for key in host_keys]
    let_in = minions.work(__opts__, [minion], "diskless_golden.authorize", user, own)
    pinned = minions.work(__opts__, servers, "diskless_image.pin", minion, host_keys)
    return {name: said is True for name, said in {**let_in, **pinned}.items()}


@adapter.runner
def accept_keys(servers: list[str]) -> dict[str, Any]:
    """
    Have boot servers make the keys of their nodes' minions, and accept the public ones: a node's
    minion is let in when it starts for the first time. The private ones never leave the boot
    server. A node whose key is accepted already is left alone; one whose key was rejected is, too.

    servers
        Minion ids of the boot servers.

    A boot server is believed only for nodes that the pillar or the registry has on it, as the
    master compiles them; a key for any other name is an error, and what the master has for that
    name stays as it is.

    Returns the nodes, folded: ``accepted`` now, and ``rejected`` by somebody; below ``errors`` what
    is wrong with a boot server's answer, with a ``retcode``, which is salt-run's.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.accept_keys '["node002"]'
    """
    speakers = pillars.speakers(__opts__, servers)
    own = {server: speakers.keys_of(server) for server in servers}
    with_key = {name for names in own.values() for name in names}.intersection(
        keys.accepted(__opts__)
    )
    function = "diskless_snapshot.minion_keys"
    offered, problems = minions.each(__opts__, servers, function, sorted(with_key))
    public: dict[str, str] = {}
    for server, value in offered.items():
        answer = answers.Answer(server, function, own[server])
        public |= answers.public_keys(answer, value)
        if answer.problems:
            problems[server] = "\n".join(answer.problems)
    result: dict[str, Any] = {
        what: fold(names) for what, names in keys.let_in(__opts__, public).items() if names
    }
    if problems:
        __context__["retcode"] = result["retcode"] = 1
        result["errors"] = problems
    return result


# -- the registry -------------------------------------------------------------------------------


def react(tag: str, data: Any) -> dict[str, Any]:
    """
    Take in an event, for ``diskless.reactor.register``: the machine waits for a decision from now
    on, unless a rule of the pillar accepts it. That a minion has started is noted, and nothing else
    comes of it. An event that is wrong is a line in the log.

    tag, data
        The event's, as they are.

    Returns what boot servers were told, if this was the call that did it.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.react salt-diskless/node/register '{"mac": "52:54:00:00:00:05"}'
    """
    try:
        minion = announcement.started(tag, data)
        if minion is not None:
            # Of others there could be any number.
            if minion and keys.state(__opts__, minion) == "accepted":
                with store_of(__opts__).write() as tx:
                    tx.started(minion)
            return {}
        said = announcement.of_event(tag, data)
        with store_of(__opts__).write() as tx:
            tx.announce(said)
    except DisklessError as err:
        log.warning("diskless: an event is passed over: %s", err)
        return {}
    try:
        return _burst()
    except (DisklessError, CommandExecutionError) as err:
        log.error("diskless: %s waits, and no rule was looked at: %s", said.mac, err)
        return {}


def tell() -> dict[str, Any]:
    """
    Tell boot servers what was decided and they have yet to be told, and have the rules look at
    machines that announced themselves: what is left when somebody was killed, or a boot server was
    down. The master's schedule does it each minute (``docs/registry.md``).

    Returns what they were told; nothing when nothing is left, or when somebody is at it.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.tell
    """
    try:
        return deliver.owed(
            store_of(__opts__), lambda: _desk(test=False, scheduled=True), _tell_one
        )
    except (DisklessError, CommandExecutionError) as err:
        log.error("diskless: %s", err)
        return {}


@adapter.runner
def register(
    mac: str | int,
    serial: str | None = None,
    asset: str | None = None,
    uuid: str | None = None,
    server: str | None = None,
) -> dict[str, Any]:
    """
    Announce a machine in its stead. It waits for a decision then, unless a rule of the pillar
    accepts it.

    mac, serial, asset, uuid
        What it is known by.
    server
        The minion id of the boot server that it asks.

    Returns what boot servers were told, if anything.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.register 00:21:5E:40:64:5C serial=06DXK41
    """
    for what, value in (("serial", serial), ("asset", asset), ("uuid", uuid)):
        if value is not None and is_placeholder(str(value)):
            raise DisklessError(
                f"{what}: found {shown(value)}, which makers write into many machines; leave it "
                "out, or give what is on the label of this machine"
            )
    said = announcement.read(
        {
            "mac": decide.mac_of(mac) or mac,
            "serial": None if serial is None else str(serial),
            "asset": None if asset is None else str(asset),
            "uuid": uuid,
            "server": server,
        }
    )
    with store_of(__opts__).write() as tx:
        tx.announce(said)
    return _burst()


@adapter.runner
def pending(full: bool = False) -> list[dict[str, Any]] | dict[str, str]:
    """
    Return the machines that wait for a decision, in the order of power-on: what they say of
    themselves, which boot server saw them, and when they were first and last seen (UTC).

    full
        Return each machine with all its fields; otherwise it is a line.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.pending
        salt-run diskless.pending full=True
    """
    with store_of(__opts__).read() as tx:
        machines = report.waiting(tx)
    return machines if full else report.lines(machines)


@adapter.runner
def accept(
    machines: str | int | list[str | int],
    name: str,
    ip: str | None = None,
    profile: str | None = None,
    test: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """
    Make nodes of machines. Their boot servers are told, and they boot.

    machines
        MACs or serial numbers, as a list or with commas between; or ``pending`` for all that wait,
        in the order of power-on.
    name
        A name, or a node set, of which each machine gets the next one that is free.
    ip
        An address; the first one with a ``+``, for the first of the names, and so on; a range, of
        which each gets the next one that is free. Left out, it is the next one of the network that
        is free, or that of the name's place where an import has left one.
    profile
        May be left out where the pillar has only one.
    settings
        What a node may have in the pillar beside these.
    test
        Only return what would be done.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.accept 00:21:5E:40:64:5C name=node005
        salt-run diskless.accept pending 'node[005-128]' ip=10.8.226.75+ profile=compute test=True
    """
    own = decide.checked(salt.utils.args.clean_kwargs(**settings))
    names, places = decide.names_of(name), decide.places_of(ip)
    store, desk = store_of(__opts__), _desk(test)
    with store.read() as tx:
        macs = decide.machines_of(tx, machines)
    wishes = [decide.Wish(mac, names, places, profile, own) for mac in macs]
    nodes = desk.accept(wishes, test)
    return {"accepted": {node.name: node.as_pillar() for node in nodes}, **_tell(test)}


@adapter.runner
def reject(machines: str | int | list[str | int], test: bool = False) -> dict[str, Any]:
    """
    Refuse machines: they are told so on their consoles, and no rule accepts them.

    machines
        As for ``accept``; also MACs that nobody has seen yet.
    test
        Only return what would be done.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.reject 00:21:5E:40:64:5C
    """
    desk = _desk(test, decides=False)
    return {"rejected": desk.reject(_several(machines), test), **_tell(test)}


@adapter.runner
def forget(machines: str | int | list[str | int], test: bool = False) -> dict[str, Any]:
    """
    Take machines and nodes out of the registry. A node is taken off its boot server, which keeps
    its snapshot; a machine that is still there may announce itself anew.

    machines
        As for ``accept``; also names and node sets of registered nodes.
    test
        Only return what would be done.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.forget 'node[005-006]'
    """
    desk = _desk(test, decides=False)
    return {"forgotten": desk.forget(_several(machines), test), **_tell(test)}


@adapter.runner
def replace(old: str | int, new: str | int, test: bool = False) -> dict[str, Any]:
    """
    Let a node have another MAC, because its board was swapped: it keeps its name, its address and
    its snapshot.

    old
        The node, or the MAC of the board that was there.
    new
        The MAC, or the serial number, of the board that is there now.
    test
        Only return what would be done.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.replace node005 00:21:5E:40:64:5D
    """
    node = _desk(test).replace(old, new, test)
    return {"accepted": {node.name: node.as_pillar()}, **_tell(test)}


@adapter.runner
@adapter.only_reads
def nodes(names: str | None = None, ask: bool = True) -> dict[str, Any]:
    """
    Return all nodes, folded: those that the pillar lists, those of the registry, the places that
    wait for a machine, how many machines wait for a decision, which were rejected, what contradicts
    the pillar, what boot servers have yet to be told, and how far each node got in its boot, as
    ``diskless.status`` of its boot server has it; ``minion`` where its Salt minion started since.

    names
        A node set: return what is known of each of these instead.
    ask
        False leaves out what boot servers say, which takes time where one is down.

    Where nobody knows some of the names there is a ``retcode``, which is salt-run's.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.nodes
        salt-run diskless.nodes 'node[005-008]'
    """
    desk = _desk(test=True)
    if names is not None:
        wanted = decide.names_of(names)
        answer: dict[str, Any] = report.of(desk, wanted, _boots(desk) if ask else {})
        if report.has_unknown(desk, answer):
            # Salt 3006 and 3008 take salt-run's exit code out of the answer.
            __context__["retcode"] = answer["retcode"] = 1
        return answer
    said = report.summary(desk)
    return {**said, "boots": _boots(desk)} if ask else said


@adapter.runner
def power(
    action: str | bool,
    names: str,
    wave: int = 16,
    timeout: int = 600,
    retries: int = 1,
    force: bool = False,
    pxe: bool = False,
    test: bool = False,
) -> dict[str, Any]:
    """
    Switch nodes on and off by their BMCs, which the pillar has (``bmc``), and wait until they are
    up, or off. Their boot servers ask the BMCs, with saltext.bmc (``docs/power.md``).

    action
        ``on``: one that is on already is left alone as long as it comes up in time. ``off``: all at
        once. ``cycle``: off and on again. ``status``: only ask the BMCs.
    names
        A node set.
    wave
        How many are switched on at a time; the next ones follow when each of these is up, as
        ``diskless.status`` of its boot server says, or given up. Where of a wave nobody came up,
        the others are not tried.
    timeout
        How many seconds a node has until it is up, or off, each time.
    retries
        How often one that is not up by then is cycled, and a BMC that refused is told again.
    force
        With ``off``: cut the power; otherwise the node's system is asked to end.
    pxe
        With ``on`` and ``cycle``: have the BMC choose PXE for the next boot, and only that.
    test
        Only return the waves.

    Returns the nodes, folded: ``up`` (or ``on``, ``off``, ``unknown``), ``failed``, with the words
    for them, and ``not tried``; with ``failed`` there is a ``retcode``, which is salt-run's.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.power on 'node[001-128]' wave=16
        salt-run diskless.power off node003 force=True
        salt-run diskless.power status 'node[001-128]'
    """
    cluster = _desk(test, decides=False).whole()
    order = waves.order(cluster, action, decide.names_of(names), wave, timeout, retries)
    if test:
        return {"action": order.action, "waves": [fold(some) for some in order.waves]}
    there = {cluster.nodes[name].network.server for some in order.waves for name in some}
    minions.refreshed(__opts__, sorted(there))
    boot_servers = Servers(cluster, partial(minions.call, __opts__), force=force, pxe=pxe)
    said = waves.run(order, boot_servers, _say)
    if boot_servers.doubts:
        said["not believed"] = [*boot_servers.doubts]
    if "failed" in said or boot_servers.doubts:
        # For an orchestration, and for the shell that has called salt-run.
        __context__["retcode"] = said["retcode"] = 1
    return said


def _say(said: dict[str, Any]) -> None:
    """Tell those who watch the master's events what came of a wave."""
    with salt.utils.event.get_event("master", opts=__opts__, listen=False) as bus:
        bus.fire_event(said, "salt-diskless/power")


@adapter.runner
def import_(
    files: str | list[str],
    format: str | None = None,
    profile: str | None = None,
    test: bool = True,
    only: str | list[str] | None = None,
) -> dict[str, Any]:
    """
    Take nodes from files of other systems into the registry. Nothing is changed unless
    ``test=False`` is given: what would be is returned.

    files
        Absolute paths on the master, as a list or with commas between. Several files are one list
        of nodes: one may have the addresses, like ``/etc/hosts``, another the MACs, like
        ``/etc/ethers``. A node whose MAC no file has is a place: the machine that is accepted under
        its name gets its address.
    format
        ``nodes`` (the HOWTO's: an address and a name a line), ``hosts``, ``ethers``, ``csv`` (with
        a header: name, mac, ip, profile, or other keys of a node), ``dhcpd``, ``warewulf``. Left
        out, each file's name says it.
    profile
        For nodes whose file has none; may be left out where the pillar has only one.
    only
        Which nodes: a node set, a network or a range of addresses, or lines of the first file
        (``lines 10-40``), or several of these, as a list or with commas between.

    Returns what would change, and below ``skipped`` each line that is no node, by the reason;
    below ``left out`` what of the nodes is not taken; below ``missing`` what only ``only`` names.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.import /etc/hosts,/etc/ethers profile=compute
        salt-run diskless.import /etc/hosts profile=compute only='n[01-64]'
        salt-run diskless.import /root/nodes.csv test=False
    """
    read = [importing.read(path, format) for path in _paths(files)]
    plan = importing.planned(_desk(test), read, profile, only)
    plan.make(test)
    return {**plan.said, **_tell(test)}


@adapter.runner
def export_(path: str | None = None) -> str:
    """
    Return the registry's nodes as pillar, for those who want them in git: what it says can be
    listed by hand, and then the registry's word does not count any more.

    path
        A file to write it to instead, on the master: a new one, or one that this wrote before.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.export --out=newline_values_only > nodes.sls
        salt-run diskless.export /srv/pillar/nodes.sls
    """
    with store_of(__opts__).read() as tx:
        text = export.text(node for node in tx.nodes() if node.mac is not None)
    if path is None:
        return text
    (path,) = _paths(path)
    export.write(path, text.encode())
    return path


def _several(value: Any) -> list[Any]:
    """Return what was given as a list, or with commas between, or as a node set."""
    items = value if isinstance(value, list | tuple) else decide.split(value)
    return list(items)


def _paths(value: Any) -> list[str]:
    paths = value if isinstance(value, list | tuple) else str(value).split(",")
    for path in paths:
        if not isinstance(path, str) or not os.path.isabs(path):
            raise DisklessError(f"{shown(path)}: found no absolute path; give one, of the master")
    return list(paths)


def _desk(test: bool, decides: bool = True, scheduled: bool = False) -> decide.Desk:
    """Return where decisions are made, by the master's own pillar as it is now.

    Raises :class:`DisklessError` when nodes could be accepted that no pillar would have.
    """
    if decides and not test and not pillars.has_registry(__opts__):
        raise DisklessError(
            "the master's configuration: found no diskless_nodes in ext_pillar, and the next "
            "highstate of a boot server would take its registered nodes away; add it, as "
            "docs/registry.md shows"
        )
    pillar = pillars.own(__opts__)
    if not pillar:
        raise DisklessError(
            f"the pillar of {__opts__['id']}: found no diskless; let the top file give it to the "
            "master, too"
        )
    origin = of_call(globals().get("__user__"), __opts__, scheduled)
    return decide.Desk(store_of(__opts__), pillar, origin, master_ids.of_master(__opts__))


def _burst() -> dict[str, Any]:
    return deliver.burst(store_of(__opts__), lambda: _desk(test=False), _tell_one)


def _tell(test: bool) -> dict[str, Any]:
    """Tell the boot servers what was decided, and return what came of it."""
    said = {} if test else deliver.now(store_of(__opts__), _tell_one)
    return {"servers": said} if said else {}


def _tell_one(server: str, function: str, argument: Any, number: int) -> Any:
    # What is added gets its minion's keys with that, and they are let in before it boots.
    adds = function == "diskless_node.add"
    counted = ("diskless_node.remove", "diskless_node.forget")
    of_nodes = {"number": number} if adds or function in counted else {}
    named = {**of_nodes, "keys": True} if adds else of_nodes
    try:
        answer = minions.call(__opts__, server, function, [argument], named)
    except deliver.Unreachable as err:
        raise deliver.Unreachable(
            f"{err}; the decision is kept, and sent again until it answers"
        ) from None
    if answer is None:
        return {}
    answer = dict(answers.mapping(server, function, answer))
    return {**_outdated(answer), **(_let_in(server, argument, answer) if adds else {})}


def _outdated(answer: dict[str, Any]) -> dict[str, str]:
    return {"outdated": answers.words(answer["outdated"])[:100]} if "outdated" in answer else {}


def _let_in(server: str, added: Mapping[str, Any], answer: dict[str, Any]) -> dict[str, str]:
    """Let the minions of nodes in that were added just now, with the keys that their boot server
    made for them, and return the words for what is not believed of its answer."""
    # A pillar would have to be compiled to know the golden machines; a boot server is known.
    others = {name.lower() for name in {server, *master_ids.of_master(__opts__)}}
    own = frozenset(name for name in added if name.lower() not in others)
    checked = answers.Answer(server, "diskless_node.add", own)
    done = keys.let_in(__opts__, answers.public_keys(checked, answer.get("keys", {})))
    if done["rejected"]:
        names = fold(done["rejected"])
        log.warning(
            "diskless: %s: the master has rejected these minion keys, so the minions stay out",
            names,
        )
    return {"problem": "\n".join(checked.problems)} if checked.problems else {}


def _boots(desk: decide.Desk) -> dict[str, Any]:
    """Return what ``diskless.status`` of the boot servers says of their nodes, by server, or why it
    says nothing; what is not believed of an answer stands beside it."""
    servers = sorted(desk.cluster.servers)
    with desk.store.read() as tx:
        started = tx.minions()
    try:
        speakers = authority.of_cluster(desk.whole())
    except ClusterError as err:
        return dict.fromkeys(servers, f"not asked: {err}")
    reachable = minions.refreshed(__opts__, servers)
    own = {name: at for name, at in started.items() if name in speakers.owners}
    replies = minions.each(
        __opts__, reachable, "diskless.status", named={"minions": own}, timeout=minions.ANSWER
    )
    return report.boots(servers, speakers, *replies)
