"""One node more or less: what is written is what a full run would write, and the running dhcpd and
exportfs have it at once."""

from __future__ import annotations

import copy
import os
import pathlib
import subprocess

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless import adapter
from salt_diskless.services import nfs
from tests.functional.wire import ask, running_dhcpd, segment

__all__ = ["segment"]

STATES = ("diskless_image.synced", *(f"diskless_{name}.managed" for name in (
    "snapshot", "swap", "tftp", "nfs", "dhcpd")))  # fmt: skip
LEASES = pathlib.Path("/var/lib/dhcp/dhcpd.leases")
REGISTRY = "linux-install/registry"
NEW = {"mac": "52:54:00:77:00:50", "ip": "10.77.0.50", "profile": "compute"}


def apply(salt_call, pillar: dict, test: bool = False) -> dict[str, dict]:
    """Run the states of a boot server, and return their changes where there are some."""
    call = salt_call(pillar, test=test)
    changes = {}
    for name in STATES:
        ret = call.state(name)
        assert ret.result is not False, ret.comment
        changes[name] = ret.changes
    return {name: change for name, change in changes.items() if change}


@pytest.fixture
def served(salt_call, pillar) -> dict:
    """The pillar of a boot server that three nodes boot from."""
    apply(salt_call, pillar)
    yield pillar
    for file in pathlib.Path("/etc/exports.d").iterdir():
        file.unlink()
    subprocess.run(["exportfs", "-r"], check=True)
    LEASES.unlink(missing_ok=True)


def add(salt_call, pillar: dict, **nodes: dict) -> dict:
    """Add nodes while the pillar has none of them."""
    return salt_call(pillar).modules["diskless_node.add"](nodes)


def with_nodes(pillar: dict, **nodes: dict) -> dict:
    return {**pillar, "nodes": {**pillar["nodes"], **copy.deepcopy(nodes)}}


@pytest.mark.parametrize(
    "settings",
    [
        {"ip": "10.77.0.5"},
        {"ip": "10.77.0.50"},
        {"ip": "10.77.0.250"},
        {"ip": "10.77.0.13", "swap": {"kind": "nfs", "size": "16M"}},
        {"files": ["/var/log", "/etc/ssh", {"path": "/home", "how": "tmpfs"}]},
        {"serial_console": "ttyS1,9600", "nfs": 3, "interface": "eth1"},
        {"nis_domain": "other", "timeout": {"after": 600, "then": "halt"}, "host_keys": []},
    ],
    ids=["first", "middle", "last", "swap", "files", "console", "other words"],
)
def test_a_run_whose_pillar_has_the_added_node_finds_nothing_to_do(salt_call, served, settings):
    node = {**NEW, **settings}
    for call in (1, 2):
        changes = add(salt_call, served, node004=node)
        assert changes.get("added") == ({"nodes": "node004"} if call == 1 else None)
    assert apply(salt_call, with_nodes(served, node004=node)) == {}


def test_it_is_exported_as_exportfs_would(salt_call, served):
    other = {**NEW, "mac": "52:54:00:77:00:51", "ip": "10.77.0.13"}
    add(salt_call, served, node004=NEW, node005=other)
    ours = {*nfs.table()}
    assert "10.77.0.50" in {export.client for export in ours}
    subprocess.run(["exportfs", "-r"], check=True)
    assert {*nfs.table()} == ours
    assert salt_call(served).modules["diskless_node.remove"]("node[004-005]")
    ours = {*nfs.table()}
    assert "10.77.0.50" not in {export.client for export in ours}
    subprocess.run(["exportfs", "-r"], check=True)
    assert {*nfs.table()} == ours


def test_the_keys_of_its_minion_are_there_before_it_is_told_that_it_is_a_node(
    salt_call, served, golden, monkeypatch
):
    (golden / "etc/salt").mkdir()
    (golden / "etc/salt/minion").touch()
    apply(salt_call, served)
    location = pathlib.Path(served["images"]["tiny"]["location"])
    pki = location / "snapshot/node004/.diskless/identity/pki/minion"
    answer = pathlib.Path(served["lookup"]["tftp_root"]) / REGISTRY / "01-52-54-00-77-00-50"
    make, when = adapter.make_pair, []
    monkeypatch.setattr(adapter, "make_pair", lambda: (when.append(answer.exists()), make())[1])
    function = salt_call(served).modules["diskless_node.add"]
    keys = function({"node004": NEW}, keys=True)["keys"]
    assert when == [False] and answer.exists()
    assert keys == {"node004": (pki / "minion.pub").read_text()}
    # Nobody else's are made, and the second time they are what they were.
    assert not (location / "snapshot/node001/.diskless/identity/pki").exists()
    assert function({"node004": NEW}, keys=True)["keys"] == keys
    assert "keys" not in function({"node004": NEW})


