"""Services run what is on the disk, whoever else writes at the same time or was killed before."""

from __future__ import annotations

import copy
import os
import pathlib

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless import tree
from salt_diskless.services import restarts
from tests.functional.killed import Systemd, killed_at
from tests.functional.test_node import LEASES, NEW, STATES, apply, served, with_nodes
from tests.functional.test_told import has_ended, waits_for_a_lock
from tests.functional.wire import ask, segment, wait_until

__all__ = ["segment", "served"]
pytestmark = pytest.mark.any_salt

SERVICE = "isc-dhcp-server"
OTHER = {**NEW, "mac": "52:54:00:77:00:51", "ip": "10.77.0.13"}


@pytest.fixture
def systemd(tmp_path, served, segment, monkeypatch):
    """A dhcpd that runs as a service."""
    config = pathlib.Path(served["lookup"]["dhcp_config"])
    stand_in = Systemd(tmp_path / "systemd", config, LEASES)
    monkeypatch.setattr("salt_diskless.command._PATH", stand_in.path)
    stand_in.systemctl("restart", SERVICE)
    yield stand_in
    stand_in.end()
    restarts.clear(SERVICE)


def with_domain(pillar: dict, domain: str) -> dict:
    other = copy.deepcopy(pillar)
    other["networks"]["lab"]["domain"] = domain
    return other


