"""Salt's real loader on a machine of the test's own: mounts and network in private namespaces."""

from __future__ import annotations

import ctypes
import os
import pathlib
import subprocess
import types
from collections.abc import Callable

import pytest
import salt.config
import salt.loader

from tests.conftest import CHECKOUT

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000


@pytest.fixture(scope="session", autouse=True)
def private_machine(tmp_path_factory: pytest.TempPathFactory) -> None:
    """From here on this process has its own mounts and network: exportfs's table and directory are
    empty, and no packet leaves."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare: these tests run as root")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for path in ("/etc/exports.d", "/var/lib/nfs"):
        os.makedirs(path, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
    empty = tmp_path_factory.mktemp("etc") / "exports"
    empty.touch()
    if os.path.exists("/etc/exports"):
        subprocess.run(["mount", "--bind", str(empty), "/etc/exports"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


_GOLDEN_DIRECTORIES = (
    *("bin", "sbin", "usr/sbin", "usr/bin", "boot", "dev", "etc", "proc", "sys", "run", "tmp"),
    *("root", "lib/modules/6.1.0-9-test", "var/cache/apt", "var/lib/systemd", "var/log", "var/tmp"),
)


@pytest.fixture
def golden(tmp_path: pathlib.Path) -> pathlib.Path:
    """A root small enough for a test: a static busybox, a kernel, and a mkinitramfs that says what
    it was called with."""
    root = tmp_path / "golden"
    for directory in _GOLDEN_DIRECTORIES:
        (root / directory).mkdir(parents=True)
    (root / "bin/busybox").write_bytes(pathlib.Path("/bin/busybox").read_bytes())
    (root / "bin/busybox").chmod(0o755)
    for name in ("sh", "cat", "mkdir", "mv", "ls", "env", "sleep", "chmod", "rm"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "boot/vmlinuz-6.1.0-9-test").write_bytes(b"kernel 9")
    (root / "lib/modules/6.1.0-9-test/modules.dep").touch()
    (root / "etc/hostname").write_text("golden\n")
    (root / "etc/machine-id").write_text("0" * 32 + "\n")
    (root / "etc/fstab").write_text("/dev/sda1 / ext4 defaults 0 1\n")
    (root / "etc/passwd").write_text("root::0:0:root:/root:/bin/sh\n")
    (root / "var/log/messages").write_text("the golden node's\n")
    script = root / "usr/sbin/mkinitramfs"
    script.write_text('#!/bin/sh\necho "$@" > "$2"\n')
    script.chmod(0o755)
    return root


class SaltCall:
    """Salt's loaders with one pillar: ``modules`` and ``states``."""

    def __init__(self, root: pathlib.Path, pillar: dict, minion_id: str, test: bool = False):
        for directory in ("cache", "pki", "run", "log"):
            (root / "salt" / directory).mkdir(parents=True, exist_ok=True)
        self.opts = salt.config.minion_config(None)
        self.opts.update(
            id=minion_id,
            file_client="local",
            test=test,
            root_dir=str(root / "salt"),
            cachedir=str(root / "salt/cache"),
            pki_dir=str(root / "salt/pki"),
            sock_dir=str(root / "salt/run"),
            log_file=str(root / "salt/log/minion"),
            file_roots={"base": [str(CHECKOUT / "states")]},
            pillar={"diskless": pillar},
            module_dirs=[str(CHECKOUT / "salt_diskless/modules")],
            states_dirs=[str(CHECKOUT / "salt_diskless/states")],
            extension_modules=str(root / "salt/extmods"),
        )
        self.opts["grains"] = {"os_family": "Debian", "os": "Debian", "kernel": "Linux"}
        context: dict = {}
        utils = salt.loader.utils(self.opts, context=context)
        self.modules = salt.loader.minion_mods(self.opts, context=context, utils=utils)
        self.serializers = salt.loader.serializers(self.opts)
        self.states = salt.loader.states(
            self.opts, self.modules, utils, self.serializers, context=context
        )

    def state(self, name: str, **arguments: object) -> types.SimpleNamespace:
        """Call a state and return its result."""
        return types.SimpleNamespace(**self.states[name](name=name, **arguments))


@pytest.fixture
def salt_call(tmp_path: pathlib.Path) -> Callable[..., SaltCall]:
    """Return a maker of loaders: ``salt_call(pillar, minion_id="bootserver", test=False)``."""

    def make(pillar: dict, minion_id: str = "bootserver", test: bool = False) -> SaltCall:
        return SaltCall(tmp_path, pillar, minion_id, test)

    return make


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
        },
    }


@pytest.fixture(params=[True, False], ids=["test mode", "for real"])
def testmode(request: pytest.FixtureRequest) -> bool:
    """Each state is tried in test mode, where nothing may be touched, and for real."""
    return request.param


@pytest.fixture
def listing(tmp_path: pathlib.Path) -> Callable[[], dict[str, tuple]]:
    """Return a function that lists every file below the test's directory with what it holds."""

    def listed() -> dict[str, tuple]:
        found = {}
        for directory, _, names in os.walk(tmp_path):
            if directory == str(tmp_path) or directory.startswith(str(tmp_path / "salt")):
                continue
            for name in (".", *names):
                path = os.path.join(directory, name)
                status = os.lstat(path)
                content = b""
                if os.path.isfile(path) and not os.path.islink(path):
                    content = pathlib.Path(path).read_bytes()
                found[path] = (status.st_ino, status.st_mode, status.st_mtime_ns, content)
        return found

    return listed
