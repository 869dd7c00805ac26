"""What may stand in the pillar: one pydantic model per kind of thing, field by field.

Every value that reaches a configuration file, a shell line or a kernel line is limited here to the
characters that it can be made of, so nothing downstream has to quote.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from netaddr import (
    INET_PTON,
    AddrFormatError,
    IPAddress,
    IPNetwork,
    IPRange,
    valid_ipv4,
    valid_ipv6,
)
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from salt_diskless.boot import kernel_line
from salt_diskless.cluster import paths
from salt_diskless.cluster.errors import shown
from salt_diskless.regex import lazy_regex

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = lazy_regex(rf"{_LABEL}(?:\.{_LABEL})*")
_NAME = lazy_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAC = lazy_regex(r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}")
_MAC_PREFIX = lazy_regex(r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){2,4}")
#: What a machine says of itself, such as its serial number: nothing that means anything to a shell,
#: to YAML or to Jinja.
_CLAIM = lazy_regex(r"[A-Za-z0-9._/+,=@-][A-Za-z0-9 ._/+,=@-]{0,63}")
#: No node boots by the loopback.
_INTERFACE = lazy_regex(r"(?!lo\Z)[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_CONSOLE = lazy_regex(r"[A-Za-z][A-Za-z0-9]{0,14}[0-9](?:,[0-9]{3,7}(?:[neo](?:[78]r?)?)?)?")
_PATH = lazy_regex(r"(?:/[A-Za-z0-9._+@:-]+)+")
_SCRUB = lazy_regex(r"(?=.{1,900}\Z)(?:/(?!\.\.?(?:/|$)|[^/]*\*\*)[A-Za-z0-9._+@:*?-]+)+")
_FSTAB_WORD = r"[A-Za-z0-9._+@:,=/%~^#\[\]\\-]{1,900}"
#: A mount point; or fstab(5): what, where, type, and perhaps options and two numbers.
_FSTAB = lazy_regex(
    rf"/{_FSTAB_WORD}|{_FSTAB_WORD} +/{_FSTAB_WORD} +[a-z0-9._-]+"
    rf"(?: +{_FSTAB_WORD}(?: +[0-9]){{0,2}})?"
)
_PATTERN = lazy_regex(r"[A-Za-z0-9._+@:*?/\[\]-]{1,900}")
_KERNEL_LINE = lazy_regex(r"[A-Za-z0-9._+@:,=/%~^#-]+(?: [A-Za-z0-9._+@:,=/%~^#-]+)*")
_TEXT = lazy_regex(r"[^\x00-\x1f\x7f-\x9f\"'\\\u2028\u2029]{1,200}")
_VERSION = lazy_regex(r"[0-9]{8}T[0-9]{6}(?:-[0-9]{1,3})?")
_TMPFS_SIZE = lazy_regex(r"(?:[1-9][0-9]{0,8}[KMG]|(?:[1-9][0-9]?|100)%)")
#: None of those that a shell or the dynamic loader has a use for.
_VARIABLE = lazy_regex(r"(?!(?:PATH|IFS|ENV|HOME|SHELL)\Z|LD_|BASH)[A-Za-z_][A-Za-z0-9_]{0,63}")
_RELEASE = lazy_regex(r"[0-9][A-Za-z0-9._+~-]{0,63}")
_PERCENT = lazy_regex(r"[1-9][0-9]{0,2}%")
_SIZE = lazy_regex(r"[1-9][0-9]{0,5}[MG]")
#: swap.h has 16 bytes for it.
_SWAP_LABEL = lazy_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_MODULE = lazy_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,54}")
_LABEL_OF_DISK = lazy_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,15}")
_PACKAGE = lazy_regex(r"[A-Za-z0-9][A-Za-z0-9.+:_-]{0,127}")
_SLS = lazy_regex(r"[A-Za-z0-9_-]{1,64}(?:\.[A-Za-z0-9_-]{1,64}){0,15}")
_TAG = lazy_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,254}")
_SITE = rf"https?://{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?"
_STEP = r"/(?!\.\.?(?:/|$))[A-Za-z0-9._~%+:-]+"
#: With the two variables of dnf.conf(5) that a release has.
_DNF_STEP = r"/(?!\.\.?(?:/|$))(?:[A-Za-z0-9._~%+:-]|\$basearch|\$releasever)+"
_MIRROR = lazy_regex(rf"(?:{_SITE}|(?:file|copy)://(?=/.))(?:{_STEP})*/?")
_REPOSITORY = lazy_regex(rf"(?:{_SITE}|file://(?=/.))(?:{_DNF_STEP})*/?")

#: Directories that are never an entry: the kernel's, and the ones that are a tmpfs on every node.
NEVER_AN_ENTRY = (
    *("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp"),
    # Links into /run in each version.
    *("/var/run", "/var/lock"),
)

#: What a root has at its top.
TOP_LEVEL = frozenset(
    {"bin", "boot", "dev", "etc", "home", "lib", "lib64", "opt", "proc", "root", "run", "sbin"}
    | {"srv", "sys", "tmp", "usr", "var"}
)


@dataclass(frozen=True, slots=True)
class AddressRun:
    """As many addresses as there are nodes, from ``first`` on: ``10.8.226.75+``."""

    first: IPAddress

    def __str__(self) -> str:
        return f"{self.first}+"


def is_host_name(name: str) -> bool:
    """Tell whether ``name`` is a host name (RFC 1123 section 2.1, 253 characters at most)."""
    return len(name) <= 253 and _DOMAIN.fullmatch(name) is not None


def is_claim(text: str) -> bool:
    """Tell whether ``text`` may be the serial number or the asset tag of a machine."""
    return _CLAIM.fullmatch(text) is not None


def is_name(name: str) -> bool:
    """Tell whether ``name`` may name a thing of the pillar, such as a minion."""
    return _NAME.fullmatch(name) is not None


def _text(right: str, pattern: re.Pattern[str]) -> Any:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(right)
        return value

    return BeforeValidator(check)


def _serial(value: str) -> str:
    # Only rules have serial numbers.
    from salt_diskless.cluster.placeholders import is_placeholder

    if is_placeholder(value):
        raise ValueError(
            "give a serial number of one machine; many makers write this text into all of theirs"
        )
    return value


def _host_name(value: Any) -> str:
    if not isinstance(value, str) or not is_host_name(value) or _ends_with_digits(value):
        raise ValueError(
            "give a host name (RFC 1123: letters, digits, '-', labels up to 63), like example.com"
        )
    return value


def _ends_with_digits(name: str) -> bool:
    """Return True for an address and the like: no top-level domain has only digits."""
    return name.rpartition(".")[2].isdecimal()


def _ssh_host(value: Any) -> str:
    """Check what ssh can reach: a host name, or an address of IPv4 or IPv6."""
    right = "give a host name or address, like 10.8.226.73"
    if isinstance(value, str) and ":" in value:
        is_right = valid_ipv6(value) and not (IPAddress(value).is_multicast() or value == "::")
    elif isinstance(value, str) and value.replace(".", "").isdecimal():
        is_right = valid_ipv4(value, INET_PTON) and 1 <= int(value.partition(".")[0]) < 224
    else:
        is_right = isinstance(value, str) and is_host_name(value)
    if not is_right:
        raise ValueError(right)
    return str(value)


def _mac(value: Any) -> str:
    if isinstance(value, bool | int | float):
        raise ValueError(
            'YAML made a number of an unquoted MAC; put it in quotes, like "52:54:00:00:00:01"'
        )
    if not isinstance(value, str) or not _MAC.fullmatch(value):
        raise ValueError('give six bytes in hex, like "52:54:00:00:00:01"')
    mac = value.replace("-", ":").lower()
    if mac == "00:00:00:00:00:00" or int(mac[:2], 16) & 1:
        raise ValueError("give the MAC of one machine, neither zero, broadcast nor multicast")
    return mac


def _address(value: Any) -> IPAddress:
    try:
        return IPAddress(int.from_bytes(socket.inet_pton(socket.AF_INET, value), "big"), 4)
    except (OSError, ValueError, TypeError):
        raise ValueError("give an IPv4 address in full, like 10.8.226.73") from None


#: No machine has one of these: this network, loopback, multicast, reserved and broadcast.
_NOBODYS = tuple(map(IPNetwork, ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3")))


def _host_address(value: Any) -> IPAddress:
    address = _address(value)
    if not 1 <= int(address) >> 24 < 224 or int(address) >> 24 == 127:
        raise ValueError(
            "give the address of one machine, like 10.8.226.73 (this is a loopback, multicast, "
            "broadcast or reserved address)"
        )
    return address


def _address_run(value: Any) -> IPAddress | AddressRun:
    if isinstance(value, str) and value.endswith("+"):
        return AddressRun(_host_address(value[:-1]))
    return _host_address(value)


def _places(value: Any) -> IPAddress | AddressRun | IPRange:
    return _range(value) if isinstance(value, str) and "-" in value else _address_run(value)


def _mac_prefix(value: Any) -> str:
    if not isinstance(value, str) or not _MAC_PREFIX.fullmatch(value):
        raise ValueError('give the first bytes of MACs in quotes, three at least, like "00:21:5E"')
    return value.replace("-", ":").lower()


def _subnet(value: Any) -> IPNetwork:
    try:
        if not isinstance(value, str) or "/" not in value:
            raise TypeError
        subnet = IPNetwork(value, version=4)
    except (AddrFormatError, ValueError, TypeError):
        raise ValueError("give an IPv4 subnet with its prefix, like 10.8.226.0/24") from None
    if any(subnet in network or network in subnet for network in _NOBODYS):
        raise ValueError("give a subnet of machines, like 10.8.226.0/24")
    if subnet.ip != subnet.network or not 1 <= subnet.prefixlen <= 30:
        raise ValueError(
            f"give the subnet's own address and a prefix up to /30, like {subnet.cidr}"
        )
    return subnet


def _range(value: Any) -> IPRange:
    try:
        first, last = value.split("-")
        return IPRange(_host_address(first.strip()), _host_address(last.strip()))
    except (AddrFormatError, AttributeError, ValueError, TypeError):
        raise ValueError("give first-last, like 10.8.226.200-10.8.226.250") from None


#: NAME_MAX; and what NFS takes of a path (MNTPATHLEN, 1024), less what is in an image's directory.
_LONGEST_PART, _LONGEST_PATH = 255, 900


def _path(value: Any) -> str:
    if (
        not isinstance(value, str)
        or not _PATH.fullmatch(value)
        or {".", ".."} & {*value.split("/")}
    ):
        raise ValueError(
            "give an absolute path of letters, digits and ._+@:- without '..', '//' or a '/' at "
            "the end, like /srv/golden"
        )
    if len(value) > _LONGEST_PATH or max(map(len, value.split("/"))) > _LONGEST_PART:
        raise ValueError(
            f"give a path of at most {_LONGEST_PATH} characters, {_LONGEST_PART} in each part, "
            "like /srv/golden"
        )
    return value


def _entry_path(value: str) -> str:
    for taken in NEVER_AN_ENTRY:
        if value == taken or value.startswith(taken + "/"):
            raise ValueError(f"leave it out: {taken} is in memory on every node")
    return value


#: Only as an overlay: what a node kept of them would not go with its next version.
_ONLY_OVER = ("/etc", "/usr", "/var")
#: What a node boots from and runs: only as an overlay, or what is below it as a copy.
_BOOTS_FROM = (
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/boot", "/efi", "/usr/bin"),
    *("/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/libexec"),
    *("/usr/share", "/var/lib/dpkg", "/var/lib/rpm"),
)


def _apart(right: str, reason: Callable[[str], str | None]) -> AfterValidator:
    """Return a check of a path: ``reason`` says why it cannot be used, ``right`` what can."""

    def check(value: str) -> str:
        why = reason(value)
        if why is not None:
            raise ValueError(f"{right}: {why}")
        return value

    return AfterValidator(check)


def _kernel_append(value: str) -> str:
    for word in value.split(" "):
        right = kernel_line.reserved(word)
        if right is not None:
            raise ValueError(right)
    return value


def _nfs(value: Any) -> str:
    text = {3: "3", 4.2: "4.2"}.get(value, value) if isinstance(value, int | float) else value
    if text not in ("3", "4.2"):
        raise ValueError("give 3 or 4.2")
    return text


def _driver(value: str) -> str:
    return value.replace("-", "_")


def _whole(least: int, most: int, like: str) -> Any:
    """Return a check of a whole number."""

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"give a whole number from {least} to {most}, like {like}")
        return value

    return BeforeValidator(check)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("give true or false")
    return value


def _release(value: Any) -> str:
    text = shown(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise ValueError('give a release, like 9, or "9.4" in quotes')
    return text


def _one_or_many(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError(_TEXT_RIGHT)
    return value


Name = Annotated[str, _text("give letters, digits and ._- , 64 at most, like compute", _NAME)]
HostName = Annotated[str, BeforeValidator(_host_name)]
Mac = Annotated[str, BeforeValidator(_mac)]
Address = Annotated[Any, BeforeValidator(_host_address)]
AddressOrRun = Annotated[Any, BeforeValidator(_address_run)]
Places = Annotated[Any, BeforeValidator(_places)]
MacPrefix = Annotated[str, BeforeValidator(_mac_prefix)]
Claim = Annotated[
    str,
    _text(
        "give 1 to 64 of letters, digits, blanks and ._/+,=@- , not a blank first, like 06DXK41",
        _CLAIM,
    ),
]
Serial = Annotated[Claim, AfterValidator(_serial)]
Subnet = Annotated[Any, BeforeValidator(_subnet)]
Range = Annotated[Any, BeforeValidator(_range)]
Interface = Annotated[
    str, _text("give an interface's name, like eth0 (15 characters at most)", _INTERFACE)
]
Path = Annotated[str, BeforeValidator(_path)]
EntryPath = Annotated[Path, AfterValidator(_entry_path)]
ScrubPath = Annotated[
    str,
    _text("give an absolute path, whose parts may have * and ?, like /etc/krb5.keytab", _SCRUB),
]
FstabLine = Annotated[
    str,
    _text(
        "give a mount point of the golden node's fstab, like /home, or a whole line of a network "
        "file system, like 10.8.226.2:/home /home nfs rw,_netdev 0 0",
        _FSTAB,
    ),
]
Package = Annotated[str, _text("give a package's name, like openssh-server", _PACKAGE)]
Release = Annotated[str, _text("give a kernel's release in quotes, like 6.1.0-28-amd64", _RELEASE)]
Driver = Annotated[
    str,
    _text("give a kernel module's name, like virtio_net", _MODULE),
    AfterValidator(_driver),
]
Mirror = Annotated[
    str, _text("give one URL of http, https, file or copy, like file:///srv/debian", _MIRROR)
]
Repository = Annotated[
    str, _text("give one URL of http, https or file, like file:///srv/rocky/BaseOS", _REPOSITORY)
]
Location = Annotated[
    Path,
    _apart(
        "give the image a directory of its own, like /diskless/x86_64/compute",
        paths.location_reason,
    ),
]
File = Annotated[
    Path, _apart("give the path of a file, like /srv/golden.tar", paths.directory_reason)
]
SourceDirectory = Annotated[
    Path, _apart("give the directory of a golden root, like /srv/golden", paths.source_reason)
]
TftpRoot = Annotated[
    Path, _apart("give a directory for the TFTP root, like /srv/tftp", paths.tftp_root_reason)
]


def _file(name: str) -> AfterValidator:
    """Return the check of a path of ``lookup`` that is written or read."""
    return _apart(
        f"give a path like {paths.LIKE[name]}", functools.partial(paths.file_reason, name)
    )


ShellVariable = Annotated[
    str, _text("give the name of a shell variable, like TFTP_OPTIONS", _VARIABLE)
]
_TEXT_RIGHT = (
    "give one line of at most 200 characters without quotes, backslashes or control characters, "
    "like compute nodes"
)
Text = Annotated[str, _text(_TEXT_RIGHT, _TEXT), AfterValidator(_printable)]
Switch = Annotated[bool, BeforeValidator(_switch)]
Seconds = Annotated[int, _whole(60, 0x7FFFFFFF, "21600")]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True
    )


class ServerIn(_Strict):
    address: Address | None = None
    interface: Interface | None = None
    interfaces: dict[Interface, Address] | None = None


class LeaseIn(_Strict):
    default: Seconds = 21600
    max: Seconds = 43200


class NetworkIn(_Strict):
    subnet: Subnet
    server: Name | None = None
    routers: list[Address] = []
    nameservers: list[Address] = []
    domain: HostName | None = None
    nis_domain: Name | None = None
    time_offset: Annotated[int, _whole(-86400, 86400, "-18000")] | None = None
    lease_time: LeaseIn = LeaseIn()
    discovery_range: Range | None = None
    syslog: Address | None = None


class BootstrapIn(_Strict):
    """``suite`` and what belongs to apt, or ``releasever`` and what belongs to dnf."""

    suite: Name | None = None
    mirror: Mirror | None = None
    components: Annotated[list[Name], Field(min_length=1)] = ["main"]
    # mmdebstrap(1), VARIANTS, without those that install nothing by themselves.
    variant: Literal[
        "essential", "apt", "required", "minbase", "buildd", "important", "debootstrap", "standard"
    ] = "minbase"
    keyring: File | None = None
    releasever: Annotated[str, BeforeValidator(_release)] | None = None
    repositories: dict[Name, Repository] = {}
    gpgkey: File | None = None


class SourceIn(_Strict):
    directory: SourceDirectory | None = None
    archive: File | None = None
    tag: Annotated[str, _text("give a tag, like compute:1.2", _TAG)] | None = None
    bootstrap: BootstrapIn | None = None
    minion: Name | None = None
    host: Annotated[str, BeforeValidator(_ssh_host)] | None = None
    user: Name = "root"
    port: Annotated[int, _whole(1, 65535, "22")] = 22
    identity: File | None = None
    known_hosts: File | None = None


#: What lies beside the images' directories in the TFTP root.
_OF_LOADERS = frozenset({"pxelinux.0", "pxelinux.cfg", "registry", "announced", "lpxelinux.0"})


def image_name_problem(name: str) -> str | None:
    """Return what is right instead of ``name`` for an image, or None where that can be its name:
    it is a directory beside the loaders' files."""
    lower = name.lower()
    if lower in _OF_LOADERS or lower.endswith((".c32", ".0", ".efi", ".cfg", ".diskless-new")):
        return "give another name: a boot loader has a file of this name beside the images'"
    return None


