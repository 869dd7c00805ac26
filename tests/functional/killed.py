"""Kill a process at each of its changes, and compare everything that the project keeps."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator

import pytest

from salt_diskless import command
from salt_diskless.state import originals

#: What changes a disk, or has another program do something: Python's audit events (sys.audit).
CHANGES = frozenset(
    {"os.rename", "os.mkdir", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.chmod"}
    | {"os.chown", "os.setxattr", "os.removexattr", "os.truncate", "os.utime", "os.mkfifo"}
    | {"os.mknod", "os.posix_spawn", "os.fork", "subprocess.Popen", "sqlite3.connect"}
)
#: The exit code of a call that was interrupted.
_INTERRUPTED = 130
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

#: Where the project keeps something beside the test's own directory.
PLACES = ("/etc/exports.d", "/var/lib/nfs", "/var/lib/salt-diskless", "/run/salt-diskless")
#: Files that differ between two undisturbed runs: what they hold is made anew, or is a time.
_NEW_EACH_TIME = re.compile(
    r"/minion\.(pem|pub)$|/ssh_host_\w+$|/ssh_host_\w+\.pub$|/told\.json$|/latest-run$"
    r"|/machines\.sqlite|/snapshot/\.lists$|/machine-id$|/random-seed$|/swapfile$"
)


def killed_at(number: int, call: Callable[[], object], *, interrupted: bool = False) -> bool:
    """Do something in a process that is killed right before its change of that number, or, where
    that is a write(2), in the middle of it; tell whether it was killed.

    interrupted
        Whether it gets a KeyboardInterrupt (Ctrl-C) instead of SIGKILL.
    """
    pid = os.fork()
    if pid == 0:
        left = number

        def is_last() -> bool:
            nonlocal left
            left -= 1
            return left == 0

        def die() -> None:
            if interrupted:
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGKILL)

        def step(event: str, arguments: tuple) -> None:
            changes = event in CHANGES or (event == "open" and (arguments[2] or 0) & WRITES)
            if changes and is_last():
                die()

        def half(descriptor: int, content: bytes, write=os.write) -> int:
            if is_last():
                write(descriptor, content[: len(content) // 2])
                die()
            return write(descriptor, content)

        def synced(descriptor: int, fsync=os.fsync) -> None:
            if is_last():
                die()
            fsync(descriptor)

        code = 1
        try:
            os.write = half
            os.fsync = os.fdatasync = synced
            sys.addaudithook(step)
            call()
            code = 0
        except KeyboardInterrupt:
            code = _INTERRUPTED
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, _INTERRUPTED if interrupted else -signal.SIGKILL)
    return code != 0


def everything(places: Iterable[str]) -> dict[str, tuple]:
    """Return each file and directory below ``places``: type and mode, owner, and what it holds."""
    found = {}
    for place in places:
        for directory, names, files in os.walk(place):
            for name in (".", *names, *files):
                path = os.path.normpath(os.path.join(directory, name))
                status = os.lstat(path)
                held: object = None
                if os.path.islink(path):
                    held = os.readlink(path)
                elif path == originals.DATABASE:
                    held = _records(path)
                elif os.path.isfile(path) and not _NEW_EACH_TIME.search(path):
                    held = pathlib.Path(path).read_bytes()
                found[path] = (oct(status.st_mode), status.st_uid, status.st_gid, held)
    return found


def _records(path: str) -> list[tuple]:
    """Return the recorded originals, without the digests of keys, which are made anew."""
    columns = "path, content, mode, uid, gid"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute(f"SELECT {columns} FROM file ORDER BY path").fetchall()


def differences(now: dict[str, tuple], wanted: dict[str, tuple]) -> list[str]:
    """Return what differs, in words."""
    return [
        f"{path}: {now.get(path, 'missing')} instead of {wanted.get(path, 'nothing')}"
        for path in sorted({*now, *wanted})
        if now.get(path) != wanted.get(path)
    ]


class Saved:
    """The places as they are now, which can be put back."""

    def __init__(self, places: Iterable[str], room: pathlib.Path):
        self._pairs = [(place, str(room / str(number))) for number, place in enumerate(places)]
        for place, kept in self._pairs:
            os.makedirs(place, exist_ok=True)
            os.makedirs(kept)
            self._copy(place, kept)
        self._stamps = {place: _stamps(place) for place, _ in self._pairs}
        self._await_tick()

    def put_back(self) -> None:
        """Make the places what they were; one in which nothing was touched is left as it is."""
        for place, kept in self._pairs:
            if _stamps(place) != self._stamps[place]:
                self._copy(kept, place)
                self._stamps[place] = _stamps(place)
        self._await_tick()

    def _await_tick(self) -> None:
        """Return when the kernel's coarse clock, from which ctimes come, has moved on: a change
        from now on cannot have the ctime of one before."""
        kept = self._pairs[0][1]
        newest = max(ctime for found in self._stamps.values() for _, ctime in found.values())
        while os.stat(kept).st_ctime_ns <= newest:
            os.chmod(kept, os.stat(kept).st_mode & 0o7777)

    @staticmethod
    def _copy(source: str, target: str) -> None:
        command = ["rsync", "-aHX", "--modify-window=-1", "--delete", f"{source}/", f"{target}/"]
        subprocess.run(command, check=True)


def _stamps(place: str) -> dict[str, tuple[int, int]]:
    """Return the inode of each path below ``place``, and when it last changed: no call can set a
    ctime, and each change of content, mode, owner, extended attribute or link count moves it."""
    stamps = {}
    for directory, names, files in os.walk(place):
        for name in (".", *names, *files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            stamps[path] = (status.st_ino, status.st_ctime_ns)
    return stamps


def numbers(step: int) -> Iterator[int]:
    """Yield the changes to kill at, every ``step``-th. The first one depends on the test and on
    nothing else: the same code gives the same result on each day, and tests differ."""
    test = os.environ["PYTEST_CURRENT_TEST"].partition(" ")[0]
    return itertools.count(1 + zlib.crc32(test.encode()) % step, step)


#: Each change at night, and a sample in each run of the tests.
each_step = pytest.mark.parametrize(
    "step",
    [
        pytest.param(1, marks=pytest.mark.nightly, id="each"),
        pytest.param(29, id="sample"),
    ],
)


#: What stands in for systemctl: one unit, a real dhcpd, with an invocation as systemd gives it.
_SYSTEMCTL = """#!/bin/sh
cd "{room}" || exit 1
# It is killed where a test says so, and who called it, too.
die() {{
	[ -e "die-$1" ] || return 0
	rm "die-$1"
	kill -9 $PPID $$
}}
case $1 in
show) cat invocation 2>/dev/null; echo;;
is-active) [ -e pid ] && kill -0 "$(cat pid)" 2>/dev/null;;
restart)
	die before
	[ ! -e pid ] || kill "$(cat pid)" 2>/dev/null
	while [ -e pid ] && [ -e "/proc/$(cat pid)/exe" ]; do sleep 0.02; done
	die stopped
	cat /proc/sys/kernel/random/uuid >invocation
	echo restart >>restarts
	: >log
	# It takes a zombie for a running server.
	rm -f dhcpd.pid
	setsid dhcpd -f -d -4 -cf "{config}" -lf "{leases}" -pf "{room}/dhcpd.pid" dl0 \\
		</dev/null >log 2>&1 &
	echo $! >pid
	while ! grep -q "Server starting service" log; do
		kill -0 "$(cat pid)" || exit 1
		sleep 0.02
	done
	die started
	# Somebody waits for a service that is slow to say that it has started.
	while [ -e hold ]; do sleep 0.02; done;;
