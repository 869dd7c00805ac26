"""A golden root in which well-known paths are pipes, devices, sockets, loops or links elsewhere."""

from __future__ import annotations

import os
import pathlib
import shutil
import socket
import stat
from collections.abc import Iterator

import pytest

from tests.functional.test_hostile_root import (
    full,
    link_out,
    move_out,
    server,
    time_limit,
    untouched,
    use,
)

__all__ = ["full", "server"]
pytestmark = pytest.mark.any_salt

MORE_DIRECTORIES = (
    *("etc/initramfs-tools/conf.d", "etc/iscsi", "etc/salt/pki/minion", "etc/systemd/system"),
    *("usr/lib/salt-diskless", "usr/lib/systemd/system", "usr/local", "home/ann/.ssh"),
)
MORE_FILES = (
    *("etc/gshadow", "etc/shadow", "etc/iscsi/initiatorname.iscsi", "etc/munge/munge.key"),
    *("usr/bin/dracut", "usr/lib/salt-diskless/diskless.sh", "swapfile", "boot/grub/grub.cfg"),
)
KINDS = ("pipe", "device", "socket", "loop", "itself")


@pytest.fixture(autouse=True)
def ends() -> Iterator[None]:
    """A test that hangs fails."""
    with time_limit(240):
        yield


def put(kind: str, path: pathlib.Path) -> None:
    """Put something into a golden root in place of what is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
        os.chdir(here)
    elif kind == "loop":
        (path.parent / "loop").unlink(missing_ok=True)
        (path.parent / "loop").symlink_to(path.name)
        path.symlink_to("loop")
    else:
        path.symlink_to(f"{path.name}/./{path.name}")


def settled(salt_call, pillar: dict) -> None:
    """Make a version, or have it refused in words."""
    ret = salt_call(pillar).state("diskless_image.synced")
    assert "Traceback" not in ret.comment
    if ret.result is False:
        assert "diskless:images:tiny" in ret.comment, ret.comment
        return
    for state in ("diskless_snapshot.managed", "diskless_tftp.managed"):
        done = salt_call(pillar).state(state)
        assert done.result is True, done.comment
    assert salt_call(pillar).state("diskless_image.synced").changes == {}


@pytest.mark.parametrize("name", [*MORE_DIRECTORIES, *MORE_FILES])
def test_a_link_to_the_server_is_not_followed(salt_call, pillar, location, full, server, name):
    if name in MORE_DIRECTORIES:
        (full / name).mkdir(parents=True, exist_ok=True)
    target = move_out(full, name, server)
    before = untouched(server)
    link_out("absolute", full, name, target)
    use(salt_call, pillar)
    assert untouched(server) == before


#: What the project reads, writes or has a program read.
READ = (
    *("boot", "boot/vmlinuz-6.1.0-9-test", "etc/fstab", "etc/initramfs-tools/initramfs.conf"),
    *("etc/munge/munge.key", "etc/shadow", "etc/systemd/system/a.mount", "etc/ssh", "var/log"),
    *("lib/modules/6.1.0-9-test/modules.dep", "usr/lib/salt-diskless", "var/lib/dpkg/status"),
    *("var/lib/rpm/rpmdb.sqlite", "boot/grub/grub.cfg", "usr/share/initramfs-tools/scripts"),
)


@pytest.mark.parametrize("name", READ)
def test_what_is_no_file_or_directory_is_not_opened(salt_call, pillar, location, full, name):
    program = full / "usr/bin/dpkg-query"
    program.write_text("#!/bin/sh\nexec cat /var/lib/dpkg/status >/dev/null\n")
    program.chmod(0o755)
    for kind in KINDS:
        put(kind, full / name)
        settled(salt_call, pillar)
        shutil.rmtree(location, ignore_errors=True)
