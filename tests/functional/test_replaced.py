"""Programs that replace a file by a rename work on a read-only root; what a node keeps is kept.
Real mounts, and the programs of this machine in a root that has nothing else writable."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import CHECKOUT

pytestmark = pytest.mark.any_salt

NODE = CHECKOUT / "salt_diskless/node"
KEPT = ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")
ENTRIES = (
    "d overlay 755 0 0 /etc\n"
    + "".join(f"f persistent 644 0 0 /etc/{name}\n" for name in KEPT)
    + "d persistent 755 0 0 /var/lib/logrotate\nd persistent 755 0 0 /var/log\n"
    + "d copy 755 0 0 /opt\nf copy 640 0 0 /srv/one\nd localdisk=none 755 0 0 /mnt\n"
    + "f tmpfs 600 0 0 /srv/two\n"
    + "f identity 644 0 0 /etc/hostname\n"
)

Run = Callable[..., str]


@pytest.fixture(params=[["dash"], ["busybox", "sh"], ["bash"]], ids=["dash", "busybox", "bash"])
def run(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, private_mounts: None
) -> Iterator[Run]:
    """Return a function that runs a line of sh in a node's root, as it is after its boot."""
    root, snapshot = tmp_path / "root", tmp_path / "run/diskless/snapshot"
    for path in ("usr", "proc", "dev", "run", "tmp", "var/lib/logrotate", "var/log", "opt", "mnt"):
        (root / path).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    for path in ("srv", "opt/tool"):
        (root / path).mkdir()
    (root / "srv/one").write_text("the image's\n")
    (root / "srv/one").chmod(0o640)
    (root / "srv/two").write_text("the image's\n")
    (root / "opt/tool/settings").write_text("the image's\n")
    (root / "opt/tool").chmod(0o2750)
    subprocess.run(["cp", "-a", "/etc", root / "etc"], check=True)
    (snapshot / ".diskless/identity").mkdir(parents=True)
    (snapshot / ".diskless/identity/hostname").write_text("node003\n")
    (snapshot / ".diskless/entries").write_text(ENTRIES)
    for path in ("etc", "var/lib/logrotate", "var/log"):
        (snapshot / path).mkdir(parents=True)
    for name in KEPT:
        subprocess.run(["cp", "-a", f"/etc/{name}", snapshot / "etc" / name], check=True)
    script = (
        f'mount --bind "{root}" "{root}"; mount --bind /usr "{root}/usr"\n'
        f'mount -o remount,bind,ro "{root}/usr"\n'
        f'mount -o remount,bind,ro "{root}"\n'
        f"dl_kmsg={tmp_path}/kmsg dl_run={tmp_path}/run/diskless dl_units={tmp_path}/units\n"
        f'dl_library="{NODE}"; . "$dl_library/diskless.sh"\n'
        f'dl_has_disk="" dl_snapshot=yes dl_root=readonly dl_journal=memory\n'
        f'dl_entries "{root}"\n'
        f'mount --bind "{tmp_path}/run" "{root}/run"; mount -t tmpfs none "{root}/tmp"\n'
        f'mount --bind /dev "{root}/dev"; mount --bind /proc "{root}/proc"\n'
    )
    done = subprocess.run([*request.param, "-euc", script], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr

    def inside(line: str, fails: bool = False) -> str:
        command = ["chroot", root, "/bin/sh", "-c", line]
        ended = subprocess.run(
            command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert (ended.returncode != 0) is fails, ended.stdout + ended.stderr
        return ended.stdout.strip()

    yield inside
    subprocess.run(["umount", "-R", root], check=True)
    subprocess.run(["umount", tmp_path / "run/diskless/overlay/etc"], check=True)


def kept(tmp_path: pathlib.Path, run: Run) -> pathlib.Path:
    """Have changes copied back, as systemd does when a file changes; return the snapshot."""
    subprocess.run(["cp", NODE / "keep.sh", tmp_path / "run/keep.sh"], check=True)
    run("sh /run/keep.sh")
    return tmp_path / "run/diskless/snapshot"


def test_nothing_else_is_writable(run: Run):
    run("touch /srv/other", fails=True)
    run("touch /usr/other", fails=True)
    run("touch /etc/other")


def test_users_and_groups_can_be_added_and_are_kept(run: Run, tmp_path: pathlib.Path):
    run("groupadd -g 4711 crew && useradd -M -u 4711 -g crew tester")
    run("echo tester:secret | chpasswd -c SHA256")
    # vipw takes a file of the same second for an unchanged one.
    run("printf 'sed -i s,/home/tester,/root, $1; touch -d 2001-01-01 $1' > /tmp/edit")
    run("EDITOR='sh /tmp/edit' vipw")
    assert run("id tester") == "uid=4711(tester) gid=4711(crew) groups=4711(crew)"
    snapshot = kept(tmp_path, run)
    assert "tester:x:4711:4711::/root:" in (snapshot / "etc/passwd").read_text()
    assert "tester:$5$" in (snapshot / "etc/shadow").read_text()
    assert (snapshot / "etc/shadow").stat().st_mode == pathlib.Path("/etc/shadow").stat().st_mode
    assert "crew:x:4711:" in (snapshot / "etc/group").read_text()
    assert not list((snapshot / "etc").glob("*.diskless-new"))
    units = (tmp_path / "units/diskless-keep.path").read_text()
    assert "PathChanged=/etc/passwd\n" in units and "PathChanged=/etc/gshadow\n" in units


def test_logrotate_rotates_and_keeps_its_state(run: Run, tmp_path: pathlib.Path):
    run(
        "echo old > /var/log/some; "
        "printf '/var/log/some {\\nrotate 2\\nsu root root\\n}\\n' >/tmp/c"
    )
    run("logrotate -f /tmp/c")
    snapshot = tmp_path / "run/diskless/snapshot"
    assert (snapshot / "var/log/some.1").read_text() == "old\n"
    assert "/var/log/some" in (snapshot / "var/lib/logrotate/status").read_text()


def test_a_dhcp_client_writes_resolv_conf(run: Run):
    # A resolver that a distribution makes a link of it is left to itself by the script.
    run(
        "[ ! -L /etc/resolv.conf ] || rm /etc/resolv.conf; "
        "echo nameserver 192.0.2.1 >/etc/resolv.conf"
    )
    run(
        "new_domain_name_servers=192.0.2.53 new_domain_name=lab.example interface=lo "
        "new_ip_address=127.0.9.1 new_subnet_mask=255.255.255.0 reason=BOUND /sbin/dhclient-script"
    )
    assert "nameserver 192.0.2.53" in run("cat /etc/resolv.conf")


def test_a_copy_is_the_images_and_does_not_reach_it(run: Run, tmp_path: pathlib.Path):
    assert run("cat /opt/tool/settings /srv/one") == "the image's\nthe image's"
    assert run("stat -c %a /opt/tool /srv/one") == "2750\n640"
    run("echo mine > /opt/tool/settings.new && mv /opt/tool/settings.new /opt/tool/settings")
    run("echo mine > /srv/one")
    subprocess.run(["umount", tmp_path / "root/opt", tmp_path / "root/srv/one"], check=True)
    assert run("cat /opt/tool/settings /srv/one") == "the image's\nthe image's"


def test_a_file_in_memory_is_empty_and_writable(run: Run):
    assert run("stat -c '%a %s' /srv/two") == "600 0"
    run("echo mine > /srv/two")


def test_without_the_local_disk_it_is_said_and_the_entry_is_in_memory(
    run: Run, tmp_path: pathlib.Path
):
    assert "no disk here has a file system labelled none" in (tmp_path / "kmsg").read_text()
    run("touch /mnt/mine")


def test_the_host_name_is_the_nodes_own(run: Run):
    assert run("cat /etc/hostname") == "node003"


def test_a_local_disk_is_seeded_once_and_keeps_what_is_there(
    tmp_path: pathlib.Path, private_mounts: None
):
    """With the disk mounted, as by its label; the loop devices of a machine are not a test's."""
    root, local = tmp_path / "root", tmp_path / "run/local"
    (root / "scratch/deep").mkdir(parents=True)
    (root / "scratch/deep/seed").write_text("the image's\n")
    local.mkdir(parents=True)
    script = (
        f'dl_run={tmp_path}/run dl_library="{NODE}"; . "$dl_library/diskless.sh"\n'
        "dl_has_disk=yes dl_kind=d dl_path=/scratch\n"
        f'dl_local "{root}" any && echo $1 >"{root}/scratch/mine" && cat "{root}/scratch/deep/seed"'
        f'; umount "{root}/scratch"'
    )
    for what in ("first", "second"):
        said = subprocess.run(
            ["dash", "-c", script, "sh", what], check=True, capture_output=True, text=True
        ).stdout
        assert said == ("the image's\n" if what == "first" else "mine too\n")
        assert (local / "scratch/mine").read_text() == f"{what}\n"
        (local / "scratch/deep/seed").write_text("mine too\n")
    assert not (root / "scratch/mine").exists()
