"""The golden machines: what they must have, and who may read them. It runs on a golden machine's
minion, but for ``orchestration``, which is the master's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salt_diskless import adapter
from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.wording import nearest
from salt_diskless.image import keys as ssh_keys

if TYPE_CHECKING:
    __pillar__: dict[str, Any]
    __opts__: dict[str, Any]
    __grains__: dict[str, Any]

__virtualname__ = "diskless_golden"


@adapter.reading
def plan() -> dict[str, list[str]]:
    """
    Return what the images that are taken from this machine have it have: ``images``, ``packages``,
    ``absent_packages`` and ``golden_states``, each in the pillar's order.

    CLI Example:

    .. code-block:: bash

        salt node004 diskless_golden.plan
    """
    images = adapter.cluster(__pillar__).golden(__opts__["id"])
    wanted = {
        key: list(dict.fromkeys(item for image in images for item in getattr(image, key)))
        for key in ("packages", "absent_packages", "golden_states")
    }
    return {"images": [image.name for image in images], **wanted}


@adapter.reading
def host_keys() -> list[str]:
    """
    Return the public host keys of this machine's ssh server.

    CLI Example:

    .. code-block:: bash

        salt node004 diskless_golden.host_keys
    """
    return ssh_keys.host_keys()


@adapter.execution
def authorize(user: str, keys: dict[str, Any]) -> bool:
    """
    Let boot servers read this machine by rsync over ssh, and do nothing else: those that have an
    image which is taken from it. Any other one may no longer. Return whether anything changed.

    user
        Whom they log in as.
    keys
        Minion id of a boot server to its public key, in the place of the one that it had.

    CLI Example:

    .. code-block:: bash

        salt node004 diskless_golden.authorize root '{"node002": "ssh-ed25519 AAAA..."}'
    """
    cluster = adapter.cluster(__pillar__)
    readers = {
        server
        for image in cluster.golden(__opts__["id"])
        if image.source is not None and image.source.user == user
        for server in cluster.servers_of(image)
    }
    rrsync = adapter.platform(__grains__, __pillar__).rrsync
    return ssh_keys.authorize(user, keys, sorted(readers), rrsync)


@adapter.reading
def orchestration(image: str | None = None, live: bool = False) -> list[dict[str, Any]]:
    """
    Return what ``diskless.orch.golden`` deals with: for each image that is taken from a machine
    its name ``image``, the golden ``minion``, the ``user`` there, and the boot ``servers`` that
    have it.

    image
        Only this one.
    live
        Only images that may be changed in place.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_golden.orchestration rhel5compute
    """
    if not isinstance(live, bool):
        raise DisklessError(f"live: found {shown(live)}; give true or false")
    cluster = adapter.cluster(__pillar__)
    machines = {
        one.name: one.source
        for one in cluster.images.values()
        if one.source is not None and one.source.minion is not None
    }
    if image is not None and image not in machines:
        raise DisklessError(
            f"image: found {shown(image)}, which has no golden machine (source:minion); "
            f"{nearest(str(image), machines)}"
        )
    wanted = [name for name in machines if image is None or name == image]
    if live:
        fixed = [name for name in wanted if not cluster.images[name].live]
        if fixed and (image is not None or fixed == wanted):
            raise DisklessError(
                f"diskless:images:{fixed[0]}:live: found false; set it to true, apply, boot its "
                "nodes again, and change it in place then"
            )
        wanted = [name for name in wanted if name not in fixed]
    return [
        {
            "image": name,
            "minion": machines[name].minion,
            "user": machines[name].user,
            "servers": list(cluster.servers_of(cluster.images[name])),
        }
        for name in wanted
    ]
