"""Many at once."""

from __future__ import annotations

from tests.lab import Lab


def test_eight_nodes_powered_on_at_once_all_come_up(lab: Lab):
    lab.server.write_pillar(lab.pillar(8))
    lab.server.salt_call("state.apply", "diskless")
    nodes = [lab.power_on(f"node{number:03d}") for number in range(1, 9)]
    for node in nodes:
        node.wait_for("login", timeout=600)
    assert [node.run("hostname") for node in nodes] == [node.name for node in nodes]
    snapshots = {
        node.run("awk '$2 == \"/run/diskless/snapshot\" {print $1}' /proc/mounts") for node in nodes
    }
    assert len(snapshots) == 8
