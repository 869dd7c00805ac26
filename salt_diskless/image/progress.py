"""How far rsync is: what its ``--info=progress2`` says, as figures."""

from __future__ import annotations

import re
from dataclasses import dataclass

from salt_diskless.regex import lazy_regex

_UNITS = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_LINE = lazy_regex(
    r"\s*([0-9,]+)\s+([0-9]+)%\s+([0-9.]+)([kMGT]?B)/s\s+([0-9]+):([0-9]{2}):([0-9]{2})"
    r"(?:\s+\(xfr#([0-9]+), (ir|to)-chk=([0-9]+)/([0-9]+)\))?\s*"
)
_SENT = lazy_regex(r"^Total bytes (?:sent|received): ([0-9,]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the copying of a sync is.

    bytes, files
        What was copied so far.
    percent
        How much of what is known so far that is: rsync looks for more while it copies.
    rate
        Bytes in a second.
    remaining
        Seconds, by that rate.
    """

    bytes: int
    files: int
    percent: int
    rate: int
    remaining: int

    def __str__(self) -> str:
        minutes, seconds = divmod(self.remaining, 60)
        return (
            f"{self.percent:3d} %  {self.bytes / 1000**2:,.1f} MB  {self.files:,} files  "
            f"{self.rate / 1000**2:,.1f} MB/s  {minutes}:{seconds:02d} left"
        )


def parse(line: str, files: int = 0) -> Progress | None:
    """Return what one line of rsync's says, or None when it is no line of progress.

    files
        How many files were copied by the line before: not every line says it.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    hours, minutes, seconds = (int(match[group]) for group in (5, 6, 7))
    return Progress(
        bytes=int(match[1].replace(",", "")),
        files=int(match[8] or files),
        percent=min(int(match[2]), 100),
        rate=int(float(match[3]) * _UNITS[match[4]]),
        remaining=hours * 3600 + minutes * 60 + seconds,
    )


def sent(text: str) -> int:
    """Return how many bytes went from the source to here, by what ``--stats`` says at the end."""
    return max((int(found.replace(",", "")) for found in _SENT.findall(text)), default=0)
