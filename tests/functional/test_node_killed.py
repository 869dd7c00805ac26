"""A call that adds or removes a node is killed wherever it changes something: nothing names what is
not there, no file is half written, and the next call, or the next run, does the rest."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless import swapfiles, tree
from salt_diskless.services import nfs, omapi, told
from tests.functional.killed import each_step, killed_at, numbers
from tests.functional.test_node import LEASES, NEW, REGISTRY, apply, served, with_nodes
from tests.functional.wire import running_dhcpd, segment

__all__ = ["segment", "served"]
pytestmark = pytest.mark.any_salt

OTHER = {**NEW, "mac": "52:54:00:77:00:51", "ip": "10.77.0.13"}
NODE = {**NEW, "swap": {"kind": "nfs", "size": "16M"}}


class Server:
    """What a boot server has for the node, as far as it goes."""

    def __init__(self, pillar: dict):
        names = pillar["lookup"]
        self.config = pathlib.Path(names["dhcp_config"])
        self.key = str(self.config.with_name("diskless-omapi.key"))
        self.exports = pathlib.Path("/etc/exports.d/diskless.exports")
        self.loader = pathlib.Path(names["tftp_root"], "linux-install/pxelinux.cfg/0A4D0032")
        self.answer = pathlib.Path(names["tftp_root"], REGISTRY, "01-52-54-00-77-00-50")
        self.location = pathlib.Path(pillar["images"]["tiny"]["location"])

    def files(self) -> dict[str, bytes | None]:
        paths = (self.config, self.exports, self.loader, self.answer)
        return {path.name: path.read_bytes() if path.exists() else None for path in paths}

    def exported(self) -> set[str]:
        return {export.path for export in nfs.table() if export.client == "10.77.0.50"}

    def snapshot(self) -> set[str]:
        """Return all that is in the node's snapshot."""
        place = self.location / "snapshot/node004"
        return {str(path.relative_to(place)) for path in place.rglob("*")}

    def swap(self) -> int:
        path = self.location / "swap/node004/swapfile"
        return path.stat().st_size if path.exists() else 0

    def is_known(self) -> bool:
        """Tell whether the running dhcpd has it."""
        return bool(omapi.known([f"node004_{NEW['mac'].replace(':', '')}"], self.key))

    def check(self, before, after, exported, snapshot, number) -> frozenset[str]:
        """Fail where something names what is not there, or is neither as it was nor as it is to be;
        return what is as it is to be."""
        now = self.files()
        for name, content in now.items():
            assert content in (before[name], after[name]), (number, name)
        done = frozenset(name for name in now if now[name] == after[name])
        if done:
            assert (self.snapshot(), self.swap()) == (snapshot, 16 << 20), number
        if self.loader.name in done:
            assert self.exported() == exported, number
        if self.config.name in done:
            assert self.loader.name in done, number
        if self.is_known():
            assert self.config.name in done, number
        if self.answer.name in done:
            assert self.is_known(), number
        return done


@each_step
def test_killed_at_each_change_it_leaves_nothing_that_names_what_is_not_there(
    salt_call, served, golden, segment, monkeypatch, step
):
    """After each kill the node is added again; and where that left half a file, once more, with a
    run instead."""
    (golden / "etc/salt").mkdir()
    (golden / "etc/salt/minion").touch()
    apply(salt_call, served)
    # The swap file at one go.
    monkeypatch.setattr(swapfiles, "_ZEROS", memoryview(bytes(16 << 20)))
    server = Server(served)
    call = salt_call(served).modules
    with running_dhcpd(server.config, LEASES):
        before = server.files()
        add = lambda: call["diskless_node.add"]({"node004": NODE}, keys=True, number=5)  # noqa: E731
        public = add()["keys"]["node004"]
        after, exported, snapshot = server.files(), server.exported(), server.snapshot()
        assert "BEGIN" in public and server.is_known() and len(exported) >= 3

        def take_away() -> None:
            call["diskless_node.remove"]("node004")
            server.answer.unlink(missing_ok=True)
            for part in ("snapshot", "swap"):
                shutil.rmtree(server.location / part / "node004")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(told.PATH)
            assert (server.files(), server.exported()) == (before, set())

        reached = set()
        for number in numbers(step):
            take_away()
            if not killed_at(number, add):
                break
            reached.add(server.check(before, after, exported, snapshot, number))
            half = half_written(golden.parent)
            assert "BEGIN" in add()["keys"]["node004"]
            assert server.files() == after, number
            assert (server.exported(), server.snapshot()) == (exported, snapshot), number
            assert server.is_known(), number
            if half:
                take_away()
                assert killed_at(number, add) and half_written(golden.parent) == half
                apply(salt_call, with_nodes(served, node004=NODE))
                assert half_written(golden.parent) == [], number
                now = server.files()
                assert {**now, server.answer.name: None} == {**after, server.answer.name: None}
                assert server.exported() == exported
                add()
    # One file after the other has come: exports, loader, DHCP host, the answer.
    assert number > 60, number
    assert step > 1 or len(reached) == 5, reached


