"""Which directories and files of a boot server the pillar may give to the project.

Two kinds of rules: what may not be in or above a directory of the system, and what may not be in or
above another path of the pillar. Both are made here for paths as text; ``preflight.paths`` makes
them again for what the paths are on the machine.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from salt_diskless.cluster.errors import Problem
from salt_diskless.cluster.model import Image

_SYSTEM = "belongs to the system"
_MEMORY = "is not on a disk"
_EMPTIED = "is emptied by the system"
_TFTP = "is a TFTP root, which anybody can read"
_SALT = "is what a Salt master serves to its minions"
_PACKAGES = "belongs to the system's packages"

_SERVED = "is what a web or FTP server serves to anybody"

_PACKAGES_STATE = (
    *("AccountsService", "ModemManager", "NetworkManager", "PackageKit", "YaST2", "aide"),
    *("alternatives", "amavis", "apache2", "app-info", "apport", "apt", "aspell", "authselect"),
    *("avahi-autoipd", "bind", "bluetooth", "boltd", "ca-certificates", "ca-certificates-java"),
    *("cassandra", "ceph", "certmonger", "chrony", "cinder", "clamav", "clickhouse", "cloud"),
    *("cobbler", "color", "colord", "command-not-found", "consul", "containerd", "containers"),
    *("corosync", "cups", "dbus", "dhclient", "dhcp", "dhcpcd", "dhcpd", "dictionaries-common"),
    *("dkms", "dnf", "dnsmasq", "doc-base", "docker", "dovecot", "dpkg", "dracut", "elasticsearch"),
    *("emacsen-common", "etcd", "fail2ban", "flatpak", "fprint", "freeipmi", "freeradius", "fwupd"),
    *("ganesha", "gdm", "gdm-settings", "gdm3", "geoclue", "gitea", "gitlab", "glance", "glusterd"),
    *("grafana", "grub", "gssproxy", "haproxy", "hardware", "heat", "ieee-data", "incus"),
    *("influxdb", "initramfs", "initramfs-tools", "insights", "insserv", "ipa", "ipa-client"),
    *("ipmi", "iscsi", "ispell", "jenkins", "kafka", "kea", "keepalived", "keystone", "krb5kdc"),
    *("kubelet", "lastlog", "ldap", "libvirt", "lightdm", "logrotate", "lxc", "lxcfs", "lxd"),
    *("mailman", "man-db", "mariadb", "memcached", "misc", "mlocate", "mongo", "mongodb"),
    *("multipath", "munge", "mysql", "mysql-files", "named", "neo4j", "neutron", "nextcloud"),
    *("nfs-ganesha", "nginx", "nis", "nomad", "nova", "ntp", "nvme", "opendkim", "openldap"),
    *("openvswitch", "os-prober", "osquery", "ovirt", "ovn", "pacemaker", "pam", "pcp"),
    *("pcrlock.d", "pcsd", "pgsql", "php", "plocate", "pmlogger", "polkit-1", "portables"),
    *("postfix", "postgresql", "private", "prometheus", "puppet", "puppetserver", "python"),
    *("rabbitmq", "radiusd", "rancher", "rasdaemon", "readahead", "redis", "rhsm", "roundcube"),
    *("rpcbind", "rpm", "rpm-state", "rsyslog", "rtkit", "salt", "samba", "sddm", "selinux"),
    *("sendmail", "sgml-base", "shim-signed", "slurm", "slurm-llnl", "slurmctld", "slurmd"),
    *("smartmontools", "snapd", "snmp", "spamassassin", "squid", "sss", "stateless", "sudo"),
    *("swcatalog", "syslog-ng", "systemd", "tailscale", "teleport", "texmf", "tomcat", "tomcat10"),
    *("tomcat9", "tor", "tpm", "tuned", "ubuntu-advantage", "ubuntu-drivers-common"),
    *("ubuntu-release-upgrader", "ucf", "udisks2", "unbound", "update-manager", "update-notifier"),
    *("upower", "usbutils", "varnish", "vault", "vim", "vmware", "wicked", "wtmpdb", "xkb"),
    *("xml-core", "xrdp", "yum", "zabbix", "zerotier-one", "zookeeper", "zypp"),
)
#: Directories in which nothing of the project may be, and why.
SYSTEM: Mapping[str, str] = {
    **dict.fromkeys(("/bin", "/boot", "/efi", "/etc", "/lib", "/lib32", "/lib64"), _SYSTEM),
    **dict.fromkeys(("/libx32", "/lost+found", "/root", "/sbin", "/usr", "/selinux"), _SYSTEM),
    **dict.fromkeys(("/nix", "/snap", "/ostree", "/sysroot", "/.snapshots"), _SYSTEM),
    **dict.fromkeys(("/dev", "/proc", "/run", "/sys", "/var/run", "/var/lock"), _MEMORY),
    **dict.fromkeys(("/tmp", "/var/tmp", "/var/cache"), _EMPTIED),
    **dict.fromkeys(("/var/adm", "/var/backups", "/var/crash", "/var/log", "/var/mail"), _SYSTEM),
    **dict.fromkeys(("/var/spool", "/var/db", "/var/empty", "/var/lib/nfs"), _SYSTEM),
    **{f"/var/lib/{name}": _PACKAGES for name in _PACKAGES_STATE},
    "/var/lib/salt-diskless": "is where salt-diskless keeps its own state",
    **dict.fromkeys(("/srv/salt", "/srv/pillar", "/srv/spm", "/srv/formulas"), _SALT),
    **dict.fromkeys(("/afs", "/cgroup", "/misc", "/net"), "is a mount point of the system"),
    **dict.fromkeys(("/var/account", "/var/games", "/var/kerberos", "/var/named"), _PACKAGES),
    **dict.fromkeys(("/var/nis", "/var/preserve", "/var/yp"), _PACKAGES),
    **dict.fromkeys(("/srv/ftp", "/srv/http", "/srv/www", "/var/ftp"), _SERVED),
    **dict.fromkeys(("/var/www/cgi-bin", "/var/www/html"), _SERVED),
}
#: The TFTP roots of the distributions, and the usual other one.
TFTP_ROOTS = ("/srv/tftp", "/srv/tftpboot", "/tftpboot", "/var/lib/tftpboot", "/var/tftpboot")
#: Directories that may have something of the project in them, but are not its own.
_SHARED = ("/home", "/media", "/mnt", "/opt", "/srv", "/var", "/var/lib", "/var/local", "/var/opt")
#: A file that the project writes may be there, too.
_FOR_FILES = ("/etc", "/usr/local/etc", "/usr/local/lib/systemd", "/root", "/var/lib/dhcp")
#: A file that the project only reads, such as a loader, may not be in one of these, nor below it.
_SECRET = ("/etc", "/root", "/home", "/dev", "/proc", "/sys", "/run", "/var/lib/salt-diskless")
#: A golden root may be there.
_FOR_SOURCES = frozenset(
    {"/root", "/run", "/tmp", "/var/tmp", "/var/cache", "/srv/salt", "/var/lib/docker"}
    | {"/var/lib/containers", "/var/lib/portables"}
)
#: The files of ``lookup`` that the project writes, and those that it only reads.
WRITTEN = (
    *("dhcp_config", "dhcp_defaults", "dhcp_unit", "dhcp_key_file", "tftp_defaults", "tftp_unit"),
    *("nfs_settings", "exports_file"),
)
READ = ("pxelinux", "pxelinux_modules", "rrsync")
#: What such a path is like on some distribution.
LIKE: Mapping[str, str] = {
    "dhcp_config": "/etc/dhcp/dhcpd.conf",
    "dhcp_defaults": "/etc/default/isc-dhcp-server",
    "dhcp_unit": "/etc/systemd/system/isc-dhcp-server.service.d/salt-diskless.conf",
    "dhcp_key_file": "/etc/dhcp/diskless-omapi.key",
    "tftp_defaults": "/etc/default/tftpd-hpa",
    "tftp_unit": "/etc/systemd/system/tftpd-hpa.service.d/salt-diskless.conf",
    "nfs_settings": "/etc/nfs.conf.d/diskless.conf",
    "exports_file": "/etc/exports.d/diskless.exports",
    "pxelinux": "/usr/lib/PXELINUX/pxelinux.0",
    "pxelinux_modules": "/usr/lib/syslinux/modules/bios",
    "rrsync": "/usr/bin/rrsync",
}
_DHCP = (
    r"/etc/(?!.*dhclient)(?:[^/]*dhcpd?[0-9]*(?:\.d)?|kea|[^/]*diskless[^/]*)/.+|/etc/dhcpd[^/]*"
)
_UNIT = r"/etc/systemd/system/[^/]*{}[^/]*\.d/[^/]+\.conf"
_DEFAULTS = r"/etc/(?:default|sysconfig|conf\.d)/[^/]*{}[^/]*"
#: Where a file can be in /etc: the other files there belong to other services.
_OF_ETC: Mapping[str, str] = {
    "dhcp_config": _DHCP,
    "dhcp_defaults": _DEFAULTS.format("dhcp"),
    "dhcp_unit": _UNIT.format("dhcp"),
    "dhcp_key_file": _DHCP,
    "tftp_defaults": _DEFAULTS.format("tftp"),
    "tftp_unit": _UNIT.format("tftp"),
    "nfs_settings": r"/etc/nfs\.conf\.d/[^/]+\.conf",
    # exportfs passes over names that begin with a dot (exports(5)).
    "exports_file": r"/etc/exports\.d/[^/.][^/]*\.exports",
}


def above(path: str) -> Iterator[str]:
    """Yield a path and each directory that it is in, without ``/``."""
    while path not in ("", "/"):
        yield path
        path = path.rpartition("/")[0]


def is_in(path: str, directory: str) -> bool:
    """Return True if a path is a directory or something in it."""
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")


def location_reason(path: str) -> str | None:
    """Return why an image cannot be in a directory, or None where it can."""
    closed = {**SYSTEM, **dict.fromkeys(TFTP_ROOTS, _TFTP)}
    return _reason(path, closed) or _shared(path)


def tftp_root_reason(path: str) -> str | None:
    """Return why a directory cannot be the TFTP root, or None where it can."""
    return _reason(path, SYSTEM) or _shared(path)


def file_reason(name: str, path: str) -> str | None:
    """Return why a file of ``lookup`` cannot have this path, or None where it can.

    name
        Its key: of :data:`WRITTEN` or of :data:`READ`.
    """
    if "/." in path:
        return "a part of it begins with a dot"
    if name in READ:
        if path in SYSTEM or path in _SHARED:
            return "it is a directory of the system"
        directory = next((secret for secret in _SECRET if is_in(path, secret)), None)
        return None if directory is None else f"{directory} has no such programs or loaders"
    if is_in(path, "/etc"):
        return None if re.fullmatch(_OF_ETC[name], path) else "that service does not read this file"
    if name == "exports_file":
        return "exportfs reads only files below /etc/exports.d"
    if path.count("/") == 1:
        return "it is at the top of the file system"
    closed = SYSTEM
    if any(is_in(path, directory) for directory in _FOR_FILES):
        closed = {key: why for key, why in SYSTEM.items() if why in (_MEMORY, _EMPTIED)}
    return _reason(path, closed) or ("it is a directory" if path in _SHARED else None)


def source_reason(path: str) -> str | None:
    """Return why a directory cannot be a golden root, or None where it can."""
    closed = {key: SYSTEM[key] for key in SYSTEM if key not in _FOR_SOURCES}
    return _reason(path, closed) or _shared(path)


def directory_reason(path: str) -> str | None:
    """Return why a path cannot be that of a file, or None where it can."""
    if any(is_in(path, directory) for directory in ("/dev", "/proc", "/sys")):
        return "it is no file on a disk"
    is_directory = path in SYSTEM or path in _SHARED or path in TFTP_ROOTS
    return "it is a directory" if is_directory else None


#: Without one of these no node boots.
_NEEDED = (
    *("/bin", "/etc", "/lib", "/lib/modules", "/lib64", "/sbin", "/usr", "/usr/bin", "/usr/lib"),
    *("/usr/lib/modules", "/usr/lib64", "/usr/sbin"),
)


def pattern_reason(pattern: str) -> str | None:
    """Return why a pattern of what is left out of a root cannot be used, or None where it can:
    nothing without which no node boots may be left out whole.

    pattern
        As rsync(1) has it: one that begins with ``/`` is for a path, others for its last parts.
    """
    if {".", ".."} & {*pattern.split("/")} or "//" in pattern:
        return "no path of a root has '.', '..' or '//' in it"
    parts = re.sub(r"(?:/\**)+$", "", pattern).removeprefix("/").split("/")
    for path in _NEEDED:
        own = path.split("/")[1:]
        own = own if pattern.startswith("/") else own[-len(parts) :]
        is_same = len(own) == len(parts) and all(map(fnmatch.fnmatchcase, own, parts))
        if is_same or parts in ([""], ["**"], ["***"]):
            return f"it leaves out {path}, without which no node boots"
    return None


def _reason(path: str, closed: Mapping[str, str]) -> str | None:
    for directory in above(path):
        if directory in closed:
            return f"{directory} {closed[directory]}"
    if "/lost+found/" in f"{path}/":
        return "lost+found belongs to the system"
    inside = next((directory for directory in closed if is_in(directory, path)), None)
    return None if inside is None else f"it contains {inside}, which {closed[inside]}"


def _shared(path: str) -> str | None:
    return f"{path} contains files of others" if path in _SHARED else None


@dataclass(frozen=True, slots=True)
class Use:
    """A path that the pillar or the distribution gives to the project.

    key
        Where it is in the pillar.
    kind
        ``location``, ``tftp_root``, ``written`` or ``read`` (a file), ``source`` (a directory),
        ``private`` (a file that no node may read).
    image
        Whose it is.
    """

    key: str
    kind: str
    path: str
    image: str = ""


#: Returns keys of a path: its own ones, and those of all that it is in.
Keys = Callable[[str], tuple[Iterable[Hashable], Iterable[Hashable]]]


def uses(images: Mapping[str, Image], names: Mapping[str, Any]) -> Iterator[Use]:
    """Yield each path of the images, and of ``names``, which are like those of ``lookup``."""
    for image in images.values():
        key = f"diskless:images:{image.name}"
        yield Use(f"{key}:location", "location", image.location, image.name)
        source = image.source
        if source is None:
            continue
        if source.directory is not None:
            yield Use(f"{key}:source:directory", "source", source.directory, image.name)
        for name in ("archive", "identity", "known_hosts"):
            path = getattr(source, name)
            if path is not None:
                yield Use(f"{key}:source:{name}", "private", path, image.name)
        for name in ("keyring", "gpgkey"):
            path = getattr(source.bootstrap, name, None)
            if path is not None:
                yield Use(f"{key}:source:bootstrap:{name}", "private", path, image.name)
    kinds = {"tftp_root": "tftp_root"}
    kinds |= dict.fromkeys(WRITTEN, "written") | dict.fromkeys(READ, "read")
    for name, kind in kinds.items():
        if names.get(name) is not None:
            yield Use(f"diskless:lookup:{name}", kind, names[name])


def by_text(path: str) -> tuple[Iterable[Hashable], Iterable[Hashable]]:
    """Return the keys of a path as text: see :data:`Keys`."""
    return (path,), above(path)


def conflicts(all_uses: Iterable[Use], keys: Keys = by_text) -> Iterator[Problem]:
    """Yield a problem for each path that may not be in the other one that it is in."""
    known = [*all_uses]
    owners: dict[Hashable, list[Use]] = {}
    for use in known:
        for own in keys(use.path)[0]:
            owners.setdefault(own, []).append(use)
    done: set[frozenset[str]] = set()
    for inner in known:
        for outer in dict.fromkeys(
            use for key in keys(inner.path)[1] for use in owners.get(key, ())
        ):
            pair = frozenset((inner.key, outer.key))
            right = None if inner == outer or pair in done else _rule(inner, outer)
            if right is not None:
                done.add(pair)
                yield Problem(inner.key, inner.path, right)
                if inner.kind == outer.kind == "location":
                    break


def _rule(inner: Use, outer: Use) -> str | None:
    """Return what is right instead of a path that is in another one (or is the same), or None where
    it may be there."""
    whose = f"{outer.key} is {outer.path}"
    if outer.kind == "location":
        if inner.kind == "source" and inner.image != outer.image and inner.path != outer.path:
            return None  # An image may be made from the root of another one.
        if inner.kind != "read":
            return f"give a path outside that image's directory: {whose}"
    elif outer.kind == "tftp_root":
        if inner.kind != "read":
            return f"give a path outside the TFTP root, which anybody can read: {whose}"
    elif outer.kind == "source":
        if inner.kind == "location":
            return (
                f"give a path outside the golden root, or the image is copied into itself: {whose}"
            )
    elif outer.kind == "written":
        return f"give a path of its own: {whose}"
    elif inner.kind in ("written", "location", "tftp_root"):
        return f"give a path of its own, this one is only read: {whose}"
    return None
