"""The registry records who made a decision, when, and from where."""

from __future__ import annotations

import contextlib
import multiprocessing
import sqlite3
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless.registry import deliver, report, tables
from salt_diskless.registry.decide import Desk, Wish, names_of
from salt_diskless.registry.origin import Origin, of_call
from salt_diskless.registry.store import RegisteredNode, Store
from tests.unit.registry import PILLAR, accept, announce, content, mac, of
from tests.unit.test_registry_deliver import RULE

ALICE = Origin("sudo_alice", "salt-run")


@pytest.fixture
def store(tmp_path) -> Store:
    return of(tmp_path)


def desk(store: Store, origin: Origin = ALICE, **more) -> Desk:
    return Desk(store, {**PILLAR, **more}, origin)


def decision(store: Store, subject: str) -> tuple[str, str, str]:
    with store.read() as tx:
        made = tx.decision(subject)
    assert made is not None and abs(made.made - time.time()) < 60
    return made.what, made.user, made.source


def test_each_decision_has_its_user_and_source(store):
    announce(store, 1, 2, 3)
    mine = desk(store)
    mine.accept([Wish(mac(1), names_of("node005"), None, "compute")])
    assert decision(store, mac(1)) == ("accepted", "sudo_alice", "salt-run")
    mine.reject([mac(2)])
    assert decision(store, mac(2)) == ("rejected", "sudo_alice", "salt-run")
    desk(store, Origin("bob", "api")).replace("node005", mac(4))
    assert decision(store, mac(4)) == ("accepted", "bob", "api")
    assert decision(store, mac(1)) == ("replaced", "bob", "api")
    mine.bring([RegisteredNode("node050", None, "10.8.226.50", "compute")])
    assert decision(store, "NODE050") == ("imported", "sudo_alice", "salt-run")
    mine.forget(["node050", "node005", mac(2)])
    for subject in ("node050", mac(4), mac(2)):
        assert decision(store, subject) == ("forgotten", "sudo_alice", "salt-run")


def test_what_is_only_tested_or_refused_records_nothing(store):
    announce(store, 1)
    mine = desk(store)
    mine.accept([Wish(mac(1), names_of("node005"), None, "compute")], test=True)
    with pytest.raises(Exception, match="no such machine"):
        mine.forget([mac(1), "nosuch"])
    with store.read() as tx:
        assert tx.decisions() == {}


def test_a_rule_is_the_one_who_decides(store):
    announce(store, 1)
    rules = {**RULE, "rules": {"rack7": RULE["rules"]["all"]}}
    by = Origin("reactor", "reactor")
    deliver.apply_rules(store, desk(store, by, registry=rules))
    assert decision(store, mac(1)) == ("accepted", "rule rack7", "reactor")


def test_nodes_and_pending_show_who_decided(store):
    announce(store, 1, 2, 3)
    mine = desk(store)
    mine.accept([Wish(mac(1), names_of("node005"), None, "compute")])
    mine.reject([mac(2)])
    said = report.summary(mine)["decisions"]
    assert said["accepted"] == {"sudo_alice (salt-run)": "node005"}
    assert said["rejected"][mac(2)].startswith("sudo_alice (salt-run), 2")
    one = report.of(mine, ["node005"], {})["node005"]
    assert (one["decision"], one["by"], one["from"]) == ("accepted", "sudo_alice", "salt-run")
    assert one["decided"].endswith("Z")
    mine.forget([mac(2)])
    announce(store, 2)
    with store.read() as tx:
        waiting = {machine["mac"]: machine for machine in report.waiting(tx)}
    assert waiting[mac(2)]["before"]["decision"] == "forgotten"
    assert "before" not in waiting[mac(3)]


def test_a_registry_of_the_version_before_is_migrated(store):
    accept(store, 1, "node005")
    announce(store, 2)
    before = content(store)
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        connection.executescript("DROP TABLE decision; PRAGMA user_version=2;")
    with store.read() as tx:
        assert tx.decisions() == {}
    assert content(store) == before
    said = report.of(desk(store), ["node005"], {})["node005"]
    assert said["state"] == "registered" and "by" not in said
    desk(store).reject([mac(2)])
    assert decision(store, mac(2)) == ("rejected", "sudo_alice", "salt-run")


#: What makes a registry of now one of an earlier version.
UNDO = {
    1: "DROP TABLE contradiction; DROP TABLE decision; DROP TABLE minion; "
    "ALTER TABLE delivery DROP COLUMN tried;",
    2: "DROP TABLE contradiction; DROP TABLE decision;",
    3: "DROP TABLE contradiction;",
}


def _write(directory: str, start: Any, number: int) -> None:
    start.wait()
    for count in range(20):
        announce(Store(directory), 100 * number + count, serial=f"S{number}X{count}Q")
    desk(Store(directory)).reject([mac(100 * number)])


@pytest.mark.parametrize("version", UNDO)
def test_many_processes_migrate_a_registry_at_once(store, version):
    accept(store, 1, "node005")
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        connection.executescript(f"{UNDO[version]} PRAGMA user_version={version};")
    start = multiprocessing.Barrier(8)
    writers = [
        multiprocessing.Process(target=_write, args=(store.directory, start, number))
        for number in range(1, 9)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {writer.exitcode for writer in writers} == {0}
    with store.read() as tx:
        assert len(tx.machines("pending")) == 8 * 19 and len(tx.machines("rejected")) == 8
        assert len(tx.decisions()) == 8 + (version == 3)
        assert tx.node("node005") is not None
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA user_version").fetchone() == (tables.VERSION,)


def test_ten_decisions_about_one_machine_are_kept(store):
    for number in range(25):
        with store.write() as tx:
            tx.record(mac(1), f"w{number}", ALICE)
            tx.record(mac(2), "accepted", ALICE)
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        rows = connection.execute("SELECT count(*) FROM decision GROUP BY subject").fetchall()
    assert rows == [(10,), (10,)]
    assert decision(store, mac(1))[0] == "w24"


@pytest.mark.parametrize(
    ("user", "opts", "scheduled", "wanted"),
    [
        ("root", {"__cli": "salt-run"}, False, Origin("root", "salt-run")),
        ("sudo_alice", {"__cli": "salt-run"}, False, Origin("sudo_alice", "salt-run")),
        ("bob", {"__cli": "salt-master"}, False, Origin("bob", "api")),
        ("Reactor", {"__cli": "salt-master"}, False, Origin("reactor", "reactor")),
        ("root", {"__cli": "salt-master"}, True, Origin("root", "schedule")),
        ("UNKNOWN", {"__cli": "salt-run", "user": "salt"}, False, Origin("salt", "salt-run")),
        (None, {}, False, Origin("unknown", "api")),
        ("a\x1b[2J\nb", {"__cli": "salt-master"}, False, Origin("a??2J?b", "api")),
    ],
)
def test_the_origin_of_a_call(user, opts, scheduled, wanted):
    assert of_call(user, opts, scheduled) == wanted


@given(st.text() | st.none() | st.integers())
def test_any_user_is_a_short_printable_name(user):
    said = str(of_call(user, {"__cli": "salt-run"}))
    assert said.isprintable() and len(said) < 200
