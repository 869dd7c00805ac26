"""Files of other systems as they really are: every notation, every encoding, lines that are no
nodes."""

from __future__ import annotations

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless.cluster import DisklessError
from salt_diskless.registry import importing
from salt_diskless.registry.importing import FORMATS, Found
from salt_diskless.registry.importing.found import mac as parsed_mac
from salt_diskless.registry.store import Store
from tests.unit.registry import accept, announce, desk, mac, of

DATA = pathlib.Path(__file__).parent / "warewulf"


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return of(tmp_path)


def take(tmp_path, store, only=None, profile="compute", **files) -> dict:
    """Return what an import of files of these names would change."""
    read = []
    for name, text in files.items():
        path = tmp_path / name.replace("__", ".")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        read.append(importing.read(str(path)))
    return importing.planned(desk(store), read, profile, only).said


def nodes_of(form: str, text: str) -> list[tuple]:
    return [(one.name, one.mac, one.ip) for one in FORMATS[form](text) if not one.skip]


# -- MACs -----------------------------------------------------------------------------------------

BYTES = st.binary(min_size=6, max_size=6).filter(lambda some: any(some) and not some[0] & 1)


@pytest.mark.parametrize(
    "text",
    [
        *("5254.00aa.0002", "525400AA0002", "52 54 00 aa 00 02", "52-54-00-AA-00-02"),
        *("5254-00aa-0002", "525400-aa0002", "525400.aa0002", "52.54.00.aa.00.02"),
        *("52:54:0:aa:0:2", " 52:54:00:aa:00:02 ", "01-52-54-00-aa-00-02", "1:52:54:0:aa:0:2"),
    ],
)
def test_a_mac_in_a_usual_notation(text):
    assert parsed_mac(text, 1) == "52:54:00:aa:00:02"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "x",
            "5254.00aa.002",
            "525400AA000",
            "52:54:00-aa:00:02",
            "52:54:00:aa:00",
            "5.25E+11",
        ),
        *("80:00:00:48:fe:80:00:00:00:00:00:00:52:54:00:03:00:aa:00:02", "ffffffffffff", "0" * 12),
        *("525400AA0002525400AA0002", "01:52:54:00:aa:00", "52::54:00:aa:00:02"),
    ],
)
def test_what_is_no_mac_is_an_error_with_its_line(text):
    with pytest.raises(DisklessError, match=r"line 7: found .*give a MAC"):
        parsed_mac(text, 7)


@given(
    BYTES,
    st.sampled_from(
        [(1, ":"), (1, "-"), (1, " "), (1, "."), (2, "."), (2, "-"), (3, "-"), (6, "")]
    ),
    st.booleans(),
    st.booleans(),
)
def test_a_mac_that_is_written_is_read(data, shape, upper, short):
    size, between = shape
    parts = [data[i : i + size].hex() for i in range(0, 6, size)]
    if short and size == 1:
        parts = [part.lstrip("0") or "0" for part in parts]
    text = between.join(parts)
    assert parsed_mac(text.upper() if upper else text, 1) == data.hex(":")


@given(st.text(max_size=40) | st.from_regex(r"[0-9a-fA-F:. -]{1,40}", fullmatch=True))
def test_any_text_is_a_mac_or_an_error(text):
    try:
        assert len(parsed_mac(text, 1)) == 17
    except DisklessError as err:
        assert str(err).startswith("line 1: found")


# -- encodings and tables -------------------------------------------------------------------------

TABLE = "name,mac,ip\nnode005,525400AA0005,10.8.226.5\nnode006,5254.00aa.0006,10.8.226.6\n"


