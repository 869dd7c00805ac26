"""Containers of the lab: machines with real systemd, on which nothing is configured yet."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

from tests.lab.keeper import Keeper, children
from tests.lab.patience import Patience

_ENVIRONMENT = ["env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]


class Container:
    """A machine whose root is what is cached below, and what is written above.

    role
        ``server`` or ``golden``.
    place
        The lab's directory.
    lower
        The cached root.
    """

    def __init__(self, keeper: Keeper, place: pathlib.Path, role: str, lower: pathlib.Path):
        self._keeper = keeper
        self._role = role
        self._log = place / f"{role}.log"
        self.root = place / role
        layers = [place / f"{role}.{name}" for name in ("upper", "work")]
        for directory in (self.root, *layers):
            directory.mkdir(mode=0o755)
        options = f"lowerdir={lower},upperdir={layers[0]},workdir={layers[1]}"
        keeper.run("mount", "-t", "overlay", "-o", options, "overlay", self.root)

    def run(
        self, *command: str, check: bool = True, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the machine and return what it said."""
        done = subprocess.run(
            self._enter(command),
            input=input if input is not None else "",
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{' '.join(command)} on the {self._role} ended with {done.returncode}:\n"
                f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
            )
        return done

    def kill_when(self, sign: Callable[[], bool], *command: str) -> None:
        """Start a command on the machine and kill it when ``sign`` comes true."""
        process = subprocess.Popen(
            self._enter(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while not sign():
            if process.poll() is not None:
                said = process.communicate()[0][-3000:]
                raise AssertionError(f"{' '.join(command)} ended before the sign came:\n{said}")
        for child in children(process.pid):
            os.kill(child, signal.SIGKILL)
        process.communicate()

    def _enter(self, command: Sequence[str]) -> list[str]:
        enter = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-C"]
        return [*enter, *_ENVIRONMENT, "LANG=C.UTF-8", *command]

    def path(self, path: str) -> pathlib.Path:
        """Return a path of the machine as this machine sees it."""
        return pathlib.Path(f"/proc/{self._leader}/root{path}")

    def journal(self, unit: str) -> str:
        """Return what a unit has logged."""
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit).stdout

    def boot(self, *options: str, apart: bool = False) -> None:
        """Switch the machine on, and return when it is up.

        options
            More options for systemd-nspawn(1).
        apart
            Whether it has a network namespace of its own, instead of the one with the bridge.
        """
        groups = self._keeper.cgroups[self._role]
        for group in groups:
            group.mkdir()
        join = "".join(f"echo $$ > {group}/cgroup.procs; " for group in groups)
        # cgroups are joined from outside, where the directories are the machine's own.
        command: list[object] = ["unshare", "--net"] if apart else []
        command += ["systemd-nspawn", "-D", self.root, "-b", "-M", groups[0].name, "--register=no"]
        command += ["--keep-unit", "--network-namespace-path=/proc/self/ns/net", "--capability=all"]
        command += ["--system-call-filter=open_by_handle_at name_to_handle_at"]
        command += options
        with open(self._log, "wb") as log:
            process = subprocess.Popen(
                ["sh", "-c", f'{join}exec "$@"', "sh", *self._keeper.enter(command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        patience = Patience(60)
        while not patience.is_over:
            if process.poll() is not None:
                break
            leader = _leader(process.pid)
            if leader is not None:
                self._leader = leader
                state = self.run("systemctl", "is-active", "multi-user.target", check=False)
                if state.stdout.strip() == "active":
                    return
            time.sleep(0.1)
        text = self._log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"the {self._role} did not come up:\n{text}")


def _leader(pid: int) -> int | None:
    """Return the container's systemd as this machine sees it."""
    with contextlib.suppress(OSError):
        mine = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
        for child in children(pid):
            comm = pathlib.Path(f"/proc/{child}/comm").read_text().strip()
            if mine.startswith("systemd-nspawn") and comm == "systemd":
                return child
            found = _leader(child)
            if found is not None:
                return found
    return None
