"""Every line of the table of machine identity does in a version what it says."""

from __future__ import annotations

import os
import pathlib

import pytest

from salt_diskless.image import identity
from salt_diskless.image.machine_identity import TABLE, Kind
from tests.functional.conftest import root

pytestmark = pytest.mark.any_salt


def examples(*kinds: Kind) -> list[str]:
    """Return a path for each pattern of the table, but those that are directories of others."""
    every = [pattern for row in TABLE for pattern in row.patterns]
    wanted = [pattern for row in TABLE if row.kind in kinds for pattern in row.patterns]
    paths = sorted({path.replace("*", "x").replace("?", "x") for path in wanted})
    above = {os.path.dirname(path.replace("*", "x")) for path in every}
    return [path for path in paths if path not in above]


def put(golden: pathlib.Path, paths: list[str]) -> None:
    for path in paths:
        (golden / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (golden / path[1:]).write_text(
            "password = hunter2\napi_key = hunter2\nbindpw hunter2\nValue: hunter2\n"
        )


def test_all_of_the_table_at_once(salt_call, pillar, location, golden):
    left = examples(Kind.MACHINE, Kind.NODE, Kind.PRIVATE)
    kept = [path for path in examples(Kind.SECRET) if path not in left]
    put(golden, [*left, *kept])
    result = salt_call(pillar).modules["diskless_image.sync"]("tiny")["tiny"]
    tree = root(location)
    there = {path for path in left if os.path.lexists(tree / path[1:])}
    # Empty files over which nodes bind their own.
    assert there <= {*identity.PLACES}
    assert {(tree / path[1:]).stat().st_size for path in there} == {0}
    assert [path for path in kept if not (tree / path[1:]).exists()] == []
    assert len(left) > 500 and len(kept) > 100
    secrets = next(p for reason, p in result["notes"].items() if "nodes share" in reason)
    assert secrets[-1] == f"and {len(kept) - 10} more"
    assert salt_call(pillar).modules["diskless_image.sync"]("tiny")["tiny"]["changed"] is False