def in_a_process(work) -> int:
    """Start something in a process of its own, without the locks that this one has."""
    pid = os.fork()
    if pid == 0:
        code = 1
        os.closerange(3, 1024)
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def ended_well(pid: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_second_run_waits_for_the_restart_of_the_first(
    salt_call, served, systemd, segment, tmp_path
):
    """The first one's dhcpd has read the old file by then, and its restart is not over."""
    hold = systemd.room / "hold"
    hold.touch()

    def run(domain: str) -> None:
        call = salt_call(with_domain(served, domain))
        assert call.state("diskless_dhcpd.managed").result is True
        assert call.states["diskless.current"](SERVICE)["result"] is True

    first = in_a_process(lambda: run("first.example"))
    wait_until(lambda: systemd.restarts == 2 and "starting" in (systemd.room / "log").read_text())
    second = in_a_process(lambda: run("second.example"))
    wait_until(lambda: waits_for_a_lock(second) or has_ended(second))
    assert not has_ended(second)
    config = pathlib.Path(served["lookup"]["dhcp_config"])
    assert "first.example" in config.read_text()
    hold.unlink()
    assert ended_well(first) and ended_well(second)
    assert "second.example" in config.read_text()
    assert ask(segment, "52:54:00:77:00:03", tmp_path / "script")["domain"] == "second.example"
    assert not restarts.is_pending(SERVICE)


def test_a_start_while_the_file_is_written_does_not_count(salt_call, served, systemd, monkeypatch):
    """Somebody starts the service with the old file, after the note was written."""
    rename = os.rename

    def renamed(source, target, **more):
        if str(target).endswith("dhcpd.conf"):
            systemd.systemctl("restart", SERVICE)
        rename(source, target, **more)

    monkeypatch.setattr(os, "rename", renamed)
    call = salt_call(with_domain(served, "other.example"))
    assert call.state("diskless_dhcpd.managed").result is True
    assert systemd.restarts == 2
    ret = call.states["diskless.current"](SERVICE)
    assert ret["changes"] == {"restarted": SERVICE} and systemd.restarts == 3
    assert call.states["diskless.current"](SERVICE)["changes"] == {}


def test_one_that_was_started_after_the_write_is_not_restarted(salt_call, served, systemd):
    call = salt_call(with_domain(served, "other.example"))
    assert call.state("diskless_dhcpd.managed").result is True
    systemd.systemctl("restart", SERVICE)
    assert call.states["diskless.current"](SERVICE)["changes"] == {}
    assert systemd.restarts == 2


def test_what_would_be_restarted_is_said_in_test_mode(salt_call, served, systemd):
    pillar = with_domain(served, "other.example")
    call = salt_call(pillar, test=True)
    ret = call.states["diskless.mod_watch"](SERVICE, sfun="current")
    assert (ret["result"], ret["changes"]) == (None, {"restarted": SERVICE})
    salt_call(pillar).state("diskless_dhcpd.managed")
    ret = call.states["diskless.current"](SERVICE)
    assert (ret["result"], ret["changes"]) == (None, {"restarted": SERVICE})
    assert systemd.restarts == 1


def test_a_service_that_does_not_start_is_an_error(salt_call, served, systemd):
    call = salt_call(with_domain(served, "other.example"))
    call.state("diskless_dhcpd.managed")
    with pathlib.Path(served["lookup"]["dhcp_config"]).open("a") as stream:
        stream.write("nonsense here;\n")
    ret = call.states["diskless.current"](SERVICE)
    assert ret["result"] is False
    assert f"does not run after its restart; see journalctl -u {SERVICE}" in ret["comment"]


@pytest.mark.parametrize("service", ["ssh", "", None, "../x"])
def test_only_services_of_a_boot_server_are_restarted(salt_call, served, service):
    with pytest.raises(CommandExecutionError, match="service: found"):
        salt_call(served).modules["diskless.restart"](service)


def test_a_pending_restart_outlives_a_kill_at_each_change(salt_call, served, systemd):
    """A run notes another one for the same service, and is killed anywhere."""
    with restarts.changing(SERVICE):
        pass
    note = pathlib.Path(tree.RUNTIME, "restart", SERVICE)
    before, number = note.read_bytes(), 0

    def change() -> None:
        with restarts.changing(SERVICE, {"node004": (NEW["mac"], NEW["ip"])}):
            pass

    while True:
        number += 1
        killed = killed_at(number, change)
        assert restarts.is_pending(SERVICE), number
        note.write_bytes(before)
        if not killed:
            break
    assert number > 5


@pytest.mark.parametrize("moment", ["before", "stopped", "started"])
def test_a_restart_that_is_killed_is_made_by_the_next_run(salt_call, served, systemd, moment):
    """systemctl and its caller are killed; the next run has dhcpd load what is on the disk."""
    pillar = with_domain(served, "other.example")
    apply(salt_call, pillar)
    assert restarts.is_pending(SERVICE)
    (systemd.room / f"die-{moment}").touch()
    current = lambda: salt_call(pillar).states["diskless.current"](SERVICE)  # noqa: E731
    assert not ended_well(in_a_process(current))
    assert not (systemd.room / f"die-{moment}").exists()
    assert current()["result"] is True
    assert not restarts.is_pending(SERVICE)
    systemd.systemctl("is-active", SERVICE)
    assert b"other.example" in pathlib.Path(served["lookup"]["dhcp_config"]).read_bytes()
    assert "outdated" not in str(apply(salt_call, pillar))


@pytest.mark.parametrize("repair", ["the same", "another", "removal"])
def test_a_killed_addition_that_is_repaired_needs_no_restart(
    salt_call, served, systemd, segment, tmp_path, repair
):
    """Killed before dhcpd was told; each next call tells it."""
    call = salt_call(served).modules
    add = lambda: call["diskless_node.add"]({"node004": NEW})  # noqa: E731
    number, config = 0, pathlib.Path(served["lookup"]["dhcp_config"])
    while b"node004" not in config.read_bytes():
        number += 1
        assert killed_at(number, add)
    assert restarts.is_pending(SERVICE)
    assert ask(segment, NEW["mac"], tmp_path / "script", 2) == {}
    if repair == "the same":
        assert "outdated" not in add()
    elif repair == "another":
        assert "outdated" not in call["diskless_node.add"]({"node005": OTHER})
        nodes = {"node004": NEW, "node005": OTHER}
    else:
        assert call["diskless_node.remove"]("node004") == {"removed": {"nodes": "node004"}}
    assert not restarts.is_pending(SERVICE)
    answer = ask(segment, NEW["mac"], tmp_path / "script", 2)
    assert answer.get("ip") == (None if repair == "removal" else NEW["ip"])
    nodes = {"the same": {"node004": NEW}, "another": {"node004": NEW, "node005": OTHER}}
    changes = apply(salt_call, with_nodes(served, **nodes.get(repair, {})))
    assert "outdated" not in str(changes), changes
    assert systemd.restarts == 1


def test_a_board_that_was_swapped_before_a_kill_still_needs_the_restart(salt_call, served, systemd):
    call = salt_call(served).modules
    board = {"mac": "52:54:00:77:00:99", "ip": "10.77.0.73", "profile": "compute", "nfs": 3}
    number, config = 0, pathlib.Path(served["lookup"]["dhcp_config"])
    while board["mac"] not in config.read_text():
        number += 1
        assert killed_at(number, lambda: call["diskless_node.add"]({"node003": board}))
    call["diskless_node.add"]({"node003": board})
    call["diskless_node.add"]({"node004": NEW})
    assert restarts.is_pending(SERVICE)
    nodes = {"node003": board, "node004": NEW}
    changes = apply(salt_call, with_nodes(served, **nodes))
    assert changes == {"diskless_dhcpd.managed": {"outdated": SERVICE}}


@pytest.mark.parametrize("step", range(1, len(STATES)))
def test_an_older_run_does_not_write_over_a_newer_one(salt_call, served, step):
    """Their pillars differ in all that a boot server has; whichever state the older has come to."""
    older = with_nodes(with_domain(served, "older.example"), node004=NEW)
    newer = with_nodes(with_domain(served, "newer.example"), node005=OTHER)
    run = salt_call(older)
    run.modules["diskless.site"]()
    for name in STATES[:step]:
        assert run.state(name).result is True
    other = salt_call(newer)
    other.modules["diskless.site"]()
    for name in STATES:
        assert other.state(name).result is True
    results = [run.state(name) for name in STATES[step:]]
    failed = [ret for ret in results if ret.result is False]
    assert failed and "found changes by a later run" in failed[-1].comment
    assert apply(salt_call, newer) == {}


def test_runs_with_the_same_pillar_do_not_stand_in_each_others_way(salt_call, served):
    pillar = with_domain(served, "other.example")
    first, second = salt_call(pillar), salt_call(pillar)
    for run in (first, second):
        run.modules["diskless.site"]()
    for name in STATES:
        assert second.state(name).result is True
        assert first.state(name).result is True


def test_a_run_does_not_undo_a_node_that_was_added_by_hand_since(salt_call, served):
    run = salt_call(with_domain(served, "other.example"))
    run.modules["diskless.site"]()
    salt_call(served).modules["diskless_node.add"]({"node004": NEW})
    results = {name: run.state(name) for name in STATES}
    assert results["diskless_dhcpd.managed"].result is False
    assert "found changes by a later run" in results["diskless_dhcpd.managed"].comment
    assert "node004" in pathlib.Path(served["lookup"]["dhcp_config"]).read_text()
