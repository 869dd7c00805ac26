"""Nodes that have nothing but a MAC boot from what one pillar and one state.apply made."""

from __future__ import annotations

import hashlib
import os
import pathlib
import time

import pytest

from tests.lab import Lab, Node, Timeout
from tests.lab.patience import Patience

TREES = ("/etc", "/srv/tftp", "/diskless", "/var/lib/nfs")


@pytest.fixture(scope="module")
def nodes(lab: Lab) -> dict[str, Node]:
    """Two nodes that are up: node001 over NFS 4.2, node002 over NFS 3."""
    pillar = lab.pillar(2)
    pillar["diskless"]["nodes"]["node001"]["nfs"] = "4.2"
    lab.server.write_pillar(pillar)
    lab.server.salt_call("state.apply", "diskless")
    up = {name: lab.power_on(name) for name in ("node001", "node002")}
    for node in up.values():
        node.wait_for("login")
    return up


@pytest.fixture(params=["node001", "node002"], ids=["NFS 4.2", "NFS 3"])
def node(request: pytest.FixtureRequest, nodes: dict[str, Node]) -> Node:
    return nodes[request.param]


def mounts(node: Node) -> dict[str, list[str]]:
    """Return a node's mounts: where to device, type and options."""
    rows = (line.split() for line in node.run("cat /proc/mounts").splitlines())
    return {row[1]: [row[0], row[2], row[3]] for row in rows}


def writable(node: Node, directory: str) -> bool:
    """Tell whether a file can be made in a directory of the node."""
    said = node.run(f"touch {directory}/probe && rm {directory}/probe && echo yes", check=False)
    return said.endswith("yes")


def test_the_node_knows_its_name_and_domain(node: Node):
    assert node.run("hostname") == node.name
    assert node.run("cat /etc/hostname") == node.name
    assert node.run("cat /proc/sys/kernel/domainname") == "lab_nis"


def test_the_root_is_the_published_version_read_only(lab: Lab, node: Node):
    published = lab.server.salt_call("diskless_image.list")["debian"]["published"]
    device, kind, options = mounts(node)["/"]
    assert device == f"10.141.0.1:/diskless/debian/versions/{published}"
    assert kind.startswith("nfs")
    assert options.split(",")[0] == "ro"
    assert ("vers=3" if node.name == "node002" else "vers=4.2") in options.split(",")
    assert "nocto" in options.split(",")
    node.run("mount -o remount,rw /", check=False)
    assert not writable(node, "/usr"), "the server let a node write its root"


def test_other_paths_are_not_writable(node: Node):
    for directory in ("/", "/usr/bin", "/home", "/var/lib", "/boot"):
        assert not writable(node, directory), directory


@pytest.mark.parametrize("directory", ["/tmp", "/var/tmp", "/run", "/dev/shm"])
def test_what_is_of_this_boot_is_in_memory(node: Node, directory: str):
    assert mounts(node)[directory][1] == "tmpfs"
    assert writable(node, directory)


def test_entries_are_writable(node: Node):
    for directory in ("/var/log", "/root", "/var/spool", "/var/cache"):
        assert writable(node, directory), directory


def test_who_is_not_root_can_do_what_is_everybodys_and_no_more(node: Node):
    someone = "setpriv --reuid 65534 --regid 65534 --clear-groups"
    # /usr is of the version, /etc is an overlay above it, /var/log is of the snapshot.
    assert node.run(f"{someone} head -n 1 /etc/passwd").startswith("root:")
    assert node.run(f"{someone} ls /var/log")
    assert "Permission denied" in node.run(f"{someone} cat /etc/shadow", check=False)
    assert "Permission denied" in node.run(f"{someone} touch /var/log/probe", check=False)


def test_there_are_two_nfs_mounts_and_no_more(node: Node):
    rows = [line.split(" - ") for line in node.run("cat /proc/self/mountinfo").splitlines()]
    nfs = {left.split()[2] for left, right in rows if right.split()[0] in ("nfs", "nfs4")}
    assert len(nfs) == 2


def test_no_disk_is_used(node: Node):
    node.wait_for("diskless: swap: ")
    assert node.run("ls /sys/block") == "zram0"
    swaps = node.run("cat /proc/swaps").splitlines()[1:]
    assert [line.split()[0] for line in swaps] == ["/dev/zram0"]
    assert "written by salt-diskless" in node.run("cat /etc/fstab")


def test_nothing_checks_or_remounts_the_root(node: Node):
    before = mounts(node)["/"]
    assert "/" not in [line.split()[1] for line in node.run("grep -v ^# /etc/fstab").splitlines()]
    # The lab's image has the unit masked that runs this.
    node.run("/lib/systemd/systemd-remount-fs")
    assert mounts(node)["/"] == before
    checks = "'systemd-fsck@*' systemd-fsck-root.service"
    assert node.run(f"systemctl list-units --no-legend {checks}") == ""


def test_systemd_has_no_failed_unit(node: Node):
    assert node.run("systemctl --failed --no-legend --plain") == ""


