"""What of a minion's key on the master lets a boot server's key for that name in."""

from __future__ import annotations

import itertools
import pathlib

import pytest

from salt_diskless.adapter import keys, make_pair
from tests.functional.test_registry import master_opts

__all__ = ["master_opts"]

STATES = ("minions", "minions_pre", "minions_rejected", "minions_denied")


@pytest.fixture
def pki(master_opts) -> pathlib.Path:
    root = pathlib.Path(master_opts["pki_dir"])
    for name in STATES:
        (root / name).mkdir()
    return root


def content(pki: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(pki)): path.read_bytes()
        for name in STATES
        for path in (pki / name).iterdir()
    }


@pytest.mark.parametrize(
    "places", [some for count in range(4) for some in itertools.combinations(STATES, count)]
)
def test_a_key_replaces_only_a_pending_one(master_opts, pki, places):
    """Where a key was rejected or denied, no other is let in before somebody has looked."""
    theirs, ours = (make_pair()[1].decode() for _ in range(2))
    for place in places:
        (pki / place / "node003").write_text(theirs)
    (pki / "minions_pre/node004").write_text(theirs)
    before = content(pki)
    done = keys.let_in(master_opts, {"node003": ours})
    if {*places} <= {"minions_pre"}:
        assert done == {"accepted": ["node003"], "rejected": []}
        assert (pki / "minions/node003").read_text().strip() == ours.strip()
        assert (pki / "minions_pre/node004").exists()
        return
    assert done["accepted"] == []
    assert done["rejected"] == ([] if "minions" in places else ["node003"])
    assert content(pki) == before


@pytest.mark.parametrize("name", ["../minions/node009", "a/b", "", ".", "..", "n\n", "x" * 300])
def test_a_name_that_is_no_host_is_no_key(master_opts, pki, name):
    before = content(pki)
    assert keys.let_in(master_opts, {name: make_pair()[1].decode()}) == {
        "accepted": [],
        "rejected": [],
    }
    assert content(pki) == before
