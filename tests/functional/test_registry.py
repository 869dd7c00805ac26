"""The registry's nodes in the pillar, and the registry under writers that are killed."""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import os
import pathlib
import random
import sqlite3
import time

import pytest
import salt.config
import salt.loader

from salt_diskless.cluster import parse
from salt_diskless.registry.announcement import read
from salt_diskless.registry.decide import Desk, Wish, names_of, places_of
from salt_diskless.registry.store import RegisteredNode, Store
from tests.conftest import CHECKOUT


def mac(number: int) -> str:
    return (0x5254 << 32 | number).to_bytes(6, "big").hex(":")


@pytest.fixture
def master_opts(tmp_path) -> dict:
    opts = salt.config.master_config(None)
    opts.update(
        id="boss_master",
        pki_dir=str(tmp_path / "pki"),
        cachedir=str(tmp_path / "cache"),
        pillar_dirs=[str(CHECKOUT / "salt_diskless/pillar")],
        grains={},
    )
    (tmp_path / "pki").mkdir()
    return opts


@pytest.fixture
def ext_pillar(master_opts):
    """The external pillar by way of Salt's loader."""
    return salt.loader.pillars(master_opts, {})["diskless_nodes"]


@pytest.fixture
def store(master_opts) -> Store:
    return Store(master_opts["pki_dir"] + "/diskless")


@pytest.fixture
def accept(store, pillar):
    def run(number: int, name: str, ip: str) -> RegisteredNode:
        (node,) = Desk(store, pillar).accept([Wish(mac(number), (name,), places_of(ip), "compute")])
        return node

    return run


def merged(pillar: dict, more: dict) -> dict:
    """Return what Salt makes of a pillar and what an external one adds to it."""
    found = copy.deepcopy(pillar)
    for key, value in more.get("diskless", {}).items():
        found.setdefault(key, {}).update(value)
    return found


def test_a_boot_server_has_its_nodes_and_nobody_else_has_any(ext_pillar, accept, pillar):
    assert ext_pillar("bootserver", {"diskless": pillar}) == {}
    node = accept(5, "node005", "10.77.0.50")
    more = ext_pillar("bootserver", {"diskless": pillar})
    numbered = {"registry": {"number": 1}}
    assert more == {"diskless": {"nodes": {"node005": node.as_pillar()}, **numbered}}
    assert "node005" in parse(merged(pillar, more)).nodes
    # The master's orchestrations see all of the cluster.
    assert ext_pillar("boss_master", {"diskless": pillar}) == more
    for other in ("node005", "golden", "bootserver2", "boss", "Bootserver", ""):
        assert ext_pillar(other, {"diskless": pillar}) == {}
    assert ext_pillar("bootserver", {}) == more


def test_a_boot_server_without_nodes_any_more_knows_how_far_the_registry_has_counted(
    ext_pillar, accept, pillar, store
):
    node = accept(5, "node005", "10.77.0.50")
    Desk(store, pillar).forget([node.name])
    assert ext_pillar("bootserver", {"diskless": pillar}) == {
        "diskless": {"registry": {"number": 3}}
    }
    assert ext_pillar("golden", {"diskless": pillar}) == {}


def test_what_the_pillar_lists_wins_and_a_conflict_is_an_error_of_every_state(
    ext_pillar, accept, pillar, salt_call
):
    node = accept(5, "node005", "10.77.0.50")
    pillar["nodes"]["node005"] = {"mac": node.mac, "ip": "10.77.0.51", "profile": "compute"}
    assert "nodes" not in ext_pillar("bootserver", {"diskless": pillar})["diskless"]
    for name, settings in (
        ("node005", {"mac": mac(6), "ip": "10.77.0.51"}),
        ("node006", {"mac": mac(5), "ip": "10.77.0.51"}),
        ("node006", {"mac": mac(6), "ip": "10.77.0.50"}),
    ):
        by_hand = {key: pillar["nodes"][key] for key in ("node[001-002]", "node003")}
        by_hand[name] = {**settings, "profile": "compute"}
        both = merged({**pillar, "nodes": by_hand}, ext_pillar("bootserver", {"diskless": {
            **pillar, "nodes": by_hand}}))  # fmt: skip
        assert both["nodes"] == by_hand
        ret = salt_call(both).state("diskless.valid")
        assert ret.result is False
        assert f"{name} " in ret.comment or f"diskless:nodes:{name}:" in ret.comment
        assert f"node005 with MAC {mac(5)} and address 10.77.0.50" in ret.comment
        assert "salt-run diskless.forget node005" in ret.comment


def test_a_registry_that_cannot_be_read_is_an_error_and_no_empty_pillar(
    ext_pillar, accept, pillar, store
):
    accept(5, "node005", "10.77.0.50")
    pathlib.Path(store.path).write_bytes(b"nonsense" * 512)
    with pytest.raises(Exception, match="not a database"):
        ext_pillar("bootserver", {"diskless": pillar})


def write(directory: str, pillar: dict, start: int, says: int) -> None:
    """Announce and accept machine after machine, and say which after each commit."""
    store = Store(directory)
    desk = Desk(store, pillar)
    for number in range(start, start + 1000):
        with store.write() as tx:
            tx.announce(read({"mac": mac(number), "serial": f"S{number}"}))
        os.write(says, f"announced {mac(number)}\n".encode())
        (node,) = desk.accept([Wish(mac(number), names_of("w[0000-9999]"), None, "compute")])
        os.write(says, f"accepted {node.mac} {node.name} {node.ip}\n".encode())


def test_writers_that_are_killed_lose_nothing_and_leave_nothing_half_done(store, pillar):
    """Four at a time, killed in the middle of it, ten times over."""
    pillar["networks"]["lab"].update(subnet="10.77.0.0/16")
    promised: dict[str, list[str]] = {"announced": [], "accepted": []}
    dice = random.Random(7)
    context = multiprocessing.get_context("fork")
    for round_ in range(10):
        hears, says = os.pipe()
        writers = [
            context.Process(
                target=write, args=(store.directory, pillar, (round_ * 4 + number) * 1000, says)
            )
            for number in range(4)
        ]
        for writer in writers:
            writer.start()
        os.close(says)
        heard = b""
        while heard.count(b"accepted") < 5:
            heard += os.read(hears, 4096)
        for writer in writers:
            # Where it is killed is to be another place each time.
            time.sleep(dice.random() / 50)
            writer.kill()
        for writer in writers:
            writer.join()
        with open(hears, "rb") as rest:
            heard += rest.read()
        for line in heard.decode().splitlines():
            what, _, which = line.partition(" ")
            promised[what].append(which)
        with contextlib.closing(sqlite3.connect(store.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        with store.read() as tx:
            machines = {machine.mac: machine for machine in tx.machines()}
            nodes, orders = tx.nodes(), {order.subject for order in tx.deliveries()}
        assert {*promised["announced"]} <= {*machines}
        assert {*promised["accepted"]} <= {f"{n.mac} {n.name} {n.ip}" for n in nodes}
        # Each node has its accepted machine, and its boot server will be told of it.
        assert {node.mac for node in nodes} == {
            machine.mac for machine in machines.values() if machine.state == "accepted"
        }
        assert {node.name for node in nodes} == orders
        assert len({node.ip for node in nodes}) == len(nodes)
    assert len(promised["accepted"]) >= 50
