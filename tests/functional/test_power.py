"""A boot server asks its nodes' BMCs, by a stand-in for saltext.bmc that can do what BMCs do on bad
days. The real one is part of tests/e2e/test_power.py."""

from __future__ import annotations

import json
import os
import pathlib

import pytest
from salt.exceptions import CommandExecutionError

#: Each BMC is a file: the state of its machine, and the functions that it refuses.
STAND_IN = """
import json, os


def _call(function, profile, host, port, **more):
    path = os.path.join(__opts__["root_dir"], "bmcs", host)
    with open(path) as stream:
        bmc = json.load(stream)
    with open(path + ".calls", "a") as calls:
        calls.write(json.dumps([function, profile, port, more]) + "\\n")
    if function in bmc["refuses"]:
        raise RuntimeError("refused:\\n " + function)
    return bmc["state"]


def power_status(name=None, **conn):
    return _call("status", name, **conn)


def power_on(name=None, **conn):
    _call("on", name, **conn)


def power_off(name=None, force=False, **conn):
    _call("off", name, force=force, **conn)


def power_cycle(name=None, **conn):
    _call("cycle", name, **conn)


def power_reset(name=None, force=False, **conn):
    _call("reset", name, force=force, **conn)


def set_boot_device(name=None, device="none", **conn):
    _call("boot", name, device=device, **conn)
"""


@pytest.fixture
def call(salt_call, pillar, tmp_path):
    """Salt's modules on the boot server, with saltext.bmc, and BMCs for node001 and node002."""
    pillar["nodes"]["node[001-002]"]["bmc"] = "10.99.0.1+"
    modules = tmp_path / "salt/extmods/modules"
    modules.mkdir(parents=True)
    (modules / "bmc.py").write_text(STAND_IN)
    (tmp_path / "salt/bmcs").mkdir()
    profile = {"username": "other", "password": "x", "port": 6230}
    known = {"username": "admin", "password": "secret", "profiles": {"node002": profile}}
    return salt_call(pillar, **{"saltext.bmc": known}).modules


@pytest.fixture
def bmc(tmp_path):
    """Return a function that makes a BMC."""

    def make(number: int, state: str, *refuses: str) -> None:
        path = tmp_path / f"salt/bmcs/10.99.0.{number}"
        path.write_text(json.dumps({"state": state, "refuses": refuses}))

    return make


def asked(tmp_path: pathlib.Path, number: int) -> list[list]:
    path = tmp_path / f"salt/bmcs/10.99.0.{number}.calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_who_is_off_is_switched_on_and_who_is_on_is_left_alone(call, bmc, tmp_path):
    bmc(1, "off")
    bmc(2, "on")
    said = call["diskless_node.power"]("on", "node[001-002]", pxe=True)
    assert said.pop("at") > 0
    assert said == {"told": "node001", "on": "node002"}
    assert asked(tmp_path, 1) == [
        ["status", None, 623, {}],
        ["boot", None, 623, {"device": "pxe"}],
        ["on", None, 623, {}],
    ]
    # It has a profile of saltext.bmc's, by its name.
    assert asked(tmp_path, 2) == [["status", "node002", 6230, {}]]


def test_one_that_says_no_is_an_answer_in_words_and_the_others_go_on(call, bmc):
    bmc(1, "on", "off")
    bmc(2, "on")
    said = call["diskless_node.power"]("off", ["node001", "node002"], force=True)
    assert (said["told"], said["failed"]) == ("node002", {"node001": "10.99.0.1: refused: off"})
    os.unlink(f"{call.opts['root_dir']}/bmcs/10.99.0.1")
    said = call["diskless_node.power"]("status", "node[001-002]")
    assert said["on"] == "node002" and "No such file" in said["failed"]["node001"]


def test_a_cycle_is_a_reset_where_the_bmc_has_no_other_and_a_power_on_of_who_is_off(
    call, bmc, tmp_path
):
    bmc(1, "on", "cycle")
    bmc(2, "off")
    assert call["diskless_node.power"]("cycle", "node[001-002]")["told"] == "node[001-002]"
    assert [one[0] for one in asked(tmp_path, 1)] == ["status", "cycle", "reset"]
    assert [one[0] for one in asked(tmp_path, 2)] == ["status", "on"]
    bmc(1, "on", "cycle", "reset")
    assert call["diskless_node.power"]("cycle", "node001")["failed"] == {
        "node001": "10.99.0.1: refused: cycle"
    }


@pytest.mark.parametrize(
    ("action", "names", "says"),
    [
        ("onn", "node001", "action: found 'onn'; did you mean on?"),
        ("on", "node[001-003]", "diskless:nodes:node003:bmc: found nothing"),
        ("on", "node[001,004]", "names: found node004; give nodes of this boot server"),
        ("on", "node[001", "names: found 'node[001'; give a node set"),
        ("on", [], "names: found []; give a node set, like node[005-128], or a list of names"),
    ],
)
def test_what_is_wrong_is_one_error_and_nobody_is_asked(call, bmc, tmp_path, action, names, says):
    bmc(1, "off")
    with pytest.raises(CommandExecutionError) as caught:
        call["diskless_node.power"](action, names)
    assert says in str(caught.value)
    assert asked(tmp_path, 1) == []


def test_without_saltext_bmc_a_sentence_says_what_to_install(salt_call, pillar):
    pillar["nodes"]["node003"]["bmc"] = "10.99.0.3"
    with pytest.raises(CommandExecutionError, match=r"salt-pip install 'saltext\.bmc\[ipmi\]'"):
        salt_call(pillar).modules["diskless_node.power"]("on", "node003")


def test_progress_is_that_of_the_nodes_that_are_asked_for(call, tmp_path, pillar):
    call["diskless_image.sync"]()
    call["diskless_snapshot.apply"]()
    own = pathlib.Path(pillar["images"]["tiny"]["location"], "snapshot/node003/.diskless")
    (own / "booted").write_text("20200101T000000\n")
    found = call["diskless_node.progress"]("node[002-003]")
    at = os.stat(own / "booted").st_mtime_ns / 1e9
    assert found == {
        "node002": {"stage": "unseen", "version": "", "since": None},
        "node003": {"stage": "root", "version": "20200101T000000", "since": at},
    }
    with pytest.raises(CommandExecutionError, match="names: found node9"):
        call["diskless_node.progress"]("node9")
