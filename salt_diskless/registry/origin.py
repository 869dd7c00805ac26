"""Who made a decision, and from where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from salt_diskless.regex import lazy_regex

#: What a name has that is shown and stored; the rest of a user's name is a question mark.
_ODD = lazy_regex(r"[^\w.@+\\/ -]")
#: Salt's name for reactions.
_REACTOR = "Reactor"


@dataclass(frozen=True, slots=True)
class Origin:
    """user
        Whom Salt has for the call: the user of the shell (``sudo_alice`` with sudo), the user who
        logged in at the API, or the name of a rule of the pillar.
    source
        ``salt-run``, ``api``, ``reactor`` or ``schedule``.
    """

    user: str = "unknown"
    source: str = "unknown"

    def __str__(self) -> str:
        return f"{self.user} ({self.source})"

    def by_rule(self, rule: str) -> Origin:
        """Return the origin of what a rule of the pillar decides in this call."""
        return Origin(f"rule {rule}", self.source)


def of_call(user: object, opts: Mapping[str, Any], scheduled: bool = False) -> Origin:
    """Return the origin of a call of the runner.

    user
        What Salt has put into the runner as ``__user__``.
    opts
        The configuration that the runner has: ``__cli`` is the program that runs it.
    scheduled
        Whether the call is the one that the master's schedule makes.
    """
    name = user if isinstance(user, str) and user not in ("", "UNKNOWN") else opts.get("user")
    name = _ODD.sub("?", str(name or "unknown"))[:100]
    if user == _REACTOR:
        return Origin("reactor", "reactor")
    if "run" in str(opts.get("__cli", "")):
        return Origin(name, "salt-run")
    return Origin(name, "schedule" if scheduled else "api")
