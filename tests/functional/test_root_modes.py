"""The root modes on the boot server: what nodes boot as one file is made once, and is served."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import pytest
from salt.exceptions import CommandExecutionError

from tests.conftest import CHECKOUT, put_kernel
from tests.functional.conftest import root

MODULES = (
    "kernel/fs/nfs/nfs.ko:\nkernel/fs/nfs/nfsv3.ko:\nkernel/fs/nfs/nfsv4.ko:\n"
    "kernel/fs/overlayfs/overlay.ko:\nkernel/fs/squashfs/squashfs.ko:\nkernel/drivers/loop.ko:\n"
)
#: Newer than the kernel that every golden root of these tests has.
KERNEL = "6.1.0-10-test"


@pytest.fixture
def able(golden) -> pathlib.Path:
    """A golden root whose kernel has all that the root modes need; and what a root has that a file
    system must keep."""
    put_kernel(golden, KERNEL, MODULES)
    (golden / "bin/ping").write_bytes(b"ping")
    os.setxattr(golden / "bin/ping", "security.capability", CAPABILITY)
    os.link(golden / "bin/ping", golden / "bin/ping4")
    (golden / "root/secret").write_text("secret\n")
    (golden / "root/secret").chmod(0o600)
    os.chown(golden / "root/secret", 70000, 80000)
    os.mknod(golden / "etc/null", 0o20666, os.makedev(1, 3))
    return golden


#: cap_net_raw=ep: capability.h, struct vfs_cap_data of revision 2.
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


@pytest.fixture
def tftp(pillar) -> pathlib.Path:
    return pathlib.Path(pillar["lookup"]["tftp_root"]) / "linux-install"


def applied(salt_call, pillar, test: bool = False):
    """Sync, then write the loader's files, as state.apply does; return both results."""
    call = salt_call(pillar, test=test)
    results = call.state("diskless_image.synced"), call.state("diskless_tftp.managed")
    if not test:
        assert [result.result for result in results] == [True, True], results
    return results


def file_of(version: pathlib.Path) -> pathlib.Path:
    """Return where a version's file is."""
    return version.with_name(f"{version.name}.squashfs") / "root.squashfs"


def metadata(version: pathlib.Path) -> dict:
    return json.loads((version.parent.parent / f"metadata/{version.name}.json").read_text())


def words(tftp: pathlib.Path, name: str = "0A4D0049") -> list[str]:
    """Return the words of a node's kernel line that are about its root; node003's by default."""
    (line,) = re.findall(r"(?m)^ *append (.*)", (tftp / "pxelinux.cfg" / name).read_text())
    about = ("DISKLESS_ROOT", "DISKLESS_OVERLAY", "DISKLESS_FILE", "DISKLESS_BYTES")
    about += ("DISKLESS_SHA256", "DISKLESS_SNAPSHOT")
    return [word for word in line.split() if word.startswith(about)]


