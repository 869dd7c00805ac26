"""The TFTP root: loader, kernels, and a file per node."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from salt_diskless import tree
from salt_diskless.boot import pxelinux
from salt_diskless.boot.roots import Roots
from salt_diskless.cluster import DisklessError, Image, Site
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.ranges import fold
from salt_diskless.cluster.wording import nearest
from salt_diskless.files.beneath import Tree
from salt_diskless.image import squashfs
from salt_diskless.image.needs import check_versions
from salt_diskless.image.versions import (
    Version,
    check_pins,
    published,
    require_published,
    versions,
)
from salt_diskless.platform import Platform
from salt_diskless.preflight.daemon_options import is_secure
from salt_diskless.regex import lazy_regex
from salt_diskless.services import answers, shell_settings, units
from salt_diskless.snapshot import entries
from salt_diskless.state import originals

#: Stands for the version that a sync would make: only in what test mode tells.
NEXT_VERSION = "next"

_NODE_FILE = lazy_regex(r"[0-9A-F]{8}|01(?:-[0-9a-f]{2}){6}")
_HEADER_NODE = lazy_regex(rf"# Written by {tree.MARK}: ([^,\s]+), ")
_KERNEL = lazy_regex(r"^[ \t]*kernel ([^/\s]+)/([^/\s]+)(?:/([^/\s]+))?/vmlinuz$", re.MULTILINE)
_VERSION_FILES = frozenset({"vmlinuz", "initrd.img", squashfs.NAME})
_MARKER = f".{tree.MARK}"
_VERBOSE = lazy_regex(r"(?:^|\s)(?:--verbose|--verbosity|-[a-z]*v)")


@dataclass(frozen=True, slots=True)
class Plan:
    """What must be in the TFTP root, and what of the project's must not."""

    files: Mapping[str, tree.Content]
    stale: tuple[str, ...]
    own: tuple[str, ...]
    adopt: frozenset[str] = frozenset()

    def difference(self) -> tree.Difference:
        """Return what stands between the plan and the disk."""
        return tree.compare(self.files, self.stale, self.adopt, self.own)


def plan(
    site: Site, platform: Platform, pending: frozenset[str] | None = None, remove: bool = True
) -> Plan:
    """Return what the TFTP root of this boot server must hold.

    pending
        In test mode, the images that would get a new version; None when it is for real.
    remove
        With False the files of nodes that the site does not have stay.

    Raises :class:`DisklessError` when an image that nodes boot from has no published version, or
    not the one that nodes are pinned to, or when a version has not what nodes want of it.
    """
    files = _files(site, platform, pending, pxelinux.render)
    root = platform.tftp_root
    stale = []
    if remove:
        stale = [path for path in _node_files(f"{root}/{pxelinux.CONFIG}") if path not in files]
    stale += [*_stale_answers(site, platform), *answers.leftovers(platform)]
    own = [path for path in _image_files(f"{root}/{pxelinux.DIRECTORY}") if path not in files]
    return Plan(files, tuple(stale), tuple(own), site.adopt)


def node_files(site: Site, platform: Platform) -> Mapping[str, tree.Content]:
    """Return what the TFTP root must hold for the nodes of a site that are but some of this boot
    server's; raises as :func:`plan`."""
    return _files(site, platform, None, pxelinux.nodes)


def _files(
    site: Site,
    platform: Platform,
    pending: frozenset[str] | None,
    render: Callable[..., dict[str, bytes]],
) -> dict[str, tree.Content]:
    check_pins(site)
    root = platform.tftp_root
    chosen = booted_versions(site, pending)
    there = {
        (image.name, version.name): version
        for image in site.images.values()
        for version in versions(image)
    }
    check_versions(site, chosen, there)
    if pending is None:
        squashfs.check(site, chosen, there)
    kernels = {key: version.kernel for key, version in there.items()}
    for image in site.images.values():
        kernels[image.name, NEXT_VERSION] = image.kernel or ""
    rendered = render(site, chosen, kernels, _roots(site, there))
    # What nodes' files name is there before they are.
    files: dict[str, tree.Content] = dict(_loader(platform, strict=pending is None))
    for image in site.images.values():
        of_image = [version for (name, _), version in there.items() if name == image.name]
        is_next = chosen.get(image.name) == NEXT_VERSION
        files.update(_kernels(site, image, root, of_image, is_next))
        files.update(_squashfs(site, image, root, of_image))
    files.update((f"{root}/{path}", content) for path, content in rendered.items())
    return files


