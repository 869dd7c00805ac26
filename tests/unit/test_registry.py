"""The registry: what is announced, what is decided, what boot servers are to be told of it."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import logging
import os
import pathlib
import sqlite3
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless.cluster import ClusterError, DisklessError, parse
from salt_diskless.registry import decide, deliver, rules, tables
from salt_diskless.registry import store as store_module
from salt_diskless.registry.announcement import HOOK, TAG, of_event, read, started
from salt_diskless.registry.decide import Wish, machines_of, meant, names_of, places_of, split
from salt_diskless.registry.store import RegisteredNode, Store
from tests.unit.registry import PILLAR, accept, announce, content, desk, mac, of, said

BEACON = "salt/beacon/node002/diskless_discovery/52-54-00-00-00-05"
GOOD = {"id": "node002", "mac": "52:54:00:00:00:05", "ip": "10.8.226.201", "serial": "06DXK41"}


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return of(tmp_path)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What goes to the log."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Handler()
    deliver.log.addHandler(handler)
    deliver.log.setLevel(logging.INFO)
    yield lines
    deliver.log.removeHandler(handler)


# -- what an event may say ------------------------------------------------------------------------


def test_an_event_of_the_beacon_says_who_saw_what():
    found = of_event(BEACON, {**GOOD, "asset": "", "uuid": "", "_stamp": "2026-11-27T00:00:00"})
    assert (found.mac, found.server, found.serial) == (GOOD["mac"], "node002", "06DXK41")
    assert (found.asset, found.uuid, str(found.ip)) == (None, None, "10.8.226.201")
    assert of_event(BEACON, {"data": GOOD, "_stamp": "x"}) == found


def test_an_event_from_anywhere_says_no_more_than_it_says():
    # As a minion's event.send arrives, as one that is fired on the master, and as a webhook.
    inner = {"mac": "52-54-00-00-00-05", "server": "node002", "serial": "06DXK41"}
    sent = {"id": "node009", "tag": TAG, "data": inner, "cmd": "_minion_event", "pretag": None}
    expected = read({**inner, "mac": GOOD["mac"]})
    assert of_event(TAG, {**sent, "_stamp": "x"}) == expected
    assert of_event(TAG, {**inner, "_stamp": "x"}) == expected
    assert of_event(HOOK, {"post": inner, "headers": {"Host": "x"}, "body": ""}) == expected


#: What a hostile minion, or a machine with a hostile SMBIOS, might send: tag and data.
HOSTILE = [
    *((TAG, data) for data in (None, "x", 5, [], [GOOD], {}, {"data": None}, {"data": {}})),
    (None, GOOD),
    (5, GOOD),
    (["salt"], GOOD),
    (TAG, {"mac": None}),
    (TAG, {"mac": 41135040001}),
    (TAG, {"mac": ["52:54:00:00:00:05"]}),
    (TAG, {"mac": {"52:54:00:00:00:05": 1}}),
    (TAG, {"mac": b"52:54:00:00:00:05"}),
    (TAG, {"mac": "52:54:00:00:00:05\n"}),
    (TAG, {"mac": "52:54:00:00:00:05 "}),
    (TAG, {"mac": "52:54:00:00:00"}),
    (TAG, {"mac": "01:00:5e:00:00:05"}),
    (TAG, {"mac": "ff:ff:ff:ff:ff:ff"}),
    (TAG, {"mac": "00:00:00:00:00:00"}),
    (TAG, {"mac": "\uff152:54:00:00:00:05"}),
    (TAG, {"mac": "x" * (1 << 20)}),
    *(
        (TAG, {"mac": GOOD["mac"], "serial": text})
        for text in (
            "a\nb",
            "a\n",
            "\n",
            "a\r",
            "a\0",
            "\x1b[2J",
            "a\u2028b",
            "café",
            "{{ salt['cmd.run']('id') }}",
            "{% raw %}",
            "$(reboot)",
            "`reboot`",
            "; reboot",
            "a && reboot",
            "a | sh",
            "> /etc/passwd",
            "'",
            '"',
            "\\",
            "a: b",
            "{a: b}",
            "[a]",
            "!!python/object:os.system",
            "&a",
            "*a",
            "# a",
            "%n",
            "<x>",
            " ",
            " a",
            "x" * 65,
            "VALUE_TRIMMED",
            "x" * (1 << 20),
            5,
            5.5,
            True,
            ["a"],
            {"a": "b"},
            b"a",
        )
    ),
    (TAG, {"mac": GOOD["mac"], "asset": "x\ny"}),
    (TAG, {"mac": GOOD["mac"], "uuid": "x"}),
    (TAG, {"mac": GOOD["mac"], "uuid": "../../etc"}),
    (TAG, {"mac": GOOD["mac"], "ip": "10.8.226"}),
    (TAG, {"mac": GOOD["mac"], "ip": "::1"}),
    (TAG, {"mac": GOOD["mac"], "ip": 168288969}),
    (TAG, {"mac": GOOD["mac"], "server": "../node002"}),
    (TAG, {"mac": GOOD["mac"], "server": "*"}),
    (TAG, {"mac": GOOD["mac"], "server": ["node002"]}),
    # What only an admin decides.
    *(
        (TAG, {"mac": GOOD["mac"], key: "x"})
        for key in ("name", "profile", "image", "kernel_append", "state", "rule", "ip_", "number")
    ),
    (TAG, {"mac": GOOD["mac"], 5: "x"}),
    (TAG, {"data": {"mac": GOOD["mac"], "kernel_append": "init=/bin/sh"}}),
    # The tag says another machine, or another boot server, than the data.
    (BEACON, {**GOOD, "mac": "52:54:00:00:00:06"}),
    (BEACON, {**GOOD, "id": "node001"}),
    (BEACON, {key: GOOD[key] for key in ("mac", "serial")}),
    (BEACON, {**GOOD, "id": ["node002"]}),
    (BEACON, {**GOOD, "server": "node001"}),
    ("salt/beacon/../diskless_discovery/52-54-00-00-00-05", {**GOOD, "id": ".."}),
    (BEACON, {"id": "node009", "data": GOOD}),
    (BEACON, {"id": None, "data": GOOD}),
    (TAG, {**GOOD, **{f"k{number}": 1 for number in range(10**5)}}),
    (TAG, {"data": {**GOOD, **{f"k{number}": 1 for number in range(10**5)}}}),
    (HOOK, {"post": None, "body": '{"mac": "52:54:00:00:00:05"}'}),
    (HOOK, {"post": {"mac": GOOD["mac"], "profile": "compute"}}),
]


@pytest.mark.parametrize(("tag", "data"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_event_is_one_short_line(tag, data):
    with pytest.raises(DisklessError) as err:
        of_event(tag, data)
    assert len(str(err.value)) <= 1000
    assert str(err.value).isprintable() and str(err.value).isascii()


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)
_FIELDS = st.sampled_from(["mac", "serial", "asset", "uuid", "ip", "server", "id", "data", "post"])
_FRAGMENTS = st.sampled_from(
    [GOOD["mac"], "\n", "{{", "}}", "$(", ")", ": ", "- ", "'", "A1", "10.8.226.201", "node002"]
)


@given(
    st.sampled_from([TAG, BEACON, HOOK, "salt/auth"]) | st.text(),
    st.dictionaries(_FIELDS | st.text(), _ANYTHING | st.lists(_FRAGMENTS, max_size=4).map("".join))
    | _ANYTHING,
)
def test_whatever_an_event_has_nothing_but_plain_words_come_of_it(tag, data):
    try:
        found = of_event(tag, data)
    except DisklessError as err:
        assert str(err).isprintable() and len(str(err)) <= 1000
        return
    for text in (value for value in found.model_dump().values() if value is not None):
        assert str(text).isascii() and str(text).isprintable()
        assert not {*str(text)} & {*"'\"`$;|&<>{}[]()*?!#%\\\n"} and len(str(text)) <= 64
        assert ": " not in str(text)


# -- what is announced ----------------------------------------------------------------------------


def test_machines_wait_in_the_order_of_power_on(store):
    announce(store, 3, 1, 2)
    announce(store, 1)
    with store.read() as tx:
        assert [machine.mac for machine in tx.machines("pending")] == [mac(3), mac(1), mac(2)]


def test_what_becomes_known_later_is_added_and_what_is_not_said_stays(store):
    announce(store, 1, serial="A1", now=100.0)
    announce(store, 1, asset="B2", ip="10.8.226.201", server="boot2", now=200.0)
    with store.read() as tx:
        machine = tx.machine(mac(1))
    assert (machine.serial, machine.asset, machine.ip) == ("A1", "B2", "10.8.226.201")
    assert (machine.first_seen, machine.last_seen, machine.open) == (100.0, 200.0, True)


def test_a_decision_is_not_touched_by_an_announcement(store):
    accept(store, 1, serial_console="ttyS0,115200n8")
    desk(store).reject([mac(2)])
    with store.write() as tx:
        tx.delivered(tx.deliveries())
        tx.told([mac(1), mac(2)])
    before = content(store)
    announce(store, 1, 2, serial="FORGED", asset="FORGED", ip="10.8.226.72", server="boot1")
    assert content(store) == before


def test_a_node_that_announces_itself_long_after_is_told_to_its_server_again(store):
    accept(store, 1)
    desk(store).reject([mac(2)])
    with store.write() as tx:
        tx.delivered(tx.deliveries())
        tx.told([mac(1), mac(2)])
    announce(store, 1, 2)
    assert content(store)[2] == []
    with store.write() as tx:
        later = tx.machine(mac(2)).told + store_module.TELL_AGAIN + 1
        assert tx.announce(said(1), later) == "known"
        assert tx.announce(said(1), later) == "known"
        assert [(one.server, one.action, one.subject) for one in tx.deliveries()] == [
            ("boot2", "add", "node001")
        ]


def test_too_many_that_wait_are_refused_and_the_others_stay(store, monkeypatch):
    monkeypatch.setattr(store_module, "MAX_PENDING", 3)
    announce(store, 1, 2, 3)
    with pytest.raises(DisklessError, match="3 machines that wait already"):
        announce(store, 4)
    announce(store, 3, serial="A1")
    with store.read() as tx:
        assert len(tx.machines()) == 3


# -- the file -------------------------------------------------------------------------------------


def test_the_file_is_its_owners_alone(store, tmp_path):
    os.chown(tmp_path, 1234, 1235)
    announce(store, 1)
    for path, mode in ((store.directory, 0o700), (store.path, 0o600)):
        status = os.stat(path)
        assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (mode, 1234, 1235)


def test_to_look_makes_nothing(store):
    assert content(store) == [[], [], []]
    assert not os.path.exists(store.directory)


def test_what_raises_changes_nothing(store):
    announce(store, 1)
    before = content(store)
    with pytest.raises(KeyError), store.write() as tx:
        tx.announce(said(2))
        tx.decide(mac(1), "rejected")
        raise KeyError
    assert content(store) == before


def test_a_file_of_a_later_version_is_not_touched(store):
    announce(store, 1)
    with sqlite3.connect(store.path) as connection:
        connection.execute(f"PRAGMA user_version={tables.VERSION + 1}")
    newer = tables.VERSION + 1
    words = f"found version {newer}; this salt-diskless reads version {tables.VERSION} at most"
    with pytest.raises(DisklessError, match=words):
        announce(store, 2)


def test_a_file_of_the_first_version_is_read_on(store):
    accept(store, 1)
    with sqlite3.connect(store.path) as connection:
        connection.executescript(
            "DROP TABLE decision; DROP TABLE minion; ALTER TABLE delivery DROP COLUMN tried; "
            "PRAGMA user_version=1;"
        )
    before = content(store)
    announce(store, 2)
    assert content(store)[1:] == before[1:]
    with store.write() as tx:
        tx.undelivered(tx.deliveries())
        tx.started("node001")
        assert [*tx.minions()] == ["node001"]


def test_that_a_minion_started_is_kept_until_its_node_is_forgotten(store):
    accept(store, 1)
    with store.write() as tx:
        tx.started("node001")
        tx.started("node003")
    with Store(store.directory).read() as tx:
        assert {*tx.minions()} == {"node001", "node003"}
    desk(store).forget(["node001"])
    with store.read() as tx:
        assert {*tx.minions()} == {"node003"}


@pytest.mark.parametrize(
    ("tag", "data", "name"),
    [
        ("salt/minion/node001/start", {"id": "node001", "data": "Minion node001"}, "node001"),
        # Such a minion is no node's.
        ("salt/minion/db_1/start", {"id": "db_1"}, ""),
        ("salt/minion/node001/stop", {"id": "node001"}, None),
        ("salt/minion/a/b/start", {"id": "a/b"}, None),
        (TAG, {"mac": mac(1)}, None),
        (None, {}, None),
    ],
)
def test_whose_minion_started_is_said_by_tag_and_data(tag, data, name):
    assert started(tag, data) == name


@pytest.mark.parametrize(
    "data", [{"id": "node002"}, {"id": None}, {"id": ["node001"]}, {}, None, 5]
)
def test_who_says_that_anothers_minion_started_is_a_line_in_the_log(data):
    with pytest.raises(DisklessError, match=r"id: found .*the tag says 'node001'") as err:
        started("salt/minion/node001/start", data)
    assert len(str(err.value)) < 300


def test_a_file_that_is_none_is_an_error_and_no_empty_registry(store):
    announce(store, 1)
    pathlib.Path(store.path).write_bytes(b"something else" * 1000)
    with pytest.raises(DisklessError, match=r"registry\.sqlite: file is not a database"):
        content(store)


# -- accepting ------------------------------------------------------------------------------------


def test_the_next_free_name_and_address_are_given(store):
    announce(store, 1, 2, server="boot2")
    # node003 and node004 are listed, with .3 and .4; .0, .1 and .2 are the subnet's, a router's and
    # a name server's.
    given = [accept(store, number, "node[003-128]") for number in (1, 2)]
    assert [(node.name, node.ip) for node in given] == [
        ("node005", "10.8.226.5"),
        ("node006", "10.8.226.6"),
    ]
    with store.read() as tx:
        assert [node.server for node in tx.nodes()] == ["boot2", "boot2"]
        assert [(one.action, one.subject) for one in tx.deliveries()] == [
            ("add", "node005"),
            ("add", "node006"),
        ]
    pillar = {**PILLAR, "nodes": {**PILLAR["nodes"], **{n.name: n.as_pillar() for n in given}}}
    assert len(parse(pillar).nodes) == 4


def test_the_address_goes_with_the_name_where_the_first_is_given(store):
    assert accept(store, 1, "node[001-128]", "10.8.226.101+").ip == "10.8.226.101"
    assert accept(store, 2, "node[001-128]", "10.8.226.101+").name == "node002"
    # node003 and node004 are listed.
    assert accept(store, 3, "node[001-128]", "10.8.226.101+").ip == "10.8.226.105"


def test_the_bmc_goes_with_the_name_too_and_no_node_gets_its_address(store):
    given = [
        accept(store, n, "node[005-128]", "10.8.226.7-10.8.226.10", bmc="10.8.226.8+")
        for n in (1, 2)
    ]
    assert [(n.ip, n.settings["bmc"]) for n in given] == [
        ("10.8.226.7", "10.8.226.8"),
        ("10.8.226.10", "10.8.226.9"),
    ]


def test_the_address_of_a_listed_nodes_bmc_is_given_to_nobody(store):
    nodes = copy.deepcopy(PILLAR["nodes"])
    nodes["node[003-004]"]["bmc"] = "10.8.226.60+"
    wish = Wish(mac(1), ("node005",), places_of("10.8.226.60-10.8.226.69"), "compute")
    (node,) = desk(store, nodes=nodes).accept([wish])
    assert node.ip == "10.8.226.62"


def test_all_nodes_are_the_pillars_and_the_registrys_that_are_machines(store):
    accept(store, 1, "node005", bmc="10.99.0.5")
    with pytest.raises(DisklessError, match=r"bmc: found 'x'; give an address, or the first one"):
        accept(store, 2, "node006", bmc="x")
    nodes = desk(store).whole().nodes
    assert {*nodes} == {"node003", "node004", "node005"}
    assert str(nodes["node005"].bmc) == "10.99.0.5"


def test_a_range_gives_what_is_free_in_it(store):
    given = [accept(store, n, "n[1-9]", "10.8.226.71-10.8.226.74").ip for n in (1, 2, 3)]
    assert given == ["10.8.226.71", "10.8.226.73", "10.8.226.74"]
    with pytest.raises(DisklessError, match=r"no free address in 10\.8\.226\.71-10\.8\.226\.74"):
        accept(store, 4, "n[1-9]", "10.8.226.71-10.8.226.74")


def test_no_address_is_given_twice_nor_one_that_is_somebodys(store):
    """Of 254 hosts: the server's, a router's, a name server's, two listed nodes', 51 to
    discover."""
    names = "node[1000-1999]"
    wishes = [Wish(mac(n), names_of(names), None, "compute") for n in range(300)]
    refused: list[str] = []
    nodes = desk(store).accept(wishes, refused=refused)
    assert len(nodes) == 254 - 1 - 1 - 1 - 2 - 51 == 198
    assert len({node.ip for node in nodes}) == len({node.name for node in nodes}) == 198
    assert len(refused) == 102 and all("no free address" in text for text in refused)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 12),
            st.sampled_from(["node[001-006]", "node003", "a[1-9],b1", "NODE005", "x"]),
            st.sampled_from(
                [None, "10.9.0.1", "10.9.0.5", "10.9.0.3+", "10.9.0.0-10.9.0.15", "10.9.0.15"]
            ),
        ),
        max_size=12,
    )
)
def test_whatever_is_wished_the_cluster_that_comes_of_it_is_right(tmp_path_factory, wishes):
    store = of(tmp_path_factory.mktemp("wishes"))
    for number, name, ip in wishes:
        before = content(store)
        try:
            accept(store, number, name, ip, profile="other")
        except DisklessError:
            assert content(store) == before
    nodes = content(store)[1]
    pillar = {**PILLAR, "nodes": {**PILLAR["nodes"], **{n.name: n.as_pillar() for n in nodes}}}
    assert len(parse(pillar).nodes) == 2 + len(nodes)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"ip": "10.8.226.72"}, "node010:ip: found 10.8.226.72 (node010); it is the boot server"),
        ({"ip": "10.8.226.1"}, "it is a router"),
        ({"ip": "10.8.226.0"}, "it is the subnet's own address"),
        ({"ip": "10.8.226.255"}, "it is the broadcast address"),
        ({"ip": "10.8.226.201"}, "the discovery_range of"),
        ({"ip": "10.8.227.1"}, "give one inside 10.8.226.0/24"),
        ({"ip": "10.8.226.4"}, "10.8.226.4 of node004 listed here, and the registry has node010"),
        ({"name": "node003"}, "name: found no free one in node003 (the pillar has it)"),
        ({"name": "NODE003"}, "the pillar has it"),
        ({"number": 99, "name": "x", "profile": "compue"}, "did you mean compute?"),
        ({"profile": "base"}, "network: found null for profile base; give one of compute, other"),
        ({"root": "floppy"}, "diskless:nodes:node010:root: found 'floppy'"),
        ({"kernel_append": "NFSROOT=x"}, "leave NFSROOT out"),
    ],
)
def test_a_wrong_wish_is_one_error_and_nothing_is_changed(store, wish, words):
    announce(store, 1)
    before = content(store)
    with pytest.raises(DisklessError) as err:
        accept(store, **{"number": 1, "name": "node010", **wish})
    assert words in str(err.value)
    assert content(store) == before


def test_a_machine_is_one_node(store):
    accept(store, 1)
    with pytest.raises(DisklessError, match="it is node001 already; forget it first"):
        accept(store, 1)
    wish = Wish("00:21:5e:40:64:03", ("x",), None, "compute")
    with pytest.raises(DisklessError, match="it is node003 already; the pillar lists it by hand"):
        desk(store).accept([wish])


def test_in_test_mode_nothing_is_changed(store):
    announce(store, 1)
    before = content(store)
    (node,) = desk(store).accept([Wish(mac(1), ("x",), None, "compute")], test=True)
    assert (node.name, node.ip) == ("x", "10.8.226.5")
    assert desk(store).reject([mac(1)], test=True) == [mac(1)]
    assert desk(store).forget([mac(1)], test=True) == [mac(1)]
    assert content(store) == before


# -- rejecting, forgetting, replacing -------------------------------------------------------------


def orders(store: Store) -> list[tuple[str, str, str]]:
    return [(one.server, one.action, one.subject) for one in content(store)[2]]


def test_a_rejected_machine_is_told_by_the_server_that_saw_it_or_by_all(store):
    announce(store, 1, server="boot2")
    announce(store, 2, server="somebody")
    assert desk(store).reject([mac(1), mac(2), mac(3)]) == [mac(1), mac(2), mac(3)]
    assert orders(store) == [
        ("boot2", "reject", mac(1)),
        ("boot1", "reject", mac(2)),
        ("boot2", "reject", mac(2)),
        ("boot1", "reject", mac(3)),
        ("boot2", "reject", mac(3)),
    ]
    accept(store, 1)
    assert orders(store)[-2:] == [("boot2", "forget", mac(1)), ("boot2", "add", "node001")]
    assert ("boot2", "reject", mac(1)) not in orders(store)
    with pytest.raises(DisklessError, match="it is node001; forget it first"):
        desk(store).reject([mac(1)])
    with pytest.raises(DisklessError, match="it is node003; the pillar lists it by hand"):
        desk(store).reject(["00:21:5e:40:64:03"])


def test_what_is_forgotten_may_announce_itself_anew(store):
    announce(store, 1, serial="A1", server="boot2")
    accept(store, 1)
    assert desk(store).forget(["A1"]) == ["node001"]
    assert orders(store) == [
        ("boot2", "remove", "node001"),
        ("boot2", "forget", mac(1)),
    ]
    assert content(store)[:2] == [[], []]
    announce(store, 1)
    assert accept(store, 1).name == "node001"
    with pytest.raises(DisklessError, match="found no such machine in the registry"):
        desk(store).forget(["A1"])


def test_a_board_swap_keeps_name_and_address(store):
    announce(store, 1, 2, server="boot2")
    node = accept(store, 1, ip="10.8.226.99", serial_console="ttyS1")
    swapped = desk(store).replace("node001", mac(2))
    assert (swapped.name, swapped.ip, swapped.settings) == (node.name, node.ip, node.settings)
    assert swapped.mac == mac(2)
    machines, (there,), _ = content(store)
    assert there == swapped and [machine.mac for machine in machines] == [mac(2)]
    assert orders(store) == [("boot2", "add", "node001"), ("boot2", "forget", mac(1))]
    # By the MAC that was there, to one that nobody has seen.
    assert desk(store).replace(mac(2), mac(3)).name == "node001"


def test_a_board_swap_that_cannot_be_changes_nothing(store):
    accept(store, 1)
    accept(store, 2)
    before = content(store)
    for old, new, words in (
        ("node001", mac(2), "it is node002 already"),
        ("node001", "00:21:5e:40:64:03", "it is node003 already"),
        ("node003", mac(9), "the pillar lists it by hand"),
        ("node077", mac(9), "found no such machine"),
        ("node001", "nonsense", "found no such machine"),
    ):
        with pytest.raises(DisklessError, match=words):
            desk(store).replace(old, new)
    assert content(store) == before


def test_what_salts_command_line_makes_of_a_mac_or_a_serial_number_is_undone(store):
    assert meant(41135040001) == ["52:54:00:00:00:01", "41135040001"]
    assert meant(123457) == ["123457"]
    assert meant(True) == meant(None) == meant(-5) == meant(1.5) == []
    announce(store, 1, serial="123457")
    with store.read() as tx:
        assert machines_of(tx, 41135040001) == machines_of(tx, [123457]) == [mac(1)]
        assert machines_of(tx, "pending") == [mac(1)]
        assert machines_of(tx, f"{mac(1)}, {mac(2)}") == [mac(1), mac(2)]


@pytest.mark.parametrize("pattern", ["", "a b", "node[", "x" * 64, "-a", None, 5, "a/b", "$(id)"])
def test_a_name_is_a_host_name_or_a_node_set(pattern):
    with pytest.raises(DisklessError, match=r"^name: found"):
        names_of(pattern)


@pytest.mark.parametrize("ip", ["", "10.8", "a-b", "10.8.226.9-10.8.226.1", 5, "10.8.226.1++"])
def test_an_address_is_one_or_a_run_or_a_range(ip):
    with pytest.raises(DisklessError, match=r"^ip: found"):
        places_of(ip)


# -- conflicts ------------------------------------------------------------------------------------


def test_what_is_listed_by_hand_wins_and_a_conflict_names_both(store):
    accept(store, 1, "node010", "10.8.226.10")
    there = content(store)[1][0]
    for nodes, words in (
        (
            {"node010": {"mac": mac(9), "ip": "10.8.226.9"}},
            f"node010 listed here with MAC {mac(9)}",
        ),
        ({"other": {"mac": mac(1).upper(), "ip": "10.8.226.9"}}, f"{mac(1)} of other listed here"),
        ({"other": {"mac": mac(9), "ip": "10.8.226.10"}}, "10.8.226.10 of other listed here"),
        ({"x[1-3]": {"mac": [mac(7), mac(8), mac(9)], "ip": "10.8.226.8+"}}, "10.8.226.10 of x3"),
        ({"node[009-010]": {"mac": [mac(1), mac(9)], "ip": "10.8.226.8+"}}, "node010 listed here"),
    ):
        problem = desk(store, nodes=nodes).listed.conflict(there.name, there.mac, there.ip)
        assert words in str(problem) and f"node010 with MAC {mac(1)}" in str(problem)
    # The same machine under the same name is no conflict, whatever else it has now.
    same = desk(store, nodes={"NODE010": {"mac": mac(1), "ip": "10.8.226.77"}}).listed
    assert same.conflict(there.name, there.mac, there.ip) is None
    assert same.same(there.name, there.mac)


@pytest.mark.parametrize(
    ("ip", "bmc", "words"),
    [
        ("10.8.226.10", None, "ip: found 10.8.226.10; give node011 its own: node010 has it"),
        ("10.8.226.11", "10.99.0.10", "this is that of node010's BMC"),
        ("10.8.226.11", "10.8.226.10", "this is node010's own"),
        ("10.8.226.9", None, "bmc: found 10.8.226.9 (node010); give its BMC's address"),
        ("10.8.226.11", "10.8.226.11", "this is node011's own"),
    ],
)
def test_what_a_node_of_the_registry_has_no_other_gets(store, ip, bmc, words):
    accept(store, 1, "node010", "10.8.226.10", bmc="10.99.0.10")
    if ip == "10.8.226.9":
        desk(store).forget(["node010"])
        accept(store, 1, "node010", "10.8.226.10", bmc=ip)
    before = content(store)
    with pytest.raises(DisklessError) as err:
        accept(store, 2, "node011", ip, **({"bmc": bmc} if bmc else {}))
    assert words in str(err.value)
    assert content(store) == before


def test_a_conflict_does_not_keep_others_from_being_accepted(store):
    accept(store, 1, "node010")
    nodes = {"node010": {"mac": mac(9), "ip": "10.8.226.9", "profile": "compute"}}
    (node,) = desk(store, nodes=nodes).accept([Wish(mac(2), ("node011",), None, "compute")])
    assert node.name == "node011"


def test_a_pillar_with_a_conflict_is_an_error_in_its_words():
    conflict = {"path": "diskless:nodes:node010", "found": "this", "right": "do that"}
    with pytest.raises(ClusterError, match="diskless:nodes:node010: found this; do that"):
        parse({**PILLAR, "registry": {"conflicts": [conflict]}})


# -- rules ----------------------------------------------------------------------------------------


def ruled(**rule: object) -> dict:
    return {"registry": {"rules": {"rack": {"profile": "compute", **rule}}}}


def apply(store: Store, **rule: object) -> list[tuple[str, str | None]]:
    """Apply one rule, and return the nodes that came of it."""
    deliver.apply_rules(store, desk(store, **ruled(**rule)))
    return [(node.name, node.mac) for node in content(store)[1]]


def test_without_a_rule_nobody_is_accepted(store):
    announce(store, 1, 2)
    deliver.apply_rules(store, desk(store))
    assert content(store)[1] == []
    with store.read() as tx:
        assert not tx.waiting()


def test_a_list_of_macs_or_serial_numbers_gives_the_names_in_its_order(store):
    announce(store, 7, 3, 5, 1)
    assert apply(store, macs=[mac(1), mac(2).upper(), mac(3)], nodes="r[1-3]") == [
        ("r1", mac(1)),
        ("r3", mac(3)),
    ]
    announce(store, 7, serial="S2")
    assert apply(store, serials=["S1", "S2"], nodes="s[1-2]", ip="10.8.226.41+")[2:] == [
        ("s2", mac(7))
    ]
    assert content(store)[1][2].ip == "10.8.226.42"
    assert [m.rule for m in content(store)[0]] == ["rack", "rack", None, "rack"]


def test_a_serial_number_is_good_for_one_machine(store):
    announce(store, 1, 2, serial="S1")
    assert apply(store, serials=["S1"], nodes="s1") == []
    desk(store).reject([mac(1)])
    assert apply(store, serials=["S1"], nodes="s1") == [("s1", mac(2))]
    announce(store, 3, serial="S1")
    assert apply(store, serials=["S1"], nodes="s1") == [("s1", mac(2))]


def test_a_prefix_gives_the_next_name_and_who_gets_none_waits(store):
    announce(store, 1, 2, 300, 301)
    assert apply(store, prefixes=["52-54-00-00-01"], nodes="p1") == [("p1", mac(300))]
    with store.read() as tx:
        assert [machine.mac for machine in tx.machines("pending")] == [mac(1), mac(2), mac(301)]


def test_the_next_n_are_those_that_powered_on_first_in_that_time(store):
    def at(hour: int) -> float:
        return datetime.datetime(2026, 11, 27, hour, tzinfo=datetime.timezone.utc).timestamp()

    rule = {
        "next": 2,
        "since": "2026-11-27T10:00:00Z",
        "until": "2026-11-27 12:00:00",
        "nodes": "n[1-3]",
    }
    announce(store, 1, now=at(9))
    announce(store, 5, now=at(10))
    assert apply(store, **rule) == [("n1", mac(5))]
    announce(store, 4, 3, now=at(11))
    announce(store, 2, now=at(13))
    assert apply(store, **rule) == [("n1", mac(5)), ("n2", mac(4))]
    assert apply(store, **rule) == [("n1", mac(5)), ("n2", mac(4))]


def test_a_rejected_machine_is_accepted_by_no_rule(store):
    announce(store, 1)
    desk(store).reject([mac(1)])
    assert apply(store, macs=[mac(1)], nodes="r1") == []


def test_a_rule_that_cannot_be_is_a_line_in_the_log_and_the_others_go_on(store, logged):
    announce(store, 1, 2)
    registry = {
        "rules": {
            "a": {"macs": [mac(1)], "nodes": "node003", "profile": "compute"},
            "b": {"macs": [mac(2)], "nodes": "x", "ip": "10.8.226.3", "profile": "compute"},
            "c": {"prefixes": ["52:54:00"], "nodes": "y[1-9]", "profile": "compute"},
        }
    }
    deliver.apply_rules(store, desk(store, registry=registry))
    assert [(node.name, node.mac) for node in content(store)[1]] == [("y1", mac(1)), ("y2", mac(2))]
    refused, wrong = (line for line in logged if "accepted" not in line)
    assert refused.startswith(f"diskless: rule a: {mac(1)}: name: found no free one in node003")
    assert wrong.startswith(f"diskless: rule b: {mac(2)}: ")
    assert "found 10.8.226.3" in wrong and "node003" in wrong


def test_a_rule_whose_pillar_is_wrong_is_one_line_in_the_log(store, logged):
    announce(store, 1, 2)
    nodes = {"node003": {"mac": mac(8), "ip": "10.8.226.72", "profile": "compute"}}
    rules = ruled(prefixes=["52:54:00"], nodes="n[1-9]")
    deliver.apply_rules(store, desk(store, nodes=nodes, **rules))
    (line,) = logged
    assert "rule rack accepts nobody" in line and "it is the boot server boot2" in line
    assert content(store)[1] == []


def test_one_address_that_is_somebodys_keeps_no_other_from_a_rules_run(store, logged):
    accept(store, 9, "node009", "10.8.226.141")
    for number in (1, 2, 3):
        announce(store, number, serial=f"S{number}")
    run = {"serials": ["S1", "S2", "S3"], "nodes": "s[1-3]", "ip": "10.8.226.140+"}
    assert apply(store, **run) == [("node009", mac(9)), ("s1", mac(1)), ("s3", mac(3))]
    with store.read() as tx:
        assert [machine.mac for machine in tx.machines("pending")] == [mac(2)]
    assert f"rule rack: {mac(2)}: " in logged[0] and "node009 has it" in logged[0]


def test_who_is_rejected_while_rules_are_applied_stays_so(store, monkeypatch):
    announce(store, 1, 2)
    now = desk(store, **ruled(prefixes=["52:54:00"], nodes="n[1-9]"))
    accept_some = now.accept

    def and_one_is_rejected(wishes, **how):
        desk(store).reject([mac(1)])
        desk(store).forget([mac(2)])
        return accept_some(wishes, **how)

    monkeypatch.setattr(now, "accept", and_one_is_rejected)
    deliver.apply_rules(store, now)
    machines, nodes, _ = content(store)
    assert [(machine.mac, machine.state) for machine in machines] == [(mac(1), "rejected")]
    assert nodes == []


def test_what_is_a_mac_is_no_serial_number_of_somebody_elses(store):
    accept(store, 1, "node010")
    board = "00-21-5E-40-64-5D"
    announce(store, 7, serial=board)
    assert desk(store).reject([board]) == ["00:21:5e:40:64:5d"]
    desk(store).forget([board])
    assert desk(store).replace("node010", board).mac == "00:21:5e:40:64:5d"
    # 02:10:20:30:40:50 without quotes.
    number = sum(part * 60**power for power, part in enumerate((50, 40, 30, 20, 10, 2)))
    announce(store, 8, serial=str(number))
    before = content(store)
    with (
        store.read() as tx,
        pytest.raises(DisklessError, match="give the MAC of the machine, in quotes"),
    ):
        machines_of(tx, [number])
    for call in (
        lambda: desk(store).replace("node010", number),
        lambda: desk(store).reject([number]),
        lambda: desk(store).forget([number]),
    ):
        with pytest.raises(
            DisklessError, match=f"02:10:20:30:40:50, which nobody has, and {mac(8)}"
        ):
            call()
    assert content(store) == before


def test_a_rejected_machine_claims_no_boot_server_that_is_none(store):
    announce(store, 1, server="victim")
    desk(store).reject([mac(1)])
    announce(store, 1, server="victim", now=time.time() + 1000)
    assert {order.server for order in content(store)[2]} == {"boot1", "boot2"}


def test_what_the_registry_still_has_of_a_listed_node_is_said(store):
    accept(store, 1, "node010", "10.8.226.10")
    nodes = {"node010": {"mac": mac(1), "ip": "10.8.226.77", "profile": "compute"}}
    wish = Wish(mac(2), ("node011",), places_of("10.8.226.10"), "compute")
    with pytest.raises(DisklessError, match=r"salt-run diskless\.forget node010 first"):
        desk(store, nodes=nodes).accept([wish])


def test_a_place_takes_no_machines_mac(store):
    place = RegisteredNode("node010", None, "10.8.226.10", "compute")
    real = RegisteredNode("node011", "02:00:00:00:00:00", "10.8.226.11", "compute")
    desk(store).bring([place, real])
    assert [node.name for node in content(store)[1]] == ["node010", "node011"]


@pytest.mark.parametrize("settings", [{"profile": ["x"]}, {"network": ["x"]}])
def test_a_list_where_a_name_belongs_is_an_error(store, settings):
    with pytest.raises(DisklessError, match=r"found \['x'\]"):
        accept(store, 1, **settings)


def test_half_a_node_set_is_an_error(store):
    with pytest.raises(DisklessError, match=r"a node set"):
        split("node[005-")


@pytest.mark.parametrize(
    ("rule", "path", "words"),
    [
        ({}, "macs", "found 0 of macs, prefixes, serials, next; give just one"),
        ({"macs": [mac(1)], "prefixes": ["52:54:00"]}, "macs", "found 2 of"),
        ({"next": 1}, "since", "give it: the next machines are anybody's"),
        ({"next": 1}, "until", "give it"),
        ({"next": 0}, "next", "a whole number from 1"),
        ({"next": "5"}, "next", "a whole number from 1"),
        ({"next": 2, "nodes": "n1"}, "nodes", "1 for 2 machines; give as many names"),
        ({"macs": [mac(1)], "nodes": "n[1-2]"}, "macs", "1 for 2 nodes; give one a node"),
        ({"macs": [mac(1), mac(1)], "nodes": "n[1-2]"}, "macs", "stands there twice"),
        ({"macs": [41135040001]}, "macs:0", "YAML made a number"),
        ({"serials": ["$(id)"]}, "serials:0", "give 1 to 64 of"),
        ({"serials": [5]}, "serials:0", "give 1 to 64 of"),
        ({"prefixes": ["52:54"]}, "prefixes:0", "three at least"),
        ({"prefixes": ["52:54:00"], "nodes": "a b["}, "nodes", "give a host name or a node set"),
        ({"prefixes": ["52:54:00"], "profile": "compue"}, "profile", "did you mean compute?"),
        ({"prefixes": ["52:54:00"], "ip": "x"}, "ip", "give an IPv4 address"),
        ({"prefixes": ["52:54:00"], "since": "tomorrow"}, "since", "give a date and a time"),
        ({"prefixes": ["52:54:00"], "sinse": "x"}, "sinse", "did you mean since?"),
        (
            {"prefixes": ["52:54:00"], "since": "2026-11-27T10:00", "until": "2026-11-26T10:00"},
            "until",
            "give a time after since",
        ),
    ],
)
def test_a_wrong_rule_is_named(rule, path, words):
    with pytest.raises(ClusterError) as err:
        parse({**PILLAR, **ruled(**{"nodes": "n1", **rule})})
    found = [str(problem) for problem in err.value.problems]
    assert any(
        text.startswith(f"diskless:registry:rules:rack:{path}: ") and words in text
        for text in found
    ), found


def test_a_machine_that_comes_while_rules_are_applied_is_looked_at_the_next_time(
    store, monkeypatch
):
    announce(store, 1)
    now = desk(store, **ruled(prefixes=["52:54:00"], nodes="n[1-9]"))
    accept_some = now.accept

    def and_one_comes(wishes, **how):
        announce(store, 2)
        return accept_some(wishes, **how)

    monkeypatch.setattr(now, "accept", and_one_comes)
    deliver.apply_rules(store, now)
    with store.read() as tx:
        assert [(one.mac, one.open) for one in tx.machines("pending")] == [(mac(2), True)]
        assert tx.waiting()


def test_what_cannot_be_is_taken_away_with_a_line_in_the_log(store, logged):
    announce(store, 1, server="node009", ip="10.8.226.72", serial="A1")
    announce(store, 2, server="boot2", ip="10.8.226.201")
    with store.write() as tx:
        tx.announce(read({"mac": "00:21:5e:40:64:03"}))
    deliver.apply_rules(store, desk(store))
    assert logged == [
        f"diskless: {mac(1)}: node009 is no boot server",
        f"diskless: {mac(1)}: nobody lent it 10.8.226.72",
        "diskless: 00:21:5e:40:64:03 announced itself; it is node003",
    ]
    with store.read() as tx:
        one, two = tx.machines()
    assert (one.mac, one.server, one.ip, one.serial) == (mac(1), None, None, "A1")
    assert (two.mac, two.server, two.ip) == (mac(2), "boot2", "10.8.226.201")


def test_rules_are_for_those_that_wait(store):
    (rule,) = parse({**PILLAR, **ruled(prefixes=["52:54:00"], nodes="n[1-9]")}).rules
    assert list(rules.wishes(rule, [])) == []


# -- what boot servers let go of ------------------------------------------------------------------


def settled(store: Store, *numbers: int, name: str = "node[001-128]") -> list[RegisteredNode]:
    """Return nodes of which the boot servers know."""
    nodes = [accept(store, number, name) for number in numbers]
    with store.write() as tx:
        tx.delivered(tx.deliveries())
    return nodes


def moved(store: Store) -> decide.Desk:
    """Return a desk whose pillar has the networks on each other's boot servers."""
    pillar = copy.deepcopy(PILLAR)
    pillar["servers"]["boot2"]["address"] = "10.9.0.1"
    pillar["servers"]["boot1"]["address"] = "10.8.226.72"
    pillar["networks"]["compute"]["server"] = "boot1"
    pillar["networks"]["other"]["server"] = "boot2"
    return decide.Desk(store, pillar)


