"""The boot server's own interfaces and addresses are checked before anything is written."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless import adapter
from tests.conftest import add_interface


@contextlib.contextmanager
def interface(name: str, address: str) -> Iterator[None]:
    add_interface(name, address)
    try:
        yield
    finally:
        subprocess.run(["ip", "link", "del", name], check=True)


def _server(pillar: dict, interfaces: dict[str, str]) -> dict:
    return {**pillar, "servers": {"bootserver": {"interfaces": interfaces}}}


def refused(call) -> str:
    """Return the one message with which all that writes or validates refuses."""
    comment = call.state("diskless.valid").comment
    assert call.state("diskless.valid").result is False
    assert call.modules["diskless.problem"]() == comment
    for name in ("diskless.validate", "diskless.plan"):
        with pytest.raises(CommandExecutionError) as error:
            call.modules[name]()
        # That a function which only reads has changed nothing goes without saying.
        assert str(error.value).splitlines()[1:] == comment.splitlines()[1:]
    return comment


@pytest.mark.parametrize(
    ("interfaces", "says"),
    [
        ({"eth7": "10.77.0.9"}, "dl9 with 10.99.0.1/24"),
        ({"eth7": "10.77.0.1"}, "eth7 (10.77.0.1), which this machine does not have; give dl0"),
        ({"dl0": "10.77.0.9"}, "found 10.77.0.9, which no interface of this machine has"),
        (
            {"dl9": "10.77.0.1"},
            "found 10.77.0.1; give dl0, which has this address; dl9 does not have it",
        ),
        ({"dl0": "10.77.0.1", "eth8": "10.98.0.1"}, "found eth8 (10.98.0.1), which this machine"),
    ],
)
def test_what_the_machine_lacks_is_refused(salt_call, pillar, listing, testmode, interfaces, says):
    with interface("dl9", "10.99.0.1/24"):
        before = listing()
        comment = refused(salt_call(_server(pillar, interfaces), test=testmode))
        assert says in comment
        assert comment.startswith("1 problem on this boot server, nothing was changed:")
        assert listing() == before


def test_all_interfaces_that_are_wrong_are_in_one_error(salt_call, pillar):
    wrong = {"eth7": "10.77.0.9", "eth8": "10.98.0.1", "dl0": "10.97.0.1"}
    comment = refused(salt_call(_server(pillar, wrong)))
    assert comment.startswith("3 problems on this boot server")


def test_a_prefix_that_does_not_reach_the_subnet_is_refused(salt_call, pillar):
    pillar["networks"]["lab"]["subnet"] = "10.77.0.0/16"
    says = "diskless:networks:lab:subnet: found 10.77.0.0/16; give a subnet inside the one"
    assert says in refused(salt_call(pillar))


def test_a_subnet_that_is_part_of_the_interface_is_right(salt_call, pillar):
    pillar["networks"]["lab"]["subnet"] = "10.77.0.0/25"
    assert salt_call(pillar).state("diskless.valid").result is True


def test_an_interface_that_is_down_is_refused(salt_call, pillar, listing, testmode):
    subprocess.run(["ip", "link", "set", "dl0", "down"], check=True)
    try:
        before = listing()
        comment = refused(salt_call(pillar, test=testmode))
        assert "found dl0, which is down; bring it up (ip link set dl0 up)" in comment
        assert listing() == before
    finally:
        subprocess.run(["ip", "link", "set", "dl0", "up"], check=True)
    assert salt_call(pillar).state("diskless.valid").result is True


def test_a_second_address_and_another_name_are_seen(salt_call, pillar):
    commands = ("addr add 10.77.0.5/24 dev dl0", "link property add dev dl0 altname nodes0")
    undo = ("addr del 10.77.0.5/24 dev dl0", "link property del dev dl0 altname nodes0")
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)
    try:
        call = salt_call(_server(pillar, {"dl0": "10.77.0.5"}))
        assert call.state("diskless.valid").result is True
        comment = refused(salt_call(_server(pillar, {"nodes0": "10.77.0.1"})))
        assert "give dl0: nodes0 is another name of it" in comment
    finally:
        for command in undo:
            subprocess.run(["ip", *command.split()], check=True)


@pytest.mark.parametrize("given", ["short", "upper", "with domain"])
def test_a_node_is_not_called_as_the_boot_server_s_host(salt_call, pillar, given):
    """The host name of a boot server can be another one than its minion id."""
    own = os.uname().nodename
    name = {"short": own, "upper": own.upper(), "with domain": f"{own}.example.com"}[given]
    pillar["nodes"] = {name: {"mac": "52:54:00:00:00:09", "ip": "10.77.0.9", "profile": "compute"}}
    assert f"{own} is the host name of this boot server" in refused(salt_call(pillar))


def test_another_minion_does_not_look_at_itself(salt_call, pillar):
    wrong = _server(pillar, {"eth7": "10.77.0.9"})
    assert salt_call(wrong, "master").modules["diskless.validate"]()["servers"] == ["bootserver"]
    assert salt_call(wrong).modules["diskless.problem"]("clean") == ""


def _counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    calls = []
    parse = adapter.parse

    def counted(data):
        if data.get("nodes"):
            calls.append(1)
        return parse(data)

    monkeypatch.setattr(adapter, "parse", counted)
    return lambda: len(calls)


@pytest.mark.parametrize("mac", ["52:54:00:77:00:99", 41135040001])
def test_a_pillar_is_parsed_once_a_run(salt_call, pillar, monkeypatch, mac):
    pillar["nodes"]["node003"]["mac"] = mac
    count = _counted(monkeypatch)
    call = salt_call(pillar)
    problems = {call.modules["diskless.problem"]() for _ in range(10)}
    assert call.state("diskless.valid").comment in {*problems, "The pillar: as it should be"}
    assert len(problems) == count() == 1


def test_a_node_is_not_added_on_a_machine_that_lacks_it(salt_call, pillar, listing):
    call = salt_call(_server(pillar, {"eth7": "10.77.0.9"}))
    before = listing()
    node = {"profile": "compute", "ip": "10.77.0.74", "mac": "52:54:00:77:00:04"}
    with pytest.raises(CommandExecutionError, match="1 problem on this boot server"):
        call.modules["diskless_node.add"]({"node009": node})
    assert listing() == before


def test_another_user_than_root_is_the_only_problem(salt_call, pillar, monkeypatch):
    call = salt_call(pillar)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(CommandExecutionError) as raised:
        call.modules["diskless.validate"]()
    assert "1 problem on this boot server:" in str(raised.value)
    assert "user: found uid 1000; run the command, or the minion, as root" in str(raised.value)
