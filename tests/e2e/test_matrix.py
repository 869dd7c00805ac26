"""From power-on to the node's own Salt minion answering, and once more: all root modes, over both
versions of NFS."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.test_root_modes import mounts, nfs_mounts
from tests.lab import Lab, Node, salted
from tests.lab.patience import Patience

pytestmark = pytest.mark.nightly

INITRAMFS = "initramfs-tools"
#: Node to root mode and NFS version.
NODES = {
    f"node{number:03d}": what
    for number, what in enumerate(
        itertools.product(("readonly", "overlay", "squashfs", "ram"), (4.2, 3)), 1
    )
}
CASES = [pytest.param(name, id=f"{root}-nfs{nfs}") for name, (root, nfs) in NODES.items()]
#: What the nodes' minions need, in MB, also beside a root in memory.
MEMORY = 1024
IDENTITY = "/etc/hostname /etc/machine-id /etc/ssh/ssh_host_*_key* /etc/salt/pki/minion/minion.pub"
#: In all root modes writable, and kept in none.
GONE = "/etc/gone /var/cache/gone"


@dataclass
class Case:
    """A node of a lab: its machine as it was powered on last, and who it was then."""

    lab: Lab
    node: Node
    identity: str = ""

    def wait(self) -> None:
        """Wait until its minion answers."""
        login = self.node.wait_for("login")
        minion = self.lab.server.wait_for_minion(self.node)
        print(f"login after {login:.0f} s, its minion after {minion:.0f} s")


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A boot server, and a master that knows the keys of the nodes' minions before one was on."""
    with Lab(salted.root()) as lab:
        pillar = lab.pillar(len(NODES))
        pillar["diskless"]["images"]["debian"]["initramfs"] = request.module.INITRAMFS
        for name, (root, nfs) in NODES.items():
            pillar["diskless"]["nodes"][name].update(root=root, nfs=nfs)
        lab.server.write_pillar(pillar)
        lab.server.start_master()
        lab.server.salt("state.apply", "diskless")
        lab.server.orchestrate("diskless.orch.keys")
        yield lab


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Case]:
    """A node whose minion answers."""
    case = Case(lab, lab.power_on(request.param, memory=MEMORY))
    case.wait()
    yield case
    case.node.power_off()


def test_its_minion_is_let_in_with_the_key_that_was_made_for_it(case: Case):
    pki = case.lab.server.diskless / f"debian/snapshot/{case.node.name}/.diskless/identity/pki"
    made = (pki / "minion/minion.pub").read_text().strip()
    accepted = case.lab.server.path("/etc/salt-managed/pki/minions") / case.node.name
    assert accepted.read_text().strip() == made
    assert case.node.run("cat /etc/salt/pki/minion/minion.pub") == made


def test_its_root_and_its_nfs_are_what_the_pillar_says(case: Case):
    root, nfs = NODES[case.node.name]
    there, layers = mounts(case.node), "/run/diskless/layers"
    version = os.path.basename(os.readlink(case.lab.server.diskless / "debian/root"))
    tree, kind = f"10.141.0.1:/diskless/debian/versions/{version}", "nfs" if nfs == 3 else "nfs4"
    lowest = {
        "readonly": ("/", [tree, kind]),
        "overlay": (f"{layers}/version", [tree, kind]),
        "squashfs": (f"{layers}/file", [f"{tree}.squashfs", kind]),
        "ram": (f"{layers}/file", ["tmpfs", "tmpfs"]),
    }
    place, what = lowest[root]
    assert there[place][:2] == what
    assert there["/"][2].split(",")[0] == ("ro" if root == "readonly" else "rw")
    if root != "readonly":
        above = {"overlay": kind, "squashfs": "squashfs", "ram": "squashfs"}
        assert there[f"{layers}/version"][1] == above[root]
        assert there["/"][1] == "overlay"
    by_nfs = [options.split(",") for _, kind, options in there.values() if kind.startswith("nfs")]
    assert by_nfs and all(f"vers={nfs}" in options for options in by_nfs)
    assert nfs_mounts(case.node) == (1 if root == "ram" else 2)


def test_it_has_no_failed_unit(case: Case):
    assert case.node.run("systemctl --failed --no-legend --plain") == ""


def test_it_does_what_the_master_says_and_goes_off_when_it_is_told_to(case: Case):
    case.identity = case.node.run(f"cat {IDENTITY}")
    command = f"echo kept >/var/log/kept; echo gone | tee {GONE}; hostname"
    said = case.lab.server.salt("cmd.run", command, minion=case.node.name)
    assert said == f"gone\n{case.node.name}"
    assert case.node.run(f"cat /var/log/kept {GONE}") == "kept\ngone\ngone"
    case.node.run("(sleep 1; systemctl poweroff) >/dev/null 2>&1 &")
    patience = Patience(60)
    while case.node.is_on:
        assert not patience.is_over, case.node.console[-3000:]
        time.sleep(0.2)
    assert "reboot: Power down" in case.node.console


def test_after_its_next_boot_it_is_the_same_and_what_is_kept_is_there(case: Case):
    case.node = case.lab.power_on(case.node.name, memory=MEMORY)
    case.wait()
    assert case.identity and case.node.run(f"cat {IDENTITY}") == case.identity
    assert case.node.run("cat /var/log/kept") == "kept"
    assert case.node.run(f"cat {GONE} 2>/dev/null", check=False) == ""
