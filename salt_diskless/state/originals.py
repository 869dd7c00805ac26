"""What was on this machine before the project changed it: files, directories, and how services
were. It is recorded before the change, so that it can be put back, also without a pillar."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from salt_diskless import tree
from salt_diskless.cluster.errors import DisklessError, shown
from salt_diskless.files import attributes

DATABASE = f"{tree.STATE}/state.sqlite"

#: Where files are kept that somebody changed since the project wrote them, and that it replaced.
REPLACED = f"{tree.STATE}/replaced"

#: An original without content did not exist. ``written`` has the digests of what the project
#: wrote or was about to write; ``extended`` is JSON: name to value in hexadecimal digits. A
#: ``setting`` is a value that the project gave a variable in a file of shell assignments.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
    path TEXT PRIMARY KEY, content BLOB, mode INTEGER, uid INTEGER, gid INTEGER, written TEXT);
CREATE TABLE IF NOT EXISTS attribute (path TEXT PRIMARY KEY, modified INTEGER, extended TEXT);
CREATE TABLE IF NOT EXISTS setting (
    path TEXT, name TEXT, value TEXT, PRIMARY KEY (path, name, value));
CREATE TABLE IF NOT EXISTS directory (path TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS service (name TEXT PRIMARY KEY, enabled TEXT, active INTEGER);
CREATE TABLE IF NOT EXISTS surroundings (id INTEGER PRIMARY KEY CHECK (id = 1), found TEXT);
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
    _keep_replaced(files)
    with _opened() as database:
        recorded = {path for (path,) in database.execute("SELECT path FROM file")}
        for path, content in files.items():
            if path not in recorded:
                _record(database, path, configured)
            _note_written(database, path, content)


def _record(database: sqlite3.Connection, path: str, configured: bool) -> None:
    original = _original(path, configured)
    database.execute(
        "INSERT INTO file (path, content, mode, uid, gid) VALUES (?, ?, ?, ?, ?)",
        (path, *original),
    )
    if original[0] is not None:
        extended = {name: value.hex() for name, value in attributes.extended(path).items()}
        database.execute(
            "INSERT OR REPLACE INTO attribute VALUES (?, ?, ?)",
            (path, os.lstat(path).st_mtime_ns, json.dumps(extended)),
        )
    database.executemany(
        "INSERT OR IGNORE INTO directory VALUES (?)", _missing(os.path.dirname(path))
    )


def recorded_paths() -> frozenset[str]:
    """Return the paths of all files of which the original is recorded."""
    return frozenset(path for (path,) in _read("SELECT path FROM file"))


def is_written(path: str) -> bool | None:
    """Return True if a file is as the project wrote it, False if somebody has changed it since, and
    None where nothing is recorded of it."""
    rows = _read("SELECT written FROM file WHERE path = ?", (path,))
    if not rows:
        return None
    return _digest(tree.read(path) or b"") in (rows[0][0] or "").split()


def settings(path: str, name: str) -> frozenset[str] | None:
    """Return the values that the project gave a variable in a file of shell assignments; None where
    nothing is recorded of it."""
    rows = _read("SELECT value FROM setting WHERE path = ? AND name = ?", (path, name))
    return frozenset(value for (value,) in rows) if rows else None


def replaced(files: Mapping[str, tree.Content], paths: Iterable[str]) -> dict[str, str]:
    """Return what would be lost of edits that somebody made since the project wrote these files, in
    words, by path.

    files
        Path to what will be written.
    paths
        Those of them that change.
    """
    lost: dict[str, str] = {}
    for path in paths:
        content = files[path]
        if isinstance(content, tree.Edited):
            values = {
                name: before
                for name, before in content.before.items()
                if before is not None and before not in (settings(path, name) or {before})
            }
            if values:
                lost[path] = ", ".join(f"{name}={shown(old)}" for name, old in values.items())
        elif _is_edited(path):
            lost[path] = f"a copy is {_copy_of(path)}"
    return lost


def _is_edited(path: str) -> bool:
    """Return True for a file that the project wrote, and in place of which somebody has put
    another, without the project's mark."""
    data = tree.read(path)
    if data is None or tree.is_marked(data):
        return False
    rows = _read("SELECT content, written FROM file WHERE path = ?", (path,))
    return any(
        data != original and _digest(data) not in (written or "").split()
        for original, written in rows
    )


def _copy_of(path: str) -> str:
    """Return where the copy of a file is kept that will be replaced."""
    name = path.strip("/").replace("/", "-")
    return f"{REPLACED}/{name}-{_digest(tree.read(path) or b'')[:8]}"


