"""What the project sets after a golden machine's own settings for its initramfs."""

from __future__ import annotations

import subprocess

import pytest

from salt_diskless.image.initramfs import _DRACUT_SETTINGS, _INITRAMFS_TOOLS_SETTINGS


def after(shell: str, own: str, settings: str, name: str) -> str:
    """Return a variable's value after a machine's own settings and the project's."""
    script = f'{own}\n{settings}\nprintf %s "${name}"'
    argv = [*shell.split(), "-euc", script]
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.parametrize(
    ("own", "name", "value"),
    [
        ("MODULES=dep", "MODULES", "most"),
        ("MODULES='dep'  # small", "MODULES", "most"),
        ("MODULES=list", "MODULES", "list"),
        ("MODULES=netboot", "MODULES", "netboot"),
        ("BUSYBOX=n", "BUSYBOX", "y"),
        ("BUSYBOX=auto", "BUSYBOX", "auto"),
        ("RESUME=UUID=1", "RESUME", "none"),
        ("ROOT=/dev/sda1", "ROOT", ""),
        ("COMPRESS=zstd", "COMPRESS", "zstd"),
        ("", "COMPRESS", "gzip"),
    ],
)
@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
def test_initramfs_tools_settings_of_a_machine(shell, own, name, value):
    assert after(shell, own, _INITRAMFS_TOOLS_SETTINGS, name) == value


LISTS = "add_dracutmodules= force_add_dracutmodules= omit_dracutmodules=\n"


@pytest.mark.parametrize(
    ("own", "name", "value"),
    [
        ('kernel_cmdline="root=UUID=1 resume=/dev/sda2"', "kernel_cmdline", ""),
        ("hostonly=yes", "hostonly", "no"),
        ("uefi=yes", "uefi", "no"),
        ('add_dracutmodules+=" nfs network lvm "', "add_dracutmodules", "lvm"),
        ('add_dracutmodules="systemd-networkd"', "add_dracutmodules", ""),
        ('add_dracutmodules+=" crypt dm mdraid "', "add_dracutmodules", "crypt dm mdraid"),
        (
            'force_add_dracutmodules+=" network-manager plymouth "',
            "force_add_dracutmodules",
            "plymouth",
        ),
        (
            'omit_dracutmodules+=" base nfs udev-rules plymouth "',
            "omit_dracutmodules",
            "nfs plymouth",
        ),
        ('omit_dracutmodules="salt-diskless"', "omit_dracutmodules", ""),
        ('add_drivers+=" nvme "', "add_drivers", "nvme"),
        ('omit_drivers+=" nouveau "', "omit_drivers", "nouveau"),
    ],
)
def test_dracut_settings_of_a_machine(own, name, value):
    own = f"{LISTS}add_drivers= omit_drivers=\n{own}"
    # Each file of the machine's configuration is followed by the project's settings.
    twice = f"{_DRACUT_SETTINGS}\n{_DRACUT_SETTINGS}"
    assert after("bash", own, twice, name).split() == value.split()


def test_dracut_takes_no_line_for_a_list_that_lacks_spaces():
    """dracut warns about each line with ``+=`` whose text does not begin and end with a space."""
    assert "+=" not in _DRACUT_SETTINGS
