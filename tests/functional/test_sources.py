"""Where images come from: a directory, a machine over ssh, an archive."""

from __future__ import annotations

import io
import os
import pathlib
import shutil
import subprocess
import tarfile

import pytest

from tests.functional.conftest import root, running_sshd

pytestmark = pytest.mark.any_salt


def test_a_source_that_is_not_there_is_said_and_the_published_version_stays(
    salt_call, pillar, location, golden
):
    salt_call(pillar).state("diskless_image.synced")
    before = root(location)
    golden.rename(golden.with_name("away"))
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert "diskless:images:tiny:source:directory" in ret.comment
    assert root(location) == before


@pytest.mark.parametrize("lacking", ["etc", "usr", "bin"])
def test_a_directory_that_is_no_root_is_refused_before_it_is_copied(
    salt_call, pillar, location, golden, lacking
):
    (golden / lacking).rename(golden / "away")
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert f"without {lacking}; give the root of a system" in ret.comment
    assert "source:directory" in ret.comment
    assert not (location / ".staging").exists()


def test_a_golden_machine_is_synced_over_ssh(salt_call, pillar, location, sshd, golden):
    pillar["images"]["tiny"]["source"] = sshd
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    assert (root(location) / "etc/passwd").read_text() == (golden / "etc/passwd").read_text()
    assert salt_call(pillar).state("diskless_image.synced").changes == {}


def test_a_host_key_that_is_not_the_pinned_one_is_refused(salt_call, pillar, location, sshd):
    pillar["images"]["tiny"]["source"] = sshd
    sshd["known_hosts"] = sshd["known_hosts"].replace("known_hosts", "wrong_hosts")
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert "ssh could not log in" in ret.comment and "Host key verification failed" in ret.comment
    assert not (location / "root").exists()


def test_a_golden_machine_that_is_off_is_said_and_what_is_published_stays(
    salt_call, pillar, location, sshd
):
    salt_call(pillar).state("diskless_image.synced")
    before = root(location)
    pillar["images"]["tiny"]["source"] = {**sshd, "port": 2223}
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert "ssh could not log in" in ret.comment and "Connection refused" in ret.comment
    assert root(location) == before


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("echo Welcome; exec /usr/bin/rrsync -ro {golden}", "shell prints something"),
        ("printf x; exec /usr/bin/rrsync -ro {golden}", "shell prints something"),
        ("rsync: command not found", "rsync is not installed on the golden machine; install it"),
        ("This account is currently not available.", "that user may not log in there"),
    ],
)
def test_what_a_golden_machine_does_wrong_is_named(
    salt_call, pillar, location, sshd, golden, tmp_path, command, says
):
    """Its words come from a real sshd and a real rsync."""
    text = command.format(golden=golden)
    if "exec" not in text:
        text = f"echo '{text}' >&2; exit 127"
    forced = tmp_path / "forced"
    forced.write_text(f"#!/bin/sh\n{text}\n")
    forced.chmod(0o755)
    keys = pathlib.Path(sshd["identity"]).parent
    line = (keys / "user.pub").read_text()
    (keys / "authorized_keys").write_text(line)
    settings = [f"AuthorizedKeysFile {keys}/authorized_keys", "StrictModes no"]
    settings += [f"ForceCommand {forced}"]
    pillar["images"]["tiny"]["source"] = {**sshd, "port": 2224}
    known = (keys / "known_hosts").read_text()
    (keys / "known_hosts").write_text(known.replace("2222", "2224"))
    with running_sshd(keys, keys / "host", *settings, port=2224):
        ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert says in ret.comment and "What is published stays" in ret.comment
    assert "different protocols" not in ret.comment
    assert not (location / "root").exists()


def test_a_key_that_the_golden_machine_does_not_know_is_named(salt_call, pillar, sshd):
    other = sshd["identity"].replace("user", "other")
    pillar["images"]["tiny"]["source"] = {**sshd, "identity": other}
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert "ssh could not log in to the golden machine: it does not accept the key" in ret.comment


@pytest.fixture
def archive(pillar, golden, tmp_path) -> pathlib.Path:
    """An archive of the golden root, which the image is taken from."""
    path = tmp_path / "golden.tar"
    pack(golden, path)
    pillar["images"]["tiny"]["source"] = {"archive": str(path)}
    return path


