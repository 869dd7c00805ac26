"""Salt's command line makes numbers, booleans and None of what somebody typed: each public function
takes that, or says in a sentence what is right."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from salt_diskless import modules, states
from salt_diskless.adapter import arguments

WRONG = [
    *(0, 7, -1, 20261128, 10**30, 1.5, 1e5, float("nan"), True, False, None, [], ["nosuch", 3]),
    *(
        [None],
        [[]],
        {},
        {"a": 1},
        {3: None},
        {"a": {"b": [1]}},
        "",
        "nosuch",
        "x" * 10_000,
        "x" * 70_000,
    ),
    *(
        "a\0b",
        "a\nb",
        "\x1b[31m",
        "\ud800",
        "../../etc",
        "node[1-",
        "é",
        b"bytes",
        ("a",),
        object(),
    ),
]
#: Booleans that would change this machine, and what is no argument of a person's.
_HARMLESS_ONLY = {"publish", "live", "again", "check", "keys"}


def public(package) -> list[tuple[str, list[inspect.Parameter]]]:
    """Return every public function of a package of Salt modules that takes arguments."""
    found = []
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        names = {value: key for key, value in getattr(module, "__func_alias__", {}).items()}
        aliases = {key: value for value, key in names.items()}
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("_") or function.__module__ != module.__name__:
                continue
            parameters = [*inspect.signature(function).parameters.values()]
            if parameters:
                found.append((f"{info.name}.{aliases.get(name, name)}", parameters))
    return found


def calls(parameters, values):
    """Yield the arguments of calls that change nothing, in each of which one parameter has one of
    the values: the parameter's name, the value, and all arguments."""
    required = {p.name: "tiny" for p in parameters if p.default is p.empty}
    if "test" in {p.name for p in parameters}:
        required.setdefault("test", True)
    for parameter in parameters:
        for value in values:
            if parameter.name in _HARMLESS_ONLY and isinstance(value, bool):
                continue
            if parameter.name == "test" and value is False:
                continue
            yield parameter.name, value, {**required, parameter.name: value}


@pytest.fixture
def call(salt_call, pillar):
    return salt_call(pillar)


@pytest.mark.parametrize(("name", "parameters"), public(modules), ids=lambda one: str(one)[:40])
def test_any_argument_is_taken_or_refused_in_words(call, name, parameters):
    for _, _, given in calls(parameters, WRONG):
        try:
            call.modules[name](**given)
        except (CommandExecutionError, SaltInvocationError) as err:
            assert str(err) and len(str(err)) < 3000 and "Traceback" not in str(err)


@pytest.mark.parametrize(("name", "parameters"), public(states), ids=lambda one: str(one)[:40])
def test_a_state_with_any_argument_ends_with_a_result(salt_call, pillar, name, parameters):
    call = salt_call(pillar, test=True)
    for parameter in parameters:
        for value in WRONG if parameter.name != "name" or name.endswith("published") else ["x"]:
            if parameter.name in _HARMLESS_ONLY and isinstance(value, bool):
                continue
            try:
                said = call.states[name](**{"name": "tiny", parameter.name: value})
                assert said["result"] in (True, False, None) and isinstance(said["comment"], str)
            except (CommandExecutionError, SaltInvocationError) as err:
                assert str(err)


@pytest.mark.parametrize(
    ("function", "args", "words"),
    [
        ("diskless_image.publish", ["tiny", 2020], "version: found 2020, a number that"),
        ("diskless_image.publish", ["tiny", 2020], "shell leaves: version='\"2020\"'"),
        ("diskless_image.publish", [True], "name: found true, a boolean that YAML"),
        ("diskless_image.prune", ["tiny", "two"], "keep: found 'two'; give a whole number"),
        ("diskless_image.prune", ["tiny", True], "keep: found true"),
        ("diskless_image.sync", ["tiny", "yes"], "publish: found 'yes'; give True or False"),
        ("diskless_snapshot.usage", [3], "nodes: found 3, a number that YAML made"),
        ("diskless_node.show", [1e5], "name: found 100000.0"),
        ("diskless_node.remove", [[None]], "names: found null"),
        ("diskless_node.reject", [3276900001], "macs: found 3276900001"),
        ("diskless_golden.authorize", ["root", ["x"]], "keys: found ['x']; give a mapping"),
    ],
)  # fmt: skip
def test_a_wrong_type_says_how_to_quote_it(call, function, args, words):
    with pytest.raises(CommandExecutionError) as err:
        call.modules[function](*args)
    assert words in str(err.value)


def test_every_public_function_is_checked():
    for name, parameters in public(modules):
        module, _, function = name.rpartition(".")
        there = importlib.import_module(f"salt_diskless.modules.{module}")
        one = getattr(there, function, None) or getattr(there, f"{function}_")
        assert hasattr(one, "__wrapped__") or name == "diskless.problem", (name, parameters)
    assert arguments.check("x", "y", str) is None
