#!/usr/bin/env python3
"""What a boot costs: seconds from power-on to login, memory, NFS calls, bytes over the wire.

The lab's golden root, on the lab's machines, one after the other: each root mode, plain `nfsroot`
with its default options, LTSP (Debian's package) and the same root on a disk of the machine's own.
Each is booted several times in turn, one after the other; while one is idle, and watched, the next
boots. A row has the medians, and the median of the turns' ratios of the seconds to login to LTSP's.

    tests/bench/boot.py --json boot.json
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(CHECKOUT))

from tests.bench.table import show  # noqa: E402
from tests.lab import Lab, Node, cache, roots  # noqa: E402

#: Seconds for which an idle node is watched.
IDLE = 120
#: What every node settles for before it is measured.
SETTLE = 20
MODES = ["readonly", "overlay", "squashfs", "ram"]
CONFIG = "/srv/tftp/linux-install/pxelinux.cfg"
PLAIN = "plain nfsroot"
LTSP = "LTSP"
DISK = "local disk"
#: The nodes that go other ways than the project's.
OTHERS = ("node900", "node901", "node902")


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


def measure(power_on: Callable[[], Node], watching: ThreadPoolExecutor) -> Future[Cost]:
    """Boot a node; then have it watched while it is idle, and switched off."""
    node = power_on()
    login = node.wait_for("login")
    time.sleep(SETTLE)
    booted, wire, memory = nfs_calls(node), node.wire_bytes(), node.memory_used()
    before = nfs_calls(node)["all"]

    def watch() -> Cost:
        time.sleep(IDLE)
        idle = nfs_calls(node)["all"] - before
        node.power_off()
        return Cost(login, memory, booted["all"], booted["getattr"], idle, wire / 1e6)

    return watching.submit(watch)


@contextlib.contextmanager
def ways(modes: list[str]) -> Iterator[dict[str, Callable[[], Node]]]:
    """Have a lab; yield each way to boot, and what powers a node on that goes it."""
    with Lab() as lab:
        pillar = lab.pillar(len(modes))
        nodes = pillar["diskless"]["nodes"]
        for mode, node in zip(modes, nodes.values(), strict=True):
            node["root"] = mode
        for number, name in enumerate(OTHERS):
            own = {"ip": f"10.141.1.{90 + number}", "mac": f"52:54:00:00:09:{number:02x}"}
            nodes[name] = {**nodes["node001"], "root": "readonly", **own}
        drivers = ["virtio_pci", "virtio_net", "virtio_blk", "ext4", "overlay", "loop", "squashfs"]
        nodes["node901"]["drivers"] = drivers
        lab.server.write_pillar(pillar)
        lab.server.salt_call("state.apply", "diskless")
        found: dict[str, Callable[[], Node]] = {
            mode: lambda name=name: lab.power_on(name)
            for mode, name in zip(modes, nodes, strict=False)
        }
        _plain(lab)
        disk = _disk(lab)
        _ltsp(lab)
        found[PLAIN] = lambda: lab.power_on("node900", "52:54:00:00:09:00")
        found[DISK] = lambda: lab.power_on("node901", "52:54:00:00:09:01", disk=disk)
        found[LTSP] = lambda: lab.power_on("node902", "52:54:00:00:09:02")
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


def _ltsp(lab: Lab) -> None:
    """Have node902 boot by LTSP: its image, its initrd before the ordinary one, its kernel line."""
    made = cache.made("ltsp", [str(roots.golden())], _make_ltsp)
    shutil.copytree(made / "images", lab.server.diskless / "ltsp/images")
    shutil.copy(made / "ltsp.img", lab.server.path("/srv/tftp/linux-install/ltsp.img"))
    export = ["exportfs", "-o", "ro,async,no_subtree_check,no_root_squash"]
    lab.server.run(*export, "10.141.1.92:/diskless/ltsp")
    image = "ltsp.image=images/golden.img loop.max_part=9 ip=dhcp"
    _root(lab, "10.141.1.92", f"root=/dev/nfs nfsroot=10.141.0.1:/diskless/ltsp {image}")
    config = lab.server.path(f"{CONFIG}/0A8D015C")
    config.write_text(config.read_text().replace("initrd=", "initrd=ltsp.img,"))


def _make_ltsp(place: pathlib.Path) -> None:
    """Have LTSP's own programs make its image of the golden root, and its initrd."""
    server = place / "server"
    subprocess.run(["cp", "-a", roots.golden(), server], check=True)
    roots.in_chroot(server, ["apt-get", "update", "-q"])
    install = ["apt-get", "install", "-yq", "--no-install-recommends"]
    roots.in_chroot(server, [*install, "ltsp", "squashfs-tools", "cpio"])
    (server / "srv/ltsp").mkdir(parents=True)
    subprocess.run(["cp", "-a", roots.golden(), server / "srv/ltsp/golden"], check=True)
    (server / "etc/ssh").mkdir(exist_ok=True)
    (server / "etc/ssh/ssh_host_none_key.pub").touch()
    roots.in_chroot(server, ["ltsp", "initrd"])
    # Its last step, which takes the kernel out of the image by a loop mount, is not needed here.
    image = "ltsp image golden || test -s /srv/ltsp/images/golden.img"
    roots.in_chroot(server, ["sh", "-c", image])
    shutil.move(server / "srv/tftp/ltsp/ltsp.img", place / "ltsp.img")
    shutil.move(server / "srv/ltsp/images", place / "images")
    (place / "images").chmod(0o755)
    shutil.rmtree(server)


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
    with ways(modes) as found, ThreadPoolExecutor(len(found)) as watching:
        costs: dict[str, list[Cost]] = {way: [] for way in found}
        for _ in range(repeats):
            watched = {way: measure(power_on, watching) for way, power_on in found.items()}
            for way, cost in watched.items():
                costs[way].append(cost.result())
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
        "calls_to_plain": round(
            median(lambda cost: cost.calls, several) / median(lambda cost: cost.calls, plain), 3
        ),
        "getattr_to_plain": round(
            median(lambda cost: cost.getattr, several) / median(lambda cost: cost.getattr, plain), 4
        ),
        "against": LTSP,
        "ratio": round(
            statistics.median(
                one.login / beside.login for one, beside in zip(several, costs[LTSP], strict=True)
            ),
            2,
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--modes", nargs="+", default=MODES)
    options = parser.parse_args()
    show(rows(options.modes, options.repeats), options.json)


if __name__ == "__main__":
    main()
