"""What must hold between the parts of a cluster; neither dhcpd nor a boot loader would notice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from netaddr import IPAddress, IPRange

from salt_diskless.boot import kernel_line
from salt_diskless.cluster import paths
from salt_diskless.cluster.errors import Problem, shown
from salt_diskless.cluster.model import Entry, Image, Network, Node, Server
from salt_diskless.cluster.names import Names
from salt_diskless.cluster.ranges import fold
from salt_diskless.cluster.schema import AddressRun, BootstrapIn, EntryIn, RuleIn


def between(
    servers: Mapping[str, Server],
    networks: Mapping[str, Network],
    images: Mapping[str, Image],
    nodes: Sequence[tuple[str, Node]],
    lookup: Mapping[str, Any],
) -> Iterator[Problem]:
    """Yield every problem between servers, networks, images, nodes and ``lookup``.

    nodes
        Pairs of the pillar path that a node came from, and the node.
    """
    yield from _server_addresses(servers)
    yield from _networks(networks)
    yield from paths.conflicts(paths.uses(images, lookup))
    yield from _lookup(lookup)
    yield from _golden(images)
    yield from _live(nodes)
    yield from _unique(servers, images, nodes)
    yield from _kernel_lines(nodes)
    yield from _node_addresses(servers, networks, nodes)
    yield from _bmcs(servers, networks, nodes)


def entries(wanted: Sequence[Entry | EntryIn]) -> Iterator[tuple[int, str, str]]:
    """Yield ``(index, found, right)`` for each entry that stands twice, or below another one that
    is no overlay: it would hide part of it, or have no mount point there."""
    seen: dict[str, int] = {}
    for index, entry in enumerate(wanted):
        if entry.path in seen:
            yield index, entry.path, "leave it out: it stands there twice"
        seen.setdefault(entry.path, index)
    for path, index in seen.items():
        parts = path.split("/")
        for depth in range(2, len(parts)):
            above = "/".join(parts[:depth])
            if above not in seen:
                continue
            if wanted[seen[above]].how != "overlay":
                yield index, path, f"leave it out: it lies below the entry {above}"
            elif wanted[index].how == "overlay":
                yield index, path, f"leave it out: it lies below the overlay {above}"


def overlays(image: Image, wanted: Sequence[Entry | EntryIn]) -> Iterator[tuple[str, str]]:
    """Yield ``(found, right)`` for each overlay over what may change below it."""
    for entry in wanted:
        if image.live and entry.how == "overlay":
            yield (
                f"{entry.path} as overlay",
                f"make it something else: diskless:images:{image.name}:live has what is below it "
                "change while nodes run, and nodes would see some of it only",
            )


def bootstrap(given: BootstrapIn) -> Iterator[tuple[str, str, str]]:
    """Yield ``(key, found, right)`` for what does not go with the one of suite and releasever."""
    if (given.suite is None) == (given.releasever is None):
        yield "", "not just one of suite and releasever", "give suite for apt, releasever for dnf"
        return
    of_apt = ("mirror", "components", "variant", "keyring")
    of_dnf = ("repositories", "gpgkey")
    this, others = ("suite", of_dnf) if given.suite is not None else ("releasever", of_apt)
    for key in others:
        if key in given.model_fields_set:
            yield key, shown(getattr(given, key)), f"leave it out: it does not go with {this}"
    if this == "releasever" and not given.repositories:
        yield "repositories", "nothing", "give at least one, its id to its URL"


def rule(given: RuleIn, names: int) -> Iterator[tuple[str, str, str]]:
    """Yield ``(key, found, right)`` for what is wrong in a rule with so many names."""
    kinds = ("macs", "prefixes", "serials", "next")
    chosen = [kind for kind in kinds if getattr(given, kind) not in (None, [])]
    if len(chosen) != 1:
        yield "macs", f"{len(chosen)} of {', '.join(kinds)}", "give just one of them"
    if chosen == ["next"]:
        for key in ("since", "until"):
            if getattr(given, key) is None:
                yield key, "nothing", "give it: the next machines are anybody's, so limit the time"
    if given.since is not None and given.until is not None and given.since >= given.until:
        yield "until", str(given.until), f"give a time after since, which is {given.since}"
    for key in ("macs", "serials"):
        listed = getattr(given, key) or ()
        if len({*listed}) != len(listed):
            yield key, "one that stands there twice", "name each machine once"
        elif chosen == [key] and names and names != len(listed):
            yield key, f"{len(listed)} for {names} nodes", "give one a node, in their order"
    if given.next is not None and 0 < names < given.next:
        yield "nodes", f"{names} for {given.next} machines", "give as many names at least"


def rule_addresses(
    given: RuleIn, names: int, networks: Sequence[Network]
) -> Iterator[tuple[str, str]]:
    """Yield ``(found, right)`` for addresses of a rule that no node of these networks can have."""
    if given.ip is None or not networks or not names:
        return
    found = str(given.ip)
    if isinstance(given.ip, IPRange):
        first, last = given.ip.first, given.ip.last
    elif isinstance(given.ip, AddressRun):
        first, last = int(given.ip.first), int(given.ip.first) + names - 1
        found += f" for {names} nodes"
    else:
        first = last = int(given.ip)
        if names > 1:
            right = "give a range, or the first one with a '+', like 10.8.226.75+"
            yield f"{found} for {names} nodes", right
    net = next(
        (one for one in networks if one.subnet.first <= first and last <= one.subnet.last), None
    )
    if net is None:
        yield found, f"give addresses inside {' or '.join(str(one.subnet) for one in networks)}"
        return
    pool = net.discovery_range
    if pool is not None and pool.first <= first and last <= pool.last:
        yield found, f"give addresses outside {pool}, the discovery_range of {net.name}"
    elif not isinstance(given.ip, IPRange):
        taken = {
            **{int(address): "a name server's" for address in net.nameservers},
            **{int(address): "a router's" for address in net.routers},
            net.subnet.first: "the subnet's own",
            net.subnet.last: "the broadcast address",
            int(net.server_address): "the boot server's",
        }
        for address in (number for number in taken if first <= number <= last):
            yield found, f"leave {IPAddress(address)} out: it is {taken[address]}"


def _lookup(names: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem for each service, and each variable of one file, that is named twice."""
    for keys in (
        ("dhcp_service", "tftp_service", "nfs_service", "mountd_service", "ssh_service"),
        ("tftp_root_key", "tftp_options_key"),
    ):
        owners: dict[str, str] = {}
        for key in (key for key in keys if key in names):
            other = owners.setdefault(names[key].removesuffix(".service"), key)
            if other != key:
                right = f"give another name: diskless:lookup:{other} has the same"
                yield Problem(f"diskless:lookup:{key}", names[key], right)


