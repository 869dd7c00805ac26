"""What makes, publishes and removes versions is killed at any of its changes, and done again: the
image is what an undisturbed call leaves, but for the names of versions and times."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import re
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.functional.killed import (
    PLACES,
    Saved,
    Traced,
    each_step,
    everything,
    failing,
    killed_at,
    numbers,
)
from tests.functional.test_faults import wait_until_nobody_works_in
from tests.functional.test_killed_whole import as_sorted, half_written, outcome
from tests.functional.test_node import apply, served
from tests.functional.test_root_modes import able

__all__ = ["able", "served"]
pytestmark = pytest.mark.any_salt

_NAME = re.compile(rb"[0-9]{8}T[0-9]{6}(?:-[0-9]+)?(?![0-9])")
_STAMP = re.compile(r"/aside/[^/]+/[0-9]{15,}")
#: What a run that went on with the work of a killed one may have otherwise.
_TIMES = ("made", "published_at", "bytes_sent", "changed_live", "mark")

Modules = dict[str, Callable]


def change(golden: pathlib.Path, number: int = 1) -> None:
    """Change the golden root: a file is new, one is another, and one goes."""
    (golden / "etc/motd").write_text(f"number {number}\n")
    (golden / "etc/modprobe.d").mkdir(exist_ok=True)
    (golden / f"etc/modprobe.d/{number}.conf").touch()
    (golden / f"usr/share/doc{number}").mkdir(parents=True)
    (golden / f"usr/share/doc{number}/read.me").write_text("new\n" * number)
    (golden / f"root/goes{number}").write_text("goes\n")
    (golden / f"root/goes{number - 1}").unlink(missing_ok=True)


class Case:
    """Something that is killed, what it begins with, and what repairs it."""

    def __init__(
        self, work: Callable, begin: Callable | None = None, repair: Callable | None = None
    ):
        self.work, self.repair = work, repair or work
        self.begin = begin or (lambda call, golden: None)


def second(call: Modules, golden: pathlib.Path) -> None:
    call["diskless_image.sync"]("tiny")
    change(golden)


def three(call: Modules, golden: pathlib.Path) -> None:
    for number in (1, 2, 3):
        change(golden, number)
        call["diskless_image.sync"]("tiny")
    call["diskless_tftp.apply"]()


def changed_live(call: Modules, golden: pathlib.Path) -> None:
    change(golden)
    call["diskless_image.sync"]("tiny", live=True)


def sync(name: str, **arguments: object) -> Callable[[Modules], object]:
    return lambda call: call["diskless_image.sync"](name, **arguments)


def first_of(call: Modules) -> str:
    return call["diskless_image.list"]()["tiny"]["versions"][0]


def publish_first(call: Modules) -> object:
    return call["diskless_image.publish"]("tiny", first_of(call))


def publish_before(call: Modules) -> object:
    """Publish what a rollback of the newest one publishes."""
    return call["diskless_image.publish"](
        "tiny", call["diskless_image.list"]()["tiny"]["versions"][-2]
    )


def prune(call: Modules) -> object:
    return call["diskless_image.prune"]("tiny", keep=1)


CASES = {
    "first": Case(sync("other")),
    "second": Case(sync("tiny"), second),
    "archive": Case(sync("packed")),
    "squashfs": Case(sync("tiny"), second),
    "live": Case(sync("tiny", live=True), second),
    "freeze": Case(lambda call: call["diskless_image.freeze"]("tiny"), changed_live),
    "publish": Case(publish_first, three),
    "rollback": Case(lambda call: call["diskless_image.rollback"]("tiny"), three, publish_before),
    "prune": Case(prune, three),
    "prune squashfs": Case(prune, three),
}


def prepared(name: str, pillar: dict, golden: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Give the pillar what a case needs."""
    images = pillar["images"]
    if name == "first":
        images["other"] = {**images["tiny"], "location": str(tmp_path / "diskless/other")}
    elif name == "archive":
        archive = tmp_path / "packed.tar"
        subprocess.run(["tar", "-C", str(golden), "-cf", str(archive), "."], check=True)
        images["packed"] = {
            "description": "packed",
            "location": str(tmp_path / "diskless/packed"),
            "source": {"archive": str(archive)},
        }
    elif name.endswith("squashfs"):
        pillar["nodes"]["node003"]["root"] = "squashfs"
    elif name in ("live", "freeze"):
        images["tiny"]["live"] = True


def whole(places: list[str]) -> dict[str, tuple]:
    """Return all that is below the places, with the versions counted and without times."""
    counted = {
        os.fsencode(name): b"V%d" % number
        for location in pathlib.Path(places[0]).iterdir()
        for number, name in enumerate(sorted(versions_in(location)))
    }

    def plain(held: object) -> object:
        if isinstance(held, list):
            return [plain(one) for one in held]
        if isinstance(held, str):
            return os.fsdecode(plain(os.fsencode(held)))
        if not isinstance(held, bytes):
            return held
        return _NAME.sub(lambda match: counted.get(match[0], match[0]), held)

    found = {}
    for path, (*status, held) in as_sorted(everything(places)).items():
        links = os.lstat(path).st_nlink if os.path.isfile(path) else None
        content = plain(without_times(path, held))
        found[plain(_STAMP.sub("/aside/S", path))] = (*status, links, content)
    return found


def without_times(path: str, held: object) -> object:
    """Return what a path holds without what differs between two undisturbed runs."""
    if isinstance(held, bytes) and path.endswith(".json") and "/metadata/" in path:
        return described(json.loads(held), path)
    if path.endswith("/root.squashfs"):
        return "checked with its metadata"
    return "boots" if path.endswith(".booted") else held


