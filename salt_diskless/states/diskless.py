"""
Check the pillar before anything is touched.

.. code-block:: yaml

    diskless pillar:
      diskless.valid: []

It changes nothing; its comment is one error with every problem: its path, what was found, and what
would be right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __salt__: dict[str, Any]

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
