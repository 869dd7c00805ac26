"""Files as other programs write them: tables of spreadsheets, dhcpd.leases, hosts files of several
networks, nodes.conf that wwctl has edited."""

from __future__ import annotations

import pathlib
import time

import pytest

from salt_diskless.cluster import DisklessError
from salt_diskless.registry import importing
from salt_diskless.registry.importing import FORMATS
from salt_diskless.registry.store import Store
from tests.unit.registry import desk, mac, of

FIVE = "52:54:00:aa:00:05"
BODY = "node005,525400AA0005,10.8.226.5\n"


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return of(tmp_path)


def take(tmp_path, store, only=None, **files) -> dict:
    """Return what an import of files of these names would change."""
    read = []
    for name, text in files.items():
        path = tmp_path / name.replace("__", ".")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        read.append(importing.read(str(path)))
    return importing.planned(desk(store), read, "compute", only).said


def added(result: dict) -> dict:
    return {name: (node.get("mac"), node["ip"]) for name, node in result["added"].items()}


# -- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Hostname,MAC Address,IP Address\n" + BODY,
        "Host Name,mac-address,IP_Address\n" + BODY,
        "NODE,HWaddr,IPv4\n" + BODY,
        ("name,mac,ip\n" + BODY).replace(",", "|"),
        "\n\nname,mac,ip\n" + BODY,
        ",,\nname,mac,ip\n" + BODY,
        "# rack 7\nname,mac,ip\n" + BODY + "# node006,x,y\n",
        "\nsep=;\n\n" + ("name,mac,ip\n" + BODY).replace(",", ";"),
        "name;mac;ip\nnode005;'525400AA0005;10.8.226.5\n",
        'name;mac;ip\n"=""node005""";"=""525400AA0005""";10.8.226.5\n',
        "name,mac,ip\nnode005,0x525400AA0005,10.8.226.5\n",
    ],
)
def test_a_table_in_another_form(tmp_path, store, text):
    assert added(take(tmp_path, store, rack__csv=text)) == {"node005": (FIVE, "10.8.226.5")}


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le", "utf-32-be"])
def test_a_table_in_utf_32(tmp_path, store, encoding):
    text = ("" if encoding == "utf-32" else "\ufeff") + "name,mac,ip\n" + BODY
    assert added(take(tmp_path, store, rack__csv=text.encode(encoding)))


def test_other_columns_are_named(tmp_path, store):
    text = "Rack,Name,MAC,IP,Serial\n7,node005,525400AA0005,10.8.226.5,\n"
    result = take(tmp_path, store, rack__csv=text)
    assert added(result) == {"node005": (FIVE, "10.8.226.5")}
    assert result["left out"] == {"column rack": "node005 (rack.csv line 2)"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,mac,MAC Address\n", "line 1: found 2 columns for mac; give name, mac"),
        ("name,hostname,ip\n", "line 1: found 2 columns for name"),
        ("name,mac,profil\n", "line 1: found the column 'profil'; did you mean profile?"),
        ("rack,mac,ip\n", "line 1: found the column 'rack'"),
        ("\n\nname,mac\nnode005,x\n", "line 4: found 'x'; give a MAC"),
        ("name,mac\nnode005,5.254E+11\n", "a spreadsheet changed it to a number"),
        ('name,mac\nnode005,"5,254E+11"\n', "a spreadsheet changed it to a number"),
        ("name,mac\nnode005,2590123456\n", "a spreadsheet changed it to a number"),
        ("name,mac\nnode005,525400fffeaa0005\n", "line 2: found '525400fffeaa0005'; give a MAC"),
        ("name,mac\nnode005,33:33:00:00:00:01\n", "give a MAC of one machine"),
    ],
)
def test_a_table_that_is_wrong_names_the_cell(text, words):
    with pytest.raises(DisklessError) as err:
        list(FORMATS["csv"](text))
    assert words in str(err.value)


