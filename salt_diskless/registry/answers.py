"""What minions answer, checked on the master before anything is done with it: type, size and shape,
and whether the minion may speak for the names in it (:mod:`registry.authority`)."""

from __future__ import annotations

import base64
import binascii
import logging
import reprlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.ranges import expand, fold
from salt_diskless.regex import lazy_regex
from salt_diskless.registry.authority import refusal, split

log = logging.getLogger(__name__)

#: Characters of a minion's text that are shown.
LONGEST = 4000
#: The stages of a boot, as ``diskless.status`` has them.
STAGES = frozenset({"unseen", "dhcp", "loader", "kernel", "root", "up", "minion"})
#: What a BMC is said to be, or to have been told.
POWER = ("told", "on", "off", "unknown")
#: A public key of RSA with 16384 bits has less.
_LONGEST_KEY = 4096
_PEM = lazy_regex(
    r"-----BEGIN (RSA |)PUBLIC KEY-----\n((?:[A-Za-z0-9+/=]{1,80}\n)+)-----END \1PUBLIC KEY-----\n?"
)
_VERSION = lazy_regex(r"[A-Za-z0-9-]{0,64}")
_TIME = lazy_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
#: A node set as this project folds one: no operators, no groups, no steps.
_PART = lazy_regex(r"[A-Za-z0-9._-]+|\[([0-9,-]+)\]")
_RANGE = lazy_regex(r"([0-9]{1,64})(?:-([0-9]{1,64}))?")
_KEY = lazy_regex(r"[a-z_]{1,30}")
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother = 2, 60, 60
#: A boot server may name so many nodes in an answer, however few it has.
_MOST = 10_000
#: So many problems of an answer are named, and a group of nodes has so many fields.
MOST_PROBLEMS, _MOST_FIELDS = 20, 16
#: A node set of more names is not counted to its end.
_UNCOUNTED = 10**9


class Answer:
    """What a minion answered to a function, and what of it is not believed.

    speaker, function
        The minion, and what it was asked.
    own
        The names that it may speak for.
    problems
        Errors in words, which are in the log as well.
    """

    def __init__(self, speaker: str, function: str, own: Collection[str] = ()):
        self.speaker = speaker
        self.function = function
        self.own = own
        self.problems: list[str] = []
        #: How many names it may still have in node sets.
        self.room = max(_MOST, 2 * len(own))

    def wrong(self, found: object, right: str) -> None:
        """Note that an answer, or a part of it, has the wrong shape."""
        self._note(
            f"{self.speaker}: found {brief(found)} in its answer to {self.function}; {right}, and "
            "this is not believed"
        )

    def believed(self, names: Iterable[object]) -> list[str]:
        """Return the names that the minion may speak for, and note the others."""
        mine, others = split(names, self.own)
        if others:
            self._note(refusal(self.speaker, self.function, others, self.own))
        return mine

    def folded(self, value: object) -> list[str]:
        """Return those names of a folded node set that the minion may speak for, and note the
        others. What stands for too many names, together with the sets before, is not expanded."""
        count = size(value) if isinstance(value, str) else 0
        if not isinstance(value, str) or not 0 < count <= self.room:
            self.wrong(value, f"it must be a node set of at most {self.room} names")
            return []
        self.room -= count
        try:
            return self.believed(expand(value))
        except ValueError:
            self.wrong(value, "it must be a node set")
            return []

    def _note(self, problem: str) -> None:
        if len(self.problems) > MOST_PROBLEMS:
            return
        if len(self.problems) == MOST_PROBLEMS:
            problem = (
                f"{self.speaker}: found more than {MOST_PROBLEMS} wrong parts in its answer to "
                f"{self.function}; the others are not named"
            )
        self.problems.append(problem)
        log.error("diskless: %s", problem)


def brief(value: object) -> str:
    """Return a value for a message: without control characters, neither long nor deep."""
    text = _BRIEF.repr(value)
    text = text.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= 120 else text[:117] + "..."


def words(value: object) -> str:
    """Return a minion's text for people: printable, with its lines, and not too long."""
    text = value if isinstance(value, str) else brief(value)
    text = "".join(
        letter if letter.isprintable() or letter == "\n" else "?" for letter in text[: LONGEST + 1]
    )
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def is_public_key(text: object) -> bool:
    """Tell whether a text is the public key of a Salt minion, in PEM."""
    match = _PEM.fullmatch(text) if isinstance(text, str) and len(text) <= _LONGEST_KEY else None
    if match is None:
        return False
    try:
        # SubjectPublicKeyInfo and RSAPublicKey are sequences in DER.
        return base64.b64decode(match[2].replace("\n", ""), validate=True).startswith(b"\x30")
    except binascii.Error:
        return False


