"""What only reads answers whatever state the boot server is in, does not talk of changes, and has
no headings with nothing below."""

from __future__ import annotations

import copy
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from salt_diskless import modules
from tests.functional.test_node import apply, served

__all__ = ["served"]

#: It makes a key; and the words with which a state fails before it changes anything.
_OTHERS = {"diskless_image.key", "diskless.problem"}
_ARGUMENTS = {
    "diskless_image.show": ["tiny"],
    "diskless_image.diff": ["tiny"],
    "diskless_image.kernels": ["tiny"],
    "diskless_node.show": ["node001"],
    "diskless_node.progress": ["node001"],
}


def reading() -> Iterator[str]:
    """Yield the functions that only read, as their first sentence says."""
    for info in pkgutil.iter_modules(modules.__path__):
        module = importlib.import_module(f"{modules.__name__}.{info.name}")
        aliases = getattr(module, "__func_alias__", {})
        for name, function in inspect.getmembers(module, inspect.isfunction):
            full = f"{info.name}.{aliases.get(name, name)}"
            words = (function.__doc__ or "").split()[:1]
            own = function.__module__ == module.__name__ and not name.startswith("_")
            if own and words in (["Return"], ["Check"]) and full not in _OTHERS:
                yield full


READING = sorted(reading())


#: Records whose fields are always the same, for SLS and other programs.
_RECORDS = {
    *("diskless.site", "diskless.platform", "diskless_golden.plan", "diskless_image.show"),
    *("diskless_image.diff", "diskless_image.kernels", "diskless_node.progress"),
}


def headings(value: Any, path: str = "") -> Iterator[str]:
    """Yield where an answer has something that Salt shows as a heading with nothing below."""
    if isinstance(value, dict):
        for key, item in value.items():
            if item in ({}, [], ""):
                yield f"{path}:{key}"
            yield from headings(item, f"{path}:{key}")
    elif isinstance(value, list):
        for item in value:
            yield from headings(item, path)


def test_the_functions_that_only_read_are_many():
    assert len(READING) > 25, READING


@pytest.mark.parametrize("name", READING)
def test_an_answer_has_no_empty_headings(salt_call, served, name):
    arguments = list(_ARGUMENTS.get(name, ()))
    call = salt_call(served)
    if name == "diskless_image.diff":
        arguments.append(call.modules["diskless_image.list"]()["tiny"]["versions"][0])
    try:
        answer = call.modules[name](*arguments)
    except CommandExecutionError as err:
        assert "nothing was changed" not in str(err)
    else:
        assert name in _RECORDS or list(headings(answer)) == []


PILLARS = {
    "none": {},
    "wrong": {"servers": {"bootserver": 1}, "nodes": {"a_b": {}, "c": None}},
    "of another": {"servers": {"other": {"address": "10.1.0.1", "interface": "eth0"}}},
    "a list": ["a"],
}


@pytest.mark.parametrize("pillar_name", PILLARS)
@pytest.mark.parametrize("name", READING)
def test_it_answers_without_a_right_pillar(salt_call, name, pillar_name):
    call = salt_call(copy.deepcopy(PILLARS[pillar_name]))
    arguments = [*_ARGUMENTS.get(name, ()), *(["x"] if name == "diskless_image.diff" else [])]
    try:
        answer = call.modules[name](*arguments)
    except (CommandExecutionError, SaltInvocationError) as err:
        assert str(err) and "nothing was changed" not in str(err)
    else:
        assert "nothing was changed" not in str(answer)
        assert name == "diskless.problem" or list(headings(answer)) == []


def check_answer(call, name):
    """Check that a function answers without empty headings, or refuses with no word of changes."""
    arguments = [*_ARGUMENTS.get(name, ()), *(["x"] if name == "diskless_image.diff" else [])]
    try:
        answer = call.modules[name](*arguments)
    except CommandExecutionError as err:
        assert str(err) and "nothing was changed" not in str(err)
    else:
        assert name in _RECORDS or list(headings(answer)) == []


@pytest.mark.parametrize("name", READING)
def test_it_answers_before_the_first_run(salt_call, pillar, name):
    check_answer(salt_call(pillar), name)


@pytest.mark.parametrize("name", READING)
def test_it_answers_without_nodes(salt_call, served, name):
    check_answer(salt_call({**served, "nodes": {}}), name)


def test_status_answers_when_no_service_runs(salt_call, served):
    status = salt_call(served).modules["diskless.status"]()
    assert set(status["services"].values()) <= {True, False}
    assert status["nodes"] == [{"nodes": "node[001-003]", "stage": "unseen"}]
    apply(salt_call, served)
