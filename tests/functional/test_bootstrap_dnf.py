"""Roots that dnf makes of packages, from a repository on this machine's disk."""

from __future__ import annotations

import pathlib
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from salt_diskless import command
from salt_diskless.image import packages
from tests.functional.conftest import root
from tests.functional.repositories import Dnf, Keys
from tests.functional.test_bootstrap import mounts_below
from tests.functional.test_sources import left_beside

pytestmark = pytest.mark.any_salt

ARCH = platform.machine()


@pytest.fixture
def keys(tmp_path: pathlib.Path) -> Iterator[Keys]:
    """The key that the packages are signed with."""
    made = Keys(tmp_path, "good")
    yield made
    made.close()


@pytest.fixture
def dnf(tmp_path: pathlib.Path, golden: pathlib.Path, pillar: dict, keys: Keys) -> Dnf:
    """A repository that has the golden root as a package, and a tool."""
    repository = Dnf(tmp_path / "mirror", keys)
    repository.package("tiny-base", golden)
    put_tool(repository, "1")
    repository.publish()
    pillar["images"]["tiny"]["source"] = {
        "bootstrap": {
            "releasever": 9,
            "repositories": {"tiny": repository.url},
            "gpgkey": str(keys.public),
        }
    }
    pillar["images"]["tiny"]["packages"] = ["tiny-base", "tiny-tool"]
    return repository


def put_tool(repository: Dnf, version: str, sign: bool = True) -> None:
    tree = repository.place.with_name("tool")
    (tree / "usr/bin").mkdir(parents=True, exist_ok=True)
    (tree / "usr/bin/tool").write_text(f"tool {version}\n")
    post = "ls /dev /proc/self/fd > /dev/null && echo done > /etc/made"
    repository.package("tiny-tool", tree, version, post, sign)


def test_a_root_is_made_of_packages_and_published(
    salt_call, pillar, location, golden, dnf, testmode, listing
):
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_image.synced")
    assert (ret.result is None) is testmode, ret.comment
    assert (listing() == before) is testmode
    if testmode:
        return
    assert "from the bootstrap of release 9" in ret.comment
    tree = root(location)
    assert (tree / "bin/busybox").read_bytes() == (golden / "bin/busybox").read_bytes()
    assert (tree / "usr/bin/tool").read_text() == "tool 1\n"
    assert (tree / "etc/made").read_text() == "done\n"
    assert (tree / "var/lib/rpm/rpmdb.sqlite").exists()
    shown = salt_call(pillar).modules["diskless_image.show"]("tiny", check=True)
    assert shown["packages"] == {f"tiny-base.{ARCH}": "1-1", f"tiny-tool.{ARCH}": "1-1"}
    assert shown["intact"] is True
    assert not (tree / "var/cache/dnf").exists()
    assert left_beside(location) == [".lock"] and mounts_below(location) == []
    for test in (True, False):
        ret = salt_call(pillar, test=test).state("diskless_image.synced")
        assert (ret.result, ret.changes) == (True, {}), ret.comment


def test_made_again_it_is_no_change_until_the_mirror_has_updates(salt_call, pillar, location, dnf):
    salt_call(pillar).state("diskless_image.synced")
    first = root(location)
    done = salt_call(pillar).modules["diskless_image.sync"](again=True)
    assert done["tiny"]["changed"] is False, done
    put_tool(dnf, "2")
    dnf.publish()
    done = salt_call(pillar).modules["diskless_image.sync"](again=True)
    assert done["tiny"]["changed"] is True, done
    assert (root(location) / "usr/bin/tool").read_text() == "tool 2\n"
    assert (root(location) / "bin/busybox").samefile(first / "bin/busybox")
    found = salt_call(pillar).modules["diskless_image.diff"]("tiny", first.name)
    assert found["packages"] == {"changed": {f"tiny-tool.{ARCH}": ["1-1", "2-1"]}}


def test_packages_are_listed_by_the_trees_own_rpm_where_it_has_one(
    salt_call, pillar, location, golden, dnf, monkeypatch
):
    salt_call(pillar).state("diskless_image.synced")
    shutil.copytree(root(location) / "var/lib/rpm", golden / "var/lib/rpm")
    said = subprocess.run(["ldd", "/usr/bin/rpm"], check=True, capture_output=True, text=True)
    for path in ("/usr/bin/rpm", "/usr/lib/rpm", *re.findall(r"(/\S+) \(0x", said.stdout)):
        subprocess.run(["cp", "-RL", "--parents", path, golden], check=True)
    monkeypatch.setattr(packages, "installed", lambda program: False)
    pillar["images"]["tiny"]["source"] = {"directory": str(golden)}
    del pillar["images"]["tiny"]["packages"]
    salt_call(pillar).state("diskless_image.synced")
    shown = salt_call(pillar).modules["diskless_image.show"]("tiny", check=True)
    assert shown["packages"] == {f"tiny-base.{ARCH}": "1-1", f"tiny-tool.{ARCH}": "1-1"}
    assert shown["intact"] is True


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("no signature", "Package tiny-tool.rpm is not signed"),
        ("another key", "tiny"),
        ("no key", "source:bootstrap:gpgkey: found nothing, and no /etc/pki"),
        ("no key file", "source:bootstrap:gpgkey: found no file"),
    ],
)
def test_what_is_not_signed_with_the_key_is_refused_and_what_is_published_stays(
    salt_call, pillar, location, dnf, tmp_path, how, says
):
    salt_call(pillar).state("diskless_image.synced")
    before = root(location)
    wanted = pillar["images"]["tiny"]["source"]["bootstrap"]
    if how == "no signature":
        put_tool(dnf, "2", sign=False)
        dnf.publish()
    elif how == "another key":
        other = Keys(tmp_path, "other")
        other.close()
        wanted["gpgkey"] = str(other.public)
    elif how == "no key":
        del wanted["gpgkey"]
    else:
        wanted["gpgkey"] = str(tmp_path / "none.asc")
    with pytest.raises(Exception, match="diskless:images:tiny:source:bootstrap") as caught:
        salt_call(pillar).modules["diskless_image.sync"](again=True)
    assert says in str(caught.value), caught.value
    assert root(location) == before and left_beside(location) == [".lock"]
    assert mounts_below(location) == []


def test_a_package_that_nobody_has_is_said(salt_call, pillar, location, dnf):
    pillar["images"]["tiny"]["packages"] = ["tiny-base", "tiny-toool"]
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert "Unable to find a match: tiny-toool" in ret.comment, ret.comment
    assert left_beside(location) == [".lock"]


def test_without_dnf_it_is_said_what_to_install_and_the_states_install_it(
    salt_call, pillar, location, dnf, monkeypatch, tmp_path
):
    assert salt_call(pillar).modules["diskless_image.tools"]() == []
    monkeypatch.setattr(command, "_PATH", str(tmp_path))
    assert salt_call(pillar).modules["diskless_image.tools"]() == ["dnf"]
    ret = salt_call(pillar).state("diskless_image.synced")
    assert "source:bootstrap: found no dnf on this boot server; install dnf" in ret.comment
