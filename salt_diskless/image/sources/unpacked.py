"""The directory that a source is unpacked or made in, for rsync to take it from there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

from salt_diskless.cluster import Image


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
