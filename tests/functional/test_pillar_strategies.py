"""The registry's nodes in the pillar that Salt compiles, with each way in which it merges."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import pathlib
from collections.abc import Iterator

import pytest
import salt.pillar
import yaml

from salt_diskless.adapter import master_ids, pillars
from salt_diskless.cluster import ClusterError, DisklessError, parse
from salt_diskless.registry.decide import Desk, Wish
from salt_diskless.registry.store import Store
from tests.functional.test_registry import accept, mac, master_opts, store

__all__ = ["accept", "master_opts", "store"]

STRATEGIES = ["smart", "recurse", "overwrite", "aggregate", "none", "list", "nonsense"]


@pytest.fixture
def compiled(master_opts, pillar, tmp_path):
    """Return a function that compiles a minion's pillar with settings of the master."""
    root = tmp_path / "pillar"
    root.mkdir()
    (root / "top.sls").write_text("base: {bootserver: [cluster], other: [apart]}")
    (root / "cluster.sls").write_text(yaml.safe_dump({"diskless": pillar, "own": {"a": 1}}))
    (root / "apart.sls").write_text("diskless: {}\n")

    def run(minion: str = "bootserver", change=None, **settings) -> dict:
        if change is not None:
            text = yaml.safe_dump({"diskless": change, "own": {"a": 1}})
            (root / "cluster.sls").write_text(text)
        opts = copy.deepcopy(master_opts)
        opts.update(pillar_roots={"base": [str(root)]}, ext_pillar=[{"diskless_nodes": {}}])
        opts.update(settings)
        found = salt.pillar.Pillar(opts, {"id": minion}, minion, "base").compile_pillar()
        return dict(found)

    return run


def refused(found: dict) -> str:
    (error,) = found["_errors"]
    assert error.startswith("Failed to load ext_pillar diskless_nodes: the master's configuration")
    return error


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_strategy_loses_nodes_in_silence(compiled, accept, pillar, strategy, first):
    node = accept(5, "node005", "10.77.0.50")
    settings = {"pillar_source_merging_strategy": strategy, "ext_pillar_first": first}
    found = compiled(**settings)
    if strategy == "list" or (first and strategy in ("overwrite", "aggregate")):
        error = refused(found)
        assert f"pillar_source_merging_strategy: found {strategy}" in error
        assert ("ext_pillar_first" in error) == (strategy != "list")
        return
    assert "_errors" not in found
    assert found["own"] == {"a": 1}
    wanted = {**pillar, "nodes": {**pillar["nodes"], "node005": node.as_pillar()}}
    assert found["diskless"] == {**wanted, "registry": {"number": 1}}
    assert len(parse(found["diskless"]).nodes) == 4


@pytest.mark.parametrize("renderer", ["jinja|yamlex", "yamlex"])
@pytest.mark.parametrize("first", [False, True])
def test_the_renderer_yamlex_aggregates(compiled, accept, pillar, renderer, first):
    accept(5, "node005", "10.77.0.50")
    found = compiled(renderer=renderer, ext_pillar_first=first)
    if first:
        assert "ext_pillar_first" in refused(found)
    else:
        # As a minion has it: yamlex has text of its own, which is plain on the wire.
        assert len(parse(json.loads(json.dumps(found["diskless"]))).nodes) == 4


@pytest.mark.parametrize(
    ("strategy", "first"),
    [
        *((strategy, False) for strategy in ("smart", "recurse", "overwrite", "aggregate", "none")),
        *((strategy, True) for strategy in ("smart", "recurse", "none")),
    ],
)
@pytest.mark.parametrize(
    "settings",
    [
        {"node005": {"mac": mac(6), "ip": "10.77.0.51"}},
        {"node[004-005]": {"mac": [mac(7), mac(6)], "ip": "10.77.0.51+"}},
        {"node006": {"mac": mac(5), "ip": "10.77.0.51"}},
        {"node006": {"mac": mac(6), "ip": "10.77.0.50"}},
    ],
)
def test_a_conflict_names_the_registry(compiled, accept, pillar, settings, strategy, first):
    accept(5, "node005", "10.77.0.50")
    (own,) = settings.values()
    nodes = {**pillar["nodes"], next(iter(settings)): {**own, "profile": "compute"}}
    found = compiled(
        change={**pillar, "nodes": nodes},
        pillar_source_merging_strategy=strategy,
        ext_pillar_first=first,
    )
    assert found["diskless"]["nodes"] == nodes
    with pytest.raises(ClusterError) as caught:
        parse(found["diskless"])
    assert f"the registry has node005 with MAC {mac(5)}" in str(caught.value)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("first", [False, True])
