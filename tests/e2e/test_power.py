"""A rack is switched on by its BMCs, in waves: the next nodes when these are up. They speak real
IPMI, that of node003 real Redfish."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab import Bmc, Lab
from tests.lab.bmc import PASSWORD, USER

NAMES = ("node001", "node002", "node003")


def write_pillar(lab: Lab, password: str = PASSWORD) -> None:
    """Four nodes, three of them with a BMC, and how to log in there."""
    pillar = lab.pillar(4)
    for number, name in enumerate(NAMES, 1):
        pillar["diskless"]["nodes"][name]["bmc"] = f"10.142.0.{number}"
    known = {"username": USER, "password": password}
    profiles = {"node003": {**known, "backend": "redfish", "verify_ssl": False}}
    pillar["saltext.bmc"] = {**known, "backend": "ipmi", "profiles": profiles}
    lab.server.write_pillar(pillar)


@pytest.fixture(scope="module")
def bmcs(lab: Lab) -> dict[str, Bmc]:
    """A boot server with a master, and the BMCs of three nodes, which are off."""
    write_pillar(lab)
    lab.server.start_master()
    lab.server.salt("state.apply", "diskless")
    return {name: lab.bmc(name, "redfish" if name == "node003" else "ipmi") for name in NAMES}


def power(lab: Lab, *arguments: str) -> Any:
    return lab.server.runner("diskless.power", *arguments)


def told(bmcs: dict[str, Bmc]) -> dict[str, list[str]]:
    return {name: [word for _, word in bmc.told] for name, bmc in bmcs.items()}


def up_at(lab: Lab, name: str) -> float:
    """Return when a node said that it hands over to its init."""
    stage = lab.server.path(f"/diskless/debian/snapshot/{name}/.diskless/stage")
    assert "handed over to its init" in stage.read_text()
    return stage.stat().st_mtime


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("onn", "node001"), "action: found 'onn'; did you mean on?"),
        (("on", "node[001-004]"), "diskless:nodes:node004:bmc: found nothing"),
        (("on", "node[001-005]"), "names: found node005"),
        (("on", "node001", "wave=0"), "wave: found 0; give a number, 1 at least"),
    ],
)
def test_what_is_wrong_is_one_error_and_nothing_is_switched(lab: Lab, bmcs, arguments, says):
    assert says in power(lab, *arguments)
    assert not any(bmc.asked or bmc.told for bmc in bmcs.values())


def test_test_mode_shows_the_waves(lab: Lab, bmcs):
    said = power(lab, "on", "node[001-003]", "wave=2", "test=True")
    assert said == {"action": "on", "waves": ["node[001-002]", "node003"]}
    assert not any(bmc.asked for bmc in bmcs.values())


def test_the_second_wave_is_switched_on_when_the_first_is_up(lab: Lab, bmcs):
    """And one whose BMC refuses is told again."""
    bmcs["node003"].refuses = 1
    said = power(lab, "on", "node[001-003]", "wave=2", "timeout=300")
    assert said == {"up": "node[001-003]"}
    assert told(bmcs) == {name: ["on"] for name in NAMES}
    assert bmcs["node003"].refuses == 0
    ((third, _),) = bmcs["node003"].told
    assert third > max(up_at(lab, name) for name in ("node001", "node002"))
    for name in ("node001", "node002"):
        lab.nodes[name].wait_for("login")
    print(f"three up {up_at(lab, 'node003') - bmcs['node001'].told[0][0]:.0f} s after the first on")


def test_who_is_up_is_left_alone(lab: Lab, bmcs):
    assert power(lab, "on", "node[001-003]") == {"up": "node[001-003]"}
    assert told(bmcs) == {name: ["on"] for name in NAMES}


def test_every_session_is_ended(bmcs):
    """A BMC has only a few of IPMI's."""
    for name in ("node001", "node002"):
        assert bmcs[name].logged_out >= 2


def test_a_wrong_password_is_a_sentence(lab: Lab, bmcs):
    write_pillar(lab, "wrong")
    said = power(lab, "status", "node001")
    write_pillar(lab)
    why = "Cannot reach IPMI endpoint at 10.142.0.1: Incorrect password provided"
    assert said == {"failed": {"node001": why}, "retcode": 1}


def test_a_bmc_that_knows_no_cycle_is_told_to_reset(lab: Lab, bmcs):
    assert lab.server.salt("diskless_node.power", "cycle", "node003")["told"] == "node003"
    assert told(bmcs)["node003"] == ["on", "reset"]


def test_off_ends_the_systems_and_waits_until_their_bmcs_say_so(lab: Lab, bmcs):
    assert power(lab, "off", "node[001-002]", "timeout=120") == {"off": "node[001-002]"}
    assert not any(lab.nodes[name].is_on for name in ("node001", "node002"))
    assert told(bmcs)["node001"][1:] == ["shutdown"]
    assert power(lab, "status", "node[001-003]") == {"off": "node[001-002]", "on": "node003"}
    assert power(lab, "off", "node003", "force=True") == {"off": "node003"}
    assert told(bmcs)["node003"][1:] == ["reset", "off"]


def test_one_that_hangs_is_cycled_and_reported_and_where_nobody_is_up_the_rest_is_not_tried(
    lab: Lab, bmcs
):
    bmcs["node002"].hangs = 9
    before = told(bmcs)
    said = power(lab, "on", "node[002-003]", "wave=1", "timeout=6")
    why = "not up in 2 times 6 s: nothing was heard of it since its power-on"
    assert said == {"failed": {"node002": why}, "not tried": "node003", "retcode": 1}
    assert told(bmcs) == {**before, "node002": [*before["node002"], "on", "cycle"]}


def test_what_hangs_comes_up_when_it_is_cycled_and_starts_this_time(lab: Lab, bmcs):
    bmcs["node002"].hangs = 0
    begun = len(bmcs["node002"].told)
    assert power(lab, "cycle", "node002", "timeout=300") == {"up": "node002"}
    ((cycled, word),) = bmcs["node002"].told[begun:]
    assert word == "cycle" and up_at(lab, "node002") > cycled
