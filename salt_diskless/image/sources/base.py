"""What every source of an image is to a sync."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

#: Without these nothing boots; the last is a link in most distributions.
OF_A_ROOT = ("etc", "usr", "bin")


@dataclass(frozen=True, slots=True)
class RsyncSource:
    """What rsync is given.

    location
        Its source argument, with the slash at the end.
    shown
        The source for people.
    options
        Options that belong to the way there.
    links
        Directories whose files the new version may share: nobody else needs them.
    mounts
        Paths from the source's root where other file systems are mounted that are taken too.
    """

    location: str
    shown: str
    options: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        """What rsync is given last: the source, and each file system in it that is taken too. Paths
        are relative to the source's root then, which a ``.`` shows where that is not ``/``."""
        if not self.mounts:
            return ["--", self.location]
        if self.directory is not None:
            below = [f"{self.directory}/.{path}/" for path in ("", *self.mounts)]
            return ["--relative", "--", *below]
        return ["--relative", "--", self.location, *(f":{path}/" for path in self.mounts)]

    @property
    def directory(self) -> str | None:
        """Where the source is on this machine, or None for one that is elsewhere."""
        return None if self.options else self.location.rstrip("/")


def digest(*facts: object) -> str:
    """Return a mark: what changes whenever one of the facts about a source does."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()


class ImageSource(Protocol):
    """Where an image is taken from."""

    @property
    def shown(self) -> str:
        """The source for people."""

    @property
    def mark(self) -> str:
        """What changes whenever the source does, where that can be told from outside; or empty:
        then rsync has to compare."""

    def opened(self) -> AbstractContextManager[RsyncSource]:
        """Have it where rsync can read it."""
