"""Namespaces that hold everything of one lab, so that nothing of it outlives it.

The keeper is process 1 of a PID namespace, and has mounts and a network of its own. When it dies,
the kernel ends every process in it, and mounts and network go with them; and it dies with the lab,
also when that is killed. What is left then (cgroups, one directory) is removed by a sweeper that
waits for the end of a pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Sequence

from tests.lab.patience import Patience

_CGROUPS = pathlib.Path("/sys/fs/cgroup")
_SWEEP = """
trap '' INT TERM HUP
cat >/dev/null
for try in $(seq 100); do
    left=
    for group in $2; do
        [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
        [ ! -d "$group" ] || left=1
    done
    [ -n "$left" ] || break
    sleep 0.2
done
rm -rf "$1"
"""


class Keeper:
    """The namespaces of one lab, named ``name``; ``place`` is the directory that goes with it."""

    def __init__(self, name: str, place: pathlib.Path):
        self.cgroups = {"server": _cgroups(name), "golden": _cgroups(f"{name}-golden")}
        groups = " ".join(str(group) for groups in self.cgroups.values() for group in groups)
        self._sweeper = subprocess.Popen(
            ["sh", "-c", _SWEEP, "sh", str(place), groups],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._said = place / "keeper.log"
        with open(self._said, "wb") as said:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "--pid", "--net", "--fork"]
                + ["--kill-child", "--mount-proc", "sleep", "infinity"],
                stdin=subprocess.DEVNULL,
                stderr=said,
                preexec_fn=_die_with_parent,
                start_new_session=True,
            )
        self.pid = self._child()

    def enter(self, command: Sequence[object]) -> list[str]:
        """Return ``command`` so that it runs in the namespaces."""
        words = [str(word) for word in command]
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "-n", "--", *words]

    def run(
        self, *command: object, check: bool = True, input: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespaces and return what it said."""
        done = subprocess.run(
            self.enter(command),
            input=input,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done

    def spawn(self, command: Sequence[object], log: pathlib.Path) -> subprocess.Popen[bytes]:
        """Start a program in the namespaces; what it says goes to ``log``."""
        with open(log, "wb") as stream:
            return subprocess.Popen(
                self.enter(command),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def close(self) -> None:
        """End everything in the namespaces and remove what was the lab's."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._process.wait()
        assert self._sweeper.stdin is not None
        self._sweeper.stdin.close()
        self._sweeper.wait()

    def _child(self) -> int:
        patience = Patience(10)
        while not patience.is_over:
            for pid in children(self._process.pid):
                with contextlib.suppress(FileNotFoundError):
                    if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "sleep":
                        return pid
            time.sleep(0.01)
        why = self._said.read_text(errors="replace").strip()
        raise RuntimeError(f"the lab's namespaces could not be made: {why or 'is this root?'}")


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    with contextlib.suppress(FileNotFoundError):
        listed = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in listed.split()]
    return []


def _cgroups(name: str) -> list[pathlib.Path]:
    """Return the cgroups of a container: in systemd's hierarchies where there are two."""
    mixed = [_CGROUPS / kind for kind in ("systemd", "unified") if (_CGROUPS / kind).is_dir()]
    return [parent / name for parent in mixed or [_CGROUPS]]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: prctl(2)
