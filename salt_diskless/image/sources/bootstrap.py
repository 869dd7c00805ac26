"""A root that is made here from a distribution's packages: by mmdebstrap(1), or by dnf(8).

Whoever makes it verifies what it is made of: apt the signature of the suite, dnf that of each
package. Nothing here can switch that off.
"""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import asdict
from typing import Protocol

from salt_diskless.cluster import Bootstrap, DisklessError, Image
from salt_diskless.command import CommandFailed, run
from salt_diskless.files.beneath import Tree
from salt_diskless.image.listing import hold_the_same
from salt_diskless.image.sources.base import RsyncSource, digest
from salt_diskless.image.sources.unpacked import require, unpacked
from salt_diskless.image.versions import latest
from salt_diskless.regex import lazy_regex

log = logging.getLogger(__name__)

#: Before what makes a root: what it mounts and starts goes with it, however it ends.
_APART = [
    *("unshare", "--mount", "--propagation", "private", "--ipc", "--uts"),
    *("--pid", "--fork", "--kill-child"),
]
#: The time that packages' scripts give what they make (SOURCE_DATE_EPOCH): with a time of its own
#: each run would make something else of the same packages.
_EPOCH = "1577836800"

#: Where the distributions of dnf have their keys.
_KEYS = "/etc/pki/rpm-gpg/RPM-GPG-KEY-*"
#: ``sh -c`` of this with a root, and the command that fills it: packages' scripts run in there.
_IN_ROOT = """
set -e
root=$1
shift
mkdir -m 755 "$root" "$root/dev" "$root/proc"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
for name in null zero full random urandom; do
    : > "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
exec "$@"
"""
#: The index of rpm's database, which is filled anew by the first process that opens the database:
#: what is left in it differs each time.
_INDEXES = ("/var/lib/rpm/rpmdb.sqlite-shm", "/usr/lib/sysimage/rpm/rpmdb.sqlite-shm")
_INDEX_BYTES = 32 << 10
#: How lines begin that say what was wrong: apt's (but not mmdebstrap's about them), dpkg's, dnf's.
_ERRORS = lazy_regex(
    "E: (?!setup failed|mmdebstrap failed|apt-get .* failed)|W: GPG error|dpkg: error|[Ee]rror:"
    "|Problem|Package .* not signed|Public key for"
)


class _Manager(Protocol):
    """What makes a root of packages."""

    program: str

    def command(self, top: str, packages: tuple[str, ...]) -> list[str]:
        """Return the command that makes ``<top>/root``; ``top`` may have its other files too.

        Raises :class:`DisklessError` when there are no keys to verify packages with.
        """

    def clean(self, root: Tree) -> None:
        """Remove from a new root what would differ each time."""


class Bootstrapped:
    """A root of packages."""

    def __init__(self, image: Image, wanted: Bootstrap):
        self._where = f"diskless:images:{image.name}:source:bootstrap"
        self._image = image
        self._manager: _Manager
        if wanted.suite is not None:
            self._manager = _Apt(wanted, self._where)
            self.shown = f"the bootstrap of {wanted.suite}"
        else:
            self._manager = _Dnf(wanted, self._where)
            self.shown = f"the bootstrap of release {wanted.releasever}"
        self.mark = digest(asdict(wanted), image.packages, image.exclude, image.scrub, *image.keep)

    @contextlib.contextmanager
    def opened(self) -> Iterator[RsyncSource]:
        """Make it beside the versions; it is taken away again.

        Raises :class:`DisklessError` with the program's words when it cannot be made.
        """
        require(self._where, (self._manager.program,))
        # apt fetches as a user of its own, who has to get to the root.
        with unpacked(self._image, mode=0o711) as top:
            command = self._manager.command(top, self._image.packages)
            # No file of the server's root user has a say in it.
            environment = {"HOME": top, "TMPDIR": top}
            environment |= {"SOURCE_DATE_EPOCH": _EPOCH, "SYSTEMD_OFFLINE": "1"}
            try:
                run([*_APART, *command], ends_with_us=True, env=environment)
            except CommandFailed as err:
                raise DisklessError(
                    f"{self._where}: {self.shown} failed, so what is published stays: {_why(err)}"
                ) from err
            with Tree(f"{top}/root") as root:
                self._manager.clean(root)
            newest = latest(self._image)
            if newest is not None:
                _date_back(f"{top}/root", newest.path)
            yield RsyncSource(f"{top}/root/", self.shown, links=(f"{top}/root",))


class _Apt:
    """mmdebstrap(1): Debian, Ubuntu and what is made of them."""

    program = "mmdebstrap"

    def __init__(self, wanted: Bootstrap, where: str):
        self._wanted, self._where = wanted, where

    def command(self, top: str, packages: tuple[str, ...]) -> list[str]:
        wanted = self._wanted
        argv = ["mmdebstrap", "--mode=root", "--format=directory", f"--variant={wanted.variant}"]
        argv += [f"--components={','.join(wanted.components)}"]
        argv += [f"--include={','.join(packages)}"] if packages else []
        if wanted.keyring is not None:
            # That one, and neither what apt trusts here nor what mmdebstrap knows of the suite.
            os.mkdir(f"{top}/no-keys")
            given = _readable(self._where, "keyring", wanted.keyring)
            # gpgv runs as apt's own user too, and takes the file for what its name ends in.
            keyring = f"{top}/keys{os.path.splitext(given)[1]}"
            shutil.copyfile(given, keyring)
            os.chmod(keyring, 0o644)
            argv += [f"--keyring={keyring}", f"--keyring={top}/no-keys", "--skip=check/signed-by"]
        argv += [str(wanted.suite), f"{top}/root"]
        if wanted.mirror is not None:
            # With file: apt would have dpkg look for the packages inside the root.
            argv.append(wanted.mirror.replace("file:", "copy:", 1))
        return argv

    def clean(self, root: Tree) -> None:
        """Do nothing: mmdebstrap leaves nothing."""


