"""Making the snapshots what the pillar says: a new node gets one, a new entry gets into all.

A node is root in its own snapshot, so nothing in it is trusted: no link in it is followed when
something is written. New things are made in a directory beside the snapshots, which no node can
reach, and come in by one rename; what is there is never overwritten.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from salt_diskless.cluster import DisklessError, Image, Node, Settings, Site
from salt_diskless.cluster.ranges import fold
from salt_diskless.disk import flush, read_untrusted, write_all
from salt_diskless.files.beneath import Tree
from salt_diskless.image import identity as image_identity
from salt_diskless.image.versions import Version, check_pins, find, published, require_published
from salt_diskless.snapshot import entries as lists
from salt_diskless.snapshot import identity, known, seed

log = logging.getLogger(__name__)

#: The project's own directory in a snapshot, and the list that the node reads while it boots.
OWN = ".diskless"
LIST = f"{OWN}/entries"
IDENTITY = f"{OWN}/{identity.NAME}"
#: Beside the snapshots: where new ones are made.
_NEW = ".new"
#: The list of what nodes may write has less.
_MOST = 1 << 20
#: In that one, beside new snapshots under the names of their nodes; no host name begins with a dot.
_KEYS = ".keys"


@dataclass(slots=True)
class _Done:
    """What one run did (or would do), node by node."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    seeded: dict[str, list[str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    absent: dict[str, set[str]] = field(default_factory=dict)
    problems: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def as_changes(self) -> dict[str, object]:
        changes: dict[str, object] = {}
        if self.added:
            changes["added"] = {"nodes": fold(self.added)}
        group: dict[str, object] = {}
        if self.changed:
            group["nodes"] = fold(self.changed)
        if self.files:
            group["files"] = self.files
        if group:
            changes["changed"] = group
        if self.seeded:
            changes["seeded"] = {path: fold(names) for path, names in sorted(self.seeded.items())}
        return changes


class _Kit:
    """What the nodes of one image with the same entries get; a version is read once for all."""

    def __init__(
        self,
        image: Image,
        version: Version | None,
        wanted: tuple[lists.Entry, ...],
        settings: Settings,
    ):
        self.placed: list[lists.Placed] = []
        self.identity: list[lists.Placed] = []
        self.absent: list[str] = []
        self.tree = version.path if version else ""
        if version is not None:
            self.placed, self.absent = lists.place(wanted, version.path, settings.localdisk)
            self.identity = identity.placed(version.path, settings.host_keys)
        self.kept = [entry for entry in self.placed if entry.how == "persistent"]
        # Who a node is goes over whatever the entries have there.
        self.text = "".join(line.line for line in (*self.placed, *self.identity)).encode()
        self.digest = known.digest(self.text)
        self._items: dict[str, list[seed.Item]] = {}
        self._parents: list[seed.Item] | None = None

    def items(self, entry: lists.Placed) -> list[seed.Item]:
        """Return what an entry holds."""
        if entry.path not in self._items:
            self._items[entry.path] = seed.read(self.tree, entry)
        return self._items[entry.path]

    def parents(self) -> list[seed.Item]:
        """Return the directories above the entries."""
        if self._parents is None:
            self._parents = seed.parents(self.tree, self.kept)
        return self._parents


def managed(
    site: Site, *, test: bool = False, check: bool = False, some: bool = False
) -> dict[str, object]:
    """Make the snapshots of a boot server what the pillar says.

    test
        Touch nothing.
    check
        Look for every entry in every snapshot, also where its list says that it has them all: a
        node may have removed one.
    some
        These are but some of the boot server's nodes: what is there of the others stays as it is,
        and is not even looked at.

    Returns the changes, nodes folded. Entries that a version does not have are passed over; the log
    says which.
    Raises :class:`DisklessError` for a wrong ``.files.custom``, or a version that nodes are pinned
    to and that is not there, before anything is touched, and, after all others are done, for the
    snapshots that something stands in the way of, by reason.
    """
    check_pins(site)
    custom = {image.name: lists.custom(image) for image in site.images.values()}
    kits: dict[str, list[tuple[_Kit, list[Node]]]] = {}
    texts: dict[str, str] = {}
    for image in site.images.values():
        kits[image.name], texts[image.name] = _kits(site, image, custom[image.name], test)
    done = _Done()
    for image in site.images.values():
        if kits[image.name]:
            with contextlib.nullcontext() if test else locked(image):
                _image(image, kits[image.name], texts[image.name], done, test, check, some)
    if done.problems:
        raise DisklessError(
            "\n".join(
                f"{base}/{fold(names)}: {why}" for (base, why), names in done.problems.items()
            )
        )
    for path, names in sorted(done.absent.items()):
        log.info("entry %s: not in the image %s; passed over", path, ", ".join(sorted(names)))
    return done.as_changes()


