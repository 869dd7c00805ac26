"""Regular expressions that are compiled when they are first used."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class _Lazy:
    """A regular expression whose attributes are those of the compiled one."""

    def __init__(self, text: Any, flags: int):
        self._arguments = text, flags

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(re.compile(*self._arguments), name)
        setattr(self, name, value)
        return value


def lazy_regex(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return a regular expression that is compiled when it is first used: for those that few jobs
    need. What each job needs is compiled when its module is loaded, since a minion's jobs are
    copies of a process that has loaded it (tests/bench/node.py); to compile all of them takes 10 ms
    (tests/bench/apply.py)."""
    return cast("re.Pattern[AnyStr]", _Lazy(text, flags))
