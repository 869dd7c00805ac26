"""Snapshots: one per node, seeded with what the entries need, and never trusted."""

from __future__ import annotations

import os
import pathlib
import shutil
import stat
import subprocess

import pytest

from salt_diskless import disk
from salt_diskless.cluster import parse
from salt_diskless.image.running import stages


@pytest.fixture
def base(salt_call, pillar) -> pathlib.Path:
    """The directory of the snapshots, of an image that has been synced."""
    assert salt_call(pillar).state("diskless_image.synced").result is True
    return pathlib.Path(pillar["images"]["tiny"]["location"]) / "snapshot"


def test_managed_makes_a_private_snapshot_for_each_node(salt_call, pillar, base, testmode, listing):
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_snapshot.managed")
    assert (ret.result is None) is testmode, ret.comment
    assert ret.changes["added"]["nodes"] == "node[001-003]"
    assert (listing() == before) is testmode
    if testmode:
        return
    for name in ("node001", "node002", "node003"):
        assert (base / name).stat().st_mode & 0o7777 == 0o700
        assert (base / name / "var/log").is_dir()
        assert (base / name / "root").is_dir()
        assert not (base / name / "var/cache").exists()
    entries = (base / "node001/.diskless/entries").read_text()
    assert "d persistent 755 0 0 /var/log\n" in entries
    assert "d tmpfs 755 0 0 /var/cache\n" in entries
    assert "/var/cache tmpfs\n" in (base / ".files").read_text()
    assert ".files.custom" in (base / ".files").read_text()
    assert not (base / ".new").exists()


def test_managed_again_changes_nothing(salt_call, pillar, base, testmode, listing):
    salt_call(pillar).state("diskless_snapshot.managed")
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_snapshot.managed")
    assert (ret.result, ret.changes) == (True, {})
    assert listing() == before


def test_host_name_and_machine_id_are_the_nodes_own(salt_call, pillar, base):
    pillar["profiles"]["compute"]["files"] = ["/etc/hostname", "/etc/machine-id"]
    salt_call(pillar).state("diskless_snapshot.managed")
    assert (base / "node002/etc/hostname").read_text() == "node002\n"
    identities = {(base / f"node00{n}/etc/machine-id").read_text() for n in (1, 2, 3)}
    assert len(identities) == 3
    assert all(len(identity) == 33 and int(identity, 16) for identity in identities)


def test_owner_mode_and_content_come_from_the_version(salt_call, pillar, golden):
    spool = golden / "var/lib/systemd/spool"
    spool.mkdir(mode=0o2750)
    spool.chmod(0o2750)
    os.chown(spool, 12, 34)
    (spool / "seed").write_text("as in the golden root\n")
    os.chown(spool / "seed", 56, 78)
    (spool / "link").symlink_to("seed")
    pillar["profiles"]["compute"]["files"] = ["/var/lib/systemd"]
    salt_call(pillar).state("diskless_image.synced")
    salt_call(pillar).state("diskless_snapshot.managed")
    location = pathlib.Path(pillar["images"]["tiny"]["location"])
    copy = location / "snapshot/node003/var/lib/systemd/spool"
    status = copy.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (12, 34, 0o2750)
    assert (copy / "seed").read_text() == "as in the golden root\n"
    assert (copy / "seed").stat().st_uid == 56
    assert os.readlink(copy / "link") == "seed"


def test_what_a_node_wrote_is_kept_and_a_new_entry_is_added_to_it(salt_call, pillar, base):
    salt_call(pillar).state("diskless_snapshot.managed")
    (base / "node001/var/log/mine").write_text("precious\n")
    pillar["profiles"]["compute"]["files"].append("/var/lib/systemd")
    ret = salt_call(pillar).state("diskless_snapshot.managed")
    assert ret.changes["seeded"] == {"/var/lib/systemd": "node[001-003]"}
    assert ret.changes["changed"]["nodes"] == "node[001-003]"
    assert (base / "node001/var/log/mine").read_text() == "precious\n"
    assert (base / "node001/var/lib/systemd").is_dir()
    assert "/var/lib/systemd" in (base / "node001/.diskless/entries").read_text()


