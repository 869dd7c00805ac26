"""Half-written files: their paths are recorded while they are written, so that the next run, of
anything, removes what a crash has left, in whatever directory that is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterable, Iterator

#: What the project keeps for good.
STATE = "/var/lib/salt-diskless"
#: The ending of a file that is half-written: a writer that was killed leaves it.
UNFINISHED = ".diskless-new"

#: One record for each writer, which holds a lock on it for as long as it lives.
_RECORDS = f"{STATE}/unfinished"
_LOCK = ".lock"


@contextlib.contextmanager
def recorded(paths: Iterable[str]) -> Iterator[None]:
    """Record that these files are written under their unfinished names; at the end of the block
    those that are still there are removed.

    paths
        Without :data:`UNFINISHED`.
    """
    names = [path + UNFINISHED for path in paths]
    with _locked():
        _sweep()
        record = f"{_RECORDS}/{os.getpid()}-{threading.get_ident()}-{os.urandom(4).hex()}"
        descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with open(descriptor, "wb", closefd=False) as stream:
            stream.write(b"\0".join(map(os.fsencode, names)))
        yield
    finally:
        _remove(names)
        _remove([record])
        os.close(descriptor)


def sweep() -> None:
    """Remove the half-written files of writers that were killed."""
    with contextlib.suppress(FileNotFoundError):
        if os.listdir(_RECORDS) != [_LOCK]:
            with _locked():
                _sweep()


def _sweep() -> None:
    with os.scandir(_RECORDS) as entries:
        records = [entry.path for entry in entries if entry.name != _LOCK]
    for record in records:
        with contextlib.suppress(FileNotFoundError, BlockingIOError), open(record, "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            names = [os.fsdecode(name) for name in stream.read().split(b"\0")]
            # Anything else is not what was written here: it is spoilt by a power cut.
            _remove(name for name in names if name.endswith(UNFINISHED))
            os.unlink(record)


def _remove(paths: Iterable[str]) -> None:
    for path in paths:
        if os.path.lexists(path):
            with contextlib.suppress(OSError):
                os.unlink(path)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Hold the lock for making and removing records."""
    os.makedirs(_RECORDS, mode=0o700, exist_ok=True)
    with open(f"{_RECORDS}/{_LOCK}", "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
