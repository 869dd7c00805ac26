"""Labs for the stories: one boot server for a file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A boot server that has Salt and nothing configured."""
    with Lab() as lab:
        yield lab
