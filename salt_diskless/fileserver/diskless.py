"""
Serve the SLS of salt-diskless: ``state.apply diskless`` works once the package is installed.

In the master's configuration (or the minion's, where it is masterless), add it to the list:

.. code-block:: yaml

    fileserver_backend:
      - roots
      - diskless

The files are those of the installed package, read-only and never stale, and are the same in every
environment (``saltenv``) that the configuration names. ``diskless_saltenvs: [base, prod]`` beside
``fileserver_backend`` limits it to these. Interface: salt.fileserver, "File Server Backends";
without ``update``, for which Salt would want an interval in the configuration.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

import salt.utils.files
import salt.utils.hashutils

from salt_diskless.cluster.errors import shown

if TYPE_CHECKING:
    __opts__: dict[str, Any]

__virtualname__ = "diskless"

#: In the master's configuration, or in that of a masterless minion: the environments to serve.
OPTION = "diskless_saltenvs"


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


def __virtual__() -> str | tuple[bool, str]:
    given = __opts__.get(OPTION)
    names = [given] if isinstance(given, str) else given
    is_right = names is None or (
        isinstance(names, list | tuple) and all(isinstance(name, str) and name for name in names)
    )
    if is_right:
        return __virtualname__
    return False, f"{OPTION}: found {shown(given)}; give a list of environments, like [base, prod]"


def envs() -> list[str]:
    """Return the environments that are served: those of the setting, or all that the configuration
    names. Others, such as branches of git, are served as well when they are asked for."""
    only = _only()
    if only is not None:
        return sorted(only)
    roots = [__opts__.get(key) for key in ("file_roots", "pillar_roots")]
    names = {name for root in roots if isinstance(root, Mapping) for name in root}
    names |= {__opts__.get(key) for key in ("saltenv", "state_top_saltenv", "default_top")}
    return sorted({"base", *(str(name) for name in names if name and name != "__env__")})


def _only() -> frozenset[str] | None:
    """Return the environments that the setting limits this to, or None."""
    given = __opts__.get(OPTION)
    if given is None:
        return None
    return frozenset([given] if isinstance(given, str) else given)


def _is_served(saltenv: object) -> bool:
    only = _only()
    return only is None or (isinstance(saltenv, str) and saltenv in only)


def find_file(path: str, saltenv: str = "base", **kwargs: Any) -> dict[str, Any]:
    """Return where ``path`` (relative) is, as ``{"path": absolute, "rel": path}``, or empty."""
    # Nothing else has a path: not what is above the root, and no absolute path.
    if not _is_served(saltenv) or path not in _files():
        return {"path": "", "rel": ""}
    full = os.path.join(_root(), path)
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
    prefix = str(load.get("prefix") or "").strip("/")
    served = _files() if _is_served(load.get("saltenv", "base")) else []
    return [name for name in served if name.startswith(prefix)]


def dir_list(load: dict[str, Any]) -> list[str]:
    """Return every directory, relative."""
    directories: set[str] = set()
    for name in file_list(load):
        while name := os.path.dirname(name):
            directories.add(name)
    return sorted(directories)