class ImageIn(_Strict):
    description: Text | None = None
    location: Location
    source: SourceIn | None = None
    exclude: list[
        Annotated[
            str,
            _text("give an rsync pattern, like /scratch or *.iso", _PATTERN),
            _apart("give an rsync pattern, like /scratch or *.iso", paths.pattern_reason),
        ]
    ] = []
    scrub: list[Annotated[ScrubPath, _apart("give a path of less", paths.pattern_reason)]] = []
    keep: list[ScrubPath] = []
    fstab: list[FstabLine] = []
    kernel: Release | None = None
    initramfs: Literal["dracut", "initramfs-tools"] | None = None
    live: Switch = False
    packages: list[Package] = []
    absent_packages: list[Package] = []
    golden_states: list[
        Annotated[str, _text("give an SLS as a top file has it, like compute.node", _SLS)]
    ] = []


def _moment(value: Any) -> datetime.datetime:
    if isinstance(value, str) and len(value) <= 64:
        with contextlib.suppress(ValueError):
            # Python 3.10 does not know that Z is +00:00.
            value = datetime.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", value.strip()))
    if not isinstance(value, datetime.datetime):
        raise ValueError("give a date and a time, like 2026-11-27T18:00:00Z")
    # YAML makes a time without a zone of one with.
    return value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)


