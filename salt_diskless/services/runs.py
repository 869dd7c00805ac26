"""Runs of ``state.apply`` at the same time: the one that began last decides.

A run goes by the pillar of its beginning. When another run began later, its pillar is the newer
one, so an older run must not write over what that one has written: then it fails, and says so.
Without that, both would end well with a mixture of two pillars.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import MutableMapping
from typing import Any

from salt_diskless import tree
from salt_diskless.cluster import DisklessError

#: Key of ``__context__``: when this run began.
_BEGAN = "diskless.run_began"
#: When the latest run or call began that has changed something; with the machine's uptime.
_PATH = f"{tree.RUNTIME}/latest-run"


def begin(context: MutableMapping[str, Any]) -> None:
    """Note that a run begins: its pillar has been compiled."""
    context[_BEGAN] = _now()


def is_overtaken(context: MutableMapping[str, Any]) -> bool:
    """Return True if a run that began later than this one has changed something.

    context
        The caller's ``__context__``. Without :func:`begin` (a function is called by itself) the run
        begins now.
    """
    return _latest() > context.get(_BEGAN, _now())


def take_turn(context: MutableMapping[str, Any], changes: object) -> None:
    """Note that this run changes something, before it does.

    context
        As for :func:`is_overtaken`.
    changes
        What it would change: with nothing there is nothing to note.

    Raises :class:`DisklessError` when a run that began later has changed something.
    """
    if changes and is_overtaken(context):
        raise DisklessError(
            "this boot server: found changes by a later run (of state.apply, diskless_node.add, "
            "diskless_image.publish, diskless.clean or the like), so this state changed nothing; "
            "run salt-call state.apply diskless again"
        )
    note(context, changes)


def note(context: MutableMapping[str, Any], changes: object) -> None:
    """Note that this run has changed something, when it has."""
    began = context.get(_BEGAN, _now())
    if changes and _latest() < began:
        _write(began)


def note_call() -> None:
    """Note that an admin's call changes what is served; who calls holds the lock of the writers."""
    _write(_now())


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _latest() -> int:
    with contextlib.suppress(ValueError):
        return int(tree.read(_PATH) or b"0")
    return 0


def _write(began: int) -> None:
    tree.replace(_PATH, str(began).encode())