def pack(golden: pathlib.Path, path: pathlib.Path) -> None:
    """Make an archive by a name that says how it is compressed."""
    command = ["tar", "--create", "--auto-compress", "--file", path, "-C", golden, "."]
    subprocess.run(command, check=True)


def left_beside(location: pathlib.Path) -> list[str]:
    return sorted(path.name for path in location.iterdir() if path.name.startswith("."))


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.xz", "tar.zst"])
def test_an_archive_is_unpacked_once_for_a_version(
    salt_call, pillar, location, golden, tmp_path, ending, testmode, listing
):
    path = tmp_path / f"golden.{ending}"
    pack(golden, path)
    pillar["images"]["tiny"]["source"] = {"archive": str(path)}
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_image.synced")
    assert (ret.result is None) is testmode, ret.comment
    assert (listing() == before) is testmode
    if testmode:
        return
    assert f"from {path}" in ret.comment
    assert (root(location) / "etc/passwd").read_bytes() == (golden / "etc/passwd").read_bytes()
    assert (root(location) / "bin/busybox").stat().st_nlink == 1
    assert left_beside(location) == [".lock"]
    # As long as it is the same file nobody looks into it.
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    for test in (True, False):
        ret = salt_call(pillar, test=test).state("diskless_image.synced")
        assert (ret.result, ret.changes) == (True, {}), ret.comment


