"""The sh library that runs on a node, in shells of this machine; real nodes boot it in e2e."""

from __future__ import annotations

import hashlib
import pathlib
import subprocess

import pytest

from salt_diskless import node
from tests.conftest import CHECKOUT

LIBRARY = CHECKOUT / "salt_diskless/node"
LINE = (
    "BOOT_IMAGE=x root=/dev/nfs boot=diskless NFSROOT=10.8.226.72:/diskless/x86_64/c "
    "SNAPSHOT=node003 ETHERNET=eth0 NISDOMAIN=my_nis DISKLESS_VERSION=20261124T155012 "
    "DISKLESS_NFS=4.2 BOOTIF=01-00-21-5e-40-64-5c"
)

#: What the file that a test's node fetches is, and what its kernel line says of it.
FILE = b"hsqs" * 1000
RAM = (
    f"DISKLESS_ROOT=ram DISKLESS_OVERLAY=64M DISKLESS_FILE=linux-install/c/v/root.squashfs "
    f"DISKLESS_BYTES={len(FILE)} DISKLESS_SHA256={hashlib.sha256(FILE).hexdigest()}"
)


class Shell:
    """Runs lines of sh with the library, and with stubs of the programs that need a node."""

    def __init__(self, place: pathlib.Path, shell: list[str]):
        self.place = place
        self.shell = shell
        self.stubs: dict[str, str] = {}
        for name in ("proc/self", "run/snapshot/.diskless", "root/tmp", "root/var/tmp", "units"):
            (place / name).mkdir(parents=True)
        (place / "proc/self/mountinfo").touch()
        (place / "proc/meminfo").write_text(
            "MemTotal: 500000 kB\nMemAvailable: 300000 kB\nFree: 1\n"
        )
        self.stub("mount", 'echo "mount $*" >> "$PLACE/calls"')
        self.stub("dl_watch", ":")
        self.stub("modprobe", ":")
        self.stub("umount", 'echo "umount $*" >> "$PLACE/calls"')
        self.stub("sleep", 'echo "sleep $*" >> "$PLACE/calls"')
        self.cmdline(LINE)

    def stub(self, name: str, line: str) -> None:
        """Put a function in a program's place (busybox has the programs built in)."""
        self.stubs[name] = f"{name}() {{\n{line}\n}}\n"

    def cmdline(self, text: str) -> None:
        (self.place / "cmdline").write_text(text + "\n")

    def __call__(self, script: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "PATH": "/usr/bin:/bin",
            "PLACE": str(self.place),
            "dl_library": str(LIBRARY),
            "dl_cmdline": f"{self.place}/cmdline",
            "dl_kmsg": f"{self.place}/kmsg",
            "dl_proc_kernel": f"{self.place}/proc",
            "dl_run": f"{self.place}/run",
            "dl_proc": f"{self.place}/proc",
            "dl_units": f"{self.place}/units",
            "dl_top": f"{self.place}/run/top",
            "dl_udev": f"{self.place}/run/udev",
            "dl_bdi": f"{self.place}/bdi",
            "dl_screen": f"{self.place}/screen",
        }
        (self.place / "kmsg").touch()
        begin = f'. "$dl_library/diskless.sh"\n{"".join(self.stubs.values())}'
        return subprocess.run(
            [*self.shell, "-euc", begin + script],
            env=settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def said(self, name: str) -> list[str]:
        path = self.place / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(params=[["dash"], ["busybox", "sh"]], ids=["dash", "busybox"])
def shell(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Shell:
    return Shell(tmp_path, request.param)


def test_the_kernel_line_is_read(shell):
    done = shell('dl_parse; echo "$dl_server $dl_location $dl_node $dl_interface $dl_mac $dl_nfs"')
    assert done.stdout.split() == [
        *("10.8.226.72", "/diskless/x86_64/c", "node003", "eth0", "00:21:5e:40:64:5c", "4.2"),
    ]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("NFSROOT=10.8.226.72:/a,rw", "NFSROOT="),
        ("NFSROOT=$(reboot):/a", "NFSROOT="),
        ("SNAPSHOT=../node004", "SNAPSHOT="),
        ("SNAPSHOT=", "SNAPSHOT="),
        ("DISKLESS_VERSION=*", "DISKLESS_VERSION="),
        ("DISKLESS_NFS=2", "none of: 3 4.2"),
        ("DISKLESS_LOG=x,y", "DISKLESS_LOG="),
        ("diskless.timeout=1,2", "diskless.timeout=1,2 is not"),
        ("DISKLESS_ROOT=rw", "none of: readonly overlay squashfs ram"),
        ("DISKLESS_OVERLAY=1,exec", "DISKLESS_OVERLAY="),
        ("DISKLESS_JOURNAL=disk", "none of: memory snapshot"),
        ("DISKLESS_ROOT=ram", "DISKLESS_FILE="),
        (f"{RAM} DISKLESS_FILE=a;b", "DISKLESS_FILE="),
        (f"{RAM} DISKLESS_BYTES=1k", "DISKLESS_BYTES="),
        (f"{RAM} DISKLESS_SHA256=$x", "DISKLESS_SHA256="),
    ],
)
def test_a_word_that_salt_diskless_does_not_write_is_refused(shell, word, says):
    shell.cmdline(f"{LINE} {word}")
    assert shell("dl_parse").returncode != 0
    assert says in " ".join(shell.said("kmsg"))


