"""What is wrong with a pillar, said all at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


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
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        noun = "problem" if count == 1 else "problems"
        return f"{count} {noun} {self.where}{more}:\n{lines}"


def shown(value: object) -> str:
    """Return ``value`` for a message: quoted, without control characters, and not too long."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."