def listed(site: Site) -> dict[str, dict[str, object]]:
    """Return each node's snapshot: its path, whether it is there, which entries it has not."""
    found: dict[str, dict[str, object]] = {}
    for image in site.images.values():
        for kit, nodes in _kits(site, image, lists.custom(image), True)[0]:
            for node in nodes:
                with _snapshot(node) as snapshot:
                    missing = [entry.path for entry in _missing(kit, snapshot)]
                    missing += identity.lacking(snapshot, kit.identity)
                    exists = snapshot is not None
                found[node.name] = {"path": path_of(node), "exists": exists, "missing": missing}
    return found


def unused(site: Site) -> list[str]:
    """Return the snapshots that belong to no node any more; they are kept until an admin removes
    them."""
    left = []
    for image in site.images.values():
        names = {node.name for node in site.nodes_of(image)}
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(f"{image.location}/snapshot"):
                if entry.is_dir(follow_symlinks=False) and entry.name not in {*names, _NEW}:
                    left.append(entry.path)
    return sorted(left)


def with_minion(site: Site, image: Image, *, new: bool = False) -> list[Node]:
    """Return the nodes of an image that have a snapshot and, in their version, a Salt minion.

    new
        Also those whose snapshot is yet to be made.
    """
    place = image_identity.MINION_KEYS
    return [
        node
        for kit, nodes in _kits(site, image, lists.custom(image), True)[0]
        if any(one.path == place for one in kit.identity)
        for node in nodes
        if _is_there(node) or (new and not os.path.lexists(path_of(node)))
    ]


@contextlib.contextmanager
def _snapshot(node: Node) -> Iterator[Tree | None]:
    """Open a node's snapshot, in which no link is followed; None where it has none."""
    try:
        snapshot = Tree(path_of(node), links=False)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    with snapshot:
        yield snapshot


def _missing(kit: _Kit, snapshot: Tree | None) -> list[lists.Placed]:
    """Return the entries that a snapshot does not have."""
    return [entry for entry in kit.kept if snapshot is None or snapshot.status(entry.path) is None]


def _is_there(node: Node) -> bool:
    return os.path.isdir(path_of(node)) and not os.path.islink(path_of(node))


def usage(node: Node) -> int:
    """Return the bytes that a node's snapshot takes on the disk."""
    with _snapshot(node) as snapshot:
        if snapshot is None:
            return 0
        return sum(found.status.st_blocks * 512 for found in snapshot.walk() if found.path)


def path_of(node: Node) -> str:
    """Return the directory of a node's snapshot."""
    return f"{node.image.location}/snapshot/{node.name}"


def _list_of(node: Node) -> str:
    return f"{path_of(node)}/{LIST}"


def _kits(
    site: Site, image: Image, custom: tuple[lists.Entry, ...], test: bool
) -> tuple[list[tuple[_Kit, list[Node]]], str]:
    nodes = site.nodes_of(image)
    if not nodes:
        return [], ""
    version = published(image) if test else require_published(image)
    same: dict[int, list[Node]] = {}
    for node in nodes:
        same.setdefault(id(node.settings), []).append(node)
    groups: dict[object, list[Node]] = {}
    for members in same.values():
        settings = members[0].settings
        key = (settings.entries, settings.version, settings.host_keys, settings.localdisk)
        groups.setdefault(key, []).extend(members)
    kits = []
    for members in groups.values():
        settings = members[0].settings
        wanted = lists.merge(image, settings.entries, custom)
        one = find(image, settings.version) if settings.version else version
        kits.append((_Kit(image, one, wanted, settings), members))
    return kits, lists.list_text(members[0].settings.entries for members in groups.values())


