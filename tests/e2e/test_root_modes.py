"""Nodes with a root that they can write: a version by NFS, as one file by NFS, and as one file in
memory, each with a tmpfs above."""

from __future__ import annotations

import re

import pytest

from tests.e2e.test_boot import restart_nfs
from tests.lab import Lab, Node, restart

#: Node to its root mode; node004's keeps nothing.
MODES = {"node001": "overlay", "node002": "squashfs", "node003": "ram", "node004": "ram"}
KEEPING = ("node001", "node002", "node003")


@pytest.fixture(scope="module")
def nodes(lab: Lab) -> dict[str, Node]:
    """A node of each mode, and one in memory without entries that are kept; node005, in memory too,
    has too little of it."""
    pillar = lab.pillar(5, overlay_size="25%")
    for name, mode in MODES.items():
        pillar["diskless"]["nodes"][name]["root"] = mode
    pillar["diskless"]["nodes"]["node004"]["files"] = []
    pillar["diskless"]["nodes"]["node005"].update(root="ram", timeout={"after": 60, "then": "halt"})
    lab.server.write_pillar(pillar)
    lab.server.salt_call("state.apply", "diskless")
    lab.power_on("node005", memory=192)
    return boot(lab, *MODES)


def boot(lab: Lab, *names: str) -> dict[str, Node]:
    """Switch nodes on, and return them when they are up."""
    for name in names:
        lab.power_on(name)
    for name in names:
        seconds = lab.nodes[name].wait_for("login")
        print(f"{name} {MODES[name]}: login after {seconds:.0f} s")
    return lab.nodes


@pytest.fixture(params=MODES)
def node(request: pytest.FixtureRequest, nodes: dict[str, Node]) -> Node:
    return nodes[request.param]


def mounts(node: Node) -> dict[str, list[str]]:
    """Return a node's mounts: where to device, type and options."""
    rows = (line.split() for line in node.run("cat /proc/mounts").splitlines())
    return {row[1]: [row[0], row[2], row[3]] for row in rows}


def nfs_mounts(node: Node) -> int:
    """Return how many file systems a node has by NFS."""
    rows = [line.split(" - ") for line in node.run("cat /proc/self/mountinfo").splitlines()]
    return len({left.split()[2] for left, right in rows if right.split()[0] in ("nfs", "nfs4")})


def operations(node: Node) -> dict[str, dict[str, int]]:
    """Return what a node has asked its server for, by what is mounted below /run/diskless: name of
    the NFS operation to their number (nfsiostat(8) reads the same file). Below "bytes" is what came
    by READ."""
    found: dict[str, dict[str, int]] = {}
    counted: dict[str, int] = {}
    for line in node.run("cat /proc/self/mountstats").splitlines():
        device = re.match(r"device \S+ mounted on (\S+) with fstype (\S+)", line)
        operation = re.match(r"\s+([A-Z_0-9]+): (\d+) \d+ \d+ \d+ (\d+) ", line)
        if device:
            is_one = device[2].startswith("nfs") and device[1].startswith("/run/diskless/")
            counted = found.setdefault(device[1], {}) if is_one else {}
        elif operation and int(operation[2]):
            counted[operation[1]] = int(operation[2])
            if operation[1] == "READ":
                counted["bytes"] = int(operation[3])
    return found


def test_the_root_is_what_the_pillar_says(lab: Lab, node: Node):
    there, layers = mounts(node), "/run/diskless/layers"
    version = lab.server.salt_call("diskless_image.list")["debian"]["published"]
    tree = f"10.141.0.1:/diskless/debian/versions/{version}"
    assert there["/"][:2] == ["overlay", "overlay"] and there["/"][2].startswith("rw")
    assert there[f"{layers}/memory"][1] == "tmpfs"
    mode = MODES[node.name]
    if mode == "overlay":
        assert there[f"{layers}/version"][0] == tree
    else:
        assert there[f"{layers}/version"][1] == "squashfs"
    if mode == "squashfs":
        assert there[f"{layers}/file"][0] == f"{tree}.squashfs"
        assert {"ro", "nocto"} <= {*there[f"{layers}/file"][2].split(",")}
    if mode == "ram":
        assert there[f"{layers}/file"][1] == "tmpfs"


def test_there_are_no_more_nfs_mounts_than_it_takes(nodes: dict[str, Node]):
    found = {name: nfs_mounts(nodes[name]) for name in MODES}
    assert found == {"node001": 2, "node002": 2, "node003": 1, "node004": 0}


