"""A minute without the network is a pause: what a node reads and writes goes on when it is over."""

from __future__ import annotations

import time

import pytest

from tests.lab import Lab, Node
from tests.lab.patience import Patience

pytestmark = pytest.mark.nightly

#: Node to its root mode and NFS version.
NODES = {
    "node001": ("readonly", "4.2"),
    "node002": ("overlay", "4.2"),
    "node003": ("readonly", "3"),
    "node004": ("overlay", "3"),
}
#: Longer than the lease of the lab's server, 60 s: it has forgotten what the node has open.
SECONDS = 70
#: What docs/troubleshooting.md has for locks by NFS 4: node002 has it, and a lock.
_LOCKS = "nfs.recover_lost_locks=1"
#: Counts into two files of the snapshot, of which one stays open; and reads the root.
_LOOP = f"""
exec 9>>/var/log/held
if grep -q {_LOCKS} /proc/cmdline; then flock 9; fi
sum=$(md5sum </usr/bin/perl)
number=0
until [ -e /run/enough ]; do
    sleep 0.5
    number=$((number + 1))
    echo $number >>/var/log/beat && sync /var/log/beat || echo "$number: no write"
    echo $number >&9 && sync /var/log/held || echo "$number: no write to what is open"
    echo 3 >/proc/sys/vm/drop_caches
    [ "$(md5sum </usr/bin/perl)" = "$sum" ] || echo "$number: no read"
done
"""
#: Has it end between two turns, and waits for that.
_END = """
touch /run/enough
while kill -0 "$(cat /run/loop.pid)" 2>/dev/null; do sleep 0.1; done
sync
"""


def counted(lab: Lab, name: str, file: str = "beat") -> list[int]:
    """Return what has come of a node's counting to the server."""
    path = lab.server.diskless / f"debian/snapshot/{name}/var/log/{file}"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def wait_for_more(lab: Lab, count: int) -> None:
    """Wait until each node has counted that much further."""
    wanted = {name: len(counted(lab, name)) + count for name in NODES}
    patience = Patience(300)
    while any(len(counted(lab, name)) < wanted[name] for name in NODES):
        assert not patience.is_over, {name: (wanted[name], counted(lab, name)) for name in NODES}
        time.sleep(0.2)


@pytest.fixture(scope="module")
def nodes(lab: Lab) -> dict[str, Node]:
    """Nodes that are up, and count."""
    pillar = lab.pillar(len(NODES))
    for name, (root, nfs) in NODES.items():
        pillar["diskless"]["nodes"][name].update(root=root, nfs=nfs)
    append = pillar["diskless"]["profiles"]["compute"]["kernel_append"]
    pillar["diskless"]["nodes"]["node002"]["kernel_append"] = f"{append} {_LOCKS}"
    lab.server.write_pillar(pillar)
    lab.server.salt_call("state.apply", "diskless")
    for name in NODES:
        lab.power_on(name)
    for node in lab.nodes.values():
        node.wait_for("login")
        node.run(f"cat >/run/loop.sh <<'END'\n{_LOOP}END")
        node.run("sh /run/loop.sh >/run/said 2>&1 & echo $! >/run/loop.pid")
    return lab.nodes


def test_nothing_is_lost_by_a_minute_without_the_network(lab: Lab, nodes: dict[str, Node]):
    boots = {name: node.run("cat /proc/sys/kernel/random/boot_id") for name, node in nodes.items()}
    wait_for_more(lab, 3)
    for node in nodes.values():
        node.cable("down")
    time.sleep(1)  # For what was on its way to the disk.
    before = {name: counted(lab, name) for name in NODES}
    time.sleep(SECONDS)
    assert {name: counted(lab, name) for name in NODES} == before
    for node in nodes.values():
        node.cable("up")
    wait_for_more(lab, 5)
    for name, node in nodes.items():
        node.run(_END)
        assert node.run("cat /run/said") == "", name
        for file in ("beat", "held"):
            numbers = counted(lab, name, file)
            assert numbers == [*range(1, len(numbers) + 1)], (name, file)
            assert len(numbers) > len(before[name])
        assert node.run("cat /proc/sys/kernel/random/boot_id") == boots[name]
        assert "I/O error" not in node.run("dmesg")
        assert node.run("systemctl --failed --no-legend --plain") == ""
