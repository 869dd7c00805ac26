"""One node more or less on a boot server that serves others already: in a time that does not depend
on how many those are, and without a restart. What is written is what ``state.apply diskless`` would
write, which finds nothing to do when its pillar has the node too.

What is served already is looked up in dhcpd's configuration: it has name, MAC and address of every
node.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from netaddr import IPAddress
from pydantic import TypeAdapter, ValidationError

from salt_diskless import swapfiles, tree, unfinished
from salt_diskless.boot import dhcpd as hosts
from salt_diskless.boot import exports, pxelinux
from salt_diskless.cluster import (
    Cluster,
    ClusterError,
    DisklessError,
    Image,
    Node,
    Problem,
    Site,
    schema,
)
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.ranges import fold
from salt_diskless.cluster.wording import nearest
from salt_diskless.command import CommandFailed
from salt_diskless.image.needs import needs_of
from salt_diskless.image.serving import unserved
from salt_diskless.image.versions import require_published
from salt_diskless.platform import Platform
from salt_diskless.services import answers, dhcpd, nfs, omapi, restarts, runs, tftp, told
from salt_diskless.snapshot import manage, minions

_MACS = TypeAdapter(list[schema.Mac])
log = logging.getLogger(__name__)

#: More than the configuration of most clusters has, in bytes.
_ABOUT = 1 << 21


@dataclass(slots=True)
class _Served:
    """dhcpd's configuration and the exports, as they are to be; ``there`` is both files as they
    are."""

    there: dict[str, bytes]
    config: bytes
    exports: exports.Edited
    #: Nodes that the running dhcpd has from its configuration, with another MAC or not any more.
    outdated: list[str] = field(default_factory=list)
    #: What exportfs says about the exports of others.
    warnings: list[str] = field(default_factory=list)


def add(
    cluster: Cluster,
    minion_id: str,
    platform: Platform,
    make_keys: Callable[[], tuple[bytes, bytes]] | None = None,
    told_by: tuple[int, told.News] | None = None,
) -> dict[str, object]:
    """Serve nodes too, and return the changes with nodes folded; below ``outdated`` is the service
    that has to be restarted all the same.

    What a node needs comes in that order, so that who is killed leaves nothing that names what is
    not there: snapshot and keys, export, the loader's file, DHCP host, and the answer to a machine
    that waits. The next call does what is left.

    cluster
        Checked, and with no other nodes than these. One that is served already by its name and
        address may have another MAC: its board was changed.
    make_keys
        As :func:`minions.pairs` takes it: makes the keys of their minions. Below ``keys`` are the
        public ones then.
    told_by
        What the master's registry tells of them, as :func:`told.note` takes it; None: somebody adds
        them by hand, and the next pillar decides.

    Raises :class:`ClusterError` where a name, MAC or address is another node's, and
    :class:`DisklessError` where this server does not serve others like them yet. Then nothing was
    changed.
    """
    site = cluster.served_by(minion_id)
    _check_served_here(cluster, minion_id)
    _check_kernels(site)
    nodes = list(site.nodes.values())
    pairs: dict[str, minions.Pair] = {}
    if make_keys is not None:
        with alone():
            _check(nodes, site, platform)
        # The others need not wait for that.
        pairs = minions.pairs(site, make_keys, new=True)
    with alone():
        served, known = _check(nodes, site, platform)
        loaders = tftp.node_files(site, platform)
        _note(site.nodes, told_by)
        manage.managed(site, some=True)
        keys = None if make_keys is None else minions.keys(site, pairs)
        swapfiles.add(site)
        leaving = swapfiles.leaving(site)
        for node in nodes:
            _put(served, node, [*cluster.images.values()], leaving)
        served.exports.new |= {*served.exports.of(nodes, leaving)}
        files: dict[str, tree.Content] = {
            platform.exports_file: served.exports.text,
            **loaders,
            platform.dhcp_config: served.config,
        }
        difference = tree.compare(files, there=served.there)
        changes = _apply(difference, files, nodes, served, platform)
        if keys is not None:
            changes["keys"] = keys
        if served.warnings:
            changes["warnings"] = served.warnings
        answers.give(platform, {node.mac for node in nodes}, pxelinux.REGISTERED)
    written = {*difference.added, *difference.changed}
    changed = {node.name for node in nodes if _file(platform, str(node.ip)) in written}
    changed |= {*served.outdated}
    for what, names in (
        ("added", {node.name for node in nodes} - known),
        ("changed", changed & known),
    ):
        if names:
            changes[what] = {"nodes": fold(names)}
    return changes


def remove(
    names: Iterable[str],
    platform: Platform,
    told_by: tuple[int, told.News] | None = None,
    was_served: Callable[[str], bool] = lambda name: True,
) -> dict[str, object]:
    """Serve these nodes no more, and return the changes with nodes folded; below ``outdated`` is
    the service that has to be restarted. Snapshots stay.

    The DHCP host in the file goes last, so that who is killed leaves a node that the next call
    finds.

    told_by
        As for :func:`add`.
    was_served
        Return True for a node that is not served any more: to remove it again is no error.

    Raises :class:`DisklessError` when this server has never served one of them.
    """
    names = list(names)
    with alone():
        served = _read(platform)
        _check_names(names, served, was_served)
        _note(names, told_by)
        gone: dict[str, hosts.Host | None] = {}
        paths, half_gone = [], False
        for name in names:
            found = hosts.served(served.config, name=name)
            host = found if found is not None and found.name == name else None
            exported = served.exports.take(name)
            if host is None and not exported:
                continue
            gone[name] = host
            if host is None:
                # Who was to add it was killed before the end.
                paths += _files_of(name, served, platform)
                continue
            half_gone |= not exported
            paths += [_file(platform, host.ip), answers.path(platform, host.mac)]
            served.config = hosts.without(served.config, host)
        if not gone:
            return _finish_killed(platform)
        there = [host for host in gone.values() if host is not None]
        read = _take_away(there, paths, served, platform, half_gone)
    service = platform.dhcp_service
    changes: dict[str, object] = {"removed": {"nodes": fold(gone)}}
    changes |= {"outdated": service} if read else {}
    return changes | ({"warnings": served.warnings} if served.warnings else {})


def _check_names(names: Iterable[str], served: _Served, was_served: Callable[[str], bool]) -> None:
    """Raise :class:`DisklessError` for names that are none of this server's nodes'."""
    unknown = []
    for name in names:
        host = hosts.served(served.config, name=name)
        if (host is None or host.name != name) and not (
            served.exports.has(name) or was_served(name)
        ):
            unknown.append(name)
    if unknown:
        close = nearest(unknown[0], hosts.hosts(served.config))
        raise DisklessError(
            f"names: found {fold(unknown)[:500]}, which this boot server does not serve; {close}"
        )


def _files_of(name: str, served: _Served, platform: Platform) -> list[str]:
    """Return the loader's files for the address that a node's snapshot was exported to, unless
    another node has it."""
    return [
        _file(platform, export.client)
        for export in served.exports.gone
        if export.path.endswith(f"/snapshot/{name}")
        and hosts.served(served.config, ip=export.client) is None
    ]


def _take_away(
    gone: Sequence[hosts.Host],
    paths: Sequence[str],
    served: _Served,
    platform: Platform,
    half_gone: bool,
) -> bool:
    """Remove the loaders' files, the exports and the DHCP hosts of nodes, and tell whether dhcpd
    needs a restart for that.

    half_gone
        Whether some have no exports any more: somebody was killed, and what exportfs's table has of
        them nobody knows.
    """
    read, names = False, {host.name for host in gone}

    def live(path: str) -> None:
        nonlocal read
        if path != platform.exports_file:
            return
        if half_gone:
            served.warnings += nfs.reread(platform)
        else:
            served.warnings += nfs.extend(served.exports.gone, served.exports.new, platform)
        read = _forget(gone, platform)

    files: dict[str, tree.Content] = {
        platform.exports_file: served.exports.text,
        platform.dhcp_config: served.config,
    }
    difference = tree.compare(files, paths, there=served.there)
    service = platform.dhcp_service
    with restarts.changing(service, {host.name: (host.mac, host.ip) for host in gone}) as before:
        if platform.exports_file not in difference.changed:
            live(platform.exports_file)
        tree.apply(
            difference,
            files,
            own_below=tftp.directory(platform),
            live=live,
            removes_first=True,
        )
    left = {name: host for name, host in (before.hosts or {}).items() if name not in names}
    if read or before.hosts is None or not _has_told(left, platform):
        restarts.mark(service)
    else:
        restarts.clear(service)
    return read


@contextlib.contextmanager
def alone(test: bool = False) -> Iterator[None]:
    """Wait for the others that add or remove nodes, or make all of them what a pillar says; in test
    mode, for nobody."""
    if test:
        yield
        return
    os.makedirs(tree.RUNTIME, mode=0o755, exist_ok=True)
    with open(f"{tree.RUNTIME}/nodes.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unfinished.sweep()
        yield


def served_nodes(platform: Platform) -> dict[str, dict[str, str | None]]:
    """Return the nodes that are served: name to MAC, address, and the image and version that their
    files name."""
    files = tftp.listed(platform)
    found: dict[str, dict[str, str | None]] = {}
    for name, (mac, ip) in hosts.hosts(tree.read(platform.dhcp_config, _ABOUT) or b"").items():
        file = files.get(os.path.basename(_file(platform, ip)), {})
        found[name] = {"mac": mac, "ip": ip}
        found[name] |= {key: file.get(key) for key in ("image", "version")}
    return found


def show(name: str, platform: Platform) -> dict[str, str | None]:
    """Return what a node is served. Raises :class:`DisklessError` for one that is not served."""
    config = tree.read(platform.dhcp_config, _ABOUT) or b""
    host = hosts.served(config, name=name)
    if host is None:
        raise DisklessError(
            f"{platform.dhcp_config}: found no node {shown(name)} that is served; "
            f"{nearest(name, hosts.hosts(config))}"
        )
    file = tree.read(_file(platform, host.ip))
    return {
        "mac": host.mac,
        "ip": host.ip,
        "file": None if file is None else file.decode(errors="replace"),
    }


def reject(macs: Iterable[str], platform: Platform) -> list[str]:
    """Have machines be told that they are rejected; return those that were not told so before.

    Raises :class:`DisklessError` for one that is a node.
    """
    macs = list(macs)
    with alone():
        for mac, name in listed_of(platform, macs).items():
            raise DisklessError(f"{mac}: found the node {name}; remove it first")
        return answers.give(platform, macs, pxelinux.REJECTED)


def forget(macs: Iterable[str], platform: Platform, required: bool = False) -> list[str]:
    """Have machines be told nothing any more, and forget that they were seen; return those of which
    anything was known.

    required
        Raise :class:`DisklessError` for machines of which nothing was ever known.
    """
    # Few calls need it, and all would load it.
    from salt_diskless.watch import store

    macs = list(macs)
    with alone(), store.opened() as known:
        found = sorted({*answers.withdraw(platform, macs), *known.forget(macs)})
        unknown = [mac for mac in macs if mac not in found and not known.was_forgotten(mac)]
        known.note_forgotten(found, time.time())
    if required and unknown:
        done = f"; forgotten: {', '.join(found)}" if found else ""
        raise DisklessError(
            f"macs: found {', '.join(unknown[:20])}, which this boot server has never seen; give "
            f"MACs that diskless_node.waiting shows{done}"
        )
    return found


def macs(given: Iterable[object]) -> list[str]:
    """Return MACs in the project's form. Raises :class:`DisklessError` with those that are none."""
    try:
        return _MACS.validate_python(list(given))
    except ValidationError as err:
        wrong = [Problem("macs", shown(one["input"]), one["ctx"]["error"]) for one in err.errors()]
        raise DisklessError("\n".join(map(str, wrong))) from err