@each_step
def test_a_removal_that_is_killed_is_done_by_the_next_call(salt_call, served, segment, step):
    apply(salt_call, served)
    server = Server(served)
    call = salt_call(served).modules
    with running_dhcpd(server.config, LEASES):
        before = server.files()
        remove = lambda: call["diskless_node.remove"]("node004")  # noqa: E731
        reached = set()
        for number in numbers(step):
            call["diskless_node.add"]({"node004": NEW})
            after = server.files()
            assert server.is_known() and len(server.exported()) == 2
            if not killed_at(number, remove):
                break
            now = server.files()
            for name, content in now.items():
                assert content in (before[name], after[name]), (number, name)
            reached.add(frozenset(name for name in now if now[name] == before[name]))
            if now[server.config.name] == before[server.config.name]:
                assert (now, server.exported()) == (before, set()) and not server.is_known()
            else:
                assert remove() == {"removed": {"nodes": "node004"}}, number
            assert (server.files(), server.exported()) == (before, set()), number
            assert not server.is_known(), number
    assert (server.files(), server.exported()) == (before, set())
    # The loader's two files go one by one, then the export, then the DHCP host.
    assert number > 15, number
    assert step > 1 or len(reached) >= 3, reached


def test_the_next_call_does_it_beside_the_removal_of_others(salt_call, served, segment):
    apply(salt_call, served)
    server = Server(served)
    call = salt_call(served).modules
    with running_dhcpd(server.config, LEASES):
        before, table = server.files(), {*nfs.table()}
        for number in range(1, 100):
            call["diskless_node.add"]({"node004": NEW, "node005": OTHER})
            assert killed_at(number, lambda: call["diskless_node.remove"]("node004"))
            half_gone = b"node004" not in server.exports.read_bytes() and server.exported()
            said = call["diskless_node.remove"](["node004", "node005"])
            assert said == {"removed": {"nodes": "node[004-005]"}}, number
            assert (server.files(), {*nfs.table()}) == (before, table), number
            if half_gone:
                return
    pytest.fail("the file of exports was never ahead of the table")


@each_step
def test_what_a_killed_addition_left_is_removed(salt_call, served, segment, step):
    apply(salt_call, served)
    server = Server(served)
    call = salt_call(served).modules
    with running_dhcpd(server.config, LEASES):
        before, table = server.files(), {*nfs.table()}
        reached = set()
        for number in numbers(step):
            killed = killed_at(number, lambda: call["diskless_node.add"]({"node004": NODE}))
            now = server.files()
            reached.add(frozenset(name for name in now if now[name] != before[name]))
            try:
                said = call["diskless_node.remove"]("node004")
            except CommandExecutionError as err:
                # Killed before its first change, an addition leaves a name that nobody knows.
                assert "does not serve" in str(err) and now == before, number
                assert not (server.location / "snapshot/node004").exists(), number
                said = {}
            assert said in ({}, {"removed": {"nodes": "node004"}}), number
            assert (server.files(), {*nfs.table()}) == (before, table), number
            assert not server.is_known(), number
            if not killed:
                break
            for part in ("snapshot", "swap"):
                shutil.rmtree(server.location / part / "node004", ignore_errors=True)
    # Nothing, exports, the loader's file, and the DHCP host.
    assert step > 1 or len(reached) >= 4, reached


def half_written(place: pathlib.Path) -> list[pathlib.Path]:
    """Return what a killed writer has left."""
    places = (place, pathlib.Path("/etc/exports.d"))
    return [path for place in places for path in place.rglob(f"*{tree.UNFINISHED}")]
