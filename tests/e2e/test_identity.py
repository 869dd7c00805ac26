"""Two nodes of one image: each is itself, over reboots too, and writes what its entries let it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.e2e import disks
from tests.lab import Lab, Node
from tests.lab.patience import Patience

NAMES = ("node001", "node002")
KEPT = ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"]
FILES: list[Any] = [
    {"path": "/etc", "how": "overlay"},
    *KEPT,
    "/var/log",
    "/var/lib/logrotate",
    {"path": "/opt", "how": "copy"},
    {"path": "/usr/lib/os-release", "how": "copy"},
    {"path": "/mnt", "how": "localdisk"},
]

#: A partition for entries on a local disk.
LOCAL = ("ext4", "diskless-local")


@pytest.fixture(scope="module")
def nodes(lab: Lab) -> dict[str, Node]:
    """Two nodes that are up, of a golden root that has an sshd's settings and a minion's; node001
    has entries of its own, node002 the project's."""
    server = lab.server
    upper = server.diskless / "upper"
    for path in ("etc/ssh", "etc/salt/minion.d", "opt/tool", "srv/data", "etc/iscsi", "etc/nvme"):
        (upper / path).mkdir(parents=True)
    (upper / "etc/ssh/sshd_config").write_text("UsePAM no\n")
    (upper / "etc/ssh/ssh_host_ed25519_key").write_text("the golden node's\n")
    (upper / "etc/iscsi/initiatorname.iscsi").write_text("InitiatorName=iqn.the-golden-node\n")
    (upper / "etc/nvme/hostnqn").write_text("nqn.the-golden-node\n")
    (upper / "etc/salt/minion").write_text("master: 10.141.0.1\n")
    for path in ("opt/tool", "srv/data"):
        (upper / path / "settings").write_text("the image's\n")
    for name in ("golden", "work"):
        server.run("mkdir", f"/diskless/{name}")
    layers = "lowerdir=/srv/golden,upperdir=/diskless/upper,workdir=/diskless/work"
    server.run("mount", "-t", "overlay", "-o", layers, "overlay", "/diskless/golden")
    pillar = lab.pillar(2, drivers=["virtio_pci", "virtio_net", "virtio_blk", "ext4"])
    pillar["diskless"]["nodes"]["node001"]["files"] = FILES
    pillar["diskless"]["images"]["debian"]["source"] = {"directory": "/diskless/golden"}
    server.write_pillar(pillar)
    # The admin's own list, for both.
    custom = server.diskless / "debian/snapshot/.files.custom"
    custom.parent.mkdir(parents=True)
    custom.write_text("/srv/data localdisk\n")
    server.salt_call("state.apply", "diskless")
    lab.power_on("node001")
    lab.power_on("node002", disk=disks.make(lab.place / "good", ("ext4", ""), LOCAL))
    for name in NAMES:
        lab.nodes[name].wait_for("login")
    return lab.nodes


IDENTITY = (
    *("/etc/hostname", "/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key"),
    *("/etc/ssh/ssh_host_ecdsa_key.pub", "/etc/salt/minion.d/99-diskless-id.conf"),
    *("/etc/iscsi/initiatorname.iscsi", "/etc/nvme/hostnqn", "/etc/nvme/hostid"),
)


def identity(node: Node) -> list[str]:
    """Return who a node is, file by file."""
    return [node.run(f"cat {path}") for path in IDENTITY]


def test_each_node_is_itself(nodes: dict[str, Node]):
    one, other = (identity(nodes[name]) for name in NAMES)
    assert one[0] == "node001" and other[0] == "node002"
    assert not any("golden" in text for text in (*one, *other))
    assert all(one) and all(one[n] != other[n] for n in range(len(IDENTITY)))
    for name in NAMES:
        node = nodes[name]
        assert node.run("hostname") == name
        assert len(node.run("cat /etc/machine-id")) == 32
        assert node.run("stat -c '%a %u' /etc/ssh/ssh_host_ed25519_key") == "600 0"
        assert node.run("stat -c %s /var/lib/systemd/random-seed") == "512"
        assert f"id: '{name}'" in node.run("cat /etc/salt/minion.d/99-diskless-id.conf")


