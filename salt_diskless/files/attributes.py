"""Mode, owner and extended attributes of files."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping


def copy(source: str, path: str) -> None:
    """Give a file the mode, the owner and the extended attributes of another one; nothing where
    that is missing."""
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(source)
        os.chown(path, status.st_uid, status.st_gid)
        os.chmod(path, stat.S_IMODE(status.st_mode))
        set_extended(path, extended(source))


def extended(path: str) -> dict[str, bytes]:
    """Return the extended attributes of a file, such as its ACL (xattr(7))."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    except OSError:  # The file system has none.
        return {}


def set_extended(path: str, wanted: Mapping[str, bytes]) -> None:
    """Set the extended attributes of a file that have another value."""
    current = extended(path)
    for name, value in wanted.items():
        if current.get(name) != value:
            with contextlib.suppress(OSError):  # Of a kind that only the kernel sets.
                os.setxattr(path, name, value, follow_symlinks=False)
