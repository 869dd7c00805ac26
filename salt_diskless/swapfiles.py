"""The swap files of a boot server's nodes: ``<location>/swap/<node>/swapfile``, one for each node.

A file is made beside the others and comes in by one rename. A node that is up may have memory in
the file that it took, also when the pillar wants another one or none: then that file stays, as
``swapfile.old`` (the same inode, which is all that NFS knows it by), until the node has taken a
later one or booted again. A node is root in its directory, so no link there is followed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from salt_diskless.cluster import DisklessError, Image, Node, Site
from salt_diskless.cluster.ranges import fold
from salt_diskless.command import run
from salt_diskless.disk import status_untrusted
from salt_diskless.image.running import NOTE

FILE, OLD = "swapfile", "swapfile.old"
#: What a node writes beside its file when it takes it.
TAKEN = "taken"
#: Beside the nodes' directories: where files are made and directories go to be removed.
_NEW = ".new"
_LOCK = ".lock"
_ZEROS = memoryview(bytes(1 << 20))


@dataclass(frozen=True, slots=True)
class _Todo:
    """What differs from the pillar in one image's directory.

    added, changed
        The nodes that get a new file: they have none, or one of another size.
    retired
        Those whose file is not wanted and may be in use: it stays for now.
    removed
        Those whose directory goes.
    left
        Those whose old file goes.
    """

    image: Image
    added: list[Node] = field(default_factory=list)
    changed: list[Node] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def new(self) -> list[Node]:
        """The nodes that get a new file."""
        return [*self.added, *self.changed]

    @property
    def bytes(self) -> int:
        """How much room the new files take."""
        return sum(node.settings.swap.bytes for node in self.new)


def managed(now: Callable[[], Site], *, test: bool = False) -> dict[str, object]:
    """Give the nodes that swap over NFS their files, and take them from the others.

    now
        Returns the boot server's site. It is asked once more when nobody else can add a node's
        file: one that was added meanwhile keeps it.
    test
        Touch nothing.

    Returns the changes, nodes folded.
    Raises :class:`DisklessError` where the new files would not fit, before one is made (the
    directories, which are exported, are made all the same), and, after all others are done, for the
    nodes that could not be dealt with, by reason.
    """
    site = now()
    images = [
        site.images[name]
        for name in sorted(site.images)
        if os.path.isdir(directory(site.images[name])) or _wanting(site, site.images[name])
    ]
    problems: dict[str, list[str]] = {}
    with contextlib.ExitStack() as locks:
        if not test:
            for image in images:
                locks.enter_context(_locked(image))
            site = now()
            images = [site.images[image.name] for image in images]
        todos = [_todo(site, image) for image in images]
        if not test:
            for todo in todos:
                _each((node.name for node in todo.added), _directory, todo.image, problems)
        _require_room(todos)
        if not test:
            for todo in todos:
                _do(todo, problems)
    _raise(problems)
    return _changes(todos)


def add(site: Site) -> dict[str, object]:
    """Give the nodes of a site, which are but some of the boot server's, their files; return the
    changes, and raise, as :func:`managed`."""
    todos, problems = [], {}  # type: list[_Todo], dict[str, list[str]]
    for image in site.images.values():
        wanting = _wanting(site, image)
        if not wanting:
            continue
        with _locked(image):
            todo = _Todo(image)
            for name, node in wanting.items():
                size = _size(f"{directory(image)}/{name}/{FILE}")
                if size != node.settings.swap.bytes:
                    (todo.added if size is None else todo.changed).append(node)
            _each((node.name for node in todo.added), _directory, image, problems)
            _require_room([todo])
            _do(todo, problems)
            todos.append(todo)
    _raise(problems)
    return _changes(todos)


def listed(site: Site) -> dict[str, dict[str, object]]:
    """Return the file of each node that swaps over NFS: its path, the bytes that it is to have and
    has (None: it is not there), and whether an old one is kept that the node may still use."""
    return {
        name: {
            "path": f"{directory(image)}/{name}/{FILE}",
            "wanted": node.settings.swap.bytes,
            "bytes": _size(f"{directory(image)}/{name}/{FILE}"),
            "old": os.path.lexists(f"{directory(image)}/{name}/{OLD}"),
        }
        for image in site.images.values()
        for name, node in _wanting(site, image).items()
    }


def leaving(site: Site) -> frozenset[str]:
    """Return the nodes that shall not swap over NFS any more, and may still do so: what they have
    memory in is to be exported until they have booted again."""
    return frozenset(
        name
        for image in site.images.values()
        if (there := {*_directories(image)} - _wanting(site, image).keys())
        for name in there.intersection(node.name for node in site.nodes_of(image))
        if _may_use(image, name)
    )


def clean(images: Iterable[Image], *, test: bool = False) -> dict[str, object]:
    """Remove every swap file of images, and return the changes; ``test`` touches nothing."""
    removed = []
    for image in images:
        base, names = directory(image), list(_directories(image))
        removed += names
        if test or not os.path.isdir(base):
            continue
        with _locked(image):
            for name in names:
                _remove(image, name)
            os.unlink(f"{base}/{_LOCK}")
        with contextlib.suppress(OSError):  # Somebody has put something else there.
            os.rmdir(base)
    return {"removed": {"nodes": fold(removed)}} if removed else {}


def directory(image: Image) -> str:
    """Return the directory that has a directory for each node of an image that swaps over NFS."""
    return f"{image.location}/swap"


def _wanting(site: Site, image: Image) -> dict[str, Node]:
    """Return the nodes of an image that swap over NFS, by name."""
    nodes = site.nodes_of(image)
    return {node.name: node for node in nodes if node.settings.swap.kind == "nfs"}


def _todo(site: Site, image: Image) -> _Todo:
    base, todo, wanting = directory(image), _Todo(image), _wanting(site, image)
    for name, node in wanting.items():
        size = _size(f"{base}/{name}/{FILE}")
        if size != node.settings.swap.bytes:
            (todo.added if size is None else todo.changed).append(node)
        elif os.path.lexists(f"{base}/{name}/{OLD}") and not _is_held(image, name):
            todo.left.append(name)
    unwanted = sorted({*_directories(image)} - wanting.keys())
    known = {node.name for node in site.nodes_of(image)} if unwanted else {}
    for name in unwanted:
        if name not in known or not _may_use(image, name):
            todo.removed.append(name)
        elif os.path.lexists(f"{base}/{name}/{FILE}"):
            todo.retired.append(name)
    return todo


def _directories(image: Image) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError), os.scandir(directory(image)) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and entry.name != _NEW:
                yield entry.name


def _size(path: str) -> int | None:
    """Return a plain file's size, or None where there is none."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _last(image: Image, name: str) -> int | None:
    """Return when a node booted or took a swap file, whatever was later, by the server's clock in
    nanoseconds; None when it never did."""
    times = []
    for path in (f"snapshot/{name}/{NOTE}", f"swap/{name}/{TAKEN}"):
        status = status_untrusted(f"{image.location}/{path}")
        if status is not None:
            times.append(status.st_mtime_ns)
    return max(times, default=None)


