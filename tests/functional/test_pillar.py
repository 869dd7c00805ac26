"""The check that comes before anything else: one error in words, and nothing is touched."""

from __future__ import annotations


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
