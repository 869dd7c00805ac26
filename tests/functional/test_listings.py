"""What people read is folded: one line for what is alike, in natural order, and all of it with an
argument."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError

from salt_diskless.boot.exports import Export
from salt_diskless.cluster.ranges import fold_addresses, natural
from salt_diskless.services import export_listing
from tests.functional.test_node import apply, served

__all__ = ["served"]


@pytest.fixture
def rack(salt_call, served):
    """A boot server with the nodes of a rack beside the others."""
    for n in range(1, 41):
        served["nodes"][f"io{n}"] = {
            **{"mac": f"52:54:00:78:00:{n:02x}", "ip": f"10.77.0.{n + 99}"},
            "profile": "compute",
        }
    apply(salt_call, served)
    return salt_call(served).modules


@pytest.mark.parametrize(
    "name", ["diskless_node", "diskless_nfs", "diskless_snapshot", "diskless_tftp"]
)
def test_a_listing_of_many_nodes_is_short(rack, name):
    arguments = {"ask": False} if name == "diskless_nfs" else {}
    folded = yaml.safe_dump(rack[f"{name}.list"](**arguments), width=10_000)
    full = yaml.safe_dump(rack[f"{name}.list"](full=True, **arguments), width=10_000)
    assert len(folded.splitlines()) <= 20 and len(full.splitlines()) >= 43, folded
    assert "io[1-40]" in folded and "node[001-003]" in folded


def test_a_full_listing_is_in_natural_order(rack):
    wanted = [*(f"io{n}" for n in range(1, 41)), "node001", "node002", "node003"]
    assert [*rack["diskless_node.list"](full=True)] == wanted
    assert [*rack["diskless_snapshot.list"](full=True)["nodes"]] == wanted
    some = rack["diskless_node.list"]("io[2,10]")
    assert [*some] == ["io2", "io10"] and some["io10"]["ip"] == "10.77.0.109"
    with pytest.raises(CommandExecutionError, match=r"found io41, .*did you mean io4"):
        rack["diskless_node.list"]("io[40-41]")


def test_what_differs_has_a_line_of_its_own(rack, served):
    location = served["images"]["tiny"]["location"]
    folded = rack["diskless_snapshot.list"]()
    assert folded == {"nodes": {"complete": "io[1-40],node[001-003]"}}
    table = rack["diskless_nfs.list"](ask=False)
    (of_nodes,) = [path for path in table["exported"] if "/snapshot/" in path]
    assert of_nodes == f"{location}/snapshot/io[1-40],node[001-003]"
    (addresses,) = table["exported"][of_nodes]
    assert "10.77.0.100-10.77.0.139" in addresses
    assert "boots" in rack["diskless_node.list"]()
    assert all(isinstance(line, str) for line in rack["diskless_dhcpd.leases"]().values())
    assert rack["diskless_node.waiting"]() == {}


@pytest.mark.parametrize("test", [True, False])
def test_what_a_state_changes_for_many_nodes_is_short(salt_call, served, test):
    for n in range(1, 61):
        served["nodes"][f"io{n}"] = {
            # Each address is a network of its own for exportfs.
            **{"mac": f"52:54:00:78:00:{n:02x}", "ip": f"10.77.0.{2 * n + 99}"},
            "profile": "compute",
        }
    changes = apply(salt_call, served, test=test)
    for name, change in changes.items():
        lines = yaml.safe_dump(change, width=10_000).splitlines()
        assert len(lines) <= 10 and "io[1-60]" in " ".join(lines), (name, lines)
    assert {*changes} >= {f"diskless_{name}.managed" for name in ("snapshot", "tftp", "nfs")}


def test_addresses_and_exports_are_folded():
    assert (
        fold_addresses(["10.0.0.2", "10.0.0.1", "10.0.0.4", "x"]) == "10.0.0.1-10.0.0.2,10.0.0.4,x"
    )
    assert fold_addresses(["10.0.0.0/30", "10.0.0.4"]) == "10.0.0.0-10.0.0.4"
    exports = [
        *(Export(f"/d/snapshot/n{n}", f"10.0.0.{n}", "rw") for n in (1, 2, 10)),
        *(Export("/d/versions", f"10.0.0.{n}", "ro") for n in (1, 2, 10)),
    ]
    assert export_listing.alike(exports) == {
        "/d/snapshot/n[1-2,10]": {"10.0.0.1-10.0.0.2,10.0.0.10": "rw"},
        "/d/versions": {"10.0.0.1-10.0.0.2,10.0.0.10": "ro"},
    }


@given(st.lists(st.integers(0, 300), unique=True))
def test_names_are_in_the_order_of_their_numbers(numbers):
    names = sorted((f"io{n}" for n in numbers), key=natural)
    assert names == [f"io{n}" for n in sorted(numbers)]


@given(st.sets(st.integers(1, 250)))
def test_no_address_is_lost(numbers):
    text = fold_addresses([f"10.0.0.{n}" for n in numbers])
    found = set()
    for run in filter(None, text.split(",")):
        ends = [int(end.rpartition(".")[2]) for end in run.split("-")]
        found |= {*range(ends[0], ends[-1] + 1)}
    assert found == numbers
