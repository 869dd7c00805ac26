"""The one writer of configuration: compares files with the disk, writes what differs, prunes.

A file is written beside the live one, checked where there is a check, and renamed over it, so that
a reader sees the old one or the new one, whole. What the project did not write it leaves alone: a
file is its own when it carries :data:`MARK`, or when it lies in a directory that is its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from salt_diskless import unfinished
from salt_diskless.cluster import DisklessError
from salt_diskless.disk import REMEDIES, flush, write_all
from salt_diskless.files import attributes

MARK = "salt-diskless"

UNFINISHED = unfinished.UNFINISHED


@dataclass(frozen=True, slots=True)
class Copy:
    """Content that is another file on this machine, compared by size and modification time.

    links
        Whether it may be a hard link: nobody changes that other file, and everybody may read it.
    """

    source: str
    links: bool = False


@dataclass(frozen=True, slots=True)
class Secret:
    """Content that is made once, and that root alone may read: what is there and is the project's
    is as good."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Edited:
    """A file of shell assignments of somebody else, in which some variables are set: it keeps its
    mode, its owner and its extended attributes.

    values
        The variables that the project sets.
    before
        What those of them were that have another value now; None: it was not set.
    """

    content: bytes
    values: Mapping[str, str]
    before: Mapping[str, str | None]


#: What the project keeps while the machine is up: its lock, and the restarts that are owed.
RUNTIME = "/run/salt-diskless"

STATE = unfinished.STATE

Content = bytes | Copy | Secret | Edited
Check = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """What stands between a tree and the disk. Each is a sorted tuple of paths."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def header(purpose: str, comment: str = "#") -> str:
    """Return the first line of a file of the project: it carries the mark."""
    return f"{comment} Written by {MARK}: {purpose}. Changes made here are lost.\n"


def is_marked(data: bytes) -> bool:
    """Tell whether a file's content says in its first line that the project wrote it."""
    return MARK.encode() in data[:400].split(b"\n", 1)[0]


def read(path: str, about: int = 1 << 14) -> bytes | None:
    """Return a file's content, or None where there is none (a symlink is not followed).

    about
        How many bytes it is expected to have.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as err:
        raise _not_read(path, err) from err
    try:
        data = os.read(descriptor, about + 1)
        if len(data) > about:
            with open(descriptor, "rb", closefd=False) as stream:
                data += stream.read()
        return data
    except OSError as err:
        raise _not_read(path, err) from err
    finally:
        os.close(descriptor)


def compare(
    files: Mapping[str, Content],
    stale: Iterable[str] = (),
    foreign_ok: Iterable[str] = (),
    own: Iterable[str] = (),
    there: Mapping[str, bytes] | None = None,
) -> Difference:
    """Return what :func:`apply` would do; nothing is touched.

    files
        Absolute path to content: what must be there.
    stale
        Paths that must not be there, if they are the project's.
    foreign_ok
        Paths that may be replaced although somebody else wrote them.
    own
        Paths that must not be there and are the project's by the directory that they lie in.
    there
        What has been read already, under a lock that its writers take.

    Raises :class:`DisklessError` for a file in the way that the project did not write.
    """
    added, changed = [], []
    may, known = set(foreign_ok), there or {}
    for path, content in files.items():
        if isinstance(content, Copy):
            state = _copied(path, content)
        else:
            wanted = content if isinstance(content, bytes) else content.content
            found = known[path] if path in known else read(path, len(wanted))
            state = None if found is None else found == wanted
            if isinstance(content, Secret) and is_marked(found or b""):
                state = True
            is_foreign = path not in may and not isinstance(content, Edited)
            if state is False and is_foreign and not is_marked(found or b""):
                raise DisklessError(
                    f"{path}: found a file that {MARK} did not write; move what you need of it "
                    "into the pillar, move it away, and apply again"
                )
        if state is None:
            added.append(path)
        elif not state:
            changed.append(path)
    removed = {path for path in stale if _is_own(path)}.union(own)
    return Difference(tuple(sorted(added)), tuple(sorted(changed)), tuple(sorted(removed)))


def apply(
    difference: Difference,
    files: Mapping[str, Content],
    check: Check | None = None,
    own_below: str | None = None,
    live: Check | None = None,
    removes_first: bool = False,
) -> None:
    """Make the disk what ``difference`` (of :func:`compare`) says.

    All that is new is written and checked before the first of it goes live: a disk that is full or
    a check that refuses leaves everything as it was. Then it goes live in the order of ``files``.
    Two that write at a time wait for each other.

    check
        Called with the path of each new file, which ends in :data:`UNFINISHED`; raises to refuse.
    own_below
        Directories from here on are the project's: one that a removed file leaves empty goes too.
    live
        Called with each path when it is live, before the next one is; what it raises ends it there.
    removes_first
        Whether what is removed goes before what is new goes live, and not after it.
    """
    if not difference:
        return
    new = {*difference.added, *difference.changed}
    written = [path for path in files if path in new]
    with _locked(), unfinished.recorded(written):
        _write_beside(written, files, check)
        if removes_first:
            _remove(difference.removed, own_below)
        _bring_in(written, live)
        if not removes_first:
            _remove(difference.removed, own_below)


def replace(path: str, content: bytes, mode: int = 0o644) -> None:
    """Write a file of the project's own records by one rename: a crash leaves the old one or the
    new one."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with unfinished.recorded([path]):
        _write(path + UNFINISHED, content, mode)
        flush([os.path.dirname(path)])
        os.rename(path + UNFINISHED, path)


