"""The TFTP root: what a real loader fetches is there, and what is gone from the pillar is not."""

from __future__ import annotations

import os
import pathlib
import subprocess
import time

import pytest

CONFIG = "linux-install/pxelinux.cfg"


@pytest.fixture
def root(pillar) -> pathlib.Path:
    return pathlib.Path(pillar["lookup"]["tftp_root"])


@pytest.fixture
def synced(salt_call, pillar) -> str:
    """The published version's name."""
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    return ret.changes["tiny"]["new"]


def test_managed_writes_loader_kernel_and_a_file_per_node(
    salt_call, pillar, root, synced, testmode, listing
):
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_tftp.managed")
    assert (ret.result is None) is testmode, ret.comment
    assert ret.changes["added"]["nodes"] == "node[001-003]"
    assert (listing() == before) is testmode
    if testmode:
        return
    loader = root / "linux-install/pxelinux.0"
    assert loader.read_bytes() == pathlib.Path("/usr/lib/PXELINUX/pxelinux.0").read_bytes()
    assert (root / "linux-install/ldlinux.c32").exists()
    assert (root / f"linux-install/tiny/{synced}/vmlinuz").read_text() == "kernel 6.1.0-9-test"
    assert (root / f"linux-install/tiny/{synced}/initrd.img").stat().st_mode & 0o444 == 0o444
    assert sorted(os.listdir(root / CONFIG)) == ["0A4D000B", "0A4D000C", "0A4D0049", "default"]


def test_a_nodes_file_is_the_howtos(salt_call, pillar, root, synced):
    salt_call(pillar).state("diskless_tftp.managed")
    location = pillar["images"]["tiny"]["location"]
    append = next(
        line.split("append ")[1]
        for line in (root / CONFIG / "0A4D0049").read_text().splitlines()
        if "append" in line
    )
    words = append.split()
    assert words[0] == "console=ttyS0,115200n8"
    assert f"NFSROOT=10.77.0.1:{location}" in words
    assert "SNAPSHOT=node003" in words
    assert "ETHERNET=eth0" in words
    assert "NISDOMAIN=lab_nis" in words
    assert f"DISKLESS_VERSION={synced}" in words
    assert "DISKLESS_NFS=3" in words
    assert "nfs.nfs4_unique_id=node003" in words
    assert not [word for word in words if word.startswith(("DISKLESS_LOG", "diskless.timeout"))]
    assert "kernel tiny/" in (root / CONFIG / "0A4D0049").read_text()


def test_a_nodes_timeout_and_its_networks_log_server_are_on_its_kernel_line(
    salt_call, pillar, root, synced
):
    pillar["networks"]["lab"]["syslog"] = "10.77.0.9"
    pillar["nodes"]["node003"]["timeout"] = {"after": 600}
    salt_call(pillar).state("diskless_tftp.managed")
    words = (root / CONFIG / "0A4D0049").read_text().split()
    # The kernel's own end, such as for want of memory, is an end too.
    assert {"DISKLESS_LOG=10.77.0.9", "diskless.timeout=600,reboot", "panic=600"} <= {*words}
    assert "diskless.timeout" not in (root / CONFIG / "0A4D000B").read_text()
    pillar["nodes"]["node003"].update(timeout={"after": 600, "then": "halt"})
    salt_call(pillar).state("diskless_tftp.managed")
    assert "panic" not in (root / CONFIG / "0A4D0049").read_text()


def test_gethostip_agrees_with_every_name(salt_call, howto, tmp_path, golden):
    howto["images"]["rhel5compute"]["location"] = str(tmp_path / "diskless/rhel")
    howto["images"]["rhel5compute"]["source"] = {"directory": str(golden)}
    howto["lookup"] = {"tftp_root": str(tmp_path / "srv/tftp")}
    call = salt_call(howto, minion_id="boot2")
    assert call.state("diskless_image.synced").result is True
    assert call.state("diskless_tftp.managed").result is True
    assert call.state("diskless_snapshot.managed").result is True
    listed = call.modules["diskless_tftp.list"](full=True)
    assert len(listed) == 128
    addresses = ["10.8.136.1", "10.8.136.2", "10.8.226.73"]
    addresses += [f"10.8.226.{74 + n}" for n in range(125)]
    said = subprocess.run(
        ["gethostip", "-x", *addresses], check=True, capture_output=True, text=True
    ).stdout.split()
    assert set(said) == set(listed)
    assert listed["0A088801"]["node"] == "node001"
    assert listed["0A08E249"]["node"] == "node003"
    snapshots = tmp_path / "diskless/rhel/snapshot"
    assert len([path for path in snapshots.iterdir() if path.is_dir()]) == 128


def test_managed_again_changes_nothing(salt_call, pillar, synced, testmode, listing):
    salt_call(pillar).state("diskless_tftp.managed")
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_tftp.managed")
    assert (ret.result, ret.changes) == (True, {})
    assert listing() == before


def test_a_node_that_goes_loses_its_files(salt_call, pillar, root, synced):
    salt_call(pillar).state("diskless_tftp.managed")
    by_mac = root / CONFIG / "01-52-54-00-77-00-03"
    by_mac.write_text((root / CONFIG / "0A4D0049").read_text())
    somebodys = root / CONFIG / "01-52-54-00-99-99-99"
    somebodys.write_text("default local\n")
    del pillar["nodes"]["node003"]
    ret = salt_call(pillar).state("diskless_tftp.managed")
    assert ret.changes["removed"]["nodes"] == "node003"
    assert not (root / CONFIG / "0A4D0049").exists()
    assert not by_mac.exists()
    assert somebodys.exists()


