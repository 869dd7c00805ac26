"""The registry on a real master: events by way of the reactor, decisions, the boot server's
pillar."""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import salt.config
import salt.utils.event
import yaml

from salt_diskless.registry.deliver import LONGEST
from salt_diskless.registry.store import Machine, Store
from tests.integration.conftest import MINION
from tests.unit.test_registry import HOSTILE

#: What a boot server is told: a stand-in that writes it down, one line a call.
STAND_IN = """
import json

__virtualname__ = "diskless_node"


def _told(what, argument):
    with open(__opts__["cachedir"] + "/told", "a") as stream:
        stream.write(json.dumps([what, argument]) + "\\n")
    return {}


def add(nodes, keys=False, number=None):
    _told("add", nodes)
    with open(__opts__["pki_dir"] + "/minion.pub") as stream:
        key = stream.read()
    return {"keys": dict.fromkeys(nodes, key)} if keys else {}


def remove(names, number=None):
    return _told("remove", names)


def reject(macs, number=None):
    return _told("reject", macs)


def forget(macs, number=None):
    return _told("forget", macs)
"""


def mac(number: int) -> str:
    return f"52:54:00:aa:{number >> 8:02x}:{number & 255:02x}"


def wait_for(condition: Callable[[], object], what: str, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} in {seconds} s"
        time.sleep(0.1)


@pytest.fixture
def stand_in(master, call):
    """A boot server that writes down what it is told; returns a function that reads it."""
    with master.state_tree.base.temp_file("_modules/diskless_node.py", STAND_IN):
        call("saltutil.sync_modules")
        yield
    call("saltutil.sync_modules")


@pytest.fixture
def told(minion, stand_in) -> Callable[[], list]:
    """Return a function that returns what the boot server was told: pairs of action and
    argument."""
    path = pathlib.Path(minion.config["cachedir"]) / "told"
    path.unlink(missing_ok=True)

    def read() -> list:
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    return read


@pytest.fixture
def site(pillar, master, call):
    """Return a function that gives the cluster's pillar, changed, to the boot server and the
    master."""
    pillar["networks"]["lab"]["discovery_range"] = "10.77.0.200-10.77.0.250"
    tree = master.pillar_tree.base

    def give(registry: dict | None = None) -> dict:
        if registry is not None:
            pillar["registry"] = registry
        text = yaml.safe_dump({"diskless": pillar})
        (pathlib.Path(tree.write_path) / "cluster.sls").write_text(text)
        assert call("saltutil.refresh_pillar", wait=True).data is True
        return pillar

    top = f"base: {{'{MINION} or {master.id}': [{{match: compound}}, cluster]}}"
    with tree.temp_file("top.sls", top), tree.temp_file("cluster.sls", ""):
        give()
        yield give


@pytest.fixture
def store(master, runner, site):
    """The registry, and no nodes' keys beside it, empty before and after."""
    store = Store(str(pathlib.Path(master.config["pki_dir"]) / "diskless"))

    def empty() -> None:
        with store.write() as tx:
            for node in tx.nodes():
                tx.remove(node.name)
            for machine in tx.machines():
                tx.forget(machine.mac)
            tx.delivered(tx.deliveries())
        for place in ("minions", "minions_rejected"):
            for path in (pathlib.Path(master.config["pki_dir"]) / place).glob("*"):
                if path.name != MINION and not path.name.startswith("."):
                    path.unlink()

    empty()
    yield store
    empty()


@pytest.fixture
def machines(store) -> Callable[[], dict[str, Machine]]:
    def read() -> dict[str, Machine]:
        with store.read() as tx:
            return {machine.mac: machine for machine in tx.machines()}

    return read


@contextlib.contextmanager
def bus_of(master) -> Iterator[Callable[[dict, str], object]]:
    """Give a function that fires an event on the bus of a master that runs."""
    opts = salt.config.master_config(str(master.config_file))
    with salt.utils.event.get_event("master", opts=opts, listen=False) as bus:
        yield bus.fire_event


def see(fire: Callable[[dict, str], object], number: int, **claims: object) -> None:
    """Fire what the beacon does for one machine."""
    own = {"id": MINION, "mac": mac(number), "ip": "10.77.0.201", "serial": "", "asset": ""}
    tag = f"salt/beacon/{MINION}/diskless_discovery/{mac(number).replace(':', '-')}"
    fire({**own, "uuid": "", **claims}, tag)


@pytest.fixture
def fire(master):
    """Return a function that fires an event on the master's bus."""
    with bus_of(master) as fire:
        yield fire


@pytest.fixture
def seen(fire):
    """Return a function that fires what the beacon does for one machine."""
    return functools.partial(see, fire)