def listed_of(platform: Platform, macs: Iterable[str]) -> dict[str, str]:
    """Return those of these MACs that are nodes which are served, with their names."""
    config = tree.read(platform.dhcp_config, _ABOUT) or b""
    return {mac: host.name for mac in macs if (host := hosts.served(config, mac=mac)) is not None}


def _note(names: Iterable[str], told_by: tuple[int, told.News] | None) -> None:
    if told_by is None:
        runs.note_call()
        told.drop(names)
    else:
        told.note(*told_by)


def _check(nodes: Sequence[Node], site: Site, platform: Platform) -> tuple[_Served, set[str]]:
    """Return what is served, and the names of those of the nodes that are already; raise as
    :func:`add` does."""
    served = _read(platform)
    _check_head(served, site, platform)
    return served, _check_free(nodes, served)


def _read(platform: Platform) -> _Served:
    config = tree.read(platform.dhcp_config, _ABOUT)
    exported = tree.read(platform.exports_file, _ABOUT)
    for path, there in ((platform.dhcp_config, config), (platform.exports_file, exported)):
        if there is None or not tree.is_marked(there):
            raise DisklessError(
                f"{path}: found {'nothing' if there is None else 'a file of somebody else'}; run "
                "salt-call state.apply diskless, which makes this minion a boot server"
            )
    assert config is not None and exported is not None
    files = {platform.dhcp_config: config, platform.exports_file: exported}
    return _Served(files, config, exports.Edited(exported))