def test_a_mac_twice_names_both_lines(tmp_path, store):
    text = "name,mac,ip\n" + BODY + "node006,52-54-00-aa-00-05,10.8.226.6\n"
    with pytest.raises(DisklessError) as err:
        take(tmp_path, store, rack__csv=text)
    assert "rack.csv line 3: found node006" in str(err.value)
    assert "a line before it has that MAC" in str(err.value) and "pillar" not in str(err.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dhcpd.conf", "subnet 10.8.226.0 netmask 255.255.255.0 { }\n"),
        ("dhcpd.conf", "10.8.226.5 node005\n"),
        ("dhcpd.conf", '{"Dhcp4": {"subnet4": []}}'),
        ("hosts", "# nothing\n"),
        ("ethers", ""),
        ("rack.csv", "name,mac,ip\n"),
        ("nodes.conf", "nodes: {}\n"),
    ],
)
def test_a_file_without_nodes_is_an_error(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(DisklessError, match=f"{name}: found no node in it, read as "):
        importing.read(str(tmp_path / name))


@pytest.mark.parametrize("data", [b"10.8.226.5 node005\0\n", b"10.8.226.5 node\x01005\n"])
def test_a_control_character_is_no_text(tmp_path, data):
    (tmp_path / "hosts").write_bytes(data)
    with pytest.raises(DisklessError, match="found no text"):
        importing.read(str(tmp_path / "hosts"))


def test_a_profile_that_is_wrong_is_named_once(tmp_path, store):
    text = "name,mac,ip,profile\n" + BODY.replace("\n", ",comput\n")
    with pytest.raises(DisklessError, match=r"rack.csv line 2: profile: found 'comput'; did you"):
        take(tmp_path, store, rack__csv=text)
    nodes = [list(FORMATS["hosts"]("10.8.226.5 node005\n10.8.226.6 node006\n"))]
    with pytest.raises(DisklessError) as err:
        importing.planned(desk(store), nodes, "comput")
    assert str(err.value) == "profile: found 'comput'; did you mean compute?"


# -- dhcpd ----------------------------------------------------------------------------------------

HOST = "host n05 { hardware ethernet 52:54:00:aa:00:05; fixed-address 10.8.226.5; }\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "next-server 10.8.226.72\n" + HOST,
            "line 2: found no ';' after 'next-server 10.8.226.72'",
        ),
        ('group {\nfilename "x"\n' + HOST + "}", "line 3: found no ';' after 'filename x'"),
        (HOST.replace("226.5;", "226.5"), "found no ';' after 'fixed-address 10.8.226.5'"),
        (HOST.replace(":05;", ":05"), "give 'hardware ethernet MAC;'"),
        (HOST.replace("n05 ", ""), "line 1: found 'host'; give 'host NAME {'"),
        (HOST.replace("}", "hardware ethernet 52:54:00:aa:00:06; }"), "found a second hardware"),
        ("\n" + HOST.replace("}", "") + HOST, "line 2: found a { without its }"),
    ],
)
def test_a_host_that_would_be_lost_is_an_error(text, words):
    with pytest.raises(DisklessError) as err:
        list(FORMATS["dhcpd"](text))
    assert words in str(err.value)


@pytest.mark.parametrize(
    "text",
    [
        HOST.replace("}", "deny booting; }"),
        HOST.replace("{", "{ Ignore Booting;"),
        "group { deny booting; group { " + HOST + "} }",
        "deny booting;\n" + HOST,
    ],
)
def test_a_host_that_may_not_boot_is_left_out(tmp_path, store, text):
    result = take(tmp_path, store, dhcpd__conf=text)
    assert "added" not in result and "deny booting" in next(iter(result["skipped"]))
    text = text.replace(HOST, HOST.replace("{", "{ allow booting;"))
    if "allow" in text:
        assert added(take(tmp_path, store, dhcpd__conf=text))


