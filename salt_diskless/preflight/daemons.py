"""Units and programs of others that keep the boot services from being started, or from reading what
the project writes."""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import re
from collections.abc import Iterator, Mapping

from salt_diskless.boot import dhcpd as dhcpd_text
from salt_diskless.cluster.errors import Problem
from salt_diskless.cluster.model import Site
from salt_diskless.command import CommandFailed, installed, run
from salt_diskless.platform import Platform
from salt_diskless.preflight import look
from salt_diskless.regex import lazy_regex

_UNITS = ("/etc/systemd/system", "/run/systemd/system")
#: UDP port to what the project's own daemon is called there; systemd has it for a socket unit.
_OWN = {67: ("dhcpd",), 69: ("in.tftpd", "systemd")}
_SERVES = {67: "DHCP", 69: "TFTP"}
#: A line of ``ss -Hlunp``: local address, its interface, port, and the program.
_SOCKET = lazy_regex(r"\s(\S+?)(?:%(\S+))?:(\d+)\s.*users:\(\(\"([^\"]*)\",pid=(\d+)")
_ANY = ("0.0.0.0", "*", "[::]")
_EXEC_START = lazy_regex(r"^[ \t]*ExecStart[ \t]*=[ \t]*(\S.*)$", re.MULTILINE)


def problems(site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each unit that is masked or starts another program, for each program of
    others on a port of the boot services, and for each file that not even root can replace."""
    services = (platform.dhcp_service, platform.tftp_service)
    for service in (*services, platform.nfs_service, platform.mountd_service):
        yield from _masked(service)
    for own in (platform.dhcp_unit, platform.tftp_unit):
        if own:
            yield from _drop_ins(own, site)
    yield from _sockets(site)
    yield from _protected(platform)


def _masked(service: str) -> Iterator[Problem]:
    unit = service if "." in service else f"{service}.service"
    for directory in _UNITS:
        path = f"{directory}/{unit}"
        if os.path.islink(path) and os.path.realpath(path) == "/dev/null":
            right = f"run systemctl unmask {unit}: a boot server needs it"
            yield Problem(path, f"{unit} masked", right)


def _drop_ins(own: str, site: Site) -> Iterator[Problem]:
    """Yield a problem for each drop-in of others that has a daemon started in another way."""
    for path in sorted(glob.glob(f"{glob.escape(os.path.dirname(own))}/*.conf")):
        if path == own or path in site.adopt or look.kind(os.path.realpath(path)) != "a file":
            continue
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                match = _EXEC_START.search(stream.read())
        except OSError:
            continue
        if match is not None:
            yield Problem(
                path,
                f"ExecStart={match[1][:80]}",
                "remove it: with it, the daemon may not read the files of salt-diskless; if it "
                f"does read them, add {path} to the list diskless:adopt in the pillar",
            )


def _sockets(site: Site) -> Iterator[Problem]:
    """Yield a problem for each program that answers nodes in place of the project's daemons."""
    inodes = _inodes()
    if _are_own(inodes):
        return
    sockets = _listening(frozenset(inodes))
    interfaces = dhcpd_text.interfaces(site)
    addresses = {str(address) for address in site.server.addresses}
    seen: set[tuple[int, str]] = set()
    for line in sockets.splitlines():
        match = _SOCKET.search(line)
        if match is None:
            continue
        address, interface, port, program, pid = match.groups()
        number = int(port)
        is_elsewhere = address not in (*_ANY, *addresses) or (
            interface is not None and interface not in interfaces
        )
        if program in _OWN[number] or is_elsewhere or (number, pid) in seen:
            continue
        seen.add((number, pid))
        yield Problem(
            f"UDP port {number}",
            f"{program} (process {pid}), which answers {_SERVES[number]} requests there",
            f"stop and disable it, or keep it from the interfaces {', '.join(sorted(interfaces))}",
        )


def _inodes() -> dict[str, int]:
    """Return the inodes of the sockets on the ports of the boot services, each with its port
    (/proc/net/udp)."""
    inodes = {}
    for path in ("/proc/net/udp", "/proc/net/udp6"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as stream:
            for line in stream:
                fields = line.split()
                for port in _OWN:
                    if fields[1].endswith(f":{port:04X}"):
                        inodes[fields[9]] = port
    return inodes


def _are_own(inodes: Mapping[str, int]) -> bool:
    """Return True if each of these sockets is of a program that the project runs there. It takes a
    fraction of the time of ss(8), which looks at all files of all processes."""
    others = dict(inodes)
    for process in os.listdir("/proc"):
        if not others or not process.isdigit():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{process}/comm", encoding="utf-8", errors="replace") as stream:
                name = stream.read().rstrip("\n")
            if not any(name in programs for programs in _OWN.values()):
                continue
            for file in os.listdir(f"/proc/{process}/fd"):
                with contextlib.suppress(OSError):
                    inode = os.readlink(f"/proc/{process}/fd/{file}")[len("socket:[") : -1]
                    if inode in others and name in _OWN[others[inode]]:
                        del others[inode]
    return not others


@functools.lru_cache(maxsize=2)
def _listening(_numbers: frozenset[str]) -> str:
    """Return what ss(8) lists for these sockets: the SLS of one run ask many times."""
    if not installed("ss"):
        return ""
    try:
        return run(["ss", "-Hlunp", "( sport = :67 or sport = :69 )"], timeout=10).stdout
    except CommandFailed:
        return ""


def _protected(platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each file that is to be written, or its directory, that is immutable."""
    files = (
        *(platform.dhcp_config, platform.key_file, platform.dhcp_defaults, platform.dhcp_unit),
        *(platform.tftp_defaults, platform.tftp_unit, platform.exports_file, platform.nfs_settings),
    )
    paths = [path for path in files if path]
    for path in dict.fromkeys([*paths, *map(os.path.dirname, paths), platform.tftp_root]):
        if attribute := look.protection(path):
            sign = "i" if attribute == "immutable" else "a"
            yield Problem(path, f"it {attribute}", f"run chattr -{sign} {path} and apply again")
