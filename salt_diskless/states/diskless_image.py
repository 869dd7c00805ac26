"""
Keep the images of a boot server up to their sources.

.. code-block:: yaml

    diskless images:
      diskless_image.synced: []

    only one of them:
      diskless_image.synced:
        - image: rhel5compute

    rhel5compute:
      diskless_image.published:
        - version: 20261124T155012

``changes`` has image to ``{"old": version, "new": version}``; in test mode the new one is
``a new version``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salt.exceptions import CommandExecutionError

from salt_diskless import adapter
from salt_diskless.image import notes

if TYPE_CHECKING:
    __salt__: dict[str, Any]
    __opts__: dict[str, Any]

__virtualname__ = "diskless_image"


def synced(name: str, image: str | None = None, publish: bool = True) -> dict[str, Any]:
    """
    Make and publish a new version of each image whose source differs from its newest one. A version
    that somebody published instead of the newest one stays until then.

    name
        Names the state only.
    image
        One image; default is every image of this boot server.
    publish
        With False what is published stays, for ``diskless_image.published`` to choose.
    """
    try:
        # The loader's files are those of the state diskless_tftp.managed.
        done = __salt__["diskless_image.sync"](
            image, publish=publish, test=__opts__["test"], loader=False
        )
    except CommandExecutionError as err:
        return adapter.failed(name, err)
    changes = {
        who: {"old": result["old"], "new": result["new"] or "a new version"}
        for who, result in done.items()
        if result["changed"]
    }
    return {
        "name": name,
        "result": None if changes and __opts__["test"] else True,
        "changes": changes,
        "comment": "\n".join(
            f"{who}: {result['why']}{notes.comment(result['notes'])}"
            for who, result in done.items()
        ),
    }


def published(name: str, version: str | None = None) -> dict[str, Any]:
    """
    Have a version of an image be the one that its nodes boot next.

    name
        The image.
    version
        One of its versions; default is the newest.
    """
    test = __opts__["test"]
    try:
        done = __salt__["diskless_image.publish"](name, version, test=test)
    except CommandExecutionError as err:
        return adapter.failed(name, err)
    old, new = done["old"], done["new"]
    comment = f"{new} is published"
    if old != new:
        comment = f"{new} {'would be' if test else 'is'} published instead of {old}"
    return {
        "name": name,
        "result": None if old != new and test else True,
        "changes": {name: {"old": old, "new": new}} if old != new else {},
        "comment": comment,
    }