def test_a_failure_is_said_and_tried_again_after_a_pause_that_grows_to_a_minute(shell):
    shell.stub(
        "mount", 'n=$(cat "$PLACE/n" 2>/dev/null || echo 0); echo $((n + 1)) > "$PLACE/n"\n'
        '[ "$n" -ge 9 ] || { printf "mount: access\n  denied"; return 32; }',
    )  # fmt: skip
    shell("dl_parse; dl_retry 'root 10.8.226.72:/x (NFS 3)' mount")
    pauses = [line.split()[1] for line in shell.said("calls")]
    assert pauses == ["1", "2", "4", "8", "16", "32", "60", "60", "60"]
    why, advice = shell.said("kmsg")[-2:]
    assert why == "<3>diskless: root 10.8.226.72:/x (NFS 3): mount: access denied; again in 60 s"
    assert "10.8.226.72 does not export that to this node; there: salt-call" in advice


def test_while_a_server_does_not_answer_at_all_that_is_said_and_it_ends_with_the_mount(shell):
    del shell.stubs["dl_watch"]
    shell.stub("mount", 'until [ "$(wc -l <"$PLACE/kmsg")" -ge 2 ]; do :; done; return 32')
    shell.stub("sleep", '[ "$1" = 15 ] || exec /usr/bin/sleep 61')
    done = shell("dl_client=10.8.226.73; dl_parse; dl_nfs_mount 10.8.226.72:/x /y ro || echo $?")
    assert done.stdout == "32\n"
    first, advice = shell.said("kmsg")[:2]
    assert first == "<3>diskless: 10.8.226.72:/x: no answer so far"
    assert "10.8.226.72 cannot be reached: is it on" in advice


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        ("mount: mounting x on y failed: Connection refused", "has no NFS server running"),
        ("mount: mounting x on y failed: No such file or directory", "no such directory"),
        ("mount: mounting x on y failed: Connection timed out", "cannot be reached"),
        ("mount: mounting x on y failed: No route to host", "cannot be reached"),
        ("mount: mounting x on y failed: No such device", "NFS 4.2 is not what this kernel"),
        ("mount: Cannot allocate memory", "too little memory: MemTotal 480 kB MemAvailable 9 kB"),
    ],
)
def test_a_reason_comes_with_what_to_do(shell, why, advice):
    (shell.place / "proc/meminfo").write_text(
        "MemTotal:     480 kB\nMemFree:  2 kB\nMemAvailable:   9 kB\n"
    )
    assert advice in shell(f'dl_parse; dl_advise "{why}"').stdout


