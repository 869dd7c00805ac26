#!/usr/bin/env python3
"""How long it takes to add one node to N nodes: from the call of `diskless_node.add` to the offer
of the running dhcpd.

A boot server for each N, side by side, in mounts and networks of their own; each is given one node
after the other, all of them in turn, so that what else the machine does falls on all of them. A row
has the median, and the median of the turns' ratios to the smallest cluster. As in a minion, the
pillar is in memory, and each call is a process of its own.

    tests/bench/node.py --nodes 128 1000 10000 --json node.json
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(CHECKOUT))

import salt.config  # noqa: E402
import salt.loader  # noqa: E402
import yaml  # noqa: E402

from tests.bench.apply import Bench  # noqa: E402
from tests.bench.table import show  # noqa: E402
from tests.lab.offer import wait_for_offer  # noqa: E402

TURNS = 25
LEASES = pathlib.Path("/var/lib/dhcp/dhcpd.leases")
_APART = """
ip link set lo up
ip link add eth0 type veth peer name node0
ip addr add 10.0.0.1/8 dev eth0; ip link set eth0 up; ip link set node0 up
mkdir -p /etc/exports.d /var/lib/nfs /var/lib/dhcp
for d in /etc/exports.d /var/lib/nfs /var/lib/dhcp /run; do mount -t tmpfs none $d; done
[ ! -e /etc/exports ] || mount --bind /dev/null /etc/exports
exec "$@"
"""


def serve(count: int) -> None:
    """Be a boot server of ``count`` nodes: add one for each line of the standard input, and print
    the seconds that it took."""
    with tempfile.TemporaryDirectory(prefix="diskless-bench.") as name:
        place = pathlib.Path(name, "b")
        place.mkdir()
        bench = Bench(place, count)
        bench.write_pillar(count)
        bench.apply("bench")
        LEASES.touch()
        config = ["-cf", f"{place}/etc/dhcp/dhcpd.conf", "-lf", str(LEASES), "-pf", f"{place}/pid"]
        log = place / "dhcpd.log"
        with log.open("wb") as stream:
            dhcpd = subprocess.Popen(["dhcpd", "-4", "-d", *config, "eth0"], stderr=stream)
        while "Server starting service" not in log.read_text():
            if dhcpd.poll() is not None:
                raise SystemExit("dhcpd did not start")
            time.sleep(0.05)
        try:
            _add_on_demand(bench, count)
        finally:
            dhcpd.kill()


def _add_on_demand(bench: Bench, count: int) -> None:
    opts = salt.config.minion_config(str(bench.place / "salt/minion"))
    opts["pillar"] = yaml.load(
        (bench.place / "pillar/cluster.sls").read_text(), getattr(yaml, "CSafeLoader", yaml.Loader)
    )
    opts["grains"] = {"os_family": "Debian"}
    modules = salt.loader.minion_mods(opts)
    # The minion's own process has the libraries: the beacon loads them there.
    modules["diskless_node.list"]()
    print("ready", flush=True)
    for number, _ in enumerate(sys.stdin, count + 1):
        high, low = number >> 8, number & 255
        mac, ip = f"52:54:00:00:{high:02x}:{low:02x}", f"10.1.{high}.{low}"
        node = {"mac": mac, "ip": ip, "profile": "compute"}
        child = os.fork()
        if child == 0:
            begun = time.monotonic()
            changes = modules["diskless_node.add"]({f"node{number:05d}": node})
            if changes != {"added": {"nodes": f"node{number:05d}"}}:
                raise SystemExit(f"found {changes}")
            wait_for_offer("node0", mac, ip)
            used = os.times()
            print(time.monotonic() - begun, sum(used[:4]), flush=True)
            os._exit(0)
        os.waitpid(child, 0)


def measure(counts: list[int]) -> list[dict]:
    """Return a row for each number of nodes."""
    servers = {}
    for count in counts:
        apart = ["unshare", "--mount", "--net", "sh", "-ec", _APART, "sh"]
        servers[count] = subprocess.Popen(
            [*apart, sys.executable, __file__, "--serve", str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if _said(servers[count]) != "ready":
            raise SystemExit(f"no boot server of {count} nodes")
    turns = []
    for _ in range(TURNS + 2):
        turn = {}
        for count, server in servers.items():
            assert server.stdin is not None
            server.stdin.write("\n")
            server.stdin.flush()
            turn[count] = tuple(map(float, _said(server).split()))
        turns.append(turn)
    for server in servers.values():
        server.communicate()
    turns = turns[2:]
    return [
        {
            "bench": "node",
            "case": "add",
            "nodes": count,
            "wall_s": round(statistics.median(turn[count][0] for turn in turns), 3),
            "cpu_s": round(statistics.median(turn[count][1] for turn in turns), 3),
            "against": f"{counts[0]} nodes",
            "ratio": round(
                statistics.median(turn[count][0] / turn[counts[0]][0] for turn in turns), 2
            ),
        }
        for count in counts
    ]


def _said(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    return server.stdout.readline().strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[128, 1000, 10000], metavar="N")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    show(measure(options.nodes), options.json)


if __name__ == "__main__":
    main()