def leftovers(directory: str) -> Iterator[str]:
    """Yield the half-written files that a killed writer left in ``directory``."""
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(UNFINISHED):
                yield entry.path


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Let one process write at a time; another one waits."""
    os.makedirs(RUNTIME, mode=0o755, exist_ok=True)
    with open(f"{RUNTIME}/lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_beside(paths: Sequence[str], files: Mapping[str, Content], check: Check | None) -> None:
    """Write each file under its unfinished name; when one fails, none of them is left."""
    made: list[str] = []
    path = ""
    try:
        for path in paths:
            _make_directories(os.path.dirname(path), made)
            _write(path + UNFINISHED, files[path])
        if check is not None:
            for path in paths:
                check(path + UNFINISHED)
        flush(os.path.dirname(path) for path in paths)
    except BaseException as err:
        _drop(paths)
        for directory in reversed(made):
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        if isinstance(err, OSError):
            raise _not_written(path, err) from err
        raise


def _make_directories(directory: str, made: list[str]) -> None:
    """Make a directory and those above it; what was not there is added to ``made``."""
    missing = []
    while not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    for path in reversed(missing):
        os.mkdir(path, 0o755)
        made.append(path)


def _write(path: str, content: Content, mode: int = 0o644) -> None:
    """Write a file that everybody may read, unless it is a secret or ``mode`` is another."""
    if isinstance(content, Secret):
        mode, content = 0o600, content.content
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    if isinstance(content, Copy):
        if content.links and _linked(content.source, path):
            return
        shutil.copyfile(content.source, path)
        status = os.stat(content.source)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.chmod(path, 0o644)
        return
    is_edited = isinstance(content, Edited)
    if isinstance(content, Edited):
        content = content.content
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    try:
        write_all(descriptor, content)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
    if is_edited:
        attributes.copy(path.removesuffix(UNFINISHED), path)


def _linked(source: str, path: str) -> bool:
    """Make ``path`` a link to ``source``, where both are on one file system, and tell whether."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    try:
        os.link(source, path)
    except OSError:
        return False
    return True


def _bring_in(paths: Sequence[str], live: Check | None) -> None:
    """Rename each file over the one that is there; when one fails, the others stay what they
    were."""
    try:
        for path in paths:
            try:
                os.rename(path + UNFINISHED, path)
            except OSError as err:
                raise _not_written(path, err) from err
            if live is not None:
                live(path)
    except BaseException:
        _drop(paths)
        raise


def _drop(paths: Iterable[str]) -> None:
    """Remove what was written of files that do not go live."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path + UNFINISHED)


def _not_read(path: str, err: OSError) -> DisklessError:
    return DisklessError(f"{path}: cannot be read: {err.strerror}")


def _not_written(path: str, err: OSError) -> DisklessError:
    again = f" ({REMEDIES[err.errno]} and run the command again)" if err.errno in REMEDIES else ""
    return DisklessError(f"{path}: cannot be written: {err.strerror}; it is as it was{again}")


def _remove(paths: Sequence[str], own_below: str | None) -> None:
    """Remove files, and the directories below ``own_below`` that they leave empty."""
    # The marker of a directory goes last: without it a run after a crash would not know the others.
    for path in sorted(paths, key=lambda path: os.path.basename(path) == f".{MARK}"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    if own_below is None:
        return
    emptied = {os.path.dirname(path) for path in paths}
    emptied |= {os.path.dirname(directory) for directory in emptied}
    for directory in sorted(emptied, key=len, reverse=True):
        if directory.startswith(own_below):
            with contextlib.suppress(OSError):
                os.rmdir(directory)


def remove_empty(directory: str) -> None:
    """Remove a directory of the project and those below it, where they are empty: a run that was
    killed may have removed the files and not the directories."""
    for place, _, _ in os.walk(directory, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(place)


def _copied(path: str, content: Copy) -> bool | None:
    try:
        there = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        source = os.stat(content.source)
    except OSError as err:
        raise _not_read(content.source, err) from err
    return (
        stat.S_ISREG(there.st_mode)
        and there.st_size == source.st_size
        and there.st_mtime_ns == source.st_mtime_ns
    )


def _is_own(path: str) -> bool:
    if path.endswith(UNFINISHED):
        return True
    data = read(path)
    return data is not None and is_marked(data)


def clean(paths: Iterable[str], test: bool) -> dict[str, list[str]]:
    """Remove those of ``paths`` that the project wrote (not in test mode); return them."""
    difference = compare({}, paths)
    if not test:
        apply(difference, {})
    return {"removed": list(difference.removed)} if difference else {}
