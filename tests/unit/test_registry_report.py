"""What the runner shows of nodes: what the registry knows, and what boot servers say of them."""

from __future__ import annotations

import pathlib

from salt_diskless.registry import authority, report
from tests.unit.registry import accept, desk, of

TIMES = ["2026-11-24T15:50:12Z", "2026-11-24T15:51:12Z"]


def test_each_node_has_its_stage_as_its_boot_server_says(tmp_path: pathlib.Path):
    store = of(tmp_path)
    accept(store, 5, "node005")
    up = {"stage": "up", "version": "20261124T155012", "since": TIMES}
    groups = [
        {"nodes": "node[003,005]", **up},
        {"nodes": "node004", "stage": "loader", "stuck": True},
    ]
    speakers = authority.of_cluster(desk(store).whole())
    boots = report.boots(
        ["boot2", "boot1", "node006"],
        speakers,
        {"boot2": {"services": {}, "nodes": groups}},
        {"node006": "It broke."},
    )
    assert boots == {"boot2": groups, "boot1": "no answer", "node006": "It broke."}
    said = report.of(desk(store), ["node003", "node004", "node005", "node006"], boots)
    assert {name: one.get("boot") for name, one in said.items()} == {
        "node003": up,
        "node004": {"stage": "loader", "stuck": True},
        "node005": up,
        "node006": None,
    }
    assert said["node003"]["state"] == "listed" and said["node005"]["state"] == "registered"


def test_a_stage_of_another_servers_node_is_not_shown(tmp_path: pathlib.Path):
    store = of(tmp_path)
    speakers = authority.of_cluster(desk(store).whole())
    lie = {"nodes": [{"nodes": "node[003-004]", "stage": "up"}]}
    boots = report.boots(["boot1", "boot2"], speakers, {"boot1": lie}, {})
    assert (boots["boot1"], boots["boot2"]) == ([], "no answer")
    assert "'node003', 'node004' in its answer to diskless.status" in boots["not believed"]["boot1"]
    said = report.of(desk(store), ["node003"], boots)
    assert "boot" not in said["node003"]