def test_files_custom_goes_to_every_node_and_is_never_written(salt_call, pillar, base):
    base.mkdir(exist_ok=True)
    text = "# mine\n/var/lib/systemd\n/var/cache persistent\n"
    (base / ".files.custom").write_text(text)
    salt_call(pillar).state("diskless_snapshot.managed")
    assert (base / "node002/var/lib/systemd").is_dir()
    assert (base / "node002/var/cache").is_dir()
    assert (base / ".files.custom").read_text() == text


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("relative", "absolute path"),
        ("/var/log/x", "below the entry /var/log"),
        ("/var overlay\n/var/cache overlay", "below the overlay /var"),
        ("/tmp/x", "in memory"),
        ("/a sometimes", "persistent"),
        ("/a tmpfs more", "at most one word"),
    ],
)
def test_a_wrong_line_in_files_custom_is_named_and_nothing_is_changed(
    salt_call, pillar, base, line, says, listing
):
    base.mkdir(exist_ok=True)
    (base / ".files.custom").write_text(f"# mine\n{line}\n")
    before = listing()
    ret = salt_call(pillar).state("diskless_snapshot.managed")
    assert ret.result is False
    assert "files.custom" in ret.comment and says in ret.comment
    assert listing() == before


def test_the_list_says_how_and_on_which_disk(salt_call, pillar, base):
    pillar["profiles"]["compute"]["files"] = [
        {"path": "/etc", "how": "overlay"},
        "/etc/passwd",
        {"path": "/root", "how": "localdisk"},
        {"path": "/var/log", "how": "copy"},
    ]
    pillar["nodes"]["node003"]["localdisk"] = "scratch"
    salt_call(pillar).state("diskless_snapshot.managed")
    for name, label in (("node001", "diskless-local"), ("node003", "scratch")):
        lines = (base / name / ".diskless/entries").read_text().splitlines()
        assert lines[:4] == [
            "d overlay 755 0 0 /etc",
            "f persistent 644 0 0 /etc/passwd",
            f"d localdisk={label} 755 0 0 /root",
            "d copy 755 0 0 /var/log",
        ]
        assert (base / name / "etc/passwd").is_file()
        assert not (base / name / "root").exists()
    assert salt_call(pillar).state("diskless_snapshot.managed").changes == {}


def test_an_entry_that_the_version_does_not_have_is_passed_over(salt_call, pillar, base):
    pillar["profiles"]["compute"]["files"] = ["/var/log", "/not/there"]
    ret = salt_call(pillar).state("diskless_snapshot.managed")
    assert ret.result is True
    assert "/not/there" not in (base / "node001/.diskless/entries").read_text()


def test_a_link_that_a_node_put_into_its_snapshot_is_not_followed(
    salt_call, pillar, base, tmp_path
):
    pillar["profiles"]["compute"]["files"] = ["/root"]
    salt_call(pillar).state("diskless_snapshot.managed")
    outside = tmp_path / "outside"
    outside.mkdir()
    (base / "node001/var").symlink_to(outside)
    subprocess.run(["rm", "-r", base / "node002/.diskless"], check=True)
    (base / "node002/.diskless").symlink_to(outside)
    pillar["profiles"]["compute"]["files"] = ["/root", "/var/log"]
    ret = salt_call(pillar).state("diskless_snapshot.managed")
    assert ret.result is False
    assert "snapshot/node001" in ret.comment and "snapshot/node002" in ret.comment
    assert list(outside.iterdir()) == []
    assert (base / "node003/var/log").is_dir()


@pytest.mark.parametrize("what", ["device", "pipe", "directory", "link"])
def test_what_a_node_put_in_the_place_of_its_list_is_not_opened(salt_call, pillar, base, what):
    """A node is root on its snapshot, and can make a device there: opening some does something."""
    salt_call(pillar).state("diskless_snapshot.managed")
    path = base / "node001/.diskless/entries"
    wanted = path.read_bytes()
    path.unlink()
    if what == "device":
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "link":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    assert disk.read_untrusted(str(path), 8) is None
    ret = salt_call(pillar).state("diskless_snapshot.managed")
    if what == "directory":
        assert ret.result is False and f"{base}/node001: cannot be seeded" in ret.comment
    else:
        assert ret.changes == {"changed": {"nodes": "node001"}}
        assert path.is_file() and not path.is_symlink()
        assert path.read_bytes() == wanted


def test_a_node_that_goes_keeps_its_snapshot_and_is_listed_as_unused(salt_call, pillar, base):
    salt_call(pillar).state("diskless_snapshot.managed")
    del pillar["nodes"]["node003"]
    call = salt_call(pillar)
    assert call.state("diskless_snapshot.managed").changes == {}
    assert (base / "node003/var/log").is_dir()
    assert call.modules["diskless_snapshot.list"](full=True)["unused"] == [str(base / "node003")]