@pytest.mark.parametrize(
    "data",
    [
        TABLE.encode(),
        b"\xef\xbb\xbf" + TABLE.replace("\n", "\r\n").encode(),
        b"\xff\xfe" + TABLE.encode("utf-16-le"),
        b"\xfe\xff" + TABLE.encode("utf-16-be"),
        TABLE.encode("utf-16-le"),
        TABLE.encode("utf-16-be"),
        TABLE.replace("\n", "\r").encode(),
        ("sep=;\r\n" + TABLE.replace(",", ";").replace("\n", "\r\n")).encode(),
        ("\ufeffsep=\t\r\n" + TABLE.replace(",", "\t")).encode(),
        TABLE.replace("\n", ",,,\n").encode(),
        (TABLE.replace("name", '"name"') + ",,\n,,,,\n").encode(),
        (TABLE + "\n\n").encode(),
    ],
)
def test_a_table_of_any_spreadsheet(tmp_path, data):
    (tmp_path / "rack.csv").write_bytes(data)
    found = importing.read(str(tmp_path / "rack.csv"))
    assert [(one.name, one.mac, one.ip) for one in found] == [
        ("node005", "52:54:00:aa:00:05", "10.8.226.5"),
        ("node006", "52:54:00:aa:00:06", "10.8.226.6"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "utf-16"])
def test_a_comment_may_have_any_letter(tmp_path, encoding):
    (tmp_path / "hosts").write_bytes("10.8.226.5 node005 # Jürgens Büro\n".encode(encoding))
    (found,) = importing.read(str(tmp_path / "hosts"))
    assert (found.name, found.ip) == ("node005", "10.8.226.5")


@pytest.mark.parametrize(
    "data", [b"\x7fELF\x02\x01\x01" + bytes(60), b"\x1f\x8b\x08\x00abc", b"\xff\xfe"]
)
def test_a_program_is_no_text(tmp_path, data):
    (tmp_path / "hosts").write_bytes(data)
    with pytest.raises(DisklessError, match="found no text"):
        importing.read(str(tmp_path / "hosts"))


def test_the_line_of_a_table_with_sep_is_that_of_the_file():
    with pytest.raises(DisklessError, match="line 3: found 'x'; give a MAC"):
        list(FORMATS["csv"]("sep=;\nname;mac\nnode005;x\n"))
    with pytest.raises(DisklessError, match="line 2: found the column 'mca'"):
        list(FORMATS["csv"]("sep=;\nname;mca\n"))


# -- hosts(5) and only= ---------------------------------------------------------------------------

HOSTS = """\
127.0.0.1   localhost localhost.localdomain
127.0.1.1   boot2
::1         localhost ip6-localhost
ff02::1     ip6-allnodes
10.8.226.72 boot2.example.com boot2   # this server
10.8.226.1  gw
10.8.226.2  ns1
192.168.7.2 sw1 sw1-mgmt
10.8.226.21 n01.example.com n01
10.8.226.22 n02
10.99.1.21  n01-ipmi
10.99.1.22  n02-ipmi
10.9.7.21   n01-ib n01
10.8.226.30 store_1
10.8.226.210 guest
255.255.255.255 broadcasthost
garbage
"""


def test_a_real_hosts_file_is_imported(tmp_path, store):
    said = take(tmp_path, store, hosts=HOSTS)
    assert {name: node["ip"] for name, node in said["added"].items()} == {
        "n01": "10.8.226.21",
        "n02": "10.8.226.22",
    }
    skipped = said["skipped"]
    assert skipped["a boot server"] == "boot2 (hosts line 5)"
    assert skipped["a router"] == "gw (hosts line 6)"
    assert skipped["a name server"] == "ns1 (hosts line 7)"
    assert skipped["no address on compute (10.8.226.0/24)"].endswith("(hosts lines 8,11-13)")
    assert "n[01-02]-ipmi" in skipped["no address on compute (10.8.226.0/24)"]
    assert skipped["in the discovery_range of compute"] == "guest (hosts line 15)"
    assert skipped["found no host name (letters, digits and '-')"] == "store_1 (hosts line 14)"
    assert skipped["a loopback address"] == "boot2,localhost (hosts lines 1-2)"
    assert "(hosts line 17)" in " ".join(skipped.values())
    # Every line is somewhere.
    assert len(said["added"]) + sum(
        len({*importing.only_of(f"lines {part.split(' ')[-1][:-1]}").lines})
        for part in skipped.values()
    ) == len(HOSTS.splitlines())


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ("n[01-02]", {"n01", "n02"}),
        ("N02", {"n02"}),
        ("10.8.226.16/29", {"n01", "n02"}),
        ("10.8.226.0/24", {"n01", "n02"}),
        ("10.8.226.22-10.8.226.29", {"n02"}),
        ("10.8.226.21", {"n01"}),
        ("lines 10-40", {"n02"}),
        ("line 9", {"n01"}),
        ("lines 9-9,10", {"n01", "n02"}),
        ("n01,10.8.226.22", {"n01", "n02"}),
        (["n01", "line 10"], {"n01", "n02"}),
    ],
)
def test_only_some_of_a_file(tmp_path, store, only, names):
    said = take(tmp_path, store, only, hosts=HOSTS)
    assert {*said["added"]} == names
    assert said["skipped"]["not in only"]


