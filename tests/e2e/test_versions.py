"""A changed golden root reaches nodes at their next boot; some wait; a rollback takes it back."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.lab import Lab, Node, roots

NAMES = ("node001", "node002")


@pytest.fixture(scope="module")
def two(lab: Lab) -> tuple[str, str]:
    """The names of two versions of a golden root that can be changed; the nodes are up on the
    first, the second is published, and node002 is pinned to the first."""
    server = lab.server
    shutil.copytree(roots.kernel(), server.diskless / "upper", symlinks=True)
    for name in ("golden", "work"):
        server.run("mkdir", f"/diskless/{name}")
    layers = "lowerdir=/srv/golden,upperdir=/diskless/upper,workdir=/diskless/work"
    server.run("mount", "-t", "overlay", "-o", layers, "overlay", "/diskless/golden")
    server.write_pillar(pillar(lab))
    server.salt_call("state.apply", "diskless")
    first = published(lab)
    power_on(lab)
    server.run("sh", "-c", "echo newer > /diskless/golden/etc/motd")
    server.write_pillar(pillar(lab, version=first))
    server.salt_call("state.apply", "diskless")
    return first, published(lab)


def pillar(lab: Lab, **node: Any) -> dict[str, Any]:
    """Return the pillar of two nodes, with settings of node002's own; node001 names its kernel."""
    pillar = lab.pillar(2)
    pillar["diskless"]["nodes"]["node001"]["kernel"] = other_kernel()
    pillar["diskless"]["images"]["debian"]["source"] = {"directory": "/diskless/golden"}
    pillar["diskless"]["nodes"]["node002"].update(node)
    return pillar


def other_kernel() -> str:
    return next((roots.kernel() / "usr/lib/modules").iterdir()).name


def published(lab: Lab) -> str:
    return lab.server.salt_call("diskless_image.list")["debian"]["published"]


def power_on(lab: Lab) -> None:
    for name in NAMES:
        lab.power_on(name)
    for name in NAMES:
        lab.nodes[name].wait_for("login")


def version(node: Node) -> str:
    """Return the version that a node has mounted as its root."""
    return node.run("awk '$2 == \"/\" {print $1}' /proc/mounts").rsplit("/", 1)[1]


def test_running_nodes_keep_the_version_that_they_have(lab: Lab, two: tuple[str, str]):
    assert two[0] < two[1]
    for name in NAMES:
        assert version(lab.nodes[name]) == two[0]
        assert lab.nodes[name].run("cat /etc/motd 2>&1", check=False) != "newer"


def test_a_node_boots_the_kernel_that_it_names_with_its_modules(lab: Lab, two: tuple[str, str]):
    node = lab.nodes["node001"]
    assert node.run("uname -r") == other_kernel()
    assert node.run("modprobe dummy && grep -c ^dummy /proc/modules") == "1"
    assert lab.server.salt_call("diskless_image.kernels", "debian") == {
        lab.nodes["node002"].run("uname -r"): {"served": True, "nodes": ""},
        other_kernel(): {"served": True, "nodes": "node001"},
    }


def test_what_differs_between_two_versions_is_shown(lab: Lab, two: tuple[str, str]):
    found = lab.server.salt_call("diskless_image.diff", "debian", *two)
    assert found["packages"] == {}
    assert "/etc/motd" in found["files"]["changed"] + found["files"].get("added", [])
    shown = lab.server.salt_call("diskless_image.show", "debian", two[0], "check=True")
    assert shown["intact"] is True
    assert shown["kernel"] == lab.nodes["node002"].run("uname -r") != other_kernel()
    wanted = lab.nodes["node001"].run("dpkg-query -W -f '${Version}' libc6")
    assert shown["packages"]["libc6:amd64"] == wanted


def test_a_version_that_a_running_node_has_mounted_is_not_pruned(lab: Lab, two: tuple[str, str]):
    lab.server.write_pillar(pillar(lab))
    done = lab.server.salt_call("diskless_image.prune", "keep=1")["debian"]
    assert done["removed"] == []
    assert done["kept"][two[0]] == "node[001-002] booted it last, and may have it mounted"
    assert lab.nodes["node001"].run("head -c 4 /usr/bin/env | tail -c 3") == "ELF"


def test_the_next_boot_gets_the_published_version_and_a_pinned_node_its_own(
    lab: Lab, two: tuple[str, str]
):
    lab.server.write_pillar(pillar(lab, version=two[0]))
    lab.server.salt_call("state.apply", "diskless")
    power_on(lab)
    assert version(lab.nodes["node001"]) == two[1]
    assert lab.nodes["node001"].run("cat /etc/motd") == "newer"
    assert version(lab.nodes["node002"]) == two[0]


def test_a_rollback_is_what_the_next_boot_gets(lab: Lab, two: tuple[str, str]):
    done = lab.server.salt_call("diskless_image.rollback", "debian")
    assert done["loader"]["changed"]["nodes"] == "node001"
    lab.server.salt_call("state.apply", "diskless")
    assert published(lab) == two[0]
    lab.power_on("node001").wait_for("login")
    assert version(lab.nodes["node001"]) == two[0]
    done = lab.server.salt_call("diskless_image.prune", "keep=1")["debian"]
    assert done["kept"][two[1]] == "one of the newest"
