"""Which kernels a version serves: those that image and nodes name, if they have what it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.cluster.ranges import fold
from salt_diskless.files.beneath import Tree
from salt_diskless.image import initramfs, links, modules
from salt_diskless.image.kernels import (
    Kernel,
    better_incomplete,
    default_release,
    flavour,
    incomplete,
    kernels,
)
from salt_diskless.image.modules import Modules
from salt_diskless.image.needs import NFS, USEFUL, Need
from salt_diskless.image.versions import Served, Version

#: A kernel's configuration has a few hundred kilobytes.
_MOST = 4 << 20


def choose(image: Image, tree: str, needs: tuple[Need, ...]) -> tuple[dict[str, Served], str]:
    """Return the kernels that a version of this tree serves, the image's own first, and a sentence
    that says which one that is, and why.

    needs
        What the image's nodes need.

    Raises :class:`DisklessError` with all that the tree lacks: a kernel, a module of one, or what
    fetches a root into memory.
    """
    there = {kernel.release: kernel for kernel in kernels(tree)}
    own, which = image.kernel, f"Kernel {image.kernel}, as the pillar says"
    if own is None:
        own, which = _default(image, tree, list(there))
    problems = [f"diskless:images:{image.name}: {why}" for why in _dangling(tree, ["/boot"])]
    if problems:
        raise DisklessError("\n".join(problems))
    served = {}
    for release, needed in _by_release(own, needs).items():
        named = (need.path for need in needed if need.key == "kernel")
        path = next(named, f"diskless:images:{image.name}:kernel")
        if release not in there:
            problems.append(
                f"{path}: found {release}; the image {image.name} has: {', '.join(there) or 'none'}"
            )
            continue
        found = _modules(image, tree, there[release])
        problems += _lacking(image, release, path, found, needed)
        problems += _unreadable(image, tree, release, needed)
        useful = USEFUL | {need.module for need in needed}
        served[release] = Served(
            vmlinuz=there[release].path,
            initrd=initramfs.path(tree, release),
            modules=tuple(sorted(useful & found.loadable)),
            builtin=tuple(sorted(useful & found.builtin)),
        )
    in_memory = {
        name for need in needs if (need.key, need.found) == ("root", "ram") for name in need.nodes
    }
    if in_memory and (why := initramfs.no_client(tree, initramfs.tool_of(image, tree))):
        problems.append(
            f"diskless:nodes:{fold(in_memory)}:root: found ram; the image {image.name} {why}"
        )
    if problems:
        raise DisklessError("\n".join(problems))
    others = ", ".join(release for release in served if release != own)
    return served, f"{which}; for nodes that name it also {others}" if others else which


def _default(image: Image, tree: str, releases: list[str]) -> tuple[str, str]:
    """Return the kernel that is taken where the pillar names none, and a sentence about it.

    releases
        The complete kernels of the tree, newest first.

    Raises :class:`DisklessError` where there is none, or where only its name can tell.
    """
    lacking = incomplete(tree)
    where = f"diskless:images:{image.name}"
    if not releases:
        half = "".join(f"; {release} lacks {what}" for release, what in lacking.items())
        raise DisklessError(
            f"{where}: found no kernel with its modules in the golden root{half}; install one "
            "there (on Debian linux-image-amd64)"
            + "".join(f"\n{sentence}" for sentence in _dangling(tree, links.KERNELS))
        )
    own, by_name = default_release(releases)
    if own is None:
        raise DisklessError(
            f"{where}:kernel: found nothing, and kernels of several flavours in the golden root: "
            f"{', '.join(by_name)}; give one of them"
        )
    which = f"Kernel not specified, using {own}"
    better = better_incomplete(releases, lacking)
    if better is not None and flavour(better) != flavour(own):
        raise DisklessError(
            f"{where}:kernel: found nothing, and {better} in the golden root lacks "
            f"{lacking[better]}; only kernels of other flavours are complete: "
            f"{', '.join(releases)}; install all of {better} there, or give one of these"
        )
    if better is not None:
        which += f" (not {better}, which lacks {lacking[better]})"
    if by_name:
        which += f" (only by name: {', '.join(by_name)})"
    return own, which


def _dangling(tree: str, paths: Iterable[str]) -> list[str]:
    with Tree(tree) as root:
        return links.dangling(root, paths)


def unserved(image: Image, version: Version, needs: tuple[Need, ...]) -> str:
    """Return what a version does not serve that its image and nodes want, as a sentence, or
    nothing."""
    tool = image.initramfs or next(iter(initramfs.tools(version.path)), version.initramfs)
    if tool != version.initramfs:
        return f"an initramfs of {tool} is wanted"
    releases = [kernel.release for kernel in kernels(version.path)]
    own = image.kernel or default_release(releases)[0] or version.kernel
    if own != version.kernel:
        return f"kernel {own} is wanted"
    for release, needed in _by_release(own, needs).items():
        if release not in version.kernels:
            return f"kernel {release} is wanted"
        kernel = version.kernels[release]
        for need in needed:
            if need.module not in (*kernel.modules, *kernel.builtin):
                return f"kernel {release} with {need.module} is wanted"
    return ""


def _by_release(own: str, needs: tuple[Need, ...]) -> dict[str, list[Need]]:
    """Return each kernel's release with what is needed of it, the image's own first."""
    found: dict[str, list[Need]] = {own: []}
    for need in needs:
        found.setdefault(need.kernel or own, []).append(need)
    return found


def _modules(image: Image, tree: str, kernel: Kernel) -> Modules:
    try:
        return modules.of(tree + kernel.modules)
    except FileNotFoundError:
        raise DisklessError(
            f"diskless:images:{image.name}: found no {kernel.modules}/modules.dep, which says what "
            f"kernel {kernel.release} has; run depmod {kernel.release} in the golden root"
        ) from None


def _lacking(
    image: Image, release: str, path: str, found: Modules, needed: list[Need]
) -> Iterator[str]:
    """Yield what nodes need of a kernel that it does not have.

    path
        Where the pillar names the kernel.
    """
    whose = f"kernel {release} of the image {image.name}"
    if NFS not in found:
        yield (
            f"{path}: found {release}; it has no module {NFS}, by which nodes have their root; "
            "name a kernel that has it, or install one in the golden root"
        )
    for need in needed:
        if need.module != NFS and need.module not in found:
            near = get_close_matches(need.module, found.loadable | found.builtin, 1, 0.8)
            meant = f" (did you mean {near[0]}?)" if near and need.key == "drivers" else ""
            yield (
                f"{need.path}: found {need.found}; {whose} has no module {need.module}{meant}; "
                "name a kernel that has it, or install one in the golden root"
            )


def _unreadable(image: Image, tree: str, release: str, needed: list[Need]) -> Iterator[str]:
    """Yield that a kernel cannot read what mksquashfs writes here, where its own configuration says
    so: its modules do not tell."""
    need = next((need for need in needed if need.module == "squashfs"), None)
    if need is None:
        return
    with Tree(tree) as root:
        config = root.read(f"/boot/config-{release}", _MOST)
    if config is None or b"CONFIG_SQUASHFS_ZSTD=y" in config.split(b"\n"):
        return
    yield (
        f"{need.path}: found {need.found}; kernel {release} of the image {image.name} reads no "
        "squashfs with zstd (CONFIG_SQUASHFS_ZSTD); name a kernel that does, or give these nodes "
        "root: overlay"
    )
