"""The root file systems of the lab: the golden node's, the boot server's before anything is
installed on it, and that of a golden machine which is a minion; and one more kernel. All are
Debian, made with mmdebstrap."""

from __future__ import annotations

import configparser
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Sequence

from tests.lab import cache

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = pathlib.Path(__file__).resolve().parent
SUITE = "bookworm"

_GOLDEN_PACKAGES = (
    "linux-image-cloud-amd64,systemd-sysv,udev,initramfs-tools,iproute2,nfs-common,kmod,zstd,"
    "busybox,procps,dracut-network,logrotate"
)
_SERVER_PACKAGES = (
    "systemd-sysv,udev,dbus,iproute2,python3,python3-venv,procps,kmod,ca-certificates,"
    "nfs-ganesha,nfs-ganesha-vfs,rpcbind,gcc,libc6-dev,python3-dev"
)
#: What the project's states install on the server, from a repository on its own disk.
_SERVER_REPOSITORY = """
isc-dhcp-server tftpd-hpa pxelinux syslinux-common nfs-kernel-server rsync openssh-client tcpdump
firewalld netbase squashfs-tools
""".split()

#: What a golden machine has beside that: Salt needs it.
_MACHINE_PACKAGES = ["python3", "dbus"]
#: What the project's states install on it, and what a test has them install.
_MACHINE_REPOSITORY = ["openssh-server", "rsync", "hello", "tree"]

#: Units that a lab node can do without: each costs seconds where the processor is emulated.
_GOLDEN_MASKED = """
systemd-remount-fs.service nfs-client.target rpcbind.service rpcbind.socket e2scrub_reap.service
apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer
rpc-statd.service run-rpc_pipefs.mount rpc-gssd.service auth-rpcgss-module.service
nfs-blkmap.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount getty-static.service
dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount
sys-kernel-config.mount kmod-static-nodes.service modprobe@fuse.service modprobe@configfs.service
modprobe@dm_mod.service modprobe@efi_pstore.service modprobe@loop.service modprobe@drm.service
systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-random-seed.service
getty@tty1.service systemd-modules-load.service systemd-pstore.service
systemd-journal-catalog-update.service systemd-update-done.service
systemd-machine-id-commit.service systemd-firstboot.service systemd-sysusers.service
systemd-hwdb-update.service sys-fs-fuse-connections.mount systemd-boot-system-token.service
systemd-repart.service systemd-udevd.service systemd-udev-trigger.service
systemd-udevd-control.socket systemd-udevd-kernel.socket serial-getty@ttyS0.service
""".split()

#: Units that the stand-in for the kernel's NFS server takes the place of.
_SHIM_MASKED = """
run-rpc_pipefs.mount nfs-blkmap.service nfs-idmapd.service nfsdcld.service
proc-fs-nfsd.mount fsidd.service rpc-statd.service rpc-statd-notify.service nfs-ganesha.service
nfs-ganesha-lock.service nfs-ganesha-config.service
""".split()

_SHIM_UNITS = ("nfs-server.service", "nfs-mountd.service", "nfs-shim.path", "nfs-shim.service")

_AGENT = """#!/bin/sh
# Runs what the lab sends down the second serial port, and answers with its exit code and output.
stty -F /dev/ttyS1 raw -echo
exec </dev/ttyS1 >/dev/ttyS1 2>/dev/null
echo LAB-READY
while read -r number command; do
    output=$(echo "$command" | base64 -d | sh 2>&1)
    printf 'LAB %s %s %s\\n' "$number" "$?" "$(printf '%s' "$output" | base64 -w0)"
done
"""
#: ``sh -c`` of this with a root, what is bound into it, ``--``, and the command to run in it.
_ENTER = """
root=$1; shift
mount -t proc proc "$root/proc"
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then
        mkdir -p "$root$1"
    else
        mkdir -p "$(dirname "$root$1")"; [ -e "$root$1" ] || : >"$root$1"
    fi
    mount --bind "$1" "$root$1"
    shift
done
shift
exec chroot "$root" "$@"
"""
#: Where pip reads its settings: pip's own documentation, "Configuration".
_PIP_FILES = [pathlib.Path("/etc/pip.conf"), pathlib.Path("~/.config/pip/pip.conf").expanduser()]

