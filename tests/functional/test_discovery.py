"""Machines that are no nodes: what dhcpd and the TFTP daemon log of them becomes an event for each
that is new, and no other."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sqlite3
import subprocess
import time

import pytest
import salt.loader
from salt.exceptions import CommandExecutionError

from salt_diskless.watch import store
from tests.functional.test_node import LEASES, apply
from tests.functional.wire import ask, running_dhcpd, running_tftpd, segment

__all__ = ["segment"]

STRANGER, SERIAL = "52:54:00:99:99:01", b"SN-1".hex()
#: Stands for journald, which no test's machine has: prints a file of entries as journalctl does.
JOURNALCTL = """#!/usr/bin/python3
import json, sys
with open(sys.argv[0] + ".calls", "a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
(after,) = [a.split("=", 1)[1] for a in sys.argv if a.startswith("--after-cursor=")] or ["-1"]
if not after.lstrip("-").isdigit():
    sys.exit("Failed to seek to cursor: Invalid argument")
for number, line in enumerate(open(sys.argv[0] + ".journal")):
    if number > int(after):
        print(json.dumps({**json.loads(line), "__CURSOR": str(number)}))
"""


class Journal:
    """What the daemons log."""

    def __init__(self, program: pathlib.Path):
        self.program = program
        self.file = program.with_name("journalctl.journal")
        self.file.touch()

    def add(self, *lines: object, ago: float = 0) -> None:
        with self.file.open("a") as stream:
            for line in lines:
                at = str(int((time.time() - ago) * 1e6))
                print(json.dumps({"MESSAGE": line, "__REALTIME_TIMESTAMP": at}), file=stream)

    def lease(self, mac: str = STRANGER, ip: str = "10.77.0.200", ago: float = 0) -> None:
        """Log that a machine got an address, in the packets that this takes, twice."""
        self.add(
            *(
                f"DHCPDISCOVER from {mac} via dl0",
                f"DHCPOFFER on {ip} to {mac} via dl0",
                f"DHCPREQUEST for {ip} (10.77.0.1) from {mac} via dl0",
                f"DHCPACK on {ip} to {mac} via dl0",
            )
            * 2,
            ago=ago,
        )

    def announce(
        self, mac: str = STRANGER, ip: str = "10.77.0.200", serial: str = SERIAL, ago: float = 0
    ) -> None:
        name = f"01-{mac.replace(':', '-')}"
        self.add(
            f"RRQ from {ip} filename linux-install/announced/{name}/{serial}/-/-",
            f"RRQ from {ip} filename linux-install/registry/{name}",
            ago=ago,
        )

    @property
    def calls(self) -> list[list[str]]:
        calls = self.program.with_name("journalctl.calls")
        return [json.loads(line) for line in calls.read_text().splitlines()]


@pytest.fixture
def journal(tmp_path, monkeypatch) -> Journal:
    place = tmp_path / "salt/bin"
    place.mkdir(parents=True)
    program = place / "journalctl"
    program.write_text(JOURNALCTL)
    program.chmod(0o755)
    path = f"{place}:/usr/sbin:/usr/bin:/sbin:/bin"
    monkeypatch.setattr("salt_diskless.command._PATH", path)
    return Journal(program)


@pytest.fixture
def served(salt_call, pillar) -> dict:
    """The pillar of a boot server that serves three nodes, and knows of no other machine."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(store.PATH)
    pillar["networks"]["lab"]["discovery_range"] = "10.77.0.200-10.77.0.210"
    apply(salt_call, pillar)
    yield pillar
    for file in pathlib.Path("/etc/exports.d").iterdir():
        file.unlink()
    LEASES.unlink(missing_ok=True)


@pytest.fixture
def look(salt_call, served, journal):
    """Return a function that does what the minion does at each interval."""

    def events() -> list[dict]:
        call = salt_call(served)
        opts = {
            **call.opts,
            "beacons_dirs": [str(pathlib.Path(store.__file__).parents[1] / "beacons")],
        }
        return salt.loader.beacons(opts, call.modules)["diskless_discovery.beacon"]([])

    return events


def test_a_new_machine_is_told_of_once_and_again_when_its_serial_number_is_known(look, journal):
    journal.lease()
    event = {"mac": STRANGER, "ip": "10.77.0.200", "serial": "", "asset": "", "uuid": ""}
    assert look() == [{"tag": "52-54-00-99-99-01", **event}]
    journal.lease()
    assert look() == []
    journal.announce()
    assert look() == [{"tag": "52-54-00-99-99-01", **event, "serial": "SN-1"}]
    journal.announce()
    journal.announce(serial=b"other".hex())
    assert look() == []


def test_the_journal_is_asked_once_a_look_and_from_where_it_was_read_last(look, journal):
    journal.lease()
    look()
    journal.announce()
    look()
    look()
    assert len(journal.calls) == 3
    assert "--since=-1h" in journal.calls[0]
    assert {"--identifier=dhcpd", "--identifier=in.tftpd"} < {*journal.calls[0]}
    last = len(journal.file.read_text().splitlines()) - 1
    assert f"--after-cursor={last}" in journal.calls[2]


def test_a_cursor_that_the_journal_has_not_any_more_costs_nothing_but_a_second_look(look, journal):
    journal.lease()
    look()
    with contextlib.closing(sqlite3.connect(store.PATH)) as database, database:
        database.execute("UPDATE place SET cursor = 'gone'")
    assert look() == []
    journal.lease("52:54:00:99:99:02", "10.77.0.201")
    assert [event["mac"] for event in look()] == ["52:54:00:99:99:02"]


def test_one_whose_event_was_lost_is_told_of_again_while_it_waits(look, journal):
    journal.lease(ago=700)
    journal.announce(ago=700)
    with store.opened() as known:
        known.take([])
    look()
    with contextlib.closing(sqlite3.connect(store.PATH)) as database, database:
        database.execute("UPDATE machines SET told = told - 601, told_as = serial || char(10,10)")
    assert look() == []
    journal.announce()
    assert [event["mac"] for event in look()] == [STRANGER]
    assert look() == []


def test_a_listed_node_is_never_told_of(look, journal):
    for ip in ("10.77.0.73", "10.77.0.205"):
        journal.lease("52:54:00:77:00:03", ip)
        journal.announce("52:54:00:77:00:03", ip)
    assert look() == []


def test_a_machine_elsewhere_is_not_told_of(look, journal):
    journal.lease(ip="10.77.0.30")
    journal.announce(ip="10.77.0.30")
    assert look() == []


def test_who_speaks_for_another_machine_is_not_believed(look, journal):
    journal.lease()
    journal.lease("52:54:00:99:99:02", "10.77.0.201")
    journal.announce(STRANGER, "10.77.0.201", b"forged".hex())
    assert [event["serial"] for event in look()] == ["", ""]
    journal.announce(STRANGER, "10.77.0.203", b"forged".hex())
    assert look() == []


def test_a_rejected_machine_is_not_told_of_until_it_is_forgotten(salt_call, served, look, journal):
    modules = salt_call(served).modules
    journal.lease()
    assert len(look()) == 1
    modules["diskless_node.reject"]([STRANGER])
    journal.announce()
    assert look() == []
    assert modules["diskless_node.waiting"](full=True)[STRANGER]["decision"] == "rejected"
    assert modules["diskless_node.forget"]([STRANGER]) == {"forgotten": [STRANGER]}
    journal.lease()
    journal.announce()
    assert [event["serial"] for event in look()] == ["SN-1"]
    assert modules["diskless_node.waiting"](full=True)[STRANGER]["decision"] == "pending"


def test_one_that_a_full_run_has_listed_is_answered(salt_call, served, look, journal):
    journal.lease()
    journal.announce()
    look()
    node = {"mac": STRANGER, "ip": "10.77.0.99", "profile": "compute"}
    apply(salt_call, {**served, "nodes": {**served["nodes"], "node004": node}})
    assert look() == []
    answer = pathlib.Path(
        served["lookup"]["tftp_root"], "linux-install/registry/01-52-54-00-99-99-01"
    )
    assert answer.read_text().splitlines()[1:] == ["registered"]


@pytest.mark.parametrize(
    "line", ["\u0000", [1, 255, 0], None, "DHCPACK on", "RRQ from x filename " + "y" * 100000]
)
def test_what_is_no_line_of_a_daemon_is_passed_over(look, journal, line):
    journal.add(line)
    journal.lease()
    assert len(look()) == 1


def test_what_was_seen_is_roots_alone_and_a_spoilt_file_is_said(salt_call, served, look, journal):
    journal.lease()
    look()
    assert os.stat(store.PATH).st_mode & 0o777 == 0o600
    pathlib.Path(store.PATH).write_bytes(b"no database" * 1000)
    assert look() == []
    with pytest.raises(Exception, match=r"machines\.sqlite: .*when it is spoilt, remove it"):
        salt_call(served).modules["diskless_node.waiting"]()
    os.unlink(store.PATH)


def test_a_real_dhcpds_lines_tell_of_a_real_machine(look, served, journal, segment, tmp_path):
    config = pathlib.Path(served["lookup"]["dhcp_config"])
    with running_dhcpd(config, LEASES) as log:
        stranger = ask(segment, STRANGER, tmp_path / "udhcpc.script")
        ask(segment, "52:54:00:77:00:03", tmp_path / "udhcpc.script")
        journal.add(*log.read_text().splitlines())
    assert [(event["mac"], event["ip"]) for event in look()] == [(STRANGER, stranger["ip"])]


def test_a_real_tftpds_lines_tell_what_a_machine_said_and_how_far_a_node_got(
    salt_call, look, served, journal, segment, tmp_path, monkeypatch
):
    """The lines of both daemons, as they are."""
    root, config = (pathlib.Path(served["lookup"][key]) for key in ("tftp_root", "dhcp_config"))
    call = salt_call(served)
    version = call.modules["diskless_image.list"]()["tiny"]["published"]
    monkeypatch.setitem(call.modules.pack["__salt__"], "service.status", lambda name: True)
    script, node, log = tmp_path / "udhcpc.script", "52:54:00:77:00:03", tmp_path / "log"
    log.mkdir()

    def boot(mac: str, *paths: str) -> str:
        """Ask for a lease, and fetch these with it."""
        before = len(said.read_text())
        ip = ask(segment, mac, script)["ip"]
        journal.add(*said.read_text()[before:].splitlines())
        address = f"nsenter -t {segment} -n ip addr {{}} {ip}/24 dev dl1"
        subprocess.run(address.format("add").split(), check=True)
        for path in paths:
            lines = tftpd.fetch(segment, path, tmp_path / "fetched")
            assert any(path in line for line in lines), lines
            journal.add(*lines)
        subprocess.run(address.format("del").split(), check=True)
        return ip

    with running_dhcpd(config, LEASES) as said, running_tftpd(root, log) as tftpd:
        name = f"01-{STRANGER.replace(':', '-')}"
        boot(STRANGER, "linux-install/pxelinux.0")
        assert [event["serial"] for event in look()] == [""]
        uuid = b"8f0b5c9e-0000-4000-8000-000000000001"
        said_by_it = f"{SERIAL}/{b'RACK-1'.hex()}/{uuid.hex()}"
        ip = boot(
            STRANGER,
            f"linux-install/announced/{name}/{said_by_it}",
            f"linux-install/registry/{name}",
        )
        (event,) = look()
        assert {key: event[key] for key in ("mac", "ip", "serial", "asset", "uuid")} == {
            "mac": STRANGER,
            "ip": ip,
            "serial": "SN-1",
            "asset": "RACK-1",
            "uuid": uuid.decode(),
        }
        boot(node, "linux-install/pxelinux.0", "linux-install/pxelinux.cfg/0A4D0049")
        assert stage_of(call) == "loader"
        boot(node, f"linux-install/tiny/{version}/vmlinuz")
        assert (tmp_path / "fetched").read_text() == "kernel 6.1.0-9-test"
        assert stage_of(call) == "kernel"


def test_an_offer_that_was_not_taken_is_no_step(salt_call, served, journal, monkeypatch):
    call = salt_call(served)
    monkeypatch.setitem(call.modules.pack["__salt__"], "service.status", lambda name: True)
    mac = "52:54:00:77:00:01"
    journal.add(
        f"DHCPDISCOVER from {mac} via dl0", f"DHCPOFFER on 10.77.0.11 to {mac} via dl0", ago=900
    )
    (group,) = call.modules["diskless.status"]()["nodes"]
    assert group == {"nodes": "node[001-003]", "stage": "unseen"}
    # A system that is up renews its lease; that is no step either.
    journal.add("DHCPACK on 10.77.0.12 to 52:54:00:77:00:02 via dl0", ago=800)
    assert len(call.modules["diskless.status"]()["nodes"]) == 1
    journal.add(f"DHCPACK on 10.77.0.11 to {mac} via dl0", ago=700)
    stuck, _ = call.modules["diskless.status"]()["nodes"]
    assert (stuck["nodes"], stuck["stage"], stuck["stuck"]) == ("node001", "dhcp", True)


def test_a_store_of_an_earlier_release_is_read(salt_call, served, journal):
    from salt_diskless.watch import store

    with store.opened() as there:
        there._db.execute("ALTER TABLE machines DROP COLUMN offered")
    journal.lease("52:54:00:77:00:01", "10.77.0.11")
    with store.opened() as there:
        there._db.execute("DELETE FROM place")
    assert (
        salt_call(served).modules["diskless_node.progress"]("node001")["node001"]["stage"] == "dhcp"
    )


def test_status_reads_and_has_no_empty_heading(salt_call, served, journal, monkeypatch):
    call = salt_call(served)
    monkeypatch.setitem(call.modules.pack["__salt__"], "service.status", lambda name: True)

    def empty(value: object) -> bool:
        if isinstance(value, dict):
            return not value or any(map(empty, value.values()))
        return value in ("", [], None)

    assert not empty(call.modules["diskless.status"]())
    wrong = {**served, "nodes": {"node001": {"profile": "nosuch"}}}
    for name in (
        *("diskless.status", "diskless.validate", "diskless.site", "diskless_nfs.list"),
        *("diskless_snapshot.list", "diskless_image.list", "diskless_swap.list"),
    ):
        with pytest.raises(CommandExecutionError, match=r"problems? in the pillar:") as err:
            salt_call(wrong).modules[name]()
        assert "nothing was changed" not in str(err.value)
    with pytest.raises(CommandExecutionError, match="nothing was changed"):
        salt_call(wrong).modules["diskless_nfs.apply"](test=True)


def stage_of(call) -> str:
    """Return how far node003 got."""
    groups = call.modules["diskless.status"]()["nodes"]
    return next(group["stage"] for group in groups if group["nodes"] == "node003")


def test_status_tells_how_far_each_node_got(salt_call, served, journal, monkeypatch):
    call = salt_call(served)
    version = call.modules["diskless_image.list"]()["tiny"]["published"]
    monkeypatch.setitem(call.modules.pack["__salt__"], "service.status", lambda name: True)
    journal.lease("52:54:00:77:00:01", "10.77.0.11", ago=900)
    journal.lease("52:54:00:77:00:02", "10.77.0.12")
    journal.add(f"RRQ from 10.77.0.12 filename linux-install/tiny/{version}/vmlinuz")
    own = pathlib.Path(served["images"]["tiny"]["location"], "snapshot/node003/.diskless")
    (own / "booted").write_text("20200101T000000\n")
    (own / "stage").write_text("version 20200101T000000 handed over to its init\n")
    found = call.modules["diskless.status"]()["nodes"]
    for group in found:
        assert all(at.endswith("Z") for at in group.pop("since"))
    assert found == [
        {"nodes": "node001", "stage": "dhcp", "stuck": True},
        {"nodes": "node002", "stage": "kernel", "version": version},
        {"nodes": "node003", "stage": "up", "version": "20200101T000000", "stale": True},
    ]
    # What it said in its last boot is not said of this one.
    os.utime(own / "stage", (0, 0))
    assert call.modules["diskless.status"]()["nodes"][2]["stage"] == "root"
    os.utime(own / "stage")
    # Whose minion has started since it was up is further.
    since = time.time() + 1
    status = call.modules["diskless.status"](minions={"node003": since, "node002": since})
    assert [group["stage"] for group in status["nodes"]] == ["dhcp", "kernel", "minion"]
    assert status["nodes"][2]["stale"] is True
    for wrong in (["node003"], {"node003": "now"}, {3: since}):
        with pytest.raises(CommandExecutionError, match="minions: found"):
            call.modules["diskless.status"](minions=wrong)
    # Also when the journal has nothing of it any more.
    journal.file.write_text("")
    again = call.modules["diskless.status"]()["nodes"]
    assert [group["stage"] for group in again] == ["dhcp", "kernel", "up"]


def test_without_a_journal_nothing_is_told_and_status_says_what_was_known(
    salt_call, served, look, monkeypatch
):
    monkeypatch.setattr("salt_diskless.command._PATH", "/nowhere")
    assert look() == []
