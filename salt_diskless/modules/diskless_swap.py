"""The swap files of a boot server's nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salt_diskless import adapter, swapfiles
from salt_diskless.cluster.ranges import folded, natural
from salt_diskless.services import runs

if TYPE_CHECKING:
    __pillar__: dict[str, Any]
    __opts__: dict[str, Any]
    __context__: dict[str, Any]

__virtualname__ = "diskless_swap"
__func_alias__ = {"list_": "list", "apply_": "apply"}


@adapter.reading
def list_(full: bool = False) -> dict[str, Any]:
    """
    Return the swap files of nodes that swap over NFS, folded: what they are to have and have, and
    whether an old one is kept, which the node may use until it boots, to the nodes.

    full
        Return for each node its path, the bytes that are ``wanted`` and there (``bytes``), and
        whether an ``old`` one is kept.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_swap.list
    """
    files = swapfiles.listed(adapter.site(__pillar__, __opts__))
    if full:
        return {name: files[name] for name in sorted(files, key=natural)}
    return folded((_sentence(file), name) for name, file in files.items())


def _sentence(file: dict[str, object]) -> str:
    """Return the state of a swap file."""
    size = "missing" if file["bytes"] is None else f"{file['bytes']} bytes"
    wanted = "" if file["bytes"] == file["wanted"] else f", {file['wanted']} bytes wanted"
    return f"{size}{wanted}{', an old one is kept' if file['old'] else ''}"


@adapter.execution
def apply_(test: bool = False) -> dict[str, Any]:
    """
    Make the swap files what the pillar says, and return the changes with nodes folded: ``retired``
    are files that are not wanted any more and that nodes may use until they boot.

    test
        Touch nothing, and return what would change.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_swap.apply test=True
    """
    site = lambda: adapter.site(__pillar__, __opts__)  # noqa: E731
    if not test and runs.is_overtaken(__context__):
        runs.take_turn(__context__, swapfiles.managed(site, test=True))
    changes = swapfiles.managed(site, test=test)
    if not test:
        runs.note(__context__, changes)
    return changes


@adapter.execution
def clean(test: bool = False) -> dict[str, Any]:
    """
    Remove every swap file, also those in use, and return the changes.

    test
        Touch nothing, and return what would be removed.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_swap.clean test=True
    """
    return swapfiles.clean(adapter.site(__pillar__, __opts__).images.values(), test=test)
