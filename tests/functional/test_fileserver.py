"""The SLS of the package, as Salt's file server has them in each environment."""

from __future__ import annotations

import pytest
import salt.config
import salt.fileserver

from tests.conftest import CHECKOUT

SLS = "diskless/init.sls"


@pytest.fixture
def server(tmp_path):
    """Return a function that makes Salt's file server with settings of the master."""

    def make(**settings: object) -> salt.fileserver.Fileserver:
        opts = salt.config.master_config(None)
        opts.update(
            cachedir=str(tmp_path / "cache"),
            fileserver_backend=["roots", "diskless"],
            fileserver_dirs=[str(CHECKOUT / "salt_diskless/fileserver")],
            file_roots={"base": [], "prod": [], "__env__": []},
        )
        opts.update(settings)
        return salt.fileserver.Fileserver(opts)

    return make


@pytest.mark.parametrize("saltenv", ["base", "prod", "dev", "feature/x", "__env__"])
def test_every_environment_has_the_files(server, saltenv):
    files = server()
    found = files.find_file(SLS, saltenv)
    assert found["rel"] == SLS
    assert SLS in files.file_list({"saltenv": saltenv})
    assert "diskless/orch" in files.dir_list({"saltenv": saltenv})
    load = {"path": SLS, "saltenv": saltenv, "loc": 0}
    assert b"include" in files.serve_file(load)["data"]
    assert len(files.file_hash({"path": SLS, "saltenv": saltenv})["hsum"]) == 64
    assert not files.find_file("diskless/../../setup.cfg", saltenv)["path"]


def test_configured_environments_are_named(server):
    files = server(pillar_roots={"base": [], "test": []}, saltenv="dev")
    assert {"base", "prod", "test", "dev"} <= {*files.envs(back=["diskless"])}
    assert "__env__" not in files.envs(back=["diskless"])


@pytest.mark.parametrize("given", ["prod", ["prod"], ("prod", "qa")])
def test_a_setting_limits_the_environments(server, given):
    files = server(diskless_saltenvs=given)
    assert files.find_file(SLS, "prod")["path"]
    assert SLS in files.file_list({"saltenv": "prod"})
    for other in ("base", "dev"):
        assert not files.find_file(SLS, other)["path"]
        assert SLS not in files.file_list({"saltenv": other})
    assert "prod" in files.envs(back=["diskless"]) and "base" not in files.envs(back=["diskless"])


@pytest.mark.parametrize("given", [7, {"prod": 1}, [7], [""], [["prod"]]])
def test_a_wrong_setting_is_named(server, given):
    files = server(diskless_saltenvs=given)
    assert "diskless.envs" not in files.servers
    said = files.servers.missing_fun_string("diskless.envs")
    assert "diskless_saltenvs: found" in said and "give a list of environments" in said


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../../../../etc/passwd", "diskless/../../setup.cfg", "diskless", ""),
        *("diskless/./init.sls", "diskless//init.sls", "diskless/init.sls\0", "x" * 5000, "."),
        *(7, None, ["diskless/init.sls"]),
    ],
)
def test_the_backend_serves_only_what_it_lists(server, path):
    """Whatever Salt has checked before: the backend itself has no other file."""
    find = server().servers["diskless.find_file"]
    for saltenv in ("base", "prod", None, ["base"], 7):
        assert find(path, saltenv) == {"path": "", "rel": ""}


def test_each_file_that_is_listed_is_served(server):
    files = server()
    for path in files.servers["diskless.file_list"]({"saltenv": "prod", "prefix": None}):
        assert files.find_file(path, "prod")["rel"] == path
