"""A golden root whose well-known directories and files are links to the server's own: each function
of an image refuses it in words or makes a right version, and the server's files stay untouched."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.any_salt

DIRECTORIES = (
    *("bin", "boot", "dev", "etc", "etc/dracut.conf.d", "etc/initramfs-tools", "etc/modprobe.d"),
    *("etc/network", "etc/salt", "etc/salt/minion.d", "etc/salt/pki", "etc/ssh", "etc/systemd"),
    *("home", "lib", "lib/modules", "lib/modules/6.1.0-9-test", "mnt", "opt", "proc", "root"),
    *(
        "root/.ssh",
        "run",
        "sbin",
        "srv",
        "sys",
        "tmp",
        "usr",
        "usr/bin",
        "usr/lib",
        "usr/lib/dracut",
    ),
    *("usr/lib/dracut/modules.d", "usr/lib/modules", "usr/lib/sysimage/rpm", "usr/sbin"),
    *("usr/share", "usr/share/initramfs-tools", "usr/share/initramfs-tools/hooks"),
    *("usr/share/initramfs-tools/scripts", "var", "var/cache", "var/lib", "var/lib/dbus"),
    *("var/lib/dpkg", "var/lib/rpm", "var/lib/systemd", "var/lock", "var/log", "var/log/journal"),
    *("var/run", "var/spool", "var/tmp"),
)
FILES = (
    *("boot/config-6.1.0-9-test", "boot/initrd.img-6.1.0-9-test-diskless"),
    *("boot/vmlinuz-6.1.0-9-test", "etc/fstab", "etc/hostname", "etc/machine-id", "etc/passwd"),
    *("etc/resolv.conf", "etc/salt/minion", "etc/salt/minion_id", "etc/ssh/ssh_host_rsa_key"),
    *("lib/modules/6.1.0-9-test/modules.builtin", "lib/modules/6.1.0-9-test/modules.dep"),
    *("lib/modules/6.1.0-9-test/vmlinuz", "usr/bin/dpkg-query", "usr/sbin/mkinitramfs"),
    *("usr/share/initramfs-tools/hooks/diskless", "var/lib/dbus/machine-id"),
    *("var/lib/systemd/random-seed", "var/log/messages", "var/lib/rpm/rpmdb.sqlite"),
)


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the body when it takes longer, as when it waits at a pipe."""

    def late(*_: object) -> None:
        raise TimeoutError(f"it takes longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def untouched(directory: pathlib.Path) -> dict[str, tuple]:
    """Return all that is to stay as it is: content, mode, owner, times, inode and its names."""
    found = {}
    for below, names, files in os.walk(directory):
        for name in (".", *names, *files):
            path = pathlib.Path(below, name)
            status = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            facts = (status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_ino)
            found[str(path)] = (*facts, status.st_mtime_ns, status.st_ctime_ns, content)
    return found


@pytest.fixture
def server(tmp_path: pathlib.Path) -> pathlib.Path:
    """The server's own directory, which only root may look into."""
    directory = tmp_path / "server"
    directory.mkdir(mode=0o700)
    (directory / "secret").write_text("the server's")
    return directory


@pytest.fixture
def full(golden: pathlib.Path) -> pathlib.Path:
    """A golden root in which every well-known path is what it should be."""
    for name in DIRECTORIES:
        (golden / name).mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if not (golden / name).exists() and name not in ("usr/bin/dpkg-query",):
            (golden / name).write_text(f"of {name}\n")
    for name in ("var/run", "var/lock", "usr/lib/sysimage/rpm", "usr/lib/dracut"):
        if not any((golden / name).iterdir()):
            (golden / name).rmdir()
    (golden / "boot/initrd.img-6.1.0-9-test-diskless").unlink()
    for name in ("var/lib/rpm/rpmdb.sqlite", "etc/ssh/ssh_host_rsa_key", "etc/salt/minion_id"):
        (golden / name).unlink()
    return golden


def move_out(golden: pathlib.Path, name: str, server: pathlib.Path) -> pathlib.Path:
    """Move a path of the golden root to the server, and return where it is then."""
    target = server / "moved"
    if os.path.lexists(golden / name):
        shutil.move(golden / name, target)
    else:
        (golden / name).parent.mkdir(parents=True, exist_ok=True)
        target.mkdir() if name in DIRECTORIES else target.write_text("the server's\n")
    for directory, _, _ in os.walk(target):
        os.chmod(directory, 0o700)
        pathlib.Path(directory, "mine").write_text("the server's\n")
    return target


def link_out(kind: str, golden: pathlib.Path, name: str, target: pathlib.Path) -> None:
    path = golden / name
    if path.is_symlink():
        path.unlink()
    text = str(target)
    if kind == "relative":
        text = "../" * 40 + text.lstrip("/")
    elif kind == "chained":
        (golden / ".chain").unlink(missing_ok=True)
        (golden / ".chain").symlink_to(target)
        text = "../" * name.count("/") + ".chain"
    elif kind == "dangling":
        text = str(target.parent / "nothing" / "here")
    path.symlink_to(text)


def use(salt_call, pillar: dict) -> None:
    """Call every function of an image."""
    salt = salt_call(pillar)
    assert salt_call(pillar, test=True).state("diskless_image.synced").result in (None, False)
    ret = salt.state("diskless_image.synced")
    assert "Traceback" not in ret.comment
    if ret.result is False:
        assert "diskless:images:tiny" in ret.comment
        return
    for state in ("diskless_snapshot.managed", "diskless_tftp.managed"):
        done = salt.state(state)
        assert done.result is True, done.comment
    salt.modules["diskless_image.kernels"]("tiny")
    salt.modules["diskless_image.show"]("tiny", check=True)
    (pathlib.Path(pillar["images"]["tiny"]["source"]["directory"]) / "etc/new").write_text("new")
    pillar["images"]["tiny"]["live"] = True
    live = salt_call(pillar)
    live.modules["diskless_image.sync"]("tiny", live=True)
    live.modules["diskless_image.freeze"]("tiny")
    # Nothing is left that would be another version without end.
    assert live.state("diskless_image.synced").changes == {}
    names = live.modules["diskless_image.list"]()["tiny"]["versions"]
    live.modules["diskless_image.diff"]("tiny", names[0])
    pillar["profiles"]["compute"]["root"] = "squashfs"
    pillar["profiles"]["compute"]["files"] = []
    packed = salt_call(pillar)
    done = packed.state("diskless_image.synced")
    if done.result:
        packed.modules["diskless_image.prune"]("tiny", keep=1)


@pytest.mark.parametrize("name", [*DIRECTORIES, *FILES])
def test_a_link_to_the_server_is_not_followed(salt_call, pillar, location, full, server, name):
    target = move_out(full, name, server)
    before = untouched(server)
    link_out("absolute", full, name, target)
    use(salt_call, pillar)
    assert untouched(server) == before
    shutil.rmtree(location)
    for kind in ("relative", "chained", "dangling"):
        link_out(kind, full, name, target)
        ret = salt_call(pillar).state("diskless_image.synced")
        assert "Traceback" not in ret.comment
        assert untouched(server) == before, kind


@pytest.mark.parametrize("name", ["etc", "tmp", "var/tmp", "var/log", "boot", "usr/share", "dev"])
def test_an_archive_with_a_link_to_the_server(
    salt_call, pillar, location, full, server, tmp_path, name
):
    target = move_out(full, name, server)
    link_out("absolute", full, name, target)
    before = untouched(server)
    archive = tmp_path / "golden.tar"
    subprocess.run(["tar", "--create", "--file", archive, "-C", full, "."], check=True)
    pillar["images"]["tiny"]["source"] = {"archive": str(archive)}
    ret = salt_call(pillar).state("diskless_image.synced")
    assert "Traceback" not in ret.comment
    salt_call(pillar).state("diskless_snapshot.managed")
    assert untouched(server) == before


@pytest.mark.parametrize("name", ["tmp", "var/tmp", "dev", "proc", "run", "sys"])
def test_a_link_where_nodes_mount_is_replaced_and_named(
    salt_call, pillar, location, full, server, name
):
    target = move_out(full, name, server)
    link_out("absolute", full, name, target)
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    assert f"/{name} is a link to {target} in the golden root" in ret.comment
    made = location / "root" / name
    assert made.is_dir() and not made.is_symlink() and not os.listdir(made)
    assert made.stat().st_mode & 0o7777 == (0o1777 if "tmp" in name else 0o755)
    assert salt_call(pillar).state("diskless_image.synced").changes == {}


@pytest.mark.parametrize(
    ("what", "is_named"),
    [
        *[("nothing", True), ("nowhere", True), ("resolv.conf", True), ("a directory", True)],
        *[("a file", False), ("passwd", False), ("../run/x/resolv.conf", False)],
        *[("/etc/resolvconf/run/resolv.conf", False), ("../../../var/run/x", False)],
    ],
)
def test_a_root_without_resolv_conf_is_named(salt_call, pillar, golden, what, is_named):
    path = golden / "etc/resolv.conf"
    if what == "a directory":
        path.mkdir()
    elif what == "a file":
        path.touch()
    elif what != "nothing":
        path.symlink_to(what)
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    assert ("/etc/resolv.conf is no file" in ret.comment) == is_named


@pytest.mark.parametrize("name", ["var/log", "home", "root", "var/cache", "opt"])
def test_a_link_that_leads_nowhere_is_kept_and_named(
    salt_call, pillar, location, full, server, name
):
    target = move_out(full, name, server)
    link_out("absolute", full, name, target)
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    assert f"/{name} is a link to {target}, which the golden root does not have" in ret.comment
    assert os.readlink(location / "root" / name) == str(target)
    assert salt_call(pillar).state("diskless_image.synced").changes == {}


@pytest.mark.parametrize("name", ["etc", "var", "usr", "lib", "bin", "sbin", "usr/share"])
def test_a_link_where_a_directory_is_needed_is_refused(
    salt_call, pillar, location, full, server, name
):
    target = move_out(full, name, server)
    link_out("absolute", full, name, target)
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert f"/{name}: found a link to {target}" in ret.comment
    assert not (location / "root").exists()


@pytest.mark.parametrize("text", ["usr/{0}", "/usr/{0}"], ids=["relative", "absolute"])
def test_a_merged_usr_goes_on_to_work(salt_call, pillar, location, full, text):
    for name in ("bin", "sbin", "lib"):
        shutil.copytree(full / name, full / "usr" / name, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(full / name)
        (full / name).symlink_to(text.format(name))
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    assert salt_call(pillar).state("diskless_image.synced").changes == {}
    assert list(salt_call(pillar).modules["diskless_image.kernels"]("tiny")) == ["6.1.0-9-test"]


@pytest.mark.parametrize("text", ["srv/boot", "/srv/boot"], ids=["relative", "absolute"])
def test_a_boot_directory_behind_a_link_inside_works(salt_call, pillar, location, full, text):
    (full / "boot").rename(full / "srv/boot")
    (full / "boot").symlink_to(text)
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    assert (location / "root/srv/boot/initrd.img-6.1.0-9-test-diskless").is_file()
    assert salt_call(pillar).state("diskless_tftp.managed").result is True
    assert salt_call(pillar).state("diskless_image.synced").changes == {}


RUNTIME = {"var/run": "/run", "var/lock": "/run/lock", "etc/mtab": "/proc/self/mounts"}


@pytest.mark.parametrize("what", ["a directory", "a file", "a link to /data/run", "a link to run"])
@pytest.mark.parametrize("name", RUNTIME)
def test_what_nodes_have_at_run_time_becomes_a_link(
    salt_call, pillar, location, golden, name, what
):
    """A node with a root that is read-only could write no pid file there."""
    if what == "a directory":
        (golden / name / "daemon").mkdir(parents=True)
        (golden / name / "daemon/pid").write_text("1\n")
    elif what == "a file":
        (golden / name).write_text("of the golden node\n")
    else:
        (golden / name).symlink_to(what.removeprefix("a link to "))
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    assert os.readlink(location / "root" / name) == RUNTIME[name]
    assert f"/{name} is {what} in the golden root; nodes have a link" in ret.comment
    if what == "a directory":
        (golden / name / "daemon/pid").write_text("another\n")
    assert salt_call(pillar).state("diskless_image.synced").changes == {}
    (golden / "etc/new").write_text("new")
    assert salt_call(pillar).state("diskless_image.synced").changes
    assert os.readlink(location / "root" / name) == RUNTIME[name]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("var/run", "/run"), ("var/run", "../run"), ("var/lock", "../run/lock")),
        *(("etc/mtab", "/proc/mounts"), ("etc/mtab", "../proc/self/mounts"), ("var/run", None)),
        *(("etc/mtab", None), ("var/lock", None)),
    ],
)
def test_a_right_link_at_run_time_stays(salt_call, pillar, location, golden, name, text):
    if text is not None:
        (golden / name).symlink_to(text)
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True and "nodes have a link" not in ret.comment
    assert os.readlink(location / "root" / name) == (text or RUNTIME[name])
    assert salt_call(pillar).state("diskless_image.synced").changes == {}


def test_a_link_that_became_a_directory_shares_nothing_of_the_server(
    salt_call, pillar, location, full, server
):
    """rsync looks for a file to share by its path in the version before, which has the link."""
    (full / "data").symlink_to(server)
    before = untouched(server)
    assert salt_call(pillar).state("diskless_image.synced").result is True
    (full / "data").unlink()
    (full / "data").mkdir(mode=0o700)
    shutil.copy2(server / "secret", full / "data/secret")
    (full / "data/secret").write_text("the golden'S")
    status = (server / "secret").stat()
    os.utime(full / "data/secret", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert salt_call(pillar).state("diskless_image.synced").result is True
    assert untouched(server) == before
    assert (location / "root/data/secret").read_text() == "the golden'S"
