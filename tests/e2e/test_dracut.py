"""The same nodes with an initramfs of dracut: they have all that the others have."""

from __future__ import annotations

import pytest

from tests.e2e import test_boot
from tests.lab import Lab, Node

#: What is promised of a node that is up is promised whatever has built its initramfs.
test_the_node_knows_its_name_and_domain = test_boot.test_the_node_knows_its_name_and_domain
test_the_root_is_read_only = test_boot.test_the_root_is_the_published_version_read_only
test_other_paths_are_not_writable = test_boot.test_other_paths_are_not_writable
test_what_is_of_this_boot_is_in_memory = test_boot.test_what_is_of_this_boot_is_in_memory
test_entries_are_writable = test_boot.test_entries_are_writable
test_there_are_two_nfs_mounts = test_boot.test_there_are_two_nfs_mounts_and_no_more
test_no_disk_is_used = test_boot.test_no_disk_is_used
test_systemd_has_no_failed_unit = test_boot.test_systemd_has_no_failed_unit
test_neighbours_are_refused = test_boot.test_the_server_refuses_the_neighbours_snapshot
test_each_node_writes_its_own = test_boot.test_each_node_writes_its_own_snapshot_on_the_server
node = test_boot.node

EXPORTS = "/etc/exports.d/diskless.exports"


@pytest.fixture(scope="module")
def nodes(lab: Lab) -> dict[str, Node]:
    """Two nodes that are up: node001 over NFS 4.2, node002 over NFS 3."""
    pillar = lab.pillar(2)
    pillar["diskless"]["images"]["debian"]["initramfs"] = "dracut"
    pillar["diskless"]["nodes"]["node001"]["nfs"] = "4.2"
    pillar["diskless"]["networks"]["lab"]["discovery_range"] = "10.141.2.1-10.141.2.50"
    lab.server.write_pillar(pillar)
    lab.server.salt_call("state.apply", "diskless")
    up = {name: lab.power_on(name) for name in ("node001", "node002")}
    for node in up.values():
        node.wait_for("login")
    return up


def test_it_was_dracut(lab: Lab, nodes: dict[str, Node]):
    assert lab.server.salt_call("diskless_image.show", "debian")["initramfs"] == "dracut"


def test_a_failure_is_said_and_tried_again_and_what_was_written_is_there_when_it_is_over(
    lab: Lab, nodes: dict[str, Node]
):
    nodes["node001"].run("echo kept > /var/log/kept; sync")
    exports = lab.server.path(EXPORTS)
    good = exports.read_text()
    lines = good.splitlines(keepends=True)
    exports.write_text("".join(line for line in lines if "/snapshot/node001 " not in line))
    lab.server.run("exportfs", "-r")
    node = nodes["node001"] = lab.power_on("node001")
    node.wait_for(r"diskless: snapshot 10\.141\.0\.1:/diskless/debian/snapshot/node001 .*in 2 s")
    exports.write_text(good)
    lab.server.run("exportfs", "-r")
    node.wait_for("login")
    assert "debug shell" not in node.console and "has failed" not in node.console
    assert node.run("cat /var/log/kept") == "kept"


def test_a_stranger_reads_its_mac_and_what_to_do_on_its_console(lab: Lab, nodes: dict[str, Node]):
    stranger = lab.power_on("stranger900", "52:54:00:99:99:01")
    stranger.wait_for("its MAC is 52:54:00:99:99:01")
    stranger.wait_for("salt-call state.apply diskless")
    stranger.power_off()