def _stale_answers(site: Site, platform: Platform) -> Iterator[str]:
    """Yield the answers to machines that were registered and are no nodes any more."""
    known = {node.mac for node in site.nodes.values()}
    for mac, decision in answers.given(platform):
        if decision == pxelinux.REGISTERED and mac not in known:
            yield answers.path(platform, mac)


def is_served(site: Site, platform: Platform) -> bool:
    """Return True if the loader's files were written before, and every image that nodes boot from
    has a published version, so that they can be written anew."""
    loader = f"{platform.tftp_root}/{pxelinux.DIRECTORY}"
    booted = [image for image in site.images.values() if site.nodes_of(image)]
    return any(os.path.lexists(f"{loader}/{image.name}/{_MARKER}") for image in booted) and all(
        published(image) for image in booted
    )


def booted_versions(site: Site, pending: frozenset[str] | None = None) -> dict[str, str]:
    """Return the version that each image's nodes boot: the published one."""
    chosen = {}
    for image in site.images.values():
        version = published(image)
        if pending is not None and (version is None or image.name in pending):
            chosen[image.name] = NEXT_VERSION
        elif version is not None or site.nodes_of(image):
            chosen[image.name] = (version or require_published(image)).name
    return chosen


def folded(site: Site, difference: tree.Difference, platform: Platform) -> dict[str, object]:
    """Return a difference as a state's changes: nodes as node sets, other files by path."""
    config = f"{platform.tftp_root}/{pxelinux.CONFIG}/"
    nodes = {pxelinux.hex_name(node.ip): node.name for node in site.nodes.values()}
    changes: dict[str, object] = {}
    for what in ("added", "changed", "removed"):
        names, others = [], []
        for path in getattr(difference, what):
            file = path.removeprefix(config)
            name = nodes.get(file) if what != "removed" else _written_for(path)
            if file != path and name is not None:
                names.append(name)
            else:
                others.append(path)
        parts = {"nodes": fold(names), "files": others}
        if any(parts.values()):
            changes[what] = {key: value for key, value in parts.items() if value}
    return changes


def listed(platform: Platform) -> dict[str, dict[str, str | None]]:
    """Return the node files that are on the disk: file name to the node, image and version that it
    is for, and the kernel, where that is not the version's own."""
    found = {}
    for path in _node_files(f"{platform.tftp_root}/{pxelinux.CONFIG}"):
        text = (tree.read(path) or b"").decode(errors="replace")
        match = _HEADER_NODE.match(text)
        kernel = _KERNEL.search(text)
        if match and kernel:
            found[os.path.basename(path)] = {
                "node": match[1],
                "image": kernel[1],
                "version": kernel[2],
                "kernel": kernel[3],
            }
    return dict(sorted(found.items()))


def overridden(site: Site, platform: Platform) -> dict[str, str]:
    """Return the nodes that boot by a file of somebody else: PXELINUX takes the one that is named
    after the MAC before the project's. Name of the node to that file."""
    config = f"{platform.tftp_root}/{pxelinux.CONFIG}"
    there = {os.path.basename(path) for path in _node_files(config)}
    return {
        node.name: f"{config}/{name}"
        for node in site.nodes.values()
        if (name := pxelinux.mac_name(node.mac)) in there
    }


def clean_plan(platform: Platform) -> Plan:
    """Return the plan that leaves nothing of the project's in the TFTP root."""
    directory = f"{platform.tftp_root}/{pxelinux.DIRECTORY}"
    stale = [*_node_files(f"{directory}/pxelinux.cfg"), f"{directory}/pxelinux.cfg/default"]
    stale += [answers.path(platform, mac) for mac, _ in answers.given(platform)]
    stale += [platform.tftp_unit] if platform.tftp_unit else []
    return Plan({}, tuple(stale), tuple(_image_files(directory)))


