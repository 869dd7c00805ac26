"""A wire with the boot server's daemons at one end and nodes at the other."""

from __future__ import annotations

import contextlib
import pathlib
import re
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.conftest import add_interface


@pytest.fixture
def segment():
    """Two ends of a wire: dl0 is the boot server's, dl1 a node's, in a namespace of its own."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    wait_until(lambda: _netns(holder.pid) != _netns("self"))
    for line in (
        "ip link del dl0",
        f"ip link add dl0 type veth peer name dl1 netns {holder.pid}",
        "ip addr add 10.77.0.1/24 dev dl0",
        "ip link set dl0 up",
        f"nsenter -t {holder.pid} -n ip link set dl1 up",
    ):
        subprocess.run(line.split(), check=True)
    yield holder.pid
    holder.kill()
    holder.wait()
    subprocess.run(["ip", "link", "del", "dl0"], check=False, capture_output=True)
    add_interface("dl0", "10.77.0.1/24")


def _netns(pid) -> int:
    return pathlib.Path(f"/proc/{pid}/ns/net").stat().st_ino


def wait_until(condition, seconds: float = 20.0) -> None:
    """Wait for a condition; fail when it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def ask(segment: int, mac: str, script: pathlib.Path, seconds: int = 4) -> dict[str, str]:
    """Ask for a lease as a node with this MAC does, with a real DHCP client; return the answer."""
    subprocess.run(f"nsenter -t {segment} -n ip link set dl1 address {mac}".split(), check=True)
    script.write_text('#!/bin/sh\n[ "$1" = bound ] && env\nexit 0\n')
    script.chmod(0o755)
    options = [word for name in ("nisdomain", "timezone", "lease") for word in ("-O", name)]
    command = ["nsenter", "-t", str(segment), "-n", "busybox", "udhcpc", "-i", "dl1", "-f", "-n"]
    done = subprocess.run(
        [*command, "-q", "-t", "3", "-T", str(seconds // 2), "-s", str(script), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


@contextlib.contextmanager
def running_dhcpd(config: pathlib.Path, leases: pathlib.Path) -> Iterator[pathlib.Path]:
    """Run a real dhcpd on the server's end, and return the file that has what it says."""
    leases.touch()
    log = leases.with_name("dhcpd.log")
    files = ["-cf", str(config), "-lf", str(leases), "-pf", str(leases.with_name("dhcpd.pid"))]
    with log.open("a") as stream:
        before = stream.tell()
        daemon = subprocess.Popen(["dhcpd", "-d", "-4", *files, "dl0"], stderr=stream)
    try:
        wait_until(
            lambda: (
                "Server starting service" in log.read_text()[before:] or daemon.poll() is not None
            )
        )
        assert daemon.poll() is None, log.read_text()[before:]
        yield log
    finally:
        daemon.terminate()
        daemon.wait()


#: A /dev of its own, where the daemon's syslog(3) leads to a socket of the test, and the daemon.
_TFTPD = """
mount --make-rprivate /
mount -t tmpfs none /dev
mknod -m 666 /dev/null c 1 3
ln -s "$1" /dev/log
exec in.tftpd --foreground --verbose --secure --user root --address 10.77.0.1:69 "$2"
"""
_LOGGED = re.compile(r"<\d+>\w{3} [ \d]\d [\d:]{8} in\.tftpd\[\d+\]: (.*)", re.DOTALL)


class Tftpd:
    """A real in.tftpd on the server's end that logs what it is asked for."""

    def __init__(self, syslog: socket.socket):
        self._syslog = syslog

    def fetch(self, segment: int, path: str, target: pathlib.Path) -> list[str]:
        """Fetch a file from the node's end with a real client, if it is there, and return what the
        daemon has logged by then, as journald has it."""
        client = ["nsenter", "-t", str(segment), "-n", "busybox", "tftp", "-g"]
        command = [*client, "-r", path, "-l", str(target), "10.77.0.1"]
        subprocess.run(command, check=False, capture_output=True, timeout=60)
        lines = []
        with contextlib.suppress(BlockingIOError):
            while True:
                match = _LOGGED.fullmatch(self._syslog.recv(65536).decode())
                assert match is not None
                lines.append(match[1].rstrip("\n"))
        return lines


@contextlib.contextmanager
def running_tftpd(root: pathlib.Path, place: pathlib.Path) -> Iterator[Tftpd]:
    """Run a real in.tftpd; ``place`` is a directory for its log's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(place / "log"))
        syslog.setblocking(False)
        words = ["unshare", "--mount", "sh", "-ec", _TFTPD, "sh", str(place / "log"), str(root)]
        daemon = subprocess.Popen(words)
        try:
            wait_until(lambda: _listens() or daemon.poll() is not None)
            assert daemon.poll() is None
            yield Tftpd(syslog)
        finally:
            daemon.terminate()
            daemon.wait()


def _listens() -> bool:
    """Tell whether somebody has UDP port 69: proc_net_udp, in hex."""
    return "01004D0A:0045 " in pathlib.Path("/proc/self/net/udp").read_text()