def test_a_machine_that_the_beacon_sees_waits_for_a_yes_and_is_a_node_then(
    call, runner, seen, machines, told, master
):
    seen(1, serial="06DXK41")
    wait_for(machines, "machine that waits")
    assert machines()[mac(1)].state == "pending"
    assert told() == []
    (waits,) = runner("diskless.pending", "full=True").data
    assert (waits["mac"], waits["serial"], waits["server"]) == (mac(1), "06DXK41", MINION)
    # Nobody else is served by looking.
    assert "node004" not in str(call("diskless.validate").data)
    done = runner("diskless.accept", "06DXK41", "node[001-128]", "profile=compute")
    assert done.returncode == 0, done.stdout
    said = done.data
    node = {"mac": mac(1), "ip": "10.77.0.3", "profile": "compute"}
    assert said["accepted"] == {"node004": node}
    assert said["servers"] == {MINION: {"add": "node004"}}
    assert told() == [["add", {"node004": node}]]
    # The next highstate has it from the pillar.
    assert call("saltutil.refresh_pillar", wait=True).data is True
    assert call("diskless.validate").data["nodes"] == "node[001-004]"
    said = runner("diskless.nodes", "ask=False").data
    assert {*said.pop("decisions")["accepted"].values()} == {"node004"}
    assert said == {"listed": "node[001-003]", "registered": "node004"}
    # Its minion is let in; and the registry, which lies beside the keys, is none.
    keys = master.salt_key_cli().run("--list", "all").data
    assert keys["minions"] == [MINION, "node004"]
    assert keys["minions_pre"] == keys["minions_rejected"] == keys["minions_denied"] == []


def test_a_burst_of_200_is_one_apply(runner, seen, machines, told, site, store, capsys):
    site(
        {
            "rules": {
                "rack": {
                    "next": 190,
                    "since": "2026-01-01T00:00:00Z",
                    "until": "2100-01-01T00:00:00Z",
                    "nodes": "rack[001-190]",
                }
            }
        }
    )
    begun = time.monotonic()
    for number in range(200):
        seen(number, serial=f"S{number:04d}")
    fired = time.monotonic()
    wait_for(lambda: len(machines()) == 200, "200 machines")
    there = time.monotonic()
    wait_for(lambda: sum(one.told is not None for one in machines().values()) == 190, "190 nodes")
    done = time.monotonic()
    with capsys.disabled():
        print(
            f"\n200 events fired in {fired - begun:.2f} s; all in the registry after "
            f"{there - begun:.2f} s; the last one accepted and delivered after {done - begun:.2f} s"
        )
    found = machines()
    assert sum(machine.state == "accepted" for machine in found.values()) == 190
    assert all(found[mac(n)].serial == f"S{n:04d}" for n in range(200))
    with store.read() as tx:
        nodes = tx.nodes()
        assert tx.deliveries() == []
    assert len({node.name for node in nodes}) == len({node.ip for node in nodes}) == 190
    in_the_way = {"10.77.0.1", "10.77.0.2", "10.77.0.11", "10.77.0.12", "10.77.0.73"}
    assert not in_the_way & {node.ip for node in nodes}
    calls = told()
    # On a machine so busy that the burst itself takes that long, one for each such time.
    assert 1 <= len(calls) <= 1 + (there - begun) // LONGEST
    names = [name for action, nodes in calls if action == "add" for name in nodes]
    assert len(names) == len({*names}) == 190


