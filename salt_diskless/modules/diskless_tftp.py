"""The TFTP root of a boot server: loader, kernels, a file per node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salt_diskless import adapter, tree
from salt_diskless.cluster.ranges import folded
from salt_diskless.services import answers, nodes, restarts, runs, tftp
from salt_diskless.state import originals

if TYPE_CHECKING:
    __pillar__: dict[str, Any]
    __opts__: dict[str, Any]
    __grains__: dict[str, Any]
    __context__: dict[str, Any]

__virtualname__ = "diskless_tftp"
__func_alias__ = {"list_": "list", "apply_": "apply"}


@adapter.reading
def render(node: str | None = None) -> dict[str, str]:
    """
    Return the text files that the TFTP root must hold, path to content.

    node
        Only this node's file.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_tftp.render node003
    """
    names, site = adapter.platform(__grains__, __pillar__), adapter.site(__pillar__, __opts__)
    files = tftp.plan(site, names, frozenset()).files
    texts = {
        path: data.decode() for path, data in files.items() if isinstance(data, bytes) and data
    }
    if node is None:
        return texts
    path = tftp.node_path(site, names, node)
    return {path: texts[path]}


@adapter.reading
def list_(full: bool = False) -> dict[str, Any]:
    """
    Return the node files on the disk, folded: image and version (and the kernel that the pillar
    names, where it is not the version's own) to the nodes whose files name them.

    full
        Return file name to its node, image, version and kernel.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_tftp.list
    """
    files = tftp.listed(adapter.platform(__grains__, __pillar__))
    if full:
        return files
    return folded(
        (
            " ".join(filter(None, (file["image"], file["version"], file["kernel"]))),
            str(file["node"]),
        )
        for file in files.values()
    )


@adapter.execution
def apply_(test: bool = False, remove: bool = True) -> dict[str, Any]:
    """
    Make the TFTP root what the pillar says, and return the changes with nodes folded.

    test
        Touch nothing, and return what would change.
    remove
        With False the files of nodes that the pillar does not have stay, as a change of a version
        needs it: exports and DHCP go on serving such nodes until ``state.apply diskless``.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_tftp.apply test=True
    """
    with nodes.alone(test):
        names, site = adapter.platform(__grains__, __pillar__), adapter.site(__pillar__, __opts__)
        pending = frozenset(__context__.get(adapter.PENDING, ())) if test else None
        plan = tftp.plan(site, names, pending, remove)
        difference = plan.difference()
        changes = tftp.folded(site, difference, names)
        if lost := originals.replaced(plan.files, tftp.unmarked(plan, difference, names)):
            changes["replaced"] = lost
        if not test:
            runs.take_turn(__context__, difference)
            tftp.keep_originals(plan, difference, names)
            tree.apply(difference, plan.files, own_below=tftp.directory(names))
            tftp.remove_empty(names)
        return changes


@adapter.execution
def answer(test: bool = False) -> dict[str, Any]:
    """
    Tell machines that wait at their consoles and are nodes by now that they are registered: they
    boot by themselves. Return the changes with nodes folded. It comes after all that such a node
    needs, which dhcpd has last.

    test
        Touch nothing, and return what would change.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_tftp.answer test=True
    """
    with nodes.alone(test):
        site = adapter.site(__pillar__, __opts__)
        return answers.register(site, adapter.platform(__grains__, __pillar__), test)


@adapter.execution
def settings(test: bool = False) -> dict[str, Any]:
    """
    Have the TFTP daemon serve the TFTP root, where a file says which directory it serves; return
    the changes.

    test
        Touch nothing, and return what would change.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_tftp.settings test=True
    """
    names = adapter.platform(__grains__, __pillar__)
    with nodes.alone(test):
        files = tftp.defaults(names)
        return restarts.settle(
            files,
            names.tftp_service,
            test=test,
            foreign_ok=files,
            take_turn=lambda change: runs.take_turn(__context__, change),
        )


@adapter.execution
def clean(test: bool = False) -> dict[str, Any]:
    """
    Remove what the project wrote into the TFTP root, and return it.

    test
        Touch nothing, and return what would be removed.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_tftp.clean test=True
    """
    with nodes.alone(test):
        plan = tftp.clean_plan(names := adapter.platform(__grains__, __pillar__))
        difference = plan.difference()
        if not test:
            tree.apply(difference, {}, own_below=tftp.directory(names))
            tree.remove_empty(tftp.directory(names))
    return tftp.folded(adapter.site(__pillar__, __opts__), difference, names)