class RuleIn(_Strict):
    """Which machines are accepted without anybody's yes, and what they are then."""

    macs: list[Mac] | None = None
    prefixes: list[MacPrefix] | None = None
    serials: list[Serial] | None = None
    next: Annotated[int, _whole(1, 10000, "16")] | None = None
    since: Annotated[Any, BeforeValidator(_moment)] | None = None
    until: Annotated[Any, BeforeValidator(_moment)] | None = None
    nodes: str
    ip: Places | None = None
    profile: Name | None = None


class ConflictIn(_Strict):
    """What ``diskless_nodes`` on the master found: a node of the registry that is listed by hand as
    something else."""

    path: Annotated[str, Field(max_length=300)]
    found: Annotated[str, Field(max_length=500)]
    right: Annotated[str, Field(max_length=500)]


class RegistryIn(_Strict):
    rules: dict[Name, RuleIn] = {}
    conflicts: list[ConflictIn] = []
    number: Annotated[int, _whole(0, 1 << 63, "0")] = 0


class EntryIn(_Strict):
    path: EntryPath
    how: Literal["persistent", "tmpfs", "copy", "overlay", "localdisk"] = "persistent"

    @model_validator(mode="after")
    def _fits(self) -> EntryIn:
        if self.how != "overlay" and self.path in _ONLY_OVER:
            raise ValueError(
                "name the directories below it that nodes write, not all of it; or make it an "
                "overlay"
            )
        above = next((top for top in _BOOTS_FROM if f"{self.path}/".startswith(f"{top}/")), None)
        if above == self.path and self.how != "overlay":
            raise ValueError(
                f"leave it out, or make it an overlay: {above} belongs to a version, and files "
                "of it that a node keeps would not match the next version"
            )
        if above is not None and self.how not in ("overlay", "copy"):
            raise ValueError(
                f"make it an overlay or a copy, or leave it out: {above} belongs to a version, and "
                "files of it that a node keeps would not match the next version"
            )
        if self.how == "overlay" and ":" in self.path:
            raise ValueError("make it something else: the path of an overlay has no colon")
        return self


