"""The initramfs of a kernel, built inside the tree by what the tree has for that."""

from __future__ import annotations

import re
import shlex
from typing import Protocol

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.command import CommandFailed, run
from salt_diskless.files.beneath import Tree
from salt_diskless.image import modules
from salt_diskless.image.kernels import APART
from salt_diskless.image.versions import Served

#: Where the configuration that an initramfs is built with is, in the tree's temporary /run.
_SETTINGS = "/run/salt-diskless-initramfs"

#: For initramfs.conf(5). MODULES=dep takes the drivers of the machine that builds, which is the
#: boot server; the scripts of a node need busybox; and a node resumes from no disk. mkinitramfs
#: fails without COMPRESS. init in the initramfs reads it too.
_INITRAMFS_TOOLS_SETTINGS = """\
if [ "${MODULES:-}" = dep ]; then MODULES=most; fi
COMPRESS="${COMPRESS:-gzip}"
if [ "${BUSYBOX:-}" = n ]; then BUSYBOX=y; fi
RESUME=none
ROOT=
"""

#: For dracut.conf(5): what the golden machine has for its own disks and its own boot. A node has
#: neither: its root comes from the kernel command line that the boot server writes. Modules that
#: need dracut's own network or systemd are not added, since a node's initramfs has neither, and
#: the modules that the project's one needs are not omitted.
_DRACUT_SETTINGS = """\
kernel_cmdline=
hostonly=no
hostonly_cmdline=no
use_fstab=no
add_fstab=
fstab_lines=()
add_device=
persistent_policy=
mdadmconf=no
lvmconf=no
sshkey=
prefix=
loginstall=
drivers_dir=
uefi=no
no_kernel=no
kernel_only=no
noimageifnotneeded=no
for _list in add_dracutmodules force_add_dracutmodules omit_dracutmodules; do
    _kept=
    for _module in ${!_list}; do
        case ${_list%%_*}/$_module in
            omit/base | omit/udev-rules | omit/salt-diskless) ;;
            omit/*) _kept="$_kept $_module" ;;
            *network* | *systemd* | */connman | */ifcfg | */nfs | */cifs | */iscsi | */nbd) ;;
            */nvmf | */fcoe* | */livenet | */url-lib | */ssh-client) ;;
            *) _kept="$_kept $_module" ;;
        esac
    done
    printf -v "$_list" "%s " "$_kept"
done
"""


#: Seconds after which a hook of the tree hangs.
_LONGEST = 3600


class _Tool(Protocol):
    """What builds an initramfs. Its own configuration in the tree has a say in what is in it."""

    programs: tuple[str, ...]
    verbose: str
    #: Lines of sh that say "tftp" where the tree has what ``dl_fetch`` on a node can fetch
    #: with, and that gets into the initramfs.
    clients: str

    def script(self, root: str, release: str, target: str) -> str:
        """Return lines of sh that build the initramfs of a kernel, with the tree's own mounts
        there, and print the paths of what is in it, where that can be told.

        Each of the arguments is quoted for sh.
        """


class _InitramfsTools:
    """mkinitramfs(8): Debian, Ubuntu and what is made of them."""

    programs: tuple[str, ...] = ("/usr/sbin/mkinitramfs", "/sbin/mkinitramfs")
    verbose = "which hook of initramfs-tools in the golden root leaves that out (mkinitramfs -v)"
    clients = "busybox --list; command -v tftp"

    def script(self, root: str, release: str, target: str) -> str:
        # The tree's configuration, with the settings that would make no initramfs for a node.
        return f"""
mkdir -p {root}{_SETTINGS}/conf.d
chroot {root} sh -c '
    [ ! -d /etc/initramfs-tools ] || cp -a /etc/initramfs-tools/. {_SETTINGS}'
find {root}{_SETTINGS} ! -type d ! -type f ! -type l -exec rm -f {{}} +
chroot {root} sh -c '
    printf "%s" "$1" >{_SETTINGS}/conf.d/zzz-salt-diskless
    : >>{_SETTINGS}/initramfs.conf
' sh {shlex.quote(_INITRAMFS_TOOLS_SETTINGS)}
chroot {root} mkinitramfs -o {target} -d {_SETTINGS} {release} >&2
chroot {root} sh -c 'command -v lsinitramfs' >&2 || exit 0
exec chroot {root} lsinitramfs {target}
"""


class _Dracut:
    """dracut(8): the RHEL family, Fedora, SUSE, and who wants it on Debian.

    It builds with the project's module, what that needs, and what the tree's dracut.conf adds:
    nothing else is of use to a diskless node. Its init is a shell, not systemd, which a node would
    start twice; the module has a network of its own.
    """

    programs: tuple[str, ...] = ("/usr/bin/dracut", "/usr/sbin/dracut", "/sbin/dracut")
    verbose = "what of dracut's configuration in the golden root leaves that out (dracut --debug)"
    clients = "busybox --list; command -v tftp; curl --version"

    def script(self, root: str, release: str, target: str) -> str:
        # Every file of the tree's configuration is followed by the project's settings, so that
        # their order does not matter. The log file has to exist, or dracut complains.
        return f"""
mkdir {root}{_SETTINGS}
printf '%s' {shlex.quote(_DRACUT_SETTINGS)} >{root}{_SETTINGS}/salt-diskless.conf
chroot {root} sh -c '
    for file in /usr/lib/dracut/dracut.conf.d/*.conf /etc/dracut.conf.d/*.conf; do
        name=${{file##*/}}
        [ ! -f "$file" ] || [ "$name" = salt-diskless.conf ] ||
            cat "$file" {_SETTINGS}/salt-diskless.conf >"{_SETTINGS}/$name"
    done'
: >{root}/run/dracut.log
chroot {root} dracut --force --no-hostonly --modules salt-diskless \
    --confdir {_SETTINGS} --omit 'ifcfg network systemd' \
    --tmpdir /run --keep --logfile /run/dracut.log \
    --kver {release} {target} >{root}/run/said 2>&1 || {{
    grep -v -e Executing: -e firmware_class -e 'Not removing' {root}/run/said >&2
    exit 1
}}
cd {root}/run/dracut.*/initramfs 2>/dev/null || {{
    echo "no initramfs; look for an exit in /etc/dracut.conf and /etc/dracut.conf.d" >&2
    exit 1
}}
if [ ! -e usr/lib/salt-diskless/diskless.sh ]; then
    grep -e salt-diskless -e 'could not be found' {root}/run/said >&2
    exit 1
fi
exec find .
"""


