"""Which file systems below a source are taken, left out and named, or refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from salt_diskless.cluster import DisklessError
from salt_diskless.image import mounts

IMAGE: Any = SimpleNamespace(name="tiny", exclude=(), scrub=(), fstab=())
LOCAL = ["ext4", "xfs", "btrfs", "vfat", "zfs", "f2fs", "tmpfs", "overlay", "squashfs", "fuseblk"]
REMOTE = [
    *("nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "fuse.glusterfs", "lustre", "beegfs"),
    *("fuse.sshfs", "gpfs", "wekafs", "9p", "virtiofs", "autofs", "fuse.s3fs", "fuse.anything"),
]


@pytest.mark.parametrize("kind", LOCAL)
@pytest.mark.parametrize(
    "path",
    ["/usr", "/var", "/boot", "/boot/efi", "/opt", "/home", "/srv", "/usr/local", "/usr/lib/x"]
    + ["/var/lib/x/y/z", "/etc", "/etc/site", "/opt/a b", "/root", "/var/log/audit", "/home/ann"],
)
def test_local_file_systems_of_the_system_are_taken(path, kind):
    assert mounts.choose(IMAGE, [path], {path: kind}, "x").taken == (path,)


@pytest.mark.parametrize("kind", [*REMOTE, None])
@pytest.mark.parametrize(
    "path",
    ["/usr", "/var", "/boot", "/etc", "/usr/lib", "/usr/bin", "/usr/share/x", "/etc/salt", "/lib"]
    + ["/lib/modules", "/boot/grub2"],
)
def test_what_cannot_be_taken_of_the_system_is_refused(path, kind):
    if kind is None and path in ("/usr", "/var", "/boot", "/etc"):
        return  # Where they are is known without their type.
    with pytest.raises(DisklessError, match=f"tiny:source: found {path} .*exclude: .{path}/"):
        mounts.choose(IMAGE, [path], {path: kind} if kind else {}, "x")


@pytest.mark.parametrize("kind", REMOTE)
@pytest.mark.parametrize("path", ["/home", "/opt", "/opt/app", "/srv/x", "/data", "/usr/local/app"])
def test_what_other_machines_have_is_left_out_and_named(path, kind):
    assert mounts.choose(IMAGE, [path], {path: kind}, "x").left == (path,)


@pytest.mark.parametrize(
    "path",
    ["/var/lib/docker/overlay2/a/merged", "/var/lib/kubelet/pods/a/b", "/var/lib/snapd/snap/x/1"]
    + ["/home/ann/.local/share/containers/a", "/scratch", "/mnt/usb", "/media/x", "/snap/core/1"],
)
def test_stores_and_other_disks_are_left_out_and_named(path):
    for kind in ("overlay", "ext4", "squashfs"):
        assert mounts.choose(IMAGE, [path], {path: kind}, "x").left == (path,)


FSTAB = """
# comment
UUID=1 / ext4 defaults 0 1
LABEL=boot /boot ext4 defaults 0 2
/dev/sda3 none swap sw 0 0
proc /proc proc defaults 0 0
tmpfs /tmp tmpfs defaults 0 0
tmpfs /dev/shm tmpfs defaults 0 0
/dev/sdb1 /scratch xfs defaults 0 0
nas:/home /home nfs4 rw,_netdev 0 0
[fd00::1]:/x /x nfs rw 0 0
//nas/data /data cifs credentials=/root/.c 0 0
mon1,mon2:/ /ceph ceph name=a 0 0
gfs:/vol /gfs glusterfs defaults,_netdev 0 0
10.0.0.1@o2ib:/fs /lustre lustre flock 0 0
beegfs_nodev /bee beegfs cfgFile=/etc/x 0 0
ann@host:/srv /ssh fuse.sshfs defaults 0 0
sshfs#ann@host:/srv /ssh2 fuse defaults 0 0
s3fs#bucket /s3 fuse _netdev 0 0
/dev/disk/by-path/ip-10.0.0.1:3260-iscsi /iscsi ext4 _netdev 0 0
/srv/x /var/x none bind 0 0
tmpfs /scratch2 tmpfs size=1G 0 0
nas:/opt/a\\040b /opt/a\\040b nfs x-systemd.automount 0 0
"""
NAMED = ["/home", "/x", "/data", "/ceph", "/gfs", "/lustre", "/bee", "/ssh", "/ssh2", "/s3"]
NAMED += ["/iscsi", "/var/x", "/scratch2", "/opt/a b"]


def test_lines_of_fstab_that_are_no_disk_are_named():
    found = mounts.unmounted(IMAGE, FSTAB)
    assert [line.split(" (")[0] for line in found] == NAMED


def test_lines_of_fstab_that_the_pillar_wants_are_not():
    image: Any = SimpleNamespace(fstab=("/home", "other:/data /data nfs rw 0 0"))
    found = [line.split(" (")[0] for line in mounts.unmounted(image, FSTAB)]
    assert found == [path for path in NAMED if path not in ("/home", "/data")]
