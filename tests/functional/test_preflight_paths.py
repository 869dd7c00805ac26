"""Paths of the pillar are checked by what they are on the machine, before anything is written."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest
from salt.exceptions import CommandExecutionError


def refused(call) -> str:
    """Return the one message with which all that writes or validates refuses."""
    result = call.state("diskless.valid")
    assert result.result is False
    for name in ("diskless.validate", "diskless.plan"):
        with pytest.raises(CommandExecutionError) as error:
            call.modules[name]()
        # That a function which only reads has changed nothing goes without saying.
        assert str(error.value).splitlines()[1:] == result.comment.splitlines()[1:]
    return result.comment


@contextlib.contextmanager
def bound(source: object, target: pathlib.Path) -> Iterator[None]:
    """Mount a directory at another path as well."""
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", source, target], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", target], check=True)


@pytest.mark.parametrize("below", ["", "images", "a/b"])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_location_behind_a_link_is_refused(
    salt_call, pillar, tmp_path, listing, testmode, below, dangling
):
    real = tmp_path / "data"
    if not dangling:
        (real / below).mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    pillar["images"]["tiny"]["location"] = str(tmp_path / "link" / below / "tiny")
    before = listing()
    says = f"give {real / below / 'tiny'}, or mount that directory there"
    assert says in refused(salt_call(pillar, test=testmode))
    assert listing() == before


def test_a_location_that_is_a_link_is_refused(salt_call, pillar, tmp_path, location):
    location.parent.mkdir(parents=True)
    (tmp_path / "data").mkdir()
    location.symlink_to(tmp_path / "data")
    assert f"give {tmp_path / 'data'}" in refused(salt_call(pillar))


def test_two_images_in_one_directory_by_a_bind_mount_are_refused(salt_call, pillar, tmp_path):
    first = tmp_path / "diskless/tiny"
    first.mkdir(parents=True)
    pillar["images"]["other"] = {"location": str(tmp_path / "bound/other")}
    with bound(first, tmp_path / "bound"):
        comment = refused(salt_call(pillar))
        assert f"diskless:images:other:location: found {tmp_path}/bound/other" in comment
        assert f"diskless:images:tiny:location is {first}" in comment


def test_two_locations_to_be_made_in_one_directory_are_refused(salt_call, pillar, tmp_path):
    (tmp_path / "data").mkdir()
    pillar["images"]["tiny"]["location"] = str(tmp_path / "data/new/tiny")
    pillar["images"]["other"] = {"location": str(tmp_path / "bound/new/tiny/x")}
    with bound(tmp_path / "data", tmp_path / "bound"):
        assert "diskless:images:other:location" in refused(salt_call(pillar))


def test_a_location_on_a_mount_of_its_own_is_right(salt_call, pillar, tmp_path):
    (tmp_path / "data").mkdir()
    pillar["images"]["other"] = {"location": str(tmp_path / "data/other")}
    with bound(tmp_path / "data", tmp_path / "diskless"):
        assert salt_call(pillar).state("diskless.valid").result is True


@pytest.mark.parametrize("system", ["/etc", "/usr/bin", "/var/lib/dpkg"])
def test_a_directory_of_the_system_by_a_bind_mount_is_refused(salt_call, pillar, tmp_path, system):
    pillar["images"]["tiny"]["location"] = str(tmp_path / "bound/tiny")
    with bound(system, tmp_path / "bound"):
        comment = refused(salt_call(pillar))
    assert "diskless:images:tiny:location" in comment and "give another" in comment


@pytest.mark.parametrize(
    ("key", "path"),
    [("tftp_root", ""), ("dhcp_defaults", "/x"), ("dhcp_config", "/default/x")],
)
def test_a_path_of_lookup_that_leads_into_the_system_is_refused(
    salt_call, pillar, tmp_path, key, path
):
    (tmp_path / "link").symlink_to("/usr/lib" if key != "tftp_root" else "/etc")
    pillar["lookup"][key] = f"{tmp_path}/link{path}"
    assert f"diskless:lookup:{key}: found {tmp_path}/link" in refused(salt_call(pillar))


def test_a_tftp_root_that_is_a_link_to_a_directory_of_its_own_is_right(salt_call, pillar, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    pillar["lookup"]["tftp_root"] = str(tmp_path / "link")
    assert salt_call(pillar).state("diskless.valid").result is True


def test_a_tftp_root_that_is_an_image_by_a_link_is_refused(salt_call, pillar, tmp_path, location):
    location.mkdir(parents=True)
    (tmp_path / "link").symlink_to(location)
    pillar["lookup"]["tftp_root"] = str(tmp_path / "link")
    assert "diskless:lookup:tftp_root" in refused(salt_call(pillar))


def test_two_files_at_one_path_by_a_link_are_refused(salt_call, pillar, tmp_path):
    (tmp_path / "etc/default").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "etc")
    pillar["lookup"]["dhcp_defaults"] = str(tmp_path / "link/default/tftpd-hpa")
    assert "give a path of its own" in refused(salt_call(pillar))


def test_one_file_with_two_names_is_refused(salt_call, pillar, tmp_path):
    """A hard link; on a file system that ignores case, two names that differ by it are alike."""
    (tmp_path / "etc/default").mkdir(parents=True)
    (tmp_path / "etc/default/tftpd-hpa").write_text("")
    (tmp_path / "etc/default/isc-dhcp-server").hardlink_to(tmp_path / "etc/default/tftpd-hpa")
    assert "give a path of its own" in refused(salt_call(pillar))


@pytest.mark.parametrize("what", ["a directory", "a device", "a link to a secret", "a pipe"])
def test_a_loader_that_is_something_else_is_refused(salt_call, pillar, tmp_path, what):
    path = tmp_path / "pxelinux.0"
    if what == "a directory":
        path.mkdir()
    elif what == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if what == "a device" else "/etc/shadow")
    pillar["lookup"]["pxelinux"] = str(path)
    assert f"diskless:lookup:pxelinux: found {path}" in refused(salt_call(pillar))


def test_modules_of_the_loader_are_in_a_directory(salt_call, pillar, tmp_path):
    (tmp_path / "bios").write_text("")
    pillar["lookup"]["pxelinux_modules"] = str(tmp_path / "bios")
    assert "which is no directory" in refused(salt_call(pillar))


def test_a_location_in_the_tftp_root_of_the_distribution_is_refused(salt_call, pillar, tmp_path):
    del pillar["lookup"]["tftp_root"]
    pillar["images"]["tiny"]["location"] = str(tmp_path / "bound/tiny")
    (tmp_path / "tftp").mkdir()
    with (
        bound(tmp_path / "tftp", pathlib.Path("/srv/tftp")),
        bound(tmp_path / "tftp", tmp_path / "bound"),
    ):
        assert "TFTP root" in refused(salt_call(pillar))


FOREIGN = {
    "a golden root": ("bin/", "etc/", "root/", "usr/"),
    "somebody's files": ("notes.txt",),
    "a root of the old scripts": ("root/", "snapshot/"),
    "a hidden file": (".config",),
}


@pytest.mark.parametrize("names", FOREIGN.values(), ids=FOREIGN)
def test_a_directory_with_other_things_is_refused(
    salt_call, pillar, location, listing, testmode, names
):
    for name in names:
        path = location / name
        path.mkdir(parents=True) if name.endswith("/") else path.parent.mkdir(
            parents=True, exist_ok=True
        )
        if not name.endswith("/"):
            path.touch()
    before = listing()
    says = f"{location}, which has "
    call = salt_call(pillar, test=testmode)
    assert says in refused(call)
    with pytest.raises(CommandExecutionError, match="which has"):
        call.modules["diskless_image.sync"](test=testmode)
    assert call.state("diskless_image.synced").result is False
    assert listing() == before


@pytest.mark.parametrize("names", [(), ("lost+found",), (".lock", ".staging", "x"), ("swap",)])
def test_a_directory_that_is_empty_or_ours_is_right(salt_call, pillar, location, names):
    location.mkdir(parents=True)
    for name in names:
        (location / name).mkdir()
    assert salt_call(pillar).state("diskless.valid").result is True


def test_an_image_that_is_served_is_right(salt_call, pillar, location):
    assert salt_call(pillar).state("diskless_image.synced").result is True
    assert salt_call(pillar).state("diskless_snapshot.managed").result is True
    (location / "notes.txt").touch()
    assert salt_call(pillar).state("diskless.valid").result is True


@pytest.mark.parametrize("part", ["versions", "snapshot", "swap", "metadata"])
def test_a_part_of_an_image_that_is_a_link_is_refused(salt_call, pillar, location, tmp_path, part):
    location.mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (location / part).symlink_to(tmp_path / "other")
    assert f"{location}/{part}, which is a link" in refused(salt_call(pillar))


def test_a_location_below_a_file_is_refused(salt_call, pillar, location):
    location.parent.parent.mkdir(parents=True, exist_ok=True)
    location.parent.touch()
    assert f"found the file {location.parent}" in refused(salt_call(pillar))
