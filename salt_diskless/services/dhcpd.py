"""ISC dhcpd: its configuration is checked by dhcpd itself before it goes live."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace

from salt_diskless import tree, unfinished
from salt_diskless.boot import dhcpd as text
from salt_diskless.cluster import DisklessError, Node, Site
from salt_diskless.cluster.ranges import fold
from salt_diskless.command import CommandFailed, run
from salt_diskless.platform import Platform
from salt_diskless.services import omapi, restarts, shell_settings, units
from salt_diskless.state import originals

log = logging.getLogger(__name__)

#: Where the distributions' dhcpd keeps its leases: Debian, RHEL family, SUSE.
LEASE_FILES = (
    "/var/lib/dhcp/dhcpd.leases",
    "/var/lib/dhcpd/dhcpd.leases",
    "/var/lib/dhcp/db/dhcpd.leases",
)

_LEASE = re.compile(r"^lease ([0-9.]+) \{\n((?:(?!\}$|lease ).*\n)*)\}$", re.MULTILINE)
_LEASE_FIELD = re.compile(r"^[ \t]+(hardware ethernet|binding state|ends) (.+);$", re.MULTILINE)


def files(site: Site, platform: Platform) -> dict[str, tree.Content]:
    """Return dhcpd's configuration, the key that changes it while it runs, the file that says which
    interfaces it listens on, and the drop-in that starts it again until its address is there."""
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    wanted: dict[str, tree.Content] = {
        platform.dhcp_config: text.render(site, platform.key_file),
        platform.key_file: tree.Secret(text.key(secret)),
    }
    if platform.dhcp_defaults and platform.dhcp_interfaces_key:
        interfaces = " ".join(sorted(text.interfaces(site)))
        wanted[platform.dhcp_defaults] = shell_settings.with_values(
            platform.dhcp_defaults, {platform.dhcp_interfaces_key: interfaces}
        )
    if platform.dhcp_unit:
        wanted[platform.dhcp_unit] = units.restart_policy("dhcpd")
    return wanted


def difference(
    files: Mapping[str, tree.Content], platform: Platform, adopt: Iterable[str] = ()
) -> tree.Difference:
    """Return what would change. The package's own, unchanged configuration may be replaced, and so
    may the files of ``adopt``."""
    config = platform.dhcp_config
    foreign_ok = [*adopt]
    there = tree.read(config)
    if there is not None and not tree.is_marked(there) and is_pristine(config, there, platform):
        foreign_ok.append(config)
    return tree.compare(files, tree.leftovers(os.path.dirname(config)), foreign_ok)


def apply(change: tree.Difference, files: Mapping[str, tree.Content], platform: Platform) -> None:
    """Write what changed; a configuration that dhcpd refuses never goes live. What was changed in
    the running dhcpd and stands in the file otherwise, or not any more, is taken back there."""

    def checked(path: str) -> None:
        if path == platform.dhcp_config + tree.UNFINISHED:
            check(path)

    if change:
        originals.keep_files(files)
        with restarts.changing(platform.dhcp_service):
            # The configuration includes it.
            new = (*change.added, *change.changed)
            key = tuple(path for path in new if path == platform.key_file)
            tree.apply(tree.Difference(added=key), files)
            others = tuple(path for path in new if path not in key)
            tree.apply(replace(change, added=others, changed=()), files, checked)
            units.reload(new)
    else:
        restarts.drop_stale(platform.dhcp_service)
    _settle(platform)


def tell(made: restarts.Hosts, platform: Platform) -> bool:
    """Have the running dhcpd serve the hosts that its configuration has, and forget the others;
    return True if it has to be restarted for that: it has read some of them from a file.

    made
        Hosts that were written or removed, by node.

    Raises :class:`omapi.Unreachable`.
    """
    config = tree.read(platform.dhcp_config, 1 << 21) or b""
    new: list[omapi.Host] = []
    gone: list[omapi.Host] = []
    for name, (mac, ip) in made.items():
        host = text.served(config, name=name)
        if host is not None and (host.mac, host.ip) == (mac, ip):
            new.append(omapi.Host(name, mac, ip, host.nis))
        else:
            gone.append(omapi.Host(name, mac, ip))
    omapi.remove(gone, platform.key_file)
    read = omapi.known((host.node for host in gone), platform.key_file)
    omapi.make(new, platform.key_file)
    return any(read.get(host.node) == host.mac for host in gone)


def _settle(platform: Platform) -> None:
    """Have the running dhcpd forget hosts that it was given while it runs, and that it has read
    from its configuration by now, or that this does not have."""
    kept = omapi.kept(_lease_file())
    if not kept:
        return
    wanted = text.hosts(tree.read(platform.dhcp_config) or b"")
    try:
        read = omapi.known((host.node for host in kept), platform.key_file)
        omapi.remove(
            [
                host
                for host in kept
                if wanted.get(host.node) != (host.mac, host.ip) or read.get(host.node) == host.mac
            ],
            platform.key_file,
        )
    except omapi.Unreachable as err:
        log.info("%s", err)


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


def check_hosts(path: str, head: bytes, nodes: Iterable[Node]) -> None:
    """Have dhcpd check the hosts of these nodes alone, in a time that does not depend on how many
    others there are.

    path
        Of the configuration that they go into, half-written.
    head
        What stands before the hosts there.

    Raises :class:`DisklessError` when it refuses.
    """
    part = path.removesuffix(tree.UNFINISHED) + ".hosts"
    with unfinished.recorded([part]):
        with open(part + tree.UNFINISHED, "wb") as stream:
            stream.write(head + b"".join(map(text.host, nodes)))
        check(part + tree.UNFINISHED)


def is_pristine(path: str, data: bytes, platform: Platform) -> bool:
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
        before = text.texts(tree.read(platform.dhcp_config) or b"")
        after = {node.name: text.host(node) for node in site.nodes.values()}
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
    if restarts.is_pending(platform.dhcp_service):
        changes["outdated"] = platform.dhcp_service
    return changes


def leases(path: str | None = None) -> dict[str, dict[str, str]]:
    """Return the leases in dhcpd's lease file (dhcpd.leases(5)): the last word on each address."""
    found = {}
    for match in _LEASE.finditer(_lease_file(path).decode(errors="replace")):
        fields = {key: value for key, value in _LEASE_FIELD.findall(match[2])}
        found[match[1]] = {
            "mac": fields.get("hardware ethernet", ""),
            "state": fields.get("binding state", ""),
            "ends": fields.get("ends", ""),
        }
    return found


def _lease_file(path: str | None = None) -> bytes:
    for candidate in [path] if path else LEASE_FILES:
        data = tree.read(candidate)
        if data is not None:
            return data
    return b""