def test_two_nodes_change_their_macs_in_one_call(salt_call, served):
    one = {"node004": NEW, "node005": {**NEW, "mac": "52:54:00:77:00:51", "ip": "10.77.0.13"}}
    add(salt_call, served, **one)
    macs = [node["mac"] for node in one.values()]
    other = {name: {**one[name], "mac": mac} for name, mac in zip(one, reversed(macs), strict=True)}
    assert add(salt_call, served, **other)["changed"] == {"nodes": "node[004-005]"}
    there = salt_call(served).modules["diskless_node.list"](full=True)
    assert [there[name]["mac"] for name in one] == [*reversed(macs)]
    changes = apply(salt_call, with_nodes(served, **other))
    assert not {*changes} - {"diskless_dhcpd.managed"}, changes


def test_a_table_whose_last_line_has_no_end_is_made_anew_by_exportfs(salt_call, served):
    add(salt_call, served, node004=NEW)
    table = pathlib.Path(nfs.TABLE)
    there = {*nfs.table()}
    lines = sorted(table.read_text().splitlines(), key=lambda line: "node004" in line)
    table.write_text("\n".join(lines))
    salt_call(served).modules["diskless_node.remove"]("node004")
    assert {*nfs.table()} == {one for one in there if one.client != NEW["ip"]}


def test_where_nothing_is_exported_yet_exportfs_does_it(salt_call, pillar, served):
    pathlib.Path(nfs.TABLE).unlink()
    add(salt_call, served, node004=NEW)
    assert len({*nfs.table()}) == len({*nfs.wanted(_site(with_nodes(served, node004=NEW)))})


