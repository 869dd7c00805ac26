"""The boot server is told by a real master: state.apply, test=True, and a highstate by top file. A
node's minion is that master's, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.test_boot import TREES, digest
from tests.lab import Lab, salted
from tests.lab.roots import CHECKOUT

TOP = (CHECKOUT / "README.md").read_text().split("# top.sls\n", 1)[1].split("```", 1)[0]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A boot server whose golden root has a Salt minion."""
    with Lab(salted.root()) as lab:
        yield lab


@pytest.fixture(scope="module")
def master(lab: Lab) -> Lab:
    """A lab whose boot server has a master and is its minion."""
    lab.server.write_pillar(lab.pillar(2))
    lab.server.path("/srv/salt/top.sls").write_text(TOP.replace("node002", "bootserver"))
    lab.server.start_master()
    return lab


def test_the_master_has_nothing_to_complain_of(master: Lab):
    said = master.server.journal("lab-salt-master")
    assert "WARNING" not in said and "ERROR" not in said


def test_test_mode_on_a_bare_server_touches_nothing(master: Lab):
    before = digest(master)
    answer = master.server.salt("state.apply", "diskless", test=True)
    assert digest(master) == before
    would = {state["__id__"] for state in answer.values() if state["changes"]}
    assert {"diskless dhcpd packages", "diskless images", "diskless tftp root"} <= would
    assert not master.server.path("/usr/sbin/dhcpd").exists()


def test_state_apply_makes_a_boot_server_that_a_node_boots_from(master: Lab):
    master.server.salt("state.apply", "diskless")
    master.server.orchestrate("diskless.orch.keys")
    node = master.power_on("node001", memory=768)
    node.wait_for("login")
    assert node.run("hostname") == "node001"


def test_the_nodes_minion_answers_the_master_without_a_step_by_hand(master: Lab):
    master.server.wait_for_minion(master.nodes["node001"])
    master.nodes["node001"].power_off()


def test_no_asterisks_are_in_what_was_written(master: Lab):
    """Salt 3008 shows values of the pillar as asterisks, and would write them as gladly."""
    ours = ("*diskless*", "dhcpd.conf", "0A8D*", ".files", "entries")
    looked_at = [f"--include={pattern}" for pattern in ours]
    command = ["grep", "-rlF", "--exclude-dir=versions", *looked_at, "*****", *TREES]
    assert master.server.run(*command, check=False).stdout == ""
    config = master.server.path("/etc/dhcp/dhcpd.conf").read_text()
    assert "hardware ethernet 52:54:00:00:00:01;" in config


def test_highstate_by_the_top_file_of_the_readme_changes_nothing_more(master: Lab):
    answer = master.server.salt("state.highstate")
    assert "diskless dhcpd service" in {state["__id__"] for state in answer.values()}
    assert [state for state in answer.values() if state["changes"]] == []


def test_a_wrong_pillar_is_one_error_in_words_and_nothing_is_touched(master: Lab):
    wrong = master.pillar(2)
    wrong["diskless"]["nodes"]["node002"]["mac"] = 41135040001
    wrong["diskless"]["nodes"]["node001"]["profil"] = "compute"
    master.server.write_pillar(wrong)
    before = digest(master)
    with pytest.raises(AssertionError) as caught:
        master.server.salt("state.apply", "diskless")
    said = str(caught.value)
    assert "diskless:nodes:node002:mac: found 41135040001; YAML made a number" in said
    assert "diskless:nodes:node001:profil: found an unknown key; did you mean profile?" in said
    assert "Traceback" not in said
    assert digest(master) == before