@pytest.mark.parametrize("mode", ["squashfs", "ram"])
def test_a_version_that_nodes_boot_as_one_file_becomes_one(salt_call, pillar, location, able, mode):
    pillar["nodes"]["node003"]["root"] = mode
    applied(salt_call, pillar)
    file, told = file_of(root(location)), metadata(root(location))["squashfs"]
    assert told["bytes"] == file.stat().st_size
    assert told["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    shown = salt_call(pillar).modules["diskless_image.show"]("tiny")
    assert shown["squashfs"] == told
    # Nobody but root gets at what only root may read in the version.
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [result.changes for result in applied(salt_call, pillar)] == [{}, {}]


def test_all_that_a_root_has_is_in_the_file(salt_call, pillar, location, able, tmp_path):
    pillar["nodes"]["node003"]["root"] = "squashfs"
    applied(salt_call, pillar)
    out = tmp_path / "out"
    unpack = ["unsquashfs", "-no-progress", "-quiet", "-dest", str(out), file_of(root(location))]
    subprocess.run(unpack, check=True, capture_output=True)
    names = ["diff", "-r", "--no-dereference", "-x", "null", str(out), str(root(location))]
    assert subprocess.run(names, check=False, capture_output=True, text=True).stdout == ""
    assert os.getxattr(out / "bin/ping", "security.capability") == CAPABILITY
    assert (out / "bin/ping").stat().st_ino == (out / "bin/ping4").stat().st_ino
    secret = (out / "root/secret").stat()
    assert (secret.st_uid, secret.st_gid, secret.st_mode & 0o777) == (70000, 80000, 0o600)
    assert (out / "etc/null").stat().st_rdev == os.makedev(1, 3)


def test_the_same_version_always_becomes_the_same_file(salt_call, pillar, location, able):
    pillar["nodes"]["node003"]["root"] = "squashfs"
    applied(salt_call, pillar)
    file = file_of(root(location))
    first = file.read_bytes()
    file.unlink()
    ret, _ = applied(salt_call, pillar)
    assert f"{root(location).name} is made one file of squashfs" in ret.comment
    assert file.read_bytes() == first


def test_a_mode_that_is_wanted_later_needs_no_new_version(
    salt_call, pillar, location, able, listing
):
    applied(salt_call, pillar)
    version = root(location)
    assert not file_of(version).exists()
    pillar["nodes"]["node003"]["root"] = "squashfs"
    before = listing()
    ret, _ = applied(salt_call, pillar, test=True)
    assert ret.result is None
    assert f"{version.name} would be made one file of squashfs" in ret.comment
    assert listing() == before
    ret, _ = applied(salt_call, pillar)
    assert ret.changes == {"tiny": {"old": version.name, "new": version.name}}
    assert root(location) == version and file_of(version).exists()
    assert len([path for path in version.parent.iterdir() if path.suffix == ""]) == 1


def test_an_image_without_a_source_becomes_a_file_too(salt_call, pillar, location, able):
    applied(salt_call, pillar)
    del pillar["images"]["tiny"]["source"]
    pillar["nodes"]["node003"]["root"] = "ram"
    applied(salt_call, pillar)
    assert file_of(root(location)).exists()
    assert [result.changes for result in applied(salt_call, pillar)] == [{}, {}]


def test_every_version_that_is_published_or_pinned_is_a_file(salt_call, pillar, location, able):
    applied(salt_call, pillar)
    old = root(location)
    (able / "etc/motd").write_text("newer\n")
    applied(salt_call, pillar)
    new = root(location)
    pillar["nodes"]["node003"].update(root="squashfs", version=old.name)
    applied(salt_call, pillar)
    assert (file_of(old).exists(), file_of(new).exists()) == (True, False)
    del pillar["nodes"]["node003"]["version"]
    modules = salt_call(pillar).modules
    modules["diskless_tftp.apply"](test=True)
    applied(salt_call, pillar)
    assert file_of(new).exists()
    file_of(old).unlink()
    salt_call(pillar).modules["diskless_image.rollback"]("tiny")
    assert root(location) == old and file_of(old).exists()


def test_the_loader_is_not_told_of_a_version_that_is_no_file_yet(salt_call, pillar, able):
    applied(salt_call, pillar)
    pillar["nodes"]["node003"]["root"] = "ram"
    ret = salt_call(pillar).state("diskless_tftp.managed")
    assert ret.result is False
    assert ret.comment.startswith("diskless:nodes:node003:root: found ram; version 2")
    assert "is no file of squashfs yet: sync it first" in ret.comment


def test_the_file_goes_with_its_version(salt_call, pillar, location, able, tftp):
    pillar["nodes"]["node003"]["root"] = "ram"
    applied(salt_call, pillar)
    old = root(location)
    (able / "etc/motd").write_text("newer\n")
    applied(salt_call, pillar)
    served = tftp / f"tiny/{old.name}/root.squashfs"
    assert served.exists()
    salt_call(pillar).modules["diskless_image.prune"](keep=1)
    assert not file_of(old).parent.exists() and not served.exists()
    assert file_of(root(location)).exists()


def test_a_file_for_ram_is_below_the_tftp_root_and_takes_no_room_there(
    salt_call, pillar, location, able, tftp
):
    pillar["nodes"]["node003"]["root"] = "ram"
    applied(salt_call, pillar)
    served = tftp / f"tiny/{root(location).name}/root.squashfs"
    assert served.samefile(file_of(root(location)))
    assert served.stat().st_mode & 0o777 == 0o644
    pillar["nodes"]["node003"]["root"] = "squashfs"
    _, managed = applied(salt_call, pillar)
    assert managed.changes["removed"] == {"files": [str(served)]}
    assert file_of(root(location)).exists()


def test_a_node_fetches_the_file_that_its_kernel_line_names_from_a_real_daemon(
    salt_call, pillar, location, able, tftp, tmp_path
):
    # Larger than 65,535 blocks of the size that TFTP began with: their number begins anew.
    (able / "root/noise").write_bytes(os.urandom(40 << 20))
    pillar["profiles"]["compute"]["root"] = "ram"
    applied(salt_call, pillar)
    for directory in (tftp.parent, *tftp.parent.parents):
        if str(directory).startswith(str(tmp_path.parent.parent.parent)):
            directory.chmod(0o755)
    subprocess.run("ip addr replace 10.77.9.1/32 dev lo".split(), check=True)
    daemon = subprocess.Popen(
        ["/usr/sbin/in.tftpd", "--foreground", "--address", "10.77.9.1:69"]
        + ["--secure", str(tftp.parent)]
    )
    try:
        for block in ("8192", "512"):
            line = " ".join(["boot=x", "NFSROOT=10.77.9.1:/x", "SNAPSHOT=n", *words(tftp)])
            (tmp_path / "cmdline").write_text(f"{line} DISKLESS_VERSION=v\n")
            script = (
                f'. "$dl_library/diskless.sh"; dl_parse; dl_block={block}\n'
                f'dl_fetch_whole "{tmp_path}/got"'
            )
            names = {
                "dl_cmdline": f"{tmp_path}/cmdline",
                "dl_kmsg": f"{tmp_path}/kmsg",
                "dl_library": f"{CHECKOUT}/salt_diskless/node",
            }
            shell = ["busybox", "sh", "-euc", script]
            subprocess.run(shell, env={**os.environ, **names}, check=True, timeout=60)
            assert (tmp_path / "got").read_bytes() == file_of(root(location)).read_bytes()
    finally:
        daemon.terminate()
        daemon.wait()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ["DISKLESS_ROOT=readonly"]),
        ({"root": "overlay"}, ["DISKLESS_ROOT=overlay", "DISKLESS_OVERLAY=50%"]),
        (
            {"root": "squashfs", "overlay_size": "512M"},
            ["DISKLESS_ROOT=squashfs", "DISKLESS_OVERLAY=512M"],
        ),
        ({"root": "ram"}, ["DISKLESS_ROOT=ram", "DISKLESS_OVERLAY=50%", "FILE"]),
        (
            {"root": "ram", "files": [{"path": "/var/cache", "how": "tmpfs"}]},
            ["DISKLESS_ROOT=ram", "DISKLESS_OVERLAY=50%", "FILE", "DISKLESS_SNAPSHOT=no"],
        ),
    ],
)
def test_the_kernel_line_says_the_mode_and_what_it_needs(
    salt_call, pillar, location, able, tftp, change, expected
):
    pillar["nodes"]["node003"].update(change)
    applied(salt_call, pillar)
    told = metadata(root(location)).get("squashfs") or {"bytes": 0, "sha256": ""}
    file = [
        f"DISKLESS_FILE=linux-install/tiny/{root(location).name}/root.squashfs",
        f"DISKLESS_BYTES={told['bytes']}",
        f"DISKLESS_SHA256={told['sha256']}",
    ]
    assert words(tftp) == [w for word in expected for w in (file if word == "FILE" else [word])]
    assert words(tftp, "0A4D000B") == ["DISKLESS_ROOT=readonly"]


