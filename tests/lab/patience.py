"""How long to wait for what takes its time: by a clock that a busy machine slows down."""

from __future__ import annotations

import os
import time

#: However busy the machine is: the clock is never slower than this.
_SLOWEST = 0.2


class Patience:
    """A time limit in seconds of a machine that has a processor for everybody.

    Where more wants to run than there are processors (getloadavg(3)), everything takes that much
    longer, and the limit is that much later: eight nodes and two labs at once are slow, but do not
    fail; something that hangs is found all the same, five times as late at most.
    """

    def __init__(self, seconds: float):
        self._left = seconds
        self._last = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the limit has passed; to be asked again and again."""
        now = time.monotonic()
        share = (os.cpu_count() or 1) / max(os.getloadavg()[0], 0.01)
        self._left -= (now - self._last) * min(1, max(_SLOWEST, share))
        self._last = now
        return self._left <= 0