def _is_held(image: Image, name: str) -> bool:
    """Tell whether a node's old file may be in use: it was written or made the old one later than
    the node began anew."""
    try:
        changed = os.lstat(f"{directory(image)}/{name}/{OLD}").st_ctime_ns
    except FileNotFoundError:
        return False
    last = _last(image, name)
    return last is not None and changed > last


def _may_use(image: Image, name: str) -> bool:
    """Tell whether a node may use any file of its directory."""
    if os.path.lexists(f"{directory(image)}/{name}/{FILE}"):
        return _last(image, name) is not None
    return _is_held(image, name)


def _require_room(todos: list[_Todo]) -> None:
    """Raise :class:`DisklessError` where the new files on a file system do not fit together."""
    on: dict[int, list[_Todo]] = {}
    for todo in todos:
        if todo.bytes:
            on.setdefault(os.stat(_existing(todo.image.location)).st_dev, []).append(todo)
    for together in on.values():
        room = os.statvfs(_existing(together[0].image.location))
        free = room.f_bavail * room.f_frsize
        if sum(todo.bytes for todo in together) > free:
            files = "; ".join(
                f"{_shown(todo.bytes)} for {fold(node.name for node in todo.new)} "
                f"(image {todo.image.name})"
                for todo in together
            )
            raise DisklessError(
                f"{directory(together[0].image)}: found {_shown(free)} of room, and new swap files "
                f"take more: {files}; make room there, or give these nodes a smaller swap:size or "
                "another kind. No swap file was made or changed"
            )


