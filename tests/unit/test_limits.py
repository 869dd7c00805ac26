"""What is expanded is counted first, and every input is read in linear time."""

from __future__ import annotations

import copy
import subprocess
import sys
import time

import pytest
from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless.cluster import ClusterError, DisklessError, parse
from salt_diskless.cluster import names as node_names
from salt_diskless.cluster.ranges import MOST_NODES, TooMany, count, expand, fold, terms
from salt_diskless.power.bmcs import nodes_of
from salt_diskless.registry import announcement, decide
from salt_diskless.registry.importing.only import only_of
from salt_diskless.registry.listed import listed

from . import registry

#: Far more than a node set of the project may stand for; expanding one takes minutes or gigabytes.
HUGE = (
    "node[1-1000000000]",
    "r[1-40000]n[1-40000]",
    "node[1-9999999]",
    "a[1-1000]b[1-1000]c[1-1000]d[1-1000]",
    "node[1-50000],other[1-50001]",
    "x[1-5]!x[1-2000000000]",
    "x[1-5]&x[1-2000000000]",
    "x[1-5]^x[1-2000000000]",
    "n[1-3,5-1000000000/2]",
    "n[000000001-999999999]",
    "n[" + ",".join(["1-99999"] * 50) + "]",
    ",".join(f"rack{n}[1-2000]" for n in range(100)),
)

_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
sys.path.insert(0, {path!r})
{code}
"""


def limited(code: str, timeout: float = 240) -> str:
    """Run code in a process that has 2 GB and two minutes of a processor; return its output."""
    text = _LIMITED.format(path=sys.path[0], code=code)
    done = subprocess.run(
        [sys.executable, "-"],
        input=text,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("pattern", HUGE)
def test_a_huge_node_set_is_counted_and_refused(pattern):
    assert count(pattern) > MOST_NODES
    with pytest.raises(TooMany) as caught:
        expand(pattern)
    assert caught.value.count > MOST_NODES


@pytest.mark.parametrize("pattern", HUGE)
def test_a_huge_node_set_is_one_problem_of_the_pillar(howto, pattern):
    before = copy.deepcopy(howto)
    howto["nodes"][pattern] = {"profile": "compute", "ip": "10.8.1.1+", "mac": []}
    with pytest.raises(ClusterError) as caught:
        parse(howto)
    (problem,) = caught.value.problems
    assert problem.path == "diskless:nodes"
    assert f"give at most {MOST_NODES} nodes in all" in str(problem)
    assert len(str(caught.value)) < 1000
    howto["nodes"] = before["nodes"]
    rule = {"prefixes": ["00:21:5E"], "nodes": pattern, "profile": "compute"}
    howto["registry"] = {"rules": {"rack": rule}}
    with pytest.raises(ClusterError) as caught:
        parse(howto)
    (problem,) = caught.value.problems
    assert problem.path == "diskless:registry:rules"


def test_many_small_node_sets_are_counted_together(howto):
    howto["nodes"] = {
        f"rack{n}n[1-1000]": {"profile": "compute", "ip": "10.8.1.1+", "mac": []}
        for n in range(101)
    }
    with pytest.raises(ClusterError) as caught:
        parse(howto)
    assert [problem.path for problem in caught.value.problems] == ["diskless:nodes"]
    assert len(listed(howto["nodes"]).names) <= MOST_NODES


@pytest.mark.parametrize("pattern", HUGE)
def test_a_huge_node_set_is_refused_wherever_one_is_given(pattern, tmp_path):
    for call in (
        lambda: decide.names_of(pattern),
        lambda: decide.split(pattern) and decide.names_of(pattern),
        lambda: only_of(pattern),
        lambda: nodes_of(None, pattern),  # type: ignore[arg-type]
        lambda: registry.accept(registry.of(tmp_path), 1, pattern),
    ):
        with pytest.raises(DisklessError) as caught:
            call()
        assert len(str(caught.value)) < 1000


def test_lines_of_a_file_are_counted_before_they_are_expanded():
    assert len(only_of("lines 10-40").lines) == 31
    with pytest.raises(DisklessError, match="lines"):
        only_of("lines 1-9999999")


def test_a_refusal_needs_little_memory_and_time():
    """Each of these took minutes or gigabytes."""
    out = limited(
        f"""
