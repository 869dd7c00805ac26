"""An archive of tar(1), compressed or not."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.command import CommandFailed, run
from salt_diskless.image.sources.base import RsyncSource

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
        self.shown = path
        # What is left out makes a version as much as what is in the archive.
        facts = (path, status.st_size, status.st_mtime_ns, image.exclude, image.scrub)
        self.mark = hashlib.sha256(repr(facts).encode()).hexdigest()
        self._place = place(image)

    @contextlib.contextmanager
    def opened(self) -> Iterator[RsyncSource]:
        """Unpack it beside the versions, where only root can look; it is taken away again.

        Raises :class:`DisklessError` with tar's words when it cannot be unpacked.
        """
        os.makedirs(self._place, mode=0o700)
        try:
            try:
                run([*_TAR, "--file", self.shown, "--directory", self._place], ends_with_us=True)
            except CommandFailed as err:
                raise DisklessError(
                    f"{self._where}: {self.shown} cannot be unpacked, so what is published stays: "
                    f"{err}"
                ) from err
            # The archive may say what mode its top has.
            os.chmod(self._place, 0o700)
            yield RsyncSource(f"{self._place}/", self.shown, links=(self._place,))
        finally:
            shutil.rmtree(self._place)


def place(image: Image) -> str:
    """Return the directory that an archive is unpacked in; one that is there is a killed run's."""
    return f"{image.location}/.unpacked"