def _existing(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _do(todo: _Todo, problems: dict[str, list[str]]) -> None:
    nodes = {node.name: node for node in todo.new}
    for names, work in (
        (todo.removed, _remove),
        (todo.left, _drop_old),
        (todo.retired, _retire),
        (nodes, lambda image, name: _make(image, nodes[name])),
    ):
        _each(names, work, todo.image, problems)


def _raise(problems: dict[str, list[str]]) -> None:
    if problems:
        raise DisklessError("\n".join(f"{why}: {fold(names)}" for why, names in problems.items()))


def _each(
    names: Iterable[str],
    work: Callable[[Image, str], None],
    image: Image,
    problems: dict[str, list[str]],
) -> None:
    """Do the work for each node; those for which it fails are added to ``problems``."""
    for name in names:
        try:
            work(image, name)
        except OSError as err:
            problems.setdefault(f"{directory(image)}: {err.strerror}", []).append(name)


def _make(image: Image, node: Node) -> None:
    """Make a node's file: all of it written, on the disk, and a swap area (mkswap(8))."""
    file, new = f"{directory(image)}/{node.name}/{FILE}", f"{_room(image)}/{node.name}"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # Swapping takes no file with holes, and what is only allocated counts as one.
        left = node.settings.swap.bytes
        while left:
            left -= os.write(descriptor, _ZEROS[:left])
        run(["mkswap", new])
        os.fsync(descriptor)
    except BaseException:
        os.unlink(new)
        raise
    finally:
        os.close(descriptor)
    if os.path.lexists(file):
        _keep_old(image, node.name)
    os.rename(new, file)


def _retire(image: Image, name: str) -> None:
    """Take a file's name, and leave it to the node that may use it."""
    _keep_old(image, name)
    os.unlink(f"{directory(image)}/{name}/{FILE}")


def _keep_old(image: Image, name: str) -> None:
    """Make a node's file the old one as well, if the node may have taken it."""
    file, old = (f"{directory(image)}/{name}/{which}" for which in (FILE, OLD))
    # With an older one that it holds, it never took this.
    if _last(image, name) is not None and not _is_held(image, name):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(old)
        os.link(file, old, follow_symlinks=False)


def _drop_old(image: Image, name: str) -> None:
    os.unlink(f"{directory(image)}/{name}/{OLD}")


def _directory(image: Image, name: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(f"{directory(image)}/{name}", 0o700)


def _remove(image: Image, name: str) -> None:
    """Remove a node's directory; killed half-way, what is left of it is in nobody's way."""
    gone = f"{_room(image)}/{name}"
    os.rename(f"{directory(image)}/{name}", gone)
    shutil.rmtree(gone)


def _room(image: Image) -> str:
    """Return the directory beside the nodes' that no node can reach."""
    room = f"{directory(image)}/{_NEW}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(room, 0o700)
    return room


@contextlib.contextmanager
def _locked(image: Image) -> Iterator[None]:
    """Wait for the image's other runs, and leave no room open, of this run or of a killed one."""
    base = directory(image)
    os.makedirs(base, mode=0o755, exist_ok=True)
    with open(f"{base}/{_LOCK}", "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if os.path.lexists(f"{base}/{_NEW}"):
                shutil.rmtree(f"{base}/{_NEW}")
            yield
        finally:
            if os.path.lexists(f"{base}/{_NEW}"):
                shutil.rmtree(f"{base}/{_NEW}")


def _changes(todos: list[_Todo]) -> dict[str, object]:
    changes: dict[str, object] = {}
    for what in ("added", "changed"):
        nodes = [node.name for todo in todos for node in getattr(todo, what)]
        if nodes:
            changes[what] = {"nodes": fold(nodes)}
    for what, key, names in (
        ("retired", "nodes", [name for todo in todos for name in todo.retired]),
        ("removed", "nodes", [name for todo in todos for name in todo.removed]),
        ("removed", "old", [name for todo in todos for name in todo.left]),
    ):
        if names:
            group = changes.setdefault(what, {})
            assert isinstance(group, dict)
            group[key] = fold(names)
    return changes


def _shown(count: int) -> str:
    return f"{count / 1000**2:,.1f} MB"
