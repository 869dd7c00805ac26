"""A directory on the boot server."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.image.sources.base import OF_A_ROOT, RsyncSource


class Directory:
    """A golden root on this machine.

    Raises :class:`DisklessError` when it is not there, or not apart from the image.
    """

    mark = ""

    def __init__(self, image: Image, directory: str):
        path = f"diskless:images:{image.name}:source:directory"
        if not os.path.isdir(directory):
            raise DisklessError(f"{path}: found no directory {directory}; give the golden root's")
        lacking = [name for name in OF_A_ROOT if not os.path.lexists(f"{directory}/{name}")]
        if lacking:
            raise DisklessError(
                f"{path}: found {directory} without {', '.join(lacking)}; give the root of a "
                "system, in which these are, like /srv/golden"
            )
        inside = f"{image.location}/"
        if f"{directory}/".startswith(inside) or inside.startswith(f"{directory}/"):
            raise DisklessError(
                f"{path}: found {directory}; give one that is apart from the image's "
                f"{image.location}"
            )
        self.shown = directory

    @contextlib.contextmanager
    def opened(self) -> Iterator[RsyncSource]:
        """Give rsync the directory itself."""
        yield RsyncSource(f"{self.shown}/", self.shown)