def test_everything_is_writable_up_to_the_size_of_the_overlay(node: Node):
    for directory in ("/", "/etc", "/usr/bin", "/home", "/var/lib", "/boot", "/var/log", "/tmp"):
        node.run(f"touch {directory}/probe && rm {directory}/probe")
    # Of a file that is below a copy is written above; it is the same to its reader.
    node.run("echo more >>/usr/bin/ldd && tail -n 1 /usr/bin/ldd && sed -i '$d' /usr/bin/ldd")
    node.run("mv /usr/share/zoneinfo/UTC /root/utc && mv /root/utc /usr/share/zoneinfo/UTC")
    said = node.run("dd if=/dev/zero of=/usr/full bs=1M count=400 2>&1; rm /usr/full", check=False)
    assert "No space left on device" in said
    for directory in ("/tmp", "/var/tmp"):
        assert mounts(node)[directory][1] == "tmpfs"


def test_who_is_not_root_can_do_what_is_everybodys_but_not_get_at_what_is_below_the_root(
    node: Node,
):
    someone = "setpriv --reuid 65534 --regid 65534 --clear-groups"
    assert node.run(f"{someone} head -n 1 /etc/passwd").startswith("root:")
    assert "Permission denied" in node.run(f"{someone} cat /etc/shadow", check=False)
    assert "Permission denied" in node.run(f"{someone} ls /run/diskless/layers", check=False)


def test_the_node_knows_its_name_and_has_no_failed_unit(node: Node):
    assert node.run("hostname") == node.name
    assert node.run("systemctl --failed --no-legend --plain") == ""
    assert "diskless:" not in node.run("dmesg --level err", check=False)


def test_too_little_memory_for_a_root_is_said_and_ends_as_the_pillar_says(
    lab: Lab, nodes: dict[str, Node]
):
    small = lab.nodes["node005"]
    small.wait_for(
        r"diskless: root 10\.141\.0\.1:linux-install/debian/\S+/root\.squashfs \(TFTP\): it takes "
        r"\d+ kB of memory and 65536 kB beside it, and \d+ kB are free: give this node more, or "
        r"root: squashfs; again in 1 s"
    )
    small.wait_for(r"diskless: no root after 60 s: off, as diskless\.timeout says")
    small.wait_until_off()
    for name in MODES:
        assert "too little memory" not in nodes[name].console


def test_what_a_boot_asks_of_the_server_and_takes_of_memory(nodes: dict[str, Node]):
    asked = {}
    for name, node in ((name, nodes[name]) for name in MODES):
        counted = operations(node)
        print(f"{name} {MODES[name]}: {node.memory_used()} MB used; {counted}")
        below = [by for place, by in counted.items() if "/layers/" in place]
        asked[name] = sum(sum(by.values()) - by.get("bytes", 0) for by in below)
    assert asked["node002"] <= 0.25 * asked["node001"]
    assert asked["node003"] == asked["node004"] == 0
    reads = operations(nodes["node002"])["/run/diskless/layers/file"]
    assert reads["READ"] > 0.9 * asked["node002"]
    assert reads["bytes"] > 16 * 1024 * reads["READ"]


def test_what_is_an_entry_is_kept_and_what_is_not_is_gone(lab: Lab, nodes: dict[str, Node]):
    for name in KEEPING:
        nodes[name].run(
            "echo kept >/var/log/kept; echo gone >/etc/gone; echo x >/usr/lib/gone; sync"
        )
        kept = lab.server.diskless / f"debian/snapshot/{name}/var/log/kept"
        assert kept.read_text() == "kept\n"
    restart(nodes[name] for name in KEEPING)
    boot(lab, *KEEPING)
    for name in KEEPING:
        assert nodes[name].run("cat /var/log/kept") == "kept"
        assert nodes[name].run("ls /etc/gone /usr/lib/gone 2>&1 | wc -l", check=False) == "2"
        assert nodes[name].run("ls /etc/gone /usr/lib/gone 2>/dev/null", check=False) == ""


def test_a_restart_of_the_nfs_server_is_no_more_than_a_pause(lab: Lab, nodes: dict[str, Node]):
    restart_nfs(lab, *(nodes[name] for name in KEEPING))


def test_a_root_in_memory_that_keeps_nothing_needs_no_server(lab: Lab, nodes: dict[str, Node]):
    units = ("nfs-shim.path", "nfs-server", "tftpd-hpa", "isc-dhcp-server")
    for name in KEEPING:
        nodes[name].power_off()
    lab.server.run("systemctl", "stop", *units)
    node = nodes["node004"]
    node.run("echo 3 >/proc/sys/vm/drop_caches; touch /etc/still; sha256sum /usr/bin/* /etc/still")
    assert node.run("systemctl is-system-running", check=False) in ("running", "degraded")
    assert node.is_on
