"""The swap files of a boot server's nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salt_diskless import adapter, swapfiles

if TYPE_CHECKING:
    __pillar__: dict[str, Any]
    __opts__: dict[str, Any]

__virtualname__ = "diskless_swap"
__func_alias__ = {"list_": "list", "apply_": "apply"}


@adapter.reading
def list_() -> dict[str, Any]:
    """
    Return the file of each node that swaps over NFS: its path, the bytes that it is to have and
    has, and whether an old one is kept, which the node may use until it boots.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_swap.list
    """
    return swapfiles.listed(adapter.site(__pillar__, __opts__))


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
    return swapfiles.managed(lambda: adapter.site(__pillar__, __opts__), test=test)


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
    return swapfiles.clean(adapter.site(__pillar__, __opts__), test=test)