def _server_addresses(servers: Mapping[str, Server]) -> Iterator[Problem]:
    seen: dict[int, str] = {}
    for server in servers.values():
        for interface, address in server.interfaces.items():
            path = f"diskless:servers:{server.name}:{interface}"
            other = seen.setdefault(int(address), path)
            if other != path:
                yield Problem(path, str(address), f"give one of its own: {other} has it")


def _networks(networks: Mapping[str, Network]) -> Iterator[Problem]:
    yield from _overlaps(networks)
    for net in networks.values():
        path = f"diskless:networks:{net.name}"
        yield from _of_subnet(net, path)
        for index, router in enumerate(net.routers):
            if router not in net.subnet:
                yield Problem(
                    f"{path}:routers:{index}", str(router), f"give an address inside {net.subnet}"
                )
        if net.lease_default > net.lease_max:
            yield Problem(
                f"{path}:lease_time:default",
                str(net.lease_default),
                f"give at most max, which is {net.lease_max}",
            )
        if net.discovery_range is not None:
            yield from _discovery_range(net, path)


def _overlaps(networks: Mapping[str, Network]) -> Iterator[Problem]:
    """Yield a problem for each network that overlaps another one: in the order of their addresses,
    that is the one before which reaches farthest."""
    order = {name: number for number, name in enumerate(networks)}
    ranges = sorted(
        (net.subnet.first, order[name], net.subnet.last, net) for name, net in networks.items()
    )
    farthest = ranges[0] if ranges else None
    for one in ranges[1:]:
        assert farthest is not None
        if one[0] <= farthest[2]:
            other, net = sorted((farthest, one), key=lambda item: item[1])
            yield Problem(
                f"diskless:networks:{net[3].name}:subnet",
                str(net[3].subnet),
                f"it overlaps {other[3].subnet} of diskless:networks:{other[3].name}; give "
                "networks without a common address",
            )
        farthest = max(farthest, one, key=lambda item: item[2])


