"""A sync meets a kill, a full disk, a dead network, another sync: what is published stays."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless.image import space
from salt_diskless.image.listing import listing as tree_listing
from tests.conftest import CHECKOUT
from tests.functional.conftest import root

pytestmark = pytest.mark.any_salt

_SYNC = """
import sys
from salt_diskless.cluster import Image, Source
from salt_diskless.image.sync import sync
sync(Image("tiny", "tiny", sys.argv[1], Source(directory=sys.argv[2])))
"""


def start_sync(location: pathlib.Path, golden: pathlib.Path) -> subprocess.Popen:
    command = [sys.executable, "-c", _SYNC, str(location), str(golden)]
    return subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def slow_initramfs(golden) -> pathlib.Path:
    """The golden root's mkinitramfs says that it runs, and does not end."""
    script = golden / "usr/sbin/mkinitramfs"
    script.write_text('#!/bin/sh\n: > "$2"\nsleep 600\n')
    return script


def wait_until_nobody_works_in(location: pathlib.Path, seconds: float = 20) -> None:
    """Wait until no process is left that was started to write below ``location``."""
    end = time.monotonic() + seconds
    while True:
        found = subprocess.run(["pgrep", "-f", str(location)], capture_output=True, check=False)
        if not found.stdout:
            return
        assert time.monotonic() < end, f"still at work in {location}: {found.stdout.decode()}"
        time.sleep(0.05)


def wait_for(path: pathlib.Path, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.02)


def kill_while_it_builds(location: pathlib.Path, golden: pathlib.Path) -> None:
    """Kill a sync while it builds the initramfs, which takes its time."""
    running = start_sync(location, golden)
    wait_for(location / ".staging/boot/initrd.img-6.1.0-9-test-diskless.new")
    running.kill()
    running.wait()
    wait_until_nobody_works_in(location)


def test_killed_half_way_it_leaves_the_published_version_and_the_next_sync_goes_on(
    salt_call, pillar, location, golden, slow_initramfs
):
    fast = slow_initramfs.read_text().replace("sleep 600", "true")
    slow = slow_initramfs.read_text()
    slow_initramfs.write_text(fast)
    salt_call(pillar).state("diskless_image.synced")
    before = root(location)
    slow_initramfs.write_text(slow)
    kill_while_it_builds(location, golden)
    assert root(location) == before
    assert [version.name for version in (location / "versions").iterdir()] == [before.name]
    slow_initramfs.write_text(fast + "# newer\n")
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    assert root(location) != before
    assert not (location / ".staging").exists()
    left = [str(path) for path in root(location).rglob("*.new")]
    assert left == []


def test_what_a_killed_sync_has_copied_is_not_sent_again(
    salt_call, pillar, location, golden, slow_initramfs, sshd
):
    slow = slow_initramfs.read_text()
    pillar["images"]["tiny"]["source"] = sshd
    place = golden / "usr/share/large"
    place.mkdir(parents=True)
    for number in range(200):
        (place / f"{number:03d}").write_bytes(os.urandom(100_000))
    running = start_sync(location, golden)
    wait_for(location / ".staging/usr/share/large/099")
    running.send_signal(signal.SIGKILL)
    running.wait()
    wait_until_nobody_works_in(location)
    kept = [path for path in location.glob(".staging/usr/share/large/???") if path.stat().st_size]
    assert len(kept) > 90
    slow_initramfs.write_text(slow.replace("sleep 600", "true"))
    assert salt_call(pillar).state("diskless_image.synced").result is True
    shown = salt_call(pillar).modules["diskless_image.show"]("tiny")
    assert shown["bytes_total"] > 20_000_000
    assert shown["bytes_sent"] < shown["bytes_total"] - len(kept) * 100_000 + 1_000_000


def test_what_a_killed_sync_had_linked_is_not_changed_in_place(
    salt_call, pillar, location, golden, slow_initramfs
):
    slow = slow_initramfs.read_text()
    slow_initramfs.write_text(slow.replace("sleep 600", "true"))
    (golden / "etc/shared").write_text("the same in both\n")
    salt_call(pillar).state("diskless_image.synced")
    before, was = root(location), state_of(root(location))
    slow_initramfs.write_text(slow)
    kill_while_it_builds(location, golden)
    assert (location / ".staging/etc/shared").stat().st_ino == (before / "etc/shared").stat().st_ino
    (golden / "etc/shared").chmod(0o600)
    os.setxattr(golden / "etc/shared", "user.new", b"1")
    slow_initramfs.write_text(slow.replace("sleep 600", "true"))
    assert salt_call(pillar).state("diskless_image.synced").result is True
    assert state_of(before) == was
    assert os.listxattr(before / "etc/shared") == []
    assert os.getxattr(root(location) / "etc/shared", "user.new") == b"1"


