"""Power by a real master: which boot server is told what, of the pillar's nodes and the registry's.
What BMCs do then is in tests/e2e/test_power.py."""

from __future__ import annotations

import json
import pathlib

import pytest
import salt.config
import salt.utils.event

from tests.integration.conftest import MINION
from tests.integration.test_registry import mac, site, store

__all__ = ["site", "store"]

#: A boot server whose nodes are up at once; one of them has a BMC that refuses.
STAND_IN = """
import json
import time

__virtualname__ = "diskless_node"


def power(action, names, force=False, pxe=False):
    with open(__opts__["cachedir"] + "/powered", "a") as stream:
        stream.write(json.dumps([action, names, force, pxe]) + "\\n")
    failed = {"node002": "10.99.0.2: no"} if "node002" in names and pxe else {}
    told = [name for name in names if name not in failed]
    return {**({"told": ",".join(told)} if told else {}), "failed": failed, "at": time.time() - 1}


def progress(names):
    return {name: {"stage": "up", "version": "V", "since": time.time()} for name in names}


def add(nodes, keys=False):
    return {}
"""


@pytest.fixture
def rack(site, store, runner):
    """Two nodes with BMCs in the pillar, and one in the registry."""
    pillar = site()
    pillar["nodes"]["node[001-002]"]["bmc"] = "10.99.0.1+"
    site({})
    return pillar


@pytest.fixture
def powered(minion, master, call):
    """A stand-in for the boot server's part; returns a function that reads what it was told."""
    path = pathlib.Path(minion.config["cachedir"]) / "powered"
    path.unlink(missing_ok=True)
    with master.state_tree.base.temp_file("_modules/diskless_node.py", STAND_IN):
        call("saltutil.sync_modules")
        yield lambda: [json.loads(line) for line in path.read_text().splitlines()]
    call("saltutil.sync_modules")


def test_nodes_of_the_pillar_and_the_registry_are_switched_on_in_waves(rack, powered, runner):
    done = runner("diskless.accept", mac(9), "node009", "bmc=10.99.0.9")
    assert done.returncode == 0, done.stdout
    done = runner("diskless.power", "on", "node[001-002,009]", "wave=2")
    assert (done.data, done.returncode) == ({"up": "node[001-002,009]"}, 0)
    assert powered() == [
        ["on", ["node001", "node002"], False, False],
        ["on", ["node009"], False, False],
    ]


def test_each_wave_is_an_event_on_the_master(rack, powered, master, runner):
    opts = salt.config.master_config(str(master.config_file))
    with salt.utils.event.get_event("master", opts=opts, listen=True) as bus:
        runner("diskless.power", "on", "node[001-002]", "wave=1")
        said = [bus.get_event(wait=5, tag="salt-diskless/power") for _ in range(2)]
    assert [event["up"] for event in said] == ["node001", "node002"]


def test_a_bmc_that_refuses_is_told_again_and_reported(rack, powered, runner):
    done = runner("diskless.power", "cycle", "node[001-002]", "pxe=True", "retries=2")
    failed = {"failed": {"node002": "10.99.0.2: no"}, "retcode": 1}
    assert (done.data, done.returncode) == ({"up": "node001", **failed}, 1)
    assert [names for _, names, _, _ in powered()] == [["node001", "node002"]] + [["node002"]] * 2


def test_where_the_boot_server_has_no_saltext_bmc_its_sentence_is_the_answer(rack, runner):
    done = runner("diskless.power", "on", "node[001-002]", "wave=1")
    ((names, why),) = done.data["failed"].items()
    assert (names, done.data["not tried"]) == ("node001", "node002")
    assert why.startswith(f"{MINION}: ") and "salt-pip install 'saltext.bmc[ipmi]'" in why
    assert "\n" not in why