def test_the_default_entries_cost_less_than_a_megabyte_a_node(salt_call, pillar):
    """Seeded from a real Debian system: the one that runs the test."""
    del pillar["profiles"]["compute"]["files"]
    from salt_diskless.cluster import Cluster, Node, parse
    from salt_diskless.cluster.defaults import ENTRIES
    from salt_diskless.snapshot import entries, seed

    cluster: Cluster = parse(pillar)
    node: Node = cluster.nodes["node001"]
    placed, _ = entries.place(ENTRIES, "")
    tree = pathlib.Path(pillar["images"]["tiny"]["location"])
    tree.mkdir(parents=True)
    kept = [e for e in placed if e.how == "persistent" and e.path not in ("/root", "/var/log")]
    items = [*seed.parents("", kept), *(item for e in kept for item in seed.read("", e))]
    seed.write(str(tree), items, node)
    used = subprocess.run(["du", "-sk", tree], check=True, capture_output=True, text=True).stdout
    assert int(used.split()[0]) < 1024


def test_usage_is_what_the_disk_says(salt_call, pillar, base):
    salt_call(pillar).state("diskless_snapshot.managed")
    before = salt_call(pillar).modules["diskless_snapshot.usage"]("node001")["node001"]
    (base / "node001/var/log/big").write_bytes(os.urandom(1 << 20))
    os.sync()
    after = salt_call(pillar).modules["diskless_snapshot.usage"]("node001")["node001"]
    assert after - before == 1 << 20


def test_an_entry_that_a_node_removed_is_seen_and_seeded_again_when_asked(salt_call, pillar, base):
    salt_call(pillar).state("diskless_snapshot.managed")
    (base / "node002/root").rmdir()
    call = salt_call(pillar)
    assert call.modules["diskless_snapshot.list"](full=True)["nodes"]["node002"]["missing"] == [
        "/root"
    ]
    changes = call.modules["diskless_snapshot.apply"](check=True)
    assert changes == {"seeded": {"/root": "node002"}}
    assert (base / "node002/root").is_dir()


def test_on_a_disk_that_is_full_it_says_so_and_no_snapshot_is_half_there(salt_call, pillar, base):
    base.mkdir(exist_ok=True)
    size = "size=64k,nr_inodes=25"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", str(base)], check=True)
    try:
        ret = salt_call(pillar).state("diskless_snapshot.managed")
        assert ret.result is False
        assert ret.comment.splitlines() == [
            f"{base}/node003: cannot be seeded: No space left on device",
            f"{base}/.files: cannot be written: No space left on device",
        ]
        assert sorted(path.name for path in base.iterdir()) == ["node001", "node002"]
        for name in ("node001", "node002"):
            assert (base / name / "var/log").is_dir() and (base / name / "root").is_dir()
    finally:
        subprocess.run(["umount", str(base)], check=True)
    assert salt_call(pillar).state("diskless_snapshot.managed").result is True


def test_killed_half_way_the_next_run_makes_what_is_missing(salt_call, pillar, base):
    base.mkdir(exist_ok=True)
    half = base / ".new/node001/var"
    half.mkdir(parents=True)
    ret = salt_call(pillar).state("diskless_snapshot.managed")
    assert ret.changes["added"]["nodes"] == "node[001-003]"
    assert (base / "node001/var/log").is_dir()
    assert not (base / ".new").exists()


def test_a_run_without_a_change_reads_no_list_again(salt_call, pillar, base, monkeypatch):
    salt_call(pillar).state("diskless_snapshot.managed")
    assert (base / ".lists").stat().st_mode & 0o777 == 0o600
    read = []

    def reading(path: str, most: int) -> bytes | None:
        read.append(path)
        return disk.read_untrusted(path, most)

    monkeypatch.setattr("salt_diskless.snapshot.manage.read_untrusted", reading)
    assert salt_call(pillar).state("diskless_snapshot.managed").changes == {}
    assert read == [f"{base}/.files"]
    assert salt_call(pillar).modules["diskless_snapshot.apply"](check=True) == {}
    assert f"{base}/node002/.diskless/entries" in read


@pytest.mark.parametrize("how", ["written over", "removed", "older one", "snapshot made anew"])
def test_a_list_that_was_changed_is_seen_and_mended(salt_call, pillar, base, how):
    salt_call(pillar).state("diskless_snapshot.managed")
    path = base / "node002/.diskless/entries"
    wanted, status = path.read_bytes(), path.stat()
    if how == "written over":
        path.write_bytes(wanted.replace(b"/root", b"/boot"))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif how == "removed":
        path.unlink()
    elif how == "older one":
        path.unlink()
        path.write_bytes(wanted[:-1])
    else:
        shutil.rmtree(base / "node002")
        (base / "node002").mkdir()
    ret = salt_call(pillar).state("diskless_snapshot.managed")
    assert ret.changes["changed"] == {"nodes": "node002"}
    assert path.read_bytes() == wanted
    assert (base / "node002/root").is_dir()
    assert salt_call(pillar).state("diskless_snapshot.managed").changes == {}


