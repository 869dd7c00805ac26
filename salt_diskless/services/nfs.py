"""The kernel's NFS server: own file under exports.d, ``exportfs -r``, never a restart."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from salt_diskless import swapfiles, tree, unfinished
from salt_diskless.boot import exports as text
from salt_diskless.boot.exports import Export
from salt_diskless.cluster import DisklessError, Site
from salt_diskless.cluster.ranges import fold, fold_addresses
from salt_diskless.command import CommandFailed, run
from salt_diskless.platform import Platform
from salt_diskless.services import exportfs
from salt_diskless.state import originals

#: exportfs's table of what is exported now: exportfs(8), FILES.
TABLE = "/var/lib/nfs/etab"

_TABLE_LINE = re.compile(r"^(\S+)\t([^\s(]+)\(([^)]*)\)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Drift:
    """How exportfs's table differs from what the pillar wants; tuples of ``(path, client)``."""

    missing: tuple[tuple[str, str], ...] = ()
    different: tuple[tuple[str, str], ...] = ()
    unwanted: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.different or self.unwanted)

    def as_dict(self) -> dict[str, list[str]]:
        """Return what is not empty, as ``path client`` lines."""
        return {
            what: [" ".join(pair) for pair in pairs]
            for what in ("missing", "different", "unwanted")
            if (pairs := getattr(self, what))
        }


def table() -> Iterator[Export]:
    """Yield what the server really exports, as exportfs's table says."""
    data = tree.read(TABLE, 1 << 21) or b""
    for match in _TABLE_LINE.finditer(data.decode(errors="backslashreplace")):
        yield Export(*match.groups())


def wanted(site: Site) -> tuple[Export, ...]:
    """Return what one boot server is to export."""
    return tuple(text.exports(site, swapfiles.leaving(site)))


def drift(site: Site, platform: Platform, exports: tuple[Export, ...] | None = None) -> Drift:
    """Return how the table differs from the pillar, for the directories of this site's images. What
    another file of exports has of these directories is not a difference.

    exports
        What the pillar wants, when the caller has it already.
    """
    exports = wanted(site) if exports is None else exports
    options_of = {(export.path, export.client): export.options for export in exports}
    places = tuple(
        f"{image.location}/{part}"
        for image in site.images.values()
        for part in ("versions", "snapshot/", "swap/")
    )
    missing = dict(options_of)
    different, unwanted = [], []
    for export in table():
        key = (export.path, export.client)
        options = missing.pop(key, None)
        if options is not None:
            if not _has(export.options, options):
                different.append(key)
        elif export.path.startswith(places) and key not in options_of:
            unwanted.append(key)
    if unwanted:
        of_others = exportfs.files_of({path for path, _ in unwanted}, platform.exports_file)
        unwanted = [key for key in unwanted if key[0] not in of_others]
    return Drift(tuple(missing), tuple(different), tuple(unwanted))


@functools.lru_cache(maxsize=64)
def _has(options: str, wanted: str) -> bool:
    """Tell whether the options of an export hold those that are wanted, in any order."""
    return set(wanted.split(",")) <= set(options.split(","))


def difference(
    exports: tuple[Export, ...], platform: Platform, adopt: Iterable[str] = ()
) -> tuple[tree.Difference, dict[str, tree.Content]]:
    """Return what would change in the file, which may be somebody else's where ``adopt`` has it,
    and its wanted content."""
    files: dict[str, tree.Content] = {platform.exports_file: text.render(exports)}
    left = tree.leftovers(os.path.dirname(platform.exports_file))
    return tree.compare(files, left, adopt), files


def apply(
    change: tree.Difference,
    files: dict[str, tree.Content],
    site: Site,
    exports: tuple[Export, ...],
    platform: Platform,
) -> tuple[str, ...]:
    """Write the file, have exportfs read it, and return the messages about exports of others.

    exports
        What the pillar wants.

    Raises :class:`DisklessError` when the table does not become what the pillar wants; the old file
    is back then.
    """
    path = platform.exports_file
    before = tree.read(path)
    if change:
        originals.keep_files(files)
    tree.apply(change, files)
    try:
        messages = exportfs.reread(path, {export.path for export in exports})
        left = drift(site, platform, exports)
        if messages.own or left:
            raise _refused(messages, left, platform)
    except CommandFailed as err:
        if change:
            put_back(path, before)
            raise DisklessError(
                f"{path}: exportfs refuses it, so the old one is back: {err}"
            ) from err
        raise DisklessError(f"{path}: exportfs refuses it: {err}") from err
    return messages.others


def put_back(path: str, before: bytes | None) -> None:
    """Make the file of exports what it was, and the table too."""
    back = {path: before} if before is not None else {}
    gone = () if before is not None else (path,)
    tree.apply(tree.compare(back, gone), back)
    exportfs.reread(path, ())


def _refused(messages: exportfs.Messages, left: Drift, platform: Platform) -> CommandFailed:
    """Return the error for exports of the project that exportfs did not take, with the reason."""
    lines = [str(messages)]
    if left:
        lines.append(f"{TABLE}: exportfs did not take all of it: {left.as_dict()}")
    paths = {path for path, _ in left.different}
    for path, file in sorted(exportfs.files_of(paths, platform.exports_file).items()):
        lines.append(f"{file}: found {path}, with other options for the same client; remove it")
    return CommandFailed("\n".join(line for line in lines if line))


