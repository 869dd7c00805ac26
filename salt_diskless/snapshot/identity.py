"""What makes a node that one machine: made once on the server, kept in the node's own snapshot, and
bound while it boots over the empty places that a version has for it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping

from salt_diskless.cluster import Node
from salt_diskless.command import run
from salt_diskless.disk import write_all
from salt_diskless.files.beneath import Tree
from salt_diskless.image import identity as of_image
from salt_diskless.snapshot.entries import Placed
from salt_diskless.snapshot.seed import own_content

#: The directory's name below the project's own one in a snapshot. All in it is flat: the node binds
#: a file by the last part of its path.
NAME = "identity"

#: systemd-random-seed(8): as much as its pool takes.
_SEED_BYTES = 512


def placed(tree: str, key_types: Iterable[str]) -> list[Placed]:
    """Return what of it a version has a place for, as lines for the list that the node reads."""
    keys = {f"{of_image.HOST_KEY.format(kind)}{end}" for kind in key_types for end in ("", ".pub")}
    found = []
    with Tree(tree, links=False) as version:
        for path in of_image.PLACES:
            status = version.status(path)
            if status is None or (path in of_image.HOST_KEYS and path not in keys):
                continue
            if stat.S_ISREG(status.st_mode):
                found.append(Placed(path, "identity", "f", _mode(path), 0, 0))
            elif stat.S_ISDIR(status.st_mode):
                found.append(Placed(path, "identity", "d", 0o700, 0, 0))
    return found


def lacking(snapshot: Tree | None, wanted: Iterable[Placed]) -> list[str]:
    """Return the paths of the files that a node's snapshot does not have; None is one that is yet
    to be made. What the master delivers is not the server's to make."""
    names = {*snapshot.names(f"/.diskless/{NAME}")} if snapshot is not None else set()
    return [
        one.path for one in wanted if one.kind == "f" and os.path.basename(one.path) not in names
    ]


def make_keys(room: str, wanted: Mapping[str, Iterable[str]]) -> None:
    """Make SSH host keys, for all nodes by one program that keeps every processor busy.

    room
        A directory that no node can reach; each node's keys are then in one of its own below it.
    wanted
        Node to the paths that it lacks; those that are no keys are passed over.
    """
    files: dict[str, list[str]] = {}
    for name, paths in wanted.items():
        for path in {path.removesuffix(".pub") for path in paths} & of_image.HOST_KEYS:
            os.makedirs(f"{room}/{name}", mode=0o700, exist_ok=True)
            kind = os.path.basename(path).split("_")[2]
            files.setdefault(kind, []).append(f"{room}/{name}/{os.path.basename(path)}\0")
    for kind, names in sorted(files.items()):
        each = ["xargs", "-0", "-P", str(os.cpu_count() or 1), "-n", "1"]
        keygen = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f"]
        run([*each, *keygen], input="".join(sorted(names)), ends_with_us=True)


def write(directory: str, paths: list[str], node: Node, keys: str) -> Iterator[str]:
    """Write files of a node's identity into a directory that no node can reach, and yield their
    names.

    keys
        What :func:`make_keys` was given as ``room``.
    """
    halves = {path.removesuffix(".pub") for path in paths} & of_image.HOST_KEYS
    # One half of a pair, where a node removed the other, would not fit a new one: both are new.
    for path in sorted(halves):
        for name in (os.path.basename(path), f"{os.path.basename(path)}.pub"):
            os.rename(f"{keys}/{node.name}/{name}", f"{directory}/{name}")
            yield name
    for path in sorted({*paths} - of_image.HOST_KEYS):
        name = os.path.basename(path)
        descriptor = os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.fchmod(descriptor, _mode(path))
            write_all(descriptor, _content(path, node))
        finally:
            os.close(descriptor)
        yield name


def _content(path: str, node: Node) -> bytes:
    if path == of_image.RANDOM_SEED:
        return os.urandom(_SEED_BYTES)
    if path == of_image.MINION_ID:
        return f"# Written by salt-diskless.\nid: '{node.name}'\n".encode()
    content = own_content(path, node)
    assert content is not None, path
    return content


def _mode(path: str) -> int:
    secret = path == of_image.RANDOM_SEED or (
        path in of_image.HOST_KEYS and not path.endswith(".pub")
    )
    return 0o600 if secret else 0o644