def test_a_hostile_event_changes_nothing_but_the_log(fire, seen, machines, told, master, runner):
    """Those that the reactor has at all: others it knows nothing of."""
    assert runner("diskless.register", mac(1), "serial=A1").returncode == 0
    assert runner("diskless.accept", mac(1), "node009", "ip=10.77.0.99").returncode == 0
    before, was_told = machines(), told()
    log = pathlib.Path(master.config["log_file"])
    mark = log.stat().st_size
    fired = 0
    for tag, data in HOSTILE:
        # (The bus makes text of bytes.)
        plain = isinstance(tag, str) and isinstance(data, dict)
        if plain and not any(isinstance(value, bytes) for value in data.values()):
            ours = {"id": MINION} if data.get("id") == "node002" else {}
            fire({**data, **ours}, tag.replace("node002", MINION))
            fired += 1
    # What is no more than a lie: another node's MAC, the server's address, a forged id.
    tag = f"salt/beacon/{MINION}/diskless_discovery/"
    for lie in (
        {"mac": mac(1), "serial": "FORGED", "ip": "10.77.0.1"},
        {"mac": "52:54:00:77:00:01", "serial": "A1"},
        {"mac": "52:54:00:77:00:02", "ip": "10.77.0.1"},
    ):
        fire({"id": MINION, **lie}, tag + lie["mac"].replace(":", "-"))
    seen(2, ip="10.77.0.1", serial="LAST")
    forged = {"id": "nobody", "mac": mac(3), "ip": "10.77.0.201"}
    fire(forged, f"salt/beacon/nobody/diskless_discovery/{mac(3).replace(':', '-')}")
    wait_for(lambda: {mac(2), mac(3)} <= {*machines()}, "machines that only lie about themselves")
    wait_for(lambda: not any(one.open for one in machines().values()), "end of it")
    found = machines()
    assert {*found} == {mac(1), mac(2), mac(3)}, found
    assert found[mac(1)] == before[mac(1)]
    assert (found[mac(2)].state, found[mac(2)].ip) == ("pending", None)
    assert (found[mac(3)].state, found[mac(3)].server) == ("pending", None)
    assert told() == was_told

    def passed_over() -> int:
        with log.open("rb") as stream:
            stream.seek(mark)
            return stream.read().count(b"an event is passed over")

    wait_for(lambda: passed_over() >= fired, "lines in the log")


def test_a_boot_server_that_is_down_has_it_from_the_pillar_later(runner, told, site, pillar):
    pillar["servers"]["ghost"] = {"address": "10.78.0.1", "interface": "eth0"}
    pillar["networks"]["lab"]["server"] = MINION
    pillar["networks"]["far"] = {"subnet": "10.78.0.0/24", "server": "ghost"}
    site()
    said = runner("diskless.accept", mac(1), "far001", "profile=compute", "network=far").data
    assert said["accepted"] == {
        "far001": {"mac": mac(1), "ip": "10.78.0.2", "profile": "compute", "network": "far"}
    }
    assert "ghost: no answer to diskless_node.add" in said["servers"]["ghost"]["problem"]
    assert told() == []
    found = runner("pillar.show_pillar", "ghost").data
    assert {*found["diskless"]["nodes"]} == {"far001"}
    assert runner("pillar.show_pillar", "far001").data in ({}, None)
    there = runner("diskless.nodes", "far001", "ask=False").data["far001"]
    assert (there["state"], there["server"]) == ("registered", "ghost")
    assert runner("diskless.nodes", "ask=False").data["undelivered"] == {"ghost": {"add": "far001"}}


def test_a_board_swap_a_rejection_and_forgetting(runner, seen, machines, told):
    seen(1, serial="OLD")
    seen(2, serial="NEW")
    seen(3)
    wait_for(lambda: len(machines()) == 3, "three machines")
    runner("diskless.accept", "OLD", "node009", "ip=10.77.0.99")
    assert runner("diskless.replace", "node009", "NEW").data["servers"] == {
        MINION: {"add": "node009", "forget": mac(1)}
    }
    assert runner("diskless.reject", mac(3)).data["rejected"] == [mac(3)]
    assert runner("diskless.forget", "node009").data["forgotten"] == ["node009"]
    node = {"ip": "10.77.0.99", "profile": "compute"}
    assert told() == [
        ["add", {"node009": {"mac": mac(1), **node}}],
        ["forget", [mac(1)]],
        ["add", {"node009": {"mac": mac(2), **node}}],
        ["reject", [mac(3)]],
        ["remove", ["node009"]],
        ["forget", [mac(2)]],
    ]
    assert {machine.state for machine in machines().values()} == {"rejected"}


def test_a_minion_whose_key_was_rejected_or_is_known_is_not_let_in_anew(
    master, runner, told, store
):
    pki = pathlib.Path(master.config["pki_dir"])
    (pki / "minions_rejected").mkdir(exist_ok=True)
    for place, name in (("minions", "node011"), ("minions_rejected", "node012")):
        shutil.copy(pki / "master.pub", pki / place / name)
    said = runner("diskless.accept", f"{mac(11)},{mac(12)},{mac(13)}", "node[011-013]").data
    assert said["servers"] == {MINION: {"add": "node[011-013]"}}
    keys = master.salt_key_cli().run("--list", "all").data
    assert {"node011", "node013"} <= {*keys["minions"]} and "node012" not in keys["minions"]
    assert keys["minions_rejected"] == ["node012"]
    assert (pki / "minions/node011").read_bytes() == (pki / "master.pub").read_bytes()


