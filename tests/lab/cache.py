"""What is slow to make is made once: directories named after a digest of what they are made of."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator

#: Where it is kept; every lab on the machine shares it.
ROOT = pathlib.Path(os.environ.get("SALT_DISKLESS_LAB_CACHE", "/var/cache/salt-diskless-lab"))
_KEPT = 3


def made(name: str, inputs: list[str], make: Callable[[pathlib.Path], None]) -> pathlib.Path:
    """Return the directory ``name`` made of ``inputs``; ``make`` fills it when it is not there.

    It is filled under another name and renamed when it is complete, so that one that a kill left
    half-made is never taken for good. A few made of other inputs are kept (another Salt, another
    checkout), the oldest are removed.
    """
    digest = hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:16]
    wanted = ROOT / f"{name}-{digest}"
    ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
    with locked(f"{name}.lock"):
        if not wanted.exists():
            _prune(name)
            new = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-new.", dir=ROOT))
            try:
                new.chmod(0o755)
                make(new)
                new.rename(wanted)
            except BaseException:
                shutil.rmtree(new, ignore_errors=True)
                raise
        os.utime(wanted)
    return wanted


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock that labs share."""
    ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
    with open(ROOT / name, "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prune(name: str) -> None:
    """Remove what a kill left half-made, and all but the last ones that were wanted."""
    made = sorted(ROOT.glob(f"{name}-*"), key=lambda path: path.stat().st_mtime)
    half = [path for path in made if path.name.startswith(f"{name}-new.")]
    whole = [path for path in made if path not in half]
    for old in half + whole[: -_KEPT + 1]:
        if not _used(old):
            shutil.rmtree(old)


def _used(directory: pathlib.Path) -> bool:
    """Tell whether a running lab has something of this directory mounted."""
    for mounts in pathlib.Path("/proc").glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):
            if directory.name in mounts.read_text():
                return True
    return False