def size(pattern: str) -> int:
    """Return how many names a folded node set stands for, without expanding it; 0 where it is
    none. One of very many names is not counted to its end."""
    total, count, end = 0, 1, 0
    while end < len(pattern):
        match = _PART.match(pattern, end)
        if match is None:
            return 0
        count *= _count(match[1]) if match[1] is not None else 1
        if total + count > _UNCOUNTED:
            return total + count
        end = match.end()
        if end == len(pattern) or pattern[end] == ",":
            total, count, end = total + count, 1, end + 1
    return 0 if pattern.endswith(",") else total


def _count(ranges: str) -> int:
    total = 0
    for item in ranges.split(","):
        match = _RANGE.fullmatch(item)
        if match is None:
            return 0
        total += max(0, int(match[2] or match[1]) - int(match[1]) + 1)
    return total


def is_time(value: object) -> bool:
    """Tell whether a value is a time in seconds since 1970, before the year 6000."""
    # Neither infinity nor what is no number (NaN) is less.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**37


def public_keys(answer: Answer, value: object) -> dict[str, str]:
    """Return the public keys of nodes, by name, that a boot server may bring."""
    if not isinstance(value, Mapping):
        answer.wrong(value, "it must be a mapping, node to public key")
        return {}
    keys = {}
    for name in answer.believed(value):
        if is_public_key(value[name]):
            keys[name] = value[name]
        else:
            answer.wrong({name: value[name]}, "it must be a public key in PEM")
    return keys


def boots(answer: Answer, value: object) -> list[dict[str, Any]]:
    """Return how far nodes got, as ``diskless.status`` of a boot server has it below ``nodes``."""
    groups = value.get("nodes") if isinstance(value, Mapping) else None
    if not isinstance(groups, list | tuple):
        answer.wrong(value, "it must be a mapping with a list below nodes")
        return []
    checked_groups = []
    for group in groups:
        checked = _group(group)
        if checked is None:
            answer.wrong(group, "it must be a group of nodes with stage, version and since")
            continue
        names = answer.folded(group["nodes"])
        if names:
            checked_groups.append({"nodes": fold(names), **checked})
    return checked_groups


def _group(group: object) -> dict[str, Any] | None:
    """Return what a group of nodes shares, or None where that is not of the right shape."""
    if not isinstance(group, Mapping) or "nodes" not in group or len(group) > _MOST_FIELDS:
        return None
    stage, version = group.get("stage"), group.get("version", "")
    since = group.get("since", [])
    if not isinstance(stage, str) or stage not in STAGES:
        return None
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        return None
    if not isinstance(since, list | tuple) or len(since) not in (0, 2):
        return None
    if not all(isinstance(at, str) and _TIME.fullmatch(at) for at in since):
        return None
    more = {key: group[key] for key in group if key not in ("nodes", "stage", "version", "since")}
    return {
        "stage": stage,
        **({"version": version} if version else {}),
        **({"since": list(since)} if since else {}),
        **{key: _scalar(item) for key, item in more.items() if _is_key(key)},
    }


def _is_key(key: object) -> bool:
    return isinstance(key, str) and _KEY.fullmatch(key) is not None


def _scalar(value: object) -> object:
    """Return a value of which nothing depends, for people."""
    return value if isinstance(value, bool) or value is None else words(value)[:300]


def powers(answer: Answer, value: object) -> tuple[dict[str, tuple[str, float]], dict[str, str]]:
    """Return what nodes' BMCs were told or are, each with when they were asked, and the words for
    those of which nothing came."""
    if not isinstance(value, Mapping) or not is_time(value.get("at")):
        answer.wrong(value, "it must be a mapping with a time below at")
        return {}, {}
    said = {
        name: (word, float(value["at"]))
        for word in POWER
        if word in value
        for name in answer.folded(value[word])
    }
    failed = value.get("failed", {})
    if not isinstance(failed, Mapping):
        answer.wrong(failed, "it must be a mapping below failed, node to why")
        failed = {}
    problems = {name: words(failed[name])[:300] for name in answer.believed(failed)}
    return said, problems


def steps(answer: Answer, value: object) -> dict[str, tuple[str, str, float | None]]:
    """Return stage, version and time of nodes, as ``diskless_node.progress`` has them."""
    if not isinstance(value, Mapping):
        answer.wrong(value, "it must be a mapping, node to its step")
        return {}
    progress = {}
    for name in answer.believed(value):
        step = value[name]
        group = _group({"nodes": name, **step, "since": []}) if isinstance(step, Mapping) else None
        since = step.get("since") if group else None
        if group is None or not (since is None or is_time(since)):
            answer.wrong({name: step}, "it must be a step with stage, version and since")
            continue
        progress[name] = (group["stage"], group.get("version", ""), since)
    return progress


def mapping(speaker: str, function: str, value: object) -> Mapping[Any, Any]:
    """Return an answer that has to be a mapping.

    Raises :class:`DisklessError` when it is something else.
    """
    if not isinstance(value, Mapping):
        raise DisklessError(
            f"{speaker}: found {brief(value)} in its answer to {function}; it must be a mapping"
        )
    return value
