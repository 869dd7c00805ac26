"""The minion ids of masters, which no node may have: whoever has the key of such a minion is not a
node, and a node would be taken for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import salt.config
import salt.utils.files
from salt.exceptions import SaltException

from salt_diskless.cluster import Problem
from salt_diskless.registry.listed import Listed

#: What Salt puts at the end of a master's own id.
_SUFFIX = "_master"


def of_master(opts: Mapping[str, Any]) -> frozenset[str]:
    """Return the minion ids of a master's machine and of the syndics below it.

    opts
        The master's configuration.
    """
    return frozenset(name for name in _ids(opts) if isinstance(name, str) and name)


def _ids(opts: Mapping[str, Any]) -> Iterator[object]:
    yield opts["id"]
    yield opts["id"].removesuffix(_SUFFIX)
    # A master that has a master is its syndic, under the id of the minion on its machine.
    directory = os.path.dirname(str(opts.get("conf_file") or ""))
    minion = os.path.join(directory, "minion")
    # The master's user need not be able to read it.
    with contextlib.suppress(OSError, SaltException):
        if directory and os.path.isfile(minion) and os.access(minion, os.R_OK):
            default = salt.config.DEFAULT_MINION_OPTS["conf_file"]
            settings = salt.config.load_config(
                minion, "SALT_MINION_CONFIG", default, exit_on_config_errors=False
            )
            default = salt.config.DEFAULT_MINION_OPTS["default_include"]
            include = settings.get("default_include", default)
            settings |= salt.config.include_config(include, minion, verbose=False)
            yield settings.get("id")
    with contextlib.suppress(OSError), salt.utils.files.fopen(f"{directory}/minion_id") as stream:
        yield stream.read(300).strip()
    # Salt notes each syndic that returns something (salt.master, _syndic_return).
    with contextlib.suppress(OSError):
        yield from os.listdir(os.path.join(opts["cachedir"], "syndics"))


def problems(listed: Listed, opts: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with nodes of the pillar that have the minion id of a master."""
    ids = {name.lower(): name for name in of_master(opts)}
    return [
        Problem(
            f"diskless:nodes:{name}",
            f"a node with the minion id of the master or of a syndic ({ids[name]})",
            "give the node another name",
        )
        for name in sorted(listed.names.keys() & ids.keys())
    ]
