"""What builds the initramfs: initramfs-tools or dracut, as the image says and the root has it."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.conftest import put_kernel
from tests.functional.conftest import root

pytestmark = pytest.mark.any_salt

RELEASE = "6.1.0-10-test"
MODULES = "".join(
    f"kernel/{name}.ko:\n" for name in ("fs/nfs/nfs", "fs/nfs/nfsv3", "fs/nfs/nfsv4", "net/e1000e")
)

HOOK = "usr/share/initramfs-tools/hooks/diskless"
MODULE = "usr/lib/dracut/modules.d/50salt-diskless"

#: As dracut does it: the initramfs is a tree before it is a file, and that stays where it is told.
DRACUT = r"""#!/bin/sh
echo "$@" drivers: $DISKLESS_DRIVERS >/run/asked
place=/run/dracut.x1Y2z3/initramfs
while [ $# -gt 1 ]; do shift; done
mkdir -p $place/lib/modules $place/usr/lib/salt-diskless
[ ! -r /usr/lib/dracut/modules.d/50salt-diskless/module-setup.sh ] || [ -e /etc/no-module ] ||
    cat /usr/lib/salt-diskless/diskless.sh >$place/usr/lib/salt-diskless/diskless.sh
[ ! -e /etc/no-module ] || echo "dracut: dracut module 'salt-diskless' could not be found!"
for driver in $DISKLESS_DRIVERS; do
    [ -e /etc/omit-$driver ] || echo >$place/lib/modules/$driver.ko.xz
done
[ ! -e /etc/fails ] || { echo dracut: no space left; exit 1; }
cat /run/asked >"$1"
echo "a word that is no path"
"""


@pytest.fixture
def dracut(golden: pathlib.Path) -> pathlib.Path:
    """The golden root has dracut too."""
    program = golden / "usr/bin/dracut"
    program.write_text(DRACUT)
    program.chmod(0o755)
    put_kernel(golden, RELEASE, MODULES, builtin="")
    return program


@pytest.fixture
def alone(golden: pathlib.Path, dracut: pathlib.Path) -> None:
    """The golden root has dracut and not initramfs-tools, as one of rpm's has."""
    (golden / "usr/sbin/mkinitramfs").unlink()


def asked(location: pathlib.Path) -> str:
    """Return what built the published version's initramfs was called with."""
    return (root(location) / f"boot/initrd.img-{RELEASE}-diskless").read_text()


def built_by(location: pathlib.Path) -> str:
    metadata = location / f"metadata/{root(location).name}.json"
    return json.loads(metadata.read_text())["initramfs"]


def test_a_root_that_has_dracut_only_gets_its_initramfs_from_that(
    salt_call, pillar, location, golden, alone
):
    pillar["profiles"]["compute"]["drivers"] = ["e1000e"]
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    assert salt_call(pillar).modules["diskless_image.show"]("tiny")["initramfs"] == "dracut"
    line = asked(location)
    assert "--no-hostonly --modules salt-diskless " in line
    target = f"--kver {RELEASE} /boot/initrd.img-{RELEASE}-diskless.new"
    assert line.endswith(f"{target} drivers: e1000e nfs nfsv3 nfsv4\n")
    initrd = root(location) / f"boot/initrd.img-{RELEASE}-diskless"
    assert initrd.stat().st_mode & 0o777 == 0o644
    assert (root(location) / MODULE / "module-setup.sh").stat().st_mode & 0o777 == 0o755
    assert not (root(location) / HOOK).exists()
    assert list((root(location) / "run").iterdir()) == []
    assert salt_call(pillar).state("diskless_image.synced").changes == {}


def test_where_both_are_it_is_initramfs_tools_until_the_image_says_otherwise(
    salt_call, pillar, location, dracut
):
    salt_call(pillar).state("diskless_image.synced")
    seen = []
    for named, tool in (("dracut", "dracut"), ("initramfs-tools",) * 2, ("dracut", "dracut")):
        assert built_by(location) != tool
        pillar["images"]["tiny"]["initramfs"] = named
        ret = salt_call(pillar, test=True).state("diskless_image.synced")
        assert (ret.result, ret.comment) == (None, f"tiny: an initramfs of {tool} is wanted")
        assert built_by(location) != tool
        ret = salt_call(pillar).state("diskless_image.synced")
        assert ret.result is True, ret.comment
        assert built_by(location) == tool
        # What the other one needs has gone with it.
        assert (root(location) / MODULE).exists() is (tool == "dracut")
        assert (root(location) / HOOK).exists() is (tool == "initramfs-tools")
        assert ("--no-hostonly" in asked(location)) is (tool == "dracut")
        assert salt_call(pillar).state("diskless_image.synced").changes == {}
        seen.append(root(location).name)
    del pillar["images"]["tiny"]["initramfs"]
    salt_call(pillar).state("diskless_image.synced")
    assert built_by(location) == "initramfs-tools"
    assert len({*seen}) == 3


def test_a_version_from_before_there_was_a_choice_is_one_of_initramfs_tools(
    salt_call, pillar, location
):
    salt_call(pillar).state("diskless_image.synced")
    metadata = location / f"metadata/{root(location).name}.json"
    fields = json.loads(metadata.read_text())
    del fields["initramfs"]
    metadata.write_text(json.dumps(fields))
    assert salt_call(pillar).state("diskless_image.synced").changes == {}


@pytest.mark.parametrize(
    ("named", "there", "says"),
    [
        (
            None,
            "none",
            "diskless:images:tiny: found neither mkinitramfs nor dracut in the golden root; "
            "install initramfs-tools or dracut there",
        ),
        (
            "dracut",
            "none",
            "diskless:images:tiny: found neither mkinitramfs nor dracut in the golden root; "
            "install dracut there",
        ),
        (
            "dracut",
            "initramfs-tools",
            "diskless:images:tiny:initramfs: found dracut; the golden root has initramfs-tools "
            "only: install dracut there, or leave it out",
        ),
        (
            "initramfs-tools",
            "dracut",
            "diskless:images:tiny:initramfs: found initramfs-tools; the golden root has dracut "
            "only: install initramfs-tools there, or leave it out",
        ),
    ],
)
def test_a_root_without_what_builds_it_is_refused_and_what_is_published_stays(
    salt_call, pillar, location, golden, dracut, named, there, says
):
    salt_call(pillar).state("diskless_image.synced")
    before = root(location)
    programs = {"initramfs-tools": golden / "usr/sbin/mkinitramfs", "dracut": dracut}
    for tool, program in programs.items():
        if tool != there:
            program.unlink()
    if named:
        pillar["images"]["tiny"]["initramfs"] = named
    ret = salt_call(pillar).state("diskless_image.synced")
    assert (ret.result, ret.comment) == (False, says)
    assert root(location) == before
    assert list((location / "versions").iterdir()) == [before]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("omit-e1000e", f"the initramfs of {RELEASE} was built without e1000e; see what of dracut"),
        ("no-module", "dracut module 'salt-diskless' could not be found!"),
        ("fails", "no space left"),
    ],
)
def test_an_initramfs_of_dracut_that_lacks_something_is_refused_with_its_words(
    salt_call, pillar, location, golden, alone, broken, says
):
    pillar["profiles"]["compute"]["drivers"] = ["e1000e"]
    (golden / "etc" / broken).touch()
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert says in ret.comment
    assert not (location / "root").exists()


