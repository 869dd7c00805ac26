"""The runner takes any argument, or says in a sentence what is right."""

from __future__ import annotations

import inspect
import pathlib
import re

import pytest
from salt.exceptions import CommandExecutionError, NotImplemented, SaltInvocationError
from salt.utils.args import yamlify_arg

from salt_diskless.runners import diskless as runner
from tests.unit.registry import accept, announce, content, desk, mac, of

WRONG = [
    *(0, 7, -1, 20261128, 10**30, 1.5, 1e5, float("nan"), True, False, None, [], ["nosuch", 3]),
    *([None], [[]], {}, {"a": 1}, {3: None}, "", "nosuch", "x" * 10_000, "x" * 70_000, "a\0b"),
    *("a\nb", "\x1b[31m", "\ud800", "../../etc", "node[1-", "é", b"bytes", ("a",), object()),
]
#: They talk to minions first; whom, their arguments say.
_OF_MINIONS = {"introduce", "accept_keys"}


@pytest.fixture
def store(tmp_path: pathlib.Path, monkeypatch):
    """A registry on a master of which nothing but the pillar and its boot servers is missing."""
    there = of(tmp_path)
    monkeypatch.setattr(runner, "__opts__", {"id": "master"}, raising=False)
    monkeypatch.setattr(runner, "__context__", {}, raising=False)
    monkeypatch.setattr(runner, "store_of", lambda opts: there)
    monkeypatch.setattr(runner, "_desk", lambda test, decides=True: desk(there))
    monkeypatch.setattr(runner, "_tell", lambda test: {})
    monkeypatch.setattr(runner, "_burst", lambda: {})
    monkeypatch.setattr(runner, "_boots", lambda desk: {})
    return there


FUNCTIONS = [
    (name, [*inspect.signature(function).parameters.values()])
    for name, function in inspect.getmembers(runner, inspect.isfunction)
    if not name.startswith("_")
    and function.__module__ == runner.__name__
    and inspect.signature(function).parameters
]


@pytest.mark.parametrize(("name", "parameters"), FUNCTIONS, ids=lambda one: str(one)[:30])
def test_the_runner_takes_any_argument_or_says_why_not(store, name, parameters):
    announce(store, 1, serial="A1")
    required = {
        p.name: "nosuch" for p in parameters if p.default is p.empty and p.kind != p.VAR_KEYWORD
    }
    for parameter in parameters:
        for value in WRONG:
            good = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
            if name in _OF_MINIONS and (isinstance(value, str) or good):
                continue
            given = {**required, parameter.name: value}
            if parameter.kind == parameter.VAR_KEYWORD:
                given = {**required, "nfs": value}
            if "test" in {p.name for p in parameters} and parameter.name != "test":
                given["test"] = True
            try:
                getattr(runner, name)(**given)
            except (CommandExecutionError, SaltInvocationError) as err:
                assert str(err) and len(str(err)) < 3000


#: Words as somebody types them, and as Salt's command line reads them.
WORDS = [
    *("2020", "1e3", "007", "0x10", "yes", "null", "~", "[a,b]", "[1,2]", "[]", "{a: b}", "{}"),
    *("2020-01-01", "1:30", "5254.00", "525400110002", "52:54:00:11:00:02", "1_000", ".inf", "-1"),
    *("a: b", "- a", "@x", "''", " ", "[", "1e999", "on", "off", "true"),
]


