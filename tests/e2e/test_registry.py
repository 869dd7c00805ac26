"""A rack arrives: machines that nobody has listed announce themselves to a real master, wait there,
and boot when somebody, or a rule, says yes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from salt_diskless.cluster.ranges import expand
from tests.lab import Lab, Node, roots
from tests.lab.patience import Patience

_DOCS = (roots.CHECKOUT / "docs/registry.md").read_text()
#: What the documentation tells a user to write: a master's configuration, and a top file.
MASTER = _DOCS.split("# /etc/salt/master\n", 1)[1].split("```", 1)[0]
TOP = _DOCS.split("# top.sls of the pillar\n", 1)[1].split("```", 1)[0]
#: The image's root; and what a machine has, in MB.
GOLDEN, MEMORY = roots.golden, 512
#: How far those get that are accepted.
LAST = "up"
NO_MINION = "systemd.mask=salt-minion.service"
#: How long it may take until the master knows of a machine that has said who it is, in seconds.
SOON = 20


def mac(number: int) -> str:
    return f"52:54:00:99:99:{number:02}"


def uuid(number: int) -> str:
    return f"8f0b5c9e-0000-4000-8000-{number:012}"


#: What the machines become, and which of them a rule accepts: the others are accepted by hand.
NAMES, RULED = {1: "node051", 2: "node052", 3: "node060"}, 3
#: Which of them is rejected.
REJECTED = 4


@dataclass(frozen=True)
class Rack:
    """Four machines that are no nodes, and the fifth, which the pillar lists; dhcpd's process as it
    was before they were powered on."""

    machines: dict[int, Node]
    listed: Node
    dhcpd: str


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A boot server, with a master that is configured as the documentation says."""
    with Lab(request.module.GOLDEN()) as lab:
        pillar = lab.pillar(1)
        pillar["diskless"]["networks"]["lab"]["discovery_range"] = "10.141.2.1-10.141.2.50"
        rule = {"serials": [f"SN-{RULED}"], "nodes": "node060", "ip": "10.141.1.60"}
        pillar["diskless"]["registry"] = {"rules": {"rack7": rule}}
        # Where the image has a minion: of this node only the boot is looked at.
        append = pillar["diskless"]["profiles"]["compute"]["kernel_append"]
        pillar["diskless"]["nodes"]["node001"]["kernel_append"] = f"{append} {NO_MINION}"
        lab.server.write_pillar(pillar)
        lab.server.path("/srv/pillar/top.sls").write_text(TOP.replace("node002", "bootserver"))
        lab.server.start_master(MASTER)
        yield lab


@pytest.fixture(scope="module")
def rack(lab: Lab, request: pytest.FixtureRequest) -> Rack:
    lab.server.salt("state.apply", "diskless")
    dhcpd = dhcpd_pid(lab)
    machines = {
        number: lab.power_on(
            NAMES.get(number, "node099"),
            mac(number),
            memory=request.module.MEMORY,
            resets=True,
            smbios=[
                f"type=1,serial=SN-{number},uuid={uuid(number)}",
                f"type=3,asset=RACK-{number}",
            ],
        )
        for number in (*NAMES, REJECTED)
    }
    return Rack(machines, lab.power_on("node001"), dhcpd)


def dhcpd_pid(lab: Lab) -> str:
    return lab.server.run("pgrep", "-x", "dhcpd").stdout