def remove_empty(platform: Platform) -> None:
    """Remove the empty directories that a killed run left where kernels were."""
    others = {f"{platform.tftp_root}/{path}" for path in (pxelinux.CONFIG, pxelinux.REGISTRY)}
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(directory(platform)):
            if entry.is_dir(follow_symlinks=False) and entry.path not in others:
                tree.remove_empty(entry.path)


def _written_for(path: str) -> str | None:
    match = _HEADER_NODE.match((tree.read(path) or b"").decode(errors="replace"))
    return match[1] if match else None


def _kernels(
    site: Site, image: Image, root: str, there: Sequence[Version], is_next: bool
) -> Iterator[tuple[str, tree.Content]]:
    """Yield kernels and initramfs of every version that is there, so that a node which is being
    switched on while a version is published still finds those that its file names."""
    directory = f"{root}/{pxelinux.DIRECTORY}"
    yield f"{directory}/{image.name}/{_MARKER}", tree.header(f"kernels of {image.name}").encode()
    named = [(one.version, one.kernel) for one, _ in site.settings_of(image) if one.kernel]
    for version in there:
        wanted = {version.kernel, *(name for pin, name in named if pin in (None, version.name))}
        for release, kernel in version.kernels.items():
            if release in wanted:
                place = pxelinux.kernel_place(image.name, version.name, release, version.kernel)
                yield f"{directory}/{place}/vmlinuz", _copy(image, version, kernel.vmlinuz)
                yield f"{directory}/{place}/initrd.img", _copy(image, version, kernel.initrd)
    if is_next:
        for next_one in {image.kernel, *(name for pin, name in named if pin is None)}:
            place = pxelinux.kernel_place(image.name, NEXT_VERSION, next_one, image.kernel)
            yield f"{directory}/{place}/vmlinuz", b""
            yield f"{directory}/{place}/initrd.img", b""


def _copy(image: Image, version: Version, path: str) -> tree.Copy:
    """Return a file of a version to be copied. A link there is followed inside the version."""
    with Tree(version.path) as root:
        if not root.is_file(path):
            raise DisklessError(
                f"diskless:images:{image.name}: {version.path}{path}: found no file; sync the "
                f"image again (salt-call diskless_image.sync {image.name} again=True), or remove "
                "this version"
            )
        return tree.Copy(root.full(path))


def _squashfs(
    site: Site, image: Image, root: str, there: Sequence[Version]
) -> Iterator[tuple[str, tree.Content]]:
    """Yield the files that nodes fetch whole, of every version that is there."""
    pins = {one.version for one, _ in site.settings_of(image) if one.root == "ram"}
    for version in there:
        if version.squashfs is not None and pins & {None, version.name}:
            place = f"{root}/{pxelinux.DIRECTORY}/{image.name}/{version.name}/{squashfs.NAME}"
            yield place, tree.Copy(squashfs.path(image, version.name), links=True)


def _roots(site: Site, there: Mapping[tuple[str, str], Version]) -> Roots:
    keeping = set()
    for image in site.images.values():
        if any(one.root == "ram" for one, _ in site.settings_of(image)):
            keeping |= {image.name for entry in entries.custom(image) if entry.how == "persistent"}
    files = {key: version.squashfs for key, version in there.items() if version.squashfs}
    return Roots(files, frozenset(keeping))


def keep_originals(plan: Plan, difference: tree.Difference, platform: Platform) -> None:
    """Record what is in the place of the loader, of its modules and of files that are adopted,
    before they are written. All other files are known by their mark or their directory."""
    new = {*difference.added, *difference.changed}
    recorded = originals.recorded_paths()
    # What is not recorded yet and needs no change is recorded too: a later edit is seen by that.
    files = {
        path: content
        for path, content in _loader(platform, True)
        if path in new or path not in recorded
    }
    adopted = {path: plan.files[path] for path in plan.adopt & {*difference.changed}}
    if adopted:
        originals.keep_files(adopted)
    if files:
        default = tree.read(f"{platform.tftp_root}/{pxelinux.CONFIG}/default")
        originals.keep_files(files, configured=tree.is_marked(default or b""))


def loader_paths(platform: Platform) -> list[str]:
    """Return the paths of the loader and of its modules."""
    return [path for path, _ in _loader(platform, strict=False)]


