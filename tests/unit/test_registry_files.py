"""Nodes come from files of other systems, and go to a pillar that says the same."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless.cluster import DisklessError, parse
from salt_diskless.registry import export, importing
from salt_diskless.registry.importing import FORMATS, Found
from salt_diskless.registry.store import RegisteredNode, Store
from tests.unit.registry import PILLAR, accept, announce, content, desk, mac, of

HOSTS = """\
127.0.0.1 localhost
::1 localhost ip6-localhost
fe80::1%eth0 node005
# 10.8.226.9 old
10.8.226.5\tnode005.example.com node005  # the first
10.8.226.6 node006
"""
ETHERS = """\
# rack 7
52:54:0:0:0:1 node005
52-54-00-00-00-02 10.8.226.6
"""
CSV = """\
Name;MAC;IP;Profile;BMC;Serial_console\r
node005;52:54:00:00:00:01;10.8.226.5;compute;10.99.0.5;"ttyS0,115200n8"\r
node006;;10.8.226.6;;;\r
\r
"""
DHCPD = """\
# the old server's
option domain-name "example.com"; default-lease-time 600;
subnet 10.8.226.0 netmask 255.255.255.0 {
  range 10.8.226.200 10.8.226.250;
  group {
    next-server 10.8.226.72;
    host five { hardware ethernet 52:54:00:00:00:01; fixed-address 10.8.226.5, 10.9.0.5;
      option host-name "node005"; # { not a brace
      filename "linux-install/pxelinux.0"; }
    host node006 {
      fixed-address 10.8.226.6;
      hardware ethernet 52:54:00:00:00:02;
      if exists user-class { filename "x;}"; } else { filename "y"; }
    }
  }
}
host printer { fixed-address 10.8.226.9; }
class "foo" { match if substring (option vendor-class-identifier, 0, 9) = "PXEClient"; }
"""
WAREWULF = """\
nodeprofiles:
  default:
    network devices:
      default: {device: eth0, netmask: 255.255.255.0}
nodes:
  node005:
    profiles:
    - default
    network devices:
      default:
        hwaddr: 52:54:00:00:00:01
        ipaddr: 10.8.226.5
      ib0:
        ipaddr: 10.9.0.5
  node006:
    primary network: fast
    network devices:
      default: {hwaddr: 52:54:00:00:00:09, ipaddr: 10.8.226.99}
      fast: {hwaddr: 52:54:00:00:00:02, ipaddr: 10.8.226.6/24}
