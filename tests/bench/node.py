#!/usr/bin/env python3
"""How long it takes until one node more than N is offered its address by the running dhcpd: from
the event that announces a machine which a rule accepts, by way of the master's reactor and registry
("add"), and from the call of `diskless_node.add` on the boot server alone ("call").

A master and a boot server for each N, side by side, in mounts and networks of their own; each is
given one node after the other, all of them in turn, so that what else the machine does falls on all
of them. A row has the median, and the median of the turns' ratios to the smallest cluster. For
"call" the pillar is in memory as in a minion, and each call is a process of its own.

    tests/bench/node.py --nodes 128 1000 10000 --json node.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(CHECKOUT))

import salt.client  # noqa: E402
import salt.config  # noqa: E402
import salt.loader  # noqa: E402
import salt.utils.event  # noqa: E402
import yaml  # noqa: E402

from salt_diskless.registry.place import store_of  # noqa: E402
from salt_diskless.registry.store import RegisteredNode  # noqa: E402
from tests.bench.apply import Bench  # noqa: E402
from tests.bench.table import show  # noqa: E402
from tests.lab.offer import wait_for_offer  # noqa: E402

#: How often each case is measured; the first ones, in which libraries are loaded, do not count.
TURNS = {"add": 11, "call": 25}
UNCOUNTED = 2
LEASES = pathlib.Path("/var/lib/dhcp/dhcpd.leases")
RULE = {
    "prefixes": ["52:54:01"],
    "nodes": "late[001-250]",
    "ip": "10.2.0.1-10.2.0.250",
    "profile": "compute",
}
_APART = """
ip link set lo up
ip link add eth0 type veth peer name node0
ip addr add 10.0.0.1/8 dev eth0; ip link set eth0 up; ip link set node0 up
mkdir -p /etc/exports.d /var/lib/nfs /var/lib/dhcp
for d in /etc/exports.d /var/lib/nfs /var/lib/dhcp /var/lib/salt-diskless /run; do
    mkdir -p $d; mount -t tmpfs none $d
done
mount -t tmpfs none /etc/systemd/system
for f in /etc/exports /etc/resolv.conf; do [ ! -e $f ] || mount --bind /dev/null $f; done
exec "$@"
"""


def node(number: int) -> tuple[str, str, str]:
    """Return name, MAC and address of one of the nodes that are there."""
    high, low = number >> 8, number & 255
    return f"node{number:05d}", f"52:54:00:00:{high:02x}:{low:02x}", f"10.1.{high}.{low}"


class Server:
    """A master and a boot server of ``count`` nodes, which are in the registry."""

    def __init__(self, place: pathlib.Path, count: int):
        self.count = count
        self._bench = Bench(place, 0)
        self._bench.write_pillar(0, registry={"rules": {"late": RULE}})
        self._place = place
        self._configure()
        self._opts = salt.config.master_config(str(place / "salt/master"))
        with store_of(self._opts).write() as tx:
            for number in range(1, count + 1):
                name, mac, ip = node(number)
                tx.decide(mac, "accepted")
                tx.put(RegisteredNode(name, mac, ip, "compute", {}, "bootserver"))

    def _configure(self) -> None:
        for name, settings in (
            (
                "master",
                {
                    "id": "master",
                    "interface": "127.0.0.1",
                    "root_dir": str(self._place / "master"),
                    "file_roots": {"base": [str(self._place / "states")]},
                    "pillar_roots": {"base": [str(self._place / "pillar")]},
                    "pillar_dirs": [str(self._place / "site/salt_diskless/pillar")],
                    "runner_dirs": [str(self._place / "site/salt_diskless/runners")],
                    "ext_pillar": [{"diskless_nodes": {}}],
                    "reactor": [
                        {
                            "salt-diskless/node/register": [
                                str(CHECKOUT / "states/diskless/reactor/register.sls")
                            ]
                        }
                    ],
                    "auto_accept": True,
                },
            ),
            (
                "minion",
                {
                    **json.loads((self._place / "salt/minion").read_text()),
                    "file_client": "remote",
                    "master": "127.0.0.1",
                },
            ),
        ):
            (self._place / "salt" / name).write_text(json.dumps(settings))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run master, minion and dhcpd, with everything applied."""
        with contextlib.ExitStack() as stack:
            for name in ("salt-master", "salt-minion"):
                stack.enter_context(self._daemon(name))
            self._wait_for_minion()
            self._bench.apply("bench")
            stack.enter_context(self._dhcpd())
            yield

    @contextlib.contextmanager
    def _daemon(self, name: str) -> Iterator[None]:
        program = pathlib.Path(sys.executable).with_name(name)
        daemon = subprocess.Popen(
            [sys.executable, program, "-c", self._place / "salt", "-l", "quiet"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(self._place / "site")},
        )
        try:
            yield
        finally:
            daemon.terminate()
            daemon.wait()

    def _wait_for_minion(self) -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            # Its own client complains until the master listens.
            with socket.socket() as wire:
                if wire.connect_ex(("127.0.0.1", self._opts["ret_port"])):
                    time.sleep(0.2)
                    continue
            with salt.client.LocalClient(mopts=self._opts) as client:
                if client.cmd("bootserver", "test.ping", timeout=5):
                    return
        raise SystemExit("the minion does not answer")

    @contextlib.contextmanager
    def _dhcpd(self) -> Iterator[None]:
        LEASES.touch()
        config = ["-cf", f"{self._place}/etc/dhcp/dhcpd.conf", "-lf", str(LEASES)]
        log = self._place / "dhcpd.log"
        with log.open("wb") as stream:
            dhcpd = subprocess.Popen(
                ["dhcpd", "-4", "-d", *config, "-pf", f"{self._place}/pid", "eth0"], stderr=stream
            )
        try:
            while "Server starting service" not in log.read_text():
                if dhcpd.poll() is not None:
                    raise SystemExit("dhcpd did not start")
                time.sleep(0.05)
            yield
        finally:
            dhcpd.kill()
            dhcpd.wait()

    def serve(self) -> None:
        """Add a node in the way that each line of the standard input says, and print the seconds
        that it took."""
        modules = self._modules()
        print("ready", flush=True)
        late = 0
        for number, line in enumerate(sys.stdin, self.count + 1):
            if line.strip() == "call":
                _apart(lambda: _call(modules, *node(number)))  # noqa: B023
            else:
                late += 1
                _apart(lambda: self._announce(late))  # noqa: B023

    def _modules(self) -> salt.loader.LazyLoader:
        opts = salt.config.minion_config(str(self._place / "salt/minion"))
        pillar = yaml.safe_load((self._place / "pillar/cluster.sls").read_text())
        pillar["diskless"]["nodes"] = {
            name: {"mac": mac, "ip": ip, "profile": "compute"}
            for name, mac, ip in map(node, range(1, self.count + 1))
        }
        opts["pillar"], opts["grains"] = pillar, {"os_family": "Debian"}
        modules = salt.loader.minion_mods(opts)
        # The minion's own process has the libraries: the beacon loads them there.
        modules["diskless_node.list"](full=True)
        return modules

    def _announce(self, number: int) -> None:
        mac, ip = f"52:54:01:00:00:{number:02x}", f"10.2.0.{number}"
        with salt.utils.event.get_event("master", opts=self._opts, listen=False) as bus:
            bus.fire_event({"mac": mac}, "salt-diskless/node/register")
        wait_for_offer("node0", mac, ip, every=0.02, times=3000)