def reread(platform: Platform, new: Iterable[Export] = ()) -> tuple[str, ...]:
    """Make the table what the files say, and return the messages about all but ``new``.

    Raises :class:`CommandFailed` for a message about the project's own file or about ``new``, and
    when the table has not ``new``.
    """
    new = [*new]
    messages = exportfs.reread(platform.exports_file, {export.path for export in new})
    options_of = {(export.path, export.client): export.options for export in table()}
    missing = tuple(export[:2] for export in new if export[:2] not in options_of)
    different = tuple(
        export[:2] for export in new if not _has(options_of.get(export[:2], ""), export.options)
    )
    left = Drift(missing, tuple(pair for pair in different if pair not in missing))
    if messages.own or left:
        raise _refused(messages, left, platform)
    return messages.others


def extend(gone: Iterable[Export], new: Iterable[Export], platform: Platform) -> tuple[str, ...]:
    """Change the table as ``exportfs -r`` would, which takes a time that grows with the square of
    the clients: under exportfs's own locks, with the options that exportfs has made of the same
    words for another client. Where there is none, exportfs does it. What is there already stays.

    Returns the messages of exportfs about exports of others. Raises :class:`CommandFailed` when
    exportfs refuses something of the project.
    """
    new = [*new]
    if exportfs.is_pending():
        return reread(platform, new)
    with _table_locked():
        there = tree.read(TABLE, 1 << 21) or b""
        if there.endswith(b"\n") and _extend(there, gone, new):
            return ()
    return reread(platform, new)


def _extend(there: bytes, gone: Iterable[Export], new: Iterable[Export]) -> bool:
    """Change the table, which is ``there``, and tell whether that could be done."""
    going = {at: there.index(b"\n", at) + 1 for one in gone if (at := _find(there, one)) >= 0}
    lines = []
    for export in new:
        if _find(there, export) not in (-1, *going):
            continue
        form = _form(there, export)
        if form is None:
            return False
        lines.append(f"{export.path}\t{export.client}({form})\n".encode())
    if going or lines:
        _replace_table(there, going, lines)
    return True


def _replace_table(there: bytes, going: Mapping[int, int], lines: Iterable[bytes]) -> None:
    """Write the table without the lines that go, of which each is where it begins and ends, and
    with others. mountd reads it again when it is another file."""
    text, begin = memoryview(there), 0
    with exportfs.pending(), unfinished.recorded([TABLE]):
        with open(f"{TABLE}{tree.UNFINISHED}", "wb") as stream:
            os.fchmod(stream.fileno(), 0o644)
            for at in sorted(going):
                stream.write(text[begin:at])
                begin = going[at]
            stream.writelines((text[begin:], *lines))
        os.rename(f"{TABLE}{tree.UNFINISHED}", TABLE)
        exportfs.flush()


def _find(table: bytes, export: Export) -> int:
    """Return where a path's line for a client begins in the table, or -1."""
    key = f"{export.path}\t{export.client}(".encode()
    return 0 if table.startswith(key) else table.find(b"\n" + key) + 1 or -1


def _form(table: bytes, export: Export) -> str | None:
    """Return what exportfs has made of the options of such an export of the same image, or None."""
    place, _, name = export.path.rpartition("/")
    like = f"{export.path}\t" if name == "versions" else f"{os.path.dirname(place)}/snapshot/"
    at = table.find(like.encode())
    match = _TABLE_LINE.match(table[at : at + 4096].decode(errors="replace")) if at >= 0 else None
    return match[3] if match is not None and _has(match[3], export.options) else None


@contextlib.contextmanager
def _table_locked() -> Iterator[None]:
    """Hold the locks that exportfs takes while it changes the table, and while it writes it."""
    with contextlib.ExitStack() as stack:
        for name in ("export-lock", ".etab.lock"):
            path = f"{os.path.dirname(TABLE)}/{name}"
            lock = stack.enter_context(open(path, "a", encoding="utf-8"))
            fcntl.lockf(lock, fcntl.LOCK_EX)
        yield


def shown() -> dict[str, list[str]]:
    """Return what mountd tells a client: ``showmount -e`` of this server, path to clients.

    Raises :class:`CommandFailed` when mountd does not answer (it does not where only NFS 4 is on).
    """
    said = run(["showmount", "--no-headers", "-e", "127.0.0.1"], timeout=30).stdout
    rows = (line.rsplit(None, 1) for line in said.splitlines() if line.strip())
    return {path: clients.split(",") for path, clients in rows}


def not_shown(shown: dict[str, list[str]]) -> list[str]:
    """Return the exports of the table, as ``path client`` lines, that mountd does not tell of."""
    pairs = {(path, client) for path, clients in shown.items() for client in clients}
    return [
        f"{export.path} {export.client}"
        for export in table()
        if (export.path, export.client) not in pairs
    ]


def folded(change: tree.Difference, drift: Drift) -> dict[str, object]:
    """Return a state's changes: files by path, exports with their paths folded per directory."""
    changes: dict[str, object] = {}
    for what, paths, pairs in (
        ("added", change.added, drift.missing),
        ("changed", change.changed, drift.different),
        ("removed", change.removed, drift.unwanted),
    ):
        group: dict[str, object] = {}
        if paths:
            group["files"] = list(paths)
        if pairs:
            group["exports"] = _fold_exports(pairs)
        if group:
            changes[what] = group
    return changes


def _fold_exports(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    """Return a line for each directory of nodes, and for each path that all nodes mount, with its
    clients as ranges: nodes at scattered addresses are a network each."""
    directories: dict[str, list[str]] = {}
    clients: dict[str, list[str]] = {}
    for path, client in pairs:
        directory, _, name = path.rpartition("/")
        if name == "versions":
            clients.setdefault(path, []).append(client)
        else:
            directories.setdefault(directory, []).append(name)
    return [
        *(f"{path} {fold_addresses(addresses)}" for path, addresses in clients.items()),
        *(f"{directory}/{fold(names)}" for directory, names in directories.items()),
    ]