def _of_subnet(net: Network, path: str) -> Iterator[Problem]:
    """Yield a problem for each machine that has an address which the subnet keeps for itself."""
    servers = enumerate(net.nameservers)
    for where, address in (
        (f"diskless:servers:{net.server}:{net.interface}", net.server_address),
        *((f"{path}:routers:{index}", router) for index, router in enumerate(net.routers)),
        *((f"{path}:nameservers:{index}", server) for index, server in servers),
        *(((f"{path}:syslog", net.syslog),) if net.syslog is not None else ()),
    ):
        if int(address) in (net.subnet.first, net.subnet.last):
            what = "own" if int(address) == net.subnet.first else "broadcast"
            right = f"give the address of a machine: it is the {what} address of {net.subnet}"
            yield Problem(where, str(address), right)


def _discovery_range(net: Network, path: str) -> Iterator[Problem]:
    assert net.discovery_range is not None
    first, last = net.discovery_range.first, net.discovery_range.last
    if first <= net.subnet.first or last >= net.subnet.last:
        yield Problem(
            f"{path}:discovery_range",
            str(net.discovery_range),
            f"give a range of hosts inside {net.subnet}",
        )
    for what, address in (
        ("the server's", net.server_address),
        *(("a router's", router) for router in net.routers),
        *(("a name server's", server) for server in net.nameservers),
        *((("the log server's", net.syslog),) if net.syslog is not None else ()),
    ):
        if first <= int(address) <= last:
            yield Problem(
                f"{path}:discovery_range",
                str(net.discovery_range),
                f"leave {what} address {address} out of it",
            )


def _golden(images: Mapping[str, Image]) -> Iterator[Problem]:
    """What a golden machine is to have goes to a machine, and is not to be absent as well."""
    machines: dict[str, dict[str, str]] = {}
    for image in images.values():
        path = f"diskless:images:{image.name}"
        minion = image.source.minion if image.source is not None else None
        if minion is None:
            made = image.source.bootstrap if image.source is not None else None
            if made is not None and made.releasever is not None and not image.packages:
                yield Problem(
                    f"{path}:packages",
                    "nothing",
                    "name what dnf is to install, like [bash, kernel]",
                )
            for key in ("packages", "absent_packages", "golden_states"):
                if getattr(image, key) and not (made and key == "packages"):
                    yield Problem(
                        f"{path}:{key}",
                        f"{len(getattr(image, key))} of them, and no golden machine",
                        "leave it out, or name the machine in source:minion"
                        + (" (or make the root: source:bootstrap)" if key == "packages" else ""),
                    )
            continue
        for index, package in enumerate(image.packages):
            machines.setdefault(minion, {})[package] = f"{path}:packages:{index}"
    for image in images.values():
        minion = image.source.minion if image.source is not None else None
        for index, package in enumerate(image.absent_packages):
            wanted = machines.get(minion or "", {}).get(package)
            if wanted is not None:
                yield Problem(
                    f"diskless:images:{image.name}:absent_packages:{index}",
                    package,
                    f"leave it out: {wanted} has the same machine have it",
                )


def _live(nodes: Sequence[tuple[str, Node]]) -> Iterator[Problem]:
    """A version is changed in place under nodes that have it mounted and nothing above it: what an
    overlay does when its lower layer changes is not defined, and a file of squashfs never does."""
    others: dict[tuple[str, str], list[str]] = {}
    for _, node in nodes:
        if node.image.live and node.settings.root != "readonly":
            others.setdefault((node.image.name, node.settings.root), []).append(node.name)
    for (image, root), names in others.items():
        yield Problem(
            f"diskless:images:{image}:live",
            f"true, and {fold(names)} with root: {root}",
            "leave live out, or give these nodes root: readonly; only that root can be changed "
            "under a node that runs",
        )


def _kernel_lines(nodes: Sequence[tuple[str, Node]]) -> Iterator[Problem]:
    """Yield a problem for the longest name of each settings whose kernel line would be cut: nodes
    share settings, so the line is made once for all of them."""
    longest: dict[int, tuple[str, Node]] = {}
    for path, node in nodes:
        other = longest.setdefault(id(node.settings), (path, node))[1]
        if len(node.name) > len(other.name):
            longest[id(node.settings)] = (path, node)
    for path, node in longest.values():
        length = kernel_line.longest(node.settings, node.name)
        if length > kernel_line.LONGEST:
            yield Problem(
                f"{path}:kernel_append" if node.settings.kernel_append else path,
                f"a kernel line of up to {length} characters for {node.name}",
                f"the kernel takes {kernel_line.LONGEST}, so make kernel_append or the names of "
                f"node, image and location shorter, by {length - kernel_line.LONGEST} characters",
            )


