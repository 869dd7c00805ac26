"""A boot server that lies: a real minion, accepted, whose modules answer with names, keys, stages
and sizes that are not its own. Nothing of others changes on the master."""

from __future__ import annotations

import pathlib

import pytest
import yaml

from tests.integration.conftest import MINION
from tests.integration.test_registry import mac, store

__all__ = ["store"]

#: One module for each that the master asks. MODE is in a file, so that one test has many lies.
LIES = """
import json

with open({key!r}) as stream:
    KEY = stream.read()
NAMES = ["prod-db-01", "salt-admin", "node003", "node900", "NODE001", "bootserver", "boss", "ghost"]
NAMES += ["diskless-master", "../../minions/x", "x\\x1b[2J", "n" * 300, ""]
"""
SNAPSHOT = """
__virtualname__ = "diskless_snapshot"


def minion_keys(but=None):
    return {**dict.fromkeys(NAMES, KEY), "node001": "no key", "node002": ["x"]}
"""
NODE = """
__virtualname__ = "diskless_node"


def add(nodes, keys=False, number=None):
    return {"keys": dict.fromkeys([*NAMES, *nodes], KEY), "outdated": "x" * 100000}


def remove(names, number=None):
    return {"outdated": ["\\x1b[2J"] * 1000}


def power(action, names, **_):
    return {"on": "node[001-003],far001", "off": "n[1-1000000000]", "at": 1e300, "failed": 7}


def progress(names):
    return {name: {"stage": "up", "since": 1.0, "rm": "-rf"} for name in [*names, "far001"]}


def reject(macs, number=None):
    raise Exception("\\x1b]0;title\\x07" + "y" * 1000000)


def forget(macs, number=None):
    return 7
"""
STATUS = """
__virtualname__ = "diskless"


def status(minions=None):
    groups = [
        {"nodes": "node[001-003],far001", "stage": "up", "version": "20261124T155012"},
        {"nodes": "n[1-1000000000]", "stage": "up"},
        {"nodes": "node001", "stage": "\\x1b[2J"},
        7,
    ]
    return {"nodes": groups}
"""


@pytest.fixture
def hostile(master, call, minion):
    """A boot server whose modules lie."""
    head = LIES.format(key=f"{master.config['pki_dir']}/master.pub")
    tree = master.state_tree.base
    with (
        tree.temp_file("_modules/diskless_snapshot.py", head + SNAPSHOT),
        tree.temp_file("_modules/diskless_node.py", head + NODE),
        tree.temp_file("_modules/diskless.py", head + STATUS),
    ):
        call("saltutil.sync_modules")
        yield
    call("saltutil.sync_modules")


@pytest.fixture
def site(pillar, master, call):
    """Three nodes of the hostile boot server, and one of another, as the master has them; the
    boot server's golden machine is boss."""
    pillar["servers"]["ghost"] = {"address": "10.78.0.1", "interface": "eth0"}
    pillar["networks"]["lab"] |= {
        "server": MINION,
        "discovery_range": "10.77.0.200-10.77.0.250",
    }
    pillar["networks"]["far"] = {"subnet": "10.78.0.0/24", "server": "ghost"}
    own = next(iter(pillar["profiles"]))
    pillar["nodes"]["far001"] = {
        "profile": own,
        "network": "far",
        "mac": "52:54:00:78:00:01",
        "ip": "10.78.0.7",
    }
    tree = master.pillar_tree.base
    top = f"base: {{'{MINION} or {master.id}': [{{match: compound}}, cluster]}}"
    with (
        tree.temp_file("top.sls", top),
        tree.temp_file("cluster.sls", yaml.safe_dump({"diskless": pillar})),
    ):
        assert call("saltutil.refresh_pillar", wait=True).data is True
        yield pillar


def keys_of(master) -> dict[str, bytes]:
    pki = pathlib.Path(master.config["pki_dir"])
    return {
        str(path.relative_to(pki)): path.read_bytes()
        for path in pki.glob("minions*/*")
        if path.is_file() and not path.name.startswith(".")
    }


def log_of(master) -> str:
    return pathlib.Path(master.config["log_file"]).read_text(errors="replace")