def _image(
    image: Image,
    kits: list[tuple[_Kit, list[Node]]],
    text: str,
    done: _Done,
    test: bool,
    check: bool,
    some: bool,
) -> None:
    base = f"{image.location}/snapshot"
    if not test:
        os.makedirs(base, mode=0o755, exist_ok=True)
        close_room(base)
        lists.rename_old(base)
    files = f"{base}/{lists.FILES}"
    index = None if some else known.Known(base)
    made, compared = [], []
    unknown = [
        (kit, node)
        for kit, nodes in kits
        for node in nodes
        if check or index is None or not index.holds(node.name, _list_of(node), kit.digest)
    ]
    if not test:
        _make_keys(base, unknown)
    for kit, _ in kits:
        for path in kit.absent:
            done.absent.setdefault(path, set()).add(image.name)
    for kit, node in unknown:
        try:
            if _node(kit, node, done, test, check):
                made.append(node)
            compared.append((node, kit.digest))
        except OSError as err:
            reason = f"cannot be seeded: {err.strerror}"
            done.problems.setdefault((base, reason), []).append(node.name)
    wanted = text.encode()
    if some:
        wanted = lists.with_those(wanted, read_untrusted(files, _MOST) or b"")
    is_new = read_untrusted(files, len(wanted) + 1) != wanted
    if is_new:
        done.files.append(files)
    if test:
        return
    try:
        _bring_in(base, made, bool(compared))
        if is_new:
            _replace(base, lists.FILES, wanted, 0o644)
        if index is not None:
            for node, digest in compared:
                index.note(node.name, _list_of(node), digest)
            _keep(index, base, [node.name for _, nodes in kits for node in nodes])
    except OSError as err:
        done.problems[base, f"cannot be written: {err.strerror}"] = [lists.FILES]
    finally:
        close_room(base)


def _make_keys(base: str, nodes: list[tuple[_Kit, Node]]) -> None:
    """Make the SSH host keys that nodes lack, all of them at once."""
    lacking = {}
    for kit, node in nodes:
        with _snapshot(node) as snapshot:
            lacking[node.name] = identity.lacking(snapshot, kit.identity)
    if any(lacking.values()):
        identity.make_keys(f"{beside(base)}/{_KEYS}", lacking)


def _keep(index: known.Known, base: str, names: list[str]) -> None:
    """Write what is known of the lists of the nodes ``names``, if it differs from the file."""
    text = index.text(names)
    if text is not None:
        _replace(base, known.NAME, text, 0o600)


def _bring_in(base: str, made: list[Node], dirty: bool) -> None:
    """Rename what was made to where it belongs, when all that was written is on the disk."""
    if dirty:
        flush([base])
    for node in made:
        os.rename(f"{base}/{_NEW}/{node.name}", path_of(node))


