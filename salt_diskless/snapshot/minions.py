"""The keys of the nodes' Salt minions: made on the boot server, in each node's own snapshot. Only
the public half leaves it."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from salt_diskless.cluster import Image, Node, Site
from salt_diskless.disk import flush, write_all
from salt_diskless.files.beneath import Tree
from salt_diskless.image import identity
from salt_diskless.registry.answers import is_public_key
from salt_diskless.snapshot import manage

log = logging.getLogger(__name__)

#: Where a minion has them, below its pki_dir, which the node binds from here.
_PLACE = f"{manage.IDENTITY}/{os.path.basename(identity.MINION_KEYS)}"
_PUBLIC = "minion/minion.pub"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
#: A public key of RSA with 16384 bits has less.
_MOST = 4096


@dataclass(frozen=True, slots=True)
class Pair:
    """A key, and its public half, in PEM."""

    private: bytes = field(repr=False)
    public: bytes


def pairs(
    site: Site,
    make: Callable[[], tuple[bytes, bytes]],
    but: Collection[str] = (),
    *,
    new: bool = False,
) -> dict[str, Pair]:
    """Make a pair for each node that has a Salt minion in its version, a snapshot, and no pair yet.
    It takes a while, and nobody waits for it: :func:`keys` brings them in.

    make
        Returns a new private key and its public half, in PEM.
    but
        Names of nodes that are left alone.
    new
        Also for nodes whose snapshot is yet to be made.
    """
    made = {}
    for image in site.images.values():
        for node in manage.with_minion(site, image, new=new):
            if node.name not in but and _lacks(node):
                # In this process alone: one that is killed leaves no private key in a file.
                made[node.name] = Pair(*make())
    return made


def keys(site: Site, made: Mapping[str, Pair], but: Collection[str] = ()) -> dict[str, str]:
    """Give pairs of :func:`pairs` to the nodes that have none yet; return the public keys of all
    nodes that have one.

    but
        As for :func:`pairs`.
    """
    found: dict[str, str] = {}
    for image in site.images.values():
        nodes = [node for node in manage.with_minion(site, image) if node.name not in but]
        if nodes:
            with manage.locked(image):
                _bring_in(image, [node for node in nodes if node.name in made], made)
                public = {node.name: _public(node) for node in nodes}
            found.update({name: key for name, key in public.items() if key is not None})
    return found


def _bring_in(image: Image, nodes: list[Node], made: Mapping[str, Pair]) -> None:
    """Write the pairs beside the snapshots, and bring them in when they are on the disk."""
    base = f"{image.location}/snapshot"
    manage.close_room(base)
    lacking = [node for node in nodes if _lacks(node)]
    if not lacking:
        return
    room = manage.beside(base)
    try:
        for node in lacking:
            place = f"{room}/{node.name}/minion"
            for directory in (os.path.dirname(place), place):
                os.mkdir(directory, 0o700)
            pair = made[node.name]
            for half, content, mode in (
                ("pem", pair.private, 0o400),
                ("pub", pair.public, 0o644),
            ):
                descriptor = os.open(f"{place}/minion.{half}", _NEW_FILE, mode)
                try:
                    write_all(descriptor, content)
                finally:
                    os.close(descriptor)
        flush([base])
        for node in lacking:
            try:
                with (
                    Tree(manage.path_of(node), links=False) as snapshot,
                    snapshot.directory(f"/{manage.IDENTITY}", make=0o700) as own,
                ):
                    os.rename(f"{room}/{node.name}", os.path.basename(_PLACE), dst_dir_fd=own)
            except OSError as err:
                # A node put something else there: the keys of the others do not wait for that.
                path = f"{manage.path_of(node)}/{manage.IDENTITY}"
                log.error("%s: cannot take a minion key (%s); remove it", path, err.strerror)
    finally:
        shutil.rmtree(room)


def _lacks(node: Node) -> bool:
    if not os.path.lexists(manage.path_of(node)):
        return True
    with Tree(manage.path_of(node), links=False) as snapshot:
        return snapshot.status(f"/{_PLACE}") is None


def _public(node: Node) -> str | None:
    """Return a node's public key, or None where there is nothing that is one: the node is root
    there, so no link is followed, and nothing but a key is handed on."""
    try:
        with Tree(manage.path_of(node), links=False) as snapshot:
            found = snapshot.read(f"/{_PLACE}/{_PUBLIC}", _MOST)
    except OSError:
        return None
    text = (found or b"").decode("ascii", "replace")
    return text if is_public_key(text) else None