def test_a_file_of_somebody_elses_that_the_loader_takes_first_is_seen(
    salt_call, pillar, root, synced
):
    call = salt_call(pillar)
    call.state("diskless_tftp.managed")
    assert "overridden" not in call.modules["diskless.status"]()
    somebodys = root / CONFIG / "01-52-54-00-77-00-03"
    somebodys.write_text("default memtest\n")
    assert call.modules["diskless.status"]()["overridden"] == {"node003": str(somebodys)}
    assert call.state("diskless_tftp.managed").changes == {}


def test_a_new_version_keeps_the_old_ones_kernel(salt_call, pillar, root, synced, golden):
    salt_call(pillar).state("diskless_tftp.managed")
    (golden / "etc/motd").write_text("newer\n")
    test = salt_call(pillar, test=True)
    test.state("diskless_image.synced")
    would = test.state("diskless_tftp.managed").changes
    assert would["changed"]["nodes"] == "node[001-003]"
    call = salt_call(pillar)
    new = call.state("diskless_image.synced").changes["tiny"]["new"]
    ret = call.state("diskless_tftp.managed")
    assert ret.changes["changed"]["nodes"] == "node[001-003]"
    assert {
        version["version"] for version in call.modules["diskless_tftp.list"](full=True).values()
    } == {new}
    assert (root / f"linux-install/tiny/{synced}/vmlinuz").exists()


def test_before_the_first_run_test_mode_tells_what_would_come(salt_call, pillar, root, listing):
    before = listing()
    call = salt_call(pillar, test=True)
    call.state("diskless_image.synced")
    ret = call.state("diskless_tftp.managed")
    assert ret.result is None
    assert ret.changes["added"]["nodes"] == "node[001-003]"
    assert listing() == before


def test_without_a_published_version_it_says_what_to_do(salt_call, pillar):
    ret = salt_call(pillar).state("diskless_tftp.managed")
    assert ret.result is False
    assert "diskless_image.sync tiny" in ret.comment


def test_the_daemon_serves_the_tftp_root(salt_call, pillar, root, testmode, listing):
    defaults = pathlib.Path(pillar["lookup"]["tftp_defaults"])
    defaults.parent.mkdir(parents=True)
    defaults.write_text('TFTP_USERNAME="tftp"\nTFTP_DIRECTORY="/elsewhere"\n')
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_tftp.settings")
    assert (ret.result is None) is testmode, ret.comment
    unit = pillar["lookup"]["tftp_unit"]
    assert ret.changes == {"changed": {"files": [str(defaults)]}, "added": {"files": [unit]}}
    assert (listing() == before) is testmode
    if not testmode:
        text = f'TFTP_USERNAME="tftp"\nTFTP_DIRECTORY="{root}"\n'
        text += 'TFTP_OPTIONS="--secure --verbose"\n'
        assert defaults.read_text() == text
        assert salt_call(pillar).state("diskless_tftp.settings").changes == {}


def test_a_file_of_somebody_else_is_not_overwritten(salt_call, pillar, root, synced):
    (root / CONFIG).mkdir(parents=True)
    (root / CONFIG / "default").write_text("default local\n")
    ret = salt_call(pillar).state("diskless_tftp.managed")
    assert ret.result is False
    assert "did not write" in ret.comment
    assert os.listdir(root / CONFIG) == ["default"]


def test_absent_leaves_only_what_others_wrote(salt_call, pillar, root, synced):
    salt_call(pillar).state("diskless_tftp.managed")
    (root / CONFIG / "01-52-54-00-99-99-99").write_text("default local\n")
    salt_call(pillar).state("diskless_tftp.absent")
    assert os.listdir(root / CONFIG) == ["01-52-54-00-99-99-99"]
    assert not (root / "linux-install/tiny").exists()


def test_a_kernel_line_that_the_kernel_would_cut_is_refused(salt_call, pillar, synced):
    pillar["nodes"]["node003"]["kernel_append"] = "x" * 1800
    ret = salt_call(pillar).state("diskless_tftp.managed")
    assert ret.result is False
    assert "diskless:nodes:node003" in ret.comment and "kernel line of" in ret.comment


def test_a_real_tftp_client_fetches_it_from_a_real_daemon(
    salt_call, pillar, root, synced, tmp_path
):
    salt_call(pillar).state("diskless_tftp.managed")
    # The daemon changes to an ordinary user, who has to get to the root.
    for directory in (root, *root.parents):
        if str(directory).startswith(str(tmp_path.parent.parent.parent)):
            directory.chmod(0o755)
    # It takes no name on a machine whose only address is the loopback's.
    subprocess.run("ip addr replace 10.77.9.1/32 dev lo".split(), check=True)
    command = ["in.tftpd", "--foreground", "--address", "10.77.9.1:6969", "--secure", str(root)]
    daemon = subprocess.Popen(["/usr/sbin/" + command[0], *command[1:]])
    try:
        for name in (
            f"{CONFIG}/0A4D000B",
            "linux-install/pxelinux.0",
            f"linux-install/tiny/{synced}/vmlinuz",
        ):
            target = tmp_path / "fetched"
            fetch = ["busybox", "tftp", "-g", "-r", name, "-l", str(target), "10.77.9.1", "6969"]
            end = time.monotonic() + 15
            while subprocess.run(fetch, check=False, capture_output=True).returncode:
                assert time.monotonic() < end, f"{name} could not be fetched"
            assert target.read_bytes() == (root / name).read_bytes()
    finally:
        daemon.terminate()
        daemon.wait()