"""
FIVE = ("node005", mac(1), "10.8.226.5")
SIX = ("node006", mac(2), "10.8.226.6")


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return of(tmp_path)


def found(form: str, text: str) -> list[tuple]:
    return [(node.name, node.mac, node.ip) for node in FORMATS[form](text) if not node.skip]


def test_the_howtos_nodes():
    assert found("nodes", "10.8.136.1 node001\n10.8.226.73 node003\n") == [
        ("node001", None, "10.8.136.1"),
        ("node003", None, "10.8.226.73"),
    ]


def test_hosts_and_ethers_are_one_list():
    assert found("hosts", HOSTS) == [(*FIVE[:1], None, FIVE[2]), (*SIX[:1], None, SIX[2])]
    assert found("ethers", ETHERS) == [("node005", mac(1), None), ("", mac(2), "10.8.226.6")]
    for order in (1, -1):
        files = [[*FORMATS["ethers"](ETHERS)], [*FORMATS["hosts"](HOSTS)]][::order]
        joined = importing.joined(files)
        assert sorted((n.name, n.mac, n.ip) for n in joined if not n.skip) == [FIVE, SIX]


def test_a_table():
    five, six = FORMATS["csv"](CSV)
    assert (five.name, five.mac, five.ip, five.profile) == (*FIVE, "compute")
    assert five.settings == {"serial_console": "ttyS0,115200n8", "bmc": "10.99.0.5"}
    assert (six.name, six.mac, six.ip, six.profile, six.settings) == (
        *("node006", None, "10.8.226.6", None, {}),
    )


def test_dhcpds_hosts():
    assert found("dhcpd", DHCPD) == [FIVE, SIX]


def test_warewulfs_nodes():
    assert found("warewulf", WAREWULF) == [FIVE, SIX]
    assert [node.line for node in FORMATS["warewulf"](WAREWULF)] == [6, 15]


@pytest.mark.parametrize(
    ("form", "text", "words"),
    [
        ("ethers", "52:54:00:00:00:01\n", "line 1: found '52:54:00:00:00:01'; give a MAC and"),
        ("ethers", "\n52:54:00 a\n", "line 2: found '52:54:00'; give a MAC"),
        ("ethers", "01:00:00:00:00:00 a\n", "give a MAC"),
        ("csv", "", "line 1: found no header"),
        ("csv", "10.8.226.5,node005\n", "line 1: found the column '10.8.226.5'"),
        ("csv", "name,mca\n", "did you mean mac?"),
        ("csv", "mac,ip\n", "line 1: found no header"),
        ("csv", "name,mac,mac\n", "each once"),
        ("csv", "name,ip\na,10.8.226.5,x\n", "line 2: found 3 columns; the header has 2"),
        ("csv", 'name,ip\n"a,1\n', "line 2: unexpected end of data"),
        ("csv", "name,mac\na,x\n", "line 2: found 'x'; give a MAC"),
        ("dhcpd", "host a { hardware ethernet 52:54:00:00:00:01;\n", "without its }"),
        ("dhcpd", "host a { } }\n", "line 1: found a } too many"),
        ("dhcpd", "host a {\nhardware ethernet x; }", "line 2: found 'x'; give a MAC"),
        ("dhcpd", "host a {\nfixed-address a!b; }", "line 2: found fixed-address 'a!b' of a"),
        ("warewulf", "{", "found no YAML"),
        ("warewulf", "nodes: [a]", "found no nodes"),
        ("warewulf", "[]", "found no nodes"),
        ("warewulf", "\nnodes:\n  a: b\n", "line 3: found 'b'; give a node"),
        ("warewulf", "nodes: " + "[" * 3000, "found too many nested levels"),
        ("warewulf", "nodes: " + "{a: " * 3000, "found too many nested levels"),
        ("warewulf", 'nodes: {a: {x: "\\U00110000"}}', "found no YAML: "),
        ("warewulf", 'nodes: {a: {x: "\\UFFFFFFFF"}}', "found no YAML: "),
        ("warewulf", "nodes: {a\0: {}}", "found no YAML: unacceptable character #x0000"),
        *(
            ("warewulf", f"nodes:\n  a:\n    {text}\n", f"line 2: {words}")
            for text, words in (
                ("primary network: [x]", "'primary network': found ['x']; give a text"),
                ("primary: {x: y}", "'primary': found {x: 'y'}; give a text"),
                ("network devices: [x]", "'network devices': found ['x']; give a mapping"),
                ("network devices: {fast: [x]}", "'fast': found ['x']; give a mapping"),
                ("network devices: {fast: {hwaddr: [x]}}", "'hwaddr': found ['x']; give a text"),
                ("network devices: {fast: {ipaddr: [x]}}", "'ipaddr': found ['x']; give a text"),
            )
        ),
    ],
)
def test_a_line_that_is_wrong_is_named(form, text, words):
    with pytest.raises(DisklessError) as err:
        list(FORMATS[form](text))
    assert words in str(err.value)


@given(st.sampled_from(sorted(FORMATS)), st.text() | st.sampled_from([DHCPD, WAREWULF, CSV, HOSTS]))
def test_whatever_a_file_has_it_is_nodes_or_an_error_in_words(form, text):
    try:
        assert all(isinstance(node, Found) for node in FORMATS[form](text))
    except DisklessError as err:
        assert str(err)


def test_a_file_says_by_its_name_what_it_is(tmp_path):
    for name, text in (
        ("nodes", HOSTS),
        ("hosts", HOSTS),
        ("rack.csv", CSV),
        ("dhcpd.conf", DHCPD),
        ("nodes.conf", WAREWULF),
    ):
        (tmp_path / name).write_text(text)
        read = importing.read(str(tmp_path / name))
        assert [node.name for node in read if not node.skip] == ["node005", "node006"]
    (tmp_path / "rack.txt").write_bytes(b"\xef\xbb\xbf" + CSV.encode())
    with pytest.raises(DisklessError, match=r"rack\.txt: found no format by its name; give one of"):
        importing.read(str(tmp_path / "rack.txt"))
    assert len(importing.read(str(tmp_path / "rack.txt"), "csv")) == 2
    (tmp_path / "rack.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(DisklessError, match=r"rack\.csv: found no text"):
        importing.read(str(tmp_path / "rack.csv"))


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_no_text_is_an_error_that_names_the_file(tmp_path, form):
    path = tmp_path / "file"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DisklessError, match=r"/file: found no text"):
        importing.read(str(path), form)
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=r"Is a directory: '.*/file'"):
        importing.read(str(path), form)


def test_a_name_with_a_nul_is_none(store):
    (one,) = FORMATS["hosts"]("10.8.226.5 a\0b\n")
    assert one.skip.startswith("found no host name")
    # Python's table reader took none before 3.11.
    with pytest.raises(DisklessError, match=r"line 2: (?:found 'a\\x00b'|line contains NUL)"):
        planned(store, *FORMATS["csv"]("name,ip\na\0b,10.8.226.5\n"))


def test_files_that_contradict_each_other_are_an_error():
    with pytest.raises(DisklessError, match=r"line 2: found mac .*02' for a, and .*01' in line 1"):
        importing.joined([[Found("a", 1, mac(1))], [Found("A", 2, mac(2))]])
    with pytest.raises(DisklessError, match=r"line 3: found '10.8.226.9' without a name"):
        importing.joined([[Found("", 3, mac(1), "10.8.226.9")]])


def planned(store: Store, *nodes: Found, profile: str | None = "compute") -> importing.Plan:
    return importing.plan(desk(store), nodes, profile)


def test_an_import_is_a_difference_first_and_a_change_then(store):
    accept(store, 1, "node005", "10.8.226.5")
    accept(store, 2, "node006", "10.8.226.6")
    before = content(store)
    plan = planned(
        store,
        Found("node003", 1, "00:21:5e:40:64:03", "10.8.226.3"),
        Found("node005", 2, mac(1), "10.8.226.5"),
        Found("node006", 3, mac(2), "10.8.226.60"),
        Found("node007", 4, mac(7), "10.8.226.7"),
        Found("node008", 5, None, "10.8.226.8"),
    )
    assert plan.said == {
        "added": {
            "node007": {"mac": mac(7), "ip": "10.8.226.7", "profile": "compute"},
            "node008": {"ip": "10.8.226.8", "profile": "compute"},
        },
        "changed": {
            "node006": {"old": {"ip": "10.8.226.6"}, "new": {"ip": "10.8.226.60"}},
        },
        "unchanged": "node005",
        "listed": "node003",
        "places": "node008",
    }
    plan.make(test=True)
    assert content(store) == before
    plan.make(test=False)
    with store.read() as tx:
        assert {node.name: node.ip for node in tx.nodes()} == {
            **{"node005": "10.8.226.5", "node006": "10.8.226.60"},
            **{"node007": "10.8.226.7", "node008": "10.8.226.8"},
        }
        # A name that gets another address goes before it comes.
        assert [(one.action, one.subject) for one in tx.deliveries()][1:] == [
            ("remove", "node006"),
            ("add", "node006"),
            ("add", "node007"),
        ]
    assert {*planned(store, Found("node008", 5, None, "10.8.226.8")).said} == {"unchanged"}


def test_a_place_waits_for_its_machine(store):
    planned(store, Found("node008", 1, None, "10.8.226.88")).make(test=False)
    announce(store, 1)
    # Nobody else gets the address.
    assert accept(store, 1, "x[1-9]", "10.8.226.87-10.8.226.90").ip == "10.8.226.87"
    assert accept(store, 2, "x[1-9]", "10.8.226.87-10.8.226.90").ip == "10.8.226.89"
    node = accept(store, 3, "node[007-008]", profile="compute")
    assert (node.name, node.ip) != ("node008", "10.8.226.88")
    assert accept(store, 4, "node[007-008]").ip == "10.8.226.88"
    assert {*planned(store, Found("node008", 1, None, "10.8.226.88")).said} == {"unchanged"}
    planned(store, Found("node009", 1, None, "10.8.226.99")).make(test=False)
    assert desk(store).forget(["node009"]) == ["node009"]
    # Its BMC stays where it is.
    with_bmc = Found("node010", 1, None, "10.8.226.110", settings={"bmc": "10.99.0.10"})
    planned(store, with_bmc).make(test=False)
    assert accept(store, 5, "node010", nfs="4.2").settings == {"nfs": "4.2", "bmc": "10.99.0.10"}


def test_what_a_file_does_not_say_of_a_node_stays(store):
    accept(store, 1, "node005", "10.8.226.5", serial_console="ttyS0,115200n8", nfs="4.2")
    before = content(store)
    plan = planned(store, Found("node005", 1, None, "10.8.226.5"), profile=None)
    assert (plan.said, plan.nodes) == ({"unchanged": "node005"}, ())
    plan.make(test=False)
    assert content(store) == before
    plan = planned(
        store, Found("NODE005", 1, None, "10.8.226.50", settings={"nfs": "3", "bmc": "10.99.0.5"})
    )
    assert plan.said == {
        "changed": {
            "NODE005": {
                "old": {"name": "node005", "ip": "10.8.226.5", "nfs": "4.2"},
                "new": {"name": "NODE005", "ip": "10.8.226.50", "nfs": "3", "bmc": "10.99.0.5"},
            }
        }
    }
    plan.make(test=False)
    machines, (node,), _ = content(store)
    assert [(machine.mac, machine.state) for machine in machines] == [(mac(1), "accepted")]
    assert node == RegisteredNode(
        *("NODE005", mac(1), "10.8.226.50", "compute"),
        {"serial_console": "ttyS0,115200n8", "nfs": "3", "bmc": "10.99.0.5"},
        "boot2",
    )


def test_the_profile_of_an_import_is_for_nodes_whose_file_has_none(store):
    accept(store, 1, "node005", "10.9.0.5", profile="other")
    # Of the pillar's several none is asked for where the registry has the node's.
    said = planned(store, Found("node005", 1, None, "10.9.0.5"), profile=None).said
    assert said == {"unchanged": "node005"}
    said = planned(store, Found("node005", 1, None, "10.8.226.5"), profile="compute").said
    assert said == {
        "changed": {
            "node005": {
                "old": {"ip": "10.9.0.5", "profile": "other"},
                "new": {"ip": "10.8.226.5", "profile": "compute"},
            }
        }
    }
    # Its address is not on the network of that profile.
    with pytest.raises(DisklessError, match=r"line 1: found node005 .*no address on compute"):
        planned(store, Found("node005", 1, None, "10.9.0.5"), profile="compute")
    said = planned(store, Found("node005", 1, None, "10.9.0.5", "other"), profile="compute").said
    assert said == {"unchanged": "node005"}


def test_macs_may_be_swapped_by_an_import(store):
    accept(store, 1, "node005", "10.8.226.5")
    accept(store, 2, "node006", "10.8.226.6")
    planned(
        store,
        Found("node005", 1, mac(2), "10.8.226.5"),
        Found("node006", 2, mac(1), "10.8.226.6"),
    ).make(test=False)
    machines, nodes, _ = content(store)
    assert [node.mac for node in nodes] == [mac(2), mac(1)]
    assert {machine.state for machine in machines} == {"accepted"} and len(machines) == 2


def test_an_import_that_is_wrong_is_one_error_and_changes_nothing(store):
    with pytest.raises(DisklessError) as err:
        planned(
            store,
            Found("a b", 1, mac(1), "10.8.226.5"),
            Found("node006", 2, mac(2)),
            Found("node007", 3, mac(3), "10.8.226.7"),
            Found("node008", 4, mac(4), "10.8.226.8", settings={"bmc": "10.99.0.8+"}),
            Found("node009", 5, mac(5), "10.8.226.75+"),
            Found("node010", 6, None, "10.8.226"),
            profile="compute",
        )
    assert "line 5: ip: found '10.8.226.75+'; give an address" in str(err.value)
    assert "line 6: ip: found '10.8.226'; give an address" in str(err.value)
    assert "line 4: bmc: found '10.99.0.8+'; give an address" in str(err.value)
    assert "line 1: found 'a b'; give a host name" in str(err.value)
    assert "line 2: node006: found no address" in str(err.value)
    with pytest.raises(DisklessError) as err:
        planned(
            store,
            Found("node006", 2, mac(2), "10.8.226.72"),
            Found("node007", 3, mac(2), "10.8.226.7"),
            Found("node008", 4, mac(4), "10.8.226.4"),
            Found("node009", 5, mac(5), "10.8.226.7"),
            Found("node003.example.com", 6, mac(6), "10.8.226.8"),
        )
    for number, words in (
        (2, "a boot server"),
        (3, "a line before it has that MAC"),
        (4, "the pillar lists that name, address or MAC"),
        (5, "a line before it has that address"),
        (6, "the same host as node003"),
    ):
        assert any(
            line.startswith(f"  line {number}: ") and words in line
            for line in str(err.value).splitlines()
        ), str(err.value)
    assert content(store) == [[], [], []]


# -- export ---------------------------------------------------------------------------------------


def test_what_goes_on_is_one_entry():
    nodes = [
        RegisteredNode(f"node{n:03d}", mac(n), f"10.8.226.{n + 70}", "compute") for n in range(5, 8)
    ]
    nodes = [dataclasses.replace(n, settings={"bmc": f"10.99.{n.ip[-1]}.1"}) for n in nodes]
    nodes.append(RegisteredNode("odd", mac(9), "10.8.226.9", "compute", {"root": "ram"}))
    assert export.text(nodes) == (
        "# Written by salt-diskless: the registry's nodes. Changes made here are lost.\n"
        "diskless:\n  nodes:\n"
        '    odd:\n      profile: compute\n      ip: 10.8.226.9\n      mac: "52:54:00:00:00:09"\n'
        "      root: ram\n"
        "    node[005-007]:\n      profile: compute\n      ip: 10.8.226.75+\n      mac:\n"
        '      - "52:54:00:00:00:05"\n      - "52:54:00:00:00:06"\n      - "52:54:00:00:00:07"\n'
        "      bmc:\n      - 10.99.5.1\n      - 10.99.6.1\n      - 10.99.7.1\n"
    )


_NAMES = st.sampled_from(
    [f"{before}{n}{after}" for n in (1, 2, 3, 9, 10, 11, "009", "010", "011", 99, 100)
     for before in ("n", "node", "r1n", "a-") for after in ("", "x", "-ib")]
)  # fmt: skip


@given(
    st.lists(
        st.tuples(
            _NAMES, st.integers(5, 40), st.sampled_from([{}, {"root": "ram"}]), st.booleans()
        ),
        unique_by=(lambda one: one[0].lower(), lambda one: one[1]),
        max_size=20,
    )
)
def test_a_pillar_reads_what_was_written(given_nodes):
    nodes = [
        RegisteredNode(
            *(name, mac(n), f"10.8.226.{n}", "compute"),
            {**settings, **({"bmc": f"10.99.0.{n}"} if has_bmc else {})},
        )
        for name, n, settings, has_bmc in given_nodes
    ]
    written = yaml.safe_load(export.text(nodes))["diskless"]["nodes"]
    cluster = parse({**PILLAR, "nodes": written})
    assert {
        (n.name, n.mac, str(n.ip), str(n.bmc), n.settings.root) for n in cluster.nodes.values()
    } == {
        (
            *(node.name, node.mac, node.ip, str(node.settings.get("bmc"))),
            node.settings.get("root", "readonly"),
        )
        for node in nodes
    }
