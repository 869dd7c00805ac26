"""An older run does not publish over a newer one, and a failed restart is no success."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless.services import restarts
from tests.functional.conftest import root
from tests.functional.test_node import STATES

SERVICE = "isc-dhcp-server"


@pytest.fixture
def first(salt_call, pillar):
    """A run that began before the newer ones, with an image that has a version."""
    assert salt_call(pillar).state("diskless_image.synced").result is True
    run = salt_call(pillar)
    run.modules["diskless.site"]()
    return run


@pytest.mark.parametrize("newer", ["sync", "a run", "publish"])
def test_an_older_run_does_not_publish_over_a_newer_one(
    salt_call, pillar, first, golden, location, newer
):
    (golden / "etc/motd").write_text("newer\n")
    call = salt_call(pillar)
    if newer == "a run":
        call.modules["diskless.site"]()
        for name in STATES:
            assert call.state(name).result is True
    else:
        call.modules["diskless_image.sync"](publish=newer == "sync")
        if newer == "publish":
            call.modules["diskless_image.publish"]("tiny")
    published = root(location)
    (golden / "etc/motd").write_text("older\n")
    ret = first.state("diskless_image.synced")
    assert ret.result is False
    assert "found changes by a later run" in ret.comment
    assert root(location) == published
    assert (published / "etc/motd").read_text() == "newer\n"
    with pytest.raises(CommandExecutionError, match="changes by a later run"):
        first.modules["diskless_image.rollback"]("tiny")
    assert root(location) == published
    # The next run has the newest source.
    assert salt_call(pillar).state("diskless_image.synced").result is True
    assert (root(location) / "etc/motd").read_text() == "older\n"


def test_an_older_run_without_changes_is_not_refused(salt_call, pillar, first, golden):
    (golden / "etc/motd").write_text("newer\n")
    salt_call(pillar).modules["diskless_image.sync"]()
    assert first.state("diskless_image.synced").result is True


_SYSTEMCTL = """#!/bin/sh
cd {room} || exit 1
case $1 in
show) case $3 in ActiveState) cat state;; *) cat invocation;; esac;;
is-active) [ "$(cat state)" = active ];;
restart) echo 2 >invocation; echo active >state; setsid sh ./restart </dev/null >/dev/null 2>&1 & ;;
esac
"""


@pytest.fixture
def unit(tmp_path, monkeypatch) -> pathlib.Path:
    """A service of the type ``simple``; its file ``restart`` has what a restart does."""
    room = tmp_path / "salt/unit"
    room.mkdir(parents=True)
    (room / "systemctl").write_text(_SYSTEMCTL.format(room=room))
    (room / "systemctl").chmod(0o755)
    (room / "state").write_text("active\n")
    (room / "invocation").write_text("1\n")
    monkeypatch.setattr("salt_diskless.command._PATH", f"{room}:/usr/sbin:/usr/bin:/sbin:/bin")
    return room


def restarted(salt_call, pillar):
    with restarts.changing(SERVICE):
        pass
    return salt_call(pillar).states["diskless.current"](SERVICE)


@pytest.mark.parametrize(
    "what", ["echo failed >state", "echo 3 >invocation", "echo activating >state"]
)
def test_a_service_that_ends_right_after_its_restart_is_an_error(salt_call, pillar, unit, what):
    (unit / "restart").write_text(f"sleep 2; {what}\n")
    ret = restarted(salt_call, pillar)
    assert ret["result"] is False
    assert f"does not run after its restart; see journalctl -u {SERVICE}" in ret["comment"]


def test_a_restart_ends_when_the_service_has_its_port(salt_call, pillar, unit):
    bind = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 67))"
    wait = "import time; time.sleep(0.5); "
    script = f'{sys.executable} -c "{wait}{bind}; time.sleep(60)" & echo $! >pid; wait\n'
    (unit / "restart").write_text(script)
    begin = time.monotonic()
    try:
        assert restarted(salt_call, pillar)["changes"] == {"restarted": SERVICE}
        assert 0.5 < time.monotonic() - begin < 9
    finally:
        subprocess.run(["kill", (unit / "pid").read_text().strip()], check=True)


@pytest.mark.parametrize("state", ["failed", "inactive", "activating"])
def test_a_service_that_does_not_run_is_never_current(salt_call, pillar, unit, state, monkeypatch):
    monkeypatch.setattr(restarts, "_PATIENCE", 0.5)
    (unit / "state").write_text(f"{state}\n")
    ret = salt_call(pillar).states["diskless.current"](SERVICE)
    assert ret["result"] is False
    assert f"{SERVICE}: does not run ({state}); see journalctl -u {SERVICE}" in ret["comment"]


def test_a_service_that_is_about_to_start_is_awaited(salt_call, pillar, unit):
    (unit / "state").write_text("activating\n")
    later = subprocess.Popen(["sh", "-c", f"sleep 0.5; echo active >{unit}/state"])
    assert salt_call(pillar).states["diskless.current"](SERVICE)["result"] is True
    assert later.wait() == 0
