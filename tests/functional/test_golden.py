"""A golden machine and its boot servers: what Salt has it have, and who may read it."""

from __future__ import annotations

import fcntl
import os
import pathlib
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from salt.exceptions import CommandExecutionError

from tests.functional.conftest import root, running_sshd

AUTHORIZED = pathlib.Path("/root/.ssh/authorized_keys")
OWN = pathlib.Path("/etc/salt/diskless")


@pytest.fixture
def machine(pillar: dict, golden: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[None]:
    """A golden machine with a real sshd; its root user and host keys are this test's own. What
    rrsync gives is the golden root."""
    places = ["/etc/salt/diskless", "/etc/ssh", "/root/.ssh"]
    for place in places:
        os.makedirs(place, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", place], check=True)
    for kind in ("ed25519", "ecdsa"):
        command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", f"/etc/ssh/ssh_host_{kind}_key"]
        subprocess.run(command, check=True)
    rrsync = tmp_path / "rrsync"
    rrsync.write_text(f'#!/bin/sh\n[ "$*" = "-ro /" ] && exec /usr/bin/rrsync -ro {golden}\n')
    rrsync.chmod(0o755)
    pillar["lookup"]["rrsync"] = str(rrsync)
    source = {"minion": "golden", "host": "127.0.0.1", "port": 2222}
    pillar["images"]["tiny"]["source"] = source
    with running_sshd(tmp_path, pathlib.Path("/etc/ssh/ssh_host_ed25519_key")):
        yield
    for place in places:
        subprocess.run(["umount", place], check=True)


@pytest.fixture
def introduced(machine, pillar: dict, salt_call) -> None:
    """The boot server and the golden machine know each other, as the master has them."""
    server, golden = (salt_call(pillar, minion_id=who).modules for who in ("bootserver", "golden"))
    keys = {"bootserver": server["diskless_image.key"]()}
    assert golden["diskless_golden.authorize"]("root", keys) is True
    assert server["diskless_image.pin"]("golden", golden["diskless_golden.host_keys"]()) is True


def test_a_boot_server_takes_an_image_with_the_key_that_was_made(
    salt_call, pillar, location, golden, introduced
):
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    assert (root(location) / "etc/passwd").read_bytes() == (golden / "etc/passwd").read_bytes()
    assert OWN.stat().st_mode & 0o777 == 0o700
    assert (OWN / "id_ed25519").stat().st_mode & 0o777 == 0o600
    assert AUTHORIZED.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in OWN.iterdir()} == {"id_ed25519", "known_hosts"}


def test_before_that_it_says_what_makes_one(salt_call, pillar, location, machine):
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert "diskless:images:tiny:source:identity: found no /etc/salt/diskless/" in ret.comment
    assert "diskless.orch.golden" in ret.comment
    assert not location.exists()


def test_the_key_reads_by_rsync_and_does_nothing_else(introduced, golden, tmp_path):
    login = ["ssh", "-p", "2222", "-o", "BatchMode=yes", "-i", str(OWN / "id_ed25519")]
    login += ["-o", f"UserKnownHostsFile={OWN}/known_hosts", "-o", "HostKeyAlias=golden"]
    for command in ("touch /tmp/was-here", "", f"cat {golden}/etc/passwd"):
        done = subprocess.run([*login, "root@127.0.0.1", command], capture_output=True, check=False)
        assert done.returncode and done.stdout == b"", command
    write = ["rsync", "-e", " ".join(login), "/etc/hostname", "root@127.0.0.1:/etc/was-here"]
    assert subprocess.run(write, capture_output=True, check=False).returncode
    assert not (golden / "etc/was-here").exists()
    assert not pathlib.Path("/tmp/was-here").exists()
    read = ["rsync", "-e", " ".join(login), "root@127.0.0.1:/etc/passwd", str(tmp_path / "read")]
    subprocess.run(read, check=True)
    assert (tmp_path / "read").exists()


def test_keys_are_made_and_let_in_once(salt_call, pillar, introduced):
    before = (OWN / "id_ed25519").read_bytes(), AUTHORIZED.read_bytes()
    server, golden = (salt_call(pillar, minion_id=who).modules for who in ("bootserver", "golden"))
    keys = {"bootserver": server["diskless_image.key"]()}
    assert golden["diskless_golden.authorize"]("root", keys) is False
    assert server["diskless_image.pin"]("golden", golden["diskless_golden.host_keys"]()) is False
    assert before == ((OWN / "id_ed25519").read_bytes(), AUTHORIZED.read_bytes())


def test_a_host_key_that_is_another_machines_is_refused_until_it_is_pinned(
    salt_call, pillar, location, introduced
):
    modules = salt_call(pillar).modules
    other = pathlib.Path("/etc/ssh/ssh_host_ecdsa_key.pub").read_text()
    assert modules["diskless_image.pin"]("golden", [other]) is True
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False and "ssh could not log in" in ret.comment
    right = pathlib.Path("/etc/ssh/ssh_host_ed25519_key.pub").read_text()
    modules["diskless_image.pin"]("another.golden", [other])
    assert modules["diskless_image.pin"]("golden", [right]) is True
    assert salt_call(pillar).state("diskless_image.synced").result is True
    pinned = (OWN / "known_hosts").read_text().splitlines()[1:]
    assert [line.split()[0] for line in pinned] == ["another.golden", "golden"]


def test_while_a_file_of_keys_is_written_another_run_waits(salt_call, pillar, introduced):
    server, golden = (salt_call(pillar, minion_id=who).modules for who in ("bootserver", "golden"))
    key = server["diskless_image.key"]()
    calls = [
        lambda: server["diskless_image.pin"]("another", [key]),
        lambda: golden["diskless_golden.authorize"]("root", {"bootserver": key}),
    ]
    with ThreadPoolExecutor() as pool:
        with open("/run/salt-diskless/keys.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            waiting = [pool.submit(call) for call in calls]
            done, _ = wait(waiting, timeout=1)
            assert not done
            assert "another " not in (OWN / "known_hosts").read_text()
        assert [call.result(timeout=30) for call in waiting] == [True, False]
    assert "another " in (OWN / "known_hosts").read_text()


def test_what_else_is_let_in_stays_and_a_server_that_is_none_any_more_goes(
    salt_call, pillar, introduced
):
    mine = "ssh-ed25519 AAAAmine admin@home"
    AUTHORIZED.write_text(f"{AUTHORIZED.read_text()}{mine}")
    key = salt_call(pillar).modules["diskless_image.key"]()
    pillar["servers"]["second"] = {"address": "10.78.0.1", "interface": "dl1"}
    pillar["networks"]["lab"]["server"] = "bootserver"
    pillar["networks"]["more"] = {"subnet": "10.78.0.0/24", "server": "second"}
    mac = "52:54:00:77:00:04"
    pillar["nodes"]["node004"] = {
        "profile": "compute", "network": "more", "ip": "10.78.0.4", "mac": mac
    }  # fmt: skip
    golden = salt_call(pillar, minion_id="golden").modules
    assert golden["diskless_golden.authorize"]("root", {"second": key}) is True
    assert lets_in() == ["bootserver", "second"]
    assert AUTHORIZED.read_text().splitlines()[0] == mine
    for gone in ("nodes", "networks"):
        del pillar[gone][{"nodes": "node004", "networks": "more"}[gone]]
    del pillar["servers"]["second"]
    golden = salt_call(pillar, minion_id="golden").modules
    assert golden["diskless_golden.authorize"]("root", {"bootserver": key}) is True
    assert lets_in() == ["bootserver"]
    assert mine in AUTHORIZED.read_text()


def lets_in() -> list[str]:
    lines = AUTHORIZED.read_text().splitlines()
    return [line.rsplit("@", 1)[1] for line in lines if line.startswith("restrict,")]


RUBBISH = [
    "",
    "ssh-ed25519",
    "ssh-ed25519 AAAA",
    "ssh-dss AAAAB3NzaC1kc3MAAACBAOKbt0PDnFMpFcyxOyJ1ecdi4Lp4Xe4hBe1eYzDXNh3PvbBaFJrHYcHYcY",
    "ssh-ed25519 AAAAB3NzaC1yc2EAAAADAQABAAAAgQDdZ1yP7Jbq0KZ4s4bZ1JQ2N4pZl9y0bq1t2u3v4w5x6y7z",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6pT7\nssh-rsa AAAA",
    'command="sh" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl',
    ["ssh-ed25519"],
    None,
    7,
]


@pytest.mark.parametrize("key", RUBBISH, ids=repr)
def test_what_is_no_key_is_let_in_nowhere(salt_call, pillar, introduced, key):
    before = AUTHORIZED.read_bytes(), (OWN / "known_hosts").read_bytes()
    server, golden = (salt_call(pillar, minion_id=who).modules for who in ("bootserver", "golden"))
    with pytest.raises(CommandExecutionError, match="that is no public key of ssh"):
        golden["diskless_golden.authorize"]("root", {"bootserver": key})
    with pytest.raises(CommandExecutionError, match="that is no public key of ssh"):
        server["diskless_image.pin"]("golden", [key])
    assert before == (AUTHORIZED.read_bytes(), (OWN / "known_hosts").read_bytes())


def test_nobody_is_let_in_whom_the_pillar_does_not_have_read_it(salt_call, pillar, introduced):
    before = AUTHORIZED.read_bytes()
    key = salt_call(pillar).modules["diskless_image.key"]()
    golden = salt_call(pillar, minion_id="golden").modules
    for user, server in (("root", "stranger"), ("daemon", "bootserver"), ("root", "a\nb")):
        with pytest.raises(CommandExecutionError, match="the pillar has no image that this"):
            golden["diskless_golden.authorize"](user, {server: key})
    with pytest.raises(CommandExecutionError, match="no image whose source is the minion 'other'"):
        salt_call(pillar, minion_id="other").modules["diskless_golden.authorize"]("root", {})
    server = salt_call(pillar).modules
    for minion in ("*", "golden,other", "a b", ""):
        with pytest.raises(CommandExecutionError, match="a golden machine's host keys"):
            server["diskless_image.pin"](minion, [key])
    assert AUTHORIZED.read_bytes() == before


def test_without_rrsync_nobody_is_let_in(salt_call, pillar, machine):
    pathlib.Path(pillar["lookup"]["rrsync"]).unlink()
    key = salt_call(pillar).modules["diskless_image.key"]()
    golden = salt_call(pillar, minion_id="golden").modules
    with pytest.raises(CommandExecutionError, match="found no program; install rsync's rrsync"):
        golden["diskless_golden.authorize"]("root", {"bootserver": key})
    assert not AUTHORIZED.exists()


def test_a_sync_that_does_not_publish_leaves_that_to_publish(
    salt_call, pillar, location, golden, testmode
):
    modules = salt_call(pillar).modules
    first = modules["diskless_image.sync"]("tiny")["tiny"]["new"]
    (golden / "etc/motd").write_text("newer\n")
    done = modules["diskless_image.sync"]("tiny", publish=False, test=testmode)["tiny"]
    assert (done["old"], done["changed"]) == (first, True)
    assert root(location).name == first
    if testmode:
        assert len(list((location / "versions").iterdir())) == 1
        return
    assert modules["diskless_image.sync"]("tiny", publish=False)["tiny"]["changed"] is False
    assert salt_call(pillar, test=True).state("diskless_image.synced").result is None
    assert root(location).name == first
    # The source is another one by now: that is what is published, not what waited.
    (golden / "etc/motd").write_text("newest\n")
    assert salt_call(pillar).state("diskless_image.synced").changes["tiny"]["old"] == first
    assert (root(location) / "etc/motd").read_text() == "newest\n"


def test_publish_takes_the_newest(salt_call, pillar, location, golden):
    modules = salt_call(pillar).modules
    first = modules["diskless_image.sync"]("tiny")["tiny"]["new"]
    (golden / "etc/motd").write_text("newer\n")
    second = modules["diskless_image.sync"]("tiny", publish=False)["tiny"]["new"]
    done = modules["diskless_image.publish"]("tiny")
    assert (done["old"], done["new"]) == (first, second)
    assert (root(location) / "etc/motd").read_text() == "newer\n"


def test_a_golden_machine_has_what_each_of_its_images_wants(salt_call, pillar):
    tiny = pillar["images"]["tiny"]
    tiny.update(source={"minion": "golden"}, packages=["vim", "gcc"], golden_states=["a.b"])
    pillar["images"]["more"] = {
        **tiny,
        "location": "/diskless/more",
        "packages": ["gcc", "gdb"],
        "absent_packages": ["nano"],
    }
    modules = salt_call(pillar, minion_id="golden").modules
    assert modules["diskless_golden.plan"]() == {
        "images": ["tiny", "more"],
        "packages": ["vim", "gcc", "gdb"],
        "absent_packages": ["nano"],
        "golden_states": ["a.b"],
    }
    assert modules["diskless.problem"]("golden") == ""
    assert "no image whose source is the minion 'bootserver'" in salt_call(pillar).modules[
        "diskless.problem"
    ]("golden")
    assert modules["diskless_golden.orchestration"]("more") == [
        {"image": "more", "minion": "golden", "user": "root", "servers": ["bootserver"]}
    ]
    assert (
        "image: found 'mor', which has no golden machine (source:minion); did you mean more?"
        in (modules["diskless.problem"]("master", "mor"))
    )
