"""The images of a boot server: sync, versions, what is in them, publish."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from salt_diskless import adapter, preflight
from salt_diskless.cluster import DisklessError, Image
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.ranges import filled, fold
from salt_diskless.cluster.wording import nearest
from salt_diskless.image import kernels as kernel_lists
from salt_diskless.image import keys, needs, notes, sources, squashfs, versions
from salt_diskless.image import listing as listings
from salt_diskless.image import packages as package_lists
from salt_diskless.image import sync as syncing
from salt_diskless.image.progress import Progress
from salt_diskless.services import runs, tftp

if TYPE_CHECKING:
    __pillar__: dict[str, Any]
    __opts__: dict[str, Any]
    __context__: dict[str, Any]
    __grains__: dict[str, Any]
    __salt__: dict[str, Any]

__virtualname__ = "diskless_image"

_TAG = "salt-diskless/image/sync"
#: Seconds between two events of a sync.
_EVENTS = 5
__func_alias__ = {"list_": "list"}


@adapter.execution
def sync(
    name: str | None = None,
    publish: bool = True,
    live: bool = False,
    test: bool = False,
    again: bool = False,
    loader: bool = True,
) -> dict[str, dict[str, Any]]:
    """
    Bring images up to their sources: where anything differs from the newest version, a new one is
    made and published, and the loader's files are written anew, where ``state.apply diskless`` has
    written them before. While it copies, it says how far it is: ``salt-call`` on a terminal by a
    line there, and a minion with a master by events, tag ``salt-diskless/image/sync``, with
    ``image``, ``bytes``, ``files``, ``percent``, ``rate`` (bytes a second) and ``remaining``
    (seconds).

    name
        One image; default is every image of this boot server.
    publish
        With False what is published stays; the new version waits for ``diskless_image.publish``,
        or for the next sync that publishes.
    live
        Change the published version in place, so that running nodes see it within seconds: only
        images that the pillar gives ``live: true``. What they have open stays as it is to them
        until they boot again.
    test
        Touch nothing, and return what would be done.
    again
        Look into a source anew even though it looks the same from outside: an archive, or a
        bootstrap whose mirror has updates. Where nothing differs there is no new version.
    loader
        With False the loader's files stay as they are, for ``diskless_tftp.apply`` to write: until
        then nodes boot the version before.

    Returns image to ``{"old": version, "new": version, "changed": bool, "why": sentence, "notes":
    {reason: [path]}}``. The notes name what was left out, replaced or cannot work on the nodes, ten
    paths of each reason and how many more there are.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_image.sync rhel5compute
    """
    site, done = adapter.site(__pillar__, __opts__), {}
    names = adapter.platform(__grains__, __pillar__)
    preflight.require_paths(site, names)
    images = _images(name)
    if live and name is None:
        images = [image for image in images if image.live]
        if not images:
            raise DisklessError("diskless:images: found none with live: true on this boot server")
    for image in images:
        wanted = needs.needs_of(site, image)
        with _shown(image) as report:
            told: dict[str, Any] = {"test": test, "again": again, "report": report}
            told["roots"] = needs.roots_of(site, image)
            if live:
                # Few jobs need what functions load here, and all of them would load it.
                from salt_diskless.image.live_sync import sync_live

                result = sync_live(image, site.nodes_of(image), wanted, **told)
            else:
                files = squashfs.wanted(site, image)
                told["take_turn"] = lambda: runs.take_turn(__context__, True)
                result = syncing.sync(image, wanted, files=files, publishes=publish, **told)
        if test and result.new is None:
            __context__.setdefault(adapter.PENDING, []).append(image.name)
        done[image.name] = _result(result, told["roots"])
    follows = live or (publish and loader and tftp.is_served(site, names))
    if follows and not test:
        # Also where nothing has changed: a killed call may have left the loader's files behind.
        __salt__["diskless_tftp.apply"](remove=False)
    return done


@adapter.reading
def tools() -> list[str]:
    """
    Return the packages that this boot server needs beside ``image_packages``, because of where
    its images come from and of the root modes of its nodes. Programs that it has need no package.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_image.tools
    """
    names = adapter.platform(__grains__, __pillar__)
    wanted = [package for image in _images(None) for package in sources.tools(image, names)]
    wanted += squashfs.tools(adapter.site(__pillar__, __opts__), names)
    return list(dict.fromkeys(wanted))


@adapter.reading
def list_() -> dict[str, dict[str, Any]]:
    """
    Return the images: what ``pxeos -l`` gave, and their kernel, versions and nodes; below
    ``pinned`` the versions that the pillar has some of the nodes boot instead of the published one;
    below ``notes`` what is to be known of the published one: reason to paths.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_image.list
    """
    site = adapter.site(__pillar__, __opts__)
    listed = {}
    for image in site.images.values():
        current, nodes = versions.published(image), site.nodes_of(image)
        pinned: dict[str, list[str]] = {}
        for node in nodes:
            if node.settings.version is not None:
                pinned.setdefault(node.settings.version, []).append(node.name)
        listed[image.name] = {
            "description": image.description,
            "protocol": "NFS",
            "diskless": True,
            "location": image.location,
            "published": current.name if current else None,
            "kernel": current.kernel if current else None,
            **filled(
                {
                    "versions": [version.name for version in versions.versions(image)],
                    "nodes": fold(node.name for node in nodes),
                    "pinned": {version: fold(names) for version, names in sorted(pinned.items())},
                    "notes": notes.sentences(
                        (current.findings if current else None) or {},
                        needs.roots_of(site, image),
                        brief=True,
                    ),
                }
            ),
        }
    return listed


@adapter.reading
def show(name: str, version: str | None = None, check: bool = False) -> dict[str, Any]:
    """
    Return what is known of one version: when, from where, its kernel, every kernel that it serves
    (``kernels``: release to the modules for its nodes), what built their ``initramfs``, packages
    (name to version), the nodes that boot it next, the bytes that it takes on the disk, all of them
    (``bytes_total``) and those that the version before it does not have too (``bytes_new``), and
    those that were sent to make it (``bytes_sent``); ``squashfs`` has the SHA-256 and the bytes of
    its file, for nodes that boot it as one, or is None; ``changed_live`` is when it was last
    changed in place, and ``aside`` has, for each time that files of it were moved aside and still
    are kept, the nodes that may have them. ``notes`` name what the version does not have of its
    source, which secrets are in it, and what does not work on its nodes: reason to paths.

    name
        The image.
    version
        One of its versions; default is the published one.
    check
        Also read the whole tree's listing, and return below ``intact`` whether it still is what it
        was when the version was made.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_image.show rhel5compute check=True
    """
    from salt_diskless.image import live as live_updates

    (image,) = _images(name)
    current = versions.published(image)
    wanted = (
        versions.find(image, version) if version is not None else versions.require_published(image)
    )
    chosen = wanted.name
    nodes = adapter.site(__pillar__, __opts__).nodes_of(image)
    found = {
        "version": chosen,
        "published": current is not None and current.name == chosen,
        "made": _when(wanted.made),
        "published_first": _when(wanted.published_at),
        "source": wanted.source,
        "kernel": wanted.kernel,
        "kernels": {
            release: sorted((*kernel.modules, *kernel.builtin))
            for release, kernel in wanted.kernels.items()
        },
        "initramfs": wanted.initramfs,
        "nodes": fold(
            node.name
            for node in nodes
            if (node.settings.version or (current.name if current else "")) == chosen
        ),
        "bytes_total": wanted.bytes_total,
        "bytes_new": wanted.bytes_new,
        "bytes_sent": wanted.bytes_sent,
        "squashfs": asdict(wanted.squashfs) if wanted.squashfs else None,
        "listing": wanted.listing,
        "changed_live": _when(wanted.changed_live),
        "aside": {
            _when(stamp / 1e9): fold(nodes)
            for stamp, nodes in live_updates.asides(image).get(chosen, {}).items()
        },
        "notes": notes.sentences(
            wanted.findings or {}, needs.roots_of(adapter.site(__pillar__, __opts__), image)
        ),
        "packages": versions.packages_of(image, chosen),
    }
    if check:
        found["intact"] = listings.listing(wanted.path).digest == wanted.listing
    return found


@adapter.reading
def diff(name: str, old: str, new: str | None = None) -> dict[str, Any]:
    """
    Return what differs between two versions: below ``packages`` those that were added, removed and
    changed with their versions, and below ``files`` the paths that were; what is no printable
    character in a path is escaped.

    name
        The image.
    old, new
        Two of its versions; ``new`` is the published one by default.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_image.diff rhel5compute 20261124T155012
    """
    (image,) = _images(name)
    before = versions.find(image, old)
    after = versions.find(image, new) if new is not None else versions.require_published(image)
    of_packages = (versions.packages_of(image, one.name) for one in (before, after))
    return {
        "old": before.name,
        "new": after.name,
        "packages": package_lists.differences(*of_packages),
        "files": listings.differences(before.path, after.path),
    }


@adapter.reading
def kernels(name: str) -> dict[str, dict[str, Any]]:
    """
    Return the kernels in an image's published version, newest first: release to whether it is
    ``served``, and the ``nodes`` that boot it. One that is not served is so by the next sync after
    a node, a profile or the image has named it.

    name
        The image.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_image.kernels rhel5compute
    """
    (image,) = _images(name)
    current = versions.published(image)
    if current is None:
        return {}
    booted: dict[str, list[str]] = {}
    for settings, names in adapter.site(__pillar__, __opts__).settings_of(image):
        if settings.version in (None, current.name):
            booted.setdefault(settings.kernel or current.kernel, []).extend(names)
    return {
        kernel.release: {
            "served": kernel.release in current.kernels,
            "nodes": fold(booted.get(kernel.release, ())),
        }
        for kernel in kernel_lists.kernels(current.path)
    }


@adapter.execution
def publish(name: str, version: str | None = None, test: bool = False) -> dict[str, Any]:
    """
    Make a version the one that the image's nodes boot next, and write the loader's files anew;
    running nodes keep theirs. It stays the published one until the image's source changes.

    name
        The image.
    version
        One of the versions that ``diskless_image.list`` shows; default is the newest.
    test
        Touch nothing, and return what would be done.

    Returns ``{"old": version, "new": version, "loader": changes of the TFTP root}``.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_image.publish rhel5compute 20261124T155012
    """
    (image,) = _images(name)
    return _publish(
        image,
        lambda: versions.find(image, version) if version is not None else _newest(image),
        test,
    )


@adapter.execution
def rollback(name: str) -> dict[str, Any]:
    """
    Publish the version before the published one; as ``publish``.

    name
        The image.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_image.rollback rhel5compute
    """
    (image,) = _images(name)
    return _publish(image, lambda: versions.before(image))


@adapter.execution
def freeze(name: str) -> dict[str, Any]:
    """
    Make a version of the published one as it was changed in place (``sync live=True``), publish it
    and write the loader's files anew: it is what nodes boot next, and nobody changes it.

    name
        The image.

    Returns as ``sync`` does for one image.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_image.freeze rhel5compute
    """
    from salt_diskless.image.live_sync import freeze as freezing

    (image,) = _images(name)
    frozen = freezing(image, squashfs.wanted(adapter.site(__pillar__, __opts__), image))
    # Also where nothing has changed: a killed call may have left the loader's files behind.
    __salt__["diskless_tftp.apply"](remove=False)
    return _result(frozen, needs.roots_of(adapter.site(__pillar__, __opts__), image))


@adapter.execution
def prune(name: str | None = None, keep: int = 3, test: bool = False) -> dict[str, dict[str, Any]]:
    """
    Remove old versions and their kernels. Never the published one, one that the pillar pins, nor
    one that a node booted last: it may have it mounted.

    name
        One image; default is every image of this boot server.
    keep
        How many of the newest versions stay whatever else.
    test
        Touch nothing, and return what would be done.

    Returns image to ``{"removed": [version], "kept": {version: why}}``.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_image.prune rhel5compute keep=2 test=True
    """
    from salt_diskless.image import prune as pruning

    site, done = adapter.site(__pillar__, __opts__), {}
    for image in _images(name):
        pruned = pruning.prune(image, site.nodes_of(image), keep, test=test)
        done[image.name] = {"removed": list(pruned.removed), "kept": pruned.kept}
    if not test:
        __salt__["diskless_tftp.apply"](remove=False)
    return done


@adapter.execution
def key() -> str:
    """
    Return the public key with which this boot server reads its golden machines; it is made when
    there is none. (The private one is in ``/etc/salt/diskless``, for root only.)

    CLI Example:

    .. code-block:: bash

        salt node002 diskless_image.key
    """
    return keys.own()


@adapter.execution
def pin(minion: str, host_keys: list[Any]) -> bool:
    """
    Have ssh on this boot server know a golden machine by these host keys and no others; return
    whether that is new.

    minion
        The golden machine's minion id.
    host_keys
        Its public host keys, as ``diskless_golden.host_keys`` returns them there.

    CLI Example:

    .. code-block:: bash

        salt node002 diskless_image.pin node004 '["ssh-ed25519 AAAA..."]'
    """
    return keys.pin(minion, host_keys)


def _result(done: syncing.Synced, roots: notes.Roots) -> dict[str, Any]:
    """Return what a sync did, with its findings as sentences."""
    fields = asdict(done)
    return {**fields, "notes": notes.sentences(fields.pop("findings"), roots)}


@contextlib.contextmanager
def _shown(image: Image) -> Iterator[Callable[[Progress], None]]:
    """Give what is called with how far a sync is, and shows it where somebody looks."""
    on_terminal = __opts__.get("__cli") == "salt-call" and sys.stderr.isatty()
    has_master = __opts__["file_client"] != "local"
    told, begun = 0.0, False

    def report(progress: Progress) -> None:
        nonlocal told, begun
        if on_terminal:
            begun = True
            print(f"\r{image.name}  {progress}\033[K", end="", file=sys.stderr, flush=True)
        if has_master and time.monotonic() - told >= _EVENTS:
            told = time.monotonic()
            __salt__["event.send"](_TAG, {"image": image.name, **asdict(progress)})

    try:
        yield report
    finally:
        if begun:
            print(file=sys.stderr)


def _newest(image: Image) -> versions.Version:
    newest = versions.latest(image)
    return newest if newest is not None else versions.require_published(image)


def _publish(
    image: Image, choose: Callable[[], versions.Version], test: bool = False
) -> dict[str, Any]:
    """Publish the version that ``choose`` returns while nobody else changes any, and let its nodes
    boot it."""
    with contextlib.nullcontext() if test else versions.changing(image):
        current = versions.published(image)
        chosen = choose()
        site, booted = adapter.site(__pillar__, __opts__), {image.name: chosen.name}
        needs.check_versions(site, booted, {(image.name, chosen.name): chosen})
        if not test:
            if current is None or current.name != chosen.name:
                runs.take_turn(__context__, True)
            squashfs.have(image, chosen, squashfs.wanted(site, image))
            versions.publish(image, chosen.name)
    return {
        "old": current.name if current else None,
        "new": chosen.name,
        "loader": {} if test else __salt__["diskless_tftp.apply"](remove=False),
    }


def _when(seconds: float | None) -> str | None:
    """Return a time as ISO 8601 has it, in UTC."""
    if seconds is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _images(name: str | None) -> list[Image]:
    images = adapter.site(__pillar__, __opts__).images
    if name is None:
        return list(images.values())
    if name not in images:
        raise DisklessError(
            f"diskless:images: found no image {shown(name)} on this boot server; "
            f"{nearest(name, images)}"
        )
    return [images[name]]