def test_a_node_that_is_listed_by_hand_too_is_the_pillars(compiled, accept, pillar, first):
    node = accept(5, "node005", "10.77.0.50")
    nodes = {**pillar["nodes"], "node005": {"mac": node.mac, "ip": "10.77.0.51", "nfs": 3}}
    nodes["node005"]["profile"] = "compute"
    found = compiled(change={**pillar, "nodes": nodes}, ext_pillar_first=first)
    assert found["diskless"]["nodes"] == nodes


@pytest.mark.parametrize("strategy", ["overwrite", "aggregate"])
def test_an_external_pillar_after_it_is_refused_by_name(compiled, accept, strategy):
    accept(5, "node005", "10.77.0.50")
    ours, other = {"diskless_nodes": {}}, {"cmd_yaml": "echo 'diskless: {nodes: {}}'"}
    settings = {"pillar_source_merging_strategy": strategy}
    found = compiled(ext_pillar=[ours, other], **settings)
    error = next(text for text in found["_errors"] if "diskless_nodes" in text)
    assert "ext_pillar with cmd_yaml after diskless_nodes" in error
    found = compiled(ext_pillar=[{"cmd_yaml": "echo 'more: 1'"}, ours], **settings)
    assert "node005" in found["diskless"]["nodes"] and found["more"] == 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_other_minions_have_no_error_and_no_nodes(compiled, accept, strategy):
    accept(5, "node005", "10.77.0.50")
    for minion in ("other", "stranger"):
        for first in (False, True):
            found = compiled(
                minion, pillar_source_merging_strategy=strategy, ext_pillar_first=first
            )
            assert "_errors" not in found and not found.get("diskless")


def test_a_wrong_pillar_stays_as_it_is(compiled, accept, pillar):
    accept(5, "node005", "10.77.0.50")
    for wrong in (["a"], "x", {**pillar, "nodes": ["a"]}):
        for strategy in ("recurse", "overwrite"):
            found = compiled(change=wrong, pillar_source_merging_strategy=strategy)
            assert "_errors" not in found
            if not isinstance(wrong, dict):
                assert found["diskless"] == wrong
            elif strategy == "overwrite":
                assert found["diskless"]["nodes"] == ["a"]


def test_lists_are_not_doubled(compiled, accept, pillar):
    accept(5, "node005", "10.77.0.50")
    for strategy in ("recurse", "overwrite", "aggregate"):
        found = compiled(pillar_source_merging_strategy=strategy, pillar_merge_lists=True)
        assert found["diskless"]["profiles"] == pillar["profiles"]
        assert pathlib.Path(found["diskless"]["images"]["tiny"]["location"]).is_absolute()


LATER = {
    "the same name": {"node005": {"mac": mac(6), "ip": "10.77.0.51", "profile": "compute"}},
    "the same MAC": {"node006": {"mac": mac(5), "ip": "10.77.0.51", "profile": "compute"}},
    "the same address": {"node006": {"mac": mac(6), "ip": "10.77.0.50", "profile": "compute"}},
}


@pytest.mark.parametrize("strategy", ["smart", "recurse", "none"])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("nodes", LATER.values(), ids=LATER)
def test_a_conflict_with_a_later_external_pillar_is_named(
    compiled, accept, pillar, tmp_path, nodes, first, strategy
):
    accept(5, "node005", "10.77.0.50")
    (tmp_path / "later.yaml").write_text(yaml.safe_dump({"diskless": {"nodes": nodes}}))
    later = {"cmd_yaml": f"cat {tmp_path}/later.yaml"}
    for given in ([{"diskless_nodes": {}}, later], [later, {"diskless_nodes": {}}]):
        found = compiled(
            ext_pillar=given, ext_pillar_first=first, pillar_source_merging_strategy=strategy
        )
        assert "_errors" not in found
        assert found["diskless"]["nodes"] == {**pillar["nodes"], **nodes}
        with pytest.raises(ClusterError) as caught:
            parse(found["diskless"])
        assert f"the registry has node005 with MAC {mac(5)}" in str(caught.value)