_AGENT_UNIT = """[Unit]
Description=Lab agent on the second serial port
[Service]
ExecStart=/usr/local/sbin/lab-agent
[Install]
WantedBy=multi-user.target
"""


def golden() -> pathlib.Path:
    """Return the golden node's root."""
    return cache.made("golden", _inputs(), _make_golden) / "root"


def server() -> pathlib.Path:
    """Return the boot server's root: Debian and Salt, none of the daemons installed."""
    inputs = [*_inputs(), salt_version(), *requirements(), *bmc(), f"nfsd: {has_nfsd()}"]
    return cache.made("server", inputs, _make_server) / "root"


def machine() -> pathlib.Path:
    """Return the root of a golden machine: the golden node's, and what a minion needs to run."""
    return cache.made("machine", _inputs(), _make_machine) / "root"


#: Packages that write resolv.conf, and units that they need and the lab's nodes do without.
_RESOLVERS = {
    "systemd-resolved": (["systemd-resolved", "dbus"], []),
    "network-manager": (
        ["network-manager", "dbus"],
        ["systemd-udevd.service", "systemd-udev-trigger.service", "systemd-udevd-control.socket"]
        + ["systemd-udevd-kernel.socket"],
    ),
}


def resolver(package: str) -> pathlib.Path:
    """Return the golden node's root with a service that writes resolv.conf."""

    def make(place: pathlib.Path) -> None:
        root = place / "root"
        packages, unmasked = _RESOLVERS[package]
        _run(["cp", "-a", golden(), root])
        in_chroot(root, ["apt-get", "update", "-q"])
        in_chroot(root, ["apt-get", "install", "-yq", "--no-install-recommends", *packages])
        for unit in unmasked:
            (root / "etc/systemd/system" / unit).unlink(missing_ok=True)
        for initrd in (root / "boot").glob("initrd.img-*"):
            initrd.unlink()
        _drop_apt_lists(root)

    return cache.made(f"resolver-{package}", _inputs(), make) / "root"


def kernel() -> pathlib.Path:
    """Return a tree that has nothing but a kernel with its modules: another one than the golden
    node's, of the same series."""
    return cache.made("kernel", _inputs(), _make_kernel) / "root"


def salt_version() -> str:
    """Return the requirement that the boot server's Salt meets."""
    return f"salt=={os.environ.get('SALT_VERSION', '3008.*')}"


def requirements() -> list[str]:
    """Return the run-time dependencies that the package names, but Salt."""
    lines = _setup()["options"]["install_requires"].split()
    return [line for line in lines if not line.startswith("salt")]


def bmc() -> list[str]:
    """Return what the package names for nodes' BMCs, which there is from Salt 3008 on."""
    has_it = not salt_version().startswith("salt==3006")
    return _setup()["options.extras_require"]["bmc"].split() if has_it else []


def _setup() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(CHECKOUT / "setup.cfg")
    return config


def has_nfsd() -> bool:
    """Tell whether the kernel that runs here has an NFS server."""
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", "nfsd"], check=False, capture_output=True)
    return "nfsd" in pathlib.Path("/proc/filesystems").read_text().split()


def _inputs() -> list[str]:
    files = [pathlib.Path(__file__), *sorted((HERE / "shim").iterdir())]
    return [SUITE, *(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)]


def _mmdebstrap(root: pathlib.Path, packages: str) -> None:
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={packages}"]
    command += ['--aptopt=Apt::Install-Recommends "false"', "--dpkgopt=force-unsafe-io"]
    for place in ("doc", "man", "locale"):
        command.append(f"--dpkgopt=path-exclude=/usr/share/{place}/*")
    command += [SUITE, str(root)]
    release = pathlib.Path("/etc/os-release")
    if release.exists() and f"VERSION_CODENAME={SUITE}\n" in release.read_text():
        sources = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"]
        command += [path for path in sources if os.path.exists(path)][:1]
    _run(command)


