"""All nodes of a boot server, a network or an image go only if the pillar says so."""

from __future__ import annotations

import contextlib
import copy
import os
import subprocess
from collections.abc import Iterator

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless.services import told
from tests.conftest import add_interface

STATES = (
    *("diskless_image.synced", "diskless_snapshot.managed", "diskless_tftp.managed"),
    *("diskless_nfs.managed", "diskless_dhcpd.managed"),
)


@pytest.fixture(autouse=True)
def no_registry_before() -> Iterator[None]:
    yield
    with contextlib.suppress(FileNotFoundError):
        os.unlink(told.REGISTRY)


def serve(salt_call, pillar: dict) -> dict:
    """Make a boot server that serves a pillar, and return a copy of the pillar."""
    call = salt_call(pillar)
    for name in STATES:
        result = call.state(name)
        assert result.result is True, (name, result.comment)
    return copy.deepcopy(pillar)


def refused(call, says: str) -> None:
    result = call.state("diskless.valid")
    assert result.result is False and says in result.comment, result.comment
    assert "set diskless:allow_no_nodes: true" in result.comment
    for name in ("diskless.validate", "diskless.plan"):
        with pytest.raises(CommandExecutionError) as error:
            call.modules[name]()
        # That a function which only reads has changed nothing goes without saying.
        assert str(error.value).splitlines()[1:] == result.comment.splitlines()[1:]


@pytest.mark.parametrize("nodes", [None, {}, "nothing at all"])
def test_all_nodes_do_not_go_by_mistake(salt_call, pillar, listing, testmode, nodes):
    less = serve(salt_call, pillar)
    if isinstance(nodes, str):
        del less["nodes"]
    else:
        less["nodes"] = nodes
    before = listing()
    says = "diskless:nodes: found no node of this boot server, while it still serves node[001-003]"
    refused(salt_call(less, test=testmode), says)
    assert listing() == before
    less["allow_no_nodes"] = True
    call = salt_call(less, test=testmode)
    assert call.state("diskless.valid").result is True
    assert call.state("diskless_dhcpd.managed").changes["removed"] == {"nodes": "node[001-003]"}


def test_a_boot_server_without_nodes_is_right(salt_call, pillar):
    pillar["nodes"] = None
    serve(salt_call, pillar)
    assert salt_call(pillar).state("diskless.valid").result is True


def test_some_nodes_may_go(salt_call, pillar):
    less = serve(salt_call, pillar)
    del less["nodes"]["node[001-002]"]
    assert salt_call(less).state("diskless.valid").result is True


def test_nodes_that_were_removed_by_hand_may_go(salt_call, pillar):
    less = serve(salt_call, pillar)
    salt_call(pillar).modules["diskless_node.remove"]("node[001-003]")
    less["nodes"] = {}
    assert salt_call(less).state("diskless.valid").result is True


def test_all_nodes_may_get_other_names(salt_call, pillar):
    other = serve(salt_call, pillar)
    other["nodes"] = {"other": pillar["nodes"]["node003"]}
    assert salt_call(other).state("diskless.valid").result is True


@pytest.fixture
def two(pillar) -> Iterator[dict]:
    """Two networks with an image each."""
    add_interface("dl2", "10.78.0.1/24")
    pillar["servers"]["bootserver"] = {"interfaces": {"dl0": "10.77.0.1", "dl2": "10.78.0.1"}}
    pillar["networks"]["second"] = {"subnet": "10.78.0.0/24"}
    tiny = pillar["images"]["tiny"]
    pillar["images"]["other"] = {**tiny, "location": tiny["location"] + "2"}
    pillar["nodes"]["late[1-2]"] = {
        "profile": "compute",
        "image": "other",
        "network": "second",
        "ip": "10.78.0.11+",
        "mac": ["52:54:00:78:00:01", "52:54:00:78:00:02"],
    }
    yield pillar
    subprocess.run(["ip", "link", "del", "dl2"], check=True)


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        (
            [],
            "diskless:nodes: found no node of the network second, while it still serves late[1-2]",
        ),
        ([], "diskless:nodes: found no node that uses the image other, while it still serves late"),
        (["networks:second"], "diskless:networks: found no network of these nodes, while it still"),
        (["images:other"], "diskless:images: found no image with the location "),
        (["networks:second", "images:other"], "2 problems on this boot server"),
    ],
)
def test_a_network_or_an_image_does_not_go_with_its_nodes(salt_call, two, gone, says):
    less = serve(salt_call, two)
    del less["nodes"]["late[1-2]"]
    for key in gone:
        section, name = key.split(":")
        del less[section][name]
    refused(salt_call(less), says)
    less["allow_no_nodes"] = True
    assert salt_call(less).state("diskless.valid").result is True


def test_one_node_of_a_network_and_an_image_may_stay(salt_call, two):
    less = serve(salt_call, two)
    late = less["nodes"].pop("late[1-2]")
    less["nodes"]["late2"] = {**late, "ip": "10.78.0.12", "mac": late["mac"][1]}
    assert salt_call(less).state("diskless.valid").result is True


def test_all_nodes_of_a_network_may_get_other_names(salt_call, two):
    other = serve(salt_call, two)
    other["nodes"]["l[1-2]"] = other["nodes"].pop("late[1-2]")
    assert salt_call(other).state("diskless.valid").result is True


def test_nodes_may_move_to_another_image_and_network(salt_call, two):
    less = serve(salt_call, two)
    del less["networks"]["second"], less["images"]["other"]
    less["nodes"]["late[1-2]"].update(image="tiny", network="lab", ip="10.77.0.81+")
    assert salt_call(less).state("diskless.valid").result is True


def test_nodes_do_not_go_with_a_registry_that_adds_nothing(salt_call, pillar):
    pillar["registry"] = {"number": 7}
    less = serve(salt_call, pillar)
    del less["registry"]
    assert salt_call(less).state("diskless.valid").result is True
    by_hand = copy.deepcopy(less)
    del by_hand["nodes"]["node003"]
    refused(salt_call(by_hand), "diskless:registry: found nothing of the master's registry")
    by_hand["allow_no_nodes"] = True
    serve(salt_call, by_hand)
    del by_hand["allow_no_nodes"]
    del by_hand["nodes"]["node[001-002]"]
    by_hand["nodes"]["node009"] = pillar["nodes"]["node003"]
    assert salt_call(by_hand).state("diskless.valid").result is True


@pytest.mark.parametrize("value", ["yes", 1, [], None])
def test_the_word_is_true_or_false(salt_call, pillar, value):
    pillar["allow_no_nodes"] = value
    comment = salt_call(pillar).state("diskless.valid").comment
    assert "diskless:allow_no_nodes: found" in comment and "give true or false" in comment
