"""ISC dhcpd: its configuration is checked by dhcpd itself before it goes live."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping

from salt_diskless import tree
from salt_diskless.boot import dhcpd as text
from salt_diskless.cluster import DisklessError, Site
from salt_diskless.cluster.ranges import fold
from salt_diskless.command import CommandFailed, run
from salt_diskless.platform import Platform
from salt_diskless.services import restarts

#: Where the distributions' dhcpd keeps its leases: Debian, RHEL family, SUSE.
LEASE_FILES = (
    "/var/lib/dhcp/dhcpd.leases",
    "/var/lib/dhcpd/dhcpd.leases",
    "/var/lib/dhcp/db/dhcpd.leases",
)

_HOST = re.compile(
    r"^host (\S+) \{\s+hardware ethernet (\S+);\s+fixed-address (\S+);", re.MULTILINE
)
_LEASE = re.compile(r"^lease ([0-9.]+) \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
_LEASE_FIELD = re.compile(r"^\s+(hardware ethernet|binding state|ends) (.+);$", re.MULTILINE)


def files(site: Site, platform: Platform) -> dict[str, tree.Content]:
    """Return dhcpd's configuration, and the file that says which interfaces it listens on."""
    wanted: dict[str, tree.Content] = {platform.dhcp_config: text.render(site)}
    if platform.dhcp_defaults and platform.dhcp_interfaces_key:
        wanted[platform.dhcp_defaults] = tree.with_key(
            platform.dhcp_defaults,
            platform.dhcp_interfaces_key,
            " ".join(sorted(text.interfaces(site))),
        )
    return wanted


def difference(files: Mapping[str, tree.Content], platform: Platform) -> tree.Difference:
    """Return what would change. The package's own, unchanged configuration may be replaced."""
    config = platform.dhcp_config
    foreign_ok = [path for path in files if path != config]
    there = tree.read(config)
    if there is not None and not tree.is_marked(there) and _is_pristine(config, there, platform):
        foreign_ok.append(config)
    return tree.compare(files, tree.leftovers(os.path.dirname(config)), foreign_ok)


def apply(change: tree.Difference, files: Mapping[str, tree.Content], platform: Platform) -> None:
    """Write what changed; a configuration that dhcpd refuses never goes live."""

    def checked(path: str) -> None:
        if path == platform.dhcp_config + tree.UNFINISHED:
            check(path)

    if change:
        with restarts.owing(platform.dhcp_service):
            tree.apply(change, files, checked)


def check(path: str) -> str:
    """Have dhcpd read a configuration (``dhcpd -t``, dhcpd(8)) and return what it says.

    Raises :class:`DisklessError` with dhcpd's words when it refuses.
    """
    try:
        return run(["dhcpd", "-t", "-4", "-cf", path]).stderr
    except CommandFailed as err:
        if err.result is None:
            raise
        said = [
            line
            for line in err.result.stderr.splitlines()
            if line.startswith(path) or "error" in line.lower()
        ]
        raise DisklessError(
            f"{path}: dhcpd refuses it, so the live configuration stays: "
            + ("\n".join(said) or err.result.stderr.strip())
        ) from err


def _is_pristine(path: str, data: bytes, platform: Platform) -> bool:
    """Tell whether a file is as the distribution's package put it, or has no setting at all."""
    if all(not line.strip() or line.lstrip().startswith(b"#") for line in data.splitlines()):
        return True
    if os.path.exists("/usr/bin/dpkg-query"):
        package = platform.dhcp_packages[0]
        listed = run(["dpkg-query", "-W", "-f", "${Conffiles}\n", package], ok=(0, 1)).stdout
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return f"{path} {digest}" in listed
    if os.path.exists("/usr/bin/rpm"):
        verified = run(["rpm", "-Vf", path], ok=(0, 1)).stdout
        return not any(line.endswith(f" {path}") for line in verified.splitlines())
    return False


def folded(site: Site, change: tree.Difference, platform: Platform) -> dict[str, object]:
    """Return a difference as a state's changes: the hosts that come, go or change as node sets; and
    the service, when it still runs with an older configuration."""
    changes: dict[str, object] = {}
    for what in ("added", "changed", "removed"):
        if paths := getattr(change, what):
            changes[what] = {"files": list(paths)}
    if platform.dhcp_config in (*change.added, *change.changed):
        before, after = _hosts(tree.read(platform.dhcp_config) or b""), _hosts_of(site)
        for what, names in (
            ("added", after.keys() - before.keys()),
            (
                "changed",
                {name for name in after.keys() & before.keys() if after[name] != before[name]},
            ),
            ("removed", before.keys() - after.keys()),
        ):
            if names:
                group = changes.setdefault(what, {})
                assert isinstance(group, dict)
                group["nodes"] = fold(sorted(names))
    if restarts.owed(platform.dhcp_service):
        changes["outdated"] = platform.dhcp_service
    return changes


def leases(path: str | None = None) -> dict[str, dict[str, str]]:
    """Return the leases in dhcpd's lease file (dhcpd.leases(5)): the last word on each address."""
    for candidate in [path] if path else LEASE_FILES:
        data = tree.read(candidate)
        if data is not None:
            break
    else:
        return {}
    found = {}
    for match in _LEASE.finditer(data.decode(errors="replace")):
        fields = {key: value for key, value in _LEASE_FIELD.findall(match[2])}
        found[match[1]] = {
            "mac": fields.get("hardware ethernet", ""),
            "state": fields.get("binding state", ""),
            "ends": fields.get("ends", ""),
        }
    return found


def _hosts(config: bytes) -> dict[str, tuple[str, str]]:
    text = config.decode(errors="replace")
    return {match[1]: (match[2], match[3]) for match in _HOST.finditer(text)}


def _hosts_of(site: Site) -> dict[str, tuple[str, str]]:
    return {node.name: (node.mac, str(node.ip)) for node in site.nodes.values()}