@pytest.mark.parametrize("vers", ["3", "4.2"])
def test_the_server_refuses_the_neighbours_snapshot(lab: Lab, node: Node, vers: str):
    neighbour = "node002" if node.name == "node001" else "node001"
    place = "/diskless/debian/snapshot"
    assert (lab.server.diskless / f"debian/snapshot/{neighbour}").is_dir()
    assert mounts_from_server(node, f"{place}/{node.name}", vers)
    assert not mounts_from_server(node, f"{place}/{neighbour}", vers)


def mounts_from_server(node: Node, path: str, vers: str) -> bool:
    """Tell whether the server lets a node mount a path and look into it."""
    options = f"-i -o vers={vers},proto=tcp,addr=10.141.0.1"
    if vers == "3":
        kind, options = "nfs", f"{options},nolock,mountproto=tcp"
    else:
        kind, options = "nfs4", f"{options},clientaddr=0.0.0.0"
    at = "/run/looked-at"
    said = node.run(
        f"mkdir -p {at}; mount -t {kind} {options} 10.141.0.1:{path} {at} && "
        f"ls -A {at} && umount {at} && echo all of it",
        check=False,
    )
    return said.endswith("all of it")


def test_each_node_writes_its_own_snapshot_on_the_server(lab: Lab, node: Node):
    node.run(f"echo {node.name} was here > /var/log/visit; sync")
    path = lab.server.diskless / f"debian/snapshot/{node.name}/var/log/visit"
    assert path.read_text() == f"{node.name} was here\n"


def test_the_demos_memory_figure_is_of_a_small_node(node: Node):
    assert 10 < node.memory_used() < 150


def test_a_second_apply_changes_nothing(lab: Lab, nodes: dict[str, Node]):
    answer = lab.server.salt_call("state.apply", "diskless")
    assert {
        state["__id__"]: state["changes"] for state in answer.values() if state["changes"]
    } == {}


def test_test_mode_touches_nothing_and_tells_what_would_change(lab: Lab, nodes: dict[str, Node]):
    pillar = lab.pillar(3)
    pillar["diskless"]["nodes"]["node001"]["nfs"] = "4.2"
    lab.server.write_pillar(pillar)
    before = digest(lab)
    answer = lab.server.salt_call("state.apply", "diskless", test=True)
    assert digest(lab) == before
    changed = {state["__id__"]: state["changes"] for state in answer.values() if state["changes"]}
    assert changed["diskless snapshots"]["added"]["nodes"] == "node003"
    assert changed["diskless tftp root"]["added"]["nodes"] == "node003"
    assert changed["diskless dhcpd configuration"]["added"]["nodes"] == "node003"
    assert "diskless images" not in changed


def digest(lab: Lab) -> str:
    """Return a digest of every file that a boot server's configuration is in."""
    whole = hashlib.sha256()
    for tree in TREES:
        for directory, names, files in os.walk(lab.server.path(tree)):
            names.sort()
            if "/versions/" in directory or "/snapshot/node" in directory:
                continue
            for name in sorted(files):
                path = pathlib.Path(directory, name)
                whole.update(f"{path} {path.lstat().st_mtime_ns}".encode())
    return whole.hexdigest()


def test_an_added_node_boots_after_one_more_apply_and_the_others_do_not_notice(
    lab: Lab, nodes: dict[str, Node]
):
    first = nodes["node001"]
    boot_id = first.run("cat /proc/sys/kernel/random/boot_id")
    first.run(
        "(while sleep 0.2; do cat /usr/bin/perl /var/log/visit >/dev/null || echo bad; "
        "date >/var/log/beat || echo bad; done) >/run/loop 2>&1 & echo $! >/run/loop.pid"
    )
    dhcpd = restarts(lab, "isc-dhcp-server")
    nfs = main_pid(lab, "nfs-server")
    pillar = lab.pillar(3)
    pillar["diskless"]["nodes"]["node001"]["nfs"] = "4.2"
    lab.server.write_pillar(pillar)
    lab.server.salt_call("state.apply", "diskless")
    third = lab.power_on("node003")
    third.wait_for("login")
    assert third.run("hostname") == "node003"
    assert restarts(lab, "isc-dhcp-server") == dhcpd + 1
    assert main_pid(lab, "nfs-server") == nfs
    assert first.run("kill -0 $(cat /run/loop.pid) && cat /run/loop") == ""
    assert first.run("cat /proc/sys/kernel/random/boot_id") == boot_id
    first.run("kill $(cat /run/loop.pid)")


def restarts(lab: Lab, unit: str) -> int:
    """Return how often a unit has been started."""
    return lab.server.journal(unit).count("Started ")


def main_pid(lab: Lab, unit: str) -> str:
    return lab.server.run("systemctl", "show", "-p", "MainPID", unit).stdout


def test_a_restart_of_the_nfs_server_is_no_more_than_a_pause(lab: Lab, nodes: dict[str, Node]):
    restart_nfs(lab, nodes["node001"], nodes["node002"])


