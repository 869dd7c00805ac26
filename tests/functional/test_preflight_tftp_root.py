"""Directories, links and answers of others in the TFTP root are refused by name."""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.functional.test_clean import apply
from tests.functional.test_outside_edits import in_root, put
from tests.functional.test_preflight_foreign_files import FOREIGN, refused


@pytest.mark.parametrize("is_applied", [False, True])
def test_kernels_of_others_in_an_images_directory_are_not_taken(
    salt_call, pillar, listing, is_applied
):
    if is_applied:
        apply(salt_call(pillar))
        image = pillar["images"].pop("tiny")
        pillar["images"]["other"] = {**image, "location": image["location"] + "2"}
        pillar["profiles"]["compute"]["image"] = "other"
    (name,) = pillar["images"]
    kernel = put(in_root(pillar, f"linux-install/{name}/5.1/vmlinuz"), "kernel")
    before = listing()
    comment = refused(salt_call(pillar))
    assert f"{kernel.parent.parent}: found a directory that salt-diskless did not write" in comment
    assert "'5.1/vmlinuz'" in comment and f"give the image {name} another name" in comment
    assert listing() == before


def test_what_a_killed_writer_left_there_is_ours(salt_call, pillar):
    put(in_root(pillar, "linux-install/tiny/1/vmlinuz.diskless-new"), "half")
    assert salt_call(pillar).state("diskless.valid").result is True


@pytest.mark.parametrize("kind", ["a link", "a dangling link", "a file", "a FIFO"])
@pytest.mark.parametrize("name", ["", "/pxelinux.cfg", "/registry", "/tiny"])
def test_what_is_no_directory_is_named(salt_call, pillar, tmp_path, kind, name):
    path = in_root(pillar, f"linux-install{name}")
    path.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    if kind.endswith("link"):
        path.symlink_to(tmp_path / ("elsewhere" if kind == "a link" else "nowhere"))
    elif kind == "a FIFO":
        os.mkfifo(path)
    else:
        path.write_text("x")
    assert f"  {path}: found " in refused(salt_call(pillar))
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    "name", ["registry/01-52-54-00-77-00-01", "pxelinux.cfg/0A4D000B", "pxelinux.cfg/default"]
)
@pytest.mark.parametrize("kind", ["a file", "a FIFO", "a directory", "a link"])
def test_what_is_in_the_place_of_a_nodes_file_is_named(salt_call, pillar, name, kind):
    path = in_root(pillar, f"linux-install/{name}")
    path.parent.mkdir(parents=True)
    if kind == "a file":
        path.write_text("mine")
    elif kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a directory":
        path.mkdir()
    else:
        path.symlink_to("/etc/passwd")
    comment = refused(salt_call(pillar))
    assert f"  {path}: found " in comment
    assert (FOREIGN in comment) is (kind == "a file")
    pillar["adopt"] = [str(path)]
    assert (salt_call(pillar).state("diskless.valid").result is True) is (kind == "a file")


@pytest.mark.parametrize("key", ["dhcp_config", "tftp_defaults", "dhcp_defaults", "nfs_settings"])
@pytest.mark.parametrize("kind", ["a FIFO", "a directory"])
def test_a_setting_that_is_no_file_is_named(salt_call, pillar, key, kind):
    path = pathlib.Path(pillar["lookup"][key])
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "a FIFO":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert f"  {path}: found " in refused(salt_call(pillar))