#: The first one that a tree has is taken: where both are, the distribution's kernel packages use
#: initramfs-tools too.
_TOOLS: dict[str, _Tool] = {"initramfs-tools": _InitramfsTools(), "dracut": _Dracut()}


def path(tree: str, release: str) -> str:
    """Return the path of a kernel's initramfs for nodes, from the tree's root, without links."""
    with Tree(tree) as root:
        return root.real(f"/boot/initrd.img-{release}-diskless", follow=False)


def tools(tree: str) -> tuple[str, ...]:
    """Return what a tree has to build an initramfs with, the first choice first."""
    with Tree(tree) as root:
        return tuple(
            name
            for name, tool in _TOOLS.items()
            if any(root.exists(program) for program in tool.programs)
        )


def tool_of(image: Image, tree: str) -> str:
    """Return what builds an image's initramfs in a tree: ``dracut`` or ``initramfs-tools``.

    Raises :class:`DisklessError` where the tree has not what the image names, or none.
    """
    there = tools(tree)
    if image.initramfs in (None, *there) and there:
        return image.initramfs or there[0]
    where = f"diskless:images:{image.name}"
    if there:
        raise DisklessError(
            f"{where}:initramfs: found {image.initramfs}; the golden root has {there[0]} only: "
            f"install {image.initramfs} there, or leave it out"
        )
    raise DisklessError(
        f"{where}: found neither mkinitramfs nor dracut in the golden root; install "
        f"{image.initramfs or 'initramfs-tools or dracut'} there"
    )


def no_client(tree: str, tool: str) -> str:
    """Return why the initramfs that ``tool`` builds in a tree fetches nothing by TFTP, with what to
    do, or nothing where it does."""
    said = run([*APART, "chroot", tree, "sh", "-c", f"{_TOOLS[tool].clients}; exit 0"]).stdout
    if re.search(r"\btftp\b", said):
        return ""
    return (
        "has no TFTP client that an initramfs could fetch it with; install busybox, tftp-hpa "
        "or (RHEL family) tftp in the golden root and sync, or give these nodes root: squashfs"
    )


def build(image: Image, tree: str, tool: str, release: str, kernel: Served) -> None:
    """Build the initramfs of a kernel inside the tree, with the modules that its nodes need.

    tool
        What builds it: ``dracut`` or ``initramfs-tools``.

    It runs in a mount namespace of its own, with its own /proc, /dev and /tmp, so that nothing of
    the server is within its reach and nothing stays mounted. What it mounts on are directories of
    the tree, and no links (:func:`salt_diskless.image.links.settle`).
    """
    new = f"{kernel.initrd}.new"
    with Tree(tree) as inside:
        inside.remove(new)
    root = shlex.quote(tree)
    script = f"""
set -e
mount -t proc -o nosuid,nodev,noexec proc {root}/proc
mount -t tmpfs -o mode=755,nosuid tmpfs {root}/dev
for name in null zero full random urandom; do
    : > {root}/dev/$name
    mount --bind /dev/$name {root}/dev/$name
done
ln -s /proc/self/fd {root}/dev/fd
mount -t tmpfs -o mode=1777 tmpfs {root}/tmp
mount -t tmpfs -o mode=1777 tmpfs {root}/var/tmp
mount -t tmpfs -o mode=755 tmpfs {root}/run
{_TOOLS[tool].script(root, shlex.quote(release), shlex.quote(new))}"""
    try:
        said = run(
            [*APART, "sh", "-c", script],
            env={"DISKLESS_DRIVERS": " ".join(kernel.modules)},
            ends_with_us=True,
            timeout=_LONGEST,
        ).stdout
    except CommandFailed as err:
        raise DisklessError(
            f"diskless:images:{image.name}: the initramfs of {release} was not built: "
            f"{_reason(tool, err)}"
        ) from err
    left_out = {*kernel.modules} - modules.names(said.splitlines()) if said else set()
    if left_out:
        raise DisklessError(
            f"diskless:images:{image.name}: the initramfs of {release} was built without "
            f"{', '.join(sorted(left_out))}; see {_TOOLS[tool].verbose}"
        )
    with Tree(tree) as made:
        made.chmod(new, 0o644)
        made.rename(new, made, kernel.initrd)


def _reason(tool: str, err: CommandFailed) -> str:
    """Return what a tool wrote before it failed, without the script that called it."""
    if err.result is None:
        return f"{tool} in the golden root: {str(err).partition(': ')[0]}"
    written = (err.result.stderr.strip() or err.result.stdout.strip()).splitlines()
    words = "\n".join(written[-12:]) or "nothing"
    return f"{tool} in the golden root ended with {err.result.code} and wrote: {words}"
