"""The kernels inside a tree, and the initramfs of one of them."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.command import CommandFailed, run

#: Before a program of the tree: in namespaces of its own, without a network.
APART = [
    *("unshare", "--mount", "--propagation", "private"),
    *("--net", "--ipc", "--pid", "--fork", "--kill-child"),
]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in a tree: its release, and its path from the tree's root."""

    release: str
    path: str


def kernels(tree: str) -> tuple[Kernel, ...]:
    """Return the kernels of a tree that have their modules too, newest first."""
    found: dict[str, Kernel] = {}
    for directory in ("/lib/modules", "/usr/lib/modules"):
        try:
            releases = os.listdir(tree + directory)
        except OSError:
            continue
        for release in releases:
            for path in (f"/boot/vmlinuz-{release}", f"{directory}/{release}/vmlinuz"):
                if os.path.isfile(tree + path) and not os.path.islink(tree + path):
                    found.setdefault(release, Kernel(release, path))
    return tuple(found[release] for release in sorted(found, key=_age, reverse=True))


def choose(image: Image, tree: str) -> tuple[Kernel, str]:
    """Return the kernel that the image's nodes boot, and a sentence that says which and why.

    Raises :class:`DisklessError` when the tree has none, or not the one that the pillar names.
    """
    there = kernels(tree)
    releases = ", ".join(kernel.release for kernel in there) or "none"
    if image.kernel is not None:
        for kernel in there:
            if kernel.release == image.kernel:
                return kernel, f"Kernel {kernel.release}, as the pillar says"
        raise DisklessError(
            f"diskless:images:{image.name}:kernel: found {image.kernel}; the image has: {releases}"
        )
    if not there:
        raise DisklessError(
            f"diskless:images:{image.name}: found no kernel with its modules in the golden root; "
            "install one there (on Debian linux-image-amd64)"
        )
    return there[0], f"Kernel not specified, using {there[0].release}"


def build_initramfs(image: Image, tree: str, kernel: Kernel) -> str:
    """Build the initramfs of a kernel inside the tree, and return its path from the tree's root.

    It runs in a mount namespace of its own, with its own /proc, /dev and /tmp, so that nothing of
    the server is within its reach and nothing stays mounted. The tree's own configuration of
    initramfs-tools decides what is in it (mkinitramfs(8)).
    """
    path = f"/boot/initrd.img-{kernel.release}-diskless"
    if not any(os.path.exists(f"{tree}{d}/mkinitramfs") for d in ("/usr/sbin", "/sbin")):
        raise DisklessError(
            f"diskless:images:{image.name}: found no mkinitramfs in the golden root; install "
            "initramfs-tools there"
        )
    root, new = shlex.quote(tree), shlex.quote(f"{path}.new")
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
exec chroot {root} mkinitramfs -o {new} {shlex.quote(kernel.release)}
"""
    try:
        run([*APART, "sh", "-c", script], ends_with_us=True)
    except CommandFailed as err:
        raise DisklessError(
            f"diskless:images:{image.name}: the initramfs of {kernel.release} was not built: {err}"
        ) from err
    os.chmod(f"{tree}{path}.new", 0o644)
    os.rename(f"{tree}{path}.new", tree + path)
    return path


def _age(release: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts releases as people count: 6.1.0-10 comes after 6.1.0-9."""
    return [
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in re.findall(r"[0-9]+|[A-Za-z]+", release)
    ]