def _site(pillar: dict):
    from salt_diskless.cluster import parse

    return parse(pillar).served_by("bootserver")


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("node004", {"mac": "52:54:00:77:00:01"}, "node004:mac: found 52:54:00:77:00:01; give "
            "node004 its own: node001 has it"),
        ("node004", {"ip": "10.77.0.73"}, "node004:ip: found 10.77.0.73; give node004 its own: "
            "node003 has it"),
        ("node003", {}, "found node003 at 10.77.0.50; remove that one first: it is node003 at "
            "10.77.0.73"),
        ("NODE003", {"ip": "10.77.0.73"}, "it is node003 at 10.77.0.73"),
        ("node004", {"ip": "10.77.0.1"}, "it is the boot server bootserver"),
        ("node004", {"ip": "10.78.0.1"}, "give one inside 10.77.0.0/24"),
        ("node004", {"mac": 41135040001}, "YAML made a number of an unquoted MAC"),
        ("node004", {"profile": "comptue"}, "did you mean compute?"),
        ("node004", {"kernel_append": "x\ny"}, "kernel_append"),
        ("node 4", {}, "diskless:nodes"),
        ("node004\n}", {}, "give a host name"),
        ("node003.lab.example", {}, "node003, which is served, is the same host"),
        ("files.custom", {}, "give another name"),
        ("n" * 64, {}, "63 characters"),
        ("bootserver", {}, "is a boot server"),
        ("node[4-1000000000]", {}, "give at most 100000 nodes"),
        ("node004", {"kernel_append": "x" * 2500}, "kernel line of up to"),
        ("node004", {"kernel_append": "rdinit=/bin/sh"}, "leave rdinit out"),
        ("node004", {"ip": "127.0.0.9"}, "give the address of one machine"),
        ("node004", {"files": ["/usr/lib"]}, "/usr/lib belongs to a version"),
        ("node004", {"timeout": {"after": 5}}, "give a whole number from 60"),
        ("node004", {"image": "tiny", "version": "20200101T000000"}, "found 20200101T000000"),
        ("node004", {"kernel": "5.0-none"}, "kernel 5.0-none is wanted"),
        ("node004", {"root": "overlay"}, "kernel 6.1.0-9-test with overlay is wanted"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_error_and_changes_nothing(
    salt_call, served, listing, name, settings, says
):
    before, table = listing(), {*nfs.table()}
    with pytest.raises(CommandExecutionError) as err:
        add(salt_call, served, **{name: {**NEW, **settings}})
    assert says in str(err.value)
    assert ({*nfs.table()}, listing()) == (table, before)


@pytest.mark.parametrize("nodes", [None, {}, [], "node004", {"node004": None}])
def test_what_is_no_mapping_of_nodes_is_refused(salt_call, served, listing, nodes):
    before = listing()
    with pytest.raises(CommandExecutionError):
        salt_call(served).modules["diskless_node.add"](nodes)
    assert listing() == before


def test_before_the_first_run_and_after_a_change_of_networks_a_full_run_is_asked_for(
    salt_call, pillar, listing
):
    assert salt_call(pillar).state("diskless_image.synced").result is True
    with pytest.raises(CommandExecutionError, match=r"salt-call state\.apply diskless"):
        add(salt_call, pillar, node004=NEW)
    apply(salt_call, pillar)
    pillar["networks"]["lab"]["domain"] = "other.example"
    before = listing()
    with pytest.raises(CommandExecutionError, match="other networks than the pillar has"):
        add(salt_call, pillar, node004=NEW)
    assert listing() == before


def test_a_node_of_another_boot_server_is_refused(salt_call, pillar):
    pillar["servers"]["other"] = {"address": "10.78.0.1", "interface": "dl0"}
    pillar["networks"]["lab"]["server"] = "bootserver"
    pillar["networks"]["far"] = {"subnet": "10.78.0.0/24", "server": "other"}
    apply(salt_call, pillar)
    with pytest.raises(CommandExecutionError, match="on the boot server of that network, other"):
        add(salt_call, pillar, node004={**NEW, "ip": "10.78.0.50", "network": "far"})


def test_the_running_dhcpd_answers_an_added_node_at_once_and_after_restarts(
    salt_call, served, segment, tmp_path
):
    config = pathlib.Path(served["lookup"]["dhcp_config"])
    script = tmp_path / "udhcpc.script"
    with running_dhcpd(config, LEASES):
        assert ask(segment, NEW["mac"], script, 2) == {}
        add(salt_call, served, node004=NEW)
        answer = ask(segment, NEW["mac"], script)
        assert (answer["ip"], answer["hostname"]) == ("10.77.0.50", "node004")
        assert answer["boot_file"] == "linux-install/pxelinux.0"
    with running_dhcpd(config, LEASES):
        assert ask(segment, NEW["mac"], script)["ip"] == "10.77.0.50"
        # It has it from its file by now, and what it was told before goes.
        assert apply(salt_call, with_nodes(served, node004=NEW)) == {}
    with running_dhcpd(config, LEASES):
        assert "node004" not in LEASES.read_text()
        assert ask(segment, NEW["mac"], script)["ip"] == "10.77.0.50"


def test_an_added_nodes_own_nis_domain_is_in_the_running_dhcpd(
    salt_call, served, segment, tmp_path
):
    config = pathlib.Path(served["lookup"]["dhcp_config"])
    script = tmp_path / "udhcpc.script"
    with running_dhcpd(config, LEASES):
        add(salt_call, served, node004={**NEW, "nis_domain": "own_nis"})
        answer = ask(segment, NEW["mac"], script)
        assert (answer["hostname"], answer["nisdomain"]) == ("node004", "own_nis")
        changed = add(salt_call, served, node004={**NEW, "nis_domain": "another"})
        assert (changed["changed"], "outdated" in changed) == ({"nodes": "node004"}, True)
    with running_dhcpd(config, LEASES):
        assert apply(salt_call, with_nodes(served, node004={**NEW, "nis_domain": "another"})) == {}
    with running_dhcpd(config, LEASES):
        assert ask(segment, NEW["mac"], script)["nisdomain"] == "another"


def test_a_removed_node_is_gone_from_the_running_dhcpd_and_can_come_back(
    salt_call, served, segment, tmp_path
):
    config = pathlib.Path(served["lookup"]["dhcp_config"])
    script = tmp_path / "udhcpc.script"
    remove = salt_call(served).modules["diskless_node.remove"]
    with running_dhcpd(config, LEASES):
        for _ in range(2):
            add(salt_call, served, node004=NEW)
            assert ask(segment, NEW["mac"], script)["ip"] == "10.77.0.50"
            assert remove("node004") == {"removed": {"nodes": "node004"}}
            assert ask(segment, NEW["mac"], script, 2) == {}
        assert remove(["node004"]) == {}
        assert apply(salt_call, served) == {}
        # This one it has from its file, and it goes with a restart.
        changes = remove("node003")
        assert changes == {"removed": {"nodes": "node003"}, "outdated": "isc-dhcp-server"}
    with running_dhcpd(config, LEASES):
        assert ask(segment, "52:54:00:77:00:03", script, 2) == {}
        add(salt_call, served, node003={**NEW, "mac": "52:54:00:77:00:03", "ip": "10.77.0.73"})
        assert ask(segment, "52:54:00:77:00:03", script)["ip"] == "10.77.0.73"
    with running_dhcpd(config, LEASES):
        assert ask(segment, "52:54:00:77:00:03", script)["ip"] == "10.77.0.73"


def test_what_a_run_takes_away_again_is_gone_from_dhcpd_after_its_restart(
    salt_call, served, segment, tmp_path
):
    config = pathlib.Path(served["lookup"]["dhcp_config"])
    with running_dhcpd(config, LEASES):
        add(salt_call, served, node004=NEW)
        changes = apply(salt_call, served)
        assert changes["diskless_dhcpd.managed"]["removed"] == {"nodes": "node004"}
        answer = f"{served['lookup']['tftp_root']}/{REGISTRY}/01-52-54-00-77-00-50"
        gone = {"nodes": "node004", "files": [answer]}
        assert changes["diskless_tftp.managed"]["removed"] == gone
    with running_dhcpd(config, LEASES):
        assert ask(segment, NEW["mac"], tmp_path / "udhcpc.script", 2) == {}


def test_a_board_is_changed_under_a_node_that_keeps_its_name_and_address(
    salt_call, served, segment, tmp_path
):
    script, board = tmp_path / "udhcpc.script", "52:54:00:77:00:99"
    config = pathlib.Path(served["lookup"]["dhcp_config"])
    changed = {"mac": board, "ip": "10.77.0.73", "profile": "compute", "nfs": 3}
    with running_dhcpd(config, LEASES):
        changes = add(salt_call, served, node003=changed)
        assert changes == {"changed": {"nodes": "node003"}, "outdated": "isc-dhcp-server"}
        assert ask(segment, board, script)["ip"] == "10.77.0.73"
    assert apply(salt_call, with_nodes(served, node003=changed)) == {}
    with running_dhcpd(config, LEASES):
        assert ask(segment, board, script)["ip"] == "10.77.0.73"
        assert ask(segment, "52:54:00:77:00:03", script, 2) == {}


def test_without_a_running_dhcpd_it_is_said_that_it_needs_a_restart(salt_call, served):
    changes = add(salt_call, served, node004=NEW)
    assert changes == {"added": {"nodes": "node004"}, "outdated": "isc-dhcp-server"}
    assert apply(salt_call, with_nodes(served, node004=NEW)) == {}


def test_the_key_is_roots_alone_and_stays(salt_call, served):
    key = pathlib.Path(served["lookup"]["dhcp_config"]).with_name("diskless-omapi.key")
    before = key.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    apply(salt_call, with_nodes(served, node004=NEW))
    assert key.read_bytes() == before
    secret = before.split(b'secret "')[1].split(b'"')[0]
    for directory, _, names in os.walk(key.parent.parent.parent):
        for name in names:
            path = pathlib.Path(directory, name)
            if path.is_file() and path != key:
                assert secret not in path.read_bytes()


def test_two_that_add_at_a_time_both_add(salt_call, served):
    """And both in one process, as Salt's threads do it."""
    children = []
    for number in range(6):
        pid = os.fork()
        if pid == 0:
            node = {**NEW, "mac": f"52:54:00:77:01:0{number}", "ip": f"10.77.0.10{number}"}
            code = 1
            try:
                add(salt_call, served, **{f"node10{number}": node})
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 6
    nodes = {
        f"node10{n}": {**NEW, "mac": f"52:54:00:77:01:0{n}", "ip": f"10.77.0.10{n}"}
        for n in range(6)
    }
    assert apply(salt_call, with_nodes(served, **nodes)) == {}


def test_what_is_served_is_listed_and_shown(salt_call, served):
    add(salt_call, served, node004=NEW)
    call = salt_call(served)
    listed = call.modules["diskless_node.list"](full=True)
    assert {*listed} == {"node001", "node002", "node003", "node004"}
    version = call.modules["diskless_image.list"]()["tiny"]["published"]
    wanted = {"mac": NEW["mac"], "ip": NEW["ip"], "image": "tiny", "version": version}
    assert listed["node004"] == wanted
    shown = call.modules["diskless_node.show"]("node004")
    assert shown["mac"] == NEW["mac"] and "SNAPSHOT=node004" in shown["file"]
    with pytest.raises(CommandExecutionError, match="no node 'node9'"):
        call.modules["diskless_node.show"]("node9")


def test_a_rejected_machine_is_told_so_until_it_is_forgotten(salt_call, served):
    call, mac = salt_call(served), "52:54:00:99:99:01"
    answer = pathlib.Path(
        served["lookup"]["tftp_root"], "linux-install/registry/01-52-54-00-99-99-01"
    )
    assert call.modules["diskless_node.reject"]([mac.upper()]) == {"rejected": [mac]}
    assert answer.read_text().splitlines()[1:] == ["rejected"]
    assert call.modules["diskless_node.reject"](mac) == {}
    assert apply(salt_call, served) == {}
    assert call.modules["diskless_node.forget"]([mac]) == {"forgotten": [mac]}
    assert not answer.exists()
    assert call.modules["diskless_node.forget"]([mac]) == {}


@pytest.mark.parametrize("mac", ["x", 1, None, "52:54:00:99:99:01\n", "../../etc/passwd"])
def test_what_is_no_mac_is_neither_rejected_nor_forgotten(salt_call, served, listing, mac):
    before = listing()
    for name in ("reject", "forget"):
        with pytest.raises(CommandExecutionError, match="macs: found"):
            salt_call(served).modules[f"diskless_node.{name}"]([mac])
    assert listing() == before


def test_a_node_is_not_rejected_and_a_rejected_machine_that_is_added_is_told_that(
    salt_call, served
):
    call = salt_call(served)
    with pytest.raises(CommandExecutionError, match="found the node node003; remove it first"):
        call.modules["diskless_node.reject"]("52:54:00:77:00:03")
    call.modules["diskless_node.reject"](NEW["mac"])
    add(salt_call, served, node004=NEW)
    answer = pathlib.Path(
        served["lookup"]["tftp_root"], "linux-install/registry/01-52-54-00-77-00-50"
    )
    assert answer.read_text().splitlines()[1:] == ["registered"]


@pytest.mark.parametrize(
    ("function", "argument", "words"),
    [
        ("remove", "nosuch", "found nosuch, which this boot server does not serve"),
        ("remove", "node00", "did you mean node00"),
        ("remove", ["node001", "nod002"], "found nod002, .*did you mean node002"),
        ("remove", "node[001-005]", "found node\\[004-005\\], which"),
        ("remove", "../../etc", "which this boot server does not serve"),
        ("forget", "52:54:00:12:34:56", "found 52:54:00:12:34:56, which .* never seen"),
        ("show", "nod003", "did you mean node003"),
        ("progress", "nod003", "found nod003; .*did you mean node003"),
        ("power", "nod003", "found nod003"),
    ],
)
def test_a_name_that_nobody_has_is_an_error(salt_call, served, listing, function, argument, words):
    before = listing()
    args = ["status", argument] if function == "power" else [argument]
    with pytest.raises(CommandExecutionError, match=words):
        salt_call(served).modules[f"diskless_node.{function}"](*args)
    assert listing() == before


def test_a_node_may_be_removed_again(salt_call, served):
    call = salt_call(served)
    assert call.modules["diskless_node.remove"]("node003")["removed"] == {"nodes": "node003"}
    assert call.modules["diskless_node.remove"]("node003") == {}
    # The registry tells everything until it has an answer.
    assert call.modules["diskless_node.remove"](["gone"], number=7) == {}
    assert call.modules["diskless_node.forget"]("52:54:00:12:34:57", number=7) == {}
