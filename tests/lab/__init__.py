"""A lab on one machine: a boot server and nodes that boot from it by PXE.

.. code-block:: python

    with Lab() as lab:
        lab.server.write_pillar(lab.pillar(2))
        lab.server.salt_call("state.apply", "diskless")
        node = lab.power_on("node001")
        node.wait_for("login")
        print(node.run("hostname"))

Everything is in namespaces of its own; see :mod:`tests.lab.keeper`.
"""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile
import time
from typing import Any

from tests.lab import cache, packages, roots
from tests.lab.bmc import Bmc
from tests.lab.golden import Golden
from tests.lab.keeper import Keeper
from tests.lab.node import Node, Timeout, accelerator, restart
from tests.lab.server import Server, StateFailed

__all__ = ["Bmc", "Lab", "Node", "Server", "StateFailed", "Timeout", "restart"]


def mac(number: int) -> str:
    """Return the MAC of node ``number``."""
    return f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"


class Lab:
    """Boot server and nodes; a context manager. Two can run side by side.

    golden
        What is the server's ``/srv/golden``: the lab's golden root, unless told otherwise.
    """

    def __init__(self, golden: pathlib.Path | None = None) -> None:
        packages.install()
        accelerator()
        name = f"diskless-lab-{os.getpid()}-{time.monotonic_ns() % 100000}"
        runs = cache.ROOT / "run"
        runs.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.place = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}.", dir=runs))
        self.place.chmod(0o755)
        self.nodes: dict[str, Node] = {}
        self.keeper = Keeper(name, self.place)
        try:
            self._network()
            self.server = Server(self.keeper, self.place, golden or roots.golden())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the lab; nothing of it is left."""
        self.keeper.close()

    def power_on(self, name: str, mac_address: str | None = None, **machine: Any) -> Node:
        """Switch a node on (again).

        machine
            As for :class:`Node`: with ``firmware`` its console begins with what that says; its
            ``memory`` in MB; a file that is its ``disk``.
        """
        if name in self.nodes:
            self.nodes[name].power_off()
        digits = "".join(character for character in name if character.isdigit())
        number = int(digits or 999)
        node = Node(self.keeper, self.place, name, number, mac_address or mac(number), **machine)
        self.nodes[name] = node
        return node

    def bmc(self, name: str, protocol: str = "ipmi") -> Bmc:
        """Give a node, which is off, a BMC that speaks ``ipmi`` or ``redfish``: that switches it on
        as :meth:`power_on` does."""
        number = int("".join(character for character in name if character.isdigit()))
        return Bmc(self, name, f"10.142.0.{number}", protocol)

    def golden_machine(self) -> Golden:
        """Switch on a golden machine: a minion of the server's master, which has to run."""
        return Golden(self.keeper, self.place, self.server)

    def pillar(self, count: int = 2, **profile: Any) -> dict[str, Any]:
        """Return the pillar of a cluster of ``count`` nodes; ``profile`` goes over its profile."""
        compute = {
            "image": "debian",
            "network": "lab",
            "interface": "eth0",
            "serial_console": "ttyS0,115200",
            "drivers": ["virtio_pci", "virtio_net"],
            "kernel_append": "net.ifnames=0 panic=-1 mitigations=off loglevel=6",
            **profile,
        }
        nodes = {
            f"node{number:03d}": {
                "profile": "compute",
                "ip": f"10.141.1.{number}",
                "mac": mac(number),
            }
            for number in range(1, count + 1)
        }
        return {
            "diskless": {
                "servers": {"bootserver": {"address": "10.141.0.1", "interface": "br0"}},
                "networks": {
                    "lab": {
                        "subnet": "10.141.0.0/16",
                        "routers": ["10.141.0.1"],
                        "domain": "lab.example",
                        "nis_domain": "lab_nis",
                    }
                },
                "images": {
                    "debian": {
                        "description": "lab nodes",
                        "location": "/diskless/debian",
                        "source": {"directory": "/srv/golden"},
                    }
                },
                "profiles": {"compute": compute},
                "nodes": nodes,
            }
        }

    def _network(self) -> None:
        bridge = "type bridge forward_delay 0 stp_state 0 mcast_snooping 0"
        for line in (
            "link set lo up",
            f"link add br0 {bridge}",
            "addr add 10.141.0.1/16 dev br0",
            "link set br0 up",
        ):
            self.keeper.run("ip", *line.split())
        script = pathlib.Path(__file__).with_name("ra.py")
        self.keeper.spawn([sys.executable, script, "br0"], self.place / "ra.log")
