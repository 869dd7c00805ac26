"""The order of versions does not depend on the clock, which may jump ahead and back."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless.image import live, versions
from tests.functional.conftest import root

pytestmark = pytest.mark.any_salt

DAY = 86400.0


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the clock that many seconds from the right time."""
    right, right_ns = time.time, time.time_ns

    def set_clock(offset: float) -> None:
        monkeypatch.setattr(time, "time", lambda: right() + offset)
        monkeypatch.setattr(time, "time_ns", lambda: right_ns() + int(offset * 1e9))

    return set_clock


def change(golden: pathlib.Path, text: str) -> None:
    (golden / "etc/motd").write_text(f"{text}\n")


def names(location: pathlib.Path) -> list[str]:
    return sorted(os.listdir(location / "versions"), key=versions.order)


def test_a_clock_a_day_ahead_and_back(salt_call, pillar, location, golden, at):
    at(DAY)
    assert salt_call(pillar).state("diskless_image.synced").result is True
    first = root(location).name
    at(0)
    assert salt_call(pillar).state("diskless_image.synced").changes == {}
    change(golden, "new")
    ret = salt_call(pillar).state("diskless_image.synced")
    second = root(location).name
    assert ret.changes["tiny"] == {"old": first, "new": second}
    assert (root(location) / "etc/motd").read_text() == "new\n"
    assert salt_call(pillar).state("diskless_image.synced").changes == {}
    assert names(location) == [first, second]
    call = salt_call(pillar)
    assert call.modules["diskless_image.rollback"]("tiny")["new"] == first
    assert call.modules["diskless_image.publish"]("tiny")["new"] == second


def test_prune_keeps_what_was_made_last(salt_call, pillar, location, golden, at):
    made = []
    for number, offset in enumerate((DAY, 0, -DAY, 400 * DAY, 0)):
        at(offset)
        change(golden, str(number))
        assert salt_call(pillar).state("diskless_image.synced").changes
        made.append(root(location).name)
    assert names(location) == made
    pruned = salt_call(pillar).modules["diskless_image.prune"]("tiny", keep=1)["tiny"]
    assert pruned["removed"] == made[:-1]
    assert names(location) == made[-1:]
    assert salt_call(pillar).state("diskless_image.synced").changes == {}


