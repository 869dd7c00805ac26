"""The cluster as a whole: check its pillar, see what an apply would do, see what is served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from salt.exceptions import CommandExecutionError

import salt_diskless
from salt_diskless import adapter
from salt_diskless.adapter import arguments
from salt_diskless.boot import dhcpd
from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.ranges import filled, fold
from salt_diskless.cluster.wording import nearest
from salt_diskless.image import needs, notes
from salt_diskless.image.versions import published
from salt_diskless.platform import from_dict as platform_from
from salt_diskless.platform import of as platform_of
from salt_diskless.services import (
    cleaning,
    nfs,
    nodes,
    restarts,
    runs,
    surroundings,
    tftp,
    units,
)
from salt_diskless.state import originals

if TYPE_CHECKING:
    __pillar__: dict[str, Any]
    __opts__: dict[str, Any]
    __grains__: dict[str, Any]
    __salt__: dict[str, Any]
    __context__: dict[str, Any]

__virtualname__ = "diskless"

_ROLES = ("server", "golden", "master", "clean")


@adapter.reading
def validate() -> dict[str, Any]:
    """
    Check the pillar, and on a boot server also the machine: its interfaces, file systems and paths.
    Touch nothing, and return what the pillar describes. Every problem is named in one error: its
    path, what was found, and what would be right. Where this minion is no boot server in the
    pillar, the machine is not checked, and ``not_checked`` says so.

    CLI Example:

    .. code-block:: bash

        salt-call diskless.validate
    """
    cluster, minion, more = adapter.cluster(__pillar__), __opts__["id"], {}
    if minion in cluster.servers:
        adapter.require_fit(__pillar__, __opts__, __grains__)
    else:
        more["not_checked"] = (
            f"this machine: its minion id {shown(minion)} is not below diskless:servers"
        )
    return {
        **more,
        "servers": sorted(cluster.servers),
        "networks": {name: str(net.subnet) for name, net in cluster.networks.items()},
        "images": {name: image.location for name, image in cluster.images.items()},
        "nodes": fold(cluster.nodes),
        "count": len(cluster.nodes),
    }


def problem(role: str = "server", image: str | None = None, live: bool = False) -> str:
    """
    Return what keeps this minion from its role: all that is wrong in the pillar, that it has no
    such role there, that nobody has described its distribution, or what this machine lacks for it.
    Nothing when all is right.

    role
        ``server``: it is a boot server. ``golden``: images are taken from it. ``master``: it
        orchestrates what those do. ``clean``: it is a boot server that stops being one, so what
        the machine lacks is no problem.
    image, live
        What the master is to deal with, as for ``diskless_golden.orchestration``.

    CLI Example:

    .. code-block:: bash

        salt-call diskless.problem
    """
    try:
        with adapter.salt_error():
            for name, value, kind in (
                ("role", role, str),
                ("image", image, str | None),
                ("live", live, bool),
            ):
                arguments.check(name, value, kind)
            if role not in _ROLES:
                raise DisklessError(f"role: found {shown(role)}; {nearest(role, _ROLES)}")
            # A state that fails here ends a run before it changes anything.
            adapter.cluster(__pillar__)
        if role == "master":
            __salt__["diskless_golden.orchestration"](image, live)
            return ""
        if role == "golden":
            __salt__["diskless_golden.plan"]()
            platform()
        elif role == "clean":
            site()
            platform()
        else:
            with adapter.salt_error():
                adapter.require_fit(__pillar__, __opts__, __grains__)
    except CommandExecutionError as err:
        return str(err)
    return ""


@adapter.reading
def servers() -> list[str]:
    """
    Return the minion ids of all boot servers, for the master's orchestrations.

    CLI Example:

    .. code-block:: bash

        salt-call diskless.servers
    """
    return list(adapter.cluster(__pillar__).servers)


@adapter.reading
def plan() -> dict[str, Any]:
    """
    Return what ``state.apply diskless`` would change in snapshots, swap files and
    configuration; nothing is
    touched. (Packages, images and services: ``state.apply diskless test=True``.)

    CLI Example:

    .. code-block:: bash

        salt-call diskless.plan
    """
    adapter.require_fit(__pillar__, __opts__, __grains__)
    changes = {
        name: __salt__[f"{name}.apply"](test=True)
        for name in (
            *("diskless_snapshot", "diskless_swap"),
            *("diskless_tftp", "diskless_nfs", "diskless_dhcpd"),
        )
    }
    return {name: change for name, change in changes.items() if change}


@adapter.reading
def status(minions: Any = None) -> dict[str, Any]:
    """
    Return what this boot server has: its services, and for each image the published version, its
    nodes, and what they said last while they booted (``boots``: sentence to nodes); how the exports
    differ from the pillar; and the nodes for which somebody has put a file of his own into the TFTP
    root (``01-`` and the MAC), which the loader takes instead. What is empty is left out.

    Below ``nodes`` is how far the nodes got, those folded that share it: ``stage`` (``unseen``,
    ``dhcp``, ``loader``, ``kernel``, ``root``, ``up``), ``version``, and ``since``, the times
    between which they came to it; ``stale`` where a boot of now takes another version, ``stuck``
    where the next step did not come for five minutes.

    minions
        When the nodes' Salt minions have started last, in seconds since 1970: those that did since
        their node was ``up`` are in the stage ``minion``. ``salt-run diskless.nodes`` has seen it.

    CLI Example:

    .. code-block:: bash

        salt-call diskless.status
    """
    # Only this function needs them, and each job would load them.
    from salt_diskless.image.running import stages
    from salt_diskless.services import export_listing
    from salt_diskless.watch import progress

    site, names = adapter.site(__pillar__, __opts__), adapter.platform(__grains__, __pillar__)
    started = _times(minions or {})
    images = {}
    for image in site.images.values():
        version = published(image)
        images[image.name] = filled(
            {
                "published": version.name if version else None,
                "nodes": fold(node.name for node in site.nodes_of(image)),
                "boots": {said: fold(nodes) for said, nodes in stages(image).items()},
                "notes": notes.sentences(
                    (version.findings if version else None) or {},
                    needs.roots_of(site, image),
                    brief=True,
                ),
            }
        )
    status = {
        "services": {
            service: __salt__["service.status"](service)
            for service in (names.dhcp_service, names.tftp_service, names.nfs_service)
        },
        "images": images,
        "nodes": progress.folded(site, progress.reached(site, started)),
        "drift": export_listing.drift(nfs.drift(site, names)),
        "overridden": tftp.overridden(site, names),
    }
    return filled(status)


def _times(given: object) -> dict[str, float]:
    """Return names and times, if they are some."""
    if isinstance(given, Mapping):
        wrong = [one for one in given.items() if not _is_time(*one)]
        if not wrong:
            return dict(given)
        given = dict(wrong[:1])
    raise DisklessError(
        f"minions: found {shown(given)}; give a mapping, name to seconds since 1970"
    )


def _is_time(name: object, at: object) -> bool:
    return isinstance(name, str) and isinstance(at, int | float) and not isinstance(at, bool)


@adapter.execution
def restart(service: str, test: bool = False) -> dict[str, Any]:
    """
    Restart a service of this boot server if it runs with an older configuration than the one on the
    disk, and return the changes. Nothing is written for it meanwhile, by any run. It is an error
    when the service does not run then. dhcpd and the TFTP daemon are enabled, too.

    service
        Its name, as ``diskless.platform`` has it.
    test
        Touch nothing, and return what would change.

    CLI Example:

    .. code-block:: bash

        salt-call diskless.restart isc-dhcp-server
    """
    names = adapter.platform(__grains__, __pillar__)
    known = (names.dhcp_service, names.tftp_service, names.mountd_service)
    if service not in known:
        raise DisklessError(f"service: found {shown(service)}; give one of {', '.join(known)}")
    with nodes.alone(test):
        if not test and service != names.mountd_service:
            units.enable(service)
        if not restarts.is_pending(service):
            if not test:
                restarts.require_running(service)
            return {}
        if not test:
            ports = {names.dhcp_service: 67, names.tftp_service: 69}
            restarts.restart(service, ports.get(service))
        return {"restarted": service}


@adapter.execution
def record(test: bool = False) -> dict[str, Any]:
    """
    Record how the services of a boot server are, and what this distribution calls its files, unless
    that was recorded before: ``diskless.clean`` puts it back. ``state.apply diskless`` calls it
    before anything is changed.

    test
        Touch nothing.

    CLI Example:

    .. code-block:: bash

        salt-call diskless.record
    """
    names, here = adapter.platform(__grains__, __pillar__), adapter.site(__pillar__, __opts__)
    with nodes.alone(test):
        if not test:
            known = originals.services()
            new = [name for name in cleaning.service_names(names) if name not in known]
            originals.keep_services(map(cleaning.state_of, new))
            originals.keep_surroundings(lambda: surroundings.look(names))
            originals.keep_layout(
                names.as_dict(), [image.location for image in here.images.values()]
            )
    return {}


@adapter.execution
def clean(test: bool = False) -> dict[str, Any]:
    """
    Have this machine be no boot server any more, and return the changes: files that the project
    wrote are removed, files that it replaced are restored, and services are enabled and run as they
    were before. A file that somebody has changed since is ``kept``, with the reason. Images and
    snapshots stay, and so do packages and what was opened in the firewall and in SELinux's policy:
    they are named below ``stays``, with the commands that take them away. It needs no pillar: it
    goes by what was recorded on this machine, and by the names of its distribution. A second call
    changes nothing.

    test
        Touch nothing, and return what would change.

    CLI Example:

    .. code-block:: bash

        salt-call diskless.clean
    """
    layouts = [(platform_from(names), there) for names, there in originals.layouts()]
    try:
        names, here = adapter.platform(__grains__, __pillar__), adapter.site(__pillar__, __opts__)
        layouts.insert(0, (names, [image.location for image in here.images.values()]))
    except DisklessError as err:
        if not layouts and __pillar__.get("diskless"):
            raise DisklessError(
                "found no record of a boot server on this machine, and a pillar that names none: "
                f"there is nothing to clean, or its pillar has to be put right first: {err}"
            ) from err
        if not layouts:
            layouts.append((platform_of(__grains__["os_family"], {}), []))
    with nodes.alone(test):
        if not test:
            # A state.apply that is running writes nothing any more.
            runs.note_call()
        return cleaning.clean(layouts, test)


def version() -> str:
    """
    Return the version of salt-diskless.

    CLI Example:

    .. code-block:: bash

        salt-call diskless.version
    """
    return salt_diskless.__version__


@adapter.reading
def platform() -> dict[str, Any]:
    """
    Return what this distribution calls its packages, services and files, with the pillar's
    ``diskless:lookup`` over it. ``map.jinja`` is made of it.

    CLI Example:

    .. code-block:: bash

        salt-call diskless.platform
    """
    return adapter.platform(__grains__, __pillar__).as_dict()


@adapter.reading
def site() -> dict[str, Any]:
    """
    Return what the SLS need of this boot server: its interfaces that nodes boot on, the locations
    of its images, the NFS versions that its nodes use, and whether a network has a
    ``discovery_range``. ``map.jinja`` asks for it, so a run begins here: one that begins later has
    the newer pillar, and this one does not write over what that one has written.

    CLI Example:

    .. code-block:: bash

        salt-call diskless.site
    """
    here = adapter.site(__pillar__, __opts__)
    runs.begin(__context__)
    return {
        "interfaces": sorted(dhcpd.interfaces(here)),
        "locations": [image.location for image in here.images.values()],
        "nfs": sorted({node.settings.nfs for node in here.nodes.values()}),
        "discovers": any(net.discovery_range is not None for net in here.networks.values()),
    }
