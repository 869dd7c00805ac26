"""The cluster as the rest of the project sees it: typed, frozen, checked, expanded."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from netaddr import IPAddress, IPNetwork, IPRange

from salt_diskless.cluster.errors import DisklessError


@dataclass(frozen=True, slots=True)
class Entry:
    """One path that a node may write, and ``how``: ``persistent``, ``tmpfs``, ``copy``, ``overlay``
    or ``localdisk``."""

    path: str
    how: str = "persistent"


@dataclass(frozen=True, slots=True)
class Swap:
    """Where a node puts memory that it does not need at the moment.

    kind
        ``zram`` (compressed, in memory), ``nfs`` (a file on the boot server), ``disk`` (a partition
        of its own) or ``none``.
    size
        Of the file, such as ``512M``; or of zram, also ``50%`` of memory (None: the node decides).
    label
        Of the partition.
    """

    kind: str
    size: str | None = None
    label: str | None = None

    @property
    def bytes(self) -> int:
        """The size of the file."""
        assert self.size is not None
        return int(self.size[:-1]) << (30 if self.size[-1] == "G" else 20)


@dataclass(frozen=True, slots=True)
class Server:
    """A boot server. ``interfaces`` maps an interface's name to the server's address on it."""

    name: str
    interfaces: Mapping[str, IPAddress]

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        return tuple(self.interfaces.values())


@dataclass(frozen=True, slots=True)
class Network:
    """The subnet that nodes boot on; times are in seconds. Its nodes' kernels send their log to
    ``syslog``, or nowhere."""

    name: str
    server: str
    interface: str
    server_address: IPAddress
    subnet: IPNetwork
    routers: tuple[IPAddress, ...] = ()
    nameservers: tuple[IPAddress, ...] = ()
    domain: str | None = None
    nis_domain: str | None = None
    time_offset: int | None = None
    lease_default: int = 21600
    lease_max: int = 43200
    discovery_range: IPRange | None = None
    syslog: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What a root is made of from packages: with a ``suite`` by apt, with a ``releasever`` by dnf.

    mirror, components, variant, keyring
        apt's: where it has its packages (None: mmdebstrap's own mirrors), which of them, which
        packages beside the image's own, and the file of keys (None: those that apt here trusts).
    repositories, gpgkey
        dnf's: id to URL, and the file of keys (None: those that the distribution here has).
    """

    suite: str | None = None
    mirror: str | None = None
    components: tuple[str, ...] = ("main",)
    variant: str = "minbase"
    keyring: str | None = None
    releasever: str | None = None
    repositories: Mapping[str, str] = field(default_factory=dict)
    gpgkey: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where an image is taken from.

    directory
        A directory on the boot server; or None, and then
    archive, tag
        an archive of tar on it, or an image of Docker or OCI, and which one of several that is;
        or None, and then
    bootstrap
        a distribution's packages; or None, and then
    host, user, port, identity, known_hosts
        a golden machine: where ssh reaches it, as whom, with which key and pinned host keys (None:
        those that the project has made and pinned).
    """

    directory: str | None = None
    archive: str | None = None
    tag: str | None = None
    bootstrap: Bootstrap | None = None
    minion: str | None = None
    host: str | None = None
    user: str = "root"
    port: int = 22
    identity: str | None = None
    known_hosts: str | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A named system for nodes; ``location`` is the directory on the boot server that has it.

    exclude
        Patterns of rsync(1): what is left out.
    scrub
        What is the golden node's alone, beside what the project knows of: left out, and looked for
        in the new version.
    keep
        Patterns of what is taken although the project's table leaves it out.
    fstab
        Mount points of the golden node's fstab whose lines nodes have too, and whole lines.
    kernel
        The release of the kernel that its nodes boot; None is the newest one in it.
    initramfs
        What builds their initramfs, ``dracut`` or ``initramfs-tools``; None is what it has.
    packages, absent_packages, golden_states
        What the golden machine (or a root that is made from packages) must have; what the golden
        machine must not have, and the SLS that it is given.
    live
        Whether its nodes look often enough whether a file has changed for a version to be changed
        in place.
    """

    name: str
    description: str
    location: str
    source: Source | None
    exclude: tuple[str, ...] = ()
    scrub: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    fstab: tuple[str, ...] = ()
    kernel: str | None = None
    initramfs: str | None = None
    packages: tuple[str, ...] = ()
    absent_packages: tuple[str, ...] = ()
    golden_states: tuple[str, ...] = ()
    live: bool = False


