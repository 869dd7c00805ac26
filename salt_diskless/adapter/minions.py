"""What the master asks of its minions, by Salt's own client.

``opts`` is the master's configuration everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import salt.client
from salt.exceptions import SaltException

from salt_diskless.cluster import DisklessError
from salt_diskless.registry.answers import words
from salt_diskless.registry.deliver import Unreachable

#: How long a minion may take to make a key or write a file, in seconds.
_WORK = 60
#: How long it may take to say that it is at it, in seconds.
ANSWER = 10


def work(
    opts: Mapping[str, Any], minions: Sequence[str], function: str, *arguments: object
) -> dict[str, Any]:
    """Have all of these minions call a function, and return what each of them said.

    Raises :class:`DisklessError` with the words of those that could not.
    """
    said, problems = each(opts, minions, function, *arguments)
    if problems:
        raise DisklessError("\n".join(problems.values()))
    return said


def each(
    opts: Mapping[str, Any],
    minions: Sequence[str],
    function: str,
    *arguments: object,
    named: Mapping[str, Any] | None = None,
    timeout: int = _WORK,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Have these minions call a function, and return what each of them said that could, and the
    words of those that could not."""
    answers = _answers(opts, minions, function, arguments, named or {}, timeout, full_return=True)
    said: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name in minions:
        answer = answers.get(name)
        if not isinstance(answer, dict) or "ret" not in answer:
            problems[name] = f"{name}: no answer to {function}; is its minion up and accepted?"
        elif answer.get("retcode"):
            problems[name] = f"{name}: {words(answer['ret'])}"
        else:
            said[name] = answer["ret"]
    return said, problems


def call(
    opts: Mapping[str, Any],
    minion: str,
    function: str,
    arguments: Sequence[object],
    named: Mapping[str, Any],
) -> Any:
    """Have a minion call a function, and return its answer.

    Raises :class:`Unreachable` when there is none, another :class:`DisklessError` when it is an
    error.
    """
    try:
        said = _answers(opts, [minion], function, arguments, named, ANSWER, full_return=True)
    except SaltException as err:
        # The master itself is down, or was killed just now.
        raise Unreachable(f"{minion}: {err}") from err
    answer = said.get(minion) if isinstance(said, dict) else None
    if not isinstance(answer, dict) or "ret" not in answer:
        raise Unreachable(f"{minion}: no answer to {function}")
    if answer.get("retcode"):
        raise DisklessError(f"{minion}: {words(answer['ret'])}")
    return answer["ret"]


def answers(
    opts: Mapping[str, Any], minions: Sequence[str], function: str, named: Mapping[str, Any]
) -> dict[str, Any]:
    """Have these minions call a function, and return what those said that answered."""
    return _answers(opts, minions, function, (), named, ANSWER)


def refreshed(opts: Mapping[str, Any], minions: Sequence[str]) -> list[str]:
    """Return the minions that have read their pillar again: functions go by the one that a minion
    has in memory, which lacks who is new."""
    fresh = answers(opts, minions, "saltutil.refresh_pillar", {"wait": True})
    return [minion for minion in minions if minion in fresh]


def _answers(
    opts: Mapping[str, Any],
    minions: Sequence[str],
    function: str,
    arguments: Sequence[object],
    named: Mapping[str, Any],
    timeout: int,
    full_return: bool = False,
) -> dict[str, Any]:
    with salt.client.get_local_client(mopts=opts) as client:
        said: dict[str, Any] = client.cmd(
            list(minions),
            function,
            arguments,
            timeout=timeout,
            tgt_type="list",
            full_return=full_return,
            kwarg=dict(named) or None,
        )
    return said