def test_what_files_custom_keeps_is_kept_by_a_root_in_memory_too(
    salt_call, pillar, location, able, tftp
):
    pillar["nodes"]["node003"].update(root="ram", files=[])
    (location / "snapshot").mkdir(parents=True)
    custom = location / "snapshot/.files.custom"
    custom.write_text("/var/log tmpfs\n")
    applied(salt_call, pillar)
    assert "DISKLESS_SNAPSHOT=no" in words(tftp)
    custom.write_text("/var/log\n")
    applied(salt_call, pillar)
    assert "DISKLESS_SNAPSHOT=no" not in words(tftp)


def test_nodes_of_every_mode_keep_their_exports_when_it_changes(salt_call, pillar, able, location):
    """A node that runs goes on with the mode that it booted in."""
    modules = salt_call(pillar).modules
    before = modules["diskless_nfs.render"]()
    pillar["nodes"]["node003"]["root"] = "squashfs"
    assert salt_call(pillar).modules["diskless_nfs.render"]() == before


@pytest.mark.parametrize(
    ("mode", "left_out"),
    [("overlay", "overlay"), ("squashfs", "squashfs"), ("squashfs", "loop"), ("ram", "overlay")],
)
def test_a_kernel_that_lacks_what_a_mode_needs_is_refused(
    salt_call, pillar, golden, location, mode, left_out
):
    lines = [line for line in MODULES.splitlines(True) if f"/{left_out}.ko" not in line]
    put_kernel(golden, KERNEL, "".join(lines))
    pillar["nodes"]["node003"]["root"] = mode
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert (
        f"diskless:nodes:node003:root: found {mode}; kernel {KERNEL} of the image tiny has no "
        f"module {left_out}"
    ) in ret.comment
    assert not (location / "root").exists()