def unmarked(plan: Plan, difference: tree.Difference, platform: Platform) -> list[str]:
    """Return those of the changed files that carry no mark of the project, or are adopted."""
    loader = {path for path, _ in _loader(platform, strict=False)}
    return [path for path in difference.changed if path in loader or path in plan.adopt]


def _loader(platform: Platform, strict: bool) -> Iterator[tuple[str, tree.Content]]:
    """Yield pxelinux.0 and its modules; where the package is not installed yet (in test mode
    before the first run) only the loader's name is known."""
    directory = f"{platform.tftp_root}/{pxelinux.DIRECTORY}"
    if not os.path.exists(platform.pxelinux):
        if strict:
            raise DisklessError(
                f"{platform.pxelinux}: found no loader; install {', '.join(platform.tftp_packages)}"
            )
        yield f"{platform.tftp_root}/{pxelinux.LOADER}", b""
        return
    yield f"{platform.tftp_root}/{pxelinux.LOADER}", tree.Copy(platform.pxelinux)
    for name in sorted(os.listdir(platform.pxelinux_modules)):
        if name.endswith(".c32"):
            yield f"{directory}/{name}", tree.Copy(f"{platform.pxelinux_modules}/{name}")


def _node_files(config: str) -> Iterator[str]:
    try:
        names = os.listdir(config)
    except FileNotFoundError:
        return
    for name in names:
        if _NODE_FILE.fullmatch(name) or name.endswith(tree.UNFINISHED):
            yield f"{config}/{name}"


def _image_files(directory: str) -> Iterator[str]:
    """Yield the files below the directories of images that carry the project's marker."""
    try:
        entries = list(os.scandir(directory))
    except FileNotFoundError:
        return
    for entry in entries:
        marker = f"{entry.path}/{_MARKER}"
        if not entry.is_dir(follow_symlinks=False) or not os.path.lexists(marker):
            continue
        for version in os.scandir(entry.path):
            if version.is_dir(follow_symlinks=False):
                yield from _kernel_files(version.path)
        yield marker


def _kernel_files(directory: str) -> Iterator[str]:
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            yield from _kernel_files(entry.path)
        elif entry.name.removesuffix(tree.UNFINISHED) in _VERSION_FILES:
            yield entry.path


def node_path(site: Site, platform: Platform, name: str) -> str:
    """Return the path of one node's file. Raises :class:`DisklessError` for an unknown node."""
    node = site.nodes.get(name)
    if node is None:
        raise DisklessError(
            f"diskless:nodes: found no node {shown(name)} that boots from this server; "
            f"{nearest(name, site.nodes)}"
        )
    return f"{platform.tftp_root}/{pxelinux.CONFIG}/{pxelinux.hex_name(node.ip)}"


def defaults(platform: Platform) -> dict[str, tree.Content]:
    """Return the file that says which directory the TFTP daemon serves, and that it logs what it is
    asked for (in.tftpd(8)): where there is one, or what of systemd says it."""
    path, key = platform.tftp_defaults, platform.tftp_root_key
    if path and key and platform.tftp_options_key:
        options = shell_settings.value(path, platform.tftp_options_key)
        options = "--secure" if options is None else options
        if not is_secure(options):
            options = f"--secure {options}".strip()
        if not _VERBOSE.search(options):
            options = f"{options} --verbose".strip()
        values = {key: platform.tftp_root, platform.tftp_options_key: options}
        files: dict[str, tree.Content] = {path: shell_settings.with_values(path, values)}
        if platform.tftp_unit:
            files[platform.tftp_unit] = units.restart_policy("the TFTP daemon")
        return files
    if platform.tftp_unit:
        command = f"/usr/sbin/in.tftpd --verbose --secure {platform.tftp_root}"
        text = f"[Service]\nExecStart=\nExecStart={command}\n"
        return {platform.tftp_unit: (tree.header("the TFTP daemon logs") + text).encode()}
    return {}


def directory(platform: Platform) -> str:
    """Return the directory of the TFTP root that is the project's."""
    return f"{platform.tftp_root}/{pxelinux.DIRECTORY}"