def test_a_later_external_pillar_takes_no_node_away(compiled, accept, pillar, tmp_path):
    node = accept(5, "node005", "10.77.0.50")
    nodes = {"node006": {"mac": mac(6), "ip": "10.77.0.51", "profile": "compute"}}
    nodes["node005"] = node.as_pillar()
    (tmp_path / "later.yaml").write_text(yaml.safe_dump({"diskless": {"nodes": nodes}}))
    found = compiled(
        ext_pillar=[{"diskless_nodes": {}}, {"cmd_yaml": f"cat {tmp_path}/later.yaml"}]
    )
    assert found["diskless"]["nodes"] == {**pillar["nodes"], **nodes}
    assert len(parse(found["diskless"]).nodes) == 5


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("strategy", ["recurse", "overwrite"])
def test_two_external_pillars_in_an_entry_are_refused(compiled, accept, strategy, first):
    """Of these Salt takes only what the last one returns."""
    accept(5, "node005", "10.77.0.50")
    ours, other = {"diskless_nodes": {}}, {"cmd_yaml": "echo 'more: 1'"}
    settings = {"pillar_source_merging_strategy": strategy, "ext_pillar_first": first}
    found = compiled(ext_pillar=[{**ours, **other}], **settings)
    error = next(text for text in found["_errors"] if "diskless_nodes" in text)
    assert "found cmd_yaml in one list item with diskless_nodes" in error
    assert not pillars.has_registry({"ext_pillar": [{**ours, **other}]})
    for given in ([{**other, **ours}], [other, ours], [None, ours, 7]):
        assert pillars.has_registry({"ext_pillar": given})
        assert pillars.without_registry({"ext_pillar": given}) in ([], [other])


@pytest.mark.parametrize("given", [None, {}, "x", 7, [], [None], [{}], ["diskless_nodes"]])
def test_no_form_of_the_setting_is_a_traceback(given):
    assert pillars.without_registry({"ext_pillar": given}) == []
    assert not pillars.has_registry({"ext_pillar": given})


# -- names of masters -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["boss", "BOSS", "syndic7", "minion.boss", "cached"])
@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize("strategy", ["smart", "overwrite"])
def test_no_node_is_called_as_a_master(
    compiled, accept, master_opts, pillar, tmp_path, name, registered, strategy
):
    (tmp_path / "minion.d").mkdir()
    (tmp_path / "minion").write_text("master: x\n")
    (tmp_path / "minion.d/id.conf").write_text("id: minion.boss\n")
    (tmp_path / "minion_id").write_text("cached")
    (tmp_path / "cache/syndics").mkdir(parents=True)
    (tmp_path / "cache/syndics/syndic7").touch()
    master_opts["conf_file"] = str(tmp_path / "master")
    if registered:
        accept(5, "node005", "10.77.0.50")
    own = {name: {"mac": mac(9), "ip": "10.77.0.59", "profile": "compute"}}
    found = compiled(
        change={**pillar, "nodes": {**pillar["nodes"], **own}},
        pillar_source_merging_strategy=strategy,
    )
    with pytest.raises(ClusterError) as caught:
        parse(found["diskless"])
    (problem,) = caught.value.problems
    assert problem.path == f"diskless:nodes:{name.lower()}"
    assert "the minion id of the master or of a syndic" in problem.found
    assert len(found["diskless"]["nodes"]) == len(pillar["nodes"]) + 1 + registered
    with pytest.raises(DisklessError, match="the minion id of a boot server, a golden machine or"):
        masters = master_ids.of_master(master_opts)
        Desk(Store(str(tmp_path / "other")), pillar, masters=masters).accept(
            [Wish(mac(8), (name,), None, "compute")]
        )


@pytest.mark.parametrize("text", ["id: [", "- x\n", "\0", "", None])
def test_a_minion_configuration_that_cannot_be_read_is_passed_over(master_opts, tmp_path, text):
    """The master's user may not read that of the minion; and what it says may be wrong."""
    master_opts["conf_file"] = str(tmp_path / "master")
    if text is None:
        (tmp_path / "minion").mkdir()
    else:
        (tmp_path / "minion").write_text(text)
    assert master_ids.of_master(master_opts) == {"boss", "boss_master"}
    os.chmod(tmp_path / "minion", 0)
    with as_nobody():
        assert master_ids.of_master(master_opts) == {"boss", "boss_master"}


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_pillar_without_such_a_name_is_not_touched(compiled, pillar):
    for first in (False, True):
        assert compiled(ext_pillar_first=first)["diskless"] == pillar
