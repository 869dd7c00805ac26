"""What reads and writes the registry is killed at any of its changes: the registry is as before or
as after, and the next call leaves what an undisturbed one leaves."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import re
import sqlite3
import subprocess
import sys

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless.registry import tables
from salt_diskless.registry.store import Store
from salt_diskless.runners import diskless as runner
from tests.conftest import CHECKOUT
from tests.functional.killed import failing, killed_at
from tests.functional.test_killed_whole import outcome
from tests.unit.registry import accept, announce, desk, of
from tests.unit.test_decisions import UNDO

pytestmark = pytest.mark.any_salt


@pytest.fixture
def store(tmp_path: pathlib.Path, monkeypatch) -> Store:
    """A registry with two nodes."""
    made = of(tmp_path)
    monkeypatch.setattr(runner, "__opts__", {}, raising=False)
    monkeypatch.setattr(runner, "store_of", lambda opts: made)
    for number in (1, 2):
        announce(made, number)
        accept(made, number)
    return made


@pytest.mark.parametrize("before", ["no file", "an older file", "the same file"])
def test_a_killed_export_leaves_one_whole_file(store, tmp_path, before):
    place = tmp_path / "pillar"
    place.mkdir()
    target = place / "nodes.sls"
    new = runner.export_()
    contents = {
        "no file": None,
        "an older file": new.partition("\n")[0] + "\ndiskless: {}\n",
        "the same file": new,
    }
    content, number = contents[before], 0
    while True:
        number += 1
        target.unlink(missing_ok=True)
        if content is not None:
            target.write_text(content)
            target.chmod(0o640)
        killed = killed_at(number, lambda: runner.export_(str(target)))
        left = target.read_text() if target.exists() else None
        assert left in ((content, new) if killed else (new,)), number
        assert runner.export_(str(target)) == str(target)
        assert os.listdir(place) == ["nodes.sls"], number
        assert target.read_text() == new
        assert target.stat().st_mode & 0o777 == (0o644 if content is None else 0o640)
        if not killed:
            break
    assert number > 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_an_export_to_a_disk_that_fails_changes_nothing(store, tmp_path, code):
    target = tmp_path / "nodes.sls"
    target.write_text(runner.export_().partition("\n")[0] + "\nolder: {}\n")
    before = target.read_text()
    files = set(os.listdir(tmp_path))
    for number in range(1, 20):
        work = failing(number, code, lambda: runner.export_(str(target)), str(tmp_path))
        error = outcome(work)
        if "NotReached" in error:
            break
        assert f"{target}: cannot be written: {os.strerror(code)}" in error, (number, error)
        assert target.read_text() == before, number
        # On a disk that is read-only now nothing can be removed; the next export does it.
        assert code == errno.EROFS or set(os.listdir(tmp_path)) == files, number
        runner.export_(str(target))
        assert set(os.listdir(tmp_path)) == files, number
        target.write_text(before)
    assert number > 1


@pytest.mark.parametrize("name", ["missing/nodes.sls", "file/nodes.sls"])
def test_an_export_to_no_directory_is_an_error(store, tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(CommandExecutionError, match=f"{name}: cannot be (written|read): .*"):
        runner.export_(str(tmp_path / name))


#: ``python -c`` of these, with a directory and files.
_IMPORT = """
import sys, pathlib
from salt_diskless.registry import importing
from tests.unit.registry import desk
from salt_diskless.registry.store import Store
files = [importing.read(path, None) for path in sys.argv[2:]]
importing.planned(desk(Store(sys.argv[1])), files, "compute").make(False)
"""
_MIGRATE = """
import sys
from salt_diskless.registry.store import Store
with Store(sys.argv[1]).write() as tx:
    tx.nodes()
"""
_TIME = re.compile(r"\b(1\.[0-9]+e\+09|1[0-9]{9}(\.[0-9]+)?)\b")
#: System calls by which SQLite changes a disk.
_CALLS = "write,pwrite64,unlink,ftruncate,fsync,fdatasync,openat"


def killed_in(number: int, store: Store, code: str, *words: str) -> bool:
    """Run Python code that is killed at its system call of that number that is about the database
    or its journal; return whether it was killed."""
    calls = f"inject={_CALLS}:signal=KILL:when={number}"
    paths = [
        word
        for path in (store.path, f"{store.path}-journal", store.directory)
        for word in ("-P", path)
    ]
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={_CALLS}", *paths]
    command += ["-e", calls, "--", sys.executable, "-c", code, store.directory, *words]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, -9, 137), done.stderr
    return done.returncode != 0


def content(store: Store) -> str:
    """Return all that the tables hold, but for times, once the database was read."""
    with store.read() as tx:
        tx.nodes()
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        lines = list(connection.iterdump())
    return _TIME.sub("T", "\n".join(lines))


def put_back(store: Store, database: bytes) -> None:
    """Make the database what it was, without a journal."""
    path = pathlib.Path(store.path)
    path.write_bytes(database)
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)


def test_a_killed_import_is_made_whole_or_not_at_all(store, tmp_path):
    hosts, ethers = tmp_path / "hosts", tmp_path / "ethers"
    numbers = range(60, 70)
    hosts.write_text("".join(f"10.8.226.{number} node{number:03}\n" for number in numbers))
    ethers.write_text("".join(f"52:54:00:00:00:{number} node0{number}\n" for number in numbers))
    files = [str(hosts), str(ethers)]
    before, database = content(store), pathlib.Path(store.path).read_bytes()
    assert not killed_in(10_000, store, _IMPORT, *files)
    after = content(store)
    assert before != after
    reached = set()
    for number in range(1, 200):
        put_back(store, database)
        killed = killed_in(number, store, _IMPORT, *files)
        now = content(store)
        reached.add(now == after)
        assert now in (before, after), number
        assert not killed_in(10_000, store, _IMPORT, *files)
        assert content(store) == after, number
        assert [*pathlib.Path(store.directory).iterdir()] == [pathlib.Path(store.path)], number
        if not killed:
            break
    assert reached == {True, False} and number > 8


@pytest.mark.parametrize("version", UNDO)
def test_a_killed_migration_is_made_by_the_next_call(store, version):
    after = content(store)
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        connection.executescript(f"{UNDO[version]} PRAGMA user_version={version};")
    database = pathlib.Path(store.path).read_bytes()
    assert not killed_in(10_000, store, _MIGRATE)
    after = content(store)
    for number in range(1, 200):
        put_back(store, database)
        killed = killed_in(number, store, _MIGRATE)
        assert content(store) == after, number
        with contextlib.closing(sqlite3.connect(store.path)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (tables.VERSION,)
        if not killed:
            break
    assert number > 8
    assert desk(store) is not None
