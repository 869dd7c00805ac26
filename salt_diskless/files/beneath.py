"""Paths below a tree whose content is not trusted: no link leads out of it.

A golden root, a version, a staging directory and a node's snapshot hold links that somebody else
made. ``open(tree + path)`` would follow them to the server's own files. :class:`Tree` looks each
path up one component at a time, each from the descriptor of the directory before it and without
following a link (``O_NOFOLLOW``); where a component is a link, its text is looked up in the same
way. An absolute link starts at the tree's root, and ``..`` stops there, as for a process that has
the tree as its root (chroot(2)).

openat2(2) with ``RESOLVE_IN_ROOT`` would do the same in one call. It needs Linux 5.6, and boot
servers run RHEL 8, which has 4.18, so the lookup by components is the only way that works on all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import IO, NamedTuple

from salt_diskless.command import run
from salt_diskless.disk import write_all

#: A path from the tree's root. It begins with a slash.
Path = str | bytes

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Without O_NONBLOCK a pipe would block that came to the name of a plain file.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: As many links in one path as Linux follows (path_resolution(7)).
_MOST_LINKS = 40
#: As many directories as a walk keeps open; it opens the ones above them again.
_MOST_OPEN = 100
#: What a lookup fails with where a path is not in the tree.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class Found(NamedTuple):
    """A path that a walk found.

    path
        From the tree's root; the root itself is empty.
    status
        What lstat(2) says of it.
    parent, name
        The descriptor of the directory that it is in, and its name there. The descriptor is valid
        until the next step of the walk.
    """

    path: bytes
    status: os.stat_result
    parent: int
    name: bytes

    @property
    def full(self) -> bytes:
        """A path for functions that take no descriptor of a directory. Its last component may be a
        link: do not follow it."""
        return _full(self.parent, self.name)

    def read(self, most: int) -> bytes:
        """Return up to ``most`` bytes of a plain file, or nothing where it is none any more."""
        try:
            descriptor = os.open(self.name, _FILE, dir_fd=self.parent)
        except OSError as err:
            if err.errno in _ABSENT:
                return b""
            raise
        with open(descriptor, "rb") as stream:
            return stream.read(most) if _is_plain(descriptor) else b""


@dataclass(slots=True)
class _Spot:
    """Where a lookup ended: the open directory, the name in it, the path of that directory without
    links, and the object's own descriptor (``O_PATH``), or None where nothing has that name."""

    parent: int
    name: bytes
    above: list[bytes]
    descriptor: int | None

    @property
    def path(self) -> bytes:
        return b"/" + b"/".join(self.above if self.name == b"." else [*self.above, self.name])

    @property
    def full(self) -> bytes:
        return _full(self.parent, self.name)


