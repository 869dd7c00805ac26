"""Whether the file systems of this machine can hold images and what nodes boot."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator

from salt_diskless.cluster import paths
from salt_diskless.cluster.errors import Problem
from salt_diskless.cluster.model import Image, Site
from salt_diskless.image.versions import published
from salt_diskless.platform import Platform
from salt_diskless.preflight import mounts
from salt_diskless.preflight.mounts import Mount, Table

#: What the kernel's NFS server cannot export, or not without an fsid (exports(5)); or what keeps no
#: owners and links.
_UNFIT = frozenset(
    {"9p", "autofs", "cifs", "devtmpfs", "exfat", "hfs", "hfsplus", "msdos", "nfs", "nfs4", "ntfs"}
    | {"ntfs3", "overlay", "proc", "ramfs", "smb3", "sysfs", "tmpfs", "vfat", "virtiofs"}
    | {"erofs", "iso9660", "squashfs", "udf"}
)
#: Between these a version is renamed and linked.
_ONE_MOUNT = ("versions", ".staging", "aside", ".unpacked", "metadata")
#: These are exported, too, and may be mounts of their own.
_EXPORTED = ("versions", "snapshot", "swap")
#: Fewer bytes and inodes than the smallest root takes.
_LEAST_BYTES, _LEAST_INODES = 1 << 20, 64
#: An access ACL that says what the mode 0600 says: linux/posix_acl_xattr.h.
_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permission, 0xFFFFFFFF)
    for tag, permission in ((1, 6), (4, 0), (32, 0))
)


def problems(site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield what keeps a file system from holding an image, the TFTP root or a file."""
    table = mounts.read()
    for image in site.images.values():
        yield from _image(image, table)
    for use in paths.uses({}, platform.as_dict()):
        if use.kind in ("tftp_root", "written"):
            directory = existing(use.path)
            if "ro" in mounts.of(directory, table).options:
                yield Problem(
                    use.key,
                    f"{use.path} on a file system that is mounted read-only",
                    "mount it read-write, or give a path on another one",
                )


def existing(path: str) -> str:
    """Return a path without links, or the nearest directory above it that is there."""
    real = os.path.realpath(path)
    return next((above for above in paths.above(real) if os.path.exists(above)), "/")


def _image(image: Image, table: Table) -> Iterator[Problem]:
    key = f"diskless:images:{image.name}:location"
    directory = existing(image.location)
    mount = mounts.of(directory, table)
    wrong = _unfit(mount)
    if wrong is not None:
        yield Problem(key, f"{image.location} on {wrong}", _BETTER)
        return
    if image.source is not None and "noexec" in mount.options:
        yield Problem(
            key,
            f"{image.location} on a file system that is mounted noexec ({mount.point})",
            "mount it with exec: programs of the image run there to build its initramfs",
        )
    yield from _parts(image, key, mount, table)
    if image.source is not None:
        yield from _attributes(image, key, directory)
        yield from _room(image, key, directory)


_BETTER = "give a location on a local file system that is writable, such as ext4, xfs or btrfs"


def _unfit(mount: Mount) -> str | None:
    """Return what is wrong with the file system of a mount, or None."""
    if "ro" in mount.options:
        return f"a file system that is mounted read-only ({mount.point}, {mount.type})"
    exported = mount.type == "overlay" and "nfs_export=on" in mount.options
    if (mount.type in _UNFIT or mount.type.startswith("fuse")) and not exported:
        return f"a file system that NFS cannot export ({mount.point}, {mount.type})"
    return None


def _parts(image: Image, key: str, mount: Mount, table: Table) -> Iterator[Problem]:
    """Yield what is wrong with parts of an image that are mounts of their own."""
    for part in dict.fromkeys((*_ONE_MOUNT, *_EXPORTED)):
        path = f"{image.location}/{part}"
        if not os.path.isdir(path) or os.path.islink(path):
            continue
        own = mounts.of(path, table)
        apart = own is not mount or os.stat(path).st_dev != os.stat(image.location).st_dev
        if apart and part in _ONE_MOUNT:
            yield Problem(
                key,
                f"{path}, which is a mount or subvolume of its own",
                f"mount that file system at {image.location} instead: a new version is renamed "
                "from .staging to versions",
            )
        elif own is not mount and (wrong := _unfit(own)) is not None:
            yield Problem(key, f"{path} on {wrong}", _BETTER)


def _attributes(image: Image, key: str, directory: str) -> Iterator[Problem]:
    """Yield a problem where a file system keeps no extended attributes or no ACLs. It is tried with
    a file that has no name, so nothing changes."""
    try:
        descriptor = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as err:
        if err.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOSPC, errno.EDQUOT):
            yield Problem(key, f"{directory}: {err.strerror}", "give a directory to write in")
        return
    try:
        for name, value, what in (
            ("user.diskless", b"1", "extended attributes"),
            ("trusted.diskless", b"1", "extended attributes"),
            ("system.posix_acl_access", _ACL, "ACLs"),
        ):
            try:
                os.setxattr(descriptor, name, value)
            except OSError as err:
                if err.errno != errno.EOPNOTSUPP:
                    continue
                yield Problem(
                    key,
                    f"{image.location} on a file system without {what}",
                    "mount it with them (mount options user_xattr and acl), or give a location on "
                    "another one: images keep both",
                )
                return
    finally:
        os.close(descriptor)


def _room(image: Image, key: str, directory: str) -> Iterator[Problem]:
    """Yield a problem where the first version of an image surely has no room."""
    if published(image) is not None:
        return
    archive = image.source.archive if image.source is not None else None
    least = _LEAST_BYTES
    if archive is not None and os.path.isfile(archive):
        least = max(least, os.path.getsize(archive))
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    right = "make room there, or give a location on a file system with more"
    if free < least:
        found = f"{free / 1000**2:,.1f} MB free below {directory}"
        yield Problem(key, found, f"{right}: the image takes {least / 1000**2:,.1f} MB at least")
    # File systems such as btrfs make inodes as they need them, and count none.
    if status.f_files and status.f_favail < _LEAST_INODES:
        yield Problem(key, f"{status.f_favail} free inodes below {directory}", right)
