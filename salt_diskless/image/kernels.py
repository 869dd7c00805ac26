"""The kernels inside a tree, and the initramfs of one of them."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.command import CommandFailed, run
from salt_diskless.image import modules
from salt_diskless.image.versions import Served

#: Where a kernel's modules are, in a directory of its release's name.
MODULES = ("/lib/modules", "/usr/lib/modules")

#: Before a program of the tree: in namespaces of its own, without a network.
APART = [
    *("unshare", "--mount", "--propagation", "private"),
    *("--net", "--ipc", "--pid", "--fork", "--kill-child"),
]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in a tree: its release, and its path and its modules' from the tree's root."""

    release: str
    path: str
    modules: str


def kernels(tree: str) -> tuple[Kernel, ...]:
    """Return the kernels of a tree that have their modules too, newest first. One that a link
    takes from outside the tree is none of its."""
    found: dict[str, Kernel] = {}
    for directory in MODULES:
        try:
            releases = os.listdir(tree + directory)
        except OSError:
            continue
        for release in releases:
            place = f"{directory}/{release}"
            if not leads_inside(tree, place):
                continue
            for path in (f"/boot/vmlinuz-{release}", f"{place}/vmlinuz"):
                is_file = os.path.isfile(tree + path) and not os.path.islink(tree + path)
                if is_file and leads_inside(tree, os.path.dirname(path)):
                    found.setdefault(release, Kernel(release, path, place))
    return tuple(found[release] for release in sorted(found, key=_age, reverse=True))


def initramfs(release: str) -> str:
    """Return the path of a kernel's initramfs for nodes, from the tree's root."""
    return f"/boot/initrd.img-{release}-diskless"


def build_initramfs(image: Image, tree: str, release: str, kernel: Served) -> None:
    """Build the initramfs of a kernel inside the tree, with the modules that its nodes need.

    It runs in a mount namespace of its own, with its own /proc, /dev and /tmp, so that nothing of
    the server is within its reach and nothing stays mounted. The tree's own configuration of
    initramfs-tools decides what is in it (mkinitramfs(8)).
    """
    if not any(os.path.exists(f"{tree}{d}/mkinitramfs") for d in ("/usr/sbin", "/sbin")):
        raise DisklessError(
            f"diskless:images:{image.name}: found no mkinitramfs in the golden root; install "
            "initramfs-tools there"
        )
    new = f"{kernel.initrd}.new"
    root, target = shlex.quote(tree), shlex.quote(new)
    script = f"""
set -e
mount -t proc -o nosuid,nodev,noexec proc {root}/proc
mount -t tmpfs -o mode=755,nosuid tmpfs {root}/dev
for name in null zero full random urandom; do
    : > {root}/dev/$name
    mount --bind /dev/$name {root}/dev/$name
done
ln -s /proc/self/fd {root}/dev/fd
mount -t tmpfs -o mode=1777 tmpfs {root}/tmp
mount -t tmpfs -o mode=1777 tmpfs {root}/var/tmp
mount -t tmpfs -o mode=755 tmpfs {root}/run
chroot {root} mkinitramfs -o {target} {shlex.quote(release)} >&2
[ ! -x {root}/usr/bin/lsinitramfs ] || exec chroot {root} lsinitramfs {target}
"""
    try:
        said = run(
            [*APART, "sh", "-c", script],
            env={"DISKLESS_DRIVERS": " ".join(kernel.modules)},
            ends_with_us=True,
        ).stdout
    except CommandFailed as err:
        raise DisklessError(
            f"diskless:images:{image.name}: the initramfs of {release} was not built: {err}"
        ) from err
    left_out = {*kernel.modules} - modules.names(said.splitlines()) if said else set()
    if left_out:
        raise DisklessError(
            f"diskless:images:{image.name}: the initramfs of {release} was built without "
            f"{', '.join(sorted(left_out))}; see which hook of initramfs-tools in the golden root "
            "leaves that out (mkinitramfs -v)"
        )
    os.chmod(tree + new, 0o644)
    os.rename(tree + new, tree + kernel.initrd)


def leads_inside(tree: str, directory: str) -> bool:
    """Return whether a directory of a tree is in it, and no link leads out of it."""
    return os.path.realpath(tree + directory).startswith(os.path.realpath(tree) + "/")


def _age(release: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts releases as people count: 6.1.0-10 comes after 6.1.0-9."""
    return [
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in re.findall(r"[0-9]+|[A-Za-z]+", release)
    ]