def test_on_a_local_disk_an_entry_begins_as_the_version_has_it(nodes: dict[str, Node]):
    node = nodes["node002"]
    mounts = node.run("cat /proc/mounts")
    assert "/dev/vda2 /srv/data ext4 " in mounts and "/dev/vda1 " not in mounts
    assert "no disk here" not in node.console
    assert node.run("cat /srv/data/settings") == "the image's"
    node.run("echo mine >/srv/data/settings; echo more >/srv/data/more; sync")


def test_without_the_local_disk_it_is_said_and_the_entry_is_in_memory(nodes: dict[str, Node]):
    node = nodes["node001"]
    assert "entry /mnt: no disk here has a file system labelled diskless-local" in node.console
    node.run("touch /mnt/mine")


@pytest.mark.parametrize("name", NAMES)
def test_programs_replace_files_in_etc(nodes: dict[str, Node], name: str):
    node = nodes[name]
    assert node.run("systemctl --failed --no-legend --plain") == ""
    node.run("useradd -M -u 4711 tester && echo tester:secret | chpasswd -c SHA256")
    # vipw takes a file of the same second for an unchanged one.
    node.run("printf 'sed -i s,/home/tester,/root, $1; touch -d 2001-01-01 $1' > /tmp/edit")
    node.run("EDITOR='sh /tmp/edit' vipw")
    node.run("echo old > /var/log/some")
    node.run("printf '/var/log/some {\\nrotate 2\\nsu root root\\n}\\n' > /tmp/c")
    node.run("logrotate -f /tmp/c && test -s /var/log/some.1 && test -s /var/lib/logrotate/status")
    node.run("rm -f /etc/resolv.conf && echo nameserver 192.0.2.1 > /etc/resolv.conf")
    node.run(
        "new_domain_name_servers=192.0.2.53 interface=lo new_ip_address=127.0.9.1 "
        "new_subnet_mask=255.255.255.0 reason=BOUND /sbin/dhclient-script"
    )
    assert "nameserver 192.0.2.53" in node.run("cat /etc/resolv.conf")


def test_after_its_next_boot_a_node_is_the_same_and_what_is_kept_is_there(
    lab: Lab, nodes: dict[str, Node]
):
    node = nodes["node001"]
    before = identity(node)
    node.run("echo mine > /opt/tool/settings && echo mine > /usr/lib/os-release")
    shadow = lab.server.diskless / "debian/snapshot/node001/etc/shadow"
    passwd = shadow.with_name("passwd")
    patience = Patience(60)
    while "tester:x:4711:4711::/root:" not in passwd.read_text() or "tester:$5$" not in (
        shadow.read_text()
    ):
        assert not patience.is_over, node.run("systemctl status diskless-keep.path", check=False)
        time.sleep(0.2)
    assert shadow.stat().st_mode & 0o777 == 0o640
    # Without a word to them, as in a power cut. A disk without the label is none.
    disk = disks.make(lab.place / "other", ("ext4", "diskless-other"), ("ext4", ""))
    digests = [disks.digest(disk, number) for number in range(2)]
    lab.power_on("node001", disk=disk)
    lab.power_on("node002", disk=lab.place / "good")
    for name in NAMES:
        lab.nodes[name].wait_for("login")
    again = lab.nodes["node001"]
    assert identity(again) == before
    assert again.run("id -u tester") == "4711"
    assert again.run("cat /opt/tool/settings") == "the image's"
    assert again.run("grep -c mine /usr/lib/os-release", check=False) == "0"
    for path in ("/mnt", "/srv/data"):
        assert f"entry {path}: no disk here has a file system labelled diskl" in again.console
        assert again.run(f"ls {path}; awk '$2 == \"{path}\" {{print $3}}' /proc/mounts") == "tmpfs"
    assert "vda2" in again.run("cat /proc/partitions") and "/dev/vda" not in again.run(
        "cat /proc/mounts"
    )
    assert [disks.digest(disk, number) for number in range(2)] == digests
    kept = lab.nodes["node002"].run("cat /srv/data/settings /srv/data/more")
    assert kept.split() == ["mine", "more"]
