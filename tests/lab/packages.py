"""Installs what the lab needs on the machine that it runs on, and nothing that is there already."""

from __future__ import annotations

import os
import shutil
import subprocess

#: A program that each package brings, by package manager.
_NEEDED = {
    "apt-get": {
        "qemu-system-x86_64": "qemu-system-x86",
        "/usr/lib/ipxe/qemu/pxe-virtio.rom": "ipxe-qemu",
        "/usr/share/seabios/bios-256k.bin": "seabios",
        "mmdebstrap": "mmdebstrap",
        "systemd-nspawn": "systemd-container",
        "ip": "iproute2",
        "socat": "socat",
    },
    "dnf": {
        "qemu-system-x86_64": "qemu-system-x86-core",
        "/usr/share/ipxe/qemu/1af41000.rom": "ipxe-roms-qemu",
        "mmdebstrap": "mmdebstrap",
        "systemd-nspawn": "systemd-container",
        "ip": "iproute",
        "socat": "socat",
    },
    "zypper": {
        "qemu-system-x86_64": "qemu-x86",
        "/usr/share/qemu/pxe-virtio.rom": "qemu-ipxe",
        "mmdebstrap": "mmdebstrap",
        "systemd-nspawn": "systemd-container",
        "ip": "iproute2",
        "socat": "socat",
    },
}
_INSTALL = {
    "apt-get": ["apt-get", "install", "-y", "-q", "--no-install-recommends"],
    "dnf": ["dnf", "install", "-y", "--setopt=install_weak_deps=False"],
    "zypper": ["zypper", "--non-interactive", "install", "--no-recommends"],
}


class Missing(Exception):
    """Something that the lab needs is not there and could not be installed."""


def install() -> list[str]:
    """Install what is missing and return its packages.

    Raises :class:`Missing` with what to install by hand.
    """
    manager = next((name for name in _NEEDED if shutil.which(name)), None)
    needed = _NEEDED[manager or "apt-get"]
    missing = [package for thing, package in needed.items() if not _there(thing)]
    if not missing:
        return []
    if manager is None:
        raise Missing(f"install these by hand (Debian's names): {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    steps = [[*_INSTALL[manager], *missing]]
    if manager == "apt-get":
        steps.insert(0, ["apt-get", "update", "-q"])
    for step in steps:
        done = subprocess.run(
            step,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            said = "\n".join(done.stdout.splitlines()[-8:])
            raise Missing(f"{' '.join(step)} ended with {done.returncode}:\n{said}")
    return missing


def _there(thing: str) -> bool:
    return os.path.exists(thing) if thing.startswith("/") else shutil.which(thing) is not None
