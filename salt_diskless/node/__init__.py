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


#: The same in the image and in its initramfs.
_LIBRARY = "/usr/lib/salt-diskless"
#: Where dracut looks for its module of ours: the numbers from 50 to 59 are for those of others.
_DRACUT = "/usr/lib/dracut/modules.d/50salt-diskless"

_ALWAYS = (
    *(
        (f"{name}.sh", f"{_LIBRARY}/{name}.sh", 0o644)
        for name in ("diskless", "root", "entries", "resolve", "stranger", "keep")
    ),
    ("swap/swap", f"{_LIBRARY}/swap", 0o755),
    ("swap/diskless-swap.service", "/usr/lib/systemd/system/diskless-swap.service", 0o644),
    ("swap/wanted.conf", "/usr/lib/systemd/system/multi-user.target.d/diskless-swap.conf", 0o644),
)
#: What each tool that builds an initramfs needs beside that.
_FILES = {
    "initramfs-tools": (
        ("initramfs-tools/hooks/diskless", "/usr/share/initramfs-tools/hooks/diskless", 0o755),
        ("initramfs-tools/scripts/diskless", "/usr/share/initramfs-tools/scripts/diskless", 0o644),
    ),
    "dracut": tuple(
        (f"dracut/{name}.sh", f"{_DRACUT}/{name}.sh", 0o755)
        for name in ("module-setup", "cmdline", "emergency", "mount", "network")
    ),
}


@functools.cache
def files(tool: str) -> tuple[File, ...]:
    """Return the boot scripts for a tool that builds an initramfs: ``dracut`` or
    ``initramfs-tools``."""
    package = resources.files("salt_diskless.node")
    return tuple(
        File(path, package.joinpath(name).read_bytes(), mode)
        for name, path, mode in (*_ALWAYS, *_FILES[tool])
    )


def digest() -> str:
    """Return what tells one release of the boot scripts from another."""
    whole = hashlib.sha256()
    for file in (file for tool in sorted(_FILES) for file in files(tool)):
        whole.update(f"{file.path} {file.mode:o} {len(file.content)}\n".encode() + file.content)
    return whole.hexdigest()
