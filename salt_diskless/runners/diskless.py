"""
What the master does between boot servers and golden machines.

``diskless.orch.golden`` calls it; it is of use alone where keys have changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import salt.client
from salt.exceptions import CommandExecutionError

if TYPE_CHECKING:
    __opts__: dict[str, Any]

__virtualname__ = "diskless"

#: How long a minion may take to make a key or write a file, in seconds.
_TIMEOUT = 60


def introduce(minion: str, servers: list[str], user: str = "root") -> dict[str, Any]:
    """
    Make a golden machine and its boot servers known to each other: each server's public key is let
    in there, to read by rsync only, and its host keys are pinned on each server. Nothing is taken
    on trust: what Salt carries, it carries between minions that the master has accepted.

    minion
        The golden machine's minion id.
    servers
        Minion ids of the boot servers.
    user
        Whom they log in as.

    Returns ``{minion: whether it changed, server: whether it changed}``.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.introduce node004 '["node002"]'
    """
    keys = _ask(servers, "diskless_image.key")
    host_keys = _ask([minion], "diskless_golden.host_keys")[minion]
    let_in = _ask([minion], "diskless_golden.authorize", user, keys)
    return {**let_in, **_ask(servers, "diskless_image.pin", minion, host_keys)}


def _ask(minions: list[str], function: str, *arguments: object) -> dict[str, Any]:
    """Have minions call a function, and return what each of them said.

    Raises :class:`CommandExecutionError` with the words of those that could not.
    """
    with salt.client.get_local_client(mopts=__opts__) as client:
        said = client.cmd(
            minions, function, arguments, timeout=_TIMEOUT, tgt_type="list", full_return=True
        )
    problems = []
    for name in minions:
        answer = said.get(name) or {}
        if "ret" not in answer:
            problems.append(f"{name}: no answer to {function}; is its minion up and accepted?")
        elif answer.get("retcode"):
            problems.append(f"{name}: {answer['ret']}")
    if problems:
        raise CommandExecutionError("\n".join(problems))
    return {name: said[name]["ret"] for name in minions}
