#!/usr/bin/env python3
"""What a boot costs: seconds from power-on to login, memory, NFS calls, bytes over the wire.

The lab's golden root, on the lab's machines, one after the other: each root mode, plain `nfsroot`
with its default options, and the same root on a disk of the machine's own. Each is booted several
times in turn; a row has the medians.

    tests/bench/boot.py --json boot.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(CHECKOUT))

from tests.lab import Lab, Node, roots  # noqa: E402

#: Seconds for which an idle node is watched.
IDLE = 120
#: What every node settles for before it is measured.
SETTLE = 20
CONFIG = "/srv/tftp/linux-install/pxelinux.cfg"
PLAIN = "plain nfsroot"
DISK = "local disk"


@dataclass(frozen=True)
class Cost:
    """One boot, and the two minutes after it."""

    login: float
    memory: int
    calls: int
    getattr: int
    idle_calls: int
    wire: float


def nfs_calls(node: Node) -> dict[str, int]:
    """Return the NFS calls that a node has made since it was powered on (/proc/net/rpc/nfs: the
    number of operations, then a count for each, in the order of the protocol)."""
    counts: dict[str, int] = {"all": 0, "getattr": 0}
    for line in node.run("cat /proc/net/rpc/nfs 2>/dev/null", check=False).splitlines():
        words = line.split()
        if words[0] == "rpc":
            counts["all"] = int(words[1])
        elif words[0] == "proc3":
            counts["getattr"] += int(words[2:][1])
        elif words[0] == "proc4":
            counts["getattr"] += int(words[2:][GETATTR4])
    return counts


#: NFSPROC4_CLNT_GETATTR (linux/nfs4.h).
GETATTR4 = 17


def measure(power_on: Callable[[], Node]) -> Cost:
    """Boot a node, and watch it."""
    node = power_on()
    login = node.wait_for("login")
    time.sleep(SETTLE)
    booted, wire, memory = nfs_calls(node), node.wire_bytes(), node.memory_used()
    before = nfs_calls(node)["all"]
    time.sleep(IDLE)
    idle = nfs_calls(node)["all"] - before
    node.power_off()
    return Cost(login, memory, booted["all"], booted["getattr"], idle, wire / 1e6)


@contextlib.contextmanager
def ways(modes: list[str]) -> Iterator[dict[str, Callable[[], Node]]]:
    """Have a lab; yield each way to boot, and what powers a node on that goes it."""
    with Lab() as lab:
        pillar = lab.pillar(len(modes))
        nodes = pillar["diskless"]["nodes"]
        for mode, node in zip(modes, nodes.values(), strict=True):
            node["root"] = mode
        nodes["node900"] = {**nodes["node001"], "ip": "10.141.1.90", "mac": "52:54:00:00:09:00"}
        nodes["node901"] = {**nodes["node001"], "ip": "10.141.1.91", "mac": "52:54:00:00:09:01"}
        nodes["node901"]["drivers"] = ["virtio_pci", "virtio_net", "virtio_blk", "ext4"]
        lab.server.write_pillar(pillar)
        lab.server.salt_call("state.apply", "diskless")
        found: dict[str, Callable[[], Node]] = {
            mode: lambda name=name: lab.power_on(name)
            for mode, name in zip(modes, nodes, strict=False)
        }
        _plain(lab)
        disk = _disk(lab)
        found[PLAIN] = lambda: lab.power_on("node900", "52:54:00:00:09:00")
        found[DISK] = lambda: lab.power_on("node901", "52:54:00:00:09:01", disk=disk)
        yield found


def _plain(lab: Lab) -> None:
    """Have node900 boot by initramfs-tools' own nfsroot, from a writable copy of its own."""
    lab.server.run("cp", "-a", "/srv/golden", "/diskless/plain")
    export = ["exportfs", "-o", "rw,no_subtree_check,no_root_squash"]
    lab.server.run(*export, "10.141.1.90:/diskless/plain")
    _root(
        lab, "10.141.1.90", "root=/dev/nfs boot=nfs nfsroot=10.141.0.1:/diskless/plain ip=dhcp rw"
    )


def _disk(lab: Lab) -> pathlib.Path:
    """Have node901 boot from its disk, and return that."""
    disk = lab.place / "disk.ext4"
    make = ["mke2fs", "-q", "-t", "ext4", "-d", roots.golden(), disk, "1G"]
    subprocess.run(list(map(str, make)), check=True)
    _root(lab, "10.141.1.91", "root=/dev/vda rw")
    return disk


def _root(lab: Lab, address: str, words: str) -> None:
    """Give a node other words for its root than the project's."""
    name = "".join(f"{int(part):02X}" for part in address.split("."))
    config = lab.server.path(f"{CONFIG}/{name}")
    lines = config.read_text().splitlines()
    (number,) = (n for n, line in enumerate(lines) if line.lstrip().startswith("append "))
    kept = [word for word in lines[number].split() if word.startswith(("initrd=", "console="))]
    own = "net.ifnames=0 panic=-1 mitigations=off loglevel=6"
    lines[number] = f"    append {' '.join(kept)} {words} {own}"
    config.write_text("\n".join(lines) + "\n")


def rows(modes: list[str], repeats: int) -> list[dict]:
    """Return a row for each way to boot."""
    costs: dict[str, list[Cost]] = {}
    with ways(modes) as found:
        for _ in range(repeats):
            for way, power_on in found.items():
                costs.setdefault(way, []).append(measure(power_on))
    return [_row(way, several, costs) for way, several in costs.items()]


def _row(way: str, several: list[Cost], costs: dict[str, list[Cost]]) -> dict:
    def median(of: Callable[[Cost], float], among: list[Cost]) -> float:
        return statistics.median(of(cost) for cost in among)

    plain, disk = costs[PLAIN], costs[DISK]
    return {
        "bench": "boot",
        "case": way,
        "login_s": round(median(lambda cost: cost.login, several), 1),
        "memory_mb": round(median(lambda cost: cost.memory, several)),
        "above_disk_mb": round(
            median(lambda cost: cost.memory, several) - median(lambda cost: cost.memory, disk)
        ),
        "nfs_calls": round(median(lambda cost: cost.calls, several)),
        "getattr": round(median(lambda cost: cost.getattr, several)),
        "idle_calls": round(median(lambda cost: cost.idle_calls, several)),
        "wire_mb": round(median(lambda cost: cost.wire, several), 1),
        "against": PLAIN,
        "calls_ratio": round(
            median(lambda cost: cost.calls, several) / median(lambda cost: cost.calls, plain), 3
        ),
        "ratio": round(
            statistics.median(
                one.login / beside.login for one, beside in zip(several, plain, strict=True)
            ),
            2,
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--modes", nargs="+", default=["readonly"])
    options = parser.parse_args()
    made = rows(options.modes, options.repeats)
    columns = [name for name in made[0] if name != "bench"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in made:
        print(f"| {' | '.join(str(row[name]) for name in columns)} |")
    if options.json:
        options.json.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
