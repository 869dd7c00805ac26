"""From the plain data of the pillar to a :class:`Cluster`, or to every problem that it has."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from netaddr import IPAddress
from pydantic import BaseModel, TypeAdapter, ValidationError

from salt_diskless.cluster import checks, defaults, schema
from salt_diskless.cluster.errors import ClusterError, Problem, shown
from salt_diskless.cluster.model import (
    Bootstrap,
    Cluster,
    Entry,
    Image,
    Network,
    Node,
    Rule,
    Server,
    Settings,
    Source,
    Swap,
    Timeout,
)
from salt_diskless.cluster.names import of_node_set
from salt_diskless.cluster.ranges import MOST_NODES, count
from salt_diskless.cluster.wording import listed, nearest, part, problem, text

ROOT = "diskless"
_SECTIONS = ("servers", "networks", "images", "profiles", "nodes", "registry", "lookup")
#: Whether all nodes of the boot server, a network or an image may go at once.
_ALLOW = "allow_no_nodes"
#: Files of the admin that the project may replace.
_ADOPT = "adopt"
_LIKE = {
    "servers": "{node002: {address: 10.8.226.72, interface: eth0}}",
    "networks": "{compute: {subnet: 10.8.226.0/24}}",
    "images": "{compute: {location: /diskless/x86_64/compute}}",
    "profiles": "{compute: {image: compute, network: compute}}",
    "nodes": '{node003: {mac: "00:21:5E:40:64:5C", ip: 10.8.226.73, profile: compute}}',
    "registry": "{rules: {}}",
    "lookup": "{tftp_root: /srv/tftp}",
}
_Model = TypeVar("_Model", bound=BaseModel)


def parse(pillar: Mapping[str, Any]) -> Cluster:
    """Return the cluster that the ``diskless`` pillar describes.

    pillar
        What stands below the pillar's key ``diskless``: plain dicts, lists and scalars.

    Raises :class:`ClusterError` with every problem at once; then nothing of it may be used.
    """
    return _Build(pillar).cluster()


class _Build:
    """One parse. ``problems`` grows while the parts are read; the parts that are right go on to
    the checks between them, so that one run names all that is wrong."""

    def __init__(self, pillar: Any):
        self.problems: list[Problem] = []
        self.raw = self._sections(pillar)

    def cluster(self) -> Cluster:
        lookup = self._model(schema.LookupIn, self.raw["lookup"], f"{ROOT}:lookup")
        servers = dict(self._servers())
        networks = dict(self._networks(servers))
        images = dict(self._images())
        profiles = self._each("profiles", schema.SettingsIn)
        self._check_profiles(profiles)
        nodes = list(self._nodes(networks, images, profiles))
        rules = tuple(self._rules(profiles, networks))
        names = lookup.model_dump(exclude_none=True) if lookup else {}
        self.problems += checks.between(servers, networks, images, nodes, names)
        if self.problems:
            raise ClusterError(self.problems)
        by_address = sorted((node for _, node in nodes), key=lambda node: int(node.ip))
        return Cluster(
            servers=servers,
            networks=networks,
            images=images,
            nodes={node.name: node for node in by_address},
            consoles=tuple(
                sorted(
                    {one.serial_console for one in profiles.values() if one and one.serial_console}
                )
            ),
            lookup=names,
            rules=rules,
            allow_no_nodes=self.allow_no_nodes,
            adopt=self.adopt,
            has_registry=bool(self.raw["registry"].get("number")),
        )

    # -- reading ------------------------------------------------------------------------------

    def _sections(self, pillar: Any) -> dict[str, dict[Any, Any]]:
        if not isinstance(pillar, Mapping) or not pillar:
            raise ClusterError(
                [
                    Problem(
                        ROOT,
                        shown(pillar) if pillar not in (None, {}) else "nothing",
                        "give a mapping with servers, networks, images, profiles and nodes, as "
                        "pillar.example shows",
                    )
                ]
            )
        for key in pillar:
            accepted = (*_SECTIONS, _ALLOW, _ADOPT)
            if key not in accepted:
                self._add(f"{ROOT}:{part(key)}", "an unknown key", nearest(text(key), accepted))
        self.allow_no_nodes = pillar.get(_ALLOW, False)
        if not isinstance(self.allow_no_nodes, bool):
            self._add(f"{ROOT}:{_ALLOW}", shown(self.allow_no_nodes), "give true or false")
        self.adopt = self._adopted(pillar.get(_ADOPT))
        sections = {}
        for name in _SECTIONS:
            value = pillar.get(name)
            if value is None:
                value = {}
                if name in ("servers", "networks"):
                    self._add(f"{ROOT}:{name}", "nothing", f"give at least one, like {_LIKE[name]}")
            elif not isinstance(value, Mapping):
                right = f"give a mapping, name to settings, like {_LIKE[name]}"
                self._add(f"{ROOT}:{name}", shown(value), right)
                value = {}
            sections[name] = dict(value)
        return sections

    def _adopted(self, value: Any) -> frozenset[str]:
        """Return the paths of the admin's files that may be replaced."""
        if not isinstance(value, list | tuple | None):
            self._add(f"{ROOT}:{_ADOPT}", shown(value), "give a list, like [/etc/dhcp/dhcpd.conf]")
            return frozenset()
        for index, item in enumerate(value or ()):
            is_path = isinstance(item, str) and re.fullmatch(r"(?:/[^/\0\n]+)+", item)
            if not is_path or os.path.normpath(item) != item:
                right = "give an absolute path, like /etc/dhcp/dhcpd.conf"
                self._add(f"{ROOT}:{_ADOPT}:{index}", shown(item), right)
        return frozenset(item for item in value or () if isinstance(item, str))

    def _add(self, path: str, found: str, right: str) -> None:
        self.problems.append(Problem(path, found, right))

    def _model(self, model: type[_Model], value: Any, path: str) -> _Model | None:
        try:
            return model.model_validate({} if value is None else value)
        except ValidationError as err:
            for error in err.errors(include_url=False):
                self.problems.append(problem(path, error, model, value))
        return None

    def _each(self, section: str, model: type[_Model]) -> dict[str, _Model | None]:
        """Validate each thing of a section; the value is None where it is wrong (the name is known
        all the same, so that nothing that refers to it is called missing)."""
        out: dict[str, _Model | None] = {}
        for name, value in self.raw[section].items():
            path = f"{ROOT}:{section}:{part(name)}"
            out[text(name)] = self._model(model, value, path)
            try:
                _NAME_ADAPTER.validate_python(name)
            except ValidationError:
                self._add(path, shown(name), _NAME_RIGHT)
                # No other message has this name in its path.
                out[text(name)] = None
        return out

    def _servers(self) -> Iterator[tuple[str, Server]]:
        for name, server in self._each("servers", schema.ServerIn).items():
            path = f"{ROOT}:servers:{part(name)}"
            if server is None:
                continue
            interfaces = dict(server.interfaces or {})
            if (server.address is None) != (server.interface is None):
                self._add(path, "only one of address and interface", f"give both, {_SERVER}")
            elif server.address is not None and server.interface is not None:
                interfaces.setdefault(server.interface, server.address)
                if interfaces[server.interface] != server.address:
                    self._add(path, "two addresses for one interface", "give the one that it has")
            elif not interfaces:
                self._add(
                    path, "no address", f"give address and interface, or interfaces, {_SERVER}"
                )
            yield name, Server(name, interfaces)

    def _networks(self, servers: Mapping[str, Server]) -> Iterator[tuple[str, Network]]:
        server_names = [text(name) for name in self.raw["servers"]]
        for name, net in self._each("networks", schema.NetworkIn).items():
            path = f"{ROOT}:networks:{part(name)}"
            network = (
                self._network(name, net, path, server_names, servers) if net is not None else None
            )
            if network is not None:
                yield name, network

    def _network(
        self,
        name: str,
        net: schema.NetworkIn,
        path: str,
        server_names: list[str],
        servers: Mapping[str, Server],
    ) -> Network | None:
        server_name = net.server
        if server_name is None:
            if len(server_names) != 1:
                if server_names:
                    self._add(f"{path}:server", "nothing", f"give one of {listed(server_names)}")
                return None
            server_name = server_names[0]
        elif server_name not in server_names:
            self._add(f"{path}:server", shown(server_name), nearest(server_name, server_names))
            return None
        server = servers.get(server_name)
        if server is None or not server.interfaces:
            return None
        inside = [item for item in server.interfaces.items() if item[1] in net.subnet]
        if not inside:
            self._add(
                f"{path}:subnet",
                str(net.subnet),
                f"server {server_name} has no address in it (it has "
                f"{', '.join(map(str, server.addresses))}); give it one in "
                f"{ROOT}:servers:{server_name}:interfaces",
            )
            return None
        return Network(
            name=name,
            server=server_name,
            interface=inside[0][0],
            server_address=inside[0][1],
            subnet=net.subnet,
            routers=tuple(net.routers),
            nameservers=tuple(net.nameservers),
            domain=net.domain,
            nis_domain=net.nis_domain,
            time_offset=net.time_offset,
            lease_default=net.lease_time.default,
            lease_max=net.lease_time.max,
            discovery_range=net.discovery_range,
            syslog=net.syslog,
        )

    def _images(self) -> Iterator[tuple[str, Image]]:
        for name, image in self._each("images", schema.ImageIn).items():
            right = schema.image_name_problem(name)
            if right is not None:
                self._add(f"{ROOT}:images:{part(name)}", shown(name), right)
            if image is None:
                continue
            source = None
            if image.source is not None:
                source = self._source(image.source, f"{ROOT}:images:{part(name)}:source")
            yield (
                name,
                Image(
                    name=name,
                    description=image.description or name,
                    location=image.location,
                    source=source,
                    exclude=tuple(image.exclude),
                    scrub=tuple(image.scrub),
                    keep=tuple(image.keep),
                    fstab=tuple(image.fstab),
                    kernel=image.kernel,
                    initramfs=image.initramfs,
                    packages=tuple(image.packages),
                    absent_packages=tuple(image.absent_packages),
                    golden_states=tuple(image.golden_states),
                    live=image.live,
                ),
            )

    def _source(self, given: schema.SourceIn, path: str) -> Source:
        kinds = (given.directory, given.archive, given.bootstrap, given.minion)
        if kinds.count(None) != len(kinds) - 1:
            what = "not just one of directory, archive, bootstrap and minion"
            self._add(path, what, "give one of them")
        if given.tag is not None and given.archive is None:
            self._add(f"{path}:tag", shown(given.tag), "leave it out: it belongs to an archive")
        bootstrap = None
        if given.bootstrap is not None:
            for key, found, right in checks.bootstrap(given.bootstrap):
                self._add(f"{path}:bootstrap" + (f":{key}" if key else ""), found, right)
            fields = given.bootstrap.model_dump()
            bootstrap = Bootstrap(**{**fields, "components": tuple(fields["components"])})
        fields = {**given.model_dump(), "bootstrap": bootstrap}
        if given.minion is not None and given.host is None:
            fields["host"] = given.minion
        return Source(**fields)

    # -- profiles and nodes -------------------------------------------------------------------

    def _check_profiles(self, profiles: Mapping[str, schema.SettingsIn | None]) -> None:
        for name, profile in profiles.items():
            if profile is None:
                continue
            path = f"{ROOT}:profiles:{part(name)}"
            self._check_files(profile, path)
            if profile.profile is None:
                continue
            if profile.profile not in profiles:
                self._add(
                    f"{path}:profile", shown(profile.profile), nearest(profile.profile, profiles)
                )
            elif name in _parents(profile, profiles):
                self._add(f"{path}:profile", shown(profile.profile), "end the circle of profiles")

    def _check_files(self, settings: schema.SettingsIn, path: str) -> None:
        for index, found, right in checks.entries(settings.files or ()):
            self._add(f"{path}:files:{index}", found, right)

    def _nodes(
        self,
        networks: Mapping[str, Network],
        images: Mapping[str, Image],
        profiles: Mapping[str, schema.SettingsIn | None],
    ) -> Iterator[tuple[str, Node]]:
        resolver = _Resolver(self, networks, images, profiles)
        if not self._count(self.raw["nodes"], f"{ROOT}:nodes"):
            return
        for key, value in self.raw["nodes"].items():
            path = f"{ROOT}:nodes:{part(key)}"
            names = self._names(key, path)
            node = self._model(schema.NodeIn, value, path)
            if node is None or not names:
                continue
            settings = resolver.of_node(node, path)
            macs, addresses = node.mac, self._spread(node.ip, len(names), f"{path}:ip")
            bmcs: Sequence[IPAddress | None] = [None] * len(names)
            if node.bmc is not None:
                bmcs = self._spread(node.bmc, len(names), f"{path}:bmc")
            if len(macs) != len(names):
                self._add(
                    f"{path}:mac",
                    f"{len(macs)} for {len(names)} nodes",
                    "give one MAC per node, as a list in the nodes' order",
                )
            elif addresses and bmcs and settings is not None:
                for name, mac, address, bmc in zip(names, macs, addresses, bmcs, strict=True):
                    yield path, Node(name, mac, address, settings, bmc)

    def _count(self, node_sets: Iterable[Any], path: str) -> bool:
        """Return True if these node sets can be expanded; add the problem if they stand for more
        nodes than the project is made for."""
        sizes = {node_set: _size(node_set) for node_set in node_sets}
        total = sum(sizes.values())
        if total > MOST_NODES:
            largest = max(sizes, key=lambda node_set: sizes[node_set])
            self._add(
                path,
                f"{total} nodes, {sizes[largest]} of them in {shown(largest)}",
                f"give at most {MOST_NODES} nodes in all",
            )
        return total <= MOST_NODES

    def _names(self, key: Any, path: str) -> list[str]:
        """Return the host names of a node set; add the problem and return none if it is wrong."""
        try:
            return of_node_set(key)
        except ValueError as err:
            self._add(path, shown(key), str(err))
        return []

    def _rules(
        self,
        profiles: Mapping[str, schema.SettingsIn | None],
        networks: Mapping[str, Network],
    ) -> Iterator[Rule]:
        """Yield the registry's rules; what contradicts a node of it is a problem of the pillar."""
        path = f"{ROOT}:registry"
        registry = self._model(schema.RegistryIn, self.raw["registry"], path)
        if registry is None:
            return
        for conflict in registry.conflicts:
            self._add(conflict.path, conflict.found, conflict.right)
        if not self._count((rule.nodes for rule in registry.rules.values()), f"{path}:rules"):
            return
        for name, rule in registry.rules.items():
            where = f"{path}:rules:{part(name)}"
            names = self._names(rule.nodes, f"{where}:nodes")
            for key, found, right in checks.rule(rule, len(names)):
                self._add(f"{where}:{key}", found, right)
            nets = _networks_of(rule.profile, profiles, networks)
            for found, right in checks.rule_addresses(rule, len(names), nets):
                self._add(f"{where}:ip", found, right)
            if rule.profile is not None and rule.profile not in profiles:
                self._add(f"{where}:profile", shown(rule.profile), nearest(rule.profile, profiles))
            yield Rule(
                name=name,
                nodes=tuple(names),
                macs=tuple(rule.macs or ()),
                prefixes=tuple(rule.prefixes or ()),
                serials=tuple(rule.serials or ()),
                count=rule.next,
                since=rule.since,
                until=rule.until,
                places=rule.ip,
                profile=rule.profile,
            )

    def _spread(
        self, given: list[IPAddress | schema.AddressRun], count: int, path: str
    ) -> list[IPAddress]:
        """Return ``count`` addresses: those of a run, or one address a node."""
        runs = [item for item in given if isinstance(item, schema.AddressRun)]
        if not runs and len(given) == count:
            return given
        if len(given) == len(runs) == 1:
            first = int(runs[0].first)
            if first + count <= 1 << 32:
                return [IPAddress(first + n, 4) for n in range(count)]
        self._add(
            path,
            shown(", ".join(map(str, given))) + f" for {count} nodes",
            "give one a node, or the first with a '+', like 10.8.226.75+",
        )
        return []