@pytest.mark.parametrize(
    ("then", "done"), [("reboot", "b"), ("halt", "o"), ("shell", "")], ids=lambda value: value
)
def test_after_its_timeout_a_node_does_what_the_pillar_says_and_not_before(shell, then, done):
    shell.cmdline(f"{LINE} diskless.timeout=600,{then}")
    (shell.place / "proc/uptime").write_text("599.99 1.0\n")
    shell("dl_parse; dl_pause=1; dl_failed root why")
    assert not (shell.place / "proc/sysrq-trigger").exists()
    (shell.place / "proc/uptime").write_text("600.00 1.0\n")
    shell.stub("sh", 'echo "a shell" >> "$PLACE/calls"')
    shell("dl_parse; dl_pause=1; dl_failed root why")
    assert ("a shell" in shell.said("calls")) is (then == "shell")
    assert "".join(shell.said("proc/sysrq-trigger")) == done
    assert "no root after 600 s" in " ".join(shell.said("kmsg"))


def test_the_screen_gets_what_is_said_where_the_kernel_has_no_console_on_it(shell):
    (shell.place / "screen").touch()
    (shell.place / "proc/consoles").write_text("ttyS0                -W- (EC p a)    4:64\n")
    shell("dl_say one")
    (shell.place / "proc/consoles").write_text("tty0                 -WU (EC p  )    4:1\n")
    shell("dl_say two")
    assert shell.said("screen") == ["diskless: one"]


def test_what_was_said_last_is_in_the_snapshot_when_it_is_there(shell):
    shell("dl_say early")
    assert not (shell.place / "run/snapshot/.diskless/stage").exists()
    shell("dl_has_snapshot=yes; dl_say 'root: denied'")
    assert shell.said("run/snapshot/.diskless/stage") == ["root: denied"]


def test_a_file_of_a_root_is_read_in_larger_pieces(shell):
    (shell.place / "proc/self/mountinfo").write_text(
        "1 0 0:1 / / rw - x y rw\n23 1 0:17 / /run/layers/file rw - nfs4 a:/b rw\n"
    )
    (shell.place / "bdi/0:17").mkdir(parents=True)
    assert shell("dl_read_ahead /run/layers/file 1024").returncode == 0
    assert shell.said("bdi/0:17/read_ahead_kb") == ["1024"]


def test_the_kernels_log_goes_where_the_pillar_says(shell):
    shell.stub("modprobe", 'echo "modprobe $*" >> "$PLACE/calls"')
    shell("dl_client=10.8.226.73; dl_parse; dl_log eth0")
    assert shell.said("calls") == []
    shell.cmdline(f"{LINE} DISKLESS_LOG=10.8.226.2")
    shell("dl_client=10.8.226.73; dl_parse; dl_log eth0")
    assert shell.said("calls") == [
        "modprobe netconsole netconsole=@10.8.226.73/eth0,514@10.8.226.2/",
    ]