def test_a_kernel_that_does_not_read_zstd_is_refused(salt_call, pillar, able, location):
    (able / f"boot/config-{KERNEL}").write_text("# CONFIG_SQUASHFS_ZSTD is not set\n")
    pillar["nodes"]["node003"]["root"] = "overlay"
    assert salt_call(pillar).state("diskless_image.synced").result is True
    pillar["nodes"]["node003"]["root"] = "ram"
    (able / "etc/motd").write_text("newer\n")
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert (
        "node003:root: found ram; kernel 6.1.0-10-test of the image tiny reads no " in ret.comment
    )


def test_the_initramfs_has_the_modules_of_every_mode(salt_call, pillar, able, location):
    applied(salt_call, pillar)
    initrd = root(location) / f"boot/initrd.img-{KERNEL}-diskless"
    assert initrd.read_text().endswith("drivers: loop nfs nfsv3 nfsv4 overlay squashfs\n")


def test_an_image_that_is_changed_in_place_has_no_nodes_of_other_modes(salt_call, pillar, able):
    pillar["images"]["tiny"]["live"] = True
    pillar["nodes"]["node[001-002]"]["root"] = "overlay"
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert (
        "diskless:images:tiny:live: found true, and node[001-002] with root: overlay; leave live "
        "out, or give these nodes root: readonly"
    ) in ret.comment


def test_a_version_that_is_changed_in_place_is_no_file_any_more(salt_call, pillar, able, location):
    pillar["nodes"]["node003"]["root"] = "squashfs"
    applied(salt_call, pillar)
    version = root(location)
    first = metadata(version)["squashfs"]
    del pillar["nodes"]["node003"]["root"]
    pillar["images"]["tiny"]["live"] = True
    (able / "etc/motd").write_text("newer\n")
    salt_call(pillar).modules["diskless_image.sync"]("tiny", live=True)
    assert root(location) == version
    assert metadata(version)["squashfs"] is None and not file_of(version).parent.exists()
    pillar["images"]["tiny"]["live"] = False
    pillar["nodes"]["node003"]["root"] = "squashfs"
    applied(salt_call, pillar)
    assert root(location) == version and file_of(version).exists()
    assert metadata(version)["squashfs"] != first
    salt_call(pillar).modules["diskless_image.freeze"]("tiny")
    assert root(location) != version and file_of(root(location)).exists()


def test_where_there_is_no_room_for_the_file_it_is_said_and_nothing_is_left(
    salt_call, pillar, able, location
):
    location.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=17m", "tmpfs", str(location)], check=True)
    try:
        (able / "root/noise").write_bytes(os.urandom(9 << 20))
        applied(salt_call, pillar)
        pillar["nodes"]["node003"]["root"] = "squashfs"
        # By half of the tree it has room; by what it turns out to be it has none.
        ret = salt_call(pillar).state("diskless_image.synced")
        assert ret.result is False
        assert "was not made one file: mksquashfs " in ret.comment
        assert not file_of(root(location)).parent.exists()
        with open(location / "full", "wb") as stream:
            stream.write(bytes(4 << 20))
        ret = salt_call(pillar).state("diskless_image.synced")
        assert ret.result is False
        assert re.search(r"found [0-9.]+ MB of room below .* as one file takes 5", ret.comment)
        assert metadata(root(location))["squashfs"] is None
    finally:
        subprocess.run(["umount", str(location)], check=True)


