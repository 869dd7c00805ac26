"""A node is root in its own snapshot: links, devices and pipes there lead the server nowhere."""

from __future__ import annotations

import os
import pathlib
import socket
import stat
import threading
from collections.abc import Iterator

import pytest

from salt_diskless.disk import exchange
from tests.functional.test_hostile_root import time_limit, untouched

pytestmark = pytest.mark.any_salt

PATHS = (
    *(".diskless", ".diskless/booted", ".diskless/entries", ".diskless/identity"),
    *(".diskless/identity/hostname", ".diskless/identity/machine-id", ".diskless/identity/pki"),
    *(".diskless/identity/pki/minion", ".diskless/identity/pki/minion/minion.pub"),
    *(".diskless/stage", "etc", "root", "var", "var/lib", "var/lib/thing", "var/log"),
)
KINDS = ("absolute", "relative", "chained", "dangling", "pipe", "device", "socket", "file")


@pytest.fixture(autouse=True)
def ends() -> Iterator[None]:
    """A test that hangs fails."""
    with time_limit(60):
        yield


@pytest.fixture
def server(tmp_path: pathlib.Path) -> pathlib.Path:
    """What looks like each part of a snapshot, and is the server's own."""
    directory = tmp_path / "server"
    for name in ("identity/pki/minion", "pki/minion", "minion", "log", "lib/thing", "thing"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for name in ("booted", "stage", "entries", "hostname", "minion.pub", "identity/machine-id"):
        (directory / name).write_text("SECRET of the server\n")
    directory.chmod(0o700)
    return directory


@pytest.fixture
def base(location: pathlib.Path, salt_call, pillar: dict, golden: pathlib.Path) -> pathlib.Path:
    """The snapshots of three nodes whose image has a Salt minion."""
    (golden / "etc/salt").mkdir()
    (golden / "etc/salt/minion").write_text("")
    (golden / "var/lib/thing").mkdir()
    (golden / "var/lib/thing/file").write_text("of the version")
    pillar["profiles"]["compute"]["files"] = ["/var/log", "/root", "/var/lib/thing"]
    assert salt_call(pillar).state("diskless_image.synced").result is True
    assert salt_call(pillar).state("diskless_snapshot.managed").result is True
    return location / "snapshot"


def put(kind: str, path: pathlib.Path, server: pathlib.Path) -> None:
    """Put something into a snapshot in place of what is there."""
    if path.is_dir() and not path.is_symlink():
        path.rename(path.parent / f"{path.name}.away")
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    target = server / path.name if path.name != ".diskless" else server
    if not target.exists():
        target = server
    if kind == "absolute":
        path.symlink_to(target)
    elif kind == "relative":
        path.symlink_to("../" * 40 + str(target).lstrip("/"))
    elif kind == "chained":
        (path.parent / "chain").symlink_to(target)
        path.symlink_to("chain")
    elif kind == "dangling":
        path.symlink_to(server / "nothing/here")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
        os.chdir(here)
    else:
        path.write_text("the node's\n")


def use(salt_call, pillar: dict) -> str:
    """Call every function that reads or writes snapshots; return what they say."""
    said = []
    for test in (True, False):
        ret = salt_call(pillar, test=test).state("diskless_snapshot.managed")
        said.append(f"{ret.result} {ret.comment} {ret.changes}")
    salt = salt_call(pillar)
    for name, arguments in (
        ("diskless_snapshot.list", {}),
        ("diskless_snapshot.usage", {}),
        ("diskless_snapshot.apply", {"check": True}),
        ("diskless_snapshot.minion_keys", {}),
        ("diskless.status", {}),
        ("diskless_node.progress", {"names": "node[001-003]"}),
        ("diskless_image.prune", {"keep": 1}),
    ):
        try:
            said.append(str(salt.modules[name](**arguments)))
        except Exception as err:
            assert "Traceback" not in str(err) and "snapshot" in str(err), repr(err)
            said.append(str(err))
    return "\n".join(said)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_in_a_snapshot_leads_out_of_it(salt_call, pillar, base, server, path, tmp_path):
    before = untouched(server)
    for kind in KINDS:
        put(kind, base / "node001" / path, server)
        said = use(salt_call, pillar)
        assert "SECRET" not in said, kind
        assert untouched(server) == before, kind
        # The other nodes' snapshots are not worse for it.
        assert (base / "node002/var/lib/thing/file").read_text() == "of the version"


def test_what_a_link_leads_to_is_not_reported_as_a_stage(salt_call, pillar, base, server):
    """The first lines of the server's own files would be read by whoever may ask for a status."""
    from salt_diskless.cluster import parse
    from salt_diskless.image import running

    image = parse(pillar).images["tiny"]
    version = os.path.basename(os.readlink(base.parent / "root"))
    (server / "booted").write_text(f"{version}\n")
    put("absolute", base / "node001/.diskless", server)
    (base / "node002/.diskless/booted").write_text(f"{version}\n")
    assert list(running.booted(image)[version]) == ["node002"]
    assert running.stages(image) == {}


def test_a_snapshot_that_changes_while_it_is_seeded(salt_call, pillar, base, server):
    """A node changes a directory to a link and back all the time."""
    before = untouched(server)
    node = base / "node001"
    (node / "flip").symlink_to(server)
    ends = threading.Event()

    def flip() -> None:
        while not ends.is_set():
            exchange(os.fsencode(node / "var"), os.fsencode(node / "flip"))
            exchange(os.fsencode(node / "var"), os.fsencode(node / "flip"))

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        for _ in range(5):
            use(salt_call, pillar)
    finally:
        ends.set()
        thread.join()
    assert untouched(server) == before
