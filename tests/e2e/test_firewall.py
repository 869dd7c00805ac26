"""With firewalld on, nodes boot, and it stays on: the HOWTO switched it off."""

from __future__ import annotations

import pytest

from tests.lab import Lab, Node


@pytest.fixture(scope="module")
def node(lab: Lab) -> Node:
    """A node over NFS 3, which needs the most ports, behind a firewall that was there first."""
    server = lab.server
    server.run("apt-get", "install", "-yq", "--no-install-recommends", "firewalld", "netbase")
    server.run("systemctl", "start", "firewalld")
    assert "tftp" not in services(lab)
    server.write_pillar(lab.pillar(1, nfs=3))
    server.salt_call("state.apply", "diskless")
    node = lab.power_on("node001")
    node.wait_for("login")
    return node


def services(lab: Lab, *where: str) -> set[str]:
    return set(lab.server.run("firewall-cmd", "--list-services", *where).stdout.split())


def test_the_boot_services_are_open_now_and_after_a_restart(lab: Lab, node: Node):
    wanted = {"dhcp", "tftp", "nfs", "mountd", "rpc-bind"}
    assert wanted <= services(lab)
    assert wanted <= services(lab, "--permanent")


def test_everything_else_stays_closed(lab: Lab, node: Node):
    said = "timeout 20 bash -c '</dev/tcp/10.141.0.1/{}' 2>&1 || true"
    assert "No route to host" in node.run(said.format(9999))
    assert node.run(said.format(2049)) == ""


def test_a_second_apply_changes_nothing(lab: Lab, node: Node):
    answer = lab.server.salt_call("state.apply", "diskless")
    assert [state for state in answer.values() if state["changes"]] == []