def test_several_syncs_in_one_second_are_in_order(salt_call, pillar, location, golden, monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    made = []
    for number in range(12):
        change(golden, str(number))
        assert salt_call(pillar).state("diskless_image.synced").changes
        made.append(root(location).name)
    assert made == sorted(made) == names(location)


def test_a_newest_version_of_an_older_release_is_not_taken_for_older(
    salt_call, pillar, location, golden
):
    """Older releases made names such as ...-10 in one second, which is after ...-9."""
    salt_call(pillar).state("diskless_image.synced")
    name = root(location).name
    second = name.partition("-")[0]
    last = f"{second}-10"
    for old, new in ((f"{second}-9", name), (last, name)):
        (location / "versions" / old).mkdir()
        text = (location / f"metadata/{new}.json").read_text().replace(f'"{new}"', f'"{old}"')
        (location / f"metadata/{old}.json").write_text(text)
    image = salt_call(pillar).modules["diskless_image.list"]()["tiny"]
    assert image["versions"][-1] == last
    change(golden, "new")
    salt_call(pillar).state("diskless_image.synced")
    assert versions.order(root(location).name) > versions.order(last)


def test_a_pinned_version_is_never_another_one(salt_call, pillar, location, golden, at):
    salt_call(pillar).state("diskless_image.synced")
    pinned = root(location)
    inode = (pinned / "boot").stat().st_ino
    pillar["nodes"]["node003"]["version"] = pinned.name
    for offset in (-DAY, -DAY, 0):
        at(offset)
        change(golden, str(time.time()))
        assert salt_call(pillar).state("diskless_image.synced").changes
    salt_call(pillar).modules["diskless_image.prune"]("tiny", keep=1)
    assert names(location) == [pinned.name, root(location).name]
    assert (pinned / "boot").stat().st_ino == inode


def test_the_file_of_a_version_goes_with_it(salt_call, pillar, location, golden, at):
    pillar["profiles"]["compute"].update(root="squashfs", files=[])
    pillar["nodes"]["node003"].pop("nfs")
    put = golden / "lib/modules/6.1.0-9-test/modules.dep"
    put.write_text(put.read_text() + "kernel/loop.ko:\nkernel/squashfs.ko:\nkernel/overlay.ko:\n")
    at(DAY)
    assert salt_call(pillar).state("diskless_image.synced").result is True
    at(0)
    change(golden, "new")
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    newest = root(location).name
    assert (location / f"versions/{newest}.squashfs/root.squashfs").is_file()
    assert salt_call(pillar).state("diskless_image.synced").changes == {}


def test_all_that_makes_or_removes_versions_with_any_clock(salt_call, pillar, location, golden, at):
    """The clock is in the year 2000, in the future and right in turn."""
    century, made = 26 * 365 * DAY, list[str]()
    pillar["images"]["tiny"]["live"] = True

    def make(offset: float, text: str) -> None:
        at(offset)
        change(golden, text)
        assert salt_call(pillar).state("diskless_image.synced").changes
        made.append(root(location).name)

    make(-century, "first")
    make(10 * DAY, "second")
    call = salt_call(pillar)
    at(-century)
    change(golden, "in place")
    call.modules["diskless_image.sync"]("tiny", live=True)
    assert root(location).name == made[-1]
    call.modules["diskless_image.freeze"]("tiny")
    made.append(root(location).name)
    make(0, "third")
    assert names(location) == made
    assert call.modules["diskless_image.rollback"]("tiny")["new"] == made[-2]
    at(century)
    assert salt_call(pillar).state("diskless_image.synced").changes == {}
    assert root(location).name == made[-2]
    call.modules["diskless_image.publish"]("tiny", made[-1])
    make(-2 * century, "fourth")
    assert names(location) == made
    pruned = salt_call(pillar).modules["diskless_image.prune"]("tiny", keep=2)["tiny"]
    assert pruned["removed"] == made[:-2]
    at(0)
    assert (root(location) / "etc/motd").read_text() == "fourth\n"
    assert salt_call(pillar).state("diskless_image.synced").changes == {}


def test_old_files_stay_for_a_node_that_booted_by_another_clock(
    salt_call, pillar, location, golden, at
):
    """The clock was ahead when the node booted, and is right when the version is changed."""
    pillar["images"]["tiny"]["live"] = True
    salt_call(pillar).state("diskless_image.synced")
    salt_call(pillar).state("diskless_snapshot.managed")
    version = root(location).name
    change(golden, "first")
    salt_call(pillar).modules["diskless_image.sync"]("tiny", live=True)
    note = location / "snapshot/node001/.diskless/booted"
    note.write_text(f"{version}\n")
    ahead = time.time_ns() + int(DAY * 1e9)
    os.utime(note, ns=(ahead, ahead))
    change(golden, "second")
    salt_call(pillar).modules["diskless_image.sync"]("tiny", live=True)
    image = _image(pillar)
    assert [node for nodes in live.asides(image)[version].values() for node in nodes] == ["node001"]
    note.write_text(f"{version}\n")
    os.utime(note, ns=(ahead + 1, ahead + 1))
    live.tidy(image)
    assert live.asides(image).get(version, {}) == {}
    assert not any((location / "aside").iterdir())


def _image(pillar: dict):
    from salt_diskless.cluster import parse

    return parse(pillar).images["tiny"]


@given(st.lists(st.floats(-1e12, 1e15) | st.sampled_from([0.0, 253402300799.0]), max_size=8))
def test_a_name_is_always_after_all_others(tmp_path_factory, clocks):
    from salt_diskless.cluster import Image

    location = tmp_path_factory.mktemp("image")
    image = Image(name="tiny", description="", location=str(location), source=None)
    (location / "versions").mkdir()
    made: list[str] = []
    for now in clocks:
        name = versions.next_name(image, now)
        assert versions.NAME.fullmatch(name)
        assert all(versions.order(name) > versions.order(earlier) for earlier in made)
        (location / "versions" / name).mkdir()
        made.append(name)


def test_what_a_killed_sync_left_beside_the_versions_goes(salt_call, pillar, location, golden):
    salt_call(pillar).state("diskless_image.synced")
    kept = sorted(os.listdir(location / "metadata"))
    for name in ("20200101T000000.packages.json", f"{kept[0]}.new", "x.packages.json.new"):
        (location / "metadata" / name).write_text("{}")
    (location / "root.new").symlink_to("versions/x")
    assert salt_call(pillar).state("diskless_image.synced").changes == {}
    assert sorted(os.listdir(location / "metadata")) == kept
    assert not os.path.lexists(location / "root.new")