@pytest.mark.parametrize(("name", "parameters"), FUNCTIONS, ids=lambda one: str(one)[:30])
def test_a_typed_word_is_taken_or_refused_in_three_parts(store, name, parameters):
    announce(store, 1, serial="A1")
    required = {
        p.name: "nosuch" for p in parameters if p.default is p.empty and p.kind != p.VAR_KEYWORD
    }
    wrong = []
    for parameter in parameters:
        for word in WORDS:
            value = yamlify_arg(word)
            names = isinstance(value, list) and all(isinstance(item, str) for item in value)
            if name in _OF_MINIONS and (isinstance(value, str) or names):
                continue
            key = "nfs" if parameter.kind == parameter.VAR_KEYWORD else parameter.name
            given = {**required, key: value}
            if "test" in {p.name for p in parameters} and parameter.name != "test":
                given["test"] = True
            try:
                getattr(runner, name)(**given)
            except (CommandExecutionError, SaltInvocationError) as err:
                if not re.match(r".+: found .+; .+|nothing was changed:\n", str(err), re.DOTALL):
                    wrong.append((parameter.name, word, str(err)[:200]))
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("register", [True], "mac: found true"),
        ("register", [mac(5), 83], "serial: found 83, a number that YAML made of it; give text"),
        ("accept", [mac(1), 3], "name: found 3, a number that YAML made of it; give text"),
        ("nodes", ["nosuch"], "names: found nosuch, which neither the pillar nor the registry has"),
        ("nodes", ["node009"], "did you mean node00"),
        ("forget", ["nosuch"], "'nosuch': found no such machine in the registry"),
        ("reject", ["nosuch"], "'nosuch': found no such machine in the registry"),
        ("replace", ["nosuch", mac(2)], "'nosuch': found no such machine"),
        ("accept", ["nosuch", "node009"], "'nosuch': found no such machine"),
        ("import_", ["/etc/hosts", "nosuch"], "format: found 'nosuch'; give one of"),
        ("power", ["on", 3], "names: found 3, a number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(store, name, args, words):
    before = content(store)
    with pytest.raises(CommandExecutionError) as err:
        getattr(runner, name)(*args)
    assert words in str(err.value)
    assert content(store) == before


def test_a_node_that_nobody_knows_sets_the_exit_code(store):
    assert {*runner.nodes("node003", ask=False)} == {"node003"}
    assert runner.__context__ == {}
    shown = runner.nodes("node[003,009]", ask=False)
    assert shown["node009"] == {"state": "unknown"} and runner.__context__ == {"retcode": 1}
    assert shown["retcode"] == 1


def test_machines_that_wait_are_a_line_each(store):
    announce(store, *range(1, 31), serial="A1", server="node002")
    lines = runner.pending()
    assert len(lines) == 30
    assert lines[mac(1)].startswith("serial A1, seen by node002, since 20")
    assert runner.pending(full=True)[0]["serial"] == "A1"


def test_what_only_reads_does_not_talk_of_changes(store, monkeypatch):
    monkeypatch.setattr(runner, "_desk", lambda test, decides=True: desk(store, images={"x": 1}))
    with pytest.raises(CommandExecutionError) as err:
        runner.nodes(ask=False)
    assert "in the pillar:" in str(err.value) and "nothing was changed" not in str(err.value)
    with pytest.raises(CommandExecutionError, match="nothing was changed"):
        runner.accept(mac(1), "node009", test=True)


def test_of_several_names_with_a_wrong_one_none_is_forgotten(store):
    for number in (5, 6):
        accept(store, number, f"node00{number}", f"10.8.226.{number}")
    before = content(store)
    with pytest.raises(
        CommandExecutionError, match=r"'node07': found no such machine .*did you mean"
    ):
        runner.forget("node07,node[005-006]")
    with pytest.raises(CommandExecutionError, match="'nosuch': found no such machine"):
        runner.forget("node[005-006],nosuch")
    with pytest.raises(CommandExecutionError, match="node003: found a node that the pillar lists"):
        runner.forget("node[005-006],node003")
    assert content(store) == before


@pytest.mark.parametrize(("name", "parameters"), FUNCTIONS, ids=lambda one: str(one)[:30])
def test_salt_run_shows_no_traceback_of_an_error(store, name, parameters):
    """salt-run shows the text of a NotImplemented, and the traceback of any other exception."""
    if name == "react":
        return
    with pytest.raises(NotImplemented):
        getattr(runner, name)(*([object()] * 9))
