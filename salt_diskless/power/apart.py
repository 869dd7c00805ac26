"""Calls that may hang, many at a time, each in a process of its own: what a client of BMCs keeps
while it runs is not shared, and a call that does not end is killed."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

#: So many at a time, each for so many seconds at most.
AT_ONCE = 32
LONGEST = 60


@dataclass(frozen=True, slots=True)
class Said:
    """What came of a call: what it returned, or in one line what was wrong."""

    value: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Running:
    name: str
    process: BaseProcess
    end: float


def each(calls: Mapping[str, Callable[[], str]]) -> dict[str, Said]:
    """Return what came of each call, by its name."""
    fork = multiprocessing.get_context("fork")
    waiting, running = iter(calls.items()), dict[Connection, _Running]()
    said: dict[str, Said] = {}
    while len(said) < len(calls):
        while len(running) < AT_ONCE and (one := next(waiting, None)) is not None:
            here, there = fork.Pipe(duplex=False)
            process = fork.Process(target=_call, args=(there, one[1]), daemon=True)
            process.start()
            there.close()
            running[here] = _Running(one[0], process, time.monotonic() + LONGEST)
        soonest = min(one.end for one in running.values())
        ready = wait([*running], max(0, soonest - time.monotonic()))
        for here in _over(running, ready):
            gone = running.pop(here)
            said[gone.name] = _answer(here) if here in ready else Said(problem=_NO_ANSWER)
            gone.process.kill()
            gone.process.join()
            here.close()
    return said


_NO_ANSWER = f"no answer in {LONGEST} s"


def _over(running: Mapping[Connection, _Running], ready: Iterable[object]) -> list[Connection]:
    now = time.monotonic()
    return [here for here, one in running.items() if here in ready or one.end <= now]


def _answer(here: Connection) -> Said:
    try:
        answer = here.recv()
    except EOFError:
        answer = None
    return answer if isinstance(answer, Said) else Said(problem="its process was killed")


def _call(there: Connection, call: Callable[[], str]) -> None:
    try:
        said = Said(str(call()))
    except Exception as err:  # Whatever a client of BMCs raises is that BMC's answer.
        said = Said(problem=" ".join(str(err).split())[:500] or type(err).__name__)
    there.send(said)
    # Not by the ways out of Salt's own process, which this one is a copy of.
    os._exit(0)
