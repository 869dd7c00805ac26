"""Files and settings of the admin that the project would replace. All of them are named at once,
before anything is written; the pillar's ``diskless:adopt`` lists those that may be replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from salt_diskless import tree
from salt_diskless.boot import dhcpd as dhcpd_text
from salt_diskless.boot import pxelinux
from salt_diskless.cluster.errors import DisklessError, Problem, shown
from salt_diskless.cluster.model import Site
from salt_diskless.platform import PLATFORMS, Platform
from salt_diskless.preflight import daemon_options, look
from salt_diskless.services import dhcpd, shell_settings
from salt_diskless.state import originals

#: What the packages of the distributions write as the directory of their TFTP daemon.
_TFTP_DEFAULTS = frozenset({None, "", *(names.tftp_root for names in PLATFORMS.values())})
#: Where the RHEL family has dhcpd's arguments, which may be interfaces (dhcpd(8)).
_DHCPD_ARGUMENTS = "/etc/sysconfig/dhcpd"
_DHCP_DEFAULTS = frozenset({None, ""})


def problems(site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each file or setting that somebody else wrote, that is in the way, and
    that ``diskless:adopt`` does not list."""
    for path in _marked_files(platform):
        yield from _file(path, site, platform)
    yield from _settings(site, platform)
    yield from _other_settings(site, platform)


def _marked_files(platform: Platform) -> Iterator[str]:
    """Yield the files, other than nodes', of which the first line says that the project wrote
    them."""
    yield platform.dhcp_config
    yield platform.key_file
    yield platform.exports_file
    yield platform.nfs_settings
    if platform.tftp_unit:
        yield platform.tftp_unit
    if platform.dhcp_unit:
        yield platform.dhcp_unit
    yield f"{platform.tftp_root}/{pxelinux.CONFIG}/default"


def _file(path: str, site: Site, platform: Platform) -> Iterator[Problem]:
    kind = look.kind(path)
    if kind is None or (path in site.adopt and kind == "a file"):
        return
    if kind != "a file":
        yield Problem(path, kind, "move it away: salt-diskless writes a file there")
    elif not look.is_marked(path) and not (
        path == platform.dhcp_config and dhcpd.is_pristine(path, tree.read(path) or b"", platform)
    ):
        yield look.foreign(path)


def _settings(site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each variable in a file of shell assignments that is neither what a
    package wrote nor what the project would."""
    interfaces = " ".join(sorted(dhcpd_text.interfaces(site)))
    is_applied = look.is_marked(f"{platform.tftp_root}/{pxelinux.CONFIG}/default")
    for path, key, wanted, defaults in (
        (platform.tftp_defaults, platform.tftp_root_key, platform.tftp_root, _TFTP_DEFAULTS),
        (platform.dhcp_defaults, platform.dhcp_interfaces_key, interfaces, _DHCP_DEFAULTS),
    ):
        if not path or not key or path in site.adopt:
            continue
        kind = look.kind(path)
        if kind not in (None, "a file"):
            yield Problem(path, str(kind), "put a file there: salt-diskless changes it")
            continue
        try:
            value = shell_settings.value(path, key)
        except DisklessError as err:
            where, _, rest = str(err).partition(": found ")
            what, _, right = rest.partition("; ")
            yield Problem(where, what, f"{right}; or add {path} to the list diskless:adopt")
            continue
        if value in defaults or value == wanted:
            continue
        written = originals.settings(path, key)
        if written is None:
            # A version of this software that recorded no values may have set it.
            is_ours = originals.is_written(path)
            if is_ours or (is_ours is None and is_applied):
                continue
        if written is None or value not in written:
            yield Problem(
                path,
                f"{key}={shown(value)}",
                f"remove it, or have it set to {shown(wanted)}: add {path} to the list "
                "diskless:adopt in the pillar",
            )


def _other_settings(site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each variable that the project does not set, and with which a daemon
    reads another configuration, or does not listen where the nodes are."""
    addresses = {str(address) for address in site.server.addresses}
    interfaces = dhcpd_text.interfaces(site)

    def dhcpd_reason(value: str) -> str | None:
        return daemon_options.dhcpd_reason(value, platform.dhcp_config, interfaces)

    def config_reason(value: str) -> str | None:
        return (
            None if value == platform.dhcp_config else f"dhcpd has to read {platform.dhcp_config}"
        )

    def address_reason(value: str) -> str | None:
        return daemon_options.address_reason(value, addresses)

    def options_reason(value: str) -> str | None:
        # SUSE's unit, for which the project has no drop-in, gives -s itself.
        secure = "" if platform.tftp_unit else "-s "
        return daemon_options.tftpd_reason(secure + value, addresses)

    reasons: tuple[tuple[str | None, str | None, Callable[[str], str | None]], ...] = (
        (platform.dhcp_defaults, "DHCPDv4_CONF", config_reason),
        (platform.dhcp_defaults, "OPTIONS", dhcpd_reason),
        (platform.dhcp_defaults, "DHCPD_OTHER_ARGS", dhcpd_reason),
        (None if platform.dhcp_defaults else _DHCPD_ARGUMENTS, "DHCPDARGS", dhcpd_reason),
        (platform.tftp_defaults, "TFTP_ADDRESS", address_reason),
        (platform.tftp_defaults, platform.tftp_options_key, options_reason),
    )
    for path, key, reason_of in reasons:
        if not path or not key or path in site.adopt or look.kind(path) != "a file":
            continue
        try:
            value = shell_settings.value(path, key)
        except DisklessError:
            continue  # Only the variables that the project sets have to be clear.
        # Without a value the project sets what nodes need.
        if value and (reason := reason_of(value)):
            yield Problem(path, f"{key}={shown(value)}", f"mend or remove it: {reason}")
