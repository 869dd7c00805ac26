"""What a distribution calls its packages, services and files. ``map.jinja`` shows it to the SLS.

Sources: the file lists of Debian's isc-dhcp-server, tftpd-hpa, pxelinux, syslinux-common,
nfs-kernel-server and rsync; RHEL 9's dhcp-server, tftp-server, syslinux, nfs-utils and
rsync-rrsync; openSUSE Leap's dhcp-server, tftp, syslinux, nfs-kernel-server and rsync.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown


@dataclass(frozen=True, slots=True)
class Platform:
    """Names on one distribution.

    dhcp_defaults, dhcp_interfaces_key
        The file and its shell variable that say which interfaces dhcpd listens on; None where
        dhcpd takes them from its configuration.
    dhcp_unit
        The systemd drop-in that has dhcpd started again until its address is there.
    dhcp_key_file
        Where dhcpd's key for changes while it runs is; None: beside ``dhcp_config``.
    tftp_defaults, tftp_root_key, tftp_options_key
        The file and its shell variables that say which directory the TFTP daemon serves, and its
        options; None where it always serves ``tftp_root``.
    tftp_unit
        The systemd drop-in of the TFTP daemon (systemd.unit(5)): it has the daemon started again
        until its address is there, or, without ``tftp_defaults``, started with other options.
    apt_packages, dnf_packages, container_packages
        What an image needs beside ``image_packages`` when its source has to be made or read by
        other programs: mmdebstrap, dnf, skopeo and umoci.
    squashfs_packages
        What makes a version one file, where nodes boot such a one.
    golden_packages, ssh_service, rrsync
        What a golden machine needs to be read: its packages, the service of sshd, and the program
        that holds an ssh key to rsync (rrsync(1)).
    pxelinux, pxelinux_modules
        The loader, and the directory of its ``*.c32`` modules.
    """

    image_packages: tuple[str, ...]
    apt_packages: tuple[str, ...]
    dnf_packages: tuple[str, ...]
    container_packages: tuple[str, ...]
    squashfs_packages: tuple[str, ...]
    golden_packages: tuple[str, ...]
    ssh_service: str
    rrsync: str
    dhcp_packages: tuple[str, ...]
    dhcp_service: str
    dhcp_config: str
    dhcp_defaults: str | None
    dhcp_interfaces_key: str | None
    dhcp_unit: str | None
    dhcp_key_file: str | None
    tftp_packages: tuple[str, ...]
    tftp_service: str
    tftp_defaults: str | None
    tftp_root_key: str | None
    tftp_options_key: str | None
    tftp_unit: str | None
    tftp_root: str
    nfs_packages: tuple[str, ...]
    nfs_service: str
    nfs_settings: str
    mountd_service: str
    exports_file: str
    pxelinux: str
    pxelinux_modules: str

    @property
    def key_file(self) -> str:
        """The file that has dhcpd's key for changes while it runs."""
        beside = f"{os.path.dirname(self.dhcp_config)}/diskless-omapi.key"
        return self.dhcp_key_file or beside

    def as_dict(self) -> dict[str, Any]:
        """Return the names as a plain dict (tuples as lists)."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


_DEBIAN = Platform(
    image_packages=("rsync", "openssh-client"),
    # gpg tells mmdebstrap whether apt here trusts the suite's keys.
    apt_packages=("mmdebstrap", "gpg"),
    dnf_packages=("dnf",),
    container_packages=("skopeo", "umoci"),
    squashfs_packages=("squashfs-tools",),
    golden_packages=("rsync", "openssh-server", "python3"),
    ssh_service="ssh",
    rrsync="/usr/bin/rrsync",
    dhcp_packages=("isc-dhcp-server",),
    dhcp_service="isc-dhcp-server",
    dhcp_config="/etc/dhcp/dhcpd.conf",
    dhcp_defaults="/etc/default/isc-dhcp-server",
    dhcp_interfaces_key="INTERFACESv4",
    dhcp_unit="/etc/systemd/system/isc-dhcp-server.service.d/salt-diskless.conf",
    dhcp_key_file=None,
    tftp_packages=("tftpd-hpa", "pxelinux", "syslinux-common"),
    tftp_service="tftpd-hpa",
    tftp_defaults="/etc/default/tftpd-hpa",
    tftp_root_key="TFTP_DIRECTORY",
    tftp_options_key="TFTP_OPTIONS",
    tftp_unit="/etc/systemd/system/tftpd-hpa.service.d/salt-diskless.conf",
    tftp_root="/srv/tftp",
    nfs_packages=("nfs-kernel-server",),
    nfs_service="nfs-server",
    nfs_settings="/etc/nfs.conf.d/diskless.conf",
    mountd_service="nfs-mountd",
    exports_file="/etc/exports.d/diskless.exports",
    pxelinux="/usr/lib/PXELINUX/pxelinux.0",
    pxelinux_modules="/usr/lib/syslinux/modules/bios",
)

_REDHAT = Platform(
    image_packages=("rsync", "openssh-clients"),
    # One of EPEL's.
    apt_packages=("mmdebstrap",),
    dnf_packages=("dnf",),
    container_packages=("skopeo", "umoci"),
    squashfs_packages=("squashfs-tools",),
    golden_packages=("rsync", "rsync-rrsync", "openssh-server"),
    ssh_service="sshd",
    rrsync="/usr/bin/rrsync",
    dhcp_packages=("dhcp-server",),
    dhcp_service="dhcpd",
    dhcp_config="/etc/dhcp/dhcpd.conf",
    dhcp_defaults=None,
    dhcp_interfaces_key=None,
    dhcp_unit="/etc/systemd/system/dhcpd.service.d/salt-diskless.conf",
    dhcp_key_file=None,
    tftp_packages=("tftp-server", "syslinux"),
    tftp_service="tftp.socket",
    tftp_defaults=None,
    tftp_root_key=None,
    tftp_options_key=None,
    tftp_unit="/etc/systemd/system/tftp.service.d/salt-diskless.conf",
    tftp_root="/var/lib/tftpboot",
    nfs_packages=("nfs-utils",),
    nfs_service="nfs-server",
    nfs_settings="/etc/nfs.conf.d/diskless.conf",
    mountd_service="nfs-mountd",
    exports_file="/etc/exports.d/diskless.exports",
    pxelinux="/usr/share/syslinux/pxelinux.0",
    pxelinux_modules="/usr/share/syslinux",
)

_SUSE = replace(
    _REDHAT,
    squashfs_packages=("squashfs",),
    golden_packages=("rsync", "openssh-server", "python3"),
    dhcp_config="/etc/dhcpd.conf",
    dhcp_defaults="/etc/sysconfig/dhcpd",
    dhcp_interfaces_key="DHCPD_INTERFACE",
    # The directory that dhcpd's start takes into its chroot.
    dhcp_key_file="/etc/dhcpd.d/diskless-omapi.key",
    tftp_packages=("tftp", "syslinux"),
    tftp_defaults="/etc/sysconfig/tftp",
    tftp_root_key="TFTP_DIRECTORY",
    tftp_options_key="TFTP_OPTIONS",
    tftp_unit=None,
    tftp_root="/srv/tftpboot",
    nfs_packages=("nfs-kernel-server",),
)


def from_dict(names: Mapping[str, Any]) -> Platform:
    """Return the names that :meth:`Platform.as_dict` has made a plain dict of; a name that this
    version of the software has and that one had not is Debian's."""
    known = {field.name for field in fields(Platform)}
    over: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in names.items()
        if key in known
    }
    return replace(_DEBIAN, **over)


#: By the grain ``os_family`` (Ubuntu's is Debian).
PLATFORMS: Mapping[str, Platform] = {"Debian": _DEBIAN, "RedHat": _REDHAT, "Suse": _SUSE}


def of(os_family: str, lookup: Mapping[str, Any]) -> Platform:
    """Return the names on a distribution.

    os_family
        The grain of that name.
    lookup
        The pillar's ``diskless:lookup``: what is called otherwise here.

    Raises :class:`DisklessError` for a distribution that nobody has described.
    """
    known = PLATFORMS.get(os_family)
    if known is None:
        raise DisklessError(
            f"grain os_family: found {shown(os_family)}; boot servers are {', '.join(PLATFORMS)}"
        )
    over: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in lookup.items()}
    if "tftp_root" in over and known.tftp_defaults is None and not over.get("tftp_defaults"):
        raise DisklessError(
            f"diskless:lookup:tftp_root: found {over['tftp_root']}; the TFTP service of "
            f"{os_family} always serves {known.tftp_root}, so leave it out"
        )
    return replace(known, **over)
