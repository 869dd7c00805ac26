"""The versions of an image on the disk, and which one is published.

``<location>/versions/<version>/`` is a tree that nobody changes any more (but see
:mod:`salt_diskless.image.live`),
``<location>/metadata/<version>.json`` says what it is, and ``<location>/root`` is a link to the
published one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from salt_diskless.boot.roots import Squashfs
from salt_diskless.cluster import DisklessError, Image, Site
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.ranges import fold
from salt_diskless.disk import REMEDIES

#: The end of the file with a version's packages.
_OF_PACKAGES = ".packages.json"
#: The last second of the year 9999: names of versions have four digits for the year.
_LAST_SECOND = 253402300799

NAME = re.compile(r"[0-9]{8}T[0-9]{6}(?:-[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Served:
    """A kernel that a version serves to nodes.

    vmlinuz, initrd
        Paths of the files, from the tree's root.
    modules, builtin
        What nodes need of it: modules that its initramfs has, and parts of the kernel itself.
    """

    vmlinuz: str
    initrd: str
    modules: tuple[str, ...]
    builtin: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable tree.

    kernel
        The release of the kernel that nodes boot which name none, e.g. ``6.1.0-28-cloud-amd64``.
    kernels
        Release to each kernel that it serves.
    made
        When, in seconds since 1970.
    source
        Where it was taken from, for people.
    scripts
        Digest of the boot scripts in its initramfs.
    published_at
        When it was published first, in seconds since 1970; None for one that never was.
    mark
        What its source looked like from outside, where that tells whether it has changed.
    listing
        Digest of its tree's listing (:class:`salt_diskless.image.listing.Listing`).
    bytes_total, bytes_new
        What it takes on the disk, and how much of it the version before does not have too.
    bytes_sent
        How many bytes the sync that made it had sent.
    changed_live
        When it was last changed in place, in seconds since 1970; None for one that never was.
    initramfs
        What built its initramfs: ``dracut`` or ``initramfs-tools``.
    squashfs
        Its file (:mod:`salt_diskless.image.squashfs`), if it has one.
    findings
        What it did not take from its source, and what is secret in it
        (:mod:`salt_diskless.image.notes`); None where nobody has looked.
    fstab
        What the image's ``fstab`` was when it was made.
    """

    name: str
    image: str
    path: str
    kernel: str
    kernels: Mapping[str, Served]
    made: float
    source: str
    scripts: str
    published_at: float | None = None
    mark: str = ""
    listing: str = ""
    bytes_total: int = 0
    bytes_new: int = 0
    bytes_sent: int = 0
    changed_live: float | None = None
    initramfs: str = "initramfs-tools"
    squashfs: Squashfs | None = None
    findings: Mapping[str, tuple[str, ...]] | None = None
    fstab: tuple[str, ...] = ()


def versions(image: Image) -> tuple[Version, ...]:
    """Return every version that is complete, oldest first."""
    return tuple(_found(image))


def incomplete(image: Image) -> list[str]:
    """Return the names of trees that a killed sync or prune left without metadata: they are no
    versions."""
    complete = {version.name for version in versions(image)}
    names = filter(NAME.fullmatch, _entries(f"{image.location}/versions"))
    return [name for name in names if name not in complete]


def published(image: Image) -> Version | None:
    """Return the version that nodes boot, or None."""
    try:
        name = os.path.basename(os.readlink(f"{image.location}/root"))
    except OSError:
        return None
    return _read(image, name) if NAME.fullmatch(name) else None


def require_published(image: Image) -> Version:
    """Return the version that nodes boot.

    Raises :class:`DisklessError` when there is none.
    """
    version = published(image)
    if version is None:
        raise DisklessError(
            f"diskless:images:{image.name}: found no published version below {image.location}; "
            f"sync the image first (salt-call diskless_image.sync {image.name})"
        )
    return version


