"""What a sync leaves out, keeps and cannot keep is named in its result."""

from __future__ import annotations

import pathlib
import re
import subprocess

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless.image import notes
from tests.conftest import put_kernel
from tests.functional.conftest import root


def put(golden: pathlib.Path, path: str, text: str = "content\n") -> None:
    """Write a file of the golden root."""
    (golden / path[1:]).parent.mkdir(parents=True, exist_ok=True)
    (golden / path[1:]).write_text(text)


def sync(call) -> dict:
    """Sync the image and return the result."""
    return call.modules["diskless_image.sync"]("tiny")["tiny"]


def named(result: dict, words: str) -> list[str]:
    """Return the paths of the note whose reason has these words."""
    found = [paths for reason, paths in result["notes"].items() if words in reason]
    return found[0] if found else []


@pytest.fixture
def mounted(golden):
    """Return a function that mounts a tmpfs with a file in it below the golden root."""
    mounts = []

    def mount(path: str, file: str = "file") -> None:
        directory = golden / path[1:]
        directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "none", directory], check=True)
        mounts.append(directory)
        put(golden, f"{path}/{file}")

    yield mount
    for directory in reversed(mounts):
        subprocess.run(["umount", directory], check=True)


_LOCAL = (
    *("/var/lib", "/opt", "/home", "/srv", "/usr/local", "/usr/share", "/boot/efi", "/root"),
    *("/var/lib/x", "/var/lib/x/y", "/opt/x/y/z", "/usr/lib/x", "/etc/site", "/srv/a b"),
    *("/opt/it's [a] 'b'*", "/opt/\\040", "/opt/a#b"),
)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        *((path, path) for path in _LOCAL),
        ("/srv/a\nb", "/srv/a\\x0ab"),
        ("/opt/\udcff\udcfe", "/opt/\\xff\\xfe"),
    ],
)
def test_a_file_system_of_the_system_is_taken(salt_call, pillar, location, mounted, path, shown):
    mounted(path)
    call = salt_call(pillar)
    result = sync(call)
    assert (root(location) / path[1:] / "file").read_text() == "content\n"
    assert named(result, "taken too") == [shown]
    assert sync(call)["changed"] is False


def test_file_systems_in_one_that_is_taken(salt_call, pillar, location, golden, mounted):
    mounted("/var")
    for path in ("/var/lib/systemd", "/var/log", "/var/tmp", "/var/cache/apt"):
        (golden / path[1:]).mkdir(parents=True)
    mounted("/var/lib", "state")
    call = salt_call(pillar)
    result = sync(call)
    assert (root(location) / "var/lib/state").exists() and (root(location) / "var/file").exists()
    assert named(result, "taken too") == ["/var", "/var/lib"]
    put(golden, "/var/lib/state", "changed\n")
    assert sync(call)["changed"] is True
    assert (root(location) / "var/lib/state").read_text() == "changed\n"
    assert sync(call)["changed"] is False


@pytest.mark.parametrize("path", ["/srv/a b", "/opt/x/y"])
def test_of_a_machine_a_nested_one_is_taken(
    salt_call, pillar, location, mounted, sshd, golden, path
):
    mounted(path)
    escaped = path.replace(" ", "\\040")
    put(golden, "/etc/fstab", f"/dev/sdb1 {escaped} ext4 rw 0 0\n")
    pillar["images"]["tiny"]["source"] = sshd
    call = salt_call(pillar)
    assert named(sync(call), "taken too") == [path]
    assert (root(location) / path[1:] / "file").read_text() == "content\n"
    assert sync(call)["changed"] is False


@pytest.mark.parametrize("path", ["/data/x", "/opt/x", "/usr/share/x"])
def test_a_directory_mounted_at_a_second_place_is_taken(
    salt_call, pillar, location, golden, tmp_path, path
):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("content\n")
    (golden / path[1:]).mkdir(parents=True)
    subprocess.run(["mount", "--bind", tmp_path / "other", golden / path[1:]], check=True)
    try:
        call = salt_call(pillar)
        result = sync(call)
        assert (root(location) / path[1:] / "file").read_text() == "content\n"
        assert named(result, "mounted in the source, left out") == []
        assert named(result, "taken too") == [path]
        assert sync(call)["changed"] is False
    finally:
        subprocess.run(["umount", golden / path[1:]], check=True)