def test_a_program_that_decompresses_and_is_missing_is_named(
    salt_call, pillar, golden, tmp_path, monkeypatch
):
    path, programs = tmp_path / "golden.tar.zst", tmp_path / "salt/programs"
    pack(golden, path)
    programs.mkdir(parents=True)
    for name in ("tar", "setpriv"):
        (programs / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setattr("salt_diskless.command._PATH", str(programs))
    pillar["images"]["tiny"]["source"] = {"archive": str(path)}
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert "this boot server has no program zstd; install it and try again" in ret.comment


def test_an_archive_that_looks_the_same_is_looked_into_again_where_somebody_says_so(
    salt_call, pillar, location, golden, archive, listing
):
    salt_call(pillar).state("diskless_image.synced")
    first, status = root(location), archive.stat()
    sync = salt_call(pillar).modules["diskless_image.sync"]
    assert sync(again=True)["tiny"]["changed"] is False
    (golden / "etc/passwd").write_text("root::0:0:Root himself:/root:/bin/sh\n")
    pack(golden, archive)
    os.utime(archive, ns=(status.st_atime_ns, status.st_mtime_ns))
    before = listing()
    assert sync()["tiny"]["changed"] is False
    foretold = sync(again=True, test=True)["tiny"]
    assert (foretold["changed"], foretold["why"]) == (True, f"{archive} would be taken anew")
    assert listing() == before and root(location) == first
    assert sync(again=True)["tiny"]["changed"] is True
    assert "himself" in (root(location) / "etc/passwd").read_text()


def test_another_archive_makes_a_version_that_shares_what_is_the_same(
    salt_call, pillar, location, golden, archive, testmode
):
    salt_call(pillar).state("diskless_image.synced")
    first = root(location)
    (golden / "etc/motd").write_text("newer\n")
    pack(golden, archive)
    ret = salt_call(pillar, test=testmode).state("diskless_image.synced")
    assert (ret.result is None) is testmode, ret.comment
    assert ret.changes["tiny"]["old"] == first.name
    if testmode:
        return
    assert (root(location) / "etc/motd").read_text() == "newer\n"
    assert (root(location) / "bin/busybox").samefile(first / "bin/busybox")
    assert (first / "bin/busybox").stat().st_nlink == 2


def test_an_archive_that_was_made_anew_of_the_same_is_no_change(
    salt_call, pillar, location, golden, archive
):
    salt_call(pillar).state("diskless_image.synced")
    first = root(location)
    for _ in range(2):
        status = archive.stat()
        os.utime(archive, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
        ret = salt_call(pillar).state("diskless_image.synced")
        assert (ret.result, ret.changes) == (True, {}), ret.comment
        # Now it is known, and test mode can tell without unpacking it.
        ret = salt_call(pillar, test=True).state("diskless_image.synced")
        assert (ret.result, ret.changes) == (True, {}), ret.comment
    assert root(location) == first


def test_another_exclude_makes_another_version_of_the_same_archive(
    salt_call, pillar, location, archive
):
    salt_call(pillar).state("diskless_image.synced")
    pillar["images"]["tiny"]["exclude"] = ["/etc/passwd"]
    assert salt_call(pillar).state("diskless_image.synced").changes
    assert not (root(location) / "etc/passwd").exists()


@pytest.mark.parametrize("how", ["truncated", "no archive", "not there"])
def test_an_archive_that_cannot_be_unpacked_is_said_and_nothing_is_left(
    salt_call, pillar, location, archive, how
):
    salt_call(pillar).state("diskless_image.synced")
    before = root(location)
    if how == "truncated":
        os.truncate(archive, archive.stat().st_size // 2)
    elif how == "no archive":
        archive.write_text("hello\n" * 1000)
    else:
        archive.unlink()
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert ret.comment.startswith("diskless:images:tiny:source:archive: ")
    assert str(archive) in ret.comment
    assert root(location) == before
    assert left_beside(location) == [".lock"]


@pytest.mark.parametrize(
    ("members", "top"),
    [
        (["-C", "..", "golden"], "golden"),
        (["etc"], "etc"),
        (["--transform", "s,^,a b/,", "etc", "usr"], "a b"),
        (["root/x"], "root"),
        (["--files-from", "/dev/null"], "nothing"),
        (["etc", "usr"], "etc, usr"),
    ],
)
def test_an_archive_of_no_root_is_not_unpacked(salt_call, pillar, location, golden, members, top):
    (golden / "root/x").write_text("x")
    other = golden.parent / "other.tar"
    command = ["tar", "--create", "--file", str(other), *members]
    subprocess.run(command, check=True, cwd=golden)
    pillar["images"]["tiny"]["source"] = {"archive": str(other)}
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert f"source:archive: found {other} without" in ret.comment
    assert f"(at its top: {top}); give an archive of a system's root" in ret.comment
    assert left_beside(location) == [".lock"]


@pytest.mark.parametrize("prefix", ["", "./", "/"])
def test_an_archive_of_a_root_by_other_names(salt_call, pillar, location, golden, prefix):
    other = golden.parent / "other.tar"
    command = ["tar", "--create", "--absolute-names", f"--transform=s,^,{prefix},S", "--file"]
    names = sorted(path.name for path in golden.iterdir())
    subprocess.run([*command, str(other), *names], check=True, cwd=golden)
    pillar["images"]["tiny"]["source"] = {"archive": str(other)}
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    assert (root(location) / "bin/sh").is_symlink()


def test_an_archive_writes_nothing_outside_of_its_directory(
    salt_call, pillar, location, golden, archive, tmp_path
):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "there").write_text("mine\n")
    with tarfile.open(archive, "a") as stream:
        for name in ("../evil", str(outside / "evil"), "./link/evil", "./link/there"):
            if name == "./link/evil":
                link = tarfile.TarInfo("./link")
                link.type, link.linkname = tarfile.SYMTYPE, str(outside)
                stream.addfile(link)
            member = tarfile.TarInfo(name)
            member.size = 5
            stream.addfile(member, io.BytesIO(b"evil\n"))
        hard = tarfile.TarInfo("./hard")
        hard.type, hard.linkname = tarfile.LNKTYPE, str(outside / "there")
        stream.addfile(hard)
    salt_call(pillar).state("diskless_image.synced")
    assert [path.name for path in outside.iterdir()] == ["there"]
    assert (outside / "there").read_text() == "mine\n"
    assert (outside / "there").stat().st_nlink == 1
    assert not (location / "evil").exists() and not (location.parent / "evil").exists()


def test_what_a_killed_run_unpacked_is_taken_away(salt_call, pillar, location, archive):
    (location / ".unpacked/etc").mkdir(parents=True)
    (location / ".unpacked/etc/old").write_text("of another archive\n")
    assert salt_call(pillar).state("diskless_image.synced").result is True
    assert not (root(location) / "etc/old").exists()
    assert left_beside(location) == [".lock"]
