"""Files and settings of the admin that the project would replace. All of them are named at once,
before anything is written; the pillar's ``diskless:adopt`` lists those that may be replaced."""

from __future__ import annotations

import configparser
import functools
import glob
import os
import stat
from collections.abc import Iterator, Sequence

from salt_diskless import tree
from salt_diskless.boot import dhcpd as dhcpd_text
from salt_diskless.boot import pxelinux
from salt_diskless.boot.exports import MOUNTD_PORT
from salt_diskless.cluster.errors import DisklessError, Problem, shown
from salt_diskless.cluster.model import Site
from salt_diskless.platform import PLATFORMS, Platform
from salt_diskless.services import dhcpd

#: What the packages of the distributions write as the directory of their TFTP daemon.
_TFTP_DEFAULTS = frozenset({None, "", *(names.tftp_root for names in PLATFORMS.values())})
_DHCP_DEFAULTS = frozenset({None, ""})


def problems(site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each file or setting that somebody else wrote, that is in the way, and
    that ``diskless:adopt`` does not list."""
    is_applied = _is_applied(platform)
    for path in _marked_files(platform):
        yield from _file(path, site, platform)
    yield from _node_files(site, platform)
    if not is_applied:
        yield from _loader_files(site, platform)
        yield from _settings(site, platform)
    yield from _mountd_ports(site, platform)


def _is_applied(platform: Platform) -> bool:
    """Return True if the project has configured this machine before: then files without a mark of
    their own, such as the loader's, are the project's too."""
    default = f"{platform.tftp_root}/{pxelinux.CONFIG}/default"
    return any(_is_marked(path) for path in (platform.dhcp_config, platform.exports_file, default))


def _marked_files(platform: Platform) -> Iterator[str]:
    """Yield the files, other than nodes', of which the first line says that the project wrote
    them."""
    yield platform.dhcp_config
    yield platform.key_file
    yield platform.exports_file
    yield platform.nfs_settings
    if platform.tftp_unit:
        yield platform.tftp_unit
    if platform.dhcp_unit:
        yield platform.dhcp_unit
    yield f"{platform.tftp_root}/{pxelinux.CONFIG}/default"


def _file(path: str, site: Site, platform: Platform) -> Iterator[Problem]:
    kind = _kind(path)
    if kind is None or (path in site.adopt and kind == "a file"):
        return
    if kind != "a file":
        yield Problem(path, kind, "move it away: salt-diskless writes a file there")
    elif not _is_marked(path) and not (
        path == platform.dhcp_config and dhcpd.is_pristine(path, tree.read(path) or b"", platform)
    ):
        yield _foreign(path)


def _foreign(path: str) -> Problem:
    return Problem(
        path,
        "a file that salt-diskless did not write",
        f"move it away, or have it replaced: add {path} to the list diskless:adopt in the pillar",
    )


def _node_files(site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each node's file that somebody else wrote."""
    directory = f"{platform.tftp_root}/{pxelinux.CONFIG}"
    try:
        changed = os.stat(directory).st_mtime_ns
    except OSError:
        return
    # A few nodes that are added (tests/bench/node.py) do not pay for the files of all others.
    few = (
        [pxelinux.hex_name(node.ip) for node in site.nodes.values()] if len(site.nodes) < 64 else []
    )
    foreign = _not_ours(directory, few) if few else _foreign_names(directory, changed)
    if foreign:
        wanted = {pxelinux.hex_name(node.ip) for node in site.nodes.values()}
        for name in foreign:
            if name in wanted and (path := f"{directory}/{name}") not in site.adopt:
                yield _foreign(path)


@functools.lru_cache(maxsize=4)
def _foreign_names(directory: str, _changed: int) -> tuple[str, ...]:
    """Return the names in a directory of node files that the project did not write. A directory
    that has not changed is read once."""
    return _not_ours(directory, sorted(os.listdir(directory)))


def _not_ours(directory: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return those of the names that are in the directory and that the project did not write."""
    paths = {name: f"{directory}/{name}" for name in names}
    return tuple(
        name for name, path in paths.items() if os.path.lexists(path) and not _is_marked(path)
    )


def _loader_files(site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each file of the loader that is not the package's."""
    directory = f"{platform.tftp_root}/{pxelinux.DIRECTORY}"
    has_package = os.path.isdir(platform.pxelinux_modules)
    for path in sorted(glob.glob(f"{glob.escape(directory)}/*.c32")) + [
        f"{platform.tftp_root}/{pxelinux.LOADER}"
    ]:
        name = os.path.basename(path)
        is_loader = name == os.path.basename(pxelinux.LOADER)
        package = platform.pxelinux if is_loader else f"{platform.pxelinux_modules}/{name}"
        kind = _kind(path)
        if kind is None or path in site.adopt:
            continue
        if kind != "a file":
            yield Problem(path, kind, "move it away: salt-diskless writes a file there")
        elif os.path.exists(package):
            if not _has_same_content(path, package):
                yield _foreign(path)
        elif is_loader or not has_package:
            yield _foreign(path)


def _settings(site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each variable in a file of shell assignments that is neither what a
    package wrote nor what the project would."""
    interfaces = " ".join(sorted(dhcpd_text.interfaces(site)))
    for path, key, wanted, defaults in (
        (platform.tftp_defaults, platform.tftp_root_key, platform.tftp_root, _TFTP_DEFAULTS),
        (platform.dhcp_defaults, platform.dhcp_interfaces_key, interfaces, _DHCP_DEFAULTS),
    ):
        if not path or not key or path in site.adopt:
            continue
        kind = _kind(path)
        if kind not in (None, "a file"):
            yield Problem(path, str(kind), "put a file there: salt-diskless changes it")
            continue
        try:
            found = tree.value(path, key)
        except DisklessError as err:
            where, _, rest = str(err).partition(": found ")
            what, _, right = rest.partition("; ")
            yield Problem(where, what, f"{right}; or add {path} to the list diskless:adopt")
            continue
        if found not in defaults and found != wanted:
            yield Problem(
                path,
                f"{key}={shown(found)}",
                f"remove it, or have it set to {shown(wanted)}: add {path} to the list "
                "diskless:adopt in the pillar",
            )


def _mountd_ports(site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each file of nfs.conf(5), other than the project's, with a port of mountd
    that is not the project's."""
    directory = os.path.dirname(platform.nfs_settings)
    main = directory.removesuffix(".d")
    others = sorted(glob.glob(f"{glob.escape(directory)}/*.conf"))
    for path in (main, *others, f"{main}.local"):
        if path == platform.nfs_settings or path in site.adopt or main == directory:
            continue
        port = _mountd_port(path)
        if port is not None and port != str(MOUNTD_PORT):
            yield Problem(
                path,
                f"[mountd] port={port}",
                f"remove it, or have the port be {MOUNTD_PORT}, which the firewall lets in: add "
                f"{path} to the list diskless:adopt in the pillar",
            )


def _mountd_port(path: str) -> str | None:
    """Return the port of mountd in a file of nfs.conf(5), or None; 0 is any port, as by default."""
    parser = configparser.RawConfigParser(
        strict=False, allow_no_value=True, delimiters=("=",), comment_prefixes=("#", ";")
    )
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            # Lines before the first section are errors to Python and nothing to nfs.conf(5).
            parser.read_string("[ ]\n" + "\n".join(line.strip() for line in stream))
    except (OSError, configparser.Error):
        return None
    for section in parser.sections():
        if section.strip().lower() == "mountd":
            port = parser.get(section, "port", fallback=None)
            port = port.split("#")[0].strip().strip("\"'") if port else None
            return None if port in ("", "0") else port
    return None


def _kind(path: str) -> str | None:
    """Return what is at a path, or None."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return None
    if stat.S_ISREG(mode):
        return "a file"
    if stat.S_ISLNK(mode):
        return f"a symbolic link to {shown(os.readlink(path))}"
    return "a directory" if stat.S_ISDIR(mode) else "something else than a file"


def _is_marked(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return tree.is_marked(os.read(descriptor, 400))
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _has_same_content(path: str, other: str) -> bool:
    if os.stat(path).st_size != os.stat(other).st_size:
        return False
    with open(path, "rb") as one, open(other, "rb") as two:
        return one.read() == two.read()
