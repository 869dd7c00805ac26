"""A golden machine with a minion: Salt installs on it, and one orchestrate brings it to the nodes.
Master, boot server, golden machine and nodes each have a root of their own."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.lab import Lab, StateFailed
from tests.lab.golden import ADDRESS, Golden
from tests.lab.patience import Patience

ORCHESTRATION = "diskless.orch.golden"
HASH = "$6$salt-diskless$not.a.hash.of.any.password"
GREETING = "/etc/motd:\n  file.managed:\n    - contents: from Salt\n"


@pytest.fixture(scope="module")
def golden(lab: Lab) -> Golden:
    """The golden machine; an image was taken from it by an orchestrate on a bare boot server."""
    lab.server.write_pillar(pillar(lab))
    lab.server.start_master()
    golden = lab.golden_machine()
    lab.server.orchestrate(ORCHESTRATION)
    return golden


def pillar(lab: Lab, **image: Any) -> dict[str, Any]:
    """Return the pillar of two nodes whose image, with these settings, is a machine's."""
    pillar = lab.pillar(2)
    pillar["diskless"]["images"]["debian"].update(
        source={"minion": "golden", "host": ADDRESS},
        exclude=["/srv/debs", "/var/lib/apt/lists/*", "/var/cache/apt/*", "/var/cache/salt"],
        live=True,
        **image,
    )
    return pillar


def published(lab: Lab) -> str | None:
    return lab.server.salt_call("diskless_image.list")["debian"]["published"]


def test_the_first_orchestrate_takes_an_image_with_a_key_that_reads_and_does_nothing_else(
    lab: Lab, golden: Golden
):
    assert published(lab)
    login = ["ssh", "-i", "/etc/salt/diskless/id_ed25519", "-o", "BatchMode=yes"]
    login += ["-o", "UserKnownHostsFile=/etc/salt/diskless/known_hosts"]
    login += ["-o", "HostKeyAlias=golden", "-o", "StrictHostKeyChecking=yes", f"root@{ADDRESS}"]
    assert "uid=0" not in lab.server.run(*login, "id", check=False).stdout
    assert lab.server.run(*login, "touch", "/root/was-here", check=False).returncode
    write = ["rsync", "-e", " ".join(login[:-1]), "/etc/hostname", f"root@{ADDRESS}:/root/was-here"]
    assert lab.server.run(*write, check=False).returncode
    assert not golden.path("/root/was-here").exists()
    mode = lab.server.run("stat", "-c", "%a %U", "/etc/salt/diskless/id_ed25519").stdout
    assert mode == "600 root\n"
    # Where a node's own keys go, there are empty files.
    keys = [*lab.server.path("/diskless/debian/root/etc/ssh").glob("ssh_host_*")]
    assert keys and not any(key.stat().st_size for key in keys)


def test_what_salt_installs_on_the_golden_machine_is_on_the_nodes_after_one_orchestrate(
    lab: Lab, golden: Golden
):
    first = published(lab)
    lab.server.salt("state.apply", "diskless")
    golden.run("usermod", "-p", HASH, "root")
    lab.server.path("/srv/salt/greeting.sls").write_text(GREETING)
    settings = {"packages": ["hello"], "absent_packages": ["dbus"], "golden_states": ["greeting"]}
    wanted = pillar(lab, **settings)
    wanted["diskless"]["nodes"]["node002"]["version"] = first
    lab.server.write_pillar(wanted)
    states = lab.server.orchestrate(ORCHESTRATION)
    assert all(state["result"] is True for state in states.values())
    assert published(lab) != first
    for name in ("node001", "node002"):
        lab.power_on(name)
    for name in ("node001", "node002"):
        lab.nodes[name].wait_for("login")
    node = lab.nodes["node001"]
    assert node.run("hello") == "Hello, world!"
    assert node.run("dpkg-query -W -f '${Status}' dbus", check=False) != "install ok installed"
    assert node.run("cat /etc/motd") == "from Salt"
    assert node.run("grep ^root: /etc/shadow").split(":")[1] == HASH
    assert lab.nodes["node002"].run("command -v hello", check=False) == ""
    shown = lab.server.salt_call("diskless_image.diff", "debian", first)
    assert "hello" in " ".join(shown["packages"]["added"])


def test_in_place_it_is_on_running_nodes_after_one_orchestrate(lab: Lab, golden: Golden):
    first, second = lab.server.salt_call("diskless_image.list")["debian"]["versions"]
    wanted = pillar(lab, packages=["tree"], absent_packages=["hello"])
    wanted["diskless"]["nodes"]["node002"]["version"] = first
    lab.server.write_pillar(wanted)
    node, neighbour = lab.nodes["node001"], lab.nodes["node002"]
    since = node.run("cat /proc/sys/kernel/random/boot_id")
    lab.server.orchestrate(ORCHESTRATION, live=True)
    patience = Patience(60)
    while node.run("tree --version >/dev/null && ! command -v hello", check=False) != "":
        assert not patience.is_over
        time.sleep(0.5)
    assert node.run("tree -L 1 --noreport /usr").splitlines()[0] == "/usr"
    assert node.run("cat /proc/sys/kernel/random/boot_id") == since
    assert neighbour.run("command -v tree", check=False) == ""
    assert published(lab) == second
    shown = lab.server.salt_call("diskless_image.show", "debian")
    assert "tree" in shown["packages"] and shown["changed_live"]
    assert lab.server.salt_call("diskless_image.show", "debian", first, "check=True")["intact"]


def test_the_first_that_fails_ends_it_with_nothing_published(lab: Lab, golden: Golden):
    before = published(lab)
    versions = lab.server.salt_call("diskless_image.list")["debian"]["versions"]
    lab.server.write_pillar(pillar(lab, packages=["no-such-package"]))
    with pytest.raises(StateFailed, match="no-such-package"):
        lab.server.orchestrate(ORCHESTRATION)
    wrong = pillar(lab)
    wrong["diskless"]["nodes"]["node001"]["mac"] = 41135040001
    lab.server.write_pillar(wrong)
    with pytest.raises(StateFailed, match="diskless:nodes:node001:mac: found 41135040001"):
        lab.server.orchestrate(ORCHESTRATION)
    lab.server.write_pillar(pillar(lab))
    golden.run("systemctl", "stop", "lab-salt-minion")
    with pytest.raises(StateFailed, match="diskless pillar of minions"):
        lab.server.orchestrate(ORCHESTRATION)
    assert published(lab) == before
    assert lab.server.salt_call("diskless_image.list")["debian"]["versions"] == versions


def test_a_rollback_brings_the_old_one_back(lab: Lab, golden: Golden):
    first = lab.server.salt_call("diskless_image.list")["debian"]["versions"][0]
    lab.server.salt_call("diskless_image.rollback", "debian")
    assert published(lab) == first
    assert not lab.server.path("/diskless/debian/root/usr/bin/hello").exists()
    loader = lab.server.path("/srv/tftp/linux-install/pxelinux.cfg/0A8D0101").read_text()
    assert f"/{first}/" in loader