def _check_served_here(cluster: Cluster, minion_id: str) -> None:
    elsewhere = [
        Problem(
            f"diskless:nodes:{node.name}:network",
            node.network.name,
            f"add it on the boot server of that network, {node.network.server}",
        )
        for node in cluster.nodes.values()
        if node.network.server != minion_id
    ]
    if elsewhere:
        raise ClusterError(elsewhere)


def _check_kernels(site: Site) -> None:
    """Raise :class:`DisklessError` where nodes need more of their kernels than what is published
    has: a sync would make another version for them."""
    problems = []
    for image in site.images.values():
        nodes = site.nodes_of(image)
        if nodes:
            wanted = unserved(image, require_published(image), needs_of(site, image))
            names = fold(node.name for node in nodes)
            problems += [f"diskless:nodes:{names}: {wanted}"] if wanted else []
    if problems:
        raise DisklessError(
            "\n".join(
                f"{problem}; list it, and run salt-call state.apply diskless, which makes a "
                "version that has it"
                for problem in problems
            )
        )


def _check_head(served: _Served, site: Site, platform: Platform) -> None:
    """Raise :class:`DisklessError` where the networks are not served as the pillar has them."""
    if hosts.head_of(served.config) != hosts.head(site, platform.key_file):
        raise DisklessError(
            f"{platform.dhcp_config}: found other networks than the pillar has; run salt-call "
            "state.apply diskless, and add the nodes after that"
        )