@pytest.mark.parametrize(
    ("version", "options"),
    [
        ("4.2", "nfs4 -o vers=4.2,addr=10.8.226.72,clientaddr=10.8.226.73,proto=tcp,"),
        ("3", "nfs -o vers=3,addr=10.8.226.72,nolock,proto=tcp,mountproto=tcp,"),
    ],
)
def test_root_and_snapshot_are_mounted_once_and_entries_are_bound(shell, version, options):
    shell.cmdline(LINE.replace("DISKLESS_NFS=4.2", f"DISKLESS_NFS={version}"))
    shell.stub("modprobe", 'echo "modprobe $*" >> "$PLACE/calls"')
    for path in ("var/log", "etc", "var/cache"):
        (shell.place / "root" / path).mkdir(parents=True, exist_ok=True)
    (shell.place / "root/etc/hostname").touch()
    (shell.place / "root/var/link").symlink_to("/etc")
    (shell.place / "run/snapshot/.diskless/entries").write_text(
        "d persistent 755 0 0 /var/log\nf persistent 644 0 0 /etc/hostname\n"
        "d tmpfs 1777 1 2 /var/cache\nd persistent 755 0 0 /not/there\n"
        "d persistent 755 0 0 /var/link\n"
    )
    done = shell(f'dl_client=10.8.226.73; dl_parse; dl_boot "{shell.place}/root"')
    assert done.returncode == 0, done.stderr
    base, root, run = "10.8.226.72:/diskless/x86_64/c", f"{shell.place}/root", f"{shell.place}/run"
    assert shell.said("calls") == [
        f"modprobe -q nfsv{version[0]}",
        f"mount -t {options}rw,nocto,noacl,actimeo=60 {base}/snapshot/node003 {run}/snapshot",
        f"mount -t {options}ro,nocto,actimeo=3600 {base}/versions/20261124T155012 {root}",
        f"mount -o bind {run}/snapshot/var/log {root}/var/log",
        f"mount -o bind {run}/snapshot/etc/hostname {root}/etc/hostname",
        f"mount -t tmpfs -o nosuid,nodev,mode=1777,uid=1,gid=2 tmpfs {root}/var/cache",
        f"mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs {root}/tmp",
        f"mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs {root}/var/tmp",
    ]
    assert (shell.place / "proc/hostname").read_text() == "node003\n"
    assert (shell.place / "proc/domainname").read_text() == "my_nis\n"
    assert (shell.place / "run/snapshot/.diskless/booted").read_text() == "20261124T155012\n"
    said = "\n".join(shell.said("kmsg"))
    assert "entry /not/there" in said and "entry /var/link" in said


def test_what_is_the_nodes_own_is_bound_over_its_empty_place(shell):
    own = shell.place / "run/snapshot/.diskless/identity"
    own.mkdir()
    for name in ("machine-id", "ssh_host_rsa_key", "random-seed"):
        (own / name).touch()
    (shell.place / "root/etc").mkdir()
    (shell.place / "root/etc/machine-id").touch()
    (shell.place / "run/snapshot/.diskless/entries").write_text(
        "f identity 644 0 0 /etc/machine-id\nf identity 600 0 0 /etc/ssh/ssh_host_rsa_key\n"
        "d identity 700 0 0 /etc/salt/pki\n"
    )
    done = shell(f'dl_parse; dl_entries "{shell.place}/root"')
    assert done.returncode == 0, done.stderr
    assert shell.said("calls") == [
        f"mount -o bind {own}/{path.rsplit('/')[-1]} {shell.place}/root{path}"
        for path in ("/etc/machine-id", "/etc/ssh/ssh_host_rsa_key")
    ]
    # As in an entry that the node has had for long, where nothing was there to be bound over.
    assert (shell.place / "root/etc/ssh/ssh_host_rsa_key").stat().st_size == 0


def test_what_is_the_nodes_own_is_copied_where_it_can_be_written_and_the_random_seed_never(shell):
    own = shell.place / "run/snapshot/.diskless/identity"
    own.mkdir()
    for name in ("machine-id", "99-diskless-id.conf", "random-seed"):
        (own / name).write_text(name)
    for path in ("etc/salt/minion.d", "var/lib/systemd"):
        (shell.place / "root" / path).mkdir(parents=True)
    (shell.place / "run/snapshot/.diskless/entries").write_text(
        "d overlay 755 0 0 /etc\nd persistent 755 0 0 /etc/salt\n"
        "f identity 644 0 0 /etc/machine-id\nf identity 600 0 0 /var/lib/systemd/random-seed\n"
        "f identity 644 0 0 /etc/salt/minion.d/99-diskless-id.conf\n"
    )
    for line in (LINE, f"{LINE} DISKLESS_ROOT=overlay"):
        shell.cmdline(line)
        (shell.place / "calls").unlink(missing_ok=True)
        done = shell(f'dl_parse; dl_entries "{shell.place}/root"')
        assert done.returncode == 0, done.stderr
        root = shell.place / "root"
        assert (root / "etc/machine-id").read_text() == "machine-id"
        binds = [call for call in shell.said("calls") if call.startswith("mount -o bind")]
        assert [call.rsplit(str(root))[-1] for call in binds] == [
            *("/etc/salt", "/var/lib/systemd/random-seed"),
            "/etc/salt/minion.d/99-diskless-id.conf",
        ]


