"""Words as somebody types them: Salt's own reading of the command line makes numbers, dates, lists
and None of them, and each public function takes that or says what is right."""

from __future__ import annotations

import re

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from salt.utils.args import yamlify_arg

from salt_diskless import modules, states
from tests.functional.test_arguments import _HARMLESS_ONLY, calls, public

WORDS = [
    *("2020", "1e3", "007", "0x10", "0o17", "yes", "no", "on", "off", "null", "~", "None", "true"),
    *("[a,b]", "[1,2]", "[]", "{a: b}", "{}", "2020-01-01", "1:30", "5254.00", "525400110002"),
    *("52:54:00:11:00:02", "20261128T101500", "1_000", ".inf", "nan", "-1", "=", "- a", "a: b"),
    *("!!python/name:os.system", "&a", "*a", "@x", "''", '""', " ", "#", "[", "{", "1.2.3.4"),
    "1e999",
]
#: Where, found what; what is right.
PARTS = re.compile(r"^.+: found .+; .+", re.DOTALL)


def in_three_parts(err: Exception) -> bool:
    """Return whether a text says where, what was found, and what is right."""
    return PARTS.match(str(err)) is not None


@pytest.fixture
def call(salt_call, pillar):
    return salt_call(pillar)


@pytest.mark.parametrize(("name", "parameters"), public(modules), ids=lambda one: str(one)[:40])
def test_a_typed_word_is_taken_or_refused_in_three_parts(call, name, parameters):
    wrong = []
    for parameter, value, given in calls(parameters, [yamlify_arg(word) for word in WORDS]):
        try:
            call.modules[name](**given)
        except (CommandExecutionError, SaltInvocationError) as err:
            if not in_three_parts(err):
                wrong.append((parameter, value, str(err)[:200]))
    assert not wrong, wrong


@pytest.mark.parametrize(("name", "parameters"), public(states), ids=lambda one: str(one)[:40])
def test_a_state_takes_or_refuses_a_typed_word(salt_call, pillar, name, parameters):
    call = salt_call(pillar, test=True)
    for parameter in parameters:
        if parameter.name == "name" and not name.endswith("published"):
            continue
        for word in WORDS:
            value = yamlify_arg(word)
            if parameter.name in _HARMLESS_ONLY and isinstance(value, bool):
                continue
            try:
                result = call.states[name](**{"name": "tiny", parameter.name: value})
            except (CommandExecutionError, SaltInvocationError) as err:
                assert in_three_parts(err)
            else:
                assert result["result"] in (True, False, None) and result["comment"]
