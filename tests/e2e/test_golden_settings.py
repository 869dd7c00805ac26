"""A golden machine's own settings for its initramfs do not get into that of the nodes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab import Lab, StateFailed

DRACUT = """
kernel_cmdline="root=UUID=0b5a resume=/dev/sda2 rd.lvm.lv=vg/root"
hostonly="yes"
hostonly_cmdline="yes"
add_fstab+=" /etc/fstab "
add_device+=" /dev/sda2 "
fstab_lines+=( "/dev/sda1 /boot ext4" )
kernel_only="yes"
add_drivers+=" dummy "
"""
HOOK = "/diskless/golden/etc/initramfs-tools/hooks/broken"


@pytest.fixture(scope="module")
def pillar(lab: Lab) -> dict[str, Any]:
    """The pillar of a node whose golden root has settings for a machine with a disk."""
    server = lab.server
    for name in ("golden", "upper", "work"):
        server.run("mkdir", f"/diskless/{name}")
    layers = "lowerdir=/srv/golden,upperdir=/diskless/upper,workdir=/diskless/work"
    server.run("mount", "-t", "overlay", "-o", layers, "overlay", "/diskless/golden")
    etc = server.path("/diskless/golden/etc")
    (etc / "dracut.conf.d/zz-machine.conf").write_text(DRACUT)
    settings = (etc / "initramfs-tools/initramfs.conf").read_text()
    (etc / "initramfs-tools/initramfs.conf").write_text(
        settings.replace("MODULES=list", "MODULES=dep").replace("BUSYBOX=auto", "BUSYBOX=n")
    )
    (etc / "initramfs-tools/conf.d").mkdir(exist_ok=True)
    (etc / "initramfs-tools/conf.d/resume").write_text("RESUME=UUID=0b5a\n")
    pillar = lab.pillar(1)
    pillar["diskless"]["images"]["debian"]["source"] = {"directory": "/diskless/golden"}
    return pillar


def test_dracut_takes_no_kernel_words_and_disks(lab: Lab, pillar: dict[str, Any]):
    pillar["diskless"]["images"]["debian"]["initramfs"] = "dracut"
    lab.server.write_pillar(pillar)
    lab.server.salt_call("state.apply", "diskless.image")
    read = "cd /; for f in boot/initrd.img-*-diskless; do lsinitrd $f; done"
    listing = lab.server.run("chroot", "/diskless/debian/root", "sh", "-c", read).stdout
    assert "usr/lib/salt-diskless/diskless.sh" in listing
    assert "etc/cmdline.d/20-salt-diskless.conf" in listing
    assert "etc/cmdline.d/01-default.conf" not in listing
    # What the admin added for nodes is there.
    assert "/dummy.ko" in listing


def test_a_broken_hook_is_named_in_a_few_lines(lab: Lab, pillar: dict[str, Any]):
    pillar["diskless"]["images"]["debian"]["initramfs"] = "initramfs-tools"
    lab.server.write_pillar(pillar)
    lab.server.path(HOOK).write_text("#!/bin/sh\n[ $1 = prereqs ] || exit 7\n")
    lab.server.path(HOOK).chmod(0o755)
    with pytest.raises(StateFailed) as failed:
        lab.server.salt_call("state.apply", "diskless.image")
    lab.server.path(HOOK).unlink()
    reason = str(failed.value).partition("was not built: ")[2].partition("\n\n")[0]
    assert reason.startswith("initramfs-tools in the golden root ended with ")
    assert "hooks/broken" in reason
    assert "mount -t" not in reason


def test_a_root_with_drivers_of_its_own_machine_boots(lab: Lab, pillar: dict[str, Any]):
    lab.server.write_pillar(pillar)
    lab.server.salt_call("state.apply", "diskless")
    node = lab.power_on("node001")
    node.wait_for("login")
    assert "resume" not in node.run("cat /proc/cmdline")
