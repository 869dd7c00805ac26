"""The directory that a source is unpacked or made in, for rsync to take it from there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.command import installed


def place(image: Image) -> str:
    """Return the directory; one that is there is a killed run's."""
    return f"{image.location}/.unpacked"


@contextlib.contextmanager
def unpacked(image: Image, mode: int = 0o700) -> Iterator[str]:
    """Have the directory, empty; it is taken away again, whatever happens.

    mode
        Who may look into it.
    """
    top = place(image)
    os.makedirs(top)
    try:
        os.chmod(top, mode)
        yield top
    finally:
        shutil.rmtree(top)


def require(where: str, programs: tuple[str, ...]) -> None:
    """Raise :class:`DisklessError` when a program is missing that a source is read or made with.

    where
        The path of the source in the pillar.
    """
    missing = [program for program in programs if not installed(program)]
    if missing:
        raise DisklessError(
            f"{where}: found no {' and no '.join(missing)} on this boot server; install "
            f"{' and '.join(missing)} (state.apply diskless.tools does), or take the image from "
            "another kind of source"
        )