def test_while_a_sync_runs_nothing_else_changes_the_images_versions(
    salt_call, pillar, location, golden, listing
):
    call = salt_call(pillar)
    for content in ("one\n", "two\n"):
        (golden / "etc/motd").write_text(content)
        assert call.state("diskless_image.synced").result is True
    slow = golden / "usr/sbin/mkinitramfs"
    slow.write_text('#!/bin/sh\n: > "$2"\nsleep 600\n')
    running = start_sync(location, golden)
    try:
        wait_for(location / ".staging/boot/initrd.img-6.1.0-9-test-diskless.new")
        before = listing()
        assert "of it that still runs" in call.state("diskless_image.synced").comment
        newest = root(location).name
        for name, arguments in (
            ("sync", {}),
            ("sync", {"name": "tiny", "live": True}),
            ("freeze", {"name": "tiny"}),
            ("publish", {"name": "tiny", "version": newest}),
            ("rollback", {"name": "tiny"}),
            ("prune", {"keep": 1}),
        ):
            with pytest.raises(CommandExecutionError, match="found a sync, publish or prune of it"):
                call.modules[f"diskless_image.{name}"](**arguments)
        # What only looks does not have to wait.
        assert call.modules["diskless_image.prune"](keep=1, test=True)["tiny"]["removed"]
        assert listing() == before
    finally:
        running.kill()
        running.wait()


def test_a_disk_that_went_read_only_is_said_with_its_path(salt_call, pillar, location):
    location.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(location)], check=True)
    try:
        ret = salt_call(pillar).state("diskless_image.synced")
        assert ret.result is False
        assert ret.comment == (
            f"diskless:images:tiny: found {location} failing: Read-only file system "
            f"({location}/.lock); mount that file system read-write and run the command again"
        )
    finally:
        subprocess.run(["umount", str(location)], check=True)


@pytest.fixture
def larger(golden: pathlib.Path) -> pathlib.Path:
    """A golden root that it takes a while to copy."""
    for number in range(800):
        place = golden / f"usr/share/{number % 50:02d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}").write_bytes(os.urandom(2000))
    return golden


def content(tree: pathlib.Path) -> dict[str, bytes]:
    """Return every regular file of a tree with what it holds."""
    return {
        str(path.relative_to(tree)): path.read_bytes()
        for path in tree.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def state_of(version: pathlib.Path) -> tuple[str, dict[str, bytes]]:
    """Return all that a version is: the digest of its listing, and what its files hold."""
    return tree_listing(str(version)).digest, content(version)


def test_killed_at_twenty_moments_what_is_published_is_what_it_was(
    salt_call, pillar, location, larger
):
    begun = time.monotonic()
    start_sync(location, larger).communicate()
    takes = time.monotonic() - begun
    reached = set()
    for moment in range(1, 21):
        before, was = root(location), state_of(root(location))
        for number in range(0, 800, 7):
            path = larger / f"usr/share/{number % 50:02d}/{number}"
            path.write_text(f"{moment} {number}\n")
        running = start_sync(location, larger)
        if moment % 2:
            time.sleep(takes * (moment - 1) / 20)
        else:
            wait_for(location / ".staging")
            time.sleep(takes * (moment - 2) / 100)
        running.send_signal(signal.SIGKILL)
        running.communicate()
        wait_until_nobody_works_in(location)
        assert state_of(before) == was, moment
        now = root(location)
        reached.add((now != before, (location / ".staging").exists()))
        if now != before:
            assert content(now)["usr/share/00/0"] == b"%d 0\n" % moment
        ret = salt_call(pillar).state("diskless_image.synced")
        assert ret.result is True, (moment, ret.comment)
        assert content(root(location))["usr/share/27/777"] == b"%d 777\n" % moment
        assert not (location / ".staging").exists()
        salt_call(pillar).modules["diskless_image.prune"](keep=1)
    # The moments were before, during and perhaps after the work.
    assert (False, True) in reached and (False, False) in reached


@pytest.fixture
def small_disk(location: pathlib.Path) -> Iterator[Callable[[int], None]]:
    """The image is on a disk of 32 MB; gives a function that makes it larger, in MB."""
    location.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "none", str(location), "-o"]
    subprocess.run([*mount, "size=32m"], check=True)
    yield lambda size: subprocess.run([*mount, f"remount,size={size}m"], check=True)
    subprocess.run(["umount", "-l", str(location)], check=True)


