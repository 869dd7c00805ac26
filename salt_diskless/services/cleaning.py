"""A boot server that stops being one: services, configuration and records become what they were
before the project changed them. Images and snapshots are data and stay."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from salt_diskless import swapfiles, tree
from salt_diskless.cluster import Image
from salt_diskless.command import CommandFailed, installed, run
from salt_diskless.platform import Platform
from salt_diskless.services import exportfs, surroundings, told
from salt_diskless.services import tftp as tftp_root
from salt_diskless.state import originals

#: A set of names of files and services, and the locations of the images beside it.
Layout = tuple[Platform, Sequence[str]]


def service_names(platform: Platform) -> tuple[str, ...]:
    """Return the services that the project enables, starts or restarts."""
    dhcp, tftp = platform.dhcp_service, platform.tftp_service
    return (dhcp, tftp, platform.nfs_service, platform.mountd_service)


def state_of(service: str) -> originals.Service:
    """Return how a service is now; one that does not exist is neither enabled nor active."""
    enabled = _systemctl("is-enabled", service).splitlines()
    active = _systemctl("is-active", service)
    return originals.Service(service, enabled[-1] if enabled else "", active == "active")


def clean(layouts: Sequence[Layout], test: bool) -> dict[str, Any]:
    """Put back what was there, and return the changes; ``test`` touches nothing.

    It can be killed anywhere; the next call does the rest.

    layouts
        Where the project may have written, the present one first. One that is not recorded and
        where nothing is the project's is left alone: its services are somebody else's.
    """
    recorded_layouts = [names for names, _ in originals.layouts()]
    layouts = [
        layout
        for layout in layouts
        if layout[0].as_dict() in recorded_layouts or _has_written(layout[0])
    ]
    before, surrounding = originals.services(), originals.surroundings()
    recorded = originals.recorded_paths()
    services = [name for platform, _ in layouts for name in service_names(platform)[:2]]
    running = {service for service in dict.fromkeys(services) if state_of(service).active}
    if not test:
        for service in dict.fromkeys(services):
            _systemctl("stop", service)
    changes: dict[str, Any] = {}
    removed: list[str] = []
    with contextlib.nullcontext() if test else exportfs.pending():
        for platform, _ in layouts:
            removed += _remove(platform, test)
        files = originals.put_back(test)
        if not test and installed("exportfs"):
            # No file of exports is the project's any more.
            warnings = exportfs.reread("", ()).others
            changes |= {"warnings": [*warnings]} if warnings else {}
    removed = sorted({*removed, *files.removed} - {*files.restored})
    kept = dict(files.kept)
    if removed and not recorded:
        kept |= _unrecorded(layouts)
    kept |= {path: "is a copy of a file that was replaced, so it stays" for path in _copies()}
    changes |= {
        what: found
        for what, found in (
            ("removed", _folded(removed, layouts)),
            ("restored", sorted(files.restored)),
            ("kept", kept),
            ("swap", _swap(layouts, test)),
            ("services", _services(layouts, before, running, test)),
        )
        if found
    }
    if changes and (stays := _stays(layouts, surrounding)):
        changes["stays"] = stays
    if not test and files.kept:
        originals.forget_machine()
    elif not test:
        _drop_records()
    return changes


def _unrecorded(layouts: Sequence[Layout]) -> dict[str, str]:
    """Return the files without a mark that the project may have written, where nothing is recorded
    of any file."""
    paths: list[str] = []
    for platform, _ in layouts:
        paths += tftp_root.loader_paths(platform)
        paths += [path for path in (platform.tftp_defaults, platform.dhcp_defaults) if path]
    reason = "has no record of what it was before salt-diskless, so it stays"
    return {path: reason for path in paths if os.path.lexists(path)}


def _copies() -> list[str]:
    """Return the copies of files that were replaced although somebody had edited them."""
    with contextlib.suppress(FileNotFoundError):
        return [f"{originals.REPLACED}/{name}" for name in sorted(os.listdir(originals.REPLACED))]
    return []


def _stays(layouts: Sequence[Layout], before: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """Return what of an apply stays on this machine, by kind."""
    locations = dict.fromkeys(location for _, images in layouts for location in images)
    stays = {"images and snapshots": [path for path in locations if os.path.isdir(path)]}
    if before is not None:
        for platform, _ in layouts:
            for kind, lines in surroundings.left(platform, before).items():
                stays[kind] = [*dict.fromkeys([*stays.get(kind, ()), *lines])]
    return {kind: lines for kind, lines in stays.items() if lines}


def _has_written(platform: Platform) -> bool:
    """Return True if a file is the project's under these names."""
    default = f"{tftp_root.directory(platform)}/pxelinux.cfg/default"
    files = [*dhcpd_files(platform), platform.exports_file, platform.nfs_settings, default]
    return any(tree.is_marked(tree.read(path) or b"") for path in files)