def test_machines_that_nobody_listed_are_pending_in_seconds_as_what_they_are(lab: Lab, rack: Rack):
    for number, node in rack.machines.items():
        node.wait_for("this machine is not registered")
        node.wait_for(
            f"its MAC is {mac(number)}, its serial number SN-{number}, its asset tag RACK-{number}"
        )
        node.wait_for("it waits, and asks 10.141.0.1")
    begun, patience = time.monotonic(), Patience(SOON)
    wanted = {mac(number): f"SN-{number}" for number in rack.machines if number != RULED}
    while (found := pending(lab)).keys() != wanted.keys() or wanted != {
        one: said.get("serial") for one, said in found.items()
    }:
        assert not patience.is_over, found
    on = {node.mac: node.powered_on for node in rack.machines.values()}
    now = time.monotonic()
    seen = dict(lab.server.registry("SELECT mac, first_seen FROM machine"))
    # Both clocks are this machine's.
    took = [seen[one] - time.time() + time.monotonic() - on[one] for one in seen.keys() & on.keys()]
    print(
        f"pending {min(took):.1f} to {max(took):.1f} s after power-on, and with all that they say "
        f"{now - begun:.1f} s after the last one asked, {now - min(on.values()):.1f} s after the "
        "first one's power-on"
    )
    for number in (1, 2, REJECTED):
        said = found[mac(number)]
        assert (said["asset"], said["uuid"], said["server"]) == (
            f"RACK-{number}",
            uuid(number),
            "bootserver",
        )
        assert re.fullmatch(r"10\.141\.2\.\d+", said["ip"])


def pending(lab: Lab) -> dict[str, dict]:
    return {
        machine["mac"]: machine for machine in lab.server.runner("diskless.pending", "full=True")
    }


def test_a_yes_and_a_no_are_heard_on_their_consoles(lab: Lab, rack: Rack):
    said = lab.server.runner(
        "diskless.accept", f"{mac(1)},SN-2", "node[051-052]", "ip=10.141.1.51+"
    )
    assert {name: node["mac"] for name, node in said["accepted"].items()} == {
        "node051": mac(1),
        "node052": mac(2),
    }
    assert said["servers"] == {"bootserver": {"add": "node[051-052]"}}
    said = lab.server.runner("diskless.reject", mac(REJECTED))
    assert said == {
        "rejected": [mac(REJECTED)],
        "servers": {"bootserver": {"reject": mac(REJECTED)}},
    }
    for number in NAMES:
        rack.machines[number].wait_for("this machine is registered: restarting")
    rack.machines[REJECTED].wait_for("this machine was rejected by bootserver")


def test_the_accepted_boot_into_the_image_without_a_power_cycle(rack: Rack):
    rack.machines[REJECTED].power_off()
    for number, name in NAMES.items():
        node = rack.machines[number]
        node.wait_for("login")
        assert node.run("hostname") == name


def test_nothing_was_restarted_and_the_next_apply_finds_nothing_to_do(lab: Lab, rack: Rack):
    answer = lab.server.salt("state.apply", "diskless")
    assert {one["__id__"]: one["changes"] for one in answer.values() if one["changes"]} == {}
    assert dhcpd_pid(lab) == rack.dhcpd


def test_a_node_that_was_listed_all_along_was_never_noticed(
    lab: Lab, rack: Rack, request: pytest.FixtureRequest
):
    rack.listed.wait_for("login")
    assert rack.listed.console.count("Linux version ") == 1
    assert "this machine is" not in rack.listed.console
    said = lab.server.runner("diskless.nodes")
    version = lab.server.salt_call("diskless_image.list")["debian"]["published"]
    assert (said["listed"], said["registered"]) == ("node001", "node[051-052,060]")
    assert said["rejected"] == [mac(REJECTED)] and "pending" not in said
    last = request.module.LAST
    stages = {
        name: (group["stage"], group["version"])
        for group in said["boots"]["bootserver"]
        for name in expand(group["nodes"])
    }
    accepted = dict.fromkeys(NAMES.values(), (last, version))
    assert stages == {"node001": ("up", version), **accepted}
    said = lab.server.runner("diskless.nodes", "node[001,060]")
    assert (said["node001"]["state"], said["node001"]["boot"]["stage"]) == ("listed", "up")
    assert (said["node060"]["rule"], said["node060"]["boot"]["stage"]) == ("rack7", last)
    seen = lab.server.journal("lab-salt-master") + lab.server.journal("lab-salt-minion")
    assert rack.listed.mac not in seen
