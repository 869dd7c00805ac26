"""systemd drop-ins of the project: a daemon that finds no address at boot is started again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from salt_diskless.command import CommandFailed, run
from salt_diskless.tree import header

#: network-online.target is reached when the network service says so, which may be before the
#: address of the nodes' interface is there: so the start is retried. A unit that systemd made of an
#: init script remains active when its daemon has ended (RemainAfterExit=yes): nothing restarts it.
_RESTART = """[Unit]
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
RemainAfterExit=no
Restart=always
RestartSec=5
"""


def reload(written: Iterable[str]) -> None:
    """Have systemd read its units again where a drop-in is among the files that were written: it
    does not look for new ones when a service starts."""
    if any(os.path.dirname(path).endswith((".service.d", ".socket.d")) for path in written):
        with contextlib.suppress(CommandFailed):  # systemd does not run here.
            run(["systemctl", "daemon-reload"])


def restart_policy(daemon: str) -> bytes:
    """Return a drop-in (systemd.unit(5)) that has systemd start a daemon until it runs."""
    return (header(f"{daemon} starts when its address is there") + _RESTART).encode()


def enable(service: str) -> None:
    """Have systemd start a service at boot where it is disabled. Salt's ``service.enable`` calls
    ``update-rc.d NAME defaults`` for an init script, which leaves a disabled one disabled."""
    with contextlib.suppress(CommandFailed):  # systemd does not run here.
        shown = run(["systemctl", "is-enabled", "--", service], ok=range(256)).stdout.split()
        if shown[-1:] == ["disabled"]:
            run(["systemctl", "enable", "--", service])
