"""A boot server without a master: a machine that waits at its console joins by itself when the
pillar lists it and the states are applied."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab

MAC, NAME = "52:54:00:99:99:41", "node002"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        pillar = lab.pillar(1)
        pillar["diskless"]["networks"]["lab"]["discovery_range"] = "10.141.2.1-10.141.2.50"
        lab.server.write_pillar(pillar)
        lab.server.salt_call("state.apply", "diskless")
        yield lab


def test_a_waiting_machine_joins_when_it_is_applied(lab: Lab):
    machine = lab.power_on(NAME, MAC, memory=512, resets=True)
    machine.wait_for("this machine is not registered")
    machine.wait_for("it waits, and asks 10.141.0.1")
    pillar = lab.pillar(1)
    pillar["diskless"]["networks"]["lab"]["discovery_range"] = "10.141.2.1-10.141.2.50"
    pillar["diskless"]["nodes"][NAME] = {
        **{key: value for key, value in pillar["diskless"]["nodes"]["node001"].items()},
        "mac": MAC,
        "ip": "10.141.1.2",
    }
    lab.server.write_pillar(pillar)
    answer = lab.server.salt_call("state.apply", "diskless")
    (told,) = (one for one in answer.values() if one["__id__"] == "diskless answers to machines")
    assert told["changes"] == {"added": {"nodes": NAME}}
    machine.wait_for("this machine is registered: restarting")
    machine.wait_for("login")
    assert machine.run("hostname") == NAME
    again = lab.server.salt_call("state.apply", "diskless")
    assert {one["__id__"] for one in again.values() if one["changes"]} == set()
