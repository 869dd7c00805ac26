"""Who a node is: made once on the server, kept in its snapshot, different from its neighbours'."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import time

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless.image import identity
from tests.functional.conftest import root

OWN = {"hostname", "machine-id", "random-seed", "99-diskless-id.conf"}
OWN |= {"initiatorname.iscsi", "hostnqn", "hostid"}
KEYS = {f"ssh_host_{kind}_key{end}" for kind in ("ed25519", "ecdsa") for end in ("", ".pub")}


@pytest.fixture
def golden(golden) -> pathlib.Path:
    """A golden root that has sshd and a Salt minion."""
    for directory in (
        "etc/ssh",
        "etc/salt/minion.d",
        "etc/salt/pki/minion",
        "etc/iscsi",
        "etc/nvme",
    ):
        (golden / directory).mkdir(parents=True)
    (golden / "etc/ssh/sshd_config").write_text("UsePAM no\n")
    (golden / "etc/ssh/ssh_host_rsa_key").write_text("the golden node's\n")
    (golden / "etc/salt/minion").write_text("id: golden\n")
    (golden / "etc/salt/pki/minion/minion.pem").write_text("the golden node's\n")
    (golden / "var/lib/systemd/random-seed").write_text("the golden node's\n")
    return golden


@pytest.fixture
def base(salt_call, pillar, golden) -> pathlib.Path:
    """The directory of the snapshots, of an image that has been synced."""
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    return pathlib.Path(pillar["images"]["tiny"]["location"]) / "snapshot"


def own(base: pathlib.Path, node: str) -> dict[str, bytes]:
    """Return the files of a node's identity."""
    place = base / node / ".diskless/identity"
    return {path.name: path.read_bytes() for path in place.iterdir()}


def test_a_version_has_empty_places_for_it(salt_call, pillar, base, location):
    for path in identity.PLACES:
        place = root(location) / path[1:]
        assert place.is_dir() or place.stat().st_size == 0, path
    assert list((root(location) / "etc/salt/pki").iterdir()) == []
    ret = salt_call(pillar).state("diskless_image.synced")
    assert (ret.result, ret.changes) == (True, {})


def test_a_directory_that_only_a_place_needs_is_no_difference(
    salt_call, pillar, base, golden, location
):
    (golden / "etc/salt/minion.d").rmdir()
    call = salt_call(pillar)
    call.state("diskless_image.synced")
    assert (root(location) / identity.MINION_ID[1:]).stat().st_size == 0
    assert call.state("diskless_image.synced").changes == {}


def test_an_image_without_sshd_or_minion_has_no_places_for_them(
    salt_call, pillar, base, golden, location
):
    shutil.rmtree(golden / "etc/ssh")
    shutil.rmtree(golden / "etc/salt")
    call = salt_call(pillar)
    assert call.state("diskless_image.synced").changes
    # The directory of what was protected there goes a version later.
    assert call.state("diskless_image.synced").result is True
    assert not list((root(location) / "etc").glob("ssh/ssh_host_*"))
    assert not (root(location) / "etc/salt/minion.d").exists()
    assert call.state("diskless_image.synced").changes == {}
    call.state("diskless_snapshot.managed")
    assert {*own(base, "node001")} == OWN - {"99-diskless-id.conf"}


def test_it_is_made_for_each_node_and_differs(salt_call, pillar, base, testmode, listing):
    before = listing()
    salt_call(pillar, test=testmode).state("diskless_snapshot.managed")
    assert (listing() == before) is testmode
    if testmode:
        return
    found = {name: own(base, name) for name in ("node001", "node002", "node003")}
    for name, files in found.items():
        assert {*files} == OWN | KEYS
        assert files["hostname"] == f"{name}\n".encode()
        assert files["99-diskless-id.conf"].splitlines()[-1] == f"id: '{name}'".encode()
        assert len(files["random-seed"]) == 512
        assert len(files["machine-id"]) == 33 and int(files["machine-id"], 16)
    for what in OWN | KEYS:
        assert len({files[what] for files in found.values()}) == 3, what


def test_it_is_root_s_alone(salt_call, pillar, base):
    salt_call(pillar).state("diskless_snapshot.managed")
    place = base / "node001/.diskless/identity"
    assert place.stat().st_mode & 0o7777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o7777 for path in place.iterdir()}
    secret = {"random-seed", "ssh_host_ed25519_key", "ssh_host_ecdsa_key"}
    assert modes == {name: 0o600 if name in secret else 0o644 for name in OWN | KEYS}


def test_sshd_takes_the_keys_and_the_empty_place_of_another(salt_call, pillar, base, tmp_path):
    salt_call(pillar).state("diskless_snapshot.managed")
    place = base / "node001/.diskless/identity"
    config = tmp_path / "sshd_config"
    names = ("ssh_host_ed25519_key", "ssh_host_ecdsa_key", "empty")
    (place / "empty").touch(0o600)
    config.write_text("".join(f"HostKey {place}/{name}\n" for name in names))
    os.makedirs("/run/sshd", exist_ok=True)
    done = subprocess.run(["/usr/sbin/sshd", "-t", "-f", config], check=False)
    assert done.returncode == 0
    public = subprocess.run(
        ["ssh-keygen", "-y", "-f", place / names[0]], check=True, capture_output=True
    ).stdout
    assert public.split()[:2] == (place / f"{names[0]}.pub").read_bytes().split()[:2]