def test_leases_are_a_journal(tmp_path, store):
    gone = "host n05 { dynamic; deleted; }\n"
    assert "added" not in take(tmp_path, store, dhcpd__conf=HOST + gone)
    assert added(take(tmp_path, store, dhcpd__conf=HOST + gone + HOST))
    named = HOST.replace("}", 'supersede host-name = "n55"; }')
    assert {*added(take(tmp_path, store, dhcpd__conf=named))} == {"n55"}
    named = HOST.replace("n05", "n_05").replace("}", 'ddns-hostname "n55"; }')
    assert {*added(take(tmp_path, store, dhcpd__conf=named))} == {"n55"}


def test_all_addresses_of_a_host_count(tmp_path, store):
    text = HOST.replace("}", "fixed-address 10.99.0.5; }").replace("10.8.226.5", "10.9.7.5")
    text = text.replace("}", "fixed-address 10.8.226.5; }")
    result = take(tmp_path, store, dhcpd__conf=text)
    assert added(result) == {"n05": (FIVE, "10.8.226.5")}
    assert result["left out"] == {"a further address": "n05 (dhcpd.conf line 1)"}


# -- hosts and only= ------------------------------------------------------------------------------

HOSTS = """\
10.8.226.21\tn01.example.com\tn01\tn01-eth0 compute1
10.8.226.22\tn02.example.com n02  n02-eth0 compute2
10.99.0.21 n01-bmc n01-ipmi
10.100.0.21 n01-ib n01
10.8.226.23 n03
"""


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ("n01.example.com", {"n01"}),
        ("compute[1-2]", {"n01", "n02"}),
        ("n02-eth0", {"n02"}),
        ("n01", {"n01"}),
        ("n[01-02] n03", {"n01", "n02", "n03"}),
        ("10.8.226.21 10.8.226.23", {"n01", "n03"}),
        ("10.8.226.21-22", {"n01", "n02"}),
        ("10.8.226.*", {"n01", "n02", "n03"}),
        (["line 1", "line 2", "line 5"], {"n01", "n02", "n03"}),
        ("n[01-03]!n02", {"n01", "n03"}),
    ],
)
def test_only_takes_any_name_and_any_range(tmp_path, store, only, names):
    assert {*take(tmp_path, store, only, hosts=HOSTS)["added"]} == names


def test_only_that_stands_for_too_many_is_counted(tmp_path, store):
    with pytest.raises(DisklessError, match="it stands for 1000000000 nodes; give 100000"):
        take(tmp_path, store, "n[1-1000000000]", hosts=HOSTS)


def test_names_that_no_node_can_have_are_listed(tmp_path, store):
    text = HOSTS + "10.8.226.5 7\n10.8.226.6 files\n10.8.226.7 localhost\n"
    text += "10.8.226.24 n03.other.example.com\n10.8.226.8 node003.example.com\n"
    result = take(tmp_path, store, hosts=text)
    assert {*result["added"]} == {"n01", "n02", "n03"}
    skipped = " ".join([*result["skipped"], *result["skipped"].values()])
    for words in (
        *("7 (hosts line 6)", "files (hosts line 7)", "localhost (hosts line 8)"),
        "the same host as n03, a line before it",
        "the same host as node003, a node of the pillar",
    ):
        assert words in skipped


def test_ethers_may_have_any_name_of_a_node(tmp_path, store):
    ethers = f"{mac(1)} compute1\n{mac(2)} n02-eth0\n{mac(3)} 10.8.226.23\n"
    result = take(tmp_path, store, hosts=HOSTS, ethers=ethers)
    assert {name: value[0] for name, value in added(result).items()} == {
        f"n0{n}": mac(n) for n in (1, 2, 3)
    }
    with pytest.raises(DisklessError, match=r"ethers line 2: found mac .* in .*ethers line 1"):
        take(tmp_path, store, hosts=HOSTS, ethers=f"{mac(1)} compute1\n{mac(2)} n01\n")


def test_what_only_names_is_wrong_with_its_line(tmp_path, store):
    for only, words in (
        ("n01-bmc", r"hosts line 3: found n01-bmc \(10.99.0.21\): no address on compute"),
        ("gw", r"hosts line 6: found gw \(10.8.226.1\): a router"),
    ):
        with pytest.raises(DisklessError, match=words):
            take(tmp_path, store, only, hosts=HOSTS + "10.8.226.1 gw\n")


