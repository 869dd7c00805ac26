"""The NFS exports of a boot server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salt_diskless import adapter, tree
from salt_diskless.boot import exports as text
from salt_diskless.command import CommandFailed
from salt_diskless.services import exportfs, nfs, nodes, restarts

if TYPE_CHECKING:
    __pillar__: dict[str, Any]
    __opts__: dict[str, Any]
    __grains__: dict[str, Any]

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
def list_(ask: bool = True) -> dict[str, Any]:
    """
    Return what is really exported: exportfs's table below ``exported`` (path to clients and their
    options), and below ``drift`` how the table differs from the pillar. What mountd tells clients
    (``showmount -e``) is below ``shown``, and below ``not_shown`` what of the table it keeps to
    itself; where it does not answer, as on a server with NFS 4 alone, ``shown`` is the reason.

    ask
        Ask mountd too.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_nfs.list
    """
    names, site = adapter.platform(__grains__, __pillar__), adapter.site(__pillar__, __opts__)
    exported: dict[str, dict[str, str]] = {}
    for export in nfs.table():
        exported.setdefault(export.path, {})[export.client] = export.options
    answer: dict[str, Any] = {
        "exported": exported,
        "drift": nfs.drift(site, names).as_dict(),
    }
    if ask:
        try:
            shown = nfs.shown()
        except CommandFailed as err:
            return {**answer, "shown": str(err)}
        answer.update(shown=shown, not_shown=nfs.not_shown(shown))
    return answer


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
        change, files = nfs.difference(wanted, names)
        drift = nfs.drift(site, names, wanted)
        changes = nfs.folded(change, drift)
        if exportfs.is_pending():
            changes["outdated"] = names.nfs_service
        if changes and not test:
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
    return restarts.settle(files, names.mountd_service, test=test)


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
    with nodes.alone(test):
        removed: dict[str, Any] = {**tree.clean([names.exports_file, names.nfs_settings], test)}
        if (removed or exportfs.is_pending()) and not test:
            warnings = nfs.reread(names)
            removed |= {"warnings": [*warnings]} if warnings else {}
        return removed
