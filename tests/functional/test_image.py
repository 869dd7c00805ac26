"""Images: a sync makes a version, a rename publishes it, and nothing else touches it."""

from __future__ import annotations

import os
import pathlib

from salt_diskless.files.beneath import Tree
from salt_diskless.image.patterns import matching
from tests.functional.conftest import root


def test_synced_makes_and_publishes_a_version(salt_call, pillar, location, testmode, listing):
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_image.synced")
    assert (ret.result is None) is testmode, ret.comment
    assert ret.changes["tiny"]["old"] is None
    assert (listing() == before) is testmode
    if testmode:
        assert ret.changes["tiny"]["new"] == "a new version"
        return
    assert ret.changes["tiny"]["new"] == root(location).name
    assert "Kernel not specified, using 6.1.0-9-test" in ret.comment
    assert (root(location) / "boot/vmlinuz-6.1.0-9-test").read_text() == "kernel 6.1.0-9-test"
    initrd = root(location) / "boot/initrd.img-6.1.0-9-test-diskless"
    assert "6.1.0-9-test" in initrd.read_text()
    assert initrd.stat().st_mode & 0o777 == 0o644
    assert "written by salt-diskless" in (root(location) / "etc/fstab").read_text()
    hook = root(location) / "usr/share/initramfs-tools/hooks/diskless"
    assert os.access(hook, os.X_OK)


def test_synced_again_changes_nothing(salt_call, pillar, location, testmode, listing):
    salt_call(pillar).state("diskless_image.synced")
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_image.synced")
    assert (ret.result, ret.changes) == (True, {}), ret.comment
    assert listing() == before


def test_a_change_of_the_golden_root_makes_a_version_that_shares_the_rest(
    salt_call, pillar, location, golden
):
    salt_call(pillar).state("diskless_image.synced")
    first = root(location)
    (golden / "etc/motd").write_text("changed\n")
    ret = salt_call(pillar).state("diskless_image.synced")
    second = root(location)
    assert ret.changes["tiny"] == {"old": first.name, "new": second.name}
    assert (second / "etc/motd").read_text() == "changed\n"
    assert not (first / "etc/motd").exists()
    assert (first / "bin/busybox").samefile(second / "bin/busybox")
    listed = salt_call(pillar).modules["diskless_image.list"]()["tiny"]
    assert listed["versions"] == [first.name, second.name]
    assert listed["nodes"] == "node[001-003]"


def test_a_file_that_changes_within_a_second_and_keeps_its_size_is_seen(
    salt_call, pillar, location, golden
):
    (golden / "etc/motd").write_text("one\n")
    os.utime(golden / "etc/motd", ns=(0, 1_700_000_000_000_000_001))
    salt_call(pillar).state("diskless_image.synced")
    (golden / "etc/motd").write_text("two\n")
    os.utime(golden / "etc/motd", ns=(0, 1_700_000_000_000_000_002))
    assert salt_call(pillar).state("diskless_image.synced").changes
    assert (root(location) / "etc/motd").read_text() == "two\n"


IDENTITY = (
    "etc/ssh/ssh_host_rsa_key",
    "etc/salt/pki/minion/minion.pem",
    "etc/network/interfaces",
    "etc/NetworkManager/system-connections/eth0.nmconnection",
    "root/.bash_history",
    "home/somebody/.zsh_history",
)


def put_secrets(golden: pathlib.Path, paths: tuple[str, ...]) -> None:
    for path in paths:
        (golden / path).parent.mkdir(parents=True, exist_ok=True)
        (golden / path).write_text("secret\n")


def secrets(tree: pathlib.Path) -> list[str]:
    return [str(p) for p in tree.rglob("*") if p.is_file() and p.read_bytes() == b"secret\n"]


def test_the_golden_nodes_identity_is_not_in_a_version(salt_call, pillar, location, golden):
    put_secrets(golden, IDENTITY)
    (golden / "proc/cpuinfo").write_text("not for nodes\n")
    salt_call(pillar).state("diskless_image.synced")
    tree = root(location)
    for path in ("etc/hostname", "etc/machine-id"):
        assert (tree / path).read_text() == ""
    assert secrets(golden) and secrets(tree) == []
    assert not (tree / "var/log/messages").exists()
    assert not (tree / "proc/cpuinfo").exists()
    assert (tree / "tmp").stat().st_mode & 0o7777 == 0o1777


def test_what_the_pillar_scrubs_is_not_in_a_version_and_goes_from_the_next(
    salt_call, pillar, location, golden
):
    own = ("etc/krb5.keytab", "opt/tool/.license", "opt/other/license", "srv/kept")
    put_secrets(golden, own)
    salt_call(pillar).state("diskless_image.synced")
    assert len(secrets(root(location))) == 4
    pillar["images"]["tiny"]["scrub"] = ["/etc/krb5.keytab", "/opt/*/*license"]
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True and ret.changes, ret.comment
    assert secrets(root(location)) == [str(root(location) / "srv/kept")]


def test_a_version_that_has_the_golden_nodes_identity_all_the_same_is_refused(
    salt_call, pillar, location, golden
):
    """As when a package's script makes it anew while the initramfs is built."""
    salt_call(pillar).state("diskless_image.synced")
    before = root(location)
    script = golden / "usr/sbin/mkinitramfs"
    script.write_text(
        script.read_text() + "mkdir -p /etc/ssh; echo key > /etc/ssh/ssh_host_rsa_key\n"
    )
    pillar["images"]["tiny"]["scrub"] = ["/opt/.l*"]
    script.write_text(script.read_text() + "mkdir -p /opt; echo mine > /opt/.license\n")
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert "identity in the new version" in ret.comment
    assert "/etc/ssh/ssh_host_rsa_key, /opt/.license" in ret.comment
    assert root(location) == before


def test_a_link_of_the_golden_root_does_not_lead_to_the_servers_own_identity(tmp_path):
    outside = tmp_path / "server/etc/ssh"
    outside.mkdir(parents=True)
    (outside / "ssh_host_rsa_key").write_text("the server's\n")
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/ssh").symlink_to(outside)
    with Tree(str(tree)) as hostile, Tree(str(tmp_path / "server")) as server:
        assert matching(hostile, ["/etc/ssh/ssh_host_*"]) == {"/etc/ssh/ssh_host_*": []}
        found = matching(server, ["/etc/*/ssh_host_*"])
    assert found == {"/etc/*/ssh_host_*": ["/etc/ssh/ssh_host_rsa_key"]}


def test_an_exclude_of_the_pillar_is_left_out_also_when_it_comes_later(
    salt_call, pillar, location, golden
):
    (golden / "scratch").mkdir()
    (golden / "scratch/big").write_text("x")
    salt_call(pillar).state("diskless_image.synced")
    assert (root(location) / "scratch/big").exists()
    pillar["images"]["tiny"]["exclude"] = ["/scratch/*"]
    assert salt_call(pillar).state("diskless_image.synced").changes
    assert not (root(location) / "scratch/big").exists()
    assert (root(location) / "scratch").is_dir()


def test_an_initramfs_that_fails_publishes_nothing(salt_call, pillar, location, golden):
    salt_call(pillar).state("diskless_image.synced")
    before, mounts = root(location), pathlib.Path("/proc/mounts").read_text()
    (golden / "usr/sbin/mkinitramfs").write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert "no space left" in ret.comment
    assert root(location) == before
    assert pathlib.Path("/proc/mounts").read_text() == mounts
