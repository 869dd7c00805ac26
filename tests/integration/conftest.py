"""A real master and minion that have the wheel installed."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest
import yaml
from pytestshellutils.utils.ports import get_unused_localhost_port
from pytestshellutils.utils.processes import ProcessResult

from tests.conftest import CHECKOUT, private_network

MINION = "bootserver"


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart() -> None:
    """Have a network of our own before pytest-salt-factories listens for its daemons."""
    private_network()


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, private_mounts: None) -> pathlib.Path:
    """A directory that the wheel of this checkout was installed into, as pip does it."""
    source, wheels, site = (tmp_path_factory.mktemp(name) for name in ("src", "wheels", "site"))
    names = ("setup.cfg", "pyproject.toml", "salt_diskless", "states", "README.md", "LICENSE")
    for name in names:
        subprocess.run(["cp", "-r", CHECKOUT / name, source], check=True)
    pip = [sys.executable, "-m", "pip", "-q"]
    apart = ["--no-deps", "--no-index"]
    build = [*pip, "wheel", *apart, "--no-build-isolation", "-w", wheels, source]
    subprocess.run(build, check=True)
    (wheel,) = wheels.glob("salt_diskless-*.whl")
    subprocess.run([*pip, "install", *apart, "--target", site, wheel], check=True)
    return site


@pytest.fixture(scope="session")
def salt_factories_config(
    tmp_path_factory: pytest.TempPathFactory, installed: pathlib.Path
) -> dict:
    """Every Salt process imports the installed package, not the checkout."""
    return {
        "start_timeout": 120,
        "root_dir": str(tmp_path_factory.mktemp("sf")),
        "environ": {**os.environ, "PYTHONPATH": str(installed)},
    }


@pytest.fixture(scope="package")
def master(salt_factories):
    """A master with the configuration that serves the SLS, and that docs/registry.md shows, with a
    schedule that does not wait for a minute."""
    tags = ("salt-diskless/node/register", "salt/netapi/hook/diskless/register")
    tags += ("salt/beacon/*/diskless_discovery/*", "salt/minion/*/start")
    overrides = {
        "fileserver_backend": ["roots", "diskless"],
        "ext_pillar": [{"diskless_nodes": {}}],
        "reactor": [{tag: ["salt://diskless/reactor/register.sls"]} for tag in tags],
        "schedule": {
            "diskless": {
                "function": "diskless.tell",
                "seconds": 5,
                "jid_include": False,
                "return_job": False,
            }
        },
        "auto_accept": True,
        "rest_cherrypy": {
            "host": "127.0.0.1",
            "port": get_unused_localhost_port(),
            "disable_ssl": True,
        },
        "netapi_enable_clients": ["runner"],
        "external_auth": {"sharedsecret": {"inventory": [], "operator": ["@runner"]}},
        "sharedsecret": "tell nobody",
        "pillar_opts": False,
    }
    factory = salt_factories.salt_master_daemon("diskless-master", overrides=overrides)
    with factory.started():
        yield factory


@pytest.fixture(scope="package")
def minion(master):
    # It does not wait long for a master that comes again.
    patience = {"recon_default": 100, "recon_max": 500, "recon_randomize": False}
    factory = master.salt_minion_daemon(MINION, overrides={"file_client": "remote", **patience})
    with factory.started():
        yield factory


@pytest.fixture
def cluster(pillar: dict, master, call) -> Iterator[dict]:
    """The pillar of three nodes, as the master gives it to the minion."""
    with (
        master.pillar_tree.base.temp_file("top.sls", f"base: {{{MINION}: [cluster]}}"),
        master.pillar_tree.base.temp_file("cluster.sls", yaml.safe_dump({"diskless": pillar})),
    ):
        assert call("saltutil.refresh_pillar", wait=True).data is True
        yield pillar


@pytest.fixture
def call(master, minion):
    """Return a function that has the minion do something, as ``salt bootserver ...``."""
    client = master.salt_cli(timeout=120)

    def run(*arguments: str, **named: object) -> ProcessResult:
        return client.run(*arguments, minion_tgt=MINION, **named)

    return run


@pytest.fixture
def runner(master, installed):
    """Return a function that has the master do something, as ``salt-run ...``."""
    environ = {**os.environ, "PYTHONPATH": str(installed)}
    return master.salt_run_cli(timeout=300, environ=environ).run


@pytest.fixture
def orchestrate(master, runner):
    """Return a function that has the master orchestrate the golden machines of a pillar, and
    returns the states in the order of the run."""

    def run(cluster: dict, sls: str = "golden") -> dict[str, dict]:
        text = yaml.safe_dump({"diskless": cluster})
        tree = master.pillar_tree.base
        with (
            tree.temp_file("top.sls", "base: {'*': [cluster]}"),
            tree.temp_file("cluster.sls", text),
        ):
            done = runner("state.orchestrate", f"diskless.orch.{sls}")
        (states,) = done.data["data"].values()
        assert isinstance(states, dict), states
        return dict(sorted(states.items(), key=lambda state: state[1]["__run_num__"]))

    return run
