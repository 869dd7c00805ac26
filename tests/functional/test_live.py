"""A published version is changed in place: what nodes hold stays, and so do other versions."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless.image import live
from tests.conftest import CHECKOUT
from tests.functional.conftest import root
from tests.functional.test_faults import state_of, wait_until_nobody_works_in
from tests.functional.test_hostile import described, put_hostile_files

pytestmark = pytest.mark.any_salt

LIBC = ctypes.CDLL(None, use_errno=True)
#: As fcntl.h has them.
AT_FDCWD, MAX_HANDLE = -100, 128


class Handle(ctypes.Structure):
    """A file by its inode, as an NFS server knows it between two calls of a client: to open it is
    ESTALE when the inode is gone (open_by_handle_at(2))."""

    _fields_ = [
        ("bytes", ctypes.c_uint),
        ("type", ctypes.c_int),
        ("handle", ctypes.c_char * MAX_HANDLE),
    ]

    @classmethod
    def of(cls, path: pathlib.Path) -> Handle:
        handle, mount = cls(bytes=MAX_HANDLE), ctypes.c_int()
        failed = LIBC.name_to_handle_at(
            AT_FDCWD, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount), 0
        )
        assert not failed, os.strerror(ctypes.get_errno())
        return handle

    def read(self, file_system: int) -> bytes:
        descriptor = LIBC.open_by_handle_at(file_system, ctypes.byref(self), os.O_RDONLY)
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        with open(descriptor, "rb") as stream:
            return stream.read()


class Node:
    """Holds every file of a tree as a node does, and reads it again."""

    def __init__(self, tree: pathlib.Path):
        self.file_system = os.open(tree, os.O_RDONLY)
        self.held = [
            (path, Handle.of(path), path.read_bytes())
            for path in sorted(tree.rglob("*"))
            if stat.S_ISREG(path.lstat().st_mode)
        ]

    def stale(self) -> list[str]:
        """Return the files that cannot be read any more or are not what they were."""
        found = []
        for path, handle, content in self.held:
            try:
                if handle.read(self.file_system) != content:
                    found.append(f"{path}: torn")
            except OSError as err:
                found.append(f"{path}: {err.strerror}")
        return found


@pytest.fixture
def call(salt_call, pillar, golden):
    """Salt's loader, and a published version of an image that may be changed in place."""
    pillar["images"]["tiny"]["live"] = True
    put(golden, 0)
    made = salt_call(pillar)
    assert made.state("diskless_image.synced").result is True
    assert made.state("diskless_snapshot.managed").result is True
    assert made.state("diskless_tftp.managed").result is True
    return made


def put(golden: pathlib.Path, number: int) -> None:
    """Have forty files, of which every third is new, changed or gone with each number."""
    place = golden / "usr/lib/many"
    shutil.rmtree(place, ignore_errors=True)
    for index in range(40):
        path = place / f"{index % 4}/lib{index}.so.1"
        path.parent.mkdir(parents=True, exist_ok=True)
        if (index + number) % 3:
            path.write_text(f"{index} of {number if index % 2 else 0}\n" * 50)
            os.utime(path, (number if index % 2 else 0,) * 2)


def sync_live(call, **arguments) -> dict:
    return call.modules["diskless_image.sync"]("tiny", live=True, **arguments)["tiny"]


def note(location: pathlib.Path, node: str, version: str) -> None:
    """Have a node boot a version."""
    (location / f"snapshot/{node}/.diskless/booted").write_text(f"{version}\n")


def test_fifty_changes_in_place_and_nothing_that_a_node_holds_is_stale(call, location, golden):
    version = root(location)
    note(location, "node001", version.name)
    node = Node(version)
    for number in range(1, 51):
        put(golden, number)
        assert sync_live(call)["changed"], number
        assert node.stale() == []
        node.held += Node(version).held
    assert root(location) == version
    assert [path.name for path in (location / "versions").iterdir()] == [version.name]
    assert described(version / "usr/lib/many") == described(golden / "usr/lib/many")


def test_the_same_by_plain_rsync_leaves_stale_files(call, location, golden):
    version = root(location)
    node = Node(version)
    put(golden, 1)
    place = "usr/lib/many/"
    subprocess.run(
        ["rsync", "-a", "--delete", f"{golden}/{place}", f"{version}/{place}"], check=True
    )
    assert any("Stale file handle" in path for path in node.stale())