def test_a_file_that_is_kept_can_be_replaced_wherever_its_directory_can_be_written(shell):
    (shell.place / "root/var/lib").mkdir(parents=True)
    (shell.place / "root/var/lib/state").touch()
    (shell.place / "run/snapshot/var/lib").mkdir(parents=True)
    (shell.place / "run/snapshot/var/lib/state").write_text("kept")
    (shell.place / "run/snapshot/.diskless/entries").write_text(
        "f persistent 644 0 0 /var/lib/state\n"
    )
    shell.cmdline(f"{LINE} DISKLESS_ROOT=squashfs")
    done = shell(f'dl_parse; dl_entries "{shell.place}/root"')
    assert done.returncode == 0, done.stderr
    assert shell.said("calls") == []
    assert (shell.place / "root/var/lib/state").read_text() == "kept"
    assert "PathChanged=/var/lib/state" in shell.said("units/diskless-keep.path")


@pytest.mark.parametrize(
    ("word", "path", "stays"),
    [
        ("", "/var/log", "memory"),
        ("", "/var/log/journal", "memory"),
        ("", "/var/spool", "disk"),
        ("DISKLESS_JOURNAL=snapshot", "/var/log", "disk"),
    ],
)
def test_the_journal_stays_in_memory_unless_the_pillar_says_otherwise(shell, word, path, stays):
    shell.cmdline(f"{LINE} {word}")
    (shell.place / f"root{path}").mkdir(parents=True)
    (shell.place / "run/snapshot/.diskless/entries").write_text(f"d persistent 755 0 0 {path}\n")
    done = shell(f'dl_parse; dl_entries "{shell.place}/root"')
    assert done.returncode == 0, done.stderr
    made = sorted(
        str(file.relative_to(shell.place / "units"))
        for file in (shell.place / "units").rglob("*")
        if not file.is_dir()
    )
    assert made == (
        [
            *("diskless-journal.service", "diskless-journal.timer"),
            "systemd-journal-flush.service.d/diskless.conf",
            "timers.target.wants/diskless-journal.timer",
        ]
        if stays == "memory"
        else []
    )


def test_what_is_changed_in_place_is_looked_at_often(shell):
    shell.cmdline(f"{LINE} DISKLESS_LIVE=yes")
    (shell.place / "run/snapshot/.diskless/entries").touch()
    # When the root is mounted, the server knows that this node may have files of it open.
    shell.stub("mount", 'echo "$(cat "$dl_run/snapshot/.diskless/booted") $*" >> "$PLACE/calls"')
    shell(f'dl_client=10.8.226.73; dl_parse; dl_boot "{shell.place}/root"')
    (of_root,) = (line for line in shell.said("calls") if "/versions/" in line)
    assert of_root.startswith("20261124T155012 -t nfs4 ")
    assert "ro,actimeo=3 " in of_root


@pytest.fixture
def layered(shell: Shell) -> Shell:
    """A shell whose losetup has a device."""
    shell.stub("udevadm", ":")
    shell.stub("losetup", 'echo "losetup $*" >> "$PLACE/calls"; echo /dev/loop7')
    (shell.place / "run/snapshot/.diskless/entries").touch()
    return shell


def booted(shell: Shell) -> list[str]:
    """Return what a node mounts on its way to its root."""
    done = shell(f'dl_client=10.8.226.73; dl_parse; dl_boot "{shell.place}/root"')
    assert done.returncode == 0, done.stderr
    return [line.replace(str(shell.place), "") for line in shell.said("calls")]


