"""What an admin edits after the project has configured the machine is refused or named."""

from __future__ import annotations

import os
import pathlib
import shutil

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless.state import originals
from tests.functional.test_clean import apply
from tests.functional.test_preflight_foreign_files import FOREIGN, refused

LOADER = "linux-install/pxelinux.0"


def in_root(pillar: dict, name: str) -> pathlib.Path:
    return pathlib.Path(pillar["lookup"]["tftp_root"]) / name


def put(path: str | pathlib.Path, text: str) -> pathlib.Path:
    file = pathlib.Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture
def applied(salt_call, pillar):
    """A boot server that the project has configured."""
    put(pillar["lookup"]["tftp_defaults"], "TFTP_DIRECTORY=\n# the package's\nTFTP_ADDRESS=:69\n")
    apply(salt_call(pillar))
    return pillar


@pytest.mark.parametrize(
    ("key", "variable", "value"),
    [
        ("tftp_defaults", "TFTP_DIRECTORY", "/srv/other"),
        ("dhcp_defaults", "INTERFACESv4", "eth1 eth2"),
    ],
)
def test_a_variable_that_was_edited_since_is_refused(
    salt_call, applied, listing, key, variable, value
):
    path = put(applied["lookup"][key], f"{variable}='{value}'\n")
    before = listing()
    comment = refused(salt_call(applied))
    assert comment.startswith("1 problem on this boot server")
    assert f"  {path}: found {variable}='{value}'; remove it" in comment
    assert listing() == before


def test_a_variable_that_is_adopted_is_named_when_it_is_replaced(salt_call, applied):
    path = put(applied["lookup"]["tftp_defaults"], "TFTP_DIRECTORY=/srv/other # x\nMINE=1\n")
    applied["adopt"] = [str(path)]
    for test in (True, False):
        changes = salt_call(applied, test=test).state("diskless_tftp.settings").changes
        assert changes["replaced"] == {str(path): "TFTP_DIRECTORY='/srv/other'"}
    assert path.read_text().endswith("# x\nMINE=1\n" + path.read_text().splitlines(True)[-1])
    assert salt_call(applied).state("diskless_tftp.settings").changes == {}


def test_edits_of_other_variables_stay_whatever_the_pillar_changes(salt_call, applied, tmp_path):
    path = pathlib.Path(applied["lookup"]["tftp_defaults"])
    path.write_text(path.read_text() + "MINE=1\n")
    applied["lookup"]["tftp_root"] = str(tmp_path / "srv/tftp2")
    assert salt_call(applied).state("diskless.valid").result is True
    apply(salt_call(applied))
    assert "MINE=1\n" in path.read_text() and "srv/tftp2" in path.read_text()


def test_a_loader_that_was_put_there_since_is_refused_or_copied(salt_call, applied, listing):
    path = put(in_root(applied, LOADER), "the admin's own loader")
    before = listing()
    comment = refused(salt_call(applied))
    assert f"  {path}: found {FOREIGN};" in comment
    assert listing() == before
    applied["adopt"] = [str(path)]
    ret = salt_call(applied).state("diskless_tftp.managed")
    copy = ret.changes["replaced"][str(path)].removeprefix("a copy is ")
    assert pathlib.Path(copy).read_text() == "the admin's own loader"
    assert path.read_bytes() == pathlib.Path("/usr/lib/PXELINUX/pxelinux.0").read_bytes()
    # The copy is the admin's: it outlives the boot server.
    assert copy in str(salt_call({}).modules["diskless.clean"]()["kept"])
    assert pathlib.Path(copy).read_text() == "the admin's own loader"
    shutil.rmtree(originals.REPLACED)


def test_an_upgrade_of_the_loaders_package_is_no_edit(salt_call, applied, tmp_path):
    new = tmp_path / "new.0"
    new.write_bytes(b"a newer loader")
    applied["lookup"]["pxelinux"] = str(new)
    assert salt_call(applied).state("diskless.valid").result is True
    ret = salt_call(applied).state("diskless_tftp.managed")
    assert "replaced" not in ret.changes
    assert in_root(applied, LOADER).read_bytes() == b"a newer loader"


def test_another_tftp_root_has_its_own_foreign_files(salt_call, applied, tmp_path):
    applied["lookup"]["tftp_root"] = str(tmp_path / "srv/tftp2")
    path = put(in_root(applied, LOADER), "loader")
    assert f"  {path}: found {FOREIGN};" in refused(salt_call(applied))


def test_an_edited_file_keeps_its_owner_and_attributes(salt_call, pillar):
    path = put(pillar["lookup"]["tftp_defaults"], "MINE=1\n")
    os.chmod(path, 0o640)
    os.chown(path, 7, 8)
    os.setxattr(path, "user.note", b"x")
    os.utime(path, ns=(10**18, 10**18))
    before = path.read_bytes()
    apply(salt_call(pillar))
    for is_restored in (False, True):
        status = path.stat()
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o640, 7, 8)
        assert os.getxattr(path, "user.note") == b"x"
        assert (path.read_bytes() == before, status.st_mtime_ns == 10**18) == (is_restored,) * 2
        if not is_restored:
            salt_call({}).modules["diskless.clean"]()


@pytest.mark.parametrize("name", ["tftp.managed", "tftp.settings", "dhcpd.managed", "nfs.managed"])
def test_a_damaged_record_is_an_error_in_words(salt_call, applied, name, tmp_path):
    """Nothing is written without a record of what was there."""
    pathlib.Path(originals.DATABASE).write_bytes(b"not a database" * 100)
    applied["lookup"]["tftp_defaults"] = str(put(tmp_path / "etc/other", "MINE=1\n"))
    applied["networks"]["lab"]["domain"] = "other.example"
    del applied["nodes"]["node003"]
    put(in_root(applied, LOADER), "x")
    ret = salt_call(applied).state(f"diskless_{name}")
    assert ret.result is False
    assert ret.comment.startswith(f"{originals.DATABASE}: found a record")
    for call in (salt_call(applied), salt_call({})):
        with pytest.raises(CommandExecutionError, match="move it away"):
            call.modules["diskless.clean"]()
