"""Machines that wait at their consoles hear of state.apply, also where no master does."""

from __future__ import annotations

import pathlib
import time

import pytest

from tests.functional.test_discovery import journal, served
from tests.functional.test_node import apply
from tests.functional.test_preflight_interfaces import interface

__all__ = ["journal", "served"]

MAC = "52:54:00:99:99:01"
NODES = [f"52:54:00:77:00:0{number}" for number in (1, 2, 3)]


def answers(pillar: dict) -> dict[str, str]:
    """Return what machines are told when they ask, by MAC."""
    place = pathlib.Path(pillar["lookup"]["tftp_root"]) / "linux-install/registry"
    return {
        path.name.removeprefix("01-").replace("-", ":"): path.read_text().splitlines()[1]
        for path in (place.iterdir() if place.is_dir() else ())
    }


@pytest.fixture
def registered(served) -> dict:
    """The pillar with one more node, which has waited at its console."""
    served["nodes"]["node004"] = {"mac": MAC, "ip": "10.77.0.74", "profile": "compute"}
    return served


def test_a_node_that_is_applied_is_told_so(salt_call, registered, testmode):
    apply(salt_call, registered)
    assert MAC not in answers(registered)
    ret = salt_call(registered, test=testmode).state("diskless_tftp.answered")
    assert ret.result is (None if testmode else True)
    assert ret.changes == {"added": {"nodes": "node[001-004]"}}
    wanted = {} if testmode else dict.fromkeys([*NODES, MAC], "registered")
    assert answers(registered) == wanted
    again = salt_call(registered).state("diskless_tftp.answered")
    assert (again.changes == {}) is not testmode


def test_it_is_what_add_writes(salt_call, registered):
    node = {"node004": registered["nodes"].pop("node004")}
    salt_call(registered).state("diskless_tftp.answered")
    call = salt_call(registered)
    call.modules["diskless_node.add"](node)
    added = answers(registered)
    assert added[MAC] == "registered"
    registered["nodes"] |= node
    assert salt_call(registered).state("diskless_tftp.answered").changes == {}
    assert answers(registered) == added


def test_a_rejected_machine_that_is_listed_is_told_so(salt_call, registered):
    node = registered["nodes"].pop("node004")
    salt_call(registered).modules["diskless_node.reject"](MAC)
    assert answers(registered)[MAC] == "rejected"
    registered["nodes"]["node004"] = node
    apply(salt_call, registered)
    ret = salt_call(registered).state("diskless_tftp.answered")
    assert ret.changes == {
        "added": {"nodes": "node[001-003]"},
        "changed": {"nodes": "node004"},
    }
    assert answers(registered)[MAC] == "registered"


def test_the_answer_goes_with_the_node(salt_call, registered):
    apply(salt_call, registered)
    salt_call(registered).state("diskless_tftp.answered")
    del registered["nodes"]["node004"]
    apply(salt_call, registered)
    salt_call(registered).state("diskless_tftp.answered")
    assert {*answers(registered)} == {*NODES}
    salt_call(registered).state("diskless_tftp.absent")
    assert answers(registered) == {}


def test_a_board_that_was_changed_takes_its_answer_along(salt_call, registered):
    salt_call(registered).state("diskless_tftp.answered")
    registered["nodes"]["node004"]["mac"] = "52:54:00:99:99:02"
    apply(salt_call, registered)
    salt_call(registered).state("diskless_tftp.answered")
    assert {*answers(registered)} == {*NODES, "52:54:00:99:99:02"}


def test_where_nobody_waits_nobody_is_told(salt_call, registered):
    del registered["networks"]["lab"]["discovery_range"]
    apply(salt_call, registered)
    assert salt_call(registered).state("diskless_tftp.answered").changes == {}
    assert answers(registered) == {}


def test_a_node_of_another_network_of_the_server_is_told_so(salt_call, registered):
    """It waits with an address of the range, and becomes a node of the network without one."""
    lab = registered["networks"]["lab"]
    registered["networks"]["other"] = {
        **{key: value for key, value in lab.items() if key != "discovery_range"},
        "subnet": "10.78.0.0/24",
    }
    for key in ("routers", "nameservers"):
        registered["networks"]["other"].pop(key, None)
    registered["servers"] = {"bootserver": {"interfaces": {"dl0": "10.77.0.1", "dl7": "10.78.0.1"}}}
    registered["nodes"]["node004"] |= {"network": "other", "ip": "10.78.0.74"}
    with interface("dl7", "10.78.0.1/24"):
        ret = salt_call(registered).state("diskless_tftp.answered")
    assert ret.result is True, ret.comment
    assert ret.changes == {"added": {"nodes": "node[001-004]"}}
    assert answers(registered)[MAC] == "registered"


def test_two_that_wait_are_told_in_one_run(salt_call, registered):
    salt_call(registered).state("diskless_tftp.answered")
    registered["nodes"]["node[005-006]"] = {
        "mac": ["52:54:00:99:99:05", "52-54-00-99-99-0A"],
        "ip": "10.77.0.75+",
        "profile": "compute",
    }
    apply(salt_call, registered)
    ret = salt_call(registered).state("diskless_tftp.answered")
    assert ret.changes == {"added": {"nodes": "node[005-006]"}}
    assert {*answers(registered)} == {*NODES, MAC, "52:54:00:99:99:05", "52:54:00:99:99:0a"}


def test_a_file_of_somebody_else_is_not_replaced(salt_call, registered):
    place = pathlib.Path(registered["lookup"]["tftp_root"]) / "linux-install/registry"
    place.mkdir(parents=True, exist_ok=True)
    path = place / "01-52-54-00-99-99-01"
    path.write_text("mine\n")
    ret = salt_call(registered).state("diskless_tftp.answered")
    assert ret.result is False and str(path) in ret.comment
    assert path.read_text() == "mine\n" and {*answers_of(place)} == {path.name}


def answers_of(place: pathlib.Path) -> list[str]:
    return [path.name for path in place.iterdir()]


def test_a_thousand_nodes_cost_a_constant_each(salt_call, registered):
    registered["networks"]["lab"]["subnet"] = "10.77.0.0/16"

    def seconds(count: int) -> float:
        macs = [f"52:54:01:00:{n >> 8:02x}:{n & 255:02x}" for n in range(count)]
        registered["nodes"] = {
            f"n[1-{count}]": {"mac": macs, "ip": "10.77.4.1+", "profile": "compute"}
        }
        call = salt_call(registered)
        call.state("diskless_tftp.answered")
        begun = time.process_time()
        assert call.state("diskless_tftp.answered").changes == {}
        return time.process_time() - begun

    few, many = seconds(200), seconds(2000)
    print(f"no change: {few * 1000:.0f} ms for 200 nodes, {many * 1000:.0f} ms for 2000")
    assert many < 40 * few + 0.2
