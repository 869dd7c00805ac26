"""An archive of tar(1) with the root itself in it, or an image of Docker or OCI."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.command import CommandFailed, run
from salt_diskless.image.sources import container
from salt_diskless.image.sources.base import OF_A_ROOT, RsyncSource, digest
from salt_diskless.image.sources.unpacked import unpacked

#: Everything that tar keeps of a file; and no name leads out of the directory (GNU tar's default).
_TAR = (
    *("tar", "--extract", "--numeric-owner", "--same-owner", "--preserve-permissions"),
    *("--acls", "--xattrs", "--xattrs-include=*", "--sparse", "--delay-directory-restore"),
)
#: What GNU tar says of the program that decompresses, where there is none.
_NO_PROGRAM = re.compile(r"\(child\): ([\w.+-]+): Cannot exec")


class _IsARoot(Exception):
    """All that a root has is in the archive."""


class Archive:
    """An archive of a golden root, such as ``tar -C /srv/golden --xattrs --acls -cf`` or
    ``docker save`` makes it.

    tag
        Which one of the images in it, or None.

    Raises :class:`DisklessError` when it is not there.
    """

    def __init__(self, image: Image, path: str, tag: str | None):
        self._where = f"diskless:images:{image.name}:source"
        self._image, self._tag, self.shown = image, tag, path
        try:
            status = os.stat(path)
            looks: tuple[object, ...] = (status.st_size, status.st_mtime_ns)
            if os.path.isdir(path):
                # The blobs are named for what is in them, so the index tells of every change.
                looks = (container.index_of(path),)
        except OSError as err:
            raise DisklessError(
                f"{self._where}:archive: found {err.filename}, which cannot be read "
                f"({err.strerror}); give an archive of tar on this server, or the directory of an "
                "OCI image layout"
            ) from err
        # What is left out makes a version as much as what is in the archive.
        self.mark = digest(path, tag, looks, image.exclude, image.scrub, *image.keep)

    @contextlib.contextmanager
    def opened(self) -> Iterator[RsyncSource]:
        """Unpack it beside the versions, where only root can look; it is taken away again.

        Raises :class:`DisklessError` with tar's or the other programs' words when it cannot be
        unpacked.
        """
        with unpacked(self._image) as top:
            root = f"{top}/root"
            try:
                kind = container.kind_of(self.shown)
                if kind is not None:
                    container.unpack(self.shown, kind, self._tag, self._where, top)
                else:
                    self._untar(root)
            except CommandFailed as err:
                why = str(err)
                if lacking := _NO_PROGRAM.search(why):
                    program = lacking[1]
                    why = f"this boot server has no program {program}; install it and try again"
                raise DisklessError(
                    f"{self._where}:archive: {self.shown} cannot be unpacked, so what is published "
                    f"stays: {why}"
                ) from err
            # umoci fills the holes of sparse files; rsync makes them anew when it copies.
            yield RsyncSource(f"{root}/", self.shown, links=() if kind else (root,))

    def _untar(self, root: str) -> None:
        if self._tag is not None:
            raise DisklessError(
                f"{self._where}:tag: found {self._tag}, but {self.shown} has a root in it, and no "
                "image of Docker or OCI; leave it out"
            )
        self._require_root()
        os.mkdir(root)
        run([*_TAR, "--file", self.shown, "--directory", root], ends_with_us=True)

    def _require_root(self) -> None:
        """Raise :class:`DisklessError` for an archive of something else, before it is unpacked. It
        is listed until all that a root must have was seen."""
        top = dict[str, None]()

        def each(line: str) -> None:
            first = line.rstrip("\n").lstrip("./").partition("/")[0]
            if first and first not in top:
                top[first] = None
                if top.keys() >= {*OF_A_ROOT}:
                    raise _IsARoot

        try:
            run(["tar", "--list", "--file", self.shown], ends_with_us=True, each=each)
        except _IsARoot:
            return
        lacking = ", ".join(name for name in OF_A_ROOT if name not in top)
        has = ", ".join([*top][:10]) or "nothing"
        raise DisklessError(
            f"{self._where}:archive: found {self.shown} without {lacking} (at its top: {has}); "
            "give an archive of a system's root (tar -C /srv/golden --xattrs --acls -cf FILE .)"
        )
