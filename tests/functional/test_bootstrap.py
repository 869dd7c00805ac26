"""Roots that are made here of packages: mmdebstrap really makes them, from a repository on this
machine's disk."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from salt_diskless import command
from tests.conftest import CHECKOUT
from tests.functional.conftest import root
from tests.functional.repositories import Apt, Keys, put_base
from tests.functional.test_sources import left_beside

pytestmark = pytest.mark.any_salt

#: It asks whether a service may be started, as invoke-rc.d does, and starts one all the same.
_SERVICE = """
/usr/sbin/policy-rc.d tiny-tool start || echo "$?" > /etc/policy
sleep 600 > /dev/null 2>&1 &
"""


@pytest.fixture
def keys(tmp_path: pathlib.Path) -> Iterator[Keys]:
    """The key that the repository is signed with."""
    made = Keys(tmp_path, "good")
    yield made
    made.close()


@pytest.fixture
def apt(tmp_path: pathlib.Path, golden: pathlib.Path, pillar: dict, keys: Keys) -> Apt:
    """A repository of apt that has the golden root as an essential package, and a tool."""
    repository = Apt(tmp_path / "mirror", keys)
    put_base(golden)
    repository.package("tiny-base", golden, fields={"Essential": "yes", "Priority": "required"})
    put_tool(repository, "1", _SERVICE)
    repository.publish()
    pillar["images"]["tiny"]["source"] = {
        "bootstrap": {"suite": "tiny", "mirror": repository.url, "keyring": str(keys.public)}
    }
    pillar["images"]["tiny"]["packages"] = ["tiny-tool"]
    return repository


def put_tool(repository: Apt, version: str, postinst: str = "") -> None:
    tree = repository.place.with_name("tool")
    (tree / "usr/bin").mkdir(parents=True, exist_ok=True)
    (tree / "usr/bin/tool").write_text(f"tool {version}\n")
    # A package's files are as old as the package.
    os.utime(tree / "usr/bin/tool", (10**9, 10**9 + int(version)))
    repository.package("tiny-tool", tree, version, postinst=postinst)


def mounts_below(location: pathlib.Path) -> list[str]:
    """Return what any process of this machine sees mounted below a directory."""
    found = set()
    for table in pathlib.Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            found |= {line.split()[4] for line in table.read_text().splitlines()}
        except OSError:
            continue
    return [place for place in found if place.startswith(f"{location}/")]


def test_a_root_is_made_of_packages_and_published(
    salt_call, pillar, location, golden, apt, testmode, listing
):
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_image.synced")
    assert (ret.result is None) is testmode, ret.comment
    assert (listing() == before) is testmode
    if testmode:
        return
    assert "from the bootstrap of tiny" in ret.comment
    tree = root(location)
    assert (tree / "bin/busybox").read_bytes() == (golden / "bin/busybox").read_bytes()
    assert (tree / "usr/bin/tool").read_text() == "tool 1\n"
    assert (tree / "bin/busybox").stat().st_nlink == 1
    assert (tree / "etc/hostname").read_text() == ""
    assert left_beside(location) == [".lock"] and mounts_below(location) == []
    shown = salt_call(pillar).modules["diskless_image.show"]("tiny")
    assert shown["packages"] == {"tiny-base": "1", "tiny-tool": "1"}


def test_no_service_may_be_started_and_one_that_was_does_not_run_on(
    salt_call, pillar, location, apt
):
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    assert (root(location) / "etc/policy").read_text() == "101\n"
    assert processes_in(location) == []
    assert not (root(location) / "usr/sbin/policy-rc.d").exists()


def test_what_is_described_the_same_is_made_once(salt_call, pillar, location, apt):
    salt_call(pillar).state("diskless_image.synced")
    first = root(location)
    shutil.rmtree(apt.place)
    for test in (True, False):
        ret = salt_call(pillar, test=test).state("diskless_image.synced")
        assert (ret.result, ret.changes) == (True, {}), ret.comment
    image = pillar["images"]["tiny"]
    for key, value in (("packages", []), ("exclude", ["/srv"]), ("scrub", ["/etc/krb5.keytab"])):
        changed = {**pillar, "images": {"tiny": {**image, key: value}}}
        ret = salt_call(changed, test=True).state("diskless_image.synced")
        assert ret.result is None and "is another one" in ret.comment, key
    assert root(location) == first


def test_a_package_less_makes_another_version(salt_call, pillar, location, apt):
    salt_call(pillar).state("diskless_image.synced")
    first = root(location)
    pillar["images"]["tiny"]["packages"] = []
    assert salt_call(pillar).state("diskless_image.synced").changes
    assert not (root(location) / "usr/bin/tool").exists()
    assert (root(location) / "bin/busybox").samefile(first / "bin/busybox")


def test_made_again_of_the_same_packages_it_is_no_change(salt_call, pillar, location, apt, listing):
    salt_call(pillar).state("diskless_image.synced")
    first, before = root(location), listing()
    foretold = salt_call(pillar).modules["diskless_image.sync"](again=True, test=True)
    assert foretold["tiny"]["changed"] is True
    assert foretold["tiny"]["why"] == "the bootstrap of tiny would be taken anew"
    assert listing() == before
    done = salt_call(pillar).modules["diskless_image.sync"](again=True)
    assert done["tiny"]["changed"] is False, done
    assert root(location) == first


def test_made_again_it_has_the_updates_of_the_mirror(salt_call, pillar, location, apt):
    salt_call(pillar).state("diskless_image.synced")
    first = root(location)
    put_tool(apt, "2", _SERVICE)
    apt.publish()
    assert salt_call(pillar).state("diskless_image.synced").changes == {}
    done = salt_call(pillar).modules["diskless_image.sync"](again=True)
    assert done["tiny"]["changed"] is True, done
    assert (root(location) / "usr/bin/tool").read_text() == "tool 2\n"
    assert (first / "usr/bin/tool").read_text() == "tool 1\n"
    for path in ("bin/busybox", "etc/policy", "var/lib/dpkg/info/tiny-base.list"):
        assert (root(location) / path).samefile(first / path), path
    differs = salt_call(pillar).modules["diskless_image.diff"]("tiny", first.name)
    assert differs["packages"]["changed"] == {"tiny-tool": ["1", "2"]}, differs


@pytest.mark.parametrize("how", ["another key", "no signature", "another package", "no key file"])
def test_what_is_not_signed_with_the_key_is_refused_and_what_is_published_stays(
    salt_call, pillar, location, golden, apt, tmp_path, how
):
    pillar["images"]["tiny"]["source"], wanted = (
        {"directory": str(golden)},
        pillar["images"]["tiny"]["source"],
    )
    pillar["images"]["tiny"]["packages"], packages = [], pillar["images"]["tiny"]["packages"]
    salt_call(pillar).state("diskless_image.synced")
    before = root(location)
    pillar["images"]["tiny"] |= {"source": wanted, "packages": packages}
    says = "not signed"
    if how == "another key":
        other = Keys(tmp_path, "other")
        other.close()
        wanted["bootstrap"]["keyring"] = str(other.public)
        says = "NO_PUBKEY"
    elif how == "no signature":
        (apt.place / "dists/tiny/InRelease").unlink()
    elif how == "another package":
        deb = next((apt.place / "pool").glob("tiny-tool_*"))
        deb.write_bytes(deb.read_bytes()[:-1] + b"x")
        says = "Hash Sum mismatch"
    else:
        wanted["bootstrap"]["keyring"] = str(tmp_path / "none.asc")
        says = "source:bootstrap:keyring: found no file"
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert ret.comment.startswith("diskless:images:tiny:source:bootstrap:")
    assert says in ret.comment, ret.comment
    assert root(location) == before and left_beside(location) == [".lock"]
    assert mounts_below(location) == []


def test_without_a_keyring_the_keys_count_that_apt_trusts_here_and_with_one_they_do_not(
    salt_call, pillar, location, apt, keys, tmp_path
):
    other = Keys(tmp_path, "other")
    other.close()
    trusted = "/etc/apt/trusted.gpg.d"
    subprocess.run(["mount", "-t", "tmpfs", "none", trusted], check=True)
    try:
        shutil.copy(keys.public, f"{trusted}/good.asc")
        wanted = pillar["images"]["tiny"]["source"]["bootstrap"]
        wanted["keyring"] = str(other.public)
        assert "NO_PUBKEY" in salt_call(pillar).state("diskless_image.synced").comment
        del wanted["keyring"]
        ret = salt_call(pillar).state("diskless_image.synced")
        assert ret.result is True, ret.comment
    finally:
        subprocess.run(["umount", trusted], check=True)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("packages", ["tiny-toool"], "Unable to locate package tiny-toool"),
        ("suite", "tinny", "does not have a Release file"),
        ("components", ["contrib"], "did not find any indices"),
    ],
)
def test_what_the_mirror_does_not_have_is_said(salt_call, pillar, location, apt, key, value, says):
    image = pillar["images"]["tiny"]
    (image if key == "packages" else image["source"]["bootstrap"])[key] = value
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert ret.comment.startswith("diskless:images:tiny:source:bootstrap: ")
    assert says in ret.comment and "what is published stays" in ret.comment, ret.comment
    assert left_beside(location) == [".lock"] and mounts_below(location) == []


_SYNC = """
import sys, json
from salt_diskless.cluster import parse
from salt_diskless.image.sync import sync
sync(parse(json.loads(sys.argv[1])).images["tiny"], again=True)
"""


def processes_in(location: pathlib.Path) -> list[str]:
    """Return the processes whose root is below a directory."""
    found = []
    for link in pathlib.Path("/proc").glob("[0-9]*/root"):
        try:
            if os.readlink(link).startswith(f"{location}/"):
                found.append(link.parent.name)
        except OSError:
            continue
    return found


def test_killed_half_way_nothing_of_it_runs_on_or_stays_mounted_and_the_next_run_works(
    salt_call, pillar, location, apt
):
    salt_call(pillar).state("diskless_image.synced")
    before = root(location)
    put_tool(apt, "2", "echo > /etc/reached\nsleep 600")
    apt.publish()
    running = subprocess.Popen(
        [sys.executable, "-c", _SYNC, json.dumps(pillar)], cwd=CHECKOUT, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 60
    while not (location / ".unpacked/root/etc/reached").exists():
        assert running.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    assert processes_in(location) and mounts_below(location)
    running.send_signal(signal.SIGKILL)
    running.wait()
    while processes_in(location) or mounts_below(location):
        assert time.monotonic() < end, (processes_in(location), mounts_below(location))
        time.sleep(0.02)
    assert root(location) == before
    put_tool(apt, "3")
    apt.publish()
    done = salt_call(pillar).modules["diskless_image.sync"](again=True)
    assert done["tiny"]["changed"] is True, done
    assert (root(location) / "usr/bin/tool").read_text() == "tool 3\n"
    assert not (root(location) / "etc/reached").exists()
    assert left_beside(location) == [".lock"]


def test_without_mmdebstrap_it_is_said_what_to_install_and_the_states_install_it(
    salt_call, pillar, location, apt, monkeypatch, tmp_path
):
    assert salt_call(pillar).modules["diskless_image.tools"]() == []
    monkeypatch.setattr(command, "_PATH", str(tmp_path))
    assert salt_call(pillar).modules["diskless_image.tools"]() == ["mmdebstrap", "gpg"]
    ret = salt_call(pillar).state("diskless_image.synced")
    said = "diskless:images:tiny:source:bootstrap: found no mmdebstrap on this boot server; install"
    assert ret.comment.startswith(said)
    assert left_beside(location) == [".lock"]
