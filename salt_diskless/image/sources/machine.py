"""A running golden machine."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator

from salt_diskless.cluster import DisklessError, Image, Source
from salt_diskless.image import keys
from salt_diskless.image.sources.base import RsyncSource


class Machine:
    """A machine over ssh: no prompt, no weaker host key check than ssh's own.

    Raises :class:`DisklessError` when there is no key or pinned host key yet.
    """

    mark = ""

    def __init__(self, image: Image, source: Source):
        identity = source.identity or keys.IDENTITY
        known_hosts = source.known_hosts or keys.KNOWN_HOSTS
        ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-p", str(source.port)]
        ssh += ["-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known_hosts}"]
        ssh += ["-o", "IdentitiesOnly=yes", "-i", identity]
        # A machine that was switched off half-way is given up after half a minute.
        ssh += ["-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"]
        if source.known_hosts is None:
            ssh += ["-o", f"HostKeyAlias={source.minion}"]
        for key, path in (("identity", identity), ("known_hosts", known_hosts)):
            if not os.path.exists(path):
                raise DisklessError(
                    f"diskless:images:{image.name}:source:{key}: found no {path}; name your own, "
                    "or have the project make it (on the master: salt-run state.orchestrate "
                    "diskless.orch.golden)"
                )
        self._ssh = shlex.join(ssh)
        self.shown = f"{source.user}@{source.host}:/"

    @contextlib.contextmanager
    def opened(self) -> Iterator[RsyncSource]:
        """Have rsync log in to it."""
        yield RsyncSource(self.shown, self.shown, ("-e", self._ssh))