def test_files_of_other_systems_are_looked_at_first(runner, told, store, tmp_path):
    (tmp_path / "hosts").write_text("10.77.0.51 node051\n10.77.0.52 node052\n")
    (tmp_path / "ethers").write_text(f"{mac(51)} node051\n{mac(52)} node052\n")
    files = f"{tmp_path}/hosts,{tmp_path}/ethers"
    said = runner("diskless.import", files).data
    assert {*said["added"]} == {"node051", "node052"} and told() == []
    with store.read() as tx:
        assert tx.nodes() == []
    said = runner("diskless.import", files, "test=False").data
    assert said["servers"] == {MINION: {"add": "node[051-052]"}}
    assert [[*told_[1]] for told_ in told()] == [["node051", "node052"]]
    assert runner("diskless.import", files, "test=False").data == {"unchanged": "node[051-052]"}
    target = tmp_path / "nodes.sls"
    assert runner("diskless.export", str(target)).returncode == 0
    assert runner("diskless.export", str(target)).returncode == 0
    written = yaml.safe_load(target.read_text())["diskless"]["nodes"]
    assert written == {
        "node[051-052]": {"profile": "compute", "ip": "10.77.0.51+", "mac": [mac(51), mac(52)]}
    }
    target.write_text("somebody else's")
    wrong = runner("diskless.export", str(target))
    assert wrong.returncode != 0 and target.read_text() == "somebody else's"
    wrong = runner("diskless.import", str(target))
    assert wrong.returncode != 0 and "found no format by its name" in wrong.stdout


