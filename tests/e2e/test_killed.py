"""A state.apply that is killed leaves nothing that the next one does not put right."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from tests.lab import Lab

PACKAGES = "isc-dhcp-server tftpd-hpa pxelinux syslinux-common nfs-kernel-server rsync"
IMAGE = "/diskless/debian"

#: What a run is killed at, in its order; each is a path (a pattern) that is there from then on.
MOMENTS = (
    f"{IMAGE}/.staging/usr",
    f"{IMAGE}/.staging/boot/initrd.img-*-diskless.new",
    f"{IMAGE}/root",
    f"{IMAGE}/snapshot",
    "/srv/tftp/linux-install/pxelinux.cfg",
    "/etc/exports.d/diskless.exports",
    "/run/salt-diskless/restart/isc-dhcp-server",
)


@pytest.fixture(scope="module")
def killed(lab: Lab) -> Lab:
    """A boot server on which one state.apply after the other was killed, each a bit further."""
    lab.server.write_pillar(lab.pillar(1))
    # A package manager that is killed needs an admin; this is about what the project does.
    lab.server.run("apt-get", "install", "-yq", *PACKAGES.split())
    for pattern in MOMENTS:
        lab.server.kill_when(shown(lab, pattern), "salt-call", "state.apply", "diskless")
    return lab


def shown(lab: Lab, pattern: str) -> Callable[[], bool]:
    place = lab.server.path("/")
    return lambda: any(place.glob(pattern.lstrip("/")))


def test_the_next_run_makes_a_boot_server_that_a_node_boots_from(killed: Lab):
    killed.server.salt_call("state.apply", "diskless")
    node = killed.power_on("node001")
    node.wait_for("login")
    assert node.run("cat /etc/hostname") == "node001"


def test_nothing_half_done_is_left(killed: Lab):
    left = killed.server.run("find", "/etc", "/srv/tftp", IMAGE, "-xdev", "-name", "*diskless-new*")
    assert left.stdout == ""
    for name in (".staging", "snapshot/.new"):
        assert not killed.server.path(f"{IMAGE}/{name}").exists()
    versions = list(pathlib.Path(killed.server.path(f"{IMAGE}/versions")).iterdir())
    assert len(versions) == 1


def test_one_more_run_changes_nothing(killed: Lab):
    answer = killed.server.salt_call("state.apply", "diskless")
    assert [state for state in answer.values() if state["changes"]] == []