esac
"""


class Systemd:
    """Stands in for systemd, with dhcpd as its only service."""

    def __init__(self, room: pathlib.Path, config: pathlib.Path, leases: pathlib.Path):
        self.room = room
        (room / "bin").mkdir(parents=True)
        script = room / "bin/systemctl"
        script.write_text(_SYSTEMCTL.format(room=room, config=config, leases=leases))
        script.chmod(0o755)
        leases.touch()

    @property
    def path(self) -> str:
        """The search path that has this systemctl first."""
        return f"{self.room}/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"

    def systemctl(self, *words: str) -> None:
        subprocess.run([self.room / "bin/systemctl", *words], check=True)

    @property
    def restarts(self) -> int:
        """How often the service was started."""
        path = self.room / "restarts"
        return path.read_text().count("restart") if path.exists() else 0

    def end(self) -> None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((self.room / "pid").read_text()), signal.SIGTERM)


#: System calls by which a program changes a disk, or starts another one.
_CALLS = (
    "write,pwrite64,copy_file_range,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,"
    "link,linkat,symlink,symlinkat,ftruncate,chmod,fchmod,fchmodat,mount,execve,sendto"
)
#: What stands in for a program: it works until the call that it is killed at, or that fails.
_TRACED = """#!/bin/sh
strace -f -qq -o "{log}" -e trace={calls} -e inject={calls}:{what} -- {program} "$@"
code=$?
if grep -q -e "killed by SIGKILL" -e INJECTED "{log}"; then
	: >"{log}.done"
	[ -z "{with_caller}" ] || kill -9 $PPID