def test_a_board_that_a_brought_node_has_no_more_is_forgotten_where_it_was_seen(store):
    announce(store, 1, server="boot1")
    one, two = settled(store, 1, 2)
    desk(store).bring([dataclasses.replace(one, mac=mac(8)), dataclasses.replace(two, mac=mac(9))])
    assert orders(store) == [
        ("boot1", "forget", mac(1)),
        # Nobody knows who saw it.
        ("boot1", "forget", mac(2)),
        ("boot2", "forget", mac(2)),
        ("boot2", "add", "node001"),
        ("boot2", "add", "node002"),
    ]
    assert [machine.mac for machine in content(store)[0]] == [mac(8), mac(9)]


def test_a_board_that_is_another_node_now_is_taken_from_the_first_before(store):
    announce(store, 1, 2, server="boot2")
    one, two = settled(store, 1, 2)
    desk(store).bring([dataclasses.replace(one, mac=mac(2)), dataclasses.replace(two, mac=mac(1))])
    assert sorted(orders(store)[:4]) == [
        ("boot2", "forget", mac(1)),
        ("boot2", "forget", mac(2)),
        ("boot2", "remove", "node001"),
        ("boot2", "remove", "node002"),
    ]
    assert orders(store)[4:] == [("boot2", "add", "node001"), ("boot2", "add", "node002")]


