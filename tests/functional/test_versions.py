"""Versions: published, rolled back, pinned and pruned."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess

import pytest
from salt.exceptions import CommandExecutionError

from tests.functional.conftest import root


@pytest.fixture
def two(salt_call, pillar, location, golden) -> tuple[str, str]:
    """The names of two versions, of which the second is published and in the TFTP root."""
    salt_call(pillar).state("diskless_image.synced")
    first = root(location).name
    (golden / "etc/motd").write_text("changed\n")
    salt_call(pillar).state("diskless_image.synced")
    salt_call(pillar).state("diskless_tftp.managed")
    return first, root(location).name


def test_a_rollback_is_what_nodes_boot_next_and_the_next_apply_leaves_it(
    salt_call, pillar, location, golden, two
):
    first, second = two
    call = salt_call(pillar)
    done = call.modules["diskless_image.rollback"]("tiny")
    assert (done["old"], done["new"]) == (second, first)
    assert done["loader"]["changed"]["nodes"] == "node[001-003]"
    assert root(location).name == first
    files = call.modules["diskless_tftp.list"](full=True)
    assert {file["version"] for file in files.values()} == {first}
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.changes == {}
    assert f"has not changed since {second}; {first} was published instead" in ret.comment
    assert root(location).name == first
    done = salt_call(pillar).modules["diskless_image.publish"]("tiny", second)
    assert (done["old"], done["new"], root(location).name) == (first, second, second)
    (golden / "etc/motd").write_text("mended\n")
    assert salt_call(pillar).state("diskless_image.synced").changes["tiny"]["old"] == second


def test_nodes_boot_what_a_sync_by_hand_published(
    salt_call, pillar, location, golden, two, testmode
):
    (golden / "etc/motd").write_text("by hand\n")
    call = salt_call(pillar)
    done = call.modules["diskless_image.sync"]("tiny", test=testmode)["tiny"]
    assert done["changed"]
    files = call.modules["diskless_tftp.list"](full=True)
    booted = two[1] if testmode else done["new"]
    assert {file["version"] for file in files.values()} == {booted}
    assert root(location).name == booted


@pytest.mark.parametrize("function", ["publish", "rollback", "sync", "prune"])
def test_a_version_leaves_nodes_that_were_added_by_hand(salt_call, pillar, golden, two, function):
    """Exports and DHCP go on serving such a node until the next state.apply."""
    late = {"mac": "52:54:00:00:00:09", "ip": "10.77.0.9", "profile": "compute"}
    call = salt_call(pillar)
    for name in ("diskless_snapshot.managed", "diskless_nfs.managed", "diskless_dhcpd.managed"):
        assert call.state(name).result is True
    call.modules["diskless_node.add"]({"node009": late})
    files = {file["node"] for file in call.modules["diskless_tftp.list"](full=True).values()}
    assert "node009" in files
    (golden / "etc/motd").write_text("changed again\n")
    call.modules[f"diskless_image.{function}"](*["tiny", two[0]][: 1 + (function == "publish")])
    kept = {file["node"] for file in call.modules["diskless_tftp.list"](full=True).values()}
    assert kept == files
    salt_call(pillar).state("diskless_tftp.managed")
    left = {file["node"] for file in call.modules["diskless_tftp.list"](full=True).values()}
    assert left == files - {"node009"}


@pytest.mark.parametrize("arguments", [{"loader": False}, {"publish": False}])
def test_a_sync_leaves_the_loader_alone_when_asked(salt_call, pillar, golden, two, arguments):
    (golden / "etc/motd").write_text("by hand\n")
    call = salt_call(pillar)
    assert call.modules["diskless_image.sync"]("tiny", **arguments)["tiny"]["changed"]
    files = call.modules["diskless_tftp.list"](full=True)
    assert {file["version"] for file in files.values()} == {two[1]}


def test_a_sync_before_the_first_apply_writes_no_loader_file(salt_call, pillar):
    call = salt_call(pillar)
    assert call.modules["diskless_image.sync"]("tiny")["tiny"]["changed"]
    assert call.modules["diskless_tftp.list"](full=True) == {}


def test_a_state_has_a_version_published(salt_call, pillar, location, two, testmode, listing):
    first, second = two
    before = listing()
    ret = salt_call(pillar, test=testmode).states["diskless_image.published"]("tiny", first)
    assert ret["result"] is (None if testmode else True), ret
    assert ret["changes"] == {"tiny": {"old": second, "new": first}}
    assert (listing() == before) is testmode
    if testmode:
        return
    assert root(location).name == first
    files = salt_call(pillar).modules["diskless_tftp.list"](full=True)
    assert {file["version"] for file in files.values()} == {first}
    ret = salt_call(pillar).states["diskless_image.published"]("tiny", first)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert salt_call(pillar).states["diskless_image.published"]("tiny")["changes"] != {}
    assert root(location).name == second


def test_a_state_that_is_to_publish_what_is_not_there_fails(salt_call, pillar, location, two):
    ret = salt_call(pillar).states["diskless_image.published"]("tiny", "20000101T000000")
    assert ret["result"] is False and f"there are: {two[0]}, {two[1]}" in ret["comment"]
    assert root(location).name == two[1]


def test_a_sync_that_does_not_publish_leaves_that_to_another_state(
    salt_call, pillar, location, golden, two
):
    (golden / "etc/motd").write_text("newest\n")
    ret = salt_call(pillar).state("diskless_image.synced", publish=False)
    assert ret.result is True and ret.changes["tiny"]["new"] > two[1]
    assert root(location).name == two[1]
    assert salt_call(pillar).states["diskless_image.published"]("tiny")["result"] is True
    assert root(location).name == ret.changes["tiny"]["new"]


def test_a_pinned_node_boots_its_version_and_its_neighbours_the_published_one(
    salt_call, pillar, location, two
):
    first, second = two
    pillar["nodes"]["node003"]["version"] = first
    call = salt_call(pillar)
    assert call.state("diskless_tftp.managed").changes == {"changed": {"nodes": "node003"}}
    files = {
        file["node"]: file["version"]
        for file in call.modules["diskless_tftp.list"](full=True).values()
    }
    assert files == {"node001": second, "node002": second, "node003": first}
    assert call.modules["diskless_image.list"]()["tiny"]["pinned"] == {first: "node003"}


def test_a_snapshot_is_seeded_from_the_version_that_its_node_is_pinned_to(
    salt_call, pillar, location, golden, two
):
    (golden / "root/note").write_text("in the third version only\n")
    salt_call(pillar).state("diskless_image.synced")
    pillar["nodes"]["node003"]["version"] = two[0]
    assert salt_call(pillar).state("diskless_snapshot.managed").result is True
    assert (location / "snapshot/node001/root/note").exists()
    assert not (location / "snapshot/node003/root/note").exists()


def test_a_pin_to_a_version_that_is_not_there_is_refused_with_those_that_are(
    salt_call, pillar, two, listing
):
    pillar["profiles"]["compute"]["version"] = "20000101T000000"
    before = listing()
    for state in ("diskless_tftp.managed", "diskless_snapshot.managed"):
        ret = salt_call(pillar).state(state)
        assert ret.result is False
        assert ret.comment == (
            "diskless:nodes:node[001-003]:version: found 20000101T000000; the image tiny has: "
            f"{two[0]}, {two[1]}"
        )
    assert listing() == before


@pytest.fixture
def five(salt_call, pillar, location, golden) -> list[str]:
    """The names of five versions; the last one is published and in the TFTP root."""
    names = []
    for number in range(5):
        (golden / "etc/motd").write_text(f"{number}\n")
        salt_call(pillar).state("diskless_image.synced")
        names.append(root(location).name)
    for name in ("diskless_snapshot.managed", "diskless_tftp.managed"):
        assert salt_call(pillar).state(name).result is True
    return names


def test_pruned_are_old_versions_that_nobody_boots_or_has_mounted(
    salt_call, pillar, location, five, testmode, listing
):
    pillar["nodes"]["node003"]["version"] = five[0]
    (location / "snapshot/node001/.diskless/booted").write_text(f"{five[1]}\n")
    (location / "snapshot/node002/.diskless/booted").write_text("../../etc\n")
    call = salt_call(pillar)
    call.state("diskless_tftp.managed")
    before = listing()
    done = call.modules["diskless_image.prune"](keep=1, test=testmode)
    assert done == {
        "tiny": {
            "removed": [five[2], five[3]],
            "kept": {
                five[0]: "node003 is pinned to it",
                five[1]: "node001 booted it last, and may have it mounted",
                five[4]: "it is published",
            },
        }
    }
    assert (listing() == before) is testmode
    if testmode:
        return
    left = [five[0], five[1], five[4]]
    assert sorted(path.name for path in (location / "versions").iterdir()) == left
    kernels = pathlib.Path(pillar["lookup"]["tftp_root"]) / "linux-install/tiny"
    assert sorted(path.name for path in kernels.glob("2*")) == left
    # What the versions share is untouched.
    assert (root(location) / "bin/busybox").read_bytes() == pathlib.Path(
        "/bin/busybox"
    ).read_bytes()
    assert salt_call(pillar).state("diskless_image.synced").changes == {}


def test_after_a_rollback_the_newest_version_can_be_pruned_by_nobody(
    salt_call, pillar, location, five
):
    call = salt_call(pillar)
    call.modules["diskless_image.publish"]("tiny", five[0])
    done = call.modules["diskless_image.prune"](keep=2)["tiny"]
    assert done["kept"] == {
        five[0]: "it is published",
        five[3]: "one of the newest",
        five[4]: "one of the newest",
    }
    with pytest.raises(CommandExecutionError, match="keep: found 0"):
        call.modules["diskless_image.prune"](keep=0)


def test_a_prune_that_is_killed_leaves_nothing_that_counts(salt_call, pillar, location, five):
    # As a prune leaves it that is killed while it removes a tree.
    (location / f"metadata/{five[0]}.json").unlink()
    shutil.rmtree(location / f"versions/{five[0]}/bin")
    call = salt_call(pillar)
    assert call.modules["diskless_image.list"]()["tiny"]["versions"] == five[1:]
    assert call.state("diskless_image.synced").result is True
    left = sorted(path.name for path in (location / "versions").iterdir())
    assert left == five[1:]


def test_without_an_older_version_there_is_nothing_to_go_back_to(salt_call, pillar, location, two):
    call = salt_call(pillar)
    call.modules["diskless_image.rollback"]("tiny")
    with pytest.raises(CommandExecutionError, match="nothing to go back to"):
        call.modules["diskless_image.rollback"]("tiny")
    with pytest.raises(CommandExecutionError, match=f"there are: {two[0]}, {two[1]}"):
        call.modules["diskless_image.publish"]("tiny", "20000101T000000")
    assert root(location).name == two[0]


def test_a_version_that_a_killed_sync_did_not_publish_is_published_by_the_next_one(
    salt_call, pillar, location, two
):
    first, second = two
    # As a sync leaves it that is killed before its last rename.
    metadata = location / f"metadata/{second}.json"
    fields = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({**fields, "published_at": None}))
    (location / "root").unlink()
    (location / "root").symlink_to(f"versions/{first}")
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.changes == {"tiny": {"old": first, "new": second}}
    assert len(list((location / "versions").iterdir())) == 2
    assert salt_call(pillar).state("diskless_image.synced").changes == {}


@pytest.fixture
def packaged(salt_call, pillar, location, golden) -> tuple[str, str]:
    """Two versions, between which packages and files of every kind change."""
    query = golden / "usr/bin/dpkg-query"
    query.write_text(
        "#!/bin/sh\n"
        'while read -r line; do echo "$line"; done <<E\n'
        "installed base-files 12.4\ninstalled libc6:amd64 2.36-9\n"
        "config-files gone 1.0\ninstalled old 1:2-3\nE\n"
    )
    query.chmod(0o755)
    for name in ("stays", "goes", "changes", "owner", "same-size", "touched"):
        (golden / "etc" / name).write_text(name)
    salt_call(pillar).state("diskless_image.synced")
    first = root(location).name
    query.write_text(query.read_text().replace("2.36-9", "2.36-10").replace("old 1:", "new 1:"))
    (golden / "etc/goes").unlink()
    (golden / "etc/changes").write_text("changed")
    (golden / "etc/same-size").write_text("emas-size")
    (golden / "etc/touched").touch()
    os.chown(golden / "etc/owner", 7, 7)
    (golden / os.fsdecode(b"etc/a\n\xff\\")).write_text("odd")
    (golden / "etc/link").symlink_to("stays")
    salt_call(pillar).state("diskless_image.synced")
    return first, root(location).name


def test_two_versions_differ_in_packages_and_files(salt_call, pillar, packaged):
    first, second = packaged
    found = salt_call(pillar).modules["diskless_image.diff"]("tiny", first)
    assert (found["old"], found["new"]) == (first, second)
    assert found["packages"] == {
        "added": {"new": "1:2-3"},
        "removed": {"old": "1:2-3"},
        "changed": {"libc6:amd64": ["2.36-9", "2.36-10"]},
    }
    assert found["files"] == {
        "added": [r"/etc/a\x0a\xff\x5c", "/etc/link"],
        "removed": ["/etc/goes"],
        "changed": ["/etc/changes", "/etc/owner", "/etc/same-size", "/usr/bin/dpkg-query"],
    }
    back = salt_call(pillar).modules["diskless_image.diff"]("tiny", second, first)
    assert back["files"]["added"] == ["/etc/goes"]
    same = salt_call(pillar).modules["diskless_image.diff"]("tiny", first, first)
    assert (same["packages"], same["files"]) == ({}, {})


def test_a_version_is_shown_with_its_packages_nodes_and_cost(salt_call, pillar, location, packaged):
    first, second = packaged
    pillar["nodes"]["node003"]["version"] = first
    call = salt_call(pillar)
    found = call.modules["diskless_image.show"]("tiny", check=True)
    assert (found["version"], found["published"], found["intact"]) == (second, True, True)
    assert found["packages"] == {
        "base-files": "12.4",
        "libc6:amd64": "2.36-10",
        "new": "1:2-3",
    }
    assert found["nodes"] == "node[001-002]"
    assert found["made"].startswith(f"{second[:4]}-{second[4:6]}-{second[6:8]}T")
    older = call.modules["diskless_image.show"]("tiny", first)
    assert (older["published"], older["nodes"]) == (False, "node003")
    assert older["bytes_total"] == older["bytes_new"] > 1 << 20
    du = ["du", "-s", "-B1", "--one-file-system", str(location / "versions" / second)]
    used = int(subprocess.run(du, check=True, capture_output=True, text=True).stdout.split()[0])
    assert found["bytes_total"] == used
    # busybox is shared; what is not are directories, and what changed.
    assert found["bytes_new"] < found["bytes_total"] - (1 << 19)
    (root(location) / "etc/stays").write_text("touched")
    assert call.modules["diskless_image.show"]("tiny", check=True)["intact"] is False


def test_what_is_asked_of_a_version_that_is_not_there_is_said(salt_call, pillar, two):
    call = salt_call(pillar)
    for name, arguments in (("show", ["tiny", "../etc"]), ("diff", ["tiny", two[0], "x"])):
        with pytest.raises(CommandExecutionError, match=f"there are: {two[0]}, {two[1]}"):
            call.modules[f"diskless_image.{name}"](*arguments)


def test_packages_that_cannot_be_listed_publish_nothing(salt_call, pillar, location, golden, two):
    query = golden / "usr/bin/dpkg-query"
    query.write_text("#!/bin/sh\necho dpkg-query: the database is locked >&2\nexit 2\n")
    query.chmod(0o755)
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert "the database is locked" in ret.comment
    assert root(location).name == two[1]