def _make_golden(place: pathlib.Path) -> None:
    root = place / "root"
    _mmdebstrap(root, _GOLDEN_PACKAGES)
    _run(["chroot", root, "passwd", "-d", "root"])
    _write(root / "etc/hostname", "golden\n")
    _write(root / "etc/initramfs-tools/modules", "overlay\n")
    config = root / "etc/initramfs-tools/initramfs.conf"
    text = config.read_text().replace("MODULES=most", "MODULES=list")
    _write(config, text.replace("COMPRESS=zstd", "COMPRESS=zstd\nCOMPRESSLEVEL=3"))
    units = root / "etc/systemd/system"
    _mask(units, _GOLDEN_MASKED)
    _write(root / "usr/local/sbin/lab-agent", _AGENT, 0o755)
    _write(units / "lab-agent.service", _AGENT_UNIT)
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "lab-agent.service").symlink_to("../lab-agent.service")
    console = units / "getty.target.wants"
    console.mkdir(exist_ok=True)
    (console / "console-getty.service").symlink_to("/lib/systemd/system/console-getty.service")
    for initrd in (root / "boot").glob("initrd.img-*"):
        initrd.unlink()
    _drop_apt_lists(root)


def _make_server(place: pathlib.Path) -> None:
    root = place / "root"
    _mmdebstrap(root, _SERVER_PACKAGES)
    _run(["chroot", root, "passwd", "-d", "root"])
    _write(root / "etc/hostname", "bootserver\n")
    _write(root / "etc/fstab", "")
    _make_repository(root, _SERVER_REPOSITORY)
    _install_salt(root)
    if not has_nfsd():
        _install_shim(root)
    for unit in ("nfs-ganesha", "rpcbind", "systemd-networkd-wait-online"):
        _run(["chroot", root, "systemctl", "disable", unit], check=False)
    for directory in ("srv/pillar", "srv/salt", "srv/golden", "diskless", "etc/salt", "src"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    served = (
        "fileserver_backend: [roots, diskless]\n"
        "file_roots: {base: [/srv/salt]}\npillar_roots: {base: [/srv/pillar]}\n"
    )
    _write(root / "etc/salt/minion", f"file_client: local\nid: bootserver\n{served}")
    managed = root / "etc/salt-managed"
    managed.mkdir()
    apart = "pki_dir: /etc/salt-managed/pki\ncachedir: /var/cache/salt/managed\n"
    _write(managed / "master", f"interface: 10.141.0.1\nauto_accept: true\n{apart}{served}")
    _write(managed / "minion", f"id: bootserver\nmaster: 10.141.0.1\n{apart}")


def _make_machine(place: pathlib.Path) -> None:
    root = place / "root"
    _run(["cp", "-a", golden(), root])
    in_chroot(root, ["apt-get", "update", "-q"])
    in_chroot(root, ["apt-get", "install", "-yq", *_MACHINE_PACKAGES])
    _make_repository(root, _MACHINE_REPOSITORY)
    for directory in ("opt/salt", "etc/salt"):
        (root / directory).mkdir(parents=True)


def _make_kernel(place: pathlib.Path) -> None:
    root, other = place / "root", place / "debian"
    _run(["cp", "-a", golden(), other])
    in_chroot(other, ["apt-get", "update", "-q"])
    (own,) = (path.name for path in (other / "usr/lib/modules").iterdir())
    found = in_chroot(other, ["apt-cache", "pkgnames", "linux-image-"]).stdout.split()
    series = re.escape(own.split("-")[0]) + r"-\d+-cloud-amd64"
    releases = sorted(re.findall(rf"^linux-image-({series})$", "\n".join(found), re.MULTILINE))
    release = next(release for release in reversed(releases) if release != own)
    get = f"cd /tmp && apt-get download -q linux-image-{release} && dpkg-deb -x linux-image-*.deb x"
    in_chroot(other, ["sh", "-ec", f"{get} && depmod -b /tmp/x {release}"])
    (root / "usr/lib").mkdir(parents=True)
    shutil.move(other / "tmp/x/boot", root / "boot")
    shutil.move(other / "tmp/x/lib/modules", root / "usr/lib/modules")
    shutil.rmtree(other)


def _make_repository(root: pathlib.Path, packages: Sequence[str]) -> None:
    """Make a package repository on a machine's disk, so that it installs without a network."""
    in_chroot(root, ["apt-get", "clean"])
    in_chroot(root, ["apt-get", "update", "-q"])
    in_chroot(root, ["apt-get", "install", "-yq", "--download-only", *packages])
    debs = root / "srv/debs"
    debs.mkdir()
    index = []
    for deb in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        data = deb.read_bytes()
        fields = _run(["dpkg-deb", "-f", deb]).stdout.strip()
        digest = hashlib.sha256(data).hexdigest()
        index.append(f"{fields}\nFilename: ./{deb.name}\nSize: {len(data)}\nSHA256: {digest}\n")
        shutil.move(deb, debs / deb.name)
    _write(debs / "Packages", "\n".join(index))
    for name in (*root.glob("etc/apt/sources.list.d/*"), root / "etc/apt/sources.list"):
        name.unlink(missing_ok=True)
    _write(root / "etc/apt/sources.list", "deb [trusted=yes] file:/srv/debs ./\n")
    _drop_apt_lists(root)
    in_chroot(root, ["apt-get", "update", "-q"])


def _install_salt(root: pathlib.Path) -> None:
    """Install Salt and the package's dependencies into a virtual environment, as pip does here."""
    bundle = "etc/ssl/certs/ca-certificates.crt"
    if os.path.exists(f"/{bundle}"):
        shutil.copy(f"/{bundle}", root / bundle)
    in_chroot(root, ["python3", "-m", "venv", "/opt/salt"])
    pip = ["/opt/salt/bin/pip", "install", "-q", "--no-cache-dir"]
    in_chroot(root, [*pip, "setuptools<81", "wheel"])
    in_chroot(root, [*pip, salt_version(), *requirements(), *bmc()])
    (root / "usr/local/bin/salt-call").symlink_to("/opt/salt/bin/salt-call")


def _install_shim(root: pathlib.Path) -> None:
    """Put NFS-Ganesha behind the unit nfs-server, fed from the table that exportfs writes."""
    units = root / "etc/systemd/system"
    for name in _SHIM_UNITS:
        shutil.copy(HERE / "shim" / name, units / name)
    shutil.copy(HERE / "shim/etab2ganesha", root / "usr/local/sbin/etab2ganesha")
    (root / "usr/local/sbin/etab2ganesha").chmod(0o755)
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "nfs-shim.path").symlink_to("../nfs-shim.path")
    _mask(units, _SHIM_MASKED)


