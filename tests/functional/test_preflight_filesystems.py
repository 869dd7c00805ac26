"""File systems that cannot hold an image are refused before anything is written."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from salt_diskless.preflight import filesystems


def run(*argv: object) -> None:
    subprocess.run([str(word) for word in argv], check=True)


@contextlib.contextmanager
def mounted(where: pathlib.Path, *argv: object) -> Iterator[None]:
    """Mount something at a directory, which is made."""
    where.mkdir(parents=True, exist_ok=True)
    run("mount", *argv, where)
    try:
        yield
    finally:
        run("umount", where)


@contextlib.contextmanager
def ext4(where: pathlib.Path, file: pathlib.Path, options: str, *make: str) -> Iterator[None]:
    """Mount a small ext4 of its own."""
    with file.open("wb") as stream:
        stream.truncate(16 << 20)
    run("mkfs.ext4", "-q", "-F", *make, file)
    with mounted(where, "-o", f"loop,{options}", file):
        yield


def comment_of(call) -> str:
    result = call.state("diskless.valid")
    assert result.changes == {}
    return "" if result.result else result.comment


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs"])
def test_what_nfs_cannot_export_is_refused(salt_call, pillar, location, testmode, kind):
    with mounted(location.parent, "-t", kind, "none"):
        comment = comment_of(salt_call(pillar, test=testmode))
        assert f"{location} on a file system that NFS cannot export" in comment
        assert f"({location.parent}, {kind})" in comment
        assert [*location.parent.iterdir()] == []


@pytest.mark.parametrize(("more", "right"), [("", False), (",index=on,nfs_export=on", True)])
def test_an_overlay_is_right_where_nfs_can_export_it(
    salt_call, pillar, location, tmp_path, more, right
):
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work{more}"
    with mounted(location.parent, "-t", "overlay", "-o", options, "overlay"):
        assert (comment_of(salt_call(pillar)) == "") is right


@pytest.mark.parametrize(("option", "says"), [("ro", "mounted read-only"), ("noexec", "noexec")])
def test_mounted_without_writing_or_programs_is_refused(salt_call, pillar, location, option, says):
    location.parent.mkdir(parents=True)
    with mounted(location.parent, "--bind", location.parent):
        run("mount", "-o", f"remount,bind,{option}", location.parent)
        assert says in comment_of(salt_call(pillar))


def test_a_tftp_root_that_is_read_only_is_refused(salt_call, pillar, tmp_path):
    path = tmp_path / "srv"
    with mounted(path, "-t", "tmpfs", "-o", "ro", "none"):
        comment = comment_of(salt_call(pillar))
    assert f"diskless:lookup:tftp_root: found {path}/tftp on a file system" in comment


def test_no_attributes_are_refused_before_the_copy(salt_call, pillar, location, monkeypatch):
    """A ramfs has none; that NFS cannot export it either is left out of account."""
    monkeypatch.setattr(filesystems, "_UNFIT", frozenset())
    with mounted(location.parent, "-t", "ramfs", "none"):
        assert "without extended attributes" in comment_of(salt_call(pillar))
        assert not location.exists()


def test_no_acls_are_refused_before_the_copy(salt_call, pillar, location, monkeypatch):
    """No file system of this kernel can be mounted without ACLs and with attributes."""
    setxattr = os.setxattr

    def without_acls(path, name, value):
        if "acl" in name:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        setxattr(path, name, value)

    monkeypatch.setattr(os, "setxattr", without_acls)
    assert "without ACLs" in comment_of(salt_call(pillar))
    assert not location.exists()


def test_ext4_is_right_and_nothing_is_left_of_the_look(salt_call, pillar, location, tmp_path):
    with ext4(location.parent, tmp_path / "disk", "rw"):
        before = location.parent.stat().st_mtime_ns
        assert comment_of(salt_call(pillar)) == ""
        assert location.parent.stat().st_mtime_ns == before
        assert [path.name for path in location.parent.iterdir()] == ["lost+found"]


@pytest.mark.parametrize("part", ["versions", ".staging", "aside", "metadata"])
@pytest.mark.parametrize("how", ["-t tmpfs none", "--bind"])
def test_a_part_that_is_a_mount_of_its_own_is_refused(salt_call, pillar, location, part, how):
    path = location / part
    path.mkdir(parents=True)
    argv = [*how.split(), *([path] if how == "--bind" else [])]
    with mounted(path, *argv):
        comment = comment_of(salt_call(pillar))
        assert f"{path}, which is a mount or subvolume of its own" in comment
        assert f"mount that file system at {location} instead" in comment


def test_snapshots_may_be_on_a_disk_of_their_own(salt_call, pillar, location, tmp_path):
    with ext4(location / "snapshot", tmp_path / "disk", "rw"):
        assert comment_of(salt_call(pillar)) == ""
    with mounted(location / "snapshot", "-t", "tmpfs", "none"):
        assert f"{location}/snapshot on a file system that NFS" in comment_of(salt_call(pillar))


def test_a_location_with_no_inodes_or_no_room_is_refused(salt_call, pillar, location, tmp_path):
    with ext4(location.parent, tmp_path / "disk", "rw", "-N", "32"):
        assert "free inodes below" in comment_of(salt_call(pillar))
    with ext4(location.parent, tmp_path / "disk", "rw"):
        run("dd", "if=/dev/zero", f"of={location.parent}/full", "bs=1M", "count=12", "status=none")
        archive = tmp_path / "golden.tar"
        with archive.open("wb") as stream:
            stream.truncate(64 << 20)
        pillar["images"]["tiny"]["source"] = {"archive": str(archive)}
        location.mkdir()
        assert "the image takes 67.1 MB at least" in comment_of(salt_call(pillar))


def test_a_sync_without_inodes_ends_before_the_copy(salt_call, pillar, location, tmp_path, golden):
    for number in range(400):
        (golden / f"etc/file{number}").touch()
    with ext4(location.parent, tmp_path / "disk", "rw", "-N", "256"):
        synced = salt_call(pillar).state("diskless_image.synced")
        assert synced.result is False
        assert "free inodes below" in synced.comment
        assert [*(location / ".staging").iterdir()] == []
