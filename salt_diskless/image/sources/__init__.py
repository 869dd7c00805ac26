"""The kinds of sources, a file each."""

from __future__ import annotations

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.command import CommandFailed, installed
from salt_diskless.image.sources import bootstrap, container
from salt_diskless.image.sources.archive import Archive
from salt_diskless.image.sources.base import ImageSource, RsyncSource
from salt_diskless.image.sources.directory import Directory
from salt_diskless.image.sources.machine import Machine
from salt_diskless.image.sources.unpacked import place
from salt_diskless.platform import Platform

__all__ = ["ImageSource", "RsyncSource", "place", "source_of", "tools"]


def source_of(image: Image) -> ImageSource:
    """Return where ``image`` is taken from.

    Raises :class:`DisklessError` when the pillar does not say, or it is not there.
    """
    source = image.source
    if source is None:
        raise DisklessError(
            f"diskless:images:{image.name}:source: found nothing; name a directory, an archive, "
            "a minion, or what to bootstrap"
        )
    if source.directory is not None:
        return Directory(image, source.directory)
    if source.archive is not None:
        return Archive(image, source.archive, source.tag)
    if source.bootstrap is not None:
        return bootstrap.Bootstrapped(image, source.bootstrap)
    return Machine(image, source)


def tools(image: Image, names: Platform) -> tuple[str, ...]:
    """Return the packages of the programs that ``image`` is made or read with and that are missing
    here. An archive has to be looked into for that; one that cannot be read needs none."""
    source = image.source
    if source is None:
        return ()
    if source.bootstrap is not None:
        apt = source.bootstrap.suite is not None
        program, packages = (
            ("mmdebstrap", names.apt_packages) if apt else ("dnf", names.dnf_packages)
        )
        return () if installed(program) else packages
    if source.archive is None or all(map(installed, container.PROGRAMS)):
        return ()
    try:
        return names.container_packages if container.kind_of(source.archive) else ()
    except CommandFailed:
        return ()
