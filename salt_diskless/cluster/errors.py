"""What is wrong with a pillar, said all at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: How many characters of a value a message shows.
_SHOWN = 80
#: How many problems a message names.
_MOST = 200


class DisklessError(Exception):
    """Base of every error that the project raises on purpose; adapters turn it into Salt's."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    path
        Where it stands: a pillar path such as ``diskless:nodes:node003:mac``, or a file and line.
    found
        What was found there.
    right
        What would be right, and what to do.
    """

    path: str
    found: str
    right: str

    def __str__(self) -> str:
        return f"{self.path}: found {self.found}; {self.right}"


class ClusterError(DisklessError):
    """The pillar does not describe a cluster, or not one that this machine can serve. ``problems``
    has every :class:`Problem`.

    where
        What the problems are in, for the message.
    """

    def __init__(self, problems: Iterable[Problem], where: str = "in the pillar"):
        self.problems = tuple(problems)
        self.where = where
        super().__init__(self.described(", nothing was changed"))

    def described(self, more: str = "") -> str:
        """Return all problems; ``more`` is what came of them."""
        count = len(self.problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems[:_MOST])
        if count > _MOST:
            lines += f"\n  and {count - _MOST} more, which are shown after these are corrected"
        noun = "problem" if count == 1 else "problems"
        return f"{count} {noun} {self.where}{more}:\n{lines}"


def shown(value: object) -> str:
    """Return ``value`` for a message: quoted, without control characters, and not too long. Only
    as much of it is looked at as is shown."""
    text = _bounded(value, _SHOWN)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _bounded(value: object, room: int) -> str:
    """Return ``ascii(value)``, or, where that is longer than ``room``, something that is longer,
    too, and begins in the same way."""
    if isinstance(value, str | bytes):
        return ascii(value[: room + 1])
    if isinstance(value, int) and value.bit_length() > 4 * _SHOWN:
        return "a number of more than 80 digits"
    if isinstance(value, Mapping):
        pairs = ((key, value[key]) for key in value)
        return _joined("{", (part for pair in pairs for part in pair), room, (": ", ", ")) + "}"
    if isinstance(value, list | tuple):
        brackets = "[]" if isinstance(value, list) else "()"
        return _joined(brackets[0], value, room, (", ",)) + brackets[1]
    return ascii(value)


def _joined(text: str, parts: Iterable[object], room: int, between: tuple[str, ...]) -> str:
    """Return a container's parts with what is between them, until there is no room left."""
    for index, part in enumerate(parts):
        text += between[(index - 1) % len(between)] if index else ""
        if len(text) > room:
            break
        text += _bounded(part, room - len(text))
    return text
