"""The packages in a tree, as its own package manager knows them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.command import CommandFailed, installed, run
from salt_diskless.image.kernels import APART, leads_inside

#: dpkg-query(1), -f: a line per package, of which those are wanted that are installed.
_FORMAT = "${db:Status-Status} ${binary:Package} ${Version}\n"
#: rpm(8), --queryformat; and where its database is (rpm's macro _dbpath), newest way first.
_RPM_FORMAT = "%{NAME}.%{ARCH} %{EVR}\n"
_RPM_DATABASES = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")


def packages(image: Image, tree: str) -> dict[str, str]:
    """Return the packages that are installed in a tree, name to version (where rpm has one in
    several versions: all of them); none where neither dpkg nor rpm is known there.

    Raises :class:`DisklessError` when they cannot be listed.
    """
    if os.path.exists(f"{tree}/usr/bin/dpkg-query"):
        argv = [*APART, "chroot", tree, "/usr/bin/dpkg-query", "-W", "-f", _FORMAT]
        rows = (line.split(" ") for line in _said(image, argv))
        return {row[1]: row[2] for row in rows if row[0] == "installed" and len(row) == 3}
    database = next(filter(lambda place: _has_rpms(tree, place), _RPM_DATABASES), None)
    its_own = os.path.exists(f"{tree}/usr/bin/rpm")
    if database is None or not (its_own or installed("rpm")):
        return {}
    return _rpms(_said(image, _rpm(tree, database, its_own)))


def _has_rpms(tree: str, place: str) -> bool:
    return (
        leads_inside(tree, place)
        and os.path.isdir(tree + place)
        and bool({"rpmdb.sqlite", "Packages.db", "Packages"} & {*os.listdir(tree + place)})
    )


def _rpm(tree: str, database: str, its_own: bool) -> list[str]:
    """Return a command that asks rpm, of a copy of its database: asking writes there.

    its_own
        Whether the tree has an rpm: it reads its own database in any case.
    """
    root = shlex.quote(tree)
    rpm = f"chroot {root} rpm --dbpath /tmp/rpm" if its_own else f"rpm --dbpath {root}/tmp/rpm"
    script = f"""
set -e
mount -t tmpfs -o mode=700 tmpfs {root}/tmp
cp -r --no-dereference {root}{database} {root}/tmp/rpm
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
        return run(argv, ends_with_us=True).stdout.splitlines()
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
