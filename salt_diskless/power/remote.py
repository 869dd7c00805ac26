"""The boot servers of nodes, as the master asks them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from salt_diskless.cluster import Cluster, DisklessError
from salt_diskless.power.waves import Told
from salt_diskless.registry import answers
from salt_diskless.registry.answers import Answer
from salt_diskless.watch.progress import Reached


class Servers:
    """One call a boot server, for all of its nodes that are meant.

    call
        Has a boot server call a function with arguments and named ones. Raises
        :class:`DisklessError` with the words for it when nothing comes of it.
    named
        What goes with each call of ``diskless_node.power``.
    """

    def __init__(self, cluster: Cluster, call: Callable[..., Any], **named: bool):
        self._nodes = cluster.nodes
        self._call = call
        self._named = named
        #: What of the boot servers' answers is not believed.
        self.doubts: dict[str, None] = {}

    def power(self, action: str, names: Sequence[str]) -> dict[str, Told]:
        """Tell the BMCs of nodes something."""
        told: dict[str, Told] = {}
        for server, some in self._by_server(names):
            function = "diskless_node.power"
            try:
                said = self._call(server, function, [action, some], self._named)
                answer = Answer(server, function, some)
                told |= _told(answer, said)
                self.doubts |= dict.fromkeys(answer.problems)
            except DisklessError as err:
                told |= dict.fromkeys(some, Told(problem=str(err)))
            for name in some:
                told.setdefault(name, Told(problem=f"{server}: says nothing of it"))
        return told

    def progress(self, names: Sequence[str]) -> dict[str, Reached | None]:
        """Return how far nodes are; None where their boot server does not say it."""
        found: dict[str, Reached | None] = dict.fromkeys(names)
        for server, some in self._by_server(names):
            function = "diskless_node.progress"
            try:
                said = self._call(server, function, [some], {})
            except DisklessError:
                continue
            answer = Answer(server, function, some)
            found |= {name: Reached(*step) for name, step in answers.steps(answer, said).items()}
            self.doubts |= dict.fromkeys(answer.problems)
        return found

    def now(self) -> float:
        """Return the time, in seconds since whenever."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def _by_server(self, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        found: dict[str, list[str]] = {}
        for name in names:
            found.setdefault(self._nodes[name].network.server, []).append(name)
        yield from found.items()


def _told(answer: Answer, value: object) -> dict[str, Told]:
    said, problems = answers.powers(answer, value)
    told = {name: Told(*one) for name, one in said.items()}
    return told | {name: Told(problem=problem) for name, problem in problems.items()}
