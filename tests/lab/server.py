"""The boot server: a container with real systemd and Salt, on which nothing is configured yet."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.lab import roots
from tests.lab.keeper import Keeper, children
from tests.lab.patience import Patience

#: What of a checkout a wheel is made of.
_SOURCE = ("setup.cfg", "pyproject.toml", "salt_diskless", "states", "README.md", "LICENSE")
#: Where the configuration of the server's master and of that master's minion is.
_MANAGED = ["-c", "/etc/salt-managed"]
_ENVIRONMENT = ["env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]


class StateFailed(AssertionError):
    """A state run ended with an error; the text has what each failed state said."""


class Server:
    """The boot server of a lab: 10.141.0.1 on the bridge."""

    def __init__(self, keeper: Keeper, place: pathlib.Path, name: str):
        self._keeper = keeper
        self._name = name
        self._log = place / "server.log"
        self.root = place / "server"
        self.diskless = place / "diskless"
        self._assemble(place)
        self._install(place)
        self._leader = self._boot()

    def run(
        self, *command: str, check: bool = True, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the server and return what it said."""
        done = subprocess.run(
            self._enter(command),
            input=input if input is not None else "",
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{' '.join(command)} on the server ended with {done.returncode}:\n"
                f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
            )
        return done

    def kill_when(self, sign: Callable[[], bool], *command: str) -> None:
        """Start a command on the server and kill it when ``sign`` comes true."""
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
        """Return a path of the server as this machine sees it."""
        return pathlib.Path(f"/proc/{self._leader}/root{path}")

    def write_pillar(self, pillar: dict[str, Any]) -> None:
        """Make this the server's pillar."""
        self.path("/srv/pillar/top.sls").write_text("base: {'*': [diskless]}\n")
        self.path("/srv/pillar/diskless.sls").write_text(json.dumps(pillar))

    def salt_call(self, function: str, *arguments: str, test: bool = False) -> Any:
        """Call Salt on the server, masterless, and return its answer; a failed state is an error
        in words."""
        return self._salt(["salt-call"], "local", function, *arguments, test=test)

    def start_master(self) -> None:
        """Start a Salt master on the server, and its minion: after that :meth:`salt` works. Their
        pillar and SLS are those of ``salt_call``."""
        for command in ("salt-master", "salt-minion"):
            self.run("systemd-run", f"--unit=lab-{command}", f"/opt/salt/bin/{command}", *_MANAGED)
        patience = Patience(120)
        ping = ["/opt/salt/bin/salt", *_MANAGED, "--timeout=5", "bootserver", "test.ping"]
        while "True" not in self.run(*ping, check=False).stdout:
            if patience.is_over:
                raise RuntimeError(f"no minion at the master: {self.journal('lab-salt-minion')}")

    def salt(self, function: str, *arguments: str, test: bool = False) -> Any:
        """Have the master tell the server's minion what to do, and return the answer."""
        command = ["/opt/salt/bin/salt", *_MANAGED, "--timeout=300", "bootserver"]
        return self._salt(command, "bootserver", function, *arguments, test=test)

    def _salt(
        self, command: list[str], who: str, function: str, *arguments: str, test: bool
    ) -> Any:
        words = [*command, "--out=json", "--log-level=error", function, *arguments]
        done = self.run(*words, *(["test=True"] if test else []), check=False)
        try:
            answer = json.loads(done.stdout)[who]
        except (ValueError, KeyError):
            raise StateFailed(f"{' '.join(words)}:\n{done.stdout}{done.stderr}") from None
        if function.startswith("state."):
            _raise_failed(answer, done.stderr)
        elif done.returncode:
            raise StateFailed(f"{' '.join(words)}: {answer}")
        return answer

    def journal(self, unit: str) -> str:
        """Return what a unit has logged."""
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit).stdout

    def _assemble(self, place: pathlib.Path) -> None:
        """Put the server's root together: what is cached below, what is written above."""
        lower = roots.server()
        for name in ("server", "upper", "work", "diskless"):
            (place / name).mkdir(mode=0o755)
        options = f"lowerdir={lower},upperdir={place}/upper,workdir={place}/work"
        self._keeper.run("mount", "-t", "overlay", "-o", options, "overlay", self.root)

    def _install(self, place: pathlib.Path) -> None:
        """Build the wheel of this checkout and install it, as a user would."""
        source = place / "src"
        source.mkdir()
        for name in _SOURCE:
            origin = roots.CHECKOUT / name
            if origin.is_dir():
                shutil.copytree(origin, source / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif origin.exists():
                shutil.copy(origin, source / name)
        pip = ["chroot", self.root, "/opt/salt/bin/pip", "--no-cache-dir", "-q"]
        apart = ["--no-deps", "--no-index"]
        build = [*apart, "--no-build-isolation", "--wheel-dir", "/wheels", "/src"]
        self._keeper.run("mount", "-t", "proc", "proc", self.root / "proc")
        self._keeper.run("mount", "--bind", source, self.root / "src")
        self._keeper.run(*pip, "wheel", *build)
        script = "/opt/salt/bin/pip install -q --no-deps --no-index /wheels/*.whl"
        self._keeper.run("chroot", self.root, "sh", "-c", script)
        self._keeper.run("umount", self.root / "proc", self.root / "src")

    def _boot(self) -> int:
        for group in self._keeper.cgroups:
            group.mkdir()
        join = "".join(f"echo $$ > {group}/cgroup.procs; " for group in self._keeper.cgroups)
        # cgroups are joined from outside, where the directories are the machine's own.
        command = ["systemd-nspawn", "-D", self.root, "-b", "-M", self._name, "--register=no"]
        command += ["--keep-unit", "--network-namespace-path=/proc/1/ns/net", "--capability=all"]
        command += ["--system-call-filter=open_by_handle_at name_to_handle_at"]
        command += [f"--bind={self.diskless}:/diskless", f"--bind-ro={roots.golden()}:/srv/golden"]
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
                    return leader
            time.sleep(0.1)
        text = self._log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"the boot server did not come up:\n{text}")


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


def _raise_failed(answer: Any, stderr: str) -> None:
    if not isinstance(answer, dict):
        raise StateFailed(f"{answer}\n{stderr}")
    failed = [
        f"{state['__id__']} ({state['name']}): {state['comment']}"
        for state in answer.values()
        if isinstance(state, dict) and state.get("result") is False
    ]
    if failed:
        raise StateFailed("\n".join(failed) + f"\n{stderr[-3000:]}")
