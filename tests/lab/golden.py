"""A golden machine: a container with a root, an address and a minion of its own."""

from __future__ import annotations

import pathlib
import subprocess

from tests.lab import roots
from tests.lab.container import Container
from tests.lab.keeper import Keeper
from tests.lab.patience import Patience
from tests.lab.server import Server

ADDRESS = "10.141.0.2"


class Golden(Container):
    """10.141.0.2, a minion named ``golden`` of the server's master. Its Salt is the server's, from
    a mount that is no part of its root."""

    def __init__(self, keeper: Keeper, place: pathlib.Path, server: Server):
        super().__init__(keeper, place, "golden", roots.machine())
        self.boot(f"--bind-ro={server.root}/opt/salt:/opt/salt", apart=True)
        keeper.run("ip", "link", "add", "golden0", "type", "veth", "peer", "name", "golden1")
        keeper.run("ip", "link", "set", "golden0", "master", "br0", "up")
        self._take("golden1")
        self.path("/etc/salt/minion").write_text("id: golden\nmaster: 10.141.0.1\n")
        self.run("systemd-run", "--unit=lab-salt-minion", "/opt/salt/bin/salt-minion")
        patience = Patience(120)
        while "golden" not in server.minions():
            if patience.is_over:
                raise RuntimeError(f"no golden minion: {self.journal('lab-salt-minion')}")

    def _take(self, interface: str) -> None:
        """Have the machine's network take an interface of the bridge's, and give it its address."""
        enter = ["nsenter", "-t", str(self._keeper.pid), "-n", "ip", "link", "set", interface]
        subprocess.run([*enter, "netns", str(self._leader)], check=True)
        self.run("ip", "addr", "add", f"{ADDRESS}/16", "dev", interface)
        self.run("ip", "link", "set", interface, "up")
