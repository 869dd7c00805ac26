"""The lab's time limits: later on a busy machine, and never for good."""

from __future__ import annotations

import os
import time

import pytest

from tests.lab.patience import Patience


@pytest.mark.parametrize(
    ("load", "factor"), [(0.0, 1), (0.5, 1), (1.0, 1), (2.0, 2), (4.0, 4), (50.0, 5)]
)
def test_a_limit_is_as_late_as_the_machine_is_slow(monkeypatch, load, factor):
    """``load`` is what wants to run, for each processor."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(os, "getloadavg", lambda: (load * (os.cpu_count() or 1), 0, 0))
    patience = Patience(60)
    seconds = 0
    while not patience.is_over:
        clock[0] += 1
        seconds += 1
    assert seconds == pytest.approx(60 * factor, abs=1)