def _replace(base: str, name: str, content: bytes, mode: int) -> None:
    """Write a file that lies beside the snapshots, by one rename."""
    new = f"{beside(base)}/{name}"
    with open(new, "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
    os.rename(new, f"{base}/{name}")


def beside(base: str) -> str:
    """Return the directory beside the snapshots that new things are made in."""
    room = f"{base}/{_NEW}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(room, 0o700)
    return room


def close_room(base: str) -> None:
    """Remove what new things were made in, now or by a run that was killed."""
    if os.path.lexists(f"{base}/{_NEW}"):
        shutil.rmtree(f"{base}/{_NEW}")


def _node(kit: _Kit, node: Node, done: _Done, test: bool, check: bool) -> bool:
    """Deal with one node; tell whether a snapshot was made that has to be brought in."""
    base = path_of(node)
    # Only compared: a node is root there and can write what it likes.
    text = read_untrusted(_list_of(node), len(kit.text) + 1)
    if text == kit.text and not check:
        return False
    if text is None:
        try:
            status = os.lstat(base)
        except FileNotFoundError:
            if not test:
                _make(kit, node, base)
            done.added.append(node.name)
            return not test
        if not stat.S_ISDIR(status.st_mode):
            raise OSError(0, "found something that is no directory; move it away", base)
    with Tree(base, links=False) as snapshot:
        unmade, missing = identity.lacking(snapshot, kit.identity), _missing(kit, snapshot)
    for path in unmade:
        done.seeded.setdefault(path, []).append(node.name)
    if unmade and not test:
        _add_identity(unmade, node, base)
    for entry in missing:
        done.seeded.setdefault(entry.path, []).append(node.name)
        if not test:
            _add(kit, entry, node, base)
    if text != kit.text:
        done.changed.append(node.name)
        if not test:
            _write_list(kit, base)
    return False


def _make(kit: _Kit, node: Node, base: str) -> None:
    """Make a whole snapshot beside the others; one rename will bring it in."""
    new = f"{beside(os.path.dirname(base))}/{node.name}"
    os.mkdir(new, 0o700)
    os.mkdir(f"{new}/{OWN}", 0o700)
    descriptor = os.open(f"{new}/{LIST}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        write_all(descriptor, kit.text)
    finally:
        os.close(descriptor)
    os.mkdir(f"{new}/{IDENTITY}", 0o700)
    lacking = identity.lacking(None, kit.identity)
    tuple(identity.write(f"{new}/{IDENTITY}", lacking, node, f"{os.path.dirname(new)}/{_KEYS}"))
    items = [*kit.parents()]
    for entry in kit.kept:
        items += kit.items(entry)
    seed.write(new, items, node)


def _add(kit: _Kit, entry: lists.Placed, node: Node, base: str) -> None:
    """Seed one entry into a snapshot that is there, without following any link in it."""
    room = f"{beside(os.path.dirname(base))}/.entry"
    os.mkdir(room, 0o700)
    try:
        above = [item for item in kit.parents() if entry.path.startswith(item.path + "/")]
        seed.write(room, [*above, *kit.items(entry)], node)
        with _opened(base, above, os.path.dirname(entry.path)) as parent:
            os.rename(room + entry.path, os.path.basename(entry.path), dst_dir_fd=parent)
    finally:
        shutil.rmtree(room)


def _add_identity(paths: list[str], node: Node, base: str) -> None:
    """Give a snapshot that is there what its node's identity lacks, without following any link."""
    room = f"{beside(os.path.dirname(base))}/.identity"
    os.mkdir(room, 0o700)
    try:
        with _own_directory(base, IDENTITY) as own:
            for name in identity.write(room, paths, node, f"{os.path.dirname(room)}/{_KEYS}"):
                os.rename(f"{room}/{name}", name, dst_dir_fd=own)
    finally:
        shutil.rmtree(room)


@contextlib.contextmanager
def _own_directory(base: str, path: str) -> Iterator[int]:
    """Open one of the project's own directories in a snapshot; it is made when it is missing, and
    one that is a link is an error (ELOOP or ENOTDIR)."""
    with Tree(base, links=False) as snapshot, snapshot.directory(f"/{path}", make=0o700) as own:
        yield own


@contextlib.contextmanager
def _opened(base: str, above: list[seed.Item], directory: str) -> Iterator[int]:
    """Open a directory below ``base``; those above it that are missing are made, and one that is a
    link is an error."""
    with Tree(base, links=False) as snapshot:
        for item in above:
            try:
                if snapshot.make_directory(item.path):
                    snapshot.chown(item.path, item.status.st_uid, item.status.st_gid)
            except OSError as err:
                raise OSError(
                    err.errno, f"{item.path} in it is no directory; put it right", base
                ) from err
        with snapshot.directory(directory) as descriptor:
            yield descriptor


def _write_list(kit: _Kit, base: str) -> None:
    room = f"{beside(os.path.dirname(base))}/.entries"
    with open(room, "wb") as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(kit.text)
    with _own_directory(base, OWN) as own:
        os.rename(room, os.path.basename(LIST), dst_dir_fd=own)


@contextlib.contextmanager
def locked(image: Image) -> Iterator[None]:
    """Wait for the image's other runs: two at once seed each node once."""
    os.makedirs(image.location, mode=0o755, exist_ok=True)
    with open(f"{image.location}/.snapshot-lock", "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