def _keep_replaced(files: Mapping[str, tree.Content]) -> None:
    """Copy the files that somebody has changed since the project wrote them."""
    for path, content in files.items():
        if not isinstance(content, tree.Edited) and _is_edited(path):
            data = tree.read(path) or b""
            if _digest(data) != _digest_of(content):
                tree.replace(_copy_of(path), data, 0o600)


def _note_written(database: sqlite3.Connection, path: str, content: tree.Content) -> None:
    """Record the digest of what will be written, beside that of the project's file which is there
    now: the write may be refused, or killed."""
    (row,) = database.execute("SELECT written FROM file WHERE path = ?", (path,))
    before = {*(row[0] or "").split()} & {_digest(tree.read(path) or b"")}
    written = " ".join(sorted({_digest_of(content), *before}))
    database.execute("UPDATE file SET written = ? WHERE path = ?", (written, path))
    if isinstance(content, tree.Edited):
        database.executemany(
            "INSERT OR IGNORE INTO setting VALUES (?, ?, ?)",
            [(path, name, value) for name, value in content.values.items()],
        )


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


def keep_surroundings(look: Callable[[], Mapping[str, Any]]) -> None:
    """Record what was on this machine beside files and services, unless that was recorded
    before."""
    if surroundings() is None:
        text = json.dumps(look())
        with _opened() as database:
            database.execute("INSERT OR IGNORE INTO surroundings VALUES (1, ?)", (text,))


def surroundings() -> dict[str, Any] | None:
    """Return what was on this machine beside files and services; None without a record."""
    rows = _read("SELECT found FROM surroundings")
    return json.loads(rows[0][0]) if rows else None


def forget_machine() -> None:
    """Forget how services were and what else was on this machine; not the files."""
    with _opened() as database:
        for table in ("service", "layout", "surroundings"):
            database.execute(f"DELETE FROM {table}")


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
    owner: tuple[int, int, int],
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
    elif there != content or _owner(path) != owner:
        result.restored.append(path)
        if not test:
            if there != content:
                tree.replace(path, content, 0o600)
            mode, uid, gid = owner
            os.chown(path, uid, gid)
            os.chmod(path, mode)
            _put_back_attributes(path)


def _put_back_attributes(path: str) -> None:
    for modified, text in _read("SELECT modified, extended FROM attribute WHERE path = ?", (path,)):
        extended = {name: bytes.fromhex(value) for name, value in json.loads(text).items()}
        attributes.set_extended(path, extended)
        os.utime(path, ns=(modified, modified))


def _original(path: str, configured: bool) -> tuple[bytes | None, int, int, int]:
    """Return content, mode, owner and group of a file that the project did not write."""
    content = tree.read(path)
    if content is None or configured or tree.is_marked(content):
        return None, 0, 0, 0
    return content, *_owner(path)


def _owner(path: str) -> tuple[int, int, int]:
    status = os.lstat(path)
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def _missing(directory: str) -> Iterator[tuple[str]]:
    while not os.path.isdir(directory):
        yield (directory,)
        directory = os.path.dirname(directory)


def _digest_of(content: tree.Content) -> str:
    if isinstance(content, tree.Copy):
        content = tree.read(content.source) or b""
    elif not isinstance(content, bytes):
        content = content.content
    return _digest(content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _forget(table: str, path: str) -> None:
    with _opened() as database:
        database.execute(f"DELETE FROM {table} WHERE path = ?", (path,))
        if table == "file":
            database.execute("DELETE FROM attribute WHERE path = ?", (path,))
            database.execute("DELETE FROM setting WHERE path = ?", (path,))


def _read(sql: str, arguments: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    """Return the rows of a query; none where nothing was ever recorded."""
    if not os.path.exists(DATABASE):
        return []
    with _opened() as database:
        return database.execute(sql, arguments).fetchall()


@contextlib.contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    """Open the database, which root alone may read, for one transaction."""
    try:
        os.makedirs(os.path.dirname(DATABASE), mode=0o755, exist_ok=True)
        os.close(os.open(DATABASE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as err:
        raise _unusable(err.strerror) from err
    connection = sqlite3.connect(DATABASE, timeout=60)
    try:
        connection.executescript(_SCHEMA)
        with connection:
            yield connection
    except sqlite3.Error as err:
        raise _unusable(err) from err
    finally:
        connection.close()


def _unusable(why: object) -> DisklessError:
    return DisklessError(
        f"{DATABASE}: found a record of this machine's original files that cannot be read or "
        f"written ({why}); where the disk is full, make room; where the record is damaged, put it "
        "back from a backup, or move it away: then salt-call diskless.clean restores no such file"
    )
