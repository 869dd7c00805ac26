"""The same nodes with an initramfs of dracut."""

from __future__ import annotations

import pytest

from tests.e2e import test_matrix
from tests.lab import Lab

pytestmark = pytest.mark.nightly

INITRAMFS = "dracut"
lab, case = test_matrix.lab, test_matrix.case
test_let_in = test_matrix.test_its_minion_is_let_in_with_the_key_that_was_made_for_it
test_root_and_nfs = test_matrix.test_its_root_and_its_nfs_are_what_the_pillar_says
test_no_failed_unit = test_matrix.test_it_has_no_failed_unit
test_off = test_matrix.test_it_does_what_the_master_says_and_goes_off_when_it_is_told_to
test_next_boot = test_matrix.test_after_its_next_boot_it_is_the_same_and_what_is_kept_is_there


def test_it_was_dracut(lab: Lab):
    assert lab.server.salt_call("diskless_image.show", "debian")["initramfs"] == "dracut"
