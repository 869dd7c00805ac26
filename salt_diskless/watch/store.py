"""What is known of machines on a boot server, kept over restarts, and beyond what the journal has:
one row for each MAC that dhcpd gave an address (SQLite)."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from salt_diskless import tree
from salt_diskless.cluster import DisklessError
from salt_diskless.watch.journal import Entry
from salt_diskless.watch.lines import Seen, read

PATH = f"{tree.STATE}/machines.sqlite"
#: Machines that are kept, and for how long after they were seen last, in seconds; nodes' rows too,
#: which are seen at each boot.
MOST, DAYS = 50_000, 90 * 86400

_SCHEMA = """
CREATE TABLE IF NOT EXISTS machines (
    mac TEXT PRIMARY KEY, ip TEXT NOT NULL, seen REAL NOT NULL,
    dhcp REAL, loader REAL, kernel REAL, version TEXT NOT NULL DEFAULT '', asked REAL,
    serial TEXT NOT NULL DEFAULT '', asset TEXT NOT NULL DEFAULT '', uuid TEXT NOT NULL DEFAULT '',
    told REAL, told_as TEXT, offered REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS machines_ip ON machines (ip);
CREATE INDEX IF NOT EXISTS machines_seen ON machines (seen);
CREATE TABLE IF NOT EXISTS place (cursor TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS forgotten (mac TEXT PRIMARY KEY, time REAL NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """What is known of one machine; times in seconds since 1970, None for never.

    seen
        When it was heard of last.
    dhcp, loader, kernel, asked
        When dhcpd offered it the address that it then took, when it fetched its loader and its
        kernel (of that ``version``), and when it asked what was decided about it.
    told, told_as
        When an event told of it, and what of it.
    offered
        When dhcpd offered it an address that it has not taken from this server since.
    """

    mac: str
    ip: str
    seen: float
    dhcp: float | None = None
    loader: float | None = None
    kernel: float | None = None
    version: str = ""
    asked: float | None = None
    serial: str = ""
    asset: str = ""
    uuid: str = ""
    told: float | None = None
    told_as: str | None = None
    offered: float | None = None

    @property
    def known(self) -> str:
        """What its maker has written into it."""
        return "\n".join((self.serial, self.asset, self.uuid))


@contextlib.contextmanager
def opened() -> Iterator[Store]:
    """Open the store, which is root's alone, for one transaction."""
    os.makedirs(os.path.dirname(PATH), mode=0o755, exist_ok=True)
    os.close(os.open(PATH, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    try:
        with contextlib.closing(
            sqlite3.connect(PATH, timeout=30, isolation_level=None)
        ) as database:
            database.executescript(_SCHEMA)
            _upgrade(database)
            database.execute("BEGIN IMMEDIATE")
            with database:
                yield Store(database)
    except sqlite3.DatabaseError as err:
        raise DisklessError(
            f"{PATH}: {err}; it holds what was seen of machines and nothing else: when it is "
            "spoilt, remove it"
        ) from err


def _upgrade(database: sqlite3.Connection) -> None:
    """Add the column that a store of an earlier release lacks."""
    columns = {row[1] for row in database.execute("PRAGMA table_info(machines)")}
    if "offered" not in columns:
        with contextlib.suppress(sqlite3.OperationalError):
            # Another process may have done it just now.
            database.execute("ALTER TABLE machines ADD COLUMN offered REAL")


class Store:
    """The store, in a transaction."""

    def __init__(self, connection: sqlite3.Connection):
        self._db = connection

    @property
    def cursor(self) -> str:
        """The journal's entry that was read last, or nothing."""
        row = self._db.execute("SELECT cursor FROM place").fetchone()
        return row[0] if row else ""

    def take(self, entries: Iterable[Entry]) -> None:
        """Take what the daemons logged."""
        last = None
        for last in entries:
            seen = read(last.text)
            if seen is not None:
                self._take(seen, last.time)
        if last is not None:
            self._db.execute("DELETE FROM place")
            self._db.execute("INSERT INTO place VALUES (?)", (last.cursor,))
            self._prune(last.time)

    def machines(self, since: float = 0) -> list[Machine]:
        """Return the machines that were heard of since, the first one first."""
        rows = self._db.execute("SELECT * FROM machines WHERE seen >= ? ORDER BY seen", (since,))
        return [Machine(*row) for row in rows]

    def tell(self, machine: Machine, now: float) -> None:
        """Note that an event tells of a machine."""
        self._db.execute(
            "UPDATE machines SET told = ?, told_as = ? WHERE mac = ?",
            (now, machine.known, machine.mac),
        )

    def forget(self, macs: Iterable[str]) -> list[str]:
        """Forget machines; return those that were known."""
        found = []
        for mac in macs:
            if self._db.execute("DELETE FROM machines WHERE mac = ?", (mac,)).rowcount:
                found.append(mac)
        return found

    def note_forgotten(self, macs: Iterable[str], now: float) -> None:
        """Note machines that were forgotten, so that forgetting them again is no error."""
        self._db.executemany("REPLACE INTO forgotten VALUES (?, ?)", [(mac, now) for mac in macs])

    def was_forgotten(self, mac: str) -> bool:
        """Return whether a machine was forgotten before."""
        row = self._db.execute("SELECT 1 FROM forgotten WHERE mac = ?", (mac,)).fetchone()
        return row is not None

    def _take(self, seen: Seen, time: float) -> None:
        if seen.what in ("offer", "ack"):
            self._db.execute(
                "UPDATE machines SET ip = '' WHERE ip = ? AND mac != ?", (seen.ip, seen.mac)
            )
            self._db.execute(
                "INSERT INTO machines (mac, ip, seen) VALUES (?, ?, ?) "
                "ON CONFLICT (mac) DO UPDATE SET ip = excluded.ip, seen = excluded.seen",
                (seen.mac, seen.ip, time),
            )
            if seen.what == "offer":
                self._db.execute("UPDATE machines SET offered = ? WHERE mac = ?", (time, seen.mac))
                return
            # A system that renews its lease gets no offer before.
            self._db.execute(
                "UPDATE machines SET dhcp = offered, offered = NULL "
                "WHERE mac = ? AND offered IS NOT NULL",
                (seen.mac,),
            )
            return
        # Who says whose file he wants has the address that dhcpd gave to that machine.
        who = "WHERE ip = ? AND (mac = ? OR ? = '')"
        of = (seen.ip, seen.mac, seen.mac)
        self._db.execute(f"UPDATE machines SET seen = ?, {seen.what} = ? {who}", (time, time, *of))
        if seen.version:
            self._db.execute(f"UPDATE machines SET version = ? {who}", (seen.version, *of))
        if seen.known is not None:
            values = "serial = ?, asset = ?, uuid = ?"
            self._db.execute(f"UPDATE machines SET {values} {who}", (*seen.known, *of))

    def _prune(self, now: float) -> None:
        self._db.execute("DELETE FROM machines WHERE seen < ?", (now - DAYS,))
        self._db.execute("DELETE FROM forgotten WHERE time < ?", (now - DAYS,))
        self._db.execute(
            "DELETE FROM machines WHERE mac IN "
            "(SELECT mac FROM machines ORDER BY seen DESC LIMIT -1 OFFSET ?)",
            (MOST,),
        )
