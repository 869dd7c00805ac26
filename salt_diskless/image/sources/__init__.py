"""The kinds of sources, a file each."""

from __future__ import annotations

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.image.sources.archive import Archive
from salt_diskless.image.sources.base import ImageSource, RsyncSource
from salt_diskless.image.sources.directory import Directory
from salt_diskless.image.sources.machine import Machine
from salt_diskless.image.sources.unpacked import place

__all__ = ["ImageSource", "RsyncSource", "place", "source_of"]


def source_of(image: Image) -> ImageSource:
    """Return where ``image`` is taken from.

    Raises :class:`DisklessError` when the pillar does not say, or it is not there.
    """
    source = image.source
    if source is None:
        raise DisklessError(
            f"diskless:images:{image.name}:source: found nothing; name a directory, an archive or "
            "a minion"
        )
    if source.directory is not None:
        return Directory(image, source.directory)
    if source.archive is not None:
        return Archive(image, source.archive)
    return Machine(image, source)