def test_other_versions_are_what_they_were_in_every_byte_and_attribute(call, location, golden):
    shared = golden / "usr/share/shared"
    shared.parent.mkdir(parents=True, exist_ok=True)
    shared.write_text("in all versions\n")
    call.state("diskless_image.synced")
    (golden / "etc/motd").write_text("the second one\n")
    call.state("diskless_image.synced")
    first, second = sorted((location / "versions").iterdir())[-2:]
    inode = (first / "usr/share/shared").stat().st_ino
    assert (second / "usr/share/shared").stat().st_ino == inode
    was = state_of(first)
    shared.chmod(0o600)
    os.chown(shared, 12, 34)
    os.setxattr(shared, "user.new", b"1")
    put(golden, 2)
    assert sync_live(call)["changed"]
    assert state_of(first) == was
    assert os.listxattr(first / "usr/share/shared") == []
    status = (second / "usr/share/shared").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o600, 12, 34)
    assert os.getxattr(second / "usr/share/shared", "user.new") == b"1"
    assert status.st_ino != inode


def test_names_types_links_and_attributes_of_every_kind_come_in_place(call, location, golden):
    version = root(location)
    note(location, "node001", version.name)
    hostile = golden / "usr/hostile"
    put_hostile_files(hostile)
    (golden / "usr/share/was/a/tree").mkdir(parents=True)
    (golden / "usr/share/becomes").write_text("a file\n")
    assert sync_live(call)["changed"]
    assert described(version / "usr/hostile") == described(hostile)
    node = Node(version / "usr")
    shutil.rmtree(golden / "usr/share/was")
    (golden / "usr/share/was").symlink_to("becomes")
    (golden / "usr/share/becomes").unlink()
    (golden / "usr/share/becomes/deep").mkdir(parents=True)
    (golden / "usr/share/becomes/deep/file").write_text("in a directory now\n")
    (golden / "usr/share/becomes").chmod(0o711)
    os.chown(golden / "usr/share", 5, 6)
    shutil.move(hostile / "below", golden / "usr/moved")
    assert sync_live(call)["changed"]
    for path in ("hostile", "moved", "share/becomes"):
        assert described(version / "usr" / path) == described(golden / "usr" / path)
    assert (version / "usr/share/was").readlink() == pathlib.Path("becomes")
    assert ((version / "usr/share").stat().st_uid, (version / "usr/share").stat().st_gid) == (5, 6)
    assert node.stale() == []
    assert sync_live(call)["changed"] is False


def test_what_was_moved_aside_stays_until_the_nodes_that_may_have_it_have_booted(
    call, salt_call, pillar, location, golden
):
    version = root(location).name
    for name in ("node001", "node002"):
        note(location, name, version)
    note(location, "node003", "20000101T000000")
    put(golden, 1)
    sync_live(call)
    (when,) = call.modules["diskless_image.show"]("tiny")["aside"].items()
    assert when[1] == "node[001-002]"
    assert stat.S_IMODE((location / "aside").stat().st_mode) == 0o700
    note(location, "node001", version)
    call.modules["diskless_image.prune"]()
    assert list(call.modules["diskless_image.show"]("tiny")["aside"].values()) == ["node002"]
    note(location, "node002", version)
    call.modules["diskless_image.prune"](test=True)
    assert (location / "aside").is_dir()
    call.modules["diskless_image.prune"]()
    assert not any((location / "aside").iterdir())
    assert call.modules["diskless_image.show"]("tiny")["aside"] == {}


def test_what_nodes_have_mounted_something_on_is_left_for_the_next_version(
    call, salt_call, pillar, location, golden
):
    pillar["profiles"]["compute"]["files"] = ["/etc/local/file", "/srv/data"]
    for path in ("etc/local/file", "srv/data/inside", "etc/resolv.conf"):
        (golden / path).parent.mkdir(parents=True, exist_ok=True)
        (golden / path).write_text("before\n")
    call = salt_call(pillar)
    assert call.state("diskless_image.synced").result is True
    version = root(location)
    inode = (version / "etc/local/file").stat().st_ino
    (golden / "etc/local/file").write_text("after\n")
    shutil.rmtree(golden / "srv/data")
    assert sync_live(call)["changed"] is False
    (golden / "etc/motd").write_text("after\n")
    done = sync_live(call)
    assert done["changed"] and done["why"].endswith(
        "Left for the next version: /etc/local/file, /srv/data"
    )
    assert (version / "etc/motd").read_text() == "after\n"
    assert (version / "etc/local/file").stat().st_ino == inode
    assert (version / "srv/data/inside").read_text() == "before\n"
    assert sync_live(call)["changed"] is False
    # A version of its own has it all.
    assert call.state("diskless_image.synced").changes
    assert (root(location) / "etc/local/file").read_text() == "after\n"
    assert not (root(location) / "srv/data").exists()


