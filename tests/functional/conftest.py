"""Salt's real loader on a machine of the test's own: mounts and network in private namespaces."""

from __future__ import annotations

import contextlib
import copy
import os
import pathlib
import shutil
import socket
import subprocess
import time
import types
from collections.abc import Callable, Iterator

import pytest
import salt.config
import salt.loader

from salt_diskless.services import told
from salt_diskless.state import originals
from tests.conftest import CHECKOUT, private_network


@pytest.fixture(scope="session", autouse=True)
def own_machine(private_mounts: None) -> None:
    """From here on this process has mounts and a network of its own."""
    private_network()


@pytest.fixture(autouse=True)
def nothing_told(own_machine: None) -> Iterator[None]:
    """No registry has told this machine anything before, and nothing was recorded on it."""
    yield
    for path in (told.PATH, originals.DATABASE):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


class SaltCall:
    """Salt's loaders with one pillar: ``modules`` and ``states``."""

    def __init__(
        self,
        root: pathlib.Path,
        pillar: dict,
        minion_id: str,
        test: bool,
        os_family: str,
        beside: dict,
    ):
        for directory in ("cache", "pki", "run", "log"):
            (root / "salt" / directory).mkdir(parents=True, exist_ok=True)
        self.opts = salt.config.minion_config(None)
        self.opts.update(
            id=minion_id,
            file_client="local",
            test=test,
            root_dir=str(root / "salt"),
            cachedir=str(root / "salt/cache"),
            pki_dir=str(root / "salt/pki"),
            sock_dir=str(root / "salt/run"),
            log_file=str(root / "salt/log/minion"),
            file_roots={"base": [str(CHECKOUT / "states")]},
            pillar={"diskless": copy.deepcopy(pillar), **beside},
            module_dirs=[str(CHECKOUT / "salt_diskless/modules")],
            states_dirs=[str(CHECKOUT / "salt_diskless/states")],
            extension_modules=str(root / "salt/extmods"),
        )
        self.opts["grains"] = {"os_family": os_family, "os": os_family, "kernel": "Linux"}
        context: dict = {}
        utils = salt.loader.utils(self.opts, context=context)
        self.modules = salt.loader.minion_mods(self.opts, context=context, utils=utils)
        self.serializers = salt.loader.serializers(self.opts)
        self.states = salt.loader.states(
            self.opts, self.modules, utils, self.serializers, context=context
        )

    def state(self, name: str, **arguments: object) -> types.SimpleNamespace:
        """Call a state and return its result."""
        return types.SimpleNamespace(**self.states[name](name=name, **arguments))


@pytest.fixture
def salt_call(tmp_path: pathlib.Path) -> Callable[..., SaltCall]:
    """Return a maker of loaders: ``salt_call(pillar, minion_id="bootserver", test=False)``; what is
    named beyond its arguments is the pillar's, too."""

    def make(
        pillar: dict,
        minion_id: str = "bootserver",
        test: bool = False,
        os_family: str = "Debian",
        **beside: object,
    ) -> SaltCall:
        return SaltCall(tmp_path, pillar, minion_id, test, os_family, beside)

    return make


@pytest.fixture(params=[True, False], ids=["test mode", "for real"])
def testmode(request: pytest.FixtureRequest) -> bool:
    """Each state is tried in test mode, where nothing may be touched, and for real."""
    return request.param


@pytest.fixture
def listing(tmp_path: pathlib.Path) -> Callable[[], dict[str, tuple]]:
    """Return a function that lists every file below the test's directory with what it holds."""

    def listed() -> dict[str, tuple]:
        found = {}
        for directory, _, names in os.walk(tmp_path):
            if directory == str(tmp_path) or directory.startswith(str(tmp_path / "salt")):
                continue
            for name in (".", *names):
                path = os.path.join(directory, name)
                status = os.lstat(path)
                content = b""
                if os.path.isfile(path) and not os.path.islink(path):
                    content = pathlib.Path(path).read_bytes()
                found[path] = (status.st_ino, status.st_mode, status.st_mtime_ns, content)
        return found

    return listed


@pytest.fixture
def location(pillar) -> pathlib.Path:
    """Where the image is kept."""
    return pathlib.Path(pillar["images"]["tiny"]["location"])


def root(location: pathlib.Path) -> pathlib.Path:
    """Return the published tree."""
    return (location / "root").resolve()


@contextlib.contextmanager
def running_sshd(
    directory: pathlib.Path, host_key: pathlib.Path, *settings: str, port: int = 2222
) -> Iterator[None]:
    """Run a real sshd on a port of a loopback that only this test has.

    settings
        More lines for its configuration.
    """
    os.makedirs("/run/sshd", exist_ok=True)
    config = directory / f"sshd_config{port}"
    lines = [f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {host_key}", "PidFile none"]
    lines += ["UsePAM no", "PermitRootLogin yes", *settings]
    config.write_text("\n".join(lines) + "\n")
    daemon = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", str(config)])
    end = time.monotonic() + 30
    while socket.socket().connect_ex(("127.0.0.1", port)):
        assert daemon.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    yield
    daemon.terminate()
    daemon.wait()


@pytest.fixture
def sshd(tmp_path, golden):
    """A golden machine: a real sshd with keys of its own."""
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    for name in ("host", "user", "other"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)]
        subprocess.run(command, check=True)
    shutil.copy(keys / "user.pub", keys / "authorized_keys")
    (keys / "known_hosts").write_text("[127.0.0.1]:2222 " + (keys / "host.pub").read_text())
    (keys / "wrong_hosts").write_text("[127.0.0.1]:2222 " + (keys / "other.pub").read_text())
    settings = [f"AuthorizedKeysFile {keys}/authorized_keys", "StrictModes no"]
    # As docs/security.md says; what it may read is its whole machine: the golden root.
    settings.append(f"ForceCommand /usr/bin/rrsync -ro {golden}")
    with running_sshd(keys, keys / "host", *settings):
        yield {
            "minion": "golden",
            "host": "127.0.0.1",
            "port": 2222,
            "identity": str(keys / "user"),
            "known_hosts": str(keys / "known_hosts"),
        }
