"""The keys of the nodes' Salt minions: made on the boot server, in each node's own snapshot. Only
the public half leaves it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection

from salt_diskless.cluster import Image, Node, Site
from salt_diskless.disk import flush
from salt_diskless.image import identity
from salt_diskless.snapshot import manage

#: Where a minion has them, below its pki_dir, which the node binds from here.
_PLACE = f"{manage.IDENTITY}/{os.path.basename(identity.MINION_KEYS)}"
_PUBLIC = "minion/minion.pub"
#: A public key of RSA with 16384 bits has less.
_MOST = 4096
_PEM = re.compile(
    r"-----BEGIN (RSA |)PUBLIC KEY-----\n(?:[A-Za-z0-9+/=]{1,80}\n)+-----END \1PUBLIC KEY-----\n?"
)


def keys(site: Site, make: Callable[[str], None], but: Collection[str]) -> dict[str, str]:
    """Make a pair for each node that has a snapshot, a Salt minion in its version, and no pair yet;
    return the public keys of all nodes that have one.

    make
        Writes ``minion.pem`` and ``minion.pub`` into a directory.
    but
        Names of nodes that are left alone.
    """
    found: dict[str, str] = {}
    for image in site.images.values():
        nodes = [node for node in manage.with_minion(site, image) if {node.name}.isdisjoint(but)]
        if nodes:
            with manage.locked(image):
                _make(image, nodes, make)
                public = {node.name: _public(node) for node in nodes}
            found.update({name: key for name, key in public.items() if key is not None})
    return found


def _make(image: Image, nodes: list[Node], make: Callable[[str], None]) -> None:
    """Make the pairs beside the snapshots, and bring them in when they are on the disk."""
    base = f"{image.location}/snapshot"
    manage.close_room(base)
    lacking = [node for node in nodes if not os.path.lexists(f"{manage.path_of(node)}/{_PLACE}")]
    if not lacking:
        return
    room = manage.beside(base)
    try:
        for node in lacking:
            place = f"{room}/{node.name}/minion"
            for directory in (os.path.dirname(place), place):
                os.mkdir(directory, 0o700)
            make(place)
            os.chmod(f"{place}/minion.pem", 0o400)
            os.chmod(f"{place}/minion.pub", 0o644)
        flush([base])
        for node in lacking:
            with manage.own_directory(manage.path_of(node), manage.IDENTITY) as own:
                os.rename(f"{room}/{node.name}", os.path.basename(_PLACE), dst_dir_fd=own)
    finally:
        shutil.rmtree(room)


def _public(node: Node) -> str | None:
    """Return a node's public key, or None where there is nothing that is one: the node is root
    there, so no link is followed, and nothing but a key is handed on."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with manage.own_directory(manage.path_of(node), f"{_PLACE}/minion", make=False) as own:
            descriptor = os.open(os.path.basename(_PUBLIC), flags, dir_fd=own)
            try:
                text = os.read(descriptor, _MOST).decode("ascii", "replace")
            finally:
                os.close(descriptor)
    except OSError:
        return None
    return text if _PEM.fullmatch(text) else None