def test_mounts_of_a_root_that_programs_run_in_are_no_content(salt_call, pillar, location, golden):
    """As debootstrap and chroot users leave them."""
    paths = ["proc", "sys", "dev", "dev/pts", "run"]
    for name in paths:
        (golden / name).mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", f"/{name}", golden / name], check=True)
    try:
        call = salt_call(pillar)
        result = sync(call)
        assert named(result, "mounted in the source, left out") == []
        assert named(result, "taken too") == []
        assert list((root(location) / "dev").iterdir()) == []
        assert sync(call)["changed"] is False
    finally:
        for name in reversed(paths):
            subprocess.run(["umount", golden / name], check=True)


def test_another_file_system_is_named(salt_call, pillar, location, mounted):
    mounted("/scratch/data")
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True and "/scratch/data" in ret.comment
    assert list((root(location) / "scratch/data").iterdir()) == []
    # It stays visible while nothing changes.
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.changes == {} and "/scratch/data" in ret.comment


def test_of_a_machine_the_same_is_taken(salt_call, pillar, location, mounted, sshd, golden):
    mounted("/var/lib", "state")
    mounted("/scratch")
    put(golden, "/etc/wireguard/wg0.conf")
    put(golden, "/etc/fstab", "none /var/lib tmpfs rw 0 0\nnas:/home /home nfs rw 0 0\n")
    pillar["images"]["tiny"]["source"] = sshd
    call = salt_call(pillar)
    result = sync(call)
    assert (root(location) / "var/lib/state").exists()
    assert named(result, "taken too") == ["/var/lib"]
    assert named(result, "left out") == ["/scratch"]
    assert named(result, "private keys and passwords") == ["/etc/wireguard/wg0.conf"]
    assert named(result, "fstab") == ["/home (nfs nas:/home)"]
    again = sync(call)
    assert again["changed"] is False and again["notes"] == result["notes"]


def test_what_a_machine_does_not_describe_is_refused(
    salt_call, pillar, location, mounted, sshd, listing
):
    mounted("/home")
    pillar["images"]["tiny"]["source"] = sshd
    with pytest.raises(CommandExecutionError, match=r"/home \(a file system.*exclude: \[/home/\*"):
        sync(salt_call(pillar))
    assert not (location / "root").exists()
    pillar["images"]["tiny"]["exclude"] = ["/home/*"]
    assert sync(salt_call(pillar))["changed"] is True


PRIVATE = [
    *("/etc/ssl/private/host.key", "/etc/pki/tls/private/a", "/etc/pki/consumer/key.pem"),
    *("/etc/wireguard/wg0.conf", "/etc/dropbear/dropbear_rsa_host_key", "/etc/chef/client.pem"),
    *("/etc/puppetlabs/puppet/private_keys/a.pem", "/var/lib/samba/private/secrets.tdb"),
    *("/var/lib/sss/secrets/secrets.ldb", "/home/ann/.ssh/id_rsa", "/root/.aws/credentials"),
    *("/var/cache/salt/minion/x", "/root/.netrc", "/home/ann/.kube/config", "/etc/ipsec.secrets"),
    *("/etc/openvpn/client/a.key", "/etc/letsencrypt/live/a/privkey.pem", "/root/.pgpass"),
    *("/etc/kubernetes/pki/ca.key", "/var/lib/tailscale/state", "/etc/docker/key.json"),
]
MACHINE = [
    *("/etc/lvm/devices/system.devices", "/etc/multipath/wwids", "/etc/hostid", "/etc/crypttab"),
    *("/etc/iscsi/nodes/target", "/var/lib/cloud/instances/i-1/x", "/var/lib/dhcpcd/duid"),
    *("/var/spool/at/a00001", "/var/mail/root", "/etc/machine-info", "/var/lib/nfs/sm/peer"),
]
NODE = ["/etc/iscsi/initiatorname.iscsi", "/etc/nvme/hostid", "/etc/nvme/hostnqn"]
SECRET = [
    *("/etc/munge/munge.key", "/etc/krb5.keytab", "/etc/corosync/authkey", "/etc/rndc.key"),
    *("/etc/ceph/ceph.client.admin.keyring", "/etc/slurm/jwt_hs256.key", "/etc/chrony/chrony.keys"),
]