def test_it_stays_over_runs(salt_call, pillar, base, testmode, listing):
    salt_call(pillar).state("diskless_snapshot.managed")
    before, files = listing(), own(base, "node002")
    ret = salt_call(pillar, test=testmode).state("diskless_snapshot.managed")
    assert (ret.result, ret.changes) == (True, {})
    assert listing() == before
    pillar["profiles"]["compute"]["files"].append("/var/lib/systemd")
    salt_call(pillar).state("diskless_snapshot.managed")
    assert own(base, "node002") == files


def test_a_snapshot_that_is_there_gets_it_and_keeps_what_it_has(
    salt_call, pillar, base, testmode, listing
):
    salt_call(pillar).state("diskless_snapshot.managed")
    files = own(base, "node001")
    (base / "node001/var/log/mine").write_text("precious\n")
    pillar["profiles"]["compute"]["host_keys"] = ["ed25519", "ecdsa", "rsa"]
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_snapshot.managed")
    assert ret.changes, ret.comment
    assert ret.changes["seeded"]["/etc/ssh/ssh_host_rsa_key"] == "node[001-003]"
    assert (listing() == before) is testmode
    if not testmode:
        now = own(base, "node001")
        assert {name: now[name] for name in files} == files
        assert {*now} - {*files} == {"ssh_host_rsa_key", "ssh_host_rsa_key.pub"}
        assert (base / "node001/var/log/mine").read_text() == "precious\n"


def test_what_a_node_removed_of_it_is_made_again_when_asked(salt_call, pillar, base):
    salt_call(pillar).state("diskless_snapshot.managed")
    before = own(base, "node001")
    place = base / "node001/.diskless/identity"
    (place / "machine-id").unlink()
    (place / "ssh_host_ed25519_key.pub").unlink()
    call = salt_call(pillar)
    missing = call.modules["diskless_snapshot.list"](full=True)["nodes"]["node001"]["missing"]
    assert missing == ["/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub"]
    assert call.modules["diskless_snapshot.apply"](check=True)["seeded"] == {
        path: "node001" for path in missing
    }
    now = own(base, "node001")
    assert now["machine-id"] == before["machine-id"]
    assert now["ssh_host_ecdsa_key"] == before["ssh_host_ecdsa_key"]
    # The two halves fit: both are new.
    assert now["ssh_host_ed25519_key"] != before["ssh_host_ed25519_key"]
    assert not (base / ".new").exists()


@pytest.mark.parametrize("what", [".diskless", ".diskless/identity"])
def test_a_link_that_a_node_put_there_is_not_followed(salt_call, pillar, base, tmp_path, what):
    salt_call(pillar).state("diskless_snapshot.managed")
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.rmtree(base / "node001" / what)
    (base / "node001" / what).symlink_to(outside)
    with pytest.raises(CommandExecutionError, match="snapshot/node001: cannot be seeded"):
        salt_call(pillar).modules["diskless_snapshot.apply"](check=True)
    assert list(outside.iterdir()) == []


def test_a_file_that_a_node_made_a_link_of_is_not_written_through(
    salt_call, pillar, base, tmp_path
):
    salt_call(pillar).state("diskless_snapshot.managed")
    outside = tmp_path / "outside"
    place = base / "node001/.diskless/identity"
    (place / "ssh_host_ed25519_key").unlink()
    (place / "ssh_host_ed25519_key.pub").unlink()
    (place / "ssh_host_ed25519_key.pub").symlink_to(outside)
    salt_call(pillar).modules["diskless_snapshot.apply"](check=True)
    assert not outside.exists()
    assert not (place / "ssh_host_ed25519_key.pub").is_symlink()


def test_128_nodes_take_seconds(salt_call, pillar, base):
    macs = [f"52:54:00:78:00:{n:02x}" for n in range(128)]
    node = {"profile": "compute", "ip": "10.77.0.100+", "mac": macs}
    pillar["nodes"] = {"node[001-128]": node}
    begun = time.monotonic()
    salt_call(pillar).state("diskless_snapshot.managed")
    assert time.monotonic() - begun < 60
    keys = {own(base, f"node{n:03d}")["ssh_host_ed25519_key.pub"] for n in range(1, 129)}
    assert len(keys) == 128


def test_a_golden_node_s_own_is_refused(salt_call, pillar, base, golden, location):
    for path in identity.PLACES[2:-1]:
        (golden / path[1:]).write_text("the golden node's\n")
    salt_call(pillar).state("diskless_image.synced")
    assert identity.found(str(root(location))) == []
    (root(location) / "etc/ssh/ssh_host_rsa_key").write_text("the golden node's\n")
    (root(location) / "etc/salt/pki/minion").mkdir()
    assert identity.found(str(root(location))) == ["/etc/salt/pki", "/etc/ssh/ssh_host_rsa_key"]
