"""Settings of others in the files of nfs.conf(5) with which nodes cannot boot."""

from __future__ import annotations

import configparser
import glob
import os
from collections.abc import Iterator, Mapping

from salt_diskless.boot.exports import MOUNTD_PORT
from salt_diskless.cluster.errors import Problem
from salt_diskless.cluster.model import Site
from salt_diskless.platform import Platform
from salt_diskless.preflight import look

_NO = frozenset({"0", "n", "no", "f", "false", "off"})


def problems(site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each setting of mountd's port that is not the project's, and of nfsd that
    keeps nodes out."""
    settings = platform.nfs_settings
    directory = os.path.dirname(settings)
    main = directory.removesuffix(".d")
    if main == directory:
        return
    others = sorted(glob.glob(f"{glob.escape(directory)}/*.conf"))
    for path in (main, *others, f"{main}.local"):
        if path == settings:
            continue
        sections = _sections(path)
        yield from _mountd(path, sections.get("mountd", {}), site, is_later=path > settings)
        if path not in site.adopt:
            yield from _nfsd(path, sections.get("nfsd", {}), site)


def _mountd(path: str, section: Mapping[str, str], site: Site, is_later: bool) -> Iterator[Problem]:
    port = section.get("port", "")
    if port in ("", "0", str(MOUNTD_PORT)) or (path in site.adopt and not is_later):
        return
    right = f"remove it: the port has to be {MOUNTD_PORT}, which the firewall lets in"
    if is_later:
        right += ", and this file is read after the project's"
    else:
        right += f"; or have it replaced: add {path} to the list diskless:adopt in the pillar"
    yield Problem(path, f"[mountd] port={port}", right)


def _nfsd(path: str, section: Mapping[str, str], site: Site) -> Iterator[Problem]:
    used = {str(node.settings.nfs) for node in site.nodes.values()}
    versions = sorted(used | {version.partition(".")[0] for version in used})
    for key in ("tcp", *(f"vers{version}" for version in versions)):
        if section.get(key, "").lower() in _NO:
            what = "over TCP" if key == "tcp" else f"by NFS {key.removeprefix('vers')}"
            right = f"remove it: nodes mount their roots {what}"
            yield Problem(path, f"[nfsd] {key}={section[key]}", right)
    hosts = {host.strip() for host in section.get("host", "").split(",")} - {""}
    missing = [str(address) for address in site.server.addresses if str(address) not in hosts]
    if hosts and missing and not hosts & {"0.0.0.0", "*"}:
        right = f"remove it, or add {', '.join(missing)}: nodes mount their roots from there"
        yield Problem(path, f"[nfsd] host={section['host']}", right)
    if section.get("port", "2049") not in ("2049", "nfs", "0", ""):
        right = "remove it: nodes mount their roots from port 2049"
        yield Problem(path, f"[nfsd] port={section['port']}", right)


def _sections(path: str) -> dict[str, dict[str, str]]:
    """Return the settings in a file of nfs.conf(5), keys and sections in lower case."""
    parser = configparser.RawConfigParser(
        strict=False, allow_no_value=True, delimiters=("=",), comment_prefixes=("#", ";")
    )
    if look.kind(os.path.realpath(path)) != "a file":
        return {}
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read().replace("\\\n", "")
        # Lines before the first section are errors to Python and nothing to nfs.conf(5).
        parser.read_string("[ ]\n" + "\n".join(line.strip() for line in text.split("\n")))
    except (OSError, configparser.Error):
        return {}
    result: dict[str, dict[str, str]] = {}
    for section in parser.sections():
        values = result.setdefault(section.strip().lower(), {})
        for key, value in parser.items(section):
            values[key] = (value or "").split("#")[0].strip().strip("\"'")
    return result
