"""What the nodes of an image need of their kernels, and whether a version serves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from salt_diskless.cluster import DisklessError, Image, Site
from salt_diskless.cluster.ranges import fold
from salt_diskless.image import initramfs, notes
from salt_diskless.image.versions import Version

#: What every node mounts its root with; and what a version of NFS needs beside that.
NFS = "nfs"
NFS_VERSIONS = {"3": "nfsv3", "4.2": "nfsv4"}
#: What each root mode needs beside that.
_LAYERS = ("loop", "squashfs", "overlay")
ROOTS = {"readonly": (), "overlay": ("overlay",), "squashfs": _LAYERS, "ram": _LAYERS}
#: What the initramfs has of these in any case, so that another mode or NFS needs no new version.
USEFUL = frozenset({NFS, *NFS_VERSIONS.values(), *_LAYERS})


@dataclass(frozen=True, slots=True)
class Need:
    """One module that nodes need of the kernel that they boot.

    kernel
        Its release, where the nodes name one; None is the image's own.
    module
        The module, e.g. ``nfsv4``.
    key, found
        What in the pillar says so: the nodes' ``kernel``, ``nfs``, ``root`` or ``drivers``, and its
        value.
    nodes
        Their names.
    """

    kernel: str | None
    module: str
    key: str
    found: str
    nodes: tuple[str, ...]

    @property
    def path(self) -> str:
        """Where the pillar says so."""
        return f"diskless:nodes:{fold(self.nodes)}:{self.key}"


def needs_of(site: Site, image: Image) -> tuple[Need, ...]:
    """Return what the nodes that boot an image's next version need. A node that is pinned to a
    version has what that one has."""
    found: dict[tuple[str | None, str, str, str], list[str]] = {}
    for settings, names in site.settings_of(image):
        if settings.version is not None:
            continue
        kernel = settings.kernel if settings.kernel != image.kernel else None
        if kernel is not None:
            found.setdefault((kernel, NFS, "kernel", kernel), []).extend(names)
        nfs = NFS_VERSIONS[settings.nfs], "nfs", settings.nfs
        drivers = ((driver, "drivers", driver) for driver in settings.drivers)
        layers = ((module, "root", settings.root) for module in ROOTS[settings.root])
        for need in (nfs, *layers, *drivers):
            found.setdefault((kernel, *need), []).extend(names)
    return tuple(Need(*need, tuple(names)) for need, names in found.items())


def roots_of(site: Site, image: Image) -> dict[str, tuple[str, ...]]:
    """Return each root mode with the nodes that boot an image's next version in it."""
    found: dict[str, list[str]] = {}
    for settings, names in site.settings_of(image):
        if settings.version is None:
            found.setdefault(settings.root, []).extend(names)
    return {root: tuple(names) for root, names in found.items()}


def check_versions(
    site: Site, booted: Mapping[str, str], there: Mapping[tuple[str, str], Version]
) -> None:
    """Raise :class:`DisklessError` for what nodes want of the version that they boot and that it
    does not have: the kernel that they name, or what fetches their root into memory.

    booted
        Image to the version that its nodes boot, if the pillar pins no other one.
    there
        Image and name to each version; one that is not in it is not looked at.
    """
    problems: dict[tuple[str, str], list[str]] = {}
    no_client = cache(initramfs.no_client)
    for image in site.images.values():
        for settings, names in site.settings_of(image):
            name = settings.version or booted.get(image.name, "")
            version = there.get((image.name, name))
            if version is None:
                continue
            whose = f"version {name} of the image {image.name}"
            if settings.kernel and settings.kernel not in version.kernels:
                way = "sync or publish a version that serves it"
                problem = (
                    f"found {settings.kernel}; {whose} serves: {', '.join(version.kernels)}; name "
                    f"one of these, or {'leave version out' if settings.version else way}"
                )
                problems.setdefault(("kernel", problem), []).extend(names)
            if settings.root == "ram":
                notes.refuse_secrets(
                    image, version.findings or {}, {"ram": tuple(names)}, f"version {name}"
                )
            if settings.root == "ram" and (why := no_client(version.path, version.initramfs)):
                problems.setdefault(("root", f"found ram; {whose} {why}"), []).extend(names)
    if problems:
        raise DisklessError(
            "\n".join(
                f"diskless:nodes:{fold(names)}:{key}: {problem}"
                for (key, problem), names in problems.items()
            )
        )