def _size(node_set: Any) -> int:
    """Return how many nodes a node set stands for, 0 for one that is wrong."""
    try:
        return count(node_set) if isinstance(node_set, str) else 0
    except ValueError:
        return 0


class _Resolver:
    """Finds what a node's settings are; equal settings are one shared object."""

    def __init__(
        self,
        build: _Build,
        networks: Mapping[str, Network],
        images: Mapping[str, Image],
        profiles: Mapping[str, schema.SettingsIn | None],
    ):
        self.build = build
        self.networks = networks
        self.images = images
        self.profiles = profiles
        self._of_profile: dict[str | None, Settings | None] = {}

    def of_node(self, node: schema.NodeIn, path: str) -> Settings | None:
        """Return the node's settings, or None after saying what is wrong with them."""
        if node.profile is not None and node.profile not in self.profiles:
            self.build._add(
                f"{path}:profile", shown(node.profile), nearest(node.profile, self.profiles)
            )
            return None
        if node.model_fields_set <= _OWN:
            if node.profile not in self._of_profile:
                self._of_profile[node.profile] = self._resolve(node, path)
            return self._of_profile[node.profile]
        self.build._check_files(node, path)
        return self._resolve(node, path)

    def _resolve(self, node: schema.NodeIn, path: str) -> Settings | None:
        layers: list[schema.SettingsIn] = [node]
        for name in _parents(node, self.profiles):
            profile = self.profiles.get(name)
            if profile is None:
                return None
            layers.append(profile)

        def value(key: str, default: Any = None) -> Any:
            for layer in layers:
                found = getattr(layer, key)
                if found is not None:
                    return found
            return default

        image = self._named("image", value("image"), self.images, path)
        network = self._named("network", value("network"), self.networks, path)
        if image is None or network is None:
            return None
        files, swap, timeout = value("files"), value("swap"), value("timeout")
        root = value("root", defaults.ROOT)
        for found, right in checks.overlays(image, files or ()):
            self.build._add(f"{path}:files", found, right)
        return Settings(
            profile=node.profile or "",
            image=image,
            version=value("version"),
            kernel=value("kernel"),
            drivers=tuple(value("drivers", ())),
            network=network,
            interface=value("interface", defaults.INTERFACE),
            serial_console=value("serial_console"),
            root=root,
            overlay_size=value("overlay_size", defaults.OVERLAY_SIZE),
            nfs=value("nfs", defaults.NFS),
            swap=defaults.SWAP if swap is None else Swap(**swap.model_dump()),
            journal=value("journal", defaults.JOURNAL),
            nis_domain=value("nis_domain", network.nis_domain),
            kernel_append=value("kernel_append"),
            entries=defaults.entries(root, image.live)
            if files is None
            else tuple(Entry(item.path, item.how) for item in files),
            timeout=Timeout(timeout.after, timeout.then) if timeout else None,
            localdisk=value("localdisk", defaults.LOCALDISK),
            host_keys=tuple(sorted({*value("host_keys", defaults.HOST_KEYS)})),
        )

    def _named(self, what: str, name: str | None, built: Mapping[str, Any], path: str) -> Any:
        written = self.build.raw[what + "s"]
        if name is None:
            self.build._add(
                f"{path}:{what}", "nothing", f"give one here or in the profile: {listed(written)}"
            )
        elif name not in written:
            self.build._add(f"{path}:{what}", shown(name), nearest(name, written))
        return built.get(name) if name is not None else None


