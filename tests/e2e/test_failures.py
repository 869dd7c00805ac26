"""What can be wrong when a node boots is said in a sentence on its console, with what to do about
it, and the node comes up by itself when the cause is gone."""

from __future__ import annotations

import re

import pytest

from tests.lab import Lab, Node
from tests.lab.patience import Patience

SNAPSHOT = "/diskless/debian/snapshot/node001"
EXPORTS = "/etc/exports.d/diskless.exports"
#: Prints what comes to the port of syslog, into a file.
LISTENER = """
import socket
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind(("10.141.0.1", 514))
with open("/run/syslog", "wb", buffering=0) as log:
    while True:
        data, (address, _) = listener.recvfrom(65536)
        log.write(address.encode() + b" " + data)
"""


@pytest.fixture(scope="module")
def version(lab: Lab) -> str:
    """The published version of an image that three nodes may boot from; their kernels' log goes to
    the boot server."""
    pillar = lab.pillar(3, nfs="4.2")
    pillar["diskless"]["networks"]["lab"]["syslog"] = "10.141.0.1"
    for name in ("node002", "node003"):
        pillar["diskless"]["nodes"][name]["timeout"] = {"after": 60, "then": "reboot"}
    lab.server.write_pillar(pillar)
    lab.server.salt_call("state.apply", "diskless")
    listen = ["python3", "-c", LISTENER]
    lab.server.run("systemd-run", "--unit=lab-syslog", *listen)
    return lab.server.salt_call("diskless_image.list")["debian"]["published"]


def boots(lab: Lab) -> dict[str, str]:
    """Return what the boot server knows of how far its nodes got."""
    return lab.server.salt_call("diskless.status")["images"]["debian"].get("boots", {})


def test_each_cause_is_said_and_when_it_is_gone_the_node_goes_on(lab: Lab, version: str):
    server, tree = lab.server, f"/diskless/debian/versions/{version}"
    # Without the loader's own lease a node asks for one itself.
    node = boot_with(
        lab,
        "node001",
        ("NFSROOT=10.141.0.1:", "NFSROOT=10.141.0.99:"),
        ("sysappend 3", "sysappend 2"),
    )
    server.run("systemctl", "stop", "isc-dhcp-server", "nfs-server")
    node.wait_for(
        r"diskless: network: no answer by DHCP on eth0: is 10\.141\.0\.99 on, .*; again in 1 s"
    )
    server.run("systemctl", "start", "isc-dhcp-server")
    node.wait_for(rf"diskless: 10\.141\.0\.99:{SNAPSHOT}: no answer so far")
    node.wait_for(r"diskless: 10\.141\.0\.99 cannot be reached: is it on, is its address right")

    server.run("ip", "addr", "add", "10.141.0.99/16", "dev", "br0")
    node.wait_for(
        rf"diskless: snapshot 10\.141\.0\.99:{SNAPSHOT} \(NFS 4\.2\): .*refused; again in"
    )
    node.wait_for(r"diskless: 10\.141\.0\.99 has no NFS server running; there: salt-call")

    server.run("mv", EXPORTS, "/run/exports")
    server.run("systemctl", "start", "nfs-server")
    node.wait_for(rf"snapshot 10\.141\.0\.99:{SNAPSHOT} .*(denied|No such file)")
    server.run("mv", tree, f"{tree}.away")
    server.run("mv", "/run/exports", EXPORTS)
    server.run("exportfs", "-r")
    node.wait_for(rf"diskless: root 10\.141\.0\.99:{tree} \(NFS 4\.2\): .*No such file")
    node.wait_for(r"diskless: 10\.141\.0\.99 has no such directory; there: salt-call state\.apply")
    patience = Patience(60)
    while not any(
        f"versions/{version}" in said or "no such directory" in said for said in boots(lab)
    ):
        assert not patience.is_over, boots(lab)

    server.run("mv", f"{tree}.away", tree)
    node.wait_for("login")
    assert boots(lab)[f"version {version} handed over to its init"] == "node001"
    node.power_off()


def test_what_the_kernel_and_the_boot_say_reaches_the_log_server(lab: Lab, version: str):
    log = lab.server.run("cat", "/run/syslog").stdout
    assert re.search(
        rf"^10\.141\.1\.1 .*diskless: root 10\.141\.0\.99:.*{version}", log, re.MULTILINE
    )


@pytest.fixture(scope="module")
def lost(lab: Lab, version: str) -> dict[str, Node]:
    """Nodes that get no root: one whose server is not there, and one without its card's driver."""
    return {
        "server": boot_with(lab, "node002", ("NFSROOT=10.141.0.1:", "NFSROOT=10.141.0.98:")),
        "driver": boot_with(lab, "node003", (" ro ", " ro module_blacklist=virtio_net ")),
    }


def test_after_its_timeout_a_node_does_what_the_pillar_says(lost: dict[str, Node]):
    node = lost["server"]
    node.wait_for(rf"diskless: 10\.141\.0\.98:/diskless/.*{node.name}: no answer so far")
    node.wait_for(r"diskless: 10\.141\.0\.98 cannot be reached: is it on, is its address right")
    node.wait_for(r"diskless: no root after 60 s: restart, as diskless\.timeout says")
    node.wait_until_off()


def test_an_initramfs_without_the_networks_driver_is_said(lost: dict[str, Node]):
    node = lost["driver"]
    node.wait_for(r"diskless: network: no network card: this initramfs has no driver for it")
    node.wait_for(r"name it in drivers in the pillar, and sync the image")
    node.wait_for(r"diskless: no root after 60 s: restart")
    node.wait_until_off()


def boot_with(lab: Lab, name: str, *changes: tuple[str, str]) -> Node:
    """Power a node on with a loader's file that is not the pillar's."""
    config = lab.server.path(f"/srv/tftp/linux-install/pxelinux.cfg/0A8D01{name[-2:]}")
    good = changed = config.read_text()
    for old, new in changes:
        assert old in changed
        changed = changed.replace(old, new, 1)
    config.write_text(changed)
    node = lab.power_on(name)
    node.wait_for("kernel")
    config.write_text(good)
    return node


def test_the_screen_shows_it_too_where_the_kernel_has_a_serial_console_only(lab: Lab, version: str):
    lab.server.run("exportfs", "-u", f"10.141.1.1:{SNAPSHOT}")
    lab.server.run("mv", SNAPSHOT, f"{SNAPSHOT}.away")
    node = lab.power_on("node001")
    node.wait_for(rf"diskless: snapshot 10\.141\.0\.1:{SNAPSHOT} .*No such file.*; again in")
    node.wait_for(r"diskless: 10\.141\.0\.1 has no such directory; there: salt-call state\.apply")
    lab.server.run("mv", f"{SNAPSHOT}.away", SNAPSHOT)
    lab.server.run("exportfs", "-r")
    node.wait_for("login")
    assert "tty0" not in node.run("cat /proc/consoles")
    screen = node.run("tr '\\0' ' ' </dev/vcs1")
    assert f"diskless: snapshot 10.141.0.1:{SNAPSHOT}" in re.sub(r" +", " ", screen), screen


def test_a_shutdown_does_not_hang_on_the_root(lab: Lab, version: str):
    node = lab.nodes["node001"]
    # It ends the lab's agent too, which could not answer any more.
    node.run("(sleep 1; systemctl poweroff) >/dev/null 2>&1 &")
    node.wait_until_off()