def test_a_brought_node_whose_name_is_spelled_otherwise_goes_before_it_comes(store):
    (node,) = settled(store, 1, name="Node5")
    desk(store).bring([dataclasses.replace(node, name="node5", settings={"nfs": "3"})])
    assert orders(store) == [("boot2", "remove", "Node5"), ("boot2", "add", "node5")]


def test_a_brought_node_with_another_setting_only_is_not_removed(store):
    (node,) = settled(store, 1)
    desk(store).bring([dataclasses.replace(node, settings={"nfs": "3"})])
    assert orders(store) == [("boot2", "add", "node001")]


def test_a_machine_that_becomes_a_place_is_removed_and_forgotten(store):
    announce(store, 1, server="boot2")
    (node,) = settled(store, 1)
    desk(store).bring([dataclasses.replace(node, mac=None)])
    assert orders(store) == [("boot2", "remove", "node001"), ("boot2", "forget", mac(1))]
    # A place is served nowhere.
    desk(store).bring([dataclasses.replace(node, mac=None, ip="10.8.226.99")])
    assert len(orders(store)) == 2 and content(store)[0] == []


@pytest.mark.parametrize("how", ["bring", "replace"])
def test_a_node_whose_network_has_moved_is_removed_where_it_was(store, how):
    announce(store, 1, 9, server="boot2")
    (node,) = settled(store, 1)
    if how == "bring":
        moved(store).bring([dataclasses.replace(node, mac=mac(9))])
    else:
        moved(store).replace("node001", mac(9))
    assert sorted(orders(store)) == [
        ("boot1", "add", "node001"),
        ("boot2", "forget", mac(1)),
        ("boot2", "remove", "node001"),
    ]
    # One that is no boot server any more is told nothing.
    with store.write() as tx:
        tx.delivered(tx.deliveries())
        tx.put(dataclasses.replace(node, mac=mac(9), server="node009"))
    desk(store).bring([dataclasses.replace(node, mac=mac(9))])
    assert orders(store) == [("boot2", "add", "node001")]
