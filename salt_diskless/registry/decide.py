"""Who becomes what. A decision is made against the pillar and what of the registry has to do with
it, in one transaction, and what boot servers are to be told of it is part of that."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from salt_diskless.cluster import Cluster, DisklessError, parse, schema
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.names import of_node_set
from salt_diskless.cluster.ranges import MOST_NODES, TooMany, terms
from salt_diskless.cluster.wording import listed as in_words
from salt_diskless.cluster.wording import nearest
from salt_diskless.registry.allocate import Allocator
from salt_diskless.registry.announcement import read
from salt_diskless.registry.authority import reserved
from salt_diskless.registry.listed import Listed, listed
from salt_diskless.registry.origin import Origin
from salt_diskless.registry.store import Machine, RegisteredNode, Store, Transaction


@dataclass(frozen=True, slots=True)
class Wish:
    """A machine that is to be a node.

    names
        The first free one of them is its name.
    run
        The names that an address run counts (None: ``names``).
    places
        As :meth:`Allocator.address` takes them.
    """

    mac: str
    names: tuple[str, ...]
    places: Any = None
    profile: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    rule: str | None = None
    run: tuple[str, ...] | None = None


def names_of(pattern: Any) -> tuple[str, ...]:
    """Return the host names of a node set.

    Raises :class:`DisklessError` when it is none.
    """
    try:
        return tuple(of_node_set(pattern))
    except ValueError as err:
        raise DisklessError(f"name: found {shown(pattern)}; {err}") from None


def meant(who: Any) -> list[str]:
    """Return what somebody may have typed: on Salt's command line, YAML makes a number of a MAC
    whose bytes are all below 60, in base 60, and of a serial number of digits."""
    if isinstance(who, str):
        return [who]
    if not isinstance(who, int) or isinstance(who, bool) or who < 0:
        return []
    parts = [who // 60**power % 60 for power in range(4, -1, -1)]
    first = who // 60**5
    mac = [":".join(f"{part:02d}" for part in (first, *parts))] if 0 < first < 100 else []
    return [*mac, str(who)]


def mac_of(who: Any) -> str | None:
    """Return the MAC that somebody typed, or None when it is none."""
    for text in meant(who):
        with contextlib.suppress(DisklessError):
            return read({"mac": text}).mac
    return None


class Ambiguous(DisklessError):
    """A number that was meant as a MAC, or as a serial number."""


def find(tx: Transaction, who: Any) -> Machine:
    """Return the machine that is meant: by its MAC, its serial number, or the node that it is. What
    is a MAC is nothing else: what serial number a machine says to have is anybody's guess.

    Raises :class:`DisklessError` when there is none, or more than one, and :class:`Ambiguous`.
    """
    mac = mac_of(who)
    found = None if mac is None else tx.machine(mac)
    if found is not None:
        return found
    others: list[Machine] = []
    if mac is None or not isinstance(who, str):
        node = tx.node(who) if isinstance(who, str) else None
        machine = tx.machine(node.mac) if node and node.mac else None
        others = [machine] if machine else [one for text in meant(who) for one in tx.serials(text)]
    macs = ", ".join(machine.mac for machine in others)
    if others and mac is not None:
        raise Ambiguous(
            f"{shown(who)}: found the MAC {mac}, which nobody has, and {macs} with that serial "
            "number; give the MAC of the machine, in quotes"
        )
    if len(others) == 1:
        claims = tx.contradictions(macs).get(macs, {}).get("serial")
        if claims:
            raise DisklessError(
                f"{shown(who)}: found {macs}, for which other events gave the serial number "
                f"{' or '.join(claims)}; look at the machine itself, and give its MAC"
            )
        return others[0]
    if others:
        raise DisklessError(f"{shown(who)}: found {macs}; give the MAC of one of them")
    near = "" if mac else nearest(str(who)[:64], (node.name for node in tx.nodes()))
    raise DisklessError(
        f"{shown(who)}: found no such machine in the registry; give the MAC or the serial number "
        "that `salt-run diskless.pending` shows, or a registered node's name"
        + (f" ({near})" if near.startswith("did") else "")
    )


def find_or_new(tx: Transaction, who: Any) -> Machine | str:
    """Return the machine that is meant, or the MAC of one that has not announced itself.

    Raises as :func:`find` does.
    """
    try:
        return find(tx, who)
    except Ambiguous:
        raise
    except DisklessError:
        mac = mac_of(who)
        if mac is None:
            raise
        return mac


def split(text: Any) -> list[Any]:
    """Return what stands between commas, without those within the brackets of a node set; and a
    node set as its names."""
    if not isinstance(text, str):
        return [text]
    found: list[Any] = []
    try:
        for _, item in terms(text.replace(" ", ""), ","):
            found += names_of(item) if "[" in item else [item]
            if len(found) > MOST_NODES:
                raise TooMany(len(found))
    except ValueError as err:
        raise DisklessError(
            f"machines: found {shown(text)}; give a node set, or names with commas ({err})"
        ) from None
    return found


def machines_of(tx: Transaction, who: Any) -> list[str]:
    """Return the MACs of the machines that are meant: ``pending``, all that wait; or MACs, also of
    machines that nobody has seen, and serial numbers."""
    if who == "pending":
        return [machine.mac for machine in tx.machines("pending")]
    several = who if isinstance(who, list | tuple) else split(who)
    there = [find_or_new(tx, one) for one in several]
    return [one if isinstance(one, str) else one.mac for one in there]


def places_of(ip: Any) -> Any:
    """Return an address, an address run or a range, or None where nothing is given.

    Raises :class:`DisklessError` when it is none of these.
    """
    right = "an address, the first one with a '+', or a range"
    return None if ip is None else _valid(_PLACES, ip, "ip", right)


def address_of(text: Any, what: str) -> str:
    """Return an address that stands for one node only: its ``ip``, or its ``bmc``.

    Raises :class:`DisklessError` that names ``what`` when it is none.
    """
    return str(_valid(_ADDRESS, text, what, "an address"))


def _valid(kind: TypeAdapter[Any], value: Any, what: str, right: str) -> Any:
    try:
        return kind.validate_python(value)
    except ValidationError:
        raise DisklessError(f"{what}: found {shown(value)}; give {right}") from None


_NOBODY = Origin()


class Desk:
    """Where decisions are made.

    pillar
        What stands below ``diskless`` in the master's own pillar, without the registry's nodes.
    origin
        Who decides.
    masters
        The minion ids of masters, which no node may have.

    Raises :class:`ClusterError` when that is wrong, beside its nodes.
    """

    def __init__(
        self,
        store: Store,
        pillar: Mapping[str, Any],
        origin: Origin = _NOBODY,
        masters: Collection[str] = (),
    ):
        self.store = store
        self.origin = origin
        self.masters = masters
        self.pillar = pillar
        if not isinstance(pillar, Mapping):
            parse(pillar)
        self.listed: Listed = listed(pillar.get("nodes"))
        self.cluster: Cluster = parse({**pillar, "nodes": {}})

    def whole(self) -> Cluster:
        """Return the cluster with all its nodes: the pillar's, and the registry's that are
        machines."""
        with self.store.read() as tx:
            return self._with([node for node in tx.nodes() if node.mac is not None])

    # -- deciding -----------------------------------------------------------------------------

    def accept(
        self, wishes: Sequence[Wish], test: bool = False, refused: list[str] | None = None
    ) -> list[RegisteredNode]:
        """Make nodes of machines, and return them.

        test
            Change nothing.
        refused
            Takes the words for those that cannot be; without it they are an error.

        Raises :class:`DisklessError` or :class:`ClusterError`, and then nothing is changed.
        """
        with self._change(test) as tx:
            allocator = Allocator(self.cluster, self.listed, tx.nodes())
            new: list[tuple[Wish, RegisteredNode]] = []
            for wish in wishes:
                if wish.rule is not None and not _waits(tx, wish.mac):
                    # Somebody has decided meanwhile.
                    continue
                try:
                    new.append((wish, self._node(tx, allocator, wish)))
                except DisklessError as err:
                    if refused is None:
                        raise
                    refused.append(f"{wish.mac}: {err}")
            try:
                nodes = self._checked(tx, [node for _, node in new])
            except DisklessError:
                if refused is None:
                    raise
                return self._one_by_one(tx, new, refused)
            for (wish, _), node in zip(new, nodes, strict=True):
                self._settle(tx, node, wish.rule)
        return nodes

    def _one_by_one(
        self, tx: Transaction, new: Sequence[tuple[Wish, RegisteredNode]], refused: list[str]
    ) -> list[RegisteredNode]:
        """Make nodes of those that can be; the arguments are as in :meth:`accept`."""
        self._checked(tx, [])
        done = []
        for wish, node in new:
            try:
                (checked,) = self._checked(tx, [node])
            except DisklessError as err:
                refused.append(f"{wish.mac}: {err}")
                continue
            self._settle(tx, checked, wish.rule)
            done.append(checked)
        return done

    def reject(self, who: Iterable[Any], test: bool = False) -> list[str]:
        """Refuse machines, and return their MACs. One that is a node must be forgotten first."""
        done = []
        with self._change(test) as tx:
            for one in who:
                machine = find_or_new(tx, one)
                mac = machine if isinstance(machine, str) else machine.mac
                node = tx.node_of(mac)
                if node is not None or mac in self.listed.macs:
                    name = node.name if node else self.listed.macs[mac]
                    raise DisklessError(f"{shown(one)}: it is {name}; {_AWAY[node is not None]}")
                if isinstance(machine, Machine) and machine.server not in self.cluster.servers:
                    tx.unclaim(mac, "server")
                servers = self._servers(tx, None if isinstance(machine, str) else machine)
                tx.decide(mac, "rejected")
                tx.record(mac, "rejected", self.origin)
                for server in servers:
                    tx.deliver(server, "reject", mac)
                done.append(mac)
        return done

    def forget(self, who: Iterable[Any], test: bool = False) -> list[str]:
        """Take machines, nodes and places out of the registry, and return what they were called.
        A machine that is still there may announce itself anew."""
        done = []
        with self._change(test) as tx:
            for one in who:
                place = tx.node(one) if isinstance(one, str) else None
                if place is not None and place.mac is None:
                    tx.remove(place.name)
                    tx.record(place.name, "forgotten", self.origin)
                    done.append(place.name)
                    continue
                if place is None and isinstance(one, str) and one.lower() in self.listed.names:
                    raise DisklessError(
                        f"{one}: found a node that the pillar lists; remove it from the pillar"
                    )
                machine = find(tx, one)
                node = tx.node_of(machine.mac)
                if node is not None:
                    tx.remove(node.name)
                    if node.server is not None and not self.listed.same(node.name, None):
                        tx.deliver(node.server, "remove", node.name)
                for server in self._servers(tx, machine):
                    tx.deliver(server, "forget", machine.mac)
                tx.forget(machine.mac)
                tx.record(machine.mac, "forgotten", self.origin)
                done.append(node.name if node else machine.mac)
        return done

    def replace(self, old: Any, new: Any, test: bool = False) -> RegisteredNode:
        """Let a node be another machine from now on: its board was swapped.

        old
            The node, or the MAC of the board that was there.
        new
            The MAC, or the serial number, of the board that is there.
        """
        with self._change(test) as tx:
            there = self._registered(tx, old)
            machine = find_or_new(tx, new)
            mac = machine if isinstance(machine, str) else machine.mac
            other = tx.node_of(mac)
            if other is not None or mac in self.listed.macs:
                name = other.name if other else self.listed.macs[mac]
                raise DisklessError(f"{mac}: it is {name} already; give the MAC of the new board")
            tx.remove(there.name)
            (node,) = self._checked(tx, [dataclasses.replace(there, mac=mac)])
            self._settle(tx, node, None)
            self._part(tx, there, node)
        return node

    def bring(self, nodes: Sequence[RegisteredNode], test: bool = False) -> None:
        """Have these nodes in the registry as they are given, in the place of those of the same
        names; one without a MAC is a place that waits for its machine."""
        with self._change(test) as tx:
            brought = self._checked(tx, nodes)
            macs = {node.mac for node in brought}
            for node in brought:
                there = tx.node(node.name)
                if there is not None:
                    tx.remove(there.name)
                    self._part(tx, there, node, macs)
            for node in brought:
                if node.mac is None:
                    tx.put(node)
                    tx.record(node.name, "imported", self.origin)
                else:
                    self._settle(tx, node, None)

    def follow(self) -> None:
        """Have nodes be told to the boot servers that the pillar has for them now.

        Raises :class:`ClusterError` when it has others for some, and cannot have them there.
        """
        with self.store.write() as tx:
            if all(self._serves(*kind) for kind in tx.kinds()):
                return
            there = [node for node in tx.nodes() if node.mac is not None]
            for old, node in zip(there, self._served(there), strict=True):
                if node.server != old.server:
                    tx.put(node)
                    tx.deliver(str(node.server), "add", node.name)
                    if old.server in self.cluster.servers:
                        tx.deliver(str(old.server), "remove", node.name)

    # -- parts --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _change(self, test: bool) -> Iterator[Transaction]:
        if not test:
            with self.store.write() as tx:
                yield tx
            return
        with contextlib.suppress(_OnlyTest), self.store.write() as tx:
            yield tx
            raise _OnlyTest

    def _node(self, tx: Transaction, allocator: Allocator, wish: Wish) -> RegisteredNode:
        there = tx.node_of(wish.mac)
        if there is not None or wish.mac in self.listed.macs:
            name = there.name if there else self.listed.macs[wish.mac]
            raise DisklessError(f"{wish.mac}: it is {name} already; {_AWAY[there is not None]}")
        name = allocator.name(wish.names)
        place = allocator.place(name)
        profile = wish.profile or (place.profile if place else None) or self.only_profile()
        settings = dict(wish.settings or (place.settings if place else {}))
        network = self.network_of(profile, settings)
        names = wish.run or wish.names
        if place and "bmc" in place.settings:
            settings.setdefault("bmc", place.settings["bmc"])
        if settings.get("bmc") is not None:
            right = "an address, or the first one with a '+'"
            bmc = _valid(_ADDRESS_OR_RUN, settings["bmc"], "bmc", right)
            settings["bmc"] = allocator.bmc(name, names, bmc)
        ip = allocator.address(network, name, names, wish.places)
        return RegisteredNode(name, wish.mac, ip, profile, settings)

    def only_profile(self) -> str:
        """Return the pillar's profile, where it has just one."""
        profiles = self.pillar.get("profiles") or {}
        if len(profiles) != 1:
            raise DisklessError(f"profile: found nothing; give one of {in_words(profiles)}")
        return str(next(iter(profiles)))

    def network_of(self, profile: str, settings: Mapping[str, Any]) -> str:
        """Return the network of a node: its own, or of the nearest profile that has one."""
        profiles: Mapping[str, Any] = self.pillar.get("profiles") or {}
        if not isinstance(profile, str) or profile not in profiles:
            raise DisklessError(
                f"profile: found {shown(profile)}; {nearest(str(profile), profiles)}"
            )
        layer: Any = {"profile": profile, **settings}
        while layer and "network" not in layer:
            layer = profiles.get(layer.get("profile"))
        network = layer["network"] if layer else None
        if not isinstance(network, str) or network not in self.cluster.networks:
            known = in_words(self.cluster.networks)
            raise DisklessError(
                f"network: found {shown(network)} for profile {profile}; give one of {known}"
            )
        return str(network)

    def _checked(self, tx: Transaction, new: Sequence[RegisteredNode]) -> list[RegisteredNode]:
        """Return the new nodes with their boot servers, if the cluster with them is right: those of
        the registry count that have something which the new ones have, however many it has."""
        for node in new:
            problem = self.listed.conflict(node.name, node.mac, node.ip)
            if problem is not None:
                raise DisklessError(str(problem))
        names = {*self.listed.names, *(node.name.lower() for node in new)}
        if len(names) + tx.count() > MOST_NODES:
            names |= {node.name.lower() for node in tx.nodes()}
        if len(names) > MOST_NODES:
            raise DisklessError(
                f"nodes: found {len(names)} with these; give at most {MOST_NODES} in all"
            )
        minions = reserved(self.cluster, *self.masters)
        for node in new:
            if node.name.lower() in minions:
                raise DisklessError(
                    f"name: found {node.name}, the minion id of a boot server, a golden machine or "
                    "a master; give the node another name"
                )
        taken = {node.name.lower() for node in new}
        old = [node for node in tx.near(new) if node.name.lower() not in taken]
        for node in old:
            if self.listed.same(node.name, None):
                raise DisklessError(
                    f"{node.ip}: the registry still has it, or the MAC {node.mac}, for "
                    f"{node.name}, which the pillar lists by hand; salt-run diskless.forget "
                    f"{node.name} first"
                )
        return self._served([*old, *new])[len(old) :]

    def _with(self, nodes: Sequence[RegisteredNode]) -> Cluster:
        """Return the cluster with these nodes beside the pillar's, whose word counts."""
        written: dict[str, Any] = dict(self.pillar.get("nodes") or {})
        macs = {*self.listed.macs, *(node.mac for node in nodes)}
        free = (mac for number in itertools.count() if (mac := _stand_in(number)) not in macs)
        for node in nodes:
            if not self.listed.same(node.name, None) and not self._contradicts(node):
                # A place waits for a MAC; whether it is right otherwise can be seen now.
                own = node.as_pillar()
                written[node.name] = own if node.mac else {"mac": next(free), **own}
        return parse({**self.pillar, "nodes": written})

    def _served(self, nodes: Sequence[RegisteredNode]) -> list[RegisteredNode]:
        cluster = self._with(nodes)
        return [
            dataclasses.replace(
                node,
                server=cluster.nodes[node.name].network.server
                if node.name in cluster.nodes
                else node.server,
            )
            for node in nodes
        ]

    def _serves(self, profile: str | None, settings: Mapping[str, Any], server: str | None) -> bool:
        """Tell whether the pillar has this boot server for such a node."""
        try:
            network = self.network_of(profile or self.only_profile(), settings)
        except DisklessError:
            return False
        return self.cluster.networks[network].server == server

    def _contradicts(self, node: RegisteredNode) -> bool:
        return self.listed.conflict(node.name, node.mac, node.ip) is not None

    def _settle(self, tx: Transaction, node: RegisteredNode, rule: str | None) -> None:
        assert node.mac is not None and node.server is not None
        machine = tx.machine(node.mac)
        if machine is not None and machine.state == "rejected":
            for server in self._servers(tx, machine):
                tx.deliver(server, "forget", node.mac)
        tx.decide(node.mac, "accepted", rule)
        origin = self.origin if rule is None else self.origin.by_rule(rule)
        tx.record(node.mac, "accepted", origin)
        tx.put(node)
        tx.deliver(node.server, "add", node.name)

    def _part(
        self,
        tx: Transaction,
        there: RegisteredNode,
        new: RegisteredNode,
        macs: Container[str | None] = (),
    ) -> None:
        """Have boot servers let go of what a node was and is not any more: one serves no second
        node of a name, an address or a MAC. In the registry the new one may stand already.

        macs
            Those of all the nodes that come.
        """
        if there.mac is None:
            return
        swapped = there.mac != new.mac
        was, will = ((node.name, node.ip, node.server) for node in (there, new))
        if (was != will or new.mac is None or (swapped and there.mac in macs)) and (
            there.server in self.cluster.servers
        ):
            tx.deliver(str(there.server), "remove", there.name)
        if swapped:
            for server in self._servers(tx, tx.machine(there.mac)):
                tx.deliver(server, "forget", there.mac)
            tx.forget(there.mac)
            tx.record(there.mac, "replaced", self.origin)

    def _servers(self, tx: Transaction, machine: Machine | None) -> list[str]:
        """Return the boot servers that a machine may ask: those that saw it, or all of them."""
        if machine is not None and machine.server in self.cluster.servers:
            others = tx.contradictions(machine.mac).get(machine.mac, {}).get("server", [])
            return sorted({str(machine.server), *others} & self.cluster.servers.keys())
        return sorted(self.cluster.servers)

    def _registered(self, tx: Transaction, who: Any) -> RegisteredNode:
        node = tx.node(who) if isinstance(who, str) else None
        if node is None:
            if isinstance(who, str) and who.lower() in self.listed.names:
                raise DisklessError(
                    f"{who}: the pillar lists it by hand; give it its new MAC there"
                )
            node = tx.node_of(find(tx, who).mac)
        if node is None:
            raise DisklessError(f"{shown(who)}: it is no node; accept it instead")
        return node


def _stand_in(number: int) -> str:
    return (0x02 << 40 | number).to_bytes(6, "big").hex(":")


def _waits(tx: Transaction, mac: str) -> bool:
    machine = tx.machine(mac)
    return machine is not None and machine.state == "pending"


class _OnlyTest(Exception):
    """Ends a transaction that was to change nothing."""


_PLACES: TypeAdapter[Any] = TypeAdapter(schema.Places)
_ADDRESS: TypeAdapter[Any] = TypeAdapter(schema.Address)
_ADDRESS_OR_RUN: TypeAdapter[Any] = TypeAdapter(schema.AddressOrRun)
#: How a node gets out of the way: by whether it is the registry's.
_AWAY = {True: "forget it first, or replace its board", False: "the pillar lists it by hand"}


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a node beside its MAC, address and profile, if they can be some."""
    known = set(schema.NodeIn.model_fields) - {"mac", "ip", "profile"}
    for key in settings:
        if key not in known:
            raise DisklessError(
                f"{shown(key)}: found an unknown setting; {nearest(str(key), known)}"
            )
    return dict(settings)