#: What a node says of itself alone: the rest is its profile's.
_OWN = frozenset({"mac", "ip", "bmc", "profile"})
_SERVER = "like {address: 10.8.226.72, interface: eth0}"
_NAME_ADAPTER: TypeAdapter[str] = TypeAdapter(schema.Name)
_NAME_RIGHT = "give a name of letters, digits and ._- , 64 characters at most, like compute"


def _networks_of(
    name: str | None,
    profiles: Mapping[str, schema.SettingsIn | None],
    networks: Mapping[str, Network],
) -> list[Network]:
    """Return the networks on which nodes of a profile may boot: all of them where it names none."""
    if name is None and len(profiles) == 1:
        name = next(iter(profiles))
    for one in _parents(schema.SettingsIn(profile=name), profiles):
        profile = profiles.get(one)
        if profile is not None and profile.network is not None:
            return [networks[profile.network]] if profile.network in networks else []
    return list(networks.values())


def _parents(
    settings: schema.SettingsIn, profiles: Mapping[str, schema.SettingsIn | None]
) -> list[str]:
    """Return the profiles above ``settings``, nearest first; a circle is gone through once."""
    chain: dict[str, None] = {}
    name = settings.profile
    while name is not None and name not in chain:
        chain[name] = None
        profile = profiles.get(name)
        name = None if profile is None else profile.profile
    return [*chain]
