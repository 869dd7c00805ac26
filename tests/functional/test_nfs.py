"""NFS exports: exportfs itself reads what is written, and its table is what counts."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import time
from collections.abc import Iterator

import pytest

from salt_diskless.services import nfs
from tests.lab.patience import Patience

EXPORTS = pathlib.Path("/etc/exports.d/diskless.exports")


@pytest.fixture(autouse=True)
def no_exports():
    yield
    EXPORTS.unlink(missing_ok=True)
    subprocess.run(["exportfs", "-r"], check=True)


@pytest.fixture
def location(pillar) -> str:
    """The image's location, with the directories that snapshots and versions make."""
    place = pathlib.Path(pillar["images"]["tiny"]["location"])
    for directory in ("versions", "snapshot/node001", "snapshot/node002", "snapshot/node003"):
        (place / directory).mkdir(parents=True)
    return str(place)


def exported(location: str) -> dict[str, set[str]]:
    """Return what exportfs says is exported below a location: path to clients."""
    said = subprocess.run(["exportfs", "-s"], check=True, capture_output=True, text=True).stdout
    found: dict[str, set[str]] = {}
    for line in said.splitlines():
        path, client = line.split(None, 1)
        if path.startswith(location):
            found.setdefault(path.removeprefix(location), set()).add(client.split("(")[0])
    return found


def test_managed_exports_root_and_snapshots_to_their_nodes_only(
    salt_call, pillar, location, testmode
):
    ret = salt_call(pillar, test=testmode).state("diskless_nfs.managed")
    assert (ret.result is None) is testmode, ret.comment
    assert f"{location}/snapshot/node[001-003]" in ret.changes["added"]["exports"]
    assert EXPORTS.exists() is not testmode
    if testmode:
        assert exported(location) == {}
        return
    assert exported(location) == {
        "/versions": {"10.77.0.11", "10.77.0.12", "10.77.0.73"},
        "/snapshot/node001": {"10.77.0.11"},
        "/snapshot/node002": {"10.77.0.12"},
        "/snapshot/node003": {"10.77.0.73"},
    }
    table = salt_call(pillar).modules["diskless_nfs.list"](ask=False, full=True)
    options = table["exported"][f"{location}/versions"]["10.77.0.11"].split(",")
    assert {"ro", "no_root_squash", "no_subtree_check"} <= set(options)
    options = table["exported"][f"{location}/snapshot/node003"]["10.77.0.73"].split(",")
    assert {"rw", "no_root_squash", "no_subtree_check"} <= set(options)
    assert table["drift"] == {}
    assert "*" not in EXPORTS.read_text()


def test_managed_again_changes_nothing(salt_call, pillar, location, testmode):
    salt_call(pillar).state("diskless_nfs.managed")
    before = EXPORTS.stat()
    ret = salt_call(pillar, test=testmode).state("diskless_nfs.managed")
    assert (ret.result, ret.changes) == (True, {})
    assert EXPORTS.stat() == before


def test_mountd_gets_its_registered_port(salt_call, pillar, testmode, listing):
    settings = pathlib.Path(pillar["lookup"]["nfs_settings"])
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_nfs.settings")
    assert (ret.result is None) is testmode, ret.comment
    assert ret.changes == {"added": {"files": [str(settings)]}}
    assert (listing() == before) is testmode
    if not testmode:
        command = ["nfsconf", "--file", str(settings), "--get", "mountd", "port"]
        said = subprocess.run(command, check=True, capture_output=True).stdout
        assert said == b"20048\n"
        assert salt_call(pillar).state("diskless_nfs.settings").changes == {}
        assert salt_call(pillar).state("diskless_nfs.absent").result is True
        assert not settings.exists()


def test_a_drift_of_the_table_is_seen_and_mended(salt_call, pillar, location, testmode):
    salt_call(pillar).state("diskless_nfs.managed")
    for command in (
        ["exportfs", "-u", f"10.77.0.11:{location}/snapshot/node001"],
        ["exportfs", "-o", "rw,no_subtree_check", f"10.77.0.99:{location}/snapshot/node002"],
        ["exportfs", "-o", "rw,no_subtree_check", f"10.77.0.73:{location}/versions"],
    ):
        subprocess.run(command, check=True)
    call = salt_call(pillar, test=testmode)
    assert call.modules["diskless_nfs.list"](ask=False, full=True)["drift"] == {
        "missing": [f"{location}/snapshot/node001 10.77.0.11"],
        "different": [f"{location}/versions 10.77.0.73"],
        "unwanted": [f"{location}/snapshot/node002 10.77.0.99"],
    }
    ret = call.state("diskless_nfs.managed")
    assert (ret.result is None) is testmode
    assert ret.changes["removed"]["exports"] == [f"{location}/snapshot/node002"]
    assert (exported(location)["/snapshot/node002"] == {"10.77.0.12"}) is not testmode


