"""200 machines announce themselves at once to a boot server with real daemons: one call has them
all, and each of them is offered its address, without a restart."""

from __future__ import annotations

import fcntl
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e import test_registry
from tests.lab import Lab, salted
from tests.lab.offer import __file__ as ASK
from tests.lab.patience import Patience

pytestmark = pytest.mark.nightly

#: Its nodes have minions, whose keys are made with the rest.
GOLDEN = salted.root
COUNT = 200
KEYS = "/etc/salt-managed/pki/minions"
LEASES = "/var/lib/dhcp/dhcpd.leases"
RULE = {
    "prefixes": ["52:54:00:98"],
    "nodes": f"rack[001-{COUNT}]",
    "ip": "10.141.4.1-10.141.4.250",
    "profile": "compute",
}
#: Fires them all on the master's bus, as an event each.
FIRE = f"""
import salt.config, salt.utils.event
opts = salt.config.master_config("/etc/salt-managed/master")
with salt.utils.event.get_event("master", opts=opts, listen=False) as bus:
    for number in range({COUNT}):
        data = {{"mac": f"52:54:00:98:00:{{number:02x}}", "serial": f"SN-{{number}}"}}
        bus.fire_event(data, "salt-diskless/node/register")
"""


@dataclass(frozen=True)
class Burst:
    """MAC to address of the nodes that the registry has at the end, and dhcpd's process before."""

    nodes: dict[str, str]
    dhcpd: str


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(GOLDEN()) as lab:
        pillar = lab.pillar(1)
        pillar["diskless"]["networks"]["lab"]["discovery_range"] = "10.141.2.1-10.141.2.50"
        pillar["diskless"]["registry"] = {"rules": {"all": RULE}}
        lab.server.write_pillar(pillar)
        top = test_registry.TOP.replace("node002", "bootserver")
        lab.server.path("/srv/pillar/top.sls").write_text(top)
        lab.server.start_master(test_registry.MASTER)
        lab.server.salt("state.apply", "diskless")
        for line in (
            "link add node0 type veth peer name node0br",
            "link set node0br master br0 up",
            "link set node0 up",
        ):
            lab.keeper.run("ip", *line.split())
        yield lab


class Held:
    """How long somebody has a lock while this runs, in seconds: all in all, and at a time."""

    def __init__(self, path: object):
        self.longest = self.whole = 0.0
        self._path, self._over = path, threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        with open(str(self._path), "w", encoding="utf-8") as lock:
            while not self._over.wait(0.01):
                begun = time.monotonic()
                fcntl.flock(lock, fcntl.LOCK_EX)
                fcntl.flock(lock, fcntl.LOCK_UN)
                held = time.monotonic() - begun
                self.longest, self.whole = max(self.longest, held), self.whole + held

    def __enter__(self) -> Held:
        self._watcher.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._watcher.join()


@pytest.fixture(scope="module")
def burst(lab: Lab) -> Burst:
    dhcpd, leases = test_registry.dhcpd_pid(lab), lab.server.path(LEASES)
    known = 0.0
    with Held(lab.server.path("/run/salt-diskless/nodes.lock")) as held:
        begun, patience = time.monotonic(), Patience(180)
        lab.server.run("/opt/salt/bin/python3", "-", input=FIRE)
        while len({word for word in leases.read_text().split() if is_host(word)}) < COUNT:
            assert not patience.is_over, lab.server.journal("lab-salt-master")[-3000:]
            if not known and lab.server.registry("SELECT count(*) FROM machine") == [[COUNT]]:
                known = time.monotonic() - begun
            time.sleep(0.05)
        nodes = dict(lab.server.registry("SELECT mac, ip FROM node"))
        pairs = "".join(f"{mac}={ip}\n" for mac, ip in nodes.items())
        lab.keeper.run(sys.executable, ASK, "node0", input=pairs)
        served = time.monotonic() - begun
        while lab.server.registry("SELECT * FROM delivery"):
            assert not patience.is_over
            time.sleep(0.05)
    print(
        f"{COUNT} machines in the registry after {known:.1f} s ({COUNT / known:.0f} events/s); "
        f"the last one bootable after {served:.1f} s; the boot server's lock was held for "
        f"{held.whole:.1f} s, {held.longest:.1f} s at a time"
    )
    return Burst(nodes, dhcpd)


def is_host(word: str) -> bool:
    return word.startswith("rack") and "_525400" in word


def test_each_of_them_is_offered_its_address_and_none_is_lost_or_doubled(lab: Lab, burst: Burst):
    assert {*burst.nodes} == {f"52:54:00:98:00:{number:02x}" for number in range(COUNT)}
    assert len({*burst.nodes.values()}) == COUNT
    machines = lab.server.registry("SELECT mac, state, told IS NOT NULL FROM machine")
    assert sorted(machines) == [[mac, "accepted", 1] for mac in sorted(burst.nodes)]
    names = {name for (name,) in lab.server.registry("SELECT name FROM node")}
    assert names == {f"rack{number:03d}" for number in range(1, COUNT + 1)}


def test_it_was_one_call_of_the_boot_server_with_the_keys_of_their_minions(lab: Lab, burst: Burst):
    jobs = lab.server.runner("jobs.list_jobs", "search_function=diskless_node.add")
    assert len(jobs) == 1
    keys = {path.name for path in lab.server.path(KEYS).glob("rack*")}
    assert keys == {f"rack{number:03d}" for number in range(1, COUNT + 1)}


def test_nothing_was_restarted_and_the_next_apply_finds_nothing_to_do(lab: Lab, burst: Burst):
    answer = lab.server.salt("state.apply", "diskless")
    assert {one["__id__"]: one["changes"] for one in answer.values() if one["changes"]} == {}
    assert test_registry.dhcpd_pid(lab) == burst.dhcpd
