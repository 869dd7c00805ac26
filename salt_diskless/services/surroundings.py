"""What an apply changes beside files and services, and what clean leaves as it is, by name:
packages, services in the zones of the firewall, and SELinux's policy. Others may need them."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from salt_diskless.command import CommandFailed, installed, run
from salt_diskless.platform import Platform
from salt_diskless.regex import lazy_regex

_FIREWALL = ("dhcp", "tftp", "nfs", "mountd", "rpc-bind")
_BOOLEANS = ("nfs_export_all_ro", "nfs_export_all_rw")
_SELINUX_PACKAGES = ("policycoreutils", "policycoreutils-python-utils")
_ZONE = lazy_regex(r"^(\S+)(?: \([^)]*\))?\n((?:[ \t].*\n?)*)", re.MULTILINE)
_SERVICES = lazy_regex(r"^[ \t]+services:(.*)$", re.MULTILINE)


def look(platform: Platform) -> dict[str, Any]:
    """Return what this machine has now: packages, the firewall's services by zone, and SELinux's
    booleans and labels."""
    packages = {
        *platform.image_packages,
        *platform.dhcp_packages,
        *platform.tftp_packages,
        *platform.nfs_packages,
        *platform.squashfs_packages,
        *platform.apt_packages,
        *platform.dnf_packages,
        *platform.container_packages,
        *_SELINUX_PACKAGES,
    }
    return {
        "packages": [*_installed(sorted(packages))],
        "zones": _zones(),
        "booleans": _booleans(),
        "labels": _labels(platform),
    }


def left(platform: Platform, before: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what this machine has now and had not before the first apply, each with the command
    that takes it away.

    before
        Of :func:`look`.
    """
    now = look(platform)
    packages = sorted({*now["packages"]} - {*before["packages"]})
    firewall = []
    for zone, services in now["zones"].items():
        added = [name for name in services if name not in before["zones"].get(zone, ())]
        if added:
            options = " ".join(f"--remove-service={name}" for name in added)
            firewall.append(f"firewall-cmd --permanent --zone={zone} {options}")
    selinux = [
        f"setsebool -P {name} off" for name in now["booleans"] if name not in before["booleans"]
    ]
    selinux += [
        f"semanage fcontext -d {shlex.quote(label)}"
        for label in now["labels"]
        if label not in before["labels"]
    ]
    return {"packages": packages, "firewall": firewall, "selinux": selinux}


def _installed(packages: Iterable[str]) -> Iterable[str]:
    if installed("dpkg-query"):
        output = _output("dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", *packages)
        return [line.split()[0] for line in output.splitlines() if line.split()[1:2] == ["ii"]]
    if installed("rpm"):
        output = _output("rpm", "-q", "--qf", "%{NAME}\n", *packages)
        return [line for line in output.splitlines() if " " not in line]
    return []


def _zones() -> dict[str, list[str]]:
    """Return the boot services that each zone of firewalld lets in for good."""
    zones = {}
    for match in _ZONE.finditer(_output("firewall-cmd", "--permanent", "--list-all-zones")):
        services = _SERVICES.search(match[2])
        if services is not None:
            zones[match[1]] = [name for name in services[1].split() if name in _FIREWALL]
    return zones


def _booleans() -> list[str]:
    """Return SELinux's booleans that are on, of those that a boot server needs."""
    lines = _output("getsebool", *_BOOLEANS).splitlines()
    return [line.split()[0] for line in lines if line.split()[-1:] == ["on"]]


def _labels(platform: Platform) -> list[str]:
    """Return the paths of the TFTP root that have a label of this machine's own."""
    lines = _output("semanage", "fcontext", "-l", "-C", "-n").splitlines()
    wanted = f"{re.escape(platform.tftp_root)}(/.*)?"
    names = {line.split()[0].replace("\\", "") for line in lines if line.strip()}
    return [wanted] if wanted.replace("\\", "") in names else []


def _output(*command: str) -> str:
    """Return what a program prints; nothing where it is not installed or fails."""
    with contextlib.suppress(CommandFailed):
        if installed(command[0]):
            return run(command, ok=range(256), timeout=60).stdout
    return ""
