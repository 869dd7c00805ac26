"""The journal of the boot services, from where it was read last (journalctl(1)): one process,
however much there is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from salt_diskless.command import CommandFailed, run

#: Lines that are read at a time: the next time goes on after them.
MOST = 20_000
#: How far back the first reading goes.
_FIRST = "--since=-1h"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line, when it was logged (seconds since 1970), and what names its place in the journal."""

    text: str
    time: float
    cursor: str


#: By what they call themselves: a process of in.tftpd has ended before the journal can tell which
#: unit it was of.
_DAEMONS = ("dhcpd", "in.tftpd")


def entries(cursor: str) -> Iterator[Entry]:
    """Yield what the daemons logged since; a cursor that the journal has not any more is passed
    over.

    cursor
        The last entry's that was read, or nothing.

    Raises :class:`CommandFailed` where there is no journal.
    """
    command = ["journalctl", "--quiet", "--no-pager", "-o", "json", "--all"]
    command += ["--output-fields=MESSAGE", *(f"--identifier={name}" for name in _DAEMONS)]
    try:
        lines = _read([*command, f"--after-cursor={cursor}" if cursor else _FIRST])
    except CommandFailed:
        if not cursor:
            raise
        lines = _read([*command, _FIRST])
    for line in lines:
        entry = json.loads(line)
        text = entry.get("MESSAGE")
        # What is no text comes as a list of bytes.
        yield Entry(
            text if isinstance(text, str) else "",
            int(entry["__REALTIME_TIMESTAMP"]) / 1e6,
            entry["__CURSOR"],
        )


class _Enough(Exception):
    """So many lines have been read."""


def _read(command: Sequence[str]) -> list[str]:
    lines: list[str] = []

    def keep(line: str) -> None:
        lines.append(line)
        if len(lines) >= MOST:
            raise _Enough

    with contextlib.suppress(_Enough):
        run(command, each=keep)
    return lines