NFS = "mount -t nfs4 -o vers=4.2,addr=10.8.226.72,clientaddr=10.8.226.73,proto=tcp,"
MINE = "10.8.226.72:/diskless/x86_64/c/snapshot/node003"
SNAPSHOT = f"{NFS}rw,nocto,noacl,actimeo=60 {MINE} /run/snapshot"
VERSION = f"{NFS}ro,nocto,actimeo=3600 10.8.226.72:/diskless/x86_64/c/versions/20261124T155012"
FILE_LOOPED = [
    "losetup -f",
    "losetup -r /dev/loop7 /run/layers/file/root.squashfs",
    "mount -t squashfs -o ro /dev/loop7 /run/layers/version",
]
ABOVE = [
    "mount -t tmpfs -o mode=755,size=64M tmpfs /run/layers/memory",
    "mount -t overlay -o lowerdir=/run/layers/version,upperdir=/run/layers/memory/upper,"
    "workdir=/run/layers/memory/work,index=off,metacopy=off,redirect_dir=off,xino=off "
    "overlay /root",
    "mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /root/tmp",
    "mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /root/var/tmp",
]


@pytest.mark.parametrize(
    ("words", "below"),
    [
        ("overlay", [SNAPSHOT, f"{VERSION} /run/layers/version"]),
        ("squashfs", [SNAPSHOT, f"{VERSION}.squashfs /run/layers/file", *FILE_LOOPED]),
    ],
)
def test_above_the_version_is_a_tmpfs_of_the_size_that_the_pillar_says(layered, words, below):
    layered.cmdline(f"{LINE} DISKLESS_ROOT={words} DISKLESS_OVERLAY=64M")
    assert booted(layered) == [*below, *ABOVE]
    # Who is not root on the node does not get at what is below, past the root's own modes.
    assert (layered.place / "run/layers").stat().st_mode & 0o777 == 0o700
    assert (layered.place / "run/layers/memory/upper").stat().st_mode & 0o777 == 0o755


@pytest.fixture
def served(layered: Shell) -> Shell:
    """A shell whose busybox fetches from the directory ``tftp``, and says what it was asked for."""
    (layered.place / "tftp").write_bytes(FILE)
    layered.stub(
        "busybox",
        'case "$*" in *--help) return 0 ;; esac\n'
        'echo "busybox $*" >> "$PLACE/calls"; cat "$PLACE/tftp" > "$8"',
    )
    return layered


FETCHED = "busybox tftp -g -b 8192 -r linux-install/c/v/root.squashfs -l"


@pytest.mark.parametrize(
    ("word", "last"), [("", []), ("DISKLESS_SNAPSHOT=no", ["umount /run/snapshot"])]
)
def test_a_root_in_memory_mounts_by_nfs_only_the_snapshot_and_keeps_it_only_for_entries(
    served, word, last
):
    served.cmdline(f"{LINE} {RAM} {word}")
    memory = "mount -t tmpfs -o mode=700,size=67k tmpfs /run/layers/file"
    fetched = f"{FETCHED} /run/layers/file/root.squashfs 10.8.226.72"
    assert booted(served) == [SNAPSHOT, memory, fetched, *FILE_LOOPED, *ABOVE, *last]
    assert (served.place / "run/layers/file/root.squashfs").read_bytes() == FILE
    assert served.said("kmsg") == []


def test_a_root_in_memory_without_a_snapshot_has_a_copy_of_what_is_its_own(served):
    served.cmdline(f"{LINE} {RAM} DISKLESS_SNAPSHOT=no")
    own = served.place / "run/snapshot/.diskless"
    (own / "identity/pki").mkdir(parents=True)
    (own / "identity/pki/minion.pem").write_text("key")
    (own / "identity/machine-id").write_text("id")
    (own / "entries").write_text(
        "f identity 644 0 0 /etc/machine-id\nd identity 700 0 0 /etc/salt/pki\n"
    )
    assert not [line for line in booted(served) if "bind" in line]
    assert (served.place / "root/etc/machine-id").read_text() == "id"
    assert (served.place / "root/etc/salt/pki/minion.pem").read_text() == "key"


