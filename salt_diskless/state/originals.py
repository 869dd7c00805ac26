"""What was on this machine before the project changed it: files, directories, and how services
were. It is recorded before the change, so that it can be put back, also without a pillar."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from salt_diskless import tree

DATABASE = f"{tree.STATE}/state.sqlite"

#: An original without content did not exist. ``written`` has the digests of what the project
#: wrote or was about to write.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
    path TEXT PRIMARY KEY, content BLOB, mode INTEGER, uid INTEGER, gid INTEGER, written TEXT);
CREATE TABLE IF NOT EXISTS directory (path TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS service (name TEXT PRIMARY KEY, enabled TEXT, active INTEGER);
CREATE TABLE IF NOT EXISTS layout (names TEXT PRIMARY KEY, locations TEXT);
"""


@dataclass(frozen=True, slots=True)
class Service:
    """How a service was: the word of ``systemctl is-enabled``, and whether it ran."""

    name: str
    enabled: str
    active: bool


@dataclass(slots=True)
class Restored:
    """What :func:`put_back` did, or would do; and, by path, why a file was left as it is."""

    restored: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


def keep_files(files: Mapping[str, tree.Content], configured: bool = False) -> None:
    """Record what is at these paths, before the project writes there; who calls holds the lock of
    the writers.

    files
        Path to what will be written.
    configured
        Whether the project has configured this machine before: then files without its mark are its
        own too, and there is no original to record.
    """
    with _opened() as database:
        recorded = {path for (path,) in database.execute("SELECT path FROM file")}
        for path, content in files.items():
            if path not in recorded:
                database.execute(
                    "INSERT INTO file (path, content, mode, uid, gid) VALUES (?, ?, ?, ?, ?)",
                    (path, *_original(path, configured)),
                )
                database.executemany(
                    "INSERT OR IGNORE INTO directory VALUES (?)", _missing(os.path.dirname(path))
                )
            _note_written(database, path, content)


def _note_written(database: sqlite3.Connection, path: str, content: tree.Content) -> None:
    """Record the digest of what will be written, beside that of the project's file which is there
    now: the write may be refused, or killed."""
    (row,) = database.execute("SELECT written FROM file WHERE path = ?", (path,))
    before = {*(row[0] or "").split()} & {_digest(tree.read(path) or b"")}
    written = " ".join(sorted({_digest_of(content), *before}))
    database.execute("UPDATE file SET written = ? WHERE path = ?", (written, path))


def keep_services(services: Iterable[Service]) -> None:
    """Record how services are, unless that was recorded before."""
    with _opened() as database:
        database.executemany(
            "INSERT OR IGNORE INTO service VALUES (?, ?, ?)",
            [(one.name, one.enabled, one.active) for one in services],
        )


def keep_layout(names: Mapping[str, Any], locations: Iterable[str]) -> None:
    """Record what this distribution calls its files and services, and where the images are: a
    later pillar may call them otherwise."""
    text = json.dumps(names, sort_keys=True)
    with _opened() as database:
        row = database.execute("SELECT locations FROM layout WHERE names = ?", (text,)).fetchone()
        known = {*json.loads(row[0])} if row else set()
        if row is None or not {*locations} <= known:
            merged = json.dumps(sorted({*locations} | known))
            database.execute("INSERT OR REPLACE INTO layout VALUES (?, ?)", (text, merged))


def services() -> dict[str, Service]:
    """Return how services were, by their names."""
    rows = _read("SELECT name, enabled, active FROM service")
    return {name: Service(name, enabled, bool(active)) for name, enabled, active in rows}


def layouts() -> list[tuple[dict[str, Any], list[str]]]:
    """Return the names of files and services that the project has used, with the images'
    locations."""
    rows = _read("SELECT names, locations FROM layout")
    return [(json.loads(names), json.loads(locations)) for names, locations in rows]


def put_back(test: bool = False) -> Restored:
    """Make the recorded files and directories what they were, and forget each of them.

    A file that somebody has changed since the project wrote it is left as it is. It can be killed
    anywhere; the next call does the rest.

    test
        Touch nothing, and return what would be done.
    """
    result = Restored()
    rows = _read("SELECT path, content, mode, uid, gid, written FROM file ORDER BY path")
    for path, content, mode, uid, gid, written in rows:
        _put_back(result, path, content, (mode, uid, gid), written, test)
        if not test and path not in result.kept:
            _forget("file", path)
    for (path,) in _read("SELECT path FROM directory ORDER BY length(path) DESC"):
        if not test:
            with contextlib.suppress(OSError):  # It holds something, or is gone.
                os.rmdir(path)
            _forget("directory", path)
    return result


def _put_back(
    result: Restored,
    path: str,
    content: bytes | None,
    attributes: tuple[int, int, int],
    written: str | None,
    test: bool,
) -> None:
    there = tree.read(path)
    if there is None and content is None:
        return
    if there is not None and not (
        there == content or tree.is_marked(there) or _digest(there) in (written or "").split()
    ):
        result.kept[path] = "was changed since salt-diskless wrote it, so it stays"
        return
    if content is None:
        result.removed.append(path)
        if not test:
            os.unlink(path)
    elif there != content or _attributes(path) != attributes:
        result.restored.append(path)
        if not test:
            if there != content:
                tree.replace(path, content, 0o600)
            mode, uid, gid = attributes
            os.chown(path, uid, gid)
            os.chmod(path, mode)


def _original(path: str, configured: bool) -> tuple[bytes | None, int, int, int]:
    """Return content, mode, owner and group of a file that the project did not write."""
    content = tree.read(path)
    if content is None or configured or tree.is_marked(content):
        return None, 0, 0, 0
    return content, *_attributes(path)


def _attributes(path: str) -> tuple[int, int, int]:
    status = os.lstat(path)
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def _missing(directory: str) -> Iterator[tuple[str]]:
    while not os.path.isdir(directory):
        yield (directory,)
        directory = os.path.dirname(directory)


def _digest_of(content: tree.Content) -> str:
    if isinstance(content, tree.Copy):
        content = tree.read(content.source) or b""
    elif isinstance(content, tree.Secret):
        content = content.content
    return _digest(content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _forget(table: str, path: str) -> None:
    with _opened() as database:
        database.execute(f"DELETE FROM {table} WHERE path = ?", (path,))


def _read(sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query; none where nothing was ever recorded."""
    if not os.path.exists(DATABASE):
        return []
    with _opened() as database:
        return database.execute(sql).fetchall()


@contextlib.contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    """Open the database, which root alone may read, for one transaction."""
    os.makedirs(os.path.dirname(DATABASE), mode=0o755, exist_ok=True)
    os.close(os.open(DATABASE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(DATABASE, timeout=60)
    try:
        connection.executescript(_SCHEMA)
        with connection:
            yield connection
    finally:
        connection.close()