def versions_in(location: pathlib.Path) -> list[str]:
    """Return what an image has as versions."""
    place = location / "versions"
    return [name for name in os.listdir(place) if "." not in name] if place.exists() else []


def described(fields: dict, path: str) -> object:
    """Return a version's metadata without times; its file of squashfs is what it says."""
    if "kernels" not in fields:
        return fields
    for key in _TIMES:
        fields[key] = bool(fields[key])
    fields["listing"] = bool(fields["listing"])
    if fields["squashfs"]:
        location = pathlib.Path(path).parent.parent
        file = location / "versions" / f"{fields['name']}.squashfs/root.squashfs"
        assert file.stat().st_size == fields["squashfs"]["bytes"]
        fields["squashfs"] = True
    return json.dumps(fields, sort_keys=True, indent=1)


def differences(now: dict[str, tuple], wanted: dict[str, tuple]) -> list[str]:
    """Return what differs, in words."""
    return [
        f"{path}: {now.get(path, 'missing')!s:.300} instead of {wanted.get(path, 'nothing')!s:.300}"
        for path in sorted({*now, *wanted})
        if now.get(path) != wanted.get(path)
    ]


def look(call: Modules) -> None:
    """Read all that reads, right after a kill; and check that what is published is whole."""
    call["diskless.status"]()
    for name, image in call["diskless_image.list"]().items():
        for version in image.get("versions", ()):
            shown = call["diskless_image.show"](name, version, check=True)
            assert shown["intact"] or not shown["listing"], (name, version)


@pytest.fixture
def case(request, salt_call, able, served, tmp_path):
    """A case by its name: the functions of the boot server, the directories, and how to begin."""
    name = request.param
    prepared(name, served, able, tmp_path)
    call = salt_call(served).modules
    one = CASES[name]
    one.begin(call, able)
    if name == "prune squashfs":
        apply(salt_call, served)
    places = [*(str(tmp_path / part) for part in ("diskless", "srv", "etc")), *PLACES]
    for place in places:
        os.makedirs(place, exist_ok=True)
    return one, call, places, Saved(places, tmp_path / "salt/saved")


@each_step
@pytest.mark.parametrize("case", CASES, indirect=True)
def test_a_killed_call_that_is_repeated_is_whole(case, tmp_path, step):
    one, call, places, before = case
    one.work(call)
    look(call)
    wanted = whole(places)
    for number in numbers(step):
        before.put_back()
        if not killed_at(number, lambda: one.work(call)):
            break
        look(call)
        one.repair(call)
        assert differences(whole(places), wanted) == [], number
        assert half_written(places) == [], number
        look(call)
    assert number > 3 or step > 1


#: Case and program that works for it.
PROGRAMS = [
    ("first", "rsync"),
    ("second", "cp"),
    ("second", "rsync"),
    ("second", "unshare"),
    ("archive", "tar"),
    ("archive", "rsync"),
    ("squashfs", "mksquashfs"),
    ("live", "rsync"),
    ("live", "unshare"),
    ("freeze", "cp"),
]
#: The others are too slow for each run of the tests.
IN_EACH_RUN = [("second", "rsync"), ("squashfs", "mksquashfs")]


def moments() -> Iterator[int]:
    """Yield numbers of system calls: each of the first, and then fewer and fewer."""
    number = 1
    while True:
        yield number
        number += 1 + number // 2


@pytest.mark.parametrize("with_caller", [True, False], ids=["both", "program"])
@pytest.mark.parametrize(
    "case,program",
    [
        pytest.param(*pair, marks=() if pair in IN_EACH_RUN else pytest.mark.nightly)
        for pair in PROGRAMS
    ],
    indirect=["case"],
)
def test_a_program_killed_while_it_writes_leaves_nothing(
    case, traced, program, with_caller, tmp_path
):
    one, call, places, before = case
    one.work(call)
    look(call)
    wanted = whole(places)
    for number in moments():
        before.put_back()
        with traced.program(program, f"signal=KILL:when={number}", with_caller=with_caller) as done:
            ended = outcome(lambda: one.work(call))
        if not done.exists():
            break
        assert "Traceback" not in ended, (number, ended)
        assert ended or program == "cp", number  # Where cp fails, rsync makes the links.
        wait_until_nobody_works_in(tmp_path / "diskless")
        look(call)
        one.repair(call)
        assert differences(whole(places), wanted) == [], (number, ended)
        look(call)
    assert number > 3


@pytest.fixture
def traced(tmp_path, monkeypatch) -> Traced:
    return Traced(tmp_path / "salt/traced", monkeypatch)


@each_step
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
@pytest.mark.parametrize(
    "case", ["first", "second", "squashfs", "live", "freeze", "publish", "prune"], indirect=True
)
def test_a_disk_that_fails_is_named_and_the_next_call_goes_on(case, code, tmp_path, step):
    one, call, places, before = case
    one.work(call)
    look(call)
    wanted = whole(places)
    for number in numbers(step):
        before.put_back()
        work = failing(number, code, lambda: one.work(call), str(tmp_path / "diskless"))
        error = outcome(work)
        if "NotReached" in error:
            break
        assert "Traceback" not in error, (number, error)
        if error:
            assert os.strerror(code) in error and error.startswith(("diskless:", "/")), number
            assert "golden root" not in error and "again" in error, (number, error)
        look(call)
        one.repair(call)
        assert differences(whole(places), wanted) == [], (number, error)
        assert half_written(places) == [], number
    assert number > 3 or step > 1