@pytest.mark.parametrize("path", [*PRIVATE, *MACHINE])
def test_what_is_one_machines_is_left_out(salt_call, pillar, location, golden, path):
    put(golden, path)
    result = sync(salt_call(pillar))
    assert not (root(location) / path[1:]).exists()
    words = "private keys and passwords" if path in PRIVATE else "describe the golden machine"
    assert any(path == one or path.startswith(f"{one}/") for one in named(result, words))


def test_cron_tables_and_authorized_keys_stay(salt_call, pillar, location, golden):
    kept = ["/var/spool/cron/crontabs/root", "/root/.ssh/authorized_keys", "/etc/ssl/certs/a.pem"]
    for path in kept:
        put(golden, path)
    sync(salt_call(pillar))
    assert all((root(location) / path[1:]).exists() for path in kept)


def test_what_the_pillar_keeps_is_taken(salt_call, pillar, location, golden):
    put(golden, "/etc/ssl/private/cluster.key")
    put(golden, "/etc/ssl/private/host.key")
    pillar["images"]["tiny"]["keep"] = ["/etc/ssl/private/cluster.key"]
    call = salt_call(pillar)
    result = sync(call)
    assert [path.name for path in (root(location) / "etc/ssl/private").iterdir()] == ["cluster.key"]
    assert named(result, "private keys and passwords") == ["/etc/ssl/private/host.key"]
    assert sync(call)["changed"] is False


@pytest.mark.parametrize("path", SECRET)
def test_a_shared_secret_is_kept_and_named(salt_call, pillar, location, golden, path):
    put(golden, path, "not a comment\n")
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True and path in ret.comment
    assert (root(location) / path[1:]).exists()
    call = salt_call(pillar)
    for result in (call.modules["diskless_image.show"]("tiny"), sync(call)):
        assert named(result, "secrets that nodes share") == [path]
    listed = call.modules["diskless_image.list"]()["tiny"]
    assert named(listed, "secrets that nodes share") == [path]


def test_comments_are_no_secret(salt_call, pillar, golden):
    put(golden, "/etc/chrony/chrony.keys", "# an example\n\n#1 MD5 x\n")
    assert named(sync(salt_call(pillar)), "secrets that nodes share") == []


def test_private_keys_are_found_by_content(salt_call, pillar, golden):
    text = "-----BEGIN PRIVATE KEY-----\nAAAA\n"
    paths = [
        *("/etc/app/tls", "/home/ann/private/key", "/opt/app/conf/server.key", "/root/deploy.pem"),
        *("/srv/www/tls/privkey.pem", "/usr/local/etc/host.pem", "/var/www/site.key"),
    ]
    for path in paths:
        put(golden, path, text)
    assert named(sync(salt_call(pillar)), "recognised by their content") == paths


@pytest.mark.parametrize(
    "path",
    [
        "/opt/salt/lib/python3.11/site-packages/tests/server.pem",
        "/usr/local/lib/python3.11/dist-packages/tests/a_key.json",
        "/opt/app/node_modules/tls/test/key.pem",
    ],
)
def test_public_keys_of_libraries_are_no_secret(salt_call, pillar, golden, in_memory, path):
    put(golden, path, "-----BEGIN PRIVATE KEY-----\nAAAA\n")
    pillar["nodes"]["node003"]["root"] = "ram"
    assert named(sync(salt_call(pillar)), "recognised by their content") == []
    (golden / path.lstrip("/")).chmod(0o600)
    with pytest.raises(CommandExecutionError, match=f"found ram.*{path}"):
        sync(salt_call(pillar))


