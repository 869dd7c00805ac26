"""A golden root with every name and attribute that a file system takes comes out as it went in."""

from __future__ import annotations

import hashlib
import os
import pathlib
import socket
import stat
import struct
import subprocess

import pytest

from tests.functional.conftest import root
from tests.functional.containers import docker_archive, layer, oci_archive

pytestmark = pytest.mark.any_salt

#: cap_net_raw=ep as the kernel stores it: capabilities(7), "File capability versioning".
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
#: u::rw- u:1234:r-- g::r-- m::r-- o::---, as Linux stores an ACL: version 2, then tag, perm, id.
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in (
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 4, 1234),
        (0x04, 4, 0xFFFFFFFF),
        (0x10, 4, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    )
)
NAMES = (
    *(b"-n", b"--delete", b"-e sh", b"~", b"*", b"?[a-z]", b"#", b";", b"$(id)", b"`id`", b"!"),
    *(b"a\nb", b"\nH etc", b"\t", b"\r", b" ", b" before", b"after ", b"\x01\x1b[2J", b"\x7f"),
    *(
        b"\xff\xfe",
        b"caf\xe9",
        "é".encode(),
        "e\u0301".encode(),
        b"\\",
        b"\\#012",
        b"'",
        b'"',
        b"%n",
    ),
    *(b"x" * 255, b"...", b".. ", b"a:b", b"host::module", b"{a,b}", b"diskless", b"+ *", b"- *"),
)


def put_hostile_files(place: pathlib.Path) -> None:
    """Make a directory of everything below ``place``."""
    place.mkdir()
    top = os.fsencode(place)
    for number, name in enumerate(NAMES):
        with open(top + b"/" + name, "wb") as stream:
            stream.write(b"%d: " % number + name)
        os.utime(top + b"/" + name, ns=(0, 1_000_000_007 * (number - 2)))
        os.makedirs(top + b"/below/" + name + b"/deeper")
        os.symlink(name + b"/../\xff nowhere", top + b"/below/" + name + b"/link")
    with open(place / "sparse", "wb") as stream:
        stream.truncate(1 << 30)
        stream.seek(700 << 20)
        stream.write(b"something in a hole")
    for number in range(3):
        linked = place / f"linked{number}"
        linked.write_text(f"of {number}")
        os.chown(linked, 1 << 16, (1 << 31) + number)
        os.link(linked, place / f"below/again{number}")
        os.link(linked, place / f"third{number}")
    (place / "capable").write_bytes(b"#!")
    os.setxattr(place / "capable", "security.capability", CAPABILITY)
    os.setxattr(place / "capable", "user.note", b"kept\0\xff")
    (place / "listed").write_bytes(b"acl")
    os.setxattr(place / "listed", "system.posix_acl_access", ACL)
    (place / "inherited").mkdir()
    os.setxattr(place / "inherited", "system.posix_acl_default", ACL)
    os.mknod(place / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(place / "disk", 0o660 | stat.S_IFBLK, os.makedev(259, 1048575))
    os.mkfifo(place / "pipe", 0o640)
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(place)
        listener.bind("socket")
        os.chdir(here)
    for mode in (0o000, 0o4755, 0o2711, 0o1777, 0o6500):
        (place / f"mode{mode:o}").write_bytes(b"")
        (place / f"mode{mode:o}").chmod(mode)
        (place / f"below/mode{mode:o}").mkdir()
        (place / f"below/mode{mode:o}/inside").write_bytes(b"i")
        (place / f"below/mode{mode:o}").chmod(mode)


def pack(way: str, golden: pathlib.Path, archive: pathlib.Path) -> None:
    """Make an archive that keeps everything: the format of POSIX, with attributes and holes; or an
    image whose one layer is such an archive."""
    if way in ("docker", "oci"):
        write = docker_archive if way == "docker" else oci_archive
        return write(archive, [([layer(golden, "--sparse")], ["hostile:1"])])
    command = ["tar", "--create", "--format=posix", "--sparse", "--acls", "--xattrs"]
    command += ["--xattrs-include=*", "--numeric-owner", "--file", archive, "-C", golden, "."]
    subprocess.run(command, check=True)
    return None


def digest(path: bytes) -> str:
    """Return a digest of a file's blocks that are not all zero; holes are not read."""
    found, size, block, zeros = hashlib.sha256(), os.path.getsize(path), 1 << 12, bytes(1 << 12)
    with open(path, "rb") as stream:
        offset = 0
        while offset < size:
            try:
                offset = os.lseek(stream.fileno(), offset, os.SEEK_DATA) // block * block
            except OSError:  # ENXIO: only a hole is left.
                break
            data = os.pread(stream.fileno(), block, offset)
            if data != zeros[: len(data)]:
                found.update(b"%d " % offset + data)
            offset += block
    return found.hexdigest()


def described(tree: pathlib.Path) -> dict[bytes, tuple]:
    """Return what each path of a tree is: all of lstat that a copy can keep, the attributes, the
    content or where it leads, and the other names of a hard link."""
    top = os.fsencode(tree)
    found: dict[bytes, tuple] = {}
    names: dict[int, list[bytes]] = {}
    for directory, below, files in os.walk(top):
        for name in (b"", *below, *files):
            path = os.path.join(directory, name).rstrip(b"/")
            status = os.lstat(path)
            names.setdefault(status.st_ino, []).append(path.removeprefix(top))
            attributes = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
            }
            content: bytes | str = b""
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = digest(path)
            found[path.removeprefix(top)] = (
                *(status.st_mode, status.st_uid, status.st_gid, status.st_rdev, status.st_mtime_ns),
                *(0 if stat.S_ISDIR(status.st_mode) else status.st_size, attributes, content),
                () if stat.S_ISDIR(status.st_mode) else status.st_ino,
            )
    return {
        path: (*what[:-1], sorted(set(names[what[-1]])) if what[-1] else [])
        for path, what in found.items()
    }


@pytest.mark.parametrize("way", ["directory", "minion", "archive", "docker", "oci"])
def test_a_hostile_tree_comes_out_as_it_went_in(
    request, salt_call, pillar, location, golden, way, tmp_path
):
    put_hostile_files(golden / "srv")
    outside = tmp_path / "outside"
    outside.mkdir()
    (golden / "srv/out").symlink_to(outside)
    if way == "minion":
        pillar["images"]["tiny"]["source"] = request.getfixturevalue("sshd")
    packed = way in ("archive", "docker", "oci")
    if packed:
        # tar knows no sockets.
        (golden / "srv/socket").unlink()
        pillar["images"]["tiny"]["source"] = {"archive": str(tmp_path / "golden.tar")}
        pack(way, golden, tmp_path / "golden.tar")
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    wanted = described(golden / "srv")
    assert len(wanted) > 100
    first = root(location)
    assert described(first / "srv") == wanted
    assert (first / "srv/sparse").stat().st_blocks * 512 < 1 << 20
    # Nothing of it is taken for a change by the next run, and what is one is found.
    ret = salt_call(pillar).state("diskless_image.synced")
    assert (ret.result, ret.changes) == (True, {}), ret.comment
    os.setxattr(golden / "srv/capable", "user.note", b"other")
    (golden / os.fsdecode(b"srv/\xff\xfe")).unlink()
    if packed:
        pack(way, golden, tmp_path / "golden.tar")
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True and ret.changes, ret.comment
    second = root(location)
    assert described(second / "srv") == described(golden / "srv")
    assert described(first / "srv") == wanted
    assert (second / "srv/listed").samefile(first / "srv/listed")
    assert not list(outside.iterdir())