@contextlib.contextmanager
def running(command: list[str], ask: list[str]) -> Iterator[None]:
    """Run a daemon; it is there when a command that asks it gets its answer."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as daemon:
        try:
            patience = Patience(60)
            while subprocess.run(ask, check=False, capture_output=True).returncode:
                assert daemon.poll() is None, f"{command[0]} ended"
                assert not patience.is_over, f"{command[0]} does not answer"
                time.sleep(0.05)
            yield
        finally:
            daemon.terminate()


@pytest.fixture
def mountd():
    """The real mountd, in the network of these tests: it reads exportfs's table, also where the
    kernel has no NFS server.

    It registers with rpcbind once, when it starts, and runs on where that was refused: rpcbind has
    to answer before.
    """
    pathlib.Path("/run/rpcbind").mkdir(exist_ok=True)
    subprocess.run(["exportfs", "-r"], check=True)
    with (
        running(["/usr/sbin/rpcbind", "-f"], ["rpcinfo", "-p", "127.0.0.1"]),
        running(["/usr/sbin/rpc.mountd", "-F"], ["showmount", "-e", "127.0.0.1"]),
    ):
        yield


def test_what_mountd_shows_is_what_is_exported(salt_call, pillar, location, mountd):
    call = salt_call(pillar)
    assert call.state("diskless_nfs.managed").result is True
    answer = call.modules["diskless_nfs.list"](full=True)
    shown = {path: sorted(clients) for path, clients in answer["shown"].items()}
    assert shown == {path: sorted(clients) for path, clients in answer["exported"].items()}
    assert shown[f"{location}/snapshot/node003"] == ["10.77.0.73"]
    assert answer["not_shown"] == []
    del answer["shown"][f"{location}/snapshot/node003"]
    assert nfs.not_shown(answer["shown"]) == [f"{location}/snapshot/node003 10.77.0.73"]


def test_a_mountd_that_does_not_answer_is_said(salt_call, pillar, location):
    answer = salt_call(pillar).modules["diskless_nfs.list"](full=True)
    assert "showmount" in answer["shown"]
    assert "not_shown" not in answer


def test_a_node_that_goes_loses_its_exports(salt_call, pillar, location):
    salt_call(pillar).state("diskless_nfs.managed")
    del pillar["nodes"]["node003"]
    salt_call(pillar).state("diskless_nfs.managed")
    assert "/snapshot/node003" not in exported(location)
    assert exported(location)["/versions"] == {"10.77.0.11", "10.77.0.12"}


def test_when_exportfs_refuses_the_old_exports_come_back(
    salt_call, pillar, location, monkeypatch, tmp_path
):
    salt_call(pillar).state("diskless_nfs.managed")
    before, table = EXPORTS.read_text(), exported(location)
    # A word that exportfs does not know: what a bug of ours would look like to it.
    monkeypatch.setattr("salt_diskless.boot.exports.SNAPSHOT_OPTIONS", "rw,nonsense_option")
    ret = salt_call(pillar).state("diskless_nfs.managed")
    assert ret.result is False
    assert "nonsense_option" in ret.comment and "the old one is back" in ret.comment
    assert EXPORTS.read_text() == before
    assert exported(location) == table


def test_exports_of_others_are_left_alone(salt_call, pillar, location, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    pathlib.Path("/etc/exports.d/other.exports").write_text(f"{other} 10.1.1.1(ro)\n")
    try:
        salt_call(pillar).state("diskless_nfs.managed")
        assert (
            str(other)
            in subprocess.run(["exportfs", "-s"], check=True, capture_output=True, text=True).stdout
        )
        assert salt_call(pillar).state("diskless_nfs.absent").result is True
        assert exported(location) == {}
        assert str(other) in pathlib.Path("/var/lib/nfs/etab").read_text()
    finally:
        pathlib.Path("/etc/exports.d/other.exports").unlink()