fi
exit $code
"""


class Traced:
    """Programs that are killed, or fail, at one of their system calls (strace(1))."""

    def __init__(self, room: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
        self._room = room
        room.mkdir()
        monkeypatch.setattr(command, "_PATH", f"{room}:{command._PATH}")

    @contextlib.contextmanager
    def program(self, name: str, what: str, *, with_caller: bool = False) -> Iterator[pathlib.Path]:
        """Have a program killed or fail; yield the path of what is there when it was.

        what
            ``signal=KILL:when=N``, or ``error=ENOSPC:when=N+``.
        with_caller
            Whether who called it is killed right after it.
        """
        log, script = self._room / f"{name}.log", self._room / name
        done = self._room / f"{name}.log.done"
        done.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        real = shutil.which(name)
        assert real is not None
        script.write_text(
            _TRACED.format(
                log=log, calls=_CALLS, what=what, program=real, with_caller=with_caller or ""
            )
        )
        script.chmod(0o755)
        try:
            yield done
        finally:
            script.unlink()


def failing(number: int, code: int, work: Callable[[], object], below: str) -> Callable[[], object]:
    """Return a call that does its work on a disk that fails from its change of that number on.

    code
        ``errno.ENOSPC`` or ``errno.EDQUOT``, with which files can still be removed, or
        ``errno.EROFS``.
    below
        The directory that is on that disk.
    """
    frees = {"os.remove", "os.rmdir", "os.rename", "os.chmod", "os.chown", "os.utime"}
    changes = {event for event in CHANGES if event.startswith("os.")}
    changes -= {"os.fork", "os.posix_spawn", *(() if code == errno.EROFS else frees)}
    count, is_on = 0, True

    def step(event: str, arguments: tuple) -> None:
        nonlocal count
        is_open = event == "open" and (arguments[2] or 0) & WRITES
        is_path = not isinstance(arguments[0], int)
        if not is_on or not (event in changes or (is_open and is_path)):
            return
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else below
        if path.startswith("/") and not path.startswith(below):
            return
        count += 1
        if count >= number:
            raise OSError(code, os.strerror(code), path)

    def begin() -> object:
        nonlocal is_on
        sys.addaudithook(step)
        try:
            return work()
        finally:
            is_on = False
            if count < number:
                raise NotReached

    return begin


class NotReached(Exception):
    """The call has fewer changes than that."""
