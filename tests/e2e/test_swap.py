"""Nodes without a disk swap: memory goes out and comes back, and no shutdown hangs."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from tests.e2e.test_boot import mounts_from_server
from tests.lab import Lab, Node
from tests.lab.patience import Patience

#: Refuses what a kernel without CONFIG_NFS_SWAP refuses.
_SWAPON = """#!/bin/sh
case $1 in */swapfile) echo "swapon failed: Invalid argument"; exit 255 ;; esac
exec /sbin/swapon "$@"
"""
_FULL = "/dev/shm/full"
_GROUP = "/sys/fs/cgroup/pressed"


def pillar(lab: Lab, size: str) -> dict[str, Any]:
    """Return the pillar of two nodes: node001 has the default, node002 a file over NFS."""
    pillar = lab.pillar(2)
    pillar["diskless"]["nodes"]["node002"]["swap"] = {"kind": "nfs", "size": size}
    return pillar


@pytest.fixture(scope="module")
def nodes(lab: Lab) -> dict[str, Node]:
    """Two nodes that are up."""
    lab.server.write_pillar(pillar(lab, "192M"))
    lab.server.salt_call("state.apply", "diskless")
    return power_on(lab)


def power_on(lab: Lab) -> dict[str, Node]:
    for name in ("node001", "node002"):
        lab.power_on(name)
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
    assert node.run("ls /sys/block") in ("", _loops(node))
    assert "/run/diskless/swap " not in node.run("cat /proc/mounts")


def _loops(node: Node) -> str:
    """The loop devices that the module makes when it is loaded; none is in use."""
    assert node.run("losetup -a") == ""
    return node.run("cd /sys/block; ls -d loop*", check=False)


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
    node = nodes[name]
    before = counted(node)
    wanted = fill(node)
    assert checksum(node) == wanted
    after = counted(node)
    assert after["pswpout"] - before["pswpout"] > 4000, (before, after)
    assert after["pswpin"] - before["pswpin"] > 4000, (before, after)
    empty(node)
    swap_off(node)
    swap_on(node)


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
    node = nodes["node002"]
    fill(node)
    assert int(node.run("awk 'NR > 1 {print $4}' /proc/swaps")) > 16000
    for node in nodes.values():
        node.run("(sleep 1; systemctl reboot) >/dev/null 2>&1 &")
    patience = Patience(90)
    while any(node.is_on for node in nodes.values()):
        assert not patience.is_over, nodes["node002"].console[-3000:]
        time.sleep(0.2)
    power_on(lab)
    assert list(swaps(nodes["node001"])) == ["/dev/zram0"]
    assert swaps(nodes["node002"]) == {"/run/diskless/swap/swapfile": 256 * 1024 - 4}
    assert nodes["node002"].run("systemctl --failed --no-legend --plain") == ""
    answer = lab.server.salt_call("diskless_swap.apply")
    assert answer == {"removed": {"old": "node002"}}


def test_through_a_loop_device_memory_comes_back_too(nodes: dict[str, Node]):
    node = nodes["node002"]
    swap_off(node)
    node.run(f"cat > /tmp/swapon <<'END'\n{_SWAPON}END\nchmod 755 /tmp/swapon")
    node.run("PATH=/tmp:$PATH sh /usr/lib/salt-diskless/swap start")
    assert list(swaps(node)) == ["/dev/loop0"]
    assert "node002, through /dev/loop0" in node.run("dmesg")
    before = counted(node)
    wanted = fill(node)
    assert checksum(node) == wanted
    assert counted(node)["pswpin"] - before["pswpin"] > 4000
    empty(node)
    node.run("sh /usr/lib/salt-diskless/swap stop", 300)
    assert swaps(node) == {}
    assert node.run("losetup -a") == ""


def test_a_node_whose_swap_is_taken_away_keeps_it_until_it_has_booted_again(
    lab: Lab, nodes: dict[str, Node]
):
    lab.server.write_pillar(lab.pillar(2))
    answer = lab.server.salt_call("state.apply", "diskless")
    changed = {state["__id__"]: state["changes"] for state in answer.values() if state["changes"]}
    assert changed["diskless swap files"] == {"retired": {"nodes": "node002"}}
    assert "diskless nfs exports" not in changed
    nodes["node002"].power_off()
    node = lab.power_on("node002")
    node.wait_for("login")
    node.wait_for("diskless: swap: ")
    assert list(swaps(node)) == ["/dev/zram0"]
    answer = lab.server.salt_call("state.apply", "diskless")
    changed = {state["__id__"]: state["changes"] for state in answer.values() if state["changes"]}
    assert changed["diskless swap files"] == {"removed": {"nodes": "node002"}}
    assert changed["diskless nfs exports"]["removed"]["exports"] == [
        "/diskless/debian/swap/node002"
    ]