class Tree:
    """A directory tree that is looked up from its own root. Close it, or use ``with``.

    top
        The directory. Its last component must not be a link.
    links
        Whether links are followed inside the tree, as a node that has it as its root would see
        them. With False a link on the way to a path is an error (ELOOP): right for a snapshot,
        where a node can change a directory to a link at any time, and for paths of a walk.

    Raises ``OSError`` when there is no such directory.
    """

    def __init__(self, top: str, *, links: bool = True):
        self.top = top
        self._links = links
        self._root = os.open(top, _LOOK | os.O_DIRECTORY)

    def __enter__(self) -> Tree:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the tree's descriptor."""
        os.close(self._root)

    # Reading.

    def status(self, path: Path, *, follow: bool = False) -> os.stat_result | None:
        """Return lstat(2) of a path, or None where the tree does not have it.

        follow
            Whether a link at the path itself is followed inside the tree.
        """
        try:
            with self._at(path, follow=follow) as spot:
                return None if spot.descriptor is None else os.fstat(spot.descriptor)
        except OSError as err:
            if err.errno in _ABSENT:
                return None
            raise

    def exists(self, path: Path) -> bool:
        """Return whether a path leads to something in the tree."""
        return self.status(path, follow=True) is not None

    def is_directory(self, path: Path) -> bool:
        """Return whether a path leads to a directory in the tree."""
        status = self.status(path, follow=True)
        return status is not None and stat.S_ISDIR(status.st_mode)

    def is_file(self, path: Path) -> bool:
        """Return whether a path leads to a plain file in the tree."""
        status = self.status(path, follow=True)
        return status is not None and stat.S_ISREG(status.st_mode)

    def read(self, path: Path, most: int, *, follow: bool = True) -> bytes | None:
        """Return up to ``most`` bytes of a plain file, or None where the path leads to none. A
        device or pipe is not even opened: it could block, and opening some devices does
        something."""
        with self.opened(path, follow=follow) as stream:
            return None if stream is None else stream.read(most)

    @contextlib.contextmanager
    def opened(self, path: Path, *, follow: bool = True) -> Iterator[IO[bytes] | None]:
        """Open a plain file to read it; None where the path leads to none."""
        descriptor = None
        try:
            with self._at(path, follow=follow) as spot:
                if spot.descriptor is not None and _is_plain(spot.descriptor):
                    flags = os.O_RDONLY | os.O_CLOEXEC
                    descriptor = os.open(f"/proc/self/fd/{spot.descriptor}", flags)
        except OSError as err:
            if err.errno not in _ABSENT:
                raise
        if descriptor is None:
            yield None
        else:
            with open(descriptor, "rb") as stream:
                yield stream

    def link(self, path: Path) -> str | None:
        """Return the text of a symbolic link, or None where the path is none."""
        try:
            with self._at(path, follow=False) as spot:
                if spot.descriptor is None or not _is_link(spot.descriptor):
                    return None
                return os.fsdecode(os.readlink(b"", dir_fd=spot.descriptor))
        except OSError as err:
            if err.errno in _ABSENT:
                return None
            raise

    def names(self, path: Path = "/") -> list[str]:
        """Return the names in a directory, sorted; none where the path leads to no directory."""
        try:
            with self._at(path, follow=True) as spot:
                if spot.descriptor is None:
                    return []
                descriptor = os.open(".", _DIRECTORY, dir_fd=spot.descriptor)
        except OSError as err:
            if err.errno in _ABSENT:
                return []
            raise
        try:
            return sorted(os.listdir(descriptor))
        finally:
            os.close(descriptor)

    def real(self, path: Path, *, follow: bool = True) -> str:
        """Return the path without links that a path of the tree leads to. Its last component need
        not exist.

        follow
            Whether a link at the path itself is followed; otherwise only those above it.

        Raises ``OSError`` when a directory on the way does not exist in the tree.
        """
        with self._at(path, follow=follow) as spot:
            return os.fsdecode(spot.path)

    def full(self, path: Path) -> str:
        """Return a path for a program that is given a string: the tree's own path, and behind it a
        path of the tree without links. Nobody else may change the tree meanwhile.

        Raises ``OSError`` as :meth:`real`.
        """
        real = self.real(path)
        return self.top if real == "/" else self.top + real

    @contextlib.contextmanager
    def at(self, path: Path) -> Iterator[bytes]:
        """Look a path up, and give a path in ``/proc/self/fd`` for functions that take no
        descriptor of a directory. Its last component may be a link: do not follow it.

        Raises ``OSError`` when a directory on the way does not exist in the tree.
        """
        with self._at(path, follow=False) as spot:
            yield spot.full

    def walk(self, path: Path = "/") -> Iterator[Found]:
        """Yield a directory of the tree and all that lies below it, no link followed, in an order
        that is always the same. What is removed meanwhile, or is no directory any more when it is
        entered, is left out."""
        status = self.status(path)
        if status is None:
            return
        with self._at(path, follow=False) as spot:
            start = spot.path.rstrip(b"/")
            yield Found(start, status, spot.parent, spot.name)
        if stat.S_ISDIR(status.st_mode):
            for directory, descriptor, below in self._directories(start):
                for entry in _entries(directory, descriptor):
                    yield entry
                    if stat.S_ISDIR(entry.status.st_mode):
                        below.append(entry.path)

    def inodes(self) -> set[int]:
        """Return the inode numbers of all that is no directory: a walk that asks for no status."""
        numbers = set()
        for directory, descriptor, below in self._directories(b""):
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        below.append(directory + b"/" + os.fsencode(entry.name))
                    else:
                        numbers.add(entry.inode())
        return numbers

    def _directories(self, start: bytes) -> Iterator[tuple[bytes, int, list[bytes]]]:
        """Yield a directory, its descriptor, and a list to which the directories in it are to be
        added; then those."""
        chain: list[tuple[bytes, int]] = []
        pending = [start]
        try:
            while pending:
                directory = pending.pop()
                descriptor = self._enter(directory, chain)
                if descriptor is None:
                    continue
                below: list[bytes] = []
                yield directory, descriptor, below
                pending += reversed(below)
        finally:
            for _, descriptor in chain:
                os.close(descriptor)

    def _enter(self, directory: bytes, chain: list[tuple[bytes, int]]) -> int | None:
        """Open a directory of a walk from the deepest open one above it."""
        while chain and not directory.startswith(chain[-1][0] + b"/"):
            os.close(chain.pop()[1])
        above, descriptor = chain[-1] if chain else (b"", self._root)
        parts = directory[len(above) :].split(b"/")[1:] or [b"."]
        try:
            opened = _descend(descriptor, parts)
        except OSError as err:
            if err.errno in _ABSENT:
                return None
            raise
        chain.append((directory, opened))
        if len(chain) > _MOST_OPEN:
            os.close(chain.pop(0)[1])
        return opened

    # Changing.

    def make_directory(self, path: Path, mode: int = 0o755) -> bool:
        """Make a directory, and those above it that are missing, and return whether it is new; a
        link is followed inside the tree.

        Raises ``OSError`` when something else has a name of the path.
        """
        with self._at(path, follow=True, make=True) as spot:
            if spot.descriptor is None:
                os.mkdir(spot.name, mode, dir_fd=spot.parent)
                descriptor = os.open(spot.name, _DIRECTORY, dir_fd=spot.parent)
                try:
                    os.fchmod(descriptor, mode)
                finally:
                    os.close(descriptor)
                return True
            if not stat.S_ISDIR(os.fstat(spot.descriptor).st_mode):
                raise _error(errno.ENOTDIR, spot.path)
            return False

    def write(self, path: Path, content: bytes, mode: int) -> None:
        """Write a file by a rename, so that another name of the old file keeps what it has. A link
        at the path itself is replaced; missing directories above it are made.

        Raises ``OSError``, also where a directory has the path.
        """
        with self._at(path, follow=False, make=True) as spot:
            new = spot.name + b".diskless-new"
            _remove(spot.parent, new)
            descriptor = os.open(new, _NEW_FILE, 0o600, dir_fd=spot.parent)
            try:
                write_all(descriptor, content)
                os.fchmod(descriptor, mode)
                os.rename(new, spot.name, src_dir_fd=spot.parent, dst_dir_fd=spot.parent)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(new, dir_fd=spot.parent)
                raise
            finally:
                os.close(descriptor)

    def symlink(self, target: Path, path: Path) -> None:
        """Make a symbolic link."""
        with self._at(path, follow=False) as spot:
            os.symlink(target, spot.name, dir_fd=spot.parent)

    def chmod(self, path: Path, mode: int) -> None:
        """Give a path permission bits; a link is followed inside the tree."""
        with self._at(path, follow=True) as spot:
            if spot.descriptor is None:
                raise _error(errno.ENOENT, spot.path)
            os.chmod(f"/proc/self/fd/{spot.descriptor}", mode)

    def chown(self, path: Path, uid: int, gid: int) -> None:
        """Give a path an owner and a group; a link gets them itself."""
        with self._at(path, follow=False) as spot:
            os.chown(spot.name, uid, gid, dir_fd=spot.parent, follow_symlinks=False)

    def remove(self, path: Path) -> None:
        """Remove what has a path, whatever it is, and all below it; a link itself goes, and not
        what it leads to. Nothing is done where the tree does not have it."""
        try:
            with self._at(path, follow=False) as spot:
                _remove(spot.parent, spot.name)
        except OSError as err:
            if err.errno not in _ABSENT:
                raise

    def unlink(self, path: Path) -> None:
        """Remove a file or link. Raises ``OSError`` as unlink(2)."""
        with self._at(path, follow=False) as spot:
            os.unlink(spot.name, dir_fd=spot.parent)

    def rename(self, path: Path, other: Tree, new: Path) -> None:
        """Rename a path to one of another tree on the same file system. Raises ``OSError`` as
        rename(2)."""
        with self._at(path, follow=False) as source, other._at(new, follow=False) as target:
            os.rename(source.name, target.name, src_dir_fd=source.parent, dst_dir_fd=target.parent)

    def hard_link(self, path: Path, other: Tree, new: Path) -> None:
        """Give a file another name, in another tree on the same file system. Raises ``OSError`` as
        link(2)."""
        with self._at(path, follow=False) as source, other._at(new, follow=False) as target:
            os.link(
                source.name,
                target.name,
                src_dir_fd=source.parent,
                dst_dir_fd=target.parent,
                follow_symlinks=False,
            )

    @contextlib.contextmanager
    def directory(self, path: Path, *, make: int | None = None) -> Iterator[int]:
        """Open a directory and give its descriptor.

        make
            Permission bits: missing directories on the way, and this one, are made with them.

        Raises ``OSError`` when it is missing, or not a directory.
        """
        names = make is not None
        with self._at(path, follow=True, make=names, mode=make or 0o755) as spot:
            if spot.descriptor is None and make is not None:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(spot.name, make, dir_fd=spot.parent)
            descriptor = os.open(spot.name, _DIRECTORY, dir_fd=spot.parent)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    # The lookup.

    @contextlib.contextmanager
    def _at(
        self, path: Path, *, follow: bool, make: bool = False, mode: int = 0o755
    ) -> Iterator[_Spot]:
        """Look a path up.

        follow
            Whether a link at the path itself is followed.
        make, mode
            Whether missing directories on the way are made, and with which permission bits.
        """
        try:
            spot = self._lookup(path, follow, make, mode)
            try:
                yield spot
            finally:
                for descriptor in {spot.parent, spot.descriptor} - {None, self._root}:
                    os.close(descriptor)  # type: ignore[arg-type]
        except OSError as err:
            if b"/" not in os.fsencode(err.filename or ""):
                err.filename = os.fsdecode(path)  # It is the name in its directory alone.
            raise

    def _lookup(self, path: Path, follow: bool, make: bool, mode: int) -> _Spot:
        left, above, links = _parts(path), list[bytes](), 0
        current, opened = self._root, None
        try:
            while left:
                name = left.pop()
                if name == b"..":
                    above = above[:-1]
                    current = self._back(current, above)
                    continue
                try:
                    opened = os.open(name, _LOOK, dir_fd=current)
                except FileNotFoundError:
                    if not left:
                        return _Spot(current, name, above, None)
                    if not make:
                        raise
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, mode, dir_fd=current)
                    opened = os.open(name, _LOOK, dir_fd=current)
                kind = os.fstat(opened).st_mode
                if stat.S_ISLNK(kind) and (left or follow):
                    links += 1
                    if links > _MOST_LINKS or not self._links:
                        raise _error(errno.ELOOP, path)
                    target = os.readlink(b"", dir_fd=opened)
                    left += _parts(target)
                    os.close(opened)
                    opened = None
                    if target.startswith(b"/"):
                        above = []
                        current = self._back(current, above)
                elif not left:
                    return _Spot(current, name, above, opened)
                elif not stat.S_ISDIR(kind):
                    raise _error(errno.ENOTDIR, path)
                else:
                    previous, current, opened = current, opened, None
                    if previous != self._root:
                        os.close(previous)
                    above = [*above, name]
            # The path ended at the root, or in a "..": the directory is its own place.
            return _Spot(current, b".", above, current)
        except BaseException:
            for descriptor in (current, opened):
                if descriptor not in (None, self._root):
                    os.close(descriptor)
            raise

    def _back(self, current: int, above: list[bytes]) -> int:
        """Open a directory that the lookup came through, or the root, instead of ``current``."""
        new = _descend(self._root, above) if above else self._root
        if current != self._root:
            os.close(current)
        return new


