"""What was killed at any of its changes and done again leaves what an undisturbed call leaves, in
every directory where the project writes; and whatever runs next removes what is half-written."""

from __future__ import annotations

import contextlib
import copy
import pathlib
from collections.abc import Callable

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless import tree
from tests.functional.killed import (
    PLACES,
    Saved,
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
}


def another_call(call) -> None:
    """Do something that has nothing to do with what was killed."""
    call["diskless_node.reject"]("52:54:00:99:99:99")


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


@each_step
@pytest.mark.parametrize("name", CALLS)
def test_a_killed_call_that_is_repeated_is_whole(salt_call, served, golden, tmp_path, name, step):
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
    whole = as_sorted(everything(places))
    for number in numbers(step):
        before.put_back()
        killed = killed_at(number, lambda: work(call))
        if not killed:
            break
        another_call(call)
        assert half_written(places) == [], number
        with contextlib.suppress(CommandExecutionError):  # It may have been done before the kill.
            work(call)
        assert differences(as_sorted(everything(places)), whole) == [], number
    assert number > 3 or step > 1
