"""Restarts that are owed: a daemon that runs on with what it read before its configuration changed.

Whoever writes the configuration and is killed before the restart would leave it at that for good,
because the next run sees no change. So the debt is noted first: as the invocation of the service
(``INVOCATION_ID``, systemd.exec(5)) that has the old configuration. It is paid when another
invocation runs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping

from salt_diskless import tree
from salt_diskless.command import CommandFailed, run


def owed(service: str) -> bool:
    """Tell whether a service still runs that has not read its configuration of now."""
    noted = tree.read(_note(service))
    return bool(noted) and noted == _invocation(service)


@contextlib.contextmanager
def owing(service: str) -> Iterator[None]:
    """Note that the service owes a restart for what is written inside, unless writing it fails."""
    before = owed(service)
    os.makedirs(os.path.dirname(_note(service)), mode=0o755, exist_ok=True)
    with open(_note(service), "wb") as stream:
        stream.write(_invocation(service))
    try:
        yield
    except BaseException:
        if not before:
            os.unlink(_note(service))
        raise


def paid(service: str) -> None:
    """Note that a running service has what was written for it: it was told in another way."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_note(service))


def settle(
    files: Mapping[str, tree.Content],
    service: str,
    *,
    test: bool,
    foreign_ok: Iterable[str] = (),
) -> dict[str, object]:
    """Have a daemon's settings be what ``files`` says, and return the changes; not in test mode.

    service
        The service that reads them when it starts. It is among the changes, below ``outdated``,
        when it still runs with older ones.
    foreign_ok
        As for :func:`salt_diskless.tree.compare`.
    """
    change = tree.compare(files, foreign_ok=foreign_ok)
    changes: dict[str, object] = {
        what: {"files": list(paths)}
        for what in ("added", "changed")
        if (paths := getattr(change, what))
    }
    if owed(service):
        changes["outdated"] = service
    if change and not test:
        with owing(service):
            tree.apply(change, files)
    return changes


def _note(service: str) -> str:
    return f"{tree.RUNTIME}/restart/{service}"


def _invocation(service: str) -> bytes:
    """Return what names the running invocation of a service; nothing when it does not run, or when
    systemd does not run it."""
    try:
        said = run(["systemctl", "show", "-p", "InvocationID", "--value", "--", service]).stdout
    except CommandFailed:
        return b""
    return said.strip().encode()
