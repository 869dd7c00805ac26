"""BMCs of the lab's nodes: real IPMI or Redfish over the lab's network, and behind it the lab's
machines."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from tests.lab.patience import Patience

if TYPE_CHECKING:
    from tests.lab import Lab

USER, PASSWORD = "admin", "secret of the BMCs"
#: IPMI 2.0, table 5-2: "Command not supported in present state."
_REFUSED = 0xD5


class Bmc:
    """The BMC of one node, at ``address``; it speaks ``ipmi`` or ``redfish``.

    refuses
        How many more times it refuses to change the power.
    hangs
        How many more times its machine hangs when it is switched on: its network is dead.
    told
        What it was told and did, each with when, in seconds since 1970.
    asked, logged_out
        How often it was asked whether its machine is on, and how many sessions were ended.
    """

    def __init__(self, lab: Lab, name: str, address: str, protocol: str):
        self.name, self.address = name, address
        self.refuses = self.hangs = 0
        self.told: list[tuple[float, str]] = []
        self.asked = self.logged_out = 0
        self._lab = lab
        lab.keeper.run("ip", "addr", "add", f"{address}/32", "dev", "lo")
        script = pathlib.Path(__file__).with_name(f"{protocol}.py").read_text()
        with open(lab.place / f"{name}.bmc", "wb") as log:
            self._process = subprocess.Popen(
                lab.keeper.enter(self._command(protocol, script)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._ready = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()
        patience = Patience(60)
        while not self._ready.wait(0.1):
            if patience.is_over or self._process.poll() is not None:
                text = (lab.place / f"{name}.bmc").read_text()[-3000:]
                raise RuntimeError(f"the BMC of {name} did not start:\n{text}")

    def _command(self, protocol: str, script: str) -> list[str]:
        if protocol == "ipmi":
            # pyghmi is where saltext.bmc is.
            python = ["chroot", str(self._lab.server.root), "/opt/salt/bin/python3"]
            return [*python, "-uc", script, self.address, USER, PASSWORD]
        state = self._lab.place / f"{self.name}.redfish"
        state.mkdir()
        certificate = f"{state}/certificate.pem"
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bmc"]
        files = ["-keyout", certificate, "-out", f"{state}/certificate"]
        subprocess.run([*make, *files], check=True, capture_output=True)
        with open(certificate, "a", encoding="ascii") as stream:
            stream.write((state / "certificate").read_text())
        return [sys.executable, "-uc", script, self.address, certificate, str(state)]

    @property
    def is_on(self) -> bool:
        """Whether its machine is on."""
        return self.name in self._lab.nodes and self._lab.nodes[self.name].is_on

    def _serve(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        for line in self._process.stdout:
            self._process.stdin.write(f"{self._answer(line.strip())}\n")
            self._process.stdin.flush()

    def _answer(self, word: str) -> int:
        if word == "ready":
            self._ready.set()
        elif word == "status":
            self.asked += 1
            return int(self.is_on)
        elif word == "log out":
            self.logged_out += 1
        elif self.refuses:
            self.refuses -= 1
            return _REFUSED
        else:
            self.told.append((time.time(), word))
            self._do(word)
        return 0

    def _do(self, word: str) -> None:
        if word == "shutdown":
            # As on its power button.
            node = self._lab.nodes[self.name]
            node.run("(sleep 1; systemctl poweroff) >/dev/null 2>&1 &")
        elif word == "off":
            self._lab.nodes[self.name].power_off()
        elif word in ("on", "cycle", "reset"):
            node = self._lab.power_on(self.name)
            if self.hangs:
                self.hangs -= 1
                node.cable("down")
