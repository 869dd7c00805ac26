"""The keys of minions on the master, as ``salt-key`` has them.

``opts`` is the master's configuration everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import salt.cache
import salt.key
import salt.utils.files

from salt_diskless.cluster import schema

#: What Salt calls the directories of the keys, by state; the first one that has a key counts.
_DIRECTORIES = {
    "accepted": "minions",
    "rejected": "minions_rejected",
    "denied": "minions_denied",
    "pending": "minions_pre",
}
#: Salt 3008: the driver that keeps keys in these directories.
_FILES = "localfs_key"


def accepted(opts: Mapping[str, Any]) -> list[str]:
    """Return the names of the minions whose keys are accepted."""
    with salt.key.get_key(opts) as keys:
        return sorted(keys.list_keys()["minions"])


def state(opts: Mapping[str, Any], name: str) -> str | None:
    """Return what there is of a minion's key: ``accepted``, ``pending``, ``rejected``, ``denied``,
    or None. It is one look, however many keys there are. One that is pending beside another that
    was denied is ``denied``."""
    driver = opts.get("keys.cache_driver")
    if driver not in (None, _FILES):
        cache = salt.cache.Cache(opts, driver=driver)
        what = (cache.fetch("keys", name) or {}).get("state")
        is_denied = what in (None, "pending") and cache.fetch("denied_keys", name)
        return "denied" if is_denied else what
    # Salt's own driver for files has pending before accepted where there are both.
    pki = opts["cluster_pki_dir"] if opts.get("cluster_id") else opts["pki_dir"]
    for what, directory in _DIRECTORIES.items():
        if os.path.lexists(os.path.join(pki, directory, name)):
            return what
    return None


def let_in(opts: Mapping[str, Any], offered: Mapping[str, str]) -> dict[str, list[str]]:
    """Accept public keys, by the name of their nodes. Return the names of those that are
    ``accepted`` now, and of those that were ``rejected`` by somebody; the others were accepted
    before, and whatever key they had then stays."""
    states = {name: state(opts, name) for name in offered if schema.is_host_name(name)}
    new = [name for name, what in states.items() if what in (None, "pending")]
    _accept(opts, {name: offered[name] for name in new})
    rejected = [name for name, what in states.items() if what in ("rejected", "denied")]
    return {"accepted": new, "rejected": rejected}


def _accept(opts: Mapping[str, Any], public: Mapping[str, str]) -> None:
    """Make public keys accepted ones, in the place of pending ones."""
    driver = opts.get("keys.cache_driver")
    if driver is not None:
        cache = salt.cache.Cache(opts, driver=driver)
        for name, key in public.items():
            cache.store("keys", name, {"pub": key, "state": "accepted"})
        return
    # Salt 3006 has a directory for each state, and a function that moves between them, but none
    # that takes a new key.
    pending = os.path.join(opts["pki_dir"], "minions_pre")
    os.makedirs(pending, exist_ok=True)
    for name, key in public.items():
        with salt.utils.files.fopen(os.path.join(pending, name), "w") as stream:
            stream.write(key)
    if public:
        with salt.key.get_key(opts) as keys:
            keys.accept(match_dict={"minions_pre": list(public)})
