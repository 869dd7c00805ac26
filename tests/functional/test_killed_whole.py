"""What was killed at any of its changes and done again leaves what an undisturbed call leaves, in
every directory where the project writes; and whatever runs next removes what is half-written."""

from __future__ import annotations

import contextlib
import copy
import os
import pathlib
import shutil
import traceback
from collections.abc import Callable

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless import command, tree
from tests.functional.killed import (
    PLACES,
    Saved,
    Traced,
    differences,
    each_step,
    everything,
    killed_at,
    numbers,
)
from tests.functional.test_node import NEW, STATES, apply, served, with_nodes

__all__ = ["served"]
pytestmark = pytest.mark.any_salt

STRANGER = "52:54:00:99:99:01"
SWAP = {"swap": {"kind": "nfs", "size": "16M"}}


def changed(pillar: dict) -> dict:
    """Return a pillar that has something else for each module."""
    other = copy.deepcopy(with_nodes(pillar, node004={**NEW, **SWAP}))
    del other["nodes"]["node003"]
    other["networks"]["lab"]["domain"] = "other.example"
    other["profiles"]["compute"]["files"].append("/var/lib/systemd")
    other["profiles"]["compute"]["serial_console"] = "ttyS1,9600"
    return other


#: Whether the pillar is the changed one; the states that are run before; the call, which is the
#: repair too.
CALLS: dict[str, tuple[bool, int, Callable]] = {
    "snapshot": (True, 1, lambda call: call["diskless_snapshot.apply"]()),
    "swap": (True, 2, lambda call: call["diskless_swap.apply"]()),
    "tftp": (True, 3, lambda call: call["diskless_tftp.apply"]()),
    "nfs": (True, 4, lambda call: call["diskless_nfs.apply"]()),
    "dhcpd": (True, 5, lambda call: call["diskless_dhcpd.apply"]()),
    "tftp settings": (False, 0, lambda call: call["diskless_tftp.settings"]()),
    "nfs settings": (False, 0, lambda call: call["diskless_nfs.settings"]()),
    "add": (False, 0, lambda call: call["diskless_node.add"]({"node004": {**NEW, **SWAP}})),
    "add, told": (
        False,
        0,
        lambda call: call["diskless_node.add"]({"node004": NEW}, keys=True, number=5),
    ),
    "remove": (False, 0, lambda call: call["diskless_node.remove"]("node003")),
    "remove, told": (False, 0, lambda call: call["diskless_node.remove"]("node003", number=6)),
    "reject": (False, 0, lambda call: call["diskless_node.reject"]([STRANGER])),
    "minion keys": (False, 0, lambda call: call["diskless_snapshot.minion_keys"]()),
    "publish": (False, 0, lambda call: call["diskless_image.publish"]("tiny")),
    "nfs clean": (False, 0, lambda call: call["diskless_nfs.clean"]()),
    "dhcpd clean": (False, 0, lambda call: call["diskless_dhcpd.clean"]()),
    "tftp clean": (False, 0, lambda call: call["diskless_tftp.clean"]()),
    "clean": (False, 0, lambda call: call["diskless.clean"]()),
}


def another_call(call) -> None:
    """Do something that has nothing to do with what was killed."""
    call["diskless_node.reject"]("52:54:00:99:99:99")


def between(name: str, call, places: list[str], number: int) -> None:
    """Run another call after a kill, which removes what is half-written; not after a killed clean:
    that call would have this machine be a boot server again."""
    if name != "clean":
        another_call(call)
        assert half_written(places) == [], number


def half_written(places: list[str]) -> list[str]:
    """Return half-written files, and private keys outside of snapshots."""
    found = [path for path in everything(places) if path.endswith(tree.UNFINISHED)]
    keys = pathlib.Path(tree.RUNTIME).rglob("*.pem")
    return [*found, *map(str, keys)]


def as_sorted(found: dict[str, tuple]) -> dict[str, tuple]:
    """Return it with the table of exports in one order: of two tables with the same lines neither
    is better."""
    table = "/var/lib/nfs/etab"
    if table in found:
        *status, held = found[table]
        found[table] = (*status, sorted(held.splitlines()))
    return found


def begun(salt_call, served, golden, tmp_path, name):
    """Return a call of :data:`CALLS`, the modules, the directories as they are before it, and what
    they are after it."""
    is_changed, states, work = CALLS[name]
    (golden / "etc/salt").mkdir()
    (golden / "etc/salt/minion").touch()
    apply(salt_call, served)
    pillar = changed(served) if is_changed else served
    for state in STATES[:states]:
        assert salt_call(pillar).state(state).result is True
    call = salt_call(pillar).modules
    places = [*(str(tmp_path / name) for name in ("diskless", "srv", "etc")), *PLACES]
    before = Saved(places, tmp_path / "salt/saved")
    another_call(call)
    work(call)
    return work, call, places, before, as_sorted(everything(places))


