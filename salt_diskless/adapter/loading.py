"""Load what every adapter needs, without a garbage collector that looks through all of Salt's
objects meanwhile: that takes 20 ms (tests/bench/apply.py)."""

from __future__ import annotations

import importlib

from salt_diskless.garbage import uncollected

with uncollected():
    importlib.import_module("salt_diskless.preflight")
