"""Look at a path without following links, and without waiting for what is not a file."""

from __future__ import annotations

import array
import fcntl
import os
import stat

from salt_diskless import tree
from salt_diskless.cluster.errors import Problem, shown

#: From linux/fs.h.
_GETFLAGS = 0x80086601
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20


def foreign(path: str) -> Problem:
    """Return the problem for a file of somebody else that may be adopted."""
    return Problem(
        path,
        "a file that salt-diskless did not write",
        f"move it away, or have it replaced: add {path} to the list diskless:adopt in the pillar",
    )


def kind(path: str) -> str | None:
    """Return what is at a path, or None."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return None
    if stat.S_ISREG(mode):
        return "a file"
    if stat.S_ISLNK(mode):
        return f"a symbolic link to {shown(os.readlink(path))}"
    return "a directory" if stat.S_ISDIR(mode) else "something else than a file"


def is_marked(path: str) -> bool:
    """Return True if the project wrote a file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return tree.is_marked(os.read(descriptor, 400))
    except OSError:
        return False
    finally:
        os.close(descriptor)


def has_same_content(path: str, other: str) -> bool:
    """Return True if two files hold the same."""
    if os.stat(path).st_size != os.stat(other).st_size:
        return False
    with open(path, "rb") as stream, open(other, "rb") as other_stream:
        return stream.read() == other_stream.read()


def protection(path: str) -> str | None:
    """Return the attribute that keeps even root from replacing a file or from writing into a
    directory (chattr(1)), or None."""
    flags = array.array("l", [0])
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.ioctl(descriptor, _GETFLAGS, flags, True)
    except OSError:  # The file system has no such attributes.
        return None
    finally:
        os.close(descriptor)
    if flags[0] & _IMMUTABLE:
        return "immutable"
    return "append-only" if flags[0] & _APPEND_ONLY else None