class TimeoutIn(_Strict):
    after: Seconds
    then: Literal["reboot", "halt", "shell"] = "reboot"


class SwapIn(_Strict):
    """Which keys go with which kind, :meth:`_check` says."""

    kind: Literal["zram", "nfs", "disk", "none"] = "zram"
    size: str | None = None
    label: Annotated[str, _text("give a swap label, like diskless-swap", _SWAP_LABEL)] | None = None

    @model_validator(mode="after")
    def _check(self) -> SwapIn:
        if (self.label is not None) != (self.kind == "disk"):
            raise ValueError(
                "leave label out: it goes with kind disk"
                if self.label is not None
                else "give the label of the partition, like diskless-swap"
            )
        if self.kind in ("disk", "none") and self.size is not None:
            raise ValueError(f"leave size out: it does not go with kind {self.kind}")
        if self.kind == "zram" and self.size is not None and not _is_zram_size(self.size):
            raise ValueError("give size of memory, 1% to 200%, or like 512M or 2G, 16M at least")
        if self.kind == "nfs" and not (self.size and _is_size(self.size)):
            raise ValueError("give size, like 512M or 2G, 16M at least")
        return self


def _is_size(text: str) -> bool:
    return bool(_SIZE.fullmatch(text)) and (text[-1] == "G" or int(text[:-1]) >= 16)


