"""The kernel line of a node: its words, which of them are reserved, and how long it can be.

This module knows the cluster's model by its types only, so that the checks of a pillar can use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from salt_diskless.boot import roots
from salt_diskless.boot.roots import Roots, Squashfs

if TYPE_CHECKING:
    from salt_diskless.cluster.model import Settings, Swap, Timeout

DIRECTORY = "linux-install"

#: Stands for the node's name; no checked value has this character.
NAME = "\0name\0"

#: COMMAND_LINE_SIZE of x86 without its final zero, and what PXELINUX itself takes.
LONGEST = 2047
#: What PXELINUX appends (SYSAPPEND 3): ``ip=`` with four addresses, and ``BOOTIF=`` with a MAC.
_APPENDED = len(" ip=" + ":".join(["255.255.255.255"] * 4) + " BOOTIF=01-" + "-".join(["00"] * 6))

#: Written by the project or by PXELINUX.
_WRITTEN = frozenset(
    {"BOOT_IMAGE", "BOOTIF", "ip", "initrd", "root", "boot", "ro", "NFSROOT", "SNAPSHOT"}
    | {"ETHERNET", "NISDOMAIN", "diskless.timeout", "nfs.nfs4_unique_id"}
)
#: Would have the node boot something else: the kernel's own NFS root, another init, another root or
#: another name (kernel-parameters.txt, dracut.cmdline(7), initramfs-tools(7), systemd(1)).
_HARMFUL = frozenset(
    {"rw", "init", "rdinit", "noinitrd", "initrdmem", "rootfstype", "rootflags", "rootdelay"}
    | {
        "rootwait",
        "rootdev",
        "nfsroot",
        "nfsaddrs",
        "nfsrootdebug",
        "netroot",
        "netboot",
        "nfsopts",
    }
    | {"overlayroot", "systemd.volatile", "systemd.hostname", "systemd.machine_id", "bootdev"}
    | {"resume", "resume_offset", "rd.neednet", "rd.bootif", "rd.systemd.unit", "--", "---"}
    | {"rd.cmdline", "hostname"}
)
#: These name modules that are not loaded, or functions of the kernel that are not called, and a
#: node needs some: modprobe(8), dracut.cmdline(7), initramfs-tools(7), kernel-parameters.txt.
_BLACKLISTS = frozenset(
    {"module_blacklist", "modprobe.blacklist", "rd.driver.blacklist", "blacklist"}
    | {"initcall_blacklist"}
)
_NEEDED = frozenset(
    "af_packet grace lockd loop nfs nfsv3 nfsv4 overlay squashfs sunrpc "
    "init_nfs_fs init_nfs_v3 init_nfs_v4 init_nlm init_squashfs_fs init_sunrpc loop_init "
    "ovl_init packet_init".split(),
)
#: What begins so is reserved as well.
_PREFIXES = ("DISKLESS_", "diskless.", "rd.live.", "rd.overlay", "rd.nfs.", "mount.usr")


def reserved(word: str) -> str | None:
    """Return why a word cannot be in ``kernel_append``, or None where it can. The kernel takes
    ``-`` in a name for ``_``."""
    name = word.split("=", 1)[0]
    plain = name.replace("-", "_")
    if plain in _WRITTEN:
        return f"leave {name} out: salt-diskless writes it itself"
    if plain in _BLACKLISTS:
        needed = sorted(_NEEDED & {*word.replace("-", "_").partition("=")[2].split(",")})
        if needed:
            return f"leave {needed[0]} out of {name}: a diskless node would not boot without it"
    if name in _HARMFUL or plain in _HARMFUL or plain.startswith(_PREFIXES):
        return f"leave {name} out: a diskless node would not boot, or not as its pillar has it"
    return None


def words(settings: Settings, version: str, place: str, known: Roots) -> Iterator[str]:
    """Yield the words of the append line; :data:`NAME` stands for the node's name.

    place
        The directory of the kernel, below :data:`DIRECTORY`.
    known
        What is known of roots that are one file.
    """
    image, network = settings.image, settings.network
    if settings.serial_console:
        yield f"console={settings.serial_console}"
    yield f"initrd={place}/initrd.img"
    yield "root=/dev/nfs"
    yield "boot=diskless"
    yield f"NFSROOT={network.server_address}:{image.location}"
    yield f"SNAPSHOT={NAME}"
    yield f"ETHERNET={settings.interface}"
    if settings.nis_domain:
        yield f"NISDOMAIN={settings.nis_domain}"
    if network.nameservers:
        yield f"DISKLESS_DNS={','.join(map(str, network.nameservers))}"
    if network.domain:
        yield f"DISKLESS_DOMAIN={network.domain}"
    yield f"DISKLESS_VERSION={version}"
    yield from roots.words(settings, version, known, f"{DIRECTORY}/{image.name}/{version}")
    yield f"DISKLESS_NFS={settings.nfs}"
    if image.live:
        yield "DISKLESS_LIVE=yes"
    if settings.swap.kind != "none":
        yield _swap(settings.swap)
    if settings.journal == "snapshot":
        yield "DISKLESS_JOURNAL=snapshot"
    if network.syslog:
        yield f"DISKLESS_LOG={network.syslog}"
    yield from _timeout(settings.timeout)
    yield f"nfs.nfs4_unique_id={NAME}"
    yield "ro"
    if settings.kernel_append:
        yield settings.kernel_append


def _timeout(timeout: Timeout | None) -> Iterator[str]:
    """Yield the words that say when a node that gets no root gives up, and what it does then. Where
    the kernel itself gives up, such as for want of memory, it can do one of these things."""
    if timeout is not None:
        yield f"diskless.timeout={timeout.after},{timeout.then}"
        if timeout.then == "reboot":
            yield f"panic={timeout.after}"


def _swap(swap: Swap) -> str:
    """Return the word that says where a node swaps to: where its file is, ``NFSROOT`` says."""
    detail = swap.label if swap.kind == "disk" else swap.size if swap.kind == "zram" else None
    return f"DISKLESS_SWAP={swap.kind}" + (f":{detail}" if detail else "")


def length(line: str, place: str, name: str) -> int:
    """Return the length of the line that the kernel gets for a node: with what PXELINUX writes
    before and after the words of :func:`words`."""
    count = line.count(NAME)
    own = len(line) + count * (len(name) - len(NAME))
    return len(f"BOOT_IMAGE={place}/vmlinuz ") + own + _APPENDED


def longest(settings: Settings, name: str) -> int:
    """Return the length of the longest line that a node can get with any version of its image."""
    return _longest(settings) + 2 * len(name)


def _longest(settings: Settings) -> int:
    version = settings.version or "20261124T155012-999"
    place = f"{settings.image.name}/{version}" + (f"/{settings.kernel}" if settings.kernel else "")
    file = Squashfs("0" * 64, 10**12)
    known = Roots({(settings.image.name, version): file}, frozenset())
    return length(" ".join(words(settings, version, place, known)), place, "")