@pytest.fixture
def strangers(master):
    """Keys that other machines have on the master: accepted, pending and rejected."""
    pki = pathlib.Path(master.config["pki_dir"])
    made = []
    for place, name in (
        ("minions", "prod-db-01"),
        ("minions_pre", "salt-admin"),
        ("minions_pre", "ghost"),
        ("minions_rejected", "far001"),
    ):
        (pki / place).mkdir(exist_ok=True)
        made.append(pki / place / name)
        made[-1].write_text(f"the key of {name}\n")
    yield
    for path in made:
        path.unlink(missing_ok=True)


def test_keys_of_others_are_named_and_not_accepted(hostile, site, store, strangers, master, runner):
    before = keys_of(master)
    done = runner("diskless.accept_keys", [MINION])
    assert done.returncode != 0
    assert done.data["accepted"] == "node003"
    problem = done.data["errors"][MINION]
    for name in ("prod-db-01", "salt-admin", "node900", "ghost", "NODE001", "(node[001-003])"):
        assert name in problem, problem
        assert name in done.stdout
    assert "public key in PEM" in problem and "\x1b" not in done.stdout
    after = keys_of(master)
    assert {name: key for name, key in after.items() if "node003" not in name} == before
    assert {name for name in after if "node003" in name} == {"minions/node003"}


def test_keys_that_come_with_a_new_node_are_its_own(
    hostile, site, store, strangers, master, runner
):
    before = keys_of(master)
    done = runner("diskless.accept", mac(9), "node009", "profile=compute")
    assert {*done.data["accepted"]} == {"node009"}
    said = done.data["servers"][MINION]
    assert said["add"] == "node009" and len(said["outdated"]) <= 100
    assert "salt-admin" in said["problem"] and "prod-db-01" in said["problem"]
    after = keys_of(master)
    assert {name: key for name, key in after.items() if "node009" not in name} == before
    assert "minions/node009" in after
    # What is decided stays, whatever it says of that.
    assert runner("diskless.forget", "node009").data["forgotten"] == ["node009"]
    assert {name: key for name, key in keys_of(master).items() if "009" not in name} == before


def test_stages_of_others_and_huge_sets_are_not_believed(hostile, site, store, runner):
    said = runner("diskless.nodes").data
    (group,) = said["boots"][MINION]
    assert (group["nodes"], group["stage"]) == ("node[001-003]", "up")
    doubts = said["boots"]["not believed"][MINION]
    assert "'far001' in its answer to diskless.status" in doubts
    assert "n[1-1000000000]" in doubts and "\x1b" not in doubts
    assert "boot" not in runner("diskless.nodes", "far001").data["far001"]


def test_power_of_others_is_not_believed(hostile, site, store, runner, master):
    for number, settings in enumerate(site["nodes"].values(), 1):
        settings["bmc"] = f"10.99.0.{10 * number}" + ("" if number > 1 else "+")
    tree = pathlib.Path(master.pillar_tree.base.write_path)
    (tree / "cluster.sls").write_text(yaml.safe_dump({"diskless": site}))
    done = runner("diskless.power", "status", "node001")
    assert done.returncode != 0
    assert {*done.data} >= {"failed", "not believed"}
    assert "far001" not in done.data.get("on", "")


def test_the_words_of_a_minion_are_cut_and_printable(hostile, site, store, runner):
    done = runner("diskless.reject", mac(8))
    problem = done.data["servers"][MINION]["problem"]
    assert len(problem) < 5000 and problem.replace("\n", "").isprintable()


def test_a_wrong_answer_is_an_error_and_no_traceback(hostile, site, store, runner):
    done = runner("diskless.accept", mac(7), "node007", "profile=compute")
    assert done.data["servers"][MINION]["add"] == "node007"
    done = runner("diskless.forget", "node007")
    assert "it must be a mapping" in done.data["servers"][MINION]["problem"]
    assert "Traceback" not in done.stdout


def test_no_machine_becomes_a_node_under_the_masters_id(hostile, site, store, runner, master):
    before = keys_of(master)
    name = master.config["id"].removesuffix("_master")
    done = runner("diskless.accept", mac(6), name, "profile=compute")
    assert done.returncode != 0
    assert "the minion id of a boot server, a golden machine or a master" in done.stdout
    assert keys_of(master) == before
    assert "registered" not in runner("diskless.nodes", "ask=False").data
