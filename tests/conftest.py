"""Fixtures for every kind of test."""

from __future__ import annotations

import ctypes
import logging
import os
import pathlib
import subprocess

import pytest
import yaml

# pytest-salt-factories' daemons log to handlers that pytest has closed by then.
for handler in logging.root.handlers[:]:
    logging.root.removeHandler(handler)
    handler.close()
logging.raiseExceptions = False

# A boot server refuses images below /tmp, where pytest has its directories by default.
_TEMPORARY = "/srv/dl"
os.makedirs(_TEMPORARY, exist_ok=True)
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _TEMPORARY)

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent

#: Directories that a test's machine has for itself, empty.
PRIVATE = (
    *("/etc/exports.d", "/var/lib/nfs", "/run", "/var/lib/dhcp", "/var/lib/salt-diskless"),
    *("/etc/nfs.conf.d", "/etc/systemd/system"),
)

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000


def unshare(what: int) -> None:
    """Give this process namespaces of its own (unshare(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(what) != 0:
        raise OSError(ctypes.get_errno(), "unshare: these tests run as root")


@pytest.fixture(scope="session")
def private_mounts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """From here on this process has mounts of its own: exportfs's table and directory are empty,
    and so is /run, where daemons have their sockets, and where they keep what they know."""
    unshare(CLONE_NEWNS)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for path in PRIVATE:
        os.makedirs(path, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
    empty = tmp_path_factory.mktemp("etc") / "exports"
    empty.touch()
    if os.path.exists("/etc/exports"):
        subprocess.run(["mount", "--bind", str(empty), "/etc/exports"], check=True)


def add_interface(name: str, address: str) -> None:
    """Give this network namespace an interface with an address (a bridge without ports)."""
    for line in (
        f"ip link add {name} type bridge",
        f"ip addr add {address} dev {name}",
        f"ip link set {name} up",
    ):
        subprocess.run(line.split(), check=True)


def private_network() -> None:
    """Give this process a network of its own, with the interface and the address that the pillar of
    the fixture names: no packet leaves."""
    unshare(CLONE_NEWNET)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    add_interface("dl0", "10.77.0.1/24")


HOWTO = """
servers:
  boot2: {address: 10.8.226.72, interface: eth0}
networks:
  compute:
    subnet: 10.8.0.0/16
    routers: [10.8.226.1]
    nameservers: [10.8.226.2]
    domain: example.com
    nis_domain: my_nis_domain
    time_offset: -18000
    lease_time: {default: 21600, max: 43200}
images:
  rhel5compute:
    description: rhel5compute
    location: /diskless/i386/RHEL5-AS
profiles:
  compute:
    image: rhel5compute
    network: compute
    interface: eth0
    serial_console: ttyS0,115200n8r
nodes:
  node[001-002]:
    profile: compute
    ip: 10.8.136.1+
    mac: ["00:21:5E:40:00:01", "00:21:5E:40:00:02"]
  node003: {profile: compute, ip: 10.8.226.73, mac: "00:21:5E:40:64:5C"}
"""


@pytest.fixture
def howto() -> dict:
    """The HOWTO's cluster: 128 nodes, of which node001 is 10.8.136.1 and node003 10.8.226.73."""
    pillar = yaml.safe_load(HOWTO)
    macs = [f"00:21:5E:41:00:{n:02X}" for n in range(4, 129)]
    pillar["nodes"]["node[004-128]"] = {"profile": "compute", "ip": "10.8.226.74+", "mac": macs}
    return pillar


_GOLDEN_DIRECTORIES = (
    *("bin", "sbin", "usr/sbin", "usr/bin", "boot", "dev", "etc", "proc", "sys", "run", "tmp"),
    *("root", "var/cache/apt", "var/lib/systemd", "var/log", "var/tmp"),
)


#: What a kernel of a test has as modules, and built in.
_MODULES = "kernel/fs/nfs/nfs.ko:\nkernel/fs/nfs/nfsv3.ko.xz: kernel/fs/nfs/nfs.ko\n"
_BUILTIN = "kernel/fs/nfs/nfsv4.ko\n"


