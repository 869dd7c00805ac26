"""Power for many nodes, so many at a time: the next ones when these are up. Pure: who is asked, and
the clock, are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from salt_diskless.cluster import Cluster, DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.ranges import fold
from salt_diskless.cluster.wording import nearest
from salt_diskless.power import bmcs
from salt_diskless.registry.report import when
from salt_diskless.watch.progress import Reached

#: Seconds between two looks at how far nodes are, and at whether BMCs say that they are off.
LOOKS, OFF_LOOKS = 3, 5


@dataclass(frozen=True, slots=True)
class Told:
    """What came of telling a node's BMC something.

    word
        What it says: ``told``, or what it is already: ``on``, ``off`` or ``unknown``.
    at
        When it was asked, by its boot server's clock, in seconds since 1970.
    problem
        Why it said nothing.
    """

    word: str = ""
    at: float = 0.0
    problem: str = ""


class Remote(Protocol):
    """The boot servers of the nodes, one call for each of them."""

    def power(self, action: str, names: Sequence[str]) -> dict[str, Told]:
        """Tell the BMCs of nodes something."""

    def progress(self, names: Sequence[str]) -> dict[str, Reached | None]:
        """Return how far nodes are; None where their boot server does not say it."""

    def now(self) -> float:
        """Return the time, in seconds since whenever."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done: nodes in waves, times in seconds."""

    action: str
    waves: tuple[tuple[str, ...], ...]
    timeout: float = 600
    retries: int = 1