def test_a_webhook_announces_a_machine(master, machines, store):
    port = master.config["rest_cherrypy"]["port"]
    place = f"http://127.0.0.1:{port}"

    def post(path: str, data: dict, **headers: str) -> dict:
        headers = {"Content-Type": "application/json", "Accept": "application/json", **headers}
        request = urllib.request.Request(place + path, json.dumps(data).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    with master.salt_api_daemon().started():
        login = {"username": "inventory", "password": "tell nobody", "eauth": "sharedsecret"}
        (session,) = post("/login", login)["return"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            post("/hook/diskless/register", {"mac": mac(8)})
        ours = {"X-Auth-Token": session["token"]}
        post("/hook/diskless/register", {"mac": mac(7), "serial": "06DXK41"}, **ours)
        wait_for(machines, "machine from the webhook")
    assert [(one.mac, one.serial) for one in machines().values()] == [(mac(7), "06DXK41")]


#: What the beacon gives Salt for a machine, once.
BEACON = """
def validate(config):
    return True, "fine"


def beacon(config):
    if __context__.setdefault("diskless_stand_in", 0):
        return []
    __context__["diskless_stand_in"] = 1
    tag = "52-54-00-aa-00-09"
    return [{"tag": tag, "id": __opts__["id"], "mac": "52:54:00:aa:00:09", "ip": "10.77.0.201",
             "serial": "B1", "asset": "", "uuid": ""}]
"""


def test_an_event_of_a_beacon_arrives(master, call, machines, store):
    with master.state_tree.base.temp_file("_beacons/diskless_discovery.py", BEACON):
        call("saltutil.sync_beacons")
        call("beacons.add", "diskless_discovery", [{"interval": 1}])
        try:
            wait_for(machines, "machine from the beacon")
        finally:
            call("beacons.delete", "diskless_discovery")
    call("saltutil.sync_beacons")
    (machine,) = machines().values()
    assert (machine.mac, machine.serial, machine.server) == (mac(9), "B1", MINION)


def test_without_the_external_pillar_nobody_is_accepted(runner, store, site, tmp_path, master):
    """The next highstate would take the node away again."""
    config = yaml.safe_load(pathlib.Path(master.config_file).read_text())
    del config["ext_pillar"]
    (tmp_path / "master").write_text(yaml.safe_dump(config))
    said = runner("-c", str(tmp_path), "diskless.accept", mac(1), "node009")
    assert said.returncode != 0
    assert "found no diskless_nodes in ext_pillar" in said.stdout


@pytest.fixture
def boots(call, site, store, pillar):
    """A boot server whose node001 is up."""
    assert call("diskless_image.sync").data["tiny"]["changed"] is True
    assert call("diskless_snapshot.apply").returncode == 0
    version = call("diskless_image.list").data["tiny"]["published"]
    own = pathlib.Path(pillar["images"]["tiny"]["location"], "snapshot/node001/.diskless")
    (own / "booted").write_text(f"{version}\n")
    (own / "stage").write_text(f"version {version} handed over to its init\n")


def test_a_minion_that_has_started_is_the_last_step_of_its_node_and_nothing_more(
    master, runner, fire, boots, machines, store
):
    log = pathlib.Path(master.config["log_file"])
    mark = log.stat().st_size

    def stages() -> dict[str, str]:
        groups = runner("diskless.nodes").data["boots"][MINION]
        return {group["nodes"]: group["stage"] for group in groups}

    def started() -> dict[str, float]:
        with store.read() as tx:
            return tx.minions()

    assert stages() == {"node001": "up", "node[002-003]": "unseen"}
    begun = time.time()
    with master.salt_minion_daemon("node001").started():
        wait_for(lambda: started().get("node001", 0) > begun, "start of a minion")
        assert stages() == {"node001": "minion", "node[002-003]": "unseen"}
        said = runner("diskless.nodes", "node001").data["node001"]["boot"]
        assert said["stage"] == "minion" and len(said["since"]) == 2
    # It is kept, and whose key is not accepted, or is not the tag's, is not.
    at = started()["node001"]
    fire({"id": "node099", "data": "Minion node099 started"}, "salt/minion/node099/start")
    fire({"id": "node003", "data": "Minion node003 started"}, "salt/minion/node001/start")
    wait_for(lambda: b"found 'node003'; the tag says 'node001'" in log.read_bytes()[mark:], "line")
    assert started().keys() & {"node001", "node003", "node099"} == {"node001"}
    assert started()["node001"] == at
    assert machines() == {}
    with store.read() as tx:
        assert (tx.nodes(), tx.deliveries()) == ([], [])


def kill(master) -> None:
    """Kill the master, all its processes at the same moment (SIGKILL)."""
    processes = [psutil.Process(master.pid)]
    for process in processes:
        # What is stopped makes no new ones.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
            known = {one.pid for one in processes}
            processes += [one for one in process.children() if one.pid not in known]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=30)
    master.terminate()


#: When the master is killed: as soon as so much is there; what the registry has, and what the boot
#: server was told.
MOMENTS = {
    "while it hears of machines": lambda tx, told: len(tx.machines()) >= 15,
    "when it has accepted them": lambda tx, told: len(tx.nodes()) > 1,
    "while it tells the boot server": lambda tx, told: bool(told),
}


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("while it hears of machines", marks=pytest.mark.nightly),
        pytest.param("when it has accepted them", marks=pytest.mark.nightly),
        "while it tells the boot server",
    ],
)
def test_a_master_that_is_killed_loses_and_doubles_nothing_and_goes_on_after_its_restart(
    master, runner, machines, told, site, store, moment
):
    rule = {"prefixes": ["52:54:00"], "nodes": "rack[001-100]"}
    site({"rules": {"rack": rule}})
    # One that is accepted by hand at that moment, by a process that lives on.
    by_hand = mac(999)
    with ThreadPoolExecutor() as pool, bus_of(master) as fire:
        for number in range(60):
            see(fire, number)
        accepts = pool.submit(runner, "diskless.accept", by_hand, "hand1", "ip=10.77.0.199")
        end = time.monotonic() + 120
        while True:
            with store.read() as tx:
                if MOMENTS[moment](tx, told()):
                    break
            assert time.monotonic() < end
        kill(master)
        said = accepts.result().data
    before = machines()
    with store.read() as tx:
        accepted = {node.name: node for node in tx.nodes()}
    assert master.start()
    # It may not come to an answer; but what it answers is so.
    assert not isinstance(said, dict) or {*said["accepted"]} == {"hand1"} <= accepted.keys()
    # Without a word of anybody: what was decided is told, and who waits is looked at.
    wait_for(lambda: is_told(store), "end of what was left")
    there = machines()
    assert before.keys() <= there.keys()
    # Whoever waits is told of again by its boot server.
    with bus_of(master) as fire:
        for number in range(60):
            see(fire, number)
    count = 60 + ("hand1" in accepted)
    wait_for(lambda: len(machines()) == count and is_told(store), "end of it")
    with store.read() as tx:
        nodes = {node.name: node for node in tx.nodes()}
    assert len(nodes) == len({node.mac for node in nodes.values()}) == count
    assert len({node.ip for node in nodes.values()}) == count
    assert {name: nodes[name] for name in accepted} == accepted
    # The boot server was told of each, and never of two different ones by a name or an address.
    calls = [argument for action, argument in told() if action == "add"]
    assert {action for action, _ in told()} == {"add"}
    every = {(name, node["mac"], node["ip"]) for call in calls for name, node in call.items()}
    assert every == {(node.name, node.mac, node.ip) for node in nodes.values()}


def is_told(store) -> bool:
    """Tell whether all machines are nodes, and their boot server has done what it was told."""
    with store.read() as tx:
        machines = tx.machines()
        return not tx.deliveries() and all(machine.told is not None for machine in machines)