def _check_free(nodes: Sequence[Node], served: _Served) -> set[str]:
    """Return the names of those that are served already; raise :class:`ClusterError` for what other
    nodes have that are served."""
    problems, known = [], set()
    macs = {node.name: node.mac for node in nodes}
    for node in nodes:
        path, ip = f"diskless:nodes:{node.name}", str(node.ip)
        same = hosts.served(served.config, name=node.name)
        if same is not None and (same.name, same.ip) != (node.name, ip):
            right = f"remove that one first: it is {same.name} at {same.ip}"
            problems.append(Problem(path, f"{node.name} at {ip}", right))
        namesake = hosts.alike(served.config, node.name)
        if namesake is not None:
            right = f"give another name: {namesake.name}, which is served, is the same host"
            problems.append(Problem(path, node.name, right))
        for key, value, other in (
            ("mac", node.mac, hosts.served(served.config, mac=node.mac)),
            ("ip", ip, hosts.served(served.config, ip=ip)),
        ):
            if other is not None and key == "mac" and macs.get(other.name, value) != value:
                # That one gets another in the same call.
                continue
            if other is not None and other.name.lower() != node.name.lower():
                right = f"give {node.name} its own: {other.name} has it"
                problems.append(Problem(f"{path}:{key}", value, right))
        if same is not None:
            known.add(node.name)
    if problems:
        raise ClusterError(problems)
    return known