from salt_diskless.cluster.ranges import expand
for pattern in {HUGE!r} + (
    "x" * 300 + "[1-100000]", "a[1]b" * 100000, "[" * 1000000, "a," * 1000000, "]" * 1000000,
    "n[" + "1," * 1000000 + "]", "n[" + "9" * 1000000 + "]", "n[1-" + "0" * 1000000 + "9]",
    "&!^," * 250000, "a[1-50000]" + "!b" * 40000 + "&a[1-50000]" * 3,
):
    try:
        expand(pattern)
    except ValueError as err:
        assert len(str(err)) < 500, str(err)[:600]
    else:
        raise SystemExit("accepted: " + pattern[:40])
print("refused")
"""
    )
    assert out == "refused\n"


@pytest.mark.parametrize(
    "names",
    [
        [f"r{n}n{n * 7 % 1000}" for n in range(20_000)],
        [f"r{n // 40}n{n % 40}" for n in range(20_000) if n % 11],
        [f"n{n:x}" for n in range(20_000)],
        [f"r{n // 100}c{n // 10 % 10}n{n % 10}" for n in range(20_000)],
    ],
    ids=["diagonal", "holes", "letters", "three numbers"],
)
def test_folding_and_expanding_are_linear(names):
    """ClusterShell compares names with several numbers pair by pair: four times the names took
    sixteen times as long, and 20,000 of them ten minutes."""
    code = """
from salt_diskless.cluster.ranges import expand, fold
names = {names!r}
assert sorted(expand(fold(names))) == sorted(names)
print("same")
"""
    assert limited(code.format(names=names)) == "same\n"


def test_half_a_million_commas_end_at_once():
    """The regular expression looked to the end of the text from each comma."""
    code = """
from salt_diskless.cluster import DisklessError
from salt_diskless.registry.decide import split
for text in ("," * 500000, "a," * 500000, "[" * 500000, "a[," * 200000, ",[" + "," * 500000):
    try:
        split(text)
    except DisklessError as err:
        assert len(str(err)) < 500
print("done")
"""
    assert limited(code) == "done\n"


def test_other_readers_end_at_once_too():
    """Each of these was read again from each of its characters."""
    code = r"""
from salt_diskless.cluster import DisklessError
from salt_diskless.registry.importing import dhcpd
from salt_diskless.services.dhcpd import _LEASE
try:
    list(dhcpd.nodes(chr(34) + (chr(92) + chr(34)) * 400000))
except DisklessError as err:
    assert "quote" in str(err)
