"""A node that is written into files that are there gives what rendering them anew gives."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salt_diskless.boot import dhcpd, exports
from salt_diskless.cluster import Site, parse

KEY = "/etc/dhcp/diskless-omapi.key"
PILLAR = {
    "servers": {"boot": {"address": "10.0.0.1", "interface": "eth0"}},
    "networks": {"all": {"subnet": "10.0.0.0/16"}},
    "images": {name: {"location": f"/diskless/{name}"} for name in ("b", "a", "snapshot-b", "c")},
    "profiles": {"p": {"network": "all"}},
}


def site(nodes: dict[int, tuple[str, bool]]) -> Site:
    """Return a site: number of a node, which is its address too, to its image and whether it swaps
    over NFS."""
    pillar = copy.deepcopy(PILLAR)
    pillar["nodes"] = {
        f"n{number}": {
            "profile": "p",
            "image": image,
            "ip": f"10.0.{1 + number // 256}.{number % 256}",
            "mac": f"52:54:00:00:{number // 256:02x}:{number % 256:02x}",
            "swap": {"kind": "nfs", "size": "16M"} if swaps else "none",
        }
        for number, (image, swaps) in nodes.items()
    }
    return parse(pillar).served_by("boot")


NODES = st.dictionaries(
    st.integers(0, 600),
    st.tuples(st.sampled_from(["a", "b", "c", "snapshot-b"]), st.booleans()),
    max_size=40,
)


@settings(deadline=None, max_examples=50)
@given(NODES, st.integers(0, 600), st.sampled_from(["a", "b", "c"]), st.booleans())
def test_dhcpds_hosts_and_the_exports_are_those_of_a_full_render(there, number, image, swaps):
    there.pop(number, None)
    before, after = site(there), site({**there, number: (image, swaps)})
    node = after.nodes[f"n{number}"]
    config, wanted = dhcpd.render(before, KEY), dhcpd.render(after, KEY)
    assert dhcpd.with_host(config, node) == wanted
    assert dhcpd.without(wanted, dhcpd.served(wanted, name=node.name)) == config
    config, wanted = (exports.render(exports.exports(one)) for one in (before, after))
    images = [*after.images.values()]
    there, then = ({*exports.exports(one)} for one in (before, after))
    edited = exports.Edited(config)
    edited.put(node, images)
    assert (edited.text, edited.gone, edited.new) == (wanted, there - then, then - there)
    edited.take(node.name)
    assert (edited.text, edited.gone, edited.new) == (config, set(), set())


def test_a_host_is_found_by_name_in_any_case_by_mac_and_by_address_and_only_whole():
    config = dhcpd.render(site({1: ("a", False), 11: ("a", False)}), KEY)
    for key in ({"name": "N1"}, {"mac": "52:54:00:00:00:01"}, {"ip": "10.0.1.1"}):
        assert dhcpd.served(config, **key).name == "n1"
    for key in ({"name": "n"}, {"name": "n111"}, {"mac": "54:00:00:00:01"}, {"ip": "0.0.1.1"}):
        assert dhcpd.served(config, **key) is None


@pytest.mark.parametrize("name", ["snapshot", "swap"])
def test_a_node_whose_name_is_that_of_a_directory_is_told_from_it(name):
    one = site({1: ("a", False)})
    edited = exports.Edited(text := exports.render(exports.exports(one)))
    edited.take(name)
    assert edited.text == text
