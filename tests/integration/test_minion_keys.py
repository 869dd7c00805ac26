"""A node's minion is let in with the key that its boot server made for it, at its first start."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from tests.integration.conftest import MINION


@pytest.fixture
def snapshots(call, cluster, golden) -> pathlib.Path:
    """The snapshots of three nodes whose image has a minion."""
    (golden / "etc/salt").mkdir()
    (golden / "etc/salt/minion").touch()
    assert call("diskless_image.sync").data["tiny"]["changed"] is True
    assert call("diskless_snapshot.apply").data["added"]["nodes"] == "node[001-003]"
    return pathlib.Path(cluster["images"]["tiny"]["location"]) / "snapshot"


def keys_of(states: dict[str, dict]) -> object:
    (ran,) = (state for state in states.values() if "accept_keys" in state["__id__"] or
              state["__id__"] == "diskless keys of nodes")  # fmt: skip
    assert ran["result"] is True, states
    return ran["changes"].get("return", ran["changes"])


def test_a_minion_that_starts_with_what_was_delivered_is_let_in_at_once(
    call, cluster, orchestrate, snapshots, master
):
    assert "node[001-003]" in str(keys_of(orchestrate(cluster, "keys")))
    pki = snapshots / "node002/.diskless/identity/pki"
    pair = {path.name: path.stat().st_mode & 0o777 for path in (pki / "minion").iterdir()}
    assert pair == {"minion.pem": 0o400, "minion.pub": 0o644}
    assert pki.stat().st_mode & 0o777 == 0o700
    publics = {
        (snapshots / f"node00{n}/.diskless/identity/pki/minion/minion.pub").read_text()
        for n in (1, 2, 3)
    }
    assert len(publics) == 3
    jobs = b"".join(
        path.read_bytes()
        for path in pathlib.Path(master.config["cachedir"]).rglob("*")
        if path.is_file()
    )
    assert b"PRIVATE KEY" not in jobs
    # Once more: nothing is made, nothing is accepted.
    before = {path: path.read_bytes() for path in pki.rglob("*") if path.is_file()}
    assert "node" not in str(keys_of(orchestrate(cluster, "keys")).get("accepted", ""))
    assert {path: path.read_bytes() for path in pki.rglob("*") if path.is_file()} == before
    # This master lets any unknown minion in: but it knows this one, with this key and no other.
    accepted = pathlib.Path(master.config["pki_dir"]) / "minions/node002"
    assert accepted.read_bytes().strip() == before[pki / "minion/minion.pub"].strip()
    minion = master.salt_minion_daemon("node002")
    place = pathlib.Path(minion.config["pki_dir"])
    for path in (pki / "minion").iterdir():
        shutil.copy2(path, place / path.name)
    with minion.started():
        assert master.salt_cli(timeout=60).run("test.ping", minion_tgt="node002").data is True
        assert (place / "minion.pub").read_bytes() == before[pki / "minion/minion.pub"]


def test_a_rejected_node_stays_rejected(call, cluster, snapshots, master, runner):
    pki = pathlib.Path(master.config["pki_dir"])
    (pki / "minions_rejected").mkdir(exist_ok=True)
    shutil.copy(pki / "master.pub", pki / "minions_rejected/node001")
    (pki / "minions/node001").unlink(missing_ok=True)
    said = runner("diskless.accept_keys", [MINION]).data
    assert said["rejected"] == "node001" and "node001" not in said.get("accepted", "")
    assert not (pki / "minions/node001").exists()


def test_a_link_in_a_snapshot_is_not_followed(call, cluster, snapshots, master, tmp_path):
    outside = tmp_path / "outside"
    (outside / "minion").mkdir(parents=True)
    public = pathlib.Path(master.config["pki_dir"]) / "master.pub"
    shutil.copy(public, outside / "minion/minion.pub")
    (snapshots / "node003/.diskless/identity/pki").symlink_to(outside)
    assert call("diskless_snapshot.minion_keys").data.keys() == {"node001", "node002"}
    assert sorted(path.name for path in outside.rglob("*")) == ["minion", "minion.pub"]
    assert call("diskless_snapshot.minion_keys", but=["node001"]).data.keys() == {"node002"}