def _descend(descriptor: int, parts: list[bytes]) -> int:
    """Open the directory that is ``parts`` below another one, no link followed."""
    current = os.open(parts[0], _DIRECTORY, dir_fd=descriptor)
    for name in parts[1:]:
        try:
            deeper = os.open(name, _DIRECTORY, dir_fd=current)
        finally:
            os.close(current)
        current = deeper
    return current


def _entries(directory: bytes, descriptor: int) -> Iterator[Found]:
    """Yield what an open directory holds, by name."""
    with os.scandir(descriptor) as entries:
        by_name = {os.fsencode(entry.name): entry for entry in entries}
        for name in sorted(by_name):
            try:
                status = by_name[name].stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield Found(directory + b"/" + name, status, descriptor, name)


def _remove(parent: int, name: bytes) -> None:
    """Remove a file, a link or a whole directory; nothing is done where there is none."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        # Both open directories by descriptors and follow no link.
        try:
            shutil.rmtree(_full(parent, name))
        except RecursionError:
            run(["rm", "-rf", "--", f"/proc/{os.getpid()}/fd/{parent}/{os.fsdecode(name)}"])


def _parts(path: Path) -> list[bytes]:
    """Return a path's components, the last one first."""
    return [part for part in os.fsencode(path).split(b"/") if part not in (b"", b".")][::-1]


def _full(parent: int, name: bytes) -> bytes:
    return b"/proc/self/fd/%d/%s" % (parent, name)


def _is_link(descriptor: int) -> bool:
    return stat.S_ISLNK(os.fstat(descriptor).st_mode)


def _is_plain(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _error(code: int, path: Path) -> OSError:
    return OSError(code, os.strerror(code), os.fsdecode(path))
