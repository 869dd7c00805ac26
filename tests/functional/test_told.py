"""A run that goes by an older pillar than the registry's last word takes nothing of that back."""

from __future__ import annotations

import copy
import os
import pathlib
import time

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless import swapfiles
from salt_diskless.cluster import parse
from salt_diskless.services import nfs, told
from tests.functional.test_node import NEW, STATES, add, apply, served, with_nodes
from tests.functional.wire import wait_until

__all__ = ["served"]

BOARD = {**NEW, "mac": "52:54:00:77:00:51"}


def counted(pillar: dict, number: int) -> dict:
    """Return the pillar as ``diskless_nodes`` gives it when the registry has counted so far."""
    return {**copy.deepcopy(pillar), "registry": {"number": number}}


def is_served(pillar: dict, mac: str) -> bool:
    """Tell whether a machine is served as node004: all of it or nothing."""
    names = pillar["lookup"]
    parts = (
        f"hardware ethernet {mac};" in pathlib.Path(names["dhcp_config"]).read_text(),
        pathlib.Path(names["tftp_root"], "linux-install/pxelinux.cfg/0A4D0032").exists(),
        "snapshot/node004 " in pathlib.Path("/etc/exports.d/diskless.exports").read_text(),
        "10.77.0.50" in {export.client for export in nfs.table()},
    )
    assert len({*parts}) == 1, parts
    return parts[0]


@pytest.mark.parametrize("step", range(len(STATES) + 1))
def test_a_node_that_comes_while_a_run_is_under_way_stays(salt_call, served, step):
    """Whichever state the run has come to, each of which goes by the pillar of its start."""
    old = counted(served, 4)
    run = salt_call(old)
    for name in STATES[:step]:
        assert run.state(name).result is True
    salt_call(old).modules["diskless_node.add"]({"node004": NEW}, number=5)
    for name in STATES[step:]:
        ret = run.state(name)
        assert (ret.result, "removed" in ret.changes) == (True, False), ret.changes
    assert is_served(served, NEW["mac"])
    # The next one has it in its pillar, and finds nothing to do.
    assert apply(salt_call, counted(with_nodes(served, node004=NEW), 5)) == {}
    assert is_served(served, NEW["mac"])


@pytest.mark.parametrize("nodes", [{}, {"nodes": None}, {"nodes": {}}])
def test_so_does_the_first_of_all(salt_call, served, nodes):
    old = {key: value for key, value in counted(served, 4).items() if key != "nodes"} | nodes
    apply(salt_call, old)
    salt_call(old).modules["diskless_node.add"]({"node004": NEW}, number=5)
    apply(salt_call, old)
    assert is_served(served, NEW["mac"])


@pytest.mark.parametrize("step", range(len(STATES) + 1))
def test_a_node_that_goes_while_a_run_is_under_way_does_not_come_back(salt_call, served, step):
    there = counted(with_nodes(served, node004=NEW), 5)
    apply(salt_call, there)
    run = salt_call(there)
    for name in STATES[:step]:
        assert run.state(name).result is True
    salt_call(there).modules["diskless_node.remove"]("node004", number=6)
    for name in STATES[step:]:
        assert run.state(name).result is True
    assert not is_served(served, NEW["mac"])


def test_a_board_that_is_swapped_while_a_run_is_under_way_stays_swapped(salt_call, served):
    there = counted(with_nodes(served, node004=NEW), 5)
    apply(salt_call, there)
    run = salt_call(there)
    salt_call(there).modules["diskless_node.add"]({"node004": BOARD}, number=6)
    for name in STATES:
        assert run.state(name).result is True
    assert is_served(served, BOARD["mac"])


def test_a_pillar_that_is_newer_decides(salt_call, served):
    add_told = salt_call(served).modules["diskless_node.add"]
    add_told({"node004": NEW}, number=5)
    assert "diskless_dhcpd.managed" in apply(salt_call, counted(served, 5))
    assert not is_served(served, NEW["mac"])
    add_told({"node004": NEW}, number=6)
    # So does one that lists the node by hand.
    by_hand = with_nodes(served, **{"node[004-005]": {
        "mac": [BOARD["mac"], "52:54:00:77:00:52"], "ip": "10.77.0.50+", "profile": "compute",
    }})  # fmt: skip
    apply(salt_call, counted(by_hand, 5))
    assert is_served(served, BOARD["mac"])