def find(image: Image, name: str) -> Version:
    """Return a version by its name.

    Raises :class:`DisklessError` with those that there are, when it is none of them.
    """
    version = _read(image, name) if NAME.fullmatch(name) else None
    if version is None:
        known = ", ".join(version.name for version in versions(image)) or "none"
        raise DisklessError(
            f"diskless:images:{image.name}: found no version {shown(name)}; there are: {known}"
        )
    return version


def latest(image: Image) -> Version | None:
    """Return the version that was made last, or None."""
    return versions(image)[-1] if versions(image) else None


def check_pins(site: Site) -> None:
    """Raise :class:`DisklessError` for the versions that nodes are pinned to and that are not
    there."""
    pinned: dict[tuple[str, str], list[str]] = {}
    for node in site.nodes.values():
        if node.settings.version is not None:
            pinned.setdefault((node.image.name, node.settings.version), []).append(node.name)
    problems = []
    for (image, name), nodes in pinned.items():
        known = [version.name for version in versions(site.images[image])]
        if name not in known:
            problems.append(
                f"diskless:nodes:{fold(nodes)}:version: found {name}; the image {image} has: "
                f"{', '.join(known) or 'none'}"
            )
    if problems:
        raise DisklessError("\n".join(problems))


@contextlib.contextmanager
def changing(image: Image) -> Iterator[None]:
    """Hold the image's lock: one at a time makes, publishes or removes versions.

    Raises :class:`DisklessError` at once when somebody else holds it.
    """
    with _disk_errors(image):
        os.makedirs(image.location, mode=0o755, exist_ok=True)
        with open(f"{image.location}/.lock", "a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DisklessError(
                    f"diskless:images:{image.name}: found a sync, publish or prune of it that "
                    "still runs; try again when that has ended"
                ) from None
            tidy(image)
            yield


@contextlib.contextmanager
def _disk_errors(image: Image) -> Iterator[None]:
    """Name the image, the file system and what helps where that is full, read-only or broken."""
    try:
        yield
    except OSError as err:
        if err.errno not in REMEDIES:
            raise
        raise DisklessError(
            f"diskless:images:{image.name}: found {image.location} failing: {err.strerror} "
            f"({err.filename or 'a write'}); {REMEDIES[err.errno]} and run the command again"
        ) from err


def publish(image: Image, name: str) -> None:
    """Make ``name`` the published version, in one rename; the caller holds the image's lock.

    Raises :class:`DisklessError` when there is no such version.
    """
    find(image, name)
    new = f"{image.location}/root.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    os.symlink(f"versions/{name}", new)
    os.rename(new, f"{image.location}/root")
    _note_published(image)


def _note_published(image: Image) -> None:
    """Write into the metadata of the published version that it was published."""
    current = published(image)
    if current is not None and current.published_at is None:
        describe(image, replace(current, published_at=time.time()))


def before(image: Image) -> Version:
    """Return the version that a rollback publishes: the last one before the published one.

    Raises :class:`DisklessError` when there is none.
    """
    current = published(image)
    older = older_than(image, current) if current else ()
    if not older:
        raise DisklessError(
            f"diskless:images:{image.name}: found no version before the published one "
            f"({current.name if current else 'none'}); there is nothing to go back to"
        )
    return older[-1]


def older_than(image: Image, current: Version) -> tuple[Version, ...]:
    """Return the versions that were made before another one, oldest first."""
    return tuple(one for one in versions(image) if order(one.name) < order(current.name))


def next_name(image: Image, now: float) -> str:
    """Return a name for a version that is made now: UTC, and after the name of every version that
    there was. Where the clock went back, it is the newest name and one second more."""
    name = time.strftime("%Y%m%dT%H%M%S", time.gmtime(min(max(now, 0), _LAST_SECOND)))
    taken = {
        entry.partition(".")[0]
        for directory in ("versions", "metadata")
        for entry in _entries(f"{image.location}/{directory}")
    }
    newest = max(filter(NAME.fullmatch, taken), key=order, default="")
    if not newest or order(name) > order(newest):
        return name
    second, count = order(newest)
    try:
        after = datetime.strptime(second, "%Y%m%dT%H%M%S") + timedelta(seconds=1)
    except (ValueError, OverflowError):  # It is no time, or the last one.
        return f"{second}-{count + 1}"
    return after.isoformat().replace("-", "").replace(":", "")


