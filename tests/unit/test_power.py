"""Power in waves: who is told what, and when, by a rack whose clock is the test's."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.utils.args import yamlify_arg

from salt_diskless.cluster import DisklessError, parse
from salt_diskless.cluster.ranges import expand
from salt_diskless.power import apart, bmcs, waves
from salt_diskless.power.remote import Servers
from salt_diskless.power.waves import Order, Told
from salt_diskless.watch.progress import Reached
from tests.unit.registry import PILLAR

#: How far the boot servers' clock is from the master's.
AHEAD = 1.8e9


@dataclass
class Board:
    """A machine, off, and its BMC.

    boots
        How many seconds it takes to be up, a boot; None hangs. The last one counts for all others.
    refuses
        How often its BMC refuses.
    """

    boots: list[float | None] = field(default_factory=lambda: [30.0])
    refuses: int = 0
    on: bool = False
    up_at: float | None = None
    stage: str = "unseen"
    since: float | None = None
    told: list[str] = field(default_factory=list)

    def start(self, now: float) -> None:
        boot = self.boots.pop(0) if len(self.boots) > 1 else self.boots[0]
        self.on, self.up_at = True, None if boot is None else now + boot
        if boot is None and self.stage != "unseen":
            self.stage, self.since = "dhcp", now + 1

    def reached(self, now: float) -> Reached:
        if self.up_at is not None and now >= self.up_at:
            self.stage, self.since = "up", self.up_at
        return Reached(self.stage, "V", None if self.since is None else self.since + AHEAD)


class Rack:
    """Boards, and the time."""

    def __init__(self, **boards: Board):
        self.boards = boards
        self.clock = 1000.0
        self.silent = False
        self.shuts_down = True
        self.log: list[tuple[float, str, str]] = []

    def power(self, action: str, names: Sequence[str]) -> dict[str, Told]:
        return {name: self._power(action, name) for name in names}

    def _power(self, action: str, name: str) -> Told:
        board, at = self.boards[name], self.clock + AHEAD
        self.log.append((self.clock, action, name))
        if board.refuses:
            board.refuses -= 1
            return Told(problem=f"{name} refuses")
        state = "on" if board.on else "off"
        if action in ("status", state):
            return Told(state, at)
        board.told.append(action)
        if action != "off":
            board.start(self.clock)
        elif self.shuts_down:
            board.on = False
        return Told("told", at)

    def progress(self, names: Sequence[str]) -> dict[str, Reached | None]:
        return {
            name: None if self.silent else self.boards[name].reached(self.clock) for name in names
        }

    def now(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.clock += seconds


def switch(rack: Rack, size: int, action: str = "on", timeout: float = 100, retries: int = 1):
    names = [*rack.boards]
    some = tuple(tuple(names[at : at + size]) for at in range(0, len(names), size))
    return waves.run(Order(action, some, timeout, retries), rack)


def test_the_next_wave_is_switched_on_when_each_of_the_one_before_is_up():
    rack = Rack(a=Board([10]), b=Board([50]), c=Board([5]), d=Board([5]), e=Board([5]))
    assert switch(rack, 2) == {"up": "a,b,c,d,e"}
    at = {name: time for time, _, name in rack.log}
    assert at["a"] == at["b"] == 1000 and at["c"] == at["d"] < at["e"]
    assert 1050 <= at["c"] <= 1050 + waves.LOOKS


def test_what_boot_servers_said_of_an_earlier_boot_is_not_taken_for_this_one():
    rack = Rack(a=Board([None], stage="up", since=900.0), b=Board())
    said = switch(rack, 1, retries=0)
    assert said == {
        "failed": {"a": "not up in 100 s: dhcp since 2027-01-15T08:16:41Z"},
        "not tried": "b",
    }


def test_one_whose_first_boot_hangs_is_cycled_and_comes_up():
    rack = Rack(a=Board([None, 30]), b=Board([30]))
    assert switch(rack, 2) == {"up": "a,b"}
    assert (rack.boards["a"].told, rack.boards["b"].told) == (["on", "cycle"], ["on"])


def test_one_that_does_not_come_up_is_reported_and_the_next_wave_goes_on():
    rack = Rack(a=Board([None]), b=Board(), c=Board())
    said = switch(rack, 2, retries=2)
    why = "not up in 3 times 100 s: nothing was heard of it since its power-on"
    assert said == {"up": "b,c", "failed": {"a": why}}
    assert rack.boards["a"].told == ["on", "cycle", "cycle"]


def test_where_nobody_of_a_wave_came_up_the_others_are_not_tried():
    rack = Rack(a=Board(), b=Board([None]), c=Board(refuses=9), d=Board(), e=Board())
    said = waves.run(Order("on", (("a",), ("b", "c"), ("d",), ("e",)), 100, 1), rack)
    assert (said["up"], said["not tried"], len(said["failed"])) == ("a", "d,e", 2)
    assert rack.boards["d"].told == rack.boards["e"].told == []


def test_who_is_on_and_up_is_left_alone_also_by_a_bmc_that_refuses_first():
    up = {"on": True, "stage": "up", "since": 10.0}
    rack = Rack(a=Board(**up), b=Board(refuses=1, **up), c=Board(refuses=1))
    assert switch(rack, 3) == {"up": "a,b,c"}
    assert [board.told for board in rack.boards.values()] == [[], [], ["on"]]
    # Who is refused alone is told again all the same, after a while.
    rack = Rack(a=Board(refuses=2))
    assert switch(rack, 1, retries=2) == {"up": "a"}
    assert [time for time, _, _ in rack.log] == [1000 + waves.LOOKS * tries for tries in range(3)]


def test_who_is_on_and_hangs_is_cycled_after_the_time_that_all_have():
    rack = Rack(a=Board([30], on=True, stage="kernel", since=990.0))
    assert switch(rack, 1) == {"up": "a"}
    assert rack.boards["a"].told == ["cycle"] and rack.clock >= 1130


def test_nobody_is_cycled_whose_boot_server_does_not_say_how_far_he_is():
    rack = Rack(a=Board(), b=Board())
    rack.silent = True
    said = switch(rack, 2, retries=5)
    why = "its boot server does not say how far it is; it is left as it is"
    assert said == {"failed": {"a,b": why}}
    assert [board.told for board in rack.boards.values()] == [["on"], ["on"]]


def test_a_cycle_is_waited_for_as_a_power_on_is():
    rack = Rack(a=Board([20], on=True, stage="up", since=900.0), b=Board([20]))
    assert switch(rack, 1, "cycle") == {"up": "a,b"}
    assert rack.boards["a"].told == ["cycle"] and rack.clock >= 1040


def test_off_waits_until_the_bmcs_say_so_and_one_that_refused_is_told_again():
    rack = Rack(a=Board(on=True, refuses=1), b=Board(on=True), c=Board())
    assert switch(rack, 3, "off") == {"off": "a,b,c"}
    assert rack.boards["a"].told == ["off"]
    rack = Rack(a=Board(on=True))
    rack.shuts_down = False
    why = "not off; force=True cuts its power (100 s after it was told)"
    assert switch(rack, 3, "off") == {"failed": {"a": why}}
    assert rack.clock == 1100


def test_status_only_asks():
    rack = Rack(a=Board(on=True), b=Board(), c=Board(refuses=1))
    assert switch(rack, 3, "status") == {"on": "a", "off": "b", "failed": {"c": "c refuses"}}
    assert {action for _, action, _ in rack.log} == {"status"}


_BOARDS = st.lists(
    st.builds(
        Board,
        boots=st.lists(st.sampled_from([1.0, 20.0, 99.0, 101.0, None]), min_size=1, max_size=3),
        refuses=st.integers(0, 3),
        on=st.booleans(),
        stage=st.sampled_from(["unseen", "kernel", "up"]),
    ),
    min_size=1,
    max_size=7,
)


@given(_BOARDS, st.integers(1, 4), st.integers(0, 2))
def test_whatever_boards_do_each_is_reported_once_and_waves_keep_their_order(boards, size, retries):
    for board in boards:
        board.since = None if board.stage == "unseen" else 500.0
    was_up = [board.on and board.stage == "up" for board in boards]
    rack = Rack(**{f"n{number}": board for number, board in enumerate(boards)})
    said = switch(rack, size, retries=retries)
    up = {*expand(said["up"])} if "up" in said else set()
    failed = {name for names in said.get("failed", {}) for name in expand(names)}
    left = {*expand(said["not tried"])} if "not tried" in said else set()
    assert up | failed | left == {*rack.boards} and len(up) + len(failed) + len(left) == len(boards)
    for number, (name, board) in enumerate(rack.boards.items()):
        told = [time for time, _, one in rack.log if one == name]
        assert len(told) <= retries + 1
        assert (name in left) == (told == [])
        if was_up[number]:
            assert board.told == []
        if name in up:
            assert board.on and board.reached(rack.clock).stage == "up"
        earlier = [time for time, _, one in rack.log if int(one[1:]) // size < number // size]
        if told and earlier:
            assert min(told) >= max(earlier)
        if name in left:
            last = max(int(one[1:]) // size for one in up | failed)
            assert not {one for one in up if int(one[1:]) // size == last}


# -- what is asked for ----------------------------------------------------------------------------


def cluster(**nodes: dict):
    pillar = {**PILLAR, "nodes": {**PILLAR["nodes"], **nodes}}
    return parse(pillar)


RACK = {
    "node[005-007]": {
        "profile": "compute",
        "ip": "10.8.226.5+",
        "mac": [f"52:54:00:00:00:0{number}" for number in (5, 6, 7)],
        "bmc": "10.99.0.5+",
    }
}


def test_waves_are_for_what_boots_all_else_is_at_once():
    names = ["node005", "node006", "node007"]
    whole = cluster(**RACK)
    assert waves.order(whole, "on", names, 2, 60, 1).waves == (("node005", "node006"), ("node007",))
    assert waves.order(whole, "off", names, 2, 60, 1).waves == (tuple(names),)


@pytest.mark.parametrize("typed", bmcs.ACTIONS)
def test_an_action_is_what_was_typed_whatever_yaml_makes_of_it(typed):
    order = waves.order(cluster(**RACK), yamlify_arg(typed), ["node005"], 1, 1, 0)
    assert order.action == typed


def test_all_that_is_wrong_is_one_error():
    with pytest.raises(DisklessError) as caught:
        waves.order(cluster(**RACK), "onn", ["node005", "node003", "node9"], 0, True, -1)
    assert str(caught.value).splitlines() == [
        "nothing was done:",
        "  wave: found 0; give a number, 1 at least",
        "  timeout: found true; give a number, 1 at least",
        "  retries: found -1; give a number, 0 at least",
        "  action: found 'onn'; did you mean on?",
        "  names: found node9; give nodes of the pillar or the registry (did you mean node007?)",
        "  diskless:nodes:node003:bmc: found nothing; give the address of its BMC",
    ]


def test_each_boot_server_is_asked_once_for_its_nodes_and_one_that_is_down_takes_no_other_with_it():
    other = {"profile": "other", "ip": "10.9.0.2", "mac": "52:54:00:00:01:01", "bmc": "10.99.1.1"}
    calls = []

    def call(server, function, arguments, named):
        calls.append((server, function, arguments, named))
        if server == "boot1":
            raise DisklessError("boot1: no answer")
        if function == "diskless_node.progress":
            step = {"stage": "up", "version": "V", "since": 5.0}
            return dict.fromkeys(arguments[0], step)
        return {"told": "node[005-006]", "failed": {"node007": "10.99.0.7: no"}, "at": 4.5}

    servers = Servers(cluster(**RACK, login1=other), call, force=True)
    names = ["node005", "login1", "node006", "node007"]
    mine = ["node005", "node006", "node007"]
    assert servers.power("off", names) == {
        "node005": Told("told", 4.5),
        "node006": Told("told", 4.5),
        "node007": Told(problem="10.99.0.7: no"),
        "login1": Told(problem="boot1: no answer"),
    }
    up = Reached("up", "V", 5.0)
    assert servers.progress(names) == {**dict.fromkeys(mine, up), "login1": None}
    assert calls == [
        ("boot2", "diskless_node.power", ["off", mine], {"force": True}),
        ("boot1", "diskless_node.power", ["off", ["login1"]], {"force": True}),
        ("boot2", "diskless_node.progress", [mine], {}),
        ("boot1", "diskless_node.progress", [["login1"]], {}),
    ]


def test_where_saltext_bmc_is_missing_a_sentence_says_how_to_get_it():
    with pytest.raises(DisklessError, match=re.escape("salt-pip install 'saltext.bmc[ipmi]'")):
        bmcs.require({"test.ping": None}, "3006.29")
    bmcs.require({"bmc.power_status": None}, "3008.4")


# -- calls that may hang --------------------------------------------------------------------------


def test_calls_run_at_once_and_each_has_an_answer():
    def fail():
        raise RuntimeError("first\n second")

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    calls = {f"n{number}": lambda: time.sleep(0.3) or "on" for number in range(40)}
    begun = time.monotonic()
    said = apart.each({**calls, "bad": fail, "dead": die})
    assert time.monotonic() - begun < 5
    assert said.pop("bad").problem == "first second"
    assert said.pop("dead").problem == "its process was killed"
    assert {*said.values()} == {apart.Said("on")} and len(said) == 40


def test_one_that_hangs_is_ended_and_takes_nobody_with_it(monkeypatch, tmp_path):
    monkeypatch.setattr(apart, "LONGEST", 1)
    monkeypatch.setattr(apart, "AT_ONCE", 2)
    noted = tmp_path / "pid"

    def hang():
        noted.write_text(str(os.getpid()))
        time.sleep(600)

    calls = {"hangs": hang, **{f"n{number}": lambda: "off" for number in range(5)}}
    said = apart.each(calls)
    assert said.pop("hangs").problem.startswith("no answer in ")
    assert {*said.values()} == {apart.Said("off")}
    with pytest.raises(ProcessLookupError):
        os.kill(int(noted.read_text()), 0)


@pytest.mark.parametrize(
    "word", ["On", "\x1b[2Jon", "failed", "at", "told", "", "x" * 10**6, None, 7]
)
def test_a_bmc_says_on_or_off_or_nothing(word):
    site = cluster(**RACK).served_by("boot2")
    said = bmcs.ask(
        [site.nodes["node005"]], "status", {"bmc.power_status": lambda *_, **__: word}, {}
    )
    assert said["node005"].value == "" and "on or off or unknown" in said["node005"].problem
    assert said["node005"].problem.isprintable() and len(said["node005"].problem) < 300


def test_the_words_of_a_bmcs_error_are_printable():
    def fails(*_: object, **__: object) -> str:
        raise OSError("\x1b]0;title\x07" + "y" * 10**6)

    site = cluster(**RACK).served_by("boot2")
    said = bmcs.ask([site.nodes["node005"]], "on", {"bmc.power_status": fails}, {})
    problem = said["node005"].problem
    assert problem.startswith("10.99.0.5: ?]0;title?y") and len(problem) < 600
