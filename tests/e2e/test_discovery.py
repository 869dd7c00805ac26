"""Machines that nobody has listed say who they are and wait; added or rejected, they hear of it."""

from __future__ import annotations

import json
import re

import pytest

from tests.lab import Lab, Node
from tests.lab.patience import Patience

FIRST, SECOND = "52:54:00:99:99:01", "52:54:00:99:99:02"
UUID = "8f0b5c9e-0000-4000-8000-0000000000{}"


@pytest.fixture(scope="module")
def strangers(lab: Lab) -> dict[str, Node]:
    """Two machines that are no nodes, and node001, which is one."""
    pillar = lab.pillar(1)
    pillar["diskless"]["networks"]["lab"]["discovery_range"] = "10.141.2.1-10.141.2.50"
    lab.server.write_pillar(pillar)
    lab.server.salt_call("state.apply", "diskless")
    made = {
        mac: lab.power_on(
            f"stranger90{number}",
            mac,
            resets=True,
            smbios=[
                f"type=1,serial=SN-{number},uuid={UUID.format(f'0{number}')}",
                f"type=3,asset=RACK-{number}",
            ],
        )
        for number, mac in ((1, FIRST), (2, SECOND))
    }
    lab.power_on("node001")
    return made


def waiting(lab: Lab) -> dict[str, dict]:
    return lab.server.salt_call("diskless_node.waiting")


def main_pid(lab: Lab, unit: str) -> str:
    return lab.server.run("systemctl", "show", "-p", "MainPID", unit).stdout


def test_an_unknown_machine_says_who_it_is_on_its_console_and_the_server_knows(
    lab: Lab, strangers: dict[str, Node]
):
    for number, (mac, node) in enumerate(strangers.items(), 1):
        node.wait_for("this machine is not registered")
        node.wait_for(
            f"its MAC is {mac}, its serial number SN-{number}, its asset tag RACK-{number}"
        )
        node.wait_for("it waits, and asks 10.141.0.1")
    patience, found = Patience(60), waiting(lab)
    while [found.get(mac, {}).get("serial") for mac in (FIRST, SECOND)] != ["SN-1", "SN-2"]:
        assert not patience.is_over, found
        found = waiting(lab)
    assert [found[mac]["asset"] for mac in (FIRST, SECOND)] == ["RACK-1", "RACK-2"]
    assert found[FIRST]["uuid"] == UUID.format("01")
    assert all(re.fullmatch(r"10\.141\.2\.\d+", one["ip"]) for one in found.values())


def test_added_while_it_waits_it_boots_into_its_image_without_a_power_cycle(
    lab: Lab, strangers: dict[str, Node]
):
    dhcpd = main_pid(lab, "isc-dhcp-server")
    nodes = {"node050": {"mac": FIRST, "ip": "10.141.1.50", "profile": "compute"}}
    changes = lab.server.salt_call("diskless_node.add", json.dumps(nodes))
    assert changes == {"added": {"nodes": "node050"}}
    lab.server.salt_call("diskless_node.reject", SECOND)
    node = strangers[FIRST]
    node.wait_for("this machine is registered: restarting")
    strangers[SECOND].wait_for("this machine was rejected by bootserver")
    node.wait_for("login")
    assert node.run("hostname") == "node050"
    assert main_pid(lab, "isc-dhcp-server") == dhcpd
    pillar = lab.pillar(1)
    pillar["diskless"]["networks"]["lab"]["discovery_range"] = "10.141.2.1-10.141.2.50"
    pillar["diskless"]["nodes"] |= nodes
    lab.server.write_pillar(pillar)
    answer = lab.server.salt_call("state.apply", "diskless")
    assert {one["__id__"]: one["changes"] for one in answer.values() if one["changes"]} == {}
    assert main_pid(lab, "isc-dhcp-server") == dhcpd


def test_a_listed_node_was_never_noticed_and_status_knows_how_far_all_of_them_got(
    lab: Lab, strangers: dict[str, Node]
):
    lab.nodes["node001"].wait_for("login")
    assert {*waiting(lab)} == {SECOND}
    version = lab.server.salt_call("diskless_image.list")["debian"]["published"]
    (group,) = lab.server.salt_call("diskless.status")["nodes"]
    assert (group["nodes"], group["stage"], group["version"]) == ("node[001,050]", "up", version)