def _is_zram_size(text: str) -> bool:
    return _is_size(text) or (bool(_PERCENT.fullmatch(text)) and int(text[:-1]) <= 200)


def _swap(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("give none, zram, or keys, like {kind: nfs, size: 512M}")
    return {"kind": value} if isinstance(value, str) else value


def _entry(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class SettingsIn(_Strict):
    profile: Name | None = None
    image: Name | None = None
    version: (
        Annotated[str, _text("give a version's name, like 20261124T155012", _VERSION)] | None
    ) = None
    kernel: Release | None = None
    drivers: list[Driver] | None = None
    network: Name | None = None
    interface: Interface | None = None
    serial_console: (
        Annotated[str, _text("give device,speed, like ttyS0,115200n8", _CONSOLE)] | None
    ) = None
    root: Literal["readonly", "overlay", "squashfs", "ram"] | None = None
    overlay_size: Annotated[str, _text("give a size, like 512M, 2G or 50%", _TMPFS_SIZE)] | None = (
        None
    )
    nfs: Annotated[str, BeforeValidator(_nfs)] | None = None
    swap: Annotated[SwapIn, BeforeValidator(_swap)] | None = None
    journal: Literal["memory", "snapshot"] | None = None
    nis_domain: Name | None = None
    timeout: TimeoutIn | None = None
    kernel_append: (
        Annotated[
            str,
            _text(
                "give words of letters, digits and ._+@:,=/%~^#- , one space between, like "
                "net.ifnames=0 panic=30",
                _KERNEL_LINE,
            ),
            AfterValidator(_kernel_append),
        ]
        | None
    ) = None
    files: list[Annotated[EntryIn, BeforeValidator(_entry)]] | None = None
    localdisk: (
        Annotated[str, _text("give a file system's label, like diskless-local", _LABEL_OF_DISK)]
        | None
    ) = None
    host_keys: list[Literal["ed25519", "ecdsa", "rsa"]] | None = None


class NodeIn(SettingsIn):
    mac: Annotated[list[Mac], BeforeValidator(_one_or_many)]
    ip: Annotated[list[AddressOrRun], BeforeValidator(_one_or_many)]
    bmc: Annotated[list[AddressOrRun], BeforeValidator(_one_or_many)] | None = None


class LookupIn(_Strict):
    """What ``map.jinja`` knows for each distribution and the pillar may replace."""

    image_packages: list[Name] | None = None
    apt_packages: list[Name] | None = None
    dnf_packages: list[Name] | None = None
    container_packages: list[Name] | None = None
    squashfs_packages: list[Name] | None = None
    golden_packages: list[Name] | None = None
    ssh_service: Name | None = None
    rrsync: Annotated[Path, _file("rrsync")] | None = None
    dhcp_packages: list[Name] | None = None
    dhcp_service: Name | None = None
    dhcp_config: Annotated[Path, _file("dhcp_config")] | None = None
    dhcp_defaults: Annotated[Path, _file("dhcp_defaults")] | None = None
    dhcp_interfaces_key: ShellVariable | None = None
    dhcp_unit: Annotated[Path, _file("dhcp_unit")] | None = None
    dhcp_key_file: Annotated[Path, _file("dhcp_key_file")] | None = None
    tftp_packages: list[Name] | None = None
    tftp_service: Name | None = None
    tftp_defaults: Annotated[Path, _file("tftp_defaults")] | None = None
    tftp_root_key: ShellVariable | None = None
    tftp_options_key: ShellVariable | None = None
    tftp_unit: Annotated[Path, _file("tftp_unit")] | None = None
    tftp_root: TftpRoot | None = None
    nfs_packages: list[Name] | None = None
    nfs_service: Name | None = None
    nfs_settings: Annotated[Path, _file("nfs_settings")] | None = None
    mountd_service: Name | None = None
    exports_file: Annotated[Path, _file("exports_file")] | None = None
    pxelinux: Annotated[Path, _file("pxelinux")] | None = None
    pxelinux_modules: Annotated[Path, _file("pxelinux_modules")] | None = None
