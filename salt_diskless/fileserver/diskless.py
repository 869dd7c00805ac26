"""
Serve the SLS of salt-diskless: ``state.apply diskless`` works once the package is installed.

In the master's configuration (or the minion's, where it is masterless), add it to the list:

.. code-block:: yaml

    fileserver_backend:
      - roots
      - diskless

The files are in the environment ``base`` and are those of the installed package: read-only, and
never stale. Interface: salt.fileserver, "File Server Backends"; without ``update``, for which Salt
would want an interval in the configuration.
"""

from __future__ import annotations

import os
from importlib import resources
from typing import TYPE_CHECKING, Any

import salt.utils.files
import salt.utils.hashutils
import salt.utils.path

if TYPE_CHECKING:
    __opts__: dict[str, Any]

__virtualname__ = "diskless"


def _root() -> str:
    """Return the directory that holds ``diskless/``: the package's, or ``states`` of a checkout."""
    package = str(resources.files("salt_diskless"))
    installed = os.path.join(package, "sls")
    return (
        installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "states")
    )


def _files() -> list[str]:
    root = _root()
    return sorted(
        os.path.relpath(os.path.join(directory, name), root)
        for directory, _, names in os.walk(root)
        for name in names
        if not name.endswith((".py", ".pyc")) or os.path.basename(directory) == "reactor"
    )


def envs() -> list[str]:
    """Return the environments that are served: ``base``."""
    return ["base"]


def find_file(path: str, saltenv: str = "base", **kwargs: Any) -> dict[str, Any]:
    """Return where ``path`` (relative) is, as ``{"path": absolute, "rel": path}``, or empty."""
    full = os.path.join(_root(), path)
    if (
        saltenv != "base"
        or not salt.utils.path.safe_path(full, _root())
        or not os.path.isfile(full)
    ):
        return {"path": "", "rel": ""}
    status = os.stat(full)
    return {"path": full, "rel": path, "stat": list(status)}


def serve_file(load: dict[str, Any], fnd: dict[str, Any]) -> dict[str, Any]:
    """Return a piece of a file, from the offset ``load["loc"]`` on."""
    if "path" not in load or "loc" not in load or not fnd["path"]:
        return {"data": "", "dest": fnd.get("rel", "")}
    with salt.utils.files.fopen(fnd["path"], "rb") as stream:
        stream.seek(load["loc"])
        return {"data": stream.read(__opts__["file_buffer_size"]), "dest": fnd["rel"]}


def file_hash(load: dict[str, Any], fnd: dict[str, Any]) -> dict[str, str]:
    """Return the digest of a file and its type, as ``{"hsum": hex, "hash_type": name}``."""
    if not fnd.get("path"):
        return {}
    kind = __opts__["hash_type"]
    return {"hsum": salt.utils.hashutils.get_hash(fnd["path"], kind), "hash_type": kind}


def file_list(load: dict[str, Any]) -> list[str]:
    """Return every file, relative."""
    prefix = load.get("prefix", "").strip("/")
    served = _files() if load.get("saltenv", "base") == "base" else []
    return [name for name in served if name.startswith(prefix)]


def dir_list(load: dict[str, Any]) -> list[str]:
    """Return every directory, relative."""
    found: set[str] = set()
    for name in file_list(load):
        while name := os.path.dirname(name):
            found.add(name)
    return sorted(found)
