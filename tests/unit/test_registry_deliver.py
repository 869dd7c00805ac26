"""Boot servers are told once what many events made of it, and nothing is lost on the way."""

from __future__ import annotations

import itertools
import multiprocessing
import pathlib
import threading
import time

import pytest

from salt_diskless.cluster import DisklessError
from salt_diskless.registry import deliver
from salt_diskless.registry import store as store_module
from salt_diskless.registry.deliver import Unreachable
from salt_diskless.registry.store import Store
from tests.unit.registry import accept, announce, content, desk, mac, of

RULE = {"rules": {"all": {"prefixes": ["52:54:00"], "nodes": "n[001-999]", "profile": "compute"}}}


class Servers:
    """What boot servers were told; ``down`` do not answer, ``refuse`` what they will not do."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, object]] = []
        self.numbers: list[int] = []
        self.down: set[str] = set()
        self.refuse: set[str] = set()

    def tell(self, server: str, function: str, argument: object, number: int) -> None:
        if server in self.down:
            raise Unreachable(f"{server}: no answer")
        if self.refuse & {*argument}:
            raise DisklessError(f"{server}: not with me")
        self.told.append((server, function.partition(".")[2], argument))
        self.numbers.append(number)


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return of(tmp_path)


@pytest.fixture
def servers() -> Servers:
    return Servers()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """A burst is over sooner."""
    monkeypatch.setattr(deliver.quiet, "__defaults__", (0.3, 10.0))


def test_a_burst_of_many_at_once_is_one_call(store, servers):
    def one(number: int) -> None:
        announce(store, number)
        deliver.burst(store, lambda: desk(store, registry=RULE), servers.tell)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ((server, action, nodes),) = servers.told
    assert (server, action, len(nodes)) == ("boot2", "add", 60)
    assert len({node["ip"] for node in nodes.values()}) == 60
    assert {node["mac"] for node in nodes.values()} == {mac(number) for number in range(60)}
    assert content(store)[2] == []


def test_what_comes_while_servers_are_told_is_told_after_that(store, servers):
    """Whoever finds the lock taken goes away, so the one that has it must look again."""
    late = []

    def tell(server: str, function: str, argument: object, number: int) -> None:
        if not late:
            announce(store, 2)
            late.append(deliver.burst(store, lambda: desk(store, registry=RULE), servers.tell))
        servers.tell(server, function, argument, number)

    announce(store, 1)
    deliver.burst(store, lambda: desk(store, registry=RULE), tell)
    assert late == [{}]
    assert [[*told[2]] for told in servers.told] == [["n001"], ["n002"]]


def test_a_server_that_is_down_keeps_what_is_decided_and_is_told_later(store, servers):
    servers.down = {"boot2"}
    accept(store, 1)
    said = deliver.now(store, servers.tell)
    assert said == {"boot2": {"problem": "boot2: no answer"}}
    assert len(content(store)[1]) == 1
    with store.read() as tx:
        # Nobody waits for a server that is down.
        assert not tx.waiting()
    servers.down = set()
    accept(store, 2)
    assert deliver.now(store, servers.tell) == {"boot2": {"add": "node[001-002]"}}
    assert [sorted(told[2]) for told in servers.told] == [["node002"], ["node001"]]
    assert content(store)[2] == []


def test_one_that_a_server_refuses_does_not_take_the_others_with_it(store, servers):
    accept(store, 1)
    servers.refuse = {"node001"}
    assert "problem" in deliver.now(store, servers.tell)["boot2"]
    accept(store, 2)
    deliver.now(store, servers.tell)
    assert [[*told[2]] for told in servers.told] == [["node002"]]
    assert [(one.subject, one.tries) for one in content(store)[2]] == [("node001", 2)]


def test_a_server_that_is_down_does_not_keep_another_from_being_told_first(store, servers):
    accept(store, 1)
    servers.down = {"boot2"}
    deliver.now(store, servers.tell)
    asked = []
    accept(store, 2, "m1", profile="other")
    deliver.now(store, lambda server, *rest: (asked.append(server), servers.tell(server, *rest)))
    assert asked == ["boot1", "boot2"]


def test_old_names_go_before_new_ones_come(store, servers):
    announce(store, 1, 2, 3, server="boot2")
    accept(store, 1)
    deliver.now(store, servers.tell)
    desk(store).forget(["node001"])
    accept(store, 2)
    desk(store).reject([mac(3)])
    servers.told.clear()
    deliver.now(store, servers.tell)
    assert [(told[1], [*told[2]]) for told in servers.told] == [
        ("remove", ["node001"]),
        ("forget", [mac(1)]),
        ("add", ["node001"]),
        ("reject", [mac(3)]),
    ]


def test_one_that_is_refused_is_told_alone_in_the_end(store, servers):
    names = [accept(store, number).name for number in range(20)]
    refused = names.pop(7)
    servers.refuse = {refused}
    for _ in range(3):
        deliver.now(store, servers.tell)
    assert [order.subject for order in content(store)[2]] == [refused]
    assert sorted(name for told in servers.told for name in told[2]) == names


def test_many_are_told_in_pieces(store, servers, monkeypatch):
    monkeypatch.setattr(deliver, "CHUNK", 2)
    for number in range(5):
        accept(store, number)
    deliver.now(store, servers.tell)
    assert [len(told[2]) for told in servers.told] == [2, 2, 1]


def test_a_node_follows_its_network_to_another_server(store, servers):
    accept(store, 1)
    deliver.now(store, servers.tell)
    servers.told.clear()
    moved = desk(store)
    networks = {**moved.pillar["networks"]}
    networks["compute"] = {**networks["compute"], "server": "boot3"}
    new = {"address": "10.8.226.73", "interface": "eth0"}
    changed = {"servers": {**moved.pillar["servers"], "boot3": new}, "networks": networks}
    deliver.apply_rules(store, desk(store, **changed))
    deliver.now(store, servers.tell)
    told = sorted((*told[:2], *told[2]) for told in servers.told)
    assert told == [("boot2", "remove", "node001"), ("boot3", "add", "node001")]
    assert content(store)[1][0].server == "boot3"


def test_a_pillar_that_counts_as_far_as_an_order_has_what_was_ordered(store, servers):
    """And one that counts less far may lack it."""
    for number in range(3):
        with store.read() as tx:
            before = tx.number()
        accept(store, number)
        deliver.now(store, servers.tell)
        with store.read() as tx:
            assert before < servers.numbers[-1] == tx.number()
    desk(store).forget(["node002"])
    with store.read() as tx:
        before = tx.number()
    deliver.now(store, servers.tell)
    assert servers.numbers[2] < servers.numbers[3] == before
    desk(store).forget(["node001"], test=True)
    with store.read() as tx:
        assert tx.number() == before


def test_what_was_decided_is_told_although_the_pillar_is_wrong(store, servers):
    accept(store, 1)
    announce(store, 2)

    def wrong():
        raise DisklessError("the pillar is wrong")

    with pytest.raises(DisklessError, match="the pillar is wrong"):
        deliver.burst(store, wrong, servers.tell)
    assert [[*told[2]] for told in servers.told] == [["node001"]]


def test_what_is_owed_is_told_and_where_nothing_is_nobody_is_asked(store, servers, monkeypatch):
    def nobody():
        raise AssertionError("no pillar is looked at")

    assert deliver.owed(store, nobody, servers.tell) == {}
    servers.down = {"boot2"}
    accept(store, 1)
    deliver.now(store, servers.tell)
    servers.down = set()
    # One that was down is not asked again at once.
    assert deliver.owed(store, nobody, servers.tell) == {}
    monkeypatch.setattr(store_module, "TRY_AGAIN", (0, 0))
    assert deliver.owed(store, lambda: desk(store), servers.tell) == {"boot2": {"add": "node001"}}
    assert deliver.owed(store, nobody, servers.tell) == {}
    announce(store, 2)
    deliver.owed(store, lambda: desk(store, registry=RULE), servers.tell)
    assert [[*told[2]] for told in servers.told] == [["node001"], ["n001"]]
    assert deliver.owed(store, nobody, servers.tell) == {}


def test_a_server_that_stays_down_is_complained_of_once(store, servers, monkeypatch):
    said = []
    monkeypatch.setattr(store_module, "TRY_AGAIN", (0, 0))
    monkeypatch.setattr(deliver.log, "handle", lambda record: said.append(record.levelname))
    servers.down = {"boot2"}
    accept(store, 1)
    deliver.now(store, servers.tell)
    deliver.owed(store, lambda: desk(store), servers.tell)
    deliver.owed(store, lambda: desk(store), servers.tell)
    assert said.count("ERROR") == 1


def test_the_more_often_it_fails_the_longer_it_is_left_alone(store, servers, monkeypatch):
    now, begun, tried = 1000.0, 1000.0, []
    monkeypatch.setattr(store_module.time, "time", lambda: now)
    servers.down = {"boot2"}
    accept(store, 1)
    deliver.now(store, servers.tell)
    while len(tried) < 7:
        now += 10
        with store.read() as tx:
            if tx.due():
                tried.append(now - begun)
        if tried and tried[-1] == now - begun:
            deliver.now(store, servers.tell)
    waits = [after - before for before, after in itertools.pairwise([0, *tried])]
    assert waits == [30, 60, 120, 240, 480, 900, 900]


def _die_telling(path: str, ready) -> None:
    store = Store(path)

    def tell(*_: object) -> None:
        ready.set()
        time.sleep(60)

    deliver.burst(store, lambda: desk(store, registry=RULE), tell)


def test_what_a_killed_applier_did_not_deliver_the_next_one_does(store, servers):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    announce(store, 1, 2)
    process = context.Process(target=_die_telling, args=(store.directory, ready))
    process.start()
    assert ready.wait(30)
    # Somebody is at it, and this one need not be.
    announce(store, 3)
    assert deliver.burst(store, lambda: desk(store, registry=RULE), servers.tell) == {}
    process.kill()
    process.join()
    assert servers.told == []
    deliver.burst(store, lambda: desk(store, registry=RULE), servers.tell)
    ((_, action, nodes),) = servers.told
    assert action == "add" and {*nodes} == {"n001", "n002", "n003"}
    assert content(store)[2] == []