@pytest.mark.parametrize("spoilt", [b"", b"\0" * 64, b"[1, 2]", b'{"node001": 7}', b"\xff"])
def test_what_is_known_of_the_lists_can_be_lost(salt_call, pillar, base, spoilt):
    salt_call(pillar).state("diskless_snapshot.managed")
    whole = (base / ".lists").read_bytes()
    (base / ".lists").write_bytes(spoilt)
    (base / "node003/.diskless/entries").write_text("d persistent 755 0 0 /opt\n")
    ret = salt_call(pillar).state("diskless_snapshot.managed")
    assert (ret.result, ret.changes) == (True, {"changed": {"nodes": "node003"}})
    assert (base / ".lists").read_bytes().count(b"node") == whole.count(b"node") == 3


def test_what_nodes_say_of_their_boot_is_text_and_no_link_of_theirs_is_followed(
    salt_call, pillar, base
):
    salt_call(pillar).state("diskless_snapshot.managed")
    said = [base / f"node00{number}/.diskless/stage" for number in (1, 2, 3)]
    said[0].write_bytes(b"root: denied\x1b[2J\xff" + b"x" * 5000)
    said[1].symlink_to("/etc/passwd")
    os.mkfifo(said[2])
    site = parse(pillar).served_by("bootserver")
    (text,) = stages(site.images["tiny"])
    assert text.startswith("root: denied?[2J") and len(text) <= 300
    assert [*stages(site.images["tiny"])[text]] == ["node001"]


def test_lists_under_their_old_names_are_renamed_and_count(salt_call, pillar, base):
    """A server of an older version goes on: what the admin wrote counts before and after."""
    base.mkdir(exist_ok=True)
    (base / "files.custom").write_text("/var/lib/systemd\n")
    (base / "files").write_text("# an old list\n/var/log\n")
    before = sorted(path.name for path in base.iterdir())
    planned = salt_call(pillar, test=True).state("diskless_snapshot.managed")
    assert planned.result is None and sorted(path.name for path in base.iterdir()) == before
    assert salt_call(pillar).state("diskless_snapshot.managed").result is True
    assert (base / "node002/var/lib/systemd").is_dir()
    assert (base / ".files.custom").read_text() == "/var/lib/systemd\n"
    assert "/var/cache tmpfs\n" in (base / ".files").read_text()
    names = {path.name for path in base.iterdir() if not path.name.startswith(".")}
    assert names == {"node001", "node002", "node003"}
    assert salt_call(pillar).state("diskless_snapshot.managed").changes == {}


@pytest.mark.parametrize("killed", [("files",), ("files.custom",), ("files", "files.custom")])
def test_a_killed_renaming_is_finished_by_the_next_run(salt_call, pillar, base, killed):
    salt_call(pillar).state("diskless_snapshot.managed")
    (base / ".files.custom").write_text("/var/lib/systemd\n")
    for name in killed:
        os.rename(base / f".{name}", base / name)
    assert salt_call(pillar).state("diskless_snapshot.managed").result is True
    assert (base / ".files.custom").read_text() == "/var/lib/systemd\n"
    assert not (base / "files").exists() and not (base / "files.custom").exists()
    assert (base / "node001/var/lib/systemd").is_dir()


def test_two_lists_of_the_admin_are_named_and_nothing_is_changed(salt_call, pillar, base, listing):
    base.mkdir(exist_ok=True)
    (base / "files.custom").write_text("/var/lib/systemd\n")
    (base / ".files.custom").write_text("/var/lib/other\n")
    before = listing()
    ret = salt_call(pillar).state("diskless_snapshot.managed")
    assert ret.result is False and "found a second list" in ret.comment
    assert listing() == before


def test_a_snapshot_that_has_a_lists_old_name_harms_nobody(salt_call, pillar, base):
    base.mkdir(exist_ok=True)
    (base / "files.custom/var").mkdir(parents=True)
    (base / "files").mkdir()
    assert salt_call(pillar).state("diskless_snapshot.managed").result is True
    assert (base / "files.custom/var").is_dir() and (base / ".files").is_file()


@pytest.mark.parametrize("name", ["entry", "entries", "new", "lists", "keys", "swap", "versions"])
def test_a_node_can_be_called_as_a_file_of_the_project(salt_call, pillar, base, name):
    """New snapshots and the files that are made for others lie in one directory."""
    pillar["nodes"][name] = {
        **{"profile": "compute", "ip": "10.77.0.99", "mac": "52:54:00:77:00:99"},
    }
    salt_call({**pillar, "nodes": {"node003": pillar["nodes"]["node003"]}}).state(
        "diskless_snapshot.managed"
    )
    pillar["profiles"]["compute"]["files"].append("/var/lib/systemd")
    assert salt_call(pillar).state("diskless_snapshot.managed").result is True
    assert (base / name / "var/log").is_dir()
    assert (base / "node003/var/lib/systemd").is_dir()
