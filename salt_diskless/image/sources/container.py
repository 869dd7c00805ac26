"""An image of Docker or OCI: what ``docker save`` writes, or an image layout, as a directory or in
an archive of tar.

Formats: Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset Format"; OCI
image-spec, image-layout.md and layer.md. skopeo(1) makes one layout of each of them, checks what
is in it against its digests, and picks this machine's architecture; umoci-raw-unpack(1) applies
the layers and their whiteouts.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Mapping
from typing import Any

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.schema import TOP_LEVEL
from salt_diskless.command import run
from salt_diskless.image.kernels import APART
from salt_diskless.image.sources.unpacked import require

PROGRAMS = ("skopeo", "umoci")

#: The kinds, as skopeo calls them: containers-transports(5).
DOCKER_ARCHIVE, OCI_ARCHIVE, OCI = "docker-archive", "oci-archive", "oci"
_NAME = "org.opencontainers.image.ref.name"

#: containers-policy.json(5): who may have signed what a registry gives. A file on this server has
#: no signature, and from elsewhere nothing is taken: both programs run without a network.
_POLICY = {
    "default": [{"type": "reject"}],
    "transports": {
        kind: {"": [{"type": "insecureAcceptAnything"}]}
        for kind in (DOCKER_ARCHIVE, OCI_ARCHIVE, OCI)
    },
}


class _IsARoot(Exception):
    """The archive has a root's own directories at its top."""


def index_of(directory: str) -> bytes:
    """Return what the index of a layout's directory holds.

    Raises :class:`OSError` when it is no layout.
    """
    os.stat(f"{directory}/oci-layout")
    with open(f"{directory}/index.json", "rb") as stream:
        return stream.read()


def kind_of(path: str) -> str | None:
    """Return which kind of image is at ``path``; None when it is an archive of a root.

    Raises :class:`CommandFailed` when it is no archive at all.
    """
    if os.path.isdir(path):
        return OCI
    top = set()

    def each(line: str) -> None:
        first, _, below = line.rstrip("\n").removeprefix("./").partition("/")
        if first in TOP_LEVEL:
            raise _IsARoot
        if not below:
            top.add(first)

    try:
        run(["tar", "--list", "--file", path], ends_with_us=True, each=each)
    except _IsARoot:
        return None
    # Docker writes both, and names its images in its own one.
    if "manifest.json" in top:
        return DOCKER_ARCHIVE
    return OCI_ARCHIVE if "oci-layout" in top else None


def unpack(path: str, kind: str, tag: str | None, where: str, top: str) -> None:
    """Unpack the image at ``path`` into ``<top>/root``; whatever else it takes is in ``top`` too.

    kind
        What :func:`kind_of` says.
    tag
        Which one of the images there, or None for the only one.
    where
        The path of the source in the pillar, for messages.

    Raises :class:`DisklessError` when a program is missing, or the tag does not name one image,
    and :class:`CommandFailed` with the program's words.
    """
    require(f"{where}:archive", PROGRAMS)
    chosen = _chosen(path, kind, tag, where)
    os.mkdir(f"{top}/tmp")
    # Both programs divide what they are given at the colon, which a path may have.
    if kind != DOCKER_ARCHIVE or not _plainly(path, f"{top}/archive"):
        os.symlink(path, f"{top}/archive")
    with open(f"{top}/policy.json", "w", encoding="utf-8") as stream:
        json.dump(_POLICY, stream)
    copy = ["skopeo", "--policy", "policy.json", "--tmpdir", "tmp", "copy", "--quiet"]
    # umoci before 0.5 reads no zstd.
    copy += ["--dest-compress-format", "gzip", "--dest-compress-level", "1"]
    copy += [f"{kind}:archive{chosen}", "oci:layout:image"]
    unpack = ["umoci", "raw", "unpack", "--image", "layout:image", "root"]
    # The cache that skopeo keeps of blobs, beside its own files, is root's unless it is told so.
    environment = {"TMPDIR": f"{top}/tmp", "XDG_DATA_HOME": f"{top}/tmp"}
    environment["_CONTAINERS_ROOTLESS_UID"] = "1"
    for argv in (copy, unpack):
        run([*APART, *argv], ends_with_us=True, cwd=top, env=environment)


def _plainly(path: str, plain: str) -> bool:
    """Write an archive that gzip has compressed as it was before, and return whether it is one:
    skopeo 1.9 cannot read it itself (the other compressions it can)."""
    with open(path, "rb") as stream:
        if stream.read(2) != b"\x1f\x8b":
            return False
    with gzip.open(path) as source, open(plain, "wb") as destination:
        shutil.copyfileobj(source, destination, 1 << 20)
    return True


def _chosen(path: str, kind: str, tag: str | None, where: str) -> str:
    """Return what skopeo wants behind the path, to take one image."""
    try:
        if kind == DOCKER_ARCHIVE:
            images = _of_docker(json.loads(_member(path, "manifest.json")))
        elif kind == OCI_ARCHIVE:
            images = _of_oci(json.loads(_member(path, "index.json")))
        else:
            images = _of_oci(json.loads(index_of(path)))
        if not images:
            raise ValueError("it is empty")
    except (ValueError, TypeError, AttributeError, KeyError) as err:
        raise DisklessError(
            f"{where}:archive: found {path}, whose list of images cannot be read "
            f"({type(err).__name__}: {err}); what is published stays"
        ) from err
    there = ", ".join(sorted(name for _, names in images for name in names)) or "none"
    if tag is None:
        if len(images) != 1:
            raise DisklessError(
                f"{where}:tag: found nothing, and {path} has {len(images)} images; give the tag "
                f"of one, there are: {there}"
            )
        return images[0][0]
    for chosen, names in images:
        if tag in names:
            return f":{tag}" if kind != DOCKER_ARCHIVE else chosen
    raise DisklessError(f"{where}:tag: found {tag}; the tags in {path} are: {there}")


def _of_docker(manifest: list[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return skopeo's word for each image of a ``manifest.json``, and its tags."""
    return [(f":@{index}", list(one["RepoTags"] or ())) for index, one in enumerate(manifest)]


def _of_oci(index: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the same of an ``index.json``: an image that is there under two tags is one."""
    found: dict[str, list[str]] = {}
    for one in index["manifests"]:
        names = found.setdefault(one["digest"], [])
        name = (one.get("annotations") or {}).get(_NAME)
        names += [name] if name else []
    return [(f":{names[0]}" if names else "", names) for names in found.values()]


def _member(path: str, name: str) -> str:
    """Return what a file at the top of an archive holds."""
    argv = ["tar", "--extract", "--to-stdout", "--file", path, name, f"./{name}"]
    # It says 2 because of the one of the two names that is not there.
    return run(argv, ok=(0, 2), ends_with_us=True).stdout
