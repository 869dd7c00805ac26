"""What later events say otherwise about a waiting machine is shown beside what was said first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless.cluster import DisklessError
from salt_diskless.registry import deliver, report
from salt_diskless.registry.decide import find
from salt_diskless.registry.store import Store
from tests.unit.registry import accept, announce, desk, mac, of

RULES = {
    "rules": {
        "rack7": {"serials": ["S1A", "S2B"], "nodes": "node[050-051]", "profile": "compute"},
    }
}


@pytest.fixture
def store(tmp_path) -> Store:
    return of(tmp_path)


def waiting(store: Store) -> dict[str, dict]:
    with store.read() as tx:
        return {one["mac"]: one for one in report.waiting(tx)}


def test_the_first_boot_server_and_serial_number_stay(store):
    announce(store, 1, serial="S1A", server="boot2", ip="10.8.226.201")
    announce(store, 1, serial="FORGED", server="boot1", ip="10.9.0.5")
    one = waiting(store)[mac(1)]
    assert (one["serial"], one["server"], one["ip"]) == ("S1A", "boot2", "10.8.226.201")
    assert one["contradicted"] == {"serial": ["FORGED"], "server": ["boot1"]}
    line = report.lines([one])[mac(1)]
    assert "serial S1A" in line and "seen by boot2" in line
    assert "other events say serial FORGED" in line and "other events say server boot1" in line


def test_what_was_not_said_yet_is_filled_in(store):
    announce(store, 1)
    announce(store, 1, server="boot2", ip="10.8.226.201")
    announce(store, 1, server="boot2", serial="S1A", asset="RACK-1", ip="10.8.226.202")
    one = waiting(store)[mac(1)]
    assert (one["serial"], one["asset"], one["ip"]) == ("S1A", "RACK-1", "10.8.226.202")
    assert "contradicted" not in one


def test_no_rule_of_serial_numbers_accepts_a_doubtful_machine(store):
    announce(store, 1, server="boot2")
    announce(store, 2, serial="S2B", server="boot2")
    announce(store, 1, serial="S1A", server="boot2")
    announce(store, 1, serial="S7X", server="boot2")
    deliver.apply_rules(store, desk(store, registry=RULES))
    assert {*waiting(store)} == {mac(1)}
    with store.read() as tx:
        assert [node.mac for node in tx.nodes()] == [mac(2)]


def test_all_boot_servers_that_saw_it_hear_that_it_is_rejected(store):
    announce(store, 1, server="boot2")
    announce(store, 1, server="boot1")
    announce(store, 1, server="nobody")
    desk(store).reject([mac(1)])
    with store.read() as tx:
        assert [(one.server, one.action) for one in tx.deliveries()] == [
            ("boot1", "reject"),
            ("boot2", "reject"),
        ]


def test_a_decision_and_forgetting_end_the_doubt(store):
    for end in (lambda: desk(store).forget([mac(1)]), lambda: accept(store, 1)):
        announce(store, 1, serial="S1A")
        announce(store, 1, serial="S7X")
        assert "contradicted" in waiting(store)[mac(1)]
        end()
        with store.read() as tx:
            assert tx.contradictions() == {}


@given(st.lists(st.tuples(st.sampled_from("ABCDEFGHIJKLMNOP"), st.sampled_from("XYZ")), min_size=1))
def test_no_number_of_events_makes_a_machine_long(tmp_path_factory, events):
    store = of(tmp_path_factory.mktemp("registry"))
    for serial, server in events:
        announce(store, 1, serial=f"S{serial}9", server=server)
    one = waiting(store)[mac(1)]
    first = events[0]
    assert (one["serial"], one["server"]) == (f"S{first[0]}9", first[1])
    others = one.get("contradicted", {})
    assert sum(map(len, others.values())) <= 8
    assert {value for values in others.values() for value in values} <= {
        *(f"S{serial}9" for serial, _ in events),
        *(server for _, server in events),
    } - {one["serial"], one["server"]}


def test_a_doubtful_machine_is_not_named_by_its_serial_number(store):
    announce(store, 1, serial="S1A")
    announce(store, 1, serial="S7X")
    with store.read() as tx:
        with pytest.raises(DisklessError, match="serial number S7X; look at the machine"):
            find(tx, "S1A")
        assert find(tx, mac(1)).serial == "S1A"


def test_a_boot_server_takes_the_place_of_no_boot_server(store):
    announce(store, 1, server="nobody")
    announce(store, 1, server="boot2")
    deliver.apply_rules(store, desk(store))
    assert "server" not in waiting(store)[mac(1)]
    announce(store, 1, server="boot2")
    one = waiting(store)[mac(1)]
    assert one["server"] == "boot2" and "contradicted" not in one
