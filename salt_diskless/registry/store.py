"""The registry's database: one file of SQLite, written by any number of processes at a time.

A change is one transaction that takes the write lock first (``BEGIN IMMEDIATE``), with a rollback
journal that is on the disk before the database is touched and gone, on the disk, when it is
committed (``synchronous=EXTRA``): who is killed, or loses power, leaves the state before or after.
What a boot server has to be told is written in the same transaction as the decision, and taken away
when the server has done it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.names import short
from salt_diskless.registry import tables
from salt_diskless.registry.announcement import Announcement
from salt_diskless.registry.origin import Origin

#: How many machines may wait for a decision: an event costs its sender nothing.
MAX_PENDING = 20_000
#: How long a boot server is left alone, in seconds, that has just been told of a machine which
#: announces itself all the same.
TELL_AGAIN = 60
#: After so many seconds a boot server that could not be told is tried once more unasked, after
#: twice as many the next time, and so on, up to the second one.
TRY_AGAIN = (30, 900)
#: So many decisions about one machine or place are kept, and so many claims that contradict the
#: first ones of a machine.
_KEPT, _MOST_CLAIMS = 10, 8
#: How long a writer waits for another one, in seconds.
_PATIENCE = 60

#: What another order undoes: that one is not given any more. (A name that comes again may have
#: another address now, and its server does not give it a second one before it is gone.)
_UNDOES = {"remove": "add", "add": "add", "forget": "reject", "reject": "forget"}


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that announced itself. Times are seconds since the epoch.

    number
        Of all machines, in the order in which they were first seen.
    open
        Whether the rules have yet to look at what it says.
    rule
        Which rule accepted it, or None.
    told
        When its boot server did what was decided.
    """

    number: int
    mac: str
    state: str
    serial: str | None
    asset: str | None
    uuid: str | None
    ip: str | None
    server: str | None
    first_seen: float
    last_seen: float
    open: bool
    decided: float | None
    rule: str | None
    told: float | None


@dataclass(frozen=True, slots=True)
class RegisteredNode:
    """A node that is not in the pillar. Without a ``mac`` it is a place that waits for a machine.

    settings
        What it has beside its profile, as a node of the pillar would.
    server
        Its boot server's minion id.
    """

    name: str
    mac: str | None
    ip: str
    profile: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    server: str | None = None

    def as_pillar(self) -> dict[str, Any]:
        """Return what would stand in the pillar below its name."""
        own: dict[str, Any] = {"mac": self.mac} if self.mac else {}
        own["ip"] = self.ip
        if self.profile is not None:
            own["profile"] = self.profile
        return {**own, **self.settings}


