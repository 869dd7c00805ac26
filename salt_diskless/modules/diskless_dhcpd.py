"""ISC dhcpd of a boot server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from salt_diskless import adapter, tree
from salt_diskless.boot import dhcpd as text
from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.ranges import natural
from salt_diskless.services import cleaning, dhcpd, nodes, runs, told
from salt_diskless.state import originals

if TYPE_CHECKING:
    __pillar__: dict[str, Any]
    __opts__: dict[str, Any]
    __grains__: dict[str, Any]
    __context__: dict[str, Any]

__virtualname__ = "diskless_dhcpd"


@adapter.reading
def render() -> str:
    """
    Return the ``dhcpd.conf`` that the pillar asks for.

    CLI Example:

    .. code-block:: bash

        salt-call --out=newline_values_only diskless_dhcpd.render
    """
    names = adapter.platform(__grains__, __pillar__)
    return text.render(adapter.site(__pillar__, __opts__), names.key_file).decode()


@adapter.reading
def check(path: str | None = None) -> str:
    """
    Have dhcpd check a configuration, and return what it says; it fails when dhcpd refuses.

    path
        The file; default is the live one.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_dhcpd.check
    """
    file = path or adapter.platform(__grains__, __pillar__).dhcp_config
    if not os.path.isfile(file):
        raise DisklessError(f"path: found no file {shown(file)}; give one, or nothing")
    return dhcpd.check(file)


@adapter.reading
def leases(full: bool = False) -> dict[str, Any]:
    """
    Return the leases of the discovery ranges that dhcpd has given out: address to MAC, state and
    end, in a line.

    full
        Return MAC, state and end of each as fields instead.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_dhcpd.leases
    """
    given_out = dhcpd.leases()
    leases = {ip: given_out[ip] for ip in sorted(given_out, key=natural)}
    if full:
        return leases
    return {ip: ", ".join(filter(None, lease.values())) for ip, lease in leases.items()}


@adapter.execution
def apply_(test: bool = False) -> dict[str, Any]:
    """
    Make dhcpd's configuration what the pillar says, and return the changes. A configuration that
    dhcpd refuses never goes live. The service is not restarted: that is its state's part.

    test
        Touch nothing, and return what would change.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_dhcpd.apply test=True
    """
    with nodes.alone(test):
        names, site = adapter.platform(__grains__, __pillar__), adapter.site(__pillar__, __opts__)
        files = dhcpd.files(site, names)
        difference = dhcpd.difference(files, names, site.adopt)
        changes = dhcpd.folded(site, difference, names)
        if lost := originals.replaced(files, difference.changed):
            changes["replaced"] = lost
        if not test:
            runs.take_turn(__context__, difference)
            dhcpd.apply(difference, files, names)
            told.note_registry(adapter.cluster(__pillar__).has_registry)
        return changes


@adapter.execution
def clean(test: bool = False) -> dict[str, Any]:
    """
    Remove dhcpd's configuration if the project wrote it, and return what was removed.

    test
        Touch nothing, and return what would be removed.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_dhcpd.clean test=True
    """
    names = adapter.platform(__grains__, __pillar__)
    if not test:
        told.note_registry(False)
    return tree.clean(cleaning.dhcpd_files(names), test)


__func_alias__ = {"apply_": "apply"}
