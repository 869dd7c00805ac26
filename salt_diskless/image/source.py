"""Where an image comes from: each source says what rsync reads and how it gets there."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass

from salt_diskless.cluster import DisklessError, Image, Source


@dataclass(frozen=True, slots=True)
class RsyncSource:
    """What rsync is given.

    location
        Its source argument, with the slash at the end.
    options
        Options that belong to the way there.
    shown
        The source for people.
    """

    location: str
    options: tuple[str, ...]
    shown: str


def source_of(image: Image) -> RsyncSource:
    """Return where ``image`` is taken from.

    Raises :class:`DisklessError` when the pillar does not say, or the directory is not there.
    """
    source = image.source
    if source is None:
        raise DisklessError(
            f"diskless:images:{image.name}:source: found nothing; name a directory or a minion"
        )
    if source.directory is not None:
        return _directory(image, source.directory)
    return _machine(source)


def _directory(image: Image, directory: str) -> RsyncSource:
    path = f"diskless:images:{image.name}:source:directory"
    if not os.path.isdir(directory):
        raise DisklessError(f"{path}: found no directory {directory}; give the golden root's")
    inside = f"{image.location}/"
    if f"{directory}/".startswith(inside) or inside.startswith(f"{directory}/"):
        raise DisklessError(
            f"{path}: found {directory}; give one that is apart from the image's {image.location}"
        )
    return RsyncSource(f"{directory}/", (), directory)


def _machine(source: Source) -> RsyncSource:
    """A running golden machine, over ssh: no prompt, no weaker host key check than ssh's own."""
    ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-p", str(source.port)]
    ssh += ["-o", "StrictHostKeyChecking=yes"]
    if source.identity is not None:
        ssh += ["-o", "IdentitiesOnly=yes", "-i", source.identity]
    if source.known_hosts is not None:
        ssh += ["-o", f"UserKnownHostsFile={source.known_hosts}"]
    location = f"{source.user}@{source.host}:/"
    return RsyncSource(location, ("-e", shlex.join(ssh)), location)
