"""The one writer: all of a change or nothing of it, one at a time, and readable by the daemons."""

from __future__ import annotations

import fcntl
import os
import pathlib
import subprocess
import sys
import time

import pytest

from salt_diskless import tree
from salt_diskless.cluster import DisklessError
from tests.conftest import CHECKOUT


@pytest.fixture
def small_disk(tmp_path: pathlib.Path):
    """A file system of four pages."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def marked(text: str) -> bytes:
    return tree.header("a test").encode() + text.encode()


@pytest.mark.parametrize("size", [9000, 20000], ids=["the last file", "a part of one file"])
def test_on_a_disk_that_is_full_everything_stays_as_it_was(small_disk, size):
    first, second = f"{small_disk}/a", f"{small_disk}/new/b"
    old = {first: marked("old")}
    tree.apply(tree.compare(old), old)
    files = {first: marked("new"), second: marked("x" * size)}
    (small_disk / "filler").write_bytes(bytes(4096))
    with pytest.raises(DisklessError, match=r"new/b: cannot be written: No space left on device"):
        tree.apply(tree.compare(files), files)
    assert pathlib.Path(first).read_bytes() == marked("old")
    assert sorted(os.listdir(small_disk)) == ["a", "filler"]


def test_a_refusal_of_the_last_file_leaves_the_first_as_it_was(tmp_path):
    files = {f"{tmp_path}/{name}": marked(name) for name in ("a", "b")}

    def check(path: str) -> None:
        if path.startswith(f"{tmp_path}/b"):
            raise DisklessError("no")

    with pytest.raises(DisklessError):
        tree.apply(tree.compare(files), files, check)
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_a_file_is_said(tmp_path):
    (tmp_path / "file").touch()
    files = {f"{tmp_path}/file/below": marked("x")}
    with pytest.raises(DisklessError, match="file/below: cannot be written"):
        tree.apply(tree.compare(files), files)


def test_a_file_that_is_a_directory_is_said(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(DisklessError, match="a: cannot be read: Is a directory"):
        tree.compare({f"{tmp_path}/a": marked("x")})


def test_a_file_that_is_longer_than_it_should_be_is_read_to_its_end(tmp_path):
    (tmp_path / "a").write_bytes(marked("x" * 100_000))
    assert tree.read(f"{tmp_path}/a", 10) == marked("x" * 100_000)
    files = {f"{tmp_path}/a": marked("x" * 99_999)}
    assert tree.compare(files).changed == (f"{tmp_path}/a",)


_WRITE = """
import sys
from salt_diskless import tree
files = {sys.argv[1]: tree.header("a test").encode()}
tree.apply(tree.compare(files), files)
"""


def is_waiting(pid: int) -> bool:
    """Tell whether a process waits for a lock that another one has (proc(5), /proc/locks)."""
    rows = (line.split() for line in pathlib.Path("/proc/locks").read_text().splitlines())
    return any("->" in row and str(pid) in row for row in rows)


def test_two_that_write_at_a_time_wait_for_each_other(tmp_path):
    os.makedirs(tree.RUNTIME, exist_ok=True)
    path = tmp_path / "written"
    with open(f"{tree.RUNTIME}/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = subprocess.Popen([sys.executable, "-c", _WRITE, str(path)], cwd=CHECKOUT)
        end = time.monotonic() + 30
        while not is_waiting(other.pid):
            assert other.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        assert list(tmp_path.iterdir()) == []
    assert other.wait(timeout=30) == 0
    assert path.exists()


def test_the_umask_of_the_admins_shell_hides_nothing_from_the_daemons(salt_call, pillar):
    before = os.umask(0o077)
    try:
        call = salt_call(pillar)
        for name in ("diskless_image.synced", "diskless_snapshot.managed"):
            assert call.state(name).result is True
        for name in ("tftp", "dhcpd"):
            assert call.state(f"diskless_{name}.managed").result is True
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    location = pathlib.Path(pillar["images"]["tiny"]["location"])
    tftp = pathlib.Path(pillar["lookup"]["tftp_root"])
    served = [tftp, *tftp.rglob("*"), pathlib.Path(pillar["lookup"]["dhcp_config"])]
    served += [location, location / "versions", (location / "root").resolve()]
    hidden = [str(path) for path in served if path.stat().st_mode & 0o044 != 0o044]
    assert hidden == []
    assert (location / "snapshot/node001").stat().st_mode & 0o7777 == 0o700
