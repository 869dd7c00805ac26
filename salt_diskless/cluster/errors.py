"""What is wrong with a pillar, said all at once."""

from __future__ import annotations

import datetime
import math
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
    """Return ``value`` for a message, as YAML has it: text is quoted, without control characters,
    and nothing is too long. Only as much of it is looked at as is shown."""
    text = _bounded(value, _SHOWN)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _bounded(value: object, room: int) -> str:
    """Return a value as YAML has it, or, where that is longer than ``room``, something that is
    longer, too, and begins in the same way."""
    if isinstance(value, str):
        return ascii(value[: room + 1])
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > 4 * _SHOWN:
        return "a number of more than 80 digits"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        return _joined("{", value, room) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        return _joined("[", value, room) + "]"
    if isinstance(value, datetime.date):
        return f"the date {value}"
    return "binary data" if isinstance(value, bytes | bytearray) else "a value of no known type"


def _key(key: object, room: int) -> str:
    """Return the key of a mapping: without quotes where YAML needs none."""
    if isinstance(key, str) and key.isascii() and key.isidentifier():
        return key[: room + 1]
    return _bounded(key, room)


def _joined(text: str, parts: Iterable[object], room: int) -> str:
    """Return the parts of a container with what is between them, until there is no room left.

    text
        The bracket that they begin with.
    """
    for index, part in enumerate(parts):
        text += ", " if index else ""
        inner = part
        if isinstance(parts, Mapping):
            text += f"{_key(part, room - len(text))}: "
            inner = parts[part]
        if len(text) > room:
            break
        text += _bounded(inner, room - len(text))
    return text