def test_a_change_of_dracuts_settings_in_place_has_the_initramfs_built_anew(
    salt_call, pillar, location, golden, alone
):
    pillar["images"]["tiny"]["live"] = True
    salt_call(pillar).state("diskless_image.synced")
    initrd = root(location) / f"boot/initrd.img-{RELEASE}-diskless"
    first = initrd.stat().st_ino
    for path, anew in (("etc/hosts", False), ("etc/dracut.conf.d/site.conf", True)):
        (golden / path).parent.mkdir(exist_ok=True)
        (golden / path).write_text("changed\n")
        if anew:
            (golden / "usr/bin/dracut").write_text(DRACUT + 'echo anew >>"$1"\n')
        done = salt_call(pillar).modules["diskless_image.sync"]("tiny", live=True)
        assert done["tiny"]["changed"] is True
        assert initrd.read_text().endswith("anew\n") is anew
        assert (initrd.stat().st_ino != first) is anew


def test_a_change_of_the_tool_in_place_changes_the_scripts_too(salt_call, pillar, location, dracut):
    pillar["images"]["tiny"]["live"] = True
    salt_call(pillar).state("diskless_image.synced")
    version = root(location)
    pillar["images"]["tiny"]["initramfs"] = "dracut"
    salt_call(pillar).modules["diskless_image.sync"]("tiny", live=True)
    assert root(location) == version
    assert built_by(location) == "dracut"
    assert (version / MODULE / "mount.sh").exists() and not (version / HOOK).exists()
    assert "--no-hostonly" in asked(location)
    assert salt_call(pillar).state("diskless_image.synced").changes == {}