def test_a_new_kernel_is_what_nodes_boot_next_and_the_old_ones_modules_stay(
    call, location, golden, tmp_path
):
    version = root(location)
    shutil.move(golden / "lib/modules/6.1.0-9-test", golden / "lib/modules/6.1.0-10-test")
    (golden / "boot/vmlinuz-6.1.0-9-test").unlink()
    (golden / "boot/vmlinuz-6.1.0-10-test").write_text("a newer kernel\n")
    assert "6.1.0-10-test" in sync_live(call)["why"]
    assert (version / "lib/modules/6.1.0-9-test").is_dir()
    served = tmp_path / "srv/tftp/linux-install/tiny" / version.name
    assert (served / "vmlinuz").read_text() == "a newer kernel\n"
    assert call.modules["diskless_image.show"]("tiny")["kernel"] == "6.1.0-10-test"
    assert sync_live(call)["changed"] is False


def test_the_initramfs_is_built_anew_where_something_of_its_own_has_changed(call, location, golden):
    initrd = root(location) / "boot/initrd.img-6.1.0-9-test-diskless"
    built = initrd.read_text()
    (golden / "usr/sbin/mkinitramfs").write_text('#!/bin/sh\necho built anew > "$2"\n')
    assert sync_live(call)["changed"]
    assert initrd.read_text() == built
    (golden / "etc/modprobe.d").mkdir()
    (golden / "etc/modprobe.d/new.conf").write_text("options nfs recover_lost_locks=1\n")
    assert sync_live(call)["changed"]
    assert initrd.read_text() == "built anew\n"


def test_a_version_says_that_it_was_changed_in_place_and_is_frozen_into_one_again(
    call, location, golden
):
    show = call.modules["diskless_image.show"]
    assert show("tiny")["changed_live"] is None
    assert call.modules["diskless_image.freeze"]("tiny")["changed"] is False
    put(golden, 1)
    changed = root(location)
    sync_live(call)
    assert show("tiny")["changed_live"].endswith("Z")
    assert show("tiny", check=True)["intact"] is True
    done = call.modules["diskless_image.freeze"]("tiny")
    assert (done["old"], done["new"]) == (changed.name, root(location).name)
    frozen = root(location)
    assert frozen != changed
    assert show("tiny")["changed_live"] is None
    assert show("tiny", check=True)["intact"] is True
    assert state_of(frozen) == state_of(changed)
    files = call.modules["diskless_tftp.list"](full=True)
    assert {file["version"] for file in files.values()} == {frozen.name}
    # And what comes after does not reach it.
    assert call.state("diskless_image.synced").changes == {}
    call.modules["diskless_image.publish"]("tiny", frozen.name)
    was = state_of(changed)
    put(golden, 2)
    assert sync_live(call)["changed"]
    assert state_of(changed) == was


def test_in_test_mode_it_says_what_differs_and_touches_nothing(call, golden, listing):
    put(golden, 1)
    before = listing()
    done = sync_live(call, test=True)
    assert done["changed"] and "/usr/lib/many" in done["why"]
    assert listing() == before


def test_without_a_name_it_is_all_images_that_may_be_changed_in_place(
    call, salt_call, pillar, location, golden
):
    pillar["images"]["fixed"] = {
        "location": str(location.parent / "fixed"),
        "source": {"directory": str(golden)},
    }
    put(golden, 1)
    call = salt_call(pillar)
    assert [*call.modules["diskless_image.sync"](live=True)] == ["tiny"]
    pillar["images"]["tiny"]["live"] = False
    with pytest.raises(CommandExecutionError, match="found none with live: true"):
        salt_call(pillar).modules["diskless_image.sync"](live=True)


