"""A machine that stops being a boot server has what it had before, from a record of the changes."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
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
    for again in (salt_call({}), salt_call(pillar)):
        ret = again.state("diskless.cleaned")
        assert (ret.result, ret.changes) == (True, {})
        assert "Nothing of salt-diskless was left" in ret.comment
    with pytest.raises(CommandExecutionError, match="found no record of a boot server"):
        salt_call({"images": 5}).modules["diskless.clean"]()


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


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Stand-ins for programs that do not run here; each logs its words. Their answers can be
    changed: file name to what is printed."""
    programs = tmp_path / "salt/programs"
    programs.mkdir(parents=True)
    for name in ("systemctl", "firewall-cmd", "getsebool", "semanage"):
        script = programs / name
        script.write_text(
            f'#!/bin/sh\necho "$@" >>{programs}/{name}.log\ncat {programs}/{name}.$1 2>/dev/null\n:'
        )
        script.chmod(0o755)
    search = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    monkeypatch.setattr("salt_diskless.command._PATH", f"{programs}:{search}")
    return programs


def test_a_second_clean_leaves_the_admins_services_alone(salt_call, pillar, machine):
    apply(salt_call(pillar))
    salt_call(pillar).modules["diskless.clean"]()
    assert "stop -- isc-dhcp-server" in (machine / "systemctl.log").read_text()
    (machine / "systemctl.log").unlink()
    (machine / "systemctl.is-active").write_text("active")
    for call in (salt_call(pillar), salt_call({})):
        assert call.modules["diskless.clean"]() == {}
    assert not (machine / "systemctl.log").exists()


def test_a_clean_names_the_services_that_it_stopped(salt_call, pillar, machine):
    call = salt_call(pillar)
    call.state("diskless.recorded")
    apply(call)
    with (machine / "systemctl").open("a") as script:
        script.write(f"\n[ $1 != stop ] || rm -f {machine}/systemctl.is-active\n")
    (machine / "systemctl.is-active").write_text("active")
    expected = {"isc-dhcp-server": "stopped", "tftpd-hpa": "stopped"}
    for test in (True, False):
        services = salt_call(pillar).modules["diskless.clean"](test=test)["services"]
        assert {name: services.get(name) for name in expected} == expected


def test_an_apply_enables_a_daemon_that_was_disabled(salt_call, pillar, machine, testmode):
    call = salt_call(pillar, test=testmode)
    (machine / "systemctl.is-enabled").write_text("disabled")
    (machine / "systemctl.show").write_text("ActiveState=active\n")
    call.states["diskless.current"]("tftpd-hpa")
    log = machine / "systemctl.log"
    assert ("\nenable -- tftpd-hpa" in (log.read_text() if log.exists() else "")) is not testmode


def test_a_clean_that_kept_a_file_leaves_services_alone_later(salt_call, pillar, adopted, machine):
    apply(salt_call(pillar))
    pathlib.Path(pillar["lookup"]["tftp_defaults"]).write_text("MINE=1\n")
    assert "kept" in salt_call(pillar).modules["diskless.clean"]()
    (machine / "systemctl.log").unlink()
    (machine / "systemctl.is-active").write_text("active")
    assert {*salt_call(pillar).modules["diskless.clean"]()} <= {"kept", "warnings"}
    assert not (machine / "systemctl.log").exists()


_ZONES = """public (active)
  target: default
  services: {}
  ports:

drop
  services:
"""


def test_what_stays_is_named_with_what_takes_it_away(salt_call, pillar, machine, testmode):
    (machine / "firewall-cmd.--permanent").write_text(_ZONES.format("ssh dhcp"))
    (machine / "getsebool.nfs_export_all_ro").write_text(
        "nfs_export_all_ro --> on\nnfs_export_all_rw --> off\n"
    )
    salt_call(pillar).modules["diskless.record"]()
    (machine / "firewall-cmd.--permanent").write_text(_ZONES.format("ssh dhcp tftp nfs"))
    (machine / "getsebool.nfs_export_all_ro").write_text(
        "nfs_export_all_ro --> on\nnfs_export_all_rw --> on\n"
    )
    (machine / "semanage.fcontext").write_text(
        f"{pillar['lookup']['tftp_root']}(/.*)?  all files  system_u:object_r:tftpdir_t:s0\n"
    )
    apply(salt_call(pillar))
    changes = salt_call({}, test=testmode).modules["diskless.clean"](test=testmode)
    assert changes["stays"] == {
        "images and snapshots": [pillar["images"]["tiny"]["location"]],
        "firewall": [
            "firewall-cmd --permanent --zone=public --remove-service=tftp --remove-service=nfs"
        ],
        "selinux": [
            "setsebool -P nfs_export_all_rw off",
            f"semanage fcontext -d '{re.escape(pillar['lookup']['tftp_root'])}(/.*)?'",
        ],
    }


def test_packages_that_were_installed_since_are_named(salt_call, pillar, monkeypatch):
    call = salt_call(pillar).modules
    monkeypatch.setattr("salt_diskless.services.surroundings._installed", lambda _: ["rsync"])
    call["diskless.record"]()
    monkeypatch.undo()
    apply(salt_call(pillar))
    stays = salt_call({}).modules["diskless.clean"]()["stays"]
    assert {"isc-dhcp-server", "pxelinux"} <= {*stays["packages"]}
    assert "rsync" not in stays["packages"]


def test_without_a_record_what_stays_is_named(salt_call, pillar, adopted):
    apply(salt_call(pillar))
    os.unlink(originals.DATABASE)
    kept = salt_call(pillar).modules["diskless.clean"]()["kept"]
    for path in (
        pillar["lookup"]["tftp_defaults"],
        pillar["lookup"]["dhcp_defaults"],
        f"{pillar['lookup']['tftp_root']}/linux-install/pxelinux.0",
    ):
        assert kept[path] == "has no record of what it was before salt-diskless, so it stays"
        assert os.path.exists(path)


def test_the_names_of_the_distribution_do_without_pillar_and_record(salt_call):
    config = pathlib.Path("/etc/exports.d/diskless.exports")
    config.write_text("# Written by salt-diskless: x.\n")
    ret = salt_call({}).state("diskless.cleaned")
    assert ret.changes["removed"] == [str(config)]
    assert not config.exists()


def test_a_file_that_the_admin_removed_is_back(salt_call, pillar, adopted, files):
    before = files()
    apply(salt_call(pillar))
    for key in ("dhcp_config", "tftp_defaults"):
        os.unlink(pillar["lookup"][key])
    assert "kept" not in salt_call({}).modules["diskless.clean"]()
    assert files() == before


def test_a_run_that_began_before_clean_writes_nothing_after_it(salt_call, pillar, files):
    before = files()
    run = salt_call(pillar)
    run.modules["diskless.site"]()
    run.modules["diskless.record"]()
    for name in ("image.synced", "snapshot.managed", "tftp.managed"):
        assert run.state(f"diskless_{name}").result is True
    salt_call(pillar).modules["diskless.clean"]()
    assert files() == before
    for name in STATES:
        ret = run.state(f"diskless_{name}")
        assert ret.result is False or not ret.changes, ret
        assert ret.result or "found changes by a later run" in ret.comment
    assert files() == before
    assert salt_call(pillar).state("diskless_tftp.managed").result is True