def _call(modules: salt.loader.LazyLoader, name: str, mac: str, ip: str) -> None:
    changes = modules["diskless_node.add"]({name: {"mac": mac, "ip": ip, "profile": "compute"}})
    if changes != {"added": {"nodes": name}}:
        raise SystemExit(f"found {changes}")
    wait_for_offer("node0", mac, ip)


def _apart(call: Callable[[], None]) -> None:
    """Call in a process of its own, which prints the seconds."""
    child = os.fork()
    if child == 0:
        begun = time.monotonic()
        call()
        print(time.monotonic() - begun, flush=True)
        os._exit(0)
    os.waitpid(child, 0)


def measure(counts: list[int]) -> list[dict]:
    """Return a row for each case and number of nodes."""
    servers = {}
    for count in counts:
        apart = ["unshare", "--mount", "--net", "sh", "-ec", _APART, "sh"]
        servers[count] = subprocess.Popen(
            [*apart, sys.executable, __file__, "--serve", str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    for count, server in servers.items():
        if _said(server) != "ready":
            raise SystemExit(f"no boot server of {count} nodes")
    rows = [row for case, turns in TURNS.items() for row in _case(case, turns, servers)]
    for server in servers.values():
        server.communicate()
    return rows


def _case(case: str, count: int, servers: dict[int, subprocess.Popen[str]]) -> list[dict]:
    turns = []
    for _ in range(count + UNCOUNTED):
        turn = {}
        for nodes, server in servers.items():
            assert server.stdin is not None
            server.stdin.write(f"{case}\n")
            server.stdin.flush()
            turn[nodes] = float(_said(server))
        turns.append(turn)
    turns = turns[UNCOUNTED:]
    least = min(servers)
    return [
        {
            "bench": "node",
            "case": case,
            "nodes": nodes,
            "wall_s": round(statistics.median(turn[nodes] for turn in turns), 3),
            "against": f"{least} nodes",
            "ratio": round(statistics.median(turn[nodes] / turn[least] for turn in turns), 2),
        }
        for nodes in servers
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
    if options.serve is None:
        show(measure(options.nodes), options.json)
        return
    with tempfile.TemporaryDirectory(prefix="diskless-bench.", dir="/srv") as name:
        place = pathlib.Path(name, "b")
        place.mkdir()
        server = Server(place, options.serve)
        with server.running():
            server.serve()


if __name__ == "__main__":
    main()
