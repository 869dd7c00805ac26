"""Pending restarts: a service that runs with an older configuration than the one on the disk.

The note of a pending restart is written before the configuration, so that a run that is killed
between the two leaves it to the next run. The note names the invocation of the service
(``INVOCATION_ID``, systemd.exec(5)) that has the old configuration: a service that was started
after the write needs no restart, whoever started it.

Writers and restarts hold the same lock (``services.nodes.alone``). So a service that was restarted
here runs what is on the disk, whatever other runs do at the same time.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from salt_diskless import tree
from salt_diskless.cluster import DisklessError
from salt_diskless.command import CommandFailed, run
from salt_diskless.services import units
from salt_diskless.state import originals

#: In a note: the write is not finished, so any invocation may have the old configuration.
_ANY = "*"

#: Seconds that a service has to open its port.
_PATIENCE = 10
_NOT_RUNNING = frozenset({"inactive", "failed", "activating", "deactivating"})

#: A DHCP host by the name of its node: MAC and address.
Hosts = Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Pending:
    """A pending restart.

    hosts
        What the running dhcpd can be told instead, without a restart; None: it needs the restart.
    """

    invocation: str
    hosts: Hosts | None


def is_pending(service: str) -> bool:
    """Return True if the service must be restarted to load its current configuration."""
    return _pending(service) is not None


def pending_hosts(service: str) -> Hosts:
    """Return the DHCP hosts that the running service can be told of instead of a restart; none
    where nothing is pending, or only a restart helps."""
    found = _pending(service)
    return {} if found is None or found.hosts is None else found.hosts


@contextlib.contextmanager
def changing(service: str, hosts: Hosts | None = None) -> Iterator[Pending]:
    """Note that the service needs a restart for what the block writes, unless the block fails. The
    block is given what was pending before: no hosts when that was nothing.

    hosts
        The DHCP hosts that the block writes, when dhcpd will be told of them: :func:`clear` is
        called when that is done.
    """
    before = _pending(service)
    if before is not None:
        hosts = None if hosts is None or before.hosts is None else {**before.hosts, **hosts}
    _write(service, Pending(_ANY, hosts))
    try:
        yield before or Pending("", {})
    except BaseException:
        if before is None:
            clear(service)
        else:
            _write(service, before)
        raise
    # Any later invocation reads what was written.
    _write(service, Pending(_invocation(service), hosts))


def mark(service: str) -> None:
    """Note that the running service needs a restart, which nothing can replace."""
    _write(service, Pending(_invocation(service), None))


def clear(service: str) -> None:
    """Forget that the service needs a restart: it has its current configuration."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_path(service))


def drop_stale(service: str) -> None:
    """Forget a note of an invocation that does not run any more."""
    if os.path.lexists(_path(service)) and not is_pending(service):
        clear(service)


def restart(service: str, port: int | None = None) -> None:
    """Restart a service and forget that it needs it; the caller holds the lock of the writers.

    port
        The UDP port that it opens when it has read its configuration: to systemd a service of the
        type ``simple`` is active at once, whatever becomes of it.

    Raises :class:`DisklessError` when it does not run after that.
    """
    try:
        run(["systemctl", "restart", "--", service])
        invocation = _invocation(service)
        end = time.monotonic() + _PATIENCE
        while True:
            has_port = port is None or _is_open(port)
            run(["systemctl", "is-active", "--quiet", "--", service])
            if _invocation(service) != invocation:
                raise CommandFailed("it ended and was started again")
            if has_port or time.monotonic() > end:
                break
            time.sleep(0.05)
    except CommandFailed as err:
        raise DisklessError(
            f"{service}: does not run after its restart; see journalctl -u {service}: {err}"
        ) from err
    clear(service)


def require_running(service: str) -> None:
    """Raise :class:`DisklessError` when systemd does not have the service running, also after a
    while where it is about to start it."""
    end = time.monotonic() + _PATIENCE
    while (state := _property(service, "ActiveState")) in _NOT_RUNNING:
        if state != "activating" or time.monotonic() > end:
            raise DisklessError(
                f"{service}: does not run ({state}); see journalctl -u {service}, correct what "
                "keeps it from starting, and apply again"
            )
        time.sleep(0.05)


def _is_open(port: int) -> bool:
    """Return True if a program of this machine has a UDP port open."""
    for path in ("/proc/net/udp", "/proc/net/udp6"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as stream:
            if any(line.split()[1].endswith(f":{port:04X}") for line in stream):
                return True
    return False


def settle(
    files: Mapping[str, tree.Content],
    service: str,
    *,
    test: bool,
    foreign_ok: Iterable[str] = (),
    take_turn: Callable[[object], None] = lambda change: None,
) -> dict[str, object]:
    """Make a service's settings what ``files`` says, and return the changes; not in test mode.

    service
        The service that reads them when it starts. It is among the changes, below ``outdated``,
        when it still runs with older ones.
    foreign_ok
        As for :func:`salt_diskless.tree.compare`.
    take_turn
        Called with what changes, before it is written; raises to refuse that.
    """
    change = tree.compare(files, foreign_ok=foreign_ok)
    changes: dict[str, object] = {
        what: {"files": list(paths)}
        for what in ("added", "changed")
        if (paths := getattr(change, what))
    }
    if lost := originals.replaced(files, change.changed):
        changes["replaced"] = lost
    if is_pending(service):
        changes["outdated"] = service
    if change and not test:
        take_turn(change)
        originals.keep_files(files)
        with changing(service):
            tree.apply(change, files)
            units.reload((*change.added, *change.changed))
    elif not test:
        drop_stale(service)
    return changes


def _pending(service: str) -> Pending | None:
    """Return the note of a service that needs a restart, or None."""
    data = tree.read(_path(service))
    if data is None:
        return None
    invocation = _invocation(service)
    try:
        note = json.loads(data)
        hosts = note["hosts"]
        if hosts is not None:
            hosts = {name: (mac, ip) for name, (mac, ip) in hosts.items()}
        found = Pending(note["invocation"], hosts)
    except (ValueError, TypeError, KeyError, AttributeError):
        # Of another version of this software, before an upgrade: an invocation and nothing else.
        found = Pending(data.decode(errors="replace") or _ANY, None)
    return found if invocation and found.invocation in (_ANY, invocation) else None


def _write(service: str, note: Pending) -> None:
    """Write a note in one rename: a crash leaves the old note or the new one."""
    if not note.invocation:
        # It does not run, or systemd does not run it: its next start reads what is there.
        clear(service)
        return
    text = json.dumps({"invocation": note.invocation, "hosts": note.hosts})
    tree.replace(_path(service), text.encode())


def _path(service: str) -> str:
    return f"{tree.RUNTIME}/restart/{service}"


def _invocation(service: str) -> str:
    """Return what names the running invocation of a service; nothing when it does not run, or when
    systemd does not run it."""
    return _property(service, "InvocationID")


def _property(service: str, name: str) -> str:
    """Return a property of a unit (systemctl(1), show); nothing where systemd does not run."""
    try:
        return run(["systemctl", "show", "-p", name, "--value", "--", service]).stdout.strip()
    except CommandFailed:
        return ""