@pytest.fixture
def in_memory(golden) -> None:
    """The golden root has a kernel for every root mode."""
    names = ("nfs/nfs", "nfs/nfsv3", "nfs/nfsv4", "squashfs/squashfs", "overlayfs/overlay", "loop")
    put_kernel(golden, "6.1.0-11-test", "".join(f"kernel/fs/{name}.ko:\n" for name in names))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/etc/shadow", "root:$y$j9T$abc$defgh.ijk/l:19000:0:99999:7:::"),
        ("/etc/shadow", "ann:!$6$salt$hashhashhash:19000:0:99999:7:::"),
        ("/etc/shadow", "old:abJnggxhB/yWI:19000::::::"),
        ("/etc/passwd", "old:abJnggxhB/yWI:0:0::/root:/bin/sh"),
        ("/etc/gshadow", "wheel:$6$salt$hashhashhash::"),
        ("/boot/grub2/user.cfg", "GRUB2_PASSWORD=grub.pbkdf2.sha512.10000.AA.BB"),
    ],
)
def test_hashes_of_passwords_are_named_for_ram(salt_call, pillar, golden, in_memory, path, line):
    put(golden, path, f"daemon:*:19000:0:99999:7:::\nbin:!!:19000::::::\n{line}\n")
    assert named(sync(salt_call(pillar)), "hashes of passwords") == []
    pillar["nodes"]["node003"]["root"] = "ram"
    call = salt_call(pillar)
    ret = call.state("diskless_image.synced")
    assert ret.result is True and "hashes of passwords" in ret.comment and "node003" in ret.comment
    assert named(call.modules["diskless_image.show"]("tiny"), "hashes of passwords") == [path]


def test_locked_accounts_have_no_hash(salt_call, pillar, golden, in_memory):
    put(golden, "/etc/shadow", "root:*:19000:0:99999:7:::\nann:!!:19000::::::\nbob::19000::::::\n")
    pillar["nodes"]["node003"]["root"] = "ram"
    assert named(sync(salt_call(pillar)), "hashes of passwords") == []


def test_what_is_probably_secret_is_named(salt_call, pillar, golden):
    put(golden, "/etc/app/settings.ini", "[db]\npassword = hunter2\n")
    put(golden, "/opt/app/etc/agent.psk", "abc")
    result = sync(salt_call(pillar))
    paths = ["/etc/app/settings.ini", "/opt/app/etc/agent.psk"]
    assert named(result, "probably secret") == paths
    ret = salt_call(pillar).state("diskless_image.synced")
    assert all(path in ret.comment for path in paths)


def test_what_is_probably_secret_in_memory_is_named_for_it(salt_call, pillar, golden, in_memory):
    put(golden, "/etc/app/settings.ini", "[db]\npassword = hunter2\n")
    pillar["nodes"]["node003"]["root"] = "ram"
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True
    assert re.search("can fetch them by TFTP.*node003.*: /etc/app/settings.ini", ret.comment)
    put(golden, "/etc/other")
    pillar["images"]["tiny"]["keep"] = ["/etc/app/*.ini"]
    assert named(sync(salt_call(pillar)), "probably secret") == []


@pytest.mark.parametrize("path", ["/etc/munge/munge.key", "/etc/app/tls"])
def test_secrets_are_refused_for_ram(salt_call, pillar, location, golden, path):
    put(golden, path, "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n")
    before = sync(salt_call(pillar))
    pillar["profiles"]["compute"]["root"] = "ram"
    with pytest.raises(CommandExecutionError, match=f"found ram.*{path}.*scrub"):
        sync(salt_call(pillar))
    assert root(location).name == before["new"]
    put(golden, "/etc/other")
    with pytest.raises(CommandExecutionError, match=path):
        sync(salt_call(pillar))
    assert root(location).name == before["new"]


def test_file_capabilities_are_named(salt_call, pillar, golden):
    program = golden / "usr/bin/capable"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    subprocess.run(["setcap", "cap_dac_read_search+ep", program], check=True)
    found = sync(salt_call(pillar))
    assert named(found, "file capabilities") == ["/usr/bin/capable"]