def test_a_disk_that_fills_up_is_said_and_with_more_room_the_next_sync_goes_on(
    salt_call, pillar, location, larger, small_disk, monkeypatch
):
    assert salt_call(pillar).state("diskless_image.synced").result is True
    before, was = root(location), state_of(root(location))
    (larger / "usr/share/large").write_bytes(os.urandom(40 << 20))
    # There was room when the sync looked.
    with monkeypatch.context() as patched:
        patched.setattr(space, "require", lambda image, difference: None)
        ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert "is the disk full?" in ret.comment and "No space left" in ret.comment
    assert root(location) == before and state_of(before) == was
    assert salt_call(pillar, test=True).state("diskless_image.synced").result is None
    small_disk(200)
    assert salt_call(pillar).state("diskless_image.synced").result is True
    assert (root(location) / "usr/share/large").stat().st_size == 40 << 20


@pytest.mark.parametrize("live", [False, True], ids=["a version", "in place"])
def test_what_will_not_fit_is_refused_before_anything_is_copied(
    salt_call, pillar, location, larger, small_disk, live
):
    pillar["images"]["tiny"]["live"] = live
    call = salt_call(pillar)
    assert call.state("diskless_image.synced").result is True
    before, was = root(location), state_of(root(location))
    (larger / "usr/share/large").write_bytes(os.urandom(40 << 20))
    says = r"tiny: found [0-9.]+ MB of room below .*, and a new version takes 4[0-9.]+ MB more"
    with pytest.raises(CommandExecutionError, match=says):
        call.modules["diskless_image.sync"]("tiny", live=live)
    assert root(location) == before and state_of(before) == was
    assert not any(location.glob(".staging/*"))
    # A hole takes no room, and what a killed sync has copied already takes no more.
    with open(larger / "usr/share/large", "wb") as stream:
        stream.truncate(1 << 30)
    (larger / "usr/share/fits").write_bytes(os.urandom(20 << 20))
    (location / ".staging/usr/share").mkdir(parents=True, exist_ok=True)
    shutil.copy2(larger / "usr/share/fits", location / ".staging/usr/share/fits")
    assert call.modules["diskless_image.sync"]("tiny", live=live)["tiny"]["changed"]
    assert (root(location) / "usr/share/fits").stat().st_size == 20 << 20


def test_the_first_version_has_to_fit_too(salt_call, pillar, location, larger, small_disk):
    (larger / "usr/share/large").write_bytes(os.urandom(40 << 20))
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert "of room below" in ret.comment
    assert not (location / "root").exists() and not any(location.glob(".staging/*"))
    small_disk(200)
    assert salt_call(pillar).state("diskless_image.synced").result is True


def test_a_network_that_is_unplugged_ends_the_sync_and_the_next_one_goes_on(
    salt_call, pillar, location, golden, sshd
):
    pillar["images"]["tiny"]["source"] = sshd
    assert salt_call(pillar).state("diskless_image.synced").result is True
    before, was = root(location), state_of(root(location))
    (golden / "large").write_bytes(os.urandom(200 << 20))
    call = salt_call(pillar)
    with cut_when(lambda: any(location.glob(".staging/.large.*"))):
        ret = call.state("diskless_image.synced")
    assert ret.result is False
    assert "the connection broke" in ret.comment, ret.comment
    assert root(location) == before and state_of(before) == was
    assert salt_call(pillar).state("diskless_image.synced").result is True
    assert (root(location) / "large").stat().st_size == 200 << 20


@contextlib.contextmanager
def cut_when(sign: Callable[[], bool]) -> Iterator[None]:
    """Take the network away when ``sign`` comes true, and give it back at the end."""

    def watch() -> None:
        while not sign() and not over.wait(0.001):
            pass
        subprocess.run(["ip", "link", "set", "lo", "down"], check=True)

    over = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