@dataclass(frozen=True, slots=True)
class Decision:
    """The last decision about a machine or a place; ``made`` in seconds since the epoch.

    what
        ``accepted``, ``rejected``, ``forgotten``, ``replaced`` (the old board), or
        ``imported`` (a place).
    """

    subject: str
    what: str
    user: str
    source: str
    made: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a boot server has yet to be told."""

    number: int
    server: str
    action: str
    subject: str
    tries: int


class Store:
    """The database below a directory; it is made when something is written for the first time."""

    def __init__(self, directory: str):
        self.directory = directory
        self.path = os.path.join(directory, "registry.sqlite")

    @contextlib.contextmanager
    def read(self) -> Iterator[Transaction]:
        """See the registry as it is at one moment."""
        if not os.path.exists(self.path):
            with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as empty:
                tables.migrate(empty, self.path)
                yield Transaction(empty)
            return
        with self._connection() as connection:
            connection.execute("BEGIN")
            yield Transaction(connection)

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """Change the registry, all of it or nothing: what raises within changes nothing."""
        self.create()
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield Transaction(connection)
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
            with contextlib.closing(connection):
                connection.execute("PRAGMA synchronous=EXTRA")
                connection.execute("PRAGMA foreign_keys=ON")
                tables.migrate(connection, self.path)
                yield connection
        except sqlite3.Error as err:
            raise DisklessError(f"{self.path}: {err}") from err

    def create(self) -> None:
        """Make the file, empty, where there is none: for its owner only."""
        if os.path.exists(self.path):
            return
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.geteuid() == 0:
                # The master need not be root, as whom somebody may have called a runner.
                above = os.stat(os.path.dirname(self.directory))
                os.chown(self.directory, above.st_uid, above.st_gid)
                os.fchown(descriptor, above.st_uid, above.st_gid)
        finally:
            os.close(descriptor)


def _machine(row: tuple[Any, ...]) -> Machine:
    fields = dict(zip(_MACHINE_FIELDS, row, strict=True))
    return Machine(**{**fields, "open": bool(fields["open"])})


def _node(row: tuple[Any, ...]) -> RegisteredNode:
    name, mac, ip, profile, settings, server = row
    return RegisteredNode(
        name, mac, ip, profile, {} if settings == "{}" else json.loads(settings), server
    )


_MACHINE_FIELDS = tuple(item.name for item in dataclasses.fields(Machine))
_MACHINE = ", ".join(_MACHINE_FIELDS)
_NODE = ", ".join(item.name for item in dataclasses.fields(RegisteredNode))


class Transaction:
    """What can be asked and, within :meth:`Store.write`, be changed."""

    def __init__(self, connection: sqlite3.Connection):
        self._connection = connection

    def _ask(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return self._connection.execute(sql, values)

    # -- machines -----------------------------------------------------------------------------

    def machines(self, state: str | None = None) -> list[Machine]:
        """Return the machines, or those in one state, in the order of power-on."""
        where = "" if state is None else "WHERE state = ?"
        values = () if state is None else (state,)
        rows = self._ask(f"SELECT {_MACHINE} FROM machine {where} ORDER BY number", *values)
        return [_machine(row) for row in rows]

    def for_rules(self, counting: Iterable[str]) -> list[Machine]:
        """Return the machines that wait, those that have the serial number of one of them, and
        those that were accepted by rules of these names; in the order of power-on."""
        rules = [*counting]
        rows = self._ask(
            f"SELECT {_MACHINE} FROM machine WHERE state = 'pending' OR serial IN (SELECT serial "
            f"FROM machine WHERE state = 'pending') OR rule IN ({', '.join('?' * len(rules))}) "
            "ORDER BY number",
            *rules,
        )
        return [_machine(row) for row in rows]

    def machine(self, mac: str) -> Machine | None:
        """Return the machine with that MAC."""
        row = self._ask(f"SELECT {_MACHINE} FROM machine WHERE mac = ?", mac).fetchone()
        return _machine(row) if row else None

    def serials(self, serial: str) -> list[Machine]:
        """Return the machines with that serial number."""
        rows = self._ask(f"SELECT {_MACHINE} FROM machine WHERE serial = ? ORDER BY number", serial)
        return [_machine(row) for row in rows]

    def announce(self, said: Announcement, now: float | None = None) -> str:
        """Take in what a machine says, and return what became of it: ``new``, ``changed`` or
        ``known``. What is decided is not touched by it, and what was said first stays: who sent an
        event cannot be known, so a later one with another serial number or boot server is kept
        beside the first (:meth:`contradictions`).

        Raises :class:`DisklessError` when too many wait already.
        """
        now = time.time() if now is None else now
        there = self.machine(said.mac)
        claims = said.model_dump(exclude_none=True, exclude={"mac"})
        claims = {key: str(value) for key, value in claims.items()}
        if there is None:
            (count,) = self._ask("SELECT count(*) FROM machine WHERE state='pending'").fetchone()
            if count >= MAX_PENDING:
                raise DisklessError(
                    f"{said.mac}: found {count} machines that wait already; accept, reject or "
                    "forget some"
                )
            values = (said.mac, now, now, *(claims.get(key) for key in _CLAIMS))
            self._ask(
                "INSERT INTO machine (mac, state, first_seen, last_seen, "
                f"{', '.join(_CLAIMS)}) VALUES (?, 'pending', ?, ?, ?, ?, ?, ?, ?)",
                *values,
            )
            return "new"
        if there.state != "pending":
            self._again(there, now)
            return "known"
        is_elsewhere = there.server not in (None, claims.get("server", there.server))
        if is_elsewhere:
            # It is the address that the other boot server lent.
            claims.pop("ip", None)
        new = {key: value for key, value in claims.items() if getattr(there, key) != value}
        for key, value in new.items():
            if getattr(there, key) is None or key == "ip":
                self._ask(f"UPDATE machine SET {key} = ? WHERE mac = ?", value, said.mac)
                self._ask(
                    "DELETE FROM contradiction WHERE mac = ? AND what = ? AND value = ?",
                    *(said.mac, key, value),
                )
            else:
                self._contradict(said.mac, key, value)
        self._ask("UPDATE machine SET last_seen = ?, open = 1 WHERE mac = ?", now, said.mac)
        return "changed" if new else "known"

    def _contradict(self, mac: str, what: str, value: str) -> None:
        self._ask(
            "INSERT OR IGNORE INTO contradiction (mac, what, value) SELECT ?, ?, ? WHERE "
            "(SELECT count(*) FROM contradiction WHERE mac = ?) < ?",
            *(mac, what, value, mac, _MOST_CLAIMS),
        )

    def contradictions(self, mac: str | None = None) -> dict[str, dict[str, list[str]]]:
        """Return what was said later of machines that wait, or of one of them, and contradicts what
        was said first: MAC to ``serial``, ``asset``, ``uuid`` or ``server`` to the other values."""
        where = "" if mac is None else "WHERE mac = ?"
        rows = self._ask(
            f"SELECT mac, what, value FROM contradiction {where} ORDER BY rowid",
            *(() if mac is None else (mac,)),
        )
        others: dict[str, dict[str, list[str]]] = {}
        for machine, what, value in rows:
            others.setdefault(machine, {}).setdefault(what, []).append(value)
        return others

    def _again(self, machine: Machine, now: float) -> None:
        """A machine that announces itself although it was decided about is one of which its boot
        server does not know: it is told once more."""
        if machine.told is not None and 0 <= now - machine.told < TELL_AGAIN:
            return
        node = self.node_of(machine.mac)
        if node is not None and node.server is not None:
            self.deliver(node.server, "add", node.name)
        elif machine.state == "rejected" and machine.server is not None:
            self.deliver(machine.server, "reject", machine.mac)

    def looked_at(self, machines: Iterable[Machine]) -> None:
        """Note that the rules have looked at what these machines said by then."""
        self._connection.executemany(
            "UPDATE machine SET open = 0 WHERE mac = ? AND last_seen = ?",
            [(machine.mac, machine.last_seen) for machine in machines],
        )

    def unclaim(self, mac: str, what: str) -> None:
        """Take away something that a machine says and that cannot be."""
        assert what in _CLAIMS
        self._ask(f"UPDATE machine SET {what} = NULL WHERE mac = ?", mac)

    def decide(self, mac: str, state: str, rule: str | None = None) -> None:
        """Accept or reject a machine, also one that has not announced itself."""
        now = time.time()
        self._ask("DELETE FROM contradiction WHERE mac = ?", mac)
        self._ask(
            "INSERT INTO machine (mac, state, first_seen, last_seen, decided, rule, open) "
            "VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (mac) DO UPDATE SET state = excluded.state, "
            "decided = excluded.decided, rule = excluded.rule, open = 0, told = NULL",
            *(mac, state, now, now, now, rule),
        )

    def forget(self, mac: str) -> None:
        """Take a machine out; it has no node any more."""
        self._ask("DELETE FROM machine WHERE mac = ?", mac)

    def told(self, macs: Iterable[str]) -> None:
        """Note that boot servers have done what was decided about these machines."""
        now = time.time()
        self._connection.executemany(
            "UPDATE machine SET told = ? WHERE mac = ?", [(now, mac) for mac in macs]
        )

    # -- who decided ----------------------------------------------------------------------------

    def record(self, subject: str, what: str, origin: Origin) -> None:
        """Record who made a decision.

        subject
            The MAC, or the name of a place.
        """
        self._ask(
            "INSERT INTO decision (subject, what, user, source, made) VALUES (?, ?, ?, ?, ?)",
            *(subject, what, origin.user, origin.source, time.time()),
        )
        self._ask(
            "DELETE FROM decision WHERE subject = ? AND number NOT IN (SELECT number FROM decision "
            "WHERE subject = ? ORDER BY number DESC LIMIT ?)",
            *(subject, subject, _KEPT),
        )

    def decision(self, subject: str) -> Decision | None:
        """Return the last decision about a machine, by its MAC, or about a place, by its name."""
        row = self._ask(
            "SELECT subject, what, user, source, made FROM decision WHERE subject = ? "
            "ORDER BY number DESC LIMIT 1",
            subject,
        ).fetchone()
        return Decision(*row) if row else None

    def decisions(self) -> dict[str, Decision]:
        """Return the last decision about each machine and place."""
        rows = self._ask(
            "SELECT subject, what, user, source, made FROM decision WHERE number IN "
            "(SELECT max(number) FROM decision GROUP BY subject)"
        )
        return {row[0]: Decision(*row) for row in rows}

    # -- nodes --------------------------------------------------------------------------------

    def nodes(self, server: str | None = None) -> list[RegisteredNode]:
        """Return the nodes, or those of one boot server, in the order of their names."""
        where = "" if server is None else "WHERE server = ?"
        values = () if server is None else (server,)
        rows = self._ask(f"SELECT {_NODE} FROM node {where} ORDER BY name", *values)
        return [_node(row) for row in rows]

    def kinds(self) -> list[tuple[str | None, dict[str, Any], str | None]]:
        """Return what nodes have of profile, settings and boot server, each combination once;
        places are left out."""
        rows = self._ask("SELECT DISTINCT profile, settings, server FROM node WHERE mac NOT NULL")
        return [(profile, json.loads(settings), server) for profile, settings, server in rows]

    def node(self, name: str) -> RegisteredNode | None:
        """Return the node of that name, in any case of letters."""
        return self._node("name", name)

    def node_of(self, mac: str) -> RegisteredNode | None:
        """Return the node that a machine is."""
        return self._node("mac", mac)

    def near(self, nodes: Sequence[RegisteredNode]) -> list[RegisteredNode]:
        """Return the nodes that have a MAC or an address of these, as theirs or as their BMC's, or
        whose names can mean the same host."""
        addresses = {str(ip) for node in nodes for ip in (node.ip, node.settings.get("bmc")) if ip}
        found = [self.node_of(node.mac) for node in nodes if node.mac is not None]
        found += [self._node("ip", ip) for ip in addresses]
        for bare in {short(node.name) for node in nodes}:
            # A host name has no % and no _ that LIKE would take for a pattern.
            rows = self._ask(f"SELECT {_NODE} FROM node WHERE name LIKE ?", f"{bare}.%")
            found += [self._node("name", bare), *map(_node, rows)]
        rows = self._ask(f"SELECT {_NODE} FROM node WHERE settings LIKE '%\"bmc\"%'")
        found += [node for node in map(_node, rows) if node.settings.get("bmc") in addresses]
        return list({node.name: node for node in found if node is not None}.values())

    def count(self) -> int:
        """Return how many nodes there are."""
        return int(self._ask("SELECT count(*) FROM node").fetchone()[0])

    def _node(self, column: str, value: str) -> RegisteredNode | None:
        row = self._ask(f"SELECT {_NODE} FROM node WHERE {column} = ?", value).fetchone()
        return _node(row) if row else None

    def put(self, node: RegisteredNode) -> None:
        """Write a node, in the place of the one of that name."""
        settings = json.dumps(dict(node.settings), sort_keys=True)
        self._ask(
            f"INSERT INTO node ({_NODE}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE "
            "SET name = excluded.name, mac = excluded.mac, ip = excluded.ip, "
            "profile = excluded.profile, settings = excluded.settings, server = excluded.server",
            *(node.name, node.mac, node.ip, node.profile, settings, node.server),
        )

    def remove(self, name: str) -> None:
        """Take a node out."""
        self._ask("DELETE FROM node WHERE name = ?", name)
        self._ask("DELETE FROM minion WHERE name = ?", name)

    # -- minions ------------------------------------------------------------------------------

    def started(self, name: str) -> None:
        """Note that a node's minion has started."""
        self._ask(
            "INSERT INTO minion (name, started) VALUES (?, ?) ON CONFLICT (name) DO UPDATE "
            "SET name = excluded.name, started = excluded.started",
            *(name, time.time()),
        )

    def minions(self) -> dict[str, float]:
        """Return when each minion has started last."""
        return dict(self._ask("SELECT name, started FROM minion").fetchall())

    # -- what boot servers are to be told -----------------------------------------------------

    def deliver(self, server: str, action: str, subject: str) -> None:
        """Note what a boot server is to be told: ``add`` or ``remove`` a node by its name,
        ``reject`` or ``forget`` a machine by its MAC."""
        undone = _UNDOES[action]
        self._ask(
            "DELETE FROM delivery WHERE server = ? AND subject = ? AND action IN (?, ?)",
            *(server, subject, undone, action),
        )
        self._ask(
            "INSERT INTO delivery (server, action, subject) VALUES (?, ?, ?)",
            *(server, action, subject),
        )

    def deliveries(self) -> list[Delivery]:
        """Return what boot servers have yet to be told, oldest first."""
        rows = self._ask("SELECT number, server, action, subject, tries FROM delivery ORDER BY 1")
        return [Delivery(*row) for row in rows]

    def number(self) -> int:
        """Return how many orders there have been: what was decided until now has a number up to
        this one, what is decided later a higher one."""
        row = self._ask("SELECT seq FROM sqlite_sequence WHERE name = 'delivery'").fetchone()
        return row[0] if row else 0

    def delivered(self, done: Iterable[Delivery]) -> None:
        """Note that a boot server has done this. What was ordered again meanwhile stays."""
        self._connection.executemany(
            "DELETE FROM delivery WHERE number = ?", [(item.number,) for item in done]
        )

    def undelivered(self, failed: Iterable[Delivery]) -> None:
        """Note that a boot server could not be told."""
        now = time.time()
        self._connection.executemany(
            "UPDATE delivery SET tries = tries + 1, tried = ? WHERE number = ?",
            [(now, item.number) for item in failed],
        )

    def due(self) -> bool:
        """Tell whether there is something to do for who comes by: something that nobody has tried
        yet, or that failed some time ago, longer each time (:data:`TRY_AGAIN`)."""
        first, most = TRY_AGAIN
        now = time.time()
        return self.waiting() or any(
            abs(now - tried) >= min(most, first * 2 ** min(tries - 1, 30))
            for tries, tried in self._ask("SELECT tries, coalesce(tried, 0) FROM delivery")
        )

    def waiting(self) -> bool:
        """Tell whether there is something that nobody has tried yet."""
        return bool(
            self._ask(
                "SELECT EXISTS (SELECT 1 FROM machine WHERE open AND state = 'pending') OR "
                "EXISTS (SELECT 1 FROM delivery WHERE tries = 0)"
            ).fetchone()[0]
        )


_CLAIMS = ("serial", "asset", "uuid", "ip", "server")