@pytest.mark.parametrize("mode", ["readonly", "overlay", "squashfs", "ram"])
def test_they_work_where_nfs_is_not_below_the_root(mode):
    shown = notes.sentences({"capabilities": ("/usr/bin/ping",)}, {mode: ("node001",)})
    assert len(shown) == (mode in ("readonly", "overlay"))


FSTAB = """UUID=1 / ext4 defaults 0 1
10.0.0.1:/home /home nfs rw,_netdev 0 0
//nas/share /data cifs credentials=/etc/x 0 0
"""


def test_network_file_systems_of_fstab_are_named(salt_call, pillar, golden, location):
    put(golden, "/etc/fstab", FSTAB)
    result = sync(salt_call(pillar))
    left = ["/home (nfs 10.0.0.1:/home)", "/data (cifs //nas/share)"]
    assert named(result, "fstab") == left
    line = "10.0.0.2:/scratch /scratch nfs ro 0 0"
    pillar["images"]["tiny"]["fstab"] = ["/home", line]
    call = salt_call(pillar)
    result = sync(call)
    assert named(result, "fstab") == left[1:]
    text = (root(location) / "etc/fstab").read_text()
    assert text.splitlines()[-2:] == ["10.0.0.1:/home /home nfs rw,_netdev 0 0", line]
    assert (root(location) / "scratch").is_dir() and (root(location) / "home").is_dir()
    assert sync(call)["changed"] is False


def test_a_mount_point_that_fstab_lacks_is_refused(salt_call, pillar, golden):
    put(golden, "/etc/fstab", FSTAB)
    pillar["images"]["tiny"]["fstab"] = ["/hmoe"]
    with pytest.raises(CommandExecutionError, match=r"tiny:fstab: found /hmoe; .* has: /, /data"):
        sync(salt_call(pillar))


def test_each_node_has_its_own_storage_names(salt_call, pillar, golden, location):
    for path in NODE:
        put(golden, path, "the golden node's\n")
    call = salt_call(pillar)
    sync(call)
    assert all((root(location) / path[1:]).stat().st_size == 0 for path in NODE)
    call.state("diskless_snapshot.managed")
    names = ("initiatorname.iscsi", "hostnqn", "hostid")
    found = {}
    for node in ("node001", "node002"):
        place = location / "snapshot" / node / ".diskless/identity"
        found[node] = [(place / name).read_text() for name in names]
    iscsi, nqn, ident = found["node001"]
    assert iscsi.startswith("InitiatorName=iqn.") and nqn.endswith(f":uuid:{ident}")
    assert not {*found["node001"]} & {*found["node002"]}
    assert call.state("diskless_snapshot.managed").changes == {}


def test_many_paths_are_folded(salt_call, pillar, golden):
    for number in range(30):
        put(golden, f"/etc/wireguard/wg{number:02d}.conf")
    found = named(sync(salt_call(pillar)), "private keys and passwords")
    assert found[-1] == "and 20 more" and len(found) == 11


@pytest.mark.parametrize(
    ("what", "is_disk"),
    [
        *(("/dev/disk/by-uuid/0b5a", True), ("UUID=0b5a", True), ("/dev/mapper/vg-data", True)),
        *(("nas:/home", False), ("tmpfs", False), ("//nas/share", False), ("/dev/zram0", False)),
    ],
)
@pytest.mark.parametrize("name", ["data.mount", "dev-sda2.swap"])
def test_units_for_disks_are_named(salt_call, pillar, golden, location, name, what, is_disk):
    path = f"/etc/systemd/system/{name}"
    put(golden, path, f"[Mount]\nWhat={what}\n")
    assert named(sync(salt_call(pillar)), "units of systemd") == [path] * is_disk
    pillar["images"]["tiny"]["scrub"] = [path]
    assert named(sync(salt_call(pillar)), "units of systemd") == []
    assert not (root(location) / path[1:]).exists()