def test_who_decides_by_hand_undoes_what_was_told(salt_call, served):
    salt_call(served).modules["diskless_node.add"]({"node004": NEW}, number=5)
    salt_call(served).modules["diskless_node.remove"]("node004")
    assert apply(salt_call, served) == {}
    assert not is_served(served, NEW["mac"])
    salt_call(served).modules["diskless_node.add"]({"node004": NEW}, number=5)
    add(salt_call, served, node004=NEW)
    apply(salt_call, served)
    assert not is_served(served, NEW["mac"])


def test_after_a_day_it_counts_no_more(salt_call, served, monkeypatch):
    salt_call(served).modules["diskless_node.add"]({"node004": NEW}, number=5)
    now = time.time()
    monkeypatch.setattr(told.time, "time", lambda: now + told.DAY + 1)
    apply(salt_call, served)
    assert not is_served(served, NEW["mac"])


def test_what_was_refused_was_not_told(salt_call, served):
    with pytest.raises(CommandExecutionError, match="node001 has it"):
        salt_call(served).modules["diskless_node.add"](
            {"node004": {**NEW, "mac": "52:54:00:77:00:01"}}, number=5
        )
    assert told.since(0) == {}


@pytest.mark.parametrize("number", ["5", -1, True, 1.5])
def test_what_is_no_number_is_refused_and_changes_nothing(salt_call, served, listing, number):
    before = listing()
    for name, argument in (("add", {"node004": NEW}), ("remove", "node003")):
        with pytest.raises(CommandExecutionError, match="number: found"):
            salt_call(served).modules[f"diskless_node.{name}"](argument, number=number)
    assert listing() == before


def test_a_spoilt_record_is_one_error_that_says_what_to_do(salt_call, served):
    pathlib.Path(told.PATH).write_text('{"node004": 1}')
    ret = salt_call(served).state("diskless_dhcpd.managed")
    assert ret.result is False
    assert ret.comment.startswith(f"{told.PATH}: found something that is not what was written")


def waits_for_a_lock(pid: int) -> bool:
    """Tell whether a process waits for somebody else's lock: proc_locks(5)."""
    lines = pathlib.Path("/proc/locks").read_text().splitlines()
    return any("-> FLOCK" in line and f" {pid} " in line for line in lines)


@pytest.mark.parametrize("state", ["tftp", "nfs", "dhcpd"])
def test_between_the_look_and_the_writing_of_a_state_nobody_adds(
    salt_call, served, state, monkeypatch
):
    """One that comes just then waits, and is served after it."""
    run, children = salt_call(counted(served, 4)), []
    module = {"tftp": "tftp.plan", "nfs": "nfs.wanted", "dhcpd": "dhcpd.files"}[state]
    # Something has to be written.
    run.modules["diskless_node.remove"]("node003")
    before, _, name = module.partition(".")
    target = __import__(f"salt_diskless.services.{before}", fromlist=[name])
    look = getattr(target, name)

    def looked(*arguments: object) -> object:
        found = look(*arguments)
        if not children:
            children.append(os.fork())
            if children[0] == 0:
                code = 1
                # The lock is of whoever has it open.
                os.closerange(3, 1024)
                try:
                    salt_call(served).modules["diskless_node.add"]({"node004": NEW}, number=5)
                    code = 0
                finally:
                    os._exit(code)
            wait_until(lambda: waits_for_a_lock(children[0]) or has_ended(children[0]))
            assert not has_ended(children[0])
        return found

    monkeypatch.setattr(target, name, looked)
    assert run.state(f"diskless_{state}.managed").result is True
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    assert is_served(served, NEW["mac"])


def test_a_swap_file_that_comes_while_a_run_looks_for_those_of_nobody_stays(
    salt_call, pillar, served, monkeypatch
):
    swap = {"swap": {"kind": "nfs", "size": "16M"}}
    pillar["nodes"]["node003"].update(swap)
    apply(salt_call, served)
    lock, added = swapfiles._locked, []

    def locked(image: object) -> object:
        if not added:
            added.append(image)
            node = {**NEW, **swap}
            salt_call(served).modules["diskless_node.add"]({"node004": node}, number=5)
        return lock(image)

    monkeypatch.setattr(swapfiles, "_locked", locked)
    assert salt_call(counted(served, 4)).state("diskless_swap.managed").changes == {}
    swapped = pathlib.Path(pillar["images"]["tiny"]["location"], "swap/node004/swapfile")
    assert added and swapped.stat().st_size == 16 << 20


def has_ended(pid: int) -> bool:
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_number_is_part_of_a_right_pillar(pillar):
    assert parse(counted(pillar, 5)).rules == ()
