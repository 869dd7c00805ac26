"""What the runner shows of nodes: what the registry knows, and what boot servers say of them."""

from __future__ import annotations

import pathlib

from salt_diskless.registry import report
from tests.unit.registry import accept, desk, of


def test_each_node_has_its_stage_as_its_boot_server_says(tmp_path: pathlib.Path):
    store = of(tmp_path)
    accept(store, 5, "node005")
    up = {"stage": "up", "version": "20261124T155012", "since": ["a", "b"]}
    groups = [
        {"nodes": "node[003,005]", **up},
        {"nodes": "node004", "stage": "loader", "stuck": True},
    ]
    boots = report.boots(
        {"node002": {"services": {}, "nodes": groups}, "node001": None, "node006": "It broke."}
    )
    assert boots == {"node002": groups, "node001": "no answer", "node006": "It broke."}
    said = report.of(desk(store), ["node003", "node004", "node005", "node006"], boots)
    assert {name: one.get("boot") for name, one in said.items()} == {
        "node003": up,
        "node004": {"stage": "loader", "stuck": True},
        "node005": up,
        "node006": None,
    }
    assert said["node003"]["state"] == "listed" and said["node005"]["state"] == "registered"