def order(
    cluster: Cluster, given: object, names: Sequence[str], wave: int, timeout: int, retries: int
) -> Order:
    """Return the order for these nodes.

    given
        The action, as it was typed.
    wave
        How many are switched on at a time; the other actions are for all at once.

    Raises :class:`DisklessError` with all that is wrong with it.
    """
    problems = []
    for what, value, least in (("wave", wave, 1), ("timeout", timeout, 1), ("retries", retries, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            problems.append(f"{what}: found {shown(value)}; give a number, {least} at least")
    action = ""
    try:
        action = bmcs.action_of(given)
    except DisklessError as err:
        problems.append(str(err))
    unknown = [name for name in names if name not in cluster.nodes]
    if unknown:
        near = nearest(unknown[0], cluster.nodes)
        problems.append(
            f"names: found {fold(unknown)[:500]}; give nodes of the pillar or the registry ({near})"
        )
    without = [name for name in names if name in cluster.nodes and cluster.nodes[name].bmc is None]
    if without:
        problems.append(bmcs.missing(without))
    if problems:
        raise DisklessError("\n  ".join(["nothing was done:", *problems]))
    size = wave if action in ("on", "cycle") else len(names)
    waves = tuple(tuple(names[at : at + size]) for at in range(0, len(names), size))
    return Order(action, waves, timeout, retries)


def run(
    what: Order, remote: Remote, after: Callable[[dict[str, Any]], None] = lambda _: None
) -> dict[str, Any]:
    """Do it, and return the nodes, folded: ``up``, or whether they are ``on`` or ``off``;
    ``failed``, with the words for them; and ``not tried``.

    after
        Is told of each wave what is returned of all at the end.
    """
    done: dict[str, list[str]] = {}
    failed: dict[str, str] = {}
    left = list(what.waves)
    while left:
        names = left.pop(0)
        states = _wave(names, what, remote)
        problems = {name: said.problem for name, said in states.items() if said.problem}
        good: dict[str, list[str]] = {}
        for name in names:
            if name not in problems:
                good.setdefault(states[name].word, []).append(name)
        after(_shown(good, problems, ()))
        for word, some in good.items():
            done.setdefault(word, []).extend(some)
        failed |= problems
        if not good:
            break
    return _shown(done, failed, [name for wave in left for name in wave])


def _shown(
    done: Mapping[str, Iterable[str]], failed: Mapping[str, str], left: Iterable[str]
) -> dict[str, Any]:
    said: dict[str, Any] = {word: fold(names) for word, names in sorted(done.items())}
    alike: dict[str, list[str]] = {}
    for name, problem in failed.items():
        alike.setdefault(problem, []).append(name)
    said["failed"] = {fold(names): problem for problem, names in alike.items()}
    said["not tried"] = fold(left)
    return {key: value for key, value in said.items() if value}


def _wave(names: Sequence[str], what: Order, remote: Remote) -> dict[str, Told]:
    if what.action == "status":
        return remote.power("status", names)
    if what.action == "off":
        return _down(names, what, remote)
    return _up(names, what, remote)


def _up(names: Sequence[str], what: Order, remote: Remote) -> dict[str, Told]:
    """Have nodes come up. What a BMC refused it is told again; who was told and is not up is
    cycled, but only as long as its boot server says how far it is."""
    said: dict[str, Told] = {}
    todo = dict.fromkeys(names, what.action)
    for tries in range(1, what.retries + 2):
        told = {
            name: one
            for action in dict.fromkeys(todo.values())
            for name, one in remote.power(
                action, [name for name, its in todo.items() if its == action]
            ).items()
        }
        # Who is on already is up when he was up before.
        since = {
            name: one.at if one.word == bmcs.TOLD else 0.0
            for name, one in told.items()
            if not one.problem
        }
        late = _wait_until_up(since, what.timeout, remote)
        said |= {name: Told("up") for name in since if name not in late}
        said |= {name: one for name, one in told.items() if one.problem}
        said |= {
            name: Told(problem=_stuck(step, since[name], tries, what.timeout))
            for name, step in late.items()
        }
        todo = {name: its for name, its in todo.items() if told[name].problem} | {
            name: "cycle" for name, step in late.items() if step is not None
        }
        if not todo:
            break
        if not since and tries <= what.retries:
            remote.sleep(LOOKS)
    return said


def _wait_until_up(
    since: Mapping[str, float], timeout: float, remote: Remote
) -> dict[str, Reached | None]:
    """Return those that are not up in time, and how far they are."""
    left: dict[str, Reached | None] = dict.fromkeys(since)
    end = remote.now() + timeout
    while left:
        for name, step in remote.progress([*left]).items():
            left[name] = step
            if step is not None and step.stage == "up" and (step.since or 0) > since[name]:
                del left[name]
        wait = min(LOOKS, end - remote.now())
        if wait <= 0:
            break
        if left:
            remote.sleep(wait)
    return left


def _stuck(step: Reached | None, since: float, tries: int, timeout: float) -> str:
    if step is None:
        return "its boot server does not say how far it is; it is left as it is"
    times = f"{timeout:g} s" if tries == 1 else f"{tries} times {timeout:g} s"
    if step.since is None or step.since <= since:
        return f"not up in {times}: nothing was heard of it since its power-on"
    return f"not up in {times}: {step.stage} since {when(step.since)}"


def _down(names: Sequence[str], what: Order, remote: Remote) -> dict[str, Told]:
    """Have nodes go off. What a BMC refused it is told again."""
    said: dict[str, Told] = {}
    todo = list(names)
    for tries in range(what.retries + 1):
        if tries:
            remote.sleep(LOOKS)
        said |= remote.power("off", todo)
        todo = [name for name in todo if said[name].problem]
        if not todo:
            break
    left = [name for name, one in said.items() if not one.problem and one.word != "off"]
    end = remote.now() + what.timeout
    while left:
        wait = min(OFF_LOOKS, end - remote.now())
        if wait <= 0:
            break
        remote.sleep(wait)
        said |= remote.power("status", left)
        left = [name for name in left if said[name].word != "off"]
    for name in left:
        why = said[name].problem or "not off; force=True cuts its power"
        said[name] = Told(problem=f"{why} ({what.timeout:g} s after it was told)")
    return said
