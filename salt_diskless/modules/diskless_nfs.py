"""The NFS exports of a boot server."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from salt_diskless import adapter, tree
from salt_diskless.boot import exports as text
from salt_diskless.cluster.ranges import filled, fold_paths
from salt_diskless.command import CommandFailed
from salt_diskless.services import export_listing, exportfs, nfs, nodes, restarts, runs
from salt_diskless.state import originals

if TYPE_CHECKING:
    __pillar__: dict[str, Any]
    __opts__: dict[str, Any]
    __grains__: dict[str, Any]
    __context__: dict[str, Any]

__virtualname__ = "diskless_nfs"
__func_alias__ = {"list_": "list", "apply_": "apply"}


@adapter.reading
def render() -> str:
    """
    Return the file below ``exports.d`` that the pillar asks for.

    CLI Example:

    .. code-block:: bash

        salt-call --out=newline_values_only diskless_nfs.render
    """
    return text.render(nfs.wanted(adapter.site(__pillar__, __opts__))).decode()


@adapter.reading
def list_(ask: bool = True, full: bool = False) -> dict[str, Any]:
    """
    Return what is really exported: exportfs's table below ``exported`` (path to clients and their
    options), and below ``drift`` how the table differs from the pillar. What mountd tells clients
    (``showmount -e``) is below ``shown``, and below ``not_shown`` what of the table it keeps to
    itself; where it does not answer, as on a server with NFS 4 alone, ``shown`` is the reason.
    Paths, addresses and options that are alike are folded, and what is empty is left out.

    ask
        Ask mountd too.
    full
        Return each path with each of its clients.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_nfs.list
    """
    names, site = adapter.platform(__grains__, __pillar__), adapter.site(__pillar__, __opts__)
    table, drift = nfs.table(), nfs.drift(site, names)
    answer: dict[str, Any] = {
        "exported": export_listing.by_path(table) if full else export_listing.alike(table),
        "drift": drift.as_dict() if full else export_listing.drift(drift),
    }
    if ask:
        try:
            shown = nfs.shown()
        except CommandFailed as err:
            return filled({**answer, "shown": str(err)})
        hidden = nfs.not_shown(shown)
        answer["shown"] = shown if full else export_listing.alike_shown(shown)
        answer["not_shown"] = hidden if full else fold_paths(one.split(" ")[0] for one in hidden)
    return answer if full or not ask else filled(answer)


@adapter.execution
def apply_(test: bool = False) -> dict[str, Any]:
    """
    Export what the pillar says, and return the changes: of the file, and of exportfs's table where
    that had drifted from the pillar. The NFS server is not restarted. Below ``outdated`` is the NFS
    server, when a run was killed before the kernel had the exports of the table; below
    ``warnings`` is what exportfs says about the exports of others.

    test
        Touch nothing, and return what would change.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_nfs.apply test=True
    """
    with nodes.alone(test):
        names, site = adapter.platform(__grains__, __pillar__), adapter.site(__pillar__, __opts__)
        wanted = nfs.wanted(site)
        change, files = nfs.difference(wanted, names, site.adopt)
        drift = nfs.drift(site, names, wanted)
        changes = nfs.folded(change, drift)
        if lost := originals.replaced(files, change.changed):
            changes["replaced"] = lost
        if exportfs.is_pending():
            changes["outdated"] = names.nfs_service
        if changes and not test:
            runs.take_turn(__context__, changes)
            warnings = nfs.apply(change, files, site, wanted, names)
            changes |= {"warnings": [*warnings]} if warnings else {}
        return changes


@adapter.execution
def settings(test: bool = False) -> dict[str, Any]:
    """
    Have mountd listen on its registered port, which a firewall can open; return the changes.

    test
        Touch nothing, and return what would change.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_nfs.settings test=True
    """
    names = adapter.platform(__grains__, __pillar__)
    files: dict[str, tree.Content] = {names.nfs_settings: text.settings()}
    adopt = adapter.site(__pillar__, __opts__).adopt
    with nodes.alone(test):
        return restarts.settle(
            files,
            names.mountd_service,
            test=test,
            foreign_ok=adopt,
            take_turn=lambda change: runs.take_turn(__context__, change),
        )


@adapter.execution
def clean(test: bool = False) -> dict[str, Any]:
    """
    Export nothing of the project's any more, and return what was removed.

    test
        Touch nothing, and return what would be removed.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_nfs.clean test=True
    """
    names = adapter.platform(__grains__, __pillar__)
    was_pending = exportfs.is_pending()
    # Noted before the file goes, so that a run that is killed then is followed by another read.
    note = contextlib.nullcontext() if test else exportfs.pending()
    with nodes.alone(test), note:
        removed: dict[str, Any] = {**tree.clean([names.exports_file, names.nfs_settings], test)}
        if (removed or was_pending) and not test:
            warnings = nfs.reread(names)
            removed |= {"warnings": [*warnings]} if warnings else {}
        return removed