class _Dnf:
    """dnf(8): the RHEL family and Fedora."""

    program = "dnf"

    def __init__(self, wanted: Bootstrap, where: str):
        self._wanted, self._where = wanted, where

    def command(self, top: str, packages: tuple[str, ...]) -> list[str]:
        config = f"{top}/dnf.conf"
        if os.path.exists("/etc/debian_version"):
            # Debian's rpm has its database in the home of whoever calls it.
            with open(f"{top}/.rpmmacros", "w", encoding="utf-8") as stream:
                stream.write("%_dbpath %{_var}/lib/rpm\n")
        os.mkdir(f"{top}/no-repositories")
        with open(config, "w", encoding="utf-8") as stream:
            stream.write(self._config(f"{top}/no-repositories"))
        argv = ["dnf", f"--config={config}", f"--installroot={top}/root", "--noplugins"]
        argv += [f"--releasever={self._wanted.releasever}", "--assumeyes", "--quiet"]
        return ["sh", "-c", _IN_ROOT, "sh", f"{top}/root", *argv, "install", *packages]

    def clean(self, root: Tree) -> None:
        root.remove("/var/cache/dnf")
        for name in root.names("/var/lib/dnf"):
            if name.startswith("history.sqlite"):
                root.remove(f"/var/lib/dnf/{name}")
        for index in _INDEXES:
            status = root.status(index)
            if status is not None and stat.S_ISREG(status.st_mode):
                root.write(index, bytes(_INDEX_BYTES), stat.S_IMODE(status.st_mode))

    def _config(self, no_repositories: str) -> str:
        """Return what dnf.conf(5) describes: these repositories, and none that this server has."""
        if self._wanted.gpgkey is not None:
            keys = [_readable(self._where, "gpgkey", self._wanted.gpgkey)]
        else:
            keys = sorted(glob.glob(_KEYS))
        if not keys:
            raise DisklessError(
                f"{self._where}:gpgkey: found nothing, and no {_KEYS} on this boot server; give "
                "the file of the keys that the packages are signed with"
            )
        lines = ["[main]", "gpgcheck=1", "localpkg_gpgcheck=1", "install_weak_deps=0", "best=1"]
        lines.append(f"reposdir={no_repositories}")
        for name, url in self._wanted.repositories.items():
            lines += ["", f"[{name}]", f"name={name}", f"baseurl={url}", "gpgcheck=1"]
            lines.append(f"gpgkey={' '.join(f'file://{key}' for key in keys)}")
        return "\n".join(lines) + "\n"


def _why(err: CommandFailed) -> str:
    """Return the lines in which a package manager says what was wrong, among all that it says."""
    if err.result is None:
        return str(err)
    log.error("%s", err)
    errors: dict[str, None] = {}
    inside = False
    for line in err.result.stderr.splitlines():
        # What is indented belongs to the line before it.
        inside = inside if line.startswith(" ") else bool(_ERRORS.match(line))
        if inside:
            errors[line] = None
    return "\n".join([*errors][:8]) or str(err)


def _readable(where: str, key: str, path: str) -> str:
    """Return the path of a file of keys.

    Raises :class:`DisklessError` when it is not there.
    """
    if not os.path.isfile(path):
        raise DisklessError(f"{where}:{key}: found no file {path} on this boot server; give one")
    return path


def _date_back(new: str, before: str) -> None:
    """Give what is in ``new`` as it was ``before`` the time that it had there. It was only made
    anew, and by its time rsync tells whether a file is another one."""
    with Tree(new, links=False) as made, Tree(before, links=False) as old:
        for found in made.walk():
            status, was = found.status, old.status(found.path)
            if was is None or stat.S_IFMT(status.st_mode) != stat.S_IFMT(was.st_mode):
                continue
            if stat.S_ISDIR(status.st_mode) or status.st_mtime_ns == was.st_mtime_ns:
                continue
            if _holds_the_same(found.path, made, status, old, was):
                times = (was.st_atime_ns, was.st_mtime_ns)
                os.utime(found.name, ns=times, dir_fd=found.parent, follow_symlinks=False)


def _holds_the_same(
    path: bytes, made: Tree, status: os.stat_result, old: Tree, was: os.stat_result
) -> bool:
    """Return whether a path, of one type in two trees, holds the same in both."""
    if stat.S_ISLNK(status.st_mode):
        return made.link(path) == old.link(path)
    if stat.S_ISREG(status.st_mode):
        return status.st_size == was.st_size and hold_the_same(path, made, old)
    return status.st_rdev == was.st_rdev
