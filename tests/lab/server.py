"""The boot server: a container with real systemd and Salt, on which nothing is configured yet."""

from __future__ import annotations

import json
import pathlib
import shutil
import time
from typing import Any

from tests.lab import roots
from tests.lab.container import Container
from tests.lab.keeper import Keeper
from tests.lab.node import Node, Timeout
from tests.lab.patience import Patience

#: What of a checkout a wheel is made of.
_SOURCE = ("setup.cfg", "pyproject.toml", "salt_diskless", "states", "README.md", "LICENSE")
#: Where the configuration of the server's master and of that master's minion is.
_MANAGED = ["-c", "/etc/salt-managed"]
#: That master's registry, and a program that asks it.
_REGISTRY = "/etc/salt-managed/pki/diskless/registry.sqlite"
_QUERY = """
import json, sqlite3, sys
registry = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, timeout=30)
print(json.dumps(registry.execute(sys.argv[2]).fetchall()))
"""
#: A line of /proc/net/tcp (proc_net_tcp(5)): 10.141.0.1:4506, in state LISTEN.
_MASTER_LISTENS = "01008D0A:119A 00000000:0000 0A"
#: Minions that the master lets in unasked: a node's has to have a key that it knows.
_LET_IN = "bootserver\ngolden\n"


class StateFailed(AssertionError):
    """A state run ended with an error; the text has what each failed state said."""


class Server(Container):
    """The boot server of a lab: 10.141.0.1 on the bridge; ``golden`` is a root for its nodes."""

    def __init__(self, keeper: Keeper, place: pathlib.Path, golden: pathlib.Path):
        super().__init__(keeper, place, "server", roots.server())
        self.diskless = place / "diskless"
        self.diskless.mkdir(mode=0o755)
        self._install(place)
        self.boot(f"--bind={self.diskless}:/diskless", f"--bind-ro={golden}:/srv/golden")

    def write_pillar(self, pillar: dict[str, Any]) -> None:
        """Make this the server's pillar."""
        self.path("/srv/pillar/top.sls").write_text("base: {'*': [diskless]}\n")
        self.path("/srv/pillar/diskless.sls").write_text(json.dumps(pillar))

    def salt_call(self, function: str, *arguments: str, test: bool = False) -> Any:
        """Call Salt on the server, masterless, and return its answer; a failed state is an error
        in words."""
        return self._salt(["salt-call"], "local", function, *arguments, test=test)

    def start_master(self, settings: str = "") -> None:
        """Start a Salt master on the server, and its minion: after that :meth:`salt` works. Their
        pillar and SLS are those of ``salt_call``.

        settings
            More of the master's configuration.
        """
        managed = self.path(_MANAGED[1])
        (managed / "let-in").write_text(_LET_IN)
        (managed / "master.d").mkdir()
        let_in = f"auto_accept: false\nautosign_file: {_MANAGED[1]}/let-in\n"
        (managed / "master.d/lab.conf").write_text(let_in + settings)
        patience = Patience(120)
        self._start_salt("master")
        # Who asks before it listens has not got its key of this start, and is complained of.
        while _MASTER_LISTENS not in self.run("cat", "/proc/net/tcp").stdout:
            if patience.is_over:
                raise RuntimeError(f"the master did not start: {self.journal('lab-salt-master')}")
            time.sleep(0.1)
        # Not at the same time: both make directories, and who finds the other was faster gives up.
        self._start_salt("minion")
        while "bootserver" not in self.minions():
            if patience.is_over:
                raise RuntimeError(f"no minion at the master: {self.journal('lab-salt-minion')}")

    def _start_salt(self, what: str) -> None:
        unit, program = f"--unit=lab-salt-{what}", f"/opt/salt/bin/salt-{what}"
        self.run("systemd-run", unit, program, *_MANAGED)

    def minions(self) -> list[str]:
        """Return the minions that answer the master."""
        ping = ["/opt/salt/bin/salt", *_MANAGED, "--timeout=5", "--out=json", "--static"]
        said = self.run(*ping, "*", "test.ping", check=False).stdout
        try:
            return [name for name, answer in json.loads(said).items() if answer is True]
        except ValueError:  # Nobody has a key there yet.
            return []

    def wait_for_minion(self, node: Node, timeout: float = 300) -> float:
        """Wait until a node's minion answers the master.

        timeout
            Seconds that it may take to listen to the master, as :class:`Patience` counts them.

        Returns the seconds since the node was powered on.
        """
        listens = "ss -Htn state established dport = :4505"
        ping = ["/opt/salt/bin/salt", *_MANAGED, "--timeout=900", "--out=json", "--static"]
        patience = Patience(timeout)
        while not node.run(listens):
            if patience.is_over:
                raise Timeout(f"{node.name}: its minion does not listen to the master")
            time.sleep(1)
        # Once, and with patience: to be asked again is what a slow minion has no time for.
        said = self.run(*ping, node.name, "test.ping", check=False).stdout
        if '": true' not in said:
            raise Timeout(f"{node.name}: no answer of its minion: {said}")
        return time.monotonic() - node.powered_on

    def salt(
        self, function: str, *arguments: str, test: bool = False, minion: str = "bootserver"
    ) -> Any:
        """Have the master tell a minion what to do, and return the answer."""
        command = ["/opt/salt/bin/salt", *_MANAGED, "--timeout=300", minion]
        return self._salt(command, minion, function, *arguments, test=test)

    def orchestrate(self, sls: str, **pillar: Any) -> dict[str, Any]:
        """Have the master orchestrate an SLS, and return its states; a failed one is an error in
        words, with what the minions said.

        pillar
            What is given with the command.
        """
        given = [f"pillar={json.dumps(pillar)}"] if pillar else []
        said = self.runner("state.orchestrate", sls, *given)
        try:
            (answer,) = said["data"].values()
        except (TypeError, KeyError):
            raise StateFailed(f"{sls}: {said}") from None
        _raise_failed(answer, json.dumps([state["changes"] for state in answer.values()]))
        return answer

    def runner(self, function: str, *arguments: str) -> Any:
        """Have the master do something by ``salt-run``, and return the answer."""
        words = ["/opt/salt/bin/salt-run", *_MANAGED, "--out=json", "--log-level=error"]
        done = self.run(*words, function, *arguments, check=False)
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise StateFailed(f"{function}:\n{done.stdout}{done.stderr}") from None

    def registry(self, sql: str) -> list[list[Any]]:
        """Return the rows that the master's registry has for a query; none as long as it is not
        there."""
        if not self.path(_REGISTRY).exists():
            return []
        done = self.run("/opt/salt/bin/python3", "-c", _QUERY, _REGISTRY, sql)
        rows: list[list[Any]] = json.loads(done.stdout)
        return rows

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
