"""After every kind of change a version is what its source is, and the one before what it was."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from collections.abc import Callable

import pytest

from salt_diskless.cluster import Image, Source
from salt_diskless.command import CommandFailed
from salt_diskless.image import rsync, staging
from salt_diskless.image.sync import sync
from tests.functional.conftest import root
from tests.functional.test_hostile import ACL, NAMES, described, put_hostile_files

pytestmark = pytest.mark.any_salt

CHANGES: dict[str, Callable[[pathlib.Path], None]] = {}


def change(made: Callable[[pathlib.Path], None]) -> Callable[[pathlib.Path], None]:
    """Have a change of the tree that is below ``place``."""
    CHANGES[made.__name__] = made
    return made


def named(place: pathlib.Path) -> list[bytes]:
    """Return the files with hostile names."""
    return [os.fsencode(place) + b"/" + name for name in NAMES]


@change
def content_in_place(place):
    for path in named(place)[::2]:
        with open(path, "ab") as stream:
            stream.write(b"more")


@change
def content_by_rename(place):
    for path in named(place)[1::2]:
        with open(os.fsencode(place) + b"/.new", "wb") as stream:
            stream.write(b"another")
        os.rename(os.fsencode(place) + b"/.new", path)


@change
def a_time_alone(place):
    for path in named(place)[::3]:
        os.utime(path, ns=(5, 5))


@change
def modes_and_owners(place):
    for number, path in enumerate(named(place)[1::3]):
        os.chown(path, number + 7, number + 70)
        os.chmod(path, 0o4711)


@change
def attributes(place):
    os.setxattr(place / "listed", "user.new", b"\0\n")
    os.removexattr(place / "capable", "security.capability")
    os.setxattr(place / "linked0", "system.posix_acl_access", ACL)


@change
def what_goes(place):
    for path in named(place)[::4]:
        os.unlink(path)
        shutil.rmtree(os.path.join(os.path.dirname(path), b"below", os.path.basename(path)))
    (place / "null").unlink()


@change
def what_comes(place):
    for path in named(place)[:10]:
        new = os.fsencode(place) + b"/new" + os.path.basename(path)
        os.makedirs(new)
        os.symlink(b"\n", new + b"/link")
        with open(new + b"/file", "wb") as stream:
            stream.write(b"new")


@change
def other_types(place):
    for number, path in enumerate(named(place)[2::4]):
        os.unlink(path)
        kind = number % 4
        if kind == 0:
            os.makedirs(path + b"/inside/it")
        elif kind == 1:
            os.symlink(b"nowhere", path)
        elif kind == 2:
            os.mkfifo(path)
        else:
            os.mknod(path, 0o600 | 0o060000, os.makedev(1, 1))
    for number, name in enumerate(NAMES[:8]):
        directory = os.fsencode(place) + b"/below/" + name
        shutil.rmtree(directory)
        (os.symlink, os.link)[number % 2](os.fsencode(place / "capable"), directory)
    shutil.rmtree(place / "inherited")
    (place / "inherited").write_text("a file now")


@change
def links_that_lead_elsewhere(place):
    for path in (os.fsencode(place) + b"/below/" + name + b"/link" for name in NAMES):
        os.unlink(path)
        os.symlink(b"elsewhere", path)


@change
def a_new_name_of_a_file(place):
    os.link(place / "capable", place / "zzz")


@change
def a_new_name_before_the_others(place):
    os.link(place / "linked1", place / "aaa")


@change
def a_name_less(place):
    (place / "third0").unlink()


@change
def two_names_that_part(place):
    (place / "linked2").unlink()
    (place / "linked2").write_text("by itself")


@change
def two_files_that_become_one(place):
    (place / "mode2711").unlink()
    os.link(place / "mode4755", place / "mode2711")


@change
def a_mode_of_a_file_with_three_names(place):
    (place / "linked1").chmod(0o600)


@change
def content_of_a_file_with_three_names(place):
    (place / "linked2").write_text("else")


@change
def directories_attributes(place):
    (place / "below").chmod(0o700)
    os.setxattr(place / "below", "system.posix_acl_default", ACL)
    os.chown(place / "inherited", 5, 5)
    os.utime(place / "below", ns=(1, 1))


@change
def devices(place):
    (place / "disk").unlink()
    os.mknod(place / "disk", 0o660 | 0o060000, os.makedev(8, 1))
    (place / "pipe").chmod(0o600)


@change
def everything(place):
    for name, made in CHANGES.items():
        if name != "everything":
            with contextlib.suppress(FileNotFoundError):
                made(place)


@pytest.fixture
def image(location, golden) -> Image:
    """An image that has one version, of everything that a file system takes."""
    put_hostile_files(golden / "data")
    os.truncate(golden / "data/sparse", 1 << 20)  # A large one takes its time, and adds nothing.
    image = Image("tiny", "", str(location), Source(directory=str(golden)))
    sync(image)
    return image


@pytest.mark.parametrize("made", CHANGES.values(), ids=CHANGES)
def test_a_version_is_what_the_changed_source_is(image, location, golden, made):
    first = root(location)
    before = described(first)
    made(golden / "data")
    assert sync(image).changed is True
    second = root(location)
    assert second != first
    assert described(second / "data") == described(golden / "data")
    assert described(first) == before
    assert os.path.samefile(first / "data/sparse", second / "data/sparse")


def test_what_changes_while_it_is_taken_does_not_reach_the_version_before(
    image, location, golden, monkeypatch
):
    """A golden machine runs on: between a look at it and the copy much of it may change."""
    first = root(location)
    before = described(first)
    copy = rsync.copy

    def after_all_has_changed(*arguments, **more):
        for made in (content_in_place, content_by_rename, modes_and_owners, attributes, devices):
            made(golden / "data")
        for made in (what_goes, what_comes, directories_attributes, a_new_name_before_the_others):
            made(golden / "data")
        return copy(*arguments, **more)

    monkeypatch.setattr(rsync, "copy", after_all_has_changed)
    (golden / "etc/motd").write_text("a change that it sees\n")
    sync(image)
    monkeypatch.undo()
    assert (root(location) / "etc/motd").read_text() == "a change that it sees\n"
    assert described(first) == before
    sync(image)
    assert described(root(location) / "data") == described(golden / "data")
    assert described(first) == before


def test_a_file_that_may_have_no_more_links_is_copied(image, location, golden, monkeypatch):
    first = root(location)

    def refuses(tree: str, new: str) -> None:
        os.link(f"{tree}/etc/passwd", f"{new}/half")
        raise CommandFailed("cp: cannot create hard link: Too many links")

    monkeypatch.setattr(staging, "copied", refuses)
    (golden / "etc/motd").write_text("a change\n")
    sync(image)
    assert (root(location) / "etc/motd").read_text() == "a change\n"
    assert not (root(location) / "half").exists()
    assert os.path.samefile(first / "etc/passwd", root(location) / "etc/passwd")