def test_a_file_that_is_not_the_one_of_the_kernel_line_is_fetched_again(served):
    served.cmdline(f"{LINE} {RAM} DISKLESS_SNAPSHOT=no")
    (served.place / "good").write_bytes(FILE)
    (served.place / "tftp").write_bytes(FILE[:-1])
    served.stub("sleep", 'cp "$PLACE/good" "$PLACE/tftp"; echo "sleep $1" >> "$PLACE/calls"')
    calls = booted(served)
    assert [line for line in calls if line.startswith(("busybox", "sleep"))] == [
        *(f"{FETCHED} /run/layers/file/root.squashfs 10.8.226.72", "sleep 1"),
        f"{FETCHED} /run/layers/file/root.squashfs 10.8.226.72",
    ]
    (said,) = served.said("kmsg")
    cut = hashlib.sha256(FILE[:-1]).hexdigest()
    assert f"linux-install/c/v/root.squashfs (TFTP): its SHA-256 is {cut} and not" in said
    assert (served.place / "run/layers/file/root.squashfs").read_bytes() == FILE


def test_a_transfer_that_breaks_is_said_and_made_again(served):
    served.cmdline(f"{LINE} {RAM} DISKLESS_SNAPSHOT=no")
    served.stub(
        "busybox",
        'case "$*" in *--help) return 0 ;; esac\n'
        'if [ -e "$PLACE/again" ]; then cat "$PLACE/tftp" > "$8"; return 0; fi\n'
        'touch "$PLACE/again"; head -c 100 "$PLACE/tftp" > "$8"; echo "tftp: timeout"; return 1',
    )
    booted(served)
    said, advice = served.said("kmsg")
    assert said.endswith("root.squashfs (TFTP): tftp: timeout; again in 1 s")
    assert "10.8.226.72 gives no file by TFTP (port 69)" in advice


def test_too_little_memory_is_said_in_figures_and_nothing_is_fetched(served):
    served.cmdline(f"{LINE} {RAM} DISKLESS_SNAPSHOT=no DISKLESS_BYTES=209715200")
    # The node waits: here, until somebody has put memory into it.
    more = 'echo "MemAvailable: 300000 kB" > "$PLACE/proc/meminfo"'
    served.stub("sleep", f'cp "$PLACE/calls" "$PLACE/before" 2>/dev/null || :; {more}')
    (served.place / "proc/meminfo").write_text("MemTotal: 250000 kB\nMemAvailable: 200000 kB\n")
    booted(served)
    assert not [line for line in served.said("before") if "busybox" in line]
    (said,) = served.said("kmsg")
    assert said.endswith(
        "(TFTP): it takes 204800 kB of memory and 65536 kB beside it, and 200000 kB are free: give "
        "this node more, or root: squashfs; again in 1 s"
    )


@pytest.mark.parametrize("free", [65535, 65536])
def test_with_too_little_memory_for_what_follows_a_node_says_so_and_goes_on(shell, free):
    (shell.place / "proc/meminfo").write_text(f"MemTotal: 98000 kB\nMemAvailable: {free} kB\n")
    (shell.place / "run/snapshot/.diskless/entries").touch()
    booted(shell)
    said = " ".join(shell.said("kmsg"))
    assert ("65535 kB are free for init and its services" in said) is (free == 65535)
    stage = shell.said("run/snapshot/.diskless/stage")
    assert stage == ["version 20261124T155012 handed over to its init"]


STRANGER = (
    "boot=diskless DISKLESS_UNKNOWN=node002 ip=10.8.226.201:10.8.226.72:10.8.226.1:255.255.255.0 "
    "BOOTIF=01-00-21-5e-40-64-5c"
)
ASKS = "linux-install/registry/01-00-21-5e-40-64-5c"


