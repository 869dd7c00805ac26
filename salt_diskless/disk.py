"""Writing that can be trusted: whole, and on the disk before a rename makes it live; and reading
what cannot be trusted."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterable

#: What helps against an error of a whole file system.
REMEDIES = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there, or raise the quota",
    errno.EROFS: "mount that file system read-write",
    errno.EIO: "look for errors of the disk (dmesg)",
}

_LIBC = ctypes.CDLL(None, use_errno=True)
#: From fcntl.h and linux/fs.h.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of ``content``: write(2) may take less, on a disk that is nearly full."""
    written = os.write(descriptor, content)
    while written < len(content):
        written += os.write(descriptor, content[written:])


def flush(directories: Iterable[str]) -> None:
    """Have the file systems of ``directories`` write what they hold back (syncfs(2)), each once: a
    power cut after a rename leaves the old file or the new one, whole.

    Raises ``OSError`` when one cannot: then nothing may be renamed.
    """
    done: set[int] = set()
    for directory in set(directories):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            device = os.fstat(descriptor).st_dev
            if device not in done and _LIBC.syncfs(descriptor):
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), directory)
            done.add(device)
        finally:
            os.close(descriptor)


def exchange(one: bytes, other: bytes) -> None:
    """Have two paths of a file system change places (renameat2(2)): at no moment is one missing.

    Raises ``OSError``, also on a file system that cannot do that.
    """
    if _LIBC.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(one))


def read_untrusted(path: str, most: int) -> bytes | None:
    """Return up to ``most`` bytes of a file that somebody else may have put there, or None when it
    is no plain file: a device is not even opened, since opening some of them does something. The
    directory that it is in may be somebody else's, too: one that is a link is not followed."""
    descriptors: list[int] = []
    try:
        _look_up(path, descriptors)
        if not stat.S_ISREG(os.fstat(descriptors[1]).st_mode):
            return None
        descriptors.append(os.open(f"/proc/self/fd/{descriptors[1]}", os.O_RDONLY | os.O_CLOEXEC))
        return os.read(descriptors[2], most)
    except OSError:
        return None
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def status_untrusted(path: str) -> os.stat_result | None:
    """Return lstat(2) of a path whose directory may be a link that somebody else made, or None
    where it is one, or nothing is there."""
    descriptors: list[int] = []
    try:
        _look_up(path, descriptors)
        return os.fstat(descriptors[1])
    except OSError:
        return None
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _look_up(path: str, descriptors: list[int]) -> None:
    """Open a path's directory and the path itself (``O_PATH``), no link followed at either."""
    directory, name = os.path.split(path)
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptors.append(os.open(directory, flags | os.O_DIRECTORY))
    descriptors.append(os.open(name, flags, dir_fd=descriptors[0]))