@each_step
@pytest.mark.parametrize("name", CALLS)
def test_a_killed_call_that_is_repeated_is_whole(salt_call, served, golden, tmp_path, name, step):
    work, call, places, before, whole = begun(salt_call, served, golden, tmp_path, name)
    for number in numbers(step):
        before.put_back()
        killed = killed_at(number, lambda: work(call))
        if not killed:
            break
        between(name, call, places, number)
        with contextlib.suppress(CommandExecutionError):  # It may have been done before the kill.
            work(call)
        assert differences(as_sorted(everything(places)), whole) == [], number
    assert number > 3 or step > 1


@each_step
@pytest.mark.parametrize("name", CALLS)
def test_an_interrupted_call_that_is_repeated_is_whole(
    salt_call, served, golden, tmp_path, name, step
):
    """Ctrl-C in place of SIGKILL: what is done at the end of each block is done, or begun."""
    work, call, places, before, whole = begun(salt_call, served, golden, tmp_path, name)
    for number in numbers(step):
        before.put_back()
        if not killed_at(number, lambda: work(call), interrupted=True):
            break
        between(name, call, places, number)
        with contextlib.suppress(CommandExecutionError):
            work(call)
        assert differences(as_sorted(everything(places)), whole) == [], number
    assert number > 3 or step > 1


@pytest.mark.parametrize("with_caller", [True, False], ids=["both", "program"])
@pytest.mark.parametrize("name", ["nfs", "nfs clean", "clean"])
def test_an_exportfs_that_is_killed_leaves_nothing(
    salt_call, served, golden, tmp_path, monkeypatch, name, with_caller
):
    """It is killed at its system calls, with who called it, and without."""
    work, call, places, before, whole = begun(salt_call, served, golden, tmp_path, name)
    traced = Traced(tmp_path / "salt/traced", monkeypatch)
    for number in range(1, 60, 3):
        before.put_back()
        what = f"signal=KILL:when={number}"
        with traced.program("exportfs", what, with_caller=with_caller) as done:
            error = outcome(lambda: work(call))
        if not done.exists():
            break
        assert "Traceback" not in error, (number, error)
        between(name, call, places, number)
        with contextlib.suppress(CommandExecutionError):
            work(call)
        assert differences(as_sorted(everything(places)), whole) == [], (number, error)
    assert 3 < number < 58


@pytest.mark.parametrize("with_caller", [True, False], ids=["both", "program"])
@pytest.mark.parametrize("name", ["add", "remove"])
def test_a_killed_flush_of_exports_is_made_by_the_next_call(
    salt_call, served, golden, tmp_path, monkeypatch, name, with_caller
):
    """The table has its new lines by then; only the kernel does not know."""
    work, call, places, before, whole = begun(salt_call, served, golden, tmp_path, name)
    before.put_back()
    programs = tmp_path / "salt/programs"
    programs.mkdir()
    monkeypatch.setattr(command, "_PATH", f"{programs}:{command._PATH}")
    script = programs / "exportfs"
    script.write_text(f"#!/bin/sh\nkill -9 {'$PPID' if with_caller else ''} $$\n")
    script.chmod(0o755)
    error = outcome(lambda: work(call))
    assert error == "killed" if with_caller else "exportfs" in error, error
    log = programs / "log"
    script.write_text(f'#!/bin/sh\necho "$@" >>{log}\nexec {shutil.which("exportfs")} "$@"\n')
    another_call(call)
    with contextlib.suppress(CommandExecutionError):
        work(call)
    # Reading all again has the kernel forget what it knows, too.
    assert {*log.read_text().split()} & {"-f", "-r"}
    assert differences(as_sorted(everything(places)), whole) == []


def outcome(work: Callable[[], object]) -> str:
    """Do something in a process of its own; return its error, or nothing. It may be killed."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        text = ""
        try:
            work()
        except CommandExecutionError as err:
            text = str(err)
        except BaseException:
            text = "Traceback " + traceback.format_exc()
        finally:
            os.write(writes, text.encode()[:60000])
            os._exit(0)
    os.close(writes)
    with open(reads, encoding="utf-8", errors="replace") as stream:
        text = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return "killed" if code else text
