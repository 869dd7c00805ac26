"""The check that comes before anything else: one error in words, and nothing is touched."""

from __future__ import annotations

import pytest

from salt_diskless import adapter
from salt_diskless.cluster import ClusterError


def test_a_right_pillar_is_said(salt_call, pillar, testmode, listing):
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless.valid")
    assert (ret.result, ret.changes) == (True, {})
    assert listing() == before


def test_every_problem_of_a_wrong_one_is_in_one_error(salt_call, pillar, testmode, listing):
    pillar["nodes"]["node003"]["mac"] = 41135040001
    pillar["profiles"]["compute"]["netwrk"] = "lab"
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless.valid")
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment.splitlines()[0] == "2 problems in the pillar, nothing was changed:"
    assert "diskless:nodes:node003:mac: found 41135040001; YAML made a number" in ret.comment
    assert "diskless:profiles:compute:netwrk: found an unknown key; did you mean" in ret.comment
    assert listing() == before


def test_a_minion_that_is_no_boot_server_is_told_which_ones_are(salt_call, pillar):
    ret = salt_call(pillar, minion_id="other").state("diskless.valid")
    assert ret.result is False
    assert "no server with the minion id 'other', only: bootserver" in ret.comment


def test_a_distribution_that_nobody_has_described_is_named(salt_call, pillar):
    ret = salt_call(pillar, os_family="Gentoo").state("diskless.valid")
    assert ret.result is False
    assert "grain os_family: found 'Gentoo'; boot servers are Debian, RedHat, Suse" in ret.comment


def test_a_pillar_without_the_key_names_the_top_file():
    with pytest.raises(ClusterError, match=r"no such key in this .*top\.sls"):
        adapter.cluster({})


def test_an_error_of_salt_in_the_pillar_is_shown():
    said = "Rendering SLS 'diskless' failed. Please see master log for details."
    with pytest.raises(ClusterError) as raised:
        adapter.cluster({"_errors": [said]})
    assert said in str(raised.value)
    assert "has the line" in str(raised.value)
    said = "Specified SLS 'diskles' in environment 'base' is not available on the salt master"
    with pytest.raises(ClusterError, match=r"not available on .*; correct the pillar's top\.sls"):
        adapter.cluster({"_errors": [said]})


def test_the_record_says_what_it_is_for(salt_call, pillar, testmode):
    ret = salt_call(pillar, test=testmode).state("diskless.recorded")
    assert (ret.result, ret.changes) == (True, {})
    assert ret.comment.endswith(" recorded, for diskless.clean")
    assert (" would be " in ret.comment) is testmode


def test_validate_on_another_minion_says_what_it_left_out(salt_call, pillar):
    said = salt_call(pillar, minion_id="other").modules["diskless.validate"]()
    assert said["not_checked"].startswith("this machine: its minion id 'other'")
    assert "not_checked" not in salt_call(pillar).modules["diskless.validate"]()