@pytest.mark.parametrize("same", ["name", "address", "line"])
def test_many_lines_of_one_thing_are_read_in_linear_time(tmp_path, store, same):
    lines = {
        "name": (f"10.{n >> 16}.{n >> 8 & 255}.{n & 255} n1\n" for n in range(30_000)),
        "address": (f"10.8.226.5 n{n}\n" for n in range(30_000)),
        "line": ["10.8.226.5 " + " ".join(f"n{n}" for n in range(30_000))],
    }[same]
    begin = time.process_time()
    take(tmp_path, store, hosts="".join(lines))
    assert time.process_time() - begin < 30


# -- Warewulf -------------------------------------------------------------------------------------

A, B = (f"hwaddr: {mac(n)}, ipaddr: 10.8.226.{n + 20}" for n in (1, 2))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            f"  n: {{network devices: {{a: {{{A}, primary: 1}}, b: {{{B}, primary: 'true'}}}}}}",
            "line 2: 'primary': found a, b; give one device",
        ),
        (f"  n: {{network devices: {{a: {{{A}}}}}}}\n  n: {{}}", "line 3: found 'n' again"),
        (f"  n:\n    network devices:\n      a: {{{A}}}\n      a: {{{B}}}", "found 'a' again"),
        (f"  n: {{network devices: {{a: {{{A}}}}}}}\nnodes: {{}}", "'nodes' again, which is in"),
        ("\tn: {}", "line 2: found no YAML: found character"),
        ("  n: {}\n---\nb: 1", "found no YAML: but found another document"),
        ("  n: " + "[" * 3000, "found too many nested levels"),
    ],
)
def test_nodes_conf_that_warewulf_would_refuse(text, words):
    with pytest.raises(DisklessError) as err:
        list(FORMATS["warewulf"](f"nodes:\n{text}\n"))
    assert words in str(err.value) and "\n" not in str(err.value)


def test_a_node_without_a_device_is_listed(tmp_path, store):
    devices = f"{{network devices: {{a: {{{A}}}}}}}"
    text = f"nodes:\n  n1: {devices}\n  n2:\n  n3: ~\n  n4: {{profiles: [default]}}\n"
    text += "  n5: {primary network: UNDEF, network devices: {a: {hwaddr: UNSET}}}\n"
    text += f"  n6: {{disabled: 'true', network devices: {{a: {{{B}}}}}}}\n"
    result = take(tmp_path, store, nodes__conf=text)
    assert {*result["added"]} == {"n1"}
    assert result["skipped"] == {
        "found no address; give the file that has it as well": "n[2-5] (nodes.conf lines 3-6)",
        "disabled in Warewulf": "n6 (nodes.conf line 7)",
    }


def test_a_primary_network_that_is_gone_is_noted(tmp_path, store):
    text = f"nodes:\n  n: {{primary network: z, network devices: {{a: {{{A}}}, b: {{{B}}}}}}}\n"
    (note, _) = take(tmp_path, store, nodes__conf=text)["left out"]
    what = "the node has no device of the name of its primary network, z"
    assert note == f"{what}: the import takes a of a, b"


def test_merged_mappings_are_read():
    text = f"x: &x {{network devices: {{a: {{{A}}}}}}}\nnodes:\n  n: {{<<: *x}}\n"
    (node,) = FORMATS["warewulf"](text)
    assert (node.mac, node.ip) == (mac(1), "10.8.226.21")


def test_an_infiniband_address_without_separators_is_no_mac():
    guid = "a0000220fe80000000000000e41d2d0300e1f2a1"
    text = f"nodes: {{n: {{network devices: {{ib0: {{hwaddr: {guid}}}, z: {{{A}}}}}}}}}\n"
    (node,) = FORMATS["warewulf"](text)
    assert (node.mac, node.ip) == (mac(1), "10.8.226.21")
