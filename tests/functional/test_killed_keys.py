"""The making of ssh keys is killed at any of its changes: no private key stays anywhere else, and
files that belong to a user are that user's."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess

import pytest
from salt.exceptions import CommandExecutionError

from tests.functional.killed import Traced, everything, killed_at
from tests.functional.test_golden import OWN, machine

__all__ = ["machine"]
pytestmark = pytest.mark.any_salt

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA" + 42 * "B"


def check_key(modules) -> None:
    """Check that the key is made, and that nothing else is left beside it."""
    public = modules["diskless_image.key"]()
    made = subprocess.run(
        ["ssh-keygen", "-y", "-f", OWN / "id_ed25519"], capture_output=True, check=True, text=True
    )
    assert made.stdout.startswith(public)
    assert os.listdir(OWN) == ["id_ed25519"]
    assert (OWN / "id_ed25519").stat().st_mode & 0o777 == 0o600


def test_a_killed_making_of_the_key_leaves_no_other_key(salt_call, pillar, machine):
    modules = salt_call(pillar).modules
    number = 1
    while killed_at(number, modules["diskless_image.key"]):
        check_key(modules)
        (OWN / "id_ed25519").unlink()
        number += 1
    assert number > 5


@pytest.mark.parametrize("with_caller", [True, False])
def test_a_killed_ssh_keygen_leaves_no_other_key(
    salt_call, pillar, machine, tmp_path, monkeypatch, with_caller
):
    modules = salt_call(pillar).modules
    traced, number = Traced(tmp_path / "traced", monkeypatch), 1
    while True:
        what = f"signal=KILL:when={number}"
        with traced.program("ssh-keygen", what, with_caller=with_caller) as done:
            killed_at(0, lambda: _quietly(modules["diskless_image.key"]))
        if not done.exists():
            break
        check_key(modules)
        (OWN / "id_ed25519").unlink()
        number += 1
    assert number > 2  # It writes the two halves.


def _quietly(call) -> None:
    with contextlib.suppress(CommandExecutionError):
        call()


def test_a_killed_authorization_leaves_the_user_files_that_are_his(
    salt_call, pillar, machine, monkeypatch, tmp_path
):
    """Repeated, it gives the user the directory and the file, whenever it was killed."""
    home = tmp_path / "home"
    home.mkdir()
    entry = ("golden", "x", 12345, 12345, "", str(home), "/bin/sh")
    monkeypatch.setattr(pwd, "getpwnam", lambda name: pwd.struct_passwd(entry))
    pillar["images"]["tiny"]["source"]["user"] = "golden"
    golden = salt_call(pillar, minion_id="golden").modules
    call = lambda: golden["diskless_golden.authorize"]("golden", {"bootserver": PUBLIC})  # noqa: E731
    call()
    wanted, number = everything([str(home)]), 0
    assert {status[1] for path, status in wanted.items() if path != str(home)} == {12345}
    while True:
        subprocess.run(["rm", "-r", str(home / ".ssh")], check=True)
        number += 1
        killed = killed_at(number, call)
        call()
        assert everything([str(home)]) == wanted, number
        if not killed:
            break
    assert number > 5