def test_what_only_names_is_required(tmp_path, store):
    for name in ("gw", "n01-ipmi", "n[01-02]-ipmi"):
        with pytest.raises(DisklessError):
            plan = importing.planned(desk(store), [list(FORMATS["hosts"](HOSTS))], "compute", name)
            plan.make(test=True)
    assert take(tmp_path, store, "n[01-05]", hosts=HOSTS)["missing"] == "n[03-05]"


@pytest.mark.parametrize(
    ("only", "words"),
    [
        ("x[1-9]", "only: found none of its nodes in the files"),
        ("n03", "did you mean n0"),
        ("lines 100-200", "only: found none"),
        ("lines x", "only: found"),
        ("10.8.226.0/33", "only: found '10.8.226.0/33'; give a node set"),
        ("10.8.226.9-10.8.226.5", "only: found"),
        ("", "only: found ''; give a node set"),
        ([], "only: found"),
        (3, "only: found 3; give a node set"),
        (True, "only: found true"),
        ({"a": 1}, "only: found"),
        ("n[1-", "only: found"),
        ("a b\x00", "only: found"),
        ("lines 9-1", "only: found"),
    ],
)
def test_only_that_is_wrong_is_an_error(tmp_path, store, only, words):
    with pytest.raises(DisklessError) as err:
        take(tmp_path, store, only, hosts=HOSTS)
    assert words in str(err.value)


def test_lines_are_of_the_first_file(tmp_path, store):
    said = take(
        tmp_path, store, "lines 10", hosts=HOSTS, ethers=f"{mac(1)} n01\n{mac(2)} n02.example.com\n"
    )
    assert {*said["added"]} == {"n02"} and said["places"] == "n02"
    said = take(tmp_path, store, "lines 9-10", hosts=HOSTS, ethers=f"{mac(1)} n01.example.com\n")
    assert said["added"]["n01"]["mac"] == mac(1)


def test_two_addresses_of_a_node_need_a_choice(tmp_path, store):
    text = "10.8.226.5 n05\n10.8.226.6 n05\n"
    with pytest.raises(DisklessError, match=r"hosts line 2: .*or choose lines with only="):
        take(tmp_path, store, hosts=text)
    assert take(tmp_path, store, "line 2", hosts=text)["added"]["n05"]["ip"] == "10.8.226.6"


def test_a_line_for_what_somebody_has_is_left_out(tmp_path, store):
    accept(store, 1, "node005", "10.8.226.5")
    said = take(
        tmp_path, store, hosts="10.8.226.5 web\n10.8.226.3 www\n10.8.226.9 a\n10.8.226.9 b\n"
    )
    assert {*said["added"]} == {"a"}
    assert said["skipped"] == {
        "a registered node has that address": "web (hosts line 1)",
        "the pillar lists that name, address or MAC for another node": "www (hosts line 2)",
        "a line before it has that address": "b (hosts line 4)",
    }


def test_ethers_alone_are_for_nodes_that_have_an_address(tmp_path, store):
    announce(store, 1)
    accept(store, 1, "node005", "10.8.226.5")
    said = take(
        tmp_path, store, ethers=f"{mac(9)} node005\n{mac(3)} printer\n{mac(4)} 10.8.226.9\n"
    )
    assert said["changed"] == {"node005": {"old": {"mac": mac(1)}, "new": {"mac": mac(9)}}}
    assert len(said["skipped"]) == 2


