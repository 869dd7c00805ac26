"""Swap files: one for each node, whole or not there, never taken from a node that may use it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from salt_diskless import swapfiles
from tests.conftest import CHECKOUT
from tests.lab.patience import Patience

MIB = 1 << 20
EXPORTS = pathlib.Path("/etc/exports.d/diskless.exports")


@pytest.fixture
def pillar(pillar) -> dict:
    """node001 and node002 swap over NFS."""
    pillar["nodes"]["node[001-002]"]["swap"] = {"kind": "nfs", "size": "16M"}
    return pillar


@pytest.fixture
def swap(location) -> pathlib.Path:
    """Where the image's swap files are; the image's location is there."""
    location.mkdir(parents=True)
    return location / "swap"


def managed(salt_call, pillar) -> dict:
    """Apply, and return the changes of the first run; a second one has none."""
    ret = salt_call(pillar).state("diskless_swap.managed")
    assert ret.result is True, ret.comment
    assert salt_call(pillar).state("diskless_swap.managed").changes == {}
    return ret.changes


def begins_anew(swap: pathlib.Path, name: str = "node001", takes: bool = False) -> None:
    """Do what a node does: note that it boots, or that it takes its file, later than all before."""
    note = swap.parent / f"snapshot/{name}/.diskless/booted"
    if takes:
        note = swap / name / "taken"
    note.parent.mkdir(parents=True, exist_ok=True)
    before = max(path.lstat().st_ctime_ns for path in [*(swap / name).iterdir(), swap])
    note.write_text("20261124T155012\n")
    while note.stat().st_mtime_ns <= before:
        note.write_text("20261124T155012\n")


def test_managed_makes_a_whole_and_private_file_for_each_node(
    salt_call, pillar, swap, testmode, listing
):
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_swap.managed")
    assert (ret.result is None) is testmode, ret.comment
    assert ret.changes == {"added": {"nodes": "node[001-002]"}}
    assert (listing() == before) is testmode
    if testmode:
        return
    assert sorted(path.name for path in swap.iterdir()) == [".lock", "node001", "node002"]
    for name in ("node001", "node002"):
        status = (swap / name).stat()
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o700, 0, 0)
        file = swap / name / "swapfile"
        status = file.stat()
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o600, 0, 0)
        assert (status.st_size, status.st_nlink) == (16 * MIB, 1)
        assert status.st_blocks * 512 >= status.st_size
        with file.open("rb") as stream:
            assert os.lseek(stream.fileno(), 0, os.SEEK_HOLE) == 16 * MIB
        subprocess.run(["swaplabel", file], check=True, capture_output=True)
        kind = subprocess.run(
            ["blkid", "-p", "-o", "value", "-s", "TYPE", file], check=True, capture_output=True
        )
        assert kind.stdout == b"swap\n"


def test_managed_again_changes_nothing(salt_call, pillar, swap, testmode, listing):
    salt_call(pillar).state("diskless_swap.managed")
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_swap.managed")
    assert (ret.result, ret.changes) == (True, {})
    assert listing() == before


def test_where_no_node_swaps_over_nfs_there_is_not_even_a_directory(
    salt_call, pillar, swap, testmode
):
    del pillar["nodes"]["node[001-002]"]["swap"]
    ret = salt_call(pillar, test=testmode).state("diskless_swap.managed")
    assert (ret.result, ret.changes) == (True, {})
    assert not swap.exists()


def test_list_says_what_is_wanted_and_there(salt_call, pillar, swap):
    def listed() -> dict:
        return salt_call(pillar).modules["diskless_swap.list"](full=True)

    file = str(swap / "node002/swapfile")
    assert listed()["node002"] == {
        "path": file, "wanted": 16 * MIB, "bytes": None, "old": False
    }  # fmt: skip
    managed(salt_call, pillar)
    assert listed().keys() == {"node001", "node002"}
    assert listed()["node002"]["bytes"] == 16 * MIB


@pytest.fixture
def exported() -> Iterator[None]:
    """What exportfs is told in a test, it forgets after."""
    yield
    EXPORTS.unlink(missing_ok=True)
    subprocess.run(["exportfs", "-r"], check=True)


def test_each_file_is_exported_to_its_node_alone(salt_call, pillar, swap, exported):
    for name in ("versions", "snapshot/node001", "snapshot/node002", "snapshot/node003"):
        (swap.parent / name).mkdir(parents=True)
    managed(salt_call, pillar)
    call = salt_call(pillar)
    assert call.state("diskless_nfs.managed").result is True
    table = call.modules["diskless_nfs.list"](ask=False, full=True)
    assert table["drift"] == {}
    of_swap = {path: who for path, who in table["exported"].items() if "/swap/" in path}
    assert {path: list(who) for path, who in of_swap.items()} == {
        f"{swap}/node001": ["10.77.0.11"],
        f"{swap}/node002": ["10.77.0.12"],
    }
    for options in (who.popitem()[1].split(",") for who in of_swap.values()):
        assert {"rw", "sync", "no_root_squash"} <= set(options)
    pillar["nodes"]["node[001-002]"]["swap"] = "none"
    managed(salt_call, pillar)
    ret = salt_call(pillar).state("diskless_nfs.managed")
    assert ret.changes["removed"]["exports"] == [f"{swap}/node[001-002]"]
    assert str(swap) not in EXPORTS.read_text()


@pytest.mark.parametrize("takes", [False, True], ids=["booted", "took it by hand"])
def test_a_new_size_is_a_new_file_and_the_node_keeps_its_own_until_it_begins_anew(
    salt_call, pillar, swap, takes
):
    managed(salt_call, pillar)
    begins_anew(swap)
    file, old = swap / "node001/swapfile", swap / "node001/swapfile.old"
    used = file.stat().st_ino
    pillar["nodes"]["node[001-002]"]["swap"]["size"] = "24M"
    assert managed(salt_call, pillar) == {"changed": {"nodes": "node[001-002]"}}
    assert file.stat().st_size == (swap / "node002/swapfile").stat().st_size == 24 * MIB
    assert old.stat().st_ino == used != file.stat().st_ino
    assert not (swap / "node002/swapfile.old").exists(), "node002 never had it"
    assert salt_call(pillar).modules["diskless_swap.list"](full=True)["node001"]["old"] is True
    pillar["nodes"]["node[001-002]"]["swap"]["size"] = "32M"
    assert managed(salt_call, pillar) == {"changed": {"nodes": "node[001-002]"}}
    assert old.stat().st_ino == used, "the one in between was never in use"
    begins_anew(swap, takes=takes)
    assert managed(salt_call, pillar) == {"removed": {"old": "node001"}}
    assert not old.exists() and file.stat().st_size == 32 * MIB


@pytest.mark.parametrize("to", ["zram", "none"])
def test_a_file_that_is_not_wanted_goes_when_its_node_has_booted_again(salt_call, pillar, swap, to):
    managed(salt_call, pillar)
    begins_anew(swap)
    used = (swap / "node001/swapfile").stat().st_ino
    pillar["nodes"]["node[001-002]"]["swap"] = to
    assert managed(salt_call, pillar) == {
        "retired": {"nodes": "node001"},
        "removed": {"nodes": "node002"},
    }
    assert [path.name for path in (swap / "node001").iterdir()] == ["swapfile.old"]
    assert (swap / "node001/swapfile.old").stat().st_ino == used
    render = salt_call(pillar).modules["diskless_nfs.render"]
    assert f"{swap}/node001 10.77.0.11(rw," in render() and f"{swap}/node002" not in render()
    begins_anew(swap)
    assert f"{swap}" not in render()
    assert managed(salt_call, pillar) == {"removed": {"nodes": "node001"}}
    assert [path.name for path in swap.iterdir()] == [".lock"]


def test_a_file_that_is_wanted_again_is_a_new_one(salt_call, pillar, swap):
    managed(salt_call, pillar)
    begins_anew(swap)
    used = (swap / "node001/swapfile").stat().st_ino
    wanted = pillar["nodes"]["node[001-002]"].pop("swap")
    managed(salt_call, pillar)
    pillar["nodes"]["node[001-002]"]["swap"] = wanted
    assert managed(salt_call, pillar) == {"added": {"nodes": "node[001-002]"}}
    assert (swap / "node001/swapfile.old").stat().st_ino == used


def test_a_node_that_is_gone_from_the_pillar_loses_its_file(salt_call, pillar, swap, testmode):
    managed(salt_call, pillar)
    begins_anew(swap, "node002")
    node = pillar["nodes"].pop("node[001-002]")
    pillar["nodes"]["node001"] = {**node, "mac": node["mac"][0], "ip": "10.77.0.11"}
    ret = salt_call(pillar, test=testmode).state("diskless_swap.managed")
    assert ret.changes == {"removed": {"nodes": "node002"}}
    assert (swap / "node002").exists() is testmode
    assert (swap / "node001/swapfile").exists()


@pytest.mark.parametrize("what", ["link", "short", "device", "nothing"])
def test_what_a_node_made_of_its_file_is_made_right_again(salt_call, pillar, swap, tmp_path, what):
    managed(salt_call, pillar)
    begins_anew(swap)
    file, outside = swap / "node001/swapfile", tmp_path / "outside"
    outside.write_text("the server's own\n")
    file.unlink()
    if what == "link":
        file.symlink_to(outside)
    elif what == "short":
        file.write_bytes(b"x")
    elif what == "device":
        os.mknod(file, 0o60600, os.makedev(7, 99))
    assert list(managed(salt_call, pillar)) == ["changed" if what == "short" else "added"]
    assert file.lstat().st_size == 16 * MIB and file.is_file() and not file.is_symlink()
    assert outside.read_text() == "the server's own\n"


def test_a_node_that_stands_in_the_way_of_its_file_keeps_no_other_from_its_own(
    salt_call, pillar, swap
):
    (swap / "node001/swapfile").mkdir(parents=True)
    ret = salt_call(pillar).state("diskless_swap.managed")
    assert ret.result is False
    assert ret.comment == f"{swap}: Is a directory: node001"
    assert (swap / "node002/swapfile").is_file()
    assert not (swap / ".new").exists()


@pytest.fixture
def small_disk(location) -> Iterator[None]:
    """A disk of 40 MiB for the image."""
    location.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", location], check=True)
    yield
    subprocess.run(["umount", location], check=True)


def test_without_room_for_all_of_them_none_is_made_and_the_sum_is_said(
    salt_call, pillar, swap, small_disk, testmode
):
    pillar["nodes"]["node[001-002]"]["swap"]["size"] = "24M"
    ret = salt_call(pillar, test=testmode).state("diskless_swap.managed")
    assert ret.result is False
    assert ret.comment == (
        f"{swap}: found 41.9 MB of room, and new swap files take more: 50.3 MB for node[001-002] "
        "(image tiny); make room there, or give these nodes a smaller swap:size or another kind. "
        "No swap file was made or changed"
    )
    assert list(swap.parent.glob("swap/*/*")) == []
    # What is to be exported is there: exportfs refuses a file with a directory that is not.
    assert (swap / "node002").exists() is not testmode
    pillar["nodes"]["node[001-002]"]["swap"]["size"] = "16M"
    assert managed(salt_call, pillar) == {"added": {"nodes": "node[001-002]"}}


def test_a_disk_that_is_full_meanwhile_leaves_no_half_file(
    salt_call, pillar, swap, small_disk, monkeypatch
):
    pillar["nodes"]["node[001-002]"]["swap"]["size"] = "24M"
    monkeypatch.setattr(swapfiles, "_require_room", lambda todos: None)
    ret = salt_call(pillar).state("diskless_swap.managed")
    assert ret.result is False
    assert ret.comment == f"{swap}: No space left on device: node002"
    assert [path.name for path in swap.glob("*/*")] == ["swapfile"]
    assert not (swap / ".new").exists()


def running(pillar: dict) -> subprocess.Popen:
    """Make the files in another process."""
    script = (
        "import json, sys; from salt_diskless import cluster, swapfiles; "
        "site = cluster.parse(json.load(sys.stdin)).served_by('bootserver');"
        "swapfiles.managed(lambda: site)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, cwd=CHECKOUT, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(pillar))
    process.stdin.close()
    return process


def test_killed_half_way_nothing_counts_and_the_next_run_makes_it(salt_call, pillar, swap):
    pillar["nodes"]["node[001-002]"]["swap"]["size"] = "4G"
    process, half = running(pillar), swap / ".new/node001"
    patience = Patience(60)
    while not (half.exists() and half.stat().st_size > MIB):
        assert process.poll() is None and not patience.is_over
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert half.exists() and not (swap / "node001/swapfile").exists()
    pillar["nodes"]["node[001-002]"]["swap"]["size"] = "16M"
    assert managed(salt_call, pillar) == {"added": {"nodes": "node[001-002]"}}
    assert not (swap / ".new").exists()


def test_two_at_once_make_each_file_once(salt_call, pillar, swap):
    both = [running(pillar), running(pillar)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert managed(salt_call, pillar) == {}
    assert sorted(path.name for path in swap.iterdir()) == [".lock", "node001", "node002"]


def test_absent_removes_them_all_and_nothing_else(salt_call, pillar, swap, testmode, listing):
    managed(salt_call, pillar)
    begins_anew(swap)
    (swap / "mine.txt").write_text("an admin's\n")
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_swap.absent")
    assert ret.changes == {"removed": {"nodes": "node[001-002]"}}
    if testmode:
        assert ret.result is None and listing() == before
        return
    assert [path.name for path in swap.iterdir()] == ["mine.txt"]
    (swap / "mine.txt").unlink()
    assert salt_call(pillar).state("diskless_swap.absent").changes == {}
    assert not swap.exists()
