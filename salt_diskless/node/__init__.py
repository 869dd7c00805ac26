"""What runs on a node while it boots: POSIX sh, put into the image and its initramfs."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class File:
    """A file of the boot scripts: its path in the image, its content, its mode."""

    path: str
    content: bytes
    mode: int


_FILES = (
    ("diskless.sh", "/usr/lib/salt-diskless/diskless.sh", 0o644),
    ("initramfs-tools/hooks/diskless", "/usr/share/initramfs-tools/hooks/diskless", 0o755),
    ("initramfs-tools/scripts/diskless", "/usr/share/initramfs-tools/scripts/diskless", 0o644),
)


@functools.lru_cache(maxsize=1)
def files() -> tuple[File, ...]:
    """Return the boot scripts."""
    package = resources.files("salt_diskless.node")
    return tuple(
        File(path, package.joinpath(name).read_bytes(), mode) for name, path, mode in _FILES
    )


def digest() -> str:
    """Return what tells one release of the boot scripts from another."""
    whole = hashlib.sha256()
    for file in files():
        whole.update(f"{file.path} {file.mode:o} {len(file.content)}\n".encode() + file.content)
    return whole.hexdigest()