# -- dhcpd.conf -----------------------------------------------------------------------------------

DHCPD = """\
OPTION domain-name "x"; include "/etc/dhcp/more.conf";
SUBCLASS "allocation" 1:52:54:00:00:00:77;
Group racks {
  HOST "n01" { HARDWARE ETHERNET 5254.00aa.0001; Fixed-Address n01.example.com; }
  host node_02 { hardware ethernet 52:54:0:aa:0:2; fixed-address n02; }
  host x_3 { hardware ethernet 52:54:00:aa:00:03; fixed-address 10.8.226.23;
             Option Host-Name "n03"; }
  host n04 { hardware ethernet 52:54:00:aa:00:04; }
  host n05 { hardware infiniband 80:00:00:48:fe:80:00:00:00:00:00:00:52:54:00:03:00:aa:00:02;
             fixed-address 10.8.226.25; }
  host n06 { hardware ethernet 52:54:00:aa:00:06; fixed-address 10.9.7.26, 10.8.226.26; }
  host bad_7 { hardware ethernet 52:54:00:aa:00:07; fixed-address 10.8.226.27; }
  host n08 { hardware ethernet 52:54:00:aa:00:08; fixed-address nowhere.example.com; }
  host n09 { host-identifier option agent.circuit-id "x"; fixed-address 10.8.226.29; }
  host n10 { hardware token-ring 52:54:00:aa:00:10; fixed-address 10.8.226.30; }
}
"""


def test_dhcpd_conf_with_all_that_it_may_have(tmp_path, store):
    said = take(tmp_path, store, dhcpd__conf=DHCPD, hosts=HOSTS)
    assert {name: (node.get("mac"), node["ip"]) for name, node in said["added"].items()} == {
        "n01": ("52:54:00:aa:00:01", "10.8.226.21"),
        "n02": ("52:54:00:aa:00:02", "10.8.226.22"),
        "n03": ("52:54:00:aa:00:03", "10.8.226.23"),
        "n06": ("52:54:00:aa:00:06", "10.8.226.26"),
    }
    of_dhcpd = [part for part in said["skipped"].items() if "dhcpd.conf" in part[1]]
    names = " ".join(part for _, part in of_dhcpd)
    for name in ("n04", "n05", "bad_7", "n08", "n09", "n10", "/etc/dhcp/more.conf", "1:52:54:00"):
        assert name in names
    reasons = " ".join(reason for reason, _ in of_dhcpd)
    for words in ("hardware infiniband", "hardware token-ring", "found no address", "included"):
        assert words in reasons
    assert said["left out"] == {"a further address": "n06 (dhcpd.conf line 12)"} or (
        "n06" in said["left out"]["a further address"]
    )


CASES = st.sampled_from([str.lower, str.upper, str.title])


@given(
    st.lists(st.tuples(st.integers(5, 99), BYTES, CASES, st.booleans()), unique_by=lambda x: x[0]),
    st.sampled_from([" ", "\n", "\t# host x { }\n"]),
)
def test_dhcpd_hosts_that_are_written_are_read(hosts, blank):
    text = "".join(
        blank.join([case("host"), f'"n{n}"' if quoted else f"n{n}", "{", case("hardware"),
                    case("ethernet"), data.hex(":"), ";", case("fixed-address"),
                    f"10.8.226.{n}", ";", "}", ""])
        for n, data, case, quoted in hosts
    )  # fmt: skip
    assert nodes_of("dhcpd", text) == [
        (f"n{n}", data.hex(":"), f"10.8.226.{n}") for n, data, _, _ in hosts
    ]