@dataclass(frozen=True, slots=True)
class Timeout:
    """What a node does that has no root ``after`` so many seconds: ``reboot``, ``halt`` or open a
    ``shell`` on its console."""

    after: int
    then: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What a node takes from its profile (and may override).

    version
        The version of the image that is booted instead of the published one, or None.
    kernel
        The release of the kernel that is booted instead of the image's own, or None.
    drivers
        The kernel's modules without which there is no network; ``_`` in place of ``-``.
    timeout
        None tries for ever.
    journal
        Where systemd's journal is while the node runs: ``memory`` or ``snapshot``.
    root, overlay_size
        The root mode (``docs/root-modes.md``), and the size of the tmpfs above the root, where
        there is one: tmpfs(5), ``size``.
    host_keys
        The types of SSH host keys that the server makes for it.
    localdisk
        The label of the file system that entries on a local disk are in.
    """

    profile: str
    image: Image
    version: str | None
    kernel: str | None
    drivers: tuple[str, ...]
    network: Network
    interface: str
    serial_console: str | None
    root: str
    overlay_size: str
    nfs: str
    swap: Swap
    journal: str
    nis_domain: str | None
    kernel_append: str | None
    entries: tuple[Entry, ...]
    timeout: Timeout | None
    host_keys: tuple[str, ...]
    localdisk: str


@dataclass(frozen=True, slots=True)
class Node:
    """One machine. ``mac`` is lower case with colons; ``settings`` is shared between nodes; ``bmc``
    is the address of what switches its power."""

    name: str
    mac: str
    ip: IPAddress
    settings: Settings
    bmc: IPAddress | None = None

    @property
    def image(self) -> Image:
        return self.settings.image

    @property
    def network(self) -> Network:
        return self.settings.network


@dataclass(frozen=True, slots=True)
class Rule:
    """Which machines that announce themselves are accepted without anybody's yes.

    macs, prefixes, serials
        Theirs; or all are empty, and then
    count
        it is the first so many, in the order of power-on.
    since, until
        When they must have announced themselves for the first time (None: whenever).
    nodes
        The names that they get: of a list of MACs or serial numbers the first one the first name,
        and so on; else the next one that is free.
    places
        The addresses: the first one's, one for each name; or a range, of which the next one that is
        free; or None, the next one of the network that is free.
    """

    name: str
    nodes: tuple[str, ...]
    macs: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    serials: tuple[str, ...] = ()
    count: int | None = None
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    places: Any = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """All that the pillar says; ``consoles`` are the serial consoles of profiles, sorted.

    allow_no_nodes
        Whether nodes that are served may all go at once.
    has_registry
        Whether the master's registry has added to the pillar.
    """

    servers: Mapping[str, Server]
    networks: Mapping[str, Network]
    images: Mapping[str, Image]
    nodes: Mapping[str, Node]
    consoles: tuple[str, ...] = ()
    lookup: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    rules: tuple[Rule, ...] = ()
    allow_no_nodes: bool = False
    adopt: frozenset[str] = frozenset()
    has_registry: bool = False

    def golden(self, minion_id: str) -> tuple[Image, ...]:
        """Return the images that are taken from one golden machine.

        Raises :class:`DisklessError` when ``minion_id`` is none of this cluster.
        """
        minions = {
            name: image.source.minion
            for name, image in self.images.items()
            if image.source is not None and image.source.minion is not None
        }
        images = tuple(self.images[name] for name, who in minions.items() if who == minion_id)
        if not images:
            known = ", ".join(sorted({*minions.values()})) or "none"
            raise DisklessError(
                f"diskless:images: found no image whose source is the minion {minion_id!r}, only: "
                f"{known}; name it there, or do not target it with diskless.golden"
            )
        return images

    def servers_of(self, image: Image) -> tuple[str, ...]:
        """Return the boot servers that have an image, by minion id."""
        return tuple(name for name in self.servers if image.name in self.served_by(name).images)

    def served_by(self, minion_id: str) -> Site:
        """Return what one boot server has to do.

        Raises :class:`DisklessError` when ``minion_id`` is no boot server of this cluster.
        """
        server = self.servers.get(minion_id)
        if server is None:
            known = ", ".join(sorted(self.servers)) or "none"
            raise DisklessError(
                f"diskless:servers: found no server with the minion id {minion_id!r}, only: "
                f"{known}; add this minion, or do not target it with the diskless states"
            )
        networks = {name: net for name, net in self.networks.items() if net.server == minion_id}
        nodes = {
            name: node for name, node in self.nodes.items() if node.network.server == minion_id
        }
        used = {node.image.name for node in nodes.values()}
        images = {
            name: image
            for name, image in self.images.items()
            if name in used or len(self.servers) == 1
        }
        return Site(server, networks, images, nodes, self.consoles, self.adopt)


@dataclass(frozen=True, slots=True)
class Site:
    """One boot server with its networks, images and nodes (in the order of their addresses).

    adopt
        Paths of files that somebody else wrote and that may be replaced.
    """

    server: Server
    networks: Mapping[str, Network]
    images: Mapping[str, Image]
    nodes: Mapping[str, Node]
    consoles: tuple[str, ...] = ()
    adopt: frozenset[str] = frozenset()

    def nodes_of(self, image: Image) -> tuple[Node, ...]:
        """Return the nodes that boot from ``image``."""
        return tuple(node for node in self.nodes.values() if node.image is image)

    def settings_of(self, image: Image) -> list[tuple[Settings, list[str]]]:
        """Return the settings of the nodes that boot from ``image``, each once, with the names of
        the nodes that share them."""
        shared: dict[int, tuple[Settings, list[str]]] = {}
        for node in self.nodes_of(image):
            shared.setdefault(id(node.settings), (node.settings, []))[1].append(node.name)
        return list(shared.values())