def restart_nfs(lab: Lab, *nodes: Node) -> None:
    """Restart the NFS server, and see that nodes read their root and write to their snapshot."""
    lab.server.run("systemctl", "restart", "nfs-server")
    for node in nodes:
        node.run("echo 3 >/proc/sys/vm/drop_caches; sha256sum /usr/bin/perl", timeout=300)
        node.run(f"echo {node.name} >/var/log/after; sync", timeout=300)
        after = lab.server.diskless / f"debian/snapshot/{node.name}/var/log/after"
        assert after.read_text() == f"{node.name}\n"


def test_a_removed_node_loses_its_files_and_exports(lab: Lab, nodes: dict[str, Node]):
    config = lab.server.path("/srv/tftp/linux-install/pxelinux.cfg")
    assert (config / "0A8D0103").exists()
    pillar = lab.pillar(2)
    pillar["diskless"]["nodes"]["node001"]["nfs"] = "4.2"
    lab.server.write_pillar(pillar)
    lab.server.salt_call("state.apply", "diskless")
    assert not (config / "0A8D0103").exists()
    exported = lab.server.salt_call("diskless_nfs.list", "full=True")
    assert "/diskless/debian/snapshot/node003" not in exported["exported"]
    assert "/diskless/debian/snapshot/node001" in exported["exported"]
    assert exported["drift"] == {}
    # It is still on, and the server refuses it from now on.
    removed = lab.nodes["node003"]
    patience = Patience(10)
    while mounts_from_server(removed, "/diskless/debian/snapshot/node003", "3"):
        assert not patience.is_over
    removed.power_off()


def test_a_restart_that_a_killed_run_did_not_make_is_made_by_the_next_one(
    lab: Lab, nodes: dict[str, Node]
):
    pillar = lab.pillar(2)
    pillar["diskless"]["networks"]["lab"]["domain"] = "other.example"
    lab.server.write_pillar(pillar)
    before = restarts(lab, "isc-dhcp-server")
    # As far as a run gets that is killed between the write and the restart.
    assert lab.server.salt_call("diskless_dhcpd.apply")
    assert restarts(lab, "isc-dhcp-server") == before
    for test in (True, False):
        answer = lab.server.salt_call("state.apply", "diskless.dhcpd", test=test)
        states = {state["__id__"]: state["changes"] for state in answer.values()}
        assert states["diskless dhcpd configuration"] == {"outdated": "isc-dhcp-server"}
    assert restarts(lab, "isc-dhcp-server") == before + 1
    answer = lab.server.salt_call("state.apply", "diskless.dhcpd")
    assert [state for state in answer.values() if state["changes"]] == []


def test_what_a_node_wrote_is_there_after_its_next_boot(lab: Lab, nodes: dict[str, Node]):
    node = nodes["node001"]
    node.run("echo kept > /var/log/kept; echo gone > /tmp/gone; sync")
    node.run("logger -t mark first; systemctl start diskless-journal.service; logger -t mark last")
    assert node.run("journalctl -t mark -o cat").split() == ["first", "last"]
    assert node.run("journalctl -D /run/log/journal -t mark -o cat").split() == ["last"]
    node.run("(sleep 1; systemctl poweroff) >/dev/null 2>&1 &")
    patience = Patience(120)
    while node.is_on:
        assert not patience.is_over, node.console[-2000:]
        time.sleep(0.2)
    again = lab.power_on("node001")
    again.wait_for("login")
    nodes["node001"] = again
    assert again.run("cat /var/log/kept") == "kept"
    assert again.run("ls /tmp/gone", check=False).endswith("No such file or directory")
    assert again.run("journalctl -b -1 -t mark -o cat").split() == ["first", "last"]


def test_a_failure_says_its_reason_and_is_tried_again(lab: Lab, nodes: dict[str, Node]):
    config = lab.server.path("/srv/tftp/linux-install/pxelinux.cfg/0A8D0102")
    good = config.read_text()
    config.write_text(good.replace("SNAPSHOT=node002", "SNAPSHOT=node999"))
    node = lab.power_on("node002")
    node.wait_for(
        r"diskless: snapshot 10\.141\.0\.1:/diskless/debian/snapshot/node999 .*again in 1 s"
    )
    node.wait_for(r"again in 4 s")
    with pytest.raises(Timeout):
        node.wait_for("login", timeout=1)
    config.write_text(good)
    nodes["node002"] = lab.power_on("node002")
    nodes["node002"].wait_for("login")


def test_without_tftp_no_node_comes_up(lab: Lab, nodes: dict[str, Node]):
    """The test that proves the others: nothing but the boot server makes a node boot."""
    lab.server.run("systemctl", "stop", "tftpd-hpa")
    try:
        node = lab.power_on("node001", firmware=True)
        node.wait_for(r"(?i)(connection timed out|could not boot|no more network devices)", 180)
        assert "Linux version" not in node.console
        assert "login: " not in node.console
        node.power_off()
    finally:
        lab.server.run("systemctl", "start", "tftpd-hpa")
