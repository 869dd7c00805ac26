"""Many at once, and what each of them costs."""

from __future__ import annotations

import pytest

from tests.lab import Lab, Node

COUNT = 8


@pytest.fixture(scope="module")
def crowd(lab: Lab) -> list[Node]:
    """Eight nodes that were powered on at once and are up."""
    lab.server.write_pillar(lab.pillar(COUNT))
    lab.server.salt_call("state.apply", "diskless")
    nodes = [lab.power_on(f"node{number:03d}") for number in range(1, COUNT + 1)]
    for node in nodes:
        node.wait_for("login")
    return nodes


def test_eight_nodes_powered_on_at_once_all_come_up(crowd: list[Node]):
    assert [node.run("hostname") for node in crowd] == [node.name for node in crowd]
    mine = "awk '$2 == \"/run/diskless/snapshot\" {print $1}' /proc/mounts"
    assert len({node.run(mine) for node in crowd}) == COUNT


def test_a_boot_asks_the_server_for_few_attributes(crowd: list[Node]):
    """With NFS's default options a boot and what follows are thousands of GETATTR calls."""
    count = "awk '$1 == \"GETATTR:\" {sum += $2} END {print sum}' /proc/self/mountstats"
    assert max(int(node.run(count)) for node in crowd) < 600


def test_a_snapshot_of_the_default_entries_is_smaller_than_a_megabyte(lab: Lab, crowd: list[Node]):
    lab.server.write_pillar(lab.pillar(COUNT + 1))
    lab.server.salt_call("diskless_snapshot.apply")
    usage = lab.server.salt_call("diskless_snapshot.usage", "node009")
    assert 0 < usage["node009"] < 1 << 20


def test_clean_takes_the_configuration_away_and_apply_brings_it_back(lab: Lab, crowd: list[Node]):
    lab.server.salt_call("state.apply", "diskless.clean")
    # The package's own is back.
    assert "salt-diskless" not in lab.server.path("/etc/dhcp/dhcpd.conf").read_text()
    assert not lab.server.path("/etc/exports.d/diskless.exports").exists()
    assert not lab.server.path("/srv/tftp/linux-install/pxelinux.cfg").exists()
    active = lab.server.run("systemctl", "is-active", "isc-dhcp-server", "tftpd-hpa", check=False)
    assert active.stdout.split() == ["inactive", "inactive"]
    assert lab.server.path("/diskless/debian/snapshot/node001/var/log").is_dir()
    lab.server.salt_call("state.apply", "diskless")
    active = lab.server.run("systemctl", "is-active", "isc-dhcp-server", "tftpd-hpa")
    assert active.stdout.split() == ["active", "active"]
    node = lab.power_on("node001")
    node.wait_for("login")
