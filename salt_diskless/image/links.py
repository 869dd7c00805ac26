"""Links of a golden root at paths that nodes or the project need as directories.

A link is followed inside the tree only. One that leads nowhere in it is kept and named, refused
where nothing works without the directory, or replaced where a node mounts something.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.files.beneath import Tree
from salt_diskless.image import identity
from salt_diskless.image.notes import printable

#: What leaves a machine's identity out goes by these paths, so they have to be directories.
_DIRECTORIES = ("/etc", "/var")
#: Without these no version can be made: a link has to lead to a directory of the tree.
_NEEDED = (
    *("/usr", "/bin", "/sbin", "/lib", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/share"),
    *("/usr/share/initramfs-tools", "/usr/share/initramfs-tools/hooks"),
    *("/usr/share/initramfs-tools/scripts", "/usr/lib/dracut", "/usr/lib/dracut/modules.d"),
)
#: Where kernels are looked for.
KERNELS = ("/boot", "/lib/modules", "/usr/lib/modules")
#: Kept as they are, and named where they lead nowhere: a node may mount what they lead to.
_NAMED = (
    *("/home", "/opt", "/root", "/srv", "/usr/local", "/var/cache", "/var/lib", "/var/log"),
    *(
        "/var/spool",
        "/etc/ssh",
        "/etc/salt",
        "/etc/salt/minion.d",
        "/var/lib/systemd",
        "/etc/initramfs-tools",
        "/etc/dracut.conf.d",
    ),
    *("/var/lib/dpkg", "/var/lib/rpm", "/usr/lib/sysimage/rpm"),
)
_RESOLV_CONF = "/etc/resolv.conf"


def require(image: Image, tree: str) -> None:
    """Raise :class:`DisklessError` for links of a tree where it must have directories."""
    where = f"diskless:images:{image.name}"
    with Tree(tree) as root:
        problems = [
            f"{where}: {path}: found a link to {printable(target)}; make it a directory in the "
            "golden root"
            for path in _DIRECTORIES
            if (target := root.link(path)) is not None
        ]
        problems += [f"{where}: {problem}" for problem in dangling(root, _NEEDED)]
    if problems:
        raise DisklessError("\n".join(problems))


def dangling(root: Tree, paths: Iterable[str]) -> list[str]:
    """Return a sentence for each of some paths that the tree has and that leads to no directory of
    it."""
    problems = []
    for path in paths:
        if root.status(path) is None or root.is_directory(path):
            continue
        target = root.link(path)
        if target is None:
            problems.append(f"{path}: found no directory; make it one in the golden root")
        else:
            problems.append(
                f"{path}: found a link to {printable(target)}, which is no directory of the golden "
                f"root; make {path} a directory, or have the link lead to one inside it"
            )
    return problems


def settle(root: Tree) -> list[str]:
    """Make the mount points of a tree directories, and return sentences that name each link or
    other thing that was replaced, and each link that leads nowhere and is kept."""
    notes = []
    for path in identity.VOLATILE:
        status = root.status(path)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            target = root.link(path)
            what = "no directory" if target is None else f"a link to {printable(target)}"
            notes.append(f"{path} is {what} in the golden root; nodes have a directory there")
            root.remove(path)
        root.make_directory(path)
    for path in ("/tmp", "/var/tmp"):
        root.chmod(path, 0o1777)
    if root.status("/var/log") is None:
        root.make_directory("/var/log")
    for path, leads_to in identity.RUNTIME.items():
        instead = _not_runtime(root, path, leads_to)
        if instead is not None:
            if instead:
                notes.append(
                    f"{path} is {instead} in the golden root; nodes have a link to {leads_to} "
                    "there, since nothing could be written to it on a root that is read-only"
                )
            root.remove(path)
            root.symlink(leads_to, path)
    for path in _NAMED:
        target = root.link(path)
        if target is not None and not root.is_directory(path):
            notes.append(
                f"{path} is a link to {printable(target)}, which the golden root does not have; it "
                "is kept"
            )
    if not _has_resolv_conf(root):
        notes.append(
            f"{_RESOLV_CONF} is no file of the golden root and no link to one, so nodes with root: "
            "readonly have no name servers; put a file there (touch), which nodes write over"
        )
    return notes


def _has_resolv_conf(root: Tree) -> bool:
    """Return whether a node whose root is read-only can have its own resolv.conf: a plain file to
    bind over, or a link below /run."""
    path = _RESOLV_CONF
    for _ in range(10):
        target = root.link(path)
        if target is None:
            return root.is_file(path)
        path = os.path.normpath(os.path.join(os.path.dirname(path), target))
        if path.startswith(("/run/", "/var/run/", "/etc/resolvconf/run/")):
            return True
    return False


def _not_runtime(root: Tree, path: str, leads_to: str) -> str | None:
    """Return what a path is instead of a link to what a node has at run time, or None where it is
    such a link. It is empty for a path that does not exist."""
    status = root.status(path)
    if status is None:
        return ""
    target = root.link(path)
    if target is None:
        return "a directory" if stat.S_ISDIR(status.st_mode) else "a file"
    if os.path.normpath(os.path.join(os.path.dirname(path), target)).lstrip("/") in (
        leads_to.lstrip("/"),
        leads_to.replace("/self/", "/").lstrip("/"),
    ):
        return None
    return f"a link to {printable(target)}"
