"""From a master: the pillar comes over the wire, and Salt 3008 would rather show asterisks."""

from __future__ import annotations

import pathlib
import time

import pytest
import yaml

from tests.integration.conftest import MINION

#: What Salt 3008 shows for a value of the pillar.
MASK = b"*****"

# The states of states/diskless without packages and services, which need a machine of their own.
STATES = """
images:
  diskless_image.synced: []
snapshots:
  diskless_snapshot.managed: []
tftp:
  diskless_tftp.managed: []
nfs:
  diskless_nfs.managed: []
dhcpd:
  diskless_dhcpd.managed: []
"""


@pytest.fixture
def states(master):
    with master.state_tree.base.temp_file("parts.sls", STATES):
        yield "parts"


def written(pillar: dict) -> dict[str, bytes]:
    """Return every file that the states wrote: path to content."""
    roots = [
        pathlib.Path(pillar["lookup"]["tftp_root"]).parent.parent,
        pathlib.Path("/etc/exports.d"),
    ]
    found = {}
    for root in roots:
        for path in root.rglob("*"):
            loader = path.suffix in (".c32", ".0")
            if path.is_file() and not loader and not {"golden", "versions"} & {*path.parts}:
                found[str(path)] = path.read_bytes()
    return found


def test_the_wheel_brings_every_module_and_state(call, cluster):
    functions = call("sys.list_functions").data
    for name in ("diskless", "diskless_tftp", "diskless_dhcpd", "diskless_nfs"):
        assert any(function.startswith(f"{name}.") for function in functions), name
    for name in ("diskless_image.sync", "diskless_snapshot.usage", "diskless.validate"):
        assert name in functions
    there = call("sys.list_state_functions").data
    for name in ("tftp", "dhcpd", "nfs", "snapshot"):
        assert f"diskless_{name}.managed" in there
    assert "diskless_image.synced" in there


def test_the_pillar_is_plain_and_checked(call, cluster):
    said = call("diskless.validate").data
    assert said["nodes"] == "node[001-003]"
    assert said["images"]["tiny"] == cluster["images"]["tiny"]["location"]


def test_no_asterisks_reach_a_file_or_a_change(call, cluster, states):
    answer = call("state.apply", states).data
    assert all(state["result"] for state in answer.values()), answer
    assert MASK.decode() not in str(answer)
    files = written(cluster)
    assert any("0A4D000B" in path for path in files)
    assert any("dhcpd.conf" in path for path in files)
    assert any("diskless.exports" in path for path in files)
    assert [path for path, content in files.items() if MASK in content] == []
    assert b"52:54:00:77:00:01" in files[cluster["lookup"]["dhcp_config"]]


def test_test_mode_touches_nothing(call, cluster, states):
    before = written(cluster)
    answer = call("state.apply", states, test=True).data
    assert written(cluster) == before
    assert all(state["result"] is None for state in answer.values()), answer


def test_a_wrong_pillar_is_one_error_and_nothing_is_touched(call, cluster, states, master):
    cluster["nodes"]["node003"]["mac"] = 41135040001
    cluster["nodes"]["node003"]["ip"] = "10.99.0.1"
    text = yaml.safe_dump({"diskless": cluster})
    before = written(cluster)
    with master.pillar_tree.base.temp_file("cluster.sls", text):
        assert call("saltutil.refresh_pillar", wait=True).data is True
        said = str(call("diskless.validate"))
        answer = call("state.apply", states).data
    assert "diskless:nodes:node003:mac" in said and "YAML made a number" in said
    assert all(state["result"] is False for state in answer.values())
    assert written(cluster) == before


def test_the_backend_serves_the_sls(call, cluster):
    shown = call("state.show_sls", "diskless").data
    assert {"diskless images", "diskless tftp root", "diskless dhcpd service"} <= set(shown)
    assert shown["diskless dhcpd packages"]["pkg"][0]["pkgs"] == ["isc-dhcp-server"]
    clean = call("state.show_sls", "diskless.clean").data
    assert {"diskless boot server", "diskless discovery beacon"} <= set(clean)


def test_each_environment_has_the_sls(call, cluster):
    """Salt asks for no environment that neither its configuration nor a backend names."""
    for saltenv in ("base", "prod"):
        shown = call("state.show_sls", "diskless", saltenv=saltenv).data
        assert {"diskless images", "diskless dhcpd service"} <= set(shown), saltenv
        assert {state["__env__"] for state in shown.values()} == {saltenv}


def test_a_plain_file_roots_serves_the_sls_too(call, cluster, master, minion, installed):
    root = str(installed / "salt_diskless/sls")
    said = minion.salt_call_cli().run("--local", "--file-root", root, "cp.list_master").data
    assert "diskless/init.sls" in said


def test_highstate_by_the_top_file_of_the_readme(call, cluster, master):
    readme = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
    top = readme.split("# top.sls\n", 1)[1].split("```", 1)[0]
    assert "diskless" in top
    with master.state_tree.base.temp_file("top.sls", top.replace("node002", "bootserver")):
        shown = call("state.show_top").data
        assert "diskless" in shown["base"]
        ids = call("state.show_lowstate").data
        assert "diskless tftp root" in {state["__id__"] for state in ids}


def test_highstate_applies_what_the_top_file_names(call, cluster, states, master):
    with master.state_tree.base.temp_file("top.sls", f"base: {{'*': [{states}]}}"):
        first = call("state.highstate").data
        assert all(state["result"] for state in first.values()), first
        again = call("state.highstate").data
        assert all(state["changes"] == {} for state in again.values()), again


def test_an_orchestrate_with_a_wrong_pillar_is_one_error(call, cluster, master, orchestrate):
    cluster["nodes"]["node003"]["mac"] = 41135040001
    states = orchestrate(cluster)
    (problem,) = states.values()
    assert problem["result"] is False
    assert "diskless:nodes:node003:mac: found 41135040001; YAML made a number" in problem["comment"]


def test_an_orchestrate_ends_with_a_golden_machine_that_does_not_answer(
    call, cluster, master, orchestrate
):
    call("diskless_image.sync")
    cluster["images"]["tiny"].update(source={"minion": "ghost"}, packages=["hello"])
    location = pathlib.Path(cluster["images"]["tiny"]["location"])
    before = sorted((location / "versions").iterdir()), (location / "root").readlink()
    valid, refreshed, *others = orchestrate(cluster).values()
    assert valid["result"] is True
    assert refreshed["result"] is False and "ghost" in str(refreshed)
    assert all("failhard" in state["comment"].lower() for state in others), others
    assert (sorted((location / "versions").iterdir()), (location / "root").readlink()) == before


def test_machines_are_introduced_to_each_other_or_it_is_said_why_not(call, cluster, runner):
    said = str(runner("diskless.introduce", "ghost", [MINION]))
    assert "ghost: no answer to diskless_golden.host_keys; is its minion up and accepted?" in said
    said = str(runner("diskless.introduce", MINION, [MINION]))
    assert "no image whose source is the minion 'bootserver'" in said


def test_a_sync_says_by_events_how_far_it_is(call, cluster, master, event_listener):
    begun = time.time()
    assert call("diskless_image.sync").data["tiny"]["changed"] is True
    wanted = [(master.id, "salt-diskless/image/sync")]
    found = event_listener.wait_for_events(wanted, after_time=begun, timeout=60)
    assert found.found_all_events
    (event,) = found.matches
    data = event.data["data"]
    assert data["image"] == "tiny" and data["bytes"] > 0 and data["percent"] > 0
    assert {"files", "rate", "remaining"} <= set(data)
