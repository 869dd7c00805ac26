"""Nodes resolve names by the pillar's name servers, whatever their image resolves them with."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.lab import Lab, roots
from tests.lab.patience import Patience

NAME, ADDRESS = "secret.lab.example", "10.141.77.7"

#: Node to what its image resolves names with, its root mode, and its /etc/resolv.conf.
NODES = {
    "node001": ("", "readonly", "nameserver 192.0.2.1\n"),
    "node002": ("systemd-resolved", "readonly", None),
    "node003": ("network-manager", "overlay", "nameserver 192.0.2.1\n"),
}


@pytest.fixture(scope="module")
def booted(lab: Lab) -> Iterator[Lab]:
    """A boot server with a name server on it, and a node of each image, all on."""
    script = pathlib.Path(__file__).parent.parent / "lab/dns.py"
    lab.keeper.spawn([sys.executable, script, "10.141.0.1", NAME, ADDRESS], lab.place / "dns.log")
    pillar = lab.pillar(3)
    pillar["diskless"]["networks"]["lab"]["nameservers"] = ["10.141.0.1"]
    for number, (node, (package, root, text)) in enumerate(NODES.items()):
        golden = f"/diskless/golden{number}"
        source = roots.resolver(package) if package else roots.golden()
        copy = ["cp", "-a", "--reflink=auto", source, lab.server.diskless / f"golden{number}"]
        subprocess.run(copy, check=True)
        if text is not None:
            resolv = lab.server.path(f"{golden}/etc/resolv.conf")
            resolv.unlink(missing_ok=True)
            resolv.write_text(text)
        image = {"location": f"/diskless/image{number}", "source": {"directory": golden}}
        pillar["diskless"]["images"][f"image{number}"] = image
        pillar["diskless"]["nodes"][node] |= {"image": f"image{number}", "root": root}
    del pillar["diskless"]["images"]["debian"]
    pillar["diskless"]["profiles"]["compute"]["image"] = "image0"
    lab.server.write_pillar(pillar)
    lab.server.salt_call("state.apply", "diskless")
    yield lab


@pytest.mark.parametrize("name", NODES)
def test_a_name_of_the_pillars_server_is_resolved(booted: Lab, name: str):
    node = booted.power_on(name)
    try:
        node.wait_for("login")
        package = NODES[name][0]
        if package:
            unit = package.replace("network-manager", "NetworkManager")
            patience = Patience(120)
            while node.run(f"systemctl is-active {unit}", check=False) != "active":
                assert not patience.is_over, node.run(f"systemctl status {unit}", check=False)
                time.sleep(0.5)
        assert node.run(f"getent hosts {NAME}").split()[0] == ADDRESS
        # By the search domain, too.
        assert node.run("getent hosts secret").split()[0] == ADDRESS
    finally:
        node.power_off()
