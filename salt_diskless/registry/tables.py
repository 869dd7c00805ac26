"""The tables of the registry's database, and how those of an earlier version become them."""

from __future__ import annotations

import sqlite3

from salt_diskless.cluster import DisklessError

VERSION = 4

#: The tables of the first version, with those columns of version 2 that are new in it.
_SCHEMA = """
CREATE TABLE machine (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    mac TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('pending', 'accepted', 'rejected')),
    serial TEXT, asset TEXT, uuid TEXT, ip TEXT, server TEXT,
    first_seen REAL NOT NULL, last_seen REAL NOT NULL,
    open INTEGER NOT NULL DEFAULT 1,
    decided REAL, rule TEXT, told REAL
);
CREATE INDEX machine_open ON machine (number) WHERE open;
CREATE INDEX machine_state ON machine (state, number);
CREATE TABLE node (
    name TEXT PRIMARY KEY COLLATE NOCASE,
    mac TEXT UNIQUE REFERENCES machine (mac),
    ip TEXT NOT NULL UNIQUE,
    profile TEXT,
    settings TEXT NOT NULL,
    server TEXT
);
CREATE INDEX node_server ON node (server);
CREATE TABLE delivery (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    server TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('remove', 'forget', 'add', 'reject')),
    subject TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    tried REAL,
    UNIQUE (server, action, subject)
);
CREATE TABLE minion (name TEXT PRIMARY KEY COLLATE NOCASE, started REAL NOT NULL);
"""
#: What makes the tables of version 2 those of version 3: who decided what about a MAC,
#: or about the name of a place.
_FROM_2 = """
CREATE TABLE decision (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL COLLATE NOCASE,
    what TEXT NOT NULL,
    user TEXT NOT NULL,
    source TEXT NOT NULL,
    made REAL NOT NULL
);
CREATE INDEX decision_subject ON decision (subject, number);
"""
#: What makes the tables of version 3 those of now: what was said later of machines that wait and
#: contradicts what was said first.
_FROM_3 = """
CREATE TABLE IF NOT EXISTS contradiction (
    mac TEXT NOT NULL REFERENCES machine (mac) ON DELETE CASCADE,
    what TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (mac, what, value)
);
"""
#: What makes the tables of version 1 those of version 2.
_FROM_1 = """
ALTER TABLE delivery ADD COLUMN tried REAL;
CREATE TABLE minion (name TEXT PRIMARY KEY COLLATE NOCASE, started REAL NOT NULL);
"""
#: By the version that is there.
_SCRIPTS = {
    0: _SCHEMA + _FROM_2 + _FROM_3,
    1: _FROM_1 + _FROM_2 + _FROM_3,
    2: _FROM_2 + _FROM_3,
    3: _FROM_3,
}


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables of a database those of now, in one transaction.

    connection
        To the database, in autocommit mode.
    path
        Its file, for messages.

    Raises :class:`DisklessError` when a later salt-diskless wrote it.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return
    if version > VERSION:
        raise DisklessError(
            f"{path}: found version {version}; this salt-diskless reads version {VERSION} at most; "
            "install the release of salt-diskless that wrote it"
        )
    connection.execute("BEGIN IMMEDIATE")
    # Another process may have done it meanwhile.
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < VERSION:
        for statement in filter(str.strip, _SCRIPTS[version].split(";")):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")