@pytest.fixture
def stranger(shell: Shell) -> Shell:
    """A machine that is no node, and that its maker has written something into; what it is answered
    is one line of a file after the other."""
    (shell.place / "dmi").mkdir()
    (shell.place / "dmi/product_serial").write_text("SN 1\u00e4\n")
    (shell.place / "dmi/chassis_asset_tag").write_text("x" * 200 + "\n")
    shell.cmdline(STRANGER)
    shell.stub(
        "dl_fetch",
        'echo "fetch $1" >> "$PLACE/calls"\ncase $1 in */announced/*) return 1 ;; esac\n'
        'read -r line <"$PLACE/answers" || exit 7\nsed -i 1d "$PLACE/answers"\n'
        '[ "$line" = none ] || printf "# Written\\n%s\\n" "$line" >"$2"',
    )
    return shell


def waits(stranger: Shell, *answers: str) -> list[str]:
    """Have it wait and be answered; return what it did: 7 when it asks once more."""
    (stranger.place / "answers").write_text("".join(f"{line}\n" for line in answers))
    done = stranger(f"dl_sys_dmi={stranger.place}/dmi; dl_parse; dl_stranger")
    return [*stranger.said("calls"), f"ended with {done.returncode}"]


def test_a_stranger_says_who_it_is_and_what_to_do_and_asks_until_it_is_registered(stranger):
    who = f"{b'SN 1'.hex()}/{b'x'.hex() * 64}/-"
    assert waits(stranger, "none", "none", "registered") == [
        f"fetch linux-install/announced/01-00-21-5e-40-64-5c/{who}",
        *(f"fetch {ASKS}", "sleep 5") * 2,
        f"fetch {ASKS}",
        "sleep 2",
        "ended with 0",
    ]
    said = "\n".join(stranger.said("kmsg"))
    assert "not registered: it is not one of the diskless nodes of node002" in said
    assert "its MAC is 00:21:5e:40:64:5c, its serial number SN 1, its asset tag xxx" in said
    assert "run on node002: salt-call state.apply diskless" in said
    assert "it waits, and asks 10.8.226.72" in said
    assert stranger.said("kmsg")[-1].endswith("this machine is registered: restarting")


def test_a_rejected_machine_says_so_once_asks_more_rarely_and_waits_when_that_is_forgotten(
    stranger,
):
    calls = waits(stranger, "rejected", "rejected", "none", "registered")
    assert [call for call in calls if call.startswith("sleep")] == [
        *("sleep 55", "sleep 5") * 2,
        "sleep 5",
        "sleep 2",
    ]
    said = [line for line in stranger.said("kmsg") if "reject" in line]
    assert [line.split("diskless: ")[1] for line in said] == [
        "this machine was rejected by node002",
        "this machine is not rejected any more; it waits",
    ]


def test_who_waits_says_who_it_is_each_minute(stranger):
    calls = waits(stranger, *["none"] * 13)
    assert sum("/announced/" in call for call in calls) == 2
    assert sum(ASKS in call for call in calls) == 14


@pytest.mark.parametrize("answer", ["Registered", "registered; x", "", "yes"])
def test_what_is_no_answer_changes_nothing(stranger, answer):
    assert waits(stranger, answer)[-1] == "ended with 7"


@pytest.mark.parametrize(
    "line", [STRANGER.replace("ip=", "pi="), STRANGER.replace(":10.8.226.72:", ":a;b:")]
)
def test_a_stranger_that_cannot_ask_restarts(stranger, line):
    stranger.cmdline(line)
    assert waits(stranger, "registered") == ["sleep 60", "ended with 0"]
    assert "restarting in 60 s" in stranger.said("kmsg")[-1]


@pytest.mark.parametrize("tool", ["dracut", "initramfs-tools"])
def test_the_digest_tells_one_release_of_the_scripts_from_another(monkeypatch, tool):
    before, files = node.digest(), node.files
    changed = tuple(node.File(f.path, f.content + b"\n", f.mode) for f in files(tool))
    monkeypatch.setattr(node, "files", lambda of: changed if of == tool else files(of))
    assert node.digest() != before
