"""Nodes without a disk swap: memory goes out and comes back, and no shutdown hangs."""

from __future__ import annotations

import pathlib
import re
import time
from typing import Any

import pytest

from tests.e2e import disks
from tests.e2e.test_boot import mounts_from_server
from tests.lab import Lab, Node, restart
from tests.lab.patience import Patience

#: Refuses what a kernel without CONFIG_NFS_SWAP refuses.
_SWAPON = """#!/bin/sh
case $1 in */swapfile) echo "swapon failed: Invalid argument"; exit 255 ;; esac
exec /sbin/swapon "$@"
"""
#: What a node has its network and its disk by.
DRIVERS = ["virtio_pci", "virtio_net", "virtio_blk"]
_FULL = "/dev/shm/full"
_GROUP = "/sys/fs/cgroup/pressed"


def pillar(lab: Lab, size: str) -> dict[str, Any]:
    """Return the pillar of two nodes: node001 has the default, node002 a file over NFS."""
    pillar = lab.pillar(2, drivers=DRIVERS)
    swap = {"kind": "nfs", "size": size}
    pillar["diskless"]["nodes"]["node002"].update(nfs="4.2", swap=swap)
    return pillar


@pytest.fixture(scope="module")
def nodes(lab: Lab) -> dict[str, Node]:
    """Two nodes that are up."""
    lab.server.write_pillar(pillar(lab, "192M"))
    lab.server.salt_call("state.apply", "diskless")
    return power_on(lab)


def power_on(lab: Lab, disk: pathlib.Path | None = None) -> dict[str, Node]:
    """Switch both nodes on, node001 with a disk, and return them when they have their swap."""
    lab.power_on("node001", disk=disk)
    lab.power_on("node002")
    for node in lab.nodes.values():
        node.wait_for("login")
        node.wait_for("diskless: swap: ")
    return lab.nodes


def swaps(node: Node) -> dict[str, int]:
    """Return what a node swaps to, with the sizes in KiB."""
    rows = [line.split() for line in node.run("cat /proc/swaps").splitlines()[1:]]
    return {row[0]: int(row[2]) for row in rows}


def counted(node: Node) -> dict[str, int]:
    """Return how many pages have gone out and come back so far."""
    rows = dict(line.split() for line in node.run("cat /proc/vmstat").splitlines())
    return {name: int(rows[name]) for name in ("pswpout", "pswpin")}


def fill(node: Node) -> str:
    """Write a pattern to a tmpfs with less memory than it takes, and return its checksum."""
    node.run(
        f"mkdir -p {_FULL} {_GROUP}; mount -t tmpfs tmpfs {_FULL} && "
        f"echo +memory > {_GROUP}/../cgroup.subtree_control && echo 16M > {_GROUP}/memory.high"
    )
    pattern = f"seq 1 9000000 2>/dev/null | head -c 48M | tee {_FULL}/pattern"
    wanted = node.run(
        f"echo $$ > {_GROUP}/cgroup.procs; {pattern} | md5sum | cut -c-32; "
        f"echo max > {_GROUP}/memory.high",
        600,
    )
    assert re.fullmatch("[0-9a-f]{32}", wanted)
    return wanted


def checksum(node: Node) -> str:
    return node.run(f"md5sum {_FULL}/pattern | cut -c-32", 600)


def empty(node: Node) -> None:
    node.run(f"umount {_FULL}")


def swap_off(node: Node) -> None:
    node.run("systemctl stop diskless-swap", 300)
    assert swaps(node) == {}
    # The module of loop devices makes some when it is loaded.
    assert "zram" not in node.run("ls /sys/block")
    assert node.run("losetup -a") == ""
    assert "/run/diskless/swap " not in node.run("cat /proc/mounts")


def swap_on(node: Node) -> None:
    node.run("systemctl start diskless-swap")
    patience = Patience(60)
    while not swaps(node):
        assert not patience.is_over, node.console[-1500:]
        time.sleep(0.2)