def test_a_sync_that_is_killed_while_it_makes_the_file_leaves_none(
    salt_call, pillar, able, location, tmp_path
):
    applied(salt_call, pillar)
    (able / "root/noise").write_bytes(os.urandom(60 << 20))
    pillar["nodes"]["node003"]["root"] = "squashfs"
    old = root(location)
    script = (
        "import json, sys\nfrom salt_diskless.cluster import parse\n"
        "from salt_diskless.image import squashfs, sync\n"
        "site = parse(json.load(open(sys.argv[1]))).served_by('bootserver')\n"
        "image = site.images['tiny']\n"
        "sync.sync(image, files=squashfs.wanted(site, image))\n"
    )
    (tmp_path / "pillar.json").write_text(json.dumps(pillar))
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "pillar.json")],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    end = time.monotonic() + 60
    while not (begun := list(location.glob("versions/*.squashfs/*.new"))):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert root(location) == old
    assert not file_of(begun[0].parent.with_suffix("")).exists()
    applied(salt_call, pillar)
    new = root(location)
    assert new != old and file_of(new).exists()
    assert os.listdir(file_of(new).parent) == ["root.squashfs"]


def test_the_program_that_makes_it_is_installed_where_it_is_missing(
    salt_call, pillar, able, monkeypatch
):
    monkeypatch.setattr("salt_diskless.command._PATH", "/nonexistent")
    assert salt_call(pillar).modules["diskless_image.tools"]() == []
    pillar["nodes"]["node003"]["root"] = "ram"
    assert salt_call(pillar).modules["diskless_image.tools"]() == ["squashfs-tools"]


@pytest.fixture
def without_client(able) -> pathlib.Path:
    """A golden root without anything that fetches by TFTP: its shell is dash, no busybox."""
    shutil.rmtree(able / "bin")
    said = subprocess.run(["ldd", "/bin/dash"], check=True, capture_output=True, text=True).stdout
    for file in ("/bin/dash", *re.findall(r"(/\S+) \(0x", said)):
        (able / file[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, able / file[1:])
    (able / "bin/sh").symlink_to("dash")
    return able


REFUSED = r"^diskless:nodes:node003:root: found ram; .* has no TFTP client .* install busybox"


def test_a_root_that_an_initramfs_could_not_fetch_is_refused_before_it_is_published(
    salt_call, pillar, location, without_client
):
    pillar["nodes"]["node003"]["root"] = "ram"
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert re.search(REFUSED, ret.comment) and "the image tiny has no TFTP" in ret.comment
    assert not (location / "root").exists()
    (without_client / "usr/bin/tftp").write_text("#!/bin/sh\n")
    (without_client / "usr/bin/tftp").chmod(0o755)
    applied(salt_call, pillar)


def test_nor_does_a_node_get_it_by_a_version_that_is_there(
    salt_call, pillar, tftp, listing, without_client
):
    applied(salt_call, pillar)
    pillar["nodes"]["node003"]["root"] = "ram"
    assert salt_call(pillar).state("diskless_image.synced").result is True
    before, call = listing(), salt_call(pillar)
    ret = call.state("diskless_tftp.managed")
    assert ret.result is False and re.search(REFUSED, ret.comment)
    with pytest.raises(
        CommandExecutionError, match=r"^diskless:nodes:node003:root: found ram; vers"
    ):
        call.modules["diskless_image.publish"]("tiny")
    assert listing() == before


def test_a_tree_for_dracut_can_have_a_curl_that_fetches(
    salt_call, pillar, location, without_client
):
    pillar["nodes"]["node003"]["root"] = "ram"
    (without_client / "usr/sbin/mkinitramfs").unlink()
    dracut = without_client / "usr/bin/dracut"
    dracut.write_text("#!/bin/sh\n")
    curl = without_client / "usr/bin/curl"
    for path, protocols in ((dracut, ""), (curl, "file http https")):
        path.write_text(f"#!/bin/sh\necho Protocols: {protocols}\n")
        path.chmod(0o755)
    assert re.search(REFUSED, salt_call(pillar).state("diskless_image.synced").comment)
    curl.write_text("#!/bin/sh\necho Protocols: file http https tftp\n")
    assert "TFTP" not in salt_call(pillar).state("diskless_image.synced").comment
