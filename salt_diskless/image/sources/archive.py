"""An archive of tar(1), compressed or not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.command import CommandFailed, run
from salt_diskless.image.sources.base import RsyncSource, digest
from salt_diskless.image.sources.unpacked import unpacked

#: Everything that tar keeps of a file; and no name leads out of the directory (GNU tar's default).
_TAR = (
    *("tar", "--extract", "--numeric-owner", "--same-owner", "--preserve-permissions"),
    *("--acls", "--xattrs", "--xattrs-include=*", "--sparse", "--delay-directory-restore"),
)


class Archive:
    """An archive of a golden root, such as ``tar -C /srv/golden --xattrs --acls -cf`` makes it.

    Raises :class:`DisklessError` when it is not there.
    """

    def __init__(self, image: Image, path: str):
        self._where = f"diskless:images:{image.name}:source:archive"
        try:
            status = os.stat(path)
        except OSError as err:
            raise DisklessError(
                f"{self._where}: found {path}, which cannot be read ({err.strerror}); give an "
                "archive of tar on this server"
            ) from err
        self._image, self.shown = image, path
        # What is left out makes a version as much as what is in the archive.
        looks = (status.st_size, status.st_mtime_ns)
        self.mark = digest(path, looks, image.exclude, image.scrub)

    @contextlib.contextmanager
    def opened(self) -> Iterator[RsyncSource]:
        """Unpack it beside the versions, where only root can look; it is taken away again.

        Raises :class:`DisklessError` with tar's words when it cannot be unpacked.
        """
        with unpacked(self._image) as top:
            root = f"{top}/root"
            os.mkdir(root)
            try:
                run([*_TAR, "--file", self.shown, "--directory", root], ends_with_us=True)
            except CommandFailed as err:
                raise DisklessError(
                    f"{self._where}: {self.shown} cannot be unpacked, so what is published stays: "
                    f"{err}"
                ) from err
            yield RsyncSource(f"{root}/", self.shown, links=(root,))