assert not list(_LEASE.finditer("lease 10.8.0.1 {\\n  ends never;\\n" * 200000))
print("done")
"""
    assert limited(code) == "done\n"


def test_commas_split_what_is_not_in_brackets():
    assert decide.split("52:54:00:00:00:01, A1 ,n[1-2,4]") == [
        *("52:54:00:00:00:01", "A1", "n1", "n2", "n4")
    ]
    assert decide.split(5) == [5]


@pytest.mark.parametrize(
    "text", ["a[1", "a]", "a[[1]]", "a[]", "a[1-", "a[5-1]", "a[1-3/0]", "a,,b"]
)
def test_half_a_node_set_is_named(text):
    with pytest.raises(ValueError, match=r"."):
        expand(text)


_TERM = st.builds(
    lambda name, first, size, step: f"{name}[{first}-{first + size}/{step}]",
    st.sampled_from(["a", "b1x", "rack-"]),
    st.integers(0, 30),
    st.integers(0, 40),
    st.integers(1, 5),
)
_PATTERN = st.lists(
    st.tuples(st.sampled_from(",!&^"), st.one_of(_TERM, st.sampled_from(["a1", "a7", "b1x3"]))),
    min_size=1,
    max_size=6,
).map(lambda parts: "".join(op * bool(i) + term for i, (op, term) in enumerate(parts)))


@given(_PATTERN)
def test_the_names_are_those_of_clustershell(pattern):
    assert set(expand(pattern)) == set(NodeSet(pattern, resolver=RESOLVER_NOGROUP))
    assert count(pattern) >= len(expand(pattern))


@given(st.lists(st.from_regex(r"\A[a-z]{1,2}([0-9]{1,3}[a-z]?){0,3}\Z"), max_size=60, unique=True))
def test_a_fold_expands_to_the_same_names(names):
    assert sorted(expand(fold(names))) == sorted(names) or not names


def test_texts_that_are_no_names_are_folded_too():
    """Each number in them was a call in a call."""
    names = ["a1" * 8_000, "a1" * 8_000 + "2", "1." * 100_000]
    assert fold(names) == ",".join(sorted(names))


@given(st.text("an1-3[],!&^/ x", max_size=40))
def test_any_text_is_a_node_set_or_a_sentence(text):
    try:
        found = expand(text)
    except ValueError as err:
        assert str(err)
    else:
        assert all(isinstance(name, str) for name in found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("n[1-9999999999/9999999999]", "fewer than 1000000000 numbers"),
        ("n[5-50000000000/40000000000]", "fewer than 1000000000 numbers"),
        *((text, "as many digits") for text in ("n[01-9999]", "n[1-010]", "n[00-1]", "n[001-03]")),
    ],
)
def test_a_range_that_clustershell_refuses_is_a_sentence(howto, text, says):
    with pytest.raises(ValueError, match=says):
        expand(text)
    howto["nodes"][text] = {"profile": "compute", "ip": "10.8.1.1+", "mac": []}
    with pytest.raises(ClusterError, match=says):
        parse(howto)


@pytest.mark.parametrize("text", ["n[1-3]!n[1-3]", "n[1-3]^n[1-3]", "n1&n2"])
def test_a_node_set_that_stands_for_no_host_is_refused(howto, text):
    """Its settings would describe nothing, in silence."""
    howto["nodes"][text] = {"profile": "compute", "ip": "10.8.1.1", "mac": "52:54:00:00:00:01"}
    with pytest.raises(ClusterError, match="stands for a host"):
        parse(howto)


def test_terms_keep_operators_within_brackets():
    assert list(terms("a[1,3],b!c")) == [(",", "a[1,3]"), (",", "b"), ("!", "c")]


# -- names ----------------------------------------------------------------------------------------

LONG = "n" * 64
WRONG_NAMES = (
    *("files", "files.custom", "FILES", "Files.Custom", "localhost", "localhost.localdomain"),
    *(LONG, ".".join(["a" * 20] * 4), "n" * 63 + ".x", "1", "10.8.226.20", "010", "0x1f", "1.2"),
    *("node_1", "-a", "a-", "a..b", ".a", "a.", "..", ".", "a b", "ü", "", "node%1"),
    *("4294967296", "08", "1.2.3.4.5", "0x1.0x2", "99999999999999999999"),
)


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_a_name_that_no_node_can_have_is_refused(howto, tmp_path, name):
    assert node_names.problem(name)
    howto["nodes"][name] = {"profile": "compute", "ip": "10.8.1.1", "mac": "52:54:00:00:00:01"}
    with pytest.raises(ClusterError) as caught:
        parse(howto)
    assert [p.path.startswith("diskless:nodes:") for p in caught.value.problems] == [True]
    with pytest.raises(DisklessError, match="name: found"):
        registry.accept(registry.of(tmp_path), 1, name)


@pytest.mark.parametrize("name", ["n" * 63, "node1.example.com", "a1", "1a", "node-1", "x1f", "N1"])
def test_other_host_names_are_accepted(howto, name):
    howto["nodes"][name] = {"profile": "compute", "ip": "10.8.1.1", "mac": "52:54:00:00:00:01"}
    assert name in parse(howto).nodes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x1", "X1"),
        ("x1", "x1.example.com"),
        ("X1.example.com", "x1"),
        ("x1.a", "X1.A"),
    ],
)
def test_two_names_of_one_host_are_refused(howto, tmp_path, one, other):
    node = {"profile": "compute", "ip": "10.8.1.1", "mac": "52:54:00:00:00:01"}
    more = {"profile": "compute", "ip": "10.8.1.2", "mac": "52:54:00:00:00:02"}
    pillar = {**howto, "nodes": {**howto["nodes"], one: node, other: more}}
    with pytest.raises(ClusterError, match=r"same|once"):
        parse(pillar)
    both = {**node, "ip": "10.8.1.1+", "mac": [node["mac"], more["mac"]]}
    with pytest.raises(ClusterError, match=r"same|once"):
        parse({**howto, "nodes": {f"{one},{other}": both}})
    store = registry.of(tmp_path)
    registry.accept(store, 1, one)
    with pytest.raises(DisklessError):
        registry.accept(store, 2, other)


@pytest.mark.parametrize("name", ["boot2", "BOOT2", "boot2.example.com", "golden"])
def test_a_nodes_name_is_no_other_minions(howto, name):
    howto["images"]["rhel5compute"]["source"] = {"minion": "golden"}
    howto["nodes"][name] = {"profile": "compute", "ip": "10.8.1.1", "mac": "52:54:00:00:00:01"}
    with pytest.raises(ClusterError, match=r"give another name: .* is (a boot server|the golden)"):
        parse(howto)


def test_a_boot_servers_name_is_not_given_to_a_node(tmp_path):
    store = registry.of(tmp_path)
    assert registry.accept(store, 1, "boot[1-9]").name == "boot3"
    with pytest.raises(DisklessError, match="a boot server"):
        registry.accept(store, 2, "boot1")


def test_many_machines_get_names_in_linear_time(tmp_path):
    """The first free name was looked for from the start for each machine."""
    store = registry.of(tmp_path)
    pool = decide.names_of("node[1-60000]")
    desk = registry.desk(store)
    allocator = decide.Allocator(desk.cluster, desk.listed, [])
    run = decide.places_of("10.8.0.0+")
    began = time.process_time()
    for _ in pool:
        name = allocator.name(pool)
        allocator.address("compute", name, pool, run)
    # Looking through all of them for each one takes minutes.
    assert time.process_time() - began < 60


def test_many_networks_and_profiles_are_checked_at_once(howto):
    howto["servers"]["boot2"] = {
        "interfaces": {
            "eth0": "10.8.226.72",
            **{f"e{n}": f"11.{n >> 8}.{n & 255}.1" for n in range(1500)},
        }
    }
    howto["networks"] |= {f"n{n}": {"subnet": f"11.{n >> 8}.{n & 255}.0/24"} for n in range(1500)}
    chain = {f"p{n}": {"profile": f"p{n + 1}"} for n in range(999)}
    howto["profiles"] |= {**chain, "p999": {"profile": "compute"}}
    start = time.monotonic()
    parse(howto)
    assert time.monotonic() - start < 15


def test_networks_that_overlap_are_named(howto):
    howto["servers"]["boot2"] = {"interfaces": {"eth0": "10.8.226.72", "eth1": "10.9.0.1"}}
    howto["networks"] |= {
        "inner": {"subnet": "10.8.226.0/24"},
        "same": {"subnet": "10.8.0.0/16"},
        "other": {"subnet": "10.9.0.0/24"},
    }
    with pytest.raises(ClusterError) as caught:
        parse(howto)
    found = sorted(str(problem) for problem in caught.value.problems)
    assert len(found) == 2
    assert found[0].startswith("diskless:networks:inner:subnet: found 10.8.226.0/24; it overlaps")
    assert found[1].startswith("diskless:networks:same:subnet: found 10.8.0.0/16; it overlaps")


def test_an_event_of_too_many_fields_is_refused():
    fields = {"mac": "52:54:00:00:00:01", **{f"field{number}": "x" for number in range(40)}}
    with pytest.raises(DisklessError, match="found 41 fields; give 40 at most"):
        announcement.of_event("salt-diskless/node/register", {"data": fields})
