"""A running golden machine."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator

from salt_diskless.cluster import Source
from salt_diskless.image.sources.base import RsyncSource


class Machine:
    """A machine over ssh: no prompt, no weaker host key check than ssh's own."""

    mark = ""

    def __init__(self, source: Source):
        ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-p", str(source.port)]
        ssh += ["-o", "StrictHostKeyChecking=yes"]
        # A machine that was switched off half-way is given up after half a minute.
        ssh += ["-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"]
        if source.identity is not None:
            ssh += ["-o", "IdentitiesOnly=yes", "-i", source.identity]
        if source.known_hosts is not None:
            ssh += ["-o", f"UserKnownHostsFile={source.known_hosts}"]
        self._ssh = shlex.join(ssh)
        self.shown = f"{source.user}@{source.host}:/"

    @contextlib.contextmanager
    def opened(self) -> Iterator[RsyncSource]:
        """Have rsync log in to it."""
        yield RsyncSource(self.shown, self.shown, ("-e", self._ssh))