def put_kernel(
    root: pathlib.Path, release: str, modules: str = _MODULES, builtin: str = _BUILTIN
) -> None:
    """Put a kernel that says its release, and the lists of its modules, into a root."""
    (root / f"boot/vmlinuz-{release}").write_text(f"kernel {release}")
    place = root / f"lib/modules/{release}"
    place.mkdir(parents=True)
    (place / "modules.dep").write_text(modules)
    (place / "modules.builtin").write_text(builtin)


@pytest.fixture
def golden(tmp_path: pathlib.Path) -> pathlib.Path:
    """A root small enough for a test: a static busybox, a kernel, and a mkinitramfs that says what
    it was called with."""
    root = tmp_path / "golden"
    for directory in _GOLDEN_DIRECTORIES:
        (root / directory).mkdir(parents=True)
    (root / "bin/busybox").write_bytes(pathlib.Path("/bin/busybox").read_bytes())
    (root / "bin/busybox").chmod(0o755)
    for name in ("sh", "cat", "mkdir", "mv", "ls", "env", "sleep", "chmod", "rm", "cp"):
        (root / "bin" / name).symlink_to("busybox")
    put_kernel(root, "6.1.0-9-test")
    (root / "etc/hostname").write_text("golden\n")
    (root / "etc/machine-id").write_text("0" * 32 + "\n")
    (root / "etc/fstab").write_text("/dev/sda1 / ext4 defaults 0 1\n")
    (root / "etc/passwd").write_text("root::0:0:root:/root:/bin/sh\n")
    (root / "var/log/messages").write_text("the golden node's\n")
    script = root / "usr/sbin/mkinitramfs"
    script.write_text('#!/bin/sh\necho "$@" drivers: $DISKLESS_DRIVERS > "$2"\n')
    script.chmod(0o755)
    return root


@pytest.fixture
def pillar(tmp_path: pathlib.Path, golden: pathlib.Path) -> dict:
    """Three nodes, one of them over NFS 3, with every path below the test's own directory."""
    return {
        "servers": {"bootserver": {"address": "10.77.0.1", "interface": "dl0"}},
        "networks": {
            "lab": {
                "subnet": "10.77.0.0/24",
                "routers": ["10.77.0.1"],
                "nameservers": ["10.77.0.2"],
                "domain": "lab.example",
                "nis_domain": "lab_nis",
                "time_offset": -18000,
            }
        },
        "images": {
            "tiny": {
                "description": "a tiny system",
                "location": str(tmp_path / "diskless/tiny"),
                "source": {"directory": str(golden)},
            }
        },
        "profiles": {
            "compute": {
                "image": "tiny",
                "network": "lab",
                "serial_console": "ttyS0,115200n8",
                "files": ["/var/log", "/root", {"path": "/var/cache", "how": "tmpfs"}],
            }
        },
        "nodes": {
            "node[001-002]": {
                "profile": "compute",
                "ip": "10.77.0.11+",
                "mac": ["52:54:00:77:00:01", "52:54:00:77:00:02"],
            },
            "node003": {
                "profile": "compute",
                "ip": "10.77.0.73",
                "mac": "52:54:00:77:00:03",
                "nfs": 3,
            },
        },
        "lookup": {
            "tftp_root": str(tmp_path / "srv/tftp"),
            "tftp_defaults": str(tmp_path / "etc/default/tftpd-hpa"),
            "dhcp_config": str(tmp_path / "etc/dhcp/dhcpd.conf"),
            "dhcp_defaults": str(tmp_path / "etc/default/isc-dhcp-server"),
            "dhcp_unit": str(
                tmp_path / "etc/systemd/system/isc-dhcp-server.service.d/diskless.conf"
            ),
            "tftp_unit": str(tmp_path / "etc/systemd/system/tftpd-hpa.service.d/diskless.conf"),
            "nfs_settings": str(tmp_path / "etc/nfs.conf.d/diskless.conf"),
        },
    }
