"""Nodes: machines with a network card, a PXE ROM, two serial ports, and nothing else."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import platform
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence

from tests.lab import cache, roots
from tests.lab.keeper import Keeper, children
from tests.lab.patience import Patience

#: Signs on a node's console.
_SIGNS = {"login": r"login: ", "kernel": r"Linux version ", "loader": r"PXELINUX "}
#: What no test waits beyond: all of this means that the node is not coming up.
_GIVEN_UP = r"Kernel panic|No bootable device"


class Timeout(AssertionError):
    """A sign did not come; the text has the end of the node's console."""


class Node:
    """One machine, powered on. ``console`` is what its first serial port has said, from the loader
    on; with ``firmware`` from the firmware on. One that ``resets`` boots again by PXE when it
    restarts; the others go off. ``smbios`` is what its maker has written into it, as QEMU takes
    it."""

    def __init__(
        self,
        keeper: Keeper,
        place: pathlib.Path,
        name: str,
        number: int,
        mac: str,
        firmware: bool = False,
        memory: int = 512,
        disk: pathlib.Path | None = None,
        resets: bool = False,
        smbios: Sequence[str] = (),
    ):
        self.name = name
        self.tap = f"tap{number}"
        self.mac = mac
        self._console = place / f"{name}.console"
        self._agent_path = place / f"{name}.agent"
        self.console_socket = place / f"{name}.tty"
        for path in (self._console, self._agent_path, self.console_socket):
            path.unlink(missing_ok=True)
        self._asked = 0
        self._agent: socket.socket | None = None
        self._buffer = b""
        self._keeper = keeper
        keeper.run("ip", "tuntap", "add", self.tap, "mode", "tap", check=False)
        keeper.run("ip", "link", "set", self.tap, "master", "br0", "up")
        self._wire = 0
        self._wire = self.wire_bytes()
        self.powered_on = time.monotonic()
        command = self._command(firmware, memory, disk, resets)
        command += [word for table in smbios for word in ("-smbios", table)]
        self._process = keeper.spawn(command, place / f"{name}.qemu")

    def _command(
        self, firmware: bool, memory: int, disk: pathlib.Path | None, resets: bool
    ) -> list[str]:
        tty, agent = self.console_socket, self._agent_path
        command = ["qemu-system-x86_64", "-name", self.name, *accelerator()]
        # Without graphics SeaBIOS shows on the serial port what it and the PXE ROM say.
        command += ["-machine", "pc,graphics=off" if firmware else "pc"]
        command += [
            "-smp",
            "1",
            "-m",
            str(memory),
            "-display",
            "none",
            "-vga",
            "none",
            "-nodefaults",
        ]
        command += ["-boot", "n"] if resets else ["-no-reboot", "-boot", "n"]
        command += ["-netdev", f"tap,id=n0,ifname={self.tap},script=no,downscript=no"]
        command += ["-device", f"virtio-net-pci,netdev=n0,mac={self.mac},bootindex=1"]
        if disk is not None:
            command += ["-drive", f"file={disk},if=virtio,format=raw"]
        console = f"socket,id=s0,path={tty},server=on,wait=off,logfile={self._console}"
        command += ["-chardev", console, "-serial", "chardev:s0"]
        command += ["-chardev", f"socket,id=s1,path={agent},server=on,wait=off"]
        return [*command, "-serial", "chardev:s1"]

    @property
    def console(self) -> str:
        """What the node's console has shown so far."""
        with contextlib.suppress(FileNotFoundError):
            return self._console.read_text(errors="replace")
        return ""

    @property
    def is_on(self) -> bool:
        """Whether the machine is powered on."""
        return self._process.poll() is None

    def wait_for(self, sign: str, timeout: float = 240) -> float:
        """Wait for a sign on the console: ``login``, ``kernel``, ``loader``, or a pattern.

        timeout
            Seconds, as :class:`Patience` counts them.

        Returns the seconds since the node was powered on.
        """
        pattern = re.compile(_SIGNS.get(sign, sign))
        patience = Patience(timeout)
        while True:
            text = self.console
            if pattern.search(text):
                return time.monotonic() - self.powered_on
            why = None
            if re.search(_GIVEN_UP, text):
                why = "the node gave up"
            elif not self.is_on:
                why = "the node is off"
            elif patience.is_over:
                why = f"{time.monotonic() - self.powered_on:.0f} s after it was powered on"
            if why:
                tail = "\n".join(text.splitlines()[-25:])
                raise Timeout(f"{self.name}: no {sign!r}: {why}. Its console ends:\n{tail}")
            time.sleep(0.2)

    def run(self, command: str, timeout: float = 120, check: bool = True) -> str:
        """Run a shell command in the node, through its second serial port; return its output."""
        patience = Patience(timeout)
        if self._agent is None:
            self._agent = socket.socket(socket.AF_UNIX)
            self._agent.connect(str(self._agent_path))
        self._asked += 1
        encoded = base64.b64encode(command.encode()).decode()
        self._agent.sendall(f"{self._asked} {encoded}\n".encode())
        answer = self._answer(rf"LAB {self._asked} (\d+) (\S*)\r?\n", patience, command)
        output = base64.b64decode(answer[2]).decode(errors="replace")
        if check and answer[1] != "0":
            raise AssertionError(f"{self.name}: {command!r} ended with {answer[1]}: {output}")
        return output

    def memory_used(self) -> int:
        """Return the MB of memory in use: ``free -m``, the column "used"."""
        return int(self.run("free -m").splitlines()[1].split()[2])

    def wire_bytes(self) -> int:
        """Return the bytes that went over the node's network cable since it was powered on."""
        (link,) = json.loads(self._keeper.run("ip", "-s", "-j", "link", "show", self.tap).stdout)
        return link["stats64"]["rx"]["bytes"] + link["stats64"]["tx"]["bytes"] - self._wire

    def cable(self, state: str) -> None:
        """Have the node's network cable ``up`` or ``down``."""
        self._keeper.run("ip", "link", "set", self.tap, state)

    def wait_until_off(self, timeout: float = 60) -> None:
        """Wait until the machine is off, which a restart of the lab's machines is too."""
        patience = Patience(timeout)
        while self.is_on:
            if patience.is_over:
                raise Timeout(f"{self.name} does not go off:\n{self.console[-3000:]}")
            time.sleep(0.2)

    def power_off(self) -> None:
        """Cut the node's power."""
        for child in children(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._process.wait()
        if self._agent is not None:
            self._agent.close()
            self._agent = None

    def _answer(self, pattern: str, patience: Patience, command: str) -> re.Match[str]:
        assert self._agent is not None
        while True:
            match = re.search(pattern, self._buffer.decode(errors="replace"))
            if match:
                self._buffer = b""
                return match
            if patience.is_over:
                raise Timeout(f"{self.name}: no answer to {command!r}; its console ends:\n"
                              + self.console[-1500:])  # fmt: skip
            self._agent.settimeout(1)
            with contextlib.suppress(TimeoutError):
                data = self._agent.recv(65536)
                if not data:
                    raise Timeout(f"{self.name} went off during {command!r}")
                self._buffer += data


def accelerator() -> list[str]:
    """Return QEMU's options for the fastest processor that really works here.

    That /dev/kvm exists says little: a kernel has to get to its end in a few seconds.
    """
    answer = cache.ROOT / f"kvm-{platform.release()}"
    with cache.locked("kvm.lock"):
        if not answer.exists():
            answer.write_text("yes" if os.path.exists("/dev/kvm") and _kvm_works() else "no")
    if answer.read_text() == "yes":
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg", "-cpu", "qemu64,-svm"]


def _kvm_works() -> bool:
    kernel = next((roots.golden() / "boot").glob("vmlinuz-*"))
    command = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults"]
    command += ["-display", "none", "-no-reboot", "-kernel", str(kernel), "-serial", "stdio"]
    try:
        done = subprocess.run(
            [*command, "-append", "console=ttyS0 panic=-1"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=8,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return b"Kernel panic" in done.stdout


def restart(nodes: Iterable[Node]) -> None:
    """Have the nodes' own systems restart them, and wait until they have gone off for that."""
    there = list(nodes)
    for node in there:
        # It ends the agent too, which could not answer any more.
        node.run("(sleep 1; systemctl reboot) >/dev/null 2>&1 &")
    for node in there:
        node.wait_until_off(90)
