"""
What the master does between boot servers, golden machines and nodes.

``diskless.orch.golden`` and ``diskless.orch.keys`` call it; it is of use alone where keys have
changed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import salt.cache
import salt.client
import salt.key
import salt.utils.files
from salt.exceptions import CommandExecutionError

from salt_diskless.cluster import schema
from salt_diskless.cluster.ranges import fold

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


def accept_keys(servers: list[str]) -> dict[str, str]:
    """
    Have boot servers make the keys of their nodes' minions, and accept the public ones: a node's
    minion is let in when it starts for the first time. The private ones never leave the boot
    server. A node whose key is accepted already is left alone; one whose key was rejected is, too.

    servers
        Minion ids of the boot servers.

    Returns the nodes, folded: ``accepted`` now, and ``rejected`` by somebody.

    CLI Example:

    .. code-block:: bash

        salt-run diskless.accept_keys '["node002"]'
    """
    with salt.key.get_key(__opts__) as keys:
        there = keys.list_keys()
    known, refused = {*there["minions"]}, {*there["minions_rejected"], *there["minions_denied"]}
    offered = _ask(servers, "diskless_snapshot.minion_keys", sorted(known))
    new = {
        name: key for found in offered.values() for name, key in found.items() if name not in known
    }
    rejected = [name for name in new if name in refused]
    accepted = [name for name in new if name not in refused and schema.is_host_name(name)]
    for name in accepted:
        _accept(name, new[name])
    said = {"accepted": accepted, "rejected": rejected}
    return {what: fold(names) for what, names in said.items() if names}


def _accept(name: str, public: str) -> None:
    """Make a public key an accepted one, as ``salt-key`` has it, in the place of a pending one."""
    driver = __opts__.get("keys.cache_driver")
    if driver is not None:
        cache = salt.cache.Cache(__opts__, driver=driver)
        cache.store("keys", name, {"pub": public, "state": "accepted"})
        return
    # Salt 3006 has a directory for each state, and a function that moves between them, but none
    # that takes a new key.
    pending = os.path.join(__opts__["pki_dir"], "minions_pre", name)
    os.makedirs(os.path.dirname(pending), exist_ok=True)
    with salt.utils.files.fopen(pending, "w") as stream:
        stream.write(public)
    with salt.key.get_key(__opts__) as keys:
        keys.accept(name)


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