def _minions(servers: Mapping[str, Server], images: Mapping[str, Image]) -> dict[str, str]:
    """Return the minions whose ids no node can have, each with what it is."""
    golden = {
        image.source.minion: f"the golden machine of diskless:images:{image.name}"
        for image in images.values()
        if image.source is not None and image.source.minion is not None
    }
    return {**golden, **{name: "a boot server" for name in servers}}


def _unique(
    servers: Mapping[str, Server], images: Mapping[str, Image], nodes: Sequence[tuple[str, Node]]
) -> Iterator[Problem]:
    minions = _minions(servers, images)
    names = Names(minions)
    macs: dict[str, str] = {}
    addresses: dict[int, str] = {}
    for path, node in nodes:
        other, owner = names.add(node.name, path) or ("", "")
        if owner == minions.get(other):
            yield Problem(path, node.name, f"give another name: {other} is {owner}")
        elif other and other.lower() == node.name.lower():
            where = f"{owner} has it too" if other == node.name else f"{other} is the same name"
            yield Problem(path, node.name, f"name it once: {where}")
        elif other:
            yield Problem(
                path, node.name, f"give another name: {other} of {owner} is the same host"
            )
        who = macs.setdefault(node.mac, node.name)
        if who != node.name:
            yield Problem(f"{path}:mac", node.mac, f"give {node.name} its own: {who} has it")
        who = addresses.setdefault(int(node.ip), node.name)
        if who != node.name:
            yield Problem(f"{path}:ip", str(node.ip), f"give {node.name} its own: {who} has it")


def _node_addresses(
    servers: Mapping[str, Server],
    networks: Mapping[str, Network],
    nodes: Sequence[tuple[str, Node]],
) -> Iterator[Problem]:
    of_servers = {
        int(address): f"the boot server {server.name}"
        for server in servers.values()
        for address in server.addresses
    }
    taken: dict[str, dict[int, str]] = {}
    for net in networks.values():
        taken[net.name] = {
            net.subnet.first: "the subnet's own address",
            net.subnet.last: "the broadcast address",
            **{int(address): "a name server" for address in net.nameservers},
            **{int(address): "a router" for address in net.routers},
            **of_servers,
        }
    # Netaddr computes them anew each time.
    bounds = {net.name: (net.subnet.first, net.subnet.last) for net in networks.values()}
    for path, node in nodes:
        net, address = node.network, int(node.ip)
        first, last = bounds[net.name]
        if not first <= address <= last:
            yield Problem(f"{path}:ip", f"{node.ip} ({node.name})", f"give one inside {net.subnet}")
        elif address in taken[net.name]:
            yield Problem(
                f"{path}:ip", f"{node.ip} ({node.name})", f"it is {taken[net.name][address]}"
            )
        elif (
            net.discovery_range is not None
            and net.discovery_range.first <= address <= net.discovery_range.last
        ):
            yield Problem(
                f"{path}:ip",
                f"{node.ip} ({node.name})",
                f"give one outside {net.discovery_range}, the discovery_range of "
                f"diskless:networks:{net.name}",
            )


def _bmcs(
    servers: Mapping[str, Server],
    networks: Mapping[str, Network],
    nodes: Sequence[tuple[str, Node]],
) -> Iterator[Problem]:
    """A BMC's address is its own: whoever answers there instead would be told to go off."""
    if all(node.bmc is None for _, node in nodes):
        return
    taken = {int(node.ip): f"{node.name}'s own" for _, node in nodes}
    for net in networks.values():
        taken[net.subnet.first] = f"the own address of {net.subnet}"
        taken[net.subnet.last] = f"the broadcast address of {net.subnet}"
    for server in servers.values():
        taken |= {int(address): f"the boot server {server.name}'s" for address in server.addresses}
    pools = [net.discovery_range for net in networks.values() if net.discovery_range is not None]
    for path, node in nodes:
        if node.bmc is None:
            continue
        found, address = f"{node.bmc} ({node.name})", int(node.bmc)
        if address in taken:
            yield Problem(f"{path}:bmc", found, f"give its BMC's address: this is {taken[address]}")
        elif any(pool.first <= address <= pool.last for pool in pools):
            yield Problem(f"{path}:bmc", found, "give one outside each discovery_range")
        taken.setdefault(address, f"that of {node.name}'s BMC")