def used(node: Node) -> int:
    """Return the KiB of memory in use, when nothing is kept that need not be."""
    node.run("sync; echo 3 > /proc/sys/vm/drop_caches")
    return int(node.run("free -k").splitlines()[1].split()[2])


def test_zram_is_what_a_node_has_when_nobody_says_otherwise_and_costs_next_to_nothing(
    nodes: dict[str, Node],
):
    node = nodes["node001"]
    total = int(node.run("sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"))
    assert list(swaps(node)) == ["/dev/zram0"]
    assert abs(swaps(node)["/dev/zram0"] - total // 4) < 8
    differences = []
    for _ in range(3):
        with_it = used(node)
        swap_off(node)
        differences.append(with_it - used(node))
        swap_on(node)
    assert sorted(differences)[1] <= 1024, differences


def test_over_nfs_a_node_swaps_to_its_own_file_directly(nodes: dict[str, Node]):
    node = nodes["node002"]
    assert swaps(node) == {"/run/diskless/swap/swapfile": 192 * 1024 - 4}
    assert re.search(r"swap: 10\.141\.0\.1:/diskless/debian/swap/node002, directly", node.console)
    assert node.run("swapon --show=TYPE --noheadings") == "file"


def test_the_server_refuses_the_neighbours_swap_file(nodes: dict[str, Node]):
    place = "/diskless/debian/swap/node002"
    assert mounts_from_server(nodes["node002"], place, "4.2")
    assert not mounts_from_server(nodes["node001"], place, "4.2")


@pytest.mark.parametrize("name", ["node001", "node002"], ids=["zram", "NFS"])
def test_under_pressure_memory_goes_out_and_comes_back(nodes: dict[str, Node], name: str):
    press(nodes[name])
    swap_off(nodes[name])
    swap_on(nodes[name])


def press(node: Node) -> None:
    """Have memory go out and come back as it was."""
    before = counted(node)
    wanted = fill(node)
    assert checksum(node) == wanted
    after = counted(node)
    assert after["pswpout"] - before["pswpout"] > 4000, (before, after)
    assert after["pswpin"] - before["pswpin"] > 4000, (before, after)
    empty(node)


def test_a_new_file_on_the_server_takes_nothing_from_a_node_that_swaps(
    lab: Lab, nodes: dict[str, Node]
):
    node, place = nodes["node002"], lab.server.diskless / "debian/swap/node002"
    wanted = fill(node)
    lab.server.write_pillar(pillar(lab, "256M"))
    answer = lab.server.salt_call("state.apply", "diskless")
    changed = {state["__id__"]: state["changes"] for state in answer.values() if state["changes"]}
    assert changed == {"diskless swap files": {"changed": {"nodes": "node002"}}}
    assert (place / "swapfile").stat().st_size == 256 << 20
    assert (place / "swapfile.old").stat().st_size == 192 << 20
    assert checksum(node) == wanted
    empty(node)


def test_a_node_that_swaps_goes_down_without_delay_and_has_its_swap_again(
    lab: Lab, nodes: dict[str, Node]
):
    changed = pillar(lab, "256M")
    changed["diskless"]["nodes"]["node001"].update(nfs=3, swap={"kind": "nfs", "size": "128M"})
    lab.server.write_pillar(changed)
    lab.server.salt_call("state.apply", "diskless")
    have_in_swap(nodes["node002"])
    restart(nodes.values())
    power_on(lab)
    assert swaps(nodes["node001"]) == {"/run/diskless/swap/swapfile": 128 * 1024 - 4}
    assert swaps(nodes["node002"]) == {"/run/diskless/swap/swapfile": 256 * 1024 - 4}
    assert nodes["node002"].run("systemctl --failed --no-legend --plain") == ""
    answer = lab.server.salt_call("diskless_swap.apply")
    assert answer == {"removed": {"old": "node002"}}


def have_in_swap(node: Node) -> None:
    """Have a node that is about to restart have memory in its swap."""
    fill(node)
    assert int(node.run("awk 'NR > 1 {print $4}' /proc/swaps")) > 16000


def test_over_nfs_3_memory_goes_out_and_comes_back_too(nodes: dict[str, Node]):
    node = nodes["node001"]
    mounts = node.run("cat /proc/mounts")
    assert re.search(r"swap/node001 /run/diskless/swap nfs rw\S*,vers=3,", mounts), mounts
    assert re.search(r"swap: 10\.141\.0\.1:/diskless/debian/swap/node001, directly", node.console)
    press(node)
    swap_off(node)
    swap_on(node)


def test_through_a_loop_device_memory_comes_back_too(nodes: dict[str, Node]):
    node = nodes["node002"]
    swap_off(node)
    node.run(f"cat > /tmp/swapon <<'END'\n{_SWAPON}END\nchmod 755 /tmp/swapon")
    node.run("PATH=/tmp:$PATH sh /usr/lib/salt-diskless/swap start")
    assert list(swaps(node)) == ["/dev/loop0"]
    assert "node002, through /dev/loop0" in node.run("dmesg")
    press(node)
    node.run("sh /usr/lib/salt-diskless/swap stop", 300)
    assert swaps(node) == {}
    assert node.run("losetup -a") == ""


def test_a_node_whose_swap_is_taken_away_keeps_it_until_it_has_booted_again(
    lab: Lab, nodes: dict[str, Node], disk: pathlib.Path
):
    other = lab.pillar(2, drivers=DRIVERS)
    other["diskless"]["nodes"]["node001"]["swap"] = {"kind": "disk", "label": "diskless-swap"}
    lab.server.write_pillar(other)
    answer = lab.server.salt_call("state.apply", "diskless")
    changed = {state["__id__"]: state["changes"] for state in answer.values() if state["changes"]}
    assert changed["diskless swap files"] == {"retired": {"nodes": "node[001-002]"}}
    assert "diskless nfs exports" not in changed
    have_in_swap(nodes["node001"])
    restart(nodes.values())
    power_on(lab, disk)
    assert list(swaps(nodes["node002"])) == ["/dev/zram0"]
    answer = lab.server.salt_call("state.apply", "diskless")
    changed = {state["__id__"]: state["changes"] for state in answer.values() if state["changes"]}
    assert changed["diskless swap files"] == {"removed": {"nodes": "node[001-002]"}}
    assert changed["diskless nfs exports"]["removed"]["exports"] == [
        "/diskless/debian/swap/node[001-002]"
    ]


@pytest.fixture(scope="module")
def disk(lab: Lab) -> pathlib.Path:
    """A disk with four partitions, of which the third has the label."""
    others = ("swap", "diskless-swap2"), ("swap", ""), ("ext4", "data")
    return disks.make(lab.place / "disk", *others[:2], ("swap", "diskless-swap"), others[2])


def test_on_a_disk_memory_goes_out_to_the_partition_with_the_label_and_to_no_other(
    lab: Lab, nodes: dict[str, Node], disk: pathlib.Path
):
    before = [disks.digest(disk, number) for number in range(4)]
    node = nodes["node001"]
    assert list(swaps(node)) == ["/dev/vda3"]
    assert "diskless: swap: the partition labelled diskless-swap" in node.console
    press(node)
    swap_off(node)
    swap_on(node)
    have_in_swap(node)
    restart([node])
    after = [disks.digest(disk, number) for number in range(4)]
    assert [number for number in range(4) if after[number] != before[number]] == [2]
    node = lab.power_on("node001", disk=disk)
    node.wait_for("diskless: swap: the partition labelled diskless-swap")
    node.wait_for("login")
    assert list(swaps(node)) == ["/dev/vda3"]