def test_a_live_sync_takes_mounts_and_names_what_it_leaves_out(
    salt_call, pillar, location, golden, mounted
):
    mounted("/var/lib", "state")
    mounted("/scratch")
    pillar["images"]["tiny"]["live"] = True
    first = sync(salt_call(pillar))
    tree = root(location)
    put(golden, "/var/lib/state", "changed\n")
    put(golden, "/etc/wireguard/wg0.conf")
    put(golden, "/etc/munge/munge.key", "secret\n")
    put(golden, "/etc/fstab", FSTAB)
    call = salt_call(pillar)
    result = call.modules["diskless_image.sync"]("tiny", live=True)["tiny"]
    assert root(location) == tree and result["changed"] is True
    assert (tree / "var/lib/state").read_text() == "changed\n"
    assert named(first, "taken too") == named(result, "taken too") == ["/var/lib"]
    assert named(result, "mounted in the source, left out") == ["/scratch"]
    assert list((tree / "scratch").iterdir()) == []
    assert named(result, "private keys and passwords") == ["/etc/wireguard/wg0.conf"]
    assert not (tree / "etc/wireguard/wg0.conf").exists()
    assert named(result, "secrets that nodes share") == ["/etc/munge/munge.key"]
    assert len(named(result, "fstab")) == 2
    again = call.modules["diskless_image.sync"]("tiny", live=True)["tiny"]
    assert again["changed"] is False and again["notes"] == result["notes"]
    assert call.modules["diskless_image.show"]("tiny")["notes"] == result["notes"]
    assert sync(call)["changed"] is False


def test_a_live_sync_refuses_a_remote_file_system_of_the_system(
    salt_call, pillar, location, golden, mounted, monkeypatch
):
    pillar["images"]["tiny"]["live"] = True
    sync(salt_call(pillar))
    tree = root(location)
    mounted("/usr/share/x")
    types = {"/usr/share/x": "nfs4"}
    monkeypatch.setattr("salt_diskless.image.mounts.here", lambda _: types)
    with pytest.raises(CommandExecutionError, match=r"found /usr/share/x \(nfs4\) mounted"):
        salt_call(pillar).modules["diskless_image.sync"]("tiny", live=True)
    assert root(location) == tree and not (tree / "usr/share/x/file").exists()


@pytest.mark.parametrize("odd", ["a\nb", "\udcff\udcfe", "a b", "tab\tx", "\x1b[31m", "ü"])
def test_odd_names_are_shown_as_text(salt_call, pillar, location, golden, odd, mounted):
    """The result goes to the master and to terminals."""
    key = "-----BEGIN PRIVATE KEY-----\nAAAA\n"
    mounted(f"/data/{odd}")
    mounted(f"/opt/{odd}")
    put(golden, f"/etc/wireguard/{odd}.conf")
    put(golden, f"/etc/ceph/{odd}.keyring", "key = x\n")
    put(golden, f"/etc/app/{odd}", key)
    put(golden, f"/usr/bin/{odd}")
    program = golden / f"usr/bin/{odd}"
    program.chmod(0o755)
    subprocess.run(["setcap", "cap_net_raw+ep", program], check=True)
    call = salt_call(pillar)
    result = sync(call)
    text = repr(result["notes"]) + call.state("diskless_image.synced").comment
    shown = {path for paths in result["notes"].values() for path in paths}
    assert len([path for path in shown if "wireguard" in path or "ceph" in path]) == 2
    for path in shown:
        assert path.isprintable() and path.encode()
    assert "\x1b" not in text
    assert sync(call)["changed"] is False


@pytest.mark.parametrize("target", ["/a\nb", "/\udcff", "/\x1b[31m"])
@pytest.mark.parametrize("path", ["srv", "tmp", "etc", "usr", "var/run", "boot"])
def test_odd_targets_of_links_are_shown_as_text(salt_call, pillar, golden, path, target):
    if (golden / path).is_dir():
        (golden / path).rename(golden / "away")
    (golden / path).symlink_to(target)
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.comment.replace("\n", "").isprintable() and "a\nb" not in ret.comment
    assert path in ret.comment
