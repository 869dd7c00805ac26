"""The packages in a tree, as its own package manager knows them."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Sequence

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.command import CommandFailed, installed, run
from salt_diskless.files.beneath import Tree
from salt_diskless.image.kernels import APART

#: dpkg-query(1), -f: a line per package, of which those are wanted that are installed.
_FORMAT = "${db:Status-Status} ${binary:Package} ${Version}\n"
#: Seconds after which who lists packages hangs.
_LONGEST = 600
#: rpm(8), --queryformat; and where its database is (rpm's macro _dbpath), newest way first.
_RPM_FORMAT = "%{NAME}.%{ARCH} %{EVR}\n"
_DPKG_DATABASE = "/var/lib/dpkg/status"
_RPM_DATABASES = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")


def packages(image: Image, tree: str) -> dict[str, str]:
    """Return the packages that are installed in a tree, name to version (where rpm has one in
    several versions: all of them); none where neither dpkg nor rpm is known there.

    Raises :class:`DisklessError` when they cannot be listed.
    """
    with Tree(tree) as root:
        status = root.status(_DPKG_DATABASE, follow=True)
        # What is no file, such as a pipe, would block who reads it.
        is_readable = status is None or stat.S_ISREG(status.st_mode)
        has_dpkg = root.exists("/usr/bin/dpkg-query") and is_readable
        its_own = root.exists("/usr/bin/rpm")
        database = next((path for path in _RPM_DATABASES if _has_rpms(root, path)), None)
    if has_dpkg:
        argv = [*APART, "chroot", tree, "/usr/bin/dpkg-query", "-W", "-f", _FORMAT]
        rows = (line.split(" ") for line in _said(image, argv))
        return {row[1]: row[2] for row in rows if row[0] == "installed" and len(row) == 3}
    if database is None or not (its_own or installed("rpm")):
        return {}
    return _rpms(_said(image, _rpm(tree, database, its_own)))


def _has_rpms(root: Tree, path: str) -> bool:
    return any(
        root.is_file(f"{path}/{name}") for name in ("rpmdb.sqlite", "Packages.db", "Packages")
    )


def _rpm(tree: str, database: str, its_own: bool) -> list[str]:
    """Return a command that asks rpm, of a copy of its database: asking writes there.

    its_own
        Whether the tree has an rpm: it reads its own database in any case.
    """
    root = shlex.quote(tree)
    with Tree(tree) as inside:
        files, room = inside.full(database), inside.full("/tmp")
    if room != f"{tree}/tmp":
        raise DisklessError(f"{tree}: /tmp: found a link; make it a directory in the golden root")
    rpm = f"chroot {root} rpm --dbpath /tmp/rpm" if its_own else f"rpm --dbpath {root}/tmp/rpm"
    script = f"""
set -e
mount -t tmpfs -o mode=700 tmpfs {root}/tmp
cp -r --no-dereference {shlex.quote(files)} {root}/tmp/rpm
find {root}/tmp/rpm ! -type d ! -type f -exec rm -f {{}} +
exec {rpm} --nosignature --nodigest --query --all --queryformat {shlex.quote(_RPM_FORMAT)}
"""
    return [*APART, "sh", "-c", script]


def _rpms(lines: Sequence[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for name, _, version in sorted(line.partition(" ") for line in lines):
        if not name.startswith("gpg-pubkey."):  # Keys that rpm keeps as if they were packages.
            found.setdefault(name, []).append(version)
    return {name: ", ".join(several) for name, several in found.items()}


def _said(image: Image, argv: Sequence[str]) -> list[str]:
    try:
        return run(argv, ends_with_us=True, timeout=_LONGEST).stdout.splitlines()
    except CommandFailed as err:
        raise DisklessError(
            f"diskless:images:{image.name}: the golden root's packages cannot be listed: {err}"
        ) from err


def differences(old: dict[str, str], new: dict[str, str]) -> dict[str, dict[str, object]]:
    """Return what was ``added`` and ``removed`` (name to version) and ``changed`` (name to both
    versions) between two trees' packages; what is empty is left out."""
    found: dict[str, dict[str, object]] = {
        "added": {name: new[name] for name in sorted(new.keys() - old.keys())},
        "removed": {name: old[name] for name in sorted(old.keys() - new.keys())},
        "changed": {
            name: [old[name], new[name]]
            for name in sorted(old.keys() & new.keys())
            if old[name] != new[name]
        },
    }
    return {what: names for what, names in found.items() if names}