# -- Warewulf -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["4.2", "4.3", "4.4", "4.5", "4.6"])
def test_the_primary_device_of_every_warewulf(version):
    text = (DATA / f"nodes-{version}.conf").read_text(encoding="utf-8")
    assert [one for one in nodes_of("warewulf", text) if one[0] in ("n1", "n2")] == [
        ("n1", "52:54:00:aa:00:02", "10.8.226.21"),
        ("n2", "52:54:00:aa:00:04", "10.8.226.22"),
    ]


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("n: {network devices: {a: A, b: {B, primary: 'true'}}}", "b"),
        ("n: {network devices: {a: A, b: {B, default: true}}}", "b"),
        ("n: {network devices: {a: {A, primary: 'false'}, b: {B, primary: 'True'}}}", "b"),
        ("n: {primary network: b, network devices: {a: {A, primary: 'true'}, b: B}}", "b"),
        ("n: {profiles: [p], network devices: {a: A, b: B}}", "b"),
        ("n: {profiles: [q], network devices: {a: A, b: B}}", "b"),
        ("n: {profiles: [q, r], network devices: {a: A, b: B}}", "a"),
        ("n: {profiles: [q, p, ~p], network devices: {a: A, b: B}}", "b"),
        ("n: {profiles: [p], network devices: {a: {A, primary: 'true'}, b: B}}", "a"),
        ("n: {profiles: [deep], network devices: {a: A, b: B}}", "b"),
        ("n: {network devices: {default: B, a: A}}", "b"),
        ("n: {network devices: {b: B}}", "b"),
        ("n: {network devices: {b: B, c: A}}", "b"),
        ("n: {network devices: {ib: {type: infiniband, hwaddr: LONG}, b: B}}", "b"),
        ("n: {primary network: gone, network devices: {b: B, ib: {hwaddr: LONG}}}", "b"),
    ],
)  # fmt: skip
def test_which_device_is_the_primary_one(text, device):
    profiles = (
        "nodeprofiles: {p: {primary network: b}, q: {network devices: {b: {primary: 'true'}}}, "
        "r: {primary network: a}, deep: {profiles: [p]}}\n"
    )
    for name, n in (("A", 1), ("B", 2)):
        one = f"hwaddr: {mac(n)}, ipaddr: 10.8.226.{n}"
        text = text.replace(f": {name}", f": {{{one}}}").replace(f"{{{name},", f"{{{one},")
    text = text.replace("LONG", "80:00:00:48:fe:80:00:00:00:00:00:00:52:54:00:03:00:aa:00:02")
    n = {"a": 1, "b": 2}[device]
    assert nodes_of("warewulf", f"{profiles}nodes:\n  {text}\n") == [("n", mac(n), f"10.8.226.{n}")]


def test_infiniband_as_the_primary_device_is_listed(tmp_path, store):
    text = (DATA / "nodes-4.5.conf").read_text(encoding="utf-8")
    said = take(tmp_path, store, nodes__conf=text)
    (reason,) = said["skipped"]
    assert "ib0 has no Ethernet address" in reason and said["skipped"][reason].startswith("n3 ")
    assert {*said["added"]} == {"n1", "n2"}
    assert any("network device" in note for note in said["left out"])


@given(
    st.sampled_from(sorted(FORMATS)),
    st.sampled_from([DHCPD, HOSTS, TABLE, "nodes: {n1: {network devices: {a: {hwaddr: x}}}}"]),
    st.integers(0, 900),
    st.text(max_size=5),
)
def test_a_damaged_file_is_nodes_or_an_error(form, text, at, extra):
    try:
        found = [*FORMATS[form](text[:at] + extra + text[at + 1 :])]
    except DisklessError as err:
        assert str(err)
    else:
        assert all(isinstance(one, Found) for one in importing.joined([found]))


def test_many_lines_are_counted(tmp_path, store):
    text = "".join(f"10.8.226.{n} n{n}\n10.99.1.{n} n{n}-ipmi\n" for n in range(10, 100))
    skipped = take(tmp_path, store, hosts=text)["skipped"]
    assert skipped["a boot server"] == "n72 (hosts line 125)"
    assert (
        skipped["no address on compute (10.8.226.0/24)"]
        == "n[10-99]-ipmi (hosts lines 2 to 180, 90 of them)"
    )
