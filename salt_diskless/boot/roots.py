"""What the kernel line says of a node's root: ``docs/root-modes.md`` has the modes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from salt_diskless.cluster.model import Settings

#: A version that is one file: its name, wherever it lies.
NAME = "root.squashfs"


@dataclass(frozen=True, slots=True)
class Squashfs:
    """A version as one file: its digest in hex, and its size."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Roots:
    """What is known of roots that are one file.

    files
        Image and version to the file, where there is one.
    keeping
        Names of the images whose ``.files.custom`` has something that is kept.
    """

    files: Mapping[tuple[str, str], Squashfs] = field(default_factory=dict)
    keeping: frozenset[str] = frozenset()


def words(settings: Settings, version: str, known: Roots, place: str) -> Iterator[str]:
    """Yield the words of the kernel line.

    place
        The directory of the version's files below the TFTP root.
    """
    yield f"DISKLESS_ROOT={settings.root}"
    if settings.root == "readonly":
        return
    yield f"DISKLESS_OVERLAY={settings.overlay_size}"
    if settings.root != "ram":
        return
    file = known.files.get((settings.image.name, version))
    if file is not None:
        yield f"DISKLESS_FILE={place}/{NAME}"
        yield f"DISKLESS_BYTES={file.bytes}"
        yield f"DISKLESS_SHA256={file.sha256}"
    kept = any(entry.how == "persistent" for entry in settings.entries)
    if not kept and settings.image.name not in known.keeping:
        yield "DISKLESS_SNAPSHOT=no"