def in_chroot(root: pathlib.Path, command: Sequence[object]) -> subprocess.CompletedProcess[str]:
    """Run a command inside a root with this machine's name resolution and pip settings."""
    settings = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("PIP_") or name.lower() in ("http_proxy", "https_proxy", "no_proxy")
    }
    files = [path for path in _PIP_FILES if path.exists()]
    texts = [*settings.values(), *(path.read_text() for path in files)]
    binds = [*map(pathlib.Path, ("/etc/resolv.conf", "/etc/hosts")), *files, *_paths_in(texts)]
    words = [
        "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8",
        "DEBIAN_FRONTEND=noninteractive", *(f"{name}={value}" for name, value in settings.items()),
    ]  # fmt: skip
    enter = ["unshare", "--mount", "sh", "-ec", _ENTER, "sh", root, *binds, "--"]
    return _run([*enter, *words, *command])


def _paths_in(texts: Sequence[str]) -> list[pathlib.Path]:
    """Return the files and directories of this machine that pip's settings name."""
    named = re.findall(r"(?:(?<=file://)|(?<![^\s=,]))(/[^\s,]+)", "\n".join(texts))
    paths = {pathlib.Path(path) for path in named if path.count("/") > 1 and os.path.exists(path)}
    # An index is a directory whose pages point at its neighbours.
    return sorted({path.parent if path.name == "simple" else path for path in paths})


def _mask(units: pathlib.Path, names: Sequence[str]) -> None:
    for name in names:
        unit = units / name
        unit.unlink(missing_ok=True)
        unit.symlink_to("/dev/null")


def _drop_apt_lists(root: pathlib.Path) -> None:
    shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)
    (root / "var/lib/apt/lists/partial").mkdir(parents=True)
    for cached in (root / "var/cache/apt").glob("*.bin"):
        cached.unlink()


def _write(path: pathlib.Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)


def _run(command: Sequence[object], check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{said}")
    return done
