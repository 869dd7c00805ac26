"""A machine that stops being a boot server has what it had before, from a record of the changes."""

from __future__ import annotations

import hashlib
import os
import pathlib
import sys

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless.state import originals
from tests.functional.test_preflight_foreign_files import EXPORTS, admins

__all__ = ["admins"]

RECORDS = os.path.dirname(originals.DATABASE)
STATES = ("tftp.managed", "tftp.settings", "nfs.settings", "dhcpd.managed", "nfs.managed")


@pytest.fixture
def files(tmp_path, pillar):
    """Return a function that lists what is below the machine's directories, without the images and
    the golden root: path to type, mode, owner and digest."""
    location = pillar["images"]["tiny"]["location"]
    left_out = (
        str(pathlib.Path(location).parent),
        str(tmp_path / "golden"),
        str(tmp_path / "salt"),
    )

    def listed() -> dict[str, tuple]:
        found = {}
        for top in (str(tmp_path), "/etc/exports.d"):
            for directory, names, entries in os.walk(top):
                names[:] = [n for n in names if not f"{directory}/{n}".startswith(left_out)]
                for name in (*names, *entries):
                    path = f"{directory}/{name}"
                    status = os.lstat(path)
                    digest = ""
                    if os.path.isfile(path):
                        digest = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
                    found[path] = (status.st_mode, status.st_uid, status.st_gid, digest)
        return found

    return listed


@pytest.fixture
def adopted(pillar, admins):
    """The pillar adopts all that the admin wrote; one of the files has an owner and a mode."""
    pillar["adopt"] = sorted(admins)
    os.chown(pillar["lookup"]["dhcp_config"], 7, 8)
    os.chmod(pillar["lookup"]["dhcp_config"], 0o640)


def apply(call) -> None:
    call.modules["diskless.record"]()
    for name in ("image.synced", "snapshot.managed", *STATES):
        ret = call.state(f"diskless_{name}")
        assert ret.result is True, ret.comment


@pytest.mark.parametrize("with_pillar", [True, False])
def test_clean_restores_what_was_there(salt_call, pillar, adopted, files, with_pillar):
    before = files()
    apply(salt_call(pillar))
    assert files() != before
    call = salt_call(pillar if with_pillar else {})
    ret = call.state("diskless.cleaned")
    assert ret.result is True, ret.comment
    assert "images, snapshots and packages stay" in ret.comment
    assert files() == before
    assert os.listdir(RECORDS) == []
    assert pathlib.Path(pillar["images"]["tiny"]["location"], "root/etc/passwd").exists()


def test_clean_in_test_mode_names_it_and_touches_nothing(salt_call, pillar, adopted, files):
    apply(salt_call(pillar))
    before = files()
    ret = salt_call({}, test=True).state("diskless.cleaned")
    assert ret.result is None
    assert pillar["lookup"]["dhcp_config"] in ret.changes["restored"]
    assert files() == before


def test_a_bare_machine_is_bare_again(salt_call, pillar, files):
    before = files()
    apply(salt_call(pillar))
    apply(salt_call(pillar))
    assert salt_call({}).state("diskless.cleaned").result is True
    assert files() == before
    with pytest.raises(CommandExecutionError, match="found no record of a boot server"):
        salt_call({}).modules["diskless.clean"]()


def test_names_of_an_earlier_pillar_are_cleaned_too(salt_call, pillar, tmp_path, files):
    before = files()
    apply(salt_call(pillar))
    pillar["lookup"] = {**pillar["lookup"], "dhcp_config": str(tmp_path / "etc/dhcp2/dhcpd.conf")}
    apply(salt_call(pillar))
    assert salt_call(pillar).state("diskless.cleaned").result is True
    assert files() == before


def test_what_the_admin_changed_since_is_named_and_stays(salt_call, pillar, adopted):
    apply(salt_call(pillar))
    defaults = pathlib.Path(pillar["lookup"]["tftp_defaults"])
    defaults.write_text(defaults.read_text() + "MINE=1\n")
    ret = salt_call({}).state("diskless.cleaned")
    assert list(ret.changes["kept"]) == [str(defaults)]
    assert defaults.read_text().endswith("MINE=1\n")
    # The others are back, and the record of this one is not lost.
    assert pathlib.Path(EXPORTS).read_text() == "/home *(rw)\n"
    again = salt_call({}, test=True).modules["diskless.clean"](test=True)
    assert list(again["kept"]) == [str(defaults)]


def test_a_write_that_was_recorded_and_not_made_keeps_no_file(salt_call, pillar, adopted, files):
    before = files()
    apply(salt_call(pillar))
    defaults = pillar["lookup"]["tftp_defaults"]
    for text in (b"refused", b"refused again"):
        originals.keep_files({defaults: text})
    assert "kept" not in salt_call({}).modules["diskless.clean"]()
    assert files() == before


@pytest.mark.parametrize("stop", range(0, 60, 4))
def test_a_killed_clean_is_finished_by_the_next(salt_call, pillar, adopted, files, stop):
    before = files()
    apply(salt_call(pillar))
    child = os.fork()
    if child == 0:
        _kill_at(stop)
        salt_call({}).modules["diskless.clean"]()
        os._exit(0)
    os.waitpid(child, 0)
    salt_call(pillar).modules["diskless.clean"]()
    assert files() == before


def _kill_at(number: int) -> None:
    """Have this process end as if it was killed, at its change of a file with this number."""
    left = [number]

    def hook(event: str, _: tuple) -> None:
        if event in ("os.rename", "os.remove", "os.rmdir", "os.chmod", "os.chown"):
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1

    sys.addaudithook(hook)