def _put(served: _Served, node: Node, images: Sequence[Image], leaving: frozenset[str]) -> None:
    """Write a node into the configuration and the exports."""
    host = hosts.served(served.config, ip=str(node.ip))
    if host is not None:
        served.config = hosts.without(served.config, host)
        if (host.mac, host.nis) != (node.mac, hosts.nis_domain(node)):
            served.outdated.append(node.name)
    served.config = hosts.with_host(served.config, node)
    served.exports.take(node.name)
    served.exports.put(node, images, leaving)


def _apply(
    difference: tree.Difference,
    files: dict[str, tree.Content],
    nodes: Sequence[Node],
    served: _Served,
    platform: Platform,
) -> dict[str, object]:
    """Write the files, and tell exportfs and the running dhcpd of the nodes."""

    def checked(path: str) -> None:
        if path == platform.dhcp_config + tree.UNFINISHED:
            dhcpd.check_hosts(path, hosts.head_of(served.config), nodes)

    def live(path: str) -> None:
        if path == platform.exports_file:
            served.warnings += nfs.extend(served.exports.gone, served.exports.new, platform)

    service = platform.dhcp_service
    made = {node.name: (node.mac, str(node.ip)) for node in nodes}
    # Until dhcpd has been told, it is not what its configuration says.
    told_later = None if served.outdated else made
    with restarts.changing(service, told_later) as before:
        try:
            if platform.exports_file not in (*difference.added, *difference.changed):
                live(platform.exports_file)
            tree.apply(difference, files, checked, live=live)
        except CommandFailed:
            nfs.put_back(platform.exports_file, served.there[platform.exports_file])
            raise
    if not _has_told({**(before.hosts or {}), **made}, platform) or served.outdated:
        restarts.mark(service)
        return {"outdated": service}
    if before.hosts is not None:
        restarts.clear(service)
    return {}


def _has_told(hosts_by_name: restarts.Hosts, platform: Platform) -> bool:
    """Have the running dhcpd take hosts as its configuration has them; return False when it needs a
    restart for that."""
    if not hosts_by_name:
        return True
    try:
        return not dhcpd.tell(hosts_by_name, platform)
    except omapi.Unreachable as err:
        log.warning("%s; %s has to be restarted", err, platform.dhcp_service)
        return False


def _finish_killed(platform: Platform) -> dict[str, object]:
    """Have dhcpd take what a call that was killed has written and not told it. Return the service
    below ``outdated`` when it needs a restart for that."""
    service = platform.dhcp_service
    restarts.drop_stale(service)
    hosts_by_name = restarts.pending_hosts(service)
    if not hosts_by_name:
        return {}
    if _has_told(hosts_by_name, platform):
        restarts.clear(service)
        return {}
    restarts.mark(service)
    return {"outdated": service}


def _forget(gone: Sequence[hosts.Host], platform: Platform) -> bool:
    """Have the running dhcpd forget nodes; tell whether it needs a restart for that, since it has
    read some of them from its configuration."""
    try:
        omapi.remove([omapi.Host(host.name, host.mac, host.ip) for host in gone], platform.key_file)
        return bool(omapi.known((host.name for host in gone), platform.key_file))
    except omapi.Unreachable as err:
        log.warning("%s", err)
        return True


def _file(platform: Platform, ip: str) -> str:
    """Return the path of the loader's file for a node of this address."""
    return f"{platform.tftp_root}/{pxelinux.CONFIG}/{pxelinux.hex_name(IPAddress(ip))}"
