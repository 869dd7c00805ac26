"""With how little memory a node comes up, and what is seen where it has less: the figures of
docs/troubleshooting.md."""

from __future__ import annotations

import pytest

from tests.lab import Lab

pytestmark = pytest.mark.nightly

#: Node to its root mode and the MB of memory that are enough for it.
ENOUGH = {
    "node001": ("readonly", 104),
    "node002": ("overlay", 104),
    "node003": ("squashfs", 104),
    "node004": ("ram", 268),
}


@pytest.fixture(scope="module", autouse=True)
def applied(lab: Lab) -> None:
    """A node of each mode; what the kernel does when it gives up is for the pillar to say."""
    append = "net.ifnames=0 mitigations=off loglevel=6"
    pillar = lab.pillar(4, kernel_append=append, timeout={"after": 60, "then": "reboot"})
    for name, (mode, _) in ENOUGH.items():
        pillar["diskless"]["nodes"][name]["root"] = mode
    lab.server.write_pillar(pillar)
    lab.server.salt_call("state.apply", "diskless")


@pytest.mark.parametrize("name", ENOUGH)
def test_a_small_node_comes_up_and_says_that_it_is_small(lab: Lab, name: str):
    node = lab.power_on(name, memory=ENOUGH[name][1])
    node.wait_for("login")
    if ENOUGH[name][0] != "ram":
        node.wait_for(
            r"diskless: too little memory: \d+ kB are free for init and its services, which take "
            r"at least 65536 kB; going on all the same: if nothing comes of it, give this node more"
        )
    assert node.run("hostname") == name
    node.power_off()


def test_where_the_initramfs_has_no_room_the_kernel_says_so_and_restarts_when_the_pillar_says(
    lab: Lab,
):
    node = lab.power_on("node001", memory=80)
    node.wait_for(r"Kernel panic - not syncing: System is deadlocked on memory")
    node.wait_for(r"Rebooting in 60 seconds")
    node.wait_until_off(120)