def test_a_file_system_that_cannot_exchange_two_paths_has_it_all_the_same(
    call, location, golden, monkeypatch
):
    def cannot(one: bytes, other: bytes) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    version = root(location)
    note(location, "node001", version.name)
    place = golden / "usr/share"
    (place / "was/a/tree").mkdir(parents=True, exist_ok=True)
    (place / "becomes").write_text("a file\n")
    sync_live(call)
    node = Node(version / "usr")
    shutil.rmtree(place / "was")
    (place / "was").write_text("a file now\n")
    (place / "becomes").unlink()
    (place / "becomes/deep").mkdir(parents=True)
    monkeypatch.setattr(live, "exchange", cannot)
    assert sync_live(call)["changed"]
    assert (version / "usr/share/was").read_text() == "a file now\n"
    assert (version / "usr/share/becomes/deep").is_dir()
    assert node.stale() == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda image: image.pop("live"), "diskless:images:tiny:live: found false"),
        (
            lambda image: image.update(live="yes"),
            "diskless:images:tiny:live: found 'yes'; give tru",
        ),
        (lambda image: image.pop("source"), "diskless:images:tiny:source: found nothing"),
    ],
)
def test_an_image_that_cannot_be_is_not_changed_in_place(
    call, salt_call, pillar, golden, listing, change, says
):
    put(golden, 1)
    change(pillar["images"]["tiny"])
    before = listing()
    with pytest.raises(CommandExecutionError, match=says):
        sync_live(salt_call(pillar))
    assert listing() == before


def test_after_a_rollback_nothing_is_changed_in_place(call, location, golden, listing):
    first = root(location).name
    put(golden, 1)
    call.state("diskless_image.synced")
    second = root(location).name
    call.modules["diskless_image.rollback"]("tiny")
    before = listing()
    with pytest.raises(CommandExecutionError, match=f"found {first} published.*{second}"):
        sync_live(call)
    assert listing() == before


_SYNC = """
import os, signal, sys
left = int(sys.argv[3])
def killed_at_last(call):
    def step(*arguments, **named):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return step
os.rename, os.link = killed_at_last(os.rename), killed_at_last(os.link)
from salt_diskless.cluster import Image, Source
from salt_diskless.image.live_sync import sync_live
sync_live(Image("tiny", "tiny", sys.argv[1], Source(directory=sys.argv[2]), live=True), [])
"""


def test_killed_at_twenty_steps_every_file_is_old_or_new_and_the_next_one_does_the_rest(
    call, location, golden
):
    (golden / "etc/motd").write_text("the second version\n")
    call.state("diskless_image.synced")
    first, version = sorted((location / "versions").iterdir())
    was = state_of(first)
    note(location, "node001", version.name)
    command = [sys.executable, "-c", _SYNC, str(location), str(golden)]
    unfinished = 0
    for number in range(2, 22):
        node, before = Node(version), contents(version)
        put(golden, number)
        done = subprocess.run([*command, str(number * 2 + 6)], cwd=CHECKOUT, check=False)
        assert done.returncode == -signal.SIGKILL
        wait_until_nobody_works_in(location)
        after = contents(golden)
        for path, content in contents(version).items():
            assert content in (before.get(path), after.get(path)), path
        assert node.stale() == []
        (metadata,) = (location / "metadata").glob(f"{version.name}.json")
        unfinished += not json.loads(metadata.read_text())["listing"]
        sync_live(call)
        assert contents(version) == after
        assert call.modules["diskless_image.show"]("tiny", check=True)["intact"] is True
        assert not (location / ".staging").exists()
    assert unfinished > 10
    assert state_of(first) == was


def contents(tree: pathlib.Path) -> dict[str, bytes]:
    place = tree / "usr/lib/many"
    return {str(path.relative_to(tree)): path.read_bytes() for path in place.rglob("*.so.1")}


def test_libraries_come_before_the_programs_and_what_goes_goes_last(tmp_path):
    for tree, content in (("old", "1"), ("new", "2")):
        for name in ("bin/a", "lib/libz.so.1", f"lib/only-{tree}"):
            path = tmp_path / tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    steps = live.steps(str(tmp_path / "old"), str(tmp_path / "new"), [])
    assert steps.added == (b"/lib/only-new",)
    assert steps.replaced == (b"/lib/libz.so.1", b"/bin/a")
    assert steps.removed == (b"/lib/only-old",)
    assert str(steps) == "1 added, 2 replaced, 1 removed"
