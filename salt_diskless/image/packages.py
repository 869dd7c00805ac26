"""The packages in a tree, as its own package manager knows them."""

from __future__ import annotations

import os

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.command import CommandFailed, run
from salt_diskless.image.kernels import APART

#: dpkg-query(1), -f: a line per package, of which those are wanted that are installed.
_FORMAT = "${db:Status-Status} ${binary:Package} ${Version}\n"


def packages(image: Image, tree: str) -> dict[str, str]:
    """Return the packages that are installed in a tree, name to version; none where dpkg-query is
    not in it.

    Raises :class:`DisklessError` when it fails.
    """
    if not os.path.exists(f"{tree}/usr/bin/dpkg-query"):
        return {}
    argv = [*APART, "chroot", tree, "/usr/bin/dpkg-query", "-W", "-f", _FORMAT]
    try:
        said = run(argv, ends_with_us=True).stdout
    except CommandFailed as err:
        raise DisklessError(
            f"diskless:images:{image.name}: the golden root's packages cannot be listed: {err}"
        ) from err
    rows = (line.split(" ") for line in said.splitlines())
    return {row[1]: row[2] for row in rows if row[0] == "installed" and len(row) == 3}


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
