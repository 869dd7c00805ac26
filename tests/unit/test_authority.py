"""Which minion may speak for which names, and what shape its answers have."""

from __future__ import annotations

import base64
import contextlib
import string
import time
from typing import Any

import pytest
from ClusterShell.NodeSet import NodeSetException
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless.cluster import DisklessError, parse
from salt_diskless.cluster.ranges import expand, fold
from salt_diskless.power.remote import Servers
from salt_diskless.registry import answers, authority, deliver
from salt_diskless.registry.answers import Answer
from salt_diskless.registry.authority import Authority
from salt_diskless.registry.decide import Wish
from tests.unit.registry import PILLAR, announce, content, desk, mac, of

KEY = (
    "-----BEGIN PUBLIC KEY-----\n"
    + base64.b64encode(b"\x30\x82" + bytes(48)).decode()
    + "\n-----END PUBLIC KEY-----\n"
)
NAMES = [
    "node003",
    "node004",
    "node005",
    "NODE003",
    "prod-db-01",
    "salt-admin",
    "node001",
    "node002",
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
#: Whatever a minion may answer: names that are others', any type, any depth.
ANYTHING = st.recursive(
    SCALARS | st.sampled_from(NAMES) | st.sampled_from(["up", "on", "at", "nodes", "told", KEY]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            SCALARS
            | st.sampled_from([*NAMES, "nodes", "stage", "version", "since", "at", "failed"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
OWN = frozenset({"node003", "node004"})


def answer(own: frozenset[str] = OWN) -> Answer:
    return Answer("boot2", "diskless.any", own)


def cluster(**changes: Any) -> Any:
    return parse({**PILLAR, **changes})


# -- the rule -----------------------------------------------------------------------------------


def test_a_boot_server_speaks_for_its_own_nodes_only():
    rule = authority.of_cluster(cluster())
    assert rule.nodes_of("boot2") == {"node003", "node004"}
    assert rule.nodes_of("boot1") == rule.nodes_of("node003") == rule.nodes_of("x") == set()


def test_no_key_is_brought_for_a_server_master_or_golden_machine():
    images = {"debian": {"location": "/diskless/debian", "source": {"minion": "golden1"}}}
    rule = authority.of_cluster(cluster(images=images), "Salt-Admin")
    assert rule.reserved == {"boot1", "boot2", "golden1", "salt-admin"}
    assert rule.keys_of("boot2") == {"node003", "node004"}


def test_the_masters_pillar_counts_before_a_servers():
    trusted = Authority({"a": "s1", "b": "s2"}, frozenset({"boss"}))
    lies = Authority({"a": "s2", "c": "s2", "d": "s1", "boss": "s2"}, frozenset({"s2"}))
    rule = authority.merged(trusted, [("s2", lies)])
    assert rule.owners == {"a": "s1", "b": "s2", "c": "s2", "boss": "s2"}
    assert rule.keys_of("s2") == {"b", "c"}


def test_a_name_that_two_servers_have_belongs_to_neither():
    both = [(name, Authority({"a": name})) for name in ("s1", "s2")]
    assert authority.merged(Authority(), both).owners == {}


@given(st.lists(ANYTHING, max_size=30), st.frozensets(st.sampled_from(NAMES)))
def test_split_believes_exactly_the_own_names(names, own):
    believed, refused = authority.split(names, own)
    assert len(believed) + len(refused) == len(names)
    assert {*believed} <= own
    assert not any(isinstance(name, str) and name in own for name in refused)


# -- answers ------------------------------------------------------------------------------------


@given(ANYTHING)
def test_no_answer_has_effect_for_another_name(value):
    for check in (answers.public_keys, answers.steps):
        one = answer()
        found = check(one, value)
        assert {*found} <= OWN
        assert found or one.problems or value == {}
    one = answer()
    said, failed = answers.powers(one, value)
    assert {*said, *failed} <= OWN
    groups = answers.boots(answer(), value)
    assert all({*expand(group["nodes"])} <= OWN for group in groups)


@given(ANYTHING)
def test_a_message_about_any_answer_is_one_short_line(value):
    one = answer()
    for check in (answers.public_keys, answers.steps, answers.powers, answers.boots):
        check(one, value)
    for problem in one.problems:
        assert problem.isprintable() and problem.isascii() and len(problem) < 4000
        assert problem.startswith("boot2: found ") and "diskless.any" in problem


@given(st.text() | SCALARS | st.lists(ANYTHING))
def test_words_of_a_minion_are_printable_and_short(value):
    text = answers.words(value)
    assert len(text) <= answers.LONGEST
    assert all(letter.isprintable() or letter == "\n" for letter in text)


def test_words_that_are_huge_are_cut():
    assert len(answers.words("x" * 10**7)) == answers.LONGEST
    assert answers.words("\x1b[2Jab\r\nc") == "?[2Jab?\nc"


def test_the_keys_of_its_own_nodes_are_believed_beside_lies():
    one = answer()
    found = answers.public_keys(
        one, {"prod-db-01": KEY, "salt-admin": KEY, "node003": KEY, "node004": "no key"}
    )
    assert found == {"node003": KEY}
    refused, wrong = one.problems
    assert "found 'prod-db-01', 'salt-admin' in its answer" in refused
    assert "(node[003-004])" in refused
    assert "node004" in wrong and "public key in PEM" in wrong


@pytest.mark.parametrize(
    "text",
    [
        *(None, 7, b"", [], {}, "", "x", KEY.encode()),
        KEY.replace("PUBLIC", "PRIVATE"),
        KEY + "x",
        KEY + KEY,
        "x" + KEY,
        KEY.replace("\n", "\r\n"),
        KEY.replace("AAAA", "A" * 5000),
        KEY.replace("MII", "!!!").replace("MI", "AA"),
        f"-----BEGIN PUBLIC KEY-----\n{'A' * 41}\n-----END PUBLIC KEY-----\n",
        KEY.replace("BEGIN PUBLIC", "BEGIN RSA PUBLIC"),
    ],
)
def test_what_is_no_public_key_is_refused(text):
    assert not answers.is_public_key(text)
    assert answers.is_public_key(KEY)


def test_a_set_of_too_many_names_is_not_expanded():
    for text in (
        "n[1-1000000000]",
        "r[1-40000]n[1-40000]",
        "n[1-9999999]",
        "a" * 10 + ",b" * 20000,
    ):
        one = answer()
        assert one.folded(text) == []
        assert len(one.problems) == 1


@given(st.lists(st.text(string.ascii_letters + string.digits + "-.", min_size=1), min_size=1))
def test_the_size_of_what_is_folded_is_counted(names):
    try:
        folded = fold(names)
        expanded = expand(folded)
    except (NodeSetException, ValueError):
        return
    assert answers.size(folded) >= len(expanded)


@given(st.text("node[]0123456789-,x &!^@*?/%"))
def test_what_has_a_size_can_be_expanded(text):
    count = answers.size(text)
    if 0 < count < 10000:
        with contextlib.suppress(ValueError):
            assert len(expand(text)) <= count


def group_of(names: str, **more: Any) -> dict[str, Any]:
    return {"nodes": names, "stage": "up", **more}


@pytest.mark.parametrize(
    "groups",
    [
        [7] * 10**5,
        [group_of("node003") for _ in range(20_000)],
        [group_of("x[1-9999]") for _ in range(20_000)],
        [group_of("node003", stage="no stage")] * 10**5,
        [group_of("node003", **{letter * 3: "x" for letter in string.ascii_lowercase})],
    ],
)
def test_a_huge_list_of_groups_is_a_few_problems(groups):
    one, begun = answer(), time.process_time()
    found = answers.boots(one, {"nodes": groups})
    assert time.process_time() - begun < 5
    assert 0 < len(one.problems) <= answers.MOST_PROBLEMS + 1
    assert sum(map(len, one.problems)) < 20_000
    assert len(found) <= 10_000


def test_a_million_names_are_one_problem():
    one, begun = answer(), time.process_time()
    lies = {f"x{number}": KEY for number in range(10**6)}
    assert answers.public_keys(one, {**lies, "node003": KEY}) == {"node003": KEY}
    assert time.process_time() - begun < 20
    (problem,) = one.problems
    assert "more" in problem and len(problem) < 1000


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), float("nan"), True, "1", -1])
def test_a_time_is_a_number_of_this_age(value):
    assert not answers.is_time(value) and answers.is_time(1.8e9)


def test_a_set_of_countless_names_is_counted_at_once():
    begun = time.process_time()
    assert answers.size("n" + "[1-99]" * 10**5) > 10**9
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "group",
    [
        {"stage": "up"},
        {"nodes": "node003", "stage": "root shell"},
        {"nodes": "node003", "stage": ["up"]},
        {"nodes": "node003", "stage": "up", "version": "../../etc"},
        {"nodes": "node003", "stage": "up", "version": 7},
        {"nodes": "node003", "stage": "up", "since": ["now", "then"]},
        {"nodes": "node003", "stage": "up", "since": "2026"},
        {"nodes": ["node003"], "stage": "up"},
        {"nodes": "", "stage": "up"},
    ],
)
def test_a_group_of_another_shape_is_not_believed(group):
    one = answer()
    assert answers.boots(one, {"nodes": [group]}) == []
    assert one.problems


def test_a_server_switches_no_node_of_another_server():
    """Power and progress are believed only for the nodes that were asked for."""

    def call(server: str, function: str, *_: object) -> object:
        if function == "diskless_node.progress":
            step = {"stage": "up", "version": "", "since": 5.0}
            return {"node003": step, "far1": step, "node004": {**step, "since": "1e400"}}
        return {"told": "node003,far1", "off": 7, "failed": {"boss": "x"}, "at": 4.5}

    far = {"profile": "other", "ip": "10.9.0.5", "mac": "52:54:00:00:00:01"}
    servers = Servers(cluster(nodes={**PILLAR["nodes"], "far1": far}), call)
    told = servers.power("on", ["node003", "node004"])
    assert {name: bool(one.problem) for name, one in told.items()} == {
        "node003": False,
        "node004": True,
    }
    found = servers.progress(["node003", "node004"])
    assert found["node003"] is not None and found["node004"] is None
    assert {*found} == {"node003", "node004"}
    assert any("'far1'" in doubt for doubt in servers.doubts)
    assert any("'boss'" in doubt for doubt in servers.doubts)


# -- what the registry takes in -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["boot1", "boot2", "BOOT2", "golden1"])
def test_no_node_is_accepted_as_another_minion(tmp_path, name):
    images = {"debian": {"location": "/diskless/debian", "source": {"minion": "golden1"}}}
    store = of(tmp_path)
    announce(store, 1)
    before = content(store)
    with pytest.raises(DisklessError, match=r"boot server|golden machine"):
        desk(store, images=images).accept([Wish(mac(1), (name,), None, "compute")])
    assert content(store) == before


def test_a_boot_server_lends_addresses_of_its_own_networks(tmp_path):
    store = of(tmp_path)
    for number, server in ((1, "boot1"), (2, "boot2"), (3, None)):
        own = {"server": server} if server else {}
        announce(store, number, ip="10.8.226.201", **own)
    deliver.apply_rules(store, desk(store))
    with store.read() as tx:
        found = {machine.mac: machine.ip for machine in tx.machines()}
    assert found == {mac(1): None, mac(2): "10.8.226.201", mac(3): "10.8.226.201"}