def order(name: str) -> tuple[str, int]:
    """Return a key that sorts the names of versions in the order in which they were made."""
    second, _, count = name.partition("-")
    return second, int(count or 1)


def tidy(image: Image) -> None:
    """Remove what a killed run left beside the versions: half-written metadata, lists of packages
    of no version, and a link that was not renamed. Complete the metadata of a version that was
    published right before the kill. The caller holds the image's lock."""
    directory = f"{image.location}/metadata"
    names = _entries(directory)
    for name in names:
        version = name.removesuffix(_OF_PACKAGES)
        if name.endswith(".new") or (version != name and f"{version}.json" not in names):
            os.unlink(f"{directory}/{name}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{image.location}/root.new")
    with contextlib.suppress(OSError):  # On a full disk a prune has to work.
        _note_published(image)


def _entries(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def describe(image: Image, version: Version) -> None:
    """Write a version's metadata, in one rename."""
    fields = asdict(version)
    del fields["path"]
    _write_json(_metadata(image, version.name), fields)


def describe_packages(image: Image, name: str, packages: dict[str, str]) -> None:
    """Write which packages a version has: beside its metadata, which is read far more often."""
    _write_json(_packages(image, name), packages)


def packages_of(image: Image, name: str) -> dict[str, str]:
    """Return a version's packages, name to version."""
    path = _packages(image, name)
    try:
        with open(path, encoding="utf-8") as stream:
            return {str(package): str(version) for package, version in json.load(stream).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as err:
        raise DisklessError(f"{path}: cannot be read as a list of packages ({err})") from err


def forget(image: Image, name: str) -> None:
    """Remove a version's metadata: from then on its tree is no version."""
    os.unlink(_metadata(image, name))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_packages(image, name))


def _metadata(image: Image, name: str) -> str:
    return f"{image.location}/metadata/{name}.json"


def _packages(image: Image, name: str) -> str:
    return f"{image.location}/metadata/{name}{_OF_PACKAGES}"


def _write_json(path: str, content: object) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1, sort_keys=True)
        stream.write("\n")
    os.rename(f"{path}.new", path)


def _found(image: Image) -> Iterator[Version]:
    names = filter(NAME.fullmatch, _entries(f"{image.location}/versions"))
    for name in sorted(names, key=order):
        version = _read(image, name)
        if version is not None:
            yield version


def _read(image: Image, name: str) -> Version | None:
    path = f"{image.location}/versions/{name}"
    if not os.path.isdir(path):
        return None
    try:
        with open(_metadata(image, name), encoding="utf-8") as stream:
            fields = json.load(stream)
        own = fields["kernel"]
        kernels = {own: fields["kernels"][own], **fields.pop("kernels")}
        served = {release: _served(kernel) for release, kernel in kernels.items()}
        file = fields.pop("squashfs", None)
        squashfs = Squashfs(str(file["sha256"]), int(file["bytes"])) if file else None
        noted = fields.pop("findings", None)
        findings = noted and {name: tuple(paths) for name, paths in noted.items()}
        fields["fstab"] = tuple(fields.get("fstab", ()))
        return Version(path=path, kernels=served, squashfs=squashfs, findings=findings, **fields)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise DisklessError(
            f"{_metadata(image, name)}: cannot be read as metadata ({err}); move it "
            "and its version away, and sync again"
        ) from err


def _served(fields: dict[str, Any]) -> Served:
    return Served(
        fields["vmlinuz"], fields["initrd"], tuple(fields["modules"]), tuple(fields["builtin"])
    )
