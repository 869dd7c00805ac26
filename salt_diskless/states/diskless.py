"""
Check the pillar before anything is touched, and have services load their configuration.

.. code-block:: yaml

    diskless pillar:
      diskless.valid: []

    diskless dhcpd restart:
      diskless.current:
        - name: isc-dhcp-server
        - watch:
          - diskless_dhcpd: diskless dhcpd configuration

The first one changes nothing; its comment is one error with every problem: its path, what was
found, and what would be right. The second one restarts the service when it runs with an older
configuration than the one on the disk, whoever wrote that: no other run writes it meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salt_diskless import adapter

if TYPE_CHECKING:
    __salt__: dict[str, Any]
    __opts__: dict[str, Any]

__virtualname__ = "diskless"


def valid(
    name: str, role: str = "server", image: str | None = None, live: bool = False
) -> dict[str, Any]:
    """
    Fail when the pillar is wrong, or this minion does not have its role in it.

    name
        Names the state only.
    role, image, live
        As for :func:`salt_diskless.modules.diskless.problem`.
    """
    problem = __salt__["diskless.problem"](role, image, live)
    comment = problem or "The pillar: as it should be"
    return {"name": name, "result": not problem, "changes": {}, "comment": comment}


def recorded(name: str) -> dict[str, Any]:
    """
    Record how this machine is before the project changes it, unless that was recorded before.

    name
        Names the state only.
    """
    ret = adapter.state(name, __opts__["test"], __salt__["diskless.record"], "the record")
    if ret["result"] is True:
        recorded = "would be recorded" if __opts__["test"] else "is recorded"
        ret["comment"] = f"How services were before {recorded}, for diskless.clean"
    return ret


def cleaned(name: str) -> dict[str, Any]:
    """
    Put back what was on this machine before the project changed it; it needs no pillar.

    name
        Names the state only.
    """
    ret = adapter.state(name, __opts__["test"], __salt__["diskless.clean"], "this boot server")
    if ret["result"] is not False:
        nothing = "" if ret["changes"] else "Nothing of salt-diskless was left to clean. "
        ret["comment"] = (
            f"{nothing}What was here before "
            + ("would be" if __opts__["test"] and ret["changes"] else "is")
            + " back; images, snapshots and packages stay"
        )
    return ret


def current(name: str) -> dict[str, Any]:
    """
    Have a service run with the configuration that is on the disk.

    name
        The service: dhcpd, the TFTP daemon, or mountd.
    """
    ret = adapter.state(name, __opts__["test"], __salt__["diskless.restart"], name, service=name)
    if ret["result"] is True:
        words = "was restarted, and runs" if ret["changes"] else "runs"
        ret["comment"] = f"{name} {words} with the configuration that is on the disk"
    return ret


def mod_watch(name: str, **_: Any) -> dict[str, Any]:
    """
    Say in test mode that the service would be restarted, since its configuration would change.

    name
        As for ``current``, which has done all that is needed when this is not test mode.
    """
    ret = current(name)
    if __opts__["test"]:
        ret |= {"result": None, "changes": {"restarted": name}}
        ret["comment"] = f"{name} would be restarted"
    return ret