def dhcpd_files(platform: Platform) -> list[str]:
    """Return the files of dhcpd that carry the project's mark."""
    units = [platform.dhcp_unit] if platform.dhcp_unit else []
    return [platform.dhcp_config, platform.key_file, *units]


def _remove(platform: Platform, test: bool) -> list[str]:
    """Remove the files that the project wrote under these names, and return their paths."""
    plan = tftp_root.clean_plan(platform)
    difference = plan.difference()
    if not test:
        tree.apply(difference, {}, own_below=tftp_root.directory(platform))
        tree.remove_empty(tftp_root.directory(platform))
    marked = [*dhcpd_files(platform), platform.exports_file, platform.nfs_settings]
    return [*difference.removed, *tree.clean(marked, test).get("removed", ())]


def _folded(paths: Iterable[str], layouts: Sequence[Layout]) -> list[str]:
    """Return paths, with those in the project's directories of a TFTP root as one line each."""
    lines: list[str] = []
    inside: dict[str, int] = {}
    for path in paths:
        for platform, _ in layouts:
            directory = tftp_root.directory(platform)
            if path.startswith(f"{directory}/"):
                inside[directory] = inside.get(directory, 0) + 1
                break
        else:
            lines.append(path)
    return [*lines, *(f"{directory}: {count} files" for directory, count in inside.items())]


def _swap(layouts: Sequence[Layout], test: bool) -> dict[str, object]:
    locations = dict.fromkeys(location for _, there in layouts for location in there)
    images = [Image(location, "", location, None) for location in locations]
    return swapfiles.clean(images, test=test)


def _services(
    layouts: Sequence[Layout],
    before: dict[str, originals.Service],
    running: set[str],
    test: bool,
) -> dict[str, str]:
    """Enable, disable, start and stop services as they were; return those that were otherwise.

    running
        The services that ran when the call began, and may have been stopped since.
    """
    changes = {}
    if layouts and not test:
        _systemctl("daemon-reload")
    for platform, _ in layouts:
        for service in service_names(platform):
            if service in changes or not installed("systemctl"):
                continue
            was = before.get(service)
            if was is None and service not in service_names(platform)[:2]:
                # It may have other exports: without a record the server goes on.
                continue
            was = was or originals.Service(service, "disabled", False)
            goes_on = service == platform.nfs_service
            if words := _restore(was, goes_on, service in running, test):
                changes[service] = words
    return changes


def _restore(was: originals.Service, goes_on: bool, ran: bool, test: bool) -> str:
    """Make a service what it was, and return what was done, in words.

    goes_on
        Whether it has read its configuration already, so that a restart is not needed.
    ran
        Whether it ran when the call began.
    """
    now = state_of(was.name)
    active = now.active or ran
    words = []
    if (was.enabled == "enabled") != (now.enabled == "enabled"):
        words.append("enabled" if was.enabled == "enabled" else "disabled")
        if not test:
            _systemctl("enable" if was.enabled == "enabled" else "disable", was.name)
    if was.active and not (goes_on and now.active):
        words.append("restarted" if active else "started")
        if not test:
            _systemctl("restart", was.name)
    elif not was.active and active:
        words.append("stopped")
        if not test:
            _systemctl("stop", was.name)
    return ", ".join(words)


def _systemctl(*words: str) -> str:
    """Return what systemctl prints; nothing where systemd does not run, or has no such service."""
    try:
        return run(["systemctl", *words[:1], "--", *words[1:]], ok=range(256)).stdout.strip()
    except CommandFailed:
        return ""


def _drop_records() -> None:
    """Remove what the project has recorded on this machine, last of all."""
    told.note_registry(False)
    shutil.rmtree(f"{tree.RUNTIME}/restart", ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(tree.STATE):
            path = f"{tree.STATE}/{name}"
            if path == originals.REPLACED:
                continue
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
    with contextlib.suppress(OSError):  # It may be a file system of its own.
        os.rmdir(tree.STATE)
